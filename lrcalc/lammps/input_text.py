"""The text of a LAMMPS input, part by part; every part says what it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lrcalc.lammps.kinds import Kind

BAR = 1e4
"""bar in a GPa: metal units have pressures in bar."""


class Output(NamedTuple):
    """How often things are written, in steps; 0: never.

    `current`: Σ Born charges · velocities beside the dipole, three times the work of a step.
    """

    stride: int = 4
    dump: int = 100
    restart: int = 1000
    thermo: int = 100
    current: bool = False


class Run(NamedTuple):
    """What a text is made of. Times in fs, temperature in K, pressure in GPa."""

    kind: str
    plan: Kind
    steps: int
    timestep: float
    temperature: float
    pressure: float
    tau: float
    barostat_tau: float
    seed: int
    style: str
    """Words of `pair_style`."""
    elements: tuple[str, ...]
    pbc: tuple[bool, bool, bool]
    tilted: bool
    fixed: tuple[int, ...]
    """Indices from 0."""
    draws: bool
    """Velocities are drawn."""
    rests: bool
    """The centre of mass stays at rest, and its motion is no degree of freedom."""
    dipole: bool
    """There is a dipole to record."""
    output: Output
    name: str
    ranks: int
    rotation: NDArray[np.float64]


def document(run: Run) -> str:
    """Return the whole input."""
    parts = [
        _head(run), _system(run), _potential(run),
        *([_held(run)] if run.fixed else []),
        *([_dynamics(run)] if run.plan.ensemble else []),
        _output(run), _run(run),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(run: Run) -> str:
    command = f"mpirun -n {run.ranks} lrcalc lammps -in in.lmp"
    lines = [
        f"# {run.kind}: {run.plan.about}. Written by `lrcalc lammps-input`.",
        f"# Run it here: {command}",
    ]
    if run.plan.ensemble:
        newest = f"{run.name}.restart.1, .2 or {run.name}.restart, the newest"
        lines.append(f"# Go on with it: {command} -var restart FILE   ({newest})")
    if not np.allclose(run.rotation, np.eye(3)):
        rows = "; ".join(" ".join(f"{x:.6f}" for x in row) for row in run.rotation)
        lines += [
            "# The structure was turned into LAMMPS' frame (a along x, b in the xy plane), and",
            "# velocities and fields with it. All vectors here and in the output are in that",
            f"# frame: R times the vector of the structure file, R = {rows}",
        ]
    return "\n".join(lines)


def _system(run: Run) -> str:
    boundary = " ".join("p" if periodic else "s" for periodic in run.pbc)
    lines = [
        "units           metal            # A, ps, eV, bar",
        "atom_style      atomic",
        "newton          on               # the charges that pairs exchange need it",
        f"boundary        {boundary}",
    ]
    if run.plan.ensemble:
        lines += [
            "variable        resumed equal is_defined(variable,restart)",
            f'if "${{resumed}} == 0" then "read_data {run.name}.data" "variable append string no" '
            'else "read_restart ${restart}" "variable append string yes"',
        ]
    else:
        lines.append(f"read_data       {run.name}.data")
    return "\n".join(lines)


def _potential(run: Run) -> str:
    shared = ["balance         1.1 shift xyz 10 1.05   # as many atoms on each rank"]
    return "\n".join([
        f"pair_style      lrcalc {run.style}",
        f"pair_coeff      * * {' '.join(run.elements)}        # element of each atom type",
        "neighbor        1.0 bin",
        "neigh_modify    every 1 delay 0 check yes",
        "compute         lr all pair lrcalc   # 1-3 dipole, 4-6 field, 7 energy in the field",
        *(shared if run.ranks > 1 else []),
    ])  # fmt: skip


def _held(run: Run) -> str:
    """Hold the fixed atoms of the structure file."""
    return (
        f"group           held id {' '.join(ranges(run.fixed))}\n"
        "group           mobile subtract all held\n"
        "fix             hold held setforce 0.0 0.0 0.0   # fixed atoms of the structure file"
    )


def _dynamics(run: Run) -> str:
    group = "mobile" if run.fixed else "all"
    lines = [f"timestep        {run.timestep * 1e-3:.10g}           # ps"]
    if not run.rests:
        lines += [
            f"compute         warm {group} temp",
            "compute_modify  warm extra/dof 0   # the whole is not held at rest, and counts",
        ]
    if run.draws:
        how = "mom yes" if run.rests else "mom no temp warm"
        lines.append(
            f'if "${{resumed}} == 0" then "velocity {group} create {run.temperature:g} '
            f'{run.seed} {how}"'
        )
    if run.plan.ensemble == "npt":
        lines += [
            "# Nose-Hoover chains on atoms and cell (Martyna, Tobias, Klein); times in ps, bar",
            f"fix             move {group} npt temp {run.temperature:g} {run.temperature:g} "
            f"{run.tau * 1e-3:g} iso {run.pressure * BAR:.10g} {run.pressure * BAR:.10g} "
            f"{run.barostat_tau * 1e-3:g}",
        ]
    else:
        lines.append(f"fix             move {group} nve")
    if run.plan.ensemble == "nvt":
        lines += [
            "# velocity rescaling (Bussi, Donadio, Parrinello): canonical, hardly disturbs spectra",
            f"fix             heat {group} temp/csvr {run.temperature:g} {run.temperature:g} "
            f"{run.tau * 1e-3:g} {run.seed}",
        ]
    if not run.rests and run.plan.ensemble != "nve":
        # one of its own: LAMMPS would print the temperature from before it was rescaled
        thermostat = "heat" if run.plan.ensemble == "nvt" else "move"
        lines.append(f"compute_modify  {thermostat}_temp extra/dof 0")
    return "\n".join(lines)


def _output(run: Run) -> str:
    out, name = run.output, run.name
    columns = "step time temp pe ke etotal econserve press vol c_lr[1] c_lr[2] c_lr[3]"
    if not run.plan.ensemble:
        columns = "step pe fnorm fmax press vol c_lr[1] c_lr[2] c_lr[3]"
    lines = [
        f"thermo_style    custom {columns}",
        "thermo_modify   flush yes" + " temp warm" * bool(run.plan.ensemble and not run.rests),
        f"thermo          {out.thermo}",
    ]
    if not run.plan.ensemble:
        lines += [f"dump            last all custom {max(run.steps, 1)} {name}.dump "
                  "id type element mass xu yu zu", _dump_modify("last", run)]  # fmt: skip
        return "\n".join(lines)
    if run.dipole and out.stride:
        more = " current" * out.current + " temp warm" * (not run.rests)
        lines += [
            "# dipole, field, temperature: `lrcalc ir`, `lrcalc dielectric` read it as it is",
            f"fix             series all lrcalc {out.stride} {name}.series{more}",
        ]
    if out.dump:
        lines += [
            "# unwrapped positions and velocities: `lrcalc vdos`, `lrcalc msd` read it as it is",
            f"dump            traj all custom {out.dump} {name}.dump "
            "id type element mass xu yu zu vx vy vz",
            _dump_modify("traj", run),
        ]
    if out.restart:
        lines.append(f"restart         {out.restart} {name}.restart.1 {name}.restart.2")
    return "\n".join(lines)


def _dump_modify(dump: str, run: Run) -> str:
    append = " append ${append}" if run.plan.ensemble else ""
    return (
        f"dump_modify     {dump} sort id units yes time yes{append} format float %.12g element "
        + " ".join(run.elements)
    )


def _run(run: Run) -> str:
    name = run.name
    if run.plan.ensemble:
        return (
            f"run             {run.steps} upto          # the total, resumed or not\n"
            f"write_restart   {name}.restart\n"
            f"write_data      {name}.end.data nocoeff"
        )
    lines = []
    if run.plan.moves_cell:
        shape = "tri" if run.tilted else "aniso"
        lines.append(
            f"fix             box all box/relax {shape} {run.pressure * BAR:.10g} vmax 0.001"
        )
    lines += [
        "min_style       cg",
        "# energy (relative) and largest force (eV/A) at which it ends; most steps and evaluations",
        f"min_modify      norm max\nminimize        0.0 1.0e-4 {run.steps} {10 * run.steps}",
        f"write_data      {name}.end.data nocoeff",
    ]
    return "\n".join(lines)


def ranges(indices: Sequence[int]) -> list[str]:
    """Ids of LAMMPS for indices from 0: ``1:6 10``."""
    found = np.asarray(sorted(indices)) + 1
    parts = np.split(found, np.flatnonzero(np.diff(found) != 1) + 1)
    return [f"{p[0]}:{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts]
