"""What is asked of recorded steps, what they answer, and what cannot be recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lrcalc.electrostatics.direct import DirectPlan
from lrcalc.electrostatics.mesh import MeshPlan
from lrcalc.fields import Field
from lrcalc.frames import Frames
from lrcalc.memory import available_bytes
from lrcalc.models.native.fast import has_kernels
from lrcalc.models.native.local import LocalBackbone
from lrcalc.models.potential import Potential
from lrcalc.models.readout import Readout
from lrcalc.properties import needing

BYTES_PER_CHANNEL, BYTES_BY_KERNELS = 6000, 600
"""Memory that an atom takes for each channel of the backbone, where all are described at once: by
torch, and by kernels (98 304 atoms of water, 48 channels: 25 kB an atom for the model)."""

BLOCK_SHARE, FREE_SHARE = 8, 0.4
"""Where all atoms would take more than that share of the free memory, blocks of an eighth of it."""


LIMITS, SMALLEST = {torch.float32: 1e-4, torch.float64: 1e-8}, 1e-3
"""Largest difference of what is computed in two ways, relative to the largest number of a property
or to a thousandth of its unit."""


class Answer(NamedTuple):
    """Results of a step, in the host's memory.

    Attributes
    ----------
    values : dict of str to Tensor
        As of `lrcalc.predict`.
    residual : float or None
        Largest violation of the sum rule, e, where Born charges were asked for.
    charge_forces : ndarray (N, 3) or None
        As `lrcalc.prediction.Prediction.charge_forces`.
    """

    values: dict[str, Tensor]
    residual: float | None
    charge_forces: np.ndarray | None


class Request(NamedTuple):
    """What is asked for.

    Attributes
    ----------
    names : frozenset of str
        Properties.
    field : Field or None
    screening : float
    asr_projection : bool
    """

    names: frozenset[str]
    field: Field | None
    screening: float
    asr_projection: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal where the same step does, with another value of the field."""
        kind = None if self.field is None else self.field.kind
        return (self.names, kind, self.screening, self.asr_projection)


def refusal(potential: Potential, frames: Sequence[Frames], request: Request) -> str | None:
    """Why steps of these cannot be made in fixed shapes, or None."""
    if not isinstance(potential.backbone, LocalBackbone):
        return f"the backbone is a {type(potential.backbone).__name__}"
    if not isinstance(potential.readout, Readout):
        return f"the readout is a {type(potential.readout).__name__}"
    if potential.ewald is not None and potential.ewald.iterations not in (0, 1):
        return "the response is iterated until it has converged"
    if potential.ewald is not None and potential.ewald.method not in ("auto", "direct", "mesh"):
        return "the electrostatic sum is not one of ours"
    if any(part.pbc.any() and not part.pbc.all() for part in frames):
        return "sums of slabs go by their thickness"
    if needing("velocities", request.names):
        return "velocities are asked for"
    if "bec_as_published" in request.names or "quadrupole" in request.names:
        return "a property that looks at values is asked for"
    return None


def block_size(potential: Potential, n_atoms: int, device: torch.device) -> int | None:
    """Atoms to describe at a time where all together would not fit into memory; None: all."""
    backbone = potential.backbone
    if not isinstance(backbone, LocalBackbone) or backbone.layers > 1 or device.type == "cpu":
        return None
    like = next(backbone.parameters())
    fused = has_kernels(backbone, len(backbone.species), like)
    each = BYTES_BY_KERNELS if fused else BYTES_PER_CHANNEL
    each *= backbone.channels * potential.dtype.itemsize // 4
    free = available_bytes(device)
    if n_atoms * each <= FREE_SHARE * free:
        return None
    return max(1024, int(free / BLOCK_SHARE / each))


def signature(plan: Any) -> Any:
    """Numbers that the shapes of a sum follow from."""
    if isinstance(plan, MeshPlan):
        return (plan.order, plan.sizes)
    if isinstance(plan, DirectPlan):
        return (
            plan.limits,
            plan.pairs,
            plan.first.numpy().tobytes(),
            plan.second.numpy().tobytes(),
        )
    return type(plan).__name__


def answer(out: np.ndarray, layout: dict[str, tuple[int, ...]]) -> Answer:
    """Cut results, one after the other in ``out``, as ``layout`` says."""
    values: dict[str, Tensor] = {}
    start = 0
    for name, shape in layout.items():
        size = int(np.prod(shape, dtype=np.int64))
        values[name] = torch.from_numpy(out[start : start + size].reshape(shape))
        start += size
    residual = values.pop("sum_rule_residual", None)
    forces = values.pop("charge_forces", None)
    return Answer(
        values,
        None if residual is None else float(residual),
        None if forces is None else forces.numpy().copy(),
    )


def difference(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], dtype: torch.dtype
) -> str | None:
    """Name the property that differs most, beyond rounding in ``dtype``; None if none does."""
    worst, name = 0.0, ""
    for which, value in expected.items():
        value, other = (x.detach().double().cpu() for x in (value, found[which]))
        if not value.numel():
            continue
        wrong = float((other - value).abs().max()) / max(float(value.abs().max()), SMALLEST)
        if math.isnan(wrong):
            return f"{which} is no number"
        if wrong > worst:
            worst, name = wrong, which
    if worst <= LIMITS[dtype]:
        return None
    return f"{name} differs by {worst:.1e} of its largest number"
