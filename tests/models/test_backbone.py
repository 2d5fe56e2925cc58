"""A backbone of one's own, from the docstring of the protocol alone; and the native one."""

import numpy as np
import pytest
import torch
from ase.build import molecule
from torch import nn

from lrcalc import Evaluator, LRCalculator, Potential, load
from lrcalc.checkpoint import save
from lrcalc.models import backbone as backbones
from lrcalc.models.backbone import Features, build_backbone, register_backbone
from lrcalc.models.options import NATIVE_DEFAULTS
from lrcalc.models.radial import radial_basis
from lrcalc.models.readout import Readings, neutral
from lrcalc.multipoles import Multipoles
from lrcalc.neighbors import pair_vectors
from lrcalc.testing import check_backbone
from lrcalc.training.data import make_frames
from lrcalc.training.fit import fit
from lrcalc.training.settings import TrainingSettings
from tests.conftest import random_potential
from tests.sample_structures import water_box
from tests.training.sets import frames_of, label, shaken


class Radial(nn.Module):
    """Sums over radial functions of the distances, weighed by the neighbour's species."""

    layers = 1
    n_channels = 0

    def __init__(self, species, *, cutoff, width):
        super().__init__()
        self.species, self.cutoff, self.n_scalars = species, cutoff, width
        self.weight = nn.Parameter(torch.randn(119, width))

    def forward(self, system, pairs, vectors):
        n = len(system.numbers)
        basis = radial_basis(vectors.norm(dim=1), self.cutoff, self.n_scalars)
        heard = vectors.new_zeros(n, self.n_scalars)
        heard = heard.index_add(0, pairs.i, basis * self.weight[system.numbers[pairs.j]])
        return Features(torch.tanh(heard), vectors.new_zeros(n, 0, 3), vectors.new_zeros(n, 0, 5))


class Messages(Radial):
    """What `Radial` says of the neighbours, heard once more, with a direction."""

    layers = 2

    def __init__(self, species, *, cutoff, width):
        super().__init__(species, cutoff=cutoff, width=width)
        self.n_channels = width

    def forward(self, system, pairs, vectors):
        own = super().forward(system, pairs, vectors).scalars
        distance = vectors.norm(dim=1, keepdim=True)
        weight = radial_basis(distance[:, 0], self.cutoff, self.n_scalars)
        message = weight * own[pairs.j]
        arrows = message[:, :, None] * (vectors / distance)[:, None]
        vector = own.new_zeros(*own.shape, 3).index_add(0, pairs.i, arrows)
        heard = torch.zeros_like(own).index_add(0, pairs.i, message)
        return Features(own + torch.tanh(heard), vector, vector.new_zeros(*own.shape, 5))


TOYS = {"radial": Radial, "messages": Messages}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    for name, builder in TOYS.items():
        register_backbone(name, builder, {"cutoff": 4.0, "width": 8})


NATIVE = {"channels": 4, "hidden": 8, "cutoff": 4.0}
TOY = {"cutoff": 4.0, "width": 8}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("native", NATIVE),
        ("native", {**NATIVE, "layers": 2}),
        ("native", {**NATIVE, "layers": 3}),
        ("radial", TOY),
        ("messages", TOY),
    ],
)
def test_a_backbone_keeps_the_promises(name, settings):
    torch.manual_seed(0)
    backbone = build_backbone(name, (1, 8), settings)
    errors = check_backbone(backbone)
    assert set(errors) >= {"rotation", "reach", "cutoff", "curvature", "float32"}


def spoiled(**changes):
    """`Messages` with something wrong: a change of its features or of an attribute."""

    class Spoiled(Messages):
        def forward(self, system, pairs, vectors):
            features = super().forward(system, pairs, changes.get("see", lambda v: v)(vectors))
            return changes.get("say", lambda f, *_: f)(features, system, pairs, vectors)

    Spoiled.layers = changes.get("layers", 2)
    return Spoiled((1, 8), cutoff=4.0, width=4)


def scalars(change):
    return lambda f, s, p, v: f._replace(scalars=f.scalars + change(s, p, v).to(v.dtype))


def squares(system, pairs, vectors):
    """What ends at the cutoff with a jump of its curvature."""
    gap = (4.0 - vectors.norm(dim=1, keepdim=True)).clamp(min=0)
    return vectors.new_zeros(len(system.numbers), 1).index_add(0, pairs.i, 1e-3 * gap**2)


def along(function):
    """What a function of the distance to the neighbours adds to the scalars."""

    def added(system, pairs, vectors):
        each = 1e-3 * function(vectors.norm(dim=1, keepdim=True))
        return vectors.new_zeros(len(system.numbers), 1).index_add(
            0, pairs.i, each.to(vectors.dtype)
        )

    return scalars(added)


def of_the_nearest(system, pairs, vectors):
    """What only the closest neighbour says: it changes hands with a kink."""
    away = vectors.new_full((len(system.numbers), 1), 4.0)
    distance = vectors.norm(dim=1, keepdim=True)
    index = pairs.i[:, None].expand_as(distance)
    return 1e-3 * (4.0 - away.scatter_reduce(0, index, distance, "amin")).clamp(min=0) ** 4


def first_kind(system):
    """Two for atoms like the first one, one for the others."""
    return 1.0 + (system.numbers == system.numbers[0])[:, None].float()


def counted(system, pairs, _):
    return 1e-3 * torch.bincount(pairs.i, minlength=len(system.numbers))[:, None]


@pytest.mark.parametrize(
    ("failing", "changes"),
    [
        ("rotation", {"say": lambda f, *_: f._replace(vectors=f.vectors.flip(2))}),
        ("inversion", {"say": lambda f, *_: f._replace(vectors=f.vectors.abs())}),
        ("translation", {"say": scalars(lambda s, *_: 1e-3 * s.positions[:, :1])}),
        ("permutation", {"say": scalars(lambda s, *_: 1e-3 * torch.arange(len(s.batch))[:, None])}),
        ("batch", {"say": lambda f, *_: f._replace(scalars=f.scalars - f.scalars.mean(0))}),
        ("isolated", {"say": lambda f, *_: f._replace(scalars=f.scalars + 1e-3)}),
        ("beyond", {"say": scalars(counted)}),
        ("reach", {"layers": 1}),
        ("cutoff", {"say": scalars(squares)}),
        ("smooth", {"say": along(lambda d: (d < 2.5).double())}),
        ("smooth", {"say": along(lambda d: (d - 2.0).abs() * (4.0 - d).clamp(min=0) ** 3)}),
        ("smooth", {"say": scalars(of_the_nearest)}),
        ("permutation", {"say": lambda f, s, *_: f._replace(scalars=f.scalars * first_kind(s))}),
        ("returns a tuple", {"say": lambda f, *_: tuple(f)}),
        ("go back to `vectors`", {"say": lambda f, *_: Features(*(x.detach() for x in f[:3]))}),
        ("`layers` of this backbone is '2'", {"layers": "2"}),
        ("slope", {"see": lambda v: 2 * v - v.detach()}),
        ("curvature", {"see": lambda v: v + 0.01 * (v.detach() * v - 0.5 * v.detach() ** 2)}),
        ("float64 but must", {"say": lambda f, *_: Features(*(x.double() for x in f[:3]))}),
        ("but must be .7, 4", {"say": lambda f, *_: f._replace(scalars=f.scalars[:, :2])}),
        ("nothing is heard", {"say": lambda f, *_: Features(*(0 * x for x in f[:3]))}),
    ],
)
def test_a_broken_promise_is_named(failing, changes):
    with pytest.raises(ValueError, match=failing):
        check_backbone(spoiled(**changes))


def differences(function, atoms, atom, axis, h=1e-4):
    """Fourth-order central difference by the displacement of one atom."""
    rows = []
    for step in (h, -h, 2 * h, -2 * h):
        moved = atoms.copy()
        moved.positions[atom, axis] += step
        rows.append(np.asarray(function(moved)))
    return (8 * (rows[0] - rows[1]) - (rows[2] - rows[3])) / (12 * h)


def stress_component(function, atoms, h=1e-4):
    """Derivative of the energy by the xy shear of cell and atoms, over the volume."""
    energies = []
    for step in (h, -h, 2 * h, -2 * h):
        sheared = atoms.copy()
        deform = np.eye(3) + step / 2 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]])
        sheared.set_cell(atoms.cell @ deform, scale_atoms=True)
        energies.append(function(sheared))
    return (8 * (energies[0] - energies[1]) - (energies[2] - energies[3])) / (
        12 * h * atoms.cell.volume
    )


@pytest.mark.parametrize(
    ("config", "level"),
    [
        ({"backbone": "radial", "width": 6}, "q"),
        ({"backbone": "messages", "width": 6}, "u"),
        ({**NATIVE, "layers": 2}, "u"),
    ],
    ids=["radial", "messages", "two layers"],
)
def test_a_small_one_is_trained_saved_loaded_and_run(config, level, tmp_path):
    frames = make_frames(frames_of("water", 5), "frames.xyz", 4.0)
    path = tmp_path / "toy.pt"
    config = {**config, "level": level, "accuracy": 1e-9}
    settings = TrainingSettings(epochs=3, batch_size=3, learning_rate=1e-2, energy_boost=1.0)
    losses = []
    trained = fit(
        frames[1:],
        frames[:1],
        config,
        settings,
        path,
        report=lambda row: losses.append(row["loss"]),
    )
    assert losses[-1] < losses[0]
    assert load(path).config == trained.config
    assert set(config) <= set(load(path).config)
    atoms = water_box(n=3)
    calculator = LRCalculator(path, dtype="float64")
    result = {
        p: calculator.get_property(p, atoms) for p in ("forces", "stress", "born_effective_charges")
    }
    force = -differences(lambda a: calculator.get_property("energy", a), atoms, 4, 1)
    assert result["forces"][4, 1] == pytest.approx(force, abs=1e-8)
    stress = stress_component(lambda a: calculator.get_property("energy", a), atoms)
    assert result["stress"][5] == pytest.approx(stress, abs=1e-9)
    born = differences(lambda a: calculator.get_property("dipole", a), atoms, 4, 1)
    np.testing.assert_allclose(result["born_effective_charges"][4, :, 1], born, rtol=0, atol=1e-8)
    assert np.abs(born).max() > 1e-4


@pytest.mark.parametrize("charges", ["local", "atomic"])
def test_born_charges_of_messages_turn_and_do_not_know_the_box(charges):
    """Two rounds: what moves a charge is farther than a pair."""
    atoms = water_box(n=3)
    potential = random_potential(atoms, backbone="messages", width=6, level="u", charges=charges)
    evaluator = Evaluator(potential, asr_projection=False)

    def born(a):
        return evaluator([a], ["born_effective_charges"])[0]["born_effective_charges"]

    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ turn.T)
    turned.positions = (atoms.positions + [1.0, 2.0, 3.0]) @ turn.T
    here = born(atoms)
    np.testing.assert_allclose(born(turned), turn @ here @ turn.T, rtol=0, atol=1e-10)
    np.testing.assert_allclose(born(atoms * (2, 1, 1)), np.tile(here, (2, 1, 1)), rtol=0, atol=1e-9)
    # or the test could not fail
    assert np.abs(here - here.mean(0)).max() > 1e-3


class Published(nn.Module):
    """Energies and charges that come with a model: charges are as they are, not neutral."""

    level, charges, transfer_cutoff = "q", "atomic", 0.0

    def __init__(self, species, backbone, options):
        super().__init__()
        if options["level"] != "q":
            raise ValueError("it has charges alone")
        self.weight = nn.Parameter(0.1 * torch.randn(backbone.n_scalars, 2))

    def forward(self, features, species, system, pairs, vectors):
        energies, charge = (features.scalars @ self.weight).unbind(1)
        return Readings(energies, Multipoles(charge), None, charge, neutral(charge, system))


def test_a_backbone_may_bring_its_own_readout(tmp_path):
    register_backbone("published", Messages, {"cutoff": 4.0, "width": 8}, readout=Published)
    with pytest.raises(ValueError, match="it has charges alone"):
        Potential((1, 8), backbone="published")
    torch.manual_seed(0)
    settings = {"level": "q", "charges": "atomic", "strength": 0.9, "accuracy": 1e-9}
    settings["remove_self_interaction"] = False
    potential = Potential((1, 8), backbone="published", **settings).double()
    assert isinstance(potential.readout, Published)
    path = tmp_path / "m.pt"
    save(potential, path)
    evaluator = Evaluator(path, dtype="float64")
    assert evaluator.potential.ewald.strength == 0.9
    molecule = water_box(n=2)
    molecule.pbc = False
    (result,) = evaluator([molecule], ["charges", "dipole", "born_effective_charges"])
    assert abs(result["charges"].sum()) > 1e-2
    moved = molecule.copy()
    moved.positions += [1.0, 2.0, 3.0]  # dipoles are those of neutral charges
    (other,) = evaluator([moved], ["dipole"])
    np.testing.assert_allclose(other["dipole"], result["dipole"], rtol=0, atol=1e-12)
    slope = differences(lambda a: evaluator([a], ["dipole"])[0]["dipole"], molecule, 2, 0)
    born = result["born_effective_charges"][2, :, 0]
    np.testing.assert_allclose(born, slope, rtol=0, atol=1e-8)


def test_a_potential_of_parts_made_by_hand_is_that_of_its_options(tmp_path):
    atoms = water_box(n=2)
    by_name = random_potential(atoms, backbone="radial", level="q", smearing=1.2)
    by_hand = Potential.compose(by_name.backbone, by_name.readout, by_name.ewald, species=(8, 1))
    assert by_hand.config["smearing"] == 1.2
    assert by_hand.config["backbone"] is None
    wanted = ["energy", "forces", "dipole"]
    (here,), (there,) = (Evaluator(p)([atoms], wanted) for p in (by_name, by_hand))
    assert all((here[name] == there[name]).all() for name in ("forces", "dipole"))
    with pytest.raises(ValueError, match="give it a name with"):
        save(by_hand, tmp_path / "m.pt")
    with pytest.raises(ValueError, match="`ewald` is None but `readout` is of level 'q'"):
        Potential.compose(by_name.backbone, by_name.readout, None)
    with pytest.raises(ValueError, match=r"knows the atomic numbers \[1, 8\], not \[6\]"):
        Potential.compose(by_name.backbone, by_name.readout, by_name.ewald, species=(1, 6))


def test_a_file_that_asks_for_what_is_not_there_says_so(tmp_path, monkeypatch):
    path = tmp_path / "toy.pt"
    save(Potential((1, 8), backbone="radial"), path)
    del backbones.BACKBONES["radial"]
    register_backbone("elsewhere", "no_such_package.module:build", {}, extra="nequip")
    known = r"toy.pt: unknown backbone 'radial'; known: .*'elsewhere' \(pip install lrcalc\[nequip"
    with pytest.raises(ValueError, match=known):
        load(path)
    with pytest.raises(
        ValueError, match=r"needs the package 'no_such_package' \(pip install lrcalc"
    ):
        Potential((1,), backbone="elsewhere")

    def lacking(species):
        import no_such_part  # noqa: F401

    register_backbone("lacking", lacking, {}, extra="mace")
    with pytest.raises(ValueError, match=r"'no_such_part' \(pip install lrcalc\[mace\]\)"):
        Potential((1,), backbone="lacking")

    class Announced:
        def load(self):
            register_backbone("radial", Radial, {"cutoff": 4.0, "width": 8})

    monkeypatch.setattr(backbones.metadata, "entry_points", lambda **_: [Announced()])
    assert isinstance(load(path).backbone, Radial)


def test_a_file_that_names_no_backbone_means_the_native_one():
    """So that files, fingerprints and resumed runs from before names were there stay the same."""
    potential = Potential((1, 8), channels=4, hidden=4)
    assert not {"backbone", "layers"} & set(potential.config)
    assert type(potential.backbone).__name__ == "LocalBackbone"


def test_an_option_is_told_unless_it_means_what_was_meant_before_it():
    """The default of a backbone may be something else: then what is chosen is told."""
    register_backbone("deep", lambda s, layers: Messages(s, **TOY), {"layers": 2})
    assert Potential((1, 8), backbone="deep", layers=1).config["layers"] == 1
    assert Potential((1, 8), backbone="deep").config["layers"] == 2
    assert Potential((1, 8), **NATIVE, layers=2).config["layers"] == 2


def test_what_cannot_be_a_backbone_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`layers` is 1.5 but must be a whole number"):
        Potential((1, 8), layers=1.5)
    with pytest.raises(ValueError, match="is a backbone 'native' already"):
        register_backbone("native", Radial, {})
    register_backbone("clash", Radial, {"level": 1})
    with pytest.raises(ValueError, match=r"settings \['level'\] of the backbone have names"):
        Potential((1,), backbone="clash")
    with pytest.raises(ValueError, match=r"unknown model options \['channels'\]; known: .*'width'"):
        Potential((1,), backbone="radial", channels=3)
    made = Radial((1, 8), cutoff=4.0, width=4)
    with pytest.raises(ValueError, match=r"knows the atomic numbers \[1, 8\], not \[6\]"):
        Potential((1, 6), backbone=made)
    with pytest.raises(ValueError, match="give it a name with"):
        save(Potential((1, 8), backbone=made), tmp_path / "m.pt")


def test_what_symmetry_hides_in_the_first_batch_is_not_the_loudest_later():
    """Vectors of carbon vanish in a perfect CH4: their scale must not be one over rounding."""
    backbone = build_backbone("native", (1, 6), {**NATIVE_DEFAULTS, "channels": 4, "cutoff": 4.0})
    backbone = backbone.double()

    def heard(atoms):
        (frame,) = make_frames([label(atoms)], "frames.xyz", 4.0)
        vectors = pair_vectors(frame.system, frame.pairs).double()
        return frame.system, frame.pairs, vectors

    perfect = molecule("CH4")
    backbone.calibrate(*heard(perfect))
    bent = shaken(perfect, 1)
    with torch.no_grad():
        assert backbone(*heard(bent)).scalars.abs().max() < 1e5
