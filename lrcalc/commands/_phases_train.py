"""`lrcalc phases train`: a model of phases from perfect crystals."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc.commands._options import flag
from lrcalc.commands._phases_part import Part

if TYPE_CHECKING:
    from lrcalc.information.phases import PhaseModel

MEANING = {
    "crystal_atoms": "atoms of a crystal, at least; with more than two rounds 800",
    "label_crystals": "crystals of a batch of the labels",
    "label_steps": "batches of the labels; the learning rate falls to zero at the last",
    "steps": "batches of the score, likewise",
    "max_minutes": "end earlier, the learning rates falling to zero then; 0: no limit",
    "label_share": "part of these minutes that the labels get",
    "batch_atoms": "atoms of a batch of the score",
    "learning_rate": "peak",
    "weight_decay": "decoupled weight decay of AdamW",
    "ema": "decay a step of the averaged weights, which are saved",
    "strain": "standard deviation of a random strain of the crystals",
    "seed": "of weights, crystals and noise",
    "device": "torch device: cpu, cuda, …",
}
"""Setting of a training → its help."""

MODEL = {
    "cutoff": "of what an atom hears in a round",
    "lmax": "largest ℓ of densities",
    "rounds": "how often densities are averaged over atom and neighbours",
    "smooth": "how often logits are averaged so; 0: not at all",
    "width": "of the readout's hidden layers",
}
"""Setting of a model → its help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from lrcalc.information.phase_settings import DEFAULTS, DEFAULTS_SPECIES, Settings

    parser.add_argument(
        "--structures", nargs="+", required=True, metavar="FILE",
        help="perfect crystals, periodic, with their phase in the info key `phase`; several of a "
        "phase share its weight",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="M.pt", help="model file to write")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--species", action="store_true",
        help="tell species apart, lengths in Å (default: all atoms one species, in units of the "
        "cube root of the volume per atom)",
    )  # fmt: skip
    for name, told in MODEL.items():
        value = DEFAULTS[name]
        shown = f"{value:g}"
        if name == "cutoff":
            shown += f", with --species {DEFAULTS_SPECIES[name]:g} Å"
        model.add_argument(
            flag(name), type=type(value), metavar="N", help=f"{told} (default {shown})"
        )
    how = parser.add_argument_group("training")
    for name, told in MEANING.items():
        value = getattr(Settings(), name)
        how.add_argument(flag(name), type=type(value), default=value, help=told)
    how.add_argument(
        "--noise", nargs=2, type=float, default=Settings().noise, metavar=("LOW", "HIGH"),
        help="standard deviation of a component of the displacements, in units of the distance of "
        "nearest neighbours (default 0.01 0.25)",
    )  # fmt: skip
    how.add_argument(
        "--favour", nargs="+", default=[], metavar="PHASE=N",
        help="phases that come N times as often as others, and are preferred in doubt",
    )  # fmt: skip
    how.add_argument(
        "--start", metavar="NAME|M.pt",
        help="begin with the weights of this model; `--rounds` may be more than it has, and "
        "`--steps 0` keeps its score",
    )  # fmt: skip
    how.add_argument("--restart", action="store_true", help="forget a training that was broken off")
    how.add_argument("--licence", default="not stated", help="of the model; goes into the card")
    how.add_argument(
        "--familiar-copies", type=int, default=8, metavar="N",
        help="noisy copies of each crystal by which atoms are told that are in none of them, "
        "see `lrcalc phases familiar`; 0: that is not learned",
    )  # fmt: skip
    how.add_argument(
        "--validate-copies", type=int, default=4, metavar="N",
        help="noisy copies of each crystal that validate, for each noise level",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Train, validate, write model, curve, tables and picture."""
    import torch

    from lrcalc.commands._phases_familiar import learned
    from lrcalc.information.phase_crystals import stack
    from lrcalc.information.phase_report import curve_file, report
    from lrcalc.information.phase_settings import Settings
    from lrcalc.information.phase_training import train
    from lrcalc.information.phase_validation import validate
    from lrcalc.information.phases import save
    from lrcalc.models.requests import check_device
    from lrcalc.structures import read_structures

    output = checked(args)
    check_device(args.device)
    frames = [atoms for name in args.structures for atoms in read_structures(name)]
    for number, atoms in enumerate(frames):
        if "phase" not in atoms.info:
            raise ValueError(
                f"structure {number} of {', '.join(args.structures)} does not say its phase: give "
                'each the info key `phase`, in extended xyz phase="fcc" in the second line'
            )
    torch.manual_seed(args.seed)
    model, known = _model_of(args, frames)
    phases = list(model.phases)
    settings = Settings(
        noise=tuple(args.noise), start=args.start and Path(args.start).name,
        **{n: getattr(args, n) for n in MEANING},
    )  # fmt: skip
    state = output.with_suffix(".state.pt")
    if args.restart:
        state.unlink(missing_ok=True)
    count = sum(p.numel() for p in model.parameters())
    print(f"{len(frames)} crystals of {len(phases)} phases, {count} parameters")
    started = time.perf_counter()
    weights = weights_of(frames, favoured(args.favour, phases))
    model, curve = train(frames, model, settings, weights=weights, known=known, state_file=state)
    minutes = (time.perf_counter() - started) / 60
    curve_file(curve, output.with_suffix(".csv"))
    done = {name: rows[-1][0] if rows else 0 for name, rows in curve.items()}
    model.metadata = {
        "phases": phases, "licence": args.licence, "steps": done, "minutes": minutes,
        "structures": [Path(name).name for name in args.structures],
        "training": {k: v for k, v in settings._asdict().items() if k != "device"},
    }  # fmt: skip
    if args.familiar_copies:
        learned(model, frames, copies=args.familiar_copies, seed=args.seed)
    save(model, output)
    crystals = stack(frames, model.requires_grad_(False), device=args.device)
    found = validate(model, crystals, steps=2, copies=args.validate_copies)
    files = report(found, model, output)
    print(f"{output} ({output.stat().st_size / 1e3:.0f} kB): {done} steps in "
          f"{minutes:.1f} min; {', '.join(map(str, files))}")  # fmt: skip
    return 0


def checked(args: argparse.Namespace) -> Path:
    """Refuse numbers and an output that no run could use."""
    output = Path(args.out)
    if output.suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"no folder {output.parent} for `--out`; make it first")
    for name in (
        "steps",
        "label_steps",
        "batch_atoms",
        "crystal_atoms",
        "label_crystals",
        "learning_rate",
        "validate_copies",
        *MODEL,
    ):
        value = getattr(args, name)
        allowed = value is None or 0 < value < math.inf or (name in MAY_BE_ZERO and value == 0)
        if not allowed:
            raise ValueError(f"`{flag(name)}` is {value} but must be positive and finite")
    for name in ("max_minutes", "seed", "familiar_copies"):
        if not getattr(args, name) >= 0:
            raise ValueError(f"`{flag(name)}` is {getattr(args, name)} but must be 0 or more")
    for name in ("weight_decay", "strain"):
        if not 0 <= getattr(args, name) < 1:
            raise ValueError(
                f"`{flag(name)}` is {getattr(args, name):g} but must be 0 or more, and below 1"
            )
    if not 0 <= args.ema < 1:
        raise ValueError(f"`--ema` is {args.ema:g} but must be 0 (no average) or more, below 1")
    if not 0 < args.label_share < 1:  # a part without minutes would be one without a limit
        raise ValueError(f"`--label-share` is {args.label_share:g} but must be above 0, below 1")
    low, high = args.noise
    if not 0 < low < high < 1:
        raise ValueError(f"`--noise` is {low:g} {high:g} but must be 0 < LOW < HIGH < 1")
    return output


def _model_of(args: argparse.Namespace, frames: list[Any]) -> tuple[PhaseModel, int]:
    """Return the model to train, and how many of its invariants are known."""
    from lrcalc.information.phase_labels import UNKNOWN
    from lrcalc.information.phase_start import begun
    from lrcalc.information.phases import PhaseModel, load

    phases = list(dict.fromkeys(str(atoms.info.get("phase")) for atoms in frames))
    if UNKNOWN in phases:
        raise ValueError(
            f"a phase of the structures is called {UNKNOWN!r}, which is what atoms are called that "
            "are in none of them; give it another name"
        )
    species = sorted({int(z) for atoms in frames for z in atoms.numbers}) if args.species else ()
    chosen = {
        name: value for name in MODEL
        if (value := getattr(args, name)) is not None
    }  # fmt: skip
    if args.start is None:
        return PhaseModel(phases, tuple(species), **chosen), 0
    old = load(args.start)
    return begun(old, phases, tuple(species), **chosen), len(old.backbone.mean)


MAY_BE_ZERO = ("smooth", "rounds", "lmax", "steps")


def favoured(words: list[str], phases: list[str]) -> dict[str, float]:
    """``["fcc=4"]`` → how often each phase comes."""
    found = dict.fromkeys(phases, 1.0)
    for word in words:
        name, _, number = word.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = 0.0
        if name not in found or not 0 < value < math.inf:
            raise ValueError(
                f"`--favour` has {word!r} but takes PHASE=N with N above 0 and a phase of the "
                f"structures: {', '.join(phases)}"
            )
        found[name] = value
    return found


def weights_of(frames: list[Any], favour: dict[str, float]) -> list[float]:
    """Weight of each frame: those of a phase share that of the phase."""
    names = [str(atoms.info.get("phase")) for atoms in frames]
    return [favour[name] / names.count(name) for name in names]


TRAIN = Part(
    "train a model of phases on perfect crystals under noise",
    "lrcalc phases train --structures crystals.xyz --out mine.pt",
    add_arguments,
    run,
)
