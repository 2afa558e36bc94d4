"""The data of a sweep: built once per model's vocabulary, before any step, and shared by all labels that ask for the same."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from pythia_traj.checkpoint import Checkpoint
from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.errors import CheckpointError, DataError
from pythia_traj.experiment import Vocabulary
from pythia_traj.models.tokenizer import read_tokenizer
from pythia_traj.sweeps.plan import data_arguments, data_seed


class Datasets:
    """The data objects of one model's sweep, by what they are made of."""

    def __init__(self, config: SweepConfig, checkpoint: Checkpoint) -> None:
        self._config = config
        self._vocabulary = read_vocabulary(checkpoint)
        self._built: dict[str, Any] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        """What the data was made for."""
        return self._vocabulary

    def _key(self, request: ExperimentRequest) -> str:
        """Labels with one key share their data."""
        data = request.experiment.data
        name = "" if data is None else f"{data.__module__}.{data.__qualname__}"
        return json.dumps([name, data_arguments(request), data_seed(self._config, request)], sort_keys=True)

    def get(self, label: str) -> Any:
        """A label's data; None for an experiment without.

        Raises:
            DataError: it cannot be made from what was given; the message begins with the label.
        """
        request = self._config.experiments[label]
        data = request.experiment.data
        if data is None:
            return None
        key = self._key(request)
        if key not in self._built:
            build: Any = data
            try:
                seed = data_seed(self._config, request)
                self._built[key] = build(self._vocabulary, seed=seed, **data_arguments(request))
            except DataError as error:
                raise DataError(f"{label}: {error}") from error
        if request.experiment.reads:
            _check_groups(self._built[key], label)
        return self._built[key]

    def sharing(self, labels: Iterable[str]) -> list[list[str]]:
        """Labels whose experiments read activations, those together that read the same tokens of one processing, be it through others.

        Raises:
            DataError: the data of one cannot be made.
        """
        found: list[tuple[set[str], list[str]]] = []
        for label in labels:
            experiment = self._config.experiments[label].experiment
            if not experiment.reads:
                continue
            digests = token_digests(self.get(label).groups).values()
            tokens = {f"{experiment.processing} {digest}" for digest in digests}
            touching = [one for one in found if one[0] & tokens]
            together = [other for _, others in touching for other in others]
            found = [one for one in found if one not in touching]
            found.append((tokens.union(*(own for own, _ in touching)), [*together, label]))
        return [together for _, together in found]

    def facts(self, label: str) -> dict[str, Any]:
        """What a label's data says of itself, for the record: its `facts`, if it has any."""
        return dict(getattr(self.get(label), "facts", {}))


def _check_groups(data: Any, label: str) -> None:
    groups = getattr(data, "groups", None)
    arrays = list(groups.values()) if isinstance(groups, Mapping) else [None]
    if not all(isinstance(ids, np.ndarray) and ids.ndim == 2 and ids.dtype == np.int64 for ids in arrays):
        raise DataError(
            f"{label}: its data has no groups of int64 token ids [item, pos] for it to read: give it `groups`, a NumPy array by name"
        )


def token_digests(groups: Mapping[str, np.ndarray]) -> dict[str, str]:
    """What tells by the name of a group whether its tokens are those of another."""
    return {name: sha256(f"{ids.shape}".encode() + ids.tobytes()).hexdigest() for name, ids in groups.items()}


def _bos(config: Mapping[str, Any]) -> int:
    found = config.get("bos_token_id")
    return found if isinstance(found, int) else 0


def read_vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    """What data needs to know of a model, from its config and tokenizer.

    Raises:
        CheckpointError: the config is missing or the tokenizer is damaged.
    """
    config = checkpoint.config()
    try:
        d_vocab, n_ctx = int(config["vocab_size"]), int(config["max_position_embeddings"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"config.json of {checkpoint.revision} lacks vocab_size or max_position_embeddings"
        ) from None
    path = checkpoint.tokenizer()
    return Vocabulary(d_vocab, n_ctx, read_tokenizer(path) if path else None, _bos(config))
