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
from lrcalc.checkpoint import as_type, read_tensors, write_tensors
from lrcalc.information.phase_backbone import AveragedDensities, Edges, Square
from lrcalc.information.phase_settings import DEFAULTS, DEFAULTS_SPECIES
from lrcalc.models.backbone import refuse_broken
from lrcalc.neighbors import Pairs
from lrcalc.system import System

FORMAT = "lrcalc-phases-1"

HIDDEN = 32
"""Width of what says how familiar an atom is."""

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
    familiar : Tensor, shape (N,), or None
        Familiarity (`lrcalc.information.phase_familiar`); below one half is unknown.
    """

    energy: Tensor
    chances: Tensor
    familiar: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """``l_ac``, shape (N, C)."""
        return self.energy[:, None] + self.chances


class PhaseModel(nn.Module):
    """Averaged densities with a readout of logits.

    Parameters
    ----------
    phases : sequence of str
        Names of the C phases.
    species : tuple of int
        Atomic numbers, ascending; empty: all atoms are of one species, and lengths are in units of
        the structure's own (`lrcalc.information.phase_lengths`).
    cutoff, sigma : float
        Of the neighbourhood, and of the score ``σ_s``; in units of the length, or Å where species
        are known.
    lmax, n_basis, products, rounds : int
        Of `AveragedDensities`.
    score_rounds : int
        Rounds of averages that the score hears; labels hear all, as what has no gradient is cheap.
    smooth : int
        How often ``z_ac`` are averaged over atom and neighbours before they become chances.
    width : int
        Of the readout's hidden layers.
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
        self.smooth = int(self.settings["smooth"])
        parts = {k: self.settings[k] for k in ("lmax", "n_basis", "products", "rounds")}
        self.backbone = AveragedDensities(self.species or ANY, cutoff=self.cutoff, **parts)
        self.score_rounds = min(int(self.settings["score_rounds"]), self.backbone.rounds)
        width = self.settings["width"]
        self.classes = perceptron(self.backbone.n_scalars, width, len(self.phases))
        self.energy = perceptron(self.backbone.size(self.score_rounds), width, 1)
        self.familiar: nn.Sequential | None = None
        # no score at first: that of an untrained network is many times the largest that is right
        nn.init.zeros_(self.energy[-1].weight)  # type: ignore[arg-type]

    @property
    def scaled(self) -> bool:
        """Whether structures are measured in units of their own length."""
        return not self.species

    def forward(
        self, system: System, pairs: Pairs, vectors: Tensor, square: Square | None = None
    ) -> Logits:
        """Logits of all atoms, from the pair vectors (E, 3)."""
        edges = self.backbone.edges(pairs, vectors, len(system.numbers), square=square)
        features = self.backbone(system, edges)
        chances = self.chances(self.classes(features), edges)
        return Logits(self.energies(features), chances, self.familiarity(features, edges))

    def energies(self, features: Tensor) -> Tensor:
        """``e_a`` from features (N, F) of all rounds, or of those that the score hears."""
        return self.energy(self.backbone.first(features, self.score_rounds))[:, 0]

    def familiarity(self, features: Tensor, edges: Edges) -> Tensor | None:
        """``q_a`` (N,) where the model has learned it."""
        if self.familiar is None:
            return None
        u = self.familiar(self.backbone.first(features, self.score_rounds))
        return torch.sigmoid(self.smoothed(u, edges)[:, 0])

    def chances(self, z: Tensor, edges: Edges) -> Tensor:
        """``log softmax_c`` of ``z_ac`` (N, C), averaged over neighbours."""
        return torch.log_softmax(self.smoothed(z, edges), dim=1)

    def smoothed(self, z: Tensor, edges: Edges) -> Tensor:
        """Values (N, P) averaged over atom and neighbours, `smooth` times."""
        for _ in range(self.smooth):
            z = (z + edges.average(z, len(z))) / self.around(edges, len(z))
        return z

    @staticmethod
    def around(edges: Edges, n_atoms: int) -> Tensor:
        """Sum of the weights of an atom and its neighbours, (N, 1)."""
        weight = edges.weight
        return 1 + weight.new_zeros(n_atoms).index_add(0, edges.i, weight)[:, None]


def perceptron(n_in: int, width: int, n_out: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(
        nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
        nn.Linear(width, n_out),
    )  # fmt: skip


def familiar_head(n_in: int) -> nn.Sequential:
    """One hidden layer: from features to ``u_a``."""
    return nn.Sequential(nn.Linear(n_in, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, 1))


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


def load(name: str | os.PathLike[str], *, dtype: torch.dtype | str | None = None) -> PhaseModel:
    """Load a bundled model of phases by name, or a file by path.

    Raises
    ------
    FileNotFoundError
        No such bundled model or file.
    ValueError
        The file is something else, is damaged, or does not fit its own configuration; a ``dtype``
        other than float32 and float64.
    """
    dtype = as_type(dtype)
    path = model_path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"no model file {path}; bundled models of phases: {', '.join(zoo.phase_models())}"
        )
    content = read_tensors(path)
    if content.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {content.get('format')!r}, a model of phases has {FORMAT!r}: give "
            f"one of {', '.join(zoo.phase_models())}, or what `lrcalc phases train` wrote"
        )
    try:
        settings = json.loads(content["settings"])
        model = PhaseModel(content["phases"], tuple(content["species"]), **settings)
        if any(name.startswith("familiar.") for name in content["state"]):
            model.familiar = familiar_head(model.backbone.size(model.score_rounds))
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


def score(model: PhaseModel, system: System, pairs: Pairs, offset: Tensor) -> tuple[Logits, Tensor]:
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

    Returns
    -------
    Logits
    Tensor, shape (N, 3)
        One over the unit of length.
    """
    with torch.enable_grad():
        positions = system.positions.detach().requires_grad_(True)
        there, here = (positions.index_select(0, atoms) for atoms in (pairs.j, pairs.i))
        found = model(system, pairs, there - here + offset)
        (gradient,) = torch.autograd.grad(found.energy.sum(), positions)
    familiar = None if found.familiar is None else found.familiar.detach()
    return Logits(found.energy.detach(), found.chances.detach(), familiar), gradient
