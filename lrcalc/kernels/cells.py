"""Neighbours in the bins around each atom, counted and then written by one program."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32
"""Atoms of a bin at a time: a warp."""


def search(
    positions: Tensor, box: Tensor, batch: Tensor, wrapped: Tensor, place: Tensor, order: Tensor,
    starts: Tensor, counts: Tensor, images: Tensor, periodic: Tensor, first: Tensor,
    offsets: Tensor, reach: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Pairs closer than ``reach`` (Å), sorted by centre.

    Parameters are the entries of `lrcalc.captured.cell_list.Sorted`.

    Returns
    -------
    tuple of Tensor
        i, j (E,) and shift (E, 3), int64, and vectors (E, 3), Å, float64.
    """
    from lrcalc.kernels.programs.cells import search as program

    n, device = len(place), place.device
    found = torch.zeros(n, dtype=torch.int64, device=device)
    given = [
        positions, box, batch, wrapped, place, order, starts, counts, images, periodic.byte(),
        first, offsets,
    ]  # fmt: skip
    given = [x.contiguous() for x in given]

    def run(rows: Tensor, out: list[Tensor], *, write: bool) -> None:
        program[(n,)](
            *given, len(offsets), float(reach) ** 2, found, rows, *out,
            WRITE=write, BLOCK=BLOCK, num_warps=1,
        )  # fmt: skip

    nothing = [found, found, found, positions]
    run(found, nothing, write=False)
    ends = torch.cumsum(found, 0)
    total = int(ends[-1])
    i, j = (torch.empty(total, dtype=torch.int64, device=device) for _ in range(2))
    shift = torch.empty(total, 3, dtype=torch.int64, device=device)
    vectors = positions.new_empty((total, 3))
    run(ends - found, [i, j, shift, vectors], write=True)
    return i, j, shift, vectors
