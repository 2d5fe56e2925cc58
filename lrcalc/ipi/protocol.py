"""i-PI's socket protocol, one message at a time.

Whole messages are read whatever the pieces they arrive in, and whatever is waiting is read before
a force is computed: a process that dies with unread bytes resets the connection, and i-PI 3.3
hangs on a reset, where after a plain end of stream it gives the structure to another client.
"""

import contextlib
import select
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcalc.ipi.conversions import ForceMessage

HEADER = 12
"""Bytes of a header: upper case, padded with blanks."""

_INT = struct.Struct("=i")


class ConnectionLost(Exception):
    """The other side is gone."""


class Structures(NamedTuple):
    """What POSDATA carries: cells (3, 3) with vectors as columns, positions (N, 3), bohr."""

    cells: list[NDArray[np.float64]]
    positions: list[NDArray[np.float64]]


class Connection:
    """A connected socket with a buffer of what has arrived and was not used yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def _fill(self) -> None:
        try:
            piece = self.sock.recv(1 << 18)
        except (ConnectionError, TimeoutError) as error:
            raise ConnectionLost(str(error)) from error
        if not piece:
            raise ConnectionLost("end of stream")
        self._buffer += piece

    def receive(self, size: int) -> bytes:
        """Exactly `size` bytes, however they arrive."""
        while len(self._buffer) < size:
            self._fill()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def header(self) -> str:
        """Return the next header without its blanks."""
        return self.receive(HEADER).decode("ascii", errors="replace").strip()

    def integer(self) -> int:
        """Return one 32-bit integer."""
        return int(_INT.unpack(self.receive(4))[0])

    def floats(self, count: int) -> NDArray[np.float64]:
        """Return `count` doubles."""
        return np.frombuffer(self.receive(8 * count), dtype=np.float64)

    def init(self) -> str:
        """Return the text after INIT.

        Raises
        ------
        ValueError
            If it is not of ASCII: i-PI sends its length in characters, so that its end is missing.
        """
        self.integer()  # index of the bead; any client may compute any bead
        data = self.receive(self.integer())
        if not data.isascii():
            raise ValueError(
                f"i-PI's <parameters> have letters beyond ASCII ({data.decode(errors='replace')!r})"
                ", which i-PI cannot send whole over a socket: use paths of ASCII letters, or give"
                " the settings to the client itself and none in <parameters>"
            )
        return data.decode("ascii")

    def structures(self, batch: int) -> Structures:
        """Return what follows POSDATA; i-PI orders a batch differently from one structure."""
        if batch == 1:
            cells = [self.floats(18)[:9].reshape(3, 3)]
            atoms = self.integer()
        else:
            atoms = self.integer()
            cells = [row[:9].reshape(3, 3) for row in self.floats(18 * batch).reshape(batch, 18)]
        positions = list(self.floats(3 * atoms * batch).reshape(batch, atoms, 3))
        return Structures(cells, positions)

    def drain(self, patience: float = 0.2) -> None:
        """Read the header (GETFORCE or STATUS) that i-PI sends right after POSDATA."""
        while len(self._buffer) < HEADER:
            ready, _, _ = select.select([self.sock], [], [], patience)
            if not ready:
                return
            self._fill()

    def send(self, data: bytes) -> None:
        """Send everything."""
        try:
            self.sock.sendall(data)
        except (ConnectionError, TimeoutError) as error:
            raise ConnectionLost(str(error)) from error

    def send_header(self, name: str) -> None:
        """Send a bare header."""
        self.send(name.ljust(HEADER).encode())

    def send_forces(self, answers: Sequence[ForceMessage], batched: bool) -> None:
        """Send the reply to GETFORCE."""
        self.send(pack_forces(answers, batched))

    def close(self) -> None:
        """Close with nothing left unread, so that the other side sees an end and not a reset."""
        with contextlib.suppress(OSError, ConnectionLost):
            self.sock.shutdown(socket.SHUT_WR)
            self.sock.setblocking(False)
            while True:
                self._fill()
        self.sock.close()


def pack_forces(answers: Sequence[ForceMessage], batched: bool) -> bytes:
    """FORCEREADY and the data: fields of one structure in turn, or field by field of a batch."""
    texts = [answer.extras.encode() for answer in answers]
    atoms = _INT.pack(answers[0].force.size // 3)
    parts = ["FORCEREADY".ljust(HEADER).encode()]
    if not batched:
        answer = answers[0]
        parts += [_double(answer.potential), atoms, _double(answer.force), _double(answer.virial)]
    else:
        parts += [_double([answer.potential for answer in answers]), atoms]
        parts += [_double(answer.force) for answer in answers]
        parts += [_double(answer.virial) for answer in answers]
    for text in texts:
        parts += [_INT.pack(len(text)), text]
    return b"".join(parts)


def _double(value: object) -> bytes:
    return np.ascontiguousarray(value, dtype=np.float64).tobytes()


def distinct(structures: Structures) -> int:
    """Count the structures without the repeats of the last one that fill up a batch."""
    count = len(structures.positions)
    while (
        count > 1
        and np.array_equal(structures.positions[count - 1], structures.positions[count - 2])
        and np.array_equal(structures.cells[count - 1], structures.cells[count - 2])
    ):
        count -= 1
    return count
