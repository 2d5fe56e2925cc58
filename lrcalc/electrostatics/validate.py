"""Refuse input that would give a silent wrong number."""

from __future__ import annotations

import torch
from torch import Tensor

from lrcalc.multipoles import Multipoles

METHODS = ("auto", "direct", "mesh", "open", "slab")


def check_arguments(
    smearing: float,
    k_cutoff: float | None,
    method: str,
    accuracy: float,
    iterations: int | None,
) -> None:
    """Check the numbers and names; see `electrostatic_energy`."""
    if not smearing > 0.0:
        raise ValueError(f"`smearing` is {smearing} Å but must be positive")
    if k_cutoff is not None and not k_cutoff > 0.0:
        raise ValueError(f"`k_cutoff` is {k_cutoff} Å⁻¹ but must be positive, or None")
    if not 1e-14 <= accuracy < 1.0:
        raise ValueError(f"`accuracy` is {accuracy} but must lie between 1e-14 and 1")
    if method not in METHODS:
        raise ValueError(f"`method` is {method!r} but must be one of {', '.join(METHODS)}")
    if iterations is not None and iterations < 0:
        raise ValueError(
            f"`iterations` is {iterations} but must be 0 or more, or None for self-consistency"
        )


def check_geometry(
    positions: Tensor, cell: Tensor | None, batch: Tensor, structures: int, pbc: Tensor | None
) -> None:
    """Check shapes, finiteness and cells; ``cell`` is (S, 3, 3) and ``pbc`` (S, 3) here."""
    if positions.dim() != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise ValueError(
            f"`positions` has shape {tuple(positions.shape)} but must be (N, 3), N > 0"
        )
    if batch.shape != (len(positions),):
        raise ValueError(
            f"`batch` has shape {tuple(batch.shape)} but must be ({len(positions)},): one "
            "structure index for each atom"
        )
    if int(batch.min()) < 0 or int(batch.max()) >= structures:
        raise ValueError(
            f"`batch` runs from {int(batch.min())} to {int(batch.max())} but there are "
            f"{structures} structures"
        )
    _finite("positions", positions)
    if cell is None:
        return
    _finite("cell", cell)
    used = cell.detach() if pbc is None else cell.detach()[pbc.all(1)]
    if len(used):
        volume = torch.linalg.det(used).abs()
        box = used.norm(dim=-1).prod(-1)
        if bool((volume <= 1e-6 * box).any()):
            raise ValueError(
                "`cell` has no volume in a structure that is periodic in three dimensions: give "
                "three independent vectors, or state open directions with `pbc`"
            )


def check_multipoles(multipoles: Multipoles, atoms: int) -> None:
    """Check shapes, symmetry and signs of what a model or a user hands over."""
    shapes: dict[str, list[tuple[int, ...]]] = {
        "charge": [(atoms,)],
        "dipole": [(atoms, 3)],
        "quadrupole": [(atoms, 3, 3)],
        "capacitance": [(atoms,)],
        "polarizability": [(atoms,), (atoms, 3, 3)],
    }
    for name, allowed in shapes.items():
        value = getattr(multipoles, name)
        if value is None:
            continue
        if tuple(value.shape) not in allowed:
            choices = " or ".join(str(x) for x in allowed)
            raise ValueError(f"`{name}` has shape {tuple(value.shape)} but must be {choices}")
        _finite(name, value)
    if multipoles.quadrupole is not None:
        _check_quadrupole(multipoles.quadrupole.detach())
    if multipoles.capacitance is not None:
        _not_negative("capacitance", multipoles.capacitance)
    if multipoles.polarizability is not None:
        _check_polarizability(multipoles.polarizability.detach())
    pair = multipoles.pair
    if pair is not None:
        count = len(pair.first)
        if (
            pair.second.shape != (count,)
            or pair.displacement.shape != (count, 3)
            or pair.capacitance.shape != (count,)
        ):
            raise ValueError(
                "`pair` must have first (P,), second (P,), displacement (P, 3) and capacitance "
                f"(P,) but has {[tuple(x.shape) for x in pair]}"
            )
        _not_negative("pair.capacitance", pair.capacitance)


def _finite(name: str, value: Tensor) -> None:
    # one reduction: a sum of finite numbers can only overflow if something is badly wrong too
    if not bool(torch.isfinite(value.detach().sum())):
        raise ValueError(f"`{name}` contains numbers that are not finite")


def _not_negative(name: str, value: Tensor) -> None:
    smallest = float(value.detach().min()) if value.numel() else 0.0
    if smallest < 0.0:
        raise ValueError(f"`{name}` is {smallest} e/V somewhere but must not be negative")


def _check_quadrupole(quadrupole: Tensor) -> None:
    """Refused and not repaired: a model that makes a wrong tensor should hear about it."""
    scale = float(quadrupole.abs().max())
    limit = scale * (1e-8 if quadrupole.dtype == torch.float64 else 1e-4)
    if float((quadrupole - quadrupole.transpose(1, 2)).abs().max()) > limit:
        raise ValueError("`quadrupole` is not symmetric: use (Q + Q.mT)/2")
    trace = float(quadrupole.diagonal(dim1=1, dim2=2).sum(-1).abs().max())
    if trace > 3.0 * limit:
        raise ValueError(
            f"`quadrupole` has a trace of {trace:.3g} e Å² somewhere but must be traceless: "
            "subtract a third of it from the diagonal"
        )


def _check_polarizability(alpha: Tensor) -> None:
    """Check that a tensor is symmetric and has three invariants ≥ 0."""
    if alpha.dim() == 1:
        smallest = float(alpha.min())
        if smallest < 0.0:
            raise ValueError(
                f"`polarizability` is {smallest} e Å²/V somewhere but must not be negative"
            )
        return
    scale = float(alpha.abs().max())
    small = 1e-8 if alpha.dtype == torch.float64 else 1e-4
    if float((alpha - alpha.transpose(1, 2)).abs().max()) > small * scale:
        raise ValueError("`polarizability` is not symmetric: use (α + α.mT)/2")
    trace = alpha.diagonal(dim1=1, dim2=2).sum(-1)
    second = 0.5 * (trace.square() - alpha.square().sum((1, 2)))
    third = torch.linalg.det(alpha)
    if bool(
        (trace < -small * scale).any()
        | (second < -small * scale**2).any()
        | (third < -small * scale**3).any()
    ):
        raise ValueError(
            "`polarizability` has a negative eigenvalue: make it positive semidefinite, for "
            "instance as a square A·A.mT"
        )
