"""`lrcalc evaluate`: errors of a model on a data file."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lrcalc.commands import _options
from lrcalc.files import replacing
from lrcalc.models.card import PRESSURE_OFFSET
from lrcalc.progress import progress_bar
from lrcalc.properties import PROPERTIES
from lrcalc.training.settings import LOCAL_FIELDS, POLARIZABILITY_KEYS, POLARIZABILITY_UNITS

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.evaluator import Evaluator
    from lrcalc.structures.species import Unknown
    from lrcalc.training.labels import LabelKeys

GROUPS = {
    "kept_out": "not trained on",
    "training": "trained on",
    "unknown": "trained on or not, which the model's file does not say",
}
"""Frames, by what the model's card knows of them; that of a converted file knows nothing."""

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
    parser.add_argument(
        "--frames", default=":", metavar="INDEX", help="frames to use, as in ASE: 3, :100, 3::7"
    )
    parser.add_argument(
        "--polarizability-unit",
        choices=sorted(POLARIZABILITY_UNITS),
        help="also compare polarizabilities (REF_polarizability), which are in this unit",
    )
    parser.add_argument(
        "--local-field",
        choices=LOCAL_FIELDS,
        help="of these polarizabilities, as for fit-polarizability (default none)",
    )
    parser.add_argument(
        "--skip-unknown",
        action="store_true",
        help="leave out frames with elements that the model does not know",
    )
    _options.add_label_arguments(parser)
    parser.add_argument("--epsilon-infinity", type=float, help="instead of the model's")
    parser.add_argument("--device", default="cpu", help="torch device: cpu, cuda, …")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"],
                        help="precision")  # fmt: skip
    parser.add_argument("--compile", action="store_true", help=_options.COMPILE)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print a table for each of the `GROUPS`, write JSON."""
    from lrcalc.evaluator import Evaluator
    from lrcalc.model_errors import has_charges
    from lrcalc.models.card import electric_notes
    from lrcalc.training.data import read_structures
    from lrcalc.training.remarks import describe_labels
    from lrcalc.training.unlike import describe_units

    steps = _options.frames_of(args.frames)
    keys = _options.label_keys(args)
    polarizability_unit(args, keys)
    if args.local_field and not args.polarizability_unit:
        raise ValueError(
            f"`--local-field` {args.local_field} is about polarizabilities, which are compared "
            "only with --polarizability-unit; give it too"
        )
    evaluator = Evaluator(
        args.model, device=args.device, dtype=args.dtype, epsilon_infinity=args.epsilon_infinity,
        compile=args.compile,
    )  # fmt: skip
    structures = read_structures(args.data, keys)
    indices = range(len(structures))[steps]
    if not indices:
        raise ValueError(f"`--frames` {args.frames!r} selects none of {len(structures)} frames")
    card = evaluator.potential.metadata
    chosen, skipped = known_alone({k: structures[k] for k in indices}, args, evaluator)
    for k, atoms in chosen.items():
        check_reference(atoms, args.data, k)
    alphas = polarizabilities(chosen, args)
    left_out = unread(chosen, args) + without_charges(chosen, evaluator)
    if skipped.frames:
        print(f"note: left out: {skipped}")
    if left_out:
        print(f"note: left out: {', '.join(left_out)}")
    for line in [
        *offset_pressures(chosen.values(), card),
        *describe_labels(list(chosen.values()), keys),
        *describe_units(list(chosen.values())),
        *unlike_permittivity(chosen, args, evaluator.epsilon_infinity),
        *electric_notes(
            card, args.epsilon_infinity, matter=any(a.pbc.all() for a in chosen.values())
        )[: None if has_charges(evaluator) else 0],
    ]:
        print(f"note: {line}")
    found, misfits = compared(evaluator, chosen, alphas)
    report = {"model": str(args.model), "data": Path(args.data).name, **found}
    report |= {"left_out": skipped.numbers} if skipped.frames else {}
    print(table(report))
    for line in sorted(misfits):
        print(f"warning: {line}")
    if args.json:
        with replacing(args.json) as temporary:
            temporary.write_text(json.dumps(plain(report), indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    return 0


def known_alone(
    chosen: Mapping[int, Atoms], args: argparse.Namespace, evaluator: Evaluator
) -> tuple[dict[int, Atoms], Unknown]:
    """Frames whose elements the model knows, and those that `--skip-unknown` leaves out.

    Raises
    ------
    ValueError
        If there are unknown elements and they are not to be left out, or nothing is left.
    """
    from lrcalc.structures.species import find_unknown, refuse_unknown

    species = evaluator.potential.species
    found = find_unknown(chosen.items(), species, str(args.data))
    gone = set(found.numbers)
    if not args.skip_unknown or len(gone) == len(chosen):
        refuse_unknown([found], species, way_out="take a model for them" + (
            "" if len(gone) == len(chosen) else ", or leave these frames out: --skip-unknown"
        ))  # fmt: skip
    return {k: atoms for k, atoms in chosen.items() if k not in gone}, found


def offset_pressures(structures: Iterable[Atoms], card: Mapping[str, Any]) -> list[str]:
    """Add to the pressures of the labels what was added in training; say so."""
    from ase.units import GPa

    offset = card.get(PRESSURE_OFFSET)
    labelled = [a for a in structures if a.calc is not None and "stress" in a.calc.results]
    if not offset or not labelled:
        return []
    for atoms in labelled:
        stress = np.array(atoms.calc.results["stress"], dtype=float)
        stress[:3] -= offset * GPa
        atoms.calc.results["stress"] = stress
    return [f"{offset:g} GPa are added to the pressures of the labels, as in the model's training"]


def polarizability_unit(args: argparse.Namespace, keys: LabelKeys) -> None:
    """Take ``--units polarizability=`` for what ``--polarizability-unit`` says, and one of them."""
    if "polarizability" not in keys.units:
        return
    if args.polarizability_unit:
        raise ValueError(
            f"`--polarizability-unit` {args.polarizability_unit} and `--units` polarizability are "
            "both given; give one of them"
        )
    args.polarizability_unit = "eA2/V"  # as the reader leaves them


def compared(
    evaluator: Evaluator, chosen: Mapping[int, Atoms], alphas: Mapping[int, Any]
) -> tuple[dict[str, Any], set[str]]:
    """Errors of each of the `GROUPS`; labels that do not fit the model."""
    from lrcalc.hashing import structure_hash
    from lrcalc.model_errors import collect, summarise
    from lrcalc.models.card import charges_known
    from lrcalc.training.labels import has_label
    from lrcalc.training.unlike import unlike_model

    card = evaluator.potential.metadata
    seen = {*card.get("trained_on", []), *card.get("polarizability", {}).get("trained_on", [])}
    told = "trained_on" in card or "trained_on" in card.get("polarizability", {})
    stranger = "kept_out" if told else "unknown"
    groups: dict[str, list[int]] = {group: [] for group in GROUPS}
    for k, atoms in chosen.items():
        groups["training" if structure_hash(atoms) in seen else stranger].append(k)
    report: dict[str, Any] = {}
    misfits: set[str] = set()
    with progress_bar(len(chosen), unit="frame") as bar:
        for group, members in groups.items():
            if not members:
                continue
            structures = [chosen[k] for k in members]
            values = collect(
                evaluator,
                structures,
                lambda: bar.update() or None,
                lambda atoms: alphas.get(id(atoms)),
            )
            numbers = [atoms.numbers for atoms in structures if has_label(atoms, "energy")]
            misfits |= set(unlike_model(values, structures, determined=charges_known(card)))
            errors = summarise(values, numbers)
            report[group] = {"frames": members, **{k: v._asdict() for k, v in errors.items()}}
    return report, misfits


def check_reference(atoms: Atoms, path: str, index: int) -> None:
    """Refuse a label that cannot be compared, naming the frame: one of them spoils all means."""
    from lrcalc.model_errors import BORN_KEYS
    from lrcalc.training.labels import check_labels_finite

    check_labels_finite(atoms, path, index)
    key = next((k for k in BORN_KEYS if k in atoms.arrays), None)
    if key is None:
        return
    value = np.asarray(atoms.arrays[key])
    if value.size != 9 * len(atoms):
        raise ValueError(
            f"{path}: frame {index}: {key} has {value.size // len(atoms)} numbers an atom but must "
            f"have 9 numbers, born[field, displacement] (column {key}:R:9)"
        )
    if not np.isfinite(value).all():
        raise ValueError(f"{path}: frame {index}: {key} is not finite; remove the frame")


def polarizabilities(chosen: Mapping[int, Atoms], args: argparse.Namespace) -> dict[int, Any]:
    """Polarizabilities (3, 3), e Å²/V, that were asked for, by the identity of the structure."""
    from lrcalc.training.labels import at_frame
    from lrcalc.training.polarizability import reference_polarizability

    found: dict[int, Any] = {}
    if not args.polarizability_unit:
        return found
    for k, atoms in chosen.items():
        with at_frame(args.data, k):
            alpha = reference_polarizability(
                atoms, args.polarizability_unit, args.local_field or "none"
            )
        if alpha is not None:
            found[id(atoms)] = alpha
    if not found:
        raise ValueError(
            f"{args.data} has no polarizability to compare; the comment lines need "
            f"{POLARIZABILITY_KEYS[1]}= or {POLARIZABILITY_KEYS[0]}= with nine numbers, or leave "
            "out --polarizability-unit"
        )
    return found


def unread(chosen: Mapping[int, Atoms], args: argparse.Namespace) -> list[str]:
    """Name labels that no option reads, with that option; refuse frames without any label.

    Raises
    ------
    ValueError
        If there is nothing to compare.
    """
    from lrcalc.model_errors import reference_born
    from lrcalc.training.labels import LABELS, alternatives, has_label, hint

    first, atoms = next(iter(chosen.items()))
    alphas = [key for key in POLARIZABILITY_KEYS if key in atoms.info]
    labels = any(has_label(a, name) for a in chosen.values() for name in LABELS)
    born = any(reference_born(a) is not None for a in chosen.values())
    if not (labels or born or args.polarizability_unit):
        raise ValueError(
            f"{args.data}: nothing to compare: frame {first} has neither energy= nor forces "
            f"(columns forces:R:3), stress= or Born charges (columns REF_born:R:9){hint(atoms)}"
            + (f"; for {alphas[0]} give --polarizability-unit" if alphas else "")
        )
    missing = alternatives(atoms).items()
    found = [f"{k} (--{name}-key {k})" for name, k in missing if name in ("energy", "forces")]
    if not args.polarizability_unit:
        found += [f"{key} (--polarizability-unit says its unit)" for key in alphas]
    return found


def without_charges(chosen: Mapping[int, Atoms], evaluator: Evaluator) -> list[str]:
    """Name electrical labels that a model without charges cannot be compared with."""
    from lrcalc.model_errors import has_charges, reference_born, reference_moments

    if has_charges(evaluator):
        return []
    found = {name for atoms in chosen.values() for name in reference_moments(atoms)}
    if any(reference_born(atoms) is not None for atoms in chosen.values()):
        found.add("Born charges")
    return [f"{name} (the model is short-ranged, without charges)" for name in sorted(found)]


def unlike_permittivity(
    chosen: Mapping[int, Atoms], args: argparse.Namespace, used: float
) -> list[str]:
    """Say that frames with Born charges state another ε_∞ than the one that scales the model's."""
    from lrcalc.model_errors import reference_born
    from lrcalc.training.permittivity import stated_permittivity

    stated = [
        float(tensor.trace()) / 3
        for k, atoms in chosen.items()
        if reference_born(atoms) is not None
        and (tensor := stated_permittivity(atoms, f"{args.data}: frame {k}")) is not None
    ]
    mean = float(np.mean(stated)) if stated else used
    if abs(mean - used) <= 0.05 * used:
        return []
    return [
        f"the frames state ε_∞ {mean:.4g}, but the model's Born charges are those at {used:.4g}; "
        f"--epsilon-infinity {mean:.4g} compares at theirs"
    ]


def plain(value: Any) -> Any:
    """Replace what JSON does not know, NaN and infinity, by null."""
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(report: dict[str, Any]) -> str:
    """Human-readable table of the report."""
    lines = []
    for group, title in GROUPS.items():
        if group not in report:
            continue
        frames = report[group]["frames"]
        shown = ", ".join(map(str, frames)) if len(frames) <= 15 else f"{len(frames)} frames"
        lines.append(f"\n{title}: {shown} of {report['data']}")
        lines.append(f"{'':27}{'n':>9}{'RMSE':>10}{'MAE':>10}{'R²':>11}")
        rest = {name: (1.0, p.unit) for name, p in PROPERTIES.items() if name not in UNITS}
        for name, (factor, unit) in {**UNITS, **rest}.items():
            if name in report[group]:
                e = report[group][name]
                lines.append(
                    f"{name:27}{e['n']:9d}{factor * e['rmse']:10.4g}"
                    f"{factor * e['mae']:10.4g}{e['r2']:11.4f}  {unit}"
                )
    if any("energy_shifted" in report.get(group, {}) for group in GROUPS):
        lines.append("energy_shifted leaves out a constant offset between data and model")
    if any("energy" in report.get(group, {}) for group in GROUPS):
        lines.append("R² of energies: of what the composition (an energy a species) leaves of them")
    return "\n".join(lines)
