"""MACE-LES models with dipoles, quadrupoles, κ and α, converted: against the published equations.

`les_equations` evaluates them from MACE's own readouts, and is itself held to numbers that MACE's
main branch and the `les` package gave (`test_numbers_of_mace_itself`).
"""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from lrcalc import Evaluator, LRCalculator, load, save
from lrcalc.models.adapters import mace_convert
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.neighbors import build_pairs
from lrcalc.system import from_ase
from tests.adapters.test_convert import pickled, structure

pytest.importorskip("mace", reason="mace-torch is not installed: make test-mace")

from tests.adapters.extended_les import add_moments, moments_known
from tests.adapters.les_equations import evaluate

VECTORS, TENSORS = "4x0e + 4x1o", "4x0e + 4x1o + 4x2e"
SCALES = {"output_scale": 1.3, "kappa_scale": 0.2, "alpha_scale": 0.5}
ALL = {
    "use_dipole": True, "use_quad": True, "use_induced_charge": True, "use_induced_dipole": True,
    "use_anisotropic_polarizability": True,
}  # fmt: skip
KINDS = {
    "u": (VECTORS, "u", {"use_dipole": True, "layers": 1}),
    "uQ": (VECTORS, "uQ", {"use_dipole": True, "use_quad": True}),
    "uiq": (VECTORS, "uiq", {"use_dipole": True, "use_induced_charge": True}),
    "uiu, positive": (
        VECTORS, "uiu",
        {"use_dipole": True, "use_induced_dipole": True, "make_alpha_positive": True},
    ),
    "uiu of dyads": (
        VECTORS, "uiu",
        {"use_dipole": True, "use_induced_dipole": True, "use_anisotropic_polarizability": True,
         "alpha_irreps": "1o"},
    ),
    "all": (VECTORS, "uQiqiu", {**ALL, "layers": 1}),
    "all of tensors": (TENSORS, "uQiqiu", {**ALL, "make_kappa_positive": True}),
    "all of tensors, positive": (TENSORS, "uQiqiu", {**ALL, "make_alpha_positive": True}),
    "all, mixed": (VECTORS, "uQiqiu", {**ALL, "alpha_1o_nonlinear_readout": True}),
    "all, with own interaction": (
        VECTORS, "uQiqiu",
        {**ALL, "alpha_1o_linear_w_pos": False, "remove_self_interaction": False},
    ),
    "scalars": ("4x0e", "uiqiu", {"use_induced_charge": True, "use_induced_dipole": True}),
}  # fmt: skip


@cache
def plain(irreps):
    from e3nn import o3

    from tests.adapters.test_mace import foreign

    return foreign(
        dtype=torch.float64, hidden_irreps=o3.Irreps(irreps), keep_last_layer_irreps=True
    )


def extended(irreps=VECTORS, *, layers=2, **les_arguments):
    mace = copy.deepcopy(plain(irreps))
    if layers == 1:  # of which mace-torch 0.3.16 keeps scalars only
        for name in ("interactions", "products", "readouts"):
            setattr(mace, name, getattr(mace, name)[:1])
        mace.num_interactions = torch.tensor(1)
    return add_moments(mace, **{**SCALES, **les_arguments})


def written(mace, module, path):
    with moments_known():
        return pickled(mace, path, module)


def cluster():
    return molecule("CH3CH2OH", vacuum=2.0)


def moments_of(potential, atoms):
    system = from_ase(atoms)
    terms = potential(system, build_pairs(system, potential.cutoff))
    found = terms.readout.multipoles._asdict()
    for name in ("induced_charge", "induced_dipole"):
        found[name] = getattr(terms.electrostatics, name)
    return {k: v.detach().numpy() for k, v in found.items() if v is not None}


def compare(mace, potential, atoms, tolerance=1e-9):
    """Energy, forces and all moments against the equations."""
    expected = evaluate(mace, atoms)
    (found,) = Evaluator(potential)([atoms], ["energy", "forces"])
    np.testing.assert_allclose(found["energy"], expected.pop("energy"), rtol=0, atol=tolerance)
    np.testing.assert_allclose(found["forces"], expected.pop("forces"), rtol=0, atol=tolerance)
    assert abs(expected.pop("les_energy")) > 1e-4
    moments = moments_of(potential, atoms)
    assert set(moments) == set(expected)
    for name, values in expected.items():
        given = moments[name]
        if name == "polarizability" and given.ndim == 1:
            given = given[:, None, None] * np.eye(3)
        assert np.abs(values).max() > 1e-7, name
        np.testing.assert_allclose(given, values, rtol=0, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_they_are_what_the_equations_make_of_maces_readouts(kind, tmp_path):
    irreps, level, les_arguments = KINDS[kind]
    mace, module = extended(irreps, **les_arguments)
    potential = convert(written(mace, module, tmp_path / "m.model"), trust_pickle=True)
    assert potential.config["level"] == level
    for atoms in (structure(), cluster()):
        compare(mace, potential, atoms)
    if kind == "all of tensors":
        save(potential, tmp_path / "m.pt")
        again = load(tmp_path / "m.pt", dtype=torch.float64)
        compare(mace, again, structure())
        for name, value in potential.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name


def test_of_several_heads_one_is_taken(tmp_path):
    from e3nn import o3

    from tests.adapters.test_mace import foreign

    mace = foreign(
        dtype=torch.float64, keep_last_layer_irreps=True, heads=["a", "b"],
        MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.arange(6.0).reshape(2, 3),
        atomic_inter_scale=[1.7, 0.4], atomic_inter_shift=[0.1, 0.2],
    )  # fmt: skip
    mace, module = add_moments(mace, **SCALES, **ALL)
    path = written(mace, module, tmp_path / "m.model")
    potential = convert(path, trust_pickle=True, head="b")
    expected = evaluate(mace, structure(), head=1)
    (found,) = Evaluator(potential)([structure()], ["energy", "forces"])
    np.testing.assert_allclose(found["energy"], expected["energy"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=0, atol=1e-9)


def anchor():
    """The model of tests/golden/build_maceles_anchor.py in MACE's main branch, by its recipe."""
    from e3nn import o3
    from mace import modules

    from tests.adapters.test_mace import foreign

    first = modules.interaction_classes["RealAgnosticInteractionBlock"]
    mace = foreign(
        dtype=torch.float64, seed=20260810, r_max=3.5, num_bessel=8, num_polynomial_cutoff=5,
        interaction_cls_first=first, hidden_irreps=o3.Irreps("16x0e + 16x1o"),
        MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.array([-1.5, -5.25, -8.75]),
        avg_num_neighbors=8.0, correlation=3, pair_repulsion=True, use_reduced_cg=False,
        atomic_inter_scale=1.3, atomic_inter_shift=0.0, keep_last_layer_irreps=True,
        radial_MLP=None,
    )  # fmt: skip
    on = {name: True for name in ALL if name != "use_anisotropic_polarizability"}
    scales = {"sigma": 1.0, **dict.fromkeys(SCALES, 1.0)}
    positive = {"make_alpha_positive": True, "make_kappa_positive": True}
    return add_moments(mace, seed=None, **on, **scales, **positive)


BULK = Atoms(
    "OCHOCH",
    [
        [0.38660089, 0.43419621, 0.35159478], [2.78956776, 0.91253001, 2.25688203],
        [1.34772579, 2.80883417, 2.34990180], [3.34863251, 2.60399222, 0.16497031],
        [1.93038522, 1.75522364, 1.32543608], [4.90039750, 4.21908802, 3.49690121],
    ],
    cell=[[4.3, 0.0, 0.0], [1.05, 4.1, 0.0], [0.65, 0.85, 4.45]], pbc=True,
)  # fmt: skip
WATERS = Atoms(
    "OHHOHHOHH",
    [
        [0.00973393, -0.02920253, 0.11606319], [-0.02195483, 0.75435334, -0.48541198],
        [-0.02384948, -0.77611055, -0.48273213], [2.90675500, 0.36299481, 0.28064688],
        [2.84459014, 1.15648243, -0.28337594], [2.82626500, -0.39294132, -0.25973253],
        [1.32201099, 2.59823609, -0.31689857], [1.30212991, 3.38121799, -0.94890892],
        [1.32324612, 1.84669261, -0.92112220],
    ],
)  # fmt: skip
GOLDEN = {
    "bulk": (
        BULK, -30.932288353824536, -0.004100068989090829,
        [0.012882339864097377, -0.0043341661881157855, 0.017753977424816117],
        # of charges and of dipoles, added here
        [0.0023976970505697206 + 0.025112759332995577, 0.0014689132402442647 + 0.029592841864807026,
         -0.0002990574217323832 + 0.029663063697943103],
    ),
    "waters": (
        WATERS, -35.018765489436895, 0.0510940971501176,
        [0.00266402624939005, 0.15170990817965085, 0.08993192067789009],
        [0.02529516514190943 - 0.10759783887382578, 0.006790738972529797 - 0.012691018846437306,
         -0.1411175803527098 + 0.025135777080174556],
    ),
}  # fmt: skip
"""Structure, energy, its part by `les`, force on the first atom, its Born charge of a field in x:
tests/golden/references/tiny_maceles_e3nn_cpu_fp64.json of MACE's main branch (ACEsuit/mace, MIT),
which les at commit fadfb0c was used for."""
STRESS = [
    [-8.292828062755581e-05, 0.0012242239441421694, -0.0011544353949593574],
    [0.0012242239441421694, 4.702121169462837e-05, 0.0008536200965093988],
    [-0.0011544353949593574, 0.0008536200965093988, -0.0009016213138922604],
]


@pytest.mark.parametrize("case", GOLDEN)
def test_numbers_of_mace_itself(case, tmp_path):
    """All moments at once, by MACE's main branch and the `les` package: no double can tell this."""
    atoms, energy, les_energy, force, born = GOLDEN[case]
    mace, module = anchor()
    assert sum(p.numel() for p in mace.parameters()) == 42032
    expected = evaluate(mace, atoms)
    assert expected["energy"] == pytest.approx(energy, abs=1e-12)
    assert expected["les_energy"] == pytest.approx(les_energy, abs=1e-13)
    potential = convert(written(mace, module, tmp_path / "m.model"), trust_pickle=True)
    wanted = ["energy", "forces", "bec_as_published"] + ["stress"] * bool(atoms.pbc.all())
    (found,) = Evaluator(potential)([atoms], wanted)
    assert found["energy"] == pytest.approx(energy, abs=1e-12)
    np.testing.assert_allclose(found["forces"][0], force, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["bec_as_published"][0, 0], born, rtol=0, atol=1e-12)
    if atoms.pbc.all():
        np.testing.assert_allclose(found["stress"], STRESS, rtol=0, atol=1e-13)


def test_what_answers_decides_what_there_is_not_the_name_of_the_level(tmp_path):
    """α and quadrupoles without κ have no level of their own, and dipoles of periodic cells."""
    alone = {name: on for name, on in ALL.items() if name != "use_induced_charge"}
    mace, module = extended(VECTORS, layers=1, make_alpha_positive=True, **alone)
    potential = convert(written(mace, module, tmp_path / "m.model"), trust_pickle=True)
    assert potential.config["level"] == "uQiqiu"
    calculator = LRCalculator(potential)
    atoms, names = structure(), ["dipole", "born_effective_charges", "polarizability"]
    dipole, born, polarizability = (calculator.get_property(name, atoms) for name in names)
    assert np.linalg.eigvalsh(polarizability).min() > 0
    forces = []
    for field in (1e-3, -1e-3):
        calculator.electric_field = (0, field, 0)
        forces.append(calculator.get_property("forces", atoms))
        answer = (calculator.get_property("dipole", atoms) - dipole) / field
        np.testing.assert_allclose(answer, polarizability[1], rtol=0, atol=1e-9)
    slope = (forces[0] - forces[1]) / 2e-3
    np.testing.assert_allclose(slope, born[:, 1], rtol=0, atol=1e-9)


def test_signs_are_turned_together(tmp_path):
    mace, module = extended(TENSORS, **ALL)
    path = written(mace, module, tmp_path / "m.model")
    one, other = (convert(path, trust_pickle=True, flip_sign=flip) for flip in (False, True))
    atoms = cluster()
    first, second = moments_of(one, atoms), moments_of(other, atoms)
    for name, values in first.items():
        sign = 1.0 if name in ("capacitance", "polarizability") else -1.0
        np.testing.assert_allclose(second[name], sign * values, rtol=0, atol=1e-12, err_msg=name)
    compare(mace, one, atoms)
    energies = [Evaluator(p)([atoms], ["energy"])[0]["energy"] for p in (one, other)]
    assert energies[0] == pytest.approx(energies[1], abs=1e-10)


def test_dipoles_are_of_all_moments(tmp_path):
    """Of the molecule: by the equation, and Born charges are its differences."""
    mace, module = extended(VECTORS, use_dipole=True, use_quad=True, use_induced_dipole=True)
    path = written(mace, module, tmp_path / "m.model")
    evaluator = Evaluator(convert(path, trust_pickle=True, epsilon_infinity=1.0))

    def dipole(atoms):
        found = evaluate(mace, atoms)
        charge = found["charge"] - found["charge"].mean()
        return charge @ atoms.positions + (found["dipole"] + found["induced_dipole"]).sum(0)

    atoms, step = cluster(), 1e-4
    (found,) = evaluator([atoms], ["dipole", "born_effective_charges"])
    np.testing.assert_allclose(found["dipole"], dipole(atoms), rtol=0, atol=1e-10)
    for axis in range(3):
        moved = []
        for sign in (1, -1):
            other = atoms.copy()
            other.positions[2, axis] += sign * step
            moved.append(dipole(other))
        slope = (moved[0] - moved[1]) / (2 * step)
        given = found["born_effective_charges"][2, :, axis]
        np.testing.assert_allclose(given, slope, rtol=0, atol=1e-7)


def test_they_run_as_any_model(tmp_path):
    mace, module = extended(VECTORS, use_dipole=True, use_induced_dipole=True)
    path = written(mace, module, tmp_path / "m.model")
    atoms = structure()
    atoms.calc = LRCalculator(f"mace:{path}", dtype="float64", trust_pickle=True)
    born = atoms.calc.get_property("born_effective_charges", atoms)
    twice = atoms.repeat((2, 1, 1))
    repeated = atoms.calc.get_property("born_effective_charges", twice)
    np.testing.assert_allclose(repeated[: len(atoms)], born, rtol=0, atol=1e-6)
    assert atoms.calc.get_property("polarizability", atoms).shape == (3, 3)


def changed(mace, what):
    """Give a file's model something that must not pass in silence."""
    les = mace.les
    if what == "a table of charges":
        les.use_fixed_atomic_charges = True
    elif what == "a table of α":
        les.use_atomic_alpha = True
    elif what == "another sum":
        les.ewald = type("TorchPME", (type(les.ewald),), {})()
    elif what == "cuequivariance":
        mace.les_quad_1o_readouts[0].ir_mul = True
    elif what == "pseudovectors":
        mace.les_quad_1o_readouts[0].scalar_to_weight_1e = torch.nn.Linear(4, 4)
    elif what == "a switch off":
        mace.use_quads = False
    elif what == "no readouts":
        mace.les_u_readouts = torch.nn.ModuleList()
    elif what == "other matrices":
        mace.change_of_basis = mace.change_of_basis.flip(0)
    elif what == "another gate":
        for block in mace.les_quad_1o_readouts:
            block.__class__ = type("NonLinearLesReadoutBlock", (type(block),), {})
            gate = type("Tanh", (torch.nn.Module,), {})()
            block.mlp = torch.nn.Sequential(torch.nn.Linear(4, 8), gate, torch.nn.Linear(8, 16))
    elif what == "signs of a layer":
        mace.les_alpha_1o_readouts[0].make_w_pos = False
    else:
        mace.les_octupole_scale = 0.1
    return mace


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("a table of charges", r"use_fixed_atomic_charges`, `fixed_charges`.*not known here"),
        ("a table of α", r"use_atomic_alpha`, `atomic_alpha`"),
        ("another sum", r"summed by TorchPME; known are Ewald"),
        ("cuequivariance", r"ir_mul.*mace_cueq_to_e3nn"),
        ("pseudovectors", r"has `les_quad_1o_readouts\.0\.scalar_to_weight_1e`"),
        ("a switch off", r"has `les_quad_1o_readouts` but `use_quads` is False"),
        ("no readouts", r"has `use_dipoles` but no readouts"),
        ("other matrices", r"`change_of_basis` of this MACE-LES model is not e3nn's"),
        ("another gate", r"gate Tanh; only SiLU"),
        ("signs of a layer", r"`make_w_pos` is not the same"),
        ("more", r"has `les_octupole_scale = 0\.1`"),
    ],
)
def test_what_would_be_another_model_is_refused(what, said, tmp_path, monkeypatch):
    mace, module = extended(TENSORS if what == "other matrices" else VECTORS, **ALL)
    path = written(mace, module, tmp_path / "m.model")
    read = mace_convert.read_pickle(path)
    monkeypatch.setattr(mace_convert, "read_pickle", lambda _: changed(read, what))
    with pytest.raises(ValueError, match=said):
        convert(path, trust_pickle=True)
