"""Units: what users may write, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from detopt.errors import UnitError
from detopt.units import Angle, Density, Energy, Length, Number, parse


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("30 cm", "m", 0.3),
        ("30cm", "m", 0.3),
        ("-2.5 mm", "m", -2.5e-3),
        ("1e2 um", "m", 1e-4),
        (".5 m", "m", 0.5),
        ("12 µm", "m", 12e-6),
        ("1 inch", "m", 0.0254),
        ("150 GeV", "GeV", 150.0),
        ("500 MeV", "GeV", 0.5),
        ("5 GeV/c", "GeV", 5.0),
        ("250 MeV/c", "GeV", 0.25),
        ("70 deg", "rad", math.radians(70)),
        ("70°", "rad", math.radians(70)),
        ("3 mrad", "rad", 3e-3),
        ("2 min", "s", 120.0),
        ("4 cm^2", "m^2", 4e-4),
        ("11.35 g/cm^3", "g/cm^3", 11.35),
        ("1000 kg/m^3", "g/cm^3", 1.0),
        ("90 %", "1", 0.9),
        ("90%", "1", 0.9),
        ("5 percent", "1", 0.05),
    ],
)
def test_quantity_is_converted_to_the_base_unit(text, unit, expected):  # by definition of units
    assert parse(text, unit) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("number", [3, 0.3, "0.3", " 1e-3 ", "-2"])
@pytest.mark.parametrize("unit", ["m", "GeV", "rad", "1"])
def test_number_without_unit_is_in_the_base_unit(number, unit):
    assert parse(number, unit) == float(number)


@given(st.floats(-1e12, 1e12))
def test_text_of_a_number_loses_no_bit(value):
    assert parse(repr(value), "m") == value
    assert parse(f"{value!r} m", "m") == value


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("30 cm", "GeV"),
        ("150 GeV", "m"),
        ("30 cm", "rad"),
        ("70 deg", "m"),
        ("50 %", "m"),
        ("50 %", "GeV"),
        ("5 m", "1"),
        ("5 GeV/c^2", "GeV"),
        ("3 s", "g/cm^3"),
    ],
)
def test_wrong_dimension_is_refused(text, unit):
    with pytest.raises(UnitError, match="wrong dimension"):
        parse(text, unit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "thirty cm",
        "3 foolengths",
        "m",
        "2 + 3 m",
        "30 cm 5",
        "[1, 2] m",
        "1j m",
        "import os",
    ],
)
def test_nonsense_is_refused(text):
    with pytest.raises(UnitError, match="Cannot read"):
        parse(text, "m")


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "-inf", "1e999 m"])
def test_number_that_is_not_finite_is_refused(value):
    with pytest.raises(UnitError, match="must be finite"):
        parse(value, "m")


@pytest.mark.parametrize("value", [True, False, None, [1.0], {"m": 1}, 1j])
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(UnitError, match="must be a number or a text"):
        parse(value, "m")


class Options(BaseModel):
    gap: Length = 1.0
    energy: Energy = 1.0
    tilt: Angle = 0.0
    density: Density = 1.0
    share: Number = 0.5


def test_fields_of_a_config_take_quantities():
    options = Options(gap="30 cm", energy="5 GeV/c", tilt="1 deg", density="8 g/cm^3", share="5 %")
    found = (options.gap, options.energy, options.tilt, options.density, options.share)
    assert found == pytest.approx((0.3, 5.0, math.pi / 180, 8.0, 0.05), rel=1e-12)


def test_field_of_a_config_refuses_a_wrong_dimension():
    with pytest.raises(ValidationError, match="wrong dimension: expected a quantity in m"):
        Options(gap="5 GeV")
