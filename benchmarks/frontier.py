r"""Error of forces and of Born charges against the time of energy and forces, of several models.

    python benchmarks/frontier.py --data rpbe_d3_born_70.xyz.gz --frames 3::7 \
        small=small.pt water water-large "MACE-LES, published=maceles.pt" \
        --network "MACE-LES, published=maceles-water-r4.5-l0.model" \
        --json frontier.json --picture frontier.png
    python benchmarks/frontier.py --from frontier.json --picture frontier.png     # draw again

Models are bundled names or files, with what they are called in the picture before them. Errors are
those of `lrcalc evaluate`, and whether a model was trained on the frames is said beside them. Times
are of energy and forces of 192 atoms of water in single precision, CPU time of one thread: a round
moves the atoms a little and asks all models in turn, our own layers without and with compiled
functions (`compile=True`); a ratio is the median over rounds of a model's time by that of the first
`--reference`. `--network` adds the time of MACE's own layers in a MACE-LES file as mace-torch
evaluates them, without charges (what the whole model takes there is more); it, and models that were
trained on MACE's layers, need the environment of `make test-mace`. Where a learning curve (.csv)
lies beside a model's file, errors on validation frames are kept, too.
"""

import argparse
import csv
import itertools
import json
import time
from pathlib import Path

import numpy as np
import torch

from lrcalc import Evaluator, zoo
from lrcalc.commands._options import frames_of
from lrcalc.commands.evaluate import compared, offset_pressures
from lrcalc.files import replacing
from lrcalc.models.backbone import NATIVE
from lrcalc.structures import read_structure
from lrcalc.training.data import read_structures

ENERGY = ["energy", "forces"]
PLAIN, COMPILED, NETWORK = "plain", "compiled", "network"
UNITS = {"energy": 1e3, "energy_shifted": 1e3, "forces": 1e3, "stress": 1e3}
"""From eV to meV; Born charges stay in e."""


def named(word):
    """Split `NAME=FILE`; a file without a name is called as it is."""
    name, _, file = word.rpartition("=")
    return name or file, file


def short(value):
    """Five digits of a number."""
    return float(f"{value:.5g}")


def facts(evaluator):
    """Say what a model is: layers, level, numbers of parameters and of training frames."""
    potential = evaluator.potential
    trained = potential.metadata.get("trained_on")
    return {
        "backbone": layers(evaluator),
        "level": potential.readout.level,
        "parameters": sum(p.numel() for p in potential.parameters()),
        "trained_on": None if trained is None else len(trained),
    }


def errors(evaluator, structures):
    """Frames by what the model's card knows of them, and errors of the first group there is."""
    offset_pressures(structures.values(), evaluator.potential.metadata)
    found, _ = compared(evaluator, structures, {})
    frames = {group: part["frames"] for group, part in found.items()}
    if len(frames) > 1:
        raise ValueError(f"frames that were trained on stand beside others: {frames}")
    (part,) = found.values()
    numbers = {}
    for key, value in part.items():
        if key != "frames":
            scale = UNITS.get(key, 1.0)
            numbers[key] = {
                "rmse": short(scale * value["rmse"]),
                "mae": short(scale * value["mae"]),
                "r2": short(value["r2"]),
            }
    return {"frames": frames, "errors": numbers}


def curve(file):
    """Errors of validation forces (meV/Å) after each epoch, where they were kept; minutes."""
    path = (zoo.model_file(file) if file in zoo.models() else Path(file)).with_suffix(".csv")
    if not path.exists():
        return {}
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    minutes = sum(float(row["seconds"]) for row in rows) / 60
    forces = [short(1e3 * float(row["valid_forces"])) for row in rows]
    return {"minutes": short(minutes), "validation": forces}


def measure(cases, rounds):
    """CPU times (rounds,) in ms of energy and forces of each case; two rounds warm up."""
    atoms = read_structure("water64")
    rng = np.random.default_rng(0)
    times = {case: [] for case in cases}
    for k in range(rounds + 2):
        atoms.positions += rng.normal(scale=3e-3, size=atoms.positions.shape)
        for case, evaluator in cases.items():
            start = time.process_time()
            evaluator([atoms], ENERGY)
            if k > 1:
                times[case].append(1e3 * (time.process_time() - start))
    return {case: np.array(t) for case, t in times.items()}


def cases_of(files, networks):
    """Make evaluators, by name of the model and kind of the call."""
    cases = {}
    for name, file in files.items():
        cases[name, PLAIN] = Evaluator(file)
        if layers(cases[name, PLAIN]) == NATIVE:
            cases[name, COMPILED] = Evaluator(file, compile=True)
        if name in networks:
            from maceles import without_charges

            cases[name, NETWORK] = Evaluator(without_charges(networks[name]))
    return cases


def layers(evaluator):
    """Name of the backbone."""
    return evaluator.potential.config.get("backbone", NATIVE)


def timed(times, reference):
    """Medians and ratios of CPU times (rounds,) of each case, by name and kind."""
    found = {}
    for (name, kind), t in times.items():
        low, ratio, high = np.percentile(t / times[reference], [25, 50, 75])
        found.setdefault(name, {})[kind] = {
            "ms": short(np.median(t)),
            "fastest_ms": short(t.min()),
            "ratio": short(ratio),
            "quartiles": [short(low), short(high)],
        }
    return found


def gather(args):
    """Measure everything."""
    files, networks = dict(map(named, args.models)), dict(map(named, args.network))
    if strange := {*networks, *args.time_only} - set(files):
        raise ValueError(f"no models are called {sorted(strange)}")
    cases = cases_of(files, networks)
    name = args.reference or next(iter(files))
    reference = (name, COMPILED if (name, COMPILED) in cases else PLAIN)
    report = {}
    for name, file in files.items():
        evaluator = cases[name, PLAIN]
        report[name] = {"file": Path(file).name, **facts(evaluator)}
        if name in args.time_only:
            del report[name]["trained_on"]
            continue
        frames = read_structures(args.data)  # anew: labels are changed to what the model learned
        chosen = {k: frames[k] for k in range(len(frames))[frames_of(args.frames)]}
        print(f"{name}: errors on {len(chosen)} frames", flush=True)
        report[name] |= {**errors(evaluator, chosen), **curve(file)}
    print(f"{args.rounds} rounds of {len(cases)} calls", flush=True)
    for name, times in timed(measure(cases, args.rounds), reference).items():
        report[name]["times"] = times
    return {
        "data": Path(args.data).name, "frames": args.frames, "atoms": 192, "rounds": args.rounds,
        "threads": 1, "torch": torch.__version__, "reference": reference, "models": report,
    }  # fmt: skip


def markdown(found):
    """Table of all models; two times of our own are without and with compiled functions."""
    lines = [
        "| model | parameters | frames trained on | plain, ms | compiled, ms "
        f"| of the time of {found['reference'][0]} "
        "| forces, meV/Å | energy, meV/atom | Born R², all / off-diagonal |",
        "|---" * 9 + "|",
    ]
    for name, model in found["models"].items():
        times, numbers = model["times"], model.get("errors", {})
        ms = [f"{times[kind]['ms']:.3g}" if kind in times else "–" for kind in (PLAIN, COMPILED)]
        if NETWORK in times:
            ms[0] += f" (network alone, mace-torch: {times[NETWORK]['ms']:.3g})"
        ratio = times.get(COMPILED, times[PLAIN])["ratio"]
        trained = model.get("trained_on", "–")
        energy = numbers.get("energy_shifted", numbers.get("energy"))
        trained = "not told" if trained is None else str(trained)
        cells = [name, f"{model['parameters']}", trained, *ms, f"{ratio:.3g}",
                 told(numbers.get("forces"), "rmse", 1), told(energy, "rmse", 2),
                 told(numbers.get("born"), "r2", 3) + " / "
                 + told(numbers.get("born_offdiagonal"), "r2", 3)]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def told(numbers, key, digits):
    """Write a number, where there is one."""
    return f"{numbers[key]:.{digits}f}" if numbers else "–"


COLOURS = {NATIVE: "#1f77b4", "mace": "#d95f02", "mace-model": "#7b3294"}
"""Of layers, in the picture; others are grey."""

DECADE = (1, 2, 3, 5, 7)
"""Numbers on logarithmic axes."""

PLACES = ((7, 0), (-7, 0), (0, 8), (0, -8), (7, 9), (7, -9), (-7, 9), (-7, -9), (0, 18), (0, -18))
"""Where a label may stand beside its point, in points; the first that is free is taken."""


class Labels:
    """Places labels beside points so that they cover neither one another nor the points."""

    def __init__(self, axis):
        self.axis, self.taken = axis, []

    def keep(self, x, y, radius):
        """Keep labels off a point, by so many points of the page."""
        u, v = self.axis.transData.transform((x, y))
        size = radius * self.axis.figure.dpi / 72
        self.taken.append((u - size, v - size, u + size, v + size))

    def put(self, x, y, text, colour):
        """Write a label at the first place that is free, or at the first of all."""
        for place in PLACES:
            note, box = self.write(x, y, text, colour, *place)
            if self.free(box):
                break
            note.remove()
        else:
            note, box = self.write(x, y, text, colour, *PLACES[0])
        self.taken.append(box)

    def write(self, x, y, text, colour, dx, dy):
        """Write a label; return it and the corners of its box."""
        note = self.axis.annotate(
            text, (x, y), xytext=(dx, dy), textcoords="offset points", fontsize=8.5, color=colour,
            ha="left" if dx > 0 else "right" if dx < 0 else "center",
            va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        )  # fmt: skip
        box = note.get_window_extent()
        return note, (box.x0, box.y0, box.x1, box.y1)

    def free(self, box):
        """Whether a box is inside the panel and covers nothing."""
        x0, y0, x1, y1 = box
        frame = self.axis.bbox
        if x0 < frame.x0 or x1 > frame.x1 or y0 < frame.y0 or y1 > frame.y1:
            return False
        return not any(x0 < c and x1 > a and y0 < d and y1 > b for a, b, c, d in self.taken)


def fastest(model):
    """Milliseconds of the faster way that lrcalc has."""
    return min(t["ms"] for kind, t in model["times"].items() if kind != NETWORK)


def colour_of(model):
    """Colour of a model, by its layers."""
    return COLOURS.get(model["backbone"], "0.4")


def span(values):
    """Return ends of a logarithmic axis."""
    return min(values) / 1.3, max(values) * 1.3


def number(axis):
    """Write plain numbers on a logarithmic axis: some multiples of each power of ten."""
    low, high = axis.get_view_interval()
    ticks = [step * 10**power for power in range(5) for step in DECADE]
    ticks = [t for t in ticks if low <= t <= high]
    axis.set_ticks(ticks, [str(t) for t in ticks])
    axis.set_ticks([], minor=True)


def draw_forces(axis, models):
    """Draw errors of forces, a filled point where lrcalc is fastest, open ones elsewhere."""
    for model in models.values():
        colour, y = colour_of(model), force_of(model)[0]
        times = {kind: t["ms"] for kind, t in model["times"].items()}
        style = ":" if NETWORK in times else "-"
        axis.plot(list(times.values()), [y] * len(times), style, color=colour, lw=1.2, zorder=1)
        for kind, x in times.items():
            shape = "s" if kind == NETWORK else "o"
            filling = colour if x == fastest(model) else "white"
            axis.plot(x, y, shape, color=colour, ms=6.5, mfc=filling, zorder=2)
    axis.set(ylabel="forces, RMSE (meV/Å)", yscale="log")
    axis.set_ylim(*span([force_of(m)[0] for m in models.values()]))
    number(axis.yaxis)
    key(axis, ("o", "0.3", "the faster way in lrcalc"),
        ("o", "white", "without compiled functions"),
        ("s", "white", "MACE's own layers in mace-torch, no charges"))  # fmt: skip


def draw_times(axis, models):
    """Draw lines at the times of models whose errors are not known."""
    for name, model in models.items():
        axis.axvline(fastest(model), color=colour_of(model), lw=1, ls="--", zorder=0)
        axis.text(fastest(model), 0.98, f" {name}", color=colour_of(model), fontsize=8.5,
                  va="top", transform=axis.get_xaxis_transform())  # fmt: skip


def draw_born(axis, models):
    """Draw R² of Born charges: of all components, and of those off the diagonal."""
    for model in models.values():
        colour, x = colour_of(model), fastest(model)
        every, off = born_of(model)
        axis.plot([x, x], [every, off], ":", color=colour, lw=1.2, zorder=1)
        axis.plot(x, every, "o", color=colour, ms=6.5)
        axis.plot(x, off, "v", color=colour, ms=6.5, mfc="white")
    axis.set_ylabel("Born charges, R²")
    axis.margins(y=0.2)
    key(axis, ("o", "0.3", "all components"), ("v", "white", "off the diagonal"))


def draw_curves(axis, models):
    """Draw errors on validation frames after each epoch."""
    styles = itertools.cycle(("-", "--", "-.", ":"))
    for name, model in models.items():
        forces, colour = model["validation"], colour_of(model)
        epochs = range(1, len(forces) + 1)
        axis.plot(epochs, forces, next(styles), color=colour, lw=1.2, label=name)
        axis.plot(len(forces), forces[-1], ".", color=colour)
    axis.set(xlabel="epochs", ylabel="validation forces (meV/Å)", yscale="log")
    axis.set_ylim(*span([f for m in models.values() for f in m["validation"][2:]]))
    number(axis.yaxis)
    axis.legend(fontsize=8, frameon=False, loc="upper right")


def key(axis, *entries):
    """Explain grey marks above a panel: ``entries`` are shape, filling and meaning."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=shape, color="0.3", mfc=filling, linestyle="", label=meaning)
        for shape, filling, meaning in entries
    ]
    axis.legend(handles=handles, fontsize=8, frameon=False, ncols=len(handles), loc="lower left",
                bbox_to_anchor=(-0.01, 0.98), columnspacing=1.2, handletextpad=0.2)  # fmt: skip


def name_points(axis, models, height, kinds):
    """Write names beside the points of the faster way; ``height`` of a model's points."""
    labels = Labels(axis)
    for model in models.values():
        xs = [t["ms"] for t in model["times"].values()] if kinds else [fastest(model)]
        ys = height(model)
        for x, y in itertools.product(xs, ys):
            labels.keep(x, y, 4)
        for x, y in zip(np.geomspace(min(xs), max(xs), 30), np.linspace(*ys, 30), strict=True):
            labels.keep(x, y, 2)
    for name, model in models.items():
        labels.put(fastest(model), height(model)[-1], name, colour_of(model))


def force_of(model):
    """Heights of a model's points among the forces, one twice."""
    return [model["errors"]["forces"]["rmse"]] * 2


def born_of(model):
    """Heights of a model's two points among the Born charges."""
    return [model["errors"][part]["r2"] for part in ("born", "born_offdiagonal")]


def picture(found, path):
    """Draw forces and Born charges over one axis of milliseconds, and learning curves."""
    from matplotlib.figure import Figure

    models = found["models"]
    known = {name: model for name, model in models.items() if "errors" in model}
    charged = {name: model for name, model in known.items() if "born" in model["errors"]}
    learned = {name: model for name, model in models.items() if "validation" in model}
    heights = [1.4] + [1.0] * bool(charged) + [0.8] * bool(learned)
    figure = Figure(figsize=(7.4, 3 * sum(heights)), layout="constrained", dpi=130)
    forces, *others = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    timed_panels = [(forces, known)] + ([(others[0], charged)] if charged else [])
    draw_forces(forces, known)
    draw_times(forces, {name: models[name] for name in models if name not in known})
    if charged:
        draw_born(others[0], charged)
    if learned:
        draw_curves(others[-1], learned)
    every = [t["ms"] for model in models.values() for t in model["times"].values()]
    for axis, _ in timed_panels:
        axis.set(xscale="log", xlim=(min(every) / 2, max(every) * 1.6))
        axis.set_xlabel(f"energy + forces of {found['atoms']} atoms of water (ms, one thread)")
        number(axis.xaxis)
    for axis in (forces, *others):
        axis.grid(alpha=0.3)
    figure.draw_without_rendering()  # the layout, in which names are placed
    for (axis, drawn), height in zip(timed_panels, (force_of, born_of), strict=False):
        name_points(axis, drawn, height, kinds=axis is forces)
    with replacing(path) as file:
        figure.savefig(file, dpi=130)
    print(path)


def main():
    """Measure or read, print a table, write JSON, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="[NAME=]MODEL", help="bundled names or files")
    parser.add_argument("--data", help="labelled frames, extended xyz")
    parser.add_argument("--frames", default=":", help="of the data, as in ASE: 3::7 (default all)")
    parser.add_argument(
        "--network",
        nargs="+",
        default=[],
        metavar="NAME=FILE.model",
        help="MACE-LES files whose own layers are timed beside the model NAME",
    )
    parser.add_argument("--time-only", nargs="+", default=[], metavar="NAME",
                        help="models whose errors are not looked at")  # fmt: skip
    parser.add_argument("--reference", help="model by whose time others are divided (the first)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    parser.add_argument("--from", dest="read", type=Path, help="measure nothing, read such a file")
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    if bool(args.read) == bool(args.models and args.data):
        parser.error("give models and --data, or --from")
    torch.set_num_threads(1)
    found = json.loads(args.read.read_text()) if args.read else gather(args)
    print(markdown(found))
    if args.json:
        with replacing(args.json) as file:
            Path(file).write_text(json.dumps(found, ensure_ascii=False) + "\n")
    if args.picture:
        picture(found, args.picture)


if __name__ == "__main__":
    main()
