"""`lrcalc entropy`: information in the atomic environments of data files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrcalc.commands._information import (
    add_descriptor_arguments,
    add_frames_argument,
    form_of,
    frames_given,
)
from lrcalc.progress import progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="structures or trajectories")
    add_frames_argument(parser)
    add_descriptor_arguments(parser)
    parser.add_argument(
        "--bandwidth", type=float, default=0.015, metavar="H",
        help="of the kernel, 1/Å; 0.015 is that of QUESTS, made for metals, and calls most "
        "environments of liquids different",
    )  # fmt: skip
    parser.add_argument(
        "--neighbours", type=int, metavar="N",
        help="sum over N nearest environments alone, for sets of 10⁵ and more (default: all)",
    )  # fmt: skip
    parser.add_argument("--json", metavar="OUT", help="write the figures to this file")


def run(args: argparse.Namespace) -> int:
    """Print H and D of each file, of each species and of all together."""
    import numpy as np

    from lrcalc.analysis.output import check_target, write_json
    from lrcalc.information.entropy import check_bandwidth, check_neighbours
    from lrcalc.information.reference import by_species

    form = form_of(args)
    check_bandwidth(args.bandwidth, "--bandwidth")
    if args.neighbours is not None:
        check_neighbours(args.neighbours, "--neighbours")
    if args.json:
        check_target(args.json, "--json")
    sets: dict[str, dict[int, Any]] = {}
    species = sorted({
        int(z) for name in args.files for atoms in frames_given(name, args.frames)
        for z in atoms.numbers
    }) if form.components else None  # fmt: skip
    with progress_bar(unit="frame", title="environments", leave=False) as bar:
        for name in args.files:
            parts: dict[int, list[Any]] = {}
            for number, atoms in enumerate(frames_given(name, args.frames)):
                own = {int(z) for z in atoms.numbers}
                told = f"frame {number} of {name}"
                for z, x in by_species(atoms, form, species or own, told).items():
                    parts.setdefault(z, []).append(x)
                bar.update()
            if not parts:
                raise ValueError(f"{name} has no such frames (`--frames` {args.frames})")
            sets[name] = {z: np.concatenate(x) for z, x in parts.items()}
    rows = list(told_sets(sets))
    found = {}
    print(f"bandwidth {args.bandwidth:g} 1/Å, k {form.k}, cutoff {form.cutoff:g} Å; nats")
    print(f"{'environments of':32} {'N':>8} {'H':>8} {'ln N':>8} {'D':>8}")
    for title, x in rows:
        h, d = both(x, args.bandwidth, args.neighbours, title)
        found[title] = {"environments": len(x), "entropy_nats": h, "diversity_nats": d}
        print(f"{title:32} {len(x):8} {h:8.4f} {np.log(len(x)):8.4f} {d:8.4f}")
    if max(found[t]["entropy_nats"] / max(np.log(len(x)), 1e-9) for t, x in rows) > 0.99:
        print(
            "note: H is ln N, so all environments differ at this bandwidth and H says only how "
            "many there are: give a larger --bandwidth"
        )
    if args.json:
        settings = {"bandwidth": args.bandwidth, **form._asdict(), "frames": args.frames}
        print(f"wrote {write_json(args.json, {'sets': found, 'settings': settings})}")
    return 0


def told_sets(sets: dict[str, dict[int, Any]]) -> Iterator[tuple[str, Any]]:
    """Name what is judged: each file, its species, all files together."""
    import numpy as np
    from ase.data import chemical_symbols

    for name, parts in sets.items():
        yield Path(name).name, np.concatenate(list(parts.values()))
        if len(parts) > 1:
            for z in sorted(parts):
                yield f"  {chemical_symbols[z]}", parts[z]
    if len(sets) > 1:
        yield "all files", np.concatenate([x for parts in sets.values() for x in parts.values()])


def both(x: Any, h: float, neighbours: int | None, title: str) -> tuple[float, float]:
    """Entropy and diversity (nats), a block at a time behind a bar."""
    import numpy as np

    from lrcalc.information.entropy import log_density

    if neighbours is not None:
        density = log_density(x, x, h, neighbours=neighbours)
    else:
        count, found = 1000, []
        with progress_bar(len(x), unit="environment", title=title, leave=False) as bar:
            for start in range(0, len(x), count):
                found.append(log_density(x[start : start + count], x, h))
                bar.update(len(found[-1]))
        density = np.concatenate(found)
    return float(np.log(len(x)) - density.mean()), float(np.log(np.exp(-density).sum()))
