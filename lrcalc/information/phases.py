"""Which phase an atom is in: a log-probability of structures that was trained on perfect crystals.

Each atom ``a`` has a logit ``l_ac`` for each phase ``c``, and a structure the log-probability

    log P̂ = Σ_a logsumexp_c l_ac .

Its gradient, the score ``s = ∇ log P̂``, points from a disordered structure to the crystal it came
from; ``r + σ_s² s`` is where the atoms would have been without noise, and a label is the largest
logit (Kwon et al., arXiv:2512.11077; physics §8). The logits of one atom are only defined up to
the common term that the score needs, so the network gives the two apart: ``l_ac = e_a +
log softmax_c z_ac``, hence ``log P̂ = Σ_a e_a``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrcalc import zoo
from lrcalc.checkpoint import read_tensors, write_tensors
from lrcalc.information.phase_backbone import AveragedDensities
from lrcalc.information.phase_settings import DEFAULTS, DEFAULTS_SPECIES
from lrcalc.models.backbone import refuse_broken
from lrcalc.models.native.local import LocalBackbone
from lrcalc.neighbors import Pairs
from lrcalc.system import System

FORMAT = "lrcalc-phases-1"

ANY = (1,)
"""The one species of a model that does not look at species."""


class Logits(NamedTuple):
    """What a model says of N atoms.

    Attributes
    ----------
    energy : Tensor, shape (N,)
        ``e_a = logsumexp_c l_ac``: the atom's part of log P̂.
    chances : Tensor, shape (N, C)
        ``log softmax_c l_ac``: logarithm of the probability of each phase.
    """

    energy: Tensor
    chances: Tensor

    @property
    def logits(self) -> Tensor:
        """``l_ac``, shape (N, C)."""
        return self.energy[:, None] + self.chances


class PhaseModel(nn.Module):
    """Our own backbone with a readout of logits.

    Parameters
    ----------
    phases : sequence of str
        Names of the C phases.
    species : tuple of int
        Atomic numbers, ascending; empty: all atoms are of one species, and lengths are in units of
        the structure's own (`lrcalc.information.phase_lengths`).
    cutoff, sigma : float
        Of messages, and of the score ``σ_s``; in units of the length, or Å where species are known.
    lmax, channels, n_basis, hidden, layers : int
        Of `AveragedDensities`; of `LocalBackbone` where ``lmax`` is 0.
    width : int
        Of the readout's hidden layer.
    """

    def __init__(self, phases: Sequence[str], species: Sequence[int] = (), **settings: Any) -> None:
        super().__init__()
        known = dict(DEFAULTS_SPECIES if species else DEFAULTS)
        unknown = set(settings) - set(known)
        if unknown:
            raise ValueError(f"unknown settings {sorted(unknown)}; there are {sorted(known)}")
        self.phases, self.species = tuple(phases), tuple(species)
        if len(set(self.phases)) != len(self.phases) or not self.phases:
            raise ValueError(f"`phases` are {list(phases)} but must be different names")
        self.settings = known | settings
        self.metadata: dict[str, Any] = {}
        self.cutoff, self.sigma = float(self.settings["cutoff"]), float(self.settings["sigma"])
        parts = {k: self.settings[k] for k in ("channels", "n_basis", "hidden", "layers")}
        lmax = self.settings["lmax"]
        self.backbone: LocalBackbone | AveragedDensities
        if lmax:
            self.backbone = AveragedDensities(
                self.species or ANY, cutoff=self.cutoff, lmax=lmax, **parts
            )
        else:
            self.backbone = LocalBackbone(self.species or ANY, cutoff=self.cutoff, **parts)
        features, width = self.backbone.n_scalars, self.settings["width"]
        self.inner = nn.Linear(features, width)
        self.classes = nn.Linear(width, len(self.phases))
        self.energy_inner = nn.Linear(features, width)
        self.energy = nn.Linear(width, 1)
        # no score at first: that of an untrained network is many times the largest that is right
        nn.init.zeros_(self.energy.weight)

    @property
    def scaled(self) -> bool:
        """Whether structures are measured in units of their own length."""
        return not self.species

    def forward(self, system: System, pairs: Pairs, vectors: Tensor) -> Logits:
        """Logits of all atoms, from the pair vectors (E, 3)."""
        return self.read(self.backbone(system, pairs, vectors).scalars)

    def read(self, scalars: Tensor) -> Logits:
        """Logits from invariant features (N, F)."""
        silu = torch.nn.functional.silu
        energy = self.energy(silu(self.energy_inner(scalars)))[:, 0]
        chances = torch.log_softmax(self.classes(silu(self.inner(scalars))), dim=1)
        return Logits(energy, chances)

    def calibrate(self, system: System, pairs: Pairs, vectors: Tensor) -> None:
        """Bring features of the backbone near 1 with one batch, before training."""
        self.backbone.calibrate(system, pairs, vectors)


def save(model: PhaseModel, path: str | os.PathLike[str]) -> None:
    """Write a model file atomically: tensors and plain values."""
    content = {
        "format": FORMAT,
        "phases": list(model.phases),
        "species": list(model.species),
        "settings": json.dumps(model.settings),
        "metadata": json.dumps(model.metadata),
        "state": {k: v.detach().cpu() for k, v in model.state_dict().items()},
    }
    write_tensors(content, path)


def load(name: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> PhaseModel:
    """Load a bundled model of phases by name, or a file by path.

    Raises
    ------
    FileNotFoundError
        No such bundled model or file.
    ValueError
        The file is something else, is damaged, or does not fit its own configuration.
    """
    path = model_path(name)
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!r}, a model of phases has {FORMAT!r}: give "
            f"one of {', '.join(zoo.phase_models())}, or what `lrcalc phases train` wrote"
        )
    try:
        settings = json.loads(content["settings"])
        model = PhaseModel(content["phases"], tuple(content["species"]), **settings)
        model = model.to(dtype or next(iter(content["state"].values())).dtype)
        model.load_state_dict(content["state"])
        model.metadata = dict(json.loads(content["metadata"]))
    except (KeyError, TypeError, AttributeError, RuntimeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} does not fit its own configuration: {error}") from error
    refuse_broken(model, path, "; its training diverged")
    return model.eval().requires_grad_(False)


def model_path(name: str | os.PathLike[str]) -> Path:
    """Path of a bundled model of phases, or ``name`` itself if it is a path."""
    text = os.fspath(name)
    if os.sep not in text and not text.endswith(".pt"):
        if text not in zoo.phase_models():
            raise FileNotFoundError(
                f"no bundled model of phases {text!r}; there are: "
                f"{', '.join(zoo.phase_models()) or 'none'}; for a file give its path (ending in "
                ".pt)"
            )
        return zoo.phase_model_file(text)
    return Path(text)


def score(
    model: PhaseModel, system: System, pairs: Pairs, offset: Tensor, *, train: bool = False
) -> tuple[Logits, Tensor]:
    """Logits, and the gradient of log P̂ with respect to the positions, by one backward pass.

    Parameters
    ----------
    model : PhaseModel
    system : System
        Positions in the model's unit of length.
    pairs : Pairs
        ``i`` and ``j`` are used.
    offset : Tensor, shape (E, 3)
        ``shift @ cell`` of the pairs, in the same unit.
    train : bool, optional
        Keep the graph, for the gradient of a loss.

    Returns
    -------
    Logits
    Tensor, shape (N, 3)
        One over the unit of length.
    """
    with torch.enable_grad():
        positions = system.positions.detach().requires_grad_(True)
        there, here = (positions.index_select(0, atoms) for atoms in (pairs.j, pairs.i))
        found = model(system._replace(positions=positions), pairs, there - here + offset)
        (gradient,) = torch.autograd.grad(found.energy.sum(), positions, create_graph=train)
    if train:
        return found, gradient
    return Logits(found.energy.detach(), found.chances.detach()), gradient
