"""Starts i-PI (and clients) as subprocesses, follows the run, stops it softly, sums it up."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from lrcalc.files import replacing
from lrcalc.ipi.diagnosis import diagnosis, read_from
from lrcalc.ipi.folder import set_aside
from lrcalc.ipi_files.properties import parse_properties, read_properties
from lrcalc.ipi_files.simulation import Socket, read_simulation

SOCKETS_PREFIX = "/tmp/ipi_"
"""i-PI's prefix of unix sockets."""

Progress = Callable[[int, Mapping[str, float]], None]
"""Called with the step and the newest row of the properties file."""


class IPIError(ValueError):
    """i-PI did not do what it was asked; the message says where to look."""


class Plan(NamedTuple):
    """What an input or RESTART file says: output prefix, steps done and wanted, sockets."""

    prefix: str
    first_step: int
    total_steps: int
    endpoints: list[Socket]


class RunSummary(NamedTuple):
    """How a run ended.

    `files` are what it wrote; `restart` is there if it can be continued; `set_aside` are the new
    names of what an earlier run had left in the folder.
    """

    finished: bool
    interrupted: bool
    step: int
    total_steps: int
    seconds: float
    files: list[Path]
    restart: Path | None
    log: Path
    set_aside: tuple[Path, ...] = ()


def read_plan(input_file: Path) -> Plan:
    """Read what this module needs to know of an input or RESTART file.

    Raises
    ------
    ValueError
        If the file is not an i-PI input.
    """
    told = read_simulation(input_file)
    return Plan(told.prefix, told.step, told.total_steps, list(told.sockets))


def clear_endpoint(endpoint: Socket, prefix: str = SOCKETS_PREFIX) -> None:
    """Remove the socket file that a dead i-PI left, and refuse an address that is in use.

    A stale file would keep i-PI from starting ("Address already in use").
    """
    if endpoint.mode == "unix":
        path = Path(prefix + endpoint.address)
        if not path.exists():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(2.0)
            try:
                probe.connect(str(path))
            except OSError:
                path.unlink(missing_ok=True)
                return
        raise IPIError(
            f"address {endpoint.address!r} is in use: another i-PI listens on {path}. Stop it, or"
            " give this run another address"
        )
    if not 0 < endpoint.port < 65536:
        raise IPIError(f"<port> of the input is {endpoint.port} but must be from 1 to 65535")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((endpoint.address, endpoint.port))
        except OSError as error:
            raise IPIError(
                f"{endpoint.address}:{endpoint.port} cannot be used ({error.strerror}): is another"
                " i-PI running on it? Give this run another port"
            ) from error


def client_words(endpoint: Socket) -> list[str]:
    """Arguments of the `lrcalc` that serves a socket; INIT tells it the model."""
    words = ["ipi", f"--{endpoint.mode}", "--address", endpoint.address]
    return [*words, "--port", str(endpoint.port)] if endpoint.mode == "inet" else words


def newest_checkpoint(folder: Path) -> Path:
    """Return the RESTART or checkpoint that was written last.

    RESTART is written at the end; after a crash it may be missing or of an earlier run, perhaps
    even of another one with more steps, and the periodic checkpoint is the better one.
    """
    # not the hidden one that a killed i-PI was writing (`lrcalc.files.replacing`)
    found = [*folder.glob("RESTART"), *folder.glob("[!.]*.checkpoint")]
    states = []
    for path in found:
        try:
            states.append((path.stat().st_mtime_ns, read_plan(path).first_step, path))
        except ValueError:  # cut short by the crash
            continue
    if not states:
        raise FileNotFoundError(f"{folder} has no RESTART and no checkpoint to resume from")
    return max(states)[2]


def set_total_steps(restart: Path, total_steps: int) -> None:
    """Change ``<total_steps>`` in a RESTART file, to run longer than first planned."""
    text, count = re.subn(
        r"<total_steps>[^<]*</total_steps>",
        f"<total_steps> {total_steps} </total_steps>",
        restart.read_text(),
    )
    if count != 1:
        raise ValueError(f"{restart} has no <total_steps>: is it a RESTART file of i-PI?")
    with replacing(restart) as temporary:
        temporary.write_text(text)


def run_ipi(
    input_file: str | Path,
    workdir: str | Path | None = None,
    *,
    progress: Progress | None = None,
    clients: Sequence[Sequence[str]] = (),
    timeout: float | None = None,
    sockets_prefix: str = SOCKETS_PREFIX,
    interval: float = 0.2,
) -> RunSummary:
    """Run i-PI to its end, with the Python that runs this.

    What an earlier run has left in the folder is renamed if this one starts at step zero.

    Parameters
    ----------
    input_file : path
        An input or RESTART file.
    workdir : path, optional
        Where i-PI runs; the folder of the input file by default.
    progress : callable, optional
        Called with (step, newest properties) whenever there is something new. Energies in eV,
        times in fs, temperatures in K.
    clients : sequence of commands
        Commands to start beside i-PI, such as ``[sys.executable, "-m", "lrcalc", "ipi", …]``;
        they are stopped at the end. A client that ends with an error ends the run.
    timeout : float, optional
        Seconds after which the run is stopped, softly.

    Returns
    -------
    RunSummary
        Also after Ctrl-C, with `interrupted` set and RESTART written.

    Raises
    ------
    IPIError
        If i-PI or a client failed, with the last lines that it printed.
    """
    input_file = Path(input_file).resolve()
    workdir = input_file.parent if workdir is None else Path(workdir).resolve()
    plan = read_plan(input_file)
    for endpoint in plan.endpoints:
        clear_endpoint(endpoint, sockets_prefix)
    (workdir / "EXIT").unlink(missing_ok=True)
    moved = set_aside(input_file, workdir, plan.prefix) if plan.first_step == 0 else []
    started = time.time()
    before = {path: path.stat().st_mtime for path in workdir.iterdir()}
    log = workdir / f"{plan.prefix}.log"
    said_before = log.stat().st_size if log.exists() else 0
    helpers: list[subprocess.Popen[bytes]] = []
    interrupted = timed_out = False
    with log.open("ab") as sink:
        server = _start_server(input_file, workdir, sockets_prefix, sink)
        try:
            for index, command in enumerate(clients):
                with (workdir / f"client-{index}.log").open("wb") as out:
                    helpers.append(
                        subprocess.Popen(
                            list(command), cwd=workdir, stdout=out, stderr=subprocess.STDOUT
                        )
                    )
            timed_out = _follow(
                server, helpers, workdir / f"{plan.prefix}.out", progress, timeout, interval
            )
        except KeyboardInterrupt:
            interrupted = True
        finally:
            _stop(server, patience=60.0)
            for helper in helpers:
                _stop(helper, patience=5.0)
    restart = workdir / "RESTART"
    step = _last_step(workdir / f"{plan.prefix}.out", plan.first_step)
    if restart.exists() and before.get(restart) != restart.stat().st_mtime:
        # written at the end of this run; properties may have a stride that leaves the end out
        step = max(step, read_plan(restart).first_step)
    finished = server.returncode == 0 and step >= plan.total_steps
    if not (finished or interrupted or timed_out):
        logs = [read_from(workdir / f"client-{index}.log") for index in range(len(helpers))]
        reason = diagnosis(logs, read_from(log, said_before))
        keep = f"; continue from {restart}" if restart.exists() else ""
        raise IPIError(
            f"i-PI ended at step {step} of {plan.total_steps}: {reason} (see {log}{keep})"
        )
    files = sorted(
        path
        for path in workdir.iterdir()
        if path.is_file() and before.get(path) != path.stat().st_mtime
    )
    return RunSummary(
        finished=finished,
        interrupted=interrupted,
        step=step,
        total_steps=plan.total_steps,
        seconds=time.time() - started,
        files=files,
        restart=restart if restart.exists() else None,
        log=log,
        set_aside=tuple(moved),
    )


def _start_server(
    input_file: Path, workdir: Path, sockets_prefix: str, sink: IO[bytes]
) -> "subprocess.Popen[bytes]":
    """i-PI in a session of its own, so that Ctrl-C reaches it once and in our way."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lrcalc.ipi.server",
            str(input_file),
            "--sockets-prefix",
            sockets_prefix,
            "--parent",
            str(os.getpid()),
        ],
        cwd=workdir,
        stdout=sink,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _follow(
    server: "subprocess.Popen[bytes]",
    helpers: Sequence["subprocess.Popen[bytes]"],
    properties: Path,
    progress: Progress | None,
    timeout: float | None,
    interval: float,
) -> bool:
    """Wait for the end; report progress; return when anything ends, True if time is up."""
    deadline = None if timeout is None else time.monotonic() + timeout
    last = -1
    tail = Tail(properties)
    while server.poll() is None:
        if progress is not None:
            row = tail.newest()
            if row is not None and int(row.get("step", -1)) != last:
                last = int(row["step"])
                progress(last, row)
        if any(helper.poll() not in (None, 0) for helper in helpers):
            # i-PI waits for clients for ever; if the client could not stop it, we do
            time.sleep(2.0)
            return False
        if deadline is not None and time.monotonic() > deadline:
            return True
        time.sleep(interval)
    if progress is not None:
        row = tail.newest()
        if row is not None and int(row.get("step", -1)) != last:
            progress(int(row["step"]), row)
    return False


class Tail:
    """The newest row of a properties file, without reading the file again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.born = time.time()

    def newest(self) -> dict[str, float] | None:
        """Values of the last complete row, or None as long as this run has written none."""
        try:
            if self.path.stat().st_mtime < self.born - 1.0:
                return None
            with self.path.open("rb") as stream:
                head = stream.read(8192)
                size = stream.seek(0, 2)
                stream.seek(max(0, size - 8192))
                tail = stream.read()
        except FileNotFoundError:
            return None
        header = [line for line in head.decode().splitlines() if line.startswith("#")]
        rows = [line for line in tail.decode(errors="replace").split("\n")[:-1] if line]
        if not rows or rows[-1].startswith("#"):
            return None
        return _parse_row(header, rows[-1])


def _parse_row(header: Sequence[str], row: str) -> dict[str, float] | None:
    values = parse_properties([*header, row + "\n"]).values
    return {n: float(v[-1]) for n, v in values.items() if v.ndim == 1 and len(v)} or None


def _last_step(properties: Path, default: int) -> int:
    if not properties.exists():
        return default
    try:
        steps = read_properties(properties).values.get("step")
    except ValueError:  # i-PI failed before it wrote the first line
        return default
    return default if steps is None or not len(steps) else int(steps[-1])


def _stop(process: "subprocess.Popen[bytes]", patience: float) -> None:
    """Ask a process to end, then insist."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
