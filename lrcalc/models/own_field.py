"""Models with an energy of their own in a uniform field, of any order in it.

Where our own models have an energy and multipoles, of which `enthalpy` makes the energy in a field,
others (MACE-POLAR) are told the field and return that energy. Everything electrical is then its
derivative: with the enthalpy 𝓕(R, E), dipole ``-∂𝓕/∂E``, polarizability ``-∂²𝓕/∂E²``, Born charges
``-∂²𝓕/∂E∂r``, all at the field that is held. So forces and work in a field belong together. The
dipole that such a model makes of its own charges is another one, unless these minimise the energy.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from lrcalc.derivatives import jacobian
from lrcalc.fields import FIELD, Field
from lrcalc.system import System


def in_field(system: System, field: Field | None, screening: float | Tensor) -> System:
    """Return the system with the field that it is in, a leaf (S, 3), zero for None.

    Raises
    ------
    ValueError
        For another condition than a constant field, or an ε_∞: such dipoles are physical.
    """
    if field is not None and field.kind != FIELD:
        raise ValueError(
            f"this model has an energy of its own at a constant electric field, not at constant "
            f"{field.kind.replace('_', ' ')}; use `electric_field`"
        )
    if screening != 1.0:
        raise ValueError(
            "`epsilon_infinity` scales latent charges, but the dipole of this model is the "
            "derivative of its energy in a field, as it is; leave it out"
        )
    positions = system.positions
    value = positions.new_tensor([0.0, 0.0, 0.0] if field is None else field.value)
    leaf = value.expand(system.n_structures, 3).clone().requires_grad_()
    return system._replace(field=leaf)


class OwnEnthalpy:
    """What `lrcalc.models.enthalpy.Enthalpy` tells, by differentiation when it is asked for.

    Parameters
    ----------
    value : Tensor, shape (S,), eV
        Energy in the field.
    system : System
        With `System.field`, which the value depends on.
    """

    response = None

    def __init__(self, value: Tensor, system: System) -> None:
        assert system.field is not None, "`in_field` comes before"
        self.value = value
        self.field: Tensor = system.field

    @cached_property
    def dipole(self) -> Tensor:
        """``-∂𝓕/∂E``, (S, 3), e Å; keeps the graph."""
        (gradient,) = torch.autograd.grad(self.value.sum(), self.field, create_graph=True)
        return -gradient

    @property
    def moment(self) -> Tensor:
        """The same: Born charges are its derivatives at this field."""
        return self.dipole

    @cached_property
    def polarizability(self) -> Tensor:
        """``-∂²𝓕/∂E²``, (S, 3, 3), e Å²/V; keeps the graph."""
        rows = jacobian(self.dipole.sum(0), self.field, create_graph=True)
        return rows.transpose(0, 1)
