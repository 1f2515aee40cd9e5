import math

import pytest
import torch
import xraylib
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from detopt.errors import DomainError, NotFoundError
from detopt.physics import materials, photons

KEV, MEV = 1e-6, 1e-3
ELEMENTS = ["H", "graphite", "O", "Al", "Si", "Fe", "Cu", "Ge", "Sn", "W", "Pt", "Pb", "U"]
ENERGIES = [10.5, 20.0, 35.0, 60.0, 90.0, 150.0, 300.0, 511.0, 700.0]  # keV

# NIST XCOM: E [MeV], mass attenuation coefficient with coherent scattering [cm2/g]
PUBLISHED = {
    "water": [(0.1, 0.1707), (1, 0.07072), (10, 0.02219), (100, 0.01725)],
    "Pb": [(0.1, 5.549), (1, 0.07102), (10, 0.04972), (100, 0.09313)],
    "Fe": [(0.1, 0.3717), (1, 0.05995), (10, 0.02994)],
    "Al": [(0.1, 0.1704), (1, 0.06146), (10, 0.02318)],
}


def rows(table):
    return [(name, *row) for name, entries in table.items() for row in entries]


@pytest.mark.parametrize(("material", "mev", "expected"), rows(PUBLISHED))
def test_attenuation_is_that_of_the_tables_of_nist(material, mev, expected):
    computed = photons.mass_attenuation(material, mev * MEV)
    assert computed.item() == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize("element", ELEMENTS)
def test_each_process_agrees_with_xraylib(element, energy):
    number = round(materials.get(element).atomic_number)
    computed = photons.interactions(element, energy * KEV)
    expected = {
        "photoelectric": xraylib.CS_Photo(number, energy),
        "compton": xraylib.CS_Compt(number, energy),
        "rayleigh": xraylib.CS_Rayl(number, energy),
        "total": xraylib.CS_Total(number, energy),
    }
    got = {name: getattr(computed, name).item() for name in expected}
    assert got == pytest.approx(expected, rel=1.5e-2)


@pytest.mark.parametrize("energy", ENERGIES)
def test_a_compound_agrees_with_xraylib(energy):
    expected = xraylib.CS_Total_CP("PbWO4", energy)
    assert photons.mass_attenuation("PbWO4", energy * KEV).item() == pytest.approx(
        expected, rel=1.5e-2
    )


@pytest.mark.parametrize(
    ("element", "edge", "jump"),  # K edges and jump ratios: Hubbell and Seltzer, NISTIR 5632
    [("Pb", 88.0045, 4.73), ("Sn", 29.2001, 6.15)],
)
def test_absorption_jumps_at_the_k_edge(element, edge, jump):
    below = photons.interactions(element, edge * 0.999 * KEV).photoelectric
    above = photons.interactions(element, edge * 1.001 * KEV).photoelectric
    assert (above / below).item() == pytest.approx(jump, rel=2e-2)


def test_klein_nishina_has_its_published_value():  # 0.2866 barn at the electron mass
    assert photons.klein_nishina(torch.tensor(0.51099895e-3)).item() == pytest.approx(
        0.2866, rel=1e-3
    )


def test_klein_nishina_tends_to_thomson():  # 0.66525 barn
    cross_section = photons.klein_nishina(torch.tensor([1e-8], dtype=torch.float64))
    assert cross_section.item() == pytest.approx(0.66525, rel=1e-3)


@settings(deadline=None)
@given(energy=st.floats(10e-6, 10.0))
def test_shares_sum_to_one(energy):
    share = photons.shares("concrete", energy)
    assert share.total.item() == pytest.approx(1.0)
    assert min(share.photoelectric, share.compton, share.rayleigh, share.pair).item() >= 0


@pytest.mark.parametrize(
    ("energy", "process"),
    [(20 * KEV, "photoelectric"), (1 * MEV, "compton"), (1.0, "pair")],
)
def test_the_right_process_rules_in_aluminum(energy, process):
    assert getattr(photons.shares("Al", energy), process).item() > 0.7


def test_no_pair_is_made_below_the_threshold():
    pair = photons.interactions("Pb", torch.tensor([1.02, 1.03], dtype=torch.float64) * MEV).pair
    assert pair[0].item() == 0.0
    assert pair[1].item() > 0.0


def test_coherent_scattering_can_be_left_out():
    each = photons.interactions("Fe", 30 * KEV)
    without = photons.mass_attenuation("Fe", 30 * KEV, coherent=False)
    assert without.item() == pytest.approx((each.total - each.rayleigh).item())


def test_mean_free_path_tends_to_nine_sevenths_of_the_radiation_length():
    length = photons.attenuation_length("Pb", 10.0).item()
    assert length == pytest.approx(9 / 7 * materials.get("Pb").radiation_length, rel=0.03)


def test_a_compound_adds_its_elements_by_mass():
    water, energy = materials.get("water"), 100 * KEV
    parts = [w * photons.mass_attenuation(s, energy) for s, w in water.composition.items()]
    assert photons.mass_attenuation(water, energy).item() == pytest.approx(sum(parts).item())


def test_layers_multiply_the_transmission():
    energy = torch.tensor([50 * KEV, 1 * MEV], dtype=torch.float64)
    once = photons.transmission("Al", energy, 0.01)
    torch.testing.assert_close(photons.transmission("Al", energy, 0.02), once**2)


def test_a_mean_free_path_lets_one_in_e_through():
    length = photons.attenuation_length("water", 1 * MEV)
    assert photons.transmission("water", 1 * MEV, length).item() == pytest.approx(math.exp(-1))


@pytest.mark.parametrize("material", ["Pb", "water", "PbWO4"])
def test_gradient_in_the_energy_matches_finite_differences(material):
    kev = torch.tensor([12.0, 60.0, 300.0, 5e3, 1e6], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda e: photons.mass_attenuation(material, e * KEV), kev)
    assert gradcheck(lambda e: photons.attenuation_length(material, e * KEV), kev)
    assert gradcheck(lambda e: photons.shares(material, e * KEV).compton, kev)
    assert gradcheck(lambda e: photons.interactions(material, e * KEV).pair, kev)


def test_gradient_of_transmission_and_klein_nishina_match_finite_differences():
    kev = torch.tensor([40.0, 300.0, 5e3], dtype=torch.float64, requires_grad=True)
    path = torch.tensor([0.01, 0.02, 0.1], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda e, x: photons.transmission("water", e * KEV, x), (kev, path))
    assert gradcheck(lambda e: photons.klein_nishina(e * KEV), kev)


def test_results_keep_shape_and_dtype_of_the_input():
    energies = torch.rand(2, 3) * MEV + 10 * KEV
    computed = photons.mass_attenuation("Fe", energies)
    assert (computed.shape, computed.dtype) == ((2, 3), torch.float32)


@pytest.mark.parametrize(
    "function",
    [
        photons.interactions,
        photons.shares,
        photons.mass_attenuation,
        photons.attenuation_length,
        lambda material, energy: photons.transmission(material, energy, 0.1),
    ],
)
def test_impossible_energy_is_refused(function):
    with pytest.raises(DomainError, match="`energy` must be > 0"):
        function("Fe", -1.0)


def test_unknown_material_is_refused():
    with pytest.raises(NotFoundError, match="No material 'unobtanium'"):
        photons.mass_attenuation("unobtanium", 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_energy_that_cannot_be_has_no_attenuation(dtype):
    energy = torch.tensor([0.01, math.nan, -1.0, math.inf], dtype=dtype)
    found = photons.mass_attenuation("water", energy)
    assert found.isfinite().tolist() == [True, False, False, False]
