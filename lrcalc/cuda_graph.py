"""A function's kernels recorded once and launched as one (CUDA graphs).

A step of thousands of small kernels is bound by their launches; replayed as one graph it takes what
the kernels take. The function must look at no value on the device, copy nothing from the host, and
read its input from tensors that stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch


class Recorded(NamedTuple):
    """A function that was recorded.

    Attributes
    ----------
    result : Any
        What it returned; the tensors in it get the values of each replay.
    replay : callable
        Does once more what the function does to tensors, on the current stream.
    pool : Any
        Memory of its intermediates, which functions replayed one after another may share.
    """

    result: Any
    replay: Callable[[], None]
    pool: Any


def record(function: Callable[[], Any], pool: Any = None) -> Recorded:
    """Record a function without arguments; it is run once before, and not run by being recorded.

    Parameters
    ----------
    function : callable
    pool : optional
        Of another `Recorded` whose results are no longer needed when this one is replayed.

    Raises
    ------
    RuntimeError
        If something in it cannot be recorded.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # libraries make what they need before the recording
        function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        result = function()
    return Recorded(result, graph.replay, graph.pool())
