"""The sign of the latent odd multipoles, which energies and forces leave open (physics §2)."""

from __future__ import annotations

import math

import torch
from ase.data import chemical_symbols
from torch import Tensor

from lrcalc.derivatives import strained
from lrcalc.models.dipole import lattice_born
from lrcalc.models.enthalpy import mean_susceptibility
from lrcalc.models.potential import Potential
from lrcalc.models.readout import Readout
from lrcalc.models.screening import charge_screening
from lrcalc.models.terms import Terms
from lrcalc.neighbors import Pairs
from lrcalc.system import System

PAULING = {
    "H": 2.20, "Li": 0.98, "Be": 1.57, "B": 2.04, "C": 2.55, "N": 3.04, "O": 3.44, "F": 3.98,
    "Na": 0.93, "Mg": 1.31, "Al": 1.61, "Si": 1.90, "P": 2.19, "S": 2.58, "Cl": 3.16, "K": 0.82,
    "Ca": 1.00, "Sc": 1.36, "Ti": 1.54, "V": 1.63, "Cr": 1.66, "Mn": 1.55, "Fe": 1.83, "Co": 1.88,
    "Ni": 1.91, "Cu": 1.90, "Zn": 1.65, "Ga": 1.81, "Ge": 2.01, "As": 2.18, "Se": 2.55, "Br": 2.96,
    "Kr": 3.00, "Rb": 0.82, "Sr": 0.95, "Y": 1.22, "Zr": 1.33, "Nb": 1.6, "Mo": 2.16, "Tc": 1.9,
    "Ru": 2.2, "Rh": 2.28, "Pd": 2.20, "Ag": 1.93, "Cd": 1.69, "In": 1.78, "Sn": 1.96, "Sb": 2.05,
    "Te": 2.1, "I": 2.66, "Xe": 2.60, "Cs": 0.79, "Ba": 0.89, "La": 1.10, "Ce": 1.12, "Hf": 1.3,
    "Ta": 1.5, "W": 2.36, "Re": 1.9, "Os": 2.2, "Ir": 2.20, "Pt": 2.28, "Au": 2.54, "Hg": 2.00,
    "Tl": 1.62, "Pb": 2.33, "Bi": 2.02,
}  # fmt: skip
"""Pauling electronegativities (CRC Handbook of Chemistry and Physics)."""

SMALLEST = 0.05
"""e; a smaller mean Born charge is not told from zero by energies and forces."""

ODD_READOUTS = ("charge", "dipole", "quadrupole")


def fix_sign(potential: Potential, system: System, pairs: Pairs, *, known: str = "") -> str:
    """Flip all latent multipoles if the most electronegative species has positive Born charges.

    Whether its mean is beyond the spread over its atoms is said: in a material whose energies
    hardly depend on charges the sign is not determined, and neither is that of any dipole.

    Also notes the mean latent susceptibility, which the screening factor needs, in the metadata.

    Done once, when a model is made; the energy does not change. Where the sample holds ions
    nothing is flipped: their total charges fix the sign, and energies would change. Born charges
    decide, because the latent charges are only a part of them: a model of BaTiO3 kept most of the
    polarity in its dipoles, and the means of its charges had the other sign.

    Parameters
    ----------
    potential : Potential
        Changed in place.
    system, pairs
        A representative sample of its training data.
    known : str
        What has fixed it in training, as electrical labels do: nothing is flipped. Empty: nothing.

    Returns
    -------
    str
        The convention, for the card of the model.
    """
    leaves = strained(system, stress=False)
    with torch.enable_grad():
        terms = _with_dipole(potential(leaves.system, pairs, surface=False), system)
        born = lattice_born(potential, leaves.system, pairs, terms, leaves.positions)
    trained = charge_screening(potential.metadata)
    potential.metadata["susceptibility"] = mean_susceptibility(leaves.system, terms)
    if not math.isclose(trained, charge_screening(potential.metadata)):
        potential.metadata["charge_screening"] = trained
    symbol = most_electronegative(system.numbers)
    charge = potential.screening * born.detach().diagonal(dim1=1, dim2=2).mean(1)
    charge = charge[system.numbers == chemical_symbols.index(symbol)]
    mean, spread = float(charge.mean()), float(charge.std(correction=0))
    if bool((system.total_charge != 0).any()):
        return (
            f"fixed by the total charges of the data ({symbol}: mean Born charges {mean:+.3f} ± "
            f"{spread:.3f} e)"
        )
    if known:
        return f"fixed by {known}: {describe_sign(symbol, mean, spread)}"
    readout = potential.readout
    if mean > 0:
        if not isinstance(readout, Readout):
            return f"as it came with the backbone: {describe_sign(symbol, mean, spread)}"
        with torch.no_grad():
            _flip(readout)
    return describe_sign(symbol, -abs(mean), spread)


def describe_sign(symbol: str, mean: float, spread: float) -> str:
    """Say what is known of the sign of dipoles.

    Parameters
    ----------
    symbol : str
        Most electronegative species.
    mean, spread : float
        Of the mean diagonals of its Born charges over atoms, e.
    """
    measured = f"{mean:+.3f} ± {spread:.3f} e"
    if abs(mean) > max(spread, SMALLEST):
        return (
            f"{symbol} has {'negative' if mean < 0 else 'positive'} mean Born charges ({measured})"
        )
    return (
        f"not determined: the mean Born charges of {symbol} are {measured}; dipoles and Born "
        "charges may all have the other sign. Train on a few ions, or compare with a computed "
        "dipole or Born charge"
    )


def _with_dipole(terms: Terms, system: System) -> Terms:
    """Leave out charges induced on single atoms where one of the structures is periodic.

    There they have neither a dipole nor a polarizability (physics §4); what is left has both.
    """
    multipoles = terms.readout.multipoles
    if multipoles.capacitance is None or not bool(system.pbc.any()):
        return terms
    readout = terms.readout._replace(multipoles=multipoles._replace(capacitance=None))
    return terms._replace(readout=readout)


def most_electronegative(numbers: Tensor) -> str:
    """Symbol of the most electronegative species among atomic ``numbers``."""
    symbols = {chemical_symbols[z] for z in numbers.tolist()}
    return max(sorted(symbols), key=lambda s: PAULING.get(s, 0.0))


def _flip(readout: Readout) -> None:
    start = 0
    for name, width in readout.sizes.items():
        if name in ODD_READOUTS:
            readout.weight[:, start : start + width].neg_()
        start += width
    if readout.charges == "local" and "charge" in readout.sizes:
        readout.species_charge.neg_()
