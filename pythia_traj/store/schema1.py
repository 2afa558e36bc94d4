"""What runs of schema 1 say, in today's words.

Schema 1 put several things into one column. `variant` also held which control a row was of
(`null:shuffled:logit`) and which step was compared with, `dim` held everything else that
distinguished rows: a class of tokens, a number of edges, the end of an interval.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

from pythia_traj import schema
from pythia_traj.keys import WORD_COLUMNS, Key
from pythia_traj.schema import Column
from pythia_traj.store.records import Footer

VERSION = 1

WRITTEN_BY = "0.1.0"
"""The version of pythia-traj that had this schema."""

WORDS = ("metric", "variant", "component", "dim")
"""The columns that held words of a key."""

PLACES = ("layer", "head", "position")
"""The columns of a key that have not changed."""

UNIT_COLUMNS = tuple(
    replace(column, type="int32") if column.name == "step" else column
    for column in schema.UNIT_COLUMNS
    if column.name != "experiment"
)

_KEY_COLUMNS = (
    Column("variant", "dictionary", True, "which convention, intervention, control or step"),
    Column("component", "dictionary", True, "what the value belongs to"),
    Column("layer", "int16", True, "its layer"),
    Column("head", "int16", True, "its head"),
    Column("position", "int32", True, "position in the sequence"),
    Column("dim", "dictionary", True, "whatever else told rows apart"),
    Column("metric", "dictionary", False, "the metric"),
)

METRICS = (
    *UNIT_COLUMNS,
    *_KEY_COLUMNS,
    Column("value", "float64", True, "the mean over items"),
    Column("stderr", "float64", True, "its standard error"),
    Column("n", "int64", True, "of how many items"),
    Column("reason", "dictionary", True, "why a value is null"),
)

ITEMS = (
    *UNIT_COLUMNS,
    *_KEY_COLUMNS,
    Column("item", "int32", False, "which item, or block of consecutive items"),
    Column("n", "int64", False, "of how many items the value is a mean"),
    Column("value", "float32", False, "the item's value"),
)

COLUMNS = {None: METRICS, "items": ITEMS, "models": schema.MODELS}
"""The columns of the store's own tables."""


class Words(NamedTuple):
    """The words of an old key."""

    metric: str
    variant: str | None
    component: str | None
    dim: str | None


@dataclass(frozen=True)
class Origin:
    """What is needed to understand old words.

    Attributes:
        experiment: the packaged experiment that wrote them; None for a user's.
        method: the parameter of `attribution`, which its controls did not name.
    """

    experiment: str | None
    method: str | None = None

    @classmethod
    def of(cls, footer: Footer) -> "Origin":
        """From the provenance of the rows."""
        name = str(footer.made_of.get("experiment"))
        if not is_packaged(footer):
            return cls(None)
        method = _parameters(footer.made_of).get("method") if name == "attribution" else None
        return cls(name, method if isinstance(method, str) else None)


def is_packaged(footer: Footer) -> bool:
    """Whether rows are those of an experiment that came with pythia-traj."""
    source = footer.experiment_source
    return str(footer.made_of.get("experiment")) in PACKAGED and (source is None or source.packaged)


def made_of_today(footer: Footer) -> dict[str, Any]:
    """What a unit is made of, as a sweep of this version would record it."""
    made_of = {**footer.made_of, "schema": schema.VERSION}
    if is_packaged(footer) and "parameters" in made_of:
        made_of["parameters"] = parameters_today(_parameters(made_of))
    return made_of


def parameters_today(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a packaged experiment under their names of today."""
    return {{"source": "corpus"}.get(name, name): value for name, value in parameters.items()}


def keys_of(found: Iterable[Words], origin: Origin) -> tuple[dict[Words, Key], list[str]]:
    """The key of each of these words, and notes on them.

    No two share a key: where words become equal (`a:b` and `a_b` of a user's experiment), unchanged
    words keep theirs, and the others' parts are numbered.
    """
    keys: dict[Words, Key] = {}
    taken: set[Key] = set()
    said = []
    for words in sorted(found, key=_changed_last):
        first = key = _key(words, origin)
        number = 1
        while key in taken:
            number += 1
            key = replace(first, part=f"{first.part}_{number}" if first.part else str(number))
        taken.add(key)
        keys[words] = key
        if number > 1:
            named = ", ".join(f"{n}={w}" for n, w in words._asdict().items() if w is not None)
            said.append(f"what was {named} has part={key.part}: without colons it is like others")
    return keys, said


def _key(words: Words, origin: Origin) -> Key:
    control, variant = split(words.variant)
    named: dict[str, Any] = {
        "variant": variant,
        "control": control,
        "component": words.component,
        "part": words.dim,
    }
    if origin.experiment is not None:
        if control is None and variant == "corrupted":
            named |= {"variant": None, "control": "corrupted"}
        rule = _RULES.get(origin.experiment)
        named |= {} if rule is None else rule(words.metric, named, origin)
    for name in WORD_COLUMNS:
        # Any other colons belong to a user's own word.
        named[name] = (named.get(name) or "").replace(":", "_") or None
    return Key(words.metric, **named)


def split(variant: str | None) -> tuple[str | None, str | None]:
    """A control and its variant, from words such as `null:shuffled:logit`."""
    null, _, rest = (variant or "").partition(":")
    if null != "null" or not rest:
        return None, variant
    control, _, own = rest.partition(":")
    return control or "null", own or None


def _changed_last(words: Words) -> tuple[object, ...]:
    colons = sum(":" in (word or "") for word in words)
    return (colons, *((word is not None, word or "") for word in words))


def _parameters(made_of: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = made_of.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


_Said = Mapping[str, Any]
"""What words mean, by today's columns; anything else in `dim` is a part."""


def _target(_: str, said: _Said, __: Origin) -> dict[str, Any]:
    return {"target": said["part"], "part": None}


def _ablation(metric: str, said: _Said, _: Origin) -> dict[str, Any]:
    own: dict[str, Any] = {"target": said["part"], "part": None}
    if metric == "effect_rank":
        # It is the rank of the effect among the matched controls: a measurement.
        own["control"] = None
    component = said["component"] or ""
    if component.startswith("set:"):
        own |= {"component": "set", "part": component.removeprefix("set:")}
    return own


def _attribution(_: str, said: _Said, origin: Origin) -> dict[str, Any]:
    dim = said["part"]
    own: dict[str, Any] = {"part": None}
    if said["control"] in ("shuffled", "random"):
        own["variant"] = origin.method
    if dim == "corrupted":
        own["control"] = "corrupted"
    elif dim is not None and dim.isdecimal() and int(dim) < 2**31:
        own["size"] = int(dim)
    elif dim != "full":
        own["reference"] = dim
    return own


def _head_roles(_: str, said: _Said, __: Origin) -> dict[str, Any]:
    own = {"target": said["part"], "part": None}
    return own | ({"variant": None, "part": "selection"} if said["variant"] == "selection" else {})


def _linear_probe(_: str, said: _Said, __: Origin) -> dict[str, Any]:
    return {"control": "control_task"} if said["control"] == "control" else {}


def _memorization(_: str, said: _Said, __: Origin) -> dict[str, Any]:
    return {"control": "permuted"} if said["control"] == "other" else {}


def _ngram(_: str, said: _Said, __: Origin) -> dict[str, Any]:
    if said["variant"] == "text":
        return {"variant": None, "part": "text"}
    size = {"unigram": 1, "bigram": 2, "trigram": 3}.get(said["variant"])
    return {} if size is None else {"variant": None, "size": size}


def _representation(metric: str, said: _Said, _: Origin) -> dict[str, Any]:
    variant = said["variant"] or ""
    if metric == "participation_ratio" and said["control"] and not variant:
        return {"variant": "centred"}
    if metric not in ("cka", "mean_cosine"):
        return {}
    if variant.startswith("biased:"):
        return {"variant": "biased", "reference": variant.removeprefix("biased:")}
    return {"variant": None, "reference": variant}


def _transplant(metric: str, said: _Said, _: Origin) -> dict[str, Any]:
    if metric != "transplant":
        return {}
    return {"variant": None, "reference": said["variant"], "target": said["part"], "part": None}


def _weights(metric: str, said: _Said, _: Origin) -> dict[str, Any]:
    if metric == "norm":
        return {"variant": said["part"], "part": None}
    if metric in ("relative_distance", "cosine"):
        return {"variant": None, "reference": said["variant"]}
    return {}


_RULES: Mapping[str, Callable[[str, _Said, Origin], dict[str, Any]]] = {
    "ablation": _ablation,
    "attribution": _attribution,
    "head_roles": _head_roles,
    "linear_probe": _linear_probe,
    "memorization": _memorization,
    "ngram": _ngram,
    "patching": _target,
    "representation": _representation,
    "transplant": _transplant,
    "weights": _weights,
}
"""What a packaged experiment meant by a control, a variant or a dim, where it is not the general
rule: `null:X:Y` is the control X of variant Y, and a dim is a part."""


def _table(columns: str) -> tuple[Column, ...]:
    """Columns as `name type, name type`; the type of one that may be null has a question mark."""
    pairs = (column.split() for column in columns.split(", "))
    return tuple(
        Column(name, cast(schema.ColumnType, kind.rstrip("?")), kind.endswith("?"), "")
        for name, kind in pairs
    )


PACKAGED: Mapping[str, Mapping[str, tuple[Column, ...]]] = {
    "ablation": {
        "sets": _table("kind dictionary, set dictionary, layer int16, head int16"),
    },
    "activations": {},
    "attribution": {
        "edges": _table(
            "method dictionary, sender dictionary, sender_layer int16?, sender_head int16?,"
            " reader dictionary, layer int16?, head int16?, score float32, rank int32"
        ),
    },
    "behaviour": {},
    "head_roles": {"receivers": _table("layer int16, head int16")},
    "induction": {},
    "linear_probe": {
        "probes": _table(
            "kind dictionary, site dictionary, layer int16, control dictionary?, draw int32?,"
            " strength float64, cross_entropy float32"
        ),
        "features": _table(
            "site dictionary, layer int16, rank int32, feature int32, share float32"
        ),
    },
    "logit_attribution": {},
    "logit_lens": {},
    "loss": {
        "tokens": _table(
            "item int32, position int32, token_id int32, nll float32, correct bool,"
            " variant dictionary?, control dictionary?"
        ),
    },
    "memorization": {},
    "ngram": {},
    "patching": {},
    "representation": {},
    "samples": {
        "samples": _table(
            "prompt_number int32, prompt string, sample int32, continuation string,"
            " token_ids list<int32>, log_prob float32"
        ),
    },
    "transplant": {},
    "weights": {
        "spectra": _table(
            "component dictionary, layer int16?, head int16?, singular_values list<float32>"
        ),
        "sketches": _table(
            "component dictionary, layer int16?, head int16?, norm float32, sketch list<float32>"
        ),
    },
}
"""The experiments that came with that version, with their own tables as they are declared today.

They are listed here because reading them from the experiments needs torch.
"""
