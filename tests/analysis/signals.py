"""Stationary signals with known correlation functions, for the tests of lrcalc.analysis."""

import numpy as np
from scipy.linalg import expm
from scipy.signal import lfilter

from lrcalc import units


def langevin(rng, frames, timestep, wavenumber, damping, temperature, size=3, mass=1.0):
    """Positions and velocities (frames, size) of damped oscillators, sampled exactly.

    The Ornstein-Uhlenbeck process of (x, v) is linear, so its transition over one time step is
    known in closed form; ``damping`` is in 1/fs.
    """
    omega = wavenumber * units.WAVENUMBER_TO_ANGULAR
    thermal = units.BOLTZMANN * temperature / units.EV_PER_AMU_A2_FS2 / mass
    step = expm(np.array([[0.0, 1.0], [-(omega**2), -damping]]) * timestep)
    stationary = np.diag([thermal / omega**2, thermal])
    noise = np.linalg.cholesky(stationary - step @ stationary @ step.T)
    start = np.linalg.cholesky(stationary) @ rng.normal(size=(2, size))
    kicks = np.einsum("ab,bnc->anc", noise, rng.normal(size=(2, frames - 1, size)))
    values, vectors = np.linalg.eig(step)
    inverse = np.linalg.inv(vectors)
    modes = [
        lfilter(
            [1.0],
            [1.0, -values[k]],
            np.concatenate(
                [
                    np.einsum("b,bc->c", inverse[k], start)[None],
                    np.einsum("b,bnc->nc", inverse[k], kicks),
                ]
            ),
            axis=0,
        )
        for k in range(2)
    ]
    x, v = np.einsum("ab,bnc->anc", vectors, np.array(modes)).real
    return x, v


def velocity_correlation(time, wavenumber, damping, temperature, mass=1.0):
    """⟨v(0)v(t)⟩ of one coordinate of :func:`langevin`, Å²/fs²."""
    omega = wavenumber * units.WAVENUMBER_TO_ANGULAR
    thermal = units.BOLTZMANN * temperature / units.EV_PER_AMU_A2_FS2 / mass
    shifted = np.sqrt(omega**2 - damping**2 / 4)
    return (
        thermal
        * np.exp(-damping * time / 2)
        * (np.cos(shifted * time) - damping / (2 * shifted) * np.sin(shifted * time))
    )


def ornstein_uhlenbeck(rng, frames, decay, size=3):
    """Unit-variance AR(1) with correlation ``decay**lag``."""
    kicks = rng.normal(size=(frames, size)) * np.sqrt(1 - decay**2)
    kicks[0] = rng.normal(size=size)
    return lfilter([1.0], [1.0, -decay], kicks, axis=0)


def free_langevin(rng, frames, timestep, tau, sigma, size):
    """Positions (frames, size) of free particles, sampled exactly: ⟨v(0)v(t)⟩ = σ² e^{−t/τ}."""
    c = np.exp(-timestep / tau)
    vv, xv = sigma**2 * (1 - c**2), sigma**2 * tau * (1 - c) ** 2
    xx = (sigma * tau) ** 2 * (2 * timestep / tau - 3 + 4 * c - c**2)
    noise = np.linalg.cholesky([[vv, xv], [xv, xx]])
    kick_v, kick_x = np.einsum("ab,bnc->anc", noise, rng.normal(size=(2, frames - 1, size)))
    start = sigma * rng.normal(size=(1, size))
    v = lfilter([1.0], [1.0, -c], np.concatenate([start, kick_v]), axis=0)
    steps = tau * (1 - c) * v[:-1] + kick_x
    return np.concatenate([np.zeros((1, size)), np.cumsum(steps, axis=0)])
