"""What `lrcalc --help` says of each command, so that none has to be imported for it."""

from __future__ import annotations

from typing import NamedTuple

from lrcalc.commands.spectra import ROWS


class Command(NamedTuple):
    """One command.

    Attributes
    ----------
    module : str
        Of this package; it has ``add_arguments(parser)`` and ``run(options)``, or ``ROWS`` by
        command that have them.
    help : str
        One line.
    example : str
        A command line that works.
    """

    module: str
    help: str
    example: str


COMMANDS = {
    "demo": Command(
        "demo",
        "64 waters, bundled model: i-PI runs, infrared and Raman spectrum",
        "lrcalc demo --output demo-output",
    ),
    "info": Command(
        "info",
        "print the card of a model: what it is, its data, errors and licence",
        "lrcalc info water",
    ),
    "evaluate": Command(
        "evaluate",
        "errors of a model on an extended xyz file: energy, forces, stress, Born charges, …",
        "lrcalc evaluate water frames.xyz.gz --json errors.json",
    ),
    "train": Command(
        "train",
        "train a potential on energies, forces and stresses of an extended xyz file",
        "lrcalc train --train water.xyz --level u --epochs 100 --out water.pt",
    ),
    "benchmark": Command(
        "benchmark",
        "what each level of the theory brings on your data: several levels and seeds, a table",
        "lrcalc benchmark levels --train frames.xyz --test-every 7 --levels q u uiu -o levels",
    ),
    "convert": Command(
        "convert",
        "make a model file of a pickled MACE or MACE-LES model, read without their packages",
        "lrcalc convert WATER.model --trust-pickle --epsilon-infinity 1.78 -o water-les.pt",
    ),
    "fit-polarizability": Command(
        "fit_polarizability",
        "teach a model the polarizability of structures for which it was computed",
        "lrcalc fit-polarizability --model water --data alpha.xyz --unit A3 --out water-raman.pt",
    ),
    "wall": Command(
        "wall",
        "give a trained model a wall below the distances of its data: no atoms fall together",
        "lrcalc wall M.pt --data frames.xyz -o M-walled.pt",
    ),
    "fit-charges": Command(
        "fit_charges",
        "give a trained model the charges of labelled frames; energies stay consistent",
        "lrcalc fit-charges nacl.pt --data frames.xyz --born-weight 1 -o nacl-born.pt",
    ),
    "md": Command(
        "md",
        "molecular dynamics (NVE, NVT, NPT) at constant field, displacement or voltage",
        "lrcalc md water water64 --ensemble nvt --field 0 0 0.1 --steps 2000 --out run",
    ),
    "ipi": Command(
        "ipi",
        "serve energies and forces to an i-PI that listens on a socket",
        "lrcalc ipi --unix --address lrcalc --model water --template init.xyz",
    ),
    "ipi-input": Command(
        "ipi_input",
        "write a commented i-PI input: NVE, NVT, NPT, path integrals, fields, pulses",
        "lrcalc ipi-input --kind trpmd --beads 8 --structure water64 --workdir run",
    ),
    "ipi-run": Command(
        "ipi_run",
        "run i-PI with the model: progress, Ctrl-C, resume",
        "lrcalc ipi-run --kind nvt --structure water64 --steps 2000 --workdir run",
    ),
    "lammps-input": Command(
        "lammps_input",
        "write a commented LAMMPS input: NVE, NVT, NPT, fields, minimization, many ranks",
        "lrcalc lammps-input --kind nvt --structure water64 --workdir run",
    ),
    "lammps": Command(
        "lammps",
        "run a LAMMPS input with pair_style lrcalc; on N ranks: mpirun -n N lrcalc lammps …",
        "lrcalc lammps -in in.lmp -log run.log",
    ),
    "lammps-plugin": Command(
        "lammps_plugin",
        "compile the plugin with pair_style lrcalc for the LAMMPS that is installed",
        "lrcalc lammps-plugin build",
    ),
    **{name: Command("spectra", row.help, row.example) for name, row in ROWS.items()},
    "modes": Command(
        "modes",
        "modes at Γ with infrared intensities, ε(ω), LO–TO, from DFT files or a model",
        "lrcalc modes --from quartz/ --json quartz.json",
    ),
    "entropy": Command(
        "entropy",
        "information in the atomic environments of data: entropy and diversity",
        "lrcalc entropy frames.xyz --bandwidth 0.035",
    ),
    "extrapolation": Command(
        "extrapolation",
        "what of a run lies outside of data, or of what a model was trained on",
        "lrcalc extrapolation md.xyz --reference water -o md",
    ),
    "select": Command(
        "select",
        "frames of a run that are worth computing: each the most novel after those before",
        "lrcalc select md.xyz --keep 20 -o selected",
    ),
    "reference": Command(
        "reference",
        "give a model file the environments that it was trained on",
        "lrcalc reference mine.pt --data frames.xyz -o mine-known.pt",
    ),
    "phases": Command(
        "phases",
        "which phase each atom is in; denoise structures; train models of phases",
        "lrcalc phases label run.xyz --model metals -o labelled",
    ),
    "completion": Command(
        "completion",
        "print a script that completes commands, options and names in bash or zsh",
        "lrcalc completion bash > ~/.local/share/bash-completion/completions/lrcalc",
    ),
}
"""What can follow `lrcalc`, in the order of its help."""
