"""Every setting of the toy suite's training run, and why it is so.

The suite has to show one thing that real suites show, in under a minute on two cores: heads that
learn to copy what followed the last occurrence of a token, suddenly, in the middle of training.
Three quarters of each batch are segments of uniform tokens that repeat (without them such a small
model does not need induction); the rest is source text of the standard library (without it the loss
on text would say nothing). Segments of at most 30 tokens teach induction over at most 30 tokens:
measure at length 25, not 50. With 1600 steps the phase change is near step 700 for every seed
tried, well before the learning rate decays; docs/toy.md lists them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pythia_traj.errors import SuiteError
from pythia_traj.suites.schedules import Trapezoid


@dataclass(frozen=True)
class Recipe:
    """How the toy suite is trained.

    Attributes:
        seed: of the initial weights and of the batches.
        steps: of training.
        save_every: after the powers of two up to 512, every so many steps are saved.
        batch, context: sequences of a batch, tokens of a sequence.
        repeats: how many sequences of a batch repeat a random segment; the others are text.
        segment: shortest and longest random segment.
        peak_lr, warmup, decay_from: the learning rate rises over `warmup` steps and falls to 0 from
            that share of all steps on.
    """

    seed: int = 0
    steps: int = 1600
    save_every: int = 50
    batch: int = 32
    context: int = 64
    repeats: int = 24
    segment: tuple[int, int] = (4, 30)
    vocab_size: int = 384
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_mlp: int = 256
    peak_lr: float = 4e-3
    warmup: int = 50
    decay_from: float = 0.7
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    grad_clip: float = 1.0

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one training step."""
        return self.batch * self.context

    @property
    def saved_steps(self) -> tuple[int, ...]:
        """The steps that are saved, as Pythia's are: 0, powers of two up to 512, then evenly.

        The last is always among them.
        """
        early = [0, *(2**i for i in range(10))]
        late = range(-(-513 // self.save_every) * self.save_every, self.steps + 1, self.save_every)
        return tuple(sorted({step for step in (*early, *late, self.steps) if step <= self.steps}))

    def lr(self, step: int) -> float:
        """The learning rate of the update that leads from `step` to `step + 1`.

        A linear warm-up, then constant, then a linear decay.
        """
        return Trapezoid.model_validate(self, from_attributes=True).lr(step)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


def check_same(directory: Path, recipe: Recipe) -> None:
    """Checks that a directory holds the suite of a recipe.

    Raises:
        SuiteError: it is something else.
    """
    try:
        facts = json.loads((directory / "suite.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = {}
    if not isinstance(facts, dict) or facts.get("recipe") != recipe.as_dict():
        is_toy = isinstance(facts, dict) and "recipe" in facts
        what = "a toy suite of another recipe" if is_toy else "not a toy suite"
        raise SuiteError(f"{directory} exists and is {what}: remove it or give another directory")
