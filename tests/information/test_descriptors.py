"""Descriptors: numbers of quests, the formula by loops, symmetries, boundaries."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from lrcalc.information.descriptors import Form, descriptors
from lrcalc.structures import read_structure

QUESTS = np.load(Path(__file__).parents[1] / "reference" / "quests.npz")


def structure(name):
    part = {k: QUESTS[f"{name}_{k}"] for k in ("numbers", "positions", "cell", "pbc")}
    return Atoms(**part)


@pytest.mark.parametrize("name", ["water", "salt", "small", "molecule"])
@pytest.mark.parametrize(("kind", "form"), [("published", Form()), ("few", Form(6, 3.5))])
def test_numbers_of_quests(name, kind, form):
    ours = descriptors(structure(name), form)[:60]
    assert np.abs(ours - QUESTS[f"{name}_{kind}"]).max() < 1e-10


@pytest.mark.parametrize("name", ["water", "salt"])
def test_components_are_those_of_quests(name):
    """Which sorts species by their symbols, where ours go by atomic number."""
    k = 8
    theirs = QUESTS[f"{name}_components"]
    first, second = np.split(theirs, [3 * k], axis=1)
    blocks = [*np.split(first, 3, axis=1), *np.split(second, 3, axis=1)]
    if name == "salt":
        blocks = [blocks[n] for n in (0, 2, 1, 3, 5, 4)]  # Cl before Na
    ours = descriptors(structure(name), Form(k, 4.0, components=True))[:60]
    assert np.abs(ours - np.concatenate(blocks, axis=1)).max() < 1e-10


def by_loops(atoms, k, cutoff):
    """The formula of the docstring, atom by atom, images by explicit shifts."""
    shifts = [np.array(s) for s in np.ndindex(5, 5, 5)] if atoms.pbc.any() else [np.zeros(3) + 2]
    found = []
    for here in atoms.positions:
        seen = [
            (np.linalg.norm(v), tuple(v))
            for s in shifts
            for there in atoms.positions
            if 1e-9 < np.linalg.norm(v := there + (s - 2) * atoms.pbc @ atoms.cell - here) < cutoff
        ]
        near = sorted(set(seen))[:k]
        weight = [(1 - (r / cutoff) ** 2) ** 2 for r, _ in near]
        one = [w / r for w, (r, _) in zip(weight, near, strict=True)]
        rows = []
        for a, (_, x) in enumerate(near):
            row = [
                np.sqrt(weight[a] * weight[b]) / np.linalg.norm(np.subtract(x, y))
                for b, (_, y) in enumerate(near)
                if b != a
            ]
            rows.append(sorted(row, reverse=True) + [0.0] * (k - 1 - len(row)))
        two = np.sum(rows, axis=0) / k if rows else np.zeros(k - 1)
        found.append([*one, *[0.0] * (k - len(one)), *two])
    return np.array(found)


@pytest.mark.parametrize("pbc", [True, (True, True, False), (False, True, False), False])
def test_formula_by_loops(pbc):
    atoms = structure("small")
    atoms.set_cell([[3.6, 0, 0], [0.9, 3.7, 0], [0.4, -0.7, 3.5]])
    atoms.pbc = pbc
    made = descriptors(atoms, Form(9, 4.2))
    assert np.abs(made - by_loops(atoms, 9, 4.2)).max() < 1e-12


def test_rotation_translation_order():
    atoms = structure("salt")
    made = descriptors(atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    moved = atoms.copy()
    moved.rotate(37, (1, 2, -1), rotate_cell=True)
    moved.translate([1.3, -7.0, 2.2])
    assert np.abs(descriptors(moved[order]) - made[order]).max() < 1e-10


def test_a_cell_and_its_repeat_are_alike():
    atoms = structure("small")
    assert (
        np.abs(descriptors(atoms * (2, 1, 2)) - np.tile(descriptors(atoms), (4, 1))).max() < 1e-11
    )


def test_a_slab_is_not_taken_for_open():
    """Boxed with vacuum, it is what it is with two periodic directions (quests: open)."""
    slab = read_structure("water64")
    slab.cell[2, 2] += 20.0
    boxed = descriptors(slab)
    slab.pbc = (True, True, False)
    assert np.abs(descriptors(slab) - boxed).max() < 1e-12
    slab.pbc = False
    assert np.abs(descriptors(slab) - boxed).max() > 0.01


def test_nothing_jumps_at_the_cutoff():
    def pair(r):
        return descriptors(Atoms("H3", [[0, 0, 0], [0.9, 0, 0], [0, r, 0]]))

    assert np.abs(pair(5.0 - 1e-5) - pair(5.0 + 1e-5)).max() < 1e-5
    assert np.abs(pair(4.0) - pair(5.0)).max() > 1e-2


def test_one_atom_has_no_neighbours():
    assert not descriptors(Atoms("H")).any()
    assert descriptors(bulk("Cu")).any()  # its own images


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"form": Form(1)}, "`k` is 1"),
        ({"form": Form(cutoff=0.1)}, "`cutoff` is 0.1"),
        ({"form": Form(cutoff=np.nan)}, "`cutoff` is nan"),
        ({"atoms": Atoms()}, "has no atoms"),
        ({"atoms": Atoms("H", [[np.nan, 0, 0]])}, "NaN"),
        ({"atoms": Atoms("H2")}, "overlapping"),
        ({"species": [8]}, "atoms of number 1"),
    ],
)
def test_refusals(change, message):
    given = {"atoms": molecule("H2O"), "form": Form(), **change}
    with pytest.raises(ValueError, match=message):
        descriptors(**given)
