"""`lrcalc ipi-run`: runs i-PI and its clients, with a progress bar; resumes."""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lrcalc.commands._ipi_options import given_options, naming_options
from lrcalc.commands._naming import flag
from lrcalc.commands.ipi_input import START, add_input_arguments, kinds_help, write
from lrcalc.ipi.kinds import KINDS
from lrcalc.ipi.run import (
    RunSummary,
    client_words,
    newest_checkpoint,
    read_plan,
    run_ipi,
    set_total_steps,
)
from lrcalc.ipi_files.simulation import Socket
from lrcalc.progress import Progress, progress_bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc ipi-run`."""
    parser.add_argument("input", nargs="?", help="an input that exists (else --kind, --structure)")
    parser.add_argument(
        "--kind",
        choices=list(KINDS),
        help=f"write an input of this kind first. {kinds_help()}",
    )
    parser.add_argument("--structure", metavar="FILE", help=START)
    parser.add_argument(
        "--resume",
        metavar="FOLDER",
        help="continue the run in this folder from its newest RESTART or checkpoint; --steps sets"
        " a new total",
    )
    parser.add_argument(
        "--clients",
        type=int,
        help="clients to start per socket (default 1; 0: wait for some that you start)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_input_arguments(parser)


def client_commands(endpoints: list[Socket], count: int) -> list[list[str]]:
    """Commands of `count` clients for each socket; INIT tells them the model."""
    return [
        [sys.executable, "-m", "lrcalc.cli", *client_words(end)]
        for end in endpoints
        for _ in range(count)
    ]


def prepare(args: argparse.Namespace) -> Path:
    """Return the file to run: given, written now, or the newest state of a run to resume."""
    chosen = [args.input is not None, args.resume is not None, args.kind is not None]
    if sum(chosen) != 1:
        raise ValueError("give one of: an input file, --kind with --structure, or --resume FOLDER")
    if args.clients is not None and args.clients < 0:
        raise ValueError(f"`--clients` is {args.clients} but must be 0 or more")
    if args.resume is not None:
        _refuse_others(args, f"--resume: the run in {args.resume} keeps what it has", {"steps"})
        return resume(Path(args.resume), args.steps)
    if args.input is not None:
        _refuse_others(args, f"an input file: change it in {args.input}", set())
        return Path(args.input)
    if args.structure is None:
        raise ValueError("`--kind` needs `--structure`, the file to start from")
    in_process = args.transport in (None, "ffdirect")
    return write(args, runs_here=in_process or args.clients != 0)


def _refuse_others(args: argparse.Namespace, where: str, allowed: set[str]) -> None:
    """Refuse options of an input that is not going to be written."""
    given = given_options(args, add_input_arguments)
    if args.structure is not None:
        given["structure"] = args.structure
    others = [flag(name) for name in given if name not in allowed]
    if others:
        raise ValueError(f"`{', '.join(others)}` cannot be used with {where}")


def resume(folder: Path, steps: int | None) -> Path:
    """Return a copy of the newest state in `folder`, with `steps` in all if they are given."""
    if steps is not None and steps < 1:
        raise ValueError(f"`steps` is {steps} but must be 1 or more: the total, not those to add")
    newest = newest_checkpoint(folder)
    plan = read_plan(newest)
    total = plan.total_steps if steps is None else steps
    if plan.first_step >= total:
        asked = "its own total" if steps is None else "what `--steps` asks for in all"
        raise ValueError(
            f"the run in {folder} is at step {plan.first_step}, and {total} is {asked}: nothing is"
            f" left to do. Use --steps with more than {plan.first_step} to go on"
        )
    state = folder / "resume.xml"
    shutil.copyfile(newest, state)
    if steps is not None:
        set_total_steps(state, steps)
    return state


def show_in(bar: Progress) -> Callable[[int, Mapping[str, float]], None]:
    """Return a callback for `run_ipi`: step, conserved quantity, temperature."""

    def show(step: int, row: Mapping[str, float]) -> None:
        text = [f"E' {row['conserved']:.4f} eV"] if "conserved" in row else []
        if "temperature" in row:
            text.append(f"T {row['temperature']:.0f} K")
        bar.set_postfix_str(", ".join(text), refresh=False)
        bar.update(max(0, step - bar.n))

    return show


def describe(summary: RunSummary) -> str:
    """Return the last words of a run."""
    if summary.finished:
        state = "finished"
    elif summary.interrupted:
        state = "interrupted"
    else:
        state = "stopped"
    lines = [f"{state} at step {summary.step} of {summary.total_steps}, {summary.seconds:.1f} s"]
    lines += [f"  {path}" for path in summary.files]
    if summary.set_aside:
        names = f"{summary.set_aside[0].name}{', …' * (len(summary.set_aside) > 1)}"
        lines.append(f"{len(summary.set_aside)} files of an earlier run were renamed: {names}")
    if not summary.finished and summary.restart is not None:
        lines.append(f"continue: lrcalc ipi-run --resume {summary.restart.parent}")
    return "\n".join(lines)


@naming_options()
def run(args: argparse.Namespace) -> int:
    """Run to the end, or until Ctrl-C (status 130)."""
    path = prepare(args)
    plan = read_plan(path)
    if args.clients is not None and not plan.endpoints:
        raise ValueError(
            "`--clients` has no effect: the input has no socket, the model runs in i-PI's process."
            " Leave it out, or write an input with --transport unix or inet"
        )
    if args.clients == 0:
        print("waiting for clients:", *(" ".join(client_words(e)) for e in plan.endpoints),
              sep="\n  lrcalc ", file=sys.stderr, flush=True)  # fmt: skip
    count = 1 if args.clients is None else args.clients
    with progress_bar(
        plan.total_steps, initial=plan.first_step, unit="step", disable=args.quiet
    ) as bar:
        summary = run_ipi(
            path, progress=show_in(bar), clients=client_commands(plan.endpoints, count)
        )
    print(describe(summary))
    return 130 if summary.interrupted else 0
