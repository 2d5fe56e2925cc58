import os
import subprocess
import sys
from pathlib import Path

# one thread for the tests and the processes they start: systems are small, and two threads that
# wait for each other on a busy machine cost ten times more than they gain
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from lrcalc import Potential, from_ase
from lrcalc.neighbors import build_pairs

SHARED = Path(os.environ.get("LRCALC_SHARED", Path(__file__).parents[1] / ".." / "shared"))


@pytest.fixture
def shared():
    """Folder of reference data; tests that need it are skipped, saying so, where it is not."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"reference data not found in {SHARED}; set LRCALC_SHARED to their folder")
    return SHARED


def run_python(code):
    """What a process of its own prints that runs ``code`` in the repository; it has to end well."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    return done.stdout


def random_potential(atoms, *, seed=0, dtype=torch.float64, **config):
    """A small potential with random weights, calibrated on ``atoms``."""
    small = {} if "backbone" in config else {"channels": 8, "hidden": 16}
    config = {**small, "cutoff": 4.0, **config}
    species = tuple(sorted({int(z) for z in atoms.numbers}))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        potential = Potential(species, **config)
        if hasattr(potential.readout, "transfer_weight"):
            torch.nn.init.normal_(potential.readout.transfer_weight, std=0.3)
            torch.nn.init.normal_(potential.readout.species_charge, std=0.3)
    system = from_ase(atoms)
    pairs = build_pairs(system, potential.cutoff)
    potential.calibrate(system, pairs)
    reference = potential.reference_energy.clone()
    potential = potential.to(dtype).requires_grad_(False)
    potential.reference_energy = reference
    return potential
