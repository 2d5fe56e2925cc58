"""The socket client: connects to i-PI, computes what it asks for, and always ends.

It ends when i-PI says so, when i-PI disappears (or waits for the next one, if asked to), on a
signal, and with a message when it has to refuse: then i-PI is stopped too, by an EXIT file, so
that RESTART is written and nobody waits for ever.
"""

import contextlib
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from lrcalc.ipi.driver import Engine, Evaluates, make_evaluator
from lrcalc.ipi.protocol import Connection, ConnectionLost, distinct
from lrcalc.ipi.run import SOCKETS_PREFIX
from lrcalc.ipi.settings import (
    DriverSettings,
    describe_template,
    merge_settings,
    parse_init,
    read_template,
)
from lrcalc.ipi_files.simulation import Socket

EvaluatorFactory = Callable[[DriverSettings], Evaluates]


class Stopped(Exception):
    """A signal asked this process to end."""


class Ended(NamedTuple):
    """How serving one i-PI ended: "exit" (its wish) or "lost", and how many structures it got."""

    how: str
    structures: int


def connect(endpoint: Socket, wait: float, prefix: str = SOCKETS_PREFIX) -> Connection:
    """Connect, trying again for `wait` seconds.

    Raises
    ------
    ValueError
        If nobody listened, with what is probably wrong.
    """
    deadline = time.monotonic() + wait
    while True:
        unix = endpoint.mode == "unix"
        sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if unix:
                sock.connect(prefix + endpoint.address)
            else:
                sock.settimeout(10.0)
                sock.connect((endpoint.address, endpoint.port))
                sock.settimeout(None)
                # small messages at once; a machine that vanished is noticed
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            sock.close()
            if time.monotonic() > deadline:
                raise ValueError(_explain(endpoint, prefix, error, wait)) from error
            time.sleep(0.1)
        else:
            return Connection(sock)


def _explain(endpoint: Socket, prefix: str, error: OSError, wait: float) -> str:
    if endpoint.mode == "unix":
        path = prefix + endpoint.address
        if isinstance(error, ConnectionRefusedError):
            return (
                f"the socket file {path} exists but nobody listens: an i-PI that was killed left"
                f" it, and it keeps the next one from starting. Remove it (rm {path}) and start"
                " i-PI again"
            )
        return (
            f"no i-PI at {path} within {wait:g} s ({error.strerror}): is it running on this"
            f" machine, and is <address> in its input {endpoint.address!r}?"
        )
    return (
        f"no i-PI at {endpoint.address}:{endpoint.port} within {wait:g} s"
        f" ({error.strerror or error}): is it running there, with <ffsocket mode='inet'>, and is"
        " the port open?"
    )


class Client:
    """Serves one i-PI after another with the same model.

    Parameters
    ----------
    given : mapping
        Settings of the command line; those of i-PI's INIT message are added, and may not differ.
    evaluator_factory : callable, optional
        Makes the evaluator from the settings.
    """

    def __init__(
        self, given: Mapping[str, Any], evaluator_factory: EvaluatorFactory = make_evaluator
    ) -> None:
        self.given = dict(given)
        self.evaluator_factory = evaluator_factory
        self.settings: DriverSettings | None = None
        self.engine: Engine | None = None

    def initialize(self, text: str) -> int:
        """Take the INIT string; load the model unless it is loaded; return the batch size."""
        said = parse_init(text)
        known = {name: value for name, value in said.items() if name in DriverSettings._fields}
        settings = merge_settings(self.given, known)
        if self.engine is None or settings != self.settings:
            self.settings = settings
            template = read_template(settings)
            self.engine = Engine(settings, template, self.evaluator_factory(settings))
            for note in describe_template(template):
                _say(f"template: {note}")
        return int(said.get("batch_size", "1"))

    def serve(self, connection: Connection) -> Ended:
        """Answer one i-PI until it ends or disappears."""
        batch, ready, served = 1, False, 0
        answers = None
        try:
            while True:
                header = connection.header()
                if header == "STATUS":
                    state = "HAVEDATA" if answers is not None else "READY"
                    connection.send_header(state if ready else "NEEDINIT")
                elif header == "INIT":
                    batch = self.initialize(connection.init())
                    ready = True
                elif header == "POSDATA":
                    structures = connection.structures(batch)
                    connection.drain()
                    if self.engine is None:
                        self.initialize("")
                    assert self.engine is not None
                    count = distinct(structures)
                    answers = self.engine(structures.cells[:count], structures.positions[:count])
                    answers += [answers[-1]] * (batch - count)
                    served += count
                elif header == "GETFORCE" and answers is not None:
                    connection.send_forces(answers, batched=batch > 1)
                    answers = None
                elif header == "EXIT":
                    return Ended("exit", served)
                else:
                    raise ValueError(
                        f"the message {header!r} is not of i-PI's protocol: is it i-PI at all?"
                    )
        except ConnectionLost:
            return Ended("lost", served)

    def exit_file(self, connection: Connection) -> Path | None:
        """Return the file that stops this i-PI: as given, or in the folder where it runs."""
        if self.settings is not None and self.settings.exit_file:
            return Path(self.settings.exit_file)
        if connection.sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
            return None
        size = struct.calcsize("3i")
        with contextlib.suppress(OSError):
            raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            folder = Path(f"/proc/{struct.unpack('3i', raw)[0]}/cwd")
            return folder.resolve(strict=True) / "EXIT"
        return None


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `Stopped`."""

    def handler(number: int, frame: FrameType | None) -> None:
        raise Stopped(signal.Signals(number).name)

    old = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, previous in old.items():
            signal.signal(number, previous)


def run_client(
    endpoint: Socket,
    given: Mapping[str, Any],
    *,
    wait: float = 60.0,
    reconnect: float = 0.0,
    prefix: str = SOCKETS_PREFIX,
    evaluator_factory: EvaluatorFactory = make_evaluator,
) -> int:
    """Serve i-PI until it ends; return an exit status (0, or 1 if it disappeared).

    Parameters
    ----------
    wait, reconnect : float
        Seconds to wait for the first i-PI, and for the next one after one has disappeared (0: end
        then).

    Raises
    ------
    ValueError
        If there is no i-PI, or a force had to be refused.
    """
    client = Client(given, evaluator_factory)
    patience = wait
    with stop_on_signals():
        while True:
            try:
                connection = connect(endpoint, patience, prefix)
            except Stopped as stopped:
                _say(f"stopped by {stopped}")
                return 0
            try:
                ended = client.serve(connection)
            except Stopped as stopped:
                _say(f"stopped by {stopped}; i-PI gives what it asked for to another client")
                return 0
            except (ValueError, FileNotFoundError) as error:
                path = client.exit_file(connection)
                if path is None:
                    hint = "i-PI still waits: create a file EXIT in its folder to stop it"
                else:
                    path.touch()
                    hint = f"i-PI was asked to stop and to write RESTART, by {path}"
                raise ValueError(f"{error}. {hint}") from error
            finally:
                connection.close()
            if ended.how == "exit":
                _say(f"i-PI has finished; {ended.structures} structures computed")
                return 0
            _say(f"i-PI has disappeared after {ended.structures} structures")
            if reconnect <= 0.0:
                return 1
            patience = reconnect
            _say(f"waiting {reconnect:g} s for another")


def _say(text: str) -> None:
    print(f"lrcalc ipi: {text}", file=sys.stderr, flush=True)
