"""`lrcalc info`: the card of a model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

SHOWN = ("energies", "polarizability", "command")
"""What a card may say of a model whose charges were fitted, beside from what and to which data."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model", nargs="?", help="bundled name or model file; none lists what is bundled"
    )


def described_level(config: Mapping[str, Any]) -> str:
    """Level and family of charges; a short-ranged model has none."""
    if config["level"] == "sr":
        return "sr, no charges"
    return f"{config['level']}, {config['charges']} charges"


def run(args: argparse.Namespace) -> int:
    """Print the card, or the list of bundled models."""
    from ase.data import chemical_symbols

    from lrcalc.checkpoint import bundled, load, model_path
    from lrcalc.models.card import (
        CONSTANT_PRESSURE,
        TOTAL_CHARGES,
        charges_lines,
        named_charges,
        pressure_warning,
    )
    from lrcalc.training.loss import describe_error
    from lrcalc.zoo import structures

    if args.model is None:
        print(f"bundled models: {', '.join(bundled())}")
        print(f"bundled structures: {', '.join(structures())}")
        print("Their names stand for files; `lrcalc info MODEL` prints a card.")
        return 0
    potential = load(args.model)
    path = model_path(args.model)
    metadata = potential.metadata
    parameters = sum(p.numel() for p in potential.parameters())
    rows = {
        "file": f"{path.name}, {path.stat().st_size / 1e3:.0f} kB, {parameters} parameters",
        "species": ", ".join(chemical_symbols[z] for z in potential.species),
        "level": described_level(potential.config),
        "cutoff": f"{potential.cutoff} Å",
        "electrostatics": f"smearing {potential.config['smearing']} Å, k_c "
        + (f"{potential.config['k_cutoff']} Å⁻¹" if potential.config["k_cutoff"] else "converged"),
        "units": "eV, Å, e; stress (1/V) dE/dε; born[atom, field, displacement]",
    }
    if potential.wall is not None:
        rows["wall"] = described_wall(potential.config["wall"], potential.species)
    if name := potential.config.get("backbone"):
        rows["backbone"] = f"{name}, rounds of messages: {potential.backbone.layers}"
    if potential.ewald is None:
        rows["electrostatics"] = "the model's own" if potential.own_field else "none"
    unlearned = pressure_warning(path.stem, metadata)
    if unlearned:
        rows["not for constant pressure"] = unlearned.split(": ", 2)[-1]
    for key, value in metadata.items():
        if key in ("epsilon_infinity_from", CONSTANT_PRESSURE):
            continue
        if key == "epsilon_infinity":
            origin = metadata.get(f"{key}_from")  # older cards do not say
            rows["epsilon infinity"] = f"{value:.6g} ({origin})" if origin else f"{value:.6g}"
        elif key == "trained_on":
            rows["trained on"] = f"{len(value)} frames (their hashes are in the file)"
        elif key == "errors":
            parts = [describe_error(k.removeprefix("valid_"), x) for k, x in value.items()]
            rows["validation RMSE"] = ", ".join(parts)
        elif key == "identifiability":
            for k, line in enumerate(charges_lines(metadata)):
                rows["charges" if k == 0 else "  errors"] = line
        elif key == "backbone_file":
            state = "as it is there" if value["frozen"] else "trained on"
            rows["backbone file"] = f"{value['file']} ({state}), sha256 {value['sha256']}"
        elif key == TOTAL_CHARGES:
            rows["total charges"] = f"{named_charges(value)} (of the frames it was trained on)"
        elif key == "oxidation_states":
            held = ", ".join(f"{symbol} {charge:+g}" for symbol, charge in value.items())
            rows["oxidation states"] = f"{held} e, carried through a cell, held fixed"
        elif key == "errors_kept_out":
            rows["errors kept out"] = "; ".join(f"{k}: {x}" for k, x in value.items())
        elif key == "charges_fitted":
            rows["charges fitted"] = f"{value['model']} went on with {', '.join(value['data'])}"
            rows |= {f"  {k}": value[k] for k in SHOWN if k in value}
        elif key == "polarizability":
            rows |= surface_rows(value)
        elif value not in ("", None):
            rows[key.replace("_", " ")] = (
                ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            )
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:{width}}  {value}")
    return 0


def described_wall(start: Sequence[Sequence[float]], species: Sequence[int]) -> str:
    """Below which distances atoms are held apart."""
    from ase.data import chemical_symbols

    names = [chemical_symbols[z] for z in species]
    pairs = [
        f"{names[i]}-{names[j]} {start[i][j]:g}" for i in range(len(names)) for j in range(i + 1)
    ]
    return f"atoms closer than in the training frames repel one another: {', '.join(pairs)} Å"


def surface_rows(card: dict[str, Any]) -> dict[str, str]:
    """Lines about a polarizability surface: where it comes from and how good it is."""
    errors = card["errors"]
    parts = [
        f"{name} RMSE {errors[name]['rmse']:.3g} e Å²/V (R² {errors[name]['r2']:.3f})"
        for name in ("isotropic", "anisotropic")
    ]
    title = "kept-out" if errors["frames"] == "test" else "validation"
    data = f"{', '.join(card['data'])} ({card['licence']}); {len(card['trained_on'])} frames"
    return {
        "polarizability": f"learned from {data}; kept out: {card['kept_out']}",
        "  source": card["source"] or "not stated",
        f"  {title}": ", ".join(parts),
    }
