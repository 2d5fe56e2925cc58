# %% [markdown]
# # A published MACE-LES model: i-PI and an infrared spectrum of water
#
#     LRCALC_SHARED=FOLDER python examples/09_published_model.py --trust-pickle
#     python examples/09_published_model.py maceles-water.model --trust-pickle
#
# Weights that others trained on water are not part of lrcalc: name a file of yours, or the folder
# that holds `published/maceles-water-r4.5-l0.model` (les_fit repository of Kim et al., JCTC 2025;
# CC BY-NC 4.0). It is converted once, and is then a model like any other: 64 waters behind i-PI,
# and their infrared spectrum. Nothing that is in the pickle runs, and neither mace-torch nor `les`
# is needed as long as the model's features are scalars; still, `--trust-pickle` is yours to say.
#
# Charges of such models are `atomic`: in a periodic cell they have Born charges, but no dipole that
# these are derivatives of (docs/theory.md §4), and a spectrum of `Σ q r` would be three times too
# strong here. So the spectrum is made of the current, Born charges times velocities.

# %%
import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from lrcalc import Evaluator, save
from lrcalc.analysis.born_current import read_born_current
from lrcalc.analysis.infrared import WATER_BANDS, bands, infrared
from lrcalc.analysis.intake import Reading
from lrcalc.analysis.output import read_curve
from lrcalc.ipi import (
    DriverSettings,
    Outputs,
    read_properties,
    run_ipi,
    write_input,
)
from lrcalc.models.adapters.mace_convert import convert
from lrcalc.structures import read_structure

SHARED = Path(os.environ.get("LRCALC_SHARED") or Path("..") / "shared")
parser = argparse.ArgumentParser()
parser.add_argument(
    "file", nargs="?", default=SHARED / "published" / "maceles-water-r4.5-l0.model",
    help="a MACE-LES model of water",
)  # fmt: skip
parser.add_argument("--trust-pickle", action="store_true", help="you know where the file is from")
args = parser.parse_args()

QUICK = bool(os.environ.get("LRCALC_QUICK"))  # few steps, only to see it run
here = Path(__file__).parent if "__file__" in globals() else Path()
output = Path(os.environ.get("LRCALC_EXAMPLE_OUTPUT") or here / "output")
output.mkdir(parents=True, exist_ok=True)
folder = Path(tempfile.mkdtemp(prefix="09-runs-", dir=output)).resolve()  # new at each start
MODEL = folder / "converted.pt"
TIMESTEP, STRIDE, TEMPERATURE = 0.5, 4, 300.0  # fs, steps between currents, K

# %% [markdown]
# ## Convert
#
# ε_∞ is not in such files; of water it is 1.78. Energies leave the sign of all charges together
# open, and files have either: it is turned if Born charges say that O is positive.

# %%
water = read_structure("water64")


def born_charge_of_oxygen(flip_sign):
    """Write the model; return the mean of its Born charges of O, e."""
    save(
        convert(
            args.file,
            trust_pickle=args.trust_pickle,
            flag="--trust-pickle",
            epsilon_infinity=1.78,
            flip_sign=flip_sign,
        ),
        MODEL,
    )
    (found,) = Evaluator(MODEL)([water], ["born_effective_charges"])
    return np.einsum("iaa->i", found["born_effective_charges"][water.numbers == 8]).mean() / 3


oxygen = born_charge_of_oxygen(flip_sign=False)
print(f"Born charge of O as published {oxygen:+.2f} e")
if oxygen > 0:
    oxygen = born_charge_of_oxygen(flip_sign=True)
    print(f"sign turned: {oxygen:+.2f} e")

# %% [markdown]
# ## Run: equilibration with a thermostat, then the dynamics whose current is wanted


# %%
def simulate(kind, steps, start=None):
    """Run in a folder of its own."""
    path = write_input(
        kind, water, folder / kind, steps=steps, timestep=TIMESTEP, temperature=TEMPERATURE,
        settings=DriverSettings(model=str(MODEL), extras=("BEC",)), restart=start,
        outputs=Outputs(
            properties=STRIDE, positions=0, velocities=STRIDE, checkpoint=1000,
            dielectric=STRIDE if start else 1000,  # Born charges cost more than a step
        ),
    )  # fmt: skip
    run_ipi(path)
    return folder / kind


warm = simulate("nvt", 20 if QUICK else 300)
run = simulate("nve", 100 if QUICK else 3000, start=warm / "RESTART")
current = read_born_current([run], Reading()).series  # Σ Z·v, e Å/fs
properties = read_properties(run / "sim.out").values
length = TIMESTEP * properties["step"][-1] / 1000
temperature = properties["temperature"].mean()
print(f"{length:.2f} ps at {temperature:.0f} K in {run}")

# %% [markdown]
# ## Spectrum: a table, a picture, beside the measured one if it is there (Bertie & Lan 1996)

# %%
spectrum = infrared(
    current=current, timestep=STRIDE * TIMESTEP, volume=water.get_volume(), temperature=temperature,
    resolution=1500.0 if QUICK else 50.0, epsilon_infinity=1.78,
)  # fmt: skip
print(spectrum.table(ranges=WATER_BANDS))
curve = SHARED / "data" / "experiment" / "bertie_lan_1996_spectrum.csv"
measured = {"measured": read_curve(curve)} if curve.is_file() else {}
title = f"converted {Path(args.file).stem}, {length:.1f} ps"
files = spectrum.save(output / "published_model", ranges=WATER_BANDS, title=title, **measured)
print("wrote", ", ".join(map(str, files)))

# %% [markdown]
# ## Check

# %%
conserved = np.ptp(properties["conserved"]) / len(water)
print(f"conserved quantity within {1000 * conserved:.2f} meV/atom")
assert oxygen < 0
assert conserved < 2e-3
assert np.isfinite(spectrum.n_alpha).all()
if not QUICK:
    found = {band.name: band for band in bands(spectrum)}
    assert abs(found["bend"].maximum - 1643) < 60
    assert 3000 < found["stretch"].maximum < 3800
print("as it should be")
