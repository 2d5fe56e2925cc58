"""Levels side by side as a table, a file of all numbers, and a picture."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrcalc.files import replacing
from lrcalc.levels.trainings import COSTS, MEASURES, Measured, over_seeds

COLOURS = {"local": "#1f77b4", "atomic": "#d95f02", "none": "0.4"}
"""Of the families of charges."""


def describe(measured: Sequence[Measured]) -> str:
    """Table of means over seeds and their standard errors, a row for each level and family."""
    table = over_seeds(measured)
    keys = [key for key in (*MEASURES, *COSTS) if any(key in row for row in table.values())]
    heads = {
        key: (MEASURES[key].title, MEASURES[key].unit) if key in MEASURES else COSTS[key]
        for key in keys
    }
    titles = [f"{title} ({unit})" if unit else title for title, unit in heads.values()]
    rows = [["model", "seeds", *titles]]
    for name, row in table.items():
        seeds = max(n for _, _, n in row.values())
        rows.append([name, str(seeds), *(told(key, row) for key in keys)])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(columns))
        for columns in ([*zip(row, widths, strict=True)] for row in rows)
    )


def describe_one(measured: Measured) -> str:
    """One model in a line, as soon as it is measured."""
    numbers = ", ".join(
        f"{MEASURES[key].title} {measured.values[key]:.4g} {MEASURES[key].unit}".rstrip()
        for key in MEASURES
        if key in measured.values
    )
    return f"{measured.entrant.name}, seed {measured.entrant.seed}: {numbers}"


def told(key: str, row: Mapping[str, tuple[float, float, int]]) -> str:
    """Mean ± standard error with as many digits as the error has two of."""
    if key not in row:
        return "-"
    mean, error, _ = row[key]
    if key in COSTS:
        return f"{mean:.0f}" if mean >= 100 else f"{mean:.3g}"
    if not math.isfinite(error):
        return f"{mean:.4g}"
    digits = min(6, max(0, 1 - math.floor(math.log10(error)))) if error > 0 else 4
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def save(measured: Sequence[Measured], settings: Mapping[str, Any], prefix: str) -> list[Path]:
    """Write CSV (a line a model), JSON (with the settings) and picture; return their paths."""
    keys = [k for k in (*MEASURES, *COSTS) if any(k in one.values for one in measured)]
    paths = [Path(f"{prefix}.{ending}") for ending in ("csv", "json", "png")]
    with replacing(paths[0]) as temporary, temporary.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["level", "charges", "seed", *keys])
        for one in measured:
            numbers = [f"{one.values[k]:.8g}" if k in one.values else "" for k in keys]
            writer.writerow([*one.entrant, *numbers])
    content = {
        "settings": dict(settings),
        "models": [{**one.entrant._asdict(), **finite(one.values)} for one in measured],
    }
    with replacing(paths[1]) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    picture(measured, paths[2])
    return paths


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Values that JSON knows."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def picture(measured: Sequence[Measured], path: Path) -> None:
    """Draw a panel for each measure: a dot each seed, a bar at their mean."""
    from matplotlib.figure import Figure

    table = over_seeds(measured)
    names = list(table)
    keys = [key for key in MEASURES if any(key in row for row in table.values())]
    columns = min(3, len(keys))
    lines = math.ceil(len(keys) / columns)
    width = max(3.2, 0.55 * len(names) + 1.2)
    figure = Figure(figsize=(columns * width, 3.3 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, key in zip(panels, keys, strict=False):
        for place, name in enumerate(names):
            of_name = [m for m in measured if m.entrant.name == name and key in m.values]
            if not of_name:
                continue
            colour = COLOURS[of_name[0].entrant.charges]
            values = [m.values[key] for m in of_name]
            axis.plot([place] * len(values), values, "o", color=colour, markersize=4, alpha=0.7)
            mean = table[name][key][0]
            axis.plot([place - 0.3, place + 0.3], [mean, mean], color=colour, linewidth=2)
        unit = MEASURES[key].unit
        axis.set_title(MEASURES[key].title + (f" ({unit})" if unit else ""), fontsize="medium")
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize="small")
        axis.set_xlim(-0.6, len(names) - 0.4)
        axis.grid(True, axis="y", alpha=0.3)
        axis.margins(y=0.12)
    for axis in panels[len(keys) :]:
        axis.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
