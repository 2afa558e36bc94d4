"""Syntax of Python source as spans of characters: gold labels of Python's own `tokenize` and `ast`.

Each function yields spans with labels, and raises NotPythonError where this version of Python
cannot read the text.
"""

import ast
import io
import keyword
import token
import tokenize
import warnings
from bisect import bisect_right
from collections.abc import Iterator

from pythia_traj.data.labels.alignment import Span


class NotPythonError(Exception):
    """This version of Python cannot read the text."""


Located = tuple[int, int, int, str]
"""A token of Python: its type, its first character, the one after its last, its text."""

DEEPEST = 3
"""Brackets nested at least this deep share one label."""

# Python 3.12 has tokens for the parts of an f-string; before, one is a STRING.
_F_START, _F_END = (getattr(token, f"FSTRING_{which}", None) for which in ("START", "END"))

_OF_TYPE = {
    token.OP: "operator",
    token.STRING: "string",
    token.COMMENT: "comment",
    token.NUMBER: "number",
    token.NEWLINE: "indentation",
    token.NL: "indentation",
}


def token_classes(text: str) -> Iterator[Span]:
    """keyword, name, operator, string, comment, number, indentation.

    Indentation is the white space that a line begins with, and the line break before it: models'
    tokens join them. Soft keywords (`match`) are names. White space within a line has no label.
    Fields of an f-string are a part of it before Python 3.12.
    """
    tokens = _tokens(text)
    yield from ((start, end, "string") for start, end in _f_strings(tokens))
    for type_, start, end, string in tokens:
        line = text.rfind("\n", 0, start) + 1
        if line < start and text[line:start].isspace():
            yield line, start, "indentation"
        if type_ == token.NAME:
            yield start, end, "keyword" if keyword.iskeyword(string) else "name"
        elif type_ in _OF_TYPE:
            yield start, end, _OF_TYPE[type_]


def in_string(text: str) -> Iterator[Span]:
    """Inside or outside a string literal; its prefix and quotes are inside."""
    yield 0, len(text), "outside"
    tokens = _tokens(text)
    yield from ((start, end, "inside") for start, end in _f_strings(tokens))
    yield from ((start, end, "inside") for type_, start, end, _ in tokens if type_ == token.STRING)


def bracket_depth(text: str) -> Iterator[Span]:
    """0, 1, 2, 3+: how many brackets are open. The brackets of a pair themselves are outside it."""
    depth, since = 0, 0
    for type_, start, end, string in _tokens(text):
        if type_ != token.OP or string not in tuple("([{)]}"):
            continue
        opens = string in tuple("([{")
        border = end if opens else start
        yield since, border, _depth_name(depth)
        since = border
        depth = max(0, depth + (1 if opens else -1))
    yield since, len(text), _depth_name(depth)


def definitions(text: str) -> Iterator[Span]:
    """Definition or use, of each name that is not a keyword.

    A definition is where a name gets its meaning: of a function, class or parameter, as the target
    of an assignment, of `for`, `with`, `import`, `except` or a pattern. All other names are uses,
    the keywords of a call among them.
    """
    names = [
        (start, end) for type_, start, end, string in _tokens(text) if _is_identifier(type_, string)
    ]
    defined = set(_defined_by_words(text)) | set(
        _defined_by_nodes(text, {end: start for start, end in names})
    )
    yield from ((start, end, "definition" if start in defined else "use") for start, end in names)


def _depth_name(depth: int) -> str:
    return f"{DEEPEST}+" if depth >= DEEPEST else str(depth)


def _is_identifier(type_: int, string: str) -> bool:
    return type_ == token.NAME and not keyword.iskeyword(string)


def _tokens(text: str) -> list[Located]:
    """The tokens that have characters, in order.

    Those that mark a change of indentation are left out.
    """
    if "\r" in text.replace("\r\n", "\n"):
        raise NotPythonError(
            "a carriage return by itself: tokenize and ast count its lines differently"
        )
    starts = _line_starts(text)
    try:
        found = list(tokenize.generate_tokens(io.StringIO(text, newline="\n").readline))
    except (tokenize.TokenError, SyntaxError, ValueError) as error:
        raise NotPythonError(str(error)) from None
    left_out = (token.INDENT, token.DEDENT, token.ENDMARKER)
    located = (
        (t, starts[t.start[0] - 1] + t.start[1])
        for t in found
        if t.string and t.type not in left_out
    )
    return _whole(
        [(t.type, start, starts[t.end[0] - 1] + t.end[1], t.string) for t, start in located]
    )


def _whole(tokens: list[Located]) -> list[Located]:
    """The tokens, with names in one piece.

    Before Python 3.12, tokenize breaks names in which an accent is a separate character.
    """
    found: list[Located] = []
    for type_, start, end, string in tokens:
        if (
            found
            and found[-1][0] == token.NAME
            and found[-1][2] == start
            and (found[-1][3] + string).isidentifier()
        ):
            _, first, _, before = found.pop()
            type_, start, string = token.NAME, first, before + string
        found.append((type_, start, end, string))
    return found


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in io.StringIO(text, newline="\n"):
        starts.append(starts[-1] + len(line))
    return starts


def _f_strings(tokens: list[Located]) -> Iterator[tuple[int, int]]:
    """From the first to the last character of each f-string, outer ones before those in them."""
    if _F_START is None:
        return
    found, begun = [], []
    for type_, start, end, _ in tokens:
        if type_ == _F_START:
            begun.append(start)
        elif type_ == _F_END:
            found.append((begun.pop(), end))
    yield from sorted(found)


def _defined_by_words(text: str) -> Iterator[int]:
    """Names after `def`, `class` and `as`, of which the syntax tree has no position."""
    tokens = [found for found in _tokens(text) if found[0] not in (token.NL, token.COMMENT)]
    for i, (type_, _, _, string) in enumerate(tokens[:-1]):
        if type_ != token.NAME or string not in ("def", "class", "as"):
            continue
        next_type, start, _, name = tokens[i + 1]
        after = tokens[i + 2][3] if i + 2 < len(tokens) else ""
        # `with f() as a.b` assigns to an attribute of an existing object.
        if _is_identifier(next_type, name) and not (string == "as" and after in (".", "[")):
            yield start


def _defined_by_nodes(text: str, names: dict[int, int]) -> Iterator[int]:
    """Where the names begin that the syntax tree defines.

    `names` maps each name's end to its beginning: the tree holds normalised names only.
    """
    try:
        with warnings.catch_warnings():
            # Escapes that a later version will not allow do not matter here.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotPythonError(str(error)) from None
    lines = text.split("\n")
    starts = _line_starts(text)

    def character(line: int, byte: int) -> int:
        """The syntax tree counts columns in bytes of UTF-8."""
        source = lines[line - 1]
        column = byte if source.isascii() else len(source.encode()[:byte].decode())
        return starts[line - 1] + column

    ends = sorted(names)

    def last_name(node: ast.Attribute | ast.MatchStar | ast.MatchMapping) -> int:
        """The last name that ends within a node."""
        end = character(node.end_lineno or 0, node.end_col_offset or 0)
        return names[ends[bisect_right(ends, end) - 1]]

    for node in ast.walk(tree):
        match node:
            case ast.Name(ctx=ast.Store()) | ast.arg():
                yield character(node.lineno, node.col_offset)
            case ast.alias(asname=None):  # `import a.b` defines a
                yield character(node.lineno, node.col_offset)
            case (
                ast.Attribute(ctx=ast.Store())
                | ast.MatchStar(name=str())
                | ast.MatchMapping(rest=str())
            ):
                yield last_name(node)
            case ast.MatchAs(pattern=None, name=str()):
                yield character(node.lineno, node.col_offset)
