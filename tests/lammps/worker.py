"""Evaluates cases on the ranks of one mpirun: ``worker.py CASES.json RESULTS.npz``.

A case is a structure file, the words behind `pair_style lrcalc`, and which sum is taken.
"""

import json
import sys

import numpy as np
from ase.io import read

from lrcalc.lammps.host import start


def box_of(atoms, low):
    cell = atoms.cell.array
    (a, _, _), (xy, b, _), (xz, yz, c) = cell
    return (
        f"region box prism {low[0]:.17g} {low[0] + a:.17g} {low[1]:.17g} {low[1] + b:.17g} "
        f"{low[2]:.17g} {low[2] + c:.17g} {xy:.17g} {xz:.17g} {yz:.17g}"
    )


def commands(case, atoms, low, types):
    symbols = " ".join(types)
    return "\n".join([
        "units metal", "atom_style atomic",
        "boundary " + " ".join("p" if p else case.get("open", "f") for p in atoms.pbc),
        *case.get("before", []),
        box_of(atoms, low), f"create_box {len(types)} box",
        *(f"mass {k + 1} 10.0" for k in range(len(types))),
        f"pair_style lrcalc {case['style']}", f"pair_coeff * * {symbols}",
        "neighbor 0.5 bin", "compute lr all pair lrcalc", "compute each all pe/atom",
        "compute sum all reduce sum c_each",
        "thermo_style custom step pe pxx pyy pzz pyz pxz pxy c_lr[1] c_sum",
        "thermo_modify norm no",
        *case.get("commands", []),
    ])  # fmt: skip


def evaluate(case):
    atoms = read(case["structure"])
    types = sorted(set(atoms.get_chemical_symbols()))
    low = np.array(case.get("low", [0.0, 0.0, 0.0]))
    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(commands(case, atoms, low, types))
    if case.get("sum"):
        lmp.lrcalc.potential.ewald.method = case["sum"]
    fractional = np.linalg.solve(atoms.cell.array.T, (atoms.positions - low).T).T
    images = np.where(atoms.pbc, np.floor(fractional), 0).astype(int)
    wrapped = atoms.positions - images @ atoms.cell.array
    flags = [lmp.encode_image_flags(*row) for row in images.tolist()]
    numbers = [types.index(s) + 1 for s in atoms.get_chemical_symbols()]
    n = len(atoms)
    lmp.create_atoms(n, list(range(1, n + 1)), numbers, wrapped.ravel(), image=flags)
    assert lmp.get_natoms() == n
    lmp.command("run 0 post no")
    own = lmp.extract_global("nlocal")
    world = lmp.lrcalc.mpi
    rows = [
        np.array(lmp.numpy.extract_atom("id", nelem=own)).reshape(own),
        np.array(lmp.numpy.extract_atom("f", nelem=own, dim=3)).reshape(own, 3),
        np.array(lmp.numpy.extract_compute("each", 1, 1))[:own].reshape(own),
    ]
    ids, forces, each = (np.concatenate(x) for x in zip(*world.allgather(rows), strict=True))
    pressure = np.array([lmp.get_thermo(k) for k in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")])
    order = np.argsort(ids)
    result = {
        "energy": lmp.get_thermo("pe"),
        "forces": forces[order],
        "each": each[order],
        "stress": -pressure / 1.6021765e6,
        "moments": np.array(lmp.numpy.extract_compute("lr", 0, 1)),
        "owned": np.array(world.allgather(own)),
    }
    lmp.close()
    return result, world.rank


def main(cases, results):
    found = {}
    with open(cases) as file:
        for name, case in json.load(file).items():
            result, rank = evaluate(case)
            found |= {f"{name}/{key}": value for key, value in result.items()}
    if rank == 0:
        np.savez(results, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
