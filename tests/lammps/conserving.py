"""Runs at constant energy or enthalpy with two timesteps: ``conserving.py RESULTS.npz``."""

import sys

import numpy as np

from lrcalc.lammps.host import start
from lrcalc.structures import read_structure
from lrcalc.zoo import structure_file

INPUT = """units metal
atom_style atomic
atom_modify map yes
processors 2 1 1
region box block 0 {a} 0 {a} 0 {a}
create_box 2 box
mass 1 1.008
mass 2 15.999
pair_style lrcalc water dtype float64 {field}
pair_coeff * * H O
neighbor 0.5 bin
neigh_modify every 1 delay 0 check no
thermo_modify norm no
timestep {step}
"""

CASES = {
    "nve": ("field 0.05 0.0 -0.1", "fix move all nve"),
    "nph": ("accuracy 1e-7", "fix move all nph aniso 0.0 0.0 0.1"),
}
"""Words of the pair style, and what moves the atoms."""

STEPS = (0.4, 0.2)
SAMPLE, SAMPLES = 0.8, 10
"""fs, and how many."""


def run(atoms, velocities, field, move, step):
    """Energies that should be conserved, and which atoms this rank owned at start and end."""
    lmp = start(["-log", "none", "-screen", "none"])
    lmp.commands_string(INPUT.format(a=atoms.cell[0, 0], field=field, step=step / 1000.0))
    n = len(atoms)
    kinds = np.where(atoms.numbers == 1, 1, 2)
    lmp.create_atoms(n, np.arange(1, n + 1), kinds, atoms.positions.ravel(), velocities.ravel())
    lmp.command(move)
    lmp.command("run 0 post no")
    energies, owners = [lmp.get_thermo("econserve")], [owned(lmp)]
    for _ in range(SAMPLES):
        lmp.command(f"run {round(SAMPLE / step)} pre no post no")
        energies.append(lmp.get_thermo("econserve"))
    owners.append(owned(lmp))
    rank = lmp.lrcalc.mpi.rank
    lmp.close()
    return energies, owners, rank


def owned(lmp):
    """IDs of this rank's atoms, as a mask."""
    count = lmp.extract_global("nlocal")
    mask = np.zeros(int(lmp.get_natoms()) + 1, bool)
    mask[np.array(lmp.numpy.extract_atom("id", nelem=count))] = True
    return mask


def main(results):
    atoms = read_structure(structure_file("water64"))
    atoms.wrap()
    rng = np.random.default_rng(5)
    speed = np.sqrt(8.617333e-5 * 350.0 / (atoms.get_masses() * 1.0364269e-4))
    velocities = speed[:, None] * rng.normal(size=(len(atoms), 3))
    velocities[:, 0] += 120.0  # Å/ps: all together, so that many cross the boundary of ranks
    found = {}
    for name, (field, move) in CASES.items():
        for step in STEPS:
            energies, owners, rank = run(atoms, velocities, field, move, step)
            found[f"{name}/{step}"] = energies
            found[f"{name}/{step}/moved"] = (owners[0] != owners[1]).sum()
    if rank == 0:
        np.savez(results, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
