"""Write tests/reference/quests.npz: numbers of `quests` itself (pip install quests==2026.2.22).

python tests/information/make_quests.py        # in an environment that has quests; minutes
"""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read

ROOT = Path(__file__).parents[2]


def structures():
    """Triclinic, small and open structures, and part of the bundled water."""
    rng = np.random.default_rng(0)
    salt = bulk("NaCl", "rocksalt", a=5.64) * (3, 3, 3)
    small = bulk("Cu", cubic=True)
    found = {
        "water": read(ROOT / "lrcalc" / "zoo" / "water64.xyz"),
        "salt": salt, "small": small, "molecule": molecule("C2H6CHOH"),
    }  # fmt: skip
    for atoms in found.values():
        atoms.positions += 0.05 * rng.normal(size=(len(atoms), 3))
        atoms.positions = atoms.positions.round(6)
        atoms.set_cell(np.asarray(atoms.cell).round(6))
    return found


def main():
    from quests.descriptor import get_descriptors, get_descriptors_multicomponent
    from quests.entropy import delta_entropy, diversity, perfect_entropy

    out = {}
    for name, atoms in structures().items():
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        for part in ("numbers", "positions"):
            out[f"{name}_{part}"] = getattr(bare, part)
        out[f"{name}_cell"], out[f"{name}_pbc"] = np.asarray(bare.cell), bare.pbc
        out[f"{name}_published"] = get_descriptors([bare])[:60]
        out[f"{name}_few"] = get_descriptors([bare], k=6, cutoff=3.5)[:60]
        if name in ("water", "salt"):
            out[f"{name}_components"] = get_descriptors_multicomponent([bare], k=8, cutoff=4.0)[:60]
    x, y = out["water_published"][:45], out["water_published"][30:]
    for h in (0.015, 0.07, 0.3):
        out[f"entropy_{h}"] = perfect_entropy(x, h)
        out[f"diversity_{h}"] = diversity(x, h)
        out[f"delta_{h}"] = delta_entropy(y, x, h)
    np.savez_compressed(ROOT / "tests" / "reference" / "quests.npz", **out)


if __name__ == "__main__":
    main()
