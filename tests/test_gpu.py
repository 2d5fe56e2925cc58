"""On a GPU: the numbers of the CPU, in one launch and without it, and no wait before the end."""

import copy

import numpy as np
import pytest
import torch
from ase import units

from lrcalc import Evaluator, load
from lrcalc.captured.launch import Launch
from lrcalc.structures import read_structure
from tests.property_cases import BASIC, CASES, STRUCTURES, errors, potential_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def both(potential, field):
    """One evaluator on the GPU; another on the CPU, in float64, with the same weights."""
    gpu = Evaluator(copy.deepcopy(potential), device="cuda", **field)
    return gpu, Evaluator(copy.deepcopy(potential).double(), device="cpu", **field)


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_the_numbers_of_the_cpu(case, dtype, limit):
    _, _, kind, _, field, names = CASES[case]
    gpu, cpu = both(potential_of(case).to(getattr(torch, dtype)), field)
    structures, rng = STRUCTURES[kind](), np.random.default_rng(0)
    for step in range(5):
        if step == 3:
            for atoms in structures:
                atoms.set_cell(np.asarray(atoms.cell) * 1.01, scale_atoms=True)
        found, expected = (evaluator(structures, names) for evaluator in (gpu, cpu))
        wrong = errors(found, expected, names)
        assert max(wrong.values()) < limit, (step, gpu.steps.reason, wrong)
        if step == 0:
            continue
        assert gpu.steps.reason is None, gpu.steps.reason
        for atoms in structures:
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
    kept = gpu.steps._kept.values()
    assert kept
    assert all(isinstance(recorded.run, Launch) for recorded in kept)


def test_nothing_waits_between_positions_and_forces():
    evaluator = Evaluator("water", device="cuda")
    atoms = read_structure("water64")
    for _ in range(3):
        (result,) = evaluator([atoms], BASIC)
    stage = evaluator.steps.stage
    (recorded,) = evaluator.steps._kept.values()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stage.load(atoms.positions, np.asarray(atoms.cell)[None], (0.0, 0.0, 0.0))
        recorded.run.start()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
    forces = recorded.run._host.numpy()[1 : 1 + 3 * len(atoms)].reshape(-1, 3)
    np.testing.assert_allclose(forces, result["forces"], atol=1e-4)


def test_weights_that_change_are_noticed():
    potential = load("water")
    evaluator = Evaluator(potential, device="cuda")
    atoms = read_structure("water64")
    before = [evaluator([atoms], BASIC)[0]["energy"] for _ in range(3)][-1]
    with torch.no_grad():
        evaluator.potential.reference_energy += 1.0
    (result,) = evaluator([atoms], BASIC)
    assert result["energy"] == pytest.approx(before + len(atoms), abs=1e-3)


def test_a_run_conserves():
    """NVE of 192 atoms in float32, 0.5 fs: the energy scatters and drifts as on a CPU."""
    atoms = read_structure("water64")
    scatter = {}
    for device in ("cuda", "cpu"):
        steps = 400 if device == "cuda" else 60
        energies = nve(Evaluator("water", device=device), atoms.copy(), steps, 0.5)
        time = np.arange(len(energies))
        slope, level = np.polyfit(time, energies, 1)
        scatter[device] = (energies - slope * time - level).std()
        assert abs(slope) * 100 < 1e-4 * len(atoms), (device, slope)
    assert scatter["cuda"] < 3.0 * scatter["cpu"] + 1e-3


def nve(evaluator, atoms, steps, fs):
    """Conserved energy (eV) of velocity Verlet."""
    rng = np.random.default_rng(1)
    mass = atoms.get_masses()[:, None]
    dt = fs * units.fs
    velocity = rng.normal(size=(len(atoms), 3)) * np.sqrt(units.kB * 300.0 / mass)
    velocity -= (mass * velocity).sum(0) / mass.sum()
    (now,) = evaluator([atoms], BASIC)
    out = []
    for _ in range(steps):
        velocity += 0.5 * dt * now["forces"] / mass
        atoms.positions += dt * velocity
        (now,) = evaluator([atoms], BASIC)
        velocity += 0.5 * dt * now["forces"] / mass
        out.append(now["energy"] + 0.5 * float((mass * velocity**2).sum()))
    return np.array(out)
