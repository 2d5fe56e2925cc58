"""Born effective charges to and from the orders and files of other programs.

Ours is ``born[i, a, b] = ∂M_a/∂r_ib``: atom, field (dipole) component, displacement, in e.

========================  ==========================================================
phonopy BORN, VASP, QE    (field, displacement), as ours; QE: "Effective Charges E-U"
i-PI ``BEC``              (3N, 3): row = atom and displacement, column = dipole
LES / MACE-LES            (displacement, dipole): the transpose
QE "U-E"                  (displacement, field): the transpose
========================  ==========================================================

Symmetry cannot tell a transposed tensor of a crystal (see :mod:`lrcalc.analysis.index_order`), so
the order is always named, never guessed.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from lrcalc.analysis.output import write_atomic

ORDERS = {
    "lrcalc": False,
    "phonopy": False,
    "vasp": False,
    "qe": False,
    "qe-u-e": True,
    "mace-les": True,
    "les": True,
}
"""Known (N, 3, 3) orders: True where the displacement comes first."""


def _check(born: np.ndarray, name: str = "born") -> np.ndarray:
    array = np.asarray(born, dtype=float)
    if array.ndim == 2 and array.shape[1] == 9:
        array = array.reshape(-1, 3, 3)
    if array.ndim != 3 or array.shape[1:] != (3, 3):
        raise ValueError(f"`{name}` has shape {array.shape} but must be (N, 3, 3) or (N, 9)")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` holds NaN or infinity")
    return array


def reorder(born: np.ndarray, source: str, target: str = "lrcalc") -> np.ndarray:
    """(N, 3, 3) Born charges from one named order to another; names in :data:`ORDERS`."""
    for name in (source, target):
        if name not in ORDERS:
            raise ValueError(f"order {name!r} is unknown; known: {', '.join(ORDERS)}, and i-PI's")
    array = _check(born)
    return array.transpose(0, 2, 1).copy() if ORDERS[source] != ORDERS[target] else array.copy()


def to_ipi(born: np.ndarray) -> np.ndarray:
    """i-PI's BEC (3N, 3) from ours."""
    return _check(born).transpose(0, 2, 1).reshape(-1, 3)


def from_ipi(bec: np.ndarray) -> np.ndarray:
    """Ours from i-PI's BEC, (3N, 3) or flat."""
    array = np.asarray(bec, dtype=float)
    if array.size % 9 or array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 3):
        raise ValueError(f"`bec` has shape {array.shape} but must be (3N, 3)")
    return _check(array.reshape(-1, 3, 3), "bec").transpose(0, 2, 1).copy()


def read_phonopy_born(path: str | Path, primitive: Any) -> tuple[np.ndarray, np.ndarray]:
    """Born (N, 3, 3) and ε_∞ (3, 3) of a BORN file, expanded over phonopy's ``primitive`` cell."""
    from phonopy.file_IO import parse_BORN

    nac = parse_BORN(primitive, filename=str(path))
    return _check(nac["born"]), np.asarray(nac["dielectric"])


def write_phonopy_born(
    path: str | Path, born: np.ndarray, epsilon_infinity: np.ndarray, phonopy: Any
) -> Path:
    """Write phonopy's BORN file (symmetry-independent atoms, field first)."""
    from phonopy.file_IO import write_BORN

    cell = phonopy.primitive
    array = _check(born)
    if len(array) != len(cell):
        raise ValueError(f"`born` is for {len(array)} atoms but the primitive cell has {len(cell)}")
    return write_atomic(
        path, lambda target: write_BORN(cell, array, np.asarray(epsilon_infinity), str(target))
    )


def read_outcar(path: str | Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Born (N, 3, 3) and ε_∞ (or None) of a VASP OUTCAR (LEPSILON or LCALCEPS), the last ones."""
    text = Path(path).read_text()
    parts = re.split(r"BORN EFFECTIVE CHARGES[^\n]*\n[^\n]*\n", text)
    if len(parts) < 2:
        raise ValueError(f"{path} has no 'BORN EFFECTIVE CHARGES': run VASP with LEPSILON = .TRUE.")
    charges = []
    lines = iter(parts[-1].splitlines())
    for line in lines:
        if not line.strip().startswith("ion"):
            break
        charges.append([[float(x) for x in next(lines).split()[1:4]] for _ in range(3)])
    tensors = re.findall(
        r"MACROSCOPIC STATIC DIELECTRIC TENSOR \(including local field[^\n]*\n[^\n]*\n"
        r"([^\n]+)\n([^\n]+)\n([^\n]+)\n",
        text,
    )
    epsilon = (
        np.array([[float(x) for x in row.split()] for row in tensors[-1]]) if tensors else None
    )
    return _check(np.array(charges)), epsilon


def read_qe(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Born (N, 3, 3) and ε_∞ of a Quantum ESPRESSO ``dyn`` file (its E-U block: field first)."""
    text = Path(path).read_text()
    number = r"[-+]?\d*\.\d+(?:[EeDd][-+]?\d+)?"
    dielectric = re.search(rf"Dielectric Tensor:\s*((?:{number}\s+){{9}})", text)
    block = re.search(r"Effective Charges E-U[^\n]*\n(.*?)(?:Effective Charges U-E|\Z)", text, re.S)
    if dielectric is None or block is None:
        raise ValueError(
            f"{path} has no dielectric tensor and 'Effective Charges E-U' (epsil=.true.)"
        )
    atoms = re.findall(rf"atom\s*#\s*\d+\s+((?:{number}\s+){{9}})", block[1] + "\n")
    charges = [[float(x.replace("D", "E")) for x in atom.split()] for atom in atoms]
    epsilon = np.array([float(x.replace("D", "E")) for x in dielectric[1].split()])
    return _check(np.array(charges).reshape(-1, 3, 3)), epsilon.reshape(3, 3)
