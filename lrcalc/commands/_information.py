"""Options that the commands about information share."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from lrcalc.commands._options import frames_of

if TYPE_CHECKING:
    from ase import Atoms

    from lrcalc.information.descriptors import Form
    from lrcalc.information.reference import Reference

K, CUTOFF = 32, 5.0
"""As QUESTS."""


def add_frames_argument(parser: argparse.ArgumentParser) -> None:
    """Declare which frames are looked at."""
    parser.add_argument(
        "--frames", default=":", metavar="INDEX",
        help="frames of each file, as in ASE: 3, :100, ::10",
    )  # fmt: skip


def add_bandwidth_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the bandwidth of a reference that is made of data."""
    parser.add_argument(
        "--bandwidth", type=float, metavar="H",
        help="of the kernel, 1/Å (default: where unseen frames of the data have δH 0)",
    )  # fmt: skip


def add_descriptor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what a descriptor is made of."""
    how = parser.add_argument_group("environments")
    how.add_argument("-k", "--nearest", type=int, metavar="K", help=f"neighbours (default {K})")
    how.add_argument("--cutoff", type=float, metavar="R", help=f"Å (default {CUTOFF:g})")
    how.add_argument(
        "--components", action="store_true",
        help="also columns of neighbours of the same species alone",
    )  # fmt: skip


def form_of(args: argparse.Namespace) -> Form:
    """Return the form of descriptors that was asked for."""
    from lrcalc.information.descriptors import Form, check_form

    cutoff = CUTOFF if args.cutoff is None else args.cutoff
    return check_form(Form(K if args.nearest is None else args.nearest, cutoff, args.components))


def frames_given(name: str, index: str) -> Iterator[Atoms]:
    """Frames of a file that ``--frames`` names."""
    from lrcalc.information.intake import frames_of_file

    return frames_of_file(name, frames_of(index))


def reference_given(args: argparse.Namespace) -> Reference:
    """Return the reference of a model or of data, of the form and bandwidth that were asked for.

    Raises
    ------
    ValueError
        If a model's reference is of another form or bandwidth.
    """
    from lrcalc.information.intake import frames_of_file, kind_is_model, open_reference
    from lrcalc.information.reference import make_reference

    if not any(kind_is_model(name) for name in args.reference):
        frames = [atoms for name in args.reference for atoms in frames_of_file(name)]
        return make_reference(
            frames, form_of(args), h=args.bandwidth, about={"data": list(args.reference)}
        )
    found = open_reference(args.reference)
    there = {"nearest": found.form.k, "cutoff": found.form.cutoff, "bandwidth": found.h,
             "components": found.form.components or None}  # fmt: skip
    for name, value in there.items():
        given = getattr(args, name)
        if given is not None and given is not False and given != value:
            told = "none" if value is None else value
            raise ValueError(
                f"`--{name}` is {given} but the reference of {args.reference[0]} was made with "
                f"{told}: leave it out, or give the data"
            )
    return found


def frames_of_card(
    args: argparse.Namespace, known: set[str], species: Collection[int]
) -> list[Atoms]:
    """Frames of ``--data``; only those among the ``known`` hashes, unless ``--every-frame``.

    Raises
    ------
    ValueError
        If there are known ones and none is among the frames; for elements that are not among the
        model's ``species``.
    """
    from lrcalc.hashing import structure_hash
    from lrcalc.structures.species import find_unknown, refuse_unknown

    files = {name: list(enumerate(frames_given(name, args.frames))) for name in args.data}
    count = sum(map(len, files.values()))
    chosen = bool(known) and not args.every_frame
    if chosen:
        files = {
            name: [(k, atoms) for k, atoms in frames if structure_hash(atoms) in known]
            for name, frames in files.items()
        }
    there = [atoms for frames in files.values() for _, atoms in frames]
    if not there:
        raise ValueError(
            f"none of the {count} frames is among the {len(known)} that "
            f"{args.model} was trained on; give these, or say --every-frame"
        )
    refuse_unknown([find_unknown(x, species, name) for name, x in files.items()], species)
    if chosen:
        print(f"{len(there)} of {count} frames are among the {len(known)} trained on")
    return there
