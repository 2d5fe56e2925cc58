"""What may be chosen of a model of phases and its training: plain values, nothing is imported."""

from __future__ import annotations

from typing import Any, NamedTuple

DEFAULTS: dict[str, Any] = {
    "cutoff": 2.6, "lmax": 4, "n_basis": 8, "products": 16, "rounds": 2, "score_rounds": 2,
    "smooth": 1, "width": 96, "sigma": 0.1,
}  # fmt: skip
"""Settings of a model without species; lengths in units of `lrcalc.information.phase_lengths`."""

DEFAULTS_SPECIES: dict[str, Any] = {**DEFAULTS, "cutoff": 4.2}
"""Settings of a model that knows species; Å."""


class Settings(NamedTuple):
    """How a model is trained: labels first, then the score.

    Attributes
    ----------
    label_steps, steps : int
        Batches of the two parts. The learning rate of each falls along a cosine to zero at the
        last, or when its share of ``max_minutes`` has passed, whichever is nearer.
    max_minutes : float
        0: no limit.
    label_share : float
        Part of ``max_minutes`` that the labels get.
    crystal_atoms : int
        Of a crystal, at least. With more than two rounds of averages 800 are needed: in smaller
        cells averages go round the cell, and what is learned there does not hold in larger ones.
    label_crystals, pool : int
        Crystals of a batch of labels, and those that are kept to draw them from.
    batch_atoms : int
        Of a batch of the score.
    learning_rate, weight_decay, clip : float
        Peak, AdamW's decoupled decay, largest norm of a gradient.
    ema : float
        Decay a step of the averaged weights, which are what is validated and kept.
    noise : tuple of float
        Least and largest standard deviation of a component of the displacements, in units of the
        distance of nearest neighbours: one half of the batch uniform in it, the other in its log.
    floor : float
        ``σ_0``, in the same unit.
    strain, jitter : float
        Standard deviations of a random strain of the crystals, and of the unit of length.
    seed : int
    device : str
    graph : bool
        Record the steps of the score (CUDA).
    start : str or None
        Name of the model whose weights it began with (`lrcalc.information.phase_start`).
    """

    label_steps: int = 20000
    steps: int = 20000
    max_minutes: float = 0.0
    label_share: float = 0.35
    crystal_atoms: int = 120
    label_crystals: int = 12
    pool: int = 600
    batch_atoms: int = 1000
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    clip: float = 2.0
    ema: float = 0.998
    noise: tuple[float, float] = (0.01, 0.25)
    floor: float = 0.03
    strain: float = 0.01
    jitter: float = 0.01
    seed: int = 0
    device: str = "cpu"
    graph: bool = True
    start: str | None = None


FREE = ("steps", "label_steps", "max_minutes", "label_share", "device", "graph")
"""Settings that may change when a training goes on."""
