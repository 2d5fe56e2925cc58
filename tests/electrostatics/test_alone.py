"""Structures summed as if alone: their numbers do not know with which others they were summed."""

import pytest
import torch

from lrcalc.electrostatics import Ewald
from lrcalc.electrostatics import ewald as ewald_module
from lrcalc.multipoles import Multipoles
from tests.electrostatics.test_energy import CELL

D = torch.float64
CLOSED, SLAB, OPEN = [True] * 3, [True, True, False], [False] * 3


def batch_of(pbc, scales, sizes):
    """Structures of random charges and dipoles, in skew cells of several sizes."""
    make = torch.Generator().manual_seed(3)
    cells = torch.stack([s * CELL for s in scales])
    number = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    inside = torch.rand(len(number), 3, generator=make, dtype=D)
    r = torch.einsum("na,nab->nb", inside, cells[number])
    m = Multipoles(
        torch.randn(len(number), generator=make, dtype=D),
        torch.randn(len(number), 3, generator=make, dtype=D),
    )
    return r, cells, m, number, torch.tensor(pbc)


def values(ewald, r, cells, m, number, pbc, **options):
    r, cells = r.clone().requires_grad_(), cells.clone().requires_grad_()
    energy = ewald(r, cells, m, batch=number, pbc=pbc, **options).energy
    forces, stress = torch.autograd.grad(energy.sum(), (r, cells), allow_unused=True)
    return energy.detach(), forces, torch.zeros_like(cells) if stress is None else stress


def singles(ewald, r, cells, m, number, pbc):
    out = []
    for k in range(len(cells)):
        mine = number == k
        part = Multipoles(m.charge[mine], m.dipole[mine])
        zero = torch.zeros(int(mine.sum()), dtype=torch.long)
        out.append(values(ewald, r[mine], cells[k : k + 1], part, zero, pbc[k : k + 1]))
    return [torch.cat(x) for x in zip(*out, strict=True)]


def farthest(one, other):
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(one, other, strict=True))


BATCHES = {
    "closed": [CLOSED] * 5,
    "slabs": [SLAB] * 5,
    "mixed": [CLOSED, OPEN, CLOSED, SLAB, SLAB],
}


@pytest.mark.parametrize("boundary", BATCHES)
def test_numbers_do_not_know_the_batch(boundary):
    ewald = Ewald(k_cutoff=4.0, accuracy=1e-4)
    small = boundary == "slabs"
    scales = (1.0, 0.8, 1.2, 0.9, 1.0) if small else (3.0, 0.8, 3.2, 2.5, 1.0)
    sizes = (8, 3, 8, 7, 8) if small else (240, 3, 240, 7, 8)
    structures = batch_of(BATCHES[boundary], scales, sizes)
    alone = singles(ewald, *structures)
    assert farthest(values(ewald, *structures, alone=True), alone) < 1e-12
    # what the flag is for: without it the company shows, within the accuracy that was asked for
    together = farthest(values(ewald, *structures), alone)
    assert 1e-10 < together < 1e-2
    # a plan that is remembered is not that of the other way
    assert farthest(values(ewald, *structures, alone=True), alone) < 1e-12


def test_both_sums_were_chosen_and_equal_structures_are_summed_together():
    ewald = Ewald(k_cutoff=4.0, accuracy=1e-4)
    r, cells, m, number, pbc = batch_of(
        [CLOSED] * 5, (3.0, 0.8, 3.0, 2.5, 3.0), (240, 3, 240, 7, 240)
    )
    values(ewald, r, cells, m, number, pbc, alone=True)
    groups = ewald.remembered.groups.groups
    kinds = {type(group.sum).__name__: group.structures.tolist() for group in groups}
    assert len(groups) == 2, "two sums for five structures"
    assert [0, 2, 4] in kinds.values()
    assert set(kinds) == {"Mesh", "Direct"}
    # what shares a mesh also has as many atoms, which the choice of splines goes by
    one = Ewald(k_cutoff=4.0, accuracy=1e-4, method="mesh")
    values(one, r, cells, m, number, pbc, alone=True)
    assert len(one.remembered.groups.groups) == 3


def test_a_slab_that_becomes_thicker_is_planned_anew():
    ewald = Ewald(k_cutoff=4.0, accuracy=1e-4)
    r, cells, m, number, pbc = batch_of([SLAB] * 3, (1.0, 1.0, 1.0), (8, 8, 8))
    values(ewald, r, cells, m, number, pbc, alone=True)
    r[number == 1] *= torch.tensor([1.0, 1.0, 1.4], dtype=D)
    alone = singles(Ewald(k_cutoff=4.0, accuracy=1e-4), r, cells, m, number, pbc)
    assert farthest(values(ewald, r, cells, m, number, pbc, alone=True), alone) < 1e-12


def test_equal_cells_are_asked_once(monkeypatch):
    asked = []
    choose = ewald_module.choose_sum
    monkeypatch.setattr(
        ewald_module, "choose_sum", lambda *given: asked.append(1) or choose(*given)
    )
    ewald = Ewald(k_cutoff=4.0, accuracy=1e-4)
    structures = batch_of([CLOSED] * 6, (1.0,) * 6, (10,) * 6)
    values(ewald, *structures, alone=True)
    assert len(asked) == 2, "one for the six structures, one for their group"
