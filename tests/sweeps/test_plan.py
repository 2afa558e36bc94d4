"""The plan is pure: what is asked for, less what is done."""

import pytest

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, SuiteError
from pythia_traj.store.records import digest
from pythia_traj.sweeps import plan as plan_module
from pythia_traj.sweeps.plan import NEW, make_plan, resolve_references
from pythia_traj.sweeps.sources import source_of, what_changed


class Published:
    """A published model without files."""

    suite, tokens_per_step = "s", 10

    def __init__(self, model="m", steps=(0, 1, 2, 4)):
        self.model, self.steps, self.origin = model, steps, f"directory:/runs/{model}"
        self.size = dict.fromkeys(steps, 1)

    def revision(self, step):
        return f"step{step}"

    def source(self, step):
        return {"kind": "directory", "files": [["w", self.size[step], 0]]}

    def what_changed(self, step, recorded):
        return None if recorded == self.source(step) else "changed since"


def config(tmp_path, **settings):
    return SweepConfig(
        **{
            "model": "m",
            "steps": "all",
            "experiments": {"induction": {}, "loss": {}},
            "out": tmp_path,
            **settings,
        }
    )


def plan(request, *models, why=lambda unit: NEW):
    return make_plan(request, models or [Published()], why)


def digests(planned):
    return {unit.name: unit.digest for unit in planned.todo}


def test_every_model_step_and_label_is_a_unit(tmp_path):
    planned = plan(config(tmp_path), Published("a"), Published("b"))
    assert len(planned.todo) == 2 * 4 * 2
    assert [unit.step for unit in planned.todo[:4]] == [0, 0, 1, 1]
    assert planned.todo[0].name == "a/induction/step0"


def test_a_digest_is_made_once_for_all_steps_with_the_same_inputs(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(plan_module, "digest", lambda inputs: made.append(inputs) or digest(inputs))
    experiments = {"induction": {}, "representation": {}}
    planned = plan(
        config(tmp_path, experiments=experiments), Published("a"), Published("b", (0, 8))
    )
    # Representation compares with the first step and the last, which are others in each model.
    assert len(made) == 1 + 2
    assert [unit.digest for unit in planned.todo] == [digest(unit.made_of) for unit in planned.todo]


def test_what_is_done_is_not_planned(tmp_path):
    planned = plan(config(tmp_path), why=lambda unit: None if unit.step < 2 else NEW)
    assert {unit.step for unit in planned.todo} == {2, 4}
    assert {unit.step for unit in planned.done} == {0, 1}
    assert not planned.redone


def test_of_what_is_planned_it_is_known_what_is_redone_and_why(tmp_path):
    reasons = {0: None, 1: NEW, 2: "version 1 -> 2", 4: "files: changed since"}
    planned = plan(config(tmp_path), why=lambda unit: reasons[unit.step])
    assert {unit.step for unit in planned.todo} == {1, 2, 4}
    assert {unit.name: why for unit, why in planned.redone.items()} == {
        f"m/{label}/step{step}": reasons[step] for step in (2, 4) for label in ("induction", "loss")
    }


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "bfloat16"},
        {"seed": 1},
        {"experiments": {"induction": {"n": 3}, "loss": {}}},
        {"experiments": {"induction": {"seed": 3}, "loss": {}}},
    ],
)
def test_what_changes_numbers_changes_the_digests_concerned(tmp_path, change):
    before, after = digests(plan(config(tmp_path))), digests(plan(config(tmp_path, **change)))
    changed = {name for name in before if before[name] != after[name]}
    concerned = "m/induction" if "experiments" in change else "m/"
    assert changed == {name for name in before if name.startswith(concerned)}


@pytest.mark.parametrize(
    "change", [{"device": "cuda:3"}, {"steps": "0,1,2,4"}, {"out": "elsewhere"}]
)
def test_what_does_not_change_numbers_leaves_the_digests(tmp_path, change):
    assert digests(plan(config(tmp_path))) == digests(plan(config(tmp_path, **change)))


def test_a_label_is_not_part_of_the_digest_but_its_parameters_are(tmp_path):
    one = plan(
        config(
            tmp_path,
            experiments={"a": {"use": "loss"}, "b": {"use": "loss"}, "c": {"use": "loss", "n": 3}},
        )
    )
    found = digests(one)
    assert found["m/a/step0"] == found["m/b/step0"] != found["m/c/step0"]


def test_the_files_of_a_step_are_its_source(tmp_path):
    published = Published()
    units = plan(config(tmp_path), published).todo
    recorded = {unit.name: source_of(published, unit) for unit in units}
    published.size[2] = 5
    changed = {unit.name: what_changed(published, unit, recorded[unit.name]) for unit in units}
    assert {name: how for name, how in changed.items() if how is not None} == dict.fromkeys(
        ("m/induction/step2", "m/loss/step2"), "files: changed since"
    )


def test_two_models_of_one_name_are_refused(tmp_path):
    with pytest.raises(SuiteError, match="two models are named m"):
        plan(config(tmp_path), Published(), Published())


def test_references_are_named_steps_of_the_published_ones():
    published = Published(steps=(0, 1, 512, 1000))
    names = ("init", "final", "previous", "step:512")
    assert resolve_references(names, published, 1000) == {
        "init": 0,
        "final": 1000,
        "previous": 512,
        "step:512": 512,
    }
    assert "previous" not in resolve_references(names, published, 0)
    with pytest.raises(
        ConfigError, match="unknown reference 'first': use init, final, previous or step:512"
    ):
        resolve_references(("first",), published, 0)


WITH_REFERENCES = '''
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1, {references})
def drift(model, {wanted}{parameters}) -> Rows:
    """How far a number is from its reference."""
    return Rows()
'''


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        (("final",), [(4, True), (2, False)]),
        (("previous",), [(0, True), (1, True), (2, False)]),
    ],
)
def test_units_that_others_compare_with_come_first_and_unasked_ones_are_cached(
    tmp_path, references, expected
):
    file = tmp_path / "drift.py"
    file.write_text(
        WITH_REFERENCES.format(
            references=f"row_references={references}", wanted="reference_rows", parameters=""
        )
    )
    planned = plan(config(tmp_path, steps="2", experiments={"drift": {"use": str(file)}}))
    assert [(unit.step, unit.cached) for unit in planned.todo] == expected


def test_rows_are_not_compared_in_a_circle(tmp_path):
    file = tmp_path / "drift.py"
    # Step 1 compares with step 0, and step 0 with step 1.
    file.write_text(
        WITH_REFERENCES.format(
            references='row_references=("init", "step:1")', wanted="reference_rows", parameters=""
        )
    )
    with pytest.raises(ConfigError, match="rows cannot be compared in a circle"):
        plan(config(tmp_path, steps="2", experiments={"drift": {"use": str(file)}}))


def test_references_to_weights_need_no_other_unit(tmp_path):
    file = tmp_path / "drift.py"
    file.write_text(
        WITH_REFERENCES.format(
            references='references=("final",)', wanted="reference_models", parameters=""
        )
    )
    planned = plan(config(tmp_path, steps="2", experiments={"drift": {"use": str(file)}}))
    assert [unit.step for unit in planned.todo] == [2]
    assert planned.todo[0].references == {"final": 4}
    published = Published()
    recorded = source_of(published, planned.todo[0])
    assert recorded["references"]["final"]["files"]
    assert what_changed(published, planned.todo[0], recorded) is None
    published.size[4] = 5
    assert (
        what_changed(published, planned.todo[0], recorded)
        == "files of reference final: changed since"
    )


def test_a_request_says_which_references_where_the_experiment_lets_it(tmp_path):
    file = tmp_path / "drift.py"
    parameter = ", *, references: tuple[str, ...] = ('final',)"
    file.write_text(
        WITH_REFERENCES.format(references="", wanted="reference_models", parameters=parameter)
    )
    settings = {"use": str(file), "references": ["init", "step:1"]}
    planned = plan(
        config(tmp_path, steps="2", experiments={"drift": settings, "other": {"use": str(file)}})
    )
    assert {unit.label: unit.references for unit in planned.todo} == {
        "drift": {"init": 0, "step:1": 1},
        "other": {"final": 4},
    }
    with pytest.raises(ConfigError, match="unknown reference 'first'"):
        plan(
            config(
                tmp_path, steps="2", experiments={"drift": {**settings, "references": ["first"]}}
            )
        )
