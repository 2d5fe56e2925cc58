"""The text of an input: force fields, ensemble, and what holds them together."""

from pathlib import Path

from lrcalc.ipi.input_checks import Transport
from lrcalc.ipi.kinds import Kind, indent
from lrcalc.ipi.settings import DriverSettings, check_init, format_parameters

SAFE_STRIDE = 10
"""Steps between the states that a soft stop can write: 192 atoms, one bead: 0.84 ms a step beside
the model when noted at each, 0.37 ms at each tenth."""


def forcefield(
    name: str, settings: DriverSettings, transport: Transport, beads: int, pes: Path
) -> str:
    """Return the ``<ffdirect>`` or ``<ffsocket>`` that gives i-PI the model."""
    batch = beads if transport.batch else 1
    if transport.mode != "ffdirect":
        check_init(settings)
    parameters = f"<parameters> {format_parameters(settings)} </parameters>"
    if set("<>&") & set(str(pes)):
        raise ValueError(
            f"`pes_file` is {str(pes)!r}, but i-PI cannot write < > & into a RESTART: install"
            " lrcalc in a folder without them, or copy the file to one and pass its path"
        )
    if transport.mode == "ffdirect":
        return "\n".join(
            [
                f"<ffdirect name='{name}' pbc='false'>",
                f"  <pes> custom </pes> <pes_path> {pes} </pes_path>",
                "  <!-- as many structures as beads, in one model call -->",
                f"  <batch_size> {batch} </batch_size>",
                f"  {parameters}",
                "</ffdirect>",
            ]
        )
    port = f" <port> {transport.port} </port>" if transport.mode == "inet" else ""
    return "\n".join(
        [
            "<!-- pbc false: atoms stay on their branch, so that the dipole does not jump -->",
            f"<ffsocket name='{name}' mode='{transport.mode}' pbc='false'>",
            f"  <address> {transport.address} </address>{port}",
            f"  <latency> 1e-4 </latency> <timeout> {transport.timeout:g} </timeout>",
            f"  <batch_size> {batch} </batch_size>",
            "  <!-- reach the client in i-PI's INIT message -->",
            f"  {parameters}",
            "</ffsocket>",
        ]
    )


def document(
    *,
    kind: str,
    plan: Kind,
    steps: int,
    seed: int,
    temperature: float,
    pressure: float,
    start: str,
    forcefields: list[str],
    forces: list[str],
    motion: str,
    output: str,
) -> str:
    """Return the whole input; temperature in K, pressure in GPa (in the file: megapascal)."""
    ensemble = f"<temperature units='kelvin'> {temperature:g} </temperature>"
    if plan.ensemble == "npt":
        ensemble += f"\n<pressure units='megapascal'> {1e3 * pressure:g} </pressure>"
    modes = ""
    if plan.frequencies is not None and plan.beads > 1:
        modes = indent(
            "\n<!-- internal modes at one frequency far above the spectrum -->\n"
            "<normal_modes>\n"
            f"  <frequencies style='pa-cmd' units='inversecm'> [ {plan.frequencies:g} ]"
            " </frequencies>\n"
            "</normal_modes>",
            4,
        )
    return f"""\
<!-- {kind}: {plan.about}.
     Written by `lrcalc ipi-input`. Run in this folder: `lrcalc ipi-run` or `i-pi input.xml`.
     `touch EXIT` stops the run and leaves a RESTART. -->
<!-- safe_stride: how often the state is noted that a stop by a signal writes to RESTART; noting it
     at each step took half of i-PI's own time. Steps since then are done, and written, again. -->
<simulation verbosity='low' safe_stride='{SAFE_STRIDE}' floatformat='%20.12e'>
{indent(output, 2)}
  <total_steps> {steps} </total_steps>
  <prng> <seed> {seed} </seed> </prng>
{indent(chr(10).join(forcefields), 2)}
  <system>
{indent(start, 4)}
    <forces>
{indent(chr(10).join(forces), 6)}
    </forces>
    <ensemble>
{indent(ensemble, 6)}
    </ensemble>{modes}
{indent(motion, 4)}
  </system>
</simulation>
"""
