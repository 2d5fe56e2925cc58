# %% [markdown]
# # Spectra from a trajectory, and how far to trust them
#
# Two damped oscillators stand in for a molecular-dynamics run, because their spectrum is known.
# With real runs the arrays come from `lrcalc.analysis.read_runs(["run.dip_0", ...])`, or use the
# command on the folder of an i-PI run: `lrcalc ir demo-output/2-nve -o water`. A few seconds, so
# that LRCALC_QUICK changes nothing here.

# %%
import os
from pathlib import Path

import numpy as np

from lrcalc import units
from lrcalc.analysis import dielectric, infrared, raman

here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

timestep, temperature, volume = 1.0, 300.0, 1000.0  # fs, K, Å³
frames, copies = 60_000, 3


# %% [markdown]
# Langevin dynamics (BAOAB) of an oscillator of 1 amu in three directions.


# %%
def oscillator(wavenumber, damping, seed):
    rng = np.random.default_rng(seed)
    omega = wavenumber * units.WAVENUMBER_TO_ANGULAR
    thermal = units.BOLTZMANN * temperature / units.EV_PER_AMU_A2_FS2
    decay = np.exp(-damping * timestep)
    kicks = np.sqrt((1 - decay**2) * thermal) * rng.normal(size=(frames, copies))
    x = np.sqrt(thermal) / omega * rng.normal(size=copies)
    v = np.sqrt(thermal) * rng.normal(size=copies)
    path = np.empty((frames, copies))
    for step in range(frames):
        v = v - 0.5 * timestep * omega**2 * x
        x = x + 0.5 * timestep * v
        v = decay * v + kicks[step]
        x = x + 0.5 * timestep * v
        v = v - 0.5 * timestep * omega**2 * x
        path[step] = x
    return path


slow, fast = oscillator(700.0, 0.02, 1), oscillator(1650.0, 0.01, 2)
dipole = 0.5 * slow + 0.3 * fast  # charges 0.5 e and 0.3 e

# %% [markdown]
# ## Infrared: absolute, with an error bar
# `n·α` in cm⁻¹; the integrated intensity is fixed by the charges alone.

# %%
spectrum = infrared(dipole, timestep=timestep, volume=volume, temperature=temperature)
print(spectrum.table())
spectrum.save(output / "oscillators")
measured, error = spectrum.integrated()
strength = (0.5**2 + 0.3**2) / units.EV_PER_AMU_A2_FS2
exact = strength * 1e16 / (4 * units.EPSILON_0 * units.SPEED_OF_LIGHT**2 * volume)
print(f"integrated: {measured:.4g} ± {error:.2g} cm⁻², exact {exact:.4g}")

# %% [markdown]
# ## Dielectric constant from the fluctuations

# %%
epsilon = dielectric(
    dipole, timestep=timestep, volume=volume, temperature=temperature, epsilon_infinity=1.5,
    resolution=20.0,
)  # fmt: skip
static = 1.5 + sum(
    charge**2
    / (units.EPSILON_0 * volume * units.EV_PER_AMU_A2_FS2)
    / (nu * units.WAVENUMBER_TO_ANGULAR) ** 2
    for charge, nu in ((0.5, 700.0), (0.3, 1650.0))
)
print(f"ε(0) = {epsilon.static:.4f} ± {epsilon.static_error:.4f}, exact {static:.4f}")

# %% [markdown]
# ## Raman: the slow oscillator is isotropic, the fast one is not

# %%
shape = np.array([[1.0, 0.4, 0], [0.4, -0.5, 0], [0, 0, -0.5]])
polarizability = slow[:, :1, None] * np.eye(3) + fast[:, :1, None] * shape
scattering = raman(polarizability.reshape(-1, 9), timestep=timestep, temperature=temperature)
scattering.save(output / "oscillators")
at = np.argmin(np.abs(scattering.wavenumber - 1650.0))
print(f"depolarisation at 1650 cm⁻¹: {scattering.depolarisation[at]:.3f} (exact 0.750)")

# %% [markdown]
# ## Check

# %%
assert abs(measured - exact) < 4 * error + 0.02 * exact  # 2 %: the line beyond 4500 cm⁻¹
assert abs(epsilon.static - static) < 4 * epsilon.static_error + 0.002 * static
assert abs(scattering.depolarisation[at] - 0.75) < 0.02
print("all as they should be")
