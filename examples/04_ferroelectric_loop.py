# %% [markdown]
# # Polarization of a ferroelectric in a cycled field
#
# BaTiO3 has two states of opposite polarization. An electric field that is raised, reversed and
# raised again switches between them, and the polarization draws a loop. In lrcalc the field
# belongs to the energy (the electric enthalpy), so every point of the loop is a relaxation like any
# other. The loop is that of a single domain at 0 K in the tetragonal cell of the data that the
# model `BaTiO3` was trained on: its coercive field is the intrinsic one, which is far above what
# nuclei of reversed domains allow in a laboratory.

# %%
import os
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from matplotlib.figure import Figure

from lrcalc import LRCalculator

here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

MICROCOULOMB_PER_CM2 = 1602.1766  # of 1 e/Å²
a, c = 11.898254 / 3, 12.912077 / 3
centre = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
atoms = Atoms("BaTiO3", scaled_positions=centre, cell=[a, a, c], pbc=True)
atoms.calc = LRCalculator("BaTiO3", dtype="float64")

# %% [markdown]
# The dipole of a crystal means something as a difference on one branch: count it from the
# centrosymmetric structure, and say how large the quantum is.

# %%
reference = atoms.get_dipole_moment()
quantum = atoms.calc.dipole_quantum(atoms)
print("jump of the dipole if one atom moves by c (e Å):",
      {symbol: round(float(q[2, 2]), 2) for symbol, q in quantum.items()})  # fmt: skip
born = atoms.calc.get_property("born_effective_charges", atoms)
for symbol, z in zip(atoms.symbols, born[:, 2, 2], strict=True):
    print(f"Born charge along z: {symbol:2} {z:6.2f} e")

# %%
atoms.positions[1, 2] += 0.05  # leave the symmetric point on one side
QUICK = bool(os.environ.get("LRCALC_QUICK"))
amplitude, points = 0.6, 7 if QUICK else 16
quarter = np.linspace(0, amplitude, points)
cycle = np.concatenate([quarter, quarter[::-1][1:], -quarter[1:], -quarter[::-1][1:], quarter[1:]])


def relaxed_polarization(field):
    """Relax in ``field`` (V/Å along z) and return the polarization along z, µC/cm²."""
    atoms.calc.electric_field = (0, 0, field)
    FIRE(atoms, logfile=None, dt=0.2, maxstep=0.05).run(fmax=0.01 if QUICK else 0.003, steps=400)
    moment = (atoms.get_dipole_moment() - reference)[2]
    return MICROCOULOMB_PER_CM2 * moment / atoms.get_volume()


polarization = np.array([relaxed_polarization(field) for field in cycle])

# %%
figure = Figure(figsize=(5, 4), layout="constrained")
axis = figure.subplots()
axis.plot(10 * cycle, polarization, ".-")
axis.axhline(0, color="0.7", lw=0.8)
axis.axvline(0, color="0.7", lw=0.8)
axis.set(xlabel="electric field (GV/m)", ylabel="polarization (µC/cm²)",
         title="BaTiO3, single domain, 0 K")  # fmt: skip
figure.savefig(output / "ferroelectric_loop.png", dpi=110)

# %% [markdown]
# Checks: two remanent states of opposite polarization, and a loop that costs energy.

# %%
steps = 2 * (points - 1)
down, up = polarization[steps], polarization[2 * steps]  # at zero field, coming from + and from -
loop = slice(points - 1, None)
middle, change = cycle[loop][:-1] + np.diff(cycle[loop]) / 2, np.diff(polarization[loop])
work = (middle * change).sum() / MICROCOULOMB_PER_CM2 * atoms.get_volume()  # ∮ E dP
switch = cycle[steps:][np.argmax(polarization[steps:] < 0)]
print(f"remanent polarization {down:+.1f} and {up:+.1f} µC/cm² (experiment, 300 K: 26)")
print(f"switches at {10 * switch:+.2f} GV/m; a cycle costs {work:.3f} eV per cell")
assert down > 10, "the ferroelectric state should survive without a field"
assert abs(down + up) < 0.02 * down, "the two states should mirror each other"
assert switch < 0, "the field that switches points against the polarization"
assert work > 0, "going round the loop should dissipate energy"
print("all checks passed")
