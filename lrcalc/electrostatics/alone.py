"""Structures summed as if each were alone: no number depends on the company in a batch.

The cheaper sum, the size of a mesh and the repeat length of a slab are choices that a batch makes
together (`choice`, `Mesh.sizes`, `Slab`), within the accuracy asked for. Here structures are
grouped by what each would choose by itself; those that choose alike are still summed together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from lrcalc.electrostatics.sums import Geometry, Sum


class Choice(NamedTuple):
    """What a structure chooses by itself.

    Attributes
    ----------
    kind : str
        "open", "slab", "direct" or "mesh".
    sizes : hashable
        That its numbers depend on beside; structures of one kind and sizes are summed together.
    """

    kind: str
    sizes: Hashable = None


def split(
    kinds: list[tuple[str | Sum, Tensor | None]],
    geometry: Geometry,
    choose: Callable[[str, Geometry], Choice],
) -> list[tuple[str | Sum, Tensor | None]]:
    """Split groups of structures by what each of them chooses.

    Parameters
    ----------
    kinds : list
        Kind of boundary or sum → members, as of `operator.plan_groups`.
    geometry : Geometry
        The whole batch.
    choose : callable
        Kind and geometry of one structure to its choice.
    """
    out: list[tuple[str | Sum, Tensor | None]] = []
    counts = torch.bincount(geometry.batch, minlength=geometry.structures).tolist()
    for kind, members in kinds:
        if not isinstance(kind, str) or kind in ("open", "direct"):
            out.append((kind, members))  # sums in which structures do not meet
            continue
        rows = range(geometry.structures) if members is None else members.tolist()
        if kind == "slab":  # the repeat length of each follows its thickness
            groups = {Choice(kind, row): [row] for row in rows}
        else:
            groups = _alike(kind, geometry, rows, counts, choose)
        for choice, chosen in groups.items():
            whole = len(chosen) == geometry.structures
            here = geometry.batch.new_tensor(chosen)
            out.append((choice.kind, None if whole else here))
    return out


def _alike(
    kind: str,
    geometry: Geometry,
    rows: range | list[int],
    counts: list[int],
    choose: Callable[[str, Geometry], Choice],
) -> dict[Choice, list[int]]:
    """Structures by their choices; equal cells with equally many atoms are asked once."""
    cells = geometry.cells.detach()
    plain = cells.cpu().double().numpy()
    known: dict[Hashable, Choice] = {}
    groups: dict[Choice, list[int]] = {}
    for row in rows:
        key = (counts[row], plain[row].tobytes())
        if key not in known:
            one = geometry._replace(
                positions=geometry.positions[:1].expand(counts[row], 3),  # as many; none is read
                cell=cells[row : row + 1],
                batch=geometry.batch.new_zeros(counts[row]),
                structures=1,
                pbc=None if geometry.pbc is None else geometry.pbc[row : row + 1],
            )
            known[key] = choose(kind, one)
        groups.setdefault(known[key], []).append(row)
    return groups
