"""Induced charges and dipoles: linear, iterated or self-consistent response.

What the sites feel, ``w = (φ, F, φ_i - φ_j)``, induces ``δq = -κ φ``, ``δu = α·F`` and charge
that flows within pairs, ``δt = -κ_ij (φ_i - φ_j)`` (Kim et al., arXiv:2605.05746). Written
``δ = -χ w`` with χ symmetric and not negative, and with K for the interaction,

* linear response: w is what the permanent multipoles make, ``w0``; energy ``-½ w0·χ w0``;
* n iterations: ``δ_n = -χ (w0 + K δ_{n-1})``, energy ``½ w0·δ_n``, the series of the next line;
* self-consistent: ``(1 + K χ) w = w0``. In the scalar product ``a·χ b`` that operator is
  symmetric, so conjugate gradients apply, and it is positive unless there is a polarization
  catastrophe. χ need not be invertible.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lrcalc.domain import Domain, returned, shared, total, with_ghosts
from lrcalc.electrostatics.kernels import Sites, Source
from lrcalc.electrostatics.layout import sum_structures
from lrcalc.electrostatics.operator import Operator, apply
from lrcalc.electrostatics.solver import Excitation, Operations, Solution, conjugate_gradients
from lrcalc.multipoles import Multipoles, transferred_charges


class Induced(NamedTuple):
    """Induced moments and their energy.

    Attributes
    ----------
    energy : Tensor, shape (S,), eV
    charge : Tensor or None, shape (N,), e
        On atoms, including what flowed within pairs.
    dipole : Tensor or None, shape (N, 3), e Å
    transfer : Tensor or None, shape (P,), e
    solution : Solution or None
        Residual, iterations and stop reason of the self-consistent response.
    """

    energy: Tensor
    charge: Tensor | None
    dipole: Tensor | None
    transfer: Tensor | None
    solution: Solution | None = None


def response_derivatives(multipoles: Multipoles) -> int:
    """Highest derivative of the potential that the response needs; -1: no response."""
    if multipoles.polarizability is not None:
        return 1
    return -1 if multipoles.capacitance is None and multipoles.pair is None else 0


def excite(multipoles: Multipoles, sites: Sites, domain: Domain | None = None) -> Excitation:
    """Pick from potential and field what the responding moments feel."""
    pair, drop = multipoles.pair, None
    if pair is not None:
        potential = with_ghosts(domain, sites.potential)
        drop = potential[pair.i] - potential[pair.j]
    return Excitation(
        None if multipoles.capacitance is None else sites.potential,
        None if multipoles.polarizability is None else sites.field,
        drop,
    )


def susceptibility(multipoles: Multipoles, w: Excitation) -> Excitation:
    """χ w, in the same variables as w (conjugate moments, before signs)."""
    potential = field = drop = None
    if multipoles.capacitance is not None and w.potential is not None:
        potential = multipoles.capacitance * w.potential
    if multipoles.polarizability is not None and w.field is not None:
        alpha = multipoles.polarizability
        scalar = alpha.dim() == 1
        field = alpha[:, None] * w.field if scalar else (alpha @ w.field[..., None]).squeeze(-1)
    if multipoles.pair is not None and w.drop is not None:
        drop = multipoles.pair.capacitance * w.drop
    return Excitation(potential, field, drop)


def induce(
    operator: Operator,
    multipoles: Multipoles,
    sites: Sites,
    *,
    iterations: int | None = 0,
    tolerance: float | None = None,
    maximum_iterations: int = 200,
) -> Induced:
    """Moments induced by the potential and field that the sites feel.

    Parameters
    ----------
    operator : Operator
        Interaction of the induced moments (not used if ``iterations`` is 0).
    multipoles : Multipoles
        Its response coefficients.
    sites : Sites
        Potential and field of the permanent multipoles.
    iterations : int or None
        0 is linear response, n iterates it n times, None is self-consistent. One iteration is
        a formula like linear response; from two on their convergence is checked.
    tolerance : float or None
        Relative residual of the self-consistent response; None: 1e-10 (1e-5 in float32).
    maximum_iterations : int

    Raises
    ------
    ValueError
        If the self-consistent response has no solution (polarization catastrophe) or does not
        converge, or if iterations of the response diverge.
    """
    domain = operator.plan.domain
    start = excite(multipoles, sites, domain)
    operations = _operations(operator, multipoles, start)
    interact, product = operations.interact, operations.product
    solution = None
    if iterations is None:
        if tolerance is None:
            tolerance = 1e-10 if multipoles.charge.dtype == torch.float64 else 1e-5
        total, solution = _self_consistent(start, operations, tolerance, maximum_iterations)
        moments = susceptibility(multipoles, total)
        # stationary with respect to w, so an error of w enters the energy squared
        inner = _add(total, interact(moments))
        energy = 0.5 * product(moments, inner) - product(start, moments)
    else:
        history = [start]
        moments = susceptibility(multipoles, start)
        for _ in range(iterations):
            felt = _add(start, _scale(interact(moments), -1.0))
            moments = susceptibility(multipoles, felt)
            history = [*history[-2:], felt]
        if len(history) == 3:
            _check_convergent(history, operations, iterations)
        energy = -0.5 * product(start, moments)
    source = _source(multipoles, moments, domain)
    responding = multipoles.capacitance is not None or multipoles.pair is not None
    transfer = None if moments.drop is None else -moments.drop
    charge = source.charge if responding else None
    return Induced(energy, charge, source.dipole, transfer, solution)


@torch.no_grad()
def _check_convergent(history: list[Excitation], operations: Operations, iterations: int) -> None:
    """Refuse an iterated response whose last correction is larger than the one before.

    Each iteration multiplies the correction by ``-K χ``, which is symmetric in the product
    ``a·χ b``. For a symmetric operator the ratio of successive norms never falls (the moments of
    its spectrum are logarithmically convex), so a ratio above one proves that the corrections
    grow for ever. Looking once, at the end, costs a single synchronisation.
    """
    changes = [_add(b, _scale(a, -1.0)) for a, b in pairwise(history)]
    total, before, after = (
        operations.product(w, operations.chi(w)) for w in (history[-1], *changes)
    )
    # corrections that have shrunk to rounding noise may do as they like
    noise = torch.finfo(total.dtype).eps * total
    converges = ((after <= before) | (after <= noise)) & torch.isfinite(total)
    if not bool(converges.all()):
        worst = torch.nonzero(~converges).squeeze(1).tolist()
        raise ValueError(
            f"the response iterated {iterations} times diverges in structures {worst}: each "
            "correction to the induced moments is larger than the one before (a polarization "
            "catastrophe, or overshooting, which `iterations=None` does not suffer). Reduce "
            "`polarizability` or `capacitance`, increase `smearing`, or use linear response "
            "(`iterations=0`)"
        )


def _self_consistent(
    start: Excitation,
    operations: Operations,
    tolerance: float,
    maximum_iterations: int,
) -> tuple[Excitation, Solution]:
    """Solve (1 + K χ) w = w0; the result carries exact first and second derivatives."""

    def solve(right: tuple[Tensor, ...]) -> Solution:
        with torch.no_grad():
            return conjugate_gradients(right, operations, tolerance, maximum_iterations)

    solution = solve(tuple(x.detach() for x in start if x is not None))
    w = _restore(start, solution.vector)
    if torch.is_grad_enabled():
        # Newton steps of zero length: each makes one more order of derivatives exact
        for _ in range(2):
            applied = _add(w, operations.interact(operations.chi(w)))
            rest = _add(start, _scale(applied, -1.0))
            flat = [x for x in rest if x is not None]
            w = _add(w, _restore(start, _Solve.apply(solve, operations, "zero", *flat)))
    return w, solution


class _Solve(torch.autograd.Function):
    """The linear map from right side to solution of (1 + K χ) w = b, coefficients constant.

    Modes: "solve"; "adjoint", ``(1 + χ K)^-1 g = g - χ (1 + K χ)^-1 K g``; "zero", a solve whose
    right side is known to be a vanishing residual. Constant coefficients are right because this
    map only ever acts on residuals, whose value is zero and whose derivatives matter.
    """

    @staticmethod
    def forward(
        ctx: Any, solve: Any, operations: Operations, mode: str, *right: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.arguments = (solve, operations, mode)
        if mode == "zero":
            return tuple(torch.zeros_like(x) for x in right)
        if mode == "solve":
            return solve(right).vector  # type: ignore[no-any-return]
        # K acts on moments: g goes in as the moments themselves
        g = operations.restore(right)
        inner = tuple(x for x in operations.interact(g) if x is not None)
        correction = operations.chi(operations.restore(solve(inner).vector))
        answer = _add(g, _scale(correction, -1.0))
        return tuple(x for x in answer if x is not None)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        solve, operations, mode = ctx.arguments
        other = "solve" if mode == "adjoint" else "adjoint"
        return (None, None, None, *_Solve.apply(solve, operations, other, *gradients))


def _operations(operator: Operator, multipoles: Multipoles, pattern: Excitation) -> Operations:
    """Bind interaction, susceptibility and scalar product to one batch."""
    count, batch, domain = operator.plan.structures, operator.plan.batch, operator.plan.domain
    pair = multipoles.pair
    flows = None
    if pair is not None:  # in a domain all is one structure, and a pair may start from a ghost
        flows = batch[pair.i] if domain is None else torch.zeros_like(pair.i)
    owners = (batch, batch, flows)

    def interact(moments: Excitation) -> Excitation:
        source = _source(multipoles, moments, domain)
        _, made = apply(operator, source, response_derivatives(multipoles))
        assert made is not None
        return _scale(excite(multipoles, made, domain), -1.0)

    def product(a: Excitation, b: Excitation) -> Tensor:
        summed = multipoles.charge.new_zeros(count)
        for x, y, owner in zip(a, b, owners, strict=True):
            if x is not None and y is not None and owner is not None:
                local = x * y if x.dim() == 1 else (x * y).sum(-1)
                summed = summed + sum_structures(local, owner, count)
        return total(domain, summed)

    def scale(factor: Tensor, w: Excitation) -> Excitation:
        scaled: list[Tensor | None] = []
        for x, owner in zip(w, owners, strict=True):
            if x is None or owner is None:
                scaled.append(None)
            else:
                each = shared(domain, factor)[owner]
                scaled.append(x * (each if x.dim() == 1 else each[:, None]))
        return Excitation(*scaled)

    return Operations(
        interact,
        lambda w: susceptibility(multipoles, w),
        product,
        scale,
        lambda tensors: _restore(pattern, tensors),
    )


def _source(multipoles: Multipoles, moments: Excitation, domain: Domain | None = None) -> Source:
    """Charges and dipoles on atoms that the moments χ w stand for: -κ φ, +α F, ∓κ (φ_i - φ_j)."""
    charge = torch.zeros_like(multipoles.charge)
    if moments.potential is not None:
        charge = charge - moments.potential
    if moments.drop is not None and multipoles.pair is not None:
        pair = multipoles.pair
        base = charge if domain is None else charge.new_zeros(domain.seen)
        flowed = transferred_charges(base, pair.i, pair.j, -moments.drop)
        charge = flowed if domain is None else charge + returned(domain, flowed)
    return Source(charge, moments.field)


def _add(a: Excitation, b: Excitation) -> Excitation:
    return Excitation(
        *(x if y is None else y if x is None else x + y for x, y in zip(a, b, strict=True))
    )


def _scale(a: Excitation, factor: float) -> Excitation:
    return Excitation(*(None if x is None else factor * x for x in a))


def _restore(pattern: Excitation, tensors: tuple[Tensor, ...]) -> Excitation:
    """Put a list of tensors back into the entries that are not None."""
    rest = iter(tensors)
    return Excitation(*(None if x is None else next(rest) for x in pattern))
