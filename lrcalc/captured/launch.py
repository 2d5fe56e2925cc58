"""One launch for all that a step does on a GPU: a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrcalc.cuda_graph import record

Check = Callable[[np.ndarray, np.ndarray], str | None]


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
        Memory shared with steps that never run at once; None: its own.
    check : callable
        Gets the results of the step as it was made before it was recorded, and of the first launch;
        says what is wrong, or None.

    Attributes
    ----------
    pool : object
        The memory that it takes.

    Raises
    ------
    NotCaptured
        With the reason.
    """

    def __init__(self, compute: Callable[[], Tensor], pool: Any, check: Check) -> None:
        mode = torch.cuda.get_sync_debug_mode()
        try:
            compute()  # plans are made
            torch.cuda.set_sync_debug_mode("error")  # what waits now cannot be recorded
            expected = compute()
            torch.cuda.set_sync_debug_mode(mode)
            torch.cuda.synchronize()
            before = expected.cpu().numpy()
            del expected
            self._recorded = record(compute, pool)
        except Exception as error:  # of torch, of Triton's compiler, of the driver
            raise NotCaptured(_first(error)) from error
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        self._out = self._recorded.result
        self.pool = self._recorded.pool
        self._host = torch.empty(self._out.shape, dtype=self._out.dtype, pin_memory=True)
        wrong = check(before, self())
        if wrong is not None:
            raise NotCaptured(f"the first launch gave something else than the step itself: {wrong}")

    def start(self) -> None:
        """Launch, and send the results to the host; waits for nothing."""
        self._recorded.replay()
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
