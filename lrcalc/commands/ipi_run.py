"""`lrcalc ipi-run`: runs i-PI and its clients, with a progress bar; resumes."""

import argparse
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from lrcalc.commands.ipi_input import add_input_arguments, write
from lrcalc.ipi.kinds import KINDS
from lrcalc.ipi.run import (
    Endpoint,
    RunSummary,
    newest_checkpoint,
    read_plan,
    run_ipi,
    set_total_steps,
)

NAME = "ipi-run"
HELP = "run i-PI with the model: progress, Ctrl-C, resume"
EXAMPLE = "lrcalc ipi-run --kind nvt --structure water.xyz --steps 2000 --workdir run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `lrcalc ipi-run`."""
    parser.add_argument("input", nargs="?", help="an input that exists (else --kind, --structure)")
    parser.add_argument("--kind", choices=list(KINDS), help="write an input of this kind first")
    parser.add_argument("--structure", help="start, any file that ASE reads")
    parser.add_argument(
        "--resume",
        metavar="FOLDER",
        help="continue the run in this folder from its newest RESTART or checkpoint; --steps sets"
        " a new total",
    )
    parser.add_argument("--clients", type=int, default=1, help="clients to start per socket")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_input_arguments(parser)


def client_commands(endpoints: list[Endpoint], count: int) -> list[list[str]]:
    """Commands of `count` clients for each socket; INIT tells them the model."""
    return [
        [sys.executable, "-m", "lrcalc.cli", "ipi", f"--{end.mode}", "--address", end.address]
        + (["--port", str(end.port)] if end.mode == "inet" else [])
        for end in endpoints
        for _ in range(count)
    ]


def prepare(args: argparse.Namespace) -> Path:
    """Return the file to run: given, written now, or the newest state of a run to resume."""
    chosen = [args.input is not None, args.resume is not None, args.kind is not None]
    if sum(chosen) != 1:
        raise ValueError("give one of: an input file, --kind with --structure, or --resume FOLDER")
    if args.resume is not None:
        folder = Path(args.resume)
        state = folder / "resume.xml"
        shutil.copyfile(newest_checkpoint(folder), state)
        if args.steps is not None:
            set_total_steps(state, args.steps)
        plan = read_plan(state)
        if plan.first_step >= plan.total_steps:
            raise ValueError(
                f"the run in {folder} has done all of its {plan.total_steps} steps: use --steps to"
                " ask for more"
            )
        return state
    if args.input is not None:
        return Path(args.input)
    if args.structure is None:
        raise ValueError("`--kind` needs `--structure`, the file to start from")
    return write(args)


def progress_bar(
    total: int, first: int
) -> tuple[Callable[[int, Mapping[str, float]], None], object]:
    """Return a callback for `run_ipi` and its bar: step, conserved, temperature, time left."""
    from tqdm import tqdm

    bar = tqdm(total=total, initial=first, unit="step", dynamic_ncols=True)

    def show(step: int, row: Mapping[str, float]) -> None:
        text = {"E'": f"{row['conserved']:.4f} eV"} if "conserved" in row else {}
        if "temperature" in row:
            text["T"] = f"{row['temperature']:.0f} K"
        bar.set_postfix(text, refresh=False)
        bar.update(max(0, step - bar.n))

    return show, bar


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
    if not summary.finished and summary.restart is not None:
        lines.append(f"continue: lrcalc ipi-run --resume {summary.restart.parent}")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """Run to the end, or until Ctrl-C (status 130)."""
    path = prepare(args)
    plan = read_plan(path)
    show, bar = (None, None) if args.quiet else progress_bar(plan.total_steps, plan.first_step)
    try:
        summary = run_ipi(
            path, progress=show, clients=client_commands(plan.endpoints, args.clients)
        )
    finally:
        if bar is not None:
            bar.close()  # type: ignore[attr-defined]
    print(describe(summary))
    return 130 if summary.interrupted else 0
