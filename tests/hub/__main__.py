"""A loopback hub by hand.

    python -m tests.hub runs/hub --publish runs/toy=me/toy
    python -m tests.hub runs/hub --random 70m=EleutherAI/pythia-70m-deduped --steps 0,1,512

serves DIR/ORG/NAME/BRANCH/files and prints what to put into the environment of the client:
HF_ENDPOINT=http://127.0.0.1:PORT. It ends with SIGINT or SIGTERM.
"""

import argparse
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

from tests.hub.faults import RandomFaults
from tests.hub.publish import publish_steps, random_pythia
from tests.hub.repository import Repository
from tests.hub.server import Hub
from tests.hub.shapes import SHAPES

_PARENT_POLL_SECONDS = 2.0


def _pair(text: str) -> tuple[str, str]:
    left, equals, name = text.partition("=")
    if not (left and equals and name.count("/") == 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form WHAT=ORG/NAME")
    return left, name


def _random(text: str) -> tuple[str, str]:
    shape, name = _pair(text)
    if shape not in SHAPES:
        raise argparse.ArgumentTypeError(
            f"there is no shape {shape!r}: choose one of {', '.join(SHAPES)}"
        )
    return shape, name


def _published(text: str) -> tuple[str, str]:
    path, name = _pair(text)
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(
            f"{path!r} is no directory: give one that holds step folders"
        )
    return path, name


def _steps(text: str) -> list[int]:
    return [int(step) for step in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hub",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="what is served, as DIR/ORG/NAME/BRANCH/files"
    )
    parser.add_argument(
        "--port", type=int, default=0, help="of the hub; by default any that is free"
    )
    parser.add_argument("--token", help="the one valid token")
    parser.add_argument(
        "--bytes-per-second", type=float, help="shared by all downloads of large files"
    )
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every answer")
    parser.add_argument(
        "--fault-rate", type=float, default=0.0, help="share of answers that go wrong, 0 to 1"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults and of random weights")
    parser.add_argument("--json", action="store_true", help='print {"endpoint": ...} instead')
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--private", metavar="ORG/NAME", help="hidden from whoever has no token", **several
    )
    parser.add_argument(
        "--gated", metavar="ORG/NAME", help="not to be downloaded without a token", **several
    )
    parser.add_argument(
        "--publish",
        type=_published,
        metavar="PATH=ORG/NAME",
        help="serve a directory of step folders too",
        **several,
    )
    parser.add_argument(
        "--random",
        type=_random,
        metavar="SHAPE=ORG/NAME",
        help=f"make random weights in DIR; SHAPE is {', '.join(SHAPES)}",
        **several,
    )
    parser.add_argument(
        "--steps", type=_steps, default=[0, 1, 512], help="of --random, as 0,1,512 (the default)"
    )
    parser.add_argument(
        "--parent", type=int, help="end when this process, which started the hub, has ended"
    )
    return parser


def _make_random(options: argparse.Namespace) -> None:
    """Random checkpoints for every step; those that an earlier call has made stay."""
    for shape, name in options.random:
        for step in options.steps:
            folder = options.directory / name / f"step{step}"
            if folder.exists():
                continue
            unfinished = folder.with_name(f".{folder.name}")
            random_pythia(unfinished, shape, options.seed + step)
            unfinished.rename(folder)


def _repositories(options: argparse.Namespace) -> list[Repository]:
    """All that DIR holds and all that is to be published beside it."""
    directories = {
        f"{folder.parent.name}/{folder.name}": folder
        for folder in sorted(options.directory.glob("*/*"))
        if folder.is_dir() and not folder.parent.name.startswith(".")
    }
    directories |= {name: Path(path) for path, name in options.publish}
    repositories = []
    for name, directory in directories.items():
        repository = Repository(name, private=name in options.private, gated=name in options.gated)
        publish_steps(repository, directory)
        repositories.append(repository)
    return repositories


def _signals() -> int:
    """A pipe's end that can be read from once SIGINT or SIGTERM has come.

    A handler may write into a pipe at any moment.
    """
    readable, writable = os.pipe()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os.write(writable, b"!"))
    return readable


def main(arguments: list[str] | None = None) -> int:
    """Serves until a signal comes."""
    options = _parser().parse_args(arguments)
    options.directory.mkdir(parents=True, exist_ok=True)
    _make_random(options)
    hub = Hub(
        *_repositories(options),
        token=options.token,
        bytes_per_second=options.bytes_per_second,
        latency=options.latency,
        port=options.port,
    )
    signals = _signals()
    with hub:
        if options.fault_rate:
            hub.faults.add(RandomFaults(options.fault_rate, options.seed))
        print(  # noqa: T201
            (
                json.dumps({"endpoint": hub.endpoint})
                if options.json
                else f"HF_ENDPOINT={hub.endpoint}"
            ),
            flush=True,
        )
        while not select.select([signals], [], [], _PARENT_POLL_SECONDS)[0]:
            if options.parent is not None and os.getppid() != options.parent:
                break
    return 0


if __name__ == "__main__":
    sys.exit(main())
