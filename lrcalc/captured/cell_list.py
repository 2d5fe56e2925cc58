"""Pairs out to a distance, found on the device where the positions are: a cell list.

Space is cut into bins at least as wide as the distance, so that neighbours of an atom are in its
own bin and the 26 around it; where a cell is thinner than the distance there is one bin along that
direction and as many images as it takes. Atoms are sorted by bin, candidates are made for a number
of atoms at a time, which bounds the memory, and those near enough are kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.kernels.cells import search
from lrcalc.kernels.choice import available
from lrcalc.neighbors import Pairs, complete_cell

CHUNK = 2**23
"""Candidates looked at together."""

FINEST = 2**21
"""Bins of a structure: of a gas in a large cell there need not be as many as would fit."""


class Bins(NamedTuple):
    """How space is cut, for each of S structures.

    Attributes
    ----------
    inverse : ndarray, shape (S, 3, 3)
        Of the cells, open directions completed.
    counts : ndarray, shape (S, 3), int
        Bins along the three cell vectors.
    images : ndarray, shape (S, 3), int
        How many bins away a neighbour may be.
    origin : ndarray, shape (S, 3)
        Lowest fractional coordinate along open directions.
    """

    inverse: np.ndarray
    counts: np.ndarray
    images: np.ndarray
    origin: np.ndarray


def cut(cell: np.ndarray, pbc: np.ndarray, low: np.ndarray, high: np.ndarray, reach: float) -> Bins:
    """Cut space into bins.

    Parameters
    ----------
    cell : ndarray, shape (S, 3, 3), Å
    pbc : ndarray, shape (S, 3), bool
    low, high : ndarray, shape (S, 3), Å
        Bounds of the positions.
    reach : float, Å
    """
    boxes = cell
    origin = np.zeros((len(cell), 3))
    if not pbc.all():
        corners = np.stack([low, high], 1)
        boxes = np.stack([complete_cell(*x, reach) for x in zip(corners, cell, pbc, strict=True)])
    inverse = np.linalg.inv(boxes)
    if not pbc.all():
        # of all corners of the box around the positions, the lowest along each direction
        edges = np.minimum(low[:, :, None] * inverse, high[:, :, None] * inverse).sum(1)
        origin = np.where(pbc, 0.0, edges)
    heights = 1.0 / np.linalg.norm(inverse, axis=1)
    counts = np.maximum(1, np.floor(heights / reach)).astype(np.int64)
    while (counts.prod(1) > FINEST).any():
        counts = np.where(counts.prod(1, keepdims=True) > FINEST, (counts + 1) // 2, counts)
    images = np.ceil(reach * counts / heights - 1e-12).astype(np.int64)
    return Bins(inverse, counts, np.maximum(images, 1), origin)


class Found(NamedTuple):
    """Pairs with their vectors.

    Attributes
    ----------
    pairs : Pairs
        Sorted by centre.
    vectors : Tensor, shape (E, 3), Å, float64
    """

    pairs: Pairs
    vectors: Tensor


class Sorted(NamedTuple):
    """Atoms in their bins, on the device.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
        Wrapped along periodic directions.
    box : Tensor, shape (S, 3, 3), Å
    batch : Tensor, shape (N,)
    wrapped : Tensor, shape (N, 3), int64
        Lattice vectors that were taken off.
    place : Tensor, shape (N, 3), int64
        Bin of each atom, within its structure.
    order : Tensor, shape (N,), int64
        Atoms, bin by bin.
    starts : Tensor, shape (bins + 1,), int64
        Where those of each bin begin in ``order``, and the end.
    counts, images : Tensor, shape (S, 3), int64
        Of `Bins`.
    periodic : Tensor, shape (S, 3), bool
    first : Tensor, shape (S,), int64
        First bin of each structure.
    offsets : Tensor, shape (K, 3), int64
        Bins around a bin.
    """

    positions: Tensor
    box: Tensor
    batch: Tensor
    wrapped: Tensor
    place: Tensor
    order: Tensor
    starts: Tensor
    counts: Tensor
    images: Tensor
    periodic: Tensor
    first: Tensor
    offsets: Tensor


def find_pairs(
    positions: Tensor, cell: np.ndarray, pbc: np.ndarray, batch: Tensor, reach: float
) -> Found:
    """All pairs closer than ``reach``.

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
        On any device, float64; not wrapped.
    cell : ndarray, shape (S, 3, 3), Å
    pbc : ndarray, shape (S, 3), bool
    batch : Tensor, shape (N,)
        Structure of each atom, ascending.
    reach : float
        Å.
    """
    atoms = into_bins(positions, cell, pbc, batch, reach)
    if available(positions) and works(positions.device):
        return by_kernels(atoms, reach)
    return by_torch(atoms, reach)


def works(device: torch.device) -> bool:
    """Whether kernels compile for this device and find what torch finds: tried once."""
    from lrcalc.captured.trial import search_tried

    return search_tried(device)


def into_bins(
    positions: Tensor, cell: np.ndarray, pbc: np.ndarray, batch: Tensor, reach: float
) -> Sorted:
    """Sort atoms by bin; arguments as of `find_pairs`."""
    device = positions.device
    ends_of = np.zeros((2, *pbc.shape))
    if not pbc.all():
        high, low = (largest_of_each(x, batch, len(cell)) for x in (positions, -positions))
        ends_of = torch.stack([-low, high]).cpu().numpy()
    bins = cut(cell, pbc, ends_of[0], ends_of[1], reach)

    def there(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    counts, periodic, box = there(bins.counts), there(pbc), there(cell)
    ends = np.cumsum(bins.counts.prod(1))
    first = there(np.concatenate([[0], ends[:-1]]))
    fractional = torch.einsum("na,nab->nb", positions, there(bins.inverse)[batch])
    fractional = fractional - there(bins.origin)[batch]
    wrapped = torch.where(periodic[batch], fractional.floor(), 0.0)
    own = counts[batch]
    place = ((fractional - wrapped) * own).long().clamp(min=0).minimum(own - 1)
    key = first[batch] + (place[:, 0] * own[:, 1] + place[:, 1]) * own[:, 2] + place[:, 2]
    order = torch.argsort(key, stable=True)
    filled = torch.bincount(key, minlength=int(ends[-1]))
    starts = torch.nn.functional.pad(torch.cumsum(filled, 0), (1, 0))
    most = bins.images.max(0)
    steps = np.stack(np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), -1)
    inside = positions - torch.einsum("na,nab->nb", wrapped, box[batch])
    return Sorted(
        inside, box, batch, wrapped.long(), place, order, starts, counts, there(bins.images),
        periodic, first, there(steps.reshape(-1, 3)),
    )  # fmt: skip


def by_kernels(atoms: Sorted, reach: float) -> Found:
    """Pairs by a kernel that counts them and then writes them (`lrcalc.kernels.cells`)."""
    found = search(*atoms, reach)
    return Found(Pairs(found[0], found[1], found[2]), found[3])


def by_torch(atoms: Sorted, reach: float) -> Found:
    """Pairs, candidates for a number of atoms at a time."""
    n, device = len(atoms.place), atoms.place.device
    filled, around = atoms.starts.diff(), len(atoms.offsets)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    # a first guess of how many atoms have CHUNK candidates; what there really are is counted below
    mean = max(1.0, float(n) / float(len(filled)) * around)
    size = max(1, int(CHUNK / max(around, mean)))
    for begin in range(0, n, size):
        chunk = torch.arange(begin, min(begin + size, n), device=device)
        structure = atoms.batch[chunk]
        at = atoms.place[chunk][:, None] + atoms.offsets
        width = atoms.counts[structure]
        image = torch.div(at, width[:, None], rounding_mode="floor")
        at = at - image * width[:, None]
        allowed = (atoms.offsets.abs() <= atoms.images[structure][:, None]) & (
            (image == 0) | atoms.periodic[structure][:, None]
        )
        bin_ = (at[..., 0] * width[:, None, 1] + at[..., 1]) * width[:, None, 2] + at[..., 2]
        bin_ = bin_ + atoms.first[structure][:, None]
        here = (filled[bin_] * allowed.all(2)).flatten()
        found += _near(atoms, chunk, here, atoms.starts[bin_].flatten(), image.flatten(0, 1), reach)
    i, j, shift, vectors = (torch.cat(x) for x in zip(*found, strict=True))
    return Found(Pairs(i, j, shift), vectors)


def largest_of_each(values: Tensor, batch: Tensor, structures: int) -> Tensor:
    """Largest of the values (N, ...) of the atoms of each structure, (S, ...)."""
    if structures == 1:  # written by all to the same place, a GPU would take them in turns
        return values.amax(0, keepdim=True)
    rows = batch.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    lowest = values.new_full((structures, *values.shape[1:]), -torch.inf)
    return lowest.scatter_reduce(0, rows, values, "amax")


def _near(
    atoms: Sorted, chunk: Tensor, here: Tensor, start: Tensor, image: Tensor, reach: float
) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Pairs of some atoms; ``here`` and ``start`` say what each of the bins around them holds."""
    around = len(here) // len(chunk)
    last = torch.cumsum(here, 0)
    total = int(last[-1])
    each = -(-len(chunk) // max(1, -(-total // CHUNK)))
    found = []
    for begin in range(0, len(chunk), each):
        rows = slice(begin * around, min(begin + each, len(chunk)) * around)
        held = here[rows]
        count = total if each >= len(chunk) else int(held.sum())
        spot = torch.repeat_interleave(
            torch.arange(rows.start, rows.stop, device=chunk.device), held, output_size=count
        )
        rank = torch.arange(count, device=chunk.device) - (last - here)[spot]
        rank = rank + (last - here)[rows.start]
        j = atoms.order[start[spot] + rank]
        i = chunk[spot // around]
        moved = image[spot].to(atoms.positions.dtype)
        if len(atoms.box) == 1:
            lattice = moved @ atoms.box[0]
        else:
            lattice = torch.einsum("ea,eab->eb", moved, atoms.box[atoms.batch[i]])
        vectors = atoms.positions[j] - atoms.positions[i] + lattice
        itself = (i == j) & (image[spot] == 0).all(1)
        near = (((vectors * vectors).sum(1) < reach * reach) & ~itself).nonzero()[:, 0]
        i, j = i[near], j[near]
        shift = image[spot[near]] + atoms.wrapped[i] - atoms.wrapped[j]
        found.append((i, j, shift, vectors[near]))
    return found
