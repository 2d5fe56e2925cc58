"""Potential: backbone + readout + electrostatics, one energy."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrcalc.electrostatics import Electrostatics, electrostatic_energy
from lrcalc.models.backbone import Backbone, Features
from lrcalc.models.card import VOLUME_PER_ATOM
from lrcalc.models.native.local import LocalBackbone
from lrcalc.models.readout import Readings, Readout
from lrcalc.models.surface import PolarizabilitySurface
from lrcalc.neighbors import Pairs, pair_vectors
from lrcalc.system import System, sum_by_structure

DEFAULTS: dict[str, Any] = {
    "cutoff": 5.0,
    "channels": 32,
    "n_basis": 8,
    "hidden": 64,
    "level": "u",
    "charges": "local",
    "transfer_cutoff": 3.5,
    "transfer_channels": 4,
    "anisotropic": False,
    "smearing": 1.0,
    "k_cutoff": None,
    "accuracy": 1e-4,
    "iterations": 0,
    "surface": 0,
}
"""Architecture of a potential: plain values, stored in its file."""


class Terms(NamedTuple):
    """Everything that observables are made of, before any field or derivative.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV, float64
        Field-free energy.
    readout : Readings
        Local energies, multipoles, charge transfers.
    electrostatics : Electrostatics or None
        Energy and, where the model responds, induced moments; None without charges.
    vectors : Tensor, shape (E, 3), Å
        Pair vectors.
    surface : Tensor or None, shape (S, 3, 3), e Å²/V, float64
        Polarizability that was learned from polarizabilities; None for a model without.
    surface_volume : float or None, Å³
        What an atom filled in the periodic matter that the surface was learned from; None where
        that is not known, or where it was learned from molecules.
    """

    energy: Tensor
    readout: Readings
    electrostatics: Electrostatics | None
    vectors: Tensor
    surface: Tensor | None = None
    surface_volume: float | None = None


class Potential(nn.Module):
    """A semi-local potential with latent polarizable multipoles (physics §1).

    Parameters
    ----------
    species : tuple of int
        Atomic numbers.
    config : dict
        Architecture; missing entries are taken from `DEFAULTS`.

    Attributes
    ----------
    surface : PolarizabilitySurface or None
        Made with the option ``surface`` (its hidden width; 0 for none) or `add_surface`.
    metadata : dict
        The card of the model: epsilon_infinity, data, errors, licence, ...
    """

    reference_energy: Tensor

    def __init__(self, species: tuple[int, ...], **config: Any) -> None:
        super().__init__()
        unknown = set(config) - set(DEFAULTS)
        if unknown:
            raise ValueError(f"unknown model options {sorted(unknown)}; known: {sorted(DEFAULTS)}")
        self.config = {**DEFAULTS, **config}
        self.metadata: dict[str, Any] = {"epsilon_infinity": 1.0}
        c = self.config
        self.backbone: LocalBackbone = LocalBackbone(
            species,
            cutoff=c["cutoff"],
            channels=c["channels"],
            n_basis=c["n_basis"],
            hidden=c["hidden"],
        )
        self.readout = Readout(
            self.backbone.species,
            self.backbone.n_scalars,
            self.backbone.n_channels,
            level=c["level"],
            charges=c["charges"],
            transfer_cutoff=min(c["transfer_cutoff"], c["cutoff"]),
            transfer_channels=c["transfer_channels"],
            anisotropic=c["anisotropic"],
        )
        n_species = len(self.backbone.species)
        self.register_buffer("reference_energy", torch.zeros(n_species, dtype=torch.float64))
        self.surface: PolarizabilitySurface | None = None
        if c["surface"]:
            self.add_surface(c["surface"])

    def add_surface(self, hidden: int) -> PolarizabilitySurface:
        """Give the potential a new, untrained polarizability surface of this width."""
        if self.config["level"] == "sr":
            raise ValueError(
                "this model is short-ranged (level 'sr') and has no dipole; a polarizability "
                "needs a model of level 'q' or above"
            )
        self.config["surface"] = int(hidden)
        self.surface = PolarizabilitySurface(
            len(self.species), self.backbone.n_scalars, self.backbone.n_channels, int(hidden)
        ).to(self.readout.weight)
        return self.surface

    @property
    def cutoff(self) -> float:
        """Radius of the local description, Å."""
        return self.backbone.cutoff

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers the model knows."""
        return self.backbone.species

    @property
    def screening(self) -> float:
        """Screening factor ``s = √(ε_∞/(1+χ))`` of the card: physical over latent charges."""
        return math.sqrt(
            self.metadata.get("epsilon_infinity", 1.0)
            / (1.0 + self.metadata.get("susceptibility", 0.0))
        )

    @property
    def charge_screening(self) -> float:
        """Physical over latent total charge of an ion, so that its Born charges sum to it.

        The screening factor; kept at what it was in training if the susceptibility of the model,
        which is known only afterwards, has changed that: energies of ions stay as trained.
        """
        return float(self.metadata.get("charge_screening", self.screening))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the parameters."""
        return self.readout.weight.dtype

    def forward(self, system: System, pairs: Pairs, *, surface: bool = True) -> Terms:
        """Energy and multipoles of a batch of structures.

        Parameters
        ----------
        system : System
            Positions may be float64 with a float32 model: pair vectors are formed first.
        pairs : Pairs
            Within `cutoff` at least; farther pairs contribute nothing.
        surface : bool
            Evaluate the polarizability surface, if there is one; energies do not need it.

        Returns
        -------
        Terms
        """
        vectors = pair_vectors(system, pairs).to(self.dtype)
        features: Features = self.backbone(system, pairs, vectors)
        latent = system._replace(total_charge=system.total_charge / self.charge_screening)
        readout: Readings = self.readout(features, latent, pairs, vectors)
        species = self.backbone.species_of_number[system.numbers]
        local = readout.energies.double() + self.reference_energy[species]
        energy = sum_by_structure(local, system.batch, system.n_structures)
        if self.config["level"] == "sr":
            return Terms(energy, readout, None, vectors)
        electrostatics = electrostatic_energy(
            system.positions.to(self.dtype),
            system.cell.to(self.dtype),
            readout.multipoles,
            batch=system.batch,
            pbc=system.pbc,
            smearing=self.config["smearing"],
            k_cutoff=self.config["k_cutoff"],
            accuracy=self.config["accuracy"],
            iterations=self.config["iterations"],
            # structures were checked where they came in (`from_ase`); what the readout makes of
            # them is not the user's input, and rounding in it is no error
            check=False,
        )
        alpha = None
        if surface and self.surface is not None:
            alpha = self.surface(features, species, system.batch, system.n_structures)
        total = energy + electrostatics.energy.double()
        volume = self.metadata.get("polarizability", {}).get(VOLUME_PER_ATOM)
        return Terms(total, readout, electrostatics, vectors, alpha, volume)


def check_backbone(backbone: Backbone) -> Backbone:
    """Return ``backbone``; its type is checked statically against the protocol."""
    return backbone
