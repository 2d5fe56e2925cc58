"""Fused kernels against torch: on a GPU, or by Triton's interpreter (`make test-triton`)."""

import os
from importlib.util import find_spec

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNS = find_spec("triton") is not None and (
    DEVICE == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
)
needs_kernels = pytest.mark.skipif(
    not RUNS, reason="needs Triton, and a GPU or TRITON_INTERPRET=1 (make test-triton)"
)


@pytest.fixture
def torch_only(monkeypatch):
    """Call a function without kernels."""

    def call(function, *args, **named):
        with monkeypatch.context() as patch:
            patch.setenv("LRCALC_KERNELS", "0")
            return function(*args, **named)

    return call


def same(one, two, tolerance):
    """Whether tensors agree, relative to the largest entry."""
    scale = float(two.detach().abs().max()) or 1.0
    difference = float((one - two).detach().abs().max())
    assert difference <= tolerance * scale, (difference, scale)
    return True
