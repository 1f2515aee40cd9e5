"""`detopt physics`: published values, the document, the plot and what is refused."""

import math

import pytest

from detopt.cli.physics import read_list
from detopt.errors import UnitError

EVERY = (
    "stopping-power",
    "range",
    "highland",
    "radiation-length",
    "shower-profile",
    "muon-flux",
    "attenuation",
)


@pytest.fixture
def values(detopt):
    """Rows of a quantity as dictionaries by header."""

    def run(*arguments):
        answer = detopt("physics", *arguments, "--json")
        assert answer.code == 0, answer.err
        document = answer.document
        return [dict(zip(document["columns"], row, strict=True)) for row in document["rows"]]

    return run


@pytest.mark.parametrize(
    ("mev", "loss", "depth"),
    [(10, 45.67, 0.1230), (100, 7.289, 7.718), (150, 5.445, 15.77), (250, 3.911, 37.94)],
)
def test_protons_in_water_have_the_values_of_nist_pstar(values, mev, loss, depth):
    beam = ("--particle", "proton", "--material", "water", "--energies", f"{mev} MeV")
    (row,) = values("stopping-power", *beam)
    assert row["stopping power [MeV cm2/g]"] == pytest.approx(loss, rel=3e-3)
    assert row["stopping power [GeV cm2/g]"] == pytest.approx(loss / 1e3, rel=3e-3)
    (row,) = values("range", *beam)
    assert row["range [g/cm2]"] == pytest.approx(depth, rel=3e-3)
    assert row["length [m]"] == pytest.approx(depth / 100, rel=3e-3)


def test_muon_in_iron_has_the_least_loss_of_the_review(values):  # PDG: 1.451 MeV cm2/g at 362 MeV/c
    (row,) = values("stopping-power", "--material", "Fe", "--momenta", "362.3 MeV/c")
    assert row["stopping power [MeV cm2/g]"] == pytest.approx(1.451, rel=5e-3)


def test_muon_of_3_gev_in_lead_scatters_as_the_formula_says(values):  # by hand: 21.24 mrad
    (row,) = values(
        "highland",
        "--material",
        "Pb",
        "--momenta",
        "3 GeV",
        "--path",
        "10 cm",
        "--particle",
        "muon",
    )
    assert row["angle [mrad]"] == pytest.approx(21.24, rel=1e-3)
    assert row["thickness [X0]"] == pytest.approx(10 / 0.5612, rel=1e-3)


def test_radiation_lengths_are_those_of_the_review(values):
    rows = values("radiation-length", "--material", "Pb, Fe, water")
    found = [row["radiation length [cm]"] for row in rows]
    assert found == pytest.approx([0.5612, 1.757, 36.08], rel=3e-3)


def test_shower_of_10_gev_peaks_at_the_depth_of_the_formula(values):
    rows = values("shower-profile", "--energies", "10 GeV", "--material", "PbWO4")
    deepest = max(rows, key=lambda row: row["share [1/X0]"])
    # Longo and Sestili's maximum, ln(E/E_c) - 0.858 with E_c = 9.6 MeV
    assert deepest["depth [X0]"] == pytest.approx(math.log(10 / 0.0096) - 0.858, abs=0.4)
    assert sum(row["share [1/X0]"] * 0.5 for row in rows) == pytest.approx(1.0, abs=0.02)


def test_vertical_muon_flux_is_that_of_the_formula_of_guan(values):
    (row,) = values("muon-flux", "--energies", "100 GeV", "--zenith", "0 deg")
    cosine = 1.0  # c* = 1 for vertical muons
    energy = 100 + 3.64 / cosine**1.29
    expected = 1400 * energy**-2.7 * (1 / (1 + 110 / 115) + 0.054 / (1 + 110 / 850))
    assert row["intensity [1/(m2 s sr GeV)]"] == pytest.approx(expected, rel=1e-3)


def test_photons_of_1_mev_in_water_have_the_coefficient_of_nist(values):  # XCOM: 0.07072 cm2/g
    (row,) = values("attenuation", "--energies", "1 MeV", "--path", "10 cm")
    assert row["mass attenuation [cm2/g]"] == pytest.approx(0.07072, rel=0.01)
    assert row["transmission of 10 cm"] == pytest.approx(math.exp(-0.7072), rel=0.01)


@pytest.mark.parametrize("quantity", EVERY)
def test_every_quantity_has_a_default_table_with_formula_and_source(detopt, quantity):
    answer = detopt("physics", quantity)
    assert answer.code == 0
    assert "Source:" in answer.out.splitlines()[-1]


@pytest.mark.parametrize("quantity", EVERY)
def test_every_quantity_is_one_document(detopt, quantity):
    document = detopt("physics", quantity, "--json").document
    assert document["quantity"] == quantity
    assert document["unit"] == document["units"][document["value"]]
    assert {len(row) for row in document["rows"]} == {len(document["columns"])}


@pytest.mark.parametrize("quantity", EVERY)
@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_every_quantity_is_drawn(detopt, here, quantity, suffix):
    answer = detopt("physics", quantity, "--plot", f"out.{suffix}")
    assert answer.code == 0
    assert (here / f"out.{suffix}").stat().st_size > 5_000


def test_a_plot_that_exists_is_kept_unless_forced(detopt, here):
    (here / "out.png").write_bytes(b"mine")
    answer = detopt("physics", "range", "--plot", "out.png")
    assert answer.code == 2
    assert "--force" in answer.err
    assert (here / "out.png").read_bytes() == b"mine"
    assert detopt("physics", "range", "--plot", "out.png", "--force").code == 0
    assert (here / "out.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("stoping-power",), "Did you mean `stopping-power`"),
        (("range", "--material", "kryptonite"), "kryptonite"),
        (("range", "--particle", "graviton"), "graviton"),
        (("range", "--particle", "neutron"), "neutral"),
        (("range", "--particle=--13"), "No particle"),
        (("range", "--particle", "²"), "No particle"),
        (("range", "--particle", "pi"), "may be any of"),
        (("range", "--particle", "t"), "is a quark"),
        (("highland", "--particle", "t"), "is a quark"),
        (("range", "--energies", "10 cm"), "wrong dimension"),
        (("range", "--energies", "ten"), "Cannot read"),
        (("range", "--energies", ""), "Cannot read"),
        (("range", "--energies", "10; 20 MeV"), "Cannot read"),
        (("range", "--energies", "10 20 MeV"), "Cannot read"),
        (("range", "--energies", "10 MeV to"), "Cannot read"),
        (("range", "--energies", "nan MeV"), "Cannot read"),
        (("range", "--material", ","), "Cannot read --material"),
        (("range", "--particle", ""), "No particle"),
        (("range", "--energies", "0 MeV"), "vanishing"),
        (("range", "--energies", "-5 MeV"), "negative"),
        (("range", "--energies", "1 GeV to 1 MeV"), "must increase"),
        (("range", "--energies", "1 GeV", "--momenta", "1 GeV"), "not both"),
        (("range", "--energies", "1e9 GeV"), "must lie between"),
        (("range", "--particle", "electron", "--energies", "1 keV"), "must lie between"),
        (("range", "--zenith", "0 deg"), "takes no --zenith"),
        (("highland", "--path", "1 nm"), "must lie between"),
        (("highland", "--particle", "proton", "--momenta", "1 MeV"), "The angle must lie"),
        (("muon-flux", "--model", "lipari"), "No flux model"),
        (("muon-flux", "--model", "gaisser", "--energies", "5 GeV"), "must be >= 30 GeV"),
        (("muon-flux", "--zenith", "100 deg"), "must lie between"),
        (("muon-flux", "--particle", "proton"), "that of muons"),
        (("shower-profile", "--particle", "pion"), "electrons"),
        (("attenuation", "--energies", "1 keV"), "must lie between"),
        (("attenuation", "--particle", "muon"), "photons"),
        (("range", "--plot", "out.exe"), "must end in"),
        (("range", "--plot", "nowhere/out.png"), "does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_is_refused_in_one_line(detopt, arguments, message):
    answer = detopt("physics", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("10, 50,100 MeV", "GeV", [0.01, 0.05, 0.1]),
        ("500 MeV, 2 GeV", "GeV", [0.5, 2.0]),
        ("3", "GeV", [3.0]),
        ("1e-3 GeV", "GeV", [1e-3]),
        ("0,90 deg", "rad", [0.0, math.pi / 2]),
    ],
)
def test_lists_share_the_last_unit(text, unit, expected):
    assert read_list(text, unit, "energies") == pytest.approx(expected)


def test_a_span_is_even_in_the_logarithm():
    span = read_list("1 MeV to 1 GeV", "GeV", "energies")
    assert (len(span), span[0], span[-1]) == (25, 1e-3, 1.0)
    assert span[12] == pytest.approx(math.sqrt(1e-3))
    assert span == read_list("1 to 1000 MeV", "GeV", "energies")


def test_a_span_of_angles_is_even():
    span = read_list("0 to 60 deg", "rad", "zenith")
    assert span[12] == pytest.approx(math.radians(30))


def test_a_span_must_have_two_ends():
    with pytest.raises(UnitError, match="Cannot read --energies"):
        read_list("1 to 2 to 3 GeV", "GeV", "energies")
