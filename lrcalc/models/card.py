"""What a model's card says about runs that it is not made for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lrcalc.models.options import MACE_MODEL, NEQUIP_MODEL

CONSTANT_PRESSURE = "not_for_constant_pressure"
"""Key of the card: why the model's pressure is not to be trusted."""

PRESSURE_OFFSET = "pressure_offset_gpa"
"""Key of the card: what was added to the pressures of the labels, GPa."""

VOLUME_PER_ATOM = "volume_per_atom"
"""Key of the card's ``polarizability``: Å³ that an atom filled in the periodic structures that the
surface was learned from; None if there were structures without periodic directions among them."""

TOTAL_CHARGES = "total_charges"
"""Key of the card: total charges (e) that the training frames have; not there if nobody knows."""

SAME_CHARGE = 1e-4
"""e, within which total charges are the same."""

MOST_CHARGES = 8
"""Total charges that a line names."""


def pressure_warning(name: str, card: Mapping[str, Any]) -> str | None:
    """Return what to say before this model's stress moves a cell, or None.

    Parameters
    ----------
    name : str
        Of the model, as the user gave it.
    card : mapping
        ``Potential.metadata``.
    """
    reason = card.get(CONSTANT_PRESSURE)
    errors = card.get("errors")  # of `lrcalc train`, on the validation frames
    labels = card.get("labels")  # what it learned from; older cards do not say
    unlearned = "stress" not in labels if labels else errors and "valid_stress" not in errors
    if not reason and unlearned:
        reason = "it was trained without stresses"
    if not reason and card.get(PRESSURE_OFFSET):
        reason = (
            f"{card[PRESSURE_OFFSET]:g} GPa were added to the pressures of its data, so that its "
            "density is a matter of that choice"
        )
    if not reason:
        return None
    return f"warning: model {name!r} is not made for constant pressure: {reason}"


def nuclei_warning(name: str, card: Mapping[str, Any], beads: int) -> str | None:
    """Return what to say before ring polymers meet a model that knows classical nuclei only."""
    if beads < 2 or card.get("nuclei") != "classical":
        return None
    return (
        f"warning: model {name!r} was trained on classical nuclei only; with {beads} beads "
        "protons go where it has seen nothing, and bonds may break. Use a model trained on "
        "path-integral frames"
    )


def dipole_warning(config: Mapping[str, Any], *, where: str = "") -> str | None:
    """Return what to say before dipoles of a periodic cell become spectra (physics §4), or None.

    Parameters
    ----------
    config : mapping
        ``Potential.config``.
    where : str
        What is not known of the cell, for the message.
    """
    if config.get("charges") != "atomic" or config.get("level") == "sr":
        return None
    return (
        f"this model has atomic charges: {where}their dipole in a periodic cell is not what Born "
        "charges are derivatives of, and infrared spectra and permittivities made of it are wrong "
        "(the stretch of a MACE-LES water model three times too strong); take the current, Born "
        "charges times velocities: `lrcalc md --current-every 1`, or `lrcalc ipi-run --extras BEC "
        "--dielectric-stride 4 --velocities-stride 4`, then `lrcalc ir --from-current`"
    )


def molecule_warning(card: Mapping[str, Any]) -> str | None:
    """Return what to say before a polarizability surface is used for a molecule, or None."""
    surface = card.get("polarizability")
    if not surface or VOLUME_PER_ATOM in surface:
        return None
    factor = (card.get("epsilon_infinity", 1.0) + 2.0) / 3.0
    return (
        "this model's polarizability is the response to the macroscopic field, learned in "
        "condensed matter with its local field; for a molecule, which answers the field outside, "
        f"it may be too large by up to (ε_∞ + 2)/3 = {factor:.2f}, Raman tensors by its square. "
        f"Its card does not say the volume of an atom there ({VOLUME_PER_ATOM}), which would turn "
        "it into that of a molecule: fit it anew (`lrcalc fit-polarizability`), or take a model "
        "for molecules"
    )


def charge_warning(
    card: Mapping[str, Any], config: Mapping[str, Any], charges: Sequence[float]
) -> str | None:
    """Return what to say of total charges that the energy does not hear of, or never learned.

    Parameters
    ----------
    card : mapping
        ``Potential.metadata``; one that does not say what charges its frames have says nothing.
    config : mapping
        ``Potential.config``.
    charges : sequence of float
        Total charges of structures, e.
    """
    charge = next((q for q in charges if q), 0.0)
    if charge and config.get("backbone") in (MACE_MODEL, NEQUIP_MODEL):
        rest = "" if config["level"] == "sr" else " (only dipoles and Born charges have)"
        return (
            f"a structure states the total charge {charge:g} e, but energies and forces of a "
            f"converted model know nothing of it{rest}: they are those that the file gives this "
            "arrangement of atoms"
        )
    known = card.get(TOTAL_CHARGES)
    if not known:
        return None
    unseen = sorted({q + 0.0 for q in charges if min(abs(q - k) for k in known) > SAME_CHARGE})
    if not unseen:
        return None
    return (
        f"a structure has the total charge {named_charges(unseen)}, but the frames that the model "
        f"was trained on have {named_charges(known)} alone: energies of other charge states were "
        "not learned, and energies, forces and charges here are extrapolated; train on frames "
        "that state such a charge, or correct it (`charge=` in the comment line, "
        "atoms.info['charge']; 0 where it is not there)"
    )


def named_charges(charges: Sequence[float]) -> str:
    """Total charges (e) in words: the first `MOST_CHARGES` of them, smallest first."""
    shown = ", ".join(f"{q:+g}" if q else "0" for q in charges[:MOST_CHARGES])
    return f"{shown}{', …' if len(charges) > MOST_CHARGES else ''} e"


def field_warning(config: Mapping[str, Any], pbc: Iterable[bool]) -> str | None:
    """Return what to say before a field acts on atomic charges in a periodic cell (physics §4).

    None where forces are derivatives of an enthalpy.

    Parameters
    ----------
    config : mapping
        ``Potential.config``.
    pbc : iterable of bool
        Periodic directions.
    """
    if config.get("charges") != "atomic" or config.get("level") == "sr" or not any(pbc):
        return None
    return (
        "a field is held on atomic charges in a periodic cell: the forces E·born on them are no "
        "derivative of any energy. What a run conserves is the energy less their work, which "
        "hangs on the way that atoms went: LRCalculator, `lrcalc md` and LAMMPS take it off, an "
        "Evaluator and i-PI do not, and energies of two structures cannot be compared. Take a "
        "model with local charges (`lrcalc train --charges local`), or open boundaries"
    )


def charges_lines(card: Mapping[str, Any]) -> list[str]:
    """Say what is known of a model's charges: whether its data determine them, and their errors.

    Empty for a card that does not say.
    """
    found = card.get("identifiability")
    if not found:
        return []
    said = {
        "labels": "charges are fixed by electrical labels ({labels})",
        "determined": "charges are determined by energies and forces",
        "not determined": "charges are not determined by these data: dipoles, Born charges, "
        "infrared intensities, LO-TO and dielectric constants may be anything (train on the Born "
        "charges of one frame, --born-weight, or use `lrcalc fit-charges`)",
        "uncertain": "whether these data determine the charges is uncertain (`lrcalc train "
        "--ensemble 3` may tell; labels make sure)",
        "unknown": "whether these data determine the charges was not measured (so few steps)",
    }[found["verdict"]].format(labels=", ".join(
        x for x in found["labels"] if x not in ("energy", "forces", "stress")
    ))  # fmt: skip
    rest = found.get("rest")
    measured = f"the long-range part is {100 * found['share']:.3g} % of the forces"
    if rest is not None:
        measured += (
            f", {1e3 * rest:.3g} meV/Å of it beyond a short-ranged model, where forces err by "
            f"{1e3 * found['error']:.3g}"
        )
        if found["verdict"] in ("determined", "uncertain"):
            # what long-range forces err by beyond a short-ranged model is 2δ times that rest
            doubt = found["error"] / (2.0 * rest)
            measured += f": charges off by {100 * doubt:.2g} % would hardly show"
    lines = [f"{said}; {measured}"]
    if found["members"]:
        each = ", ".join(
            f"{s} {found['born'][s]:+.3f} ± {found['spread'][s]:.3f}" for s in found["born"]
        )
        lines.append(
            f"Born charges over {1 + found['members']} readouts: {each} e, intensities to "
            f"{200 * found['relative_spread']:.3g} %"
        )
    return lines


def electric_notes(
    card: Mapping[str, Any], given: float | None = None, *, matter: bool = True
) -> list[str]:
    """Say what to know before dipoles and Born charges of a model are used: a line each.

    Parameters
    ----------
    card : mapping
    given : float or None
        ε_∞ of the user.
    matter : bool
        Whether it is about matter and not about molecules, of which ε_∞ is 1.
    """
    found = card.get("identifiability") or {}
    doubtful = found.get("verdict") == "not determined" or found.get("members")
    lines = charges_lines(card) if doubtful else []
    if matter and given is None:
        lines += permittivity_notes(card)
    return lines


def permittivity_notes(card: Mapping[str, Any]) -> list[str]:
    """Say that a card states no ε_∞, of which dipoles have a factor and polarizabilities two."""
    if card.get("epsilon_infinity_from") != "not given":
        return []
    return [
        "the model's card states no ε_∞: 1 is used, with which dipoles and Born charges of "
        "matter are too small by √ε_∞, polarizabilities by about ε_∞ (but those of a surface by "
        "`lrcalc fit-polarizability`); give --epsilon-infinity where the model is used"
    ]


def charges_known(card: Mapping[str, Any]) -> bool:
    """Whether charges are known to be right: by labels, by the report, by kept-out Born charges."""
    verdict = (card.get("identifiability") or {}).get("verdict")
    kept_out = (card.get("errors_kept_out") or {}).get("born_R2", 0.0)
    return verdict in ("labels", "determined") or kept_out > 0.9
