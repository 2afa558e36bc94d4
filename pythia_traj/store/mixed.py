"""Rows that were made with different versions or settings of one experiment.

They are in one folder or read together, and training does not explain their difference.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pythia_traj.outside import shown
from pythia_traj.store.done import Found
from pythia_traj.store.records import Footer

_NAMED = 3
"""The most settings that a message names."""


def measured_by(footer: Footer) -> tuple[str, str] | None:
    """The experiment of a unit, and its version; None where its provenance lacks it."""
    name, version = footer.made_of.get("experiment"), footer.made_of.get("version")
    return (name, shown(version)) if isinstance(name, str) and version is not None else None


def mixed_versions(footers: Mapping[Found, Footer]) -> str:
    """Which experiments were measured by more than one of their versions; empty for none."""
    units: dict[tuple[str, str], list[str]] = {}
    for found, footer in footers.items():
        by = measured_by(footer)
        if by is not None:
            units.setdefault(by, []).append(found.unit)
    versions: dict[str, list[str]] = {}
    for (name, version), some in sorted(units.items(), key=lambda one: _in_order(*one[0])):
        count = "1 unit" if len(some) == 1 else f"{len(some)} units, such as"
        versions.setdefault(name, []).append(f"version {version} ({count} {some[0]})")
    return "; ".join(
        f"{name} was measured by {' and by '.join(counted)}"
        for name, counted in versions.items()
        if len(counted) > 1
    )


def say_versions(footers: Mapping[Found, Footer]) -> list[str]:
    """A sentence, if an experiment was measured by more than one of its versions."""
    versions = mixed_versions(footers)
    return (
        [f"{versions}: their difference may not come from training; measure the older again"]
        if versions
        else []
    )


def say_mixed(footers: Mapping[Found, Footer]) -> list[str]:
    """A sentence for each model and label whose units were not all made with the same settings."""
    by_label: dict[tuple[str, str], dict[str | None, list[Footer]]] = {}
    for found, footer in footers.items():
        # Units of one digest are alike; others may differ only in their references' steps.
        by_label.setdefault((found.model, found.label), {}).setdefault(footer.digest, []).append(
            footer
        )
    said = []
    for (model, label), digests in by_label.items():
        kinds = _kinds(digests.values()) if len(digests) > 1 else []
        if len(kinds) > 1:
            counts = " and ".join(str(count) for _, count in kinds)
            said.append(
                f"{model}/{label}: {counts} units were made with different settings"
                f" ({differences([one for one, _ in kinds])}): measure all steps with the same, or"
                " give one of them another label"
            )
    return said


def differences(settings: Iterable[Mapping[str, Any]]) -> str:
    """Which settings differ and how, such as `length: 32, 64`."""
    flat = [dict(_flat(one, ())) for one in settings]
    names = list(dict.fromkeys(name for one in flat for name in one))
    different = [
        (name, list(dict.fromkeys(shown(one.get(name)) for one in flat))) for name in names
    ]
    found = [f"{name}: {', '.join(values)}" for name, values in different if len(values) > 1]
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return "; ".join(found[:_NAMED]) + more


def _in_order(name: str, version: str) -> tuple[str, int, str]:
    """Version 10 comes after version 9."""
    return name, len(version), version


def _kinds(digests: Iterable[list[Footer]]) -> list[tuple[dict[str, Any], int]]:
    """Each set of settings, with the number of units that have it; the most frequent one first.

    Versions are left out: `mixed_versions` says more about those.
    """
    kinds: list[tuple[dict[str, Any], int]] = []
    for footers in digests:
        settings = {name: value for name, value in footers[0].settings.items() if name != "version"}
        at = next((i for i, (known, _) in enumerate(kinds) if known == settings), None)
        if at is None:
            kinds.append((settings, len(footers)))
        else:
            kinds[at] = (settings, kinds[at][1] + len(footers))
    return sorted(kinds, key=lambda kind: -kind[1])


def _flat(value: Any, above: tuple[str, ...]) -> Iterable[tuple[str, Any]]:
    """Settings by name; parameters have their name in a request."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(
                inner, above if (not above and name == "parameters") else (*above, name)
            )
    else:
        yield ".".join(above), value
