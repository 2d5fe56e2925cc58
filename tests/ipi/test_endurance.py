"""Faults at odd moments; and in their long forms: again and again in one run, the real model."""

import contextlib
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lrcalc.ipi import DriverSettings, Outputs, run_ipi, write_input
from lrcalc.ipi.conversions import ForceMessage
from lrcalc.ipi.protocol import Connection, ConnectionLost, pack_forces
from lrcalc.ipi.run import IPIError, newest_checkpoint
from tests.ipi.helpers import (
    SOCKETS,
    assert_same_run,
    end,
    finish,
    replaced_client,
    start_client,
    start_command,
    start_server,
    steps_written,
    toy_input,
    transport_to,
    wait_for,
    waters,
)

pytestmark = pytest.mark.timeout(120)


def raw_client(transport):
    """A connection that has said it is ready; with its socket."""
    sock = socket.socket(socket.AF_UNIX)
    wait_for(lambda: Path(SOCKETS + transport.address).exists())
    sock.connect(SOCKETS + transport.address)
    connection = Connection(sock)
    for header, reply in (("STATUS", "NEEDINIT"), ("INIT", None), ("STATUS", "READY")):
        while (said := connection.header()) != header:
            assert said == "STATUS"
            connection.send_header("NEEDINIT")
        if reply:
            connection.send_header(reply)
        else:
            connection.init()
    return connection, sock


def answer(atoms):
    message = ForceMessage(0.0, np.ones((atoms, 3)), np.zeros((3, 3)), '{"dipole": [0, 0, 0]}')
    return pack_forces([message, message], batched=True)


def dying_sender(transport, fraction):
    """A client that answers the first request with a part of its message, or none, and is gone."""
    connection, sock = raw_client(transport)
    if fraction is None:  # leave the request unread: a reset, and not an end
        sock.recv(1, socket.MSG_PEEK)
        sock.close()
        return
    assert connection.header() == "POSDATA"
    data = answer(len(connection.structures(2).positions[0]))
    connection.drain()
    connection.send(data[: int(fraction * len(data))])
    connection.close()


def wrong_sender(transport):
    """A client that answers for one atom too many, and waits for what comes."""
    connection, _ = raw_client(transport)
    assert connection.header() == "POSDATA"
    atoms = len(connection.structures(2).positions[0])
    connection.drain()
    with contextlib.suppress(ConnectionLost):
        connection.send(answer(atoms + 1))
        while True:
            connection.header()
    connection.close()


def rows_written(folder):
    path = folder / "sim.out"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize(
    "fraction",
    [None, pytest.param(0.005, marks=pytest.mark.long), pytest.param(0.5, marks=pytest.mark.long)],
)
def test_client_dies_while_it_sends_a_force(reference, tmp_path, fraction):
    transport = transport_to("unix")
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    server = start_server(path)
    second = None
    try:
        dying_sender(transport, fraction)
        second = start_client(transport)
        assert "i-PI has finished" in finish(second)
        server.wait(20)
    finally:
        end(server, *([second] if second else []))
    assert_same_run(reference, tmp_path)


def test_an_answer_that_ipi_cannot_take_ends_the_run(tmp_path):
    """A foreign client with other atoms: alone, i-PI would wait with nobody serving clients."""
    transport = transport_to("unix")
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    sender = threading.Thread(target=wrong_sender, args=(transport,), daemon=True)
    sender.start()
    with pytest.raises(IPIError, match="i-PI failed on the answer of a client: .*InvalidSize"):
        run_ipi(path, timeout=60)
    assert (tmp_path / "RESTART").exists()
    sender.join(5.0)


@pytest.mark.long
def test_client_that_hangs_is_given_up(reference, tmp_path):
    """Stopped in a force, not dead: after <timeout> i-PI gives its structures to another."""
    transport = transport_to("unix")._replace(timeout=2.0)
    path = toy_input(tmp_path, "pimd", transport, beads=2)
    with replaced_client(path, transport) as first:
        first.send_signal(signal.SIGSTOP)
    assert_same_run(reference, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize(("mode", "batch"), [("unix", True), ("unix", False), ("inet", False)])
def test_one_of_two_clients_killed_again_and_again(tmp_path, mode, batch):
    """Six times `kill -9` at a random moment, and a new client: as if nothing had happened."""
    calm = tmp_path / "calm"
    assert run_ipi(toy_input(calm, "pimd", beads=4, steps=60), timeout=60).finished
    transport = transport_to(mode)._replace(batch=batch)
    folder = tmp_path / "stormy"
    server = start_server(toy_input(folder, "pimd", transport, beads=4, steps=60))
    rng = np.random.default_rng(3)
    delay = "0.15" if batch else "0.08"
    clients = [start_client(transport, TOY_DELAY=delay) for _ in range(2)]
    everyone = list(clients)
    try:
        wait_for(lambda: steps_written(folder) >= 1)
        for turn in range(6):
            time.sleep(rng.uniform(0.5, 0.8))
            assert server.poll() is None, "the run ended before the last kill: a longer delay"
            victim = turn % 2
            clients[victim].kill()
            clients[victim] = start_client(transport, TOY_DELAY=delay)
            everyone.append(clients[victim])
        for client in clients:
            assert "i-PI has finished" in finish(client, 60.0)
        server.wait(20)
    finally:
        end(server, *everyone)
    assert_same_run(calm, folder)


@pytest.mark.long
@pytest.mark.parametrize("mode", ["unix", "inet"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ipi_stopped_again_and_again(tmp_path, mode, number):
    """Four times in one run, at random moments; each time it goes on from its last state.

    A checkpoint a step, so that many a kill comes while one is written.
    """
    outputs = Outputs(positions=5, checkpoint=1)
    calm = tmp_path / "calm"
    assert run_ipi(toy_input(calm, "pimd", beads=2, steps=60), timeout=60).finished
    transport = transport_to(mode)
    folder = tmp_path / "stormy"
    path = toy_input(folder, "pimd", transport, beads=2, steps=60, outputs=outputs)
    # a signal is heard within a second: about seven steps
    delay = "0.15" if number == signal.SIGTERM else "0.02"
    rng = np.random.default_rng(4)
    processes = []
    try:
        for turn in range(5):
            server = start_server(path, f"server-{turn}.log")
            client = start_client(transport, TOY_DELAY=delay)
            processes += [server, client]
            if turn < 4:
                goal = rows_written(folder) + 3
                wait_for(lambda goal=goal: rows_written(folder) >= goal, 30.0)
                time.sleep(rng.uniform(0.0, 0.1))
                server.send_signal(number)
            killed = turn < 4 and number == signal.SIGKILL
            assert server.wait(30) == (-number if killed else 0)
            ended = time.monotonic()
            finish(client, 5.0)
            assert time.monotonic() - ended < 5.0
            state = newest_checkpoint(folder)
            if turn < 4:
                assert state.name == ("sim.checkpoint" if killed else "RESTART")
            path = folder / "resume.xml"
            path.write_text(state.read_text())
            Path(SOCKETS + transport.address).unlink(missing_ok=True)
    finally:
        end(*processes)
    assert_same_run(calm, folder)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_bundled_model_client_killed_and_replaced(tmp_path):
    """Eight waters, four beads, one bead a call: two clients, one killed in a force.

    Long enough for the client that replaces it to load the model before i-PI has finished.
    """
    outputs = Outputs(positions=0)
    runs = {}
    for name in ("calm", "stormy"):
        transport = transport_to("unix")._replace(batch=False)
        path = write_input(
            "pimd", waters(8), tmp_path / name, steps=200, beads=4, transport=transport,
            settings=DriverSettings(dtype="float64"), outputs=outputs,
        )  # fmt: skip
        runs[name] = (path, transport)
    path, transport = runs["calm"]
    command = [sys.executable, "-m", "lrcalc.cli", "ipi", "--unix", "--address"]
    assert run_ipi(path, clients=[[*command, transport.address]], timeout=200).finished
    path, transport = runs["stormy"]
    server = start_server(path)
    clients = [start_command([*command, transport.address]) for _ in range(2)]
    try:
        wait_for(lambda: steps_written(tmp_path / "stormy") >= 3, 200.0)
        clients[0].kill()
        clients.append(start_command([*command, transport.address]))
        assert "i-PI has finished" in finish(clients[1], 200.0)
        server.wait(20)
        finish(clients[2], 60.0)
    finally:
        end(server, *clients)
    assert_same_run(tmp_path / "calm", tmp_path / "stormy")
