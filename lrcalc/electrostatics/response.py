"""Induced charges and dipoles: linear response to the permanent multipoles.

``δq_i = -κ_i φ_i`` and ``δu_i = α_i·F_i`` lower the energy by ``½ Σ κ φ²`` and ``½ Σ F·α·F``
(Kim et al., arXiv:2605.05746); the response is not iterated unless asked.
"""

from __future__ import annotations

from torch import Tensor

from lrcalc.multipoles import Multipoles


def respond(
    multipoles: Multipoles, potential: Tensor, field: Tensor | None
) -> tuple[Tensor | None, Tensor | None]:
    """Charges and dipoles induced by a potential (N,) and a field (N, 3) at the sites.

    The field may contain a uniform external one: the response is the same.
    """
    charge = dipole = None
    if multipoles.capacitance is not None:
        charge = -multipoles.capacitance * potential
    if multipoles.polarizability is not None and field is not None:
        alpha = multipoles.polarizability
        if alpha.dim() == 1:
            dipole = alpha[:, None] * field
        else:
            dipole = (alpha @ field[:, :, None]).squeeze(-1)
    return charge, dipole


def polarization_energy(
    charge: Tensor | None, dipole: Tensor | None, potential: Tensor, field: Tensor | None
) -> Tensor | None:
    """Energy per atom, ``½ δq φ - ½ δu·F`` (eV), of induced moments; None if there are none."""
    energy = None
    if charge is not None:
        energy = 0.5 * charge * potential
    if dipole is not None and field is not None:
        part = -0.5 * (dipole * field).sum(-1)
        energy = part if energy is None else energy + part
    return energy
