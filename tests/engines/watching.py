"""Watches what code does with a device's tensors, on a machine without one.

In their place stand `meta` tensors, which have shapes and no values.

A GPU works on while Python goes ahead, until Python asks for a value or uploads one without
`non_blocking`. Both are reported with the function and the line that do so, and so are devices that
are mixed. Then the run goes on, with ones in place of the values that do not exist, so that one run
finds everything.
"""

import linecache
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

META, CPU = torch.device("meta"), torch.device("cpu")

aten = torch.ops.aten


class Kind(StrEnum):
    """What engines should not do with tensors of a device."""

    READ = "reads a value"
    COPY = "copies to the host"
    SHAPE = "makes a shape of values"
    WAIT = "calls what waits inside"
    UPLOAD = "waits for an upload"
    MIXED = "mixes devices"
    HOST = "makes a tensor on the host"
    DOUBLE = "makes float64 on the device"


@dataclass(frozen=True)
class Finding:
    """One thing that was done.

    Attributes:
        where: module and function, such as `probing.logistic`.
        line: file, number and text of the line in that function.
        operation: what was called there.
    """

    kind: Kind
    where: str
    line: str
    operation: str

    def __str__(self) -> str:
        return f"{self.where} {self.kind} ({self.operation})\n    {self.line}"


WAITING = {
    aten._linalg_svd,
    aten._linalg_eigh,
    aten.linalg_eig,
    aten._linalg_check_errors,
}
"""On CUDA these wait for the device before they return, as torch.linalg's documentation says."""

DOUBLES = (torch.float64, torch.complex128)


@dataclass
class Watch:
    """Within the context, what code below a folder, or in a file, does; by it or by a library that
    it calls.

    Attributes:
        within: the folder or file.
        findings: what was found.
        executed: all functions that ran.
        calling: what Python has called of torch.
    """

    within: Path
    findings: list[Finding] = field(default_factory=list)
    executed: set[CodeType] = field(default_factory=set)
    calling: str = ""
    # Tensors made of Python's numbers, by storage. They can be made nowhere else: findings unless
    # they are uploaded without waiting.
    _made: dict[int, tuple[Tensor, Finding]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Watch":
        self._stack.callback(sys.setprofile, sys.getprofile())
        self._stack.enter_context(_Operations(self))
        self._stack.enter_context(_Python(self))
        sys.setprofile(self._note)
        return self

    def _note(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            self.executed.add(frame.f_code)

    def __exit__(self, *raised: object) -> None:
        self._stack.close()
        self.findings += [finding for _, finding in self._made.values()]

    def report(self, kind: Kind, operation: str) -> Finding | None:
        """Notes a finding; what was not called from the watched code is nobody's."""
        found = self._finding(kind, operation)
        if found is not None:
            self.findings.append(found)
        return found

    def made(self, tensor: Tensor) -> None:
        """Notes a host tensor made of Python's numbers."""
        found = self._finding(Kind.HOST, "of Python's numbers")
        if found is not None:
            self._made[tensor.untyped_storage()._cdata] = (tensor, found)

    def uploaded(self, tensor: Tensor) -> None:
        """Takes the note back."""
        self._made.pop(tensor.untyped_storage()._cdata, None)

    def _finding(self, kind: Kind, operation: str) -> Finding | None:
        frame, library = sys._getframe(), ""
        while frame is not None and not Path(frame.f_code.co_filename).is_relative_to(self.within):
            path = Path(frame.f_code.co_filename)
            if not library and "transformer_lens" in path.parts:
                library = f" by transformer_lens, {path.name}:{frame.f_lineno}"
            frame = frame.f_back
        if frame is None:
            return None
        path, number = Path(frame.f_code.co_filename), frame.f_lineno
        names = [part for part in frame.f_code.co_qualname.split(".") if not part.startswith("<")]
        text = linecache.getline(str(path), number).strip()
        return Finding(
            kind,
            ".".join((path.stem, *names)),
            f"{path.name}:{number}: {text}",
            operation + library,
        )


def _leaves(tree: object) -> Iterator[object]:
    """What lists, tuples and dicts hold: the arguments and results of operations are made of
    nothing else.
    """
    if isinstance(tree, list | tuple):
        for one in tree:
            yield from _leaves(one)
    elif isinstance(tree, dict):
        yield from _leaves(list(tree.values()))
    else:
        yield tree


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in _leaves(tree) if isinstance(leaf, Tensor)]


class _Operations(TorchDispatchMode):
    """What reaches torch's dispatcher, in torch and in libraries that use it."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # In inference mode, operations come here that are made of others.
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        for answer in (self._moved, self._read, self._shaped):
            found = answer(func, args, kwargs)
            if found is not None:
                return found
        if func.overloadpacket in WAITING and any(one.is_meta for one in _tensors((args, kwargs))):
            self._watch.report(Kind.WAIT, str(func))
        args, kwargs = self._on_one_device(func, args, kwargs)
        made = func(*args, **kwargs)
        self._check_made(func, (args, kwargs), made)
        return made

    def _moved(self, func, args, kwargs):
        """Copies from one device to the other."""
        if func is aten._to_copy.default:
            source, target, waits = (
                args[0],
                kwargs.get("device") or args[0].device,
                not kwargs.get("non_blocking"),
            )
        elif func is aten.copy_.default:
            target, source = args[0].device, args[1]
            waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        else:
            return None
        if source.is_meta == (target.type == "meta"):
            return None
        if source.is_meta:
            self._watch.report(Kind.COPY, self._watch.calling)
            if func is aten.copy_.default:
                return args[0].fill_(1)
            return torch.ones(source.shape, dtype=kwargs.get("dtype") or source.dtype)
        if waits:
            self._watch.report(Kind.UPLOAD, str(func))
        self._watch.uploaded(source)
        return None

    def _read(self, func, args, kwargs):
        """What needs a value gets 1, or true.

        The third time at one place it gets false, so that loops end.
        """
        if torch.Tag.data_dependent_output not in func.tags or not any(
            one.is_meta for one in _tensors((args, kwargs))
        ):
            return None
        found = self._watch.report(Kind.READ, self._watch.calling)
        if func is not aten._local_scalar_dense.default or args[0].dtype is torch.bool:
            return self._watch.findings.count(found) <= 2
        return torch.ones((), dtype=args[0].dtype).item()

    def _shaped(self, func, args, kwargs):
        """What has as many entries as a mask has true ones: as if all were true."""
        if not any(one.is_meta for one in _tensors((args, kwargs))):
            return None
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_):
            masks = [
                i
                for i in args[1]
                if i is not None and i.is_meta and i.dtype in (torch.bool, torch.uint8)
            ]
            # One number for all that a mask names is filled in without counting them.
            if not masks or (func.overloadpacket is not aten.index and args[2].numel() == 1):
                return None
            self._watch.report(Kind.SHAPE, "a mask as index")
            if func.overloadpacket is not aten.index:
                return args[0]
            every = [
                _all_of(i).unbind(-1) if any(i is mask for mask in masks) else [i] for i in args[1]
            ]
            return func(args[0], [one for some in every for one in some])
        if torch.Tag.dynamic_output_shape not in func.tags:
            return None
        if func.overloadpacket is aten.repeat_interleave and kwargs.get("output_size") is not None:
            return None
        self._watch.report(Kind.SHAPE, str(func))
        return _all_of(args[0]) if func is aten.nonzero.default else None

    def _on_one_device(self, func, args, kwargs):
        """The arguments, all on the device if one is.

        Arithmetic may combine a device's tensor with one number of the host's.
        """
        tensors = _tensors((args, kwargs))
        if not any(one.is_meta for one in tensors) or func in (
            aten._to_copy.default,
            aten.copy_.default,
        ):
            return args, kwargs
        legal = torch.Tag.pointwise in func.tags or func.overloadpacket in (
            aten.index_put,
            aten.index_put_,
            aten.index,
        )
        strangers = [one for one in tensors if not one.is_meta and not (legal and one.ndim == 0)]
        if strangers:
            self._watch.report(Kind.MIXED, str(func))
        else:
            return args, kwargs

        def moved(one):
            return (
                torch.empty_like(one, device=META)
                if any(one is other for other in strangers)
                else one
            )

        return tree_map(moved, args), tree_map(moved, kwargs)

    def _check_made(self, func, given, made):
        inputs, outputs = _tensors(given), _tensors(made)
        if func is aten.lift_fresh.default:
            if not outputs[0].is_meta and outputs[0].ndim:
                self._watch.made(outputs[0])
        elif not inputs and any(not one.is_meta and one.ndim for one in outputs):
            self._watch.report(Kind.HOST, str(func))
        if any(one.is_meta and one.dtype in DOUBLES for one in outputs) and not any(
            one.is_meta and one.dtype in DOUBLES for one in inputs
        ):
            self._watch.report(Kind.DOUBLE, str(func))
        generators = [leaf for leaf in _leaves(given) if isinstance(leaf, torch.Generator)]
        if any(one.device == CPU for one in generators) and any(one.is_meta for one in outputs):
            self._watch.report(Kind.MIXED, f"{func} with a generator of the host's")


def _all_of(mask: Tensor) -> Tensor:
    return torch.zeros(mask.numel(), mask.ndim, dtype=torch.int64, device=META)


class _Python(TorchFunctionMode):
    """What ends before the dispatcher, or looks there like something else."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        outer, self._watch.calling = self._watch.calling, getattr(func, "__name__", str(func))
        # What torch calls in its own Python is of no interest, and of great number.
        profile = sys.getprofile()
        sys.setprofile(None)
        try:
            if args and isinstance(args[0], Tensor) and args[0].is_meta:
                if func in (Tensor.numpy, Tensor.__array__):
                    self._watch.report(Kind.COPY, self._watch.calling)
                    return np.ones(args[0].shape, torch.empty(0, dtype=args[0].dtype).numpy().dtype)
                if func in (Tensor.__format__, Tensor.__repr__):
                    self._watch.report(Kind.READ, self._watch.calling)
            if self._uploads(func, args, kwargs):
                self._watch.report(Kind.UPLOAD, self._watch.calling)
            return func(*args, **kwargs)
        finally:
            self._watch.calling = outer
            sys.setprofile(profile)

    def _uploads(self, func, args, kwargs) -> bool:
        """Whether Python's numbers become a device's tensor; torch offers no way to do this at once
        without waiting.
        """
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            return torch.device(kwargs.get("device") or CPU).type == "meta" and not isinstance(
                args[0], Tensor
            )
        if func is Tensor.new_tensor:
            return args[0].is_meta and not isinstance(args[1], Tensor)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            return args[0].is_meta and any(isinstance(one, list | np.ndarray) for one in index)
        return False
