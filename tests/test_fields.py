"""What is held: one value, its checks, and its courses in time."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

import lrcalc
from lrcalc import Evaluator, LRCalculator
from lrcalc.fields import COURSES, KINDS, Chirp, Course, Cycle, Field, Pulse, Ramp

Z = (0.0, 0.0, 0.1)
EXAMPLES = {
    "ramp": Ramp(Z, 100.0),
    "cycle": Cycle(Z, 20.0),
    "pulse": Pulse(Z, 3400.0, 15.0, 5.0),
    "chirp": Chirp(Z, 0.0, 4000.0, 100.0),
}


def test_a_field_is_a_value():
    field = Field("electric_field", [0, 0, 0.1])
    assert field == lrcalc.Field("electric_field", np.array(Z))
    assert hash(field) == hash(Field("electric_field", Z))
    assert pickle.loads(pickle.dumps(field)) == field
    assert field not in {Field("reduced_field", Z), Field("electric_field", (0, 0, 0.2)), None}
    assert field.value == field.amplitude == Z
    assert field.unit == "V/Å"
    assert not field.varies
    assert field.at(3.0) is field
    assert field.array.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        field.array[0] = 1.0
    with pytest.raises(AttributeError):
        field.kind = "reduced_field"
    assert repr(field) == "Field('electric_field', (0.0, 0.0, 0.1))"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("electric_field", "E = (0, 0, 0.1) V/Å"),
        ("electric_displacement", "D = (0, 0, 0.1) e/Å²"),
        ("reduced_field", "voltage = (0, 0, 0.1) V"),
    ],
)
def test_what_people_read(kind, text):
    assert str(Field(kind, Z)) == text
    assert str(Field(kind, Ramp(Z, 8.0))) == f"{text}, ramp (duration 8 fs)"
    assert "a function of time" in str(Field(kind, lambda time: Z))


@pytest.mark.parametrize("kind", KINDS)
def test_fields_turn_and_voltages_do_not(kind):
    rotation = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    turned = (0.1, 0.0, 0.0) if kind != "reduced_field" else Z
    assert Field(kind, Z).turned(rotation) == Field(kind, turned)
    assert Field(kind, Ramp(Z, 8.0)).turned(rotation) == Field(kind, Ramp(turned, 8.0))
    assert Field(kind, lambda time: Z).turned(rotation).at(1.0) == Field(kind, turned)


def test_functions_of_time_are_taken_at_a_time():
    field = Field("reduced_field", lambda time: (time, 0, 0))
    assert field.varies
    assert field.amplitude is None
    assert field.at(2.0) == Field("reduced_field", (2, 0, 0))
    with pytest.raises(ValueError, match=r"depends on time.*at\(time\)"):
        field.value  # noqa: B018


@pytest.mark.parametrize("value", [0.1, (0, 0), "up", (0, 0, np.nan), np.zeros((1, 3)), [None] * 3])
def test_what_is_no_vector_is_refused(value):
    match = "`electric_field` is .* must be three finite numbers in V/Å"
    with pytest.raises(ValueError, match=match):
        Field("electric_field", value)
    with pytest.raises(ValueError, match=match):
        Field("electric_field", lambda time: value).at(0.0)


def test_what_is_no_field_is_refused():
    with pytest.raises(ValueError, match="`kind` of a field is 'magnetic_field' but must be one"):
        Field("magnetic_field", Z)
    with pytest.raises(ValueError, match="`reduced_field` is None"):
        Field("reduced_field", None)
    with pytest.raises(ValueError, match="cannot be called with the time in fs as its only"):
        Field("electric_field", lambda: Z).at(0.0)
    with pytest.raises(ValueError, match="returned None at time 3 fs"):
        Field("electric_field", lambda time: None).at(3.0)


def test_one_of_three_arguments():
    assert Field.from_arguments() is None
    for kind in KINDS:
        assert Field.from_arguments(**{kind: Z}) == Field(kind, Z)
    with pytest.raises(ValueError, match="`electric_field` and `reduced_field` are both given"):
        Field.from_arguments(electric_field=Z, reduced_field=Z)


@pytest.mark.parametrize("name", COURSES)
def test_courses_are_values(name):
    course = EXAMPLES[name]
    field = Field("electric_field", course)
    assert field.varies
    assert field.amplitude == Z
    assert pickle.loads(pickle.dumps(field)) == field
    assert field == Field("electric_field", replace(course, amplitude=np.array(Z)))
    assert field != Field("electric_field", replace(course, amplitude=(0, 0, 0.2)))
    assert hash(field) == hash(Field("electric_field", replace(course)))
    for time in (0.0, 7.0, 1e4):
        np.testing.assert_allclose(field.at(time).array, course.shape(time) * np.array(Z), atol=0)


def test_courses_are_what_they_say():
    ramp, cycle, pulse, _ = EXAMPLES.values()
    assert [ramp.shape(t) for t in (0, 50, 100, 500)] == [0, 0.5, 1, 1]
    np.testing.assert_allclose([cycle.shape(t) for t in (0, 5, 15)], [0, 1, -1], atol=1e-12)
    # a wave of 3400 cm⁻¹ has a period of 9.811 fs
    waves = replace(pulse, width=None, peak=0.0)
    period = 1.0 / (3400.0 * 2.99792458e-5)
    np.testing.assert_allclose([waves.shape(n * period / 2) for n in range(3)], [1, -1, 1])
    still = replace(pulse, frequency=0.0)
    np.testing.assert_allclose(
        [still.shape(15 + 5 * n) for n in (0, 1, -1)], np.exp([0, -0.5, -0.5])
    )
    assert str(pulse) == "pulse (frequency 3400 cm⁻¹, peak 15 fs, width 5 fs)"
    assert str(waves) == "pulse (frequency 3400 cm⁻¹, peak 0 fs)"


def test_a_chirp_sweeps_from_one_wavenumber_to_another():
    chirp = Chirp(Z, 1000.0, 3000.0, 400.0)
    time = np.arange(0.0, 400.0, 0.01)
    wave = np.array([chirp.shape(t) for t in time])
    assert wave[0] == chirp.shape(400.0) == chirp.shape(-1.0) == 0.0
    crossings = time[1:][np.diff(np.sign(wave)) != 0]
    periods = 2 * np.diff(crossings)
    middle = (crossings[1:] + crossings[:-1]) / 2
    # c = 2.998e-5 cm/fs; the wavenumber of this moment grows linearly
    expected = 1 / ((1000.0 + 2000.0 * middle / 400.0) * 2.99792458e-5)
    np.testing.assert_allclose(periods[1:], expected[1:], rtol=0.01)
    assert np.abs(wave[np.abs(time - 200.0) < 20.0]).max() > 0.95


@pytest.mark.parametrize(
    ("course", "match"),
    [
        (Ramp(Z, 0.0), "`ramp.duration` is 0 fs but must be positive and finite"),
        (Cycle(Z, np.inf), "`cycle.period` is inf fs"),
        (Cycle((0, 0), 1.0), "`cycle.amplitude` is .* three finite numbers in V/Å"),
        (Pulse(Z, -1.0), "`pulse.frequency` is -1 cm⁻¹ but must be 0 or more and finite"),
        (Pulse(Z, 0.0, np.nan, 5.0), "`pulse.peak` is nan fs but must be finite"),
        (Pulse(Z, 0.0, 3.0), "`pulse.peak` is 3 fs, but without `pulse.width`"),
        (Pulse(Z, 0.0, 3.0, 0.0), "`pulse.width` is 0 fs but must be positive.*leave it out"),
    ],
)
def test_courses_that_make_no_sense_are_refused(course, match):
    with pytest.raises(ValueError, match=match):
        Field("electric_field", course)


def test_a_course_is_a_class():
    with pytest.raises(NotImplementedError):
        Course(Z)(0.0)


def test_what_is_no_field_is_told_where_it_is_given():
    held = Field("electric_field", (0, 0, 0.1))
    for calculator in (Evaluator("water"), LRCalculator("water")):
        with pytest.raises(ValueError, match=r"`field` is \(0, 0, 1\).*lrcalc\.Field"):
            calculator.field = (0, 0, 1)
        with pytest.raises(ValueError, match="`electric_field` is .* a Field already"):
            calculator.electric_field = held
    with pytest.raises(ValueError, match="`field` and `electric_field` are both given"):
        calculator.set(field=held, electric_field=(0, 0, 0.2))
    assert calculator.field is None
    for wrong in ("10", None):
        with pytest.raises(ValueError, match=r"`ramp\.duration` is .* a number in fs"):
            Field("electric_field", Ramp((0, 0, 0.1), wrong))
