"""Velocities with the run's own masses: i-PI, ASE, GPUMD, LAMMPS; every unit named."""

import gzip
import json
import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read, write

from lrcalc import ipi
from lrcalc.analysis import read_series
from lrcalc.analysis.lammps import read_dump, type_labels
from lrcalc.analysis.velocities import of_run, particles
from lrcalc.cli import main
from tests.analysis.test_files import all_frames, run
from tests.analysis.test_runs import header_and_table
from tests.ipi.helpers import toy_input, waters

FRAMES = 240
RNG = np.random.default_rng(11)
LABELS = ["O", "H", "H", "O", "H", "H"]
MASSES = np.array([15.999, 2.014, 2.014, 15.999, 2.014, 1.008])
CELL = np.array([[7.0, 0, 0], [-1.0, 6.5, 0], [0.5, 0.3, 6.2]])


def trajectory(temperature=300.0, frames=FRAMES):
    """Thermal velocities (T, N, 3) in Å/fs of MASSES, with the number of atoms conserved."""
    spread = np.sqrt(8.617333262e-5 * temperature / (MASSES * 103.642696))
    return RNG.normal(size=(frames, len(MASSES), 3)) * spread[:, None]


V = trajectory()
KINETIC = 103.642696 * (MASSES[:, None] * V**2).sum((1, 2)).mean() / (18 * 8.617333262e-5)


def told(prefix):
    return json.loads((prefix.parent / f"{prefix.name}-vdos.json").read_text())


def analyse(tmp_path, path, *more, timestep=True):
    options = ["--timestep", 1] if timestep else []
    out = tmp_path / "o"
    assert run("vdos", path, *options, "--resolution", 900, "--no-progress", "-o", out, *more) == 0
    return told(out)["temperature_K"]


def frames_of(values=V, **arrays):
    for v in values:
        atoms = Atoms(LABELS, positions=RNG.uniform(0, 6, (6, 3)), cell=CELL, pbc=True)
        for name, column in arrays.items():
            atoms.arrays[name] = np.array(column, dtype=float)
        yield atoms, v


@pytest.mark.parametrize(
    ("column", "ending"),
    [("masses", "extxyz"), ("masses", "traj"), ("mass", "extxyz"), ("mass", "xyz.gz")],
)
def test_masses_of_ase_files(tmp_path, column, ending):
    """Momenta over the file's masses are the velocities, and the masses those of the file."""
    frames = []
    for atoms, v in frames_of(**{column: MASSES}):
        atoms.arrays["momenta"] = MASSES[:, None] * v / units.fs
        frames.append(atoms)
    path = tmp_path / f"a.{ending}"
    write(path, frames, format="traj" if ending == "traj" else "extxyz")
    np.testing.assert_allclose(
        all_frames(read_series(path, "velocities")), V.reshape(FRAMES, -1), rtol=1e-5, atol=1e-7
    )
    assert analyse(tmp_path, path) == pytest.approx(KINETIC, rel=1e-5)


@pytest.mark.parametrize(
    ("column", "unit", "factor"),
    [("vel", None, 1.0), ("velo", None, 1.0), ("velocities", "angstrom/ps", 1e3),
     ("velocities", "m/s", 1e5), ("velocities", "ase", 1 / units.fs), ("vel", "nm/ps", 1e2)],
)  # fmt: skip
def test_columns_of_velocities(tmp_path, column, unit, factor):
    """GPUMD writes vel in Å/fs; another name needs a unit."""
    path = tmp_path / "dump.xyz"
    frames = []
    for atoms, v in frames_of(mass=MASSES):
        atoms.arrays[column] = v * factor
        frames.append(atoms)
    write(path, frames, format="extxyz")
    more = ["--unit", unit] if unit else []
    assert analyse(tmp_path, path, *more) == pytest.approx(KINETIC, rel=1e-4)
    if column == "velocities":
        with pytest.raises(ValueError, match="column velocities but .*its unit.*--unit"):
            analyse(tmp_path, path)


def test_a_unit_where_the_file_has_its_own_is_refused(tmp_path):
    (atoms, v) = next(frames_of())
    atoms.set_momenta(v)
    write(tmp_path / "a.extxyz", [atoms] * 3)
    with pytest.raises(ValueError, match="--unit is 'm/s' but .* momenta in ASE's unit"):
        analyse(tmp_path, tmp_path / "a.extxyz", "--unit", "m/s")


def lines(names, v):
    return [f"{n} {x:.9e} {y:.9e} {z:.9e}\n" for n, (x, y, z) in zip(names, v, strict=True)]


def test_labels_of_isotopes(tmp_path):
    """Without any masses D is deuterium, in i-PI's xyz and in extended xyz."""
    names = ["O", "D", "D", "O", "D", "H"]
    path = tmp_path / "sim.vel_0.xyz"
    with path.open("w") as file:
        for step, v in enumerate(V):
            file.write(f"6\n# CELL(abcH): 7 7 7 90 90 90 Step: {step} velocities{{m/s}}\n")
            file.writelines(lines(names, v * 1e5))
    assert particles(path).species == names
    assert analyse(tmp_path, path) == pytest.approx(KINETIC, rel=1e-4)
    # a structure that knows no isotopes does not take them away
    write(tmp_path / "st.xyz", Atoms(LABELS, positions=np.eye(6, 3)))
    more = ["--structure", tmp_path / "st.xyz"]
    assert analyse(tmp_path, path, *more) == pytest.approx(KINETIC, rel=1e-4)
    other = tmp_path / "ase.xyz"
    with other.open("w") as file:
        for v in V:
            file.write('6\nProperties=species:S:1:pos:R:3:vel:R:3 pbc="F F F"\n')
            file.writelines(lines([f"{name} 0 0 0" for name in names], v))
    assert analyse(tmp_path, other) == pytest.approx(KINETIC, rel=1e-4)


def test_fixed_atoms_do_not_count(tmp_path):
    """Held still they have no temperature and no states."""
    still = V.copy()
    still[:, 3:] = 0.0
    path = tmp_path / "a.extxyz"
    frames = []
    for atoms, v in frames_of(still, masses=MASSES):
        atoms.arrays["momenta"] = MASSES[:, None] * v / units.fs
        frames.append(atoms)
    write(path, frames)
    expected = 103.642696 * (MASSES[:, None] * still**2).sum((1, 2)).mean() / (9 * 8.617333262e-5)
    assert analyse(tmp_path, path) == pytest.approx(expected, rel=1e-5)
    table = header_and_table(tmp_path / "o-vdos.csv")
    area = np.trapezoid(table["total_per_cm-1"], table["wavenumber_cm-1"])
    assert area == pytest.approx(9 * 4500 / 16678.2, rel=0.1)  # white noise up to 1/(2 dt)


@pytest.mark.shared
def test_case_isotope_vdos(tmp_path, shared):
    """cases/isotope_vdos: label D, KeyError before; a mass of H halves the temperature of D."""
    path = shared / "cases" / "isotope_vdos" / "sim.vel_0.xyz"
    frames = [line.split() for line in path.read_text().splitlines() if line[:1] in "OD"]
    v = np.array([row[1:] for row in frames], dtype=float) * 21.8769126
    mass = np.array([15.999 if row[0] == "O" else 2.01410177812 for row in frames])
    kinetic = 103.642696 * (mass[:, None] * v**2).sum() / (len(v) * 3 * 8.617333262e-5)
    assert analyse(tmp_path, path) == pytest.approx(kinetic, rel=1e-4)


def test_masses_of_an_ipi_run(tmp_path):
    """RESTART, else the input's <masses>; symbols say H in both."""
    atoms = waters(2)
    path = toy_input(
        tmp_path / "run", "nve", steps=200, structure=atoms, temperature=300,
        outputs=ipi.Outputs(velocities=1, positions=10, checkpoint=10),
    )  # fmt: skip
    masses = ", ".join("15.99" if s == "O" else "2.014" for s in atoms.get_chemical_symbols())
    told = f"<masses mode='manual' units='dalton'> [ {masses} ] </masses>"
    # masses must be known before velocities are drawn
    path.write_text(path.read_text().replace("<velocities", told + "<velocities", 1))
    assert ipi.run_ipi(path, timeout=60).finished
    kinetic = ipi.read_properties(path.parent / "sim.out").values["kinetic_md"].mean()
    # of i-PI itself, which keeps the centre of mass at rest
    expected = 2 * kinetic / ((3 * len(atoms) - 3) * 8.617333262e-5)
    found = analyse(tmp_path, path.parent, timestep=False)
    assert found == pytest.approx(expected, rel=1e-5)
    for name in ("RESTART", "sim.checkpoint"):
        (path.parent / name).unlink()
    assert analyse(tmp_path, path.parent, timestep=False) == pytest.approx(expected, rel=1e-3)


def dump(path, values, *, box="ortho", columns="id element vx vy vz", scale=1.0, head="", step=5):
    """As LAMMPS writes them, atoms in a new order in each frame."""
    rng = np.random.default_rng(3)
    with path.open("w") as file:
        for number, v in enumerate(values):
            file.write(head if number == 0 else "")
            file.write(f"ITEM: TIMESTEP\n{step * number}\nITEM: NUMBER OF ATOMS\n6\n")
            if box == "ortho":
                file.write("ITEM: BOX BOUNDS pp pp ff\n0.5 7.5\n-1 5.5\n0 6.2\n")
            else:
                xy, xz, yz = CELL[1, 0], CELL[2, 0], CELL[2, 1]
                low = min(0, xy, xz, xy + xz), min(0, yz)
                high = 7 + max(0, xy, xz, xy + xz), 6.5 + max(0, yz)
                file.write(
                    f"ITEM: BOX BOUNDS xy xz yz pp pp pp\n{low[0]} {high[0]} {xy}\n"
                    f"{low[1]} {high[1]} {xz}\n0 6.2 {yz}\n"
                )
            file.write(f"ITEM: ATOMS {columns} \n")
            for i in rng.permutation(6):
                x = np.array([0.1 * i, 0.2 * i, 0.3 * i])
                entry = {
                    "id": i + 1, "element": LABELS[i], "type": 1 + (LABELS[i] == "H"),
                    "mass": MASSES[i], "x": x[0], "y": x[1], "z": x[2],
                    **dict(zip(("vx", "vy", "vz"), v[i] / scale, strict=True)),
                    **dict(zip(("xs", "ys", "zs"), x @ np.linalg.inv(CELL), strict=True)),
                }  # fmt: skip
                file.write(" ".join(f"{entry[c]}" for c in columns.split()) + " \n")
    return path


SCALES = {"real": 1.0, "metal": 1e-3, "si": 1e-5, "electron": 0.529177210903}


@pytest.mark.parametrize("units_", sorted(SCALES))
@pytest.mark.parametrize("box", ["ortho", "tilted"])
def test_dumps_of_lammps(tmp_path, units_, box):
    """ASE's reader is the judge: order by id, units, box.

    Of units electron ASE believes the manual, whose time is 1.03275 fs; LAMMPS itself has 1 fs
    (test_lammps_files.py).
    """
    scale = SCALES[units_]
    manual = 1.03275 if units_ == "electron" else 1.0
    path = dump(tmp_path / "d.lammpstrj", V, box=box, columns="id type mass x y z vx vy vz",
                scale=scale)  # fmt: skip
    ours = np.array([frame.velocities for frame in read_dump(path, units=units_)])
    np.testing.assert_allclose(ours, V, rtol=1e-6)
    judge = read(path, index=":", format="lammps-dump-text", units=units_)
    for one, other in zip(read_dump(path, units=units_), judge, strict=True):
        np.testing.assert_allclose(one.velocities, other.get_velocities() * units.fs * manual,
                                   rtol=1e-4)  # fmt: skip
        if units_ in ("real", "metal"):
            np.testing.assert_allclose(one.cell, other.cell, atol=1e-10)
        assert list(one.ids) == [1, 2, 3, 4, 5, 6]
        assert one.pbc == tuple(other.pbc)
    if units_ in ("real", "metal"):  # masses in g/mol
        found = analyse(tmp_path, path, "--lammps-units", units_, "--types", "O,H")
        assert found == pytest.approx(KINETIC, rel=1e-5)


def test_scaled_positions_and_general_boxes(tmp_path):
    path = dump(tmp_path / "d", V[:2], box="tilted", columns="id type xs ys zs x y z")
    plain, scaled = (
        next(read_dump(dump(tmp_path / name, V[:1], box="tilted", columns=f"id type {columns}"),
                       units="real")).positions
        for name, columns in (("a", "x y z"), ("b", "xs ys zs"))
    )  # fmt: skip
    np.testing.assert_allclose(scaled, plain, atol=1e-10)
    judge = read(tmp_path / "b", format="lammps-dump-text")
    corner = judge.get_celldisp().ravel()
    np.testing.assert_allclose(scaled, judge.positions - corner, atol=1e-6)
    general = "".join(f"{' '.join(map(str, row))} 0.0\n" for row in CELL)
    text = path.read_text().splitlines(keepends=True)
    bounds = "ITEM: BOX BOUNDS abc origin pp pp pp\n"
    path.write_text("".join([*text[:4], bounds, general, *text[8:15]]))
    np.testing.assert_allclose(next(read_dump(path, units="real")).cell, CELL)


def test_what_tells_the_species_of_a_dump(tmp_path):
    assert type_labels("O,H") == type_labels("1=O, 2=H") == {1: "O", 2: "H"}
    path = dump(tmp_path / "d.dump", V, columns="id type vx vy vz")
    with pytest.raises(ValueError, match=r"type 1, 2 and no column element.*--types"):
        analyse(tmp_path, path, "--lammps-units", "real")
    with pytest.raises(ValueError, match="type 2"):
        analyse(tmp_path, path, "--lammps-units", "real", "--types", "O")
    with pytest.raises(ValueError, match="--types is '1=O,x=H'"):
        analyse(tmp_path, path, "--lammps-units", "real", "--types", "1=O,x=H")
    found = of_run([path], [], types="O,D", lammps_units="real")
    np.testing.assert_allclose(found.masses[[0, 1]], [15.999, 2.0141], rtol=1e-4)
    path = dump(tmp_path / "e.dump", V, columns="id element vx vy vz")
    assert particles(path, lammps_units="real").species == LABELS


@pytest.mark.parametrize(
    ("columns", "more", "message"),
    [
        ("id element vx vy vz", [], "does not say its units: give --lammps-units"),
        ("element vx vy vz", ["--lammps-units", "real"], "no column id"),
        ("id element x y z", ["--lammps-units", "real"], "no columns vx vy vz"),
        ("id vx vy vz", ["--lammps-units", "real"], "no column element or type"),
        ("id element vx vy vz", ["--lammps-units", "real", "--unit", "m/s"], "leave it out"),
    ],
)
def test_dumps_that_are_refused(tmp_path, columns, more, message):
    path = dump(tmp_path / "d.lammpstrj", V[:20], columns=columns)
    with pytest.raises(ValueError, match=message):
        analyse(tmp_path, path, *more)


def test_a_dump_that_says_its_units_and_time(tmp_path):
    head = "ITEM: UNITS\nmetal\n"
    path = dump(tmp_path / "d.lammpstrj", V, scale=1e-3, head=head,
                columns="id element mass vx vy vz")  # fmt: skip
    text = path.read_text()
    for number in range(FRAMES):
        item = f"ITEM: TIMESTEP\n{5 * number}\n"
        text = text.replace(item, f"ITEM: TIME\n{0.0025 * number}\n{item}")
    path.write_text(text)
    series = read_series(path, "velocities")
    assert (series.timestep, series.stride) == (pytest.approx(2.5), 5)
    assert analyse(tmp_path, path, timestep=False) == pytest.approx(KINETIC, rel=1e-5)
    with pytest.raises(ValueError, match="--lammps-units is 'real' but .* says 'metal'"):
        analyse(tmp_path, path, "--lammps-units", "real")
    with pytest.raises(ValueError, match="lj"):
        read_series(dump(tmp_path / "e", V[:4], head="ITEM: UNITS\nlj\n"), "velocities")


@pytest.mark.parametrize("packed", [False, True])
def test_a_dump_cut_and_appended_to(tmp_path, packed):
    """The later branch counts, cut at any byte of a frame (every third or seventh here)."""
    source = tmp_path / "d"
    whole = dump(source, V[:6]).read_text()
    again = "ITEM: TIMESTEP" + dump(source, -V[:7]).read_text().split("ITEM: TIMESTEP", 5)[5]
    last = len(whole) - len(whole.split("ITEM: TIMESTEP")[-1]) - len("ITEM: TIMESTEP")
    path = tmp_path / ("d.dump" + ".gz" * packed)

    def steps(text):
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        series = read_series(path, "velocities", lammps_units="real")
        return all_frames(series).reshape(-1, 6, 3)

    for cut in range(last, len(whole) + 1, 7 if packed else 3):
        assert len(steps(whole[:cut])) == (6 if cut == len(whole) else 5)
        np.testing.assert_allclose(
            steps(whole[:cut] + again), np.concatenate([V[:4], -V[4:7]]), rtol=1e-6
        )
    gap = "ITEM: TIMESTEP\n30" + again.rpartition("ITEM: TIMESTEP\n30")[2]
    with pytest.raises(ValueError, match="timestep 25 is cut short"):
        steps(whole[:-20] + gap)


def test_conductivity_of_a_dump(tmp_path):
    path = dump(tmp_path / "d.dump", trajectory(frames=2500), columns="id element vx vy vz", step=1)
    out = ["--no-progress", "-o", tmp_path / "o", "--md-timestep", 1, "--temperature", 300]
    assert run("conductivity", path, "--lammps-units", "real", "--charges", "O=-2,H=1", *out) == 0
    data = json.loads((tmp_path / "o-conductivity.json").read_text())["settings"]
    assert data["volume_A3"] == pytest.approx(7 * 6.5 * 6.2)


def test_errors_end_with_status_two(tmp_path, capsys):
    path = dump(tmp_path / "d.lammpstrj", V[:20])
    assert main(["vdos", str(path), "--timestep", "1"]) == 2
    assert "--lammps-units" in capsys.readouterr().err


def test_atoms_that_change_place_or_mass_between_frames(tmp_path):
    """Each frame was taken in the first one's order: a temperature of 717 K instead of 121."""
    frames = []
    for atoms, v in frames_of(V[:40]):
        atoms.set_masses(MASSES)
        atoms.set_velocities(v / units.fs)
        frames.append(atoms)
    mixed = [a if k != 20 else a[[1, 0, 2, 3, 4, 5]] for k, a in enumerate(frames)]
    heavy = [a.copy() for a in frames]
    heavy[30].set_masses(1.01 * MASSES)
    for command, which, words in (
        ("vdos", mixed, "frame 20: atom 0 has another element (1) than in the first frame (8)"),
        ("msd", mixed, "frame 20: atom 0 has another element"),
        ("vdos", heavy, "frame 30: atom 0 has another mass (16.159) than"),
        ("vdos", [*frames[:20], frames[20][:3]], "frame 20: 3 atoms where 6 were before"),
    ):
        write(tmp_path / "a.xyz", which, format="extxyz")
        with pytest.raises(ValueError, match=re.escape(words)):
            run(command, tmp_path / "a.xyz", "--timestep", 1, "-o", tmp_path / "o")
