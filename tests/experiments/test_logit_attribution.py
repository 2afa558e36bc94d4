"""Direct logit attribution: the terms add up to the logit difference, and single terms are what
they say.
"""

from pathlib import Path

import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.engines.direct import answer_direction
from pythia_traj.experiment import Vocabulary
from tests.support import publish_suite

OWN = str(Path(__file__).with_name("own_task.jsonl"))


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def swept(request, tmp_path_factory):
    """A run over one step, and its suite."""
    root = tmp_path_factory.mktemp("attribution")
    suite = publish_suite(root / "tiny", steps=(4,), use_parallel_residual=request.param)
    experiments = {"logit_attribution": {"task": OWN}, "behaviour": {"task": OWN}}
    config = pt.SweepConfig(
        model=str(suite), steps="4", experiments=experiments, out=root / "run", device="cpu"
    )
    assert not pt.sweep(config).failed
    return root / "run", suite


@pytest.mark.parametrize("control", [None, "corrupted", "shuffled"])
def test_the_terms_add_up_to_the_logit_difference(swept, control):
    run, _ = swept
    rows = pt.load(run, metric="logit_attribution", control=control)
    assert rows.variant.isna().all()
    terms, total = rows[rows.component.notna()], rows[rows.component.isna()].value.item()
    assert len(terms) == 1 + 2 * (4 + 1 + 1) + 1
    assert terms.value.sum() == pytest.approx(total, abs=1e-4)
    behaviour = pt.load(run, metric="logit_diff", control=control, part=None)
    assert behaviour.value.item() == pytest.approx(total, abs=1e-4)


def test_a_heads_term_is_its_output_along_the_direction(swept):
    run, suite = swept
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    ckpt.model.set_use_attn_result(True)
    prompts = TaskPrompts(task=OWN).bind(Vocabulary(300, 128), seed=0)
    total, count = torch.zeros(4), 0
    for batch in prompts.batches:
        with torch.no_grad():
            _, cache = ckpt.model.run_with_cache(torch.from_numpy(batch.clean))
            direction = answer_direction(
                ckpt.model.W_U,
                torch.from_numpy(batch.candidates[:, 0]),
                torch.from_numpy(batch.is_right[:, 0]),
            )
            result = cache["result", 1][:, -1] / cache["ln_final.hook_scale"][:, -1, None]
            total += torch.einsum("ihd,id->h", result, direction)
        count += len(batch.item)
    rows = pt.load(run, metric="logit_attribution", component="head", layer=1)
    assert rows.sort_values("head").value.tolist() == pytest.approx(
        (total / count).tolist(), abs=1e-4
    )
