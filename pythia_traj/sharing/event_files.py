"""Metrics by training step as event files for TensorBoard, a folder for each model.

The records are written here, by TensorBoard's own package and without torch: its writer names a
file after host and time, so that a second export would be drawn beside the first. The format holds
values in single precision.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from pythia_traj.errors import ConfigError
from pythia_traj.sharing.series import Logged, logged
from pythia_traj.store.parts import Parts
from pythia_traj.store.writing import replacing, writing

_NAME = "events.out.tfevents.pythia-traj"


def write_event_files(parts: Parts, directory: Path, *, mixed: bool) -> list[str]:
    """Writes the event file of each model; all of them when all are whole, or none.

    Args:
        parts: the rows.
        directory: where the models' folders go.
        mixed: allow rows that several versions of one experiment measured.

    Returns:
        what a reader of the values must know.

    Raises:
        StoreError: as `load`, or a file cannot be written.
        ConfigError: the package `tensorboard` is not installed.
    """
    write = _writer()
    with writing(directory), ExitStack() as files:
        for model, points in groupby(logged(parts), lambda one: one.model):
            place = directory / model
            temporary = files.enter_context(replacing(place / _NAME, place))
            with temporary.open("wb") as file:
                write(file, points)
        return parts.said(mixed=mixed)


def _writer() -> Callable[[BinaryIO, Iterator[Logged]], None]:
    """Writes points as records.

    Raises ConfigError: the package is not installed.
    """
    try:
        events = import_module("tensorboard.compat.proto.event_pb2")
        summaries = import_module("tensorboard.compat.proto.summary_pb2")
        records = import_module("tensorboard.summary.writer.record_writer")
    except ImportError:
        raise ConfigError(
            "TensorBoard's files need its package: pip install 'pythia-traj[tensorboard]'"
        ) from None

    def write(file: BinaryIO, points: Iterator[Logged]) -> None:
        record, now = records.RecordWriter(file), time.time()
        first = events.Event(wall_time=now, file_version="brain.Event:2")
        record.write(first.SerializeToString())
        for point in points:
            scalars = [
                summaries.Summary.Value(tag=name, simple_value=value)
                for name, value in point.values.items()
            ]
            event = events.Event(
                wall_time=now, step=point.step, summary=summaries.Summary(value=scalars)
            )
            record.write(event.SerializeToString())

    return write
