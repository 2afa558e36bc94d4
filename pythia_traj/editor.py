"""The JSON schema of a config file, by which an editor completes names and marks what is wrong.

It is made of the request's fields and of the parameters of all experiments that are installed. A
file begins with `# yaml-language-server: $schema=schema.json`.
"""

from typing import Any

from pydantic import TypeAdapter

from pythia_traj.config import SweepConfig
from pythia_traj.discovery import discover
from pythia_traj.entries import LABEL, parameters_of
from pythia_traj.experiment import Experiment
from pythia_traj.parameters import Parameter, meanings
from pythia_traj.resources import Cluster
from pythia_traj.settings import DEVICE
from pythia_traj.suites.catalog import catalog

Schema = dict[str, Any]

_FILE = r"\.py(:[A-Za-z_][A-Za-z0-9_]*)?$"
"""What `use:` has where an experiment is in a file."""


def schema() -> Schema:
    """The schema, as JSON values."""
    found = {name: one for name, one in discover().items() if isinstance(one, Experiment)}
    described = meanings(SweepConfig, "Attributes")
    fields = SweepConfig.model_json_schema()["properties"] | _wider(list(found))
    properties = {
        name: _plain(fields[name]) | {"description": described[name]}
        for name in SweepConfig.model_fields
    }
    properties["base"] = {
        "type": "string",
        "description": "a file, by its path from this one, whose settings these are laid over.",
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A sweep of pythia-traj",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "definitions": {
            "model": {"anyOf": [{"enum": list(catalog())}, _WORD]},
            "label": _label(list(found)),
        }
        | {f"experiment-{name}": _parameters(one) for name, one in found.items()},
    }


_WORD = {"type": ["string", "integer"]}


def _wider(names: list[str]) -> dict[str, Schema]:
    """Settings of which a file may say more than the checked request holds."""
    model = {"$ref": "#/definitions/model"}
    use = {"anyOf": [{"enum": names}, {"type": "string"}]}
    labels = {
        "type": "object",
        "propertyNames": {"pattern": f"^{LABEL.pattern}$"},
        "properties": {name: {"anyOf": [{"type": "null"}, _entry(name)]} for name in names},
        # Null removes a label of the base.
        "additionalProperties": {"anyOf": [{"type": "null"}, {"$ref": "#/definitions/label"}]},
    }
    return {
        "model": {"anyOf": [model, {"type": "array", "items": model}]},
        "steps": {"anyOf": [_WORD, {"type": "array", "items": _WORD}]},
        "device": {"type": "string", "pattern": f"^({DEVICE.pattern})$", "default": "auto"},
        "disk_budget": {"type": ["string", "integer", "null"], "minimum": 0, "default": None},
        "experiments": {"anyOf": [labels, use, {"type": "array", "items": use}, {"type": "null"}]},
        "cluster": {"anyOf": [_cluster(), {"type": "null"}]},
    }


def _cluster() -> Schema:
    described = meanings(Cluster, "Attributes")
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: field | {"description": described[name]}
            for name, field in Cluster.model_json_schema()["properties"].items()
        },
    }


def _entry(name: str) -> Schema:
    """What stands under a label that is an experiment's name."""
    return {
        "if": {"type": "object", "required": ["use"]},
        "then": {"$ref": "#/definitions/label"},
        "else": {"$ref": f"#/definitions/experiment-{name}"},
    }


def _label(names: list[str]) -> Schema:
    """What stands under a label of one's own: `use:` says whose parameters follow."""
    return {
        "type": "object",
        "required": ["use"],
        "properties": {"use": {"anyOf": [{"enum": names}, {"pattern": _FILE}]}},
        "allOf": [
            {
                "if": {"properties": {"use": {"const": name}}},
                "then": {"$ref": f"#/definitions/experiment-{name}"},
            }
            for name in names
        ],
    }


def _parameters(experiment: Experiment) -> Schema:
    taken = parameters_of(experiment)
    return {
        "type": "object",
        "description": experiment.description,
        "additionalProperties": False,
        "properties": {"use": {"const": experiment.name}}
        | {name: _parameter(parameter) for name, parameter in taken.items()},
    }


def _parameter(parameter: Parameter) -> Schema:
    taken = TypeAdapter(parameter.annotation)
    default = taken.dump_python(parameter.default, mode="json")
    described = {"description": parameter.meaning} if parameter.meaning else {}
    return {**_plain(taken.json_schema()), "default": default, **described}


_OF_LISTS = {"minLength": "minItems", "maxLength": "maxItems"}
"""What limits of a list are called.

Pydantic has the names on the left where a word is split before the limits are checked.
"""


def _plain(made: Any) -> Any:
    """Pydantic's schema without titles, with lists' limits by their names."""
    if isinstance(made, list):
        return [_plain(one) for one in made]
    if not isinstance(made, dict):
        return made
    called = _OF_LISTS if made.get("type") == "array" else {}
    return {called.get(name, name): _plain(one) for name, one in made.items() if name != "title"}
