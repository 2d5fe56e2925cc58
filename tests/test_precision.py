"""Single precision gives the numbers of double precision to 1e-5, by each of the ways to them."""

import copy

import numpy as np
import pytest
import torch

from lrcalc import Evaluator
from lrcalc.captured.steps import Steps
from tests.property_cases import CASES, STRUCTURES, errors, potential_of

LIMIT = 1e-5


def recorded(evaluator):
    """The same, with steps in arrays of fixed shapes as on a GPU."""
    evaluator.steps = Steps(torch.device("cpu"), launch=False, eager=True)
    evaluator.capture = True
    return evaluator


WAYS = {
    "plain": Evaluator,
    "compiled": lambda potential, **field: Evaluator(potential, compile=True, **field),
    "fixed shapes": lambda potential, **field: recorded(Evaluator(potential, **field)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_single_precision(case, way):
    _, _, kind, _, field, names = CASES[case]
    potential = potential_of(case).float()
    single = WAYS[way](copy.deepcopy(potential), **field)
    double = Evaluator(potential.double(), **field)
    structures, rng = STRUCTURES[kind](), np.random.default_rng(0)
    for _ in range(2):
        found, expected = single(structures, names), double(structures, names)
        wrong = errors(found, expected, names)
        assert max(wrong.values()) < LIMIT, (single.steps.reason, wrong)
        for atoms in structures:
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
    assert (single.steps.recorded > 0) == (way == "fixed shapes")
