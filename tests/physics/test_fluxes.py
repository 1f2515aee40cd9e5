"""Muon intensities against their published integrals and direct quadrature."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from detopt.errors import DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics.energy_loss import residual_energy
from detopt.physics.fluxes import (
    gaisser_intensity,
    guan_intensity,
    integral_intensity,
    intensity_at_depth,
    muon_flux_at_depth,
    shukla_sankrith_intensity,
    threshold_energy,
)

MUON_MASS = 0.1056583755  # GeV; CODATA 2018
MODELS = pytest.mark.parametrize(
    "model", [guan_intensity, shukla_sankrith_intensity], ids=["guan", "shukla-sankrith"]
)


def column(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("model", "expected"), [(guan_intensity, 60.5), (shukla_sankrith_intensity, 70.4)]
)
def test_vertical_intensity_above_one_gev_has_the_reference_value(model, expected):
    above = integral_intensity(model, 1.0, 1.0)
    assert above.item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("model", "expected"), [(guan_intensity, 0.250), (shukla_sankrith_intensity, 0.254)]
)
def test_intensity_at_sixty_degrees_has_the_reference_ratio(model, expected):
    ratio = integral_intensity(model, 0.5, 0.5) / integral_intensity(model, 0.5, 1.0)
    assert ratio.item() == pytest.approx(expected, abs=1e-3)


@MODELS
def test_both_models_agree_with_the_measured_vertical_intensity(model):
    # Review of Particle Physics: about 70 /(m2 s sr) above 1 GeV/c
    assert integral_intensity(model, 1.0, 1.0).item() == pytest.approx(70.0, rel=0.15)


@MODELS
@pytest.mark.parametrize("cosine", [0.2, 0.6, 1.0])
def test_integral_agrees_with_adaptive_quadrature(model, cosine):
    expected, _ = integrate.quad(
        lambda log_energy: math.exp(log_energy) * model(math.exp(log_energy), cosine).item(),
        math.log(2.0),
        math.log(2e6),
        epsrel=1e-9,
        limit=200,
    )
    assert integral_intensity(model, 2.0, cosine).item() == pytest.approx(expected, rel=1e-6)


def test_guan_tends_to_gaisser_for_vertical_muons_of_high_energy():
    # 3.64 GeV of mean loss are 1 % in the power law at 1 TeV
    ratio = guan_intensity(1000.0, 1.0) / gaisser_intensity(1000.0, 1.0)
    assert ratio.item() == pytest.approx((1 + 3.64 / 1000) ** -2.7, rel=1e-6)


def test_gaisser_exceeds_the_mended_form_as_published():
    ratio = [gaisser_intensity(e, 1.0) / guan_intensity(e, 1.0) for e in (30.0, 100.0)]
    np.testing.assert_allclose(ratio, [1.36, 1.10], rtol=5e-3)


def test_shukla_sankrith_normalization_is_the_intensity_above_the_cutoff():
    # without decay (epsilon infinite) the integral above E_c is I0; at 1 GeV decay takes < 2 %
    above = integral_intensity(shukla_sankrith_intensity, 0.5, 1.0)
    assert above.item() == pytest.approx(88.0, rel=0.02)


def test_hundred_gev_intensity_of_gaisser_is_that_worked_by_hand():
    # 1400 * 100^-2.7 * (1/(1 + 110/115) + 0.054/(1 + 110/850))
    expected = 1400 * 10**-5.4 * (115 / 225 + 0.054 * 850 / 960)
    assert gaisser_intensity(100.0, 1.0).item() == pytest.approx(expected, rel=1e-12)


@MODELS
@settings(deadline=None)
@given(energy=st.floats(0.5, 1e4), cosine=st.floats(0.0, 1.0))
def test_spectra_fall_with_energy(model, energy, cosine):
    assert model(energy * 1.01, cosine) < model(energy, cosine)


@MODELS
@settings(deadline=None)
@given(energy=st.floats(0.5, 20.0), cosine=st.floats(0.05, 0.95))
def test_muons_of_low_energy_come_from_above(model, energy, cosine):
    assert model(energy, cosine + 0.05) > model(energy, cosine)


@pytest.mark.parametrize(
    ("kinetic_energy", "grammage"),
    [(1.0, 553.4), (10.0, 4.92e3), (100.0, 4.084e4), (1000.0, 2.453e5)],
    ids=["1 GeV", "10 GeV", "100 GeV", "1 TeV"],
)
def test_threshold_inverts_the_tabulated_range_in_rock(kinetic_energy, grammage):
    # ranges: Groom, Mokhov and Striganov 2001, standard rock
    expected = kinetic_energy + MUON_MASS
    assert threshold_energy(grammage).item() == pytest.approx(expected, rel=5e-3)


def test_threshold_of_no_rock_is_the_mass():
    assert threshold_energy(1e-6).item() == pytest.approx(MUON_MASS, rel=1e-4)


@pytest.mark.parametrize("material", ["water", "standard_rock", "Pb"])
@settings(deadline=None)
@given(first=st.floats(1.0, 1.5e5), second=st.floats(1.0, 1.5e5))
def test_threshold_adds_up_over_two_layers(material, first, second):
    # a muon that leaves the first layer with what the second one needs crosses both
    medium = materials.get(material)
    thickness = first / medium.density / 100
    kinetic_energy = threshold_energy(first + second, medium) - MUON_MASS
    behind = residual_energy("muon", medium, kinetic_energy, thickness) + MUON_MASS
    assert behind.item() == pytest.approx(threshold_energy(second, medium).item(), rel=1e-4)


def test_threshold_of_deep_rock_follows_the_radiative_loss():
    # dE/dX = a + b E with E large: two depths apart by D differ by the factor exp(b D)
    growth = threshold_energy(6e5) / threshold_energy(5e5)
    assert math.log(growth) / 1e5 == pytest.approx(4.6e-6, rel=0.1)  # b + a/E near 5 TeV


@MODELS
@pytest.mark.parametrize("depth", [1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
def test_vertical_intensity_under_rock_is_near_the_fit_to_measurements(model, depth):
    # Mei & Hime 2006, eq. 1: 8.60e-6 e^(-h/0.45) + 0.44e-6 e^(-h/0.87) /(cm2 s sr), h in km w.e.
    measured = 1e4 * (8.60e-6 * math.exp(-depth / 0.45) + 0.44e-6 * math.exp(-depth / 0.87))
    assert intensity_at_depth(model, 1e5 * depth, 1.0).item() == pytest.approx(measured, rel=0.25)


@MODELS
def test_vertical_intensity_at_wipp_is_near_the_measured_one(model):
    # Esch et al. 2005: 3.10e-7 /(cm2 s sr) at 1585 m of water equivalent
    assert intensity_at_depth(model, 1.585e5, 1.0).item() == pytest.approx(3.10e-3, rel=0.16)


@MODELS
def test_without_rock_the_intensity_is_that_of_all_muons_above_the_mass(model):
    above = integral_intensity(model, MUON_MASS, 0.8)
    torch.testing.assert_close(intensity_at_depth(model, 1e-6, 0.8), above, rtol=1e-4, atol=0.0)


def test_water_lets_fewer_muons_through_than_rock_where_ionization_rules():
    # per g/cm2 water has more electrons, but radiates less: the order turns below 3 km
    shallow, deep = torch.tensor([1e5, 6e5], dtype=torch.float64)
    water = [intensity_at_depth(guan_intensity, x, 1.0, "water") for x in (shallow, deep)]
    rock = [intensity_at_depth(guan_intensity, x, 1.0) for x in (shallow, deep)]
    assert water[0] < rock[0]
    assert water[1] > rock[1]


@MODELS
def test_intensity_falls_with_depth(model):
    depth = torch.logspace(2, 6, 50, dtype=torch.float64)
    assert (intensity_at_depth(model, depth, 1.0).diff() < 0).all()


@pytest.mark.parametrize(
    ("depth", "measured"),
    [(1.585e5, 4.77e-3), (1.95e5, 2.0e-3)],
    ids=["WIPP", "Soudan"],
)
def test_flux_of_underground_laboratories_is_reproduced(depth, measured):
    # measured totals quoted by Mei & Hime 2006, table I
    assert muon_flux_at_depth(depth).item() == pytest.approx(measured, rel=0.05)


def test_flux_falls_with_depth():
    depth = torch.linspace(1e5, 1e6, 50, dtype=torch.float64)
    assert (muon_flux_at_depth(depth).diff() < 0).all()


@pytest.mark.parametrize("model", [guan_intensity, shukla_sankrith_intensity, gaisser_intensity])
def test_gradients_of_the_intensities_match_finite_differences(model):
    energy, cosine = column(31.0, 60.0, 400.0), column(0.3, 0.7, 1.0)
    assert torch.autograd.gradcheck(
        lambda e, c: 1e3 * model(e, c), (energy, cosine), eps=1e-6, atol=1e-7
    )


@MODELS
def test_gradient_of_the_integral_is_the_intensity_at_the_threshold(model):
    threshold = column(1.0, 30.0)
    integral_intensity(model, threshold, 0.8).sum().backward()
    torch.testing.assert_close(-threshold.grad, model(threshold.detach(), 0.8), rtol=1e-5, atol=0.0)


@MODELS
def test_gradient_of_the_integral_matches_finite_differences(model):
    inputs = column(1.0, 3.0), column(0.6, 0.9)
    assert torch.autograd.gradcheck(lambda t, c: integral_intensity(model, t, c), inputs)


def test_gradients_in_the_depth_match_finite_differences():
    depth = column(1.0, 3.0)  # in 1e5 g/cm2

    def outcome(depth):
        at_depth = intensity_at_depth(guan_intensity, 1e5 * depth, 0.8)
        return 1e3 * at_depth, threshold_energy(1e5 * depth), 1e3 * muon_flux_at_depth(1e5 * depth)

    assert torch.autograd.gradcheck(outcome, (depth,), atol=1e-4)


@pytest.mark.parametrize("energy", [29.9, torch.tensor([100.0, 20.0])], ids=["number", "tensor"])
def test_plain_gaisser_is_refused_below_thirty_gev(energy):
    with pytest.raises(DomainError, match="must be >= 30 GeV"):
        gaisser_intensity(energy, 1.0)


@pytest.mark.parametrize("model", [guan_intensity, shukla_sankrith_intensity, gaisser_intensity])
def test_muons_from_below_are_refused(model):
    with pytest.raises(DomainError, match="`cos_zenith` must lie between 0 and 1, got"):
        model(100.0, -0.5)


@pytest.mark.parametrize("model", [guan_intensity, shukla_sankrith_intensity])
def test_energy_of_zero_is_refused(model):
    with pytest.raises(DomainError, match="`energy` must be > 0"):
        model(0.0, 1.0)


def test_threshold_of_zero_is_refused():
    with pytest.raises(DomainError, match="`energy` must be > 0"):
        integral_intensity(guan_intensity, 0.0, 1.0)


def test_depth_of_zero_is_refused():
    with pytest.raises(DomainError, match="`grammage` must be > 0"):
        intensity_at_depth(guan_intensity, 0.0, 1.0)


@pytest.mark.parametrize("grammage", [0.0, -1e5])
def test_threshold_behind_no_matter_is_refused(grammage):
    with pytest.raises(DomainError, match="`grammage` must be > 0"):
        threshold_energy(grammage)


def test_unknown_rock_is_refused():
    with pytest.raises(NotFoundError, match="standard_rok"):
        intensity_at_depth(guan_intensity, 1e5, 1.0, "standard_rok")


def test_shallow_site_is_refused_by_the_fit():
    with pytest.raises(DomainError, match="between 1e5 and 1e6"):
        muon_flux_at_depth(1e4)
