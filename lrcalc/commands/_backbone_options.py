"""Options of `lrcalc train` that say what describes the surroundings of an atom."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lrcalc.models.options import NATIVE_DEFAULTS, PRESETS, WHOLE_MODELS

if TYPE_CHECKING:
    from lrcalc.commands._options import Group
    from lrcalc.training.pretrained import Pretrained

OWN = {
    "cutoff": "of neighbours, Å",
    "channels": "features of an atom",
    "hidden": "width of the hidden layers",
    "layers": "rounds of messages: 2 hears what neighbours have heard, out to twice the cutoff",
}
"""Settings of the native backbone that are options, and their help."""


def add_backbone_arguments(group: Group) -> None:
    """Declare them."""
    sizes = (
        f"{name}: {', '.join(f'{key} {value}' for key, value in preset.items())}"
        for name, preset in PRESETS.items()
    )
    group.add_argument(
        "--preset",
        choices=list(PRESETS),
        help=f"size of the native backbone, over which the options below have the last word "
        f"({'; '.join(sizes)}; docs/models.md has their errors and costs)",
    )
    for name, meaning in OWN.items():
        value = NATIVE_DEFAULTS[name]
        others = ", or the backbone's" if name == "cutoff" else ""
        group.add_argument(
            f"--{name}", type=type(value), help=f"{meaning} (default {value:g}{others})"
        )
    group.add_argument(
        "--backbone",
        default="native",
        metavar="NAME",
        help="what describes the surroundings of an atom: native, mace, nequip, allegro, or "
        "another package's",
    )
    group.add_argument(
        "--backbone-options",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="its settings, e.g. hidden_irreps='32x0e + 32x1o' num_interactions=2",
    )
    group.add_argument(
        "--backbone-file",
        metavar="FILE",
        help="start from a trained one: a model file of lrcalc with this backbone, MACE's own, or "
        "a checkpoint (.ckpt) or package (.nequip.zip) of nequip",
    )
    group.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read a --backbone-file that is a pickle, which could run anything",
    )
    group.add_argument(
        "--freeze",
        action="store_true",
        help="leave the backbone of the file as it is: only the readout is trained",
    )


def backbone_config(args: argparse.Namespace) -> tuple[dict[str, Any], Pretrained | None]:
    """Return the name (unless native) and all settings of the backbone, and what its file says.

    Raises
    ------
    ValueError
        For an unknown backbone or setting, or options that exclude one another.
    """
    from lrcalc.models.backbone import BACKBONES, NATIVE, find_backbone

    name = args.backbone
    if name in WHOLE_MODELS:
        others = ", ".join(sorted(set(BACKBONES) - set(WHOLE_MODELS)))
        raise ValueError(
            f"`--backbone` is {name!r}: a whole model with energies of its own, which `lrcalc "
            f"convert` makes and nothing trains; those that can be trained are {others}"
        )
    defaults = dict(find_backbone(name).defaults)
    if "cutoff" not in defaults:
        raise ValueError(f"the backbone {name!r} has no setting `cutoff`: `lrcalc train` needs one")
    if args.preset and (name != NATIVE or args.backbone_file):
        other = args.backbone_file or repr(name)
        raise ValueError(
            f"`--preset` is {args.preset}, a size of the native backbone, but {other} has its own; "
            "leave it out"
        )
    given = {key: getattr(args, key) for key in OWN if getattr(args, key) is not None}
    given = PRESETS.get(args.preset, {}) | given
    for key in given:
        if key not in defaults:
            raise ValueError(
                f"--{key} is a setting of the native backbone; {name!r} has --backbone-options "
                f"with {', '.join(sorted(defaults))}"
            )
    given |= parsed(args.backbone_options, defaults, name)
    settings, pretrained = {**defaults, **given}, None
    if args.backbone_file:
        from lrcalc.training.pretrained import read_pretrained

        pretrained = read_pretrained(name, args.backbone_file, trust_pickle=args.trust_pickle)
        settings = pretrained.settings
        for key, value in given.items():
            if not _same(value, settings[key]):
                stated = "does not state it" if settings[key] is None else f"has {settings[key]}"
                raise ValueError(
                    f"`{key}` is {value} but {args.backbone_file} {stated}; leave it out: a file "
                    "has its own settings"
                )
    elif args.freeze or args.trust_pickle:
        option = "--freeze" if args.freeze else "--trust-pickle"
        raise ValueError(f"{option} says what to do with a --backbone-file: give one")
    return ({} if name == NATIVE else {"backbone": name}) | settings, pretrained


def preset_told(name: str | None, config: Mapping[str, Any]) -> str:
    """Name of the preset for the card, and what of it was overruled; empty where there is none."""
    if not name:
        return ""
    other = [f"{k} {config[k]}" for k, value in PRESETS[name].items() if config[k] != value]
    return name + (f" with {', '.join(other)}" if other else "")


def parsed(options: list[str], defaults: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Turn ``key=value`` into settings: values as JSON writes them, or words.

    Raises
    ------
    ValueError
        For what is not so, an unknown key, or a value of another kind than the default.
    """
    settings = {}
    for option in options:
        key, equals, text = option.partition("=")
        if not equals:
            raise ValueError(f"--backbone-options has {option!r} but wants key=value")
        if key not in defaults:
            raise ValueError(f"the backbone {name!r} has no {key!r}; it has: {sorted(defaults)}")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if not _alike(value, defaults[key]):
            raise ValueError(
                f"`{key}` is {text} but must be like {json.dumps(defaults[key])}, its default"
            )
        settings[key] = value
    return settings


def _same(value: Any, other: Any) -> bool:
    """Whether a setting is what a file has, which may have it in single precision."""
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-6)
    return bool(value == other)


def _alike(value: Any, default: Any) -> bool:
    """Whether a value may stand where the default does; a list may where a number may."""
    if default is None or isinstance(value, list):
        return not isinstance(default, bool | str)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)
