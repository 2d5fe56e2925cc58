"""`lrcalc convert`: other people's MACE and MACE-LES files to model files."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", help="a pickled MACE or MACE-LES model (.model)")
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
    from lrcalc.models.adapters.mace_convert import convert
    from lrcalc.models.screening import screening_factor

    if not args.out.endswith(".pt"):
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    screening_factor({}, args.epsilon_infinity)  # refuses what is none
    potential = convert(
        args.file,
        trust_pickle=args.trust_pickle,
        head=args.head,
        converge_k=args.converge_k,
        epsilon_infinity=args.epsilon_infinity,
        flip_sign=args.flip_sign,
        flag="--trust-pickle",
    )
    if args.licence:
        potential.metadata["licence"] = args.licence
    save(potential, args.out)
    config, symbols = potential.config, [chemical_symbols[z] for z in potential.species]
    charges = "energies alone: no dipoles, Born charges or fields"
    if potential.ewald is not None:
        how = "converged" if args.converge_k else "as trained"
        charges = (
            f"charges of σ = {config['smearing']:g} Å, summed to k_c = "
            f"{potential.ewald.k_cutoff:.4g} Å⁻¹ ({how}), ε_∞ = {args.epsilon_infinity:g}"
        )
    print(f"{args.out}: {', '.join(symbols)}; {potential.backbone.layers} layers, "
          f"cutoff {potential.cutoff:g} Å; {charges}")  # fmt: skip
    return 0
