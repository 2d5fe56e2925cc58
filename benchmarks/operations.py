"""How many operations a step launches on a GPU, counted without one.

Run: ``TRITON_INTERPRET=1 python benchmarks/operations.py [--model water] [--sum mesh] [--most 30]``
where Triton is (`make test-triton` makes ``.venv-triton``). A step of a thousand atoms takes 2 to
3 µs for each of its operations, and these are as many for four molecules as for a thousand.
Counted are torch's own, without those that only look at arrays in another way, and programs of
Triton, in a step of fixed shapes as it is recorded. What reads the host's arrays is counted, too
(four in a field), and what an operation of cuBLAS copies before it adds is not.
"""

import argparse
import collections
import os
import traceback

import torch
from ase.build import molecule
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from lrcalc import Evaluator
from lrcalc.captured.steps import Steps

LOOKS = frozenset({
    "alias", "as_strided", "detach", "diagonal", "empty", "empty_like", "empty_strided", "expand",
    "lift_fresh", "narrow", "new_empty", "permute", "select", "slice", "split", "split_with_sizes",
    "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "view_as_complex",
    "view_as_real", "_conj", "_reshape_alias", "_unsafe_view",
})  # fmt: skip
"""Operations that launch nothing."""

KINDS = {
    "energy + forces": ({}, ("energy", "forces")),
    "in a field, with the dipole": (
        {"electric_field": (0.0, 0.1, 0.05)}, ("energy", "forces", "dipole"),
    ),
    "and stress": ({}, ("energy", "forces", "stress")),
    "and Born charges": ({}, ("energy", "forces", "born_effective_charges")),
}  # fmt: skip


class Operations(TorchDispatchMode):
    """Count operations by name and place."""

    def __init__(self):
        super().__init__()
        self.rows = collections.Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        out = function(*arguments, **(keywords or {}))
        name = function._overloadpacket.__name__
        if name not in LOOKS:
            here = [x for x in traceback.extract_stack() if f"{os.sep}lrcalc{os.sep}" in x.filename]
            place = f"{here[-1].filename.split('lrcalc' + os.sep)[-1]}:{here[-1].lineno}"
            self.rows[name, place] += 1
        return out


def count_launches(launched):
    """Have Triton's interpreter count programs, which are no operations of torch's."""
    from triton.runtime.interpreter import GridExecutor

    run = GridExecutor.__call__

    def counted(self, *arguments, **named):
        launched["program", self.fn.__name__] += 1
        with _disable_current_modes():
            return run(self, *arguments, **named)

    GridExecutor.__call__ = counted


def molecules(count):
    """Water in a row, periodic."""
    one = molecule("H2O")
    one.set_cell([3.1, 4.0, 5.0])
    one.pbc = True
    return one.repeat((count, 1, 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water")
    parser.add_argument("--sum", default="direct", choices=["direct", "mesh"])
    parser.add_argument("--most", type=int, default=0, help="rows to print of the first kind")
    options = parser.parse_args()
    if os.environ.get("TRITON_INTERPRET") != "1":
        parser.error("set TRITON_INTERPRET=1: programs are run by Triton's interpreter")
    launched = collections.Counter()
    count_launches(launched)
    first = None
    for kind, (field, names) in KINDS.items():
        evaluator = Evaluator(options.model, **field)
        evaluator.potential.ewald.method = options.sum
        evaluator.steps = Steps(torch.device("cpu"), launch=False, eager=True)
        evaluator.capture = True
        atoms = molecules(4)
        evaluator([atoms], names)
        launched.clear()
        with Operations() as counted:
            evaluator([atoms], names)
        assert evaluator.steps.reason is None, evaluator.steps.reason
        torchs, programs = counted.rows.total(), launched.total()
        first = first or (torchs + programs)
        more = torchs + programs - first
        print(f"{kind:30}{torchs:6} of torch {programs:4} of Triton {more:+6}", flush=True)
        if options.most and more == 0:
            for (name, place), times in (counted.rows + launched).most_common(options.most):
                print(f"{times:6} {name:20} {place}")


if __name__ == "__main__":
    main()
