"""Units, orders and signs at the border to i-PI; settings; readers."""

import json

import numpy as np
import pytest
from ase import Atoms
from ase.units import Bohr, Hartree

from lrcalc.ipi import DriverSettings, bead_average, read_extras, read_positions, read_properties
from lrcalc.ipi.conversions import frames_from_ipi, message_to_ipi
from lrcalc.ipi.driver import Engine
from lrcalc.ipi.settings import format_parameters, make_settings, merge_settings, parse_init
from tests.ipi.helpers import waters
from tests.ipi.toy_pes import ToyEvaluator

FIELD = (0.03, -0.05, 0.1)


def engine(**settings):
    chosen = make_settings({"extras": "dipole polarizability BEC charges", **settings})
    evaluator = ToyEvaluator(chosen.electric_field, chosen.electric_displacement)
    return Engine(chosen, waters(), evaluator)


def as_ipi(atoms):
    """Cell (columns) and positions in bohr."""
    return np.array(atoms.cell).T / Bohr, atoms.positions / Bohr


def test_atoms_round_trip():
    atoms = waters()
    cell, positions = as_ipi(atoms)
    (back,) = frames_from_ipi(atoms, [cell], [positions]).atoms()
    # ASE's bohr (CODATA 2014) differs in the ninth digit
    np.testing.assert_allclose(back.positions, atoms.positions, rtol=1e-8)
    np.testing.assert_allclose(back.cell, atoms.cell, rtol=1e-8)


@pytest.mark.parametrize("field", [{}, {"electric_field": FIELD}, {"electric_displacement": FIELD}])
def test_force_and_virial_are_derivatives_of_the_potential(field):
    """Central differences in atomic units, in the upper triangle of the strain that i-PI uses."""
    run = engine(**field)
    cell, positions = as_ipi(waters())
    _, force, virial, _ = run([cell], [positions])[0]

    def potential(c, x):
        return run([c], [x])[0].potential

    h = 1e-4
    for atom, axis in ((0, 0), (4, 1), (8, 2)):
        step = np.zeros_like(positions)
        step[atom, axis] = h
        numeric = -(potential(cell, positions + step) - potential(cell, positions - step)) / (2 * h)
        np.testing.assert_allclose(force[atom, axis], numeric, rtol=1e-6, atol=1e-9)
    for a in range(3):
        for b in range(a, 3):
            strain = np.zeros((3, 3))
            strain[a, b] = h
            ends = []
            for sign in (1, -1):
                deform = np.eye(3) + sign * strain
                ends.append(potential(deform @ cell, positions @ deform.T))
            numeric = -(ends[0] - ends[1]) / (2 * h)
            np.testing.assert_allclose(virial[a, b], numeric, rtol=1e-6, atol=1e-9)
    assert np.max(np.abs(virial)) > 1e-3


def test_extras():
    atoms = waters()
    message = engine()([as_ipi(atoms)[0]], [as_ipi(atoms)[1]])[0]
    extras = json.loads(message.extras)
    result = ToyEvaluator()([atoms], ["dipole", "polarizability", "charges"])[0]
    np.testing.assert_allclose(np.array(extras["dipole"]) * Bohr, result["dipole"], rtol=1e-7)
    # e Å²/V -> e² bohr²/hartree
    assert len(extras["polarizability"]) == 9
    np.testing.assert_allclose(
        np.array(extras["polarizability"]).reshape(3, 3) * Bohr**2 / Hartree,
        result["polarizability"],
        rtol=1e-7,
    )
    assert np.shape(extras["BEC"]) == (36, 3)
    np.testing.assert_allclose(extras["charges"], result["charges"])


def test_born_charges_row_is_displacement_column_is_dipole():
    atoms = Atoms("OH", positions=[[0, 0, 0], [1, 0, 0]], cell=[5, 5, 5], pbc=True)
    born = np.arange(18.0).reshape(2, 3, 3)  # [atom, field, displacement]
    result = {"energy": 0.0, "forces": np.zeros((2, 3)), "born_effective_charges": born}
    table = np.array(json.loads(message_to_ipi(atoms.get_volume(), result, ["BEC"]).extras)["BEC"])
    assert table[3 * 1 + 2, 0] == born[1, 0, 2]
    assert table[3 * 0 + 1, 2] == born[0, 2, 1]
    # i-PI's force in a field is BEC @ E; ours is E_a born[i, a, b]
    np.testing.assert_allclose(
        (table @ np.array(FIELD)).reshape(2, 3), np.einsum("a,iab->ib", FIELD, born), rtol=1e-12
    )


def test_virial_is_writable_and_its_sign():
    """i-PI zeroes the lower triangle in place; compression (E rises with volume) pulls inwards."""
    atoms = Atoms("O", cell=[5, 5, 5], pbc=True)
    result = {"energy": 0.0, "forces": np.zeros((1, 3)), "stress": np.eye(3) * 0.01}
    virial = message_to_ipi(atoms.get_volume(), result).virial
    virial[1, 0] = 0.0
    np.testing.assert_allclose(np.diag(virial), -0.01 * 125.0 / Hartree, rtol=1e-7)


def test_one_model_call_for_all_beads():
    run = engine()
    cell, positions = as_ipi(waters())
    beads = [positions + 0.01 * k for k in range(4)]
    messages = run([cell] * 4, beads)
    assert run.evaluator.calls == [4]
    assert [m.potential for m in messages] == [run([cell], [x])[0].potential for x in beads]
    few = engine(atoms_per_call=24)
    for one, other in zip(few([cell] * 4, beads), messages, strict=True):
        np.testing.assert_array_equal(one.force, other.force)
    assert few.evaluator.calls == [2, 2]
    assert len({tuple(json.loads(m.extras)) for m in messages}) == 1


def test_first_frame_with_large_forces_is_refused_once():
    cell, positions = as_ipi(waters())
    squeezed = positions.copy()
    squeezed[1] = squeezed[0] + 40.0
    with pytest.raises(ValueError, match="`max_force` = 50"):
        engine()([cell], [squeezed])
    engine(max_force=0)([cell], [squeezed])
    later = engine()
    later([cell], [positions])
    later([cell], [squeezed])


def test_restarted_frames_far_from_the_template_pass():
    rng = np.random.default_rng(1)
    cell, positions = as_ipi(waters())
    assert len(engine()([cell], [positions + rng.normal(0, 0.05, positions.shape)])) == 1
    # wrapped or shifted by a cell vector is the same place
    assert len(engine()([cell], [positions + cell[:, 0]])) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"modle": "water"}, "unknown setting 'modle'"),
        ({"electric_field": "0 0.1"}, "three numbers"),
        ({"electric_field": "0 0 x"}, "three numbers"),
        ({"extras": "dipol"}, "'dipol'"),
        ({"virial": "perhaps"}, "True or False"),
        ({"electric_field": FIELD, "electric_displacement": FIELD}, "both given"),
        ({"dtype": "float16"}, "`dtype` is 'float16'"),
        ({"epsilon_infinity": 0.2}, "`epsilon_infinity` is 0.2 but must be a number, 1 or"),
        ({"epsilon_infinity": "x"}, "`epsilon_infinity` is 'x'"),
        ({"max_force": -1}, "`max_force` is -1"),
        ({"max_force": "nan"}, "`max_force` is 'nan'"),
        ({"atoms_per_call": -3}, "`atoms_per_call` is -3"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(ValueError, match=message):
        make_settings(given)


def test_settings_survive_ipi_parameters():
    """Through i-PI's own reading of <parameters> and through INIT."""
    from ipi.utils.io.inputs.io_xml import read_dict

    settings = DriverSettings(
        model="a/b.pt",
        electric_field=FIELD,
        extras=("dipole", "BEC"),
        virial=False,
        max_force=7.5,
        compile=True,
    )
    text = format_parameters(settings)
    assert make_settings(read_dict(text)) == settings
    init = " , ".join(f"{k} : {v}" for k, v in read_dict(text).items()) + " , batch_size:4"
    words = parse_init(init)
    assert words.pop("batch_size") == "4"
    assert make_settings(words) == settings
    assert merge_settings({"model": "a/b.pt"}, words) == settings
    with pytest.raises(ValueError, match="`model` is given twice"):
        merge_settings({"model": "other"}, words)
    with pytest.raises(ValueError, match="rename"):
        format_parameters(DriverSettings(model="a,b.pt"))


PROPERTIES = """\
# column   1     --> step : The current simulation time step.
# column   2     --> time{picosecond} : The elapsed simulation time.
# column   3     --> potential : The physical system potential energy.
# cols.    4-6   --> cell_abc{angstrom} : The lengths.
  0.0 0.0   1.0   1.0 2.0 3.0
  1.0 0.5   2.0   1.0 2.0 3.0
  2.0 1.0   9.0   1.0 2.0 3.0
  1.0 0.5   3.0   1.0 2.0 3.0
  2.0 1.0   4.0   1.0 2.0 3.0
  3.0 1.5   5.0   1.0 2."""


def test_read_properties_converts_drops_repeats_and_cut_lines(tmp_path):
    (tmp_path / "sim.out").write_text(PROPERTIES)
    values, units = read_properties(tmp_path / "sim.out")
    np.testing.assert_array_equal(values["step"], [0, 1, 2])
    np.testing.assert_allclose(values["time"], [0, 500, 1000])
    np.testing.assert_allclose(values["potential"] / Hartree, [1, 3, 4], rtol=1e-7)
    assert values["cell_abc"].shape == (3, 3)
    assert units["time"] == "fs"
    assert units["potential"] == "eV"


def test_read_extras_and_bead_average(tmp_path):
    for bead in range(2):
        frames = [
            f" #EXTRAS(dipole)# Step:  {step:10d} \n {bead + step} 0.0 1.0\n" for step in (0, 2, 2)
        ]
        (tmp_path / f"sim.dipole_{bead}").write_text(
            "".join(frames) + " #EXTRAS(dipole)# Step: 4 \n 1."
        )
    one = read_extras(tmp_path / "sim.dipole_0")
    assert one.name == "dipole"
    np.testing.assert_array_equal(one.steps, [0, 2])
    np.testing.assert_allclose(one.values[1] / Bohr, [2, 0, 1], rtol=1e-8)
    mean = bead_average([tmp_path / "sim.dipole_0", tmp_path / "sim.dipole_1"])
    np.testing.assert_allclose(mean.values[:, 0] / Bohr, [0.5, 2.5], rtol=1e-8)


def extras_frame(step, value):
    return f" #EXTRAS(dipole)# Step:  {step:10d} \n  {value:.12e}  0.0  1.0\n"


def extxyz_frame(step, shift):
    rows = [f"O {shift:12.8f}   0.5   0.25", f"H   1.0   {shift:12.8f}   0.0"]
    comment = f'Lattice="5.0 0.0 0.0 0.5 5.0 0.0 0.0 0.0 5.0" ipi_comment="Step: {step:11d}"'
    return "\n".join(["2", comment, *rows]) + "\n"


@pytest.mark.parametrize("frame", [extras_frame, extxyz_frame])
def test_frames_cut_at_any_place_and_resumed(tmp_path, frame):
    """A file killed at any byte and continued from an earlier step reads as if undisturbed."""
    name = "sim.dipole_0" if frame is extras_frame else "sim.pos_0.extxyz"
    path = tmp_path / name
    whole = "".join(frame(step, 0.1 * step) for step in range(0, 20, 5))

    def read():
        if frame is extras_frame:
            found = read_extras(path)
            return found.steps, found.values[:, 0] / Bohr
        found = read_positions([path])
        np.testing.assert_array_equal(found.numbers, [8, 1])
        np.testing.assert_allclose(found.cells[0], [[5, 0, 0], [0.5, 5, 0], [0, 0, 5]])
        return found.steps, found.positions[0, :, 0, 0]

    last = len(whole) - len(frame(15, 1.5))
    for cut in range(last, len(whole) + 1):
        path.write_text(whole[:cut])
        steps, values = read()
        assert len(steps) == (4 if cut == len(whole) else 3)
        # resumed from step 10, whose frame comes again
        path.write_text(whole[:cut] + "".join(frame(step, 0.1 * step) for step in (10, 15, 20)))
        steps, values = read()
        np.testing.assert_array_equal(steps, [0, 5, 10, 15, 20])
        np.testing.assert_allclose(values, 0.1 * steps, rtol=1e-7, atol=1e-9)
    # cut, and the frame does not come again
    path.write_text(frame(0, 0.0) + frame(5, 0.5)[:-20] + frame(10, 1.0))
    with pytest.raises(ValueError, match=r"step 5 in .* is cut"):
        read()


def test_properties_cut_and_resumed(tmp_path):
    lines = PROPERTIES.splitlines(keepends=True)
    path = tmp_path / "sim.out"
    for cut in range(1, len(lines[4])):
        path.write_text("".join(lines[:5]) + lines[5][:cut] + "".join(lines[5:7]))
        values = read_properties(path).values
        np.testing.assert_array_equal(values["step"], [0, 1, 2])
        np.testing.assert_array_equal(values["cell_abc"], [[1, 2, 3]] * 3)
