"""A repulsion that is there before anything is learned, so that no atoms fall into one another.

Data of a liquid say nothing of two atoms closer than in any frame; there a learned energy may go
anywhere. The prior is the universal screened Coulomb repulsion of nuclei (Ziegler, Biersack,
Littmark, The Stopping and Range of Ions in Solids, 1985), a sum over pairs,

    E = Σ_pairs k Z_i Z_j/r φ(r/a),  a = 0.8854 a₀/(Z_i^0.23 + Z_j^0.23),
    φ(x) = Σ share e^(-rate x)  (`SHARES`, `RATES`),

under the envelope of the model's cutoff. What is learned is the rest. Of two atoms that are bonded
the rest is large and steep, and learned less well; so it may be left to pairs that only touch.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    between : nested sequence of bool, shape (S, S), optional
        The pairs of elements that it is between; all by default.
    """

    strength: Tensor
    rate: Tensor

    def __init__(
        self,
        species: tuple[int, ...],
        cutoff: float,
        between: Sequence[Sequence[bool]] | None = None,
    ) -> None:
        super().__init__()
        self.cutoff = float(cutoff)
        self.between = None if between is None else tuple(map(tuple, between))
        z = torch.tensor(species, dtype=torch.float64)
        length = 0.8854 * BOHR / (z[:, None] ** 0.23 + z**0.23)
        share, rate = (torch.tensor(x, dtype=torch.float64) for x in (SHARES, RATES))
        product = z[:, None] * z
        if between is not None:
            product = product * torch.tensor(between, dtype=torch.float64)
        strength = (COULOMB * product)[..., None] * share
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


def build_prior(
    kind: str,
    species: tuple[int, ...],
    cutoff: float,
    between: Sequence[Sequence[bool]] | None = None,
) -> NuclearRepulsion | None:
    """Make the prior of the options ``prior`` and ``prior_between``, None for "none".

    Raises
    ------
    ValueError
        For an unknown ``kind``, or a ``between`` that is no symmetric table (S, S).
    """
    if kind not in PRIORS:
        raise ValueError(f"`prior` is {kind!r} but must be one of {list(PRIORS)}")
    if between is not None:
        rows = [list(row) for row in between]
        sizes = {len(row) for row in rows}
        if sizes != {len(species)} or rows != [list(x) for x in zip(*rows, strict=True)]:
            raise ValueError(
                f"`prior_between` is {between!r} but must be {len(species)} × {len(species)} "
                "and symmetric, or None"
            )
    return NuclearRepulsion(species, cutoff, between) if kind == "zbl" else None
