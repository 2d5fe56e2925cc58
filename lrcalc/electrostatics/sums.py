"""What a sum is: a class with `plan` and `evaluate`.

A sum makes the potential of smeared multipoles in one kind of structures. `plan` runs on the host
and settles all that depends on cells, sizes and boundary: it is kept between calls while those
stay the same. `evaluate` takes positions and cells to a linear operator on tensors, and looks at
no value: on a GPU the host never waits for it. `Direct`, `Mesh`, `Open` and `Slab` are sums;
another one is given to `Ewald` as its ``method``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from lrcalc.domain import Domain
from lrcalc.electrostatics.kernels import Sites, Source

Interaction = Callable[[Source, int], tuple[Tensor, Sites | None]]
"""``(source, derivatives) → (energy, sites)``: energies (S,) in eV of the multipoles of the
structures and, up to ``derivatives``, what they make at the sites: -1 energy only (sites are
None), 0 the potential, 1 also the field, 2 also the hessian."""


class Geometry(NamedTuple):
    """Structures of one boundary, and what their multipoles need, as a plan sees them.

    Attributes
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor or None, shape (S, 3, 3), Å
        Cell vectors as rows; None for open boundaries.
    batch : Tensor, shape (N,)
        Structure of each atom, in any order.
    structures : int
        S.
    pbc : Tensor or None, shape (S, 3), bool
        Periodic directions; None: those of the cell.
    multipole : int
        Highest order of the sources: 0 charges, 1 dipoles, 2 quadrupoles.
    derivatives : int
        Highest derivative of the potential that is wanted, at least 0.
    device : torch.device or None
        Where the plan will be used; None: where these tensors are.
    domain : Domain or None
        Whose own atoms these are, of a structure that several processes hold.
    compiled : bool
        Compiled functions may be used (`lrcalc.compiled`).
    alone : bool
        Each structure is summed as it would be by itself (`lrcalc.electrostatics.alone`).
    """

    positions: Tensor
    cell: Tensor | None
    batch: Tensor
    structures: int
    pbc: Tensor | None
    multipole: int = 0
    derivatives: int = 0
    device: torch.device | None = None
    domain: Domain | None = None
    compiled: bool = False
    alone: bool = False

    @property
    def place(self) -> torch.device:
        """Where the plan will be used."""
        return self.positions.device if self.device is None else self.device

    @property
    def atoms(self) -> int:
        """How many there are, on all processes."""
        return len(self.positions) if self.domain is None else self.domain.atoms

    @property
    def cells(self) -> Tensor:
        """``cell``, for sums that cannot do without."""
        assert self.cell is not None
        return self.cell


@runtime_checkable
class Sum(Protocol):
    """One way to sum the interaction of smeared multipoles.

    Attributes
    ----------
    contains_self : bool
        Whether the interaction of a site with itself is part of what `evaluate` gives. Whether
        it is wanted is the business of `Ewald`, which adds or takes off the analytic term.
    """

    @property
    def contains_self(self) -> bool: ...  # noqa: D102

    def plan(self, geometry: Geometry) -> Any:
        """Settle sizes and indices on the host; any plain data, also tensors."""
        ...

    def still_holds(self, plan: Any, positions: Tensor) -> bool:
        """Whether a plan for the same cells and sizes is also that of these positions (N, 3)."""
        ...

    def evaluate(self, plan: Any, positions: Tensor, cell: Tensor | None) -> Interaction:
        """Prepare the interaction at positions (N, 3) and in cells (S, 3, 3), in Å.

        Differentiable in positions, cell and the multipoles that the interaction gets.
        """
        ...
