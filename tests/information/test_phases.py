"""The model of phases: its score, its symmetry, its files, labels and denoising."""

import warnings

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.geometry import cellpar_to_cell
from ase.io import write

from lrcalc.cli import main
from lrcalc.information import phase_labels
from lrcalc.information.phase_blocks import energies_in_blocks, logits_in_blocks
from lrcalc.information.phase_intake import measure, pairs_of
from lrcalc.information.phase_labels import denoise, evaluate, label, score_in_blocks
from lrcalc.information.phase_lengths import length_of
from lrcalc.information.phases import PhaseModel, familiar_head, load, save, score
from lrcalc.system import from_ase


def triclinic(n=40, seed=0, species=(8, 1)):
    rng = np.random.default_rng(seed)
    cell = cellpar_to_cell([8.0, 8.5, 9.0, 75, 82, 98])
    grid = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), -1).reshape(-1, 3)[:n] / 4
    numbers = rng.choice(species, n)
    return Atoms(numbers, (grid + 0.04 * rng.normal(size=(n, 3))) @ cell, cell=cell, pbc=True)


def made(species=(), seed=0, **settings):
    """A model with random weights in float64, calibrated."""
    torch.manual_seed(seed)
    chosen = {"products": 5, "rounds": 2, "width": 10, "cutoff": 4.0 if species else 2.0} | settings
    model = PhaseModel(["one", "two", "three"], species, **chosen).double()
    torch.nn.init.normal_(model.energy[-1].weight)
    model.requires_grad_(False)
    system = measure(model, triclinic()).system
    pairs, offset = pairs_of(model, system)
    vectors = system.positions[pairs.j] - system.positions[pairs.i] + offset
    edges = model.backbone.edges(pairs, vectors, len(system.numbers))
    model.backbone.calibrate(system, edges, torch.ones(len(system.numbers), dtype=torch.bool))
    return model


def log_probability(model, atoms, length):
    system = measure(model, atoms, length=length).system
    pairs, offset = pairs_of(model, system)
    return score(model, system, pairs, offset)


@pytest.mark.parametrize("species", [(), (1, 8)])
def test_the_score_is_the_gradient_of_the_log_probability(species):
    model, atoms = made(species), triclinic()
    unit = None if species else 2.1
    found, gradient = log_probability(model, atoms, unit)
    # log P̂ as the paper defines it
    assert float(torch.logsumexp(found.logits, 1).sum()) == pytest.approx(
        float(found.energy.sum()), abs=1e-10
    )
    h = 1e-4
    for atom, axis in [(0, 0), (7, 1), (23, 2)]:
        values = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * h
            values.append(float(torch.logsumexp(
                log_probability(model, moved, unit)[0].logits, 1
            ).sum()))  # fmt: skip
        slope = (values[0] - values[1]) / (2 * h)
        assert slope == pytest.approx(float(gradient[atom, axis]) / (unit or 1.0), rel=1e-6)


def test_rotation_translation_permutation():
    model, atoms = made((1, 8)), triclinic()
    reference, force = log_probability(model, atoms, None)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]  # a reflection too
    turned = atoms.copy()
    turned.set_cell(atoms.cell @ turn.T)
    turned.positions = atoms.positions @ turn.T + [0.3, -1.0, 2.0]
    order = np.random.default_rng(1).permutation(len(atoms))
    found, other = log_probability(model, turned[order], None)
    torch.testing.assert_close(found.logits, reference.logits[order], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(other, force[order] @ torch.as_tensor(turn.T), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "atoms",
    [bulk("Cu", "fcc", a=3.6), bulk("Fe", "bcc", a=2.9), bulk("Mg", "hcp", a=3.2, c=5.2),
     bulk("Si", "diamond", a=5.4), bulk("Po", "sc", a=3.3)],
    ids=["fcc", "bcc", "hcp", "dc", "sc"],
)  # fmt: skip
def test_no_score_on_a_perfect_lattice(atoms):
    _, gradient = log_probability(made(), atoms, None)
    shaken = atoms.repeat(3)
    shaken.rattle(0.1, seed=1)
    _, other = log_probability(made(), shaken, None)
    assert gradient.abs().max() < 1e-10 * other.abs().max()


def test_scale_does_not_matter_without_species():
    model, atoms = made(), triclinic()
    bigger = atoms.copy()
    bigger.set_cell(atoms.cell * 1.7, scale_atoms=True)
    bigger.numbers[:] = 79
    one, two = label(model, atoms), label(model, bigger)
    assert two.length == pytest.approx(1.7 * one.length)
    np.testing.assert_allclose(two.logits, one.logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "a", "atoms_of_cell"), [
    ("fcc", 4.0, 4), ("bcc", 3.0, 2), ("diamond", 5.4, 8), ("sc", 3.0, 1),
])  # fmt: skip
def test_the_length_is_the_cube_root_of_the_volume_per_atom_and_noise_leaves_it(
    kind, a, atoms_of_cell
):
    atoms = bulk("Cu", kind, a=a, cubic=True)
    exact = a / atoms_of_cell ** (1 / 3)
    perfect = length_of(from_ase(atoms))
    assert perfect == pytest.approx(exact, rel=0.06)  # shells are not a uniform medium
    many = atoms.repeat(4)
    many.rattle(0.2 * perfect, seed=2)
    assert length_of(from_ase(many)) == pytest.approx(exact, rel=0.03)


def test_a_surface_has_the_length_of_the_bulk():
    slab = bulk("Cu", "fcc", a=3.6, cubic=True).repeat((4, 4, 5))
    slab.center(vacuum=10, axis=2)
    slab.pbc = [True, True, False]
    inside = length_of(from_ase(bulk("Cu", "fcc", a=3.6)))
    assert length_of(from_ase(slab)) == pytest.approx(inside, rel=0.02)


@pytest.mark.parametrize("species", [(), (1, 8)])
@pytest.mark.parametrize(("rounds", "smooth"), [(0, 0), (2, 1), (1, 2), (4, 1)])
def test_blocks_of_atoms_give_the_logits_of_all(species, rounds, smooth, monkeypatch):
    model = made(species, rounds=rounds, smooth=smooth)
    head = familiar_head(model.backbone.size(model.score_rounds)).double()
    model.familiar = head.requires_grad_(False)
    system = measure(model, triclinic()).system
    pairs, offset = pairs_of(model, system)
    whole, gradient = score(model, system, pairs, offset)
    for work in (logits_in_blocks, energies_in_blocks):
        monkeypatch.setattr(work, "__defaults__", (7,))
    parts, other = score_in_blocks(model, system)
    torch.testing.assert_close(parts, whole.energy, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(other, gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(evaluate(model, system), whole, rtol=1e-10, atol=1e-12)


def test_averages_over_neighbours_are_those_of_the_definition():
    model = made(rounds=1, cutoff=2.0)
    backbone, system = model.backbone, measure(model, triclinic()).system
    pairs, offset = pairs_of(model, system)
    n = len(system.numbers)
    vectors = system.positions[pairs.j] - system.positions[pairs.i] + offset
    edges = backbone.edges(pairs, vectors, n)
    weight = (1 - (vectors.norm(dim=1) / 2.0) ** 2) ** 3
    z = torch.rand(n, 3).double()
    expected = z.clone()
    total = torch.ones(n, 1).double()
    for k, (i, j) in enumerate(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True)):
        expected[i] += weight[k] * z[j]
        total[i] += weight[k]
    torch.testing.assert_close(edges.average(z, n) + z, expected)
    torch.testing.assert_close(model.around(edges, n), total)
    torch.testing.assert_close(model.chances(z, edges), torch.log_softmax(expected / total, dim=1))


def test_denoising_never_lowers_the_log_probability():
    model, atoms = made(sigma=0.03), triclinic()
    steps = list(denoise(model, atoms, steps=8))
    assert len(steps) > 3
    assert (np.diff([s.log_probability for s in steps]) > 0).all()
    np.testing.assert_array_equal(steps[0].positions, steps[0].positions)
    # what is told is what there is
    there = atoms.copy()
    there.positions = steps[-1].positions
    found = label(model, there, steps=0, length=measure(model, atoms).length)
    assert found.log_probability == pytest.approx(steps[-1].log_probability, abs=1e-8)


def test_a_label_after_steps_is_that_of_the_denoised_structure():
    model, atoms = made(sigma=0.03), triclinic()
    *_, last = denoise(model, atoms, steps=3)
    moved = atoms.copy()
    moved.positions = last.positions
    direct = label(model, moved, steps=0, length=measure(model, atoms).length)
    after = label(model, atoms, steps=3)
    assert (direct.steps, after.steps) == (0, 3)
    np.testing.assert_allclose(after.logits, direct.logits, atol=1e-9)
    assert after.phase == direct.phase


@pytest.mark.parametrize(
    ("noise", "steps"), [(0.06, 0), (0.12, 0), (0.2, phase_labels.STEPS)], ids=str
)
def test_labels_that_would_be_uncertain_are_read_after_denoising(noise, steps):
    """Of hcp, whose labels suffer first; noise is in units of the distance of neighbours."""
    atoms = bulk("Mg", "hcp", a=3.2, c=3.2 * (8 / 3) ** 0.5, orthorhombic=True).repeat((7, 4, 4))
    atoms.rattle(noise * 3.2, seed=2)
    found = label(load("metals"), atoms)
    assert found.steps == steps
    assert found.phase.count("hcp") >= 0.98 * len(atoms)
    if steps:
        plain = label(load("metals"), atoms, steps=0)
        assert plain.phase.count("hcp") < 0.9 * len(atoms)
        given = label(load("metals"), atoms, steps=steps)
        np.testing.assert_array_equal(given.logits, found.logits)


def test_what_is_no_crystal_is_not_denoised():
    rng = np.random.default_rng(0)
    gas = Atoms("Cu300", 15 * rng.random((300, 3)), cell=3 * [15], pbc=True)
    for unknown in (True, False):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert label(load("metals"), gas, unknown=unknown).steps == 0
    sure, familiar = np.full(4, 0.95), np.array([1, 1, 0, 0])
    assert not phase_labels.uncertain(sure, None)
    assert phase_labels.uncertain(sure - 0.1, None)
    assert not phase_labels.uncertain(np.array([0.95, 0.95, 0.1, 0.1]), familiar)
    assert phase_labels.uncertain(np.array([0.8, 0.8, 1, 1]), familiar)
    assert not phase_labels.uncertain(np.array([0.8, 1, 1, 1]), np.array([1, 0, 0, 0]))


def test_a_file_gives_back_the_model(tmp_path):
    model = made((1, 8), cutoff=4.0)
    model.metadata = {"licence": "MIT"}
    head = familiar_head(model.backbone.size(model.score_rounds)).double()
    model.familiar = head.requires_grad_(False)
    save(model, tmp_path / "m.pt")
    again = load(tmp_path / "m.pt")
    assert again.phases == model.phases
    assert again.metadata == {"licence": "MIT"}
    assert again.cutoff == 4.0
    one, two = (label(m, triclinic(), unknown=False) for m in (again, model))
    np.testing.assert_array_equal(one.logits, two.logits)
    np.testing.assert_array_equal(one.familiar, two.familiar)


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no bundled model of phases 'nonsense'"):
        load("nonsense")
    with pytest.raises(ValueError, match="a model of phases has"):
        load(_zoo_model())
    with pytest.raises(ValueError, match="unknown settings"):
        PhaseModel(["a"], cutof=3)
    with pytest.raises(ValueError, match="different names"):
        PhaseModel(["a", "a"])


def _zoo_model():
    from lrcalc.zoo import model_file

    return model_file("water")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:0], "no atoms"),
        (lambda a: a[:1], None),
        (lambda a: Atoms("H8O8", np.random.default_rng(0).random((16, 3)) * 6), "not periodic"),
        (lambda a: Atoms("O"), "has 1 atoms and is not periodic"),
    ],
)
def test_structures_that_have_no_phase(change, message):
    atoms = change(triclinic())
    if message is None:  # a crystal of one atom, smaller than the cutoff: its images are there
        assert np.isfinite(label(made(), atoms).logits).all()
        return
    with pytest.raises(ValueError, match=message):
        label(made(), atoms)


def test_structures_that_are_wrong():
    model, atoms = made((1, 8)), triclinic()
    atoms.positions[3] = np.nan
    with pytest.raises(ValueError, match="`frame 2 of x` has NaN or infinite positions"):
        label(model, atoms, name="frame 2 of x")
    atoms = triclinic(species=(6, 8))
    with pytest.raises(ValueError, match="has atoms of C, the model knows only H, O"):
        label(model, atoms)
    with pytest.raises(ValueError, match="`length` is for models without species"):
        label(model, triclinic(), length=2.0)
    with pytest.raises(ValueError, match="`length` is -1 Å"):
        label(made(), triclinic(), length=-1.0)
    with pytest.raises(ValueError, match="`steps` is 0"):
        list(denoise(made(), triclinic(), steps=0))
    twice = triclinic()
    twice.positions[1] = twice.positions[0]
    told = r"`frame 3 of x`: two atoms are at the same place: atoms 0 and 1 are 0.000 Å apart"
    with pytest.raises(ValueError, match=told):
        label(made(), twice, name="frame 3 of x")
    twice.positions[1] += [0.0015, 0, 0]  # nearer than a thousandth of 2.3 Å: the unit is Å
    with pytest.raises(ValueError, match=r"are 0\.002 Å apart \(less than 0\.00231659 Å"):
        label(made(), twice)


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ("2.3", r"`length` is '2\.3' but must be a number, in Å"),
        (np.nan, "`length` is nan Å but must be positive and finite"),
        (np.inf, "`length` is inf Å but must be positive and finite"),
        (23.0, r"`length` is 23 Å, but `hot` has one atom in about \(2.3 Å\)³"),
        (0.23, "no atom has a neighbour within 2 times the length"),
    ],
)
def test_a_length_in_wrong_units_is_refused_before_memory_is_taken(length, message):
    with pytest.raises(ValueError, match=message):
        label(made(), bulk("Cu", cubic=True).repeat(3), length=length, name="hot")


@pytest.mark.parametrize("steps", [-1, 1.5, "2", True, np.nan])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    for work in (label, lambda *given, **more: list(denoise(*given, **more))):
        with pytest.raises(ValueError, match=f"`steps` is {steps!r} but must be a whole number"):
            work(made(), triclinic(), steps=steps)


def test_a_name_or_a_trajectory_is_refused_by_name():
    with pytest.raises(TypeError, match="`model` is 'metals' but must be a model of phases"):
        label("metals", triclinic())
    with pytest.raises(TypeError, match="`atoms` is a list but must be one structure"):
        label(made(), [triclinic()])


def test_a_lone_atom_has_no_phase():
    with pytest.raises(ValueError, match="no atom has a neighbour within 4 Å"):
        label(made((1, 8)), Atoms("O"))


def test_a_model_that_is_not_there_names_those_of_phases():
    with pytest.raises(FileNotFoundError, match="bundled models of phases: ice, metals"):
        load("nope.pt")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("denoise cu.xyz --model metals -o d.traj", "must end in .xyz"),
        ("denoise cu.xyz --model metals --steps 0", "`--steps` is 0 but"),
        ("train --structures cu.xyz --out t.pt", "does not say its phase"),
        ("train --structures cu.xyz --out t.pt --max-minutes -1", "`--max-minutes` is -1"),
        ("train --structures cu.xyz --out t.pt --seed -1", "`--seed` is -1"),
        ("train --structures cu.xyz --out t.pt --ema 1", "`--ema` is 1 but"),
        ("train --structures cu.xyz --out t.pt --strain -0.1", "`--strain` is -0.1 but"),
        ("train --structures cu.xyz --out t.pt --weight-decay nan", "`--weight-decay` is nan but"),
        ("train --structures cu.xyz --out t.pt --learning-rate inf", "`--learning-rate` is inf"),
        ("train --structures cu.xyz --out t.pt --label-share 1", "`--label-share` is 1 but"),
    ],
)
def test_commands_refuse_before_they_begin(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("cu.xyz", bulk("Cu", cubic=True))
    assert main(["phases", *words.split()]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert not told.out


def test_far_from_the_origin():
    """Positions were rounded to single precision 1e5 Å away, not around their middle."""
    metals = load("metals")
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.rattle(0.2, seed=4)
    far = atoms.copy()
    far.positions += 1e5
    here, there = (label(metals, one).logits for one in (atoms, far))
    np.testing.assert_allclose(here, there, atol=5e-3)
    (*_, one), (*_, two) = (denoise(metals, x, steps=2) for x in (atoms, far))
    np.testing.assert_allclose(two.positions - 1e5, one.positions, atol=1e-3)
