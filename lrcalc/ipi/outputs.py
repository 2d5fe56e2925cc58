"""What a run writes: properties, extras, trajectories, checkpoints."""

from typing import NamedTuple

from lrcalc.ipi.kinds import Kind, indent
from lrcalc.ipi.settings import DriverSettings


class Outputs(NamedTuple):
    """How often things are written, in steps; zero leaves one out.

    Not so `properties`, from which progress and the end of a run are read, and `checkpoint`, from
    which a run that crashed is resumed: these are always written, if rarely.
    """

    prefix: str = "sim"
    properties: int = 1
    dipole: int = 1
    positions: int = 20
    velocities: int = 0
    checkpoint: int = 100
    dielectric: int = 0


NEEDED = {
    "properties": "the run is followed by them",
    "checkpoint": "a run that crashed is resumed from it",
}
"""Strides that cannot be zero, and why."""


def check_outputs(outputs: Outputs) -> Outputs:
    """Return `outputs` unless a stride is one that i-PI would fail on, hours later or at once.

    Raises
    ------
    ValueError
        For a stride that is negative or no whole number, or zero where the output is needed.
    """
    for name, value in outputs._asdict().items():
        if name == "prefix":
            continue
        if isinstance(value, bool) or value != int(value) or value < 0:
            raise ValueError(
                f"`outputs.{name}` is {value!r} but must be a whole number of steps, 0 or more"
            )
        if value == 0 and name in NEEDED:
            raise ValueError(
                f"`outputs.{name}` is 0, but it cannot be left out: {NEEDED[name]}. Use a large"
                " stride to have it written rarely"
            )
    return outputs


def output_block(
    kind: str,
    plan: Kind,
    outputs: Outputs,
    settings: DriverSettings,
    lazy: DriverSettings | None,
    components: int,
) -> str:
    """Return the ``<output>`` with properties, trajectories and checkpoints."""
    kinetic = "kinetic_cv" if plan.beads > 1 else "kinetic_md"
    columns = [
        "step",
        "time{picosecond}",
        "conserved{electronvolt}",
        "temperature{kelvin}",
        "potential{electronvolt}",
        f"{kinetic}{{electronvolt}}",
    ]
    if plan.ensemble == "npt":
        pressure = "pressure_cv" if plan.beads > 1 else "pressure_md"
        columns += ["volume{angstrom3}", f"{pressure}{{megapascal}}"]
    lines = [
        f"<properties stride='{outputs.properties}' filename='out'>"
        f" [ {', '.join(columns)} ] </properties>"
    ]
    if lazy is None:
        for name in settings.extras:
            stride = outputs.dipole
            if stride and not (kind == "pulse" and name == "BEC"):
                lines.append(
                    f"<trajectory filename='{name}' stride='{stride}' extra_type='{name}'>"
                    " extras </trajectory>"
                )
    else:
        # the last force component; one value, of the centroid
        for name in lazy.extras:
            lines.append(
                f"<trajectory filename='{name}' stride='{outputs.dielectric}'"
                f" extra_type='{name}'> extras_component_raw({components - 1}) </trajectory>"
            )
    if outputs.positions:
        lines.append(
            f"<trajectory filename='pos' stride='{outputs.positions}' format='ase'>"
            " positions </trajectory>"
        )
    if outputs.velocities:
        lines.append(
            f"<trajectory filename='vel' stride='{outputs.velocities}' format='ase'>"
            " velocities </trajectory>"
        )
    if kind == "te-pigs":
        stride = outputs.positions or 20
        for name, what in (
            ("centroid", "x_centroid"),
            ("force-centroid", "f_centroid"),
            ("force-classical", "forces_component(1)"),
        ):
            lines.append(
                f"<trajectory filename='{name}' stride='{stride}' format='ase'>"
                f" {what} </trajectory>"
            )
    lines.append(
        f"<checkpoint filename='checkpoint' stride='{outputs.checkpoint}' overwrite='true'/>"
    )
    body = indent("\n".join(lines), 2)
    return f"<output prefix='{outputs.prefix}'>\n{body}\n</output>"
