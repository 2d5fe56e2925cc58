"""Every level, kind of charge and response trains, on every kind of matter, and can be used."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms

from lrcalc import from_ase, load
from lrcalc.cli import main
from lrcalc.evaluator import Evaluator
from lrcalc.models.readout import LEVELS
from lrcalc.models.sign import fix_sign
from lrcalc.neighbors import build_pairs
from lrcalc.training.data import make_frames, read_structures
from lrcalc.training.fit import fit
from lrcalc.training.settings import TrainingSettings
from tests.conftest import random_potential
from tests.training.sets import SETS, frames_of, label, shaken

TENSORS = [(level, anisotropic) for level in LEVELS for anisotropic in (False, True)
           if not anisotropic or "iu" in LEVELS[level]]  # fmt: skip
KINDS = [(*kind, charges) for kind, charges in itertools.product(TENSORS, ("local", "atomic"))]
"""Level, tensor polarizabilities, charges; local charges respond in pairs, atomic ones alone."""

SETTINGS = TrainingSettings(epochs=4, batch_size=3, energy_boost=1.0)
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def name(kind):
    return f"{kind[0]}{'-tensor' if kind[1] else ''}-{kind[2]}"


def train(structures, kind, path, *, device="cpu", cutoff=3.0, settings=SETTINGS, **more):
    """Train for a few epochs; return the rows of the learning curve."""
    level, anisotropic, charges = kind
    frames = make_frames(structures, "frames.xyz", cutoff)
    config = {"level": level, "anisotropic": anisotropic, "charges": charges, "cutoff": cutoff,
              "channels": 4, "hidden": 8, **more}  # fmt: skip
    rows = []
    fit(frames[2:], frames[:2], config, settings._replace(device=device), path,
        report=rows.append)  # fmt: skip
    return rows


def check(rows, structures, path, device="cpu"):
    """Losses fell and are numbers; the file loads and gives the forces that were validated."""
    losses = [row["loss"] for row in rows]
    assert all(map(math.isfinite, losses)), losses
    assert losses[-1] < losses[0], losses
    valid = structures[:2]
    results = Evaluator(str(path), device=device)(valid, ["energy", "forces"])
    errors = [r["forces"] - a.get_forces() for r, a in zip(results, valid, strict=True)]
    rmse = math.sqrt(np.concatenate(errors).__pow__(2).mean())
    assert rmse == pytest.approx(load(path).metadata["errors"]["valid_forces"], rel=1e-3)
    precise = Evaluator(str(path), device=device, dtype="float64")(valid, ["energy", "forces"])
    for one, other in zip(results, precise, strict=True):
        assert one["energy"] == pytest.approx(other["energy"], abs=1e-3, rel=1e-6)
        scale = np.abs(other["forces"]).max()
        np.testing.assert_allclose(one["forces"], other["forces"], atol=1e-3 * scale)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_every_level_trains_on_mixed_matter(kind, device, tmp_path):
    structures = frames_of("all")
    rows = train(structures, kind, tmp_path / "m.pt", device=device)
    check(rows, structures, tmp_path / "m.pt", device)


@pytest.mark.parametrize("charges", ["local", "atomic"])
@pytest.mark.parametrize("matter", SETS)
def test_the_richest_level_trains_on_each_kind_of_matter(matter, charges, tmp_path):
    structures = frames_of(matter, 5)
    rows = train(structures, ("uQiqiu", True, charges), tmp_path / "m.pt")
    check(rows, structures, tmp_path / "m.pt")


@pytest.mark.long
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("matter", SETS)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_every_level_trains_on_each_kind_of_matter(kind, matter, device, tmp_path):
    structures = frames_of(matter, 5)
    rows = train(structures, kind, tmp_path / "m.pt", device=device)
    check(rows, structures, tmp_path / "m.pt", device)


@pytest.mark.parametrize("iterations", [1, None])
@pytest.mark.parametrize("charges", ["local", "atomic"])
def test_an_iterated_response_trains(charges, iterations, tmp_path):
    structures = [shaken(a, k) for k, a in enumerate(SETS["water"]() * 4)]
    structures = [label(a) for a in structures]
    rows = train(
        structures, ("uiqiu", False, charges), tmp_path / "m.pt",
        iterations=iterations, smearing=1.5, settings=SETTINGS._replace(learning_rate=1e-3),
    )  # fmt: skip
    check(rows, structures, tmp_path / "m.pt")


REAL = {
    "molecules/charged_dimers_130": 4.0, "molecules/dipeptides_train": 4.0,
    "crystals/SiO2_150": 4.0, "water/rpbe_d3_born_70": 3.5,
}  # fmt: skip
"""File → cutoff (Å)."""


@pytest.mark.shared
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("charges", ["local", "atomic"])
@pytest.mark.parametrize("file", REAL)
def test_the_richest_level_trains_on_real_data(file, charges, device, shared, tmp_path):
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")[:3]
    rows = train(structures, ("uQiqiu", False, charges), tmp_path / "m.pt",
                 device=device, cutoff=REAL[file])  # fmt: skip
    check(rows, structures, tmp_path / "m.pt", device)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("file", REAL)
@pytest.mark.parametrize("kind", KINDS, ids=name)
def test_every_level_trains_on_real_data(kind, file, device, shared, tmp_path):
    structures = read_structures(shared / "data" / f"{file}.xyz.gz")[:3]
    rows = train(structures, kind, tmp_path / "m.pt", device=device, cutoff=REAL[file])
    check(rows, structures, tmp_path / "m.pt", device)


@pytest.mark.shared
@pytest.mark.long
def test_the_case_of_issue_11(shared, tmp_path):
    data = shared / "data" / "molecules" / "charged_dimers_130.xyz.gz"
    command = ["train", "--train", str(data), "--level", "uQiqiu", "--epochs", "2"]
    assert main([*command, "--out", str(tmp_path / "m.pt")]) == 0


def test_what_the_readout_makes_is_within_its_bounds():
    """Capacitances of pairs at the cutoff, and the root of a polarizability that rounds to zero."""
    from lrcalc.models.readout import Readout, _anisotropic
    from lrcalc.neighbors import Pairs

    readout = Readout(1, 4, 4, level="uiq")
    n = 4001
    distance = torch.linspace(3.49, 3.5, n)
    vectors = torch.stack([distance, 0 * distance, 0 * distance], 1)
    rows = torch.arange(n)
    pairs = Pairs(torch.zeros_like(rows), rows, torch.zeros(n, 3))
    pair = readout._pair_response(torch.ones(n), pairs, vectors)
    assert len(pair.capacitance) == n - 1
    assert float(pair.capacitance.min()) == 0.0

    zero = torch.zeros(3, requires_grad=True)
    features = SimpleNamespace(tensors=torch.zeros(3, 2, 5))
    alpha = _anisotropic(zero, torch.zeros(3, 2), features)
    alpha.sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_charges_induced_on_atoms_do_not_count_where_they_have_no_dipole():
    """Their polarizability in a cell grew with its size, and with it the scale of all charges."""
    atoms = frames_of("water", 1)[0]
    potential = random_potential(atoms, level="uiq", charges="atomic")
    for repeat in (1, 2):
        system = from_ase(atoms * (repeat, 1, 1))
        pairs = build_pairs(system, potential.cutoff)
        fix_sign(potential, system, pairs)
        assert potential.metadata["susceptibility"] == 0.0
        assert potential.screening == 1.0


def test_a_model_that_diverged_says_so_by_its_own_name():
    atoms = frames_of("water", 1)[0]
    potential = random_potential(atoms, level="uQiqiu")
    potential.readout.weight[0, 0] = np.nan
    with pytest.raises(ValueError, match="the model returned NaN for"):
        Evaluator(potential)([atoms], ["energy", "forces"])


def test_a_flat_cell_is_refused_whatever_its_size():
    atoms = Atoms("H", cell=[[3000, 0, 0], [0, 3000, 0], [3000, 0, 1e-4]], pbc=True)
    with pytest.raises(ValueError, match="spans no volume"):
        from_ase(atoms)
