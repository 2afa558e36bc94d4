"""The columns of the Parquet a run is made of: the one place that names them, and their words.

A table is long and tidy: one row is one value of one metric. `model` and `label` are not columns
of the files but hive partitions of their path (`model=.../label=.../`), because readers fail on a
column that stands in both places.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

VERSION = 2
"""Raised when a column changes its meaning; part of every unit's digest.

A column that is added does not raise it.
"""

MOST_STEP = 2**31 - 1
"""The largest step: what its file's name holds."""

MOST_TOKENS = 2**63 - 1
"""The largest number of tokens: what the column holds."""

ColumnType = Literal[
    "dictionary",
    "string",
    "bool",
    "int16",
    "int32",
    "int64",
    "float32",
    "float64",
    "list<int32>",
    "list<float32>",
    "list<string>",
]


@dataclass(frozen=True)
class Column:
    """One column: its Parquet type, whether it may be null, what it means.

    `dictionary` is dictionary<int32, string>: words that repeat. A column that was `added` to a
    table of the store's own is one of its last: files from before lack it, and are read with nulls.
    """

    name: str
    type: ColumnType
    nullable: bool
    meaning: str
    added: bool = False


TABLE = re.compile(r"[a-z][a-z0-9_]*")
"""What a table can be called."""

STORES_TABLES = ("items", "models")
"""The store's own tables."""

PARTITIONS = ("model", "label")
"""Columns that only the path of a unit's files holds."""

UNIT_COLUMNS = (
    Column("suite", "dictionary", False, "the family of models the model belongs to"),
    Column("revision", "dictionary", False, "the name under which the step is published: step512"),
    Column(
        "commit",
        "dictionary",
        True,
        "the Hub commit the revision resolved to; null for a local directory",
    ),
    Column(
        "experiment",
        "dictionary",
        False,
        "the experiment's name; the label under which a request uses it is in the path",
    ),
    Column("step", "int64", False, "training step"),
    Column(
        "tokens",
        "int64",
        True,
        "tokens seen in training up to this step; null where a directory does not say",
    ),
)
"""What is the same for every row of a unit; the store fills these in."""

KEY_COLUMNS = (
    Column("metric", "dictionary", False, "nll, accuracy, prefix_matching, ..."),
    Column("variant", "dictionary", True, "the convention or kind alone: two_halves, mean, eap_ig"),
    Column(
        "control",
        "dictionary",
        True,
        "null for a measurement; else which control it is of the measurement of that variant",
    ),
    Column(
        "component",
        "dictionary",
        True,
        "what the value belongs to: head, mlp, resid_post, W_Q, set",
    ),
    Column("layer", "int16", True, "layer of the component"),
    Column("head", "int16", True, "head of the component"),
    Column(
        "position",
        "int32",
        True,
        "position in the sequence, from 0, or from the end, where -1 is the last; for losses,"
        " that of the predicted token",
    ),
    Column(
        "part",
        "dictionary",
        True,
        "the part of items or outputs: which copy, a token class, a template, a set's name",
    ),
    Column(
        "target",
        "dictionary",
        True,
        "what a derived metric is about: the task's metric of an effect, the role of a p-value",
    ),
    Column("size", "int32", True, "edges of a circuit, n of an n-gram"),
    Column("reference", "dictionary", True, "the other step compared with: init, step:512"),
)
"""Which metric of what: with model, label and step, the key of a row."""

KEYS = (*PARTITIONS, *(column.name for column in KEY_COLUMNS))
"""The columns that tell one trajectory over the steps from another."""

VALUE_COLUMNS = (
    Column(
        "value",
        "float64",
        True,
        "the mean over items; null where it is not defined, and then reason says why",
    ),
    Column(
        "stderr",
        "float64",
        True,
        "standard error of that mean, of its clusters; null where they are fewer than 6",
    ),
    Column(
        "low",
        "float64",
        True,
        "lower end of the 95 % interval, by t with clusters - 1 degrees of freedom or a bootstrap",
    ),
    Column("high", "float64", True, "its upper end"),
    Column("n", "int64", True, "how many items the value is a mean of"),
    Column("clusters", "int64", True, "how many of them are independent: names, documents"),
    Column("reason", "dictionary", True, "why a value is null, or has no standard error"),
)

METRICS = UNIT_COLUMNS + KEY_COLUMNS + VALUE_COLUMNS
"""Columns of `metrics/`."""

ITEMS = (
    *UNIT_COLUMNS,
    *KEY_COLUMNS,
    Column("item", "int32", False, "which item, or block of consecutive items, from 0"),
    Column("n", "int64", False, "how many items the value is a mean of: 1, or the block's size"),
    Column("value", "float32", False, "the item's value"),
    Column(
        "cluster",
        "int32",
        True,
        "which items are not independent: those of one cluster have its number; null where each is"
        " independent, or a block that divides none",
        added=True,
    ),
)
"""Columns of `tables/items/`: what a bootstrap, or a paired difference between steps, needs."""

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


def check_table_name(table: str) -> None:
    """Refuses a name that an experiment's own table cannot have.

    Raises:
        ValueError: it is not a lower-case word, or one of the store's own tables has it.
    """
    if not TABLE.fullmatch(table) or table in STORES_TABLES:
        raise ValueError(
            f"table {table!r}: a lower-case word other than {' and '.join(STORES_TABLES)}"
        )


def check_columns(table: str, columns: Sequence[Column]) -> None:
    """Refuses columns that an experiment's own table cannot have.

    Raises:
        ValueError: they are not columns, the type of one is unknown, every table of a unit has one
            already, or one is given twice.
    """
    if isinstance(columns, Column) or not all(isinstance(one, Column) for one in columns):
        raise ValueError(
            f"table {table!r}: give a tuple of columns,"
            " (Column(name, type, nullable, meaning), ...)"
        )
    names = [column.name for column in columns]
    taken = {*PARTITIONS, *(column.name for column in UNIT_COLUMNS)}
    colliding = [name for name in names if name in taken]
    if colliding:
        raise ValueError(
            f"table {table!r} has columns that every table of a unit has, {', '.join(colliding)}:"
            " give them other names"
        )
    if len(set(names)) < len(names):
        raise ValueError(f"table {table!r} has a column twice: {', '.join(names)}")
    known = get_args(ColumnType)
    for column in columns:
        if column.type not in known:
            raise ValueError(
                f"table {table!r}, column {column.name!r}: unknown type {column.type!r}: give"
                f" one of {', '.join(known)}"
            )


WORDS: Mapping[str, tuple[str, ...]] = {
    "variant": (
        # prefix matching and what is measured beside it
        "two_halves", "olsson_entries", "olsson_query", "detect_head_mul", "detect_head_abs",
        # what takes the place of what is removed
        "zero", "mean", "positional_mean", "resample", "pattern_preserving", "direct",
        # attribution, and which prompt is patched into which
        "eap", "eap_denoising", "eap_ig", "denoising", "noising",
        # probes and lenses
        "logistic", "mean_difference", "k_sparse", "logit", "tuned",
        # norms, copying, CKA, participation ratios, successors
        "frobenius", "spectral", "nuclear", "ov", "full", "biased", "centred", "uncentred",
        "with_embed", "cot",
    ),
    "control": (
        "shuffled", "init", "random", "matched", "uniform", "rolled", "permuted", "gaussian",
        "control_task", "corrupted", "chance",
    ),
    "component": (
        "head", "attn", "mlp", "set", "layer", "embed", "unembed", "ln1", "ln2", "ln_final",
        "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pre",
        "post", "attn_bias", "unembed_bias",
        "W_E", "W_U", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_QK", "W_OV",
    ),
    "part": (
        "first_copy", "second_copy", "fold_1", "fold_2", "text",
        # classes and bands of frequency of tokens
        "word", "word_after_space", "number", "punctuation", "whitespace", "other",
        "rank_1_10", "rank_11_100", "rank_101_1000", "rank_1001_10000", "rank_from_10001",
        "unseen",
        # templates
        "went_baba", "went_abba", "met_baba", "met_abba", "worked_baba", "worked_abba",
        "talk_baba", "talk_abba", "friends_baba", "friends_abba", "lasted", "singular",
        "plural", "he", "she",
    ),
    "target": (
        "nll", "logit_diff", "prob_diff",
        "previous_token", "duplicate_token", "induction", "name_mover", "s_inhibition",
        "successor", "copy_suppression",
    ),
}  # fmt: skip
"""The words of our own experiments: each says one thing, and none holds a colon."""

PART_PATTERN = r"top\d+|L\d+H\d+(\+L\d+H\d+)*|selection_\d+"
"""Names of sets of heads and of items, which are parts too.

Your own templates have the names in your file.
"""
