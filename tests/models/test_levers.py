"""How far a charge that answers is from an atom that moves: along edges, and in explicit images."""

import numpy as np
import pytest
import torch

from lrcalc import Evaluator, Potential, from_ase
from lrcalc.models.dipole import lever_born
from lrcalc.models.explicit_images import image_lever
from lrcalc.models.levers import edge_levers
from lrcalc.neighbors import build_pairs
from tests.conftest import random_potential
from tests.models.test_backbone import Messages
from tests.sample_structures import cluster, water_box

SMALL = {"channels": 4, "hidden": 8, "cutoff": 3.5, "charges": "atomic"}


def levers(potential, system):
    system = system._replace(positions=system.positions.clone().requires_grad_())
    pairs = build_pairs(system, potential.cutoff)
    terms = potential(system, pairs)
    bare = terms.readout.bare_charge
    return edge_levers(bare, terms.vectors, pairs, terms.heard)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_along_edges_as_in_explicit_images(layers):
    """Cells smaller than the reach, and a batch of two: to rounding."""
    box, small = water_box(n=2), water_box(n=1, cell=0.6 * np.eye(3) * 6 + 0.3)
    potential = random_potential(box, level="q", layers=layers, **SMALL)
    system = from_ase([box, small])
    found, exact = levers(potential, system), image_lever(potential, system)
    size = float(exact.abs().max())
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-12 * max(size, 1.0))
    assert size > 1e-2


@pytest.mark.parametrize("level", ["q", "uiu"])
def test_born_charges_of_two_rounds_do_not_know_the_box(level):
    box = water_box(n=2)
    potential = random_potential(box, level=level, layers=2, **SMALL)
    evaluator = Evaluator(potential, asr_projection=False)

    def born(atoms):
        return evaluator([atoms], ["born_effective_charges"])[0]["born_effective_charges"]

    here = born(box)
    for repeats in ((2, 1, 1), (2, 2, 2)):
        times = int(np.prod(repeats))
        there = born(box * repeats)
        np.testing.assert_allclose(there, np.tile(here, (times, 1, 1)), rtol=0, atol=1e-10)
    moved = box.copy()
    moved.positions += [1.0, -2.0, 0.5]
    moved.wrap()
    np.testing.assert_allclose(born(moved), here, rtol=0, atol=1e-10)
    projected = Evaluator(potential)([box], ["born_effective_charges", "stress"])[0]
    assert np.abs(projected["born_effective_charges"].sum(0)).max() < 1e-10
    assert np.abs(here - here.mean(0)).max() > 1e-3


def test_levers_of_an_open_cluster_are_differences_of_its_dipole():
    """There bare charges have a dipole, and levers are its derivative."""
    atoms = cluster(n=3)
    potential = random_potential(atoms, level="q", layers=2, **SMALL)
    system = from_ase(atoms)
    found = levers(potential, system)
    positions = system.positions.clone().requires_grad_()
    at = system._replace(positions=positions)
    bare = potential(at, build_pairs(at, potential.cutoff)).readout.bare_charge
    step, moment = torch.randn(positions.shape, generator=torch.Generator().manual_seed(0)), []
    for s in (1e-4, -1e-4, 2e-4, -2e-4):
        there = at._replace(positions=(positions + s * step).detach())
        charge = potential(there, build_pairs(there, potential.cutoff)).readout.bare_charge
        moment.append((charge[:, None] * positions).sum(0).detach())
    slope = (8 * (moment[0] - moment[1]) - (moment[2] - moment[3])) / 12e-4
    (response,) = torch.autograd.grad(bare.sum(), positions)
    # Σ_j (r_j - r_i) ∂q_j/∂r_i is Σ_j r_j ∂q_j/∂r_i less r_i times what all charges answer
    counted = found + positions.detach()[:, :, None] * response[:, None, :]
    exact = torch.einsum("nab,nb->a", counted, step.double())
    torch.testing.assert_close(exact, slope, rtol=1e-6, atol=0)


def test_levers_can_be_learned():
    """With a graph: the derivative of Born charges with respect to weights, by differences."""
    box = water_box(n=2)
    potential = random_potential(box, level="q", layers=2, **SMALL)
    system = from_ase(box)
    pairs = build_pairs(system, potential.cutoff)
    weight = potential.backbone.messages[0].radial_mix.requires_grad_()
    at = system._replace(positions=system.positions.clone().requires_grad_())

    def size(graph):
        born = lever_born(potential, at, pairs, potential(at, pairs), create_graph=graph)
        return born.square().sum()

    (slope,) = torch.autograd.grad(size(True), weight)
    step = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).double()
    values = []
    for s in (1e-5, -2e-5, 3e-5, -4e-5):
        with torch.no_grad():
            weight += s * step
        values.append(size(False).detach())
    # Richardson, from steps of 1e-5 and 2e-5: the first alone is 2e-6 off here
    numeric = (8 * (values[0] - values[1]) - (values[2] - values[3])) / 12e-5
    torch.testing.assert_close((slope * step).sum(), numeric, rtol=1e-6, atol=0)


def test_what_does_not_say_what_was_heard_gets_images():
    torch.manual_seed(0)
    atoms = water_box(n=2)
    made = Messages((1, 8), cutoff=3.5, width=4).double().requires_grad_(False)
    potential = Potential((1, 8), backbone=made, level="q", charges="atomic").double()
    system = from_ase(atoms)
    at = system._replace(positions=system.positions.requires_grad_())
    pairs = build_pairs(at, 3.5)
    terms = potential(at, pairs)
    assert terms.heard == ()
    born = lever_born(potential, at, pairs, terms)
    own = terms.readout.multipoles.charge.detach()[:, None, None] * torch.eye(3).double()
    torch.testing.assert_close(born - own, image_lever(potential, system), rtol=0, atol=1e-12)
