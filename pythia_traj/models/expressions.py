"""Whether a tokenizer's regular expression can take hours for a text, by its form alone.

The tokenizers library searches by backtracking, which cannot be interrupted. The time grows
exponentially if something that can match in several ways is repeated, as in `(a+)+` or `(a|a)*`. So
a repetition may be of one character, of a class of characters, or of a group that always matches
the same number of them in one way; and a branch of the expression may have only a few repetitions.
Every pattern of a published GPT-NeoX, GPT, Llama or Qwen tokenizer is of this form. The library
itself refuses what it cannot compile.
"""

import re
from typing import NamedTuple

from pythia_traj.outside import shown

LONGEST = 10_000
"""Characters of an expression, also with repetitions of a fixed number written out."""

_MOST_OPEN = 4
"""Repetitions without an upper bound in a branch.

The time at each place of the text grows with this power of the length that they match.
"""

_MOST_WAYS = 1000
"""Ways in which the rest of a branch can match: the product over its bounded repetitions."""

_DEEPEST = 20
"""Groups within groups."""

_INTERVAL = re.compile(r"\{(\d{1,6})?(,)?(\d{1,6})?\}")
_OPTIONS = re.compile(r"\?[a-zA-Z-]*([:)])")
_NAMED = re.compile(r"\?<\w+>")
_ESCAPE = re.compile(
    r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_OPEN_AT_ALL = 1000
"""A bounded repetition of more than this counts as one without bound."""


class _RefusedError(Exception):
    """The expression must not be used, with the reason."""


class _Cost(NamedTuple):
    """What a part of an expression can match, and its length when written out.

    It matches one length in one way, or it matches in several ways, which are counted.
    """

    is_fixed: bool = True
    open: int = 0
    ways: int = 1
    length: int = 0


def why_slow(expression: str) -> str | None:
    r"""Why an expression may take too long; None if its form rules that out.

    >>> why_slow(r"\p{L}+|\s+(?!\S)")
    >>> why_slow("(a+)+")  # doctest: +NORMALIZE_WHITESPACE
    "its expression '(a+)+' repeats what can match in several ways: write it without a repetition
    inside of a repetition"
    """
    try:
        if len(expression) > LONGEST:
            raise _RefusedError(f"has more than {LONGEST} characters")
        _Reader(expression).read()
    except _RefusedError as reason:
        return f"its expression {shown(expression)} {reason}"
    return None


class _Reader:
    """Reads an expression from left to right."""

    def __init__(self, expression: str) -> None:
        self._text, self._at, self._depth = expression, 0, 0

    def read(self) -> None:
        """Reads all of it; the library refuses a parenthesis that closes nothing."""
        while self._at < len(self._text):
            self._alternatives()
            self._at += 1

    def _alternatives(self) -> _Cost:
        """Branches up to a closing parenthesis or the end."""
        branches = [self._branch()]
        while self._next() == "|":
            self._at += 1
            branches.append(self._branch())
        if len(branches) == 1:
            return branches[0]
        return _Cost(
            is_fixed=False,
            open=max(branch.open for branch in branches),
            ways=sum(branch.ways for branch in branches),
            length=sum(branch.length for branch in branches),
        )

    def _branch(self) -> _Cost:
        total = _Cost()
        while self._next() not in ("", "|", ")"):
            part = self._repeated(self._part())
            total = _Cost(
                total.is_fixed and part.is_fixed,
                total.open + part.open,
                total.ways * part.ways,
                total.length + part.length,
            )
            if total.open > _MOST_OPEN or total.ways > _MOST_WAYS:
                raise _RefusedError("can match in too many ways: write it with fewer repetitions")
            if total.length > LONGEST:
                raise _RefusedError(f"has more than {LONGEST} characters when it is written out")
        return total

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _part(self) -> _Cost:
        """One character, a class of them, or a group."""
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            self._class()
        elif character == "\\":
            self._escape()
        else:
            self._at += 1
        return _Cost(length=1)

    def _escape(self) -> None:
        match = _ESCAPE.match(self._text, self._at)
        if match is None:
            raise _RefusedError("ends in a backslash")
        if match[0][1] in "123456789gkXR":
            raise _RefusedError(
                f"holds {match[0]}, which matches in several ways: write out what it stands for"
            )
        self._at = match.end()

    def _class(self) -> None:
        """A class of characters, with classes inside of it."""
        depth = 0
        while self._at < len(self._text):
            character = self._next()
            if character == "\\":
                match = _ESCAPE.match(self._text, self._at)
                self._at = match.end() if match else len(self._text)
                continue
            self._at += 1
            if character == "[":
                depth += 1
                self._at += self._next() == "^"
                self._at += self._next() == "]"  # the first one is a character
            elif character == "]":
                depth -= 1
                if not depth:
                    return

    def _group(self) -> _Cost:
        self._at += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _RefusedError(f"is nested deeper than {_DEEPEST} groups")
        is_empty = self._opened()
        cost = _Cost() if is_empty else self._alternatives()
        self._at += self._next() == ")"
        self._depth -= 1
        return cost

    def _opened(self) -> bool:
        """Goes past the mark of a group's kind; says whether that is the whole group."""
        if self._next() != "?":
            return False
        for plain in ("?:", "?=", "?!", "?>", "?<=", "?<!"):
            if self._text.startswith(plain, self._at):
                self._at += len(plain)
                return False
        options = _OPTIONS.match(self._text, self._at)
        named = _NAMED.match(self._text, self._at)
        if options is not None and "x" not in options[0]:
            self._at = options.end() - (options[1] == ")")
            return options[1] == ")"
        if named is not None:
            self._at = named.end()
            return False
        raise _RefusedError(
            f"holds a group that begins with ({self._text[self._at : self._at + 3]}: use (?:, (?=,"
            " (?!, (?<= or (?<!"
        )

    def _repeated(self, part: _Cost) -> _Cost:
        """A part with the repetition that follows it, if any."""
        bounds = self._bounds()
        if bounds is None:
            return part
        least, most = bounds
        if most is None or most > 1:
            if not part.is_fixed:
                raise _RefusedError(
                    "repeats what can match in several ways: write it without a repetition inside"
                    " of a repetition"
                )
            length = part.length * max(least, most or 1, 1)
            if most == least:
                return part._replace(length=length)
            if most is None or most - least > _OPEN_AT_ALL:
                return _Cost(False, part.open + 1, part.ways, length)
            return _Cost(False, part.open, part.ways * (most - least + 1), length)
        return part._replace(is_fixed=False, ways=part.ways + 1) if least == 0 else part

    def _bounds(self) -> tuple[int, int | None] | None:
        """How often a part is repeated, at least and at most."""
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self._next())
        bounds: tuple[int, int | None] | None = simple
        if simple is not None:
            self._at += 1
            self._at += self._next() in {"?", "+"}
        elif (match := _INTERVAL.match(self._text, self._at)) and (match[1] or match[3]):
            self._at = match.end()
            self._at += self._next() == "?"
            least = int(match[1] or 0)
            bounds = least, (int(match[3]) if match[3] else None) if match[2] else least
        if bounds is not None and (
            self._next() in {"*", "+", "?"} or _is_interval(self._text, self._at)
        ):
            raise _RefusedError("repeats a repetition: write it as one")
        return bounds


def _is_interval(text: str, at: int) -> bool:
    match = _INTERVAL.match(text, at)
    return match is not None and bool(match[1] or match[3])
