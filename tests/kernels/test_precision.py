"""Whole models by kernels, in both precisions, against torch in float64."""

import copy

import pytest
import torch

from lrcalc import Evaluator
from lrcalc.captured.steps import Steps
from tests.kernels import DEVICE, needs_kernels, torch_only  # noqa: F401
from tests.property_cases import CASES, STRUCTURES, errors, potential_of
from tests.sample_structures import water_box

pytestmark = needs_kernels
SMALL = {**STRUCTURES, "large": lambda: [water_box(seed=2).repeat((2, 1, 1))]}
"""By the interpreter an atom takes as long as ten thousand on a GPU."""


WAYS = {"float64": (1e-10, False), "float32": (1e-5, False), "float32, recorded": (1e-5, True)}
"""Largest error, and whether in arrays of fixed shapes, which the interpreter takes long for."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_numbers_are_those_of_torch(case, way, torch_only):  # noqa: F811
    _, _, kind, _, field, names = CASES[case]
    limit, recorded = WAYS[way]
    potential = potential_of(case)
    if field:
        potential.add_surface(8)
    if case == "mesh":  # also of what is so small
        potential.ewald.method = "mesh"
    potential = potential.to(getattr(torch, way[:7]))
    found = Evaluator(copy.deepcopy(potential), device=DEVICE, **field)
    expected = Evaluator(potential.double(), **field)
    if recorded:
        found.steps = Steps(torch.device(DEVICE), launch=False, eager=True)
        found.capture = True
    structures = SMALL[kind]()
    results = found(structures, names), torch_only(expected, structures, names)
    wrong = errors(*results, names)
    assert max(wrong.values()) < limit, (found.steps.reason, wrong)
    assert (found.steps.recorded > 0) == recorded
