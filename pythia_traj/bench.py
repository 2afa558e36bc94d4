"""The bench of experiments on tasks: a task's items on a model, part by part.

An experiment on a task keeps what is its own measure. What all of them do is done here: items pass
through the model so many at a time, halves of them, baselines of the metrics, and values put back
in the items' order. How many items pass at once is the experiment's to say, since it decides how
matrix products round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pythia_traj.data.tasks.prompt import PromptKind, TaskBatch
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.kept import KeptPass, Question, Stream, keep_pass
from pythia_traj.engines.means import Design
from pythia_traj.values import HEAD_BLOCKS, Key, Rows

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

CONTROLS: Mapping[PromptKind, str | None] = {
    "clean": None,
    "corrupted": "corrupted",
    "shuffled": "shuffled",
}
"""The control that rows have which were measured on a kind of prompts."""

METRICS = {
    "logit_diff": "logit_diff",
    "prob_diff": "prob_diff",
    "accuracy": "correct",
    "rank0": "rank0",
    "nll": "nll",
}
"""A task's metrics, and which of engines.answers each is."""

Batch = TypeVar("Batch", bound=TaskBatch)
Name = TypeVar("Name")


@dataclass(frozen=True)
class Part(Generic[Batch]):
    """Items that pass through the model at once, all of one length.

    Attributes:
        items: the items as the data has them.
        batch: the number of the data's batch that they are of.
        question: what is asked after them, on the device.
        device: where the model is.
    """

    items: Batch
    batch: int
    question: Question
    device: torch.device

    def tokens(self, kind: PromptKind) -> Int[Tensor, "item pos"]:
        """The prompts of one kind, on the device."""
        return self.on_device(getattr(self.items, kind))

    def on_device(self, array: np.ndarray) -> Tensor:
        """An array of the data's, as a tensor there."""
        return torch.from_numpy(array).to(self.device)


class TaskBench(Generic[Batch]):
    """A task's items on a model.

    Attributes:
        model: what is asked.
        parts: the items, as many together as pass at once; batch by batch.
        order: where the items, as the parts have them one after the other, are in the order of
            their numbers [item].
        half: which half the items belong to, in that order [item].
        design: which of them are independent, in that order.
    """

    def __init__(
        self,
        model: "HookedTransformer",
        batches: Sequence[Batch],
        items_at_once: int | None = None,
        *,
        half: int | None = None,
    ) -> None:
        """Splits the batches into parts.

        Args:
            model: of any step; several benches may ask several models about the same items.
            batches: the items, those of one length together.
            items_at_once: so many items of a batch are a part; all of them if not given.
            half: SELECTION or EVALUATION, for the items of one half alone.
        """
        device = model.W_E.device
        self.model = model
        self.parts: list[Part[Batch]] = []
        for number, batch in enumerate(batches):
            chosen = batch if half is None else batch.part(batch.half == half)
            for items in chosen.parts(items_at_once or len(batch.item)):
                self.parts.append(Part(items, number, Question.of(items, device), device))
        self.order = np.argsort(self._of_items("item"))
        self.half = self._of_items("half")[self.order]
        self.design = design_of([part.items for part in self.parts])
        self._baselines: dict[PromptKind, dict[str, np.ndarray]] = {}

    def _of_items(self, field: str) -> np.ndarray:
        """A field of the items, as the parts have them one after the other."""
        found = [getattr(part.items, field) for part in self.parts]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])

    @property
    def templates(self) -> list[str]:
        """Each item's template, in the order of the items' numbers."""
        found = [template for part in self.parts for template in part.items.templates]
        return [found[i] for i in self.order]

    @torch.inference_mode()
    def final(self, part: Part[Batch], kind: PromptKind) -> Stream:
        """The stream after the last layer [item, pos, d_model]."""
        final: Tensor = self.model(part.tokens(kind), stop_at_layer=self.model.cfg.n_layers)
        return final

    @torch.inference_mode()
    def keep(self, part: Part[Batch], kind: PromptKind, *, patterns: bool = False) -> KeptPass:
        """A pass that others can begin in the middle of."""
        return keep_pass(self.model, part.tokens(kind), patterns=patterns)

    @torch.inference_mode()
    def scores(self, part: Part[Batch], final: Stream) -> dict[str, Float[Tensor, " item"]]:
        """METRICS of a part's items, of the stream that a pass has after the last layer.

        The unembedding is applied at the positions that are read only.
        """
        asked = part.question
        logits = self.model.unembed(self.model.ln_final(final[:, asked.reads]))
        scores = answer_scores(logits, asked.candidates, asked.is_right)
        return {metric: getattr(scores, name) for metric, name in METRICS.items()}

    def over(self, work: Callable[[Part[Batch]], Mapping[Name, Tensor]]) -> dict[Name, np.ndarray]:
        """Values by name [..., item], in the order of the items' numbers.

        Args:
            work: makes a part's values by name [..., item]. A name need not be in every part: its
                values are those of the items that have it. Each is read from the device once.
        """
        return {name: values for name, (values, _) in self.over_some(work).items()}

    def over_some(
        self, work: Callable[[Part[Batch]], Mapping[Name, Tensor]]
    ) -> dict[Name, tuple[np.ndarray, Design]]:
        """The same, with the design of the items that have a name."""
        pieces: dict[Name, list[Tensor]] = {}
        numbers: dict[Name, list[np.ndarray]] = {}
        for part in self.parts:
            for name, values in work(part).items():
                pieces.setdefault(name, []).append(values)
                numbers.setdefault(name, []).append(part.items.item)
        every = self._of_items("item")[self.order]
        found: dict[Name, tuple[np.ndarray, Design]] = {}
        for name, of_parts in pieces.items():
            items = np.concatenate(numbers[name])
            array = torch.cat(of_parts, -1).cpu().numpy()[..., np.argsort(items)]
            found[name] = array, self.design.part(np.isin(every, items))
        return found

    def baseline(self, kind: PromptKind) -> Mapping[str, np.ndarray]:
        """METRICS of the model as it is, after one kind of prompts [item]; measured once."""
        if kind not in self._baselines:
            self._baselines[kind] = self.over(
                lambda part: self.scores(part, self.final(part, kind))
            )
        return self._baselines[kind]

    def add_baseline(self, rows: Rows, kind: PromptKind, metric: str) -> np.ndarray:
        """Writes one metric of the model as it is as a row with its items, which are returned."""
        values = self.baseline(kind)[metric]
        rows.add_items(Key(metric, control=CONTROLS[kind]), values, self.design)
        return values


def design_of(batches: Sequence[TaskBatch], half: int | None = None) -> Design:
    """Which items are independent, in the order of their numbers; templates are strata.

    Args:
        batches: the items.
        half: for the items of one half alone.
    """
    items = sorted(
        item
        for batch in batches
        for item in zip(
            batch.item.tolist(),
            batch.cluster.tolist(),
            batch.templates,
            batch.half.tolist(),
            strict=True,
        )
        if half is None or item[-1] == half
    )
    return Design.of(
        np.array([cluster for _, cluster, *_ in items], dtype=np.int64),
        [template for *_, template, _ in items],
    )


def add_effect(rows: Rows, key: Key, values: np.ndarray, design: Design) -> None:
    """Writes what was measured of a component [item] as a row with its items.

    Those of a head are kept as the means of blocks, as there are so many heads.
    """
    rows.add_items(key, values, design, blocks=HEAD_BLOCKS if key.head is not None else None)
