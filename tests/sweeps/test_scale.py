"""Two thousand units: planned, swept, counted. `benchmarks/scale.py` does it with 100,000."""

import os
import shutil

import pytest

import pythia_traj as pt
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.requests import plan_sweep
from tests.support import TRIVIAL, write_distinct

STEPS, LABELS = 20, 100


def test_the_labels_of_a_step_rest_on_files_that_are_looked_at_once(
    own_suite, tmp_path, monkeypatch
):
    (tmp_path / "mine.py").write_text(TRIVIAL)

    def request(*scales, steps="0,1,2"):
        use = str(tmp_path / "mine.py")
        return pt.SweepConfig(
            model=str(own_suite),
            steps=steps,
            experiments={f"times{i}": {"use": use, "scale": i} for i in scales},
            out=tmp_path / "run",
            device="cpu",
        )

    # Two steps whose files are the same to the eye.
    shutil.rmtree(own_suite / "step2")
    shutil.copytree(own_suite / "step1", own_suite / "step2", copy_function=os.link)
    config = request(0, 1, 2, 3)
    pt.sweep(config)
    looked, source = [], LocalModel.source

    def spy(self, step):
        looked.append(step)
        return source(self, step)

    monkeypatch.setattr(LocalModel, "source", spy)
    assert len(plan_sweep(config)[0].done) == 12
    assert looked == [0, 1, 2]
    # One step has other files now; only one of its labels is measured again.
    weights = own_suite / "step1" / "model.safetensors"
    shutil.copy(weights, tmp_path / "copy")
    (tmp_path / "copy").replace(weights)
    pt.sweep(request(0, steps="1"))
    plan, _ = plan_sweep(config)
    assert [unit.name for unit in plan.todo] == [f"own/times{i}/step1" for i in (1, 2, 3)]
    assert len(set(plan.redone.values())) == 1


@pytest.mark.slow
def test_two_thousand_units_are_planned_measured_and_counted(tmp_path):
    suite, run = tmp_path / "many", tmp_path / "run"
    suite.mkdir()
    write_distinct(suite, range(STEPS))
    (tmp_path / "mine.py").write_text(TRIVIAL)
    use = str(tmp_path / "mine.py")
    config = pt.SweepConfig(
        model=str(suite),
        steps="all",
        experiments={f"times{i}": {"use": use, "scale": i} for i in range(LABELS)},
        out=run,
        device="cpu",
    )
    plan, _ = plan_sweep(config)
    units = STEPS * LABELS
    assert (len(plan.todo), len(plan.done)) == (units, 0)
    assert len({unit.digest for unit in plan.todo}) == LABELS
    assert len(pt.sweep(config).done) == units
    plan, _ = plan_sweep(config)
    assert (len(plan.todo), len(plan.done), plan.warnings) == (0, units, ())
    found = pt.status(run)
    assert (found.done, found.running, found.failed, found.left) == (units, 0, 0, 0)
    assert found.by_label["many"]["times99"]["done"] == STEPS
    assert found.workers[0].done == units
    # One of them is missed, and it alone is done again.
    missing = run / "metrics" / "model=many" / "label=times42" / "step-000007.parquet"
    missing.unlink()
    assert pt.status(run).left == 1
    assert [unit.name for unit in pt.sweep(config).done] == ["many/times42/step7"]
    rows = pt.load(run).pivot_table(index="step", columns="label", values="value")
    assert rows.shape == (STEPS, LABELS)
    assert (rows["times4"] == 2 * rows["times2"]).all()
    assert rows["times1"].nunique() == STEPS
