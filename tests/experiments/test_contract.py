"""What an experiment is shown and what it may yield: controls only where they are asked for, values
only of what there is.
"""

import resource

import pytest

import pythia_traj as pt
from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.experiment import experiment
from pythia_traj.sweeps import forward

READER = '''
import numpy as np
import torch
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.experiment import experiment
from pythia_traj.values import ItemValues, Key

@experiment(version=1, data=RepeatedTokens(n=5, length=9), reads=("pattern", "loss"){groups})
def mine(acts) -> ItemValues:
    """Is somebody's own."""
    values = ItemValues()
    pattern, loss, group = acts.layers("pattern")[0], acts.output("loss"), acts.group
    items, heads, queries = len(pattern), 4, pattern.shape[2]
    {code}
    return values
'''

ROWS = '''
import numpy as np
import torch
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows

@experiment(version=1)
def mine(model) -> Rows:
    """Is somebody's own."""
    rows = Rows()
    {code}
    return rows
'''


def sweep(suite, tmp_path, source, steps="1"):
    """The rows of an experiment, or what it failed with at each step; another beside it is done."""
    file = tmp_path / "mine.py"
    file.write_text(source)
    experiments = {"mine": {"use": str(file)}, "induction": {"n": 5, "length": 9}}
    result = pt.sweep(
        pt.SweepConfig(model=str(suite), steps=steps, experiments=experiments, out=tmp_path / "run")
    )
    assert all(unit.label == "mine" for unit, _ in result.failed)
    if result.failed:
        return [error for _, error in result.failed]
    return pt.load(tmp_path / "run", experiment="mine")


SEEN = {
    "the first alone unless asked": ("", {"two_halves"}),
    "the first alone if asked": (', groups="first"', {"two_halves"}),
    "every one": (
        ', groups="every"',
        {"two_halves", "two_halves/shuffled", "olsson", "olsson/shuffled"},
    ),
    "one by its name": (', groups=("olsson",)', {"olsson"}),
    "two by their names": (
        ', groups=("olsson", "two_halves/shuffled")',
        {"olsson", "two_halves/shuffled"},
    ),
}


@pytest.mark.parametrize(("groups", "seen"), SEEN.values(), ids=SEEN)
def test_an_experiment_sees_the_groups_that_it_asks_for(suite, tmp_path, groups, seen):
    code = 'values.add(Key("loss", variant=group), loss.mean(-1))'
    rows = sweep(suite, tmp_path, READER.format(groups=groups, code=code))
    assert set(rows.variant) == seen
    assert set(rows.n) == {5}


def test_what_nobody_reads_is_not_run(suite, tmp_path, monkeypatch):
    passed = []
    original = forward._pass
    monkeypatch.setattr(
        forward, "_pass", lambda *args: passed.append(tuple(args[1].shape)) or original(*args)
    )
    file = tmp_path / "mine.py"
    file.write_text(READER.format(groups="", code='values.add(Key("loss"), loss.mean(-1))'))
    pt.sweep(
        pt.SweepConfig(model=str(suite), steps="1", experiments=str(file), out=tmp_path / "run")
    )
    assert passed == [(5, 18)]


def test_rows_of_a_time_when_all_groups_were_seen_are_not_taken_for_these(suite, tmp_path):
    from pythia_traj.sweeps.requests import plan_sweep

    digests = []
    for groups in ("", ', groups="every"'):
        file = tmp_path / f"mine{len(digests)}.py"
        file.write_text(READER.format(groups=groups, code='values.add(Key("loss"), loss.mean(-1))'))
        plan, _ = plan_sweep(
            pt.SweepConfig(model=str(suite), steps="1", experiments=str(file), out=tmp_path / "run")
        )
        digests.append(plan.todo[0].digest)
        assert ("groups" in plan.todo[0].made_of) == (groups == "")
    assert len(set(digests)) == 2


def test_a_group_that_the_data_lacks_is_named_before_anything_is_measured(suite, tmp_path):
    source = READER.format(groups=', groups=("olson",)', code="pass")
    with pytest.raises(DataError, match="mine: its data has no group 'olson': did you mean olsson"):
        sweep(suite, tmp_path, source)


@pytest.mark.parametrize(
    ("groups", "message"),
    [(', groups="all"', 'groups=\'all\': give "first", "every" or a tuple of names')],
)
def test_a_wrong_choice_of_groups_is_refused_at_its_definition(tmp_path, groups, message):
    (tmp_path / "mine.py").write_text(READER.format(groups=groups, code="pass"))
    with pytest.raises(ConfigError) as error:
        find(str(tmp_path / "mine.py"))
    assert message in str(error.value)


def test_groups_are_for_experiments_that_read():
    with pytest.raises(TypeError, match="mine has groups but no reads"):

        @experiment(version=1, groups="every")
        def mine(model):
            """Reads nothing."""


WRONG_VALUES = {
    "heads for items": (
        'values.add(Key("x"), pattern[0, :, 0, 0])',
        "x: axis item: expected 5, found 4",
    ),
    "queries for heads": (
        'values.add(Key("x"), pattern[:, 0, :, 0], axes=("head",))',
        "x: axis head: expected 4, found 18 in values of shape [5, 18] as [item, head]",
    ),
    "heads and queries for items and heads": (
        'values.add(Key("x"), pattern.mean((0, -1)), axes=("head",))',
        "x: axis item: expected 5, found 4 in values of shape [4, 18] as [item, head]",
    ),
    "heads before items": (
        'values.add(Key("x"), pattern.mean((-1, -2)).T, axes=("head",))',
        "x: axis item: expected 5, found 4 in values of shape [4, 5] as [item, head]",
    ),
    "some of the heads": (
        'values.add(Key("x"), pattern[:, :2, 0, 0], axes=("head",))',
        "axis head: expected 4, found 2",
    ),
    "more positions than tokens": (
        'values.add(Key("x"), loss, axes=("position",), first_position=2)',
        "x: axis position: expected None or 0 to 17, found 18",
    ),
    "a position before the first": (
        'values.add(Key("x"), loss, axes=("position",), first_position=-1)',
        "x: axis position: expected None or 0 to 17, found -1",
    ),
    "positions and heads exchanged": (
        'values.add(Key("x"), pattern[..., 0], axes=("position", "head"))',
        "x: axis head: expected 4, found 18",
    ),
    "an axis too few": (
        'values.add(Key("x"), pattern[..., 0, 0])',
        "x: expected real values [item], found torch.float32",
    ),
    "an axis too many": (
        'values.add(Key("x"), loss, axes=("head", "position"))',
        "x: expected real values [item, head",
    ),
    "no axis at all": (
        'values.add(Key("x"), loss.mean())',
        "x: expected real values [item], found",
    ),
    "an axis of another name": (
        'values.add(Key("x"), loss, axes=("layer",))',
        "x: axes layer: each of head, position",
    ),
    "an axis twice": (
        'values.add(Key("x"), pattern[..., 0], axes=("head", "head"))',
        "x: axes head, head: each of",
    ),
    "an axis in the key": (
        'values.add(Key("x", head=1), pattern[..., 0, 0], axes=("head",))',
        "x: axis head is in the key and among the axes",
    ),
    "a layer beyond the last": (
        'values.add(Key("x", layer=2), loss.mean(-1))',
        "x: axis layer: expected None or 0 to 1",
    ),
    "a negative layer": (
        'values.add(Key("x", layer=-1), loss.mean(-1))',
        "x: axis layer: expected None or 0 to 1",
    ),
    "a layer that is a word": (
        'values.add(Key("x", layer="0"), loss.mean(-1))',
        "axis layer: expected None or 0 to 1",
    ),
    "a layer that is yes": (
        'values.add(Key("x", layer=True), loss.mean(-1))',
        "axis layer: expected None or 0 to 1",
    ),
    "a head beyond the last": (
        'values.add(Key("x", head=24), loss.mean(-1))',
        "x: axis head: expected None or 0 to 3",
    ),
    "a key twice": (
        'values.add(Key("x"), loss.mean(-1)); values.add(Key("x"), loss.sum(-1))',
        "metric=x has values of this batch already",
    ),
    "an array": (
        'values.add(Key("x"), loss.mean(-1).cpu().numpy())',
        "x: expected a tensor [item], found ndarray",
    ),
    "a list": ('values.add(Key("x"), [1.0] * items)', "x: expected a tensor [item], found list"),
    "complex numbers": (
        'values.add(Key("x"), loss.mean(-1) * 1j)',
        "x: expected real values [item], found torch.complex64",
    ),
    "a ratio of two axes": (
        'values.add_ratio(Key("x"), loss, loss, "y")',
        "x: expected real values [item]",
    ),
    "a ratio of other items": (
        'values.add_ratio(Key("x"), loss.mean(-1), loss.mean(0), "y")',
        "x: axis item: expected 5, found 17",
    ),
    "a tensor of other items": (
        'values.add_tensor("f", "x", loss[:3])',
        "f x: axis item: expected 5, found a tensor",
    ),
    "a reason for a layer that is none": (
        'values.undefined(Key("x", layer=9), "why")',
        "x: axis layer: expected None",
    ),
    "fewer items than promised": (
        'values = ItemValues(items=3); values.add(Key("x"), loss.mean(-1))',
        "x: axis item: expected 3, found 5",
    ),
}


@pytest.mark.parametrize(("code", "message"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_values_that_do_not_fit_fail_their_unit_naming_the_axis(suite, tmp_path, code, message):
    (error,) = sweep(suite, tmp_path, READER.format(groups="", code=code))
    assert message in error
    assert error.startswith(("ValueError: ", "TypeError: "))


RIGHT_VALUES = {
    "items": ('values.add(Key("x"), loss.mean(-1))', 1),
    "heads": ('values.add(Key("x", layer=1), pattern.mean((-1, -2)), axes=("head",))', 4),
    "heads and positions": (
        'values.add(Key("x"), pattern[..., 0], axes=("head", "position"))',
        4 * 18,
    ),
    "positions and heads": (
        'values.add(Key("x"), pattern[..., 0].mT, axes=("position", "head"))',
        4 * 18,
    ),
    "predicted positions": ('values.add(Key("x"), loss, axes=("position",), first_position=1)', 17),
    "whole numbers": ('values.add(Key("x"), acts.tokens.sum(-1))', 1),
    "truth values": ('values.add(Key("x"), loss.mean(-1) > 1)', 1),
    "some items": ('values = ItemValues(items=3); values.add(Key("x"), loss.mean(-1)[:3])', 1),
    "a layer of NumPy": ('values.add(Key("x", layer=np.int64(1)), loss.mean(-1))', 1),
    "no number": ('values.add(Key("x"), loss.mean(-1) * float("nan"))', 1),
}


@pytest.mark.parametrize(("code", "count"), RIGHT_VALUES.values(), ids=RIGHT_VALUES)
def test_values_that_fit_are_stored(suite, tmp_path, code, count):
    rows = sweep(suite, tmp_path, READER.format(groups="", code=code))
    assert len(rows) == count
    undefined = rows.value.isna()
    assert (undefined == (code == RIGHT_VALUES["no number"][0])).all()
    assert rows.reason[undefined].notna().all()
    assert rows.stderr.isna().all(), "the batch has fewer than six items"
    assert rows.reason[~undefined].str.startswith("no standard error: ").all()


WRONG_ROWS = {
    "a layer beyond the last": (
        'rows.add(Key("x", layer=2), 1.0)',
        "x: axis layer: expected None or 0 to 1, found 2",
    ),
    "a negative layer": (
        'rows.add(Key("x", layer=-1), 1.0)',
        "x: axis layer: expected None or 0 to 1, found -1",
    ),
    "a layer that is a fraction": (
        'rows.add(Key("x", layer=0.0), 1.0)',
        "x: axis layer: expected None or 0 to 1",
    ),
    "a head beyond the last": (
        'rows.undefined(Key("x", head=4), "why")',
        "x: axis head: expected None or 0 to 3",
    ),
    "a position beyond the context": (
        'rows.add(Key("x", position=128), 1.0)',
        "axis position: expected None or -128 to 127",
    ),
    "a word": ('rows.add(Key("x"), "1.0")', "x: expected a number, found str"),
    "nothing": ('rows.add(Key("x"), None)', "x: expected a number, found NoneType"),
    "a complex number": ('rows.add(Key("x"), 1j)', "x: expected a number, found complex"),
    "words as items": (
        'rows.add_items(Key("x"), ["1", "2"])',
        "x: expected numbers [item], found <U1 of shape [2]",
    ),
    "objects as items": (
        'rows.add_items(Key("x"), [1, None])',
        "x: expected numbers [item], found object",
    ),
    "items of two axes": (
        'rows.add_items(Key("x"), torch.ones(3, 4))',
        "x: expected numbers [item], found float32 of shape",
    ),
    "a mean of two axes": (
        'rows.add_mean(Key("x"), np.ones((3, 4)))',
        "x: expected numbers [item], found float64 of shape",
    ),
    "one number as items": ('rows.add_mean(Key("x"), np.float64(1))', "TypeError"),
    "rows of uneven length": ('rows.add_items(Key("x"), [[1], [1, 2]])', "ValueError"),
    "half of a pair in a name": ('rows.add(Key("\\ud800"), 1.0)', "its rows cannot be written"),
}


@pytest.mark.parametrize(("code", "message"), WRONG_ROWS.values(), ids=WRONG_ROWS)
def test_rows_that_do_not_fit_fail_their_unit(suite, tmp_path, code, message):
    (error,) = sweep(suite, tmp_path, ROWS.format(code=code))
    assert message in error


def test_no_items_are_no_value(suite, tmp_path):
    rows = sweep(suite, tmp_path, ROWS.format(code='rows.add_items(Key("x"), [], blocks=16)'))
    assert list(rows.reason) == ["no items"]


DATA = '''
from dataclasses import dataclass
from types import SimpleNamespace
import numpy as np
from pythia_traj.experiment import Data, experiment
from pythia_traj.values import ItemValues, Key

@dataclass(frozen=True)
class Own(Data):
    def spec(self, *, seed): return {{}}
    def bind(self, vocabulary, *, seed): return SimpleNamespace(groups={groups})

@experiment(version=1, data=Own(), reads=("loss",))
def mine(acts) -> ItemValues:
    """Is somebody's own."""
    values = ItemValues()
    values.add(Key("x"), acts.output("loss").mean(-1))
    return values
'''


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("{}", "its data has no groups"),
        ("{'a': np.zeros((0, 5), int)}", "its data has no groups"),
        ("{'a': np.zeros((5, 0), int)}", "its data has no groups"),
        ("{'a': np.zeros(5, int)}", "its data has no groups"),
        ("{'a': np.zeros((5, 5))}", "its data has no groups"),
        ("{'a': [[1, 2]]}", "its data has no groups"),
        (
            "{'a': np.full((2, 5), -1)}",
            "group 'a' of its data has ids of -1 to -1, the model has 300 embeddings",
        ),
        (
            "{'a': np.full((2, 5), 300)}",
            "group 'a' of its data has ids of 300 to 300, the model has 300 embeddings",
        ),
        (
            "{'a': np.zeros((2, 129), int)}",
            "group 'a' of its data needs a context of 129 tokens, the model has 128",
        ),
    ],
)
def test_data_that_the_model_cannot_read_is_refused(suite, tmp_path, groups, message):
    with pytest.raises(DataError) as error:
        sweep(suite, tmp_path, DATA.format(groups=groups))
    assert message in str(error.value)


@pytest.mark.parametrize(("n", "length"), [(10**9, 50), (2**62, 9), (10**8, 60)])
def test_more_tokens_than_fit_the_memory_are_refused_before_it_is_taken(suite, tmp_path, n, length):
    experiments = {"induction": {"n": n, "length": length}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        DataError, match=f"induction: n={n} with length={length} takes about .* set n lower"
    ):
        pt.sweep(
            pt.SweepConfig(
                model=str(suite), steps="0", experiments=experiments, out=tmp_path / "run"
            )
        )
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_data_that_cannot_be_allocated_are_refused(suite, tmp_path):
    with pytest.raises(DataError, match="mine: its data does not fit the memory"):
        sweep(suite, tmp_path, DATA.format(groups="{'a': np.zeros((2**40, 2**10), int)}"))
