"""What each room needs at run time, and what is in the wheel."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.conftest import run_python

ROOT = Path(__file__).parents[1]
BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
import torch  # which takes some of them where they are there
for name in [m for m in sys.modules if m.split(".")[0] in {names}]:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
"""


def without(names, code):
    """Run ``code`` where the modules ``names`` are not installed."""
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(names=names) + code],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_sum_alone_needs_torch_and_numpy():
    others = ["ase", "e3nn", "scipy", "vesin", "ipi", "phonopy", "symfc", "matplotlib", "tqdm"]
    without(
        [*others, "h5py"],
        "import numpy as np\n"
        "from lrcalc import Multipoles, electrostatic_energy\n"
        "r = (7.0 * torch.rand(8, 3, dtype=torch.float64)).requires_grad_()\n"
        "m = Multipoles(torch.tensor([1.0, -1.0] * 4).double(), 0.1 * torch.rand(8, 3).double())\n"
        "cell = 7.0 * torch.eye(3).double()\n"
        "for method in ('direct', 'mesh'):\n"
        "    energy = electrostatic_energy(r, cell, m, method=method).energy\n"
        "    torch.autograd.grad(energy.sum(), r)\n"
        "for pbc in ([False] * 3, [True, True, False]):\n"
        "    electrostatic_energy(r, cell, m, pbc=torch.tensor(pbc))\n",
    )


@pytest.mark.parametrize(
    ("module", "code", "told"),
    [
        ("h5py", "from lrcalc.analysis.readers import read_hdf5; read_hdf5('a', 'b', 1.0)",
         "h5py is not installed, which HDF5 files need: pip install 'lrcalc[hdf5]'"),
        ("matplotlib", "import lrcalc.analysis.plots",
         "matplotlib is not installed, which pictures need: pip install matplotlib"),
        ("phonopy", "from lrcalc.analysis.displacements import _phonopy\n"
         "from ase.build import bulk; _phonopy(bulk('Si'), (1, 1, 1), None)",
         "phonopy is not installed, which phonons need: pip install phonopy symfc"),
    ],
)  # fmt: skip
def test_a_missing_package_is_named_with_the_way_out(module, code, told):
    command = f"""
from lrcalc.optional import explained
with explained():
    {code.replace(chr(10), chr(10) + "    ")}
"""
    with pytest.raises(AssertionError, match=re.escape(told)):
        without([module], command)


def test_a_calculator_starts_without_the_compiler_of_torch():
    """Two seconds of every start; what e3nn left out of its way is put back."""
    code = (
        "import sys, torch; disable = torch.compiler.disable; import lrcalc; "
        "lrcalc.LRCalculator('water'); assert 'torch._dynamo' not in sys.modules; "
        "assert torch.compiler.disable is disable"
    )
    run_python(code)


def test_every_folder_of_the_package_is_in_the_wheel():
    folders = {
        ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "lrcalc").rglob("*.py")
    }
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    assert set(found) == folders
