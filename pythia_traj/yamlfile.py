"""Settings in YAML: its plain part, within limits, and the packaged files that a name stands for.

Each value comes with the line that it was written in.

YAML can say much that no request needs, and some of it is a trap: tags that make objects, a name
given twice, where the last one wins, aliases that turn ten lines into a gigabyte, `1:30` for
ninety. Only names, words, numbers and lists are read here. Anything else is refused by one sentence
that gives the line.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pythia_traj.errors import ConfigError
from pythia_traj.outside import read_file, shown

_MOST_BYTES = 256_000
"""Of a file: requests have less than a tenth of it."""

_MOST_VALUES = 10_000
"""Values of a document; an alias counts each time it is used."""

_DEPTH = 32

_MOST_FILES = 16
"""Files of which each is laid over the next one."""

_DIGITS = 30
"""Of a whole number. Python's own limit is 4300, and time goes with their square."""

_TAG = "tag:yaml.org,2002:"

_NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")
"""Characters that an escape can write, and that neither a path nor a table can hold."""


class _Loader(yaml.SafeLoader):
    """YAML without dates, which no setting needs, and without base 60, where `1:4` is 64."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag.removeprefix(_TAG) not in {"int", "float", "timestamp"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    f"{_TAG}int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


class _NotPlainError(Exception):
    """What YAML allows and no request needs: what it is, and in which line."""

    def __init__(self, mark: Any, problem: str) -> None:
        super().__init__(problem)
        self.line = mark.line + 1 if mark is not None else None


Key = tuple[str | int, ...]
"""The names, and numbers of a list's entries, that lead to a value."""


@dataclass(frozen=True)
class File:
    """One file's settings, without its `base:`, and the line of each."""

    path: Path
    settings: dict[str, Any]
    lines: Mapping[Key, int]

    @property
    def places(self) -> dict[Key, str]:
        """Where each setting is written, as messages say it."""
        return {key: f"{self.path} line {line}" for key, line in self.lines.items()}


def parse_yaml(text: str, what: object) -> Any:
    """The plain part of YAML, as plain values.

    Args:
        what: the document, for messages.

    Raises:
        ConfigError: it is not YAML, or holds more than names, words, numbers and lists; the message
            gives the line.
    """
    return _parse(text, what)[0]


def read_files(path: str | Path) -> list[File]:
    """A YAML file, the file that its `base:` names, the base of that one, and so on.

    Args:
        path: a file, or the name of a config that comes with the package (`demo`).

    Raises:
        ConfigError: a file does not exist, does not hold names with their values, or is its own
            base.
    """
    found: list[File] = []
    seen: list[Path] = []
    file: Path | None = _config_file(Path(path))
    while file is not None:
        seen.append(file.resolve())
        settings, lines = _settings_of(file)
        base = settings.pop("base", None)
        found.append(File(file, settings, lines))
        file = None if base is None else _base_of(found[-1], base, seen)
    return found


def _base_of(file: File, base: Any, seen: list[Path]) -> Path:
    where = f"{file.path}{_in_line(file.lines.get(('base',)))}"
    if not isinstance(base, str):
        raise ConfigError(f"{where}: base: {shown(base)} is not the name of a file")
    try:
        path = _config_file(file.path.parent / base, Path(base))
    except ConfigError as error:
        raise ConfigError(f"{where}: base: {error}") from None
    if path.resolve() in seen:
        raise ConfigError(f"{where}: its base: leads back to itself")
    if len(seen) == _MOST_FILES:
        raise ConfigError(f"{where}: more than {_MOST_FILES} files lie over each other by base:")
    return path


def _settings_of(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    try:
        text = read_file(path, error=ConfigError, most=_MOST_BYTES).decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"no such file: {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"cannot read {path}: it is not UTF-8 text: byte {error.start} is not in a character"
        ) from None
    settings, lines = _parse(text, path)
    if settings is None:
        return {}, {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: expected settings as name: value")
    return settings, lines


def _parse(text: str, what: object) -> tuple[Any, dict[Key, int]]:
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"{what} has {len(text)} characters, at most {_MOST_BYTES} are read")
    try:
        _check_events(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, {}
            _check_nodes(node)
            # Constructing puts what is merged (<<) among a mapping's own names.
            return loader.construct_document(node), dict(_lines(node, ()))
        finally:
            loader.dispose()
    except _NotPlainError as error:
        raise ConfigError(f"{what}{_in_line(error.line)}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", error)
        raise ConfigError(
            f"{what}{_in_line(mark.line + 1 if mark else None)} is not YAML: {problem}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{what} holds an impossible value: {error}") from None


def _lines(node: yaml.Node, key: Key) -> Iterator[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        entries = [(name.value, name, value) for name, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        entries = [(i, value, value) for i, value in enumerate(node.value)]
    else:
        return
    for name, written, value in entries:
        yield (*key, name), written.start_mark.line + 1
        yield from _lines(value, (*key, name))


def _config_file(path: Path, name: Path | None = None) -> Path:
    """The file at a path, or the packaged config of a name, by default the path's."""
    packaged = Path(__file__).parent / "configs"
    if not packaged.is_dir():
        # An editable install, where the folder lies at the top of the repository.
        packaged = Path(__file__).parent.parent / "configs"
    asked = path if name is None else name
    for candidate in (path, packaged / f"{asked}.yaml"):
        try:
            if candidate.is_file():
                return candidate
        except OSError:
            # Too long for a name, or in a directory that may not be searched: no config either way.
            continue
    known = ", ".join(sorted(config.stem for config in packaged.glob("*.yaml")))
    quoted = shown(str(asked))[1:-1]
    there = f"{quoted} is not a regular file" if _exists(path) else f"unknown config {quoted}"
    raise ConfigError(f"{there}: give a YAML file, or one that comes with the package ({known})")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _in_line(line: int | None) -> str:
    return "" if line is None else f" line {line}"


def _check_events(text: str) -> None:
    """Checks how deep it is and how many values it has, without building any of them."""
    depth = count = 0
    for event in yaml.parse(text, Loader=_Loader):
        tag = getattr(event, "tag", None)
        if tag is not None:
            written = f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag
            raise _NotPlainError(
                event.start_mark, f"the tag {shown(written)} is not read: write the value alone"
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        count += isinstance(event, yaml.NodeEvent)
        if depth > _DEPTH:
            raise _NotPlainError(event.start_mark, f"it is nested deeper than {_DEPTH}")
        if count > _MOST_VALUES:
            raise _NotPlainError(event.start_mark, f"it has more than {_MOST_VALUES} values")


def _check_nodes(root: yaml.Node) -> None:
    """Checks that names are words and stand once, that aliases end, and that text is text."""
    left = _MOST_VALUES
    waiting: list[tuple[yaml.Node, int]] = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        left -= 1
        if left < 0 or depth > _DEPTH:
            raise _NotPlainError(
                node.start_mark,
                f"its aliases (*) stand for more than {_MOST_VALUES} values, or for themselves",
            )
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        else:
            waiting += [(child, depth + 1) for child in _children(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
        return
    first: dict[str, Any] = {}
    for name, value in node.value:
        if not isinstance(name, yaml.ScalarNode) or name.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            given = shown(name.value) if isinstance(name, yaml.ScalarNode) else "a list or mapping"
            raise _NotPlainError(
                name.start_mark, f"expected settings as name: value, but {given} is not a name"
            )
        if name.value in first:
            raise _NotPlainError(
                name.start_mark,
                f"{shown(name.value)} is already in line {first[name.value].line + 1}:"
                " give a name once",
            )
        first[name.value] = name.start_mark
        yield from (name, value)


def _check_scalar(node: yaml.ScalarNode) -> None:
    if node.tag == f"{_TAG}int" and len(node.value) > _DIGITS:
        raise _NotPlainError(
            node.start_mark,
            f"it holds a number of {len(node.value)} digits, at most {_DIGITS} are read",
        )
    if _NO_TEXT.search(node.value):
        raise _NotPlainError(
            node.start_mark,
            "it holds a character not allowed in text: NUL, or half of a surrogate pair",
        )
