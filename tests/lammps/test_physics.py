"""Energies, forces and stress on several ranks are those of ASE on one process."""

import json

import numpy as np
import pytest
from ase.io import read, write
from ase.stress import full_3x3_to_voigt_6_stress

import lrcalc
from lrcalc.checkpoint import save
from tests.conftest import random_potential
from tests.lammps.running import ROOT, mpirun, needs_lammps
from tests.sample_structures import TRICLINIC, water_box

pytestmark = needs_lammps

LEVELS = {
    "u": {"level": "u"},
    "uiu": {"level": "uiu"},
    "uQiqiu": {"level": "uQiqiu", "anisotropic": True},
    "uQiqiu-atomic": {"level": "uQiqiu", "charges": "atomic"},
    "u-atomic": {"level": "u", "charges": "atomic"},
    "iterated": {"level": "uiqiu", "iterations": 1},
    "consistent": {"level": "uiqiu", "iterations": None},
    "hops": {"level": "u", "transfer_hops": 3},
    "surface": {"level": "u", "surface": 8},
    "zbl": {"level": "sr", "prior": "zbl", "wall": [[1.7, 1.05], [1.05, 2.9]]},
    "messages": {"level": "u", "layers": 2},
    "messages-response": {"level": "uiqiu", "layers": 2},
}
"""Name → options of a small model with random weights."""

FIELD, DFIELD = (0.02, -0.03, 0.05), (0.001, 0.002, -0.0015)


def structures():
    """Name → structure; atoms lie outside the box too, on branches of their own."""
    bulk = water_box(n=4)
    bulk.positions += np.random.default_rng(3).integers(-2, 3, (12, 3)) @ TRICLINIC
    slab = water_box(cell=np.array([[6.0, 0, 0], [1.4, 5.6, 0], [0, 0, 7.0]]), n=4)
    slab.cell[2, 2] = 20.0
    slab.pbc = (True, True, False)
    slab.positions[:, 2] -= 3.0
    side = water_box(cell=np.diag([6.0, 6.5, 7.0]), n=4)
    side.cell[1, 1] = 20.0
    side.pbc = (True, False, True)
    side.positions[:, 1] -= 3.0
    drop = water_box(n=4, pbc=False)
    drop.cell = np.diag([30.0, 30.0, 30.0])
    drop.positions -= drop.positions.mean(axis=0)
    half = water_box(cell=np.diag([6.0, 6.0, 6.0]), n=3)
    half.cell = np.diag([24.0, 6.0, 6.0])
    return {"bulk": bulk, "slab": slab, "side": side, "drop": drop, "half": half}


LOW = {"slab": (0, 0, -10.0), "side": (0, -10.0, 0), "drop": (-15.0, -15.0, -15.0)}

CASES = [
    *(("bulk", level, "") for level in LEVELS),
    *(("bulk", level, "mesh") for level in ("u", "uiu", "uQiqiu", "uQiqiu-atomic")),
    *(("bulk", level, "field") for level in ("u", "uiu", "uQiqiu", "u-atomic", "surface")),
    *(("bulk", level, "dfield") for level in ("u", "uQiqiu", "surface")),
    *(("slab", level, kind) for level in ("u", "uQiqiu") for kind in ("", "field")),
    ("slab", "surface", "field"),
    ("slab", "surface", "shrunk"),
    ("side", "uQiqiu", "field"),
    *(
        ("drop", level, kind)
        for level in ("uiu", "uQiqiu-atomic", "surface")
        for kind in ("", "field")
    ),
    *(("half", level, kind) for level in ("u", "uQiqiu", "uQiqiu-atomic") for kind in ("", "mesh")),
    ("half", "messages-response", ""),
    ("bulk", "u", "blocks"),
    ("bulk", "u", "compile"),
    ("bulk", "messages", "compile"),
]
"""Structure, model, and what else."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Files of all models and structures, and the cases for the worker."""
    folder = tmp_path_factory.mktemp("lammps")
    known = structures()
    for name, atoms in known.items():
        write(folder / f"{name}.xyz", atoms)
    for name, options in LEVELS.items():
        potential = random_potential(known["bulk"], **options)
        potential.readout.response_bias.sub_(3.0)  # far from a polarization catastrophe
        save(potential, folder / f"{name}.pt")
    cases = {}
    for where, level, kind in CASES:
        words = {"field": f"field {_words(FIELD)}", "dfield": f"dfield {_words(DFIELD)}"}
        words |= {"blocks": "block 2", "compile": "block 3 compile", "shrunk": words["field"]}
        cases[f"{where} {level} {kind}"] = {
            "structure": f"{where}.xyz",
            "style": f"{level}.pt dtype float64 {words.get(kind, '')}",
            "sum": "mesh" if kind == "mesh" else None,
            "low": LOW.get(where, (0, 0, 0)),
            "open": "s" if kind == "shrunk" else "f",  # a box that LAMMPS shrinks to the atoms
        }
    (folder / "cases.json").write_text(json.dumps(cases))
    return folder


def _words(vector):
    return " ".join(map(str, vector))


REFERENCE = {}


def reference(made, where, level, kind):
    """What ASE finds."""
    key = (where, level, kind)
    if key not in REFERENCE:
        atoms = read(made / f"{where}.xyz")
        field = {"field": {"electric_field": FIELD}, "dfield": {"electric_displacement": DFIELD}}
        field["shrunk"] = field["field"]
        calc = lrcalc.LRCalculator(made / f"{level}.pt", dtype="float64", **field.get(kind, {}))
        if kind == "mesh":
            calc.evaluator.potential.ewald.method = "mesh"
        atoms.calc = calc
        got = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        if atoms.pbc.all() and not (level.endswith("atomic") and kind == "field"):
            got["stress"] = atoms.get_stress()
        if calc.evaluator.potential.config["level"] != "sr" and level != "uQiqiu-atomic":
            got["dipole"] = atoms.get_dipole_moment()
        REFERENCE[key] = got
    return REFERENCE[key]


def compare(found, expected):
    assert found["energy"] == pytest.approx(expected["energy"], abs=1e-9)
    np.testing.assert_allclose(found["forces"], expected["forces"], atol=1e-10, rtol=0)
    assert found["each"].sum() == pytest.approx(expected["energy"], abs=1e-9)
    if "stress" in expected:
        np.testing.assert_allclose(found["stress"], expected["stress"], atol=1e-12, rtol=0)
    if "dipole" in expected:
        np.testing.assert_allclose(found["moments"][:3], expected["dipole"], atol=1e-9, rtol=0)


def compare_virial(found, atoms, part):
    """Without images the virial is that of the forces (but for what turns the whole)."""
    virial = atoms.positions.T @ found["forces"] / atoms.get_volume()
    virial = full_3x3_to_voigt_6_stress(0.5 * (virial + virial.T))
    np.testing.assert_allclose(-found["stress"][part], virial[part], atol=1e-12, rtol=0)


# one test for each number of ranks: all its cases share one start of Python, torch and LAMMPS
@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
def test_as_in_ase(made, ranks):
    worker = ROOT / "tests" / "lammps" / "worker.py"
    done = mpirun(
        ranks, "-m", "mpi4py", worker, "cases.json", f"{ranks}.npz", cwd=made, timeout=200
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    results = dict(np.load(made / f"{ranks}.npz"))
    wrong = {}
    for where, level, kind in CASES:
        name = f"{where} {level} {kind}"
        found = {k.split("/")[1]: v for k, v in results.items() if k.startswith(f"{name}/")}
        try:
            compare(found, reference(made, where, level, kind))
            if where == "drop" and level in ("uiu", "surface"):
                compare_virial(found, read(made / "drop.xyz"), slice(None))
            if (where, level) == ("slab", "u"):
                compare_virial(found, read(made / "slab.xyz"), 2)
        except AssertionError as error:
            wrong[name] = str(error)
        assert len(found["owned"]) == ranks
    assert not wrong, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())
    empty = [(v == 0).any() for k, v in results.items() if k.endswith("/owned")]
    assert any(empty) == (ranks > 1)  # some ranks have no atoms
