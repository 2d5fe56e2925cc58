"""What `lrcalc train` starts from: files split into parts, options of the model, its card."""

from __future__ import annotations

import argparse
import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lrcalc import __version__
from lrcalc.commands import _options
from lrcalc.commands._backbone_options import backbone_config, preset_told
from lrcalc.models.card import PRESSURE_OFFSET
from lrcalc.models.options import BROAD_TRANSFERS, CONTACTS
from lrcalc.training.settings import LEARNING_RATES, TrainingSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrcalc.training.data import Frame
    from lrcalc.training.pretrained import Pretrained

FITTED = tuple(
    key for key in TrainingSettings._fields if key not in ("energy_boost", "learning_rate")
)
"""Settings that have an option with the default of `TrainingSettings`."""


class Prepared(NamedTuple):
    """What a training starts from.

    Attributes
    ----------
    split : dict
        As `lrcalc.training.split.read_split` gives it.
    config : dict
        Options of the potential.
    settings : TrainingSettings
    pretrained : Pretrained or None
    metadata : dict
        Card of the model.
    """

    split: dict[str, Any]
    config: dict[str, Any]
    settings: TrainingSettings
    pretrained: Pretrained | None
    metadata: dict[str, Any]


def prepare(args: argparse.Namespace, frames: slice) -> Prepared:
    """Read backbone and data, and say what is trained on; refuse what excludes one another."""
    from lrcalc.training.charge_family import (
        OXIDATION,
        check_oxidation,
        check_seen,
        check_signs,
        choose_charges,
        odd_signs,
        parse_oxidation,
    )
    from lrcalc.training.electrical import describe_labelled, wanted_labels
    from lrcalc.training.permittivity import permittivity_of
    from lrcalc.training.split import read_split

    backbone, pretrained = backbone_config(args)
    config = {
        key: getattr(args, key)
        for key in ("level", "charges", "smearing", "k_cutoff", "anisotropic", "prior")
    } | backbone
    if args.transfer_hops > 1:
        config |= {"transfer_hops": args.transfer_hops, **BROAD_TRANSFERS}
    rate = chosen_rate(args)
    settings = TrainingSettings(
        learning_rate=args.learning_rate, **{key: getattr(args, key) for key in FITTED}
    )
    split = read_split(
        args.train, args.valid, config["cutoff"], args.valid_every, args.test_every,
        allow_images=args.allow_images, keys=_options.label_keys(args), level=args.level,
        frames=frames,
        max_force=math.inf if args.max_force is None else args.max_force,
        wanted=wanted_labels(settings, args.level),
    )  # fmt: skip
    epsilon = permittivity_of(split["stated"], args.epsilon_infinity, args.level)
    warnings = [f"warning: {w}" for w in split["warnings"]]
    config["charges"], reason = choose_charges(args.charges, split["training"], args.level)
    if args.transfer_hops > 1 and config["charges"] == "atomic":
        raise ValueError(
            f"`--transfer-hops` is {args.transfer_hops}, but atomic charges are handed to nobody"
            f"{f' ({reason})' if reason else ''}; give --charges local, or leave it out"
        )
    states = parse_oxidation(args.oxidation_states)
    check_seen(states, split["training"])
    check_oxidation(states, config["charges"], args.level, split["training"])
    labelled = [*split["labelled"], *split["labelled_validation"]]
    check_signs(states, labelled)
    warnings += [f"warning: {w}" for w in odd_signs(states, labelled)]
    choice = f"charges: {config['charges']} ({reason})"
    for line in [*split["notes"], *warnings, *epsilon.lines, *[choice] * bool(reason), *rate]:
        print(line)
    if args.pressure_offset:
        for part in ("training", "validation", "test"):
            split[part] = [with_pressure(f, args.pressure_offset) for f in split[part]]
    config |= repulsions(args, split["training"], float(config["cutoff"]))
    print(f"{len(split['training'])} training, {len(split['validation'])} validation, "
          f"{len(split['test'])} test frames"
          f"{describe_labelled(split['labelled'])}")  # fmt: skip
    metadata = {
        "epsilon_infinity": epsilon.value,
        "epsilon_infinity_from": epsilon.origin,
        **({"charges_from": reason} if reason else {}),
        **({OXIDATION: states} if states else {}),
        "preset": preset_told(args.preset, config),
        "data": [Path(f).name for f in args.train],
        **({PRESSURE_OFFSET: args.pressure_offset} if args.pressure_offset else {}),
        "source": args.source,
        "licence": args.licence,
        "kept_out": _options.kept_out(args),
        "trained_on": split["hashes"],
        "lrcalc": __version__,
        "command": command_line(args),
    }
    return Prepared(split, config, settings, pretrained, metadata)


def with_pressure(frame: Frame, offset: float) -> Frame:
    """Return the frame with ``offset`` (GPa) added to the pressure of its label, if it has one."""
    import torch
    from ase.units import GPa

    if frame.stress is None:
        return frame
    unit = torch.eye(3, dtype=frame.stress.dtype)
    return frame._replace(stress=frame.stress - offset * GPa * unit)


def repulsions(args: argparse.Namespace, train: Sequence[Frame], cutoff: float) -> dict[str, Any]:
    """Options of prior and wall, which depend on how close atoms come in the training frames."""
    from lrcalc.models.wall import bonded, wall_starts
    from lrcalc.training.walls import distances_of

    species = sorted({int(z) for f in train for z in f.system.numbers.tolist()})
    shortest = distances_of(train, species)
    out: dict[str, Any] = {}
    if args.prior == CONTACTS:
        out |= {"prior": "zbl", "prior_between": (~bonded(shortest, species)).tolist()}
    if args.wall:
        out["wall"] = wall_starts(shortest, species, cutoff)
    return out


def chosen_rate(args: argparse.Namespace) -> list[str]:
    """Set a learning rate that was not given to the backbone's; say so where it is not ours."""
    usual = TrainingSettings().learning_rate
    if args.learning_rate is not None:
        return []
    args.learning_rate = LEARNING_RATES.get(args.backbone, usual)
    if args.learning_rate == usual:
        return []
    return [
        f"learning rate: {args.learning_rate:g}, as is good for the backbone {args.backbone!r} "
        f"(others {usual:g}); --learning-rate sets it"
    ]


def command_line(args: argparse.Namespace) -> str:
    """Reconstruct the command, with file names but not the folders of this machine."""
    words = ["lrcalc train"]
    for key, value in sorted(vars(args).items()):
        if key in ("command", "run", "restart", "out"):
            continue
        if value is None or value is False or value in ([], ""):  # but not 0, which is a setting
            continue
        flag = "--" + key.replace("_", "-")
        if key in ("train", "valid", "backbone_file"):
            files = value if isinstance(value, list) else [value]
            words.append(flag + " " + " ".join(Path(f).name for f in files))
        elif isinstance(value, list):
            words.append(" ".join([flag, *(shlex.quote(v) for v in value)]))
        elif value is True:
            words.append(flag)
        else:
            words.append(f"{flag} {json.dumps(value) if ' ' in str(value) else value}")
    return " ".join(words)
