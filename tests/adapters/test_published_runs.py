"""Converted MACE-LES models behind i-PI, and the example that makes a spectrum with one."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.io import write

from lrcalc import Evaluator, LRCalculator, save
from lrcalc.cli import main
from lrcalc.commands._cards import remarks_of_models
from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    bead_files,
    read_bead_extras,
    read_positions,
    read_properties,
    run_ipi,
    write_input,
)
from lrcalc.ipi.driver import Engine
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.testing import check_model
from lrcalc.units import BOHR, HARTREE
from tests.adapters.test_convert import mace_model, mace_only, pickled, with_charges
from tests.adapters.toy import toy_maceles
from tests.ipi.helpers import waters
from tests.training.labelled import labelled

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "09_published_model.py"
WATER = "published/maceles-water-r4.5-l0.model"
TOY_AND_PUBLISHED = ["toy", pytest.param("published", marks=pytest.mark.shared)]


@pytest.fixture(params=TOY_AND_PUBLISHED)
def model(request, tmp_path):
    """A model file as `lrcalc convert` writes it."""
    if request.param == "toy":
        potential = toy_maceles()
    else:
        file = request.getfixturevalue("shared") / WATER
        potential = convert(file, trust_pickle=True, flip_sign=True, epsilon_infinity=1.78)
    save(potential, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_the_toy_is_a_model():
    check_model(toy_maceles())


def test_the_driver_says_what_the_calculator_says(model):
    """In atomic units, of the start and of a structure after it."""
    atoms = waters(8)
    moved = atoms.copy()
    moved.rattle(0.05, seed=1)
    extras = ("dipole", "BEC", "charges")
    settings = DriverSettings(model=str(model), dtype="float64", max_force=0.0, extras=extras)
    engine, calculator = Engine(settings, atoms), LRCalculator(model, dtype="float64")
    for structure in (atoms, moved):
        cell, positions = np.array(atoms.cell).T / BOHR, structure.positions / BOHR
        (message,) = engine([cell], [positions])
        told = json.loads(message.extras)
        energy, forces, dipole, stress, charges, born = (
            calculator.get_property(name, structure)
            for name in ("energy", "forces", "dipole", "stress", "charges",
                         "born_effective_charges")
        )  # fmt: skip
        assert message.potential * HARTREE == pytest.approx(energy, abs=1e-10)
        np.testing.assert_allclose(message.force * HARTREE / BOHR, forces, rtol=0, atol=1e-9)
        voigt = (message.virial * HARTREE)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(voigt, -stress * atoms.get_volume(), rtol=0, atol=1e-8)
        np.testing.assert_allclose(np.array(told["dipole"]) * BOHR, dipole, rtol=0, atol=1e-9)
        np.testing.assert_allclose(told["charges"], charges, rtol=0, atol=1e-9)
        rows = born.transpose(0, 2, 1).reshape(-1, 3)
        np.testing.assert_allclose(told["BEC"], rows, rtol=0, atol=1e-7)
        assert np.abs(forces).max() > 1e-2
        assert np.abs(dipole).max() > 1e-2


@pytest.mark.timeout(120)
def test_a_run_of_i_pi_holds_the_energies_and_dipoles_of_the_calculator(model, tmp_path):
    path = write_input(
        "nve", waters(8), tmp_path / "run", steps=4, timestep=0.25,
        settings=DriverSettings(model=str(model), dtype="float64", max_force=0.0),
        outputs=Outputs(positions=1, dipole=1),
    )  # fmt: skip
    assert run_ipi(path, timeout=100).finished
    prefix = tmp_path / "run" / "sim"
    positions = read_positions(bead_files(prefix, "pos")).positions
    dipoles = read_bead_extras(bead_files(prefix, "dipole")).values
    energies = read_properties(tmp_path / "run" / "sim.out").values["potential"]
    calculator, atoms = LRCalculator(model, dtype="float64"), waters(8)
    for k, found in enumerate(np.reshape(positions, (-1, len(atoms), 3))):
        atoms.positions = found
        # positions are written with eight digits, and i-PI's electronvolt is off by 1e-7
        assert calculator.get_property("energy", atoms) == pytest.approx(energies[k], rel=2e-7)
        dipole = calculator.get_property("dipole", atoms)
        np.testing.assert_allclose(dipoles.reshape(-1, 3)[k], dipole, rtol=0, atol=1e-6)
    assert k == 4
    assert np.ptp(energies) > 1e-4


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "kind",
    [pytest.param("toy", marks=mace_only), pytest.param("published", marks=pytest.mark.shared)],
)
def test_the_example_in_its_quick_form(kind, request, tmp_path):
    """It ends by checking its own result; it reads no pickle that nobody has trusted."""
    if kind == "published":
        file = request.getfixturevalue("shared") / WATER
    else:
        from e3nn import o3

        # a random potential that is weak beside a repulsion that lets no atom through
        settings = {"hidden_irreps": o3.Irreps("4x0e"), "atomic_inter_scale": 0.3}
        settings |= {"pair_repulsion": True}
        mace, module = with_charges(mace_model(**settings))
        for readout in mace.les_readouts:
            for parameter in readout.parameters():
                parameter.data *= 0.5
        file = pickled(mace, tmp_path / "theirs.model", module)
    environment = {**os.environ, "LRCALC_QUICK": "1", "MPLBACKEND": "Agg"}
    environment["LRCALC_EXAMPLE_OUTPUT"] = str(tmp_path / "output")

    def run(*words):
        return subprocess.run(
            [sys.executable, str(EXAMPLE), str(file), *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
        )  # fmt: skip

    refused = run()
    assert refused.returncode != 0
    assert "--trust-pickle" in refused.stderr
    done = run("--trust-pickle")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert {path.suffix for path in (tmp_path / "output").glob("*.*")} == {".csv", ".json", ".png"}


def test_evaluate_does_not_say_that_somebody_elses_frames_were_kept_out(tmp_path, capsys):
    """A converted file does not know what it was trained on: the frames may be among them."""
    save(toy_maceles(), tmp_path / "model.pt")
    write(tmp_path / "frames.xyz", labelled(2), format="extxyz")
    words = ["evaluate", str(tmp_path / "model.pt"), str(tmp_path / "frames.xyz")]
    assert main([*words, "--json", str(tmp_path / "e.json")]) == 0
    assert "trained on or not, which the model's file does not say: 0, 1" in capsys.readouterr().out
    assert "unknown" in json.loads((tmp_path / "e.json").read_text())


def test_dipoles_of_atomic_charges_in_a_cell_are_warned_of(tmp_path, capsys):
    """They are not what Born charges are derivatives of: spectra want the current (physics §4)."""
    save(toy_maceles(), tmp_path / "model.pt")
    atoms = waters(8)
    atoms.set_velocities(0.01 * np.random.default_rng(0).normal(size=(len(atoms), 3)))
    evaluator = Evaluator(tmp_path / "model.pt", dtype="float64", asr_projection=False)
    moved = [atoms.copy() for _ in range(2)]
    for sign, one in zip((1, -1), moved, strict=True):
        one.positions += sign * 1e-3 * atoms.get_velocities()
    rate = np.subtract(*(found["dipole"] for found in evaluator(moved, ["dipole"]))) / 2e-3
    (found,) = evaluator([atoms], ["born_effective_charges"])
    current = np.einsum("iab,ib->a", found["born_effective_charges"], atoms.get_velocities())
    assert np.abs(rate - current).max() > 0.1 * np.abs(current).max()

    words = ["ipi-input", "--kind", "nve", "--model", str(tmp_path / "model.pt")]
    for pbc in (True, False):
        atoms.pbc = pbc
        write(tmp_path / "start.xyz", atoms, format="extxyz")
        folder = str(tmp_path / f"{pbc}")
        assert main([*words, "--structure", str(tmp_path / "start.xyz"), "--workdir", folder]) == 0
        assert ("this model has atomic charges: their dipole" in capsys.readouterr().err) == pbc
    run = SimpleNamespace(parameters={"model": str(tmp_path / "model.pt")}, folder=tmp_path)
    data = SimpleNamespace(conditions=None, runs=[run])
    for current in (False, True):
        args = Namespace(from_current=current, epsilon_infinity=None)
        told = " ".join(remarks_of_models(args, data))
        assert ("unless the run was open, their dipole" in told) != current
