"""What breaks in runs of days: each survived or refused, in bounded time."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lrcalc.ipi import DriverSettings, Outputs, Transport, read_properties, run_ipi, write_input
from lrcalc.ipi.run import IPIError, newest_checkpoint
from tests.ipi.helpers import (
    SOCKETS,
    TOY,
    assert_same_run,
    client_command,
    end,
    environment,
    finish,
    replaced_client,
    start_client,
    start_server,
    steps_written,
    toy_input,
    transport_to,
    wait_for,
    waters,
)

pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize(
    ("mode", "batch"),
    [
        ("unix", True),
        ("inet", False),
        pytest.param("unix", False, marks=pytest.mark.long),
        pytest.param("inet", True, marks=pytest.mark.long),
    ],
)
def test_client_killed_in_a_force_and_replaced(reference, tmp_path, mode, batch):
    transport = transport_to(mode, batch=batch)
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    with replaced_client(path, transport) as first:
        time.sleep(0.1)
        first.kill()
        first.wait()
    assert_same_run(reference, tmp_path)


def test_ipi_killed_clients_leave_and_a_restart_gives_the_same_run(reference, tmp_path):
    transport = transport_to("unix")
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    server = start_server(path)
    clients = [start_client(transport, TOY_DELAY="0.05") for _ in range(2)]
    try:
        wait_for(lambda: steps_written(tmp_path) >= 8)
        server.kill()
        server.wait()
        killed = time.monotonic()
        for client in clients:
            assert "disappeared" in finish(client, 5.0)
            assert client.returncode == 1
        assert time.monotonic() - killed < 5.0
    finally:
        end(server, *clients)
    # the checkpoint is every five steps; the stale socket file is in the way and is removed
    assert Path(SOCKETS + transport.address).exists()
    state = newest_checkpoint(tmp_path)
    assert state.name == "sim.checkpoint"
    resumed = tmp_path / "resume.xml"
    resumed.write_text(state.read_text())
    summary = run_ipi(resumed, clients=[client_command(transport)], timeout=60)
    assert summary.finished
    assert_same_run(reference, tmp_path)


def test_client_reconnects_to_a_restarted_ipi(reference, tmp_path):
    transport = transport_to("unix")
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    server = start_server(path)
    client = start_client(transport, "--reconnect", "20", TOY_DELAY="0.03")
    again = None
    try:
        wait_for(lambda: steps_written(tmp_path) >= 8)
        server.kill()
        server.wait()
        Path(SOCKETS + transport.address).unlink()
        (tmp_path / "resume.xml").write_text((tmp_path / "sim.checkpoint").read_text())
        again = start_server(tmp_path / "resume.xml", "again.log")
        text = finish(client)
        assert "disappeared" in text
        assert "i-PI has finished" in text
        again.wait(20)
    finally:
        end(server, client, *([again] if again else []))
    assert_same_run(reference, tmp_path)


@pytest.mark.parametrize("mode", ["ffdirect", "unix"])
def test_nan_ends_the_run_and_keeps_its_state(tmp_path, mode, monkeypatch):
    monkeypatch.setenv("TOY_NAN_AFTER", "10")
    transport = transport_to(mode)
    path = toy_input(tmp_path, "nve", transport)
    commands = [client_command(transport)] if mode == "unix" else []
    with pytest.raises(IPIError, match=r"forces of structure 0 is not finite.*RESTART"):
        run_ipi(path, clients=commands)
    values = read_properties(tmp_path / "sim.out").values
    assert np.all(np.isfinite(values["potential"]))
    assert values["step"][-1] == 9
    monkeypatch.delenv("TOY_NAN_AFTER")
    # and from the state that was kept the run goes on to its end
    (tmp_path / "resume.xml").write_text(newest_checkpoint(tmp_path).read_text())
    assert run_ipi(tmp_path / "resume.xml", clients=commands, timeout=60).finished
    assert read_properties(tmp_path / "sim.out").values["step"].tolist() == list(range(21))


def test_a_client_that_refuses_stops_an_ipi_that_named_no_exit_file(tmp_path):
    transport = transport_to("unix")
    path = toy_input(tmp_path, "nve", transport)
    lines = path.read_text()
    here, there = lines.index("exit_file"), lines.index("}", lines.index("exit_file"))
    path.write_text(lines[:here].rstrip(", ") + lines[there:])
    server = start_server(path)
    client = start_client(transport, TOY_NAN_AFTER="5")
    try:
        assert "i-PI was asked to stop" in finish(client)
        assert client.returncode == 2
        server.wait(20)
    finally:
        end(server, client)
    assert (tmp_path / "RESTART").exists()
    assert steps_written(tmp_path) == 4


def change_template(path, change):
    """Give the driver another template than i-PI's own start."""
    wrong = path.parent / "wrong.xyz"
    lines = (path.parent / "init.xyz").read_text().splitlines()
    wrong.write_text("\n".join(change(lines)) + "\n")
    text = path.read_text()
    start = text.index("template: ")
    stop = min(x for x in (text.find(",", start), text.find(" }", start)) if x > 0)
    path.write_text(text[:start] + f"template: {wrong}" + text[stop:])


def fewer_atoms(lines):
    return [str(int(lines[0]) - 3), *lines[1:-3]]


def other_order(lines):
    """Sorted by species, as some programs write them."""
    return [*lines[:2], *sorted(lines[2:], key=lambda line: line.split()[0])]


@pytest.mark.parametrize("mode", ["ffdirect", "unix"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (fewer_atoms, "12 atoms, but `(--)?template` has 9"),
        (other_order, "species are in another order"),
    ],
)
def test_wrong_template(tmp_path, mode, change, message):
    transport = transport_to(mode)
    path = toy_input(tmp_path, "nve", transport)
    change_template(path, change)
    commands = [client_command(transport)] if mode == "unix" else []
    with pytest.raises(IPIError, match=message):
        run_ipi(path, clients=commands)


def test_cell_that_is_not_triangular(tmp_path):
    """It is turned, fields with it: all scalars are those of the structure as it was."""
    straight = waters()
    turned = straight.copy()
    turned.rotate(40, (1, 2, 3), rotate_cell=True)
    rotation = np.linalg.solve(np.array(straight.cell), np.array(turned.cell)).T
    field = np.array([0.02, -0.05, 0.1])
    runs = {"straight": (straight, field), "turned": (turned, rotation @ field)}
    for name, (atoms, vector) in runs.items():
        x, y, z = vector
        settings = DriverSettings(electric_field=(x, y, z))
        path = toy_input(
            tmp_path / name, "efield", structure=atoms, settings=settings, temperature=1e-6
        )
        assert run_ipi(path, timeout=60).finished
    one, two = (read_properties(tmp_path / name / "sim.out").values for name in runs)
    np.testing.assert_allclose(one["potential"], two["potential"], rtol=1e-8)
    # i-PI fed with the file that it has to turn itself: refused, because the field stays behind
    path = tmp_path / "turned" / "input.xml"
    turned.write(tmp_path / "turned" / "raw.extxyz")
    text = path.read_text().replace("<file mode='xyz'> init.xyz", "<file mode='ase'> raw.extxyz")
    path.write_text(text.replace("template: init.xyz", "template: raw.extxyz"))
    with pytest.raises(IPIError, match="i-PI turned the structure"):
        run_ipi(path)


@pytest.mark.parametrize(
    ("mode", "message"),
    [("unix", "in use: another i-PI listens"), ("inet", "another i-PI running on it")],
)
def test_two_ipi_on_one_address(tmp_path, mode, message):
    transport = transport_to(mode)
    first = start_server(toy_input(tmp_path / "one", "nve", transport))
    log = tmp_path / "one" / "server.log"
    try:
        wait_for(lambda: "Starting the polling thread" in log.read_text())
        with pytest.raises(IPIError, match=message):
            run_ipi(toy_input(tmp_path / "two", "nve", transport))
        assert first.poll() is None
        # the first is not disturbed: with a client it runs to its end
        client = start_client(transport)
        assert "i-PI has finished" in finish(client)
        first.wait(20)
        end(client)
    finally:
        end(first)


def test_port_in_use(tmp_path):
    with socket.socket() as other:
        other.bind(("localhost", 0))
        other.listen()
        transport = Transport("inet", "localhost", other.getsockname()[1])
        with pytest.raises(IPIError, match="cannot be used"):
            run_ipi(toy_input(tmp_path, "nve", transport))


def test_stale_socket_is_explained():
    transport = transport_to("unix")
    path = SOCKETS + transport.address
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    try:
        client = start_client(transport, "--wait", "0.3")
        text = finish(client)
    finally:
        os.unlink(path)
    assert client.returncode == 2
    assert f"rm {path}" in text


@pytest.mark.parametrize("mode", ["unix", "inet"])
def test_no_ipi(mode):
    transport = transport_to(mode)
    client = start_client(transport, "--wait", "0.3")
    text = finish(client)
    assert client.returncode == 2
    assert "no i-PI at" in text


@pytest.mark.parametrize("mode", [pytest.param("ffdirect", marks=pytest.mark.long), "unix"])
def test_model_missing(tmp_path, mode):
    transport = transport_to(mode)
    path = write_input(
        "nve",
        waters(),
        tmp_path,
        settings=DriverSettings(model="no-such-model.pt"),
        transport=transport,
    )
    command = [sys.executable, "-m", "lrcalc.cli", "ipi", "--unix", "--address", transport.address]
    with pytest.raises(IPIError, match=r"no-such-model\.pt"):
        run_ipi(path, clients=[command] if mode == "unix" else [])


def test_field_given_twice(tmp_path):
    both = DriverSettings(electric_field=(0, 0, 0.1), electric_displacement=(0, 0, 0.01))
    with pytest.raises(ValueError, match="both given"):
        toy_input(tmp_path, "efield", settings=both)
    # on the command line of the client and in i-PI's INIT
    transport = transport_to("unix")
    settings = DriverSettings(electric_field=(0, 0, 0.1))
    path = toy_input(tmp_path, "efield", transport, settings=settings)
    command = client_command(transport, "--electric-field", "0", "0", "0.2")
    with pytest.raises(IPIError, match="`--electric-field` is given twice"):
        run_ipi(path, clients=[command])
    path = toy_input(tmp_path, "efield", transport, settings=settings)
    command = client_command(transport, "--electric-displacement", "0", "0", "0.2")
    with pytest.raises(IPIError, match="both given"):
        run_ipi(path, clients=[command])


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_signals_end_a_client_in_a_force(tmp_path, number):
    transport = transport_to("unix")
    path = toy_input(tmp_path, "nve", transport, steps=4)
    with replaced_client(path, transport, delay="2", calls=1) as client:
        client.send_signal(number)
        assert "stopped by SIG" in finish(client, 5.0)
        assert client.returncode == 0


def test_interrupt_and_resume(reference, tmp_path):
    """Ctrl-C on `lrcalc ipi-run`, then --resume: the same trajectory."""
    transport = transport_to("unix")
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    script = (
        # a shell that starts the tests in the background leaves SIGINT ignored
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from lrcalc.ipi import run_ipi\n"
        f"s = run_ipi({str(path)!r}, clients=[{client_command(transport)!r}])\n"
        "print('interrupted', s.interrupted, s.restart)"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        env=environment(TOY_DELAY="0.3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_for(lambda: steps_written(tmp_path) >= 7)
        run.send_signal(signal.SIGINT)
        assert "interrupted True" in finish(run)
    finally:
        end(run)
    assert 7 <= steps_written(tmp_path) < 20
    from lrcalc.cli import main

    # cli's own clients would load a model: start the toy beside it
    starter = threading.Thread(
        target=lambda: subprocess.run(client_command(transport), env=environment(), check=False)
    )
    starter.start()
    try:
        assert main(["ipi-run", "--resume", str(tmp_path), "--clients", "0", "--quiet"]) == 0
    finally:
        starter.join(30)
    assert_same_run(reference, tmp_path)


def test_ipi_stops_when_its_starter_dies(tmp_path):
    """`kill -9` of the process that started i-PI leaves no orphan."""
    path = toy_input(tmp_path, "nve", steps=1000000, outputs=Outputs(positions=0, dipole=0))
    script = f"from lrcalc.ipi import run_ipi; run_ipi({str(path)!r})"
    starter = subprocess.Popen([sys.executable, "-c", script], env=environment())
    try:
        wait_for(lambda: steps_written(tmp_path) >= 3)
        starter.kill()
        starter.wait()
        wait_for(lambda: (tmp_path / "RESTART").exists(), 15, "RESTART")
        last = steps_written(tmp_path)
        time.sleep(1.0)
        assert steps_written(tmp_path) == last
    finally:
        end(starter)


def test_death_in_a_checkpoint_leaves_the_last_one(tmp_path, monkeypatch):
    """i-PI would have emptied it; the first of a run keeps an older file beside it."""
    from lrcalc.ipi.server import write_checkpoint_whole

    monkeypatch.chdir(tmp_path)
    state = SimpleNamespace(filename="RESTART", overwrite=True, _continued=False, text="new")
    state.active = lambda: True

    def write(checkpoint, store):
        with open(checkpoint.filename, "w") as stream:
            stream.write(checkpoint.text[:2])
            stream.flush()
            if checkpoint.text == "death":
                raise KeyboardInterrupt
            stream.write(checkpoint.text[2:])

    Path("RESTART").write_text("of another run")
    write_checkpoint_whole(state, write)
    assert Path("RESTART").read_text() == "new"
    assert Path("#RESTART#0#").read_text() == "of another run"
    state.text = "death"
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint_whole(state, write)
    assert Path("RESTART").read_text() == "new"
    state.text = "newer"
    write_checkpoint_whole(state, write)
    assert Path("RESTART").read_text() == "newer"
    assert state.filename == "RESTART"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["#RESTART#0#", "RESTART"]


def test_pes_file_is_the_packaged_one():
    """The file in drivers/ and the one that is installed load the same class."""
    from ipi.pes import load_pes

    from lrcalc.ipi import PES_FILE
    from lrcalc.ipi.driver import LRCalcDriver

    top = Path(__file__).parents[2] / "drivers" / "lrcalc_pes.py"
    assert load_pes("custom", str(PES_FILE)) is LRCalcDriver
    assert load_pes("custom", str(top)) is LRCalcDriver
    assert TOY.exists()
