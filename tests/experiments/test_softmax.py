"""The width of the softmax that a unit records is the one that was taken."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.experiment import experiment
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from tests.experiments.test_all import SMALL
from tests.support import byte_tokenizer, publish_suite

D_VOCAB = 320
LONGEST = 128
"""Of a context: attention's softmax goes over no more."""

OVER_AN_AXIS = ("_softmax", "_log_softmax", "logsumexp")


class Watching(TorchDispatchMode):
    """Notes how many entries each softmax goes over."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> torch.Tensor:
        if func.overloadpacket.__name__ in OVER_AN_AXIS:
            axis = args[1] if isinstance(args[1], int) else args[1][0]
            self.widths.add(args[0].shape[axis])
        result: torch.Tensor = func(*args, **(kwargs or {}))
        return result


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """A model with more rows than its tokenizer has entries."""
    assert byte_tokenizer().get_vocab_size() < D_VOCAB
    root = tmp_path_factory.mktemp("padded") / "padded"
    return publish_suite(root, steps=(0, 1, 4), vocab_size=D_VOCAB)


@pytest.mark.parametrize("name", discover())
def test_the_recorded_width_is_the_one_that_was_taken(padded, tmp_path, name):
    config = pt.SweepConfig(
        model=str(padded),
        steps="4",
        experiments={name: SMALL.get(name, {})},
        out=tmp_path / "run",
        device="cpu",
    )
    with Watching() as watched:
        assert not pt.sweep(config).failed
    footer = read_footer(Run(tmp_path / "run").unit_path("padded", name, 4))
    recorded = footer["vocabulary"]["softmax"]
    over_the_vocabulary = {width for width in watched.widths if width > LONGEST}
    assert over_the_vocabulary == (set() if recorded is None else {recorded})
    if name in ("ngram", "samples"):
        assert recorded == footer["vocabulary"]["tokenizer"] < D_VOCAB


def test_reading_the_loss_says_it_and_what_says_nothing_takes_none():
    def own(acts):
        """Reads something."""

    read, other = (
        experiment(version=1, data=discover()["loss"].data, reads=(one,))(own)
        for one in ("loss", "pattern")
    )
    assert read.softmax_rows({}, None, D_VOCAB) == D_VOCAB
    assert other.softmax_rows({}, None, D_VOCAB) is None
