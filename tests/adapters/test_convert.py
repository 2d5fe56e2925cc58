"""MACE and MACE-LES files of all kinds, made by MACE itself, converted; and what is refused."""

import copy
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import Evaluator, LRCalculator, load, save
from lrcalc.models.adapters import mace_convert
from lrcalc.models.adapters.mace_convert import convert
from tests.adapters.mace_batch import batch_of
from tests.adapters.toy import toy_maceles

mace_only = pytest.mark.skipif(
    "not __import__('importlib').util.find_spec('mace')", reason="make test-mace"
)
PLAIN = "RealAgnosticInteractionBlock"


def mace_model(**changes):
    from tests.adapters.test_mace import foreign

    return foreign(dtype=torch.float64, **changes)


def with_charges(mace, **changes):
    """A MACE-LES model of mace's own class, with an object of a package that is not installed."""
    from lrcalc.models.adapters.foreign_import import quiet

    torch.manual_seed(4)
    with quiet():
        from mace.modules.extensions import MACELES, _copy_mace_readout

        copies = [_copy_mace_readout(r) for r in mace.readouts]
    mace.les_readouts = torch.nn.ModuleList(copies).double()
    mace.__class__ = MACELES
    module = types.ModuleType("les.les")
    made = {
        name: type(name, (torch.nn.Module,), {"__module__": "les.les"}) for name in ("Les", "Ewald")
    }
    vars(module).update(made)
    les, ewald = made["Les"](), made["Ewald"]()
    settings = {
        "sigma": 1.1, "dl": 2.0, "norm_factor": 90.0474, "remove_self_interaction": False, **changes
    }  # fmt: skip
    vars(ewald).update(settings)
    les.use_atomwise, les.ewald = changes.get("use_atomwise", False), ewald
    mace.les = les
    return mace, module


def pickled(mace, path, module=None):
    if module is not None:
        sys.modules["les"], sys.modules["les.les"] = types.ModuleType("les"), module
    try:
        torch.save(mace, path)
    finally:
        for name in ("les", "les.les"):
            sys.modules.pop(name, None)
    return path


def structure():
    rng = np.random.default_rng(1)
    cell = 5.5 * np.eye(3) + rng.normal(scale=0.3, size=(3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3) / 2
    return Atoms("CH4O2H", (grid + 0.05 * rng.normal(size=grid.shape)) @ cell, cell=cell, pbc=True)


def by_mace(mace, atoms, head=0):
    """Energy, forces and stress by MACE's own forward; the energy of charges apart."""
    with batch_of(mace, atoms, head) as batch:
        out = mace(batch, compute_stress=True)
    return {k: out[k].detach().numpy() for k in ("energy", "forces", "stress")}


KINDS = {
    "scalars": {"hidden_irreps": "4x0e", "correlation": 3},
    "scalars, not residual": {
        "hidden_irreps": "4x0e", "interaction_cls": PLAIN, "interaction_cls_first": PLAIN,
        "correlation": 2,
    },
    "one layer": {"hidden_irreps": "4x0e", "num_interactions": 1, "correlation": 3},
    "vectors": {},
    "ZBL": {"hidden_irreps": "4x0e", "pair_repulsion": True},
    "heads": {
        "hidden_irreps": "4x0e", "heads": ["a", "b"], "atomic_energies": np.arange(6).reshape(2, 3),
        "atomic_inter_scale": [1.7, 0.4], "atomic_inter_shift": [0.1, 0.2],
        "MLP_irreps": "8x0e",
    },
}  # fmt: skip


@mace_only
@pytest.mark.parametrize("kind", KINDS)
def test_short_ranged_models_are_what_mace_makes_of_them(kind, tmp_path):
    from e3nn import o3
    from mace import modules

    settings = dict(KINDS[kind])
    for name, value in settings.items():
        if name.endswith("irreps"):
            settings[name] = o3.Irreps(value)
        elif name.startswith("interaction"):
            settings[name] = modules.interaction_classes[value]
    mace = mace_model(**settings)
    path = pickled(mace, tmp_path / "m.model")
    head = {"head": "b"} if kind == "heads" else {}
    potential = convert(path, trust_pickle=True, **head)
    assert ("Scalar" in type(potential.backbone).__name__) == (kind != "vectors")
    save(potential, tmp_path / "m.pt")
    atoms = structure()
    (found,) = Evaluator(tmp_path / "m.pt", dtype="float64")(
        [atoms], ["energy", "forces", "stress"]
    )
    expected = by_mace(mace, atoms, head=int(kind == "heads"))
    assert np.abs(expected["forces"]).max() > 1e-3
    for name in ("energy", "forces", "stress"):
        value = expected[name][0] if name != "forces" else expected[name]
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-9)
    if kind == "heads":
        with pytest.raises(ValueError, match=r"has several heads; choose one .*: a, b"):
            convert(path, trust_pickle=True)
        with pytest.raises(ValueError, match="no head 'c'"):
            convert(path, trust_pickle=True, head="c")


@mace_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_potential_can_be_pickled_and_goes_on_to_be_trained(dtype, tmp_path):
    torch.save(mace_model(), path := tmp_path / "mace.model")
    potential = load(f"mace:{path}", dtype=dtype, trust_pickle=True)
    potential.metadata["said"] = "kept"
    learned = next(name for name, _ in potential.named_parameters())
    potential.train().get_parameter(learned).requires_grad_()
    atoms = structure()
    said = Evaluator(potential)([atoms], ["energy", "forces", "stress"])[0]
    for again in (pickle.loads(pickle.dumps(potential)), copy.deepcopy(potential)):
        for name, value in Evaluator(again)([atoms], ["energy", "forces", "stress"])[0].items():
            np.testing.assert_array_equal(value, said[name])
        assert again.dtype == dtype
        assert again.reference_energy.dtype == torch.float64
        assert again.training
        assert [n for n, p in again.named_parameters() if p.requires_grad] == [learned]
        assert again.metadata == potential.metadata
        assert again.get_parameter(learned) is not potential.get_parameter(learned)


@mace_only
@pytest.mark.parametrize("option", ["converge_k", "flip_sign", "epsilon_infinity"])
def test_what_only_charges_have_is_not_taken_in_vain(option, tmp_path):
    torch.save(mace_model(), path := tmp_path / "mace.model")
    with pytest.raises(ValueError, match=f"ScaleShiftMACE model, without charges.*{option}"):
        convert(path, trust_pickle=True, **{option: 2})


@mace_only
def test_charges_are_those_of_the_readouts_and_atomwise_is_refused(tmp_path):
    from e3nn import o3

    mace, module = with_charges(mace_model(hidden_irreps=o3.Irreps("4x0e"), correlation=3))
    path = pickled(mace, tmp_path / "m.model", module)
    atoms = structure()
    with pytest.raises(ValueError, match=r"trust_pickle=True"):
        LRCalculator(f"mace:{path}")
    calculator = LRCalculator(f"mace:{path}", dtype="float64", trust_pickle=True)
    potential = calculator.evaluator.potential
    assert potential.ewald.k_cutoff == pytest.approx(np.pi)
    assert potential.ewald.strength == pytest.approx(90.0474 / 90.47562, rel=1e-5)
    charges = calculator.get_property("charges", atoms)
    nodes = []
    hooks = [p.register_forward_hook(lambda *a: nodes.append(a[-1])) for p in mace.products]
    plain = type(mace).__mro__[1].forward
    mace.__class__.forward, before = plain, mace.__class__.forward
    try:
        by_mace(mace, atoms)
    finally:
        mace.__class__.forward = before
        [hook.remove() for hook in hooks]
    heads = torch.zeros(len(atoms), dtype=torch.long)
    expected = sum(r(x, heads)[:, 0] for r, x in zip(mace.les_readouts, nodes, strict=True))
    np.testing.assert_allclose(charges, expected.detach().numpy(), rtol=0, atol=1e-11)
    other, module = with_charges(mace_model(), use_atomwise=True)
    path = pickled(other, tmp_path / "other.model", module)
    with pytest.raises(ValueError, match="use_atomwise"):
        convert(path, trust_pickle=True)


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_are_none(tmp_path, capsys):
    path = tmp_path / "m.model"
    with pytest.raises(FileNotFoundError, match="no file"):
        convert(path, trust_pickle=True)
    with pytest.raises(FileNotFoundError, match="is a folder; wanted is a model"):
        convert(tmp_path, trust_pickle=True)
    save(toy_maceles(), path)
    with pytest.raises(ValueError, match="a model of lrcalc's own, which needs no conversion"):
        convert(path, trust_pickle=True)
    torch.save({"model": torch.zeros(2), "more": Harmful()}, path)
    with pytest.raises(ValueError, match=r"is a pickle, and .* trust_pickle=True"):
        convert(path)
    with pytest.raises(ValueError, match=r"holds a dictionary \(model, more"):
        convert(path, trust_pickle=True)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(ValueError, match=r"holds a torch.nn.modules.linear.Linear; wanted"):
        convert(path, trust_pickle=True)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match="no readable pickle.*truncated"):
        convert(path, trust_pickle=True)
    path.write_text("text")
    with pytest.raises(ValueError, match="no readable pickle"):
        convert(path, trust_pickle=True)
    with path.open("wb") as stream:
        pickle.dump(Harmful(), stream)
    with pytest.raises(ValueError, match="no readable pickle|holds"):
        convert(path, trust_pickle=True)
    assert "code ran" not in capsys.readouterr().out


@mace_only
def test_weights_that_are_no_numbers_are_refused_when_the_file_is_read(tmp_path):
    mace = mace_model()
    with torch.no_grad():
        mace.interactions[0].linear.weight[0] = float("nan")
    path = pickled(mace, tmp_path / "m.model")
    with pytest.raises(ValueError, match=r"m\.model holds NaN or infinite numbers in backbone\."):
        convert(path, trust_pickle=True)


@mace_only
def test_of_several_heads_the_calculator_says_how_to_take_one(tmp_path):
    settings = {"heads": ["a", "b"], "atomic_energies": np.arange(6).reshape(2, 3),
                "atomic_inter_scale": [1.7, 0.4], "atomic_inter_shift": [0.1, 0.2]}  # fmt: skip
    from e3nn import o3

    mace = mace_model(**settings, MLP_irreps=o3.Irreps("8x0e"))
    path = pickled(mace, tmp_path / "m.model")
    with pytest.raises(ValueError, match="choose one with `lrcalc convert --head`: a, b"):
        LRCalculator(f"mace:{path}", trust_pickle=True)


def test_a_class_of_that_name_without_its_contents_is_refused(tmp_path):
    made = type("MACELES", (torch.nn.Module,), {"__module__": __name__})
    globals()["MACELES"] = made
    try:
        torch.save(made(), tmp_path / "m.model")
    finally:
        del globals()["MACELES"]
    with pytest.raises(ValueError, match="MACELES is no MACE model: it has no atomic_numbers"):
        convert(tmp_path / "m.model", trust_pickle=True)


def added(mace, what):
    """Add what later versions of MACE-LES have, under names of that kind."""
    if what == "a readout":
        mace.les_dipole_readouts = torch.nn.ModuleList([torch.nn.Linear(4, 3)])
    elif what == "a layer's weight":
        mace.interactions[1].extra = torch.nn.Linear(4, 4)
    elif what == "a readout's bias":
        mace.les_readouts[0].linear.bias = torch.ones(1)
    elif what == "a scale of charges":
        mace.les_charge_scale = 0.1
    elif what == "polarizable":
        mace.les.use_alpha = True
    else:
        mace.les.induction = torch.nn.Identity()
    return mace


@mace_only
def test_what_the_conversion_does_not_know_is_refused_by_name(tmp_path, monkeypatch):
    """Dipoles, polarizabilities and the like would else be left out in silence."""
    from e3nn import o3

    known = {
        "a readout": "has `les_dipole_readouts`, which the conversion does not know",
        "a layer's weight": r"has `interactions\.1\.extra`",
        "a readout's bias": r"has `les_readouts\.0\.linear\.bias`",
        "a scale of charges": r"has `les_charge_scale = 0\.1`",
        "polarizable": r"has `les\.use_alpha = True`",
        "a solver": r"has `les\.induction`",
    }
    mace, module = with_charges(mace_model(hidden_irreps=o3.Irreps("4x0e")))
    path = pickled(mace, tmp_path / "m.model", module)
    read = mace_convert.read_pickle(path)
    for what, said in known.items():
        changed = added(copy.deepcopy(read), what)
        monkeypatch.setattr(mace_convert, "read_pickle", lambda _: changed)
        with pytest.raises(ValueError, match=said):
            convert(path, trust_pickle=True)
    monkeypatch.setattr(mace_convert, "read_pickle", lambda _: read)
    assert convert(path, trust_pickle=True).config["level"] == "q"
