"""Compile all Triton programs for cards that are not here: run by `test_machine_code`.

What would be launched is compiled to machine code instead, so that arrays stay as they were made.
Prints a JSON object: of each program and precision of its first array, for each card, bytes of
registers that did not fit (spilled).
"""

import contextlib
import json
import re
import subprocess
import sys
import tempfile

import pytest
import torch

from lrcalc import load
from lrcalc.captured import trial as pairs_trial
from lrcalc.electrostatics import Ewald, mesh_trial
from lrcalc.electrostatics.sums import Geometry
from lrcalc.kernels import choice
from lrcalc.models import fused_moment, fused_repulsion, fused_surface, fused_transfers
from lrcalc.models.native import trial as native_trial
from lrcalc.models.native.fast import Kernels
from lrcalc.multipoles import Multipoles

triton = pytest.importorskip("triton")  # doctests look into all files

CARDS = (80, 90)
KINDS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32",
    torch.bool: "*i1", torch.uint8: "*u8",
}  # fmt: skip
found: dict[str, dict[str, dict[str, int]]] = {}
known = set()


def compile_only(self, *given, grid=None, **named):
    """Compile a program for what it would be launched with."""
    options = {k: named.pop(k) for k in ("num_warps", "num_stages") if k in named}
    values = dict(zip(self.arg_names, given, strict=False)) | named
    signature, constants, arrays = {}, {}, []
    for parameter in self.params:
        value = values[parameter.name]
        if parameter.is_constexpr:
            signature[parameter.name] = "constexpr"
            constants[(parameter.num,)] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = KINDS[value.dtype]
            arrays.append(KINDS[value.dtype])
        else:
            signature[parameter.name] = "fp64" if isinstance(value, float) else "i32"
    key = (id(self), *signature.items(), *constants.items())
    if key in known:
        return
    known.add(key)
    floating = next((x[1:] for x in arrays if "fp" in x), "integers")
    name = f"{self.fn.__module__}.{self.fn.__name__}"
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for card in CARDS:
        source = ASTSource(fn=self, signature=signature, constexprs=constants)
        made = triton.compile(source, target=GPUTarget("cuda", card, 32), options=options)
        at = found.setdefault(name, {}).setdefault(floating, {})
        at[str(card)] = max(at.get(str(card), 0), spilled(made.asm["ptx"]))


def spilled(ptx):
    """Bytes that a thread keeps in memory for lack of registers, by the assembler."""
    from triton import knobs

    with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
        file.write(ptx)
        file.flush()
        target = re.search(r"\.target (\w+)", ptx).group(1)
        words = [knobs.nvidia.ptxas.path, "-v", "--gpu-name", target, file.name]
        told = subprocess.run([*words, "-o", "/dev/null"], capture_output=True, text=True)
    if told.returncode:
        raise RuntimeError(told.stderr)
    return int(re.search(r"(\d+) bytes spill stores", told.stderr).group(1))


def all_of(cases):
    """Ask for all of them; numbers are those of arrays that nothing was written to."""
    with contextlib.suppress(StopIteration):
        for _ in cases:
            pass


def main():
    from triton.runtime.jit import JITFunction

    JITFunction.run = compile_only
    torch.empty, torch.empty_like = torch.zeros, torch.zeros_like
    torch.Tensor.new_empty = torch.Tensor.new_zeros
    choice._doubled(torch.device("cpu"))
    for closed, reach in pairs_trial.SEARCHES:
        pairs_trial._found_alike(torch.device("cpu"), closed, reach)
    for dtype in (torch.float32, torch.float64):
        like, model = torch.zeros(1, dtype=dtype), load("water").to(dtype)
        readout, parts = model.readout, (model.prior, model.wall)
        table = (readout.transfer_weight, readout.transfer_decay, readout.transfer_cutoff)
        for case in pairs_trial._cases(torch.device("cpu"), dtype):
            pairs_trial._agree(*case)
        all_of(native_trial.cases(model.backbone, Kernels(), like))
        all_of(fused_transfers.cases(like, *table))
        all_of(fused_repulsion.cases(parts, like))
        all_of(fused_moment.cases(like))
        all_of(fused_surface.cases(model.surface, like))
        cell = 9.0 * torch.eye(3, dtype=dtype)[None]
        one = torch.zeros(8, dtype=torch.int64)
        at = Geometry(torch.rand(8, 3, dtype=dtype), cell, one, 1, torch.ones(1, 3).bool())
        kinds = Multipoles(like, like, None, None, None, None)
        plan = Ewald(method="mesh").plan(at, kinds).groups.groups[0].plan
        all_of(mesh_trial.cases(plan, like))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
