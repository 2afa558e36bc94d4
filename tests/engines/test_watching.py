"""The watch of device discipline sees what it should, by a function for each, and nothing else."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.engines.device_arguments import Arguments
from tests.engines.watching import META, Kind, Watch

HERE, DOUBLE, GENERATOR = (
    torch.zeros(4, 4),
    torch.zeros(3, dtype=torch.float64, device=META),
    torch.Generator(),
)

BAD = {
    "item": (Kind.READ, lambda x: x.sum().item()),
    "bool": (Kind.READ, lambda x: "some" if (x > 0).any() else "none"),
    "int": (Kind.READ, lambda x: int(x.sum())),
    "float": (Kind.READ, lambda x: float(x.sum())),
    "index of a list": (Kind.READ, lambda x: ["a", "b"][x.long().sum()]),
    "range": (Kind.READ, lambda x: list(range(x.long().sum()))),
    "equal": (Kind.READ, lambda x: torch.equal(x, x.clone())),
    "format": (Kind.READ, lambda x: f"{x.sum()}"),
    "tolist of a number": (Kind.COPY, lambda x: x.sum().tolist()),
    "tolist": (Kind.COPY, lambda x: x.tolist()),
    "cpu": (Kind.COPY, lambda x: x.cpu()),
    "to": (Kind.COPY, lambda x: x.to("cpu", non_blocking=True)),
    "numpy": (Kind.COPY, lambda x: x.numpy()),
    "cpu, numpy": (Kind.COPY, lambda x: x.detach().cpu().numpy()),
    "asarray": (Kind.COPY, lambda x: np.asarray(x)),
    "copy_": (Kind.COPY, lambda x: HERE[:3].clone().copy_(x)),
    "nonzero": (Kind.SHAPE, lambda x: x.nonzero()),
    "where": (Kind.SHAPE, lambda x: torch.where(x > 0)),
    "mask": (Kind.SHAPE, lambda x: x[x > 0]),
    "mask and slice": (Kind.SHAPE, lambda x: x[:, x[0] > 0]),
    "values in a mask": (Kind.SHAPE, lambda x: x.__setitem__(x > 0, x[0])),
    "svdvals": (Kind.WAIT, lambda x: torch.linalg.svdvals(x)),
    "cholesky": (Kind.WAIT, lambda x: torch.linalg.cholesky(x @ x.mT)),
    "eigvals": (Kind.WAIT, lambda x: torch.linalg.eigvals(x @ x.mT)),
    "tensor on the device": (Kind.UPLOAD, lambda x: torch.tensor([1, 2], device=x.device)),
    "new_tensor": (Kind.UPLOAD, lambda x: x.new_tensor([1, 2])),
    "list as index": (Kind.UPLOAD, lambda x: x[[0, 2]]),
    "array as index": (Kind.UPLOAD, lambda x: x[:, np.arange(2)]),
    "upload": (Kind.UPLOAD, lambda x: torch.tensor([1, 2]).to(x.device)),
    "upload of a number": (Kind.UPLOAD, lambda x: torch.tensor(1).to(x.device)),
    "upload into": (Kind.UPLOAD, lambda x: x.__setitem__(0, HERE[0])),
    "to like": (Kind.UPLOAD, lambda x: torch.from_numpy(np.ones(3)).float().to(x)),
    "sum of two devices": (Kind.MIXED, lambda x: x + HERE[0]),
    "arange without device": (Kind.MIXED, lambda x: x[torch.arange(2)]),
    "gather by the host": (Kind.MIXED, lambda x: x.gather(1, HERE[:3].long())),
    "stack of two devices": (Kind.MIXED, lambda x: torch.stack([x.sum(), HERE.sum()])),
    "the host's generator": (
        Kind.MIXED,
        lambda x: torch.rand(3, device=x.device, generator=GENERATOR),
    ),
    "arange": (Kind.HOST, lambda x: torch.arange(len(x))),
    "zeros": (Kind.HOST, lambda x: torch.zeros(x.shape)),
    "tensor": (Kind.HOST, lambda x: torch.tensor([1, 2]) + 1),
    "from_numpy": (Kind.HOST, lambda x: torch.from_numpy(np.ones(3))),
    "uploaded later": (
        Kind.HOST,
        lambda x: torch.tensor([2, 1]).argsort().to(x.device, non_blocking=True),
    ),
    "double": (Kind.DOUBLE, lambda x: x.double().sum()),
    "zeros in double": (
        Kind.DOUBLE,
        lambda x: torch.zeros(3, dtype=torch.float64, device=x.device),
    ),
    "upload of float64": (
        Kind.DOUBLE,
        lambda x: torch.from_numpy(np.ones(3)).to(x.device, non_blocking=True),
    ),
}

GOOD = {
    "arithmetic": lambda x: (x * 2 + x.mean(0)).softmax(-1).argmax(-1),
    "shapes": lambda x: torch.arange(len(x), device=x.device)[:, None] + x.new_zeros(1, x.shape[1]),
    "where": lambda x: torch.where(x > 0, x, -torch.inf).masked_fill(x > 1, 0),
    "a number in a mask": lambda x: x.clone().__setitem__(x > 0, 1.0),
    "a number of the host": lambda x: x * HERE.sum(),
    "index of the device": lambda x: x[torch.arange(2, device=x.device)],
    "upload": lambda x: x[torch.tensor([0, 2]).to(x.device, non_blocking=True)],
    "upload of an array": lambda x: (
        x + torch.from_numpy(np.ones(4, np.float32)).to(x.device, non_blocking=True)
    ),
    "upload in another type": (
        lambda x: torch.tensor([True, False]).to(x.device, x.dtype, non_blocking=True)
    ),
    "the host by itself": lambda x: int(HERE[HERE > 0].sum()),
    "repeat": lambda x: x.repeat_interleave(2, 0),
    "qr": lambda x: torch.linalg.qr(x, mode="r"),
    "float64 of another": lambda x: DOUBLE + 1,
}


def watched(call):
    watch = Watch(Path(__file__))
    with watch:
        call(torch.zeros(3, 4, device=META))
    return watch.findings


@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode"])
@pytest.mark.parametrize("name", BAD)
def test_what_should_not_be_done_is_seen(name, inference):
    kind, call = BAD[name]
    with torch.inference_mode(inference):
        findings = watched(call)
    assert kind in {finding.kind for finding in findings}
    finding = next(finding for finding in findings if finding.kind is kind)
    assert finding.line.startswith("test_watching.py:")
    assert finding.line.endswith(
        Path(__file__).read_text().splitlines()[int(finding.line.split(":")[1]) - 1].strip()
    )


@pytest.mark.parametrize("inference", [False, True], ids=["", "inference mode"])
@pytest.mark.parametrize("name", GOOD)
def test_what_may_be_done_is_not(name, inference):
    with torch.inference_mode(inference):
        assert watched(GOOD[name]) == []


def reads_in_a_loop(x):
    while (x > 0).any():
        x = x - 1
    return [x.sum().item() for _ in range(2)]


def test_a_finding_names_the_function_and_the_line_and_the_run_goes_on():
    findings = watched(reads_in_a_loop)
    assert [finding.where for finding in findings] == ["test_watching.reads_in_a_loop"] * 5
    assert [finding.operation for finding in findings] == ["__bool__"] * 3 + ["item"] * 2
    assert str(findings[-1]).splitlines()[1].endswith("return [x.sum().item() for _ in range(2)]")


def test_a_library_that_was_called_is_named():
    arguments = Arguments(META, parallel=True)
    arguments.model.blocks[0].attn.IGNORE = torch.tensor(-torch.inf)
    tokens = arguments.tokens
    findings = watched(lambda _: arguments.model(tokens))
    assert {finding.kind for finding in findings} == {Kind.UPLOAD}
    assert "by transformer_lens, abstract_attention.py:" in findings[0].operation


def test_what_nothing_of_the_folder_calls_is_nobodys():
    watch = Watch(Path(__file__).parent / "nothing")
    with watch:
        torch.zeros(3, device=META).cpu()
    assert watch.findings == []
