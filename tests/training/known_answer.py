"""Water clusters of a formula with known charges, dipoles and polarizabilities.

Charges flow along bonds, ``q_H = 0.4 + 0.3 Δr``, oxygen takes what is left; every atom has a
polarizability that answers the field of all other atoms' charges, without iteration. All charges
are Gaussians of 1 Å. Bonds and walls are short-ranged. Nothing of lrcalc's is used.
"""

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

COULOMB = 14.3996454
BOND, FLUX, ALPHA = 0.97, 0.3, {8: 0.05, 1: 0.012}  # Å, e/Å, e Å²/V


def moments(positions, numbers):
    """Charges (N,), polarizabilities (N,), fields of the other atoms' charges (N, 3)."""
    oxygen = torch.arange(0, len(numbers), 3)
    stretch = [(positions[oxygen + k] - positions[oxygen]).norm(dim=1) - BOND for k in (1, 2)]
    flow = torch.stack(stretch, 1)
    hydrogen = 0.4 + FLUX * flow
    charge = torch.cat([-hydrogen.sum(1, keepdim=True), hydrogen], 1).flatten()
    alpha = torch.tensor([ALPHA[int(z)] for z in numbers], dtype=torch.float64)
    away = positions[:, None] - positions[None]
    r = (away.square().sum(-1) + torch.eye(len(numbers), dtype=torch.float64)).sqrt()
    gauss = (2 / np.pi) ** 0.5 * torch.exp(-(r**2) / 2)
    slope = COULOMB * (torch.erf(r / 2**0.5) / r**2 - gauss / r)
    off = 1.0 - torch.eye(len(numbers), dtype=torch.float64)
    field = torch.einsum("ij,j,ija->ia", slope / r * off, charge, away)
    return charge, alpha, field, r, off


def energy_and_dipole(positions, numbers):
    charge, alpha, field, r, off = moments(positions, numbers)
    pair = COULOMB * torch.erf(r / 2**0.5) / r * off
    energy = 0.5 * charge @ pair @ charge - 0.5 * (alpha * field.square().sum(1)).sum()
    molecule_of = torch.arange(len(numbers)) // 3
    other = (molecule_of[:, None] != molecule_of[None]).double()
    energy = energy + 0.5 * (other * 40.0 * torch.exp(-r / 0.3)).sum()
    first = torch.arange(0, len(numbers), 3)
    for a, b, length, k in ((0, 1, BOND, 40.0), (0, 2, BOND, 40.0), (1, 2, 1.53, 8.0)):
        d = (positions[first + a] - positions[first + b]).norm(dim=1)
        energy = energy + 0.5 * (k * (d - length) ** 2).sum()
    dipole = (charge[:, None] * positions).sum(0) + (alpha[:, None] * field).sum(0)
    return energy, dipole


def labelled_cluster(seed, most=4):
    """Two to ``most`` waters, no closer than 1.7 Å, with labels of the formula."""
    rng = np.random.default_rng(seed)
    atoms, wanted = Atoms(), int(rng.integers(2, most + 1))
    while len(atoms) < 3 * wanted:
        new = molecule("H2O")
        new.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        new.translate(rng.uniform(-3.0, 3.0, 3))
        trial = atoms + new
        n = len(atoms)
        if not n or np.linalg.norm(trial.positions[n:, None] - atoms.positions, axis=2).min() > 1.7:
            atoms = trial
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    positions = torch.tensor(atoms.positions, requires_grad=True)
    energy, dipole = energy_and_dipole(positions, atoms.numbers)
    (gradient,) = torch.autograd.grad(energy, positions, retain_graph=True)
    rows = [torch.autograd.grad(m, positions, retain_graph=True)[0] for m in dipole]
    atoms.calc = SinglePointCalculator(
        atoms, energy=float(energy.detach()), forces=-gradient.numpy()
    )
    atoms.arrays["REF_born"] = torch.stack(rows, 1).reshape(-1, 9).numpy()
    atoms.info["REF_dipole"] = dipole.detach().numpy()
    atoms.info["REF_alpha"] = float(sum(ALPHA[int(z)] for z in atoms.numbers))
    return atoms


def teach(path, *, epochs, frames=1600, channels=32, minutes=0.0, level="uiu", **more):
    """Train on energies and forces alone; R² of Born charges and dipoles of 40 other clusters."""
    from lrcalc.evaluator import Evaluator
    from lrcalc.model_errors import errors
    from lrcalc.training.data import make_frames
    from lrcalc.training.fit import fit
    from lrcalc.training.settings import TrainingSettings

    structures = [labelled_cluster(seed) for seed in range(frames + 20)]
    made = make_frames(structures, "formula", 4.5)
    config = {"level": level, "charges": "atomic", "cutoff": 4.5}
    config |= {"channels": channels, "hidden": 2 * channels}
    settings = TrainingSettings(epochs=epochs, batch_size=4, learning_rate=5e-3,
                                weight_decay=1e-3, max_minutes=minutes, **more)  # fmt: skip
    fit(made[20:], made[:20], config, settings, path)
    test = [labelled_cluster(seed) for seed in range(10_000, 10_040)]
    evaluator = Evaluator(str(path))
    names = ["forces", "born_effective_charges", "dipole"]
    names += ["polarizability"] if "i" in level else []
    found = [evaluator([a], names)[0] for a in test]
    pairs = {
        "forces": (np.concatenate([r["forces"] for r in found]),
                   np.concatenate([a.get_forces() for a in test])),
        "born": (np.concatenate([r["born_effective_charges"].reshape(-1, 9) for r in found]),
                 np.concatenate([a.arrays["REF_born"] for a in test])),
        "dipole": (np.array([r["dipole"] for r in found]),
                   np.array([a.info["REF_dipole"] for a in test])),
    }  # fmt: skip
    if "i" in level:
        alpha = np.array([r["polarizability"].trace() / 3 for r in found])
        pairs["polarizability"] = (alpha, np.array([a.info["REF_alpha"] for a in test]))
    return {name: errors(*pair)._asdict() for name, pair in pairs.items()}
