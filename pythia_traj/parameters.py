"""Parameters of a request: a signature, or the fields of data, as a schema.

Annotations are checked when a request is read, values are stored with the results.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, get_type_hints

from annotated_types import Ge
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_before_validator_function

Count = Annotated[int, Ge(1)]
"""A parameter that counts something: at least 1."""

AtLeastTwo = Annotated[int, Ge(2)]
"""A parameter that counts things to compare: at least 2."""


class _CommaSeparated:
    """Splits a word at its commas; an editor's schema takes the word beside the list."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_before_validator_function(self._split, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": ["string", "number"]}]}

    @staticmethod
    def _split(value: Any) -> Any:
        return tuple(str(value).split(",")) if isinstance(value, str | int | float) else value


COMMA_SEPARATED = _CommaSeparated()
"""Goes with the annotation of a tuple: `a,b` means its entries, as on the command line.

A number alone means one entry.
"""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a request: its annotation, its default, and its documented meaning."""

    name: str
    annotation: Any
    default: Any
    meaning: str = ""


def of_function(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword-only parameters of a function, in their order.

    Raises:
        TypeError: one lacks a default or an annotation; the message names it.
    """
    signature = inspect.signature(function, eval_str=True)
    keyword_only = [
        p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for lacking, names in (
        ("a default", [p.name for p in keyword_only if p.default is p.empty]),
        ("an annotation", [p.name for p in keyword_only if p.annotation is p.empty]),
    ):
        if names:
            raise TypeError(f"parameters without {lacking}: {', '.join(names)}")
    explained = meanings(function, "Args")
    return {
        p.name: Parameter(p.name, p.annotation, p.default, explained.get(p.name, ""))
        for p in keyword_only
    }


def of_data(data: Any) -> dict[str, Parameter]:
    """The fields of a dataclass instance, in their order; their values are the defaults."""
    annotations = get_type_hints(type(data), include_extras=True)
    explained: dict[str, str] = {}
    for kind in reversed(type(data).__mro__):
        explained |= meanings(kind, "Attributes")
    return {
        field.name: Parameter(
            field.name,
            annotations[field.name],
            getattr(data, field.name),
            explained.get(field.name, ""),
        )
        for field in fields(data)
    }


def meanings(documented: Any, section: str) -> dict[str, str]:
    """The entries of a docstring's section by name; indented lines continue an entry."""
    _, _, rest = (inspect.getdoc(documented) or "").partition(f"\n{section}:\n")
    entries = re.split(r"^ {4}(?=\S)", re.split(r"^(?=\S)", rest, flags=re.M)[0], flags=re.M)
    pairs = (" ".join(entry.split()).partition(": ") for entry in entries)
    return {name: meaning for name, _, meaning in pairs}


def without_arguments(documentation: str) -> str:
    """A docstring without its arguments, which the parameters describe."""
    return documentation.partition("\nArgs:\n")[0].rstrip()


def positional(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's positional parameters."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind in kinds)
