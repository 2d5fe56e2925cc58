# %% [markdown]
# # How water answers a field
#
# A field is switched on along +z in one run and along -z in another that starts from the same
# positions and velocities. Half the difference of the two dipoles is the response, free of the
# fluctuations that both share. The electrons answer at once, with the polarizability. The first
# femtoseconds of the nuclei are known exactly from the Born charges:
# `δM(t) = α E + ½ E t² Σ_i |born_i·ẑ|²/m_i`; then librations ring; the static value, ε about 80,
# would take tens of picoseconds.

# %%
import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lrcalc import LRCalculator
from lrcalc.dynamics import RunSettings, Simulation
from lrcalc.structures import read_structure
from lrcalc.units import EPSILON_0, EV_PER_AMU_A2_FS2

here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

field, timestep = 0.05, 0.5  # V/Å, fs
steps = 40 if os.environ.get("LRCALC_QUICK") else 300
start = read_structure("water64")
calculator = LRCalculator("water")

# %% [markdown]
# The electric enthalpy has forces that are exactly its derivative: half of what changes with the
# sign of the field is `E·born`, and no Born tensor is needed to run dynamics.

# %%
start.calc = calculator
born = calculator.get_property("born_effective_charges", start)
electronic = field * calculator.get_property("polarizability", start)[2, 2]
forces = []
for sign in (+1, -1):
    calculator.electric_field = (0, 0, sign * field)
    forces.append(start.get_forces())
difference = np.abs(0.5 * (forces[0] - forces[1]) - field * born[:, 2]).max()
print(f"half of what the field's sign changes differs from E·born by at most {difference:.1e} eV/Å")

# %%
runs = {}
for sign in (+1, -1):
    calculator = LRCalculator("water", electric_field=(0, 0, sign * field), also=["dipole"])
    simulation = Simulation(start.copy(), calculator, RunSettings("nve", timestep, 300.0, seed=1))
    dipole, conserved = [], []
    for step in range(steps + 1):
        if step:
            simulation.step()
        dipole.append(simulation.atoms.get_dipole_moment()[2])
        conserved.append(simulation.conserved())
    runs[sign] = np.array(dipole), np.array(conserved)

# %%
time = timestep * np.arange(steps + 1)
response = 0.5 * (runs[+1][0] - runs[-1][0])
mass = start.get_masses()
rate = field * ((born[:, 2] ** 2).sum(1) / mass).sum() / EV_PER_AMU_A2_FS2  # e Å/fs²
early = electronic + 0.5 * rate * time**2
permittivity = 1 + response / (start.get_volume() * EPSILON_0 * field)
drift = {s: 1e3 * np.abs(c - c[0]).max() / len(start) for s, (_, c) in runs.items()}

figure = Figure(figsize=(7, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(time[:13], response[:13], "o", ms=4, label="simulated")
left.plot(time[:13], early[:13], label="exact at short times")
left.set(xlabel="time (fs)", ylabel="induced dipole (e Å)")
left.legend(frameon=False)
right.plot(time, permittivity)
right.set(xlabel="time (fs)", ylabel="apparent permittivity")
figure.savefig(output / "water_in_a_field.png", dpi=110)

# %% [markdown]
# Checks: the early response is the exact one, water turns with the field, and the enthalpy plus
# kinetic energy is conserved.

# %%
print(f"at once: {response[0]:.4f} e Å, expected {electronic:.4f}: ε_∞ = {permittivity[0]:.3f}")
print(f"after 2 fs: {response[4]:.4f} e Å, expected {early[4]:.4f}")
print(f"after {time[-1]:.0f} fs: permittivity so far {permittivity[-1]:.1f}")
print(f"largest change of the conserved quantity: {max(drift.values()):.3f} meV/atom")
assert difference < 1e-4
assert abs(response[0] / electronic - 1) < 1e-3
nuclear = response - electronic
assert abs(nuclear[4] / (early[4] - electronic) - 1) < 0.1
assert nuclear[-1] > 5 * nuclear[4]
assert max(drift.values()) < 1.0
print("all checks passed")
