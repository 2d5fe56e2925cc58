"""How to sum structures periodic in three directions: the faster sum that fits into memory.

Both sums grow with the volume of the cell, empty or not, so a molecule in a very large cell is
expensive: what a sum needs is estimated before anything is allocated.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import ceil, pi
from typing import NamedTuple

import torch

from lrcalc.electrostatics.direct import BLOCK_BYTES, direct_bytes
from lrcalc.electrostatics.mesh_size import FFT_COST, choose_mesh, fft_size, mesh_bytes
from lrcalc.electrostatics.sums import Geometry
from lrcalc.memory import available_bytes

DIRECT_COST = 0.03
"""Time of one atom, wave and channel of the direct sum, in units of one spreading point."""

PHASE_CHANNELS = 6
"""What making the phases costs, in channels."""

MESH_START = 1e5
"""Fixed cost of the mesh in the same units: many small operations."""

MOST_WAVES = 5e8
"""Waves beyond which a direct sum takes so many minutes that it is refused."""

UNQUESTIONED = 2**30
"""Bytes that are allocated without asking how much memory is left."""

BYTES_PER_INDEX = 100
"""Memory for enumerating one pair (n₁, n₂)."""


class Shape(NamedTuple):
    """The numbers that costs depend on; of a batch, the largest.

    Attributes
    ----------
    atoms, structures : int
    lengths : list of float
        Of the three cell vectors, Å.
    volume : float, Å³
    """

    atoms: int
    structures: int
    lengths: list[float]
    volume: float


class Demand(NamedTuple):
    """What a sum takes: waves (0 for the mesh) and memory in bytes."""

    waves: float
    memory: float


def choose_sum(
    asked: str, geometry: Geometry, smearing: float, k_cutoff: float, accuracy: float
) -> str:
    """Pick "direct" or "mesh" for a group of structures, or confirm what was asked for.

    Parameters
    ----------
    asked : str
        "auto", or "direct" (also for slabs) or "mesh".
    geometry : Geometry
        With cells.
    smearing, k_cutoff, accuracy : float

    Raises
    ------
    ValueError
        If no permitted sum fits into memory, naming the cell.
    """
    shape, dtype, free = _shape(geometry), geometry.cells.dtype, partial(_free_bytes, geometry)
    multipole, atoms = geometry.multipole, shape.atoms
    density = float(f"{atoms / (shape.structures * shape.volume):.1e}")
    waves = shape.structures * shape.volume * k_cutoff**3 / (6.0 * pi**2)
    direct = _direct_memory(shape, k_cutoff, max(multipole, geometry.derivatives), dtype)
    demands = {"direct": Demand(waves, direct)}
    if asked == "direct":
        return _first_fitting(demands, shape, free, k_cutoff)
    splines, spacing = choose_mesh(smearing, k_cutoff, accuracy, multipole, density)
    sizes = [fft_size(max(length / spacing, splines)) for length in shape.lengths]
    points = shape.structures * sizes[0] * sizes[1] * sizes[2]
    mesh = Demand(0.0, mesh_bytes(points, atoms, splines, dtype))
    if asked == "mesh":
        return _first_fitting({"mesh": mesh}, shape, free, k_cutoff)
    # counts of operations measured on a CPU
    channels = (1, 3, 6)[multipole]
    time_direct = atoms * waves * (channels + PHASE_CHANNELS) * DIRECT_COST
    time_mesh = (
        atoms * splines**3 + FFT_COST * shape.structures * shape.volume / spacing**3 + MESH_START
    )
    demands = demands | {"mesh": mesh} if time_direct < time_mesh else {"mesh": mesh} | demands
    return _first_fitting(demands, shape, free, k_cutoff)


def _shape(geometry: Geometry) -> Shape:
    cell = geometry.cells.detach()
    lengths = cell.norm(dim=-1).amax(0)
    volume = torch.linalg.det(cell).abs().amax(0, keepdim=True)
    # one transfer from the device for all of them
    numbers = torch.cat([lengths, volume]).tolist()
    return Shape(geometry.atoms, len(cell), numbers[:3], numbers[3])


def _direct_memory(shape: Shape, k_cutoff: float, top: int, dtype: torch.dtype) -> float:
    """Bytes of the direct sum: all waves or a block of them, and what is kept besides."""
    m1, m2, m3 = (k_cutoff * length / (2.0 * pi) for length in shape.lengths)
    box = (2.0 * m1 + 1.0) * (2.0 * m2 + 1.0)
    width = ceil(shape.atoms / shape.structures)
    each = direct_bytes(shape.structures, width, 1, int(m3) + 1, top, dtype)
    along = (m3 + 1.0) * 20.0 * (1, 3, 6)[top]
    tables = shape.structures * width * ((m1 + m2) * 16.0 + along) * dtype.itemsize
    return BYTES_PER_INDEX * box + tables + max(each, min(box * each, BLOCK_BYTES))


def _free_bytes(geometry: Geometry) -> float:
    """Memory that is left; of the process that has least of it, so that all choose the same."""
    left = available_bytes(geometry.place)
    if geometry.domain is None:
        return left
    return -float(geometry.domain.largest(torch.tensor([-left], dtype=torch.float64)))


def _first_fitting(
    demands: dict[str, Demand], shape: Shape, free: Callable[[], float], k_cutoff: float
) -> str:
    """Name the first sum that can be done."""
    problems = []
    for name, demand in demands.items():
        if demand.waves > MOST_WAVES:
            problems.append(
                f"{name} needs {demand.waves:.1e} waves (limit {MOST_WAVES:.0e}) and "
                f"{demand.memory / 1e9:.3g} GB"
            )
        elif demand.memory <= UNQUESTIONED or demand.memory <= (left := free()):
            return name
        else:
            problems.append(
                f"{name} needs {demand.memory / 1e9:.3g} GB, of which {left / 1e9:.3g} are free"
            )
    size = " x ".join(f"{length:.4g}" for length in shape.lengths)
    raise ValueError(
        f"`cell` is too large for a sum over waves (cell vectors of {size} Å, "
        f"{shape.structures} structure(s), {shape.atoms} atoms, k_cutoff {k_cutoff:.3g} Å⁻¹): "
        f"{'; '.join(problems)}. Use open boundaries (pbc=False) for a molecule, a smaller cell, "
        "a larger `smearing` or a smaller `k_cutoff`"
    )
