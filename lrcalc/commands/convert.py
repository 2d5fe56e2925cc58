"""`lrcalc convert`: files of MACE, NequIP and Allegro to model files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrcalc.models.potential import Potential


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file",
        help="a pickled MACE, MACE-LES or MACE-POLAR model "
        "(.model), or a checkpoint (.ckpt) or package (.nequip.zip) of nequip",
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT.pt", help="model file to write")
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="read it although it is a pickle, which can hold a program; you know where it is from",
    )
    parser.add_argument("--head", metavar="NAME", help="which head of a model that has several")
    parser.add_argument(
        "--converge-k",
        action="store_true",
        help="sum charges to a converged k-cutoff; else to the one the model was trained with",
    )
    parser.add_argument(
        "--epsilon-infinity",
        type=float,
        default=1.0,
        metavar="X",
        help="electronic permittivity of the matter (water: 1.78), which scales dipoles and Born "
        "charges by its root; files do not have it",
    )
    parser.add_argument(
        "--flip-sign",
        action="store_true",
        help="turn the sign of all charges, which energies leave open: where Born charges of the "
        "most electronegative element come out positive",
    )
    parser.add_argument("--licence", help="of the file; goes into the card")


def run(args: argparse.Namespace) -> int:
    """Convert one file and say what it has become."""
    from ase.data import chemical_symbols

    from lrcalc.checkpoint import save
    from lrcalc.models.screening import screening_factor

    if not args.out.endswith(".pt"):
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    screening_factor({}, args.epsilon_infinity)  # refuses what is none
    potential = _converted(args)
    if args.licence:
        potential.metadata["licence"] = args.licence
    save(potential, args.out)
    config, symbols = potential.config, [chemical_symbols[z] for z in potential.species]
    charges = "energies alone: no dipoles, Born charges or fields"
    if potential.own_field:
        charges = "charges and energies in a field of its own, without periodic directions"
    elif potential.ewald is not None:
        how = "converged" if args.converge_k else "as trained"
        charges = (
            f"charges of σ = {config['smearing']:g} Å, summed to k_c = "
            f"{potential.ewald.k_cutoff:.4g} Å⁻¹ ({how}), ε_∞ = {args.epsilon_infinity:g}"
        )
    print(f"{args.out}: {', '.join(symbols)}; {potential.backbone.layers} layers, "
          f"cutoff {potential.cutoff:g} Å; {charges}")  # fmt: skip
    return 0


def refuse_own(file: str) -> None:
    """Refuse a file that lrcalc has written: there is nothing to convert."""
    from lrcalc.checkpoint import FORMAT, read_tensors

    try:
        content = read_tensors(file)
    except (FileNotFoundError, ValueError):
        return
    if content.get("format") == FORMAT:
        raise ValueError(
            f"{file} has lrcalc's own format already: use it as it is (`lrcalc info {file}` says "
            "what it can do)"
        )


def _converted(args: argparse.Namespace) -> Potential:
    """Read the file by the way of the program that it is of."""
    from lrcalc.models.adapters.nequip_files import ENDINGS

    if args.file.endswith(ENDINGS):
        from lrcalc.models.adapters import nequip_convert

        given = {
            "--head": args.head,
            "--converge-k": args.converge_k,
            "--flip-sign": args.flip_sign,
            "--epsilon-infinity": args.epsilon_infinity != 1.0,
        }
        asked = [option for option, value in given.items() if value]
        if asked:
            raise ValueError(
                f"{args.file} is a file of nequip, without charges and heads: leave out "
                f"{', '.join(asked)}"
            )
        return nequip_convert.convert(
            args.file, trust_pickle=args.trust_pickle, flag="--trust-pickle"
        )
    refuse_own(args.file)
    from lrcalc.models.adapters.mace_convert import convert

    return convert(
        args.file,
        trust_pickle=args.trust_pickle,
        head=args.head,
        converge_k=args.converge_k,
        epsilon_infinity=args.epsilon_infinity,
        flip_sign=args.flip_sign,
        flag="--trust-pickle",
    )
