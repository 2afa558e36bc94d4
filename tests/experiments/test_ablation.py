"""`ablation` as rows: effects, matched controls and ranks, sets chosen on other items."""

from pathlib import Path

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.tasks.drawing import alternating
from pythia_traj.data.tasks.prompt import EVALUATION, SELECTION
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.means import Design, standard_error
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.experiment import Vocabulary

OWN = str(Path(__file__).with_name("own_task.jsonl"))
KINDS = ["zero", "mean", "positional_mean", "resample", "pattern_preserving", "direct"]
EXPERIMENTS = {
    "all": {
        "use": "ablation",
        "task": OWN,
        "kinds": KINDS,
        "sets": ["L0H1+L1H2", "L0H0+L0H1+L0H2"],
        "top": 2,
    },
    "repeats": {
        "use": "ablation",
        "task": "repeats",
        "n": 6,
        "kinds": ["mean"],
        "components": ["head"],
        "top": 1,
    },
}


def request(suite, out, experiments, steps="4"):
    return pt.SweepConfig(
        model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
    )


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablation") / "run"
    assert not pt.sweep(request(suite, out, EXPERIMENTS)).failed
    return out


def design_of(prompts):
    numbers, clusters = (
        np.concatenate([getattr(batch, field) for batch in prompts.batches])
        for field in ("item", "cluster")
    )
    templates = [template for batch in prompts.batches for template in batch.templates]
    order = np.argsort(numbers)
    return Design.of(clusters[order], [templates[i] for i in order])


def by_item(suite, prompts, hook_name=None, hook=None):
    """Logit difference of every item in order, on a whole pass with one hook."""
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    found = {}
    for batch in prompts.batches:
        hooks = [(hook_name, hook(ckpt.model, batch))] if hook_name else []
        with torch.inference_mode():
            logits = ckpt.model.run_with_hooks(torch.from_numpy(batch.clean), fwd_hooks=hooks)[
                :, batch.reads
            ]
        scores = answer_scores(
            logits, torch.from_numpy(batch.candidates), torch.from_numpy(batch.is_right)
        )
        found |= dict(zip(batch.item.tolist(), scores.logit_diff.tolist(), strict=True))
    return np.array([found[item] for item in sorted(found)])


@pytest.fixture(scope="module")
def prompts():
    return TaskPrompts(task=OWN).bind(Vocabulary(300, 128), seed=0)


def test_an_effect_is_paired_and_so_is_its_error(run, suite, prompts):
    def zero(model, batch):
        def hook(z, hook):
            z = z.clone()
            z[:, :, 3] = 0
            return z

        return hook

    clean, without = by_item(suite, prompts), by_item(suite, prompts, "blocks.0.attn.hook_z", zero)
    row = pt.load(
        run,
        label="all",
        metric="effect",
        variant="zero",
        component="head",
        layer=0,
        head=3,
        target="logit_diff",
    )
    difference = without - clean
    assert row.value.item() == pytest.approx(difference.mean(), abs=1e-5)
    assert row.stderr.item() == pytest.approx(
        standard_error(difference, design_of(prompts)), abs=1e-5
    )
    assert row.n.item() == len(clean) == prompts.n
    as_it_is = pt.load(run, label="all", metric="logit_diff")
    assert as_it_is.value.item() == pytest.approx(clean.mean(), abs=1e-5)


def test_every_kind_has_every_component_and_every_head_its_control(run):
    rows = pt.load(run, label="all", metric="effect", target="nll", controls=True)
    assert set(rows.control.dropna()) == {"matched"}
    measured, matched = rows[rows.control.isna()], rows[rows.control == "matched"]
    assert set(matched.variant) == set(measured.variant) == set(KINDS)
    for kind in KINDS:
        of_kind = measured[measured.variant == kind]
        assert of_kind.component.value_counts().to_dict() == {
            "head": 8,
            "attn": 2,
            "mlp": 2,
            "set": 3,
        }
        sets = of_kind[of_kind.component == "set"]
        assert set(sets.part) == {"L0H1+L1H2", "L0H0+L0H1+L0H2", "top2"}
        assert of_kind[of_kind.component != "set"].part.isna().all()
    heads = measured[
        (measured.variant == "zero") & (measured.component == "head") & (measured.layer == 1)
    ]
    values = heads.sort_values("head").value.to_numpy()
    beside = pt.load(
        run,
        label="all",
        metric=["effect", "effect_sd", "effect_rank"],
        variant="zero",
        component="head",
        layer=1,
        target="nll",
        controls=True,
    )
    assert set(beside[beside.metric == "effect_sd"].control) == {"matched"}
    # The rank is the real effect's: a measurement, of which there is no control.
    assert beside[beside.metric == "effect_rank"].control.isna().all()
    beside = beside[(beside.metric != "effect") | (beside.control == "matched")]
    beside = beside.set_index(["metric", "head"])
    for head in range(4):
        others = np.delete(values, head)
        assert beside.loc[("effect", head), "value"] == pytest.approx(others.mean(), abs=1e-6)
        assert beside.loc[("effect_sd", head), "value"] == pytest.approx(
            others.std(ddof=1), abs=1e-6
        )
        assert beside.loc[("effect_rank", head), "value"] == 1 + (others >= values[head]).sum()
        assert beside.loc[("effect", head), "n"] == 3


def test_a_set_has_the_sets_of_other_heads_beside_it(run):
    rows = pt.load(
        run, label="all", variant="mean", metric="effect", component="set", control="matched"
    )
    beside = rows[rows.part == "L0H1+L1H2"]
    assert beside.n.tolist() == [9, 9]
    none = rows[rows.part == "L0H0+L0H1+L0H2"]
    assert set(none.target) == {"logit_diff", "nll"}
    assert none.value.isna().all()
    assert set(none.reason) == {"there is no other set of as many heads in these layers"}


def test_the_most_harmful_heads_are_chosen_on_one_half_and_measured_on_the_other(run, suite):
    chosen = pt.load(run, label="repeats", table="sets")
    assert chosen[["kind", "set"]].drop_duplicates().to_numpy().tolist() == [["mean", "top1"]]
    items = pt.load(run, label="repeats", table="items", metric="effect", variant="mean")
    heads, half = items[items.component == "head"], alternating(1 + items["item"].max())
    harm = heads[half[heads["item"]] == SELECTION].groupby(["layer", "head"]).value.mean()
    assert harm.idxmax() == (chosen["layer"].item(), chosen["head"].item())
    top = items[(items.component == "set") & (items.part == "top1")].value.to_numpy()
    other = heads[
        (heads.layer == chosen["layer"].item()) & (heads["head"] == chosen["head"].item())
    ]
    assert top == pytest.approx(
        other[half[other["item"]] == EVALUATION].sort_values("item").value.to_numpy(),
        abs=1e-5,
    )


def test_repeats_are_measured_by_their_loss_alone(run):
    rows = pt.load(run, label="repeats", metric="effect")
    assert set(rows.target) == {"nll"}


def test_the_metrics_as_they_are_have_the_twins_and_shuffled_prompts_for_controls(run):
    rows = pt.load(run, label="all", metric=["logit_diff", "nll"], controls=True)
    assert rows.variant.isna().all()
    found = {
        (row.metric, row.control if isinstance(row.control, str) else None): row.value
        for row in rows.itertuples()
    }
    assert set(found) == {
        (metric, control)
        for metric in ("logit_diff", "nll")
        for control in (None, "corrupted", "shuffled")
    }
    assert len(set(found.values())) == len(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sets": "L4"}, "heads are written as L4H6"),
        ({"kinds": "mena"}, "'mena'"),
        ({"top": -1}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_parameter_is_refused_when_the_request_is_read(suite, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        request(suite, tmp_path, {"ablation": settings})


def test_heads_that_the_model_lacks_end_the_sweep_with_one_line(suite, tmp_path):
    config = request(suite, tmp_path / "run", {"ablation": {"task": OWN, "sets": "L7H1"}})
    with pytest.raises(DataError, match="set L7H1: the model has 2 layers of 4 heads"):
        pt.sweep(config)


def test_a_task_that_the_tokenizer_does_not_allow_fails_before_any_step(suite, tmp_path):
    with pytest.raises(
        DataError, match="ablation: task ioi has no items for this model's tokenizer"
    ):
        pt.sweep(request(suite, tmp_path / "run", {"ablation": {"task": "ioi"}}))
