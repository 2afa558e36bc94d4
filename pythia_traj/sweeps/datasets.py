"""The data of a sweep: bound once per model's vocabulary, before any step.

Labels that ask for the same data share it.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import psutil
from rich.filesize import decimal

from pythia_traj.architectures.settings import shape
from pythia_traj.checkpoint import Checkpoint
from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.errors import DataError
from pythia_traj.experiment import Data, Experiment, Shape, Vocabulary
from pythia_traj.models.architecture import hook_names
from pythia_traj.models.device import DTYPES
from pythia_traj.models.tokenizer import bos_token_id, eos_token_ids, read_tokenizer
from pythia_traj.parameters import of_data
from pythia_traj.reads import ACTIVATION_READS, OUTPUT_READS, layer_of
from pythia_traj.sweeps.plan import data_seed

_BYTES_A_TOKEN = 80
"""Memory of a drawn token, with its controls, while the data is made: ten copies of eight bytes."""


class Datasets:
    """The bound data of one model's sweep, by the inputs that it is made from."""

    def __init__(self, config: SweepConfig, checkpoint: Checkpoint) -> None:
        self._config, self._checkpoint = config, checkpoint
        self._vocabulary = read_vocabulary(checkpoint)
        self._bound: dict[str, Any] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary that the data was made for."""
        return self._vocabulary

    @cached_property
    def shape(self) -> Shape:
        """The model's shape."""
        return read_shape(self._checkpoint, DTYPES[self._config.dtype].itemsize)

    def prepare(self, labels: Iterable[str]) -> None:
        """Makes the data of labels, and refuses what cannot be measured on a model of this shape.

        All of it is known before any weights are read.

        Raises:
            DataError: the message begins with the label.
        """
        for label in labels:
            data, request = self.get(label), self._config.experiments[label]
            try:
                _check_reads(request, self.shape)
                own = request.experiment.own(request.parameters)
                if request.experiment.check is not None:
                    request.experiment.check(self.shape, data, **own)
                if request.experiment.passes is not None:
                    _check_held(request.experiment.passes(self.shape, data, **own).held)
            except DataError as error:
                raise DataError(f"{label}: {error}") from None

    def _key(self, request: ExperimentRequest) -> str:
        """Labels with the same key share their data."""
        data = request.data
        kind, arguments = type(data), _arguments(data)
        return json.dumps(
            [kind.__module__, kind.__qualname__, arguments, data_seed(self._config, request)],
            sort_keys=True,
        )

    def get(self, label: str) -> Any:
        """A label's data; None for an experiment without.

        Raises:
            DataError: it cannot be made from the request; the message begins with the label.
        """
        request = self._config.experiments[label]
        data = request.data
        if data is None:
            return None
        key = self._key(request)
        if key not in self._bound:
            try:
                _check_memory(_arguments(data))
                seed = data_seed(self._config, request)
                self._bound[key] = data.bind(self._vocabulary, seed=seed)
            except MemoryError as error:
                raise DataError(
                    f"{label}: its data does not fit the memory ({error}): set its numbers lower"
                ) from None
            except DataError as error:
                instead = (
                    None if self._vocabulary.tokenizer else self._checkpoint.tokenizer_instead()
                )
                raise DataError(f"{label}: {error}{f'; {instead}' if instead else ''}") from error
        if request.experiment.reads:
            _check_groups(self._bound[key], label, request.experiment, self._vocabulary)
        return self._bound[key]

    def groups(self, label: str) -> dict[str, np.ndarray]:
        """The groups of a label's data that its experiment is called for.

        The experiment is one that reads activations.

        Raises:
            DataError: the data cannot be made, or has no such groups.
        """
        return self._config.experiments[label].experiment.groups_of(self.get(label).groups)

    def sharing(self, labels: Iterable[str]) -> list[list[str]]:
        """Labels whose experiments read activations, grouped by shared tokens.

        Two labels share tokens if they read the same ones with one processing, in batches of one
        size, directly or through other labels.

        Raises:
            DataError: the data of one cannot be made.
        """
        found: list[tuple[set[str], list[str]]] = []
        for label in labels:
            experiment = self._config.experiments[label].experiment
            if not experiment.reads:
                continue
            groups, reads = self.groups(label), _reads(self._config.experiments[label])
            tokens = {
                f"{experiment.processing} {digest}"
                f" {self.shape.bytes_per_item(groups[name].shape[1], reads)}"
                for name, digest in token_digests(groups).items()
            }
            touching = [one for one in found if one[0] & tokens]
            together = [other for _, others in touching for other in others]
            found = [one for one in found if one not in touching]
            found.append((tokens.union(*(own for own, _ in touching)), [*together, label]))
        return [together for _, together in found]

    def facts(self, label: str) -> dict[str, Any]:
        """The `facts` of a label's data, for the record; empty without any."""
        return dict(getattr(self.get(label), "facts", {}))

    def softmax(self, label: str) -> int | None:
        """How many rows of the vocabulary a label's softmax is over; None where it takes none."""
        request = self._config.experiments[label]
        return request.experiment.softmax_rows(
            request.parameters, self.get(label), self._vocabulary.d_vocab
        )


def _arguments(data: Data[Any] | None) -> dict[str, Any]:
    """The values of its fields."""
    return {} if data is None else {name: getattr(data, name) for name in of_data(data)}


def _check_memory(arguments: Mapping[str, Any]) -> None:
    """Refuses to draw more tokens than fit the memory, before allocating it.

    Data cut from a corpus is limited by the corpus.
    """
    n, length = arguments.get("n"), arguments.get("length", 1)
    if "corpus" in arguments or not isinstance(n, int) or not isinstance(length, int):
        return
    needed, free = n * length * _BYTES_A_TOKEN, psutil.virtual_memory().available
    if needed > free:
        given = f"n={n} with length={length}" if "length" in arguments else f"n={n}"
        raise DataError(
            f"{given} takes about {decimal(needed)}, {decimal(free)} of memory are free:"
            " set n lower"
        )


def _check_held(needed: int) -> None:
    """Refuses to hold more than fits the memory, as what is written at a step's end is."""
    if needed > (free := psutil.virtual_memory().available):
        raise DataError(
            f"{decimal(needed)} are held until they are written, {decimal(free)} of memory are"
            " free: set budget or n lower"
        )


def _check_groups(data: Any, label: str, experiment: Experiment, vocabulary: Vocabulary) -> None:
    groups = getattr(data, "groups", None)
    arrays = list(groups.values()) if isinstance(groups, Mapping) else []
    is_ids = [
        isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.dtype == np.int64 and ids.size > 0
        for ids in arrays
    ]
    if not is_ids or not all(is_ids):
        raise DataError(
            f"{label}: its data has no groups of int64 token ids [item, pos] for it to read: give"
            " it `groups`, a NumPy array by name"
        )
    try:
        own = experiment.groups_of(data.groups)
    except DataError as error:
        raise DataError(f"{label}: {error}") from None
    for name, ids in own.items():
        group = f"{label}: group {name!r} of its data"
        if ids.min() < 0 or ids.max() >= vocabulary.d_vocab:
            raise DataError(
                f"{group} has ids of {ids.min()} to {ids.max()}, the model has"
                f" {vocabulary.d_vocab} embeddings: they were not made for this model"
            )
        vocabulary.check_length(group, ids.shape[1], "sequence")


def _reads(request: ExperimentRequest) -> tuple[str, ...]:
    """What an experiment reads; nothing where it cannot say it."""
    try:
        return request.experiment.reads_with(request.parameters)
    except Exception:
        # Experiments are third-party code: its own units fail where it is asked again.
        return ()


def _check_reads(request: ExperimentRequest, shape: Shape) -> None:
    """Refuses layers and activations that a model lacks."""
    for name in _reads(request):
        if (layer_of(name) or 0) >= shape.n_layers:
            raise DataError(
                f"layer {layer_of(name)}: the model has {shape.n_layers} layers: give 0 to"
                f" {shape.n_layers - 1}"
            )
        if name not in OUTPUT_READS and not shape.has(name):
            short = name.rpartition(".")[2].removeprefix("hook_")
            why = (
                "in a parallel model attention and MLP read the same residual stream, resid_pre"
                if short == "resid_mid"
                else (
                    f"give one of {', '.join((*ACTIVATION_READS, *OUTPUT_READS))}, or the name of a"
                    " hook"
                )
            )
            raise DataError(f"this model has no {short}: {why}")


def token_digests(groups: Mapping[str, np.ndarray]) -> dict[str, str]:
    """A digest of each group's tokens, by name: equal digests mean equal tokens."""
    return {
        name: sha256(f"{ids.shape}".encode() + ids.tobytes()).hexdigest()
        for name, ids in groups.items()
    }


def read_shape(checkpoint: Checkpoint, element_size: int) -> Shape:
    """What is known of a model from its config.

    Args:
        element_size: bytes of a number of the dtype that it will have.

    Raises:
        CheckpointError: the config is missing, or is not that of a supported model.
    """
    config = checkpoint.config()
    sizes = shape(config)
    return Shape(
        n_layers=sizes["n_layers"],
        n_heads=sizes["n_heads"],
        d_model=sizes["d_model"],
        d_head=sizes["d_head"],
        d_mlp=sizes["d_mlp"],
        element_size=element_size,
        hooks=hook_names(config),
    )


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """What data needs to know about a model, from its config and tokenizer.

    Raises:
        CheckpointError: the config is missing, is not that of a supported model or names no BOS
            token, or the tokenizer is damaged.
    """
    config = checkpoint.config()
    sizes = shape(config)
    path = checkpoint.tokenizer()
    found = read_tokenizer(path) if path else None
    return Vocabulary(
        sizes["d_vocab"],
        sizes["n_ctx"],
        None if found is None else found.tokenizer,
        bos_token_id=bos_token_id(config, found),
        eos_token_ids=eos_token_ids(config, found),
    )
