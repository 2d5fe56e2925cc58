"""Pairs chosen by kernels are those that torch chooses."""

import pytest
import torch

from lrcalc.captured.trial import tried
from tests.kernels import DEVICE, needs_kernels


@needs_kernels
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_give_what_torch_gives(dtype):
    assert tried(torch.device(DEVICE), dtype)
