"""What each kind of run means: ensemble, beads, time step, thermostat, in i-PI's words."""

from typing import NamedTuple

from lrcalc.courses import Pulse
from lrcalc.fields import DISPLACEMENT, FIELD, VOLTAGE, Field


class Kind(NamedTuple):
    """Defaults of a kind of run. Times in fs.

    `thermostat` is one of "none", "classical" (svr), "path" (PILE with a global centroid
    thermostat); `tau` its time; `frequencies` the wavenumber (cm⁻¹) of all internal modes of the
    ring polymer in PA-CMD.
    """

    about: str
    ensemble: str = "nvt"
    beads: int = 1
    timestep: float = 0.5
    tau: float = 100.0
    pile_lambda: float = 0.5
    frequencies: float | None = None
    needs_field: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "nve": Kind("classical dynamics at constant energy", ensemble="nve"),
    "nvt": Kind("classical sampling at constant temperature"),
    "npt": Kind("classical sampling at constant temperature and pressure", ensemble="npt"),
    "pimd": Kind(
        "path-integral sampling at constant temperature (PILE-G)", beads=32, timestep=0.25
    ),
    "trpmd": Kind(
        "thermostatted ring-polymer dynamics: internal modes at half critical damping,"
        " the centroid almost free (Rossi, Ceriotti, Manolopoulos 2014)",
        beads=32,
        timestep=0.25,
        tau=1000.0,
    ),
    "pacmd": Kind(
        "partially adiabatic centroid dynamics: internal modes moved to one high frequency"
        " (Hone, Rossky, Voth 2006; Habershon et al. 2008)",
        beads=32,
        timestep=0.2,
        tau=1000.0,
        pile_lambda=0.01,
        frequencies=10000.0,
    ),
    "te-pigs": Kind(
        "path integrals at an elevated temperature that print centroid positions and forces and"
        " the classical force at the centroid: the data of a Te PIGS potential"
        " (Musil et al. 2022)",
        beads=8,
        timestep=0.25,
    ),
    "efield": Kind(
        "dynamics in a constant electric field E, or at constant voltage E·a along each lattice"
        " vector a",
        needs_field=(FIELD, VOLTAGE),
    ),
    "dfield": Kind("dynamics at constant electric displacement D", needs_field=(DISPLACEMENT,)),
    "pulse": Kind(
        "dynamics driven by a field pulse E(t) through Born charges",
        ensemble="nve",
        timestep=0.25,
        needs_field=("pulse",),
    ),
}
"""Kind of run by its name."""


def thermostat(kind: Kind) -> str:
    """Return the thermostat of the atoms."""
    if kind.beads > 1:
        return (
            "<!-- critical damping of the internal modes times pile_lambda; tau is for the"
            " centroid -->\n"
            f"<thermostat mode='pile_g'> <tau units='femtosecond'> {kind.tau:g} </tau>"
            f" <pile_lambda> {kind.pile_lambda:g} </pile_lambda> </thermostat>"
        )
    return (
        "<!-- velocity rescaling: samples the canonical ensemble and hardly disturbs spectra -->\n"
        f"<thermostat mode='svr'> <tau units='femtosecond'> {kind.tau:g} </tau> </thermostat>"
    )


def barostat() -> str:
    """Return an isotropic barostat with a thermostat of its own."""
    return (
        "<barostat mode='isotropic'>\n"
        "  <tau units='femtosecond'> 250 </tau>\n"
        "  <thermostat mode='langevin'> <tau units='femtosecond'> 250 </tau> </thermostat>\n"
        "</barostat>"
    )


HELD_TOGETHER = "<fixcom> True </fixcom>"
"""Constraint of a run without fixed atoms."""


def motion(plan: Kind, constraint: str = HELD_TOGETHER, pulse: Pulse | None = None) -> str:
    """Return the ``<motion>`` of a run; `constraint` as `start.constraint_block`.

    Driven by a pulse, i-PI prints a `conserved` that leaves the energy of the field out, and the
    field acts to first order: the induced part ``-½ E·α·E``, which a constant field in the driver
    has, is not there.
    """
    mode, prefix = ("dynamics", "") if pulse is None else ("driven_dynamics", "eda-")
    parts = [f"<timestep units='femtosecond'> {plan.timestep:g} </timestep>"]
    if plan.ensemble != "nve":
        parts.append(thermostat(plan))
    if plan.ensemble == "npt":
        parts.append(barostat())
    if pulse is not None:
        parts.append(driving(pulse))
    inner = "\n".join(parts)
    return (
        f"<motion mode='{mode}'>\n"
        f"{indent(constraint, 2)}\n"
        f"  <{mode} mode='{prefix}{plan.ensemble}'>\n{indent(inner, 4)}\n  </{mode}>\n"
        "</motion>"
    )


def check_pulse(pulse: Pulse) -> None:
    """Refuse a pulse that makes no sense, or that i-PI would take for something else.

    Raises
    ------
    ValueError
        As a `Field`, and for a peak that is not positive where there is a width.
    """
    Field(FIELD, pulse)
    if pulse.width is not None and not pulse.peak > 0:
        # i-PI: envelope on = peak > 0 and sigma finite
        raise ValueError(
            f"`pulse.peak` is {pulse.peak:g} fs but must be positive and finite with"
            " `pulse.width`: i-PI drops the envelope otherwise, and the field never ends. Three"
            f" widths, {3 * pulse.width:g} fs, let it rise from nothing"
        )


def driving(pulse: Pulse) -> str:
    """Return what drives dynamics by a field through Born charges."""
    amplitude = ", ".join(f"{x:.10g}" for x in pulse.amplitude)
    field = [f"<amp units='v/ang'> [ {amplitude} ] </amp>"]
    if pulse.frequency:
        field.append(f"<freq units='inversecm'> {pulse.frequency:g} </freq>")
    if pulse.width is not None:
        field.append(f"<peak units='femtosecond'> {pulse.peak:g} </peak>")
        field.append(f"<sigma units='femtosecond'> {pulse.width:g} </sigma>")
    return "\n".join(
        [
            f"<efield>\n{indent(chr(10).join(field), 2)}\n</efield>",
            "<!-- Born charges come from the driver at every step, as extras; the field acts"
            " through them, to first order -->",
            "<bec mode='driver'/>",
            "<!-- the acoustic sum rule of a learned model holds to rounding only -->",
            "<asr_threshold> 1e-2 </asr_threshold>",
        ]
    )


def indent(text: str, spaces: int) -> str:
    """Shift every line to the right."""
    return "\n".join(" " * spaces + line if line else line for line in text.split("\n"))
