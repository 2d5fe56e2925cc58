"""Structures that stay on a device get the numbers they get alone, whoever their company is."""

import numpy as np
import pytest
import torch

from lrcalc import Evaluator, Field
from lrcalc.resident import Kind, Resident
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

NAMES = ["energy", "forces", "dipole", "born_effective_charges", "charges"]
FIELDS = {
    "no field": None,
    "E": Field("electric_field", (0.0, 0.1, 0.05)),
    "D": Field("electric_displacement", (0.001, 0.0, 0.002)),
    "voltage": Field("reduced_field", (0.1, 0.3, -0.2)),
}


def slab(seed=4):
    atoms = water_box(seed=seed, n=3)
    atoms.pbc = [True, True, False]
    return atoms


CLOSED = [water_box(), water_box(seed=3, n=3), water_box(seed=5, n=2).repeat((2, 1, 1))]
MIXED = [water_box(), cluster(), slab(), slab(6).repeat((1, 2, 1)), cluster(seed=9, n=2)]


def kind_of(structures):
    return Kind(
        np.concatenate([a.numbers for a in structures]).astype(np.int64),
        np.array([a.pbc for a in structures]),
        np.array([len(a) for a in structures]),
        np.array([a.info.get("charge", 0.0) for a in structures]),
    )


def tensors(structures):
    positions = np.concatenate([a.positions for a in structures])
    return torch.as_tensor(positions), torch.as_tensor(np.array([a.cell[:] for a in structures]))


@pytest.fixture(scope="module")
def potential():
    return random_potential(water_box(), level="uiu")


def resident(potential, structures, *, device_paths=False):
    made = Resident(potential, kind_of(structures), screening=potential.screening)
    if device_paths:  # what a GPU takes: pairs on the device, plans by structures on the host
        made._on_host = False
        made._planned_here = not (made.kind.pbc.sum(1) == 2).any()
    return made


@pytest.mark.parametrize("device_paths", [False, True])
@pytest.mark.parametrize(
    ("structures", "held"),
    [(CLOSED, "no field"), (CLOSED, "E"), (CLOSED, "D"), (CLOSED, "voltage"),
     (MIXED, "no field"), (MIXED, "E")],
)  # fmt: skip
def test_numbers_are_those_of_each_structure_alone(potential, structures, held, device_paths):
    field = FIELDS[held]
    names = [*NAMES, *(["stress", "polarization"] if structures is CLOSED else [])]
    evaluate = resident(potential, structures, device_paths=device_paths)
    alone = Evaluator(potential, field=field)
    for move in range(2):
        moved = [a.copy() for a in structures]
        for k, atoms in enumerate(moved):
            atoms.rattle(0.1 * move, seed=k)
            if move and structures is CLOSED:
                atoms.set_cell(atoms.cell[:] * (1.0 + 0.02 * k), scale_atoms=True)
        values = evaluate(*tensors(moved), names, field)
        batch = np.repeat(np.arange(len(moved)), [len(a) for a in moved])
        for k, atoms in enumerate(moved):
            (expected,) = alone([atoms], names)
            for name in names:
                value = values[name].numpy()
                part = value[batch == k] if len(value) == len(batch) else value[k]
                np.testing.assert_allclose(part, expected[name], rtol=0, atol=1e-10, err_msg=name)


def test_cells_are_read_again_only_when_they_changed(potential, monkeypatch):
    evaluate = resident(potential, CLOSED)
    positions, cell = tensors(CLOSED)
    first = evaluate._on_the_host(cell)
    assert evaluate._on_the_host(cell) is first
    cell *= 1.01
    again = evaluate._on_the_host(cell)
    assert again is not first
    np.testing.assert_array_equal(again, cell.numpy())
    fewer = evaluate(positions, cell, ["energy"])["energy"]
    cell *= 1.01  # in place: the same tensor, another version
    assert (evaluate(positions, cell, ["energy"])["energy"] - fewer).abs().min() > 1e-6


def test_what_cannot_be_had_is_refused_when_it_is_asked_for(potential):
    evaluate = resident(potential, MIXED)
    where = tensors(MIXED)
    evaluate(*where, ["energy"])
    with pytest.raises(ValueError, match="stress needs three periodic directions"):
        evaluate(*where, ["stress"])
    with pytest.raises(ValueError, match="electric displacement needs three periodic directions"):
        evaluate(*where, ["energy"], FIELDS["D"])
    strange = resident(potential, [water_box()])
    strange.kind.numbers[0] = 26
    with pytest.raises(ValueError, match=r"structure has \[26\]"):
        strange(*tensors([water_box()]), ["energy"])


def test_forces_without_an_energy_are_told_apart():
    atomic = random_potential(water_box(), level="u", charges="atomic")
    evaluate = resident(atomic, [water_box()])
    values = evaluate(*tensors([water_box()]), ["energy", "forces"], FIELDS["E"])
    born = evaluate(*tensors([water_box()]), ["born_effective_charges"])["born_effective_charges"]
    held = torch.tensor(FIELDS["E"].value, dtype=torch.float64)
    evaluate(*tensors([water_box()]), ["forces"], FIELDS["E"])
    assert evaluate.charge_forces is not None
    assert values["forces"].shape == evaluate.charge_forces.shape
    # dipoles of atoms have an energy, charges have none
    assert (evaluate.charge_forces - torch.einsum("a,nab->nb", held, born)).abs().max() > 1e-4
    evaluate(*tensors([water_box()]), ["forces"])
    assert evaluate.charge_forces is None
