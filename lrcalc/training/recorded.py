"""Gradients of batches that come again, recorded as CUDA graphs.

A step of training launches some 2500 small kernels, whatever the size of its batch, and a GPU waits
for the host most of the time. Where frames stay together for several epochs (``keep_batches``) the
kernels of each batch are recorded when it comes for the second time, and launched as one from then
on.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.cuda_graph import Recorded, record
from lrcalc.memory import available_bytes
from lrcalc.models.potential import Potential
from lrcalc.training.batches import Batches
from lrcalc.training.loss import Errors, loss, residuals, scales_of
from lrcalc.training.settings import TrainingSettings

LEAST_FREE = 2**31
"""Bytes of a device that are left alone: with less, further batches are not recorded."""


class Made(NamedTuple):
    """What the frames of a step gave.

    Attributes
    ----------
    errors : Errors
    value : Tensor, shape ()
        The loss, without a graph.
    source : Tensor, shape (S,)
        File of each structure.
    """

    errors: Errors
    value: Tensor
    source: Tensor


class _Kept(NamedTuple):
    """A recording, what of it must stay alive, and the parameters that it has gradients of."""

    recorded: Recorded
    made: Made
    used: list[bool]
    alive: tuple[Any, ...]


class RecordedGradients:
    """Errors of training frames and the gradient of their loss, of batches that come again.

    Parameters
    ----------
    potential : Potential
        Its parameters get their ``grad``.
    train : Batches
    n_sources : int
        Data files.
    settings : TrainingSettings

    Attributes
    ----------
    shifts : Tensor, shape (n_sources,), eV/atom
        Read by all recordings; to be changed in place, as are the weights.
    weights : dict of str to Tensor
    """

    def __init__(
        self,
        potential: Potential,
        train: Batches,
        n_sources: int,
        settings: TrainingSettings,
    ) -> None:
        self.potential, self.train, self.settings = potential, train, settings
        self.shifts = torch.zeros(n_sources, dtype=torch.float64, device=train.device)
        self.weights: dict[str, Tensor] = {}
        self._parameters = [p for p in potential.parameters() if p.requires_grad]
        self._gradients = [torch.zeros_like(p) for p in self._parameters]
        self._seen: set[tuple[int, ...]] = set()
        self._kept: dict[tuple[int, ...], _Kept] = {}
        self._pool: Any = None
        self._works = True

    def prepare(
        self, plan: Sequence[Sequence[int]], shifts: Tensor, weights: dict[str, float]
    ) -> None:
        """Take the values of an epoch, and forget batches that are not in its plan."""
        self.shifts.copy_(shifts)
        for name, value in weights.items():
            self.weights.setdefault(name, self.shifts.new_zeros(())).fill_(value)
        coming = {tuple(sorted(frames)) for frames in plan}
        self._seen &= coming
        self._kept = {frames: kept for frames, kept in self._kept.items() if frames in coming}
        if not self._kept:
            self._pool = None

    def __call__(self, chosen: Sequence[int]) -> Made:
        """Set the parameters' gradients by these frames; the same frames in any order."""
        frames = tuple(sorted(chosen))
        if frames not in self._kept and frames in self._seen and self._works:
            self._keep(frames)
        self._seen.add(frames)
        kept = self._kept.get(frames)
        if kept is None:
            batch = self.train(frames)
            made, used = self._evaluate(batch)
        else:
            kept.recorded.replay()
            made, used = kept.made, kept.used
        for parameter, gradient, own in zip(self._parameters, self._gradients, used, strict=True):
            parameter.grad = gradient if own else None
        return made

    def _keep(self, frames: tuple[int, ...]) -> None:
        if available_bytes(self.train.device) < LEAST_FREE:
            return
        batch = self.train(frames)
        used: list[bool] = []

        def work() -> Made:
            made, used[:] = self._evaluate(batch)
            return made

        try:
            recorded = record(work, self._pool)
        except RuntimeError as error:
            self._works = False
            reason = str(error).partition("\n")[0]
            warnings.warn(f"steps are not recorded as CUDA graphs: {reason}", stacklevel=2)
            return
        self._pool = recorded.pool
        ewald = self.potential.ewald
        # else a plan of other cells takes its place, and its memory is used for something else
        alive = (batch, None if ewald is None else ewald.remembered)
        self._kept[frames] = _Kept(recorded, recorded.result, used, alive)

    def _evaluate(self, batch: Any) -> tuple[Made, list[bool]]:
        """Errors and loss of a batch; gradients go where all recordings put theirs."""
        stress = self.settings.stress_weight > 0
        errors = residuals(self.potential, batch, self.shifts, training=True, stress=stress)
        value = loss(errors, self.weights, None, scales_of(self.settings))
        found = torch.autograd.grad(value, self._parameters, allow_unused=True)
        pairs = [(a, b) for a, b in zip(self._gradients, found, strict=True) if b is not None]
        torch._foreach_copy_([a for a, _ in pairs], [b for _, b in pairs])
        errors = {name: error.detach() for name, error in errors.items()}
        return Made(errors, value.detach(), batch.source), [x is not None for x in found]
