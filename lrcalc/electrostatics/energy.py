"""The electrostatic energy of a batch of structures, the door for other people's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lrcalc.electrostatics.ewald import ElectrostaticsResult, Ewald
from lrcalc.electrostatics.sums import Sum
from lrcalc.multipoles import Multipoles


def electrostatic_energy(
    positions: Tensor,
    cell: Tensor | None,
    multipoles: Multipoles,
    *,
    batch: Tensor | None = None,
    pbc: Tensor | Sequence[Any] | bool | None = None,
    smearing: float = 1.0,
    k_cutoff: float | None = None,
    method: str | Sum = "auto",
    accuracy: float = 1e-5,
    remove_self_interaction: bool = True,
    iterations: int | None = 0,
    tolerance: float | None = None,
    maximum_iterations: int = 200,
    with_field: bool = False,
    check: bool = True,
) -> ElectrostaticsResult:
    """Energy of smeared, polarizable multipoles (Kim et al., arXiv:2605.05746).

    One call of an `Ewald`, whose page says what the arguments mean: ``positions``, ``cell``,
    ``multipoles``, ``batch``, ``pbc``, ``with_field`` and ``check`` are those of its call, the
    others those of its constructor. Whoever calls many times keeps an `Ewald`, which checks its
    settings once and remembers what depends on the cell alone.

    Notes
    -----
    Not for tracing by ``torch.compile``: index sets, mesh sizes and the choice of method depend
    on values. In a compiled model call ``torch.compiler.disable(electrostatic_energy)``, or make
    the plan outside (`Ewald.plan`): `Ewald.evaluate` with linear response is a single graph.
    """
    ewald = Ewald(
        smearing,
        k_cutoff,
        accuracy,
        method,
        iterations=iterations,
        tolerance=tolerance,
        maximum_iterations=maximum_iterations,
        remove_self_interaction=remove_self_interaction,
    )
    return ewald(  # type: ignore[no-any-return]
        positions, cell, multipoles, batch=batch, pbc=pbc, with_field=with_field, check=check
    )
