"""Options that the commands about data and training share, and their checks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lrcalc.training.settings import LOSSES, check_numbers

if TYPE_CHECKING:
    from lrcalc.training.labels import LabelKeys

MEANING = {
    "hidden": "width of the hidden layer",
    "epochs": "passes over the training frames",
    "batch_size": "structures per step",
    "batch_atoms": "atoms per step, as many structures as that makes; 0: --batch-size structures",
    "keep_batches": "epochs for which the frames of a step stay together; on a GPU steps that come "
    "again are launched as one, several times faster",
    "max_minutes": "stop before the epoch that would end later, to be resumed; 0: no limit",
    "learning_rate": "peak, from which it falls along a cosine",
    "step_memory": "steps whose gradients set the size of a step; 20 learns small forces several "
    "times better in short trainings; 0: all, the largest count (AMSGrad)",
    "loss": "mse: squares of errors; huber: squares up to a scale, linear beyond, so that a few "
    "strange forces do not rule",
    "huber_scale": "eV/Å, of forces in the loss huber; of energies 2 %% of it (eV/atom), of "
    "stresses 2 %% (eV/Å³)",
    "energy_weight": "weight of squared errors of energies, (eV/atom)²",
    "forces_weight": "weight of squared errors of forces, (eV/Å)²",
    "stress_weight": "weight of squared errors of stresses, (eV/Å³)²",
    "born_weight": "weight of squared errors of Born charges (column REF_born:R:9, "
    "born[field, displacement]), e²; one labelled frame among hundreds is enough",
    "dipole_weight": "of dipoles (REF_dipole, e Å) an atom, modulo the quantum where periodic",
    "polarizability_weight": "of polarizabilities (REF_polarizability, e Å²/V) an atom",
    "dielectric_weight": "of epsilon_static (of a crystal at rest) and of the tensor "
    "epsilon_infinity, where the model responds",
    "weight_decay": "decoupled weight decay of AdamW",
    "ema": "decay a step of the averaged weights, which validate and are saved",
    "patience": "epochs without a better validation after which to stop",
    "seed": "of the first weights and of the order of the frames",
    "device": "torch device: cpu, cuda, …",
}
"""Setting of a fit → its help."""


COMPILE = (
    "native models on a CPU: compile their inner loops on this machine, once, for two to four "
    "times the speed; without a C++ compiler nothing changes"
)
"""Help of ``--compile``."""


class Group(Protocol):
    """A parser, or a group of its options."""

    def add_argument(self, *names: str, **options: Any) -> Any:
        """Declare one option."""


def add_label_arguments(group: Group) -> None:
    """Declare under which names a file keeps its labels."""
    for name, unit in (("energy", "eV"), ("forces", "eV/Å"), ("stress", "eV/Å³")):
        group.add_argument(
            f"--{name}-key",
            metavar="NAME",
            help=f"name of the {name} ({unit}) in the files, e.g. REF_{name} (default {name})",
        )
    group.add_argument(
        "--virial-key",
        metavar="NAME",
        help="name of the virial (eV, -V times the stress), where files have it in its place",
    )
    group.add_argument(
        "--units",
        nargs="+",
        default=[],
        metavar="NAME=UNIT",
        help="of labels that are in other units than these, e.g. positions=bohr energy=Ha "
        "forces=Ha/bohr stress=-kbar dipole=D born=D/A polarizability=A3",
    )


def label_keys(args: argparse.Namespace) -> LabelKeys:
    """Return the names and units that were given, or ASE's."""
    from lrcalc.training.label_units import parse_units
    from lrcalc.training.labels import LabelKeys

    names = (name for name in LabelKeys._fields if name != "units")
    given = {name: key for name in names if (key := getattr(args, f"{name}_key"))}
    return LabelKeys(**given, units=parse_units(args.units))


def add_split_arguments(group: Group, valid_every: int, note: str = "") -> None:
    """Declare which frames validate and which are kept out."""
    group.add_argument(
        "--valid-every",
        type=int,
        default=valid_every,
        metavar="K",
        help=f"{note}every K-th training frame validates",
    )
    group.add_argument(
        "--test-every",
        type=int,
        default=0,
        metavar="K",
        help="keep every K-th frame of each file out of training and validation; 0: none",
    )


def frames_of(text: str) -> slice:
    """'3::7' → slice(3, None, 7); '5' → the one frame: ASE's index syntax."""
    try:
        parts = [int(p) if p else None for p in text.split(":")]
    except ValueError:
        raise ValueError(f"`--frames` is {text!r} but must look like 3, 3:10 or 3::7") from None
    if len(parts) == 1 and parts[0] is not None:
        return slice(parts[0], parts[0] + 1 or None)
    if parts[2:] == [0]:
        raise ValueError(f"`--frames` is {text!r}: a step of 0 never moves on; give 1 or more")
    if not 2 <= len(parts) <= 3:
        raise ValueError(f"`--frames` is {text!r} but must look like 3, 3:10 or 3::7")
    return slice(*parts)


def kept_out(args: argparse.Namespace) -> str:
    """Say in the card which frames were kept out."""
    return f"every {args.test_every}th frame of each file" if args.test_every else "none"


def add_fit_arguments(group: Group, defaults: NamedTuple, *names: str) -> None:
    """Declare settings of a fit, of the type and with the value that they have in ``defaults``."""
    for name in names:
        value = getattr(defaults, name)
        group.add_argument(
            flag(name), type=type(value), default=value, help=MEANING[name],
            choices=LOSSES if name == "loss" else None,
        )  # fmt: skip


def add_output_arguments(group: Group) -> None:
    """Declare the model file to write, and what its card says of the data."""
    group.add_argument("--out", required=True, metavar="M.pt", help="model file to write")
    group.add_argument("--licence", default="not stated", help="of the data; goes into the card")
    group.add_argument("--source", default="", help="origin of the data; goes into the card")


def check_options(args: argparse.Namespace) -> Path:
    """Refuse numbers and an output that no run could use, before a file is read.

    Returns
    -------
    Path
        The model file to write; its folder exists.
    """
    output = Path(args.out)
    if output.suffix != ".pt":
        raise ValueError(f"`--out` is {args.out!r} but must end in .pt")
    check_numbers(vars(args), flag)
    output.parent.mkdir(parents=True, exist_ok=True)
    return output


def flag(name: str) -> str:
    """Return the option that sets ``name``."""
    return "--" + name.replace("_", "-")
