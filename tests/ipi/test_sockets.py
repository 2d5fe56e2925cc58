"""One PIMD run in process, over unix and inet sockets, by one and two clients: one trajectory."""

import sys

import pytest

from lrcalc.ipi import DriverSettings, Outputs, Transport, run_ipi, write_input
from lrcalc.ipi.run import client_words, read_plan
from tests.ipi.helpers import (
    address,
    assert_same_run,
    client_command,
    toy_input,
    transport_to,
    undisturbed,
    waters,
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return undisturbed(tmp_path_factory.mktemp("direct"), beads=4)


@pytest.mark.parametrize(
    ("mode", "clients", "batch"),
    [
        ("ffdirect", 0, False),
        ("unix", 1, True),
        pytest.param("unix", 1, False, marks=pytest.mark.long),
        ("unix", 2, False),
        ("inet", 2, True),
        ("inet", 2, False),
        pytest.param("inet", 1, False, marks=pytest.mark.long),
    ],
)
def test_same_trajectory(reference, tmp_path, mode, clients, batch):
    transport = transport_to(mode, batch=batch)
    path = toy_input(tmp_path, "pimd", transport, beads=4)
    commands = [client_command(transport)] * clients
    summary = run_ipi(path, clients=commands, timeout=60)
    assert summary.finished
    assert_same_run(reference, tmp_path)
    served = [(tmp_path / f"client-{i}.log").read_text() for i in range(clients)]
    assert all("i-PI has finished" in text for text in served)
    if clients == 2 and not batch:
        assert all(" 0 structures" not in text for text in served)


def test_two_processes_with_a_model_are_one(tmp_path):
    """Beads of a real model over inet, as on two machines: each client computes some of them."""
    for clients in (1, 2):
        path = write_input(
            "pimd", waters(), tmp_path / str(clients), steps=4, beads=3,
            transport=transport_to("inet", batch=False), outputs=Outputs(positions=1),
            settings=DriverSettings("water", dtype="float64", extras=("dipole",)),
        )  # fmt: skip
        (end,) = read_plan(path).endpoints
        command = [sys.executable, "-m", "lrcalc.cli", *client_words(end)]
        assert run_ipi(path, clients=[command] * clients, timeout=120).finished
    assert_same_run(tmp_path / "1", tmp_path / "2")
    served = [(tmp_path / "2" / f"client-{i}.log").read_text() for i in (0, 1)]
    assert all(" 0 structures" not in text for text in served)


def test_padding_of_a_batch_is_not_computed(tmp_path):
    """Three beads in batches of two: i-PI repeats the last structure, the model sees it once."""
    transport = Transport("unix", address())
    path = toy_input(tmp_path, "pimd", transport, beads=3, steps=4)
    text = path.read_text()
    assert "<batch_size> 3 </batch_size>" in text
    path.write_text(text.replace("<batch_size> 3 </batch_size>", "<batch_size> 2 </batch_size>"))
    assert run_ipi(path, clients=[client_command(transport)], timeout=60).finished
    served = (tmp_path / "client-0.log").read_text()
    # four steps of three beads, and the start, where all beads are equal: one of each batch
    assert "14 structures computed" in served
