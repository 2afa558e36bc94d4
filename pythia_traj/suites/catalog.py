"""The published suites as data: one record a model, and how a name is looked up.

It has all that is known of a model before a download. Sources: the tables of
the repository EleutherAI/pythia (sizes, learning rates, batch sizes, old names), the PolyPythias
paper (van der Wal et al. 2025; seeds), the repositories' own names and branches.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pythia_traj.errors import SuiteError, nearest
from pythia_traj.suites.names import find_directory
from pythia_traj.suites.schedules import Schedule

ORGANISATION = "EleutherAI"

TOKENS_PER_STEP = 1024 * 2048
"""Of every Pythia: sequences of a batch x tokens of a sequence.

v0 models that were trained with twice the batch have their steps labelled as if they had not
(EleutherAI/pythia, README), so it holds for their labels too.
"""

LAST_STEP = 143_000

_WARMUP = LAST_STEP // 100
"""Steps of warm-up: `"warmup": 0.01` in all configs of EleutherAI/pythia."""

_DEDUPED_PILE = 207_000_000_000
"""Tokens of the deduplicated Pile (EleutherAI/pythia, README, to the billion).

All models saw 299.9 billion tokens: 1.5 epochs of it, and just under one of the Pile.
"""

EARLY = (0, *(2**i for i in range(10)))
EVERY_THOUSAND = tuple(range(1000, LAST_STEP + 1, 1000))

TOKENIZER_SIZE = 50_277
"""Tokens the tokenizer knows.

The embeddings' other rows pad them to a round number (EleutherAI/pythia #68).
"""


@dataclass(frozen=True)
class Size:
    """What all models of one size share.

    Attributes:
        peak_lr: the learning rate after warm-up. For 1b the README says 3.0e-4, the training config
            2.5e-4; this is the README's.
        d_vocab: rows of the embedding, padding included.
    """

    name: str
    n_layers: int
    d_model: int
    n_heads: int
    peak_lr: float
    d_vocab: int = 50_304

    @property
    def n_parameters(self) -> int:
        """The number of parameters of the whole model.

        They are those of embedding and unembedding (not tied), of four matrices of attention and an
        MLP four times as wide, their biases, and the LayerNorms.
        """
        layer = 12 * self.d_model**2 + 13 * self.d_model
        return 2 * self.d_vocab * self.d_model + self.n_layers * layer + 2 * self.d_model


SIZES = {
    size.name: size
    for size in (
        Size("14m", 6, 128, 4, 1e-3),
        Size("31m", 6, 256, 8, 1e-3),
        Size("70m", 6, 512, 8, 1e-3),
        Size("160m", 12, 768, 12, 6e-4),
        Size("410m", 24, 1024, 16, 3e-4),
        Size("1b", 16, 2048, 8, 3e-4),
        Size("1.4b", 24, 2048, 16, 2e-4),
        Size("2.8b", 32, 2560, 32, 1.6e-4),
        Size("6.9b", 32, 4096, 32, 1.2e-4, d_vocab=50_432),
        Size("12b", 36, 5120, 40, 1.2e-4, d_vocab=50_688),
    )
}

OLD_NAMES = {
    "70m": "19m",
    "160m": "125m",
    "410m": "350m",
    "1b": "800m",
    "1.4b": "1.3b",
    "2.8b": "2.7b",
    "6.9b": "6.7b",
    "12b": "13b",
}
"""Sizes were counted without embeddings until January 2023 (EleutherAI/pythia, README).

Only v0 models ever had these names.
"""


@dataclass(frozen=True)
class ModelRecord:
    """One published model.

    Attributes:
        name: as in `--model` and in results.
        suite: `pythia`, `pythia-v0` or `polypythias`.
        steps: the steps it was published at.
        seed: of data order and initialisation together; `data_seed`, `weight_seed`: of one alone.
            None is the original's.
        aliases: other names it is found by.
    """

    name: str
    suite: str
    size: Size
    steps: tuple[int, ...] = (*EARLY, *EVERY_THOUSAND)
    deduped: bool = False
    seed: int | None = None
    data_seed: int | None = None
    weight_seed: int | None = None
    aliases: tuple[str, ...] = ()

    @property
    def repo(self) -> str:
        """Its repository on the Hub."""
        return f"{ORGANISATION}/{self.name}"

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of one step."""
        return TOKENS_PER_STEP

    def facts(self) -> dict[str, Any]:
        """What distinguishes it from its relatives, as columns of schema.MODELS."""
        names = ("deduped", "seed", "data_seed", "weight_seed")
        return {"repo": self.repo, "size": self.size.name} | {
            name: getattr(self, name) for name in names
        }

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values: what `pythia-traj models` lists.

        The names are those of schema.MODELS where it has them.
        """
        size = {
            name: getattr(self.size, name)
            for name in ("n_layers", "n_heads", "d_model", "d_vocab", "n_parameters")
        }
        training = {
            "tokens_per_step": self.tokens_per_step,
            "n_steps": len(self.steps),
            "peak_lr": self.size.peak_lr,
        }
        names = {"model": self.name, "aliases": list(self.aliases)}
        return {
            **names,
            "suite": self.suite,
            **self.facts(),
            **size,
            "tokenizer_size": TOKENIZER_SIZE,
            **training,
        }

    def learning_rate(self, step: int) -> float:
        """The learning rate of the update that leads from `step` to `step + 1`.

        It warms up linearly over 1 % of training, then follows a cosine to a tenth; that of the v0
        models 6.9b and 12b to 0 (EleutherAI/pythia, README). At step 0 it is 0, which is why steps
        0 and 1 are the same model (EleutherAI/pythia #83).
        """
        peak = self.size.peak_lr
        if step <= _WARMUP:
            return peak * step / _WARMUP
        least = 0.0 if self.suite == "pythia-v0" and self.size.name in ("6.9b", "12b") else 0.1
        progress = (step - _WARMUP) / (LAST_STEP - _WARMUP)
        return peak * (least + (1 - least) * (1 + math.cos(math.pi * progress)) / 2)

    def schedule(self) -> Schedule:
        """Its learning rate as points, the end of warm-up, and when its data began anew."""
        return Schedule.of(
            self.learning_rate,
            LAST_STEP,
            bends=(_WARMUP,),
            warmup_end=_WARMUP,
            second_epoch=_DEDUPED_PILE // TOKENS_PER_STEP if self.deduped else None,
        )


def _pythia() -> Iterator[ModelRecord]:
    for name, size in SIZES.items():
        yield ModelRecord(f"pythia-{name}", "pythia", size)
        if name in OLD_NAMES:
            yield ModelRecord(f"pythia-{name}-deduped", "pythia", size, deduped=True)


def _pythia_v0() -> Iterator[ModelRecord]:
    for name, old in OLD_NAMES.items():
        for ending in ("", "-deduped"):
            yield ModelRecord(
                f"pythia-{name}{ending}-v0",
                "pythia-v0",
                SIZES[name],
                steps=EVERY_THOUSAND,
                deduped=bool(ending),
                aliases=(f"pythia-{old}{ending}", f"pythia-{old}{ending}-v0"),
            )


def _polypythias() -> Iterator[ModelRecord]:
    for name in ("14m", "31m", "70m", "160m", "410m"):
        plain = ModelRecord(f"pythia-{name}", "polypythias", SIZES[name])
        for seed in range(1, 10):
            yield replace(plain, name=f"{plain.name}-seed{seed}", seed=seed)
    # Data order and initialisation were varied one at a time for this size only.
    for seed in range(1, 4):
        plain = ModelRecord("pythia-160m", "polypythias", SIZES["160m"])
        yield replace(plain, name=f"{plain.name}-data-seed{seed}", data_seed=seed)
        yield replace(plain, name=f"{plain.name}-weight-seed{seed}", weight_seed=seed)


@cache
def catalog() -> dict[str, ModelRecord]:
    """All known published models, by name, suite after suite."""
    return {record.name: record for record in (*_pythia(), *_pythia_v0(), *_polypythias())}


def look_up(name: str) -> ModelRecord | None:
    """The record of a name, an alias, or either with the organisation in front.

    Upper and lower case are the same. None for an unknown name.
    """
    wanted = name.lower().removeprefix(f"{ORGANISATION.lower()}/")
    return _by_name().get(wanted)


def unknown_model(name: str) -> SuiteError:
    """The error that says what was probably meant."""
    return SuiteError(
        f"unknown model {name!r}, and no such directory: {nearest(name.lower(), _by_name())} "
        "(`pythia-traj models` lists all; org/name is any repository of the Hub with step branches)"
    )


def check_known(name: str) -> None:
    """Refuses a name that is neither a known model's, nor a directory's, nor can be a repository's.

    Raises:
        SuiteError: it says what was probably meant.
    """
    if look_up(name) is None and find_directory(name) is None:
        check_repository(name)


def can_be_directory(name: str) -> bool:
    """Whether a request means a directory by a name, which need not exist yet."""
    found = find_directory(name)
    if found is not None:
        return found[0] is None
    return look_up(name) is None and "=" not in name


def check_repository(name: str) -> None:
    """Refuses a name that no repository of the Hub can have.

    Raises:
        SuiteError: it says what was probably meant.
    """
    given, equals, directory = name.partition("=")
    if equals:
        raise SuiteError(
            f"no such directory: {directory!r}, to be named {given!r}, nor {name!r}: "
            "NAME=DIRECTORY names a directory of checkpoints"
        )
    if name.startswith((".", "/", "~")):
        raise SuiteError(f"no such directory: {name!r}")
    if name.count("/") != 1:
        raise unknown_model(name)


def at_repository(repo: str) -> ModelRecord | None:
    """The record of the model that a repository of the Hub holds; None for any other one."""
    return _by_repository().get(repo.lower())


@cache
def _by_repository() -> dict[str, ModelRecord]:
    return {record.repo.lower(): record for record in catalog().values()}


@cache
def _by_name() -> dict[str, ModelRecord]:
    return {
        name: record for record in catalog().values() for name in (record.name, *record.aliases)
    }
