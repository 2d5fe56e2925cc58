"""All Triton programs become machine code of cards that are not here."""

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import lrcalc

HERE = Path(__file__).parent
ROOT = Path(lrcalc.__file__).parent


def programs():
    """Names of all programs that are launched: those without an underscore, and the probe."""
    names = set()
    for path in ROOT.rglob("programs/*.py"):
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            jitted = isinstance(node, ast.FunctionDef) and any(
                ast.unparse(x).startswith("triton.jit") for x in node.decorator_list
            )
            if jitted and not node.name.startswith("_"):
                names.add(f"{module}.{node.name}")
    return names


@pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton (make test-triton)")
def test_all_programs_are_compiled():
    """To what an A100 and an H100 run; nothing spills in single precision but a few bytes."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    words = [sys.executable, str(HERE / "machine_code.py")]
    told = subprocess.run(
        words, env=environment, capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert told.returncode == 0, told.stderr[-2000:]
    found = json.loads(told.stdout)
    assert programs() <= set(found)
    assert len(programs()) > 15
    spilled = {
        (name, card): bytes_
        for name, kinds in found.items()
        for kind, cards in kinds.items()
        for card, bytes_ in cards.items()
        if kind != "fp64" and bytes_ > 16
    }
    assert not spilled
