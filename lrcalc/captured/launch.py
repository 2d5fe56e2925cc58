"""One launch for all that a step does on a GPU: a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

WARM = 2
"""Steps before one is recorded: plans, tables and libraries are made in them."""


class NotCaptured(Exception):
    """A step cannot be one launch; says why."""


class Plain:
    """A step made operation by operation: what there is without a GPU.

    Parameters
    ----------
    compute : callable
        Returns the results, one tensor (M,).
    """

    def __init__(self, compute: Callable[[], Tensor]) -> None:
        self._compute = compute

    def __call__(self) -> np.ndarray:
        """Results, float64; to be read before the next call."""
        return np.asarray(self._compute().detach().cpu().numpy())


class Launch:
    """A step recorded as a CUDA graph, made anew by one launch and read by one transfer.

    Parameters
    ----------
    compute : callable
        Returns the results, one tensor (M,), from tensors that stay where they are. It must not
        look at a value.
    pool : object
        Of `torch.cuda.graph_pool_handle`: memory shared with graphs that never run at once.

    Raises
    ------
    NotCaptured
        With the reason.
    """

    def __init__(self, compute: Callable[[], Tensor], pool: Any) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        mode = torch.cuda.get_sync_debug_mode()
        try:
            with torch.cuda.stream(stream):
                for turn in range(WARM):
                    # plans are made in the first; the last waits for nothing, or it cannot be
                    torch.cuda.set_sync_debug_mode("error" if turn == WARM - 1 else mode)
                    compute()
            torch.cuda.set_sync_debug_mode(mode)
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(
                self._graph, pool=pool, stream=stream, capture_error_mode="thread_local"
            ):
                self._out = compute()
        except RuntimeError as error:
            raise NotCaptured(_first(error)) from error
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        self._host = torch.empty(self._out.shape, dtype=self._out.dtype, pin_memory=True)

    def start(self) -> None:
        """Launch, and send the results to the host; waits for nothing."""
        self._graph.replay()
        self._host.copy_(self._out, non_blocking=True)

    def __call__(self) -> np.ndarray:
        """Results, float64; to be read before the next call."""
        self.start()
        torch.cuda.current_stream().synchronize()
        return np.asarray(self._host.numpy())


def _first(error: BaseException) -> str:
    """Say what went wrong first: the end of a recording that failed is an error too."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]
