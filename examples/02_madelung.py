# %% [markdown]
# # Madelung constants from smeared charges
#
# lrcalc sums the interaction of Gaussian charges, `erf(r/(√2 σ))/r`. When σ is much smaller than
# the distance between neighbours, the Gaussians look like points to one another, the energy of
# each with itself is taken off exactly, and what is left is the lattice sum of point charges:
# the Madelung constant. Nothing here knows about point charges, so this checks the whole chain
# of reciprocal sum, weights and self term. A few seconds, so that LRCALC_QUICK changes nothing
# here; no files are written.

# %%
import torch

from lrcalc.electrostatics import electrostatic_energy
from lrcalc.multipoles import Multipoles
from lrcalc.units import COULOMB

fcc = [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
simple = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
quarter = [0.5, 0.5, 0.5]

# name: cell, positions, charges, nearest distance, published constant. Crandall and Buhler,
# J. Phys. A 20, 5497 (1987); CaF2: Sakamoto, J. Chem. Phys. 28, 164 (1958).
crystals = {
    "NaCl": (fcc, [[0, 0, 0], [1, 1, 1]], [1, -1], 1.0, 1.747564594633),
    "CsCl": (simple, [[0, 0, 0], quarter], [1, -1], 0.75**0.5, 1.762674773071),
    "ZnS": (fcc, [[0, 0, 0], quarter], [1, -1], 0.75**0.5, 1.638055053389),
    "CaF2": (fcc, [[0, 0, 0], quarter, [1.5, 1.5, 1.5]], [2, -1, -1], 0.75**0.5, 5.038784879850),
}


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


# %% [markdown]
# The energy of one formula unit is `-M k_C/d`. As σ shrinks the constants converge faster than
# exponentially: the error is the tail of a Gaussian.

# %%
print("crystal      σ/d    Madelung constant")
found = {}
for name, (cell, positions, charges, distance, _) in crystals.items():
    for ratio in (0.4, 0.3, 0.2, 0.14):
        energy = electrostatic_energy(
            tensor(positions),
            tensor(cell),
            Multipoles(tensor(charges)),
            smearing=ratio * distance,
            accuracy=1e-12,
        ).energy
        found[name] = -float(energy) * distance / COULOMB
        print(f"{name:8s} {ratio:7.2f}   {found[name]:.12f}")

# %% [markdown]
# The same number from the particle mesh, which is what large systems use, for a supercell of
# 512 ions. Forces vanish by symmetry.

# %%
shift = torch.cartesian_prod(*[torch.arange(8.0, dtype=torch.float64)] * 3)
sign = 1.0 - 2.0 * (shift.sum(1) % 2)
shift.requires_grad_()
large = electrostatic_energy(
    shift, 8.0 * torch.eye(3).double(), Multipoles(sign), smearing=0.2, method="mesh", accuracy=1e-6
)
(gradient,) = torch.autograd.grad(large.energy.sum(), shift)
mesh_constant = -float(large.energy.detach()) / 256 / COULOMB
print(f"NaCl, mesh, 512 ions: {mesh_constant:.8f}, largest force {float(gradient.abs().max()):.1e}")

# %% [markdown]
# Check.

# %%
for name, (_, _, _, _, published) in crystals.items():
    assert abs(found[name] - published) < 1e-9 * published, name
assert abs(mesh_constant - crystals["NaCl"][-1]) < 1e-5
print("all constants agree with the published ones")
