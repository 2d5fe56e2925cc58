"""Folders and files of any name: they work, or are refused by name before anything is written."""

import os
import shutil
import socket
import threading

import pytest

from lrcalc.checkpoint import model_path
from lrcalc.cli import main
from lrcalc.ipi import DriverSettings, Transport, run_ipi, write_input
from lrcalc.ipi.protocol import Connection
from tests.ipi.helpers import address, client_command, toy_input, transport_to, waters


@pytest.mark.parametrize("mode", ["unix", "inet"])
def test_letters_that_sockets_cut_are_refused(tmp_path, mode):
    folder = tmp_path / "größe"
    with pytest.raises(ValueError, match="`workdir` has 'ßö' in its path .*transport ffdirect"):
        write_input("nve", waters(), folder, transport=Transport(mode))
    assert not folder.exists()


def test_a_model_that_sockets_cut_is_refused(tmp_path):
    model = tmp_path / "modèle.pt"
    shutil.copyfile(model_path("water"), model)
    options = {"settings": DriverSettings(model=str(model)), "transport": Transport("unix")}
    with pytest.raises(ValueError, match="`model` has 'è' in its path"):
        write_input("nve", waters(), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_the_command_names_its_option(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waters().write("a.extxyz")
    words = ["ipi-run", "--kind", "nve", "--structure", "a.extxyz", "--workdir", "ü"]
    assert main([*words, "--transport", "unix"]) == 2
    assert "`--workdir` has 'ü' in its path" in capsys.readouterr().err
    assert not (tmp_path / "ü").exists()


@pytest.mark.parametrize("name", ["größe 日本, {in} it's a:b"])
def test_in_process_any_name_works(tmp_path, name):
    structure = tmp_path / f"{name}.extxyz"
    waters().write(structure)
    assert run_ipi(toy_input(tmp_path / name, structure=structure, steps=2), timeout=60).finished
    # and its state starts another run
    again = toy_input(
        tmp_path / f"{name} two", steps=2, structure=structure, restart=tmp_path / name / "RESTART"
    )
    assert run_ipi(again, timeout=60).finished


def test_by_socket_spaces_work(tmp_path):
    transport = transport_to("unix")
    path = toy_input(tmp_path / "it's with: space", transport=transport, steps=2)
    assert run_ipi(path, clients=[client_command(transport)], timeout=60).finished


@pytest.mark.parametrize("name", ["a,b", "{braces}"])
def test_by_socket_what_separates_settings_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="`workdir` is .* cannot pass on any of the characters"):
        toy_input(tmp_path / name, transport=Transport("unix", address()))
    assert not (tmp_path / name).exists()


def test_a_client_explains_an_init_that_was_cut():
    """An input that somebody else wrote: the client says what is wrong, not 'no i-PI at all'."""
    ours, theirs = socket.socketpair()
    text = "model:/a/ü/model.pt"
    message = b"\0\0\0\0" + len(text).to_bytes(4, "little") + text.encode()
    sender = threading.Thread(target=theirs.sendall, args=(message,))
    sender.start()
    with pytest.raises(ValueError, match="letters beyond ASCII"):
        Connection(ours).init()
    sender.join()
    ours.close()
    theirs.close()


def test_names_are_written_whatever_the_locale(tmp_path):
    assert os.fsencode("ü") == "ü".encode()
    path = write_input(
        "nve", waters(), tmp_path / "run", settings=DriverSettings(model="fehlt/ü.pt")
    )
    assert "fehlt/ü.pt" in path.read_text(encoding="utf-8")
