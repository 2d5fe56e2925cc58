"""Liquid water with the bundled model in ASE: energies, forces, and what a field would do.

Run: python examples/01_water_in_ase.py
"""

# %% A box of 64 waters and the bundled model
import os

import numpy as np
from ase import units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

import lrcalc
from lrcalc.structures import read_structure

quick = bool(os.environ.get("LRCALC_QUICK"))
water = read_structure("water64")
water.calc = lrcalc.LRCalculator("water")
print(f"energy {water.get_potential_energy():.3f} eV, largest force "
      f"{np.abs(water.get_forces()).max():.2f} eV/Å")  # fmt: skip

# %% Electrical response: nobody told the model about charges, it found them in the forces
dipole = water.calc.get_property("dipole", water)
born = water.calc.get_property("born_effective_charges", water)
oxygen = born[water.numbers == 8].mean(axis=0)
hydrogen = born[water.numbers == 1].mean(axis=0)
print("dipole (e Å)", dipole.round(3))
print("mean Born charge of O\n", oxygen.round(2), "\nof H\n", hydrogen.round(2))

# %% Newton's equations: the energy must be conserved
thermalize_momenta(water, temperature_K=300, rng=np.random.default_rng(1))
dynamics = VelocityVerlet(water, 0.5 * units.fs)
energies = []
dynamics.attach(lambda: energies.append(water.get_total_energy()))
dynamics.run(40 if quick else 400)
wander = np.ptp(energies) / len(water)
print(f"total energy within {1e3 * wander:.3f} meV/atom over {len(energies) - 1} steps")

# %% The checks a referee would make
assert np.abs(born.sum(axis=0)).max() < 1e-6, "the acoustic sum rule must hold"
assert -3 < np.trace(oxygen) / 3 < -0.7 < 0 < np.trace(hydrogen) / 3 < 1.2
assert wander < 1.0e-3
print("checks passed")
