"""The wall below the distances of the training frames."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write

from lrcalc import LRCalculator, Potential, from_ase, predict
from lrcalc.checkpoint import load, save
from lrcalc.cli import main
from lrcalc.models.prior import build_prior
from lrcalc.models.wall import STRENGTH, Wall, bonded, shortest_distances, wall_starts
from lrcalc.neighbors import build_pairs, pair_vectors
from tests.conftest import random_potential
from tests.sample_structures import water_box

WATER = [[1.7, 1.05], [1.05, 2.9]]
"""Å, higher than a wall would be: many pairs of a box of water are inside."""


def wall_energy(wall, species, atoms, cutoff=5.0):
    system = from_ase(atoms)
    pairs = build_pairs(system, cutoff)
    kinds = torch.tensor([species.index(z) for z in atoms.numbers])
    return float(wall(kinds, pairs, pair_vectors(system, pairs)).sum())


def by_hand(atoms, species, start):
    """Sum of the cubes over pairs and images, by numpy."""
    total = 0.0
    shifts = np.array(np.meshgrid(*[[-1, 0, 1]] * 3)).reshape(3, -1).T
    images = (shifts if atoms.pbc.any() else 0 * shifts[:1]) @ np.array(atoms.cell)
    for one in atoms:
        for other in atoms:
            for image in images:
                apart = other.position + image - one.position
                r = np.linalg.norm(apart)
                below = start[species.index(one.number)][species.index(other.number)] - r
                if r > 1e-9 and below > 0:
                    total += 0.5 * STRENGTH * below**3
    return total


@pytest.mark.parametrize("pbc", [True, False])
def test_energies_are_those_of_the_formula(pbc):
    box = water_box(n=2, pbc=pbc)
    expected = by_hand(box, [1, 8], WATER)
    assert expected > 0.1
    assert wall_energy(Wall(WATER), [1, 8], box) == pytest.approx(expected, rel=1e-12)


def test_forces_and_stress_are_its_derivatives():
    box = water_box(n=2)
    box.set_cell(np.array(box.cell) @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]]))
    potential = random_potential(box, level="q", wall=WATER)
    found = predict(potential, from_ase(box), properties=["energy", "forces", "stress"])
    without = random_potential(box, level="q")
    plain = predict(without, from_ase(box), properties=["energy", "forces", "stress"])
    assert float((found["forces"] - plain["forces"]).abs().max()) > 1.0
    step = 1e-5
    for atom, axis in ((0, 0), (1, 1), (4, 2)):
        values = []
        for sign in (1, -1):
            moved = box.copy()
            moved.positions[atom, axis] += sign * step
            values.append(float(predict(potential, from_ase(moved))["energy"]))
        slope = (values[1] - values[0]) / (2 * step)
        assert slope == pytest.approx(float(found["forces"][atom, axis]), rel=1e-6)
    strain = np.array([[0.3, 0.1, -0.2], [0.1, -0.5, 0.4], [-0.2, 0.4, 0.7]])
    values = []
    for sign in (1, -1):
        strained = box.copy()
        strained.set_cell(np.array(box.cell) @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        values.append(float(predict(potential, from_ase(strained))["energy"]))
    slope = (values[0] - values[1]) / (2 * step) / box.get_volume()
    work = float((found["stress"][0] * torch.tensor(strain)).sum())
    assert slope == pytest.approx(work, rel=1e-5)


def test_two_derivatives_go_to_zero_at_the_start():
    wall = Wall([[2.4]])
    energies = [
        wall_energy(wall, [8], Atoms("O2", [[0, 0, 0], [r, 0, 0]])) for r in (2.4, 2.399, 2.398)
    ]
    assert energies[0] == 0.0
    assert energies[1] == pytest.approx(STRENGTH * 1e-9, rel=1e-6)
    curvature = (energies[0] - 2 * energies[1] + energies[2]) / 1e-6
    assert curvature == pytest.approx(6 * STRENGTH * 1e-3, rel=1e-5)


def test_starts_lie_below_what_was_seen():
    """Bonds 0.85, contacts 0.97, no more than 0.8 van der Waals; unseen: covalent radii."""
    species = [1, 8, 17]
    shortest = np.array([[1.31, 0.9, np.inf], [0.9, 2.386, 3.1], [np.inf, 3.1, 3.9]])
    start = np.array(wall_starts(shortest, species, 5.0))
    assert (start[:2, :2] == [[1.270, 0.765], [0.765, 2.314]]).all()
    assert start[2, 2] == 2.912  # 0.8 of 2 × 1.82
    assert start[0, 2] == pytest.approx(0.31 + 1.02, abs=0.001)
    assert (start == start.T).all()
    assert (start < shortest).all()
    assert np.array(wall_starts(shortest, species, 2.0)).max() == 2.0
    shortest[0, 1] = shortest[1, 0] = 1.54  # hydrogen bonds, but no bond
    assert wall_starts(shortest, species, 5.0)[0][1] == pytest.approx(0.97, abs=0.001)
    shortest[0, 1] = shortest[1, 0] = 0.9
    assert bonded(shortest, species).tolist() == [
        [False, True, False],
        [True, False, False],
        [False] * 3,
    ]


def test_shortest_distances_are_ases():
    box = water_box(n=2)
    system = from_ase(box)
    pairs = build_pairs(system, 5.0)
    lengths = torch.linalg.vector_norm(pair_vectors(system, pairs), dim=1)
    frame = (box.numbers, pairs.i.numpy(), pairs.j.numpy(), lengths.numpy())
    found = shortest_distances([frame], [1, 8])
    distances = box.get_all_distances(mic=True) + 9 * np.eye(len(box))
    for a, one in enumerate((1, 8)):
        for b, other in enumerate((1, 8)):
            expected = distances[np.ix_(box.numbers == one, box.numbers == other)].min()
            assert found[a, b] == pytest.approx(expected, rel=1e-12)


def test_it_is_in_the_file(tmp_path):
    box = water_box(n=2)
    potential = random_potential(box, level="q", wall=WATER)
    save(potential, tmp_path / "m.pt")
    again = load(tmp_path / "m.pt").double()
    assert again.config["wall"] == WATER
    system = from_ase(box)
    before, after = (float(predict(x, system)["energy"]) for x in (potential, again))
    assert after == pytest.approx(before, abs=1e-9)
    again.set_wall(None)
    assert again.exchanged_part() is None
    save(again, tmp_path / "none.pt")
    assert load(tmp_path / "none.pt").wall is None


@pytest.mark.parametrize(
    ("start", "match"),
    [([[1.0]], "2 × 2"), ([[1.0, 2.0], [3.0, 1.0]], "symmetric"), ([[1.0, -1], [-1, 1]], "2 × 2"),
     ([[1.0, np.nan], [np.nan, 1]], "2 × 2")],
)  # fmt: skip
def test_tables_that_are_none_are_refused(start, match):
    with pytest.raises(ValueError, match=match):
        Potential([1, 8], wall=start)


def test_the_prior_may_be_between_contacts_alone():
    """Nothing between O and H, the whole between two O."""
    whole, part = (
        build_prior("zbl", (1, 8), 5.0, x) for x in (None, [[True, False], [False, True]])
    )
    for pair, kinds in (("OH", [1, 0]), ("O2", [1, 1])):
        system = from_ase(Atoms(pair, [[0, 0, 0], [1.5, 0, 0]]))
        pairs = build_pairs(system, 5.0)
        given = (torch.tensor(kinds), pairs, pair_vectors(system, pairs))
        expected = whole(*given) if pair == "O2" else torch.zeros(2)
        torch.testing.assert_close(part(*given).float(), expected.float())
    with pytest.raises(ValueError, match="prior_between"):
        build_prior("zbl", (1, 8), 5.0, [[True]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Frames with labels of a random model, and a model of one epoch on them."""
    folder = tmp_path_factory.mktemp("wall")
    rng = np.random.default_rng(3)
    teacher = random_potential(water_box(n=2), level="q")
    frames = []
    for _ in range(6):
        atoms = water_box(n=2)
        atoms.positions += rng.normal(scale=0.04, size=atoms.positions.shape)
        atoms.calc = LRCalculator(teacher)
        atoms.get_forces()
        frames.append(atoms)
    write(folder / "frames.xyz", frames)
    small = "--channels 4 --hidden 4 --cutoff 4 --epochs 1 --valid-every 3 --level q"
    words = f"train --train {folder / 'frames.xyz'} {small} --prior zbl-contacts"
    assert main([*words.split(), "--out", str(folder / "m.pt")]) == 0
    return folder, frames


def test_a_trained_model_has_one_that_its_frames_do_not_feel(trained, capsys):
    folder, frames = trained
    potential = load(folder / "m.pt")
    assert potential.config["prior_between"] == [[True, False], [False, True]]
    hashes = len(potential.metadata["trained_on"])
    kept = [f for f in frames if wall_energy(potential.wall, [1, 8], f) == 0.0]
    assert len(kept) >= hashes
    shortest = min(f.get_all_distances(mic=True)[np.triu_indices(len(f), 1)].min() for f in kept)
    close = Atoms("OH", [[0, 0, 0], [0.8 * shortest, 0, 0]])
    assert wall_energy(potential.wall, [1, 8], close) > 0
    capsys.readouterr()
    assert main(["info", str(folder / "m.pt")]) == 0
    assert (
        "atoms closer than in the training frames repel one another: H-H" in capsys.readouterr().out
    )


def test_further_frames_lower_it(trained):
    from lrcalc.training.data import make_frames, read_structures
    from lrcalc.training.walls import lower_wall

    folder, frames = trained
    potential = load(folder / "m.pt")
    before = np.array(potential.config["wall"])
    pressed = frames[0].copy()
    pressed.calc = frames[0].calc
    pressed.set_cell(0.8 * np.array(pressed.cell), scale_atoms=True)
    pressed.get_forces()
    write(folder / "pressed.xyz", pressed)
    path = folder / "pressed.xyz"
    lower_wall(potential, make_frames(read_structures(path), path, 4.0))
    after = np.array(potential.config["wall"])
    assert (after <= before).all()
    assert (after[0] < before[0]).all()
    assert wall_energy(potential.wall, [1, 8], pressed) == 0.0


def test_the_command_leaves_the_rest_as_it_is(trained, capsys):
    folder, frames = trained
    small = "--channels 4 --hidden 4 --cutoff 4 --epochs 1 --valid-every 3 --level q"
    words = f"train --train {folder / 'frames.xyz'} {small} --no-wall --out {folder / 'bare.pt'}"
    assert main(words.split()) == 0
    assert load(folder / "bare.pt").wall is None
    words = f"wall {folder / 'bare.pt'} --data {folder / 'frames.xyz'} -o {folder / 'walled.pt'}"
    assert main(words.split()) == 0
    bare, walled = (load(folder / f"{name}.pt") for name in ("bare", "walled"))
    assert walled.config["wall"] == load(folder / "m.pt").config["wall"]
    for name, tensor in bare.state_dict().items():
        assert torch.equal(tensor, walled.state_dict()[name])
    other = frames[0].copy()
    other.rattle(0.01, seed=1)
    write(folder / "other.xyz", other)
    words = f"wall {folder / 'bare.pt'} --data {folder / 'other.xyz'} -o {folder / 'no.pt'}"
    assert main(words.split()) == 2
    assert "none of the 1 frames is among" in capsys.readouterr().err
    assert not (folder / "no.pt").exists()
