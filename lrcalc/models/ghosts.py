"""Ghosts: neighbours that stand for atoms owned elsewhere, or for images (`System.owned`).

Whoever decomposes space (LAMMPS) gives positions of owned atoms and ghosts, and the pairs. Then

* **pairs** are as given: a ghost is where it is seen, so the shifts are zero;
* **cell and boundary** are those of the whole system. They say what the long-range sum repeats:
  it runs over the owned atoms, which must be all atoms of the structure, and their images. Ghosts
  have no multipoles, and their short-range energies do not count;
* **forces** on ghosts belong to the atoms that they stand for: whoever made them adds them there.
  So do Born charges;
* **reach**: what an owned atom gets from a ghost depends on what the ghost hears itself. Ghosts,
  with all their pairs, are needed as far as `reach` from an owned atom.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lrcalc.models.readout import Readings
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import Pairs


def owned_readings(readings: Readings, owned: Tensor, pairs: Pairs) -> Readings:
    """Set to zero what does not count: ghosts' energies and multipoles, and what they gain."""

    def only(values: Tensor) -> Tensor:
        return values * owned.view(-1, *[1] * (values.dim() - 1))

    transfers, bare, moving = readings.transfers, readings.bare_charge, readings.moment_charge
    if transfers is not None:
        transfers = transfers._replace(
            amount=transfers.amount * owned[pairs.i[transfers.pairs]],
            species_charge=only(transfers.species_charge),
        )
    return Readings(
        only(readings.energies),
        _each(readings.multipoles, only),
        transfers,
        None if bare is None else only(bare),
        None if moving is None else only(moving),
    )


def _each(multipoles: Multipoles, change: Callable[[Tensor], Tensor]) -> Multipoles:
    """Change all that atoms have; what pairs have is refused where they are summed."""

    def changed(values: Tensor | None) -> Tensor | None:
        return None if values is None else change(values)

    return Multipoles(
        change(multipoles.charge),
        changed(multipoles.dipole),
        changed(multipoles.quadrupole),
        changed(multipoles.capacitance),
        changed(multipoles.polarizability),
        multipoles.pair,
    )
