"""How to train, and what its numbers may be: checked before a file is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lrcalc.units import BOHR, COULOMB

POLARIZABILITY_KEYS = ("REF_polarizability", "polarizability")
"""Entries of `Atoms.info` that hold a polarizability: nine numbers or (3, 3)."""

POLARIZABILITY_UNITS = {"eA2/V": 1.0, "A3": 1.0 / COULOMB, "bohr3": BOHR**3 / COULOMB}
"""Units of a polarizability in e Å²/V; volumes stand for ``α/(4π ε0)``."""

LOCAL_FIELDS = ("none", "clausius-mossotti")
"""Of polarizabilities in a file: see `lrcalc.training.polarizability.reference_polarizability`."""


LOSSES = ("mse", "huber")
"""What is made of errors: their squares, or squares only up to a scale."""


class TrainingSettings(NamedTuple):
    """How to train.

    Attributes
    ----------
    epochs : int
    batch_size : int
        Structures per step.
    batch_atoms : int
        Atoms per step, where it is not 0: as many structures as have no more together.
    keep_batches : int
        Epochs for which the frames of a step stay together; with more than 1 the steps of a GPU
        are recorded as CUDA graphs (`lrcalc.training.recorded`).
    learning_rate : float
        Peak; warmed up over the first steps, then a cosine to 1 % of it.
    energy_weight, forces_weight, stress_weight : float
        Of squared errors in eV/atom, eV/Å, eV/Å³.
    born_weight, dipole_weight, polarizability_weight, dielectric_weight : float
        Of squared errors of electrical labels, in the units of `lrcalc.training.loss.TERMS`; 0
        leaves the labels aside.
    energy_boost : float
        Factor on ``energy_weight`` at the end; it rises to it between 65 and 85 % of the epochs.
    weight_decay : float
        Decoupled weight decay of AdamW.
    ema : float
        Decay per step of the averaged weights, which are what is validated and saved.
    patience : int
        Epochs without a better validation loss after which training stops.
    seed : int
        Of the initial weights and of the order of the frames.
    device : str
        Torch device.
    max_minutes : float
        No epoch is begun that would end later; the run can be resumed. 0: no limit.
    loss : str
        One of `LOSSES`.
    huber_scale : float
        eV/Å; error of a force beyond which the loss "huber" rises linearly. That of energies and
        stresses is `lrcalc.training.loss.HUBER` times it.
    step_memory : int
        Steps whose gradients set the size of a step (`lrcalc.training.state.make_optimizer`); 0:
        all of the training, of which the largest count.
    """

    epochs: int = 100
    batch_size: int = 1
    batch_atoms: int = 0
    keep_batches: int = 1
    learning_rate: float = 3e-3
    energy_weight: float = 20.0
    forces_weight: float = 1.0
    stress_weight: float = 100.0
    energy_boost: float = 4.0
    weight_decay: float = 1e-3
    ema: float = 0.995
    patience: int = 100
    seed: int = 0
    device: str = "cpu"
    max_minutes: float = 0.0
    born_weight: float = 0.0
    dipole_weight: float = 0.0
    polarizability_weight: float = 0.0
    dielectric_weight: float = 0.0
    loss: str = "mse"
    huber_scale: float = 0.05
    step_memory: int = 0


LEARNING_RATES = {"mace": 0.01, "nequip": 0.01, "allegro": 0.01}
"""Peaks for backbones whose weights are numbers near 1 (docs/howto/other-models.md)."""


class SurfaceSettings(NamedTuple):
    """How to fit a polarizability surface.

    Attributes
    ----------
    hidden : int
        Width of the hidden layer.
    epochs : int
    batch_size : int
        Structures per step.
    learning_rate : float
        Peak; a cosine down to zero.
    weight_decay : float
        Decoupled weight decay of AdamW.
    seed : int
        Of the initial weights and of the order of the frames.
    """

    hidden: int = 64
    epochs: int = 200
    batch_size: int = 8
    learning_rate: float = 1e-2
    weight_decay: float = 0.01
    seed: int = 0


class Rule(NamedTuple):
    """What a setting may be, as a test and in words. NaN passes no test."""

    allows: Callable[[Any], bool]
    words: str


COUNT = Rule(lambda x: 1 <= x < math.inf, "at least 1")
POSITIVE = Rule(lambda x: 0 < x < math.inf, "positive")
NOT_NEGATIVE = Rule(lambda x: 0 <= x < math.inf, "zero or positive")

RULES = {
    "epochs": COUNT, "batch_size": COUNT, "patience": COUNT, "channels": COUNT, "hidden": COUNT,
    "layers": COUNT, "transfer_hops": COUNT, "keep_batches": COUNT,
    "learning_rate": POSITIVE, "cutoff": POSITIVE, "smearing": POSITIVE, "k_cutoff": POSITIVE,
    "energy_boost": POSITIVE, "max_force": POSITIVE, "huber_scale": POSITIVE,
    "energy_weight": NOT_NEGATIVE, "forces_weight": NOT_NEGATIVE, "stress_weight": NOT_NEGATIVE,
    "born_weight": NOT_NEGATIVE, "dipole_weight": NOT_NEGATIVE,
    "polarizability_weight": NOT_NEGATIVE, "dielectric_weight": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE, "batch_atoms": NOT_NEGATIVE, "max_minutes": NOT_NEGATIVE,
    "ensemble": NOT_NEGATIVE,
    "step_memory": Rule(
        lambda x: x == 0 or 2 <= x < math.inf, "0 (all steps, the largest count) or at least 2"
    ),
    "loss": Rule(lambda x: x in LOSSES, " or ".join(LOSSES)),
    "ema": Rule(lambda x: 0 <= x < 1, "at least 0 and below 1"),
    "seed": Rule(lambda x: 0 <= x < 2**31, "from 0 to 2147483647"),
    "valid_every": Rule(
        lambda x: x >= 2, "at least 2: every K-th frame validates, the others are trained on"
    ),
    "test_every": Rule(
        lambda x: x == 0 or x >= 2, "0 (none kept out) or at least 2 (every K-th kept out)"
    ),
    "epsilon_infinity": Rule(lambda x: 1 <= x < math.inf, "at least 1 (vacuum)"),
}  # fmt: skip
"""Setting → what it may be."""


def describe_training(settings: TrainingSettings) -> str:
    """Say for the card what the weights were fitted by and averaged with."""
    loss = "squared errors"
    if settings.loss == "huber":
        loss = f"errors squared up to {1e3 * settings.huber_scale:g} meV/Å, linear beyond (huber)"
    mean = f"averaged over steps with decay {settings.ema:g}" if settings.ema else "not averaged"
    memory = f"; steps by the gradients of {settings.step_memory}" if settings.step_memory else ""
    return f"{loss}; weights {mean}{memory}; seed {settings.seed}"


def check_numbers(values: Mapping[str, Any], name: Callable[[str], str] = str) -> None:
    """Refuse a setting that no run could use.

    Parameters
    ----------
    values : mapping
        Settings by name; None and names without a rule pass.
    name : callable, optional
        What a setting is called where it was set (on the command line ``--batch-size``).

    Raises
    ------
    ValueError
        Naming the setting, its value and what it may be.
    """
    for key, value in values.items():
        rule = RULES.get(key)
        if rule and value is not None and not rule.allows(value):
            raise ValueError(f"`{name(key)}` is {value} but must be {rule.words}")
    scale = values.get("huber_scale")
    if values.get("loss") == "mse" and scale != TrainingSettings().huber_scale:
        raise ValueError(
            f"`{name('huber_scale')}` is {scale} but the loss, mse, has no scale; give "
            f"`{name('loss')}` huber, or leave it out"
        )
    if values.get("energy_weight") == values.get("forces_weight") == 0:
        raise ValueError(
            f"`{name('energy_weight')}` and `{name('forces_weight')}` are both 0, which leaves "
            "nothing to choose the best epoch by; raise one"
        )
