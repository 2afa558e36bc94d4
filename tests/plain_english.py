"""Finds phrases that no text of the project may hold, for readers whose second language it is in.

Each function takes a text or a command line and returns what it finds; none reads this project's
files by itself, so a rule can be tried on a text that breaks it.
"""

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterator
from pathlib import Path

import click
import typer
from typer.main import get_command

PHRASES = ("is no ", "lets go", "let go of", "cannot be had", "Mended")
"""The refused phrases. A phrase may run over a line break, and case does not matter."""

PYTHON = ("pythia_traj", "experiments", "benchmarks", "docs")
"""Folders whose Python files are read: their strings, docstrings and comments."""

TEXTS = ("docs/**/*.md", "*.md", "pythia_traj/**/*.jinja", "configs/*.yaml")
"""Files that are read whole."""


def _pattern(phrase: str) -> re.Pattern[str]:
    end = r"\s" if phrase.endswith(" ") else r"\b"
    words = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.compile(rf"\b{words}{end}", re.IGNORECASE)


_PATTERNS = {phrase: _pattern(phrase) for phrase in PHRASES}


def in_folder(root: Path, exempt: Collection[str] = ()) -> list[str]:
    """The phrases in the files of a project, as `path:line: phrase`."""
    python = [path for folder in PYTHON for path in sorted((root / folder).rglob("*.py"))]
    texts = [path for pattern in TEXTS for path in sorted(root.glob(pattern))]
    found = [(path, one) for path in python for one in in_python(path.read_text(), exempt)]
    found += [(path, one) for path in texts for one in in_text(path.read_text())]
    return [f"{path.relative_to(root)}:{line}: {phrase}" for path, (line, phrase) in found]


def in_help(app: typer.Typer) -> list[str]:
    """The phrases in the text of `--help` of a command line and of each of its commands."""
    return [
        f"{name} --help: {phrase}"
        for name, text in _help(get_command(app), "")
        for _, phrase in in_text(text)
    ]


def in_python(source: str, exempt: Collection[str] = ()) -> list[tuple[int, str]]:
    """Line and phrase, of strings, docstrings and comments; `exempt` are whole strings."""
    texts = [text for text in strings(source) if text[1] not in exempt]
    found = {
        (first + line - 1, phrase)
        for first, text in [*texts, *_comments(source)]
        for line, phrase in in_text(text)
    }
    return sorted(found)


def in_text(text: str) -> list[tuple[int, str]]:
    """Line and phrase of each phrase in a text."""
    return [
        (text.count("\n", 0, match.start()) + 1, phrase)
        for phrase, pattern in _PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def strings(source: str) -> list[tuple[int, str]]:
    """First line and value of each string; the fields of an f-string are `{}`."""
    tree = ast.parse(source)
    parts = {
        id(part)
        for joined in ast.walk(tree)
        if isinstance(joined, ast.JoinedStr)
        for part in joined.values
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = (
                part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
            found.append((node.lineno, "".join(map(str, values))))
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
        ):
            found.append((node.lineno, node.value))
    return found


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """First line and text of comments, those on consecutive lines as one."""
    first, texts = 0, []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if texts and token.start[0] != first + len(texts):
            yield first, "\n".join(texts)
            texts = []
        if not texts:
            first = token.start[0]
        texts.append(token.string.lstrip("#:"))
    if texts:
        yield first, "\n".join(texts)


def _help(command: click.Command, parents: str) -> Iterator[tuple[str, str]]:
    name = f"{parents} {command.name}".strip()
    yield name, command.get_help(typer.Context(command, info_name=name))
    for child in getattr(command, "commands", {}).values():
        yield from _help(child, name)
