"""torch-sim's integrators with our model: energy is conserved, replicas do not meet."""

import numpy as np
import pytest
import torch
from ase import units
from ase.build import molecule
from ase.md.verlet import VelocityVerlet

from lrcalc import LRCalculator, load

ts = pytest.importorskip("torch_sim", reason="torch-sim is not installed (make test-torchsim)")

from lrcalc.torchsim import TorchSimModel  # noqa: E402

OLD = not hasattr(ts, "nve_step")
"""Whether this is torch-sim 0.3, whose integrators are pairs of functions that hold the model."""
FS = ts.units.MetalUnits.time * 1e-3
KELVIN = ts.units.MetalUnits.temperature


@pytest.fixture(scope="module")
def model():
    return TorchSimModel(load("water", dtype=torch.float64))


def dimer(seed):
    """Two waters, a hydrogen bond apart, with thermal velocities."""
    rng = np.random.default_rng(seed)
    atoms = molecule("H2O")
    other = molecule("H2O")
    other.rotate(90, "x")
    other.translate([0.0, 0.0, 2.9])
    atoms += other
    atoms.rattle(0.02, seed=seed)
    momenta = rng.normal(size=(6, 3)) * np.sqrt(300 * units.kB * atoms.get_masses())[:, None]
    atoms.set_momenta(momenta - momenta.mean(0))
    return atoms


def periodic(seed):
    atoms = dimer(seed)
    atoms.set_cell([[6.0, 0.0, 0.0], [0.5, 6.5, 0.0], [0.0, -0.7, 7.0]])
    atoms.pbc = True
    return atoms


def started(structures, model):
    state = ts.io.atoms_to_state(structures, model.device, model.dtype)
    state.momenta = torch.as_tensor(np.concatenate([a.get_momenta() for a in structures]))
    return state


def nve(structures, model, timestep, steps):
    """States of a run (copies), the first included."""
    state = started(structures, model)
    dt, heat = torch.tensor(timestep * FS, dtype=model.dtype), torch.tensor(300.0 * KELVIN)
    if OLD:
        begin, step = ts.integrators.nve(model, dt=dt, kT=heat)
        state = begin(state)
    else:
        state = ts.nve_init(state, model, kT=heat)
        step = lambda now: ts.nve_step(now, model, dt=dt)  # noqa: E731
    yield state.clone()
    for _ in range(steps):
        state = step(state)
        yield state.clone()


def total_energy(state):
    kinetic = 0.5 * (state.momenta.square().sum(1) / state.masses)
    zero = torch.zeros_like(state.energy)
    return (state.energy + zero.index_add(0, state.system_idx, kinetic)).numpy()


def test_trajectory_is_that_of_ase(model):
    atoms = periodic(1)
    state = list(nve([atoms], model, 0.5, 20))[-1]
    atoms.calc = LRCalculator(model.potential, watch=False)
    VelocityVerlet(atoms, timestep=0.5 * units.fs).run(20)
    apart = np.linalg.solve(np.asarray(atoms.cell).T, (state.positions.numpy() - atoms.positions).T)
    apart -= np.rint(apart)  # torch-sim 0.3 wraps
    np.testing.assert_allclose(apart, 0.0, atol=1e-8)
    # the two programs have constants of different years
    np.testing.assert_allclose(state.momenta.numpy(), atoms.get_momenta(), atol=1e-5)


@pytest.mark.parametrize("held", [{}, {"electric_displacement": (0.0, 0.0, 2e-3)}])
def test_energy_is_conserved_up_to_the_square_of_the_time_step(held):
    model = TorchSimModel(load("water", dtype=torch.float64), **held)
    structures = [periodic(1), periodic(2)]
    swings = []
    for timestep, steps in ((0.5, 24), (0.25, 48)):
        model.forget()
        energies = np.array([total_energy(x) for x in nve(structures, model, timestep, steps)])
        swings.append(np.abs(energies - energies[0]).max(0))
    ratio = swings[0] / swings[1]
    assert (swings[1] > 1e-7).all(), "there is something to compare"
    assert ((ratio > 3.0) & (ratio < 5.5)).all(), ratio


def test_replicas_do_not_meet(model):
    structures = [periodic(k) for k in range(3)]
    last = list(nve(structures, model, 0.5, 15))[-1]
    for k, atoms in enumerate(structures):
        alone = list(nve([atoms], model, 0.5, 15))[-1]
        mine = last.system_idx == k
        torch.testing.assert_close(last.positions[mine], alone.positions, rtol=0, atol=1e-10)
        torch.testing.assert_close(last.momenta[mine], alone.momenta, rtol=0, atol=1e-10)


def test_a_langevin_thermostat_holds_the_temperature(model):
    """Kinetic energies of 16 molecules: each has a variance that the canonical ensemble knows."""
    count, target = 16, 400.0
    structures = [molecule("H2O") for _ in range(count)]
    state = ts.io.atoms_to_state(structures, model.device, model.dtype)
    dt = torch.tensor(0.5 * FS, dtype=model.dtype)
    heat = torch.tensor(target * KELVIN, dtype=model.dtype)
    friction = torch.tensor(1.0 / (5.0 * FS), dtype=model.dtype)
    torch.manual_seed(5)
    if OLD:
        begin, step = ts.integrators.nvt_langevin(model, dt=dt, kT=heat, gamma=friction, seed=5)
        state = begin(state)
    else:
        state.rng = 5
        state = ts.nvt_langevin_init(state, model, kT=heat)
        step = lambda now: ts.nvt_langevin_step(  # noqa: E731
            now, model, dt=dt, kT=heat, gamma=friction
        )
    seen = []
    for k in range(160):
        state = step(state)
        if k >= 40 and k % 20 == 0:  # four times the memory of the friction
            kinetic = 0.5 * (state.momenta.square().sum(1) / state.masses).sum()
            seen.append(float(2.0 * kinetic / (9 * count * units.kB)))
    error = target * np.sqrt(2.0 / (9 * count * len(seen)))
    assert abs(np.mean(seen) - target) < 4.0 * error, (np.mean(seen), error)


@pytest.mark.skipif(OLD, reason="chains of torch-sim 0.3 are one for all replicas")
def test_nose_hoover_chains_conserve_what_they_should(model):
    structures = [periodic(1), periodic(2)]
    heat = torch.tensor(300.0 * KELVIN, dtype=model.dtype)
    swings = []
    for timestep, steps in ((0.5, 24), (0.25, 48)):
        state, dt = started(structures, model), torch.tensor(timestep * FS, dtype=model.dtype)
        state = ts.nvt_nose_hoover_init(state, model, kT=heat, dt=dt, tau=20.0 * FS)
        first = ts.nvt_nose_hoover_invariant(state, heat)
        worst = torch.zeros_like(first)
        for _ in range(steps):
            state = ts.nvt_nose_hoover_step(state, model, dt=dt, kT=heat)
            off = ts.nvt_nose_hoover_invariant(state, heat) - first
            worst = torch.maximum(worst, off.abs())
        swings.append(worst.numpy())
    ratio = swings[0] / swings[1]
    assert ((ratio > 2.5) & (ratio < 6.0)).all(), ratio
