"""`models`, `steps`, `experiments`, `doctor`: commands that list."""

from typing import Annotated

import typer

from pythia_traj.cli.output import JSON_OPTION, print_json, print_table, say


def models(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the published models that are known by name."""
    from pythia_traj.suites.catalog import catalog

    found = [record.as_dict() for record in catalog().values()]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            r["model"],
            f"{r['n_parameters'] / 1e6:,.0f} M",
            r["n_layers"],
            r["n_heads"],
            r["d_model"],
            r["n_steps"],
            r["aliases"][:1],
        )
        for r in found
    ]
    columns = ["model", "parameters", "layers", "heads", "width", "steps", "once called"]
    print_table(columns, [[*row[:-1], *row[-1]] for row in rows])


def steps(
    model: Annotated[str, typer.Argument(help="A name, org/name or a directory of checkpoints.")],
    select: Annotated[
        str, typer.Option("--steps", help="Only the steps that an expression selects.")
    ] = "all",
    source: Annotated[
        str, typer.Option(help="hub, or a directory that holds the models' directories.")
    ] = "hub",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the Hub again for its branches.")
    ] = False,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """List the published steps of a model, with the tokens seen up to each."""
    from pythia_traj.steps import select as select_steps
    from pythia_traj.stream.published import open_model

    published = open_model(model, source, refresh=refresh)
    per_step = published.tokens_per_step
    found = [
        {
            "step": step,
            "tokens": None if per_step is None else step * per_step,
            "revision": published.revision(step),
            "lr": published.learning_rate(step),
        }
        for step in select_steps(select, published.steps, tokens_per_step=per_step)
    ]
    if as_json:
        print_json(found)
    else:
        shown = [
            (
                row["step"],
                row["tokens"],
                row["revision"],
                "" if row["lr"] is None else f"{row['lr']:.3g}",
            )
            for row in found
        ]
        print_table(["step", "tokens", "revision", "lr"], shown)


def experiments(
    name: Annotated[
        str | None, typer.Argument(help="One experiment, by name or ./file.py.")
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """List the experiments, or show one with its parameters and defaults."""
    from pythia_traj.discovery import describe, discover, find

    found = (
        [describe(find(name))]
        if name
        else [describe(candidate) for candidate in discover().values()]
    )
    if as_json:
        print_json(found)
    elif name:
        say(
            f"{found[0]['name']} (version {found[0]['version']},"
            f" {found[0]['cites'] or 'no source'})\n"
        )
        say(f"{found[0]['documentation']}\n")
        print_table(
            ["parameter", "default", "type", "meaning"],
            [(p["name"], p["default"], p["type"], p["meaning"]) for p in found[0]["parameters"]],
        )
    else:
        rows = [
            (
                e["name"],
                e["description"],
                f"needs {', '.join(e['requires'])}" if e["requires"] else "",
            )
            for e in found
        ]
        print_table(["experiment", "measures", ""], rows)


def doctor(
    hub: Annotated[
        bool,
        typer.Option(
            "--hub",
            help="Check with the Hub whether network, token and disk are enough for a sweep.",
        ),
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option(help="The sweep's models; repeat or separate by commas.")
    ] = None,
    steps: Annotated[str, typer.Option(help="The sweep's steps.")] = "all",
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show versions, devices, disk and whether the Hub can be reached, on one screen.

    With --hub, check whether they are enough for a sweep.
    """
    from pythia_traj.doctor import examine, examine_hub

    names = [name.strip() for word in model or [] for name in word.split(",") if name.strip()]
    checks = examine_hub(names, steps) if hub or names else examine()
    if as_json:
        print_json([vars(check) for check in checks])
    else:
        print_table(
            ["", "what", "found"],
            [("ok" if check.ok else "--", check.what, check.found) for check in checks],
        )
    if (hub or names) and not all(check.ok for check in checks):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (models, steps, experiments, doctor):
        app.command()(command)
