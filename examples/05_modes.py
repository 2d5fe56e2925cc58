# %% [markdown]
# # Modes of α-quartz from the bundled SiO₂ model, beside DFT
#
# The model's charges have seen energies and forces only. They give Born charges, and with the force
# constants infrared intensities; LO-TO takes the ε_∞ that its forces hold. Its polarizability,
# learned from computed ones, gives Raman activities, and ε_∞ for light. The DFT numbers are PBEsol,
# published with Phonopy-Spectroscopy (MIT). From a shell this is
# `lrcalc modes quartz.cif --model SiO2 --raman -o quartz`. Ten seconds, so that
# LRCALC_QUICK changes nothing here.

# %%
import os
from pathlib import Path

import numpy as np
from ase.spacegroup import crystal

from lrcalc import LRCalculator
from lrcalc.analysis import phonons
from lrcalc.analysis.mode_report import ModeReport
from lrcalc.analysis.modes import lines, longitudinal
from lrcalc.analysis.raman_modes import raman_lines

here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# The structure: space group P3₂21, two parameters for silicon's and oxygen's places.

# %%
quartz = crystal(
    ["Si", "O"],
    [(0.46468, 0, 2 / 3), (0.4125, 0.2774, 0.7784)],
    spacegroup=154,
    cellpar=[4.8734, 4.8734, 5.3742, 90, 90, 120],
)
print(quartz)

# %%
calculator = LRCalculator("SiO2", dtype="float64")
found = phonons.from_calculator(quartz, calculator, supercell=(1, 1, 1), relax=0.01)
modes = phonons.with_raman(found, phonons.solve(found), calculator)
report = ModeReport(found, modes, damping=10.0)
print(report.table())
print("LO along z", np.round(longitudinal(modes, [0, 0, 1])[-3:], 1))
report.save(output / "quartz")

# %% [markdown]
# ## Beside DFT
# The infrared-active lines in the same order; degenerate modes are summed.

# %%
dft = np.array([
    (341.539, 0.201933), (374.190, 0.267721), (434.995, 0.684713), (482.034, 0.362194),
    (769.869, 0.213125), (792.147, 0.297576), (1070.569, 3.441213), (1080.656, 1.803711),
])  # fmt: skip  # cm⁻¹, e²/amu
active = [line for line in lines(modes) if line.intensity > 0.15]
for (nu, intensity), line in zip(dft, active, strict=True):
    print(
        f"DFT {nu:7.1f} cm⁻¹ {intensity:6.3f} e²/amu    "
        f"model {line.wavenumber:7.1f} cm⁻¹ {line.intensity:6.3f} e²/amu  {line.irrep}"
    )

# %% [markdown]
# The two strong totally symmetric Raman lines, 45a² + 7γ² in Å⁴/amu. Lines that are weak in DFT
# come out up to six times too strong: the polarizability's error does not shrink with the line.

# %%
scattering = [line for line in raman_lines(modes) if line.irrep == "A1"]
for nu, activity in ((223.516, 6.930064), (454.963, 35.084538)):
    line = min(scattering, key=lambda one: abs(one.wavenumber - nu))
    print(
        f"DFT {nu:7.1f} cm⁻¹ {activity:6.2f} Å⁴/amu    "
        f"model {line.wavenumber:7.1f} cm⁻¹ {line.activity:6.2f} Å⁴/amu, "
        f"depolarisation {line.depolarisation:.3f}"
    )
    assert abs(line.activity / activity - 1) < 0.4

# %% [markdown]
# ## Check

# %%
model = np.array([[line.wavenumber, line.intensity] for line in active])
assert np.abs(model - dft)[:, 0].max() < 60  # cm⁻¹
assert np.abs(model[:, 1] / dft[:, 1] - 1).max() < 0.4
print(f"sum of intensities: model {modes.intensity.sum():.2f}, DFT {dft[:, 1].sum():.2f} e²/amu")
