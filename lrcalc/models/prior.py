"""A repulsion that is there before anything is learned, so that no atoms fall into one another.

Data of a liquid say nothing of two atoms closer than in any frame; there a learned energy may go
anywhere. The prior is the universal screened Coulomb repulsion of nuclei (Ziegler, Biersack,
Littmark, The Stopping and Range of Ions in Solids, 1985), a sum over pairs,

    E = Σ_pairs k Z_i Z_j/r φ(r/a),  a = 0.8854 a₀/(Z_i^0.23 + Z_j^0.23),
    φ(x) = Σ share e^(-rate x)  (`SHARES`, `RATES`),

under the envelope of the model's cutoff. What is learned is the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrcalc.models.options import PRIORS
from lrcalc.models.radial import envelope
from lrcalc.neighbors import Pairs
from lrcalc.units import BOHR, COULOMB

SHARES = (0.18175, 0.50986, 0.28022, 0.02817)
RATES = (3.1998, 0.94229, 0.4029, 0.20162)
"""Of the screening function φ."""


class NuclearRepulsion(nn.Module):
    """Energies of the screened repulsion of nuclei, without parameters to learn.

    Parameters
    ----------
    species : tuple of int
        Atomic numbers.
    cutoff : float
        Å, where it ends with two derivatives.
    """

    strength: Tensor
    rate: Tensor

    def __init__(self, species: tuple[int, ...], cutoff: float) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        z = torch.tensor(species, dtype=torch.float64)
        length = 0.8854 * BOHR / (z[:, None] ** 0.23 + z**0.23)
        share, rate = (torch.tensor(x, dtype=torch.float64) for x in (SHARES, RATES))
        strength = (COULOMB * z[:, None] * z)[..., None] * share
        self.register_buffer("strength", strength.flatten(0, 1), persistent=False)
        self.register_buffer("rate", (rate / length[..., None]).flatten(0, 1), persistent=False)

    def forward(self, species: Tensor, pairs: Pairs, vectors: Tensor) -> Tensor:
        """Energy of each atom, half of that of its pairs, shape (N,), eV.

        Parameters
        ----------
        species : Tensor, shape (N,)
            Counted from 0.
        pairs : Pairs
        vectors : Tensor, shape (E, 3), Å
        """
        distance = torch.linalg.vector_norm(vectors, dim=1)
        couple = species[pairs.i] * round(len(self.rate) ** 0.5) + species[pairs.j]
        strength, rate = (
            x.to(distance.dtype).index_select(0, couple) for x in (self.strength, self.rate)
        )
        screened = (strength * torch.exp(-rate * distance[:, None])).sum(1)
        energy = 0.5 * screened / distance * envelope(distance, self.cutoff)
        return energy.new_zeros(len(species)).index_add(0, pairs.i, energy)


def build_prior(kind: str, species: tuple[int, ...], cutoff: float) -> NuclearRepulsion | None:
    """Make the prior of an option, None for "none".

    Raises
    ------
    ValueError
        For an unknown ``kind``.
    """
    if kind not in PRIORS:
        raise ValueError(f"`prior` is {kind!r} but must be one of {list(PRIORS)}")
    return NuclearRepulsion(species, cutoff) if kind == "zbl" else None
