"""Planning where torch is not installed: what experiments import in its place.

A request is planned and recorded on any machine, but files of experiments, and the engines that
they use, import torch. Of what they hold a request needs names, versions, parameters and data, and
no tensor. So while they are imported where torch is missing, `standing_in` gives them stand-ins.
What is taken from a stand-in, called or computed with it is another one: it can be an annotation, a
base class, a decorator or a constant. It never becomes a number, a truth or a text, of which a
request could be made, and once the import has ended it cannot be called either.

Modules of pythia_traj that have imported stand-ins stay in `sys.modules`. That is right, as nothing
is measured in such a process: `check_installed` refuses it. Where torch is installed meanwhile, the
stand-ins say that Python has to be started again.
"""

import builtins
from abc import ABCMeta
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, reduce
from importlib.util import find_spec
from pathlib import PurePath
from threading import RLock
from typing import Any

from pythia_traj.errors import DeviceError

MEASURING = ("torch", "transformer_lens", "transformers")
"""The libraries that only measuring needs."""

_TRUE_WITHOUT = {
    "torch.cuda.is_available": False,
    "torch.cuda.device_count": 0,
    "torch.backends.mps.is_available": False,
}
"""What files ask when they are imported, and what is true without torch."""

_LIBRARIES = {"site-packages", "dist-packages"}
"""Folders of installed libraries."""

_LOCK = RLock()

_importing: list[str] = []
"""The packages that experiments are imported from now, the innermost last."""


def missing() -> tuple[str, ...]:
    """The libraries that measuring needs and that are not installed."""
    return tuple(name for name in MEASURING if not _is_installed(name))


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        # An import hook refuses it.
        return False


def check_installed() -> None:
    """Refuses to measure where a library that measuring needs is missing.

    Raises:
        DeviceError: it names the libraries.
    """
    if names := missing():
        are, them = ("is", "it") if len(names) == 1 else ("are", "them")
        raise DeviceError(
            f"{', '.join(names)} {are} not installed here: measuring needs {them}: pip install"
            f" {' '.join(names)}"
        )


@contextmanager
def standing_in(package: str = "") -> Iterator[None]:
    """While experiments are imported: gives them stand-ins of the libraries that are missing.

    They are for modules of pythia_traj and of one package, and for files outside the folders of
    installed libraries. An installed library may look whether torch is there, do without, and
    remember it, so that one has to see that it is missing. A hook in `sys.meta_path` is not told
    who imports; the function of the import statement is, so it is replaced meanwhile. Nothing
    enters `sys.modules`.

    Args:
        package: the one that the experiments are in.
    """
    absent = missing()
    if not absent:
        yield
        return
    with _LOCK:
        real = builtins.__import__
        builtins.__import__ = _importer(real, absent)
        _importing.append(package)
        try:
            yield
        finally:
            _importing.pop()
            builtins.__import__ = real


def _importer(real: Callable[..., Any], absent: Sequence[str]) -> Callable[..., Any]:
    def importing(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - Python names it
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        library, *inner = name.split(".")
        if level or library not in absent or not _gets_stand_ins(globals or {}):
            return real(name, globals, locals, fromlist, level)
        # `import torch.nn` gets torch, `from torch.nn import Module` gets torch.nn.
        return reduce(getattr, inner if fromlist else (), _known(library))

    return importing


def _gets_stand_ins(importer: Mapping[str, Any]) -> bool:
    """Whether the module with these globals does."""
    package = str(importer.get("__name__", "")).partition(".")[0]
    folders = PurePath(importer.get("__file__") or "").parts
    return package in ("pythia_traj", *_importing) or _LIBRARIES.isdisjoint(folders)


class _Kind(ABCMeta):
    """The type of stand-ins, which are classes, so that Python takes them wherever it takes one.

    It is a kind of ABCMeta, so that a stand-in and an abstract class can be bases of one class.
    """

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            # Asked whether it has a method such as `__array__`, a stand-in has to say no.
            raise AttributeError(f"{_name(cls)} is not installed here, so it has no {name}")
        return _known(f"{_name(cls)}.{name}")

    def __call__(cls, *given: Any, **named: Any) -> Any:
        if _name(cls) in _TRUE_WITHOUT:
            return _TRUE_WITHOUT[_name(cls)]
        made = _made(_name(cls))
        # Perhaps it decorates a function or a class, which stays what it is.
        is_decorator = len(given) == 1 and not named and callable(given[0])
        return given[0] if is_decorator and not isinstance(given[0], _Kind) else made

    def __eq__(cls, other: object) -> bool:
        if isinstance(other, str | bytes | int | float | complex):
            raise _not_installed(_name(cls))
        return cls is other

    __hash__ = ABCMeta.__hash__

    def __repr__(cls) -> str:
        # A dataclass writes the default values of its fields into its docstring.
        _made(_name(cls))
        return f"<{_name(cls)}, not installed>"

    def __exit__(cls, *_: object) -> None:
        """Ends a `with`, whose begin has made a stand-in."""


def _computed(cls: _Kind, *_: object) -> Any:
    """What an operator makes of a stand-in."""
    return _made(_name(cls))


def _refused(cls: _Kind, *_: object) -> Any:
    """A value of Python's, which a stand-in does not become."""
    raise _not_installed(_name(cls))


_TWO_SIDED = (
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "xor", "lshift",
    "rshift",
)  # fmt: skip

for _operator in (
    *_TWO_SIDED,
    *(f"r{one}" for one in _TWO_SIDED),
    *("neg", "pos", "abs", "invert", "getitem", "setitem", "enter"),
):
    setattr(_Kind, f"__{_operator}__", _computed)
for _value in (
    *("bool", "int", "float", "complex", "index", "str", "format"),
    *("len", "iter", "contains", "lt", "le", "gt", "ge"),
):
    setattr(_Kind, f"__{_value}__", _refused)


def _name(cls: type) -> str:
    """Its full name, as `torch.nn.Module`."""
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix(".")


def _stand_in(name: str) -> _Kind:
    module, _, own = name.rpartition(".")

    def new(_: type, *__: object, **___: object) -> Any:
        return _made(name)

    def init_subclass(cls: type, /, **_: object) -> None:
        # A class that derives from a stand-in is an ordinary one: its attributes are its own.
        cls.__class__ = ABCMeta

    methods = {"__new__": new, "__init_subclass__": classmethod(init_subclass)}
    return _Kind(own, (), {"__module__": module, **methods})


_known = cache(_stand_in)
"""The stand-in of a name: `torch.float32` is always the same one."""


def _made(name: str) -> _Kind:
    """What is made of a stand-in; nothing but while files are imported.

    Raises:
        DeviceError: none is imported now.
    """
    if not _importing:
        raise _not_installed(name)
    return _stand_in(name)


def _not_installed(name: str) -> DeviceError:
    library = name.partition(".")[0]
    return DeviceError(
        f"{name} is used, and {library} was not installed when Python began: pip install {library},"
        " and start Python again"
    )
