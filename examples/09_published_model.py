# %% [markdown]
# # A published MACE-LES model: i-PI and an infrared spectrum
#
# Name a file in `LRCALC_MACE_FILE`, e.g. `maceles-water-r4.5-l0.model` of the les_fit repository
# (Kim et al., JCTC 2025; CC BY-NC 4.0, so it is not part of lrcalc). It is converted once, and used
# like any model: here 64 waters behind i-PI, and the spectrum of their dipoles. Two hours on one
# core for 2 ps with the published model. Converting runs nothing that is in the pickle, and needs
# neither mace-torch nor `les`, as long as the model's features are scalars.

# %%
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from lrcalc import Evaluator
from lrcalc.cli import main
from lrcalc.structures import read_structure

FILE = os.environ.get("LRCALC_MACE_FILE")
QUICK = bool(os.environ.get("LRCALC_QUICK"))
STEPS = 60 if QUICK else 4000
STRUCTURE = os.environ.get("LRCALC_MACE_STRUCTURE") or "water64"
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)
if not FILE:
    print("name a MACE-LES file in LRCALC_MACE_FILE: none, so nothing is done")
    raise SystemExit(0)
folder = Path(tempfile.mkdtemp(prefix="09-runs-", dir=output)).resolve()
MODEL = str(folder / "converted.pt")


def lrcalc(*words):
    """Run a command as in the shell."""
    print("lrcalc", *words)
    assert main([str(word) for word in words]) == 0


# %% [markdown]
# ## Convert
#
# ε_∞ is not in the file. Energies leave the sign of all charges open, and the published model of
# water has that of O positive: it is turned if Born charges say so.

# %%
convert = ("convert", FILE, "--trust-pickle", "--epsilon-infinity", 1.78, "-o", MODEL)
lrcalc(*convert)
atoms = read_structure(STRUCTURE)
born = Evaluator(MODEL)([atoms], ["born_effective_charges"])[0]["born_effective_charges"]
of_oxygen = np.einsum("iaa->i", born[atoms.numbers == 8]).mean() / 3
if of_oxygen > 0:
    lrcalc(*convert, "--flip-sign")
print(f"mean Born charge of O in the file: {of_oxygen:+.2f} e")

# %% [markdown]
# ## Run
#
# A thermostat first; then the dynamics whose dipoles are wanted, every second step.

# %%
run = ("--structure", STRUCTURE, "--model", MODEL, "--stride", 2, "--extras", "dipole", "--quiet")
lrcalc("ipi-run", "--kind", "nvt", *run, "--steps", STEPS // 2, "--workdir", folder / "warm")
restart = ("--restart-from", folder / "warm" / "RESTART")
lrcalc("ipi-run", "--kind", "nve", *run, *restart, "--steps", STEPS, "--workdir", folder / "run")

# %% [markdown]
# ## Spectrum

# %%
picture = output / "published_model"
lrcalc("ir", folder / "run", "--no-progress", "-o", picture)
files = sorted(path.name for path in output.glob("published_model*"))
print("written:", ", ".join(files))

# %% [markdown]
# ## Check

# %%
(summary,) = output.glob("published_model*.json")
assert json.loads(summary.read_text())
table = np.genfromtxt(next(output.glob("published_model*.csv")), delimiter=",", names=True)
n_alpha = table[table.dtype.names[1]]
assert np.isfinite(n_alpha).all()
assert n_alpha.max() > 0
