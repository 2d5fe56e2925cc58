"""What a model on any package's features must do once it is trained by our command."""

import json

import numpy as np
import torch
from ase.io import write
from ase.units import Bohr

from lrcalc import LRCalculator, load
from lrcalc.cli import main
from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    bead_files,
    read_bead_extras,
    read_properties,
    run_ipi,
    write_input,
)
from lrcalc.ipi.driver import LRCalcDriver
from lrcalc.ipi_files.beads import read_positions
from lrcalc.testing import check_model
from lrcalc.testing.model import IDENTITIES
from lrcalc.units import BOHR, HARTREE
from tests.sample_structures import cluster, water_box
from tests.training.labelled import labelled

FIELD = (0.02, -0.03, 0.1)
"""V/Å."""

UNMET = {"levers", "polarizability", "polarizability_derivative"}
"""Identities that local charges of level `u` do not have: there is a dipole, and no response."""


def train_few_steps(folder, name, options):
    """Train on three frames for two epochs; returns the file of the model."""
    write(folder / "water.xyz", labelled(4), format="extxyz")
    path = folder / "model.pt"
    command = ["train", "--train", str(folder / "water.xyz"), "--valid-every", "4", "--cutoff", "3",
               "--epochs", "2", "--backbone", name, "--backbone-options", *options,
               "--out", str(path)]  # fmt: skip
    assert main(command) == 0
    return path


def check_trained(path):
    """Every identity of a periodic skew cell and of an open cluster, in double precision."""
    potential = load(path, dtype=torch.float64)
    assert potential.config["charges"] == "local"
    errors = check_model(potential, [water_box(n=2, seed=4), cluster(n=2)])
    assert {name.split()[0] for name in errors} == set(IDENTITIES) - UNMET
    return errors


def check_under_ipi(path, folder):
    """A driver, and a run of a few steps in a field: what i-PI is told is what ASE is."""
    atoms = water_box(n=3)
    write(folder / "init.xyz", atoms, format="extxyz")
    calculator = LRCalculator(path, dtype="float64", electric_field=FIELD)
    settings = {"model": str(path), "dtype": "float64", "electric_field": FIELD, "max_force": 0.0}
    driver = LRCalcDriver(**settings, template=str(folder / "init.xyz"), extras="dipole")
    energy, forces, _, extras = driver(np.array(atoms.cell).T / BOHR, atoms.positions / BOHR)
    said = calculator.get_property("forces", atoms)
    np.testing.assert_allclose(
        energy * HARTREE, calculator.get_property("energy", atoms), rtol=1e-11
    )
    np.testing.assert_allclose(forces * HARTREE / BOHR, said, rtol=0, atol=1e-9)
    dipole = np.array(json.loads(extras)["dipole"]) * BOHR
    asked = calculator.get_property("dipole", atoms)
    np.testing.assert_allclose(dipole, asked, rtol=0, atol=1e-10)
    assert np.abs(said).max() > 1e-2
    run = write_input(
        "efield", atoms, folder / "run", steps=3, timestep=0.1, ensemble="nve",
        velocities="thermal",
        settings=DriverSettings(**settings), outputs=Outputs(positions=1),
    )  # fmt: skip
    assert run_ipi(run, timeout=100).finished
    steps = read_positions(bead_files(run.parent / "sim", "pos"))
    dipoles = read_bead_extras(bead_files(run.parent / "sim", "dipole")).values[0]
    potential = read_properties(run.parent / "sim.out").values["potential"]
    assert len(steps.steps) == len(dipoles) == len(potential) == 4
    energies = []
    for positions, dipole in zip(steps.positions[0], dipoles, strict=True):
        atoms.positions = positions * BOHR / Bohr  # written in ASE's Å, 1e-8 off i-PI's
        energies.append(calculator.get_property("energy", atoms))
        found = calculator.get_property("dipole", atoms)
        np.testing.assert_allclose(dipole, found, rtol=0, atol=1e-6)
    # i-PI's eV is 1e-7 off ours: what the potential changes by shows no more of it
    np.testing.assert_allclose(np.diff(potential), np.diff(energies), rtol=1e-6, atol=1e-6)
    assert np.abs(np.diff(energies)).min() > 1e-4
    assert np.ptp(dipoles, axis=0).max() > 1e-4
