"""`lrcalc md --watch`: a run that looks at itself (`lrcalc.information.monitor`)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from lrcalc.commands._options import Group
from lrcalc.information.actions import ACTIONS, EVERY, SCORES

STOPPED = 3
"""Exit status of a run that was stopped because it left its data."""

FIELD_EVERY = 10
"""Looks from one at the forces of a field to the next: they take Born charges."""

OPTIONS = ("watch_every", "watch_action", "watch_limit", "score", "committee")


def add_watch_arguments(group: Group) -> None:
    """Declare against what a run is watched, how often, and what then."""
    group.add_argument(
        "--watch", nargs="*", metavar="DATA|MODEL",
        help="how far atoms are from these data files, or from what a model was trained on; alone: "
        "this run's model. NAME-watch.csv, NAME-outside.xyz",
    )  # fmt: skip
    add_score_arguments(group, "models beside this run's")
    group.add_argument("--watch-every", type=int, metavar="K",
                       help=f"steps from look to look (default {EVERY}, for each further member "
                       "of a committee)")  # fmt: skip
    group.add_argument(
        "--watch-action", choices=ACTIONS,
        help=f"above a limit: a line; the end of the run (status {STOPPED}), with its frame; or "
        "frames to be computed (default warn)",
    )  # fmt: skip
    group.add_argument("--watch-limit", type=float, metavar="X",
                       help="of the score of an atom (nats; of a committee eV/Å) instead of the "
                       "limits of the reference")  # fmt: skip


def add_score_arguments(group: Group, members: str) -> None:
    """Declare by what structures are judged."""
    group.add_argument(
        "--score", choices=SCORES,
        help="δH of environments (default); distance of the model's own features; spread of the "
        "forces and charges of a committee",
    )  # fmt: skip
    group.add_argument("--committee", nargs="+", metavar="MODEL",
                       help=f"{members}, of the same data: --score committee")  # fmt: skip


def check_watch(args: argparse.Namespace) -> None:
    """Refuse options in vain, and a stride that is none."""
    if args.watch is None:
        for name in OPTIONS:
            if getattr(args, name) is not None:
                option = "--" + name.replace("_", "-")
                raise ValueError(f"`{option}` has no effect without `--watch`: leave it out")
        return
    from lrcalc.information.choosing import check_score

    if args.watch_every is not None and args.watch_every < 1:
        raise ValueError(f"`--watch-every` is {args.watch_every} but must be 1 or more")
    check_score(args.score, args.committee)


def watch_files(args: argparse.Namespace) -> dict[str, Path]:
    """Files that watching writes, by their endings; none without it."""
    if args.watch is None:
        return {}
    output = Path(args.out)
    return {end: output.with_name(output.name + end) for end in ("-watch.csv", "-outside.xyz")}


class Watched:
    """A monitor with its files.

    Parameters
    ----------
    args : Namespace
        Parsed options.
    simulation : Simulation
    """

    def __init__(self, args: argparse.Namespace, simulation: Any) -> None:
        from lrcalc.information.choosing import (
            check_score,
            open_judge,
            told_whose,
            usual_stride,
        )
        from lrcalc.information.monitor import Monitor

        names = args.watch or [args.model]
        files = watch_files(args)
        self.table = files["-watch.csv"]
        committee = args.committee or []
        score = check_score(args.score, committee)
        self.every = args.watch_every or usual_stride(score, committee)
        judge = open_judge(
            score, names, own=simulation.calculator.evaluator, own_name=args.model,
            committee=committee, limit=args.watch_limit,
        )  # fmt: skip
        self.monitor = Monitor(
            judge, told_whose(judge, names, score), action=args.watch_action or "warn",
            limit=args.watch_limit, frames=files["-outside.xyz"],
        )  # fmt: skip
        self.columns = ("step", "time_fs", *judge.labels.columns, "atoms_outside")
        judge.scores(simulation.atoms, "the structure")  # refused before the run
        self.looks = 0

    def begin(self, steps: int | None) -> None:
        """Make room, or keep what is of the first ``steps`` of a run that goes on."""
        from lrcalc.trajectory import read_extxyz, write_extxyz

        frames = self.monitor.frames
        assert frames is not None
        rows, kept = [], []
        if steps is not None and self.table.is_file():
            head, *lines = self.table.read_text().splitlines()
            if head != ",".join(self.columns):
                raise ValueError(
                    f"{self.table} is of another score ({head}): go on with that, say --restart, "
                    "or rename it"
                )
            rows = [row for row in lines if float(row.split(",")[0]) <= steps]
        if steps is not None and frames.is_file():
            kept = [a for a in read_extxyz(frames) if a.info.get("step", 0) <= steps]
        self.table.write_text("\n".join([",".join(self.columns), *rows]) + "\n")
        frames.unlink(missing_ok=True)
        if kept:
            write_extxyz(frames, kept)
        self.monitor.saved = len(kept)

    def wanted(self, step: int) -> list[str]:
        """Properties that the look after this step wants to have with the forces."""
        return ["charges"] if self.monitor.needs_charges and step % self.every == 0 else []

    def look(self, simulation: Any) -> str | None:
        """Look if it is time; what is wrong, if the run shall end for it."""
        if simulation.steps % self.every:
            return None
        atoms, calculator = simulation.atoms, simulation.calculator
        results = dict(calculator.results)
        field = results.get("electric_field")
        if field is not None and self.monitor.reference.ranges and self.looks % FIELD_EVERY == 0:
            born = calculator.get_property("born_effective_charges", atoms)
            results["born_effective_charges"] = born
        self.looks += 1
        atoms.info |= {"step": simulation.steps, "time_fs": simulation.time}
        found = self.monitor.look(atoms, results, field)
        row = (simulation.steps, simulation.time, *found[:5])
        with self.table.open("a") as file:
            file.write(",".join(f"{value:.8g}" for value in row) + "\n")
        if not found.told:
            return None
        told = f"step {simulation.steps} ({simulation.time:g} fs): {found.told}"
        if self.monitor.action == "stop":
            return told
        if not self.monitor.told:
            print(f"warning: {told}", file=sys.stderr)
        self.monitor.told = True
        return None
