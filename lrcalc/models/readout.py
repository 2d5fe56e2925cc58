"""Features to short-range energies, latent multipoles and response coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.domain import settled, shared
from lrcalc.models.backbone import Backbone, Features
from lrcalc.models.blocks import padded
from lrcalc.models.compiled_transfers import compiled_weights
from lrcalc.models.fused_transfers import Reach, fused_weights, usable
from lrcalc.models.options import LEVELS
from lrcalc.models.radial import envelope
from lrcalc.models.transfers import handed_out, transfer_weights
from lrcalc.multipoles import (
    Multipoles,
    PairResponse,
    quadrupole_from_spherical,
    transferred_charges,
)
from lrcalc.neighbors import Pairs, rows_within
from lrcalc.system import System, structure_sums

FROM_OPTIONS = (
    "level", "charges", "transfer_channels", "transfer_hops", "transfer_decay", "anisotropic",
)  # fmt: skip
"""Options of a potential that `Readout` takes as they are."""


class Transfers(NamedTuple):
    """Charge that atom ``i`` received from its neighbour ``j`` (physics §4).

    Attributes
    ----------
    pairs : Tensor, shape (T,), int64
        Rows of the pair list.
    amount : Tensor, shape (T,), e
        Charge given to the centre and taken from the neighbour.
    species_charge : Tensor, shape (N,), e
        The part q⁰ that stays on its atom.
    """

    pairs: Tensor
    amount: Tensor
    species_charge: Tensor


class Readings(NamedTuple):
    """What is read out for each atom.

    Attributes
    ----------
    energies : Tensor, shape (N,), eV
        Short-range energies without the reference.
    multipoles : Multipoles
    transfers : Transfers or None
        How local charges came about.
    bare_charge : Tensor or None, shape (N,), e
        Atomic charges before they are made neutral.
    moment_charge : Tensor or None, shape (N,), e
        Neutral charges that dipoles and Born charges are made of, where those that interact are
        not neutral; None where they are.
    """

    energies: Tensor
    multipoles: Multipoles
    transfers: Transfers | None
    bare_charge: Tensor | None
    moment_charge: Tensor | None = None

    @property
    def moving_charge(self) -> Tensor:
        """Charges that make dipoles and move with their atoms, (N,), e."""
        return self.multipoles.charge if self.moment_charge is None else self.moment_charge


def build_readout(
    species: tuple[int, ...], backbone: Backbone, options: Mapping[str, Any]
) -> Readout:
    """Make the `Readout` that a potential's options ask for."""
    _check_filled(backbone, options)
    return Readout(
        len(species), backbone.n_scalars, backbone.n_channels,
        transfer_cutoff=min(options["transfer_cutoff"], backbone.cutoff),
        **{name: options[name] for name in FROM_OPTIONS},
    )  # fmt: skip


def _check_filled(backbone: Backbone, options: Mapping[str, Any]) -> None:
    """Refuse a level that would read vectors or tensors of a backbone that has none."""
    n_vectors, n_tensors = getattr(backbone, "filled", (1, 1))
    orders = LEVELS.get(options["level"], frozenset())
    wanted = {
        "dipoles": ("u" in orders, n_vectors, "vectors (1o)", "'q'"),
        "quadrupoles": ("Q" in orders, n_tensors, "tensors (2e)", "one without Q"),
        "anisotropic polarizabilities": (
            "iu" in orders and options["anisotropic"], n_tensors, "tensors (2e)", "scalar ones",
        ),
    }  # fmt: skip
    for what, (asked, n, features, otherwise) in wanted.items():
        if asked and n == 0:
            raise ValueError(
                f"level {options['level']!r} has {what}, which are made of {features}, but the "
                f"features of this backbone have none: add them (of MACE to `hidden_irreps`, e.g. "
                f"'8x0e + 8x1o + 8x2e'), or choose {otherwise} (`level`, `anisotropic`)"
            )


class Readout(nn.Module):
    """Linear and gated readouts of a backbone's features.

    Parameters
    ----------
    n_species : int
    n_scalars, n_channels : int
        Widths of the features; without channels there are no permanent dipoles and quadrupoles.
    level : str
        One of `LEVELS`.
    charges : {"local", "atomic"}
        ``atomic``: ``q_i = f(h_i)`` minus the mean. ``local``: charge handed to neighbours, so
        that it is conserved exactly and the dipole is single-valued.
    transfer_cutoff : float
        Å; reach of a transfer (local charges).
    transfer_channels : int
        Independent distributions that an atom can hand its charge out with.
    transfer_hops : int
        How often charge is handed on (`lrcalc.models.transfers`).
    transfer_decay : sequence of two floats
        Å; over what distance the shares of the first and of the last channel decay at the start.
    anisotropic : bool
        Tensor rather than scalar polarizabilities.

    Notes
    -----
    Charge response (levels with ``iq``) is the paper's ``δq_i = -κ_i φ_i`` for atomic charges
    and flows between neighbours for local ones.
    """

    transfer_decay: Tensor

    def __init__(
        self,
        n_species: int,
        n_scalars: int,
        n_channels: int,
        *,
        level: str = "u",
        charges: str = "local",
        transfer_cutoff: float = 3.5,
        transfer_channels: int = 4,
        transfer_hops: int = 1,
        transfer_decay: Sequence[float] = (0.25, 0.8),
        anisotropic: bool = False,
    ) -> None:
        super().__init__()
        if level not in LEVELS:
            raise ValueError(f"`level` is {level!r} but must be one of {sorted(LEVELS)}")
        if charges not in ("local", "atomic"):
            raise ValueError(f"`charges` is {charges!r} but must be 'local' or 'atomic'")
        if transfer_hops < 1:
            raise ValueError(f"`transfer_hops` is {transfer_hops} but must be at least 1")
        if min(transfer_decay) <= 0:
            raise ValueError(f"`transfer_decay` is {transfer_decay} Å but must be positive")
        self.level = level
        self.charges = charges
        self.transfer_cutoff = transfer_cutoff
        self.transfer_hops = transfer_hops
        self.n_channels = n_channels
        self.anisotropic = anisotropic
        orders = LEVELS[level]

        sizes = {"energy": 1}
        if "q" in orders:
            sizes["charge"] = transfer_channels if charges == "local" else 1
        if "u" in orders:
            sizes["dipole"] = n_channels
        if "Q" in orders:
            sizes["quadrupole"] = n_channels
        if "iq" in orders:
            sizes["capacitance"] = 1
        if "iu" in orders:
            sizes["polarizability"] = 1
            if anisotropic:
                sizes["anisotropy"] = n_channels
        self.sizes = sizes
        self.weight = nn.Parameter(
            torch.randn(n_scalars, sum(sizes.values())) * (0.3 / math.sqrt(n_scalars))
        )
        # Starting values of the response: a capacitance of 0.02 e/V, polarizability 0.3 Å³.
        self.response_bias = nn.Parameter(torch.zeros(n_species, 2))
        if "q" in orders and charges == "local":
            self.species_charge = nn.Parameter(torch.zeros(n_species))
            n_basis = 6
            self.n_transfer_basis = n_basis
            if transfer_hops > 1:  # all channels arrive: start with charges as large as atomic ones
                with torch.no_grad():
                    self.weight[:, 1 : 1 + transfer_channels] /= math.sqrt(transfer_channels)
            decay = torch.linspace(transfer_decay[0], transfer_decay[1], transfer_channels)
            self.register_buffer("transfer_decay", decay, persistent=False)
            self.transfer_weight = nn.Parameter(
                torch.zeros(n_species, n_species, n_basis + 1, transfer_channels)
            )

    def forward(
        self, features: Features, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> Readings:
        """Read out all atoms.

        Parameters
        ----------
        features : Features
            Of all atoms, or of the first (`System.centres`): the others get zeros.
        species : Tensor, shape (N,), int64
            Index of each atom's species.
        system : System
            Its total charge is the latent one.
        pairs : Pairs
        vectors : Tensor, shape (E, 3), Å
            Pair vectors, centre to neighbour.

        Returns
        -------
        Readings
        """
        raw = features.scalars @ self.weight
        own = species[: len(raw)]  # of the atoms that have features
        parts = dict(zip(self.sizes, raw.split(list(self.sizes.values()), dim=1), strict=True))
        for name in ("energy", "charge"):
            if name in parts:
                parts[name] = padded(parts[name], len(species))
        energies = parts["energy"][:, 0]
        charge, transfers = self._charge(parts, species, system, pairs, vectors)
        bare = parts["charge"][:, 0] if "charge" in parts and transfers is None else None
        dipole = quadrupole = capacitance = polarizability = None
        scale = 1.0 / math.sqrt(max(self.n_channels, 1))
        if "dipole" in parts:
            dipole = _gated(parts["dipole"] * scale, features.vectors)
        if "quadrupole" in parts:
            spherical = _gated(parts["quadrupole"] * scale, features.tensors)
            quadrupole = quadrupole_from_spherical(spherical)
        if "capacitance" in parts:
            response = parts["capacitance"][:, 0] + self.response_bias[:, 0].index_select(0, own)
            capacitance = 0.03 * torch.nn.functional.softplus(response)
        if "polarizability" in parts:
            response = parts["polarizability"][:, 0] + self.response_bias[:, 1].index_select(0, own)
            polarizability = 0.03 * torch.nn.functional.softplus(response)
        if "anisotropy" in parts and polarizability is not None:
            polarizability = _anisotropic(polarizability, parts["anisotropy"] * scale, features)
        dipole, quadrupole, capacitance, polarizability = (
            None if x is None else padded(x, len(species))
            for x in (dipole, quadrupole, capacitance, polarizability)
        )
        pair = None
        if capacitance is not None and self.charges == "local":
            counted = _only_owned(capacitance, system)
            pair, capacitance = self._pair_response(counted, pairs, vectors), None
        multipoles = Multipoles(charge, dipole, quadrupole, capacitance, polarizability, pair)
        return Readings(energies, multipoles, transfers, bare)

    def _pair_response(self, capacitance: Tensor, pairs: Pairs, vectors: Tensor) -> PairResponse:
        """Charge flow between neighbours, which local charges have in place of capacitances.

        Neutral and blind to the zero of the potential, so that it has a dipole in periodic cells
        (physics §4). Each direction of a pair carries half of what its centre asks for.
        """
        rows = rows_within(pairs, vectors, self.transfer_cutoff)
        i, j = pairs.i[rows], pairs.j[rows]
        arm = vectors.index_select(0, rows)
        distance = torch.linalg.vector_norm(arm, dim=1)
        # a sum of rounded numbers, -1e-7 at the cutoff, where a capacitance must not be negative
        reach = envelope(distance, self.transfer_cutoff).clamp(min=0.0) * torch.exp(1.0 - distance)
        return PairResponse(i, j, arm, 0.5 * reach * capacitance.index_select(0, i))

    def _charge(
        self,
        parts: dict[str, Tensor],
        species: Tensor,
        system: System,
        pairs: Pairs,
        vectors: Tensor,
    ) -> tuple[Tensor, Transfers | None]:
        if "charge" not in parts:
            return torch.zeros_like(parts["energy"][:, 0]), None
        if self.charges == "atomic":
            return neutral(parts["charge"][:, 0], system), None
        emitted = _only_owned(parts["charge"], system)
        rows, amount = self._transfers(emitted, species, system, pairs, vectors)
        kept = _only_owned(neutral(self.species_charge.index_select(0, species), system), system)
        charge = transferred_charges(kept, pairs.i[rows], pairs.j[rows], amount)
        return settled(system.domain, charge), Transfers(rows, amount, kept)

    def _transfers(
        self, emitted: Tensor, species: Tensor, system: System, pairs: Pairs, vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Rows of the pair list within reach, and the charge its centre keeps of each, (T,)."""
        rows = rows_within(pairs, vectors, self.transfer_cutoff)
        i, j = pairs.i[rows], pairs.j[rows]
        decay = self.transfer_decay.to(vectors.dtype)
        weight = None
        if system.once:
            known = (rows, pairs.i, pairs.j, species, self.transfer_weight, decay)
            reach = Reach(*known, self.transfer_cutoff)
            if usable(vectors, reach):
                weight = fused_weights(vectors, reach)
            elif system.compiled:
                weight = compiled_weights(vectors, reach)
        if weight is None:
            distance = torch.linalg.vector_norm(vectors.index_select(0, rows), dim=1)
            couple = species[i] * len(self.species_charge) + species[j]
            learned = self.transfer_weight.flatten(0, 1).index_select(0, couple)
            weight = transfer_weights(distance, learned, decay, self.transfer_cutoff)
        return rows, handed_out(emitted, weight, i, j, self.transfer_hops, system.domain)


def neutral(values: Tensor, system: System) -> Tensor:
    """Shift per-atom charges (N,) so that the owned ones of each structure sum to its charge."""
    counted = torch.stack([values, torch.ones_like(values)], 1)
    if system.owned is not None:
        counted = counted * system.owned[:, None]
    sums = structure_sums(system, counted)
    shift = (sums[:, 0] - system.total_charge.to(values.dtype)) / sums[:, 1]
    return values - shared(system.domain, shift).index_select(0, system.batch)


def _only_owned(values: Tensor, system: System) -> Tensor:
    """Zero what ghosts would give (N, ...), where those who own them give it."""
    if system.domain is None or system.owned is None:
        return values
    return values * system.owned.view(-1, *[1] * (values.dim() - 1))


def _gated(gates: Tensor, features: Tensor) -> Tensor:
    """Sum over channels: (N, C), (N, C, m) → (N, m).

    Not einsum, which makes a small matrix product of each atom's: three times as slow.
    """
    return (gates[:, :, None] * features).sum(1)


def _anisotropic(scalar: Tensor, gates: Tensor, features: Features) -> Tensor:
    """Positive semidefinite (N, 3, 3): square of ``√α 1 + T`` with T symmetric and traceless."""
    tensor = quadrupole_from_spherical(_gated(gates, features.tensors))
    # softplus may round to zero, where the slope of the root is infinite
    length = scalar.clamp(min=torch.finfo(scalar.dtype).tiny).sqrt()
    root = tensor + torch.diag_embed(length[:, None].expand(-1, 3))
    return root @ root
