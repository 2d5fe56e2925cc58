"""Vectors of pairs in C++ against those of torch, and where they are not used."""

import numpy as np
import pytest
import torch

from lrcalc import Evaluator, Potential, from_ase
from lrcalc.models import compiled_vectors
from lrcalc.models.compiled_vectors import vectors_of
from lrcalc.neighbors import FamiliarPairs, Known, Pairs, build_pairs, pair_vectors
from lrcalc.structures import read_structure
from tests.conftest import random_potential
from tests.models.compiler import needs_compiler
from tests.sample_structures import cluster, water_box

pytestmark = needs_compiler


@pytest.fixture
def calls(monkeypatch):
    """One entry for each call of the compiled function."""
    found, own = [], compiled_vectors._Vectors.apply
    monkeypatch.setattr(
        compiled_vectors._Vectors, "apply", lambda *args: found.append(1) or own(*args)
    )
    return found


def skew(atoms):
    """With a cell that has no right angle."""
    turned = [[0, 0.4, 0.1], [0.3, 0, -0.2], [0.5, -0.6, 0]]
    atoms.set_cell(atoms.cell[:] + turned, scale_atoms=True)
    return atoms


def fast(system):
    return system._replace(once=True, compiled=True)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_vectors_and_their_gradients(calls, dtype, threads):
    """Of a batch of a skew crystal, another cell and a molecule."""
    system = from_ase([skew(water_box(n=2)), cluster(n=2), water_box(n=1)])
    pairs = build_pairs(system, 5.0)
    assert bool((pairs.shift != 0).any(0).all())
    leaves = [x.clone().requires_grad_() for x in (system.positions, system.cell)]
    system = fast(system._replace(positions=leaves[0], cell=leaves[1]))
    make = torch.Generator().manual_seed(0)
    way = torch.randn(len(pairs.i), 3, generator=make, dtype=dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        rows = []
        for vectors in (vectors_of(system, pairs, dtype), pair_vectors(system, pairs).to(dtype)):
            slopes = torch.autograd.grad((vectors * way).sum(), leaves)
            rows.append([vectors.detach(), *slopes])
    finally:
        torch.set_num_threads(before)
    assert len(calls) == 1
    limit = 1e-13 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(rows[0][0], rows[1][0], rtol=limit, atol=limit)
    for one, other in zip(rows[0][1:], rows[1][1:], strict=True):
        assert one.dtype == torch.float64  # of either type they are summed in double precision
        assert float(one.abs().max()) > 1.0
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_no_pairs_and_no_atoms(calls):
    for count in (1, 0):
        system = fast(from_ase(cluster(n=1)[[0]]))
        leaf = system.positions[:count].clone().requires_grad_()
        system = system._replace(positions=leaf, batch=system.batch[:count])
        empty = torch.zeros(0, dtype=torch.int64)
        pairs = Pairs(empty, empty, empty.view(0, 3))
        vectors = vectors_of(system, pairs, torch.float32)
        assert vectors.shape == (0, 3)
        (slope,) = torch.autograd.grad(vectors.sum(), leaf)
        assert slope.tolist() == [[0.0] * 3] * count
    assert len(calls) == 2


@pytest.mark.parametrize("why", ["twice", "single positions", "known"])
def test_where_torch_makes_them(calls, why):
    system = fast(from_ase(water_box(n=1)))
    pairs = build_pairs(system, 3.0)
    expected = vectors_of(system, pairs, torch.float64)
    assert calls.pop()
    if why == "twice":
        system = system._replace(once=False)
    elif why == "single positions":
        system = system._replace(positions=system.positions.float(), cell=system.cell.float())
    else:
        near = torch.arange(len(pairs.i))
        pairs = FamiliarPairs(*pairs, Known(99, 3.0, near, real=near % 2 == 0))
        expected[1::2] = 1000.0 / 3**0.5
    found = vectors_of(system, pairs, torch.float64)
    assert not calls
    torch.testing.assert_close(found.detach(), expected, rtol=1e-6, atol=1e-6)


def test_a_second_derivative_is_refused():
    system = from_ase(water_box(n=1))
    pairs = build_pairs(system, 3.0)
    leaf = system.positions.clone().requires_grad_()
    vectors = vectors_of(fast(system._replace(positions=leaf)), pairs, torch.float64)
    with pytest.raises(RuntimeError, match="`create_graph`"):
        torch.autograd.grad((vectors**2).sum(), leaf, create_graph=True)


def test_forces_are_those_of_torch(calls):
    """With and without stress."""
    atoms, potential = skew(read_structure("water64")), random_potential(water_box(n=2))
    assert isinstance(potential, Potential)
    asked = ["energy", "forces", "stress"]
    expected = Evaluator(potential)([atoms], asked)[0]
    assert not calls
    for names in (asked, asked[:2]):
        found = Evaluator(potential, compile=True)([atoms], names)[0]
        for name in names:
            assert np.abs(found[name] - expected[name]).max() < 1e-9, name
    assert len(calls) == 2
