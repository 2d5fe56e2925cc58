"""`lrcalc fit-charges`: give a trained model the charges that electrical labels state."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrcalc import __version__
from lrcalc.commands import _options
from lrcalc.commands._charges_report import report_charges
from lrcalc.models.card import TOTAL_CHARGES
from lrcalc.progress import progress_bar
from lrcalc.training.settings import TrainingSettings

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms

    from lrcalc.evaluator import Evaluator
    from lrcalc.models.potential import Potential

WEIGHTS = ("born_weight", "dipole_weight", "polarizability_weight", "dielectric_weight")
DEFAULTS = TrainingSettings(epochs=30, learning_rate=1e-3, born_weight=1.0)
CONVERTED_RATE = 1e-5
"""Learning rate of converted models: three steps of the default's warm-up ruined one of water."""

MEASURED = ("errors_kept_out", "identifiability")
"""Entries of a card that were measured on the model before, and are not of the new one."""

COMPARED = 16
"""Frames of a file that are compared with the model's own before it learns."""

SAME_ZERO = 0.01
"""eV/atom, by which energies of one method may differ."""

OPTIONS = ("epochs", "batch_size", "learning_rate", "energy_weight", "forces_weight",
           "stress_weight", *WEIGHTS, "weight_decay", "ema", "step_memory", "patience", "seed",
           "device")  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="bundled name or model file; stays as it is")
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="F",
        help="extended xyz, some frame of which has an electrical label (REF_born, REF_dipole, "
        "REF_polarizability, epsilon_static); energies and forces where frames have none are the "
        "model's own",
    )
    _options.add_split_arguments(parser, 10)
    _options.add_label_arguments(parser)
    parser.add_argument(
        "--same-zero",
        action="store_true",
        help="energies of the data have the model's zero: nothing is taken off them, however wrong "
        "the model is yet (as where new kinds of molecules are learned)",
    )
    parser.add_argument("--frames", default=":", metavar="INDEX", help="frames of each file to use")
    parser.add_argument(
        "--epsilon-infinity",
        type=float,
        help="electronic permittivity of the material (default: the card's, else the frames')",
    )
    _options.add_fit_arguments(
        parser, DEFAULTS, *(name for name in OPTIONS if name != "learning_rate")
    )
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="peak, from which it falls along a cosine (default "
        f"{DEFAULTS.learning_rate:g}; {CONVERTED_RATE:g} for converted MACE models)",
    )
    parser.add_argument("-o", "--out", required=True, metavar="NEW.pt", help="model file to write")


def run(args: argparse.Namespace) -> int:
    """Fit charges and energies together, report errors before and after, write the model."""
    from lrcalc.checkpoint import load, save
    from lrcalc.models.options import MACE_MODEL
    from lrcalc.models.requests import check_device
    from lrcalc.training.charge_family import OXIDATION, check_oxidation, check_signs, odd_signs
    from lrcalc.training.electrical import describe_labelled, wanted_labels
    from lrcalc.training.fit import fit
    from lrcalc.training.split import read_split

    check_device(args.device)
    output = _options.check_options(args)
    if output.resolve() == Path(args.model).resolve():
        raise ValueError(f"`--out` is {args.out!r}, the model itself; give another name")
    start = load(args.model)
    if args.learning_rate is None:
        converted = start.config.get("backbone") == MACE_MODEL
        args.learning_rate = CONVERTED_RATE if converted else DEFAULTS.learning_rate
    settings = TrainingSettings(**{name: getattr(args, name) for name in OPTIONS})
    own = Own(start, args.device, same_zero=args.same_zero)
    split = read_split(
        args.data, [], start.cutoff, args.valid_every, args.test_every, allow_images=True,
        keys=_options.label_keys(args), level=start.config["level"],
        frames=_options.frames_of(args.frames), complete=own.complete,
        wanted=wanted_labels(settings, start.config["level"]), known=start.species,
    )  # fmt: skip
    held = start.metadata.get(OXIDATION, {})
    check_oxidation(held, start.config["charges"], start.config["level"], split["training"])
    labelled = [*split["labelled"], *split["labelled_validation"]]
    check_signs(held, labelled)
    split["warnings"] += odd_signs(held, labelled)
    card = card_of(args, start, split)
    card["charges_fitted"] |= {"energies": own.zero} if own.zero else {}
    split["warnings"] += stale_surface(card)
    for name in MEASURED:
        start.metadata.pop(name, None)
    start.metadata |= card
    for line in [*split["notes"], *[f"warning: {w}" for w in split["warnings"]], *own.lines()]:
        print(line)
    print(f"{len(split['training'])} training, {len(split['validation'])} validation frames"
          f"{describe_labelled(split['labelled'])}")  # fmt: skip
    print(f"before: {told(start, split, settings)}")
    with progress_bar(settings.epochs, unit="epoch") as bar:

        def report(row: dict[str, float]) -> None:
            bar.update(int(row["epoch"]) - bar.n)
            bar.set_postfix_str(f"F {1e3 * row['valid_forces']:.1f} meV/Å")

        best = fit(
            split["training"], split["validation"], start.config, settings, output, start=start,
            labelled=split["labelled"], labelled_valid=split["labelled_validation"],
            metadata=card, report=report, note=bar.write,
        )  # fmt: skip
    print(f"after:  {told(best, split, settings)}")
    if own.unlearned(start.metadata) and TOTAL_CHARGES in best.metadata:
        known = set(best.metadata[TOTAL_CHARGES]) - own.unlearned(start.metadata)
        best.metadata[TOTAL_CHARGES] = sorted(known)
        save(best, output)
    report_charges(best, split, settings, output)
    print(f"wrote {output} ({output.stat().st_size / 1e3:.0f} kB)")
    return 0


class Own:
    """The model's own word on the data: what frames lack, another zero, another unit."""

    def __init__(self, model: Potential, device: str, *, same_zero: bool = False) -> None:
        self.model, self.device, self.count = model, device, 0
        self.same_zero = same_zero
        self.said: dict[str, None] = {}
        self.zero = ""
        self.held: set[float] = set()
        self.stated: set[float] = set()

    def complete(self, structures: list[Atoms]) -> None:
        """Compare the structures of a file, and label those without energy and forces, in place."""
        from ase.calculators.singlepoint import SinglePointCalculator
        from ase.stress import full_3x3_to_voigt_6_stress

        from lrcalc.evaluator import Evaluator
        from lrcalc.structures import total_charge
        from lrcalc.training.labels import has_label

        with warnings.catch_warnings():  # of what it has not learned: it is about to
            warnings.simplefilter("ignore", UserWarning)
            self.compare(Evaluator(self.model, device=self.device), structures)
        evaluator = Evaluator(self.model, device=self.device, allow_net_charge=True)
        stress = any(has_label(atoms, "stress") for atoms in structures)
        for atoms in structures:
            own = not (has_label(atoms, "energy") or has_label(atoms, "forces"))
            (self.held if own else self.stated).add(round(total_charge(atoms), 6))
            if own:
                more = ["stress"] * (stress and bool(atoms.pbc.all()))
                (result,) = evaluator([atoms], ["energy", "forces", *more])
                if more:  # ASE keeps six numbers
                    result["stress"] = full_3x3_to_voigt_6_stress(result["stress"])
                atoms.calc = SinglePointCalculator(atoms, **result)
                self.count += 1

    def compare(self, evaluator: Evaluator, structures: list[Atoms]) -> None:
        """Take off another zero of energies, and note labels that are unlike the model's."""
        from lrcalc.model_errors import collect
        from lrcalc.models.card import charges_known
        from lrcalc.training.labels import has_label
        from lrcalc.training.polarizability import reference_polarizability
        from lrcalc.training.unlike import unlike_model

        # what is refused is refused later, by its frame
        known = set(self.model.species)
        fit = [a for a in structures if set(a.numbers.tolist()) <= known and a.pbc.sum() != 1]
        few = fit[:: max(1, len(fit) // COMPARED)][:COMPARED]
        responds = self.model.surface is not None
        values = collect(
            evaluator,
            few,
            polarizability=lambda a: reference_polarizability(a) if responds else None,
        )
        determined = charges_known(self.model.metadata)
        self.said |= dict.fromkeys(unlike_model(values, few, determined=determined))
        labelled = [a for a in structures if has_label(a, "energy")]
        compared = [a for a in few if has_label(a, "energy")]
        if self.same_zero or "energy" not in values:
            return
        if shift := other_zero(compared, labelled, *values["energy"]):
            self.said[f"{shift} (--same-zero: they have the model's, and it is wrong)"] = None
            self.zero = f"{shift}: between compositions the model learned nothing of them"

    def unlearned(self, card: Mapping[str, Any]) -> set[float]:
        """Total charges, e, of which no frame has an energy but the model's, that knew none."""
        return self.held - self.stated - set(card.get(TOTAL_CHARGES, []))

    def lines(self) -> list[str]:
        """Say what was found."""
        held = f"note: {self.count} frames have no energies and forces: the model's own are held"
        return [*[f"warning: {line}" for line in self.said], *[held] * bool(self.count)]


def other_zero(
    compared: list[Atoms], structures: list[Atoms], model: np.ndarray, label: np.ndarray
) -> str | None:
    """Take off what energies of structures differ by from the model's, an energy a species.

    ``model`` and ``label`` are energies of ``compared``, eV/atom. Returns what was done, or None.
    """
    import numpy as np

    from lrcalc.training.composition import composition_fit, counts_of

    sizes = np.array([len(a) for a in compared])
    numbers = [a.numbers for a in compared]
    species = sorted({z for a in structures for z in a.numbers.tolist()})
    apart = (label - model) * sizes
    zero = composition_fit(apart, numbers, species)
    constant = counts_of(numbers, species) @ zero
    largest = float(np.abs(constant / sizes).max())
    if largest < max(SAME_ZERO, 3 * float(np.abs((apart - constant) / sizes).max())):
        return None
    for atoms in structures:
        atoms.calc.results["energy"] -= float((counts_of([atoms.numbers], species) @ zero)[0])
    return (
        f"energies have another zero than the model's, by up to {largest:.4g} eV/atom: an energy "
        "for each species is taken off them"
    )


def card_of(args: argparse.Namespace, start: Potential, split: dict[str, Any]) -> dict[str, Any]:
    """Card of the new model: the old one's, ε_∞ as given or stated, and what was fitted to."""
    from lrcalc.training.permittivity import permittivity_of

    old = dict(start.metadata)
    known = "epsilon_infinity" in old and old.get("epsilon_infinity_from") != "not given"
    if args.epsilon_infinity is None and known:
        epsilon = {"epsilon_infinity": old["epsilon_infinity"]}
    else:
        found = permittivity_of(split["stated"], args.epsilon_infinity, start.config["level"])
        epsilon = {"epsilon_infinity": found.value, "epsilon_infinity_from": found.origin}
        split["notes"] += found.lines
    names = [Path(f).name for f in args.data]
    trained = dict.fromkeys([*old.get("trained_on", []), *split["hashes"]])
    return {
        **{k: v for k, v in old.items() if k not in ("errors", "susceptibility", *MEASURED)},
        **epsilon,
        "data": list(dict.fromkeys([*old.get("data", []), *names])),
        "trained_on": list(trained),
        "charges_fitted": {"model": Path(args.model).name, "data": names, "lrcalc": __version__},
    }


def stale_surface(card: dict[str, Any]) -> list[str]:
    """Say that a polarizability surface is read out of features that change; note it in ``card``.

    What the card says of its errors is measured on the model before.
    """
    if "polarizability" not in card:
        return []
    line = (
        "the polarizability surface was fitted to features that change here: its errors are of "
        "the model before; fit it anew (`lrcalc fit-polarizability`)"
    )
    card["charges_fitted"]["polarizability"] = line
    return [line]


def told(model: Potential, split: dict[str, Any], settings: TrainingSettings) -> str:
    """Errors on the validation frames, and on the labels, in words."""
    import torch

    from lrcalc.training.loop import validate
    from lrcalc.training.loss import TERMS, describe_error

    shifts = torch.zeros(1 + max(f.source for f in split["validation"]), dtype=torch.float64)
    labelled = split["labelled_validation"] or split["labelled"]
    errors = validate(model, split["validation"], settings, shifts, labelled=labelled)
    return ", ".join(
        describe_error(name, value) for name in TERMS if (value := errors[f"valid_{name}"]) == value
    )
