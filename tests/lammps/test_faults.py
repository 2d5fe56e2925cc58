"""What goes wrong on one rank ends all of them soon, with its message."""

import time

import pytest

from tests.lammps.running import mpirun, needs_lammps, run_lammps
from tests.lammps.test_host import START, write_data
from tests.sample_structures import water_box

pytestmark = needs_lammps

LIMIT = 60
"""Seconds from a fault to the end of all ranks."""

RAISES = """
import os, signal, sys
from lrcalc.lammps import step

compute = step.Step.compute

def fails(self, view):
    if self.part._mpi.rank == {rank} and view.step == 2:
        {fault}
    compute(self, view)

step.Step.compute = fails
from lrcalc.cli import main
sys.exit(main(["lammps", "-in", "in.lmp", "-log", "none"]))
"""


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path, water_box(n=4))
    (tmp_path / "in.lmp").write_text(
        START.replace("model.pt", "water").replace("field 0.01 0.02 -0.03", "")
        + "fix move all nve\nthermo 1\nrun 50\n"
    )
    return tmp_path


def ended(folder, rank, fault):
    """Run with a fault on one rank in step 2; how long that took, and what it left."""
    (folder / "fails.py").write_text(RAISES.format(rank=rank, fault=fault))
    start = time.monotonic()
    done = mpirun(2, "fails.py", cwd=folder, timeout=2 * LIMIT)
    assert time.monotonic() - start < LIMIT
    assert done.returncode != 0
    assert "Loop time" not in done.stdout
    return done


@pytest.mark.parametrize("rank", [0, 1])
def test_an_exception_on_one_rank_ends_all_with_its_message(folder, rank):
    done = ended(folder, rank, "raise ValueError('the cat sat on it')")
    assert f"lrcalc lammps: rank {rank}: " in done.stderr
    assert "the cat sat on it" in done.stderr


def test_what_is_no_error_of_the_user_comes_with_a_traceback(folder):
    done = ended(folder, 1, "[].pop()")
    assert "IndexError: pop from empty list" in done.stderr
    assert "Traceback" in done.stderr


def test_a_killed_rank_ends_all(folder):
    ended(folder, 1, "os.kill(os.getpid(), signal.SIGKILL)")


def test_an_exit_of_one_rank_ends_all(folder):
    ended(folder, 1, "sys.exit(3)")


def test_an_error_of_all_ranks_is_told_once(folder):
    done = run_lammps(folder, START.replace("model.pt", "no-such-model"), timeout=LIMIT)
    assert done.returncode == 2
    assert done.stderr.count("no bundled model 'no-such-model'") == 1


def test_ranks_without_atoms_run_along(folder):
    script = (folder / "in.lmp").read_text().replace("run 50", "run 3")
    data = (folder / "water.data").read_text().replace("0.0 6.0 xlo xhi", "0.0 60.0 xlo xhi")
    (folder / "water.data").write_text(data)
    done = run_lammps(folder, script, ranks=4, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Loop time" in done.stdout
