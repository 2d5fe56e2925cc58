"""`TorchSimModel`: torch-sim's own conformance tests, and equality with the ASE calculator."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from lrcalc import LRCalculator
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

ts = pytest.importorskip("torch_sim", reason="torch-sim is not installed (make test-torchsim)")

from lrcalc.torchsim import TorchSimModel  # noqa: E402

D = torch.float64
DIRECTIONS = hasattr(ts, "nve_step")
"""Whether this torch-sim (0.6) knows boundaries of single directions: 0.3 knows all or none."""


def slab(seed=4, n=3):
    atoms = water_box(seed=seed, n=n)
    atoms.pbc = [True, True, False]
    return atoms


BATCHES = {
    "closed": [water_box(), water_box(seed=3, n=3), water_box(seed=5, n=2).repeat((2, 1, 1))],
    "open": [cluster(), cluster(seed=9, n=2)],
    "slab": [slab(), slab(6).repeat((1, 2, 1))],
}
FIELDS = {
    "no field": {},
    "E": {"electric_field": (0.0, 0.1, 0.05)},
    "D": {"electric_displacement": (0.001, 0.0, 0.002)},
    "voltage": {"reduced_field": (0.1, 0.3, -0.2)},
}
NAMES = ("dipole", "born_effective_charges", "charges", "polarizability")


@pytest.fixture(scope="module")
def potential():
    return random_potential(water_box(), level="uiu")


@pytest.fixture(scope="module")
def any_potential():
    """Of all the elements in torch-sim's conformance tests; few channels, random weights."""
    symbols = "HCNOSAlMgSiArCaTiFeNiCuGaSbOs"
    sites = np.stack(np.meshgrid(*[range(3)] * 3, indexing="ij"), -1).reshape(-1, 3)[:17]
    return random_potential(Atoms(symbols, 2.3 * sites))  # as dense as the crystals there


def state_of(structures, model):
    return ts.io.atoms_to_state(structures, model.device, model.dtype)


def test_torch_sims_own_validation(any_potential):
    from torch_sim.models.interface import validate_model_outputs

    model = TorchSimModel(any_potential, compute_stress=False, compute_forces=False)
    validate_model_outputs(model, model.device, model.dtype)
    assert model.compute_stress, "it was asked for"
    assert model.compute_forces


def test_torch_sims_own_comparison_with_calculators(any_potential):
    testing = pytest.importorskip("torch_sim.testing", reason="torch-sim 0.3 ships no such test")
    calculator = LRCalculator(any_potential, watch=False)
    for name, make in testing.SIMSTATE_GENERATORS.items():
        state = make(torch.device("cpu"), D)
        if len(state.positions) > 40:  # its cells of hundreds of atoms say no more
            continue
        model = TorchSimModel(any_potential)
        tolerances = {f"{what}_{kind}": 1e-10 for what in ("energy", "force", "stress")
                      for kind in ("rtol", "atol")}  # fmt: skip
        testing.assert_model_calculator_consistency(model, calculator, state, **tolerances)
        assert name


@pytest.mark.parametrize(
    ("name", "held"),
    [("closed", held) for held in FIELDS]
    + [("open", "no field"), ("open", "E"), ("slab", "no field"), ("slab", "E")],
)
def test_same_numbers_as_the_calculator(potential, name, held):
    if name == "slab" and not DIRECTIONS:
        pytest.skip("torch-sim 0.3 knows boundaries in all directions or none")
    structures = BATCHES[name]
    model = TorchSimModel(potential, properties=NAMES, **FIELDS[held])
    state = state_of(structures, model)
    before = state.clone()
    output = model(state)
    assert ("stress" in output) == (name == "closed")
    calculator = LRCalculator(potential, also=NAMES, watch=False, **FIELDS[held])
    for k, atoms in enumerate(structures):
        mine = (state.system_idx == k).numpy()
        atoms.calc = calculator
        expected = {
            "energy": atoms.get_potential_energy(), "forces": atoms.get_forces(),
            **{what: calculator.get_property(what, atoms) for what in NAMES},
        }  # fmt: skip
        if name == "closed":
            expected["stress"] = atoms.get_stress(voigt=False)
        assert set(expected) == set(output)
        for what, value in expected.items():
            found = output[what].numpy()
            part = found[mine] if len(found) == len(mine) else found[k]
            np.testing.assert_allclose(part, value, rtol=0, atol=1e-10, err_msg=what)
    for attribute in ("positions", "cell", "atomic_numbers"):
        assert torch.equal(getattr(state, attribute), getattr(before, attribute))


def test_numbers_do_not_know_the_batch(potential):
    # large enough for a mesh, beside small ones for the direct sum
    structures = [water_box().repeat((4, 4, 3)), water_box(), water_box(seed=3, n=3)]
    model = TorchSimModel(potential, properties=["dipole"])
    together = model(state_of(structures, model))
    sums = {type(g.sum).__name__ for g in potential.ewald.remembered.groups.groups}
    assert sums == {"Mesh", "Direct"}
    ends = np.cumsum([len(a) for a in structures])
    for k, (atoms, end) in enumerate(zip(structures, ends, strict=True)):
        alone = model(state_of([atoms], model))
        for what in ("energy", "stress", "dipole"):
            torch.testing.assert_close(together[what][k : k + 1], alone[what], rtol=0, atol=1e-10)
        forces = together["forces"][end - len(atoms) : end]
        torch.testing.assert_close(forces, alone["forces"], rtol=0, atol=1e-10)


def test_wrapped_atoms_stay_on_their_branch(potential):
    """Constant charges of species: each wrap changes the dipole by a lattice vector times one."""
    model = TorchSimModel(potential, properties=["dipole"], **FIELDS["D"])
    structures = BATCHES["closed"]
    state = state_of(structures, model)
    first = model(state)
    wrapped = state.clone()
    wrapped.positions = ts.transforms.pbc_wrap_batched(
        state.positions, state.cell, state.system_idx, *([state.pbc] * DIRECTIONS)
    )
    assert (wrapped.positions - state.positions).abs().max() > 1.0
    again = model(wrapped)
    for what, value in first.items():
        torch.testing.assert_close(again[what], value, rtol=0, atol=1e-9)
    model.forget()
    assert (model(wrapped)["dipole"] - first["dipole"]).abs().max() > 1e-2
    # other structures in their places are taken as they are
    boxes = [water_box(seed=21), water_box(seed=23, n=3), water_box(seed=25, n=2).repeat((2, 1, 1))]
    other = state_of(boxes, model)
    elsewhere = model(other)
    model.forget()
    torch.testing.assert_close(model(other)["dipole"], elsewhere["dipole"], rtol=0, atol=1e-9)


def test_nothing_is_read_again_from_states_that_move_on(potential, monkeypatch):
    from lrcalc.torchsim.states import Kinds

    model = TorchSimModel(potential)
    state = state_of(BATCHES["closed"], model)
    model(state)
    monkeypatch.setattr(Kinds, "_read", None)
    for _ in range(3):
        state.positions = state.positions + 0.01
        model(state)
    monkeypatch.undo()
    resident = model._resident
    model(state.clone())  # other tensors of the same structures: read, and found to be the same
    assert model._resident is resident
    model(state_of(BATCHES["closed"][:2], model))
    assert model._resident is not resident


def test_weights_in_single_precision_keep_states_in_double(potential):
    model = TorchSimModel("water", dtype="float32")
    assert model.dtype == D
    assert model.potential.dtype == torch.float32
    output = model(state_of([water_box()], model))
    assert {value.dtype for value in output.values()} == {D}
    calculator = LRCalculator("water", dtype="float32", watch=False)
    energy = calculator.get_potential_energy(water_box())
    np.testing.assert_allclose(output["energy"].numpy(), energy, rtol=0, atol=1e-9)
    # a state of another type has results of that type
    single = model(ts.io.atoms_to_state([water_box()], model.device, torch.float32))
    assert {value.dtype for value in single.values()} == {torch.float32}
    np.testing.assert_allclose(single["energy"].numpy(), energy, rtol=1e-5)


def test_total_charges_reach_the_model():
    charged = random_potential(water_box(), level="u", charges="atomic")
    atoms = cluster()
    atoms.info["charge"] = -1.0
    expected = LRCalculator(charged, watch=False).get_potential_energy(atoms)
    model = TorchSimModel(charged, total_charge=-1.0)
    found = model(state_of([atoms], model))["energy"]
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    plain = TorchSimModel(charged)
    assert (plain(state_of([atoms], plain))["energy"] - found).abs() > 1e-3
    if not DIRECTIONS:
        return
    state = ts.io.atoms_to_state(
        [atoms], plain.device, plain.dtype, system_extras_map={"total_charge": "charge"}
    )
    torch.testing.assert_close(plain(state)["energy"], found, rtol=0, atol=1e-10)


def refused(model, structures, match):
    with pytest.raises(ValueError, match=match):
        model(state_of(structures, model))


def test_what_cannot_be_had_is_refused_by_name(potential):
    refused(TorchSimModel(potential), [bulk("Fe")], r"knows the atomic numbers \[1, 8\]")
    refused(TorchSimModel(potential, **FIELDS["D"]), [cluster()], "three periodic directions")
    atomic = random_potential(water_box(), level="u", charges="atomic")
    refused(TorchSimModel(atomic, **FIELDS["E"]), [water_box()], "atomic charges .* local charges")
    TorchSimModel(atomic, **FIELDS["E"])(state_of([cluster()], TorchSimModel(atomic)))
    charged = TorchSimModel(potential, total_charge=1.0, **FIELDS["E"])
    refused(charged, [water_box()], "net charge of 1 e")
    near = water_box()
    near.positions[1] = near.positions[0] + 0.1
    refused(TorchSimModel(potential), [near], "overlapping atoms")
    lost = water_box()
    model = TorchSimModel(potential)
    state = state_of([lost], model)
    state.positions[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite positions"):
        model(state)
    sr = random_potential(water_box(), level="sr")
    refused(TorchSimModel(sr, properties=["dipole"]), [water_box()], "has no charges")
    for names in ("dipole", ["current"], ["colour"]):
        with pytest.raises(ValueError, match=r"must be a list of names|unknown properties"):
            TorchSimModel(potential, properties=names)
    state = state_of([water_box()], model)
    names = ("positions", "cell", "atomic_numbers", "pbc")
    given = {name: getattr(state, name) for name in names}
    with pytest.raises(ValueError, match="must ascend from 0"):
        model({**given, "system_idx": torch.ones_like(state.system_idx)})
    assert model(given)["energy"].shape == (1,)
