"""Tensors of structures: what moves with them, and which atoms count."""

import numpy as np
import torch

from lrcalc.system import from_ase, inverses
from tests.sample_structures import water_box


def test_all_atoms_count_unless_it_is_said():
    system = from_ase(water_box())
    assert system.owned is None
    assert system.to("cpu", torch.float32).owned is None


def test_which_atoms_count_moves_with_the_system():
    system = from_ase(water_box())
    owned = system.numbers == 8
    moved = system._replace(owned=owned).to("cpu", torch.float32)
    assert moved.owned is not None
    assert moved.owned.dtype is torch.bool
    assert torch.equal(moved.owned, owned)
    assert moved.positions.dtype is torch.float32


def test_inverses_are_those_of_numpy():
    matrices = torch.randn(7, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    expected = np.linalg.inv(matrices.numpy())
    np.testing.assert_allclose(inverses(matrices).numpy(), expected, rtol=1e-11, atol=1e-12)
    assert torch.autograd.gradcheck(inverses, matrices.clone().requires_grad_())
