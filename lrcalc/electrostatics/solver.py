"""Conjugate gradients for the self-consistent response of a batch of structures.

Solves ``(1 + K χ) w = b``. The operator is symmetric in the scalar product ``a·χ b``, so each
step costs one interaction K and one local χ, and χ is never inverted. Each structure has its own
step lengths; those that have converged stand still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Excitation(NamedTuple):
    """What induces moments; an entry is None where nothing responds to it.

    Attributes
    ----------
    potential : Tensor or None, shape (N,), V
    field : Tensor or None, shape (N, 3), V/Å
    drop : Tensor or None, shape (P,), V
        Potential of ``i`` minus that of ``j`` of each pair.
    """

    potential: Tensor | None = None
    field: Tensor | None = None
    drop: Tensor | None = None


class Operations(NamedTuple):
    """The linear maps of the response problem.

    Attributes
    ----------
    interact : callable
        K: moments to minus the excitation that they make.
    chi : callable
        χ: excitation to moments.
    product : callable
        Plain scalar product of excitation and moments for each structure, shape (S,).
    scale : callable
        Multiply an excitation by one factor for each structure.
    restore : callable
        Entries that are not None, as a tuple, to an Excitation.
    """

    interact: Callable[[Excitation], Excitation]
    chi: Callable[[Excitation], Excitation]
    product: Callable[[Excitation, Excitation], Tensor]
    scale: Callable[[Tensor, Excitation], Excitation]
    restore: Callable[[tuple[Tensor, ...]], Excitation]


class Solution(NamedTuple):
    """Outcome of the iteration.

    Attributes
    ----------
    vector : tuple of Tensor
        The entries of w that are not None.
    residual : Tensor, shape (S,)
        Norm of the residual relative to the right side.
    iterations : int
    reason : str
        Why it stopped; "converged" whenever it returns.
    """

    vector: tuple[Tensor, ...]
    residual: Tensor
    iterations: int
    reason: str


def conjugate_gradients(
    right: tuple[Tensor, ...], operations: Operations, tolerance: float, maximum_iterations: int
) -> Solution:
    """Solve (1 + K χ) w = right for every structure of a batch.

    Raises
    ------
    ValueError
        If the operator is not positive (polarization catastrophe) or ``maximum_iterations`` do
        not reach ``tolerance``.
    """
    residual = operations.restore(right)
    # start from w = b, the linear response: for weak feedback it is close
    w = residual
    residual = _combine(residual, -1.0, _matrix(operations, w))
    norm = operations.product(operations.restore(right), operations.chi(operations.restore(right)))
    goal = tolerance**2 * norm
    moments = operations.chi(residual)
    direction, direction_moments = residual, moments
    square = operations.product(residual, moments)
    for iteration in range(maximum_iterations + 1):
        # so written, a residual that is not a number or overflows has not converged
        active = ~((square <= goal) & torch.isfinite(goal))
        if not bool(active.any()):
            safe = torch.where(norm > 0, norm, torch.ones_like(norm))
            vector = tuple(x for x in w if x is not None)
            return Solution(vector, (square.clamp_min(0.0) / safe).sqrt(), iteration, "converged")
        if iteration == maximum_iterations:
            break
        image = _combine(direction, 1.0, operations.interact(direction_moments))
        curvature = operations.product(image, direction_moments)
        wrong = active & ~((curvature > 0) & torch.isfinite(curvature))
        if bool(wrong.any()):
            worst = torch.nonzero(wrong).squeeze(1).tolist()
            if not bool(torch.isfinite(curvature[wrong]).all()):
                raise ValueError(
                    f"the response of structures {worst} is not finite in {curvature.dtype}: look "
                    "for multipoles or response coefficients that are far too large"
                )
            raise ValueError(
                f"polarization catastrophe in structures {worst}: the induced moments enhance "
                "one another without limit. Reduce `polarizability` or `capacitance`, increase "
                "`smearing`, or use linear response (`iterations=0`)"
            )
        safe = torch.where(active, curvature, torch.ones_like(curvature))
        step = torch.where(active, square / safe, torch.zeros_like(square))
        w = _combine(w, 1.0, operations.scale(step, direction))
        residual = _combine(residual, -1.0, operations.scale(step, image))
        moments = operations.chi(residual)
        following = operations.product(residual, moments)
        ratio = torch.where(active, following / torch.where(active, square, 1.0), 0.0)
        direction = _combine(residual, 1.0, operations.scale(ratio, direction))
        direction_moments = operations.chi(direction)
        square = torch.where(active, following, square)
    left = (square / torch.where(norm > 0, norm, 1.0)).sqrt().max()
    raise ValueError(
        f"self-consistent response did not converge: relative residual {float(left):.1e} after "
        f"{maximum_iterations} iterations, `tolerance` is {tolerance:.1e}. Raise "
        "`maximum_iterations` or `tolerance`, or use linear response (`iterations=0`)"
    )


def _matrix(operations: Operations, w: Excitation) -> Excitation:
    return _combine(w, 1.0, operations.interact(operations.chi(w)))


def _combine(a: Excitation, factor: float, b: Excitation) -> Excitation:
    return Excitation(
        *(None if x is None or y is None else x + factor * y for x, y in zip(a, b, strict=True))
    )
