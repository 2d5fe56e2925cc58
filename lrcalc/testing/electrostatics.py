"""Whether energy, forces, stress, field and second derivatives belong to one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lrcalc.electrostatics import electrostatic_energy
from lrcalc.multipoles import Multipoles


def check_electrostatics(
    positions: Tensor,
    cell: Tensor | None,
    multipoles: Multipoles,
    *,
    tolerance: float = 1e-6,
    step: float = 1e-4,
    seed: int = 0,
    **options: Any,
) -> dict[str, float]:
    """Check that energy, forces, stress, field and second derivatives belong to one another.

    Parameters
    ----------
    positions : Tensor, shape (N, 3), Å
    cell : Tensor or None, shape (3, 3) or (S, 3, 3), Å
    multipoles : Multipoles
        Used in double precision; kept fixed while atoms and cell move.
    tolerance : float
        Largest relative error allowed.
    step : float
        Step of the central differences, Å (and strain). Their error goes as its square, which is
        removed by a second difference with twice the step.
    seed : int
        For the random directions along which derivatives are compared.
    **options
        Passed to `electrostatic_energy`: ``method=`` is a sum of one's own, which may be one of
        charges alone where ``multipoles`` has no more.

    Returns
    -------
    dict
        Relative error of each check: forces, stress, hessian (Hessian times vector), potential
        and field (derivatives of the energy by charge and dipole), translation, rotation. No
        field where nothing knows of dipoles.

    Raises
    ------
    ValueError
        Naming the checks that failed, with their errors.
    """
    generator = torch.Generator().manual_seed(seed)
    r = positions.detach().double()
    h = None if cell is None else cell.detach().double()
    m = _double(multipoles)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(r.device)

    def energy(x: Tensor, box: Tensor | None, parts: Multipoles = m) -> Tensor:
        return electrostatic_energy(x, box, parts, **options).energy.sum()

    def forces(x: Tensor, box: Tensor | None, keep: bool = False) -> Tensor:
        x = x if keep else x.detach().requires_grad_()
        return -torch.autograd.grad(energy(x, box), x, create_graph=keep)[0]

    errors: dict[str, float] = {}
    direction = random(*r.shape)
    f = forces(r, h)
    slope = difference(lambda s: energy(r + s * direction, h), step)
    errors["forces"] = _relative(-(f * direction).sum(), slope, (f * direction).abs().sum())

    x = r.clone().requires_grad_()
    (product,) = torch.autograd.grad((forces(x, h, keep=True) * direction).sum(), x)
    numeric = difference(lambda s: forces(r + s * direction, h), step)
    errors["hessian"] = _relative(product, numeric, numeric.abs().max())

    strain = random(3, 3)
    eye = torch.eye(3, dtype=r.dtype, device=r.device)
    deformation = torch.zeros_like(eye).requires_grad_()

    def strained(s: Tensor) -> Tensor:
        return energy(r @ (eye + s), None if h is None else h @ (eye + s))

    (stress,) = torch.autograd.grad(strained(deformation), deformation)
    slope = difference(lambda s: strained(s * strain), step)
    errors["stress"] = _relative((stress * strain).sum(), slope, (stress * strain).abs().sum())

    permanent = Multipoles(m.charge, torch.zeros_like(r) if m.dipole is None else m.dipole)
    permanent = permanent._replace(quadrupole=m.quadrupole)
    q = permanent.charge.clone().requires_grad_()
    assert permanent.dipole is not None
    u = permanent.dipole.clone().requires_grad_()
    made = electrostatic_energy(
        r, h, permanent._replace(charge=q, dipole=u), with_field=True, **options
    )
    by_charge, by_dipole = torch.autograd.grad(made.energy.sum(), (q, u), allow_unused=True)
    assert made.potential is not None
    errors["potential"] = _relative(by_charge, made.potential, by_charge.abs().max())
    if m.dipole is not None or by_dipole is not None:  # else it may be a sum of charges alone
        if by_dipole is None or made.field is None:
            raise ValueError("the sum takes no dipoles or makes no field, but `multipoles` has any")
        errors["field"] = _relative(-by_dipole, made.field, by_dipole.abs().max())

    reference = energy(r, h)
    scale = reference.abs() + (f.abs().max() if len(r) else 0.0)
    if options.get("method") != "mesh":
        errors["translation"] = _relative(energy(r + random(3), h), reference, scale)
    rotation = torch.linalg.qr(random(3, 3))[0]
    turned = _rotate(m, rotation)
    turned_cell = None if h is None else h @ rotation.T
    errors["rotation"] = _relative(energy(r @ rotation.T, turned_cell, turned), reference, scale)

    failed = {name: error for name, error in errors.items() if not error <= tolerance}
    if failed:
        listed = ", ".join(f"{name} {error:.1e}" for name, error in failed.items())
        raise ValueError(
            f"electrostatics inconsistent beyond `tolerance` {tolerance:.0e}: {listed}"
        )
    return errors


def difference(function: Callable[[float], Tensor], step: float) -> Tensor:
    """Differentiate at zero by central differences of fourth order."""
    near = function(step).detach() - function(-step).detach()
    far = function(2 * step).detach() - function(-2 * step).detach()
    return (8.0 * near - far) / (12.0 * step)


def _relative(value: Tensor, reference: Tensor, scale: Tensor) -> float:
    return float((value.detach() - reference.detach()).abs().max() / scale.detach().clamp_min(1e-8))


def _double(multipoles: Multipoles) -> Multipoles:
    pair = multipoles.pair
    if pair is not None:
        pair = pair._replace(
            vector=pair.vector.detach().double(),
            capacitance=pair.capacitance.detach().double(),
        )

    def wide(x: Tensor | None) -> Tensor | None:
        return None if x is None else x.detach().double()

    return Multipoles(
        multipoles.charge.detach().double(),
        wide(multipoles.dipole),
        wide(multipoles.quadrupole),
        wide(multipoles.capacitance),
        wide(multipoles.polarizability),
        pair,
    )


def _rotate(multipoles: Multipoles, rotation: Tensor) -> Multipoles:
    """Multipoles of the rotated structure (improper rotations too: these are polar tensors)."""

    def matrix(x: Tensor | None) -> Tensor | None:
        return x if x is None or x.dim() == 1 else rotation @ x @ rotation.T

    return multipoles._replace(
        dipole=None if multipoles.dipole is None else multipoles.dipole @ rotation.T,
        quadrupole=matrix(multipoles.quadrupole),
        polarizability=matrix(multipoles.polarizability),
    )
