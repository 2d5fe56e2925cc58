"""Runs on two ranks, atoms migrating, conserve what they should to second order in the step."""

import numpy as np
import pytest

from tests.lammps.conserving import CASES, STEPS
from tests.lammps.running import ROOT, mpirun, needs_lammps

pytestmark = needs_lammps


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Energies and numbers of atoms that changed their rank."""
    folder = tmp_path_factory.mktemp("conserving")
    worker = ROOT / "tests" / "lammps" / "conserving.py"
    done = mpirun(2, "-m", "mpi4py", worker, "runs.npz", cwd=folder, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "runs.npz"))


def test_half_a_step_makes_a_quarter_of_the_error(runs):
    for name in CASES:
        long, short = (np.ptp(runs[f"{name}/{step}"]) for step in STEPS)
        assert long > 1e-4  # eV; far above rounding
        assert long / short == pytest.approx(4.0, abs=0.3), name
        assert runs[f"{name}/{STEPS[0]}/moved"] > 10, name
