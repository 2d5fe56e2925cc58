"""MACE-POLAR, random and small, against central differences of its own calculator in a field."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read, write
from ase.spacegroup import crystal as spacegroup

from lrcalc import Evaluator, Field, LRCalculator, predict
from lrcalc.cli import main
from lrcalc.fields import KINDS
from lrcalc.models.adapters import mace_convert
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.system import from_ase

pytest.importorskip("graph_longrange", reason="MACE-POLAR's sums are not installed: make test-mace")

UNIT = np.eye(3)
FIELD = np.array([0.05, -0.08, 0.06])
"""V/Å."""


def polar_model(**changes):
    from e3nn import o3

    from tests.adapters.test_mace import NONLINEAR, foreign

    torch.manual_seed(1)
    from mace import modules

    block = modules.interaction_classes[NONLINEAR]
    settings = {
        "hidden_irreps": o3.Irreps("4x0e + 4x1o"), "interaction_cls": block,
        "interaction_cls_first": block, "atomic_inter_scale": 0.7, "atomic_inter_shift": 0.3,
        "atomic_energies": np.array([-1.0, -2.0, -3.0]), "pair_repulsion": True,
        "kspace_cutoff_factor": 1.0, "atomic_multipoles_max_l": 1, "field_feature_max_l": 1,
        "field_feature_widths": [1.0, 1.5], "num_recursion_steps": 2, "field_norm_factor": 0.05,
        "add_local_electron_energy": True,
    }  # fmt: skip
    mace = foreign(dtype=torch.float64, cls="PolarMACE", **{**settings, **changes})
    with torch.no_grad():  # it divides by sums over atoms, which at random are near zero
        mace.fukui_source_map.linear_2.bias.fill_(1.0)
        for name, bias in mace.field_dependent_charges_maps.named_parameters():
            if name.endswith("bias"):
                bias.fill_(1.0)
    return mace


@pytest.fixture(scope="module")
def mace():
    return polar_model()


@pytest.fixture(scope="module")
def path(mace, tmp_path_factory):
    path = tmp_path_factory.mktemp("polar") / "polar.model"
    torch.save(mace, path)
    return path


@pytest.fixture(scope="module")
def potential(path):
    return convert(path, trust_pickle=True)


def theirs(mace, head=None):
    """MACE's own calculator: energy, forces, stress in ``external_field`` = -E."""
    from mace.calculators import MACECalculator

    before = torch.get_default_dtype()
    try:
        calculator = MACECalculator(
            models=[mace], model_type="PolarMACE", default_dtype="float64", head=head
        )
    finally:
        torch.set_default_dtype(before)

    def results(atoms, field=(0, 0, 0), positions=None, strain=None):
        atoms = atoms.copy()
        atoms.info["external_field"] = -np.array(field, dtype=float)
        if positions is not None:
            atoms.positions = positions
        if strain is not None:
            atoms.set_cell(atoms.cell @ (UNIT + strain), scale_atoms=True)
        torch.set_default_dtype(torch.float64)  # it makes tensors of the default type
        try:
            calculator.calculate(atoms)
        finally:
            torch.set_default_dtype(before)
        return dict(calculator.results)

    return results


def crystal():
    from tests.adapters.test_mace import molecules

    atoms = molecules()
    atoms.symbols = "CH2OH2O2"
    return atoms


def methanol():
    atoms = molecule("CH3OH")
    atoms.rotate(40, (1, 2, 3))
    atoms.rattle(0.05, seed=1)
    return atoms


def hydroxide():
    return Atoms("OH", [[0.1, 0.0, 0.0], [0.3, 0.9, 0.3]], info={"charge": -1})


def test_energies_forces_and_charges_are_those_of_mace(mace, path, tmp_path, capsys):
    assert main(["convert", str(path), "--trust-pickle", "-o", str(tmp_path / "m.pt")]) == 0
    assert "energies in a field of its own" in capsys.readouterr().out
    own, saved = theirs(mace), LRCalculator(tmp_path / "m.pt", dtype="float64")
    given = LRCalculator(f"mace:{path}", dtype="float64", trust_pickle=True)
    single = Evaluator(tmp_path / "m.pt")
    for atoms in (methanol(), crystal(), hydroxide()):
        expected = own(atoms)
        assert np.abs(expected["forces"]).max() > 0.1
        for calculator in (saved, given):
            for name in ("energy", "forces", "charges"):
                found = calculator.get_property(name, atoms)
                np.testing.assert_allclose(found, expected[name], rtol=0, atol=1e-9)
        (rounded,) = single([atoms], ["energy", "forces"])
        assert rounded["energy"] == pytest.approx(expected["energy"], abs=1e-3)
        np.testing.assert_allclose(rounded["forces"], expected["forces"], rtol=0, atol=1e-3)


def test_stress_is_the_derivative_of_the_energy(mace, potential):
    own, atoms, h = theirs(mace), crystal(), 1e-4
    (found,) = Evaluator(potential)([atoms], ["stress"])
    for a, b in ((0, 0), (1, 1), (0, 1), (1, 2)):
        strain = np.zeros((3, 3))
        strain[a, b] += 0.5 * h
        strain[b, a] += 0.5 * h
        difference = (
            own(atoms, strain=strain)["energy"] - own(atoms, strain=-strain)["energy"]
        ) / (2 * h)
        assert found["stress"][a, b] == pytest.approx(difference / atoms.get_volume(), abs=1e-7)
    # that of mace-torch 0.3.16 leaves out what the sum over charges does
    published = own(atoms)["stress"]
    assert np.abs(published - found["stress"][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]).max() > 1e-4


def energy_differences(results, atoms, field, h=1e-3):
    """-∂E/∂field and -∂²E/∂field², of fourth order in h."""
    value = {}

    def at(*steps):
        if steps not in value:
            value[steps] = results(atoms, field + h * np.array(steps))["energy"]
        return value[steps]

    def along(direction):
        step = [at(*(k * direction).astype(int)) for k in (-2, -1, 1, 2)]
        return -(step[0] - 8 * step[1] + 8 * step[2] - step[3]) / (12 * h)

    def second(a, b):
        pair = [at(*(k * a + m * b).astype(int)) for k, m in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        return -(pair[0] - pair[1] - pair[2] + pair[3]) / (4 * h * h)

    return (
        np.array([along(a) for a in UNIT]), np.array([[second(a, b) for b in UNIT] for a in UNIT])
    )  # fmt: skip


@pytest.mark.parametrize("field", [np.zeros(3), FIELD])
@pytest.mark.parametrize("make", [methanol, hydroxide])
def test_all_that_is_electrical_is_a_derivative_of_the_energy_in_a_field(
    mace, potential, field, make
):
    own, atoms = theirs(mace), make()
    calculator = LRCalculator(potential, electric_field=field if field.any() else None)
    expected = own(atoms, field)
    got = {
        name: calculator.get_property(name, atoms)
        for name in ("energy", "forces", "dipole", "born_effective_charges", "polarizability")
    }
    assert got["energy"] == pytest.approx(expected["energy"], abs=1e-9)
    np.testing.assert_allclose(got["forces"], expected["forces"], rtol=0, atol=1e-9)
    dipole, polarizability = energy_differences(own, atoms, field)
    np.testing.assert_allclose(got["dipole"], dipole, rtol=0, atol=1e-6)
    scale = np.abs(polarizability).max()
    assert scale > 1e-2
    np.testing.assert_allclose(got["polarizability"], polarizability, rtol=0, atol=1e-3 * scale)
    np.testing.assert_allclose(got["polarizability"], got["polarizability"].T, atol=1e-9)
    h = 1e-4
    for a in range(3):  # born[atom, field, displacement]: what a field along a does to forces
        more, less = (own(atoms, field + s * h * UNIT[a])["forces"] for s in (1, -1))
        born = got["born_effective_charges"][:, a]
        np.testing.assert_allclose(born, (more - less) / (2 * h), rtol=0, atol=1e-5)
    charge = atoms.info.get("charge", 0)
    total = got["born_effective_charges"].sum(0)
    np.testing.assert_allclose(total, charge * UNIT, rtol=0, atol=1e-9)
    raw = LRCalculator(potential, electric_field=calculator.electric_field, asr_projection=False)
    np.testing.assert_allclose(
        raw.get_property("born_effective_charges", atoms).sum(0), charge * UNIT, atol=1e-9
    )


def test_forces_in_a_field_are_derivatives_of_its_energy(mace, potential):
    own, atoms, h = theirs(mace), methanol(), 1e-4
    forces = LRCalculator(potential, electric_field=FIELD).get_property("forces", atoms)
    for atom, direction in ((0, 0), (2, 1), (5, 2)):
        step = np.zeros_like(atoms.positions)
        step[atom, direction] = h
        more, less = (
            own(atoms, FIELD, positions=atoms.positions + s * step)["energy"] for s in (1, -1)
        )
        assert forces[atom, direction] == pytest.approx((less - more) / (2 * h), abs=1e-6)


def test_current_and_derivatives_of_the_polarizability(potential):
    atoms, h = methanol(), 1e-4
    atoms.set_velocities(np.random.default_rng(0).normal(size=atoms.positions.shape))
    evaluator = Evaluator(potential)
    (found,) = evaluator(
        [atoms], ["current", "polarizability_derivative", "born_effective_charges"]
    )
    from ase.units import fs

    velocities = atoms.get_velocities() * fs
    current = np.einsum("iab,ib->a", found["born_effective_charges"], velocities)
    np.testing.assert_allclose(found["current"], current, rtol=0, atol=1e-12)
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[1, 2] += sign * h
        moved.append(evaluator([other], ["polarizability"])[0]["polarizability"])
    difference = (moved[0] - moved[1]) / (2 * h)
    np.testing.assert_allclose(
        found["polarizability_derivative"][1, 2], difference, rtol=0, atol=1e-6
    )


def test_its_own_dipole_is_not_the_derivative_of_its_energy(mace, potential):
    """Its charges do not minimise the energy: work in a field belongs to the derivative."""
    own, atoms = theirs(mace), methanol()
    (found,) = Evaluator(potential)([atoms], ["dipole"])
    assert np.abs(own(atoms)["dipole"] - found["dipole"]).max() > 1e-3


def test_in_periodic_cells_there_is_no_energy_in_a_field(mace, potential):
    """It would hang on which image of an atom is taken, in MACE's own calculator."""
    own, atoms = theirs(mace), crystal()
    moved = atoms.positions.copy()
    moved[0] += atoms.cell[0]
    assert abs(own(atoms)["energy"] - own(atoms, positions=moved)["energy"]) < 1e-9
    assert abs(own(atoms, FIELD)["energy"] - own(atoms, FIELD, positions=moved)["energy"]) > 1e-5
    evaluator = Evaluator(potential)
    for name in ("dipole", "born_effective_charges", "polarizability", "dielectric_tensor"):
        with pytest.raises(ValueError, match="have no dipole .* set pbc=False"):
            evaluator([atoms], [name])
    for what in KINDS:
        evaluator.field = Field(what, FIELD)
        with pytest.raises(ValueError, match="charges"):
            evaluator([atoms], ["energy"])
    assert evaluator.mean_permittivity(atoms) is None


def test_a_calculator_can_be_pickled(potential):
    atoms = molecule("H2O")
    calculator = LRCalculator(potential, electric_field=FIELD)
    again = pickle.loads(pickle.dumps(calculator))
    again.reset()
    for name in ("energy", "forces", "dipole", "born_effective_charges"):
        said = calculator.get_property(name, atoms)
        np.testing.assert_array_equal(again.get_property(name, atoms), said)
    assert np.abs(said).max() > 0.01


def test_a_batch_is_what_its_structures_are_alone(potential):
    evaluator = Evaluator(potential, electric_field=FIELD)
    names = ["energy", "forces", "dipole", "born_effective_charges", "polarizability"]
    batch = [methanol(), hydroxide(), molecule("H2O")]
    for atoms, found in zip(batch, evaluator(batch, names), strict=True):
        (alone,) = evaluator([atoms], names)
        for name in names:
            np.testing.assert_allclose(found[name], alone[name], rtol=0, atol=1e-9)


def test_energies_need_no_graph_and_can_have_one(potential):
    system = from_ase(methanol())
    out = predict(potential, system, properties=["energy", "dipole"], create_graph=True)
    assert out["energy"].requires_grad
    assert not predict(potential, system, properties="energy")["energy"].requires_grad


def test_dynamics_of_a_molecule_in_a_field_and_of_a_crystal(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", str(path), "--trust-pickle", "-o", "m.pt"]) == 0
    write("molecule.xyz", methanol())
    write("crystal.xyz", crystal())
    steps = ["--steps", "4", "--every", "1"]
    field = ["--electric-field", "0.05", "0", "0"]
    run = ["md", "m.pt", "molecule.xyz", *steps, *field, "--polarizability-every", "1"]
    assert main([*run, "--out", "one"]) == 0
    assert np.size(read("one.xyz", "-1").info["polarizability"]) == 9
    assert main(["md", "m.pt", "crystal.xyz", *steps, "--out", "two"]) == 0
    assert "no dipole is recorded" in capsys.readouterr().out
    assert main(["info", "m.pt"]) == 0
    card = capsys.readouterr().out
    assert "PolarMACE converted" in card
    assert "the model's own" in card
    salt = spacegroup(
        ["O", "C"], [(0, 0, 0), (0.5, 0.5, 0.5)], spacegroup=225, cellpar=[4.4] * 3 + [90] * 3
    )
    write("POSCAR", salt)
    charges = "{0} 0 0 0 {0} 0 0 0 {0}"
    lines = ["14.4", charges.format(2.0), charges.format(-1.5), charges.format(1.5)]
    Path("BORN").write_text("\n".join(lines) + "\n")
    assert main(["modes", "POSCAR", "--model", "m.pt", "--born", "BORN", "-o", "modes"]) == 0


def slab():
    atoms = crystal()
    atoms.pbc = (True, True, False)
    return atoms


@pytest.mark.parametrize(
    ("structures", "names", "said"),
    [
        ([molecule("OH")], ["energy"], "odd number of electrons"),
        ([slab()], ["energy"], "periodic in one or two directions"),
        ([molecule("H2O"), crystal()], ["energy"], "call it for each kind"),
        ([molecule("H2O")], ["quadrupole"], "quadrupole is made of latent charges"),
        ([molecule("H2O")], ["bec_as_published"], "bec_as_published is made of latent charges"),
    ],
)
def test_structures_and_properties_that_it_does_not_have(potential, structures, names, said):
    with pytest.raises(ValueError, match=said):
        Evaluator(potential)(structures, names)


def test_what_would_have_no_effect_is_refused(potential, path):
    with pytest.raises(ValueError, match="`epsilon_infinity` scales latent charges"):
        Evaluator(potential, epsilon_infinity=1.78)([molecule("H2O")], ["dipole"])
    for change in ({"converge_k": True}, {"flip_sign": True}, {"epsilon_infinity": 1.8}):
        with pytest.raises(ValueError, match="charges are physical.*leave out"):
            convert(path, trust_pickle=True, **change)
    with pytest.raises(ValueError, match=r"is a pickle, and .* trust_pickle=True"):
        convert(path)
    system = from_ase(molecule("H2O"))
    ghosts = system._replace(owned=torch.tensor([True, True, False]))
    from lrcalc.neighbors import build_pairs

    pairs = build_pairs(system, potential.cutoff)
    with pytest.raises(ValueError, match="cannot have ghosts"):
        predict(potential, ghosts, pairs)


CHANGES = {
    "attribute": (lambda m: setattr(m, "new_switch", True), r"has `new_switch = True`"),
    "constant": (
        lambda m: setattr(m.coulomb_energy, "include_pbc_corrections", False),
        r"`coulomb_energy.include_pbc_corrections = False`",
    ),
    "module": (lambda m: m.add_module("more", torch.nn.Linear(2, 2)), "has `more`"),
    "weight": (
        lambda m: m.fukui_source_map.register_parameter("w", torch.nn.Parameter(torch.ones(2))),
        "`fukui_source_map.w`",
    ),
    "inputs": (
        lambda m: (setattr(m, "embedding_specs", {"ph": 1}), m.add_module("joint_embedding", m)),
        "wants ph of each structure",
    ),
    "missing": (lambda m: delattr(m, "field_norm_factor"), "field_norm_factor"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_the_conversion_would_leave_out_is_refused_by_name(what, path, monkeypatch):
    change, said = CHANGES[what]
    read_model = mace_convert.read_pickle(path)
    change(read_model)
    monkeypatch.setattr(mace_convert, "read_pickle", lambda _: read_model)
    with pytest.raises(ValueError, match=said):
        convert(path, trust_pickle=True)


def test_heads_are_chosen(tmp_path):
    settings = {
        "heads": ["a", "b"], "atomic_energies": np.arange(6.0).reshape(2, 3),
        "atomic_inter_scale": [1.7, 0.4], "atomic_inter_shift": [0.1, 0.2],
        "atomic_multipoles_max_l": 0, "field_feature_max_l": 0, "num_recursion_steps": 1,
        "pair_repulsion": False, "add_local_electron_energy": False,
    }  # fmt: skip
    mace = polar_model(**settings)
    torch.save(mace, tmp_path / "heads.model")
    with pytest.raises(ValueError, match=r"has several heads; choose one .*: a, b"):
        convert(tmp_path / "heads.model", trust_pickle=True)
    potential = convert(tmp_path / "heads.model", trust_pickle=True, head="b")
    own = theirs(mace, head="b")
    for atoms in (methanol(), crystal()):
        (found,) = Evaluator(potential)(
            [atoms], ["energy", "forces", "stress"][: 2 + atoms.pbc.all()]
        )
        expected = own(atoms)
        assert found["energy"] == pytest.approx(expected["energy"], abs=1e-9)
        np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=1e-9)


def test_another_version_of_its_sums_is_refused(path, monkeypatch):
    from lrcalc.models.adapters import foreign_import

    versions = {"mace-torch": "0.3.16", "graph-longrange": "0.4.4"}
    monkeypatch.setattr(foreign_import.metadata, "version", versions.get)
    with pytest.raises(ValueError, match="needs graph-longrange 0.4.0, but 0.4.4 is installed"):
        convert(path, trust_pickle=True)
