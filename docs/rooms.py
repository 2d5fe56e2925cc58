"""Draw the rooms of the house, from the order that tests/test_house.py enforces.

python docs/rooms.py        # writes docs/pictures/rooms.svg
"""

import sys
from collections import defaultdict
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
PICTURE = ROOT / "docs" / "pictures" / "rooms.svg"
WHAT = {
    "units": "constants", "zoo": "bundled models", "memory": "freed memory is kept",
    "run_conditions": "how a run was made", "hashing": "one hash", "files": "one atomic write",
    "optional": "what is missing, named", "progress": "bars and log lines",
    "compiler": "C++ for this machine", "compiled": "its functions",
    "courses": "what is held, in time", "fields": "what is held: E, D, voltage",
    "arrays": "a batch cut into arrays", "callers": "whose line it is", "door": "checked once",
    "electronic": "permittivities", "seen": "what results are of",
    "frames": "structures as arrays", "run_state": "saved states",
    "integrators": "ASE's, with thermostats",
    "structures": "the one reader of structures", "system": "atoms as tensors",
    "neighbors": "pairs, with a skin", "multipoles": "charges … quadrupoles, response",
    "electrostatics": "Ewald: direct, mesh, open, slab", "checkpoint": "one-file models",
    "models": "backbone, readout, potential, enthalpy", "training": "data, loss, fit",
    "properties": "the list of properties", "prediction": "predict: one function on tensors",
    "captured": "steps of fixed shapes, one launch",
    "evaluator": "batches of ASE structures", "calculator": "ASE calculator",
    "model_errors": "errors on data", "levels": "levels compared",
    "trajectory": "extended xyz", "run_identity": "same run?",
    "field_work": "work of a source", "field_views": "a field by three names",
    "velocities": "thermal, isotopes",
    "dynamics": "molecular dynamics in fields", "testing": "checks for others' code",
    "domain": "own and common values", "cuda_graph": "kernels launched as one",
    "kernels": "fused kernels: when",
    "lammps": "pair_style, host, plugin",
    "resident": "tensors that stay on a device", "torchsim": "model for torch-sim",
    "replicas": "many runs at once",
    "ipi": "driver, client, inputs, runs", "commands": "one module a command",
    "cli": "lrcalc COMMAND", "__main__": "python -m lrcalc", "derivatives": "autograd helpers",
    "information": "left the data? which frames?",
    "ipi_files": "the one reader of i-PI's files", "analysis": "spectra, transport, phonons",
}  # fmt: skip
HEIGHT, GAP, WIDTH, MARGIN, PER_ROW = 44, 7, 196, 12, 4


def draw() -> str:
    """Text of the picture (SVG): levels from top to bottom, rooms off the line at the right."""
    from tests.test_house import LEVEL, ONLY

    rows = defaultdict(list)
    for name, level in LEVEL.items():
        rows[level].append(name)
    lines, y = [], MARGIN + 22
    for level in sorted(rows):
        names = rows[level]
        for start in range(0, len(names), PER_ROW):
            row = names[start : start + PER_ROW]
            wide = (PER_ROW * (WIDTH + GAP) - GAP - (len(row) - 1) * GAP) // len(row)
            for place, name in enumerate(row):
                lines += box(MARGIN + place * (wide + GAP), y, wide, name, "#eaf1fb", "#4a78b5")
            y += HEIGHT + GAP
    right = MARGIN + PER_ROW * (WIDTH + GAP) + 14
    for place, (name, allowed) in enumerate(ONLY.items()):
        top = MARGIN + 22 + place * 2 * (HEIGHT + GAP)
        lines += box(right, top, WIDTH, name, "#fdf3e3", "#b5843a")
        for line, words in enumerate(halves(sorted(allowed))):
            lines.append(text(right + 4, top + HEIGHT + 14 + 13 * line, words, 10, "#666"))
    head = [
        text(MARGIN, 20, "each room imports only from the rows above it", 12, "#444"),
        text(right, 20, "off the line: imports only", 12, "#444"),
    ]
    width = right + WIDTH + MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" '
        'font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="{width}" height="{y}" fill="white"/>\n'
        + "\n".join(head + lines)
        + "\n</svg>\n"
    )


def halves(words: list[str]) -> list[str]:
    """Names in lines of three."""
    return [", ".join(words[k : k + 3]) for k in range(0, len(words), 3)]


def box(x: int, y: int, width: int, name: str, fill: str, edge: str) -> list[str]:
    """One room."""
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{HEIGHT}" rx="5" fill="{fill}" '
        f'stroke="{edge}"/>',
        text(x + 10, y + 19, name, 14, "#123", bold=True),
        text(x + 10, y + 36, WHAT[name], 11, "#444"),
    ]


def text(x: int, y: int, words: str, size: int, colour: str, *, bold: bool = False) -> str:
    """One line of text."""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(words)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
    print(PICTURE)
