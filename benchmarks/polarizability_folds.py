"""Polarizability surfaces predicted for every frame by a fit that has not seen it.

    python benchmarks/polarizability_folds.py water bulk32_dipole_polarizability_300.xyz.gz \
        --unit A3 --local-field clausius-mossotti
    python benchmarks/polarizability_folds.py SiO2 SiO2_150.xyz.gz --unit eA2/V

The settings are the defaults of `lrcalc fit-polarizability` throughout, so nothing is picked by
looking at the frames on which the figures are made. In each fold a tenth of the other frames
chooses the epoch that is kept. Energies and forces of the model stay as they are: where it was
trained on these frames, only the surface has not seen them.
"""

import argparse
import time

import numpy as np

from lrcalc import Evaluator
from lrcalc.checkpoint import load
from lrcalc.model_errors import errors
from lrcalc.training.data import read_structures
from lrcalc.training.polarizability import reference_polarizability
from lrcalc.training.settings import LOCAL_FIELDS, POLARIZABILITY_UNITS, SurfaceSettings
from lrcalc.training.surface import fit_surface, make_samples

EPOCH_CHOICE = 10
"""One in so many of the frames of a fit chooses its epoch, as for `lrcalc fit-polarizability`."""


def fold_of(n_frames, n_folds, *, blocks):
    """Fold of each frame: dealt out in turn, or as stretches of neighbouring frames."""
    index = np.arange(n_frames)
    return index * n_folds // n_frames if blocks else index % n_folds


def predict(potential, structures, samples, fold, settings):
    """Polarizabilities (S, 3, 3), e Å²/V, each from the fit that left its frame out."""
    made = np.empty((len(structures), 3, 3))
    for k in range(fold.max() + 1):
        started = time.perf_counter()
        rest = [s for s, f in zip(samples, fold, strict=True) if f != k]
        train = [s for i, s in enumerate(rest, 1) if i % EPOCH_CHOICE]
        fitted = fit_surface(potential, train, rest[EPOCH_CHOICE - 1 :: EPOCH_CHOICE], settings)
        evaluator = Evaluator(fitted)
        for i in np.flatnonzero(fold == k):
            made[i] = evaluator([structures[i]], ["polarizability"])[0]["polarizability"]
        print(f"fold {k + 1}: {len(train)} frames fitted, {len(rest) - len(train)} choose the "
              f"epoch, {(fold == k).sum()} predicted; {time.perf_counter() - started:.0f} s",
              flush=True)  # fmt: skip
    return made


def parts(alpha):
    """Isotropic part (S, 1), and what is left without it (S, 9)."""
    mean = alpha.trace(axis1=1, axis2=2)[:, None] / 3
    rest = alpha.reshape(-1, 9) - mean * np.eye(3).ravel()
    return {"isotropic": mean, "anisotropic": rest}


def report(model, data, fold):
    """Print correlation and R² over all frames, and how R² differs from fold to fold.

    The anisotropic part of a crystal has a mean that any fit gets right; ``fluctuation`` is the
    anisotropic part without the mean of the data, which is what a Raman spectrum is made of.
    """
    made, true = parts(model), parts(data)
    mean = true["anisotropic"].mean(0)
    made["fluctuation"], true["fluctuation"] = (p["anisotropic"] - mean for p in (made, true))
    print(f"\n{'all frames':12}{'n':>6}{'r':>8}{'R²':>8}{'RMSE':>9}{'spread':>9}  e Å²/V;"
          "   R² of each fold")  # fmt: skip
    for name, x in true.items():
        y = made[name]
        e = errors(y, x)
        single = [errors(y[fold == k], x[fold == k]).r2 for k in range(fold.max() + 1)]
        r = np.corrcoef(x.ravel(), y.ravel())[0, 1]
        print(f"{name:12}{e.n:6}{r:8.3f}{e.r2:8.3f}{e.rmse:9.4f}{x.std():9.4f}          "
              + " ".join(f"{r2:.3f}" for r2 in single))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--unit", required=True, choices=sorted(POLARIZABILITY_UNITS))
    parser.add_argument("--local-field", default="none", choices=LOCAL_FIELDS)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--blocks",
        action="store_true",
        help="leave out stretches of neighbouring frames, not each K-th",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=SurfaceSettings().epochs)
    args = parser.parse_args()
    structures = read_structures(args.data)
    if not 2 <= args.folds <= len(structures) // 2:
        parser.error(f"--folds is {args.folds}; between 2 and half of {len(structures)} frames")
    data = [reference_polarizability(a, args.unit, args.local_field) for a in structures]
    if any(alpha is None for alpha in data):
        parser.error(f"{args.data}: some frames have no polarizability")
    potential = load(args.model)
    settings = SurfaceSettings(epochs=args.epochs, seed=args.seed)
    print(settings)
    fold = fold_of(len(structures), args.folds, blocks=args.blocks)
    samples = make_samples(potential, structures, data)
    report(predict(potential, structures, samples, fold, settings), np.array(data), fold)


if __name__ == "__main__":
    main()
