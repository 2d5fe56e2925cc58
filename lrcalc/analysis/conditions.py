"""Under which conditions data were made, and which formula holds for them.

Fluctuation formulas hold in equilibrium, at one electric boundary condition; time correlations
need a time axis that means something. Conditions come from a run's own files: the input of i-PI,
or what ``lrcalc md`` writes into its frames. Data that come without conditions are taken as they
are: in equilibrium, without a field.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from lrcalc.analysis.correlator import Series
from lrcalc.analysis.lammps_series import read_head, series_of
from lrcalc.fields import DISPLACEMENT, FIELD, KINDS, TABLE
from lrcalc.ipi_files.folder import IPIRun, run_of
from lrcalc.ipi_files.simulation import DYNAMICS, Simulation, Thermostat
from lrcalc.run_conditions import RunConditions

P = ParamSpec("P")
R = TypeVar("R")

DAMPING = ("langevin", "pile_l", "pile", "gle", "nm_gle", "nm_gle_g", "cl", "ffl", "andersen")
"""Thermostats that act on single atoms: they damp motion and broaden lines."""

WEAK = 5000.0
"""A local thermostat slower than this, fs, broadens lines by about one wavenumber."""

FREE_CENTROID = 500.0
"""A ring polymer's centroid is nearly free with a thermostat at least so slow, fs."""

LOSS = "ω/c·Im(−1/ε) (cm⁻¹), longitudinal"
"""What the formula of infrared absorption gives at constant D."""


class Formula(NamedTuple):
    """What an analysis asks of its data."""

    name: str
    longitudinal: str = ""
    """What it gives at constant electric displacement."""
    timed: bool = True
    """It correlates in time."""
    charge_flows: bool = False
    """It needs charge that may flow for ever."""


_LO = "polar modes stand at their longitudinal frequencies (LO)"

FORMULAS = {
    "infrared": Formula(
        "the infrared spectrum",
        "this is the longitudinal response, ω/c·Im(−1/ε), whose peaks are LO and not TO; "
        "`lrcalc dielectric` turns it into ε(ω)",
    ),
    "raman": Formula("the Raman spectrum", _LO),
    "dielectric": Formula(
        "the dielectric function",
        "ε is one over 1/ε = 1/ε_∞ − [⟨δM²⟩ + iω∫…]/(3 ε0 V k_BT)",
    ),
    "conductivity": Formula("the conductivity", charge_flows=True),
    "sfg": Formula("the sum-frequency spectrum", _LO),
    "vdos": Formula("the vibrational density of states", _LO),
    "msd": Formula(
        "the mean-square displacement", "ions are held back by what their motion does to D"
    ),
}


def of_run(run: IPIRun) -> RunConditions:
    """Conditions of a run of i-PI, from its input."""
    told = run.simulation
    held, value, varies = _held(told)
    first = next((p for p in told.parameters if p.get("model")), {})
    infinity = next((p["epsilon_infinity"] for p in told.parameters if "epsilon_infinity" in p), "")
    return RunConditions(
        ensemble=_ensemble(run.mode),
        thermostat=_thermostat(told.thermostat),
        dynamics=_dynamics(told, run.beads),
        beads=run.beads,
        temperature=run.temperature,
        timestep=run.timestep,
        held=held,
        value=value,
        varies=varies,
        epsilon_infinity=_number(infinity),
        model=first.get("model", ""),
    )


def beside(path: str | Path) -> RunConditions | None:
    """Conditions of the run of i-PI or LAMMPS that wrote a file; None if none beside it did."""
    run = run_of(path)
    if run is not None:
        return of_run(run)
    series = series_of(path)
    return None if series is None else read_head(series).conditions


def of_data(data: Any) -> list[RunConditions]:
    """Conditions of whatever an analysis is given: a Series, or lists of them."""
    if isinstance(data, Series):
        return [] if data.conditions is None else [data.conditions]
    if isinstance(data, list | tuple):
        return [found for one in data for found in of_data(one)]
    return []


def common(found: Sequence[RunConditions]) -> RunConditions | None:
    """Conditions that several runs share; None if none are known.

    Raises
    ------
    ValueError
        If they are averaged over different fields or temperatures.
    """
    if not found:
        return None
    first = found[0]
    for other in found[1:]:
        if field_of(other) != field_of(first):
            raise ValueError(
                f"the runs were made {said(first)} and {said(other)}: do them one by one"
            )
        pair = [one.temperature for one in (first, other) if one.temperature]
        settled = all(one.ensemble in ("nvt", "npt") for one in (first, other))
        if settled and len(pair) == 2 and abs(pair[0] - pair[1]) > 0.01 * max(pair):
            raise ValueError(f"the runs are at {pair[0]:g} K and {pair[1]:g} K: do them one by one")
    worst = max(found, key=lambda one: (_damped(one) is not None, one.ensemble == "npt"))
    return worst


def field_of(conditions: RunConditions) -> tuple[Any, ...]:
    """Return what of the conditions decides the electric boundary condition."""
    held, value, varies = conditions.held, conditions.value, conditions.varies
    if held != DISPLACEMENT and not varies and value is not None and not any(value):
        return ("", None, False)
    return (held, value, varies)


def said(conditions: RunConditions) -> str:
    """Say what was held: "at constant electric displacement D of (0, 0, 0.01) e/Å²"."""
    held, value, varies = field_of(conditions)
    if not held:
        return "without a field"
    size = "" if value is None else f" of ({', '.join(f'{x:g}' for x in value)}) {KINDS[held]}"
    return f"{'driven by a varying' if varies else 'at constant'} {TABLE[held].name}{size}"


def longitudinal(data: Any) -> bool:
    """Whether the data were made at constant electric displacement."""
    found = common(of_data(data))
    return found is not None and found.at_constant_d and not found.varies


def check(conditions: RunConditions | None, analysis: str) -> list[str]:
    """Return notes on what an analysis means under these conditions.

    Parameters
    ----------
    conditions : RunConditions or None
        None for unknown ones: nothing is said then.
    analysis : str
        A key of `FORMULAS`.

    Raises
    ------
    ValueError
        If its formula does not hold; the message says why, and the way out.
    """
    if conditions is None:
        return []
    reasons = list(_refusals(conditions, FORMULAS[analysis]))
    if reasons:
        raise ValueError(
            f"{reasons[0]}. `force_equilibrium` computes it nevertheless and says so (in Python: a "
            "Series without conditions)"
        )
    return list(_notes(conditions, analysis))


def forced(
    conditions: RunConditions | None, analysis: str
) -> tuple[RunConditions | None, list[str]]:
    """Conditions that the analysis accepts, and what has been overridden, in words."""
    if conditions is None:
        return None, []
    reasons = list(_refusals(conditions, FORMULAS[analysis]))
    kept = conditions._replace(varies=False, thermostat="", dynamics="classical")
    if conditions.varies or FORMULAS[analysis].charge_flows:
        kept = kept._replace(held="", value=None)
    return kept, [f"WARNING, forced: {reason}" for reason in reasons]


def equilibrium(analysis: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let an analysis look at the conditions of its data, and tell them in its notes."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            notes = check(common(of_data([*args, *kwargs.values()])), analysis)
            result: Any = function(*args, **kwargs)
            if not notes:
                return result
            told = [*notes, *result.settings.get("notes", [])]
            return result._replace(settings={**result.settings, "notes": told})

        return checked

    return decorate


def _refusals(conditions: RunConditions, formula: Formula) -> Iterable[str]:
    held, _, varies = field_of(conditions)
    if conditions.dynamics.startswith("motion "):
        yield (
            f"the run's {conditions.dynamics!r} is no dynamics in equilibrium, and {formula.name} "
            "is a formula of equilibrium. Run on from its last state with dynamics alone"
        )
    if varies:
        yield (
            f"the run was {said(conditions)}: it is not in equilibrium, and {formula.name} is a "
            "formula of equilibrium. Run on without the field, from its last state, or take the "
            "response itself: the dipole with the field less that without it"
        )
    elif held and formula.charge_flows:
        yield (
            f"the run was made {said(conditions)}: "
            + (
                "no charge can flow for ever at constant D, its direct current is zero"
                if held == DISPLACEMENT
                else "a conductor carries a current then, which is not its fluctuation"
            )
            + ". Run without a field"
        )
    damped = _damped(conditions)
    if damped and formula.timed:
        yield (
            f"{damped}, so {formula.name} of this run is not that of the atoms' own motion "
            "(averages, such as ε(0), are right). Run on from its last state with the kind nve or "
            "nvt (one bead), trpmd or pacmd (beads)"
        )


def _damped(conditions: RunConditions) -> str | None:
    """Why the time axis of a run means nothing; None if it does."""
    if conditions.dynamics == "pimd":
        return (
            f"path-integral sampling ({conditions.thermostat or 'its thermostat'}) moves the "
            "centroid by a thermostat"
        )
    if conditions.dynamics == "exchange":
        return "the run exchanges replicas"
    weak = conditions.thermostat.startswith("weak ")
    if conditions.dynamics == "classical" and not weak and _damps(conditions.thermostat):
        return f"the thermostat {conditions.thermostat!r} acts on each atom and damps its motion"
    return None


def _notes(conditions: RunConditions, analysis: str) -> Iterable[str]:
    held = field_of(conditions)[0]
    if held == DISPLACEMENT:
        yield f"made {said(conditions)}: {FORMULAS[analysis].longitudinal}"
    elif held:
        yield (
            f"made {said(conditions)}: means are removed, this is the response about the "
            "polarised state"
        )
    if conditions.ensemble == "npt":
        yield (
            "at constant pressure: the barostat moves the cell and the dipole too, and the mean "
            "volume is used"
        )


def _ensemble(mode: str) -> str:
    name = mode.removeprefix("eda-")
    for known in ("nve", "nvt", "npt"):
        if name.startswith(known):
            return known
    return {"nst": "npt", "scnpt": "npt", "sc": "nvt"}.get(name, "")


def _thermostat(found: Thermostat | None) -> str:
    if found is None:
        return "none"
    weak = found.tau is not None and found.tau >= WEAK
    return f"weak {found.mode}" if weak and _damps(found.mode) else found.mode


def _damps(thermostat: str) -> bool:
    """Whether one of the thermostats (``svr + langevin``) acts on single atoms."""
    return any(part in DAMPING for part in thermostat.split(" + "))


def _dynamics(told: Simulation, beads: int) -> str:
    """Say what the time axis means."""
    if told.exchange:
        return "exchange"
    others = [part for part in told.motion.split(" + ") if part not in ("", *DYNAMICS)]
    if others:
        return f"motion {' + '.join(others)}"
    if beads == 1:
        return "classical"
    if told.frequencies in ("pa-cmd", "wmax-cmd"):
        return "pa-cmd"
    thermostat = told.thermostat
    if thermostat is None:
        return "rpmd"
    slow = thermostat.tau is not None and thermostat.tau >= FREE_CENTROID
    free = thermostat.mode in ("pile_g", "pile_l") and (slow or thermostat.centroid_free)
    if thermostat.mode == "pile_l" and not thermostat.centroid_free:
        free = thermostat.tau is not None and thermostat.tau >= WEAK
    return "trpmd" if free else "pimd"


def _held(told: Simulation) -> tuple[str, tuple[float, float, float] | None, bool]:
    """Return what the driver or i-PI held, its value, and whether it varied."""
    pulse = told.pulse
    if pulse is not None and any(pulse.amplitude):
        varies = pulse.width is not None or pulse.frequency != 0
        amplitude = np.cos(pulse.phase) * np.array(pulse.amplitude)
        x, y, z = pulse.amplitude if varies else amplitude.tolist()
        return FIELD, (x, y, z), varies
    for parameters in told.parameters:
        for name in KINDS:
            if parameters.get(name, "none").lower() not in ("none", ""):
                words = parameters[name].replace(";", " ").strip("[]() ").split()
                numbers = [_number(word) for word in islice(words, 3)]
                if len(numbers) == 3 and None not in numbers:
                    a, b, c = (float(x) for x in numbers if x is not None)
                    return name, (a, b, c), False
                return name, None, False
    return "", None, False


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
