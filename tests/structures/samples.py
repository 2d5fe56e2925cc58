"""A structure that says all that a structure file can say, and files of it."""

import ase.db
import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms
from ase.io import write
from ase.units import fs


def ion(*, turned=True):
    """H3O+ and two waters in a triclinic cell that i-PI has to turn: D, a fixed atom, velocities.

    The centre of mass of the velocities moves, and nothing has a round value.
    """
    hydronium = Atoms("OH3", [[0, 0, 0], [0.95, 0, 0.23], [-0.47, 0.82, 0.23], [-0.47, -0.82, 0.2]])
    atoms = hydronium + Atoms("OH2", [[2.5, 0.1, 0.6], [3.1, 0.8, 0.5], [3.0, -0.7, 0.4]])
    atoms += Atoms("OH2", [[-1.3, 2.2, 0.7], [-1.0, 2.9, 0.1], [-2.2, 2.1, 0.5]])
    atoms.set_cell([[9.0, 0, 0], [0.7, 9.3, 0], [-0.4, 0.5, 9.1]])
    atoms.pbc = True
    atoms.info["charge"] = 1.0
    return dressed(atoms, turned=turned)


def dressed(atoms, *, turned=True):
    """The same with three D and a heavy O, atom 4 fixed, velocities, in a turned cell."""
    masses = atoms.get_masses()
    masses[[1, 5, 8]] = 2.014
    masses[0] = 17.999
    atoms.set_masses(masses)
    rng = np.random.default_rng(5)
    velocities = rng.normal(size=(len(atoms), 3)) * 0.01 / np.sqrt(masses)[:, None]
    velocities[4] = 0.0
    atoms.set_velocities(velocities / fs)
    if turned:
        atoms.rotate(33, (1, 2, -1), rotate_cell=True)
    atoms.set_constraint(FixAtoms([4]))
    return atoms


COLUMNS = ["symbols", "positions", "masses", "momenta", "move_mask"]


def saved(path, atoms):
    columns = [name for name in COLUMNS if name not in ("masses", "momenta") or atoms.has(name)]
    columns = columns if atoms.constraints else columns[:-1]
    write(path, atoms, format="extxyz", columns=columns)
    return path


def saved_as(path, atoms):
    """In the format of the path's ending: extended xyz (packed or not), traj, json, db."""
    if ".xyz" in path.name:
        return saved(path, atoms)
    if path.suffix in (".json", ".db"):
        with ase.db.connect(path) as rows:
            rows.write(atoms, total_charge=int(atoms.info["charge"]))
    else:
        atoms.write(path)
    return path
