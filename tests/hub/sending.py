"""An answer's bytes on their way into a socket: fast, throttled, or stopped in the middle."""

import fcntl
import os
import socket
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterable

from tests.hub.answers import Body, FileSlice
from tests.hub.faults import Ending, Pause
from tests.hub.throttle import Throttle

_CHUNK = 4 * 1024 * 1024
"""Sent by one call: large enough to cost nothing, small enough to heed a new throttle at once."""


class Sender:
    """Sends one answer.

    `note` is called with the number of body bytes before the last of them leaves; `sent` counts
    those that have left.
    """

    def __init__(
        self,
        connection: socket.socket,
        throttle: Throttle | None,
        closing: threading.Event,
        note: Callable[[int], None],
    ) -> None:
        self.sent = 0
        self._connection = connection
        self._throttle = throttle
        self._closing = closing
        self._note = note

    def send(self, head: bytes, parts: Iterable[Body | Pause | Ending]) -> Ending | None:
        """Sends all parts, or those before the connection is to end; says how it is to end then."""
        planned = list(parts)
        total = sum(len(part) for part in planned if not isinstance(part, Pause | Ending))
        if not total:
            self._note(0)
        # MSG_MORE: the head travels in one packet with the beginning of the body.
        self._connection.sendall(head, socket.MSG_MORE if total else 0)
        for part in planned:
            if isinstance(part, Ending):
                return part
            if isinstance(part, Pause):
                self._closing.wait(part.seconds)
                self._stop_if_closing()
            elif isinstance(part, FileSlice):
                self._send_file(part, total)
            elif len(part):
                if self.sent + len(part) == total:
                    self._note(total)
                self._connection.sendall(part.read())
                self.sent += len(part)
        return None

    def _send_file(self, part: FileSlice, total: int) -> None:
        offset, end = part.start, part.start + part.length
        with part.file.open("rb", buffering=0) as stream:
            while offset < end:
                chunk = min(_CHUNK, end - offset)
                if self._throttle is not None:
                    chunk = self._throttle.grant(chunk)
                self._stop_if_closing()
                if self.sent + chunk == total:
                    self._note(total)
                moved = os.sendfile(self._connection.fileno(), stream.fileno(), offset, chunk)
                if not moved:
                    raise RuntimeError(
                        f"{part.file} became shorter after it was published:"
                        " publish from another file"
                    )
                offset += moved
                self.sent += moved

    def _stop_if_closing(self) -> None:
        if self._closing.is_set():
            raise ConnectionAbortedError("the hub is being closed")


def reset(connection: socket.socket) -> None:
    """Ends a connection by a RST, once the peer has taken what was sent before.

    A peer that does not take it is waited for briefly.
    """
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and _unacknowledged(connection):
        time.sleep(0.001)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _unacknowledged(connection: socket.socket) -> int:
    return int.from_bytes(
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0)), sys.byteorder
    )
