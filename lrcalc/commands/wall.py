"""`lrcalc wall`: give a finished model a wall below the distances that it was trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from lrcalc.commands._information import add_frames_argument, frames_of_card


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file; stays as it is")
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE",
                        help="what it was trained on")  # fmt: skip
    add_frames_argument(parser)
    parser.add_argument("--every-frame", action="store_true",
                        help="also frames that the card does not call trained on")  # fmt: skip
    parser.add_argument("-o", "--out", required=True, metavar="M.pt",
                        help="model file to write; weights and card stay as they are")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Find the shortest distances, write the file."""
    from lrcalc.checkpoint import load, save
    from lrcalc.commands.info import described_wall
    from lrcalc.models.wall import wall_starts
    from lrcalc.neighbors import build_pairs
    from lrcalc.system import from_ase
    from lrcalc.training.data import Frame
    from lrcalc.training.walls import distances_of

    if Path(args.out).suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    potential = load(args.model)
    frames = frames_of_card(
        args, set(potential.metadata.get("trained_on") or ()), potential.species
    )

    def framed(atoms: object) -> Frame:
        system = from_ase([atoms])
        pairs = build_pairs(system, potential.cutoff)
        return Frame(system, pairs, 0.0, system.positions, None, 0)

    shortest = distances_of(map(framed, frames), potential.species)
    potential.set_wall(wall_starts(shortest, potential.species, potential.cutoff))
    save(potential, args.out)
    print(f"wrote {args.out}: {described_wall(potential.config['wall'], potential.species)}")
    return 0
