"""Several processes that train one model: the weights of one, whoever has how many frames."""

import multiprocessing
import os
import socket
import subprocess
import sys
import time

import pytest
import torch

from lrcalc.checkpoint import load
from lrcalc.training.data import make_frames
from lrcalc.training.fit import fit
from lrcalc.training.ranks import ALONE, Ranks, ranks_of_this_run
from lrcalc.training.settings import TrainingSettings
from tests.training.sets import label, water_box
from tests.training.test_loop import SMALL, mixed

CONFIG = {"level": "q", **SMALL}
# some forces are squared by this scale, some not
SETTINGS = TrainingSettings(epochs=2, batch_size=4, loss="huber", huber_scale=0.5)


def frames():
    """Nine to train on, so that the last batch is one; stress in two; two to validate with."""
    molecules = [label(water_box(seed=k, n=2 + k % 2), stress=False) for k in range(6)]
    for atoms in molecules:
        atoms.pbc = False
    return mixed() + make_frames(molecules, "c.xyz", 3.0, 1)


def test_shares_are_all_frames_and_even():
    sizes = [3, 9, 5, 7, 1]
    shares = [Ranks(k, 2).share([0, 1, 2, 3, 4], sizes) for k in range(2)]
    assert shares == [[1, 2, 4], [3, 0]]
    assert ALONE.share([4, 2], sizes) == [4, 2]
    assert Ranks(2, 3).share([4, 2], sizes) == []


def together(size, work, *arguments):
    """Run ``work`` on ``size`` ranks, forked from here, where torch is; return their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=_rank, args=(k, size, port, work, arguments)) for k in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
        if process.is_alive():
            process.kill()
            pytest.fail("a rank hangs")
    return [process.exitcode for process in processes]


def _rank(rank, size, port, work, arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port)}  # fmt: skip
    torch.set_num_threads(1)
    try:
        with ranks_of_this_run() as ranks:
            work(ranks, *arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        os._exit(3)
    except SystemExit as error:
        os._exit(error.code)
    os._exit(0)


def train(ranks, path, last=SETTINGS.epochs):
    parts = frames()

    def killed(row):
        if row["epoch"] == last < SETTINGS.epochs:
            os._exit(0)

    fit(parts[:9], parts[9:], CONFIG, SETTINGS, path, ranks=ranks, report=killed)


def weights(path):
    return torch.cat([x.double().flatten() for x in load(path).state_dict().values()])


def test_two_ranks_make_the_weights_of_one(tmp_path):
    """Also after a kill; stress and the last frame in the share of one rank only."""
    train(ALONE, tmp_path / "one.pt")
    assert together(2, train, tmp_path / "two.pt", 1) == [0, 0]
    assert together(2, train, tmp_path / "two.pt") == [0, 0]
    one, two = (weights(tmp_path / f"{name}.pt") for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=0, atol=1e-6)
    curves = [(tmp_path / f"{name}.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(curves[0]) == len(curves[1]) == 3


def failing(ranks, path):
    if ranks.rank == 1:
        raise ValueError("this rank alone cannot read its data")
    train(ranks, path)


def test_an_error_of_one_rank_ends_all(tmp_path, capfd):
    begun = time.perf_counter()
    assert together(2, failing, tmp_path / "m.pt") == [2, 3]
    assert time.perf_counter() - begun < 30
    assert capfd.readouterr().err.count("this rank alone cannot read its data") == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_torchrun_on_four_ranks(tmp_path, shared):
    data = shared / "data/molecules/dipeptides_train.xyz.gz"
    options = ["train", "--train", data, "--frames", ":22", "--valid-every", "6", "--channels", "8",
               "--hidden", "16", "--epochs", "2", "--batch-size", "8"]  # fmt: skip
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
    for n in (1, 2, 4):
        command = [*run, str(n), "-m", "lrcalc", *options, "--out", tmp_path / f"{n}.pt"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("training, 3 validation") == 1
        assert done.stdout.count("report on the charges") == 1
    for n in (2, 4):
        torch.testing.assert_close(
            weights(tmp_path / "1.pt"), weights(tmp_path / f"{n}.pt"), rtol=0, atol=1e-6
        )
    wrong = [*run, "2", "-m", "lrcalc", *options, "--learning-rate", "1e9", "--out",
             tmp_path / "m.pt"]  # fmt: skip
    done = subprocess.run(wrong, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode != 0
    assert done.stderr.count("lower --learning-rate") == 1
