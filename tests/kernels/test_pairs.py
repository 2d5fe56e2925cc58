"""Pairs found and chosen by kernels are those of torch."""

import pytest
import torch

from lrcalc.captured.trial import search_tried, tried
from tests.kernels import DEVICE, needs_kernels


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_give_what_torch_gives(dtype):
    assert tried(torch.device(DEVICE), dtype)


@needs_kernels
def test_a_search_by_kernels_finds_what_torch_finds():
    assert search_tried(torch.device(DEVICE))
