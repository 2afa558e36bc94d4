"""A signal raises between instructions: wherever it meets the prefetcher, the sweep ends and does
not wait for itself.
"""

import dis
import sys
import threading
from contextlib import suppress

from pythia_traj.checkpoint import Room
from pythia_traj.errors import Interrupted
from pythia_traj.stream import prefetch
from pythia_traj.stream.prefetch import Prefetcher
from tests.stream.test_prefetch import Checkpoints, read

STEPS = (0, 1, 2)
OURS, OF_PYTHON = prefetch.__file__, threading.__file__
# After these Python looks whether a signal has come.
LOOKS = ("RESUME", "CALL", "JUMP_BACKWARD")


def is_within(frame):
    """Whether a frame is of the prefetcher or of a lock it uses; not of a thread that begins."""
    while frame is not None and frame.f_code.co_filename == OF_PYTHON:
        if isinstance(frame.f_locals.get("self"), threading.Thread):
            return False
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename == OURS


class Signal:
    """Raises at the nth moment, counted from 0, at which a signal could be met."""

    def __init__(self, nth):
        self.left = nth
        self.last = {}

    def __call__(self, frame, event, argument):
        if not is_within(frame):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            looked = dis.opname[frame.f_code.co_code[self.last.get(frame, 0)]].startswith(LOOKS)
            self.last[frame] = frame.f_lasti
            self.left -= looked
            if looked and self.left == -1:
                raise Interrupted(15)
        return self


def read_all(signal):
    published = Checkpoints()
    with suppress(Interrupted), Prefetcher(published, STEPS, Room(prefetch=1)) as prefetcher:
        sys.settrace(signal)
        try:
            for step in STEPS:
                read(prefetcher, published, step)
        finally:
            sys.settrace(None)


def test_a_signal_at_whatever_moment_ends_it():
    met = 0
    while True:
        signal = Signal(met)
        reading = threading.Thread(target=read_all, args=[signal], daemon=True)
        reading.start()
        reading.join(10)
        assert not reading.is_alive(), f"it waits for itself, interrupted at its moment {met}"
        if signal.left >= 0:
            break
        met += 1
    assert met > 30
