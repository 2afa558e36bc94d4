"""The columns of the Parquet a run is made of: the one place that names them.

A table is long and tidy: one row is one value of one metric. `model` and `experiment` are not
columns of the files but hive partitions of their path (`model=.../experiment=.../`), because
readers fail on a column that stands in both places.
"""

from dataclasses import dataclass
from typing import Literal

VERSION = 1
"""Raised when a column changes its meaning; part of every unit's digest."""

MOST_STEP = 2**31 - 1
"""The largest step: what the column holds."""

MOST_TOKENS = 2**63 - 1
"""The same of tokens."""

ColumnType = Literal["dictionary", "bool", "int16", "int32", "int64", "float32", "float64"]


@dataclass(frozen=True)
class Column:
    """One column: its Parquet type, whether it may be null, what it means.

    `dictionary` is dictionary<int32, string>.
    """

    name: str
    type: ColumnType
    nullable: bool
    meaning: str


UNIT_COLUMNS = (
    Column("suite", "dictionary", False, "the family of models the model belongs to"),
    Column(
        "revision",
        "dictionary",
        False,
        "the name under which the step is published, such as step512",
    ),
    Column(
        "commit",
        "dictionary",
        True,
        "the Hub commit the revision resolved to; null for a local directory",
    ),
    Column("step", "int32", False, "training step"),
    Column(
        "tokens",
        "int64",
        True,
        "tokens seen in training up to this step; null where a directory does not say",
    ),
)
"""What is the same for every row of a unit; the store fills these in."""

KEY_COLUMNS = (
    Column(
        "variant",
        "dictionary",
        True,
        "which convention or intervention: two_halves, mean, zero, null:shuffled",
    ),
    Column(
        "component",
        "dictionary",
        True,
        "what the value belongs to: head, mlp, attn, resid_post, embed",
    ),
    Column("layer", "int16", True, "layer of the component"),
    Column("head", "int16", True, "head of the component"),
    Column(
        "position",
        "int32",
        True,
        "position in the sequence, from 0; for losses that of the predicted token",
    ),
    Column(
        "dim",
        "dictionary",
        True,
        "a free dimension: a token class, n of an n-gram, which copy, a template",
    ),
    Column("metric", "dictionary", False, "nll, accuracy, prefix_matching, ..."),
)
"""Which metric of what: with model, experiment and step, the key of a row."""

VALUE_COLUMNS = (
    Column(
        "value",
        "float64",
        True,
        "the mean over items; null where it is not defined, and then reason says why",
    ),
    Column("stderr", "float64", True, "standard error of that mean"),
    Column("n", "int64", True, "how many items the value is a mean of"),
    Column("reason", "dictionary", True, "why a value is null"),
)

METRICS = UNIT_COLUMNS + KEY_COLUMNS + VALUE_COLUMNS
"""Columns of `metrics/`."""

ITEMS = (
    *UNIT_COLUMNS,
    *KEY_COLUMNS,
    Column("item", "int32", False, "which item, or which block of consecutive items, from 0"),
    Column(
        "n", "int64", False, "how many items the value is a mean of: 1, or the size of the block"
    ),
    Column("value", "float32", False, "the item's value"),
)
"""Columns of `tables/items/`: what a bootstrap over items or a paired difference of steps needs."""

MODELS = (
    Column("suite", "dictionary", False, "the family of models it belongs to"),
    Column("repo", "dictionary", True, "its repository on the Hub; null for a directory"),
    Column("size", "dictionary", True, "its size as its suite names it, such as 1b"),
    Column("deduped", "bool", True, "whether it was trained on the deduplicated Pile"),
    Column(
        "seed",
        "int32",
        True,
        "seed of data order and initialisation together; null for the original",
    ),
    Column("data_seed", "int32", True, "seed of the data order alone"),
    Column("weight_seed", "int32", True, "seed of the initialisation alone"),
    Column("n_layers", "int32", False, "layers"),
    Column("n_heads", "int32", False, "heads of a layer"),
    Column("d_model", "int32", False, "width of the residual stream"),
    Column("d_vocab", "int32", False, "rows of the embedding, padding included"),
    Column("n_parameters", "int64", False, "parameters, embedding and unembedding included"),
    Column("tokens_per_step", "int64", True, "training tokens of one step"),
    Column("n_steps", "int32", False, "how many steps it was published at"),
)
"""Columns of `tables/models/`, which joins on `model`: one row a model."""
