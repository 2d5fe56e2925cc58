"""Lists of pairs that were filled up: what fills them carries nothing."""

import pytest
import torch

from lrcalc.captured.cell_list import find_pairs
from lrcalc.captured.padding import Change, Sizes, fill, measure, pick, with_room
from lrcalc.models.options import LEVELS
from lrcalc.neighbors import build_pairs, pair_vectors
from lrcalc.prediction import predict
from lrcalc.system import from_ase
from tests.conftest import random_potential
from tests.sample_structures import cluster, water_box

BEADS = [water_box(seed=2), water_box(seed=3)]


def picked(atoms, cutoff, near_cutoff, room=with_room):
    """Candidates of a structure, picked when its atoms have moved."""
    system = from_ase(atoms)
    arrays = (system.cell.numpy(), system.pbc.numpy(), system.batch)
    found, vectors = find_pairs(system.positions, *arrays, cutoff + 0.5)
    square = (vectors * vectors).sum(1)
    sizes = room(measure(found, system.numbers, square, cutoff, near_cutoff))
    candidates = fill(found, vectors, len(system.numbers), sizes.candidates)
    generator = torch.Generator().manual_seed(1)
    step = 0.04 * torch.randn(system.positions.shape, generator=generator, dtype=torch.float64)
    now = system._replace(positions=system.positions + step)
    change = Change(now, system.positions, step, None)
    return now, pick(candidates, change, cutoff, near_cutoff, sizes)


@pytest.mark.parametrize("atoms", [BEADS, [cluster()]], ids=["periodic", "open"])
def test_pairs_are_those_within_the_cutoff(atoms):
    system, found = picked(atoms, 4.0, 3.0)
    expected = build_pairs(system, 4.0)
    known, n = found.pairs.known, len(system.numbers)
    assert int(found.rows) == len(expected.i) + n
    kept = sorted(
        (int(i), int(j), *s.tolist())
        for i, j, s, real in zip(*found.pairs, known.real, strict=True)
        if real
    )
    assert kept == sorted((int(i), int(j), *s.tolist()) for i, j, s in zip(*expected, strict=True))
    lengths = pair_vectors(system, expected).norm(dim=1)
    assert int(found.near) == int((lengths < 3.0).sum())
    assert float(found.closest) == pytest.approx(float(lengths.min()) ** 2)
    # sorted, a spare row for each atom, near rows each once or spare
    assert (found.pairs.i[1:] >= found.pairs.i[:-1]).all()
    assert set(found.pairs.i[~known.real].tolist()) == set(range(n))
    near = known.near[known.real[known.near]]
    assert len(near) == len(set(near.tolist())) == int(found.near)
    assert (pair_vectors(system, found.pairs)[~known.real].norm(dim=1) > 999.0).all()


def test_too_many_pairs_are_told():
    def cramped(needed):
        return Sizes(needed.candidates, needed.pairs - 20, needed.near - 5, needed.most)

    system, found = picked(BEADS, 4.0, 3.0, room=cramped)
    assert int(found.rows) > len(found.pairs.i)
    assert int(found.near) > len(found.pairs.known.near)
    assert found.pairs.i.max() < len(system.numbers)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("charges", ["local", "atomic"])
@pytest.mark.parametrize("level", sorted(LEVELS))
def test_no_property_of_any_level_sees_them(level, charges, layers):
    options = {"level": level, "charges": charges, "layers": layers, "transfer_hops": 2}
    potential = random_potential(
        BEADS[0],
        prior="zbl",
        wall=[[1.7, 1.05], [1.05, 2.9]],
        transfer_cutoff=3.0,
        anisotropic=True,
        **options,
    )
    for atoms in (BEADS, [cluster()]):
        system, found = picked(atoms, potential.cutoff, potential.readout.transfer_cutoff)
        names = ["energy", "forces", "stress"] if atoms is BEADS else ["energy", "forces"]
        if level != "sr" and (charges == "local" or atoms is not BEADS):
            names += ["dipole", "born_effective_charges", "charges"]
            names += ["polarizability"] if "i" in level else []
        given = (potential, system)
        expected = predict(*given, build_pairs(system, potential.cutoff), None, names, check=False)
        values = predict(*given, found.pairs, None, names, check=False)
        for name in names:
            scale = float(expected[name].abs().max().clamp(min=1e-3))
            torch.testing.assert_close(values[name], expected[name], rtol=0, atol=1e-11 * scale)
