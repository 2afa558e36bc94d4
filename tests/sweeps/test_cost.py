"""What a dry run says a step costs, against what the step then does."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.sweeps.cost import estimate
from pythia_traj.sweeps.requests import plan_sweep
from tests.experiments.test_all import SMALL
from tests.support import publish_suite

LAYERS = 4


@pytest.fixture(scope="module")
def deep(tmp_path_factory):
    """A suite with more layers, so that beginning in the middle makes a difference."""
    return publish_suite(
        tmp_path_factory.mktemp("deep") / "deep", steps=(0, 1, 4), num_hidden_layers=LAYERS
    )


@pytest.fixture
def rows_through_layers(monkeypatch):
    """Counts the sequences that pass each layer: every layer calls its MLP's LayerNorm once."""
    counted = [0, 0]

    def count(module, inputs):
        if getattr(module, "name_in_layer", None) == "ln2":
            # Gradients take twice as much again.
            counted[0] += len(inputs[0]) * (3 if inputs[0].requires_grad else 1)
            counted[1] += inputs[0].shape[0] * inputs[0].shape[1]

    original = torch.nn.Module.__setattr__

    def named(self, name, value):
        if name == "ln2":
            object.__setattr__(value, "name_in_layer", "ln2")
        original(self, name, value)

    monkeypatch.setattr(torch.nn.Module, "__setattr__", named)
    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    yield counted
    handle.remove()


def request(suite, out, label, experiment, parameters, steps="4"):
    experiments = {label: {"use": experiment, **parameters}}
    return pt.SweepConfig(
        model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
    )


CASES = {
    **{name: (name, SMALL.get(name, {})) for name, found in discover().items() if found.passes},
    "every_kind": (
        "ablation",
        {
            **SMALL["ablation"],
            "kinds": "zero,mean,positional_mean,resample,pattern_preserving,direct",
            "top": 0,
        },
    ),
    "noising": (
        "patching",
        {**SMALL["patching"], "directions": "noising", "components": "resid_pre,mlp"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_passes_that_are_announced_are_those_that_are_made(
    deep, tmp_path, rows_through_layers, case
):
    # The first step may be dearer, as others compare with it.
    assert not pt.sweep(request(deep, tmp_path / "run", case, *CASES[case], steps="0")).failed
    config = request(deep, tmp_path / "run", case, *CASES[case])
    plan, (published,) = plan_sweep(config)
    cost = estimate(config, published, plan.todo)[case]
    assert cost.seconds > 0
    rows_through_layers[:] = [0, 0]
    (only,) = plan.todo[-1:]
    result = pt.sweep(config)
    assert not result.failed
    # What decodes reads a sequence piece by piece.
    sequences, positions = rows_through_layers
    made = (
        (positions / cost.tokens if case in ("memorization", "samples") else sequences)
        / LAYERS
        / len(result.done)
    )
    assert made <= cost.passes * 1.02, only
    assert made >= cost.passes * LEAST.get(case, 0.9)


LEAST = {"ablation": 0.4, "attribution": 0.3, "head_roles": 0.4}
"""The least share of the announced passes that is made, where it is far from all.

What is found out on the way is taken to be as dear as can be: which heads are chosen, how many
circuits are tried, what lives.
"""

FOLDED_LOSS = '''
from pythia_traj.data.text import TextTokens
from pythia_traj.experiment import experiment
from pythia_traj.values import ItemValues

@experiment(version=1, data=TextTokens(n=6, length=32, null_n=2), reads=("loss",))
def folded(acts) -> ItemValues:
    """Reads the text of loss, with other weights."""
    return ItemValues()
'''


def test_the_same_tokens_with_other_processing_are_another_pass(deep, tmp_path):
    (tmp_path / "own.py").write_text(FOLDED_LOSS)
    text = {"n": 6, "length": 32, "null_n": 2}
    experiments = {"folded": {"use": str(tmp_path / "own.py")}, "loss": text, "logit_lens": text}
    config = pt.SweepConfig(
        model=str(deep), steps="4", experiments=experiments, out=tmp_path / "run", device="cpu"
    )
    plan, (published,) = plan_sweep(config)
    shared = {
        label: cost.shared_with for label, cost in estimate(config, published, plan.todo).items()
    }
    assert shared == {"folded": (), "loss": ("logit_lens",), "logit_lens": ("loss",)}
