"""A finding, and how a kind of findings is written: one file in `kinds/` that defines `KIND`."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One thing that runs show.

    Attributes:
        words: a sentence, as plain text: whatever shows it escapes it.
        experiment: the experiment whose rows it is made of.
        models: the models that it is about.
        metric: the metric that its main number is of.
    """

    words: str
    experiment: str
    models: tuple[str, ...]
    metric: str


@dataclass(frozen=True)
class Statement:
    """What one model and label shows, before models are put side by side.

    Attributes:
        subject: how the sentence begins; models of which the same is said have the same.
        says: how it ends for one model alone, without a full stop.
        brief: the same in fewer words, for several models in one sentence.
        experiment: whose rows it is made of.
        metric: the metric of its main number.
    """

    subject: str
    says: str
    brief: str
    experiment: str
    metric: str


@dataclass(frozen=True)
class Kind:
    """One kind of findings.

    Attributes:
        importance: the smaller, the earlier its findings stand.
        chosen: rows of a run, with controls -> chosen rows that it looks at, of all models.
        find: chosen rows of one model and label, and the onsets of it, as `dated` gives them ->
            what they show; empty where nothing is sure.
        names_labels: whether a sentence also names the label, as tasks have no other name.
    """

    importance: int
    chosen: Callable[[pd.DataFrame], pd.DataFrame]
    find: Callable[[pd.DataFrame, pd.DataFrame], tuple[Statement, ...]]
    names_labels: bool = False
