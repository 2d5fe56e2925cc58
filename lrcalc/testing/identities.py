"""The identities that `check_model` holds a model to."""

from __future__ import annotations

import torch
from torch import Tensor

from lrcalc.fields import DISPLACEMENT, FIELD, Field
from lrcalc.models.dipole import lever_born
from lrcalc.models.potential import Potential
from lrcalc.neighbors import build_pairs
from lrcalc.prediction import predict
from lrcalc.properties import PROPERTIES
from lrcalc.system import System, volumes
from lrcalc.testing.backbone import join
from lrcalc.testing.cases import (
    Case,
    Slope,
    compared,
    relative_error,
    repeated,
    rotated,
    settled_slope,
    slope_of,
)

STEP = 4e-4
"""Of central differences of fourth order: Å along a direction of length 1, and strain."""

FIELD_STEP, DISPLACEMENT_STEP = 0.02, 1e-3
"""V/Å and e/Å²: of differences by the field, and about what is applied elsewhere."""


def derivatives(case: Case) -> dict[str, float]:
    """Whether each property is the derivative that it is said to be."""
    errors = _mechanical(case, "", None)
    if not case.electric or not case.driven:
        return errors
    direction = case.normal(3)
    small = FIELD_STEP * direction

    def at(scale: float) -> Field:
        return Field(FIELD, (scale * small).tolist())

    born = case.value("born_effective_charges")
    slope = slope_of(lambda s: case.value("forces", at(s)), 0.5)
    errors["driven"] = slope.error(torch.einsum("a,nab->nb", small, born))
    if not case.exact:
        return errors | {"levers": _levers(case)}
    errors |= _mechanical(case, " at E", at(1.0))
    for where, field in (("", None), (" at E", at(1.0))):
        errors["born" + where] = _along(case, "dipole", "born_effective_charges", field)
    slope = slope_of(lambda s: case.value("energy", at(1.0 + s)), 0.5)
    errors["dipole at E"] = slope.error(-case.value("dipole", at(1.0)) @ small)
    if case.responds:
        slope = slope_of(lambda s: case.value("dipole", at(s)), 0.5)
        errors["polarizability"] = slope.error(case.value("polarizability") @ small)
        errors["polarizability_derivative"] = _along(
            case, "polarizability", "polarizability_derivative", None
        )
    if case.periodic:
        steady = DISPLACEMENT_STEP * direction

        def held(scale: float) -> Field:
            return Field(DISPLACEMENT, (scale * steady).tolist())

        errors |= _mechanical(case, " at D", held(1.0))
        slope = slope_of(lambda s: case.value("energy", held(1.0 + s)), 0.5)
        inside = volumes(case.system.cell) * (case.value("electric_field", held(1.0)) @ steady)
        errors["electric_field at D"] = slope.error(inside)
    return errors


def _mechanical(case: Case, where: str, field: Field | None) -> dict[str, float]:
    """Compare forces and stress with differences of the enthalpy."""
    system = case.system
    direction = case.normal(*system.positions.shape)
    forces = case.value("forces", field)
    slope = slope_of(lambda s: case.value("energy", field, case.moved(s * direction)).sum(), STEP)
    work = forces * direction
    errors = {"forces" + where: slope.error(-work.sum(), work.abs().sum())}
    if case.periodic:
        strain = case.normal(3, 3)
        strain = 0.5 * (strain + strain.T)

        def deformed(s: float) -> System:
            by = torch.eye(3, dtype=torch.float64) + s * strain
            return system._replace(positions=system.positions @ by, cell=system.cell @ by)

        virial = volumes(system.cell)[:, None, None] * case.value("stress", field) * strain
        size = virial.abs().sum()
        slope = settled_slope(lambda s: case.value("energy", field, deformed(s)).sum(), STEP, size)
        errors["stress" + where] = slope.error(virial.sum(), size)
    return errors


def _along(case: Case, what: str, derivative: str, field: Field | None) -> float:
    """Error of the derivative of a property, along a random displacement."""
    direction = case.normal(*case.system.positions.shape)
    slope = slope_of(lambda s: case.value(what, field, case.moved(s * direction))[0], STEP)
    said = case.value(derivative, field)
    sum_over = "nab,nb->a" if said.dim() == 3 else "nbac,nb->ac"
    return slope.error(torch.einsum(sum_over, said, direction))


def _levers(case: Case) -> float:
    """Error of an atom's Born charge against differences of all charges that hear it move.

    In a repeat so large that each of them is nearest in one place.
    """
    model, system = case.model, case.system
    leaf = system._replace(positions=system.positions.clone().requires_grad_())
    pairs = build_pairs(leaf, model.cutoff)
    terms = model(leaf, pairs)
    levers = lever_born(model, leaf, pairs, terms)
    assert levers is not None
    reach = model.backbone.layers * model.cutoff
    heights = 1.0 / torch.linalg.inv(system.cell[0]).norm(dim=0)
    big = system
    for axis in torch.nonzero(system.pbc[0])[:, 0].tolist():
        big = repeated(big, axis, 1 + int(2.0 * reach / float(heights[axis])))
    direction = case.normal(3)
    step = torch.zeros_like(big.positions)
    step[0] = direction

    def charges(s: float) -> Tensor:
        at = big._replace(positions=big.positions + s * step)
        bare = model(at, build_pairs(at, model.cutoff)).readout.bare_charge
        assert bare is not None
        return bare

    slope = slope_of(charges, STEP)
    away = torch.linalg.solve(big.cell[0].T, (big.positions - big.positions[0]).T).T
    away = (away - torch.round(away) * big.pbc) @ big.cell[0]
    own = terms.readout.moving_charge[0] * direction
    found = Slope(slope.value @ away + own, slope.rounding)
    return found.error(levers[0] @ direction, levers.abs().max())


def sums(case: Case) -> dict[str, float]:
    """Sum rules, of the structure and, where it is open, of an ion of it."""
    system = case.system
    now = case.look(case.names("forces", "charges", "born_effective_charges", "dipole"))
    errors = {"sum forces": relative_error(now["forces"].sum(0), 0.0, now["forces"].abs().max())}
    cases = [(system, now)]
    if case.electric and not bool(system.pbc.any()):
        ion = system._replace(total_charge=system.total_charge + 1.0)
        cases.append((ion, case.look(now, system=ion)))
    for at, result in cases:
        charge = at.total_charge.sum()
        # what atomic charges lack in a periodic cell, the evaluator reports and takes off
        wanted = {"charges"} if case.neutral else set()
        for name in set(result) & (wanted | ({"born_effective_charges"} if case.exact else set())):
            value = result[name]
            unit = torch.eye(3, dtype=value.dtype) if value.dim() == 3 else 1.0
            error = relative_error(value.sum(0), charge * unit, value.abs().max())
            errors[f"sum {name}"] = max(errors.get(f"sum {name}", 0.0), error)
        if not bool(at.pbc.any()) and "dipole" in result:
            shift = case.normal(3)
            there = at._replace(positions=at.positions + shift)
            moved = case.value("dipole", system=there) - result["dipole"]
            error = relative_error(
                moved[0], charge * shift, result["dipole"].abs().max() + shift.norm()
            )
            errors["shifted dipole"] = max(errors.get("shifted dipole", 0.0), error)
    return errors


def symmetry(case: Case) -> dict[str, float]:
    """Rotation, inversion, order, origin, wrapping and repetition; in a field where it may be."""
    system = case.system
    names = case.names("energy", "forces", "stress", "charges", "dipole", "born_effective_charges",
                       "polarizability")  # fmt: skip
    held = FIELD_STEP * case.normal(3) if case.driven and case.exact else None
    field = None if held is None else Field(FIELD, held.tolist())
    now = case.look(names, field)
    errors: dict[str, float] = {}
    turn = torch.linalg.qr(case.normal(3, 3))[0]
    turn = turn * torch.linalg.det(turn)
    for word, matrix in (("turned", turn), ("inverted", -torch.eye(3, dtype=torch.float64))):
        there = system._replace(positions=system.positions @ matrix.T, cell=system.cell @ matrix.T)
        along = None if held is None else Field(FIELD, (matrix @ held).tolist())
        expected = {name: rotated(name, value, matrix) for name, value in now.items()}
        errors |= compared(word, case.look(names, along, there), expected)
    order = torch.randperm(len(system.numbers), generator=case.generator)
    shuffled = system._replace(positions=system.positions[order], numbers=system.numbers[order])
    expected = {k: v[order] if PROPERTIES[k].per_atom else v for k, v in now.items()}
    errors |= compared("permuted", case.look(names, field, shuffled), expected)
    inner = names if case.exact and not case.charged else names - {"dipole"}
    if bool(system.pbc.any()):
        # with the energy in a field, the dipole of wrapped atoms changes by its quantum
        quiet = case.look(inner - {"dipole"})
        steps = torch.randint(-2, 3, system.positions.shape, generator=case.generator).double()
        there = case.moved((steps * system.pbc) @ system.cell[0] + case.normal(3))
        errors |= compared("wrapped", case.look(inner - {"dipole"}, None, there), quiet)
        held_too: list[Field | None] = [field]
        if case.periodic and case.exact and not case.charged:
            held_too.append(Field(DISPLACEMENT, (DISPLACEMENT_STEP * case.normal(3)).tolist()))
        for at in held_too:
            errors |= _repeated(case, inner, at, errors)
    return errors


def _repeated(
    case: Case, names: set[str], field: Field | None, before: dict[str, float]
) -> dict[str, float]:
    """Compare the structure repeated along its first periodic direction."""
    twice = repeated(case.system, int(case.system.pbc[0].long().argmax()), 2)
    expected = {}
    for name, value in case.look(names, field).items():
        extensive = name in ("energy", "dipole", "polarizability")
        expected[name] = torch.cat([value, value]) if PROPERTIES[name].per_atom else value
        expected[name] = 2.0 * value if extensive else expected[name]
    found = compared("repeated", case.look(names, field, twice), expected)
    return {name: max(error, before.get(name, 0.0)) for name, error in found.items()}


def batched(model: Potential, systems: list[System]) -> dict[str, float]:
    """All structures at once against one after another."""
    names = {"energy", "forces"} | ({"charges"} if model.ewald is not None else set())
    each = [predict(model, s, None, None, names) for s in systems]
    whole = systems[0]
    for system in systems[1:]:
        whole = join(whole, system)
    joined = {name: torch.cat([r[name] for r in each]) for name in names}
    return compared("batched", predict(model, whole, None, None, names), joined)
