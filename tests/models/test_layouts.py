"""Every layout that users have computes what transformers computes, or is refused in a sentence
that says what to do.

One table, of three parts: what differs in `config.json`, in the weights, in the folder.
"""

import pytest
import torch
from transformer_lens.utilities.activation_functions import SUPPORTED_ACTIVATIONS
from transformers.activations import ACT2FN

import pythia_traj as pt
from pythia_traj.architectures.settings import ACTIVATIONS
from pythia_traj.errors import CheckpointError, SuiteError
from tests.models.layouts import Layout, transformers_reading
from tests.models.layouts_of_configs import OF_CONFIGS
from tests.models.layouts_of_folders import OF_FOLDERS
from tests.models.layouts_of_weights import OF_WEIGHTS

LAYOUTS = (*OF_CONFIGS, *OF_WEIGHTS, *OF_FOLDERS)
TOKENS = torch.arange(60)[None] * 7 % 298


@pytest.mark.parametrize("layout", LAYOUTS, ids=[layout.name for layout in LAYOUTS])
def test_a_layout_is_what_transformers_computes_or_is_refused(tmp_path, layout: Layout):
    theirs = layout.write(tmp_path / "run")
    if layout.refused:
        with pytest.raises((CheckpointError, SuiteError)) as refusal:
            list(pt.checkpoints(tmp_path / "run" / layout.given, device="cpu"))
        assert layout.refused in str(refusal.value)
        assert "\n" not in str(refusal.value)
        return
    (ours,) = pt.checkpoints(tmp_path / "run", device="cpu")
    with torch.no_grad():
        difference = (
            (ours.model(TOKENS).log_softmax(-1) - transformers_reading(theirs, TOKENS)).abs().max()
        )
    assert difference < 1e-4


def test_no_two_layouts_have_one_name():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_transformers_own(name):
    """A model of random weights may hide how much two of them differ."""
    x = torch.linspace(-8, 8, 4001)
    torch.testing.assert_close(
        SUPPORTED_ACTIVATIONS[ACTIVATIONS[name]](x), ACT2FN[name](x), atol=1e-6, rtol=0
    )
