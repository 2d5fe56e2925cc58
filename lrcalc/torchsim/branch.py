"""Follow atoms that an engine wraps into their cells: the branch of dipoles, on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.models.branch import ANOTHER
from lrcalc.resident import Kind
from lrcalc.system import inverses


class Followed(NamedTuple):
    """Where atoms were in the last call.

    Attributes
    ----------
    fractional : Tensor, shape (N, 3)
        In units of the lattice vectors.
    shifts : Tensor, shape (N, 3)
        Lattice vectors that bring the atoms back to the branch of the first call.
    """

    fractional: Tensor
    shifts: Tensor


class Branch:
    """Undoes jumps of atoms by lattice vectors from call to call, as `LRCalculator` does.

    A structure of which at least half of the atoms are farther than `lrcalc.models.branch.ANOTHER`
    from where they were (whole lattice vectors aside), and one at least, starts a new branch.

    Parameters
    ----------
    kind : Kind
    device : torch.device
    """

    def __init__(self, kind: Kind, device: torch.device) -> None:
        sizes = torch.as_tensor(kind.sizes)
        self._batch = torch.arange(len(sizes)).repeat_interleave(sizes).to(device)
        self._pbc = torch.as_tensor(kind.pbc, device=device)
        self._sizes = sizes.to(device)
        self._open = not kind.pbc.any()
        self._followed: Followed | None = None

    def __call__(self, positions: Tensor, cell: Tensor) -> Tensor:
        """Positions (N, 3), Å, on the branch; rows of ``cell`` (S, 3, 3) are lattice vectors."""
        if self._open:
            return positions
        box = completed(cell, self._pbc)
        fractional = torch.einsum("na,nab->nb", positions, inverses(box)[self._batch])
        if self._followed is None:
            self._followed = Followed(fractional, torch.zeros_like(fractional))
            return positions
        step = fractional - self._followed.fractional
        jump = step.round() * self._pbc[self._batch]
        square = torch.einsum("na,nab->nb", step - jump, box[self._batch]).square().sum(1)
        # what is no number, now or in the last call, is no structure to follow
        astray = torch.where(square.isfinite(), (square >= ANOTHER**2).to(box.dtype), torch.inf)
        far = torch.zeros_like(box[:, 0, 0]).index_add(0, self._batch, astray)
        another = (2.0 * far > self._sizes)[self._batch, None]
        shifts = torch.where(another, 0.0, self._followed.shifts - jump)
        self._followed = Followed(fractional, shifts)
        return positions + torch.einsum("na,nab->nb", shifts, box[self._batch])


def completed(cell: Tensor, pbc: Tensor) -> Tensor:
    """Cells (S, 3, 3) whose rows along open directions stand on the others, for any that are there.

    Which direction they have does not matter to who counts whole lattice vectors along the others.
    """
    a, b, c = cell.unbind(1)
    unit = torch.eye(3, dtype=cell.dtype, device=cell.device).expand_as(cell)
    normal = torch.stack(
        [torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1
    )
    length = normal.norm(dim=2, keepdim=True)
    # only slabs, with two vectors to stand on, need it: alone, any row will do
    stands = torch.where(length > 0, normal / length.clamp(min=1e-300), unit)
    return torch.where(pbc[:, :, None], cell, stands)
