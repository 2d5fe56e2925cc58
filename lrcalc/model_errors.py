"""Errors of a model on labelled structures: energies, forces, stresses, Born charges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from lrcalc.evaluator import Evaluator
from lrcalc.models.potential import Potential
from lrcalc.properties import PROPERTIES, needing
from lrcalc.training.composition import composition_part
from lrcalc.training.label_units import COLUMNS

BORN_KEYS = COLUMNS["born"]
"""Columns (N, 9) or (N, 3, 3) in which files keep ``born[atom, field, displacement]``."""


class Errors(NamedTuple):
    """Residual statistics of one quantity.

    Attributes
    ----------
    n : int
        Numbers compared.
    rmse, mae : float
        In the unit of the quantity.
    r2 : float
        ``1 - Σ(model - data)² / Σ(data - mean)²``.
    """

    n: int
    rmse: float
    mae: float
    r2: float


def errors(model: np.ndarray, data: np.ndarray) -> Errors:
    """Compare arrays of the same shape."""
    model, data = np.ravel(model), np.ravel(data)
    difference = model - data
    spread = float(((data - data.mean()) ** 2).sum())
    squares = float((difference**2).sum())
    return Errors(
        len(data),
        float(np.sqrt(squares / len(data))),
        float(np.abs(difference).mean()),
        1.0 - squares / spread if spread > 0 else float("nan"),
    )


def reference_born(atoms: Atoms) -> np.ndarray | None:
    """Born charges (N, 3, 3) that a data file carries, or None."""
    for key in BORN_KEYS:
        if key in atoms.arrays:
            return np.asarray(atoms.arrays[key], dtype=float).reshape(len(atoms), 3, 3)
    return None


def reference_moments(atoms: Atoms) -> dict[str, np.ndarray]:
    """Moments of a structure without periodic directions that ``info["REF_…"]`` states.

    Of `lrcalc.properties.PROPERTIES`, in their units: ``REF_dipole`` (3,), ``REF_quadrupole``
    (3, 3).
    """
    if atoms.pbc.any():
        return {}
    moments = needing("moments", PROPERTIES) - needing("response", PROPERTIES)
    return {
        name: np.asarray(atoms.info[f"REF_{name}"], dtype=float).reshape(PROPERTIES[name].shape)
        for name in moments - needing("gradient", PROPERTIES)
        if f"REF_{name}" in atoms.info
    }


def collect(
    evaluator: Evaluator,
    structures: Sequence[Atoms],
    progress: Callable[[], None] = lambda: None,
    polarizability: Callable[[Atoms], np.ndarray | None] = lambda atoms: None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Model and data values of every quantity that the structures carry.

    Parameters
    ----------
    evaluator : Evaluator
    structures : sequence of Atoms
        With energy, forces, stress in their calculator, Born charges in `BORN_KEYS`, moments
        where `reference_moments` finds them. What is electrical is left out of a model without
        charges, if there are other labels.
    progress : callable, optional
        Called after each structure.
    polarizability : callable, optional
        Polarizability (3, 3), e Å²/V, that a structure carries, or None.

    Returns
    -------
    dict
        ``energy`` (eV/atom), ``forces`` (eV/Å), ``stress`` (eV/Å³), ``born`` (e, (n, 3, 3)),
        ``polarizability`` (e Å²/V, (n, 3, 3)), ``dipole`` (e Å), ``quadrupole`` (e Å²).
    """
    found: dict[str, tuple[list[Any], list[Any]]] = {}

    def add(name: str, model: Any, data: Any) -> None:
        model_list, data_list = found.setdefault(name, ([], []))
        model_list.append(np.asarray(model))
        data_list.append(np.asarray(data))

    for atoms in structures:
        labels = {} if atoms.calc is None else dict(atoms.calc.results)
        electrical = has_charges(evaluator) or not labels  # what is asked alone is refused
        born = reference_born(atoms) if electrical else None
        wanted = {"energy"} | ({"forces"} if "forces" in labels else set())
        wanted |= {"stress"} if "stress" in labels and atoms.pbc.all() else set()
        wanted |= {"born_effective_charges"} if born is not None else set()
        alpha = polarizability(atoms)
        wanted |= {"polarizability"} if alpha is not None else set()
        moments = reference_moments(atoms) if electrical else {}
        wanted |= set(moments)
        (result,) = evaluator([atoms], wanted)
        if "energy" in labels:
            add("energy", [result["energy"] / len(atoms)], [labels["energy"] / len(atoms)])
        if "forces" in wanted:
            add("forces", result["forces"], labels["forces"])
        if "stress" in wanted:
            stress = voigt_6_to_full_3x3_stress(labels["stress"])
            add("stress", result["stress"][None], stress[None])
        if born is not None:
            add("born", result["born_effective_charges"], born)
        if alpha is not None:
            add("polarizability", result["polarizability"][None], alpha[None])
        for name, moment in moments.items():
            add(name, result[name][None], moment[None])
        progress()
    return {
        name: (np.concatenate(model), np.concatenate(data)) for name, (model, data) in found.items()
    }


def has_charges(evaluator: Evaluator) -> bool:
    """Whether the model has charges, and so anything electrical."""
    return bool(evaluator.potential.readout.level != "sr")


def polarizability_errors(
    model: Evaluator | Potential, structures: Sequence[Atoms], data: Sequence[np.ndarray]
) -> dict[str, Errors]:
    """Errors of polarizabilities against ``data`` (3, 3), e Å²/V.

    ``isotropic`` is a third of the trace, ``anisotropic`` what is left without it.
    """
    evaluator = model if isinstance(model, Evaluator) else Evaluator(model)
    made = [evaluator([a], ["polarizability"])[0]["polarizability"] for a in structures]
    return polarizability_parts(np.array(made), np.array(data))


def polarizability_parts(model: np.ndarray, data: np.ndarray) -> dict[str, Errors]:
    """Compare polarizabilities (S, 3, 3): isotropic and anisotropic part, any unit."""
    parts = []
    for alpha in (model, data):
        mean = alpha.trace(axis1=1, axis2=2) / 3
        parts.append((mean, alpha - mean[:, None, None] * np.eye(3)))
    (iso, aniso), (data_iso, data_aniso) = parts
    return {"isotropic": errors(iso, data_iso), "anisotropic": errors(aniso, data_aniso)}


def summarise(
    values: dict[str, tuple[np.ndarray, np.ndarray]], numbers: Sequence[np.ndarray] = ()
) -> dict[str, Errors]:
    """Error statistics of what `collect` returned.

    With atomic ``numbers`` of the structures that have energies, R² of energies is that of what
    the composition leaves of them (NaN where it leaves nothing, as of a single structure).
    ``energy_shifted`` leaves out a constant offset between the data's and the model's energies;
    Born charges come as ``born``, ``born_diagonal`` and ``born_offdiagonal``, polarizabilities as
    ``polarizability_isotropic`` and ``polarizability_anisotropic``.
    """
    out = {}
    for name, (model, data) in values.items():
        if name == "born":
            diagonal = np.eye(3, dtype=bool)
            out["born"] = errors(model, data)
            out["born_diagonal"] = errors(model[:, diagonal], data[:, diagonal])
            out["born_offdiagonal"] = errors(model[:, ~diagonal], data[:, ~diagonal])
        elif name == "polarizability":
            parts = polarizability_parts(model, data)
            out |= {f"polarizability_{part}": e for part, e in parts.items()}
        elif name == "energy":
            sizes = np.array([len(one) for one in numbers])
            part = composition_part(data * sizes, numbers) / sizes if len(sizes) else 0.0
            out["energy"] = errors(model - part, data - part)
            if len(data) > 1:
                shift = (model - data).mean()
                out["energy_shifted"] = errors(model - shift - part, data - part)
        else:
            out[name] = errors(model, data)
    return out
