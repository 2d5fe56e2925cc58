"""Which field an enthalpy is a function of, and what it couples to, at each kind of boundary.

* Three periodic directions: the macroscopic field inside. Moments are ``s`` times latent ones.
* A slab (two periodic directions): along the plane the same field, which is continuous. Along the
  normal ``n`` there is vacuum on either side, and the field is the one applied from outside,
  ``E_n = D_n/ε0``. Latent charges are summed with their own depolarisation, so what comes from
  outside acts on them as ``D_n/(s ε0)`` (`enthalpy.constant_displacement`, with D held): their
  moments, and with them Born charges along n, couple by ``1/s = s/ε_r``. These are the dipole and
  the Born charges that the slab has as a whole, electrons included: Z/ε_r.
* No periodic direction: the applied field, by ``s``. For a model made for molecules ε_∞ = 1 and
  this is exact; for one made for a medium, s stays that of the medium.

A polarizability surface learns the response to the macroscopic field of matter that fills its
cell. What is surrounded by vacuum answers the field outside, ``E = E_in + L·P/ε0`` with the
depolarisation ``L = n n`` of a slab and ``1/3`` of a sphere, and fills a volume v:

    α_ext = α (1 + L·α/(ε0 v))⁻¹ ,   normal to a slab  n·α_ext·n/(ε0 v) = 1 - 1/ε_∞ < 1

How much that is, the card of the surface says: the volume that an atom had in its data. A
structure without periodic directions is taken for a sphere of it (Clausius and Mossotti: a
molecule in its share of the medium); without it α stays as it is, too large by up to
``(ε_∞ + 2)/3``, and the evaluator says so. A slab without it fills a thickness of its area that
its atoms decide (`thickness`). The cell along a direction that is not periodic says nothing: it
may have any length, and engines shrink it to the atoms. A molecule in a large periodic box, or a
slab in a box with vacuum, is taken for matter that fills its cell: use open boundaries.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lrcalc.domain import everyone, shared
from lrcalc.system import System, inverses, readable_pbc, structure_sums
from lrcalc.units import EPSILON_0

ATOM_WIDTH = 1.0
"""Å; width of the Gaussians by which atoms fill a slab: one layer is 3.5 Å thick."""


def is_slab(system: System) -> Tensor:
    """Whether two directions of each structure are periodic, (S,) bool."""
    return system.pbc.sum(1) == 2


def without_slabs(system: System) -> bool:
    """Whether none of the structures is one, as far as can be told without waiting."""
    known = _readable(system)
    return known is not None and not bool(is_slab(known).any())


def _readable(system: System) -> System | None:
    """Structures whose boundaries can be looked at without waiting for a device, if there are any.

    Nor is whoever follows operations without carrying them out kept from it, which compiled
    functions exclude.
    """
    here = system.compiled and system.pbc.device.type == "cpu"
    return system if here else system.host


def _slab_frame(system: System) -> tuple[Tensor, Tensor]:
    """Return unit normal (S, 3) and area (S,) Å²; of use for slabs only.

    Of the others they are those of a unit cube, which have harmless derivatives.
    """
    order = torch.argsort(system.pbc.logical_not().to(torch.uint8), dim=1, stable=True)
    rows = system.cell.double().gather(1, order[:, :, None].expand(-1, -1, 3))
    unit = torch.eye(3, dtype=rows.dtype, device=rows.device)
    rows = torch.where(is_slab(system)[:, None, None], rows, unit)
    normal = torch.linalg.cross(rows[:, 0], rows[:, 1])
    area = normal.norm(dim=1)
    return normal / area[:, None], area


def coupling(system: System, screening: float | Tensor) -> Tensor:
    """Return what turns latent dipoles into those that the applied field couples to, (S, 3, 3)."""
    unit = torch.eye(3, dtype=torch.float64, device=system.positions.device)
    if without_slabs(system):
        return (screening * unit).expand(system.n_structures, 3, 3)
    normal = _slab_frame(system)[0]
    change = (1.0 / screening - screening) * is_slab(system).double()[:, None, None]
    return screening * unit + change * normal[:, :, None] * normal[:, None, :]


def coupled(system: System, latent: Tensor, screening: float | Tensor) -> Tensor:
    """`coupling` times latent dipoles (S, 3)."""
    if without_slabs(system):
        return screening * latent
    return torch.einsum("sab,sb->sa", coupling(system, screening), latent)


def depolarised(system: System, alpha: Tensor, volume_per_atom: float | None) -> Tensor:
    """Response (S, 3, 3), e Å²/V, to the applied field, from that to the field inside.

    Parameters
    ----------
    system : System
    alpha : Tensor, shape (S, 3, 3), e Å²/V
        ``∂M/∂E`` at the field inside.
    volume_per_atom : float or None
        Å³; None leaves structures without periodic directions as they are, and slabs to their
        atoms.
    """
    known = _readable(system)
    if known is not None and bool(known.pbc.all()):
        return alpha
    volume = None
    if volume_per_atom is not None:
        counted = _owned(system).to(alpha.dtype)
        volume = volume_per_atom * structure_sums(system, counted)
        unit = torch.eye(3, dtype=alpha.dtype, device=alpha.device)
        inside = unit + alpha / (3.0 * EPSILON_0 * volume[:, None, None])
        finite = ~system.pbc.any(1)[:, None, None]
        inside = torch.where(finite, inside, unit)  # no derivative of what is left as it is
        alpha = inverses(inside) @ alpha
    if not bool((readable_pbc(system).sum(1) == 2).any()):
        return alpha
    slab = is_slab(system)
    total = list(alpha)
    normal, area = _slab_frame(system)
    for k in torch.nonzero(slab)[:, 0].tolist():
        n = normal[k]
        filled = volume[k] if volume is not None else area[k] * _thickness_of(system, k, n)
        along = alpha[k] @ n
        total[k] = alpha[k] - along[:, None] * along[None, :] / (EPSILON_0 * filled + n @ along)
    return torch.stack(total)


def _thickness_of(system: System, k: int, normal: Tensor) -> Tensor:
    atoms = system.positions[(system.batch == k) & _owned(system)]
    return thickness(everyone(system.domain, atoms.double() @ shared(system.domain, normal)))


def _owned(system: System) -> Tensor:
    """Which atoms fill the structure, (N,) bool: ghosts do not."""
    return torch.ones_like(system.batch, dtype=torch.bool) if system.owned is None else system.owned


def thickness(z: Tensor) -> Tensor:
    """How much of the normal a slab fills, Å.

    ``(∫ n dz)²/∫ n² dz`` of the profile n(z) of its atoms: vacuum does
    not count, and an atom far from the slab hardly does.

    Parameters
    ----------
    z : Tensor, shape (N,), Å
        Along the normal, the slab in one piece.
    """
    low, high = float(z.detach().min()), float(z.detach().max())
    margin, width = 6.0 * ATOM_WIDTH, high - low + 12.0 * ATOM_WIDTH
    points = 2 + math.ceil(width / (0.25 * ATOM_WIDTH))
    grid = torch.linspace(low - margin, high + margin, points, dtype=z.dtype).to(z.device)
    # sums on a grid much finer than the Gaussians are as good as integrals
    profile = torch.exp(-0.5 * ((grid[:, None] - z[None, :]) / ATOM_WIDTH) ** 2).sum(1)
    square = profile.square().sum() * (width / (points - 1)) / (2.0 * math.pi * ATOM_WIDTH**2)
    return len(z) ** 2 / square
