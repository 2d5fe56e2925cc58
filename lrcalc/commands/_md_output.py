"""What `lrcalc md` writes of a step: which properties, a row of the table, the picture."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS = ("step", "time_fs", "temperature_K", "enthalpy_eV", "conserved_eV", "volume_A3",
           "Mx_eA", "My_eA", "Mz_eA", "Ex_V/A", "Ey_V/A", "Ez_V/A")  # fmt: skip
"""Of the table; at constant pressure also "pressure_GPa"."""


def columns(ensemble: str) -> tuple[str, ...]:
    """Name the columns of the table."""
    return (*COLUMNS, "pressure_GPa") if ensemble == "npt" else COLUMNS


def wanted(simulation: Any, step: int, args: argparse.Namespace) -> list[str]:
    """Properties beside energy and forces that the frame of this step holds."""
    return properties_of(step, args, dipole=has_dipole(simulation))


def properties_of(step: int, args: argparse.Namespace, *, dipole: bool) -> list[str]:
    """Properties beside energy and forces of the frame of a step, where there is a dipole or not.

    Not the current: it needs the velocities after the forces.
    """
    if step % args.every:
        return []
    strides = {"born_effective_charges": args.born_every,
               "polarizability": args.polarizability_every}  # fmt: skip
    names = [name for name, stride in strides.items() if due(step, args.every, stride)]
    return ["dipole", *names] if dipole else names


def due(step: int, every: int, stride: int) -> bool:
    """Whether the frame of a step, one ``every`` so many steps, is one of each ``stride``-th."""
    return bool(stride) and step % (every * stride) == 0


def has_dipole(simulation: Any) -> bool:
    """Whether there is a dipole to record."""
    from lrcalc.models.requests import records_dipole

    return records_dipole(simulation.calculator.evaluator.potential, simulation.atoms)


def table_row(simulation: Any) -> dict[str, float]:
    """Column → value of this moment; NaN where there is no dipole."""
    atoms = simulation.atoms
    energy = atoms.get_potential_energy()
    results = simulation.calculator.results
    values = [
        simulation.steps, simulation.time, simulation.temperature, energy, simulation.conserved(),
        abs(float(np.linalg.det(atoms.cell))), *results.get("dipole", np.full(3, np.nan)),
        *results.get("electric_field", np.zeros(3)),
    ]  # fmt: skip
    names = columns(simulation.settings.ensemble)
    if "pressure_GPa" in names:
        values.append(simulation.pressure)
    return {name: float(value) for name, value in zip(names, values, strict=True)}


def append_row(table: Path, row: Mapping[str, float]) -> None:
    """Write a row, to the last digit."""
    with table.open("a") as file:
        file.write(",".join(f"{value:.15g}" for value in row.values()) + "\n")


def plot(tables: Sequence[Path], picture: Path, n_atoms: int) -> None:
    """Draw conserved quantity, temperature and dipole against time; in npt volume and pressure.

    Of several replicas all curves, thinly. The pressure of a moment fluctuates by much more than
    its mean, which is drawn as it settles.
    """
    from matplotlib.figure import Figure

    runs = [
        np.atleast_1d(np.genfromtxt(table, delimiter=",", names=True, deletechars=""))
        for table in tables
    ]
    npt = "pressure_GPa" in (runs[0].dtype.names or ())
    figure = Figure(figsize=(7, 9 if npt else 6), layout="constrained")
    axes = list(figure.subplots(5 if npt else 3, 1, sharex=True))
    several = len(runs) > 1
    look: dict[str, Any] = {"linewidth": 0.7, "alpha": 0.6} if several else {}
    for k, data in enumerate(runs):
        time = data["time_fs"] / 1e3
        conserved = data["conserved_eV"]
        axes[0].plot(time, 1e3 * (conserved - conserved[0]) / n_atoms, **look)
        axes[1].plot(time, data["temperature_K"], **look)
        for axis, colour in zip("xyz", ("C0", "C1", "C2"), strict=True):
            label = None if k else f"$M_{axis}$"
            axes[2].plot(time, data[f"M{axis}_eA"], colour, label=label, **look)
        if npt:
            axes[3].plot(time, data["volume_A3"], **look)
            pressure = data["pressure_GPa"]
            mean = np.cumsum(pressure) / np.arange(1, len(pressure) + 1)
            if not several:
                axes[4].plot(time, pressure, alpha=0.5)
            axes[4].plot(time, mean, "black", label=None if k else "mean so far", **look)
    axes[0].set(ylabel="conserved\n(meV/atom)")
    axes[1].set(ylabel="temperature (K)")
    axes[2].set(ylabel="dipole (e Å)")
    axes[2].legend(frameon=False, ncols=3)
    if npt:
        axes[3].set(ylabel="volume (Å³)")
        axes[4].set(ylabel="pressure (GPa)")
        axes[4].legend(frameon=False)
    axes[-1].set(xlabel="time (ps)")
    figure.align_ylabels(axes)
    figure.savefig(picture, dpi=120)
