"""`lrcalc evaluate`: errors of a model on a data file."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lrcalc.training.polarizability import LOCAL_FIELDS
from lrcalc.training.polarizability import UNITS as POLARIZABILITY_UNITS

NAME = "evaluate"
HELP = "errors of a model on an extended xyz file: energy, forces, stress, Born charges, …"
EXAMPLE = "lrcalc evaluate water frames.xyz.gz --json errors.json"

UNITS = {
    "energy": (1e3, "meV/atom"),
    "energy_shifted": (1e3, "meV/atom"),
    "forces": (1e3, "meV/Å"),
    "stress": (1e3, "meV/Å³"),
    "born": (1.0, "e"),
    "born_diagonal": (1.0, "e"),
    "born_offdiagonal": (1.0, "e"),
    "polarizability_isotropic": (1.0, "e Å²/V"),
    "polarizability_anisotropic": (1.0, "e Å²/V"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file")
    parser.add_argument("data", help="extended xyz, .gz allowed; Born charges in column REF_born")
    parser.add_argument("--json", metavar="OUT", help="write the figures to this file")
    parser.add_argument("--frames", default=":", help="frames to use, as in Python (3::7)")
    parser.add_argument(
        "--polarizability-unit",
        choices=sorted(POLARIZABILITY_UNITS),
        help="also compare polarizabilities (REF_polarizability), which are in this unit",
    )
    parser.add_argument("--local-field", default="none", choices=LOCAL_FIELDS,
                        help="of these polarizabilities, as for fit-polarizability")  # fmt: skip
    parser.add_argument("--epsilon-infinity", type=float, help="instead of the model's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])


def run(args: argparse.Namespace) -> int:
    """Evaluate, print a table for kept-out and for training frames, write JSON."""
    from lrcalc.evaluation import collect, summarise
    from lrcalc.evaluator import Evaluator
    from lrcalc.training.data import fingerprint, read_structures
    from lrcalc.training.polarizability import reference_polarizability

    evaluator = Evaluator(
        args.model, device=args.device, dtype=args.dtype, epsilon_infinity=args.epsilon_infinity
    )
    structures = read_structures(args.data)
    indices = range(len(structures))[parse_slice(args.frames)]
    if not indices:
        raise ValueError(f"`--frames` {args.frames!r} selects none of {len(structures)} frames")
    card = evaluator.potential.metadata
    seen = {*card.get("trained_on", []), *card.get("polarizability", {}).get("trained_on", [])}

    def polarizability(atoms: Any) -> Any:
        unit = args.polarizability_unit
        return reference_polarizability(atoms, unit, args.local_field) if unit else None

    groups: dict[str, list[int]] = {"kept_out": [], "training": []}
    for k in indices:
        groups["training" if fingerprint(structures[k]) in seen else "kept_out"].append(k)
    report: dict[str, Any] = {"model": str(args.model), "data": Path(args.data).name}
    with tqdm(total=len(indices), unit="frame", dynamic_ncols=True) as bar:
        for group, members in groups.items():
            if not members:
                continue
            values = collect(
                evaluator,
                [structures[k] for k in members],
                lambda: bar.update() or None,
                polarizability,
            )
            report[group] = {
                "frames": members,
                **{k: v._asdict() for k, v in summarise(values).items()},
            }
    print(table(report))
    if args.json:
        temporary = Path(f"{args.json}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(report, indent=1) + "\n")
        os.replace(temporary, args.json)
        print(f"wrote {args.json}")
    return 0


def table(report: dict[str, Any]) -> str:
    """Human-readable table of the report."""
    lines = []
    for group, title in (("kept_out", "not trained on"), ("training", "trained on")):
        if group not in report:
            continue
        frames = report[group]["frames"]
        shown = ", ".join(map(str, frames)) if len(frames) <= 15 else f"{len(frames)} frames"
        lines.append(f"\n{title}: {shown} of {report['data']}")
        lines.append(f"{'':27}{'n':>9}{'RMSE':>10}{'MAE':>10}{'R²':>9}")
        for name, (factor, unit) in UNITS.items():
            if name in report[group]:
                e = report[group][name]
                lines.append(
                    f"{name:27}{e['n']:9d}{factor * e['rmse']:10.4g}"
                    f"{factor * e['mae']:10.4g}{e['r2']:9.4f}  {unit}"
                )
    lines.append("energy_shifted leaves out a constant offset between data and model")
    return "\n".join(lines)


def parse_slice(text: str) -> slice:
    """'3::7' → slice(3, None, 7); '5' → the one frame."""
    try:
        parts = [int(p) if p else None for p in text.split(":")]
    except ValueError:
        raise ValueError(f"`--frames` is {text!r} but must look like 3, 3:10 or 3::7") from None
    if len(parts) == 1 and parts[0] is not None:
        return slice(parts[0], parts[0] + 1 or None)
    if not 2 <= len(parts) <= 3:
        raise ValueError(f"`--frames` is {text!r} but must look like 3, 3:10 or 3::7")
    return slice(*parts)
