"""What an input, a RESTART or a checkpoint of i-PI says, as plain data in lrcalc's units."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from lrcalc.ipi_files import document
from lrcalc.ipi_files.cells import Array, from_lengths_and_angles, matrix_cell
from lrcalc.ipi_files.document import Node, attribute, number, read_document, text, words
from lrcalc.ipi_files.quantities import factor

DYNAMICS = ("dynamics", "driven_dynamics", "constrained_dynamics")
"""Elements that integrate equations of motion."""


class Socket(NamedTuple):
    """A socket that i-PI opens: unix `address`, or inet `address` and `port`."""

    mode: str
    address: str
    port: int


class Thermostat(NamedTuple):
    """Thermostat of the atoms: i-PI's name, time constant in fs, and PILE's λ."""

    mode: str
    tau: float | None = None
    pile_lambda: float = 1.0
    centroid_free: bool = False
    """No thermostat acts on the centroid (tau zero or less)."""


class FieldPulse(NamedTuple):
    """E(t) = amplitude cos(2π frequency t + phase) exp(-(t - peak)²/(2 width²)).

    V/Å, frequency as a wavenumber in cm⁻¹ (angular frequency over 2πc), fs; a width of None is no
    envelope.
    """

    amplitude: tuple[float, float, float]
    frequency: float = 0.0
    phase: float = 0.0
    peak: float = 0.0
    width: float | None = None


class Start(NamedTuple):
    """A file that a run starts from: as written in the input, with i-PI's name of the format."""

    name: str
    mode: str = "chk"
    units: str | None = None
    cell_units: str | None = None


class Output(NamedTuple):
    """A file that a run writes: "properties", "trajectory" or "checkpoint"."""

    kind: str
    what: str
    """``positions``, ``extras``, ``x_centroid``, …, without unit and arguments."""
    name: str
    """The same, or the name of the extra."""
    filename: str
    stride: int


class State(NamedTuple):
    """Atoms and cell as a RESTART or checkpoint has them.

    names (N,), masses (N,) amu, positions (B, N, 3) Å, velocities (B, N, 3) Å/fs, cell (3, 3)
    rows in Å; None where they are missing.
    """

    names: list[str]
    masses: Array | None
    positions: Array | None
    velocities: Array | None
    cell: Array | None


class Simulation(NamedTuple):
    """An input, RESTART or checkpoint; None or "" where it does not say."""

    path: Path
    prefix: str = "i-pi"
    step: int = 0
    total_steps: int = 1000
    sockets: tuple[Socket, ...] = ()
    parameters: tuple[dict[str, str], ...] = ()
    """``<parameters>`` of the force fields, in their order."""
    systems: int = 1
    system_prefixes: tuple[str, ...] = ("",)
    """Of the file names of each system, before `prefix`."""
    exchange: str = ""
    """Moves between systems, such as "remd"; "" for plain dynamics."""
    motion: str = ""
    """``dynamics``, ``driven_dynamics``, ``minimize``, …"""
    mode: str = ""
    """``nve``, ``nvt``, ``eda-nve``, …"""
    timestep: float | None = None
    temperature: float | None = None
    pressure: float | None = None
    """eV/Å³."""
    thermostat: Thermostat | None = None
    beads: int | None = None
    frequencies: str = "rpmd"
    """Style of the normal modes: ``rpmd``, ``pa-cmd``, …"""
    fixed: tuple[int, ...] = ()
    """Atoms that do not move."""
    pulse: FieldPulse | None = None
    start: tuple[Start, ...] = ()
    labels: tuple[str, ...] = ()
    """Names that the input itself gives."""
    masses: dict[int, Array] = {}  # noqa: RUF012
    """amu that the input itself gives: of atom `key`, or of all atoms for -1."""
    cell: Array | None = None
    outputs: tuple[Output, ...] = ()


def read_simulation(path: str | Path) -> Simulation:
    """Read an input, RESTART or checkpoint of i-PI.

    Of several systems (replica exchange) the first counts, and a time step or temperature only
    where they agree.

    Raises
    ------
    FileNotFoundError, ValueError
        If it is missing, or not of i-PI.
    """
    root = read_document(path)
    output = root.find("output")
    motion, dynamics = _dynamics(root)
    initialize = next(root.iter("initialize"), None)
    return Simulation(
        Path(path),
        prefix=attribute(output, "prefix", "i-pi"),
        step=_integer(root.find("step"), 0),
        total_steps=_integer(root.find("total_steps"), 1000),
        sockets=tuple(_socket(node) for node in root.findall("ffsocket")),
        parameters=tuple(document.pairs(node) for node in root.iter("parameters")),
        systems=max(1, len(root.findall("system"))),
        system_prefixes=tuple(attribute(node, "prefix") for node in root.findall("system")),
        exchange=_exchange(root),
        motion=motion,
        mode="" if dynamics is None else attribute(dynamics, "mode", _default_mode(dynamics)),
        timestep=_single(root, "timestep", "time", *DYNAMICS),
        temperature=_single(root, "temperature", "temperature", "ensemble"),
        pressure=_single(root, "pressure", "pressure", "ensemble"),
        thermostat=_thermostat(dynamics),
        beads=_beads(root, initialize),
        frequencies=attribute(next(root.iter("frequencies"), None), "style", "rpmd"),
        fixed=tuple(int(w) for node in root.iter("fixatoms") for w in words(node)),
        pulse=_pulse(dynamics),
        start=_starts(initialize),
        labels=tuple(_labels(initialize)),
        masses=_masses(initialize),
        cell=_initial_cell(initialize),
        outputs=() if output is None else tuple(_output(node) for node in output),
    )


def read_state(path: str | Path) -> State | None:
    """Atoms and cell of a RESTART or checkpoint; None if the file has none (an input).

    Raises
    ------
    FileNotFoundError, ValueError
        If it is missing, not of i-PI, or damaged.
    """
    root = read_document(path)
    names, cell = root.find("system/beads/names"), root.find("system/cell")
    try:
        found = None if cell is None else matrix_cell(cell.text or "", cell.get("units"))
        if names is None:
            return None if found is None else State([], None, None, None, found)
        labels = words(names)
        masses = document.array(root.find("system/beads/m"), "mass")
        places = document.array(root.find("system/beads/q"), "length")
        momenta = document.array(root.find("system/beads/p"), "momentum")
        shape = (-1, len(labels), 3)
        if masses is not None and len(masses) != len(labels):
            raise ValueError(f"{len(masses)} masses of {len(labels)} atoms")
        positions = None if places is None else places.reshape(shape)
        velocities = None
        if momenta is not None and masses is not None:
            velocities = momenta.reshape(shape) / masses[:, None]
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    return State(labels, masses, positions, velocities, found)


def _integer(node: Node | None, default: int) -> int:
    found = number(node)
    return default if found is None else int(found)


def _socket(node: Node) -> Socket:
    return Socket(
        attribute(node, "mode", "inet"),
        text(node.find("address"), "localhost"),
        _integer(node.find("port"), 65535),
    )


def _exchange(root: Node) -> str:
    """Smart motions other than plain dynamics, by name."""
    modes = [attribute(node, "mode") for node in root.iter("smotion")]
    return ", ".join(mode for mode in modes if mode not in ("", "dummy", "multi"))


def _dynamics(root: Node) -> tuple[str, Node | None]:
    """Mode of the motion, and the element of the dynamics."""
    modes = [attribute(node, "mode") for node in root.iter("motion")]
    plain = [mode for mode in modes if mode not in ("", "multi")]
    found = {name: node for name in DYNAMICS if (node := next(root.iter(name), None)) is not None}
    named = " + ".join(dict.fromkeys(plain)) or next(iter(found), "")
    chosen = next((name for name in found if name in plain), next(iter(found), ""))
    return named, found.get(chosen)


def _default_mode(node: Node) -> str:
    return "eda-nve" if node.tag == "driven_dynamics" else "nve"


def _single(root: Node, name: str, dimension: str, *parents: str) -> float | None:
    """Return the value of an element where there is one and only one such value."""
    found = {
        number(element, dimension)
        for parent in parents
        for holder in root.iter(parent)
        for element in holder.findall(name)
    }
    return found.pop() if len(found) == 1 else None


def _thermostat(dynamics: Node | None) -> Thermostat | None:
    """Thermostat of the atoms; several at once are named together."""
    top = None if dynamics is None else dynamics.find("thermostat")
    if top is None:
        return None
    parts = top.findall("thermostat") if attribute(top, "mode") == "multi" else [top]
    modes = [attribute(node, "mode") for node in parts]
    if not any(modes):
        return None
    taus = [number(node.find("tau"), "time") for node in parts]
    tau = min((t for t in taus if t is not None), default=None)
    weight = number(top.find("pile_lambda"))
    return Thermostat(
        " + ".join(mode for mode in modes if mode),
        tau,
        1.0 if weight is None else weight,
        tau is not None and tau <= 0,
    )


def _beads(root: Node, initialize: Node | None) -> int | None:
    for node, default in ((initialize, "1"), (next(root.iter("beads"), None), "")):
        count = "" if node is None else attribute(node, "nbeads", default)
        if count.isdigit():
            return int(count)
    return None


def _pulse(dynamics: Node | None) -> FieldPulse | None:
    field = None if dynamics is None else dynamics.find("efield")
    if field is None:
        return None
    amplitude = document.array(field.find("amp"), "electric-field")
    x, y, z = (0.0, 0.0, 0.0) if amplitude is None or len(amplitude) != 3 else amplitude.tolist()
    peak, width = number(field.find("peak"), "time"), number(field.find("sigma"), "time")
    on = width is not None and np.isfinite(width) and peak is not None and peak > 0
    return FieldPulse(
        (x, y, z),
        number(field.find("freq"), "frequency") or 0.0,
        number(field.find("phase")) or 0.0,
        peak or 0.0,
        width if on else None,
    )


def _starts(initialize: Node | None) -> tuple[Start, ...]:
    files = [] if initialize is None else initialize.findall("file")
    return tuple(
        Start(
            text(node),
            attribute(node, "mode", "chk"),
            node.get("units"),
            node.get("cell_units"),
        )
        for node in files
    )


def _labels(initialize: Node | None) -> list[str]:
    node = None if initialize is None else initialize.find("labels")
    return words(node) if attribute(node, "mode") == "manual" else []


def _masses(initialize: Node | None) -> dict[int, Array]:
    """Masses given one by one (``index``) or all at once; a number alone is of all atoms."""
    found: dict[int, Array] = {}
    for node in [] if initialize is None else initialize.findall("masses"):
        if attribute(node, "mode") == "manual":
            values = document.array(node, "mass")
            if values is not None and len(values):
                found[int(attribute(node, "index", "-1"))] = values
    return found


def _initial_cell(initialize: Node | None) -> Array | None:
    """Cell that the input itself gives: nine numbers, three lengths, or lengths and angles."""
    node = None if initialize is None else initialize.find("cell")
    mode = attribute(node, "mode")
    if node is None or mode not in ("manual", "abc", "abcABC"):
        return None
    values = [float(word) for word in words(node)]
    if mode == "manual" and len(values) == 9:
        return matrix_cell(" ".join(words(node)), node.get("units"))
    scale = factor("length", node.get("units"))
    lengths = [scale * x for x in values[:3]]
    angles = values[3:6] if mode == "abcABC" and len(values) == 6 else [90.0] * 3
    return from_lengths_and_angles(*lengths, *angles) if len(lengths) == 3 else None


def _output(node: Node) -> Output:
    what = text(node).split("{")[0].split("(")[0].strip()
    name = attribute(node, "extra_type", what) if what.startswith("extras") else what
    default = {"properties": "out", "checkpoint": "restart"}.get(node.tag, "traj")
    stride = attribute(node, "stride", "1")
    return Output(
        node.tag,
        what if node.tag == "trajectory" else node.tag,
        name.strip() if node.tag == "trajectory" else node.tag,
        attribute(node, "filename", default),
        int(stride) if stride.isdigit() else 1,
    )
