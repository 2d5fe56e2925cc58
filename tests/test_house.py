"""The order in which the rooms of the house may import one another."""

import ast
from pathlib import Path

import pytest

from tests.conftest import run_python

ROOT = Path(__file__).parents[1]
LEVEL = {
    "units": 0, "zoo": 0, "memory": 0, "hashing": 0, "files": 0, "optional": 0, "progress": 0,
    "properties": 0, "frames": 0, "callers": 0, "domain": 0, "cuda_graph": 0, "kernels": 0,
    "compiler": 1, "courses": 1, "structures": 1, "arrays": 1,
    "fields": 2, "compiled": 2,
    "run_conditions": 3, "field_views": 3, "system": 3,
    "neighbors": 4, "multipoles": 4,
    "electrostatics": 5,
    "models": 6, "seen": 6,
    "checkpoint": 7, "prediction": 7, "door": 7, "electronic": 7,
    "captured": 8,
    "resident": 9, "training": 9, "evaluator": 9, "information": 9,
    "calculator": 10, "model_errors": 10, "trajectory": 10, "run_identity": 10, "field_work": 10,
    "velocities": 10, "integrators": 10,
    "testing": 11, "run_state": 11, "levels": 11,
    "dynamics": 12, "ipi": 12, "lammps": 12, "torchsim": 12,
    "replicas": 13,
    "commands": 14,
    "cli": 15,
    "__main__": 16,
}  # fmt: skip
ONLY = {
    "derivatives": {"system", "units", "domain"}, "ipi_files": {"units", "properties", "callers"},
    "analysis": {
        "fields", "progress", "files", "optional",
        "units", "ipi_files", "run_conditions", "structures",
    },
}  # fmt: skip
"""Rooms off the line: what each may import besides itself."""


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "lrcalc" else None


def imports_of(path):
    """lrcalc modules imported when ``path`` is imported (not inside functions or TYPE_CHECKING)."""
    found = set()
    pending = list(ast.parse(path.read_text()).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif isinstance(node, ast.ClassDef | ast.If | ast.Try):
            pending += node.body
    return {name for name in found if name.startswith("lrcalc.")}


def files():
    return sorted(p for p in (ROOT / "lrcalc").rglob("*.py") if p.name != "lrcalc_pes.py")


@pytest.mark.parametrize("path", files(), ids=lambda p: str(p.relative_to(ROOT)))
def test_each_room_imports_only_from_its_left(path):
    here = path.relative_to(ROOT / "lrcalc").parts[0].removesuffix(".py")
    if here == "__init__":
        return
    assert here in LEVEL or here in ONLY, f"where does {here} stand?"
    for module in imports_of(path):
        there = room(module)
        if there in (None, here):
            continue
        if here in ONLY:
            assert there in ONLY[here], f"{here} may import {ONLY[here]}, not {module}"
        elif there in LEVEL:
            assert LEVEL[there] < LEVEL[here], f"{here} imports {module}, which stands to its right"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_use_the_library_and_no_command(path):
    assert "lrcalc.commands" not in path.read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda p: p.name)
def test_tools_are_thin_mains(path):
    text = path.read_text()
    assert f'main(["{path.stem}", *sys.argv[1:]])' in text
    assert len(text.splitlines()) < 10


def test_there_is_one_hash():
    """Runs, frames and models are recognized by `lrcalc.hashing` alone."""
    found = [p.name for p in files() if "hashlib" in p.read_text()]
    assert found == ["hashing.py"]


def test_importing_lrcalc_is_cheap_and_changes_nothing():
    code = (
        "import sys, lrcalc, warnings; "
        "assert 'torch' not in sys.modules and 'ase' not in sys.modules; "
        "import torch; before = torch.get_default_dtype(); lrcalc.LRCalculator; "
        "assert torch.get_default_dtype() is before"
    )
    run_python(code)


def test_public_names_exist():
    import lrcalc

    for name in lrcalc.__all__:
        assert getattr(lrcalc, name) is not None
    with pytest.raises(AttributeError, match="public names"):
        lrcalc.nonsense  # noqa: B018
