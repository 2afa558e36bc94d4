"""What stands in for a library that is not installed while experiments are imported.

The library of these tests is `lacking`, which nobody has, in place of torch.
"""

import builtins
import importlib.util
import sys

import pytest

from pythia_traj import standins
from pythia_traj.discovery import discover, find
from pythia_traj.errors import ConfigError, DeviceError

EXPERIMENT = '''
from pythia_traj.experiment import experiment

@experiment(version=1)
def mine(model):
    """Is a user's."""
    return lacking.stack([model])
'''


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    """One library is lacking; after every test the import statement is Python's own again, and
    another test may define the modules of this one.
    """
    monkeypatch.setattr(standins, "MEASURING", ("lacking",))
    real, modules = builtins.__import__, set(sys.modules)
    yield
    assert builtins.__import__ is real
    for name in {"looks", "beside", "plugged"} & (set(sys.modules) - modules):
        del sys.modules[name]
    assert "lacking" not in sys.modules
    assert importlib.util.find_spec("lacking") is None


@pytest.fixture
def imported(tmp_path):
    """Imports a file that begins with these lines, and then defines an experiment; its globals."""

    def write(lines):
        path = tmp_path / "mine.py"
        path.write_text(f"import lacking\n{lines}\n{EXPERIMENT}")
        return vars(sys.modules[find(str(path)).function.__module__])

    return write


DECORATED = [
    "@lacking.no_grad\n",
    "@lacking.no_grad()\n",
    "@lacking.compile(dynamic=True)\n",
    "@lacking.jit.script\n@lacking.no_grad()\n",
]


@pytest.mark.parametrize("decorator", DECORATED)
def test_what_is_decorated_stays_what_it_is(imported, decorator):
    found = imported(f"{decorator}def double(x):\n    return 2 * x\n{decorator}class Pair: pass")
    assert found["double"](4) == 8
    assert isinstance(found["Pair"](), found["Pair"])


def test_a_class_that_derives_from_one_keeps_its_own_attributes(imported):
    found = imported(
        "from abc import ABC\n"
        "from dataclasses import dataclass\n"
        "from lacking.nn import Module\n"
        "Module.weight\n"
        "@dataclass\n"
        "class Probe(Module, ABC):\n"
        "    weight: lacking.Tensor\n"
        "    size: int = 3\n"
        "class Larger(Probe, Module, flag=True): pass\n"
        "made = Larger(4)\n"
    )
    assert [*found["Probe"].__dataclass_fields__] == ["weight", "size"]
    assert not hasattr(found["Probe"], "weight")
    assert found["Larger"].size == 3
    assert issubclass(found["Larger"], found["Module"])
    with pytest.raises(DeviceError, match=r"lacking\.nn\.Module is used, and lacking was not"):
        found["Probe"](1)


def test_constants_are_the_same_everywhere(imported):
    found = imported("from lacking import float16\nsizes = {float16: 2}")
    assert found["float16"] is found["lacking"].float16
    assert found["sizes"][found["lacking"].float16] == 2
    assert found["float16"] != found["lacking"].float32


def test_a_submodule_is_imported_in_all_ways(imported):
    found = imported(
        "import lacking.nn.functional\nimport lacking.nn as short\nfrom lacking import nn as own"
    )
    assert found["lacking"].nn is found["short"] is found["own"]
    assert found["lacking"] is not found["short"]


MADE = {
    "a call": "lacking.eye(3)",
    "a part": "lacking.eye(3)[:, 0]",
    "arithmetic": "2 ** -lacking.eye(3).T @ lacking.ones(3) + 1",
    "a union": "lacking.Tensor | None",
    "a `with`": "None\nwith lacking.no_grad():\n    made = lacking.ones(3)\n    made[0] = 1",
}


@pytest.mark.parametrize("code", MADE.values(), ids=MADE)
def test_a_file_computes_with_them_while_it_is_imported(imported, code):
    assert imported(f"made = {code}")["made"] is not None


BECOME = {
    "a truth": "not lacking.eye(3)",
    "a whole number": "int(lacking.eye(1))",
    "a fraction": "float(lacking.eye(1))",
    "an index": "[1, 2][lacking.eye(1)]",
    "a length": "len(lacking.eye(3))",
    "a list": "list(lacking.eye(3))",
    "a text": "str(lacking.float32)",
    "a formatted text": "f'{lacking.eye(1):.3f}'",
    "equal to a number": "lacking.get_num_threads() == 4",
    "equal to a text": "lacking.version.cuda == '12.4'",
    "larger": "lacking.get_num_threads() > 4",
    "a member": "3 in lacking.eye(3)",
}


@pytest.mark.parametrize("code", BECOME.values(), ids=BECOME)
def test_they_become_no_value_even_while_a_file_is_imported(imported, code):
    told = r"mine\.py cannot be imported: DeviceError: lacking\.\S+ is used, and lacking was not"
    with pytest.raises(ConfigError, match=told):
        imported(f"made = {code}")


LATER = {
    "a call": lambda lacking: lacking.stack([1]),
    "a decorator": lambda lacking: lacking.no_grad(print),
    "a sum": lambda lacking: 1 + lacking.pi,
    "a part": lambda lacking: lacking.Tensor[0],
    "a `with`": lambda lacking: lacking.no_grad.__enter__(),
    "a text": lambda lacking: repr({"dtype": lacking.float32}),
}


@pytest.mark.parametrize("use", LATER.values(), ids=LATER)
def test_none_is_used_after_the_import(imported, use):
    found = imported("")
    told = r"lacking\S* is used, and lacking was not installed when Python began: pip install"
    with pytest.raises(DeviceError, match=told):
        use(found["lacking"])
    with pytest.raises(DeviceError, match=r"lacking\.stack is used"):
        found["mine"](None)
    assert not isinstance(3, found["lacking"].Tensor)


def test_what_is_known_without_the_library_is_answered(imported, monkeypatch):
    monkeypatch.setitem(standins._TRUE_WITHOUT, "lacking.cuda.is_available", False)
    found = imported("device = 'cuda' if lacking.cuda.is_available() else 'cpu'")
    assert found["device"] == "cpu"


def test_a_version_is_not_known(imported):
    told = "AttributeError: lacking is not installed here, so it has no __version__"
    with pytest.raises(ConfigError, match=told):
        imported("new = lacking.__version__ >= '2.6'")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import lacking_too", "ModuleNotFoundError: No module named 'lacking_too'"),
        ("from .lacking import Tensor", "ImportError: attempted relative import"),
        ("def (", "SyntaxError: invalid syntax"),
    ],
)
def test_another_error_of_a_file_is_still_reported(imported, code, told):
    with pytest.raises(ConfigError, match=rf"mine\.py cannot be imported: {told}"):
        imported(code)


LOOKS = "try:\n    import lacking\nexcept ImportError:\n    lacking = None\n"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Installs a library that does without what is lacking."""

    def install(name, text, entry_points=""):
        folder = tmp_path / "site-packages"
        (folder / f"{name}-1.dist-info").mkdir(parents=True)
        (folder / f"{name}-1.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
        )
        (folder / f"{name}-1.dist-info" / "entry_points.txt").write_text(entry_points)
        (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(folder)

    return install


def test_an_installed_library_sees_that_it_is_lacking(imported, library):
    library("looks", LOOKS)
    found = imported("import looks")
    assert found["looks"].lacking is None
    assert found["lacking"] is not None


def test_a_file_beside_gets_them_too(imported, tmp_path, monkeypatch):
    (tmp_path / "beside.py").write_text("from lacking import Tensor\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = imported("import beside")
    assert found["beside"].Tensor is found["lacking"].Tensor


def test_an_installed_experiment_gets_them(library):
    library(
        "plugged",
        f"import lacking\n{EXPERIMENT}",
        "[pythia_traj.experiments]\nmine = plugged\n",
    )
    discover.cache_clear()
    try:
        assert find("mine").description == "Is a user's."
    finally:
        discover.cache_clear()


def test_a_file_that_lies_among_installed_libraries_gets_them(tmp_path):
    path = tmp_path / "site-packages" / "mine.py"
    path.parent.mkdir()
    path.write_text(f"import lacking\n{EXPERIMENT}")
    assert find(str(path)).version == 1


def test_a_file_that_asks_for_another_experiment_gets_them_on(imported, tmp_path):
    (tmp_path / "other.py").write_text(f"import lacking\n{EXPERIMENT}")
    found = imported(
        "from pythia_traj.discovery import find\n"
        f"other = find({str(tmp_path / 'other.py')!r})\n"
        "from lacking import Tensor"
    )
    assert found["Tensor"] is found["lacking"].Tensor


def test_where_nothing_is_lacking_nothing_is_replaced(monkeypatch):
    monkeypatch.setattr(standins, "MEASURING", ("torch", "transformer_lens", "transformers"))
    real = builtins.__import__
    with standins.standing_in():
        assert builtins.__import__ is real
    standins.check_installed()


def test_a_refusal_names_what_is_lacking():
    with pytest.raises(DeviceError) as error:
        standins.check_installed()
    assert str(error.value) == (
        "lacking is not installed here: measuring needs it: pip install lacking"
    )


def test_a_hook_that_refuses_its_import_counts_as_lacking(monkeypatch):
    class Refusing:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "refused":
                raise ModuleNotFoundError(name, name=name)

    monkeypatch.setattr(sys, "meta_path", [Refusing, *sys.meta_path])
    monkeypatch.setattr(standins, "MEASURING", ("numpy", "refused"))
    assert standins.missing() == ("refused",)
