"""Small systems and processes for the i-PI tests. Everything here ends in bounded time."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
from ase import Atoms

from lrcalc.ipi import Outputs, Transport, read_properties, run_ipi, write_input

TOY = Path(__file__).with_name("toy_pes.py")
SOCKETS = "/tmp/ipi_"


def waters(count=4):
    """Loose water molecules, O H H, in a lower-triangular triclinic cell."""
    rng = np.random.default_rng(0)
    single = Atoms("OH2", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
    atoms = Atoms()
    for i in range(count):
        one = single.copy()
        one.rotate(rng.uniform(0, 360), "z")
        one.rotate(rng.uniform(0, 360), "x")
        one.translate(np.array([i % 2, i // 2 % 2, i // 4]) * 3.1)
        atoms += one
    atoms.set_cell([[6.2, 0, 0], [0.5, 6.3, 0], [0.2, -0.3, 6.4]])
    atoms.pbc = True
    return atoms


def environment(**variables):
    return {**os.environ, "OMP_NUM_THREADS": "1", **variables}


def address():
    """A socket name of our own: tests run beside other things. What a kill leaves is removed."""
    name = "t" + uuid.uuid4().hex[:12]
    for suffix in ("", "-dielectric", "-centroid"):
        atexit.register(Path(f"{SOCKETS}{name}{suffix}").unlink, missing_ok=True)
    return name


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def toy_input(folder, kind="nve", transport=None, steps=20, structure=None, **options):
    """An input that uses the toy model."""
    return write_input(
        kind,
        waters() if structure is None else structure,
        folder,
        steps=steps,
        transport=transport or Transport(),
        pes_file=TOY,
        outputs=options.pop("outputs", Outputs(positions=5, checkpoint=5)),
        **options,
    )


def transport_to(mode, **more):
    """A transport to an address that nobody else uses."""
    return Transport(mode, "localhost" if mode == "inet" else address(), free_port(), **more)


def undisturbed(folder, beads=2):
    """Folder of a run of the toy model that nothing happens to."""
    assert run_ipi(toy_input(folder, "pimd", beads=beads), timeout=60).finished
    return folder


def client_command(transport, *more):
    command = [sys.executable, str(TOY), f"--{transport.mode}", "--address", transport.address]
    if transport.mode == "inet":
        command += ["--port", str(transport.port)]
    return [*command, *more]


def start_client(transport, *more, **variables):
    return start_command(client_command(transport, *more), **variables)


def start_command(command, **variables):
    return subprocess.Popen(
        command,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_server(path, log="server.log"):
    """i-PI itself, to be killed."""
    with (path.parent / log).open("w") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "lrcalc.ipi.server", path.name],
            cwd=path.parent,
            env=environment(),
            stdout=sink,
            stderr=subprocess.STDOUT,
        )


def wait_for(condition, seconds=40.0, what="it"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@contextlib.contextmanager
def replaced_client(path, transport, delay="0.3", calls=6):
    """Yield a client in a force, its `calls`-th; another one finishes the run after the block.

    The first ends by itself then, if it has not before.
    """
    mark = path.parent / "mark"  # each call leaves one before it takes its time
    server = start_server(path)
    clients = [start_client(transport, TOY_DELAY=delay, TOY_MARK=str(mark))]
    try:
        wait_for(lambda: mark.exists() and len(mark.read_text().splitlines()) >= calls)
        yield clients[0]
        clients.append(start_client(transport))
        assert "i-PI has finished" in finish(clients[1])
        server.wait(20)
        if clients[0].poll() is None:
            clients[0].send_signal(signal.SIGCONT)
            finish(clients[0], 5.0)
    finally:
        end(server, *clients)


def steps_written(folder, prefix="sim"):
    path = Path(folder) / f"{prefix}.out"
    if not path.exists():
        return -1
    lines = path.read_text().splitlines(keepends=True)
    rows = [line for line in lines if not line.startswith("#") and line.endswith("\n")]
    return int(float(rows[-1].split()[0])) if rows else -1


def assert_same_run(first, second, rtol=1e-9):
    """Two folders hold the same trajectory: properties, dipoles and positions of every bead."""
    from lrcalc.ipi import bead_files, read_bead_extras, read_positions

    one, two = (read_properties(Path(f) / "sim.out").values for f in (first, second))
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=rtol, atol=1e-10, err_msg=name)
    a, b = (read_bead_extras(bead_files(Path(f) / "sim", "dipole")) for f in (first, second))
    np.testing.assert_array_equal(a.steps, b.steps)
    np.testing.assert_allclose(a.values, b.values, rtol=rtol, atol=1e-9)
    if list(Path(first).glob("sim.pos_*")):
        x, y = (read_positions(bead_files(Path(f) / "sim", "pos")) for f in (first, second))
        np.testing.assert_array_equal(x.steps, y.steps)
        np.testing.assert_allclose(x.positions, y.positions, rtol=0, atol=2e-8)  # 8 digits


def finish(process, seconds=60.0):
    """Output of a process that has to end by itself; on a busy machine its imports take a while."""
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f"the process did not end within {seconds} s: {out}") from None
    return out


def end(*processes):
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
