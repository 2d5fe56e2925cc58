"""`lrcalc fit-polarizability`: give a finished model a polarizability surface."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lrcalc import __version__
from lrcalc.commands import _options
from lrcalc.progress import progress_bar
from lrcalc.training.settings import (
    LOCAL_FIELDS,
    POLARIZABILITY_KEYS,
    POLARIZABILITY_UNITS,
    SurfaceSettings,
)

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    Part = tuple[list[Atoms], list[np.ndarray]]
    """Structures and their polarizabilities, e Å²/V."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", required=True, help="bundled name or model file; stays as it is")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="F",
        help='extended xyz with polarizability="xx xy xz yx ..." (or REF_polarizability)',
    )
    parser.add_argument(
        "--unit", required=True, choices=sorted(POLARIZABILITY_UNITS), help="of the data"
    )
    parser.add_argument(
        "--local-field",
        default="none",
        choices=LOCAL_FIELDS,
        help="clausius-mossotti: the data are molecular polarizabilities, corrected for the local "
        "field; they are turned back into the response to the macroscopic field",
    )
    _options.add_split_arguments(parser, 10)
    _options.add_fit_arguments(parser, SurfaceSettings(), *SurfaceSettings._fields)
    _options.add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, report errors on kept-out frames, write the model."""
    from lrcalc.checkpoint import load, save
    from lrcalc.hashing import structure_hash
    from lrcalc.model_errors import polarizability_errors
    from lrcalc.models.card import VOLUME_PER_ATOM
    from lrcalc.training.polarizability import volume_per_atom
    from lrcalc.training.surface import fit_surface, make_samples

    output = _options.check_options(args)
    potential = load(args.model)
    parts, notes = split(args, potential.species)
    for note in notes:
        print(note)
    print(", ".join(f"{len(parts[name][0])} {name}" for name in parts) + " frames")
    samples = {name: make_samples(potential, *parts[name]) for name in ("training", "validation")}
    settings = SurfaceSettings(**{key: getattr(args, key) for key in SurfaceSettings._fields})
    with progress_bar(settings.epochs, unit="epoch") as bar:

        def report(row: dict[str, float]) -> None:
            bar.update()
            bar.set_postfix_str(f"RMSE {row['train']:.4f}/{row['valid']:.4f} e Å²/V")

        fitted = fit_surface(
            potential, samples["training"], samples["validation"], settings, report
        )
    used = [structure_hash(a) for name in ("training", "validation") for a in parts[name][0]]
    shown = "test" if parts["test"][0] else "validation"
    errors = polarizability_errors(fitted, *parts[shown])
    fitted.metadata["polarizability"] = {
        "data": [Path(f).name for f in args.data],
        "source": args.source,
        "licence": args.licence,
        "unit": args.unit,
        "local_field": args.local_field,
        VOLUME_PER_ATOM: volume_per_atom(parts["training"][0]),
        "kept_out": _options.kept_out(args),
        "errors": {"frames": shown, **{k: v._asdict() for k, v in errors.items()}},
        "trained_on": used,
        "lrcalc": __version__,
    }
    save(fitted, output)
    title = "kept-out" if shown == "test" else "validation"
    print(f"\n{len(parts[shown][0])} {title} frames, e Å²/V")
    print(f"{'':14}{'n':>7}{'RMSE':>10}{'MAE':>10}{'R²':>9}")
    for name, e in errors.items():
        print(f"{name:14}{e.n:7d}{e.rmse:10.4f}{e.mae:10.4f}{e.r2:9.4f}")
    print(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")
    return 0


def split(args: argparse.Namespace, species: Sequence[int]) -> tuple[dict[str, Part], list[str]]:
    """Read all files; what is trained on, validates and is kept out, and remarks to print.

    The same frames are kept out as by `lrcalc train --test-every`.
    """
    from lrcalc.structures.species import find_unknown, refuse_unknown
    from lrcalc.training.polarizability import (
        describe_magnitude,
        warn_implausible,
        warn_permittivity,
    )
    from lrcalc.training.split import assign, check_parts
    from lrcalc.training.unlike import describe_units

    parts: dict[str, Part] = {name: ([], []) for name in ("training", "validation", "test")}
    notes: list[str] = []
    uses: list[str] = []
    sizes: list[int] = []
    read = [(path, *read_polarizabilities(path, args.unit, args.local_field)) for path in args.data]
    refuse_unknown(
        [find_unknown(enumerate(structures), species, path) for path, structures, _ in read],
        species,
    )
    for path, structures, alphas in read:
        notes += [f"warning: {path}: {line}" for line in describe_units(structures)]
        notes.append(f"{path}: {describe_magnitude(structures, alphas)}")
        for warn in (warn_implausible, warn_permittivity):
            warning = warn(structures, alphas)
            if warning:
                notes.append(f"warning: {path}: {warning}")
        used = assign(len(structures), args.valid_every, args.test_every)
        for name, atoms, alpha in zip(used, structures, alphas, strict=True):
            parts[name][0].append(atoms)
            parts[name][1].append(alpha)
        uses += used
        sizes.append(len(used) - used.count("test"))
    check_parts(sizes, uses, args.valid_every)
    return parts, notes


def read_polarizabilities(path: str, unit: str, local_field: str) -> Part:
    """Read one file, each frame of which has a polarizability."""
    from lrcalc.training.data import read_structures
    from lrcalc.training.labels import at_frame
    from lrcalc.training.polarizability import reference_polarizability

    structures = read_structures(path)
    alphas = []
    for index, atoms in enumerate(structures):
        with at_frame(path, index):
            alpha = reference_polarizability(atoms, unit, local_field)
        if alpha is None:
            raise ValueError(
                f"{path}: frame {index} has no polarizability; its comment line needs "
                f"{POLARIZABILITY_KEYS[1]}= or {POLARIZABILITY_KEYS[0]}= with nine numbers"
            )
        alphas.append(alpha)
    return structures, alphas
