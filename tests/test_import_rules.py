"""Each rule of the rooms is broken here by a small source, and said to be: a rule that nothing can
break guards nothing.
"""

import pytest

from tests.structure import circle, habits, violations
from tests.test_structure import FLOORS, RULES, loaded_by

CONFIG = "keys.py (floor 1) imports pythia_traj.config"


def in_function(text):
    return f"def late():\n    {text}\n"


def broken(*sources):
    return violations(RULES, sources)


def said_once(fragment, *sources):
    (said,) = broken(*sources)
    assert fragment in said


@pytest.mark.parametrize(
    "text",
    [
        "import pythia_traj.config",
        "import os, pythia_traj.config as settings",
        "from pythia_traj import config",
        "from pythia_traj import errors, config as settings",
        "from pythia_traj.config import SweepConfig",
        "from . import config",
        "from .config import SweepConfig",
        "from .config import *",
        in_function("from pythia_traj.config import SweepConfig"),
        "class Key:\n    from pythia_traj.config import SweepConfig\n",
        "try:\n    from pythia_traj.config import SweepConfig\nexcept ImportError:\n    pass\n",
        "import importlib\nimportlib.import_module('pythia_traj.config')",
        "from importlib import import_module\nimport_module(name='pythia_traj.config')",
        "from importlib import import_module\nimport_module('.config', __package__)",
        "__import__('pythia_traj.config')",
        "if TYPE_CHECKING:\n    pass\nelse:\n    from pythia_traj import config\n",
        "if not TYPE_CHECKING:\n    from pythia_traj import config\n",
    ],
)
def test_a_higher_floor_is_seen_however_it_is_imported(text):
    said_once(CONFIG, ("keys.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "from ..config import SweepConfig",
        "from .. import config",
        in_function("from ..config import SweepConfig"),
    ],
)
def test_so_is_one_that_is_named_from_within_a_folder(text):
    said_once("engines imports no other room", ("engines/text.py", text.replace("config", "keys")))
    said_once("(floor 3)", ("data/text.py", text))
    said_once("(floor 3)", ("data/labels/own.py", text.replace("..", "...")))


@pytest.mark.parametrize("name", ["TYPE_CHECKING", "typing.TYPE_CHECKING"])
def test_what_only_a_type_checker_sees_breaks_nothing(name):
    assert (
        broken(("keys.py", f"if {name}:\n    from pythia_traj.config import SweepConfig\n")) == []
    )


def test_every_higher_floor_is_refused_to_every_room():
    for room, floor in FLOORS.items():
        for other, its_floor in FLOORS.items():
            said = broken((f"{room}.py", f"import pythia_traj.{other}.inside"))
            is_upward = any("(floor" in one for one in said)
            assert is_upward == (its_floor > floor), (room, other)


@pytest.mark.parametrize("text", ["import pythia_traj", "from pythia_traj import load"])
def test_the_package_itself_is_of_no_room(text):
    said_once("is of no room", ("cli/main.py", text))


def test_nor_is_a_module_that_is_gone():
    said_once("is of no room", ("cli/main.py", "from pythia_traj.gone import something"))


def test_the_package_imports_its_public_names_when_they_are_used():
    said_once("when used", ("__init__.py", "from pythia_traj.config import SweepConfig"))


def test_a_room_has_a_floor():
    said_once("nowhere has no floor", ("nowhere/inside.py", ""))


def test_a_room_is_a_file_or_a_folder():
    assert broken(("hub/model.py", ""), ("hub/__init__.py", "")) == []
    said_once("hub is a file and a folder", ("hub/model.py", ""), ("hub.py", ""))


@pytest.mark.parametrize("room", RULES.only)
def test_a_room_with_a_list_imports_no_other_room(room):
    for other, floor in FLOORS.items():
        if floor <= FLOORS[room] and other not in (room, *RULES.not_by_name):
            said = broken((f"{room}/inside.py", f"import pythia_traj.{other}"))
            is_refused = any(f"{room} imports" in one and "no other" in one for one in said)
            assert is_refused == (other not in RULES.only[room]), other


@pytest.mark.parametrize(
    ("room", "other"), [(room, other) for room, own in RULES.never.items() for other in own]
)
def test_a_room_imports_none_that_it_is_not_to_know(room, other):
    said = broken((f"{room}/inside.py", f"from pythia_traj.{other} import inside"))
    assert f"{room} knows no {other}" in said[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cli/main.py", "from pythia_traj.experiments.induction import induction"),
        ("cli/main.py", "from pythia_traj import experiments"),
        ("cli/main.py", in_function("import pythia_traj.experiments.induction")),
        ("cli/main.py", "importlib.import_module('pythia_traj.experiments.induction')"),
        ("experiments/loss.py", "from pythia_traj.experiments.induction import induction"),
        ("experiments/loss.py", "from .induction import induction"),
    ],
)
def test_no_experiment_is_imported_by_name(path, text):
    said_once("by name", (path, text))


def test_rooms_of_one_floor_import_each_other_in_one_direction():
    one_way = ("data/a.py", "from pythia_traj.suites import b")
    assert broken(one_way) == []
    said_once(
        "a circle: data -> suites -> data",
        one_way,
        ("suites/c.py", in_function("from pythia_traj.data import d")),
    )


def test_modules_of_one_room_import_each_other_in_one_direction():
    one_way = ("hub/a.py", "from pythia_traj.hub.b import something"), ("hub/b.py", "")
    assert broken(*one_way) == []
    said_once(
        "a circle: pythia_traj.hub.a -> pythia_traj.hub.b -> pythia_traj.hub.a",
        one_way[0],
        ("hub/b.py", in_function("from pythia_traj.hub import a")),
    )


def test_a_circle_is_found_wherever_it_is():
    assert circle({"a": ["b", "c"], "b": ["c"], "c": []}) == []
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]


def test_a_stage_of_the_walk_reaches_no_later_one():
    for place, stage in enumerate(RULES.walk):
        for other in (room for later in RULES.walk[place + 1 :] for room in later):
            for room in stage:
                said = broken((f"{room}.py", f"import pythia_traj.{other}"))
                assert f"{room} reaches {other}, a later stage of the walk of one step" in said


def test_nor_does_it_through_other_rooms():
    said_once(
        "suites reaches store",
        ("suites/local.py", "from pythia_traj.yamlfile import read"),
        ("yamlfile.py", "from pythia_traj.data import text"),
        ("data/text.py", "from pythia_traj.store.read import load"),
    )


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_loads_no_library_but_its_own(room):
    late = set(RULES.late.get(room, ()))
    own = {*RULES.libraries.get(room, ()), *RULES.anywhere}
    for package in (*RULES.packages(), "sqlalchemy"):
        at_once = broken((f"{room}.py", f"import {package}.inside as short"))
        within = broken((f"{room}.py", in_function(f"from {package} import inside")))
        assert bool(at_once) == (package not in own), package
        assert bool(within) == (package not in own | late), package


@pytest.mark.parametrize(
    "room",
    ["errors", "steps", "schema", "checkpoint", "processing", "suites", "config", "hub", "store"],
)
def test_what_reads_files_and_requests_knows_no_torch(room):
    said_once(f"{room} is not to load torch", (f"{room}.py", in_function("import torch")))


@pytest.mark.parametrize("room", ["cli", "figures", "doctor"])
@pytest.mark.parametrize("text", ["import torch", "class Page:\n    import torch\n"])
def test_what_a_person_waits_for_loads_no_torch_at_once(room, text):
    said_once("imports torch", (f"{room}.py", text))


@pytest.mark.parametrize(
    "text",
    [
        "HookedTransformer(cfg)",
        "HookedTransformer.from_pretrained('pythia-14m')",
        "from transformer_lens import HookedTransformer as Model\nModel(cfg)",
        "import transformer_lens as tl\ntl.HookedTransformer(cfg)",
        in_function("return HookedTransformer.from_pretrained_no_processing(name)"),
        "class Mine(HookedTransformer):\n    pass\n",
    ],
)
def test_one_room_makes_the_model(text):
    said_once("only models does", ("stream/weights.py", text))
    assert broken(("models/swap.py", text)) == []


def test_a_model_that_is_only_named_is_not_made():
    text = "def f(model: HookedTransformer) -> bool:\n    return type(model) is HookedTransformer\n"
    assert broken(("stream/weights.py", text)) == []


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("hub/utils.py", "", "hub/utils.py: say in its name what is inside"),
        ("hub/model.py", "\n" * 5, "hub/model.py is long"),
        ("hub/model.py", "def f():\n  a = 1\n  b = 2\n  c = 3\n", "hub/model.py: f is long"),
        ("hub/model.py", "if here:\n    print(1)\n", "hub/model.py:2 prints"),
    ],
)
def test_bad_habits_are_seen(path, text, said):
    assert habits([(path, text)], most_lines=4, most_of_a_body=3) == [said]


def test_a_docstring_and_a_signature_are_no_part_of_a_body():
    text = 'def f(\n    a,\n):\n    """One\n\n    Two\n    """\n    return a\n'
    assert habits([("hub/model.py", text)], most_lines=20, most_of_a_body=2) == []


def test_a_library_that_an_import_loads_is_seen():
    assert "pandas" in loaded_by("import pandas")
