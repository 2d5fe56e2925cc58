"""What a run of i-PI starts from: masses, fixed atoms and velocities of a structure, or others."""

from collections.abc import Iterable
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from ase import Atoms

from lrcalc.ipi.kinds import indent
from lrcalc.structures import describe_intake, fixed_atoms

VELOCITIES = ("structure", "thermal")
"""Where the first velocities come from."""

PER_LINE = 8
"""Numbers in a line of the input."""


class Start(NamedTuple):
    """How a run starts.

    `fixed` are the indices of the atoms that do not move; `moving` says that the velocities of the
    structure are used; `fixcom` that i-PI holds the centre of mass, which it cannot where atoms
    are fixed; `notes` what to tell the user.
    """

    fixed: tuple[int, ...]
    moving: bool
    fixcom: bool
    notes: tuple[str, ...]


def plan_start(
    atoms: Atoms,
    *,
    ensemble: str,
    beads: int,
    velocities: str | None = None,
    restarted: bool = False,
) -> Start:
    """Decide what of a structure a run of i-PI starts from.

    Parameters
    ----------
    atoms : Atoms
    ensemble : str
        "nve", "nvt" or "npt".
    beads : int
    velocities : str, optional
        One of `VELOCITIES`; by default those of the structure, where it has some and there is one
        bead.
    restarted : bool, optional
        Positions, masses and velocities are those of another run.

    Raises
    ------
    ValueError
        For a constraint that is not of whole atoms, no atom that is free, fixed atoms in a cell
        that changes, or velocities of the structure where it has none or there are several beads.
    """
    fixed = np.flatnonzero(fixed_atoms(atoms, where="i-PI"))
    if len(fixed) == len(atoms):
        raise ValueError("`structure` has no atom that is free to move: all of them are fixed")
    if len(fixed) and ensemble == "npt":
        raise ValueError(
            f"`structure` has {len(fixed)} fixed atoms, but at constant pressure i-PI moves all"
            " atoms with the cell: use another ensemble, or remove the constraint"
        )
    momenta = atoms.arrays.get("momenta", np.zeros((len(atoms), 3)))
    there = bool(np.any(momenta))
    if velocities is not None and velocities not in VELOCITIES:
        raise ValueError(f"`velocities` is {velocities!r}, but the choice is structure or thermal")
    if velocities is not None and restarted:
        raise ValueError("`velocities` has no effect where they come from `restart`: leave it out")
    if velocities == "structure" and not there:
        raise ValueError("`velocities` are to be those of `structure`, but it has none")
    if velocities == "structure" and beads > 1:
        raise ValueError(
            f"`velocities` are to be those of `structure`, but {beads} beads need velocities of"
            " their own: leave it out for thermal ones, or use one bead"
        )
    moving = there and beads == 1 and velocities != "thermal" and not restarted
    drift = _drift(momenta, atoms.get_masses()) if moving else 0.0
    keeps_drift = drift > 1e-6 and ensemble == "nve"
    fixcom = not len(fixed) and not keeps_drift
    still = atoms.copy()
    still.arrays.pop("momenta", None)
    return Start(
        fixed=tuple(int(i) for i in fixed),
        moving=moving,
        fixcom=fixcom,
        notes=(
            *describe_intake(still),
            *_notes(atoms, there, moving, restarted, beads, drift if fixcom else 0.0),
        ),
    )


def _drift(momenta: np.ndarray, masses: np.ndarray) -> float:
    """Part of the kinetic energy that is of the centre of mass."""
    whole = float(np.sum(momenta**2 / masses[:, None]))
    return float(np.sum(momenta.sum(axis=0) ** 2) / masses.sum() / whole)


def _notes(
    atoms: Atoms, there: bool, moving: bool, restarted: bool, beads: int, removed: float
) -> Iterable[str]:
    if moving:
        yield f"starts with the velocities of the structure ({atoms.get_temperature():.0f} K)"
        if removed > 1e-6:
            yield (
                f"i-PI takes the motion of the centre of mass out of them ({100 * removed:.2g} %"
                " of their kinetic energy)"
            )
    elif there and restarted:
        yield "the velocities of the structure are not used: those of the other run are"
    elif there and beads > 1:
        yield f"the velocities of the structure are not used: thermal ones for {beads} beads"
    elif there:
        yield "the velocities of the structure are not used: thermal ones"


def restart_block(restart: str, beads: int) -> str:
    """``<initialize>`` from a RESTART or checkpoint."""
    return (
        f"<initialize nbeads='{beads}'>\n"
        "  <!-- positions, cell, masses and velocities of another run -->\n"
        f"  <file mode='chk'> {escape(restart)} </file>\n"
        "</initialize>"
    )


def start_block(
    atoms: Atoms, structure_file: str, velocities_file: str | None, beads: int, temperature: float
) -> str:
    """``<initialize>`` from a structure file.

    Parameters
    ----------
    atoms : Atoms
        As in the file; its masses are written where it has its own.
    velocities_file : str or None
        None for velocities at `temperature`, K.
    """
    lines = [f"<file mode='xyz'> {escape(structure_file)} </file>"]
    if atoms.has("masses"):
        masses = [f"{mass:.10g}" for mass in atoms.get_masses()]
        lines.append(f"<masses mode='manual' units='dalton'>\n{_array(masses)}\n</masses>")
    if velocities_file is None:
        lines.append(f"<velocities mode='thermal' units='kelvin'> {temperature:g} </velocities>")
    else:
        lines.append("<!-- those of the structure -->")
        lines.append(f"<velocities mode='xyz'> {escape(velocities_file)} </velocities>")
    return f"<initialize nbeads='{beads}'>\n{indent(chr(10).join(lines), 2)}\n</initialize>"


def constraint_block(start: Start) -> str:
    """``<fixcom>`` and ``<fixatoms>`` of a motion."""
    text = f"<fixcom> {start.fixcom} </fixcom>"
    if start.fixed:
        text += f"\n<fixatoms>\n{_array([str(i) for i in start.fixed])}\n</fixatoms>"
    return text


def _array(words: list[str]) -> str:
    """Array of i-PI, a few numbers a line."""
    lines = [", ".join(words[k : k + PER_LINE]) for k in range(0, len(words), PER_LINE)]
    return "  [ " + ",\n    ".join(lines) + " ]"
