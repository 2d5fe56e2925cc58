"""What a model of phases calls unknown: structures that are no crystal, and crystals that are.

    python benchmarks/phase_unknown.py --model metals

Gas, packings, water, thin films; defects of `phase_frames.py`; fcc, bcc and hcp under noise. None
of it is made by what the model learned from (`lrcalc.information.phase_strangers`).
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter

import numpy as np
import phase_frames
from ase import Atoms
from ase.build import bcc110, fcc111, hcp0001
from ase.io import read
from scipy.spatial import cKDTree

from lrcalc.information.phase_labels import label
from lrcalc.information.phases import PhaseModel, load
from lrcalc.zoo import structure_file

FILMS = {
    "fcc111": (fcc111, "Cu", 2.55, 2.28), "hcp0001": (hcp0001, "Mg", 3.2, 2.86),
    "bcc110": (bcc110, "Fe", 2.48, 2.27),
}  # fmt: skip
"""Builder, metal, distance of neighbours and length, Å."""


def gas(number: int, rng: np.random.Generator) -> Atoms:
    """Atoms anywhere in a cube, one in a unit of volume."""
    edge = number ** (1 / 3)
    return Atoms(f"Cu{number}", edge * rng.random((number, 3)), cell=3 * [edge], pbc=True)


def packing(number: int, filling: float, rng: np.random.Generator) -> Atoms:
    """Spheres pushed apart with inertia until none overlaps by more than 2 % of its radius."""
    atoms = gas(number, rng)
    edge, diameter = number ** (1 / 3), (6 * filling / np.pi) ** (1 / 3)
    x, velocity = atoms.positions, np.zeros_like(atoms.positions)
    for _ in range(400):
        found = cKDTree(x % edge, boxsize=edge).query_pairs(diameter, output_type="ndarray")
        if not len(found):
            break
        apart = x[found[:, 0]] - x[found[:, 1]]
        apart -= edge * np.rint(apart / edge)
        distance = np.linalg.norm(apart, axis=1)
        if (diameter - distance).max() < 0.02:
            break
        push, force = ((diameter - distance) / distance)[:, None] * apart, np.zeros_like(x)
        np.add.at(force, found[:, 0], push)
        np.add.at(force, found[:, 1], -push)
        velocity = 0.8 * velocity + 0.3 * force
        x = x + velocity
    atoms.positions = x
    return atoms


def film(kind: str, layers: int, rng: np.random.Generator) -> tuple[Atoms, float]:
    """Make a film in vacuum with 5 % noise, and its length in Å."""
    build, metal, near, length = FILMS[kind]
    atoms = build(metal, (6, 6, layers), vacuum=8.0)
    atoms.pbc = [True, True, False]
    atoms.positions += 0.05 * near * rng.normal(size=atoms.positions.shape)
    return atoms, length


def tell(name: str, words: np.ndarray) -> None:
    """Print the four names that come most often, %."""
    shown = ", ".join(
        f"{word} {100 * n / len(words):.1f}" for word, n in Counter(words.tolist()).most_common(4)
    )
    print(f"  {name:28}{len(words):6}  {shown}", flush=True)


def judge(model: PhaseModel, rng: np.random.Generator) -> None:
    def words(atoms: Atoms, length: float | None = None) -> np.ndarray:
        return np.array(label(model, atoms, length=length).phase)

    print("structure, atoms, names in %")
    tell("gas", words(gas(2000, rng)))
    for filling in (0.64, 0.55):
        tell(f"packing, {filling:g} filled", words(packing(800, filling, rng)))
    tell("water, 64 molecules", words(read(structure_file("water64")).repeat(2)))
    films = [("fcc111", n) for n in (3, 4, 6, 10, 20)]
    films += [("hcp0001", 4), ("hcp0001", 12), ("bcc110", 4)]
    for kind, layers in films:
        atoms, length = film(kind, layers, rng)
        found = words(atoms, length)
        tell(f"{kind}, {layers} layers", found)
        height = np.abs(atoms.positions[:, 2] - atoms.positions[:, 2].mean())
        if layers >= 10:
            tell("    inner half", found[height < height.max() / 2])
            tell("    outermost layers", found[height > height.max() - 0.7])
    for name, build in phase_frames.DEFECTS.items():
        defect = build(3)
        found = words(defect.atoms)
        tell(f"{name}, within 1", found[defect.away <= 1.01])
        tell(f"{name}, beyond 2", found[defect.away > 2.0])
    for phase in ("fcc", "bcc", "hcp"):
        for noise in (0.05, 0.1, 0.15, 0.2):
            atoms = phase_frames.noisy(phase_frames.crystal(phase), noise, 321)
            tell(f"{phase}, noise {100 * noise:g} %", words(atoms))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="metals")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of structures that are mostly unknown
    judge(load(given.model), np.random.default_rng(777))


if __name__ == "__main__":
    main()
