"""`lrcalc reference`: give a model file the environments that it was trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrcalc.commands._information import (
    add_descriptor_arguments,
    add_frames_argument,
    form_of,
    frames_of_card,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE",
                        help="what it was trained on")  # fmt: skip
    add_frames_argument(parser)
    add_descriptor_arguments(parser)
    parser.add_argument("--every-frame", action="store_true",
                        help="also frames that the card does not call trained on")  # fmt: skip
    parser.add_argument("-o", "--out", required=True, metavar="M.pt",
                        help="model file to write; weights and card stay as they are")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Make the reference, write the file."""
    from lrcalc.checkpoint import load, model_path, read_tensors, write_tensors
    from lrcalc.information.carried import carried

    form = form_of(args)
    path = model_path(args.model)
    if Path(args.out).suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    content = read_tensors(path)
    frames = frames_of_card(args, trained_on(content), content["species"])
    found = carried(load(path), frames, form, about={"data": [Path(n).name for n in args.data]})
    reference = found.reference
    extra = set(content["species"]) - set(reference.species)
    if extra:
        print(f"warning: the data have no atoms of number {sorted(extra)}, which the model knows")
    if found.told:
        print(f"warning: {found.told}")
    content["environments"] = found.content
    write_tensors(content, args.out)
    kept = sum(map(len, reference.environments.values()))
    print(
        f"wrote {args.out}: {kept} of {sum(reference.about['environments'].values())} "
        f"environments, bandwidth {reference.h:.4g} 1/Å, "
        f"{(Path(args.out).stat().st_size - path.stat().st_size) / 1e3:+.0f} kB"
    )
    return 0


def trained_on(content: dict) -> set[str]:
    """Hashes of the frames that a model's card calls trained on."""
    import json

    return set(json.loads(content.get("metadata", "{}")).get("trained_on") or ())
