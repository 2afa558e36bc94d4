"""A checkpoint's tensors beside what its config promises: the same names, the same shapes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pythia_traj.architectures.tables import Architecture, Reading, Writing
from pythia_traj.architectures.tensors import Promised, of_a_layer
from pythia_traj.errors import CheckpointError
from pythia_traj.models.upload import Upload


class Stored:
    """A checkpoint's tensors under the names of its architecture's files."""

    def __init__(self, tensors: Mapping[str, Tensor], promised: Promised) -> None:
        self._tensors, self.promised = tensors, promised
        self.embed, self.unembed = promised.ends(tensors)
        self.expected = promised.tensors(self.embed, self.unembed)

    def __getitem__(self, name: str) -> Tensor:
        return self._upload[name]

    def fp32(self, name: str, like: Tensor) -> Tensor:
        """A vector in fp32, in memory of its own on like's device."""
        return torch.empty(self[name].shape, dtype=torch.float32, device=like.device).copy_(
            self[name]
        )

    def bias(self, layer: str, matrix: Reading | Writing, size: int, like: Tensor) -> Tensor:
        """A matrix's bias in fp32, or zeros if the config has no biases."""
        if self.promised.has_bias(matrix):
            return self.fp32(f"{layer}{matrix.stored}.bias", like)
        return torch.zeros(size, dtype=torch.float32, device=like.device)

    def begin(self, device: torch.device) -> None:
        """Checks names and shapes of the tensors the model needs, then begins their upload.

        Each must exist and have the shape that the config promises.
        """
        for name, promised in self.expected:
            if name not in self._tensors:
                raise CheckpointError(
                    f"tensor {name} is missing from the checkpoint's weights:"
                    f" {_why_missing(name, self._tensors, self.promised.architecture)}"
                )
            found = list(self._tensors[name].shape)
            if found != list(promised):
                raise CheckpointError(
                    f"tensor {name} has shape {found}, the config promises {list(promised)}:"
                    f" {_why_shaped(found)}"
                )
        names = [name for name, _ in self.expected]
        self._refuse_more(set(names))
        self._upload = Upload(self._tensors, names, device)

    def _refuse_more(self, expected: set[str]) -> None:
        """Refuses weights that the config has no place for.

        For example an extra layer, a bias, a second unembedding.
        """
        architecture = self.promised.architecture
        layers = of_a_layer(architecture)
        for name in self._tensors:
            if (
                layers.fullmatch(name)
                and name not in expected
                and not architecture.constant.search(name)
            ):
                raise CheckpointError(
                    f"tensor {name} has no place in the model that config.json promises: "
                    "they are not of one model, save both again"
                )
        both = [name for name in architecture.unembed if name in self._tensors]
        if any(not _are_equal(self._tensors[name], self._tensors[both[0]]) for name in both[1:]):
            raise CheckpointError(
                f"the weights hold {' and '.join(both)}, which differ: remove the one that is"
                " not the model's"
            )

    def finish(self) -> None:
        """Waits until the checkpoint's own memory is not read any more."""
        self._upload.finish()


def _are_equal(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _why_missing(name: str, tensors: Mapping[str, Tensor], architecture: Architecture) -> str:
    """What to do about a tensor that the model needs and the checkpoint lacks."""
    whole, without_unembedding = architecture.classes
    if name in architecture.unembed:
        return (
            f"a base model is saved without its unembedding: save the {whole}, not the"
            f" {without_unembedding} within it"
        )
    elsewhere = next((other for other in tensors if other.endswith(f".{name}")), None)
    if elsewhere is not None:
        return f"it is stored as {elsewhere}: save the state dict of the {whole} alone"
    others = [other for other in tensors if not other.startswith(architecture.base)]
    there = (others or list(tensors))[:3]
    return (
        f"they are {', '.join(there)}, ...: save the whole {whole} again"
        if there
        else "they have no tensors at all"
    )


def _why_shaped(found: Sequence[int]) -> str:
    """What to do about a tensor of another shape than the config promises."""
    if 0 in found:
        return (
            "ZeRO leaves tensors empty: run zero_to_fp32.py, or train with"
            " stage3_gather_16bit_weights_on_model_save"
        )
    return "config.json and weights are not of one model: save both again"
