"""Refuse input that would give a silent wrong number."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from lrcalc.electrostatics.sums import Geometry, Sum
from lrcalc.multipoles import Multipoles

FINEST, COARSEST = 1e-14, 0.1
"""Bounds of the relative error of a sum."""

METHODS = ("auto", "direct", "mesh", "open", "slab")


def check_arguments(
    smearing: float,
    k_cutoff: float | None,
    method: str | Sum,
    accuracy: float,
    strength: float = 1.0,
) -> None:
    """Check the numbers and names; see `Ewald`."""
    # the bounds only keep powers of these numbers from overflowing
    if not _between(1e-6, smearing, 1e6):
        raise ValueError(f"`smearing` is {smearing!r} Å but must be a number from 1e-6 to 1e6")
    if k_cutoff is not None and not _between(1e-6, k_cutoff, 1e6):
        raise ValueError(
            f"`k_cutoff` is {k_cutoff!r} Å⁻¹ but must be a number from 1e-6 to 1e6, or None"
        )
    check_accuracy(accuracy)
    if not _between(1e-6, strength, 1e6):
        raise ValueError(f"`strength` is {strength!r} but must be a number from 1e-6 to 1e6")
    if method not in METHODS and not isinstance(method, Sum):
        raise ValueError(
            f"`method` is {method!r} but must be one of {', '.join(METHODS)}, or a Sum"
        )


def check_accuracy(accuracy: object) -> None:
    """Refuse a relative error that is none: beyond a tenth nothing of the sum is left.

    Raises
    ------
    ValueError
        Naming the value and what it may be.
    """
    if not _between(FINEST, accuracy, COARSEST):
        raise ValueError(
            f"`accuracy` is {accuracy!r} but must be a number from {FINEST:g} to {COARSEST:g}, the "
            "relative error of the sum; give 1e-4, or leave it out"
        )


def check_response(
    iterations: int | None, tolerance: float | None, maximum_iterations: int
) -> None:
    """Check what steers the response; see `induce`."""
    if iterations is not None and not _count(iterations):
        raise ValueError(
            f"`iterations` is {iterations!r} but must be a whole number, 0 or more, or None for "
            "self-consistency"
        )
    if tolerance is not None and (not _between(0.0, tolerance, 1.0) or tolerance in (0.0, 1.0)):
        raise ValueError(
            f"`tolerance` is {tolerance!r} but must be a number between 0 and 1, or None"
        )
    if not _count(maximum_iterations):
        raise ValueError(
            f"`maximum_iterations` is {maximum_iterations!r} but must be a whole number, 0 or more"
        )


def check_types(
    positions: Tensor, cell: Tensor | None, multipoles: Multipoles, batch: Tensor | None
) -> None:
    """Check that tensors are tensors, of one floating-point type and on one device."""
    _tensor("positions", positions)
    if positions.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"`positions` has dtype {positions.dtype} but must be torch.float32 or torch.float64: "
            "use positions.double()"
        )
    if cell is not None:
        _like("cell", cell, positions)
    if not isinstance(multipoles, Multipoles):
        raise ValueError(
            f"`multipoles` is a {_kind(multipoles)} but must be lrcalc.Multipoles(charge=...)"
        )
    _like("charge", multipoles.charge, positions)
    for name in ("dipole", "quadrupole", "capacitance", "polarizability"):
        value = getattr(multipoles, name)
        if value is not None:
            _like(name, value, positions)
    pair = multipoles.pair
    if pair is not None:
        _index("pair.i", pair.i, positions)
        _index("pair.j", pair.j, positions)
        _like("pair.vector", pair.vector, positions)
        _like("pair.capacitance", pair.capacitance, positions)
    if batch is not None:
        _index("batch", batch, positions)


def as_cells(cell: Tensor, structures: int) -> Tensor:
    """Cell vectors as (S, 3, 3)."""
    if cell.shape[-2:] != (3, 3) or cell.dim() not in (2, 3):
        raise ValueError(f"`cell` has shape {tuple(cell.shape)} but must be (3, 3) or (S, 3, 3)")
    return cell.expand(structures, 3, 3)


def as_boundaries(
    pbc: Tensor | Sequence[Any] | bool, structures: int, device: torch.device
) -> Tensor:
    """Periodic directions as a Boolean tensor (S, 3)."""
    try:
        flags = torch.as_tensor(pbc, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"`pbc` is {pbc!r} but must be three booleans per structure") from error
    if tuple(flags.shape) not in ((), (3,), (structures, 3)):
        raise ValueError(
            f"`pbc` has shape {tuple(flags.shape)} but must be (3,) or ({structures}, 3)"
        )
    return flags.bool().expand(structures, 3)


def check_geometry(geometry: Geometry) -> None:
    """Check that numbers are finite, structures not empty and periodic cells not flat."""
    cell, pbc, structures = geometry.cell, geometry.pbc, geometry.structures
    _finite("positions", geometry.positions)
    if structures > 1:
        counts = torch.bincount(geometry.batch, minlength=structures)
        empty = torch.nonzero(counts == 0).squeeze(1)
        if len(empty):
            raise ValueError(
                f"`batch` has no atom of structures {empty.tolist()} of {structures}: number the "
                "structures 0, 1, 2 … without gaps, one for each cell"
            )
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


def count_structures(
    positions: Tensor, cell: Tensor | None, batch: Tensor | None, check: bool
) -> int:
    """Count the structures, by the largest index in ``batch`` if the cells do not tell."""
    if positions.dim() != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise ValueError(
            f"`positions` has shape {tuple(positions.shape)} but must be (N, 3), N > 0"
        )
    known = len(cell) if cell is not None and cell.dim() == 3 else None
    if batch is None:
        if known is not None and known != 1:
            raise ValueError(
                f"`cell` has shape {tuple(cell.shape)} for {known} structures, but `batch` is "  # type: ignore[union-attr]
                "None: give the structure of each atom"
            )
        return 1
    if tuple(batch.shape) != (len(positions),):
        raise ValueError(
            f"`batch` has shape {tuple(batch.shape)} but must be ({len(positions)},): one "
            "structure index for each atom"
        )
    if known is not None and known > 1 and not check:
        return known
    lowest, highest = (int(x) for x in torch.aminmax(batch))
    # a single cell is that of every structure
    count = known if known is not None and known > 1 else highest + 1
    if lowest < 0 or highest >= count:
        raise ValueError(
            f"`batch` runs from {lowest} to {highest} but must count structures from 0"
            + (f" to {count - 1}, the cells given" if highest >= count else "")
        )
    return count


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
        count = len(pair.i)
        if (
            pair.j.shape != (count,)
            or pair.vector.shape != (count, 3)
            or pair.capacitance.shape != (count,)
        ):
            raise ValueError(
                "`pair` must have i (P,), j (P,), vector (P, 3) and capacitance (P,) but has "
                f"{[tuple(x.shape) for x in pair]}"
            )
        _not_negative("pair.capacitance", pair.capacitance)


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _between(low: float, value: object, high: float) -> bool:
    """Whether this is a number between bounds, and no bool, string or tensor."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return low <= float(value) <= high


def _count(value: object) -> bool:
    """Whether this is a whole number, 0 or more, and no bool."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 0


def _tensor(name: str, value: object) -> None:
    if not isinstance(value, Tensor):
        remedy = f"torch.as_tensor({name.split('.')[-1]})"
        raise ValueError(f"`{name}` is a {_kind(value)} but must be a torch tensor: use {remedy}")


def _like(name: str, value: Tensor, positions: Tensor) -> None:
    """Check for a tensor of the type of the positions: mixed sums would lose digits silently."""
    _tensor(name, value)
    if value.dtype != positions.dtype or value.device != positions.device:
        short = name.split(".")[-1]
        raise ValueError(
            f"`{name}` is {value.dtype} on {value.device} but `positions` is {positions.dtype} on "
            f"{positions.device}: use {short}.to(positions)"
        )


def _index(name: str, value: Tensor, positions: Tensor) -> None:
    _tensor(name, value)
    if value.dtype not in (torch.int64, torch.int32) or value.device != positions.device:
        raise ValueError(
            f"`{name}` is {value.dtype} on {value.device} but must be torch.int64 on "
            f"{positions.device}"
        )


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
