"""What a potential says of a batch of structures."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lrcalc.electrostatics import ElectrostaticsResult
from lrcalc.models.backbone import Passed
from lrcalc.models.readout import Readings


class Terms(NamedTuple):
    """Everything that observables are made of, before any field or derivative.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV, float64
        Field-free energy.
    readout : Readings
        Local energies, multipoles, charge transfers.
    electrostatics : ElectrostaticsResult or None
        Energy and, where the model responds, induced moments; None without charges.
    vectors : Tensor, shape (E, 3), Å
        Pair vectors.
    surface : Tensor or None, shape (S, 3, 3), e Å²/V, float64
        Polarizability that was learned from polarizabilities; None for a model without.
    surface_volume : float or None, Å³
        What an atom filled in the periodic matter that the surface was learned from; None where
        that is not known, or where it was learned from molecules.
    heard : tuple of Passed
        Of the backbone's features.
    local : Tensor or None, shape (N,), eV, float64
        All of the energies of atoms but the electrostatics, ghosts' zero.
    """

    energy: Tensor
    readout: Readings
    electrostatics: ElectrostaticsResult | None
    vectors: Tensor
    surface: Tensor | None = None
    surface_volume: float | None = None
    heard: tuple[Passed, ...] = ()
    local: Tensor | None = None
