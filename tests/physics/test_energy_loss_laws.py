"""Scaling laws of energy loss and straggling, and values worked by hand."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.physics import materials
from detopt.physics.energy_loss import (
    bragg_kleeman_energy,
    bragg_kleeman_range,
    collision_stopping_power,
    csda_range,
    energy_of_range,
    landau_quantile,
    landau_width,
    most_probable_loss,
    muon_critical_energy,
    radiative_stopping_power,
    range_straggling,
    straggling_width,
    vavilov_kappa,
    vavilov_most_probable_loss,
    vavilov_quantile,
)

ELECTRON_MASS, MUON_MASS = 0.51099895e-3, 0.1056583755  # GeV; CODATA 2018
K = 0.307075e-3  # GeV cm2/mol; Review of Particle Physics

energies = st.floats(0.05, 100.0)
paths = st.floats(1e-4, 1e-2)


def motion(kinetic_energy, mass=MUON_MASS):
    """Squared velocity and largest transfer [GeV] of a heavy particle, by hand."""
    gamma = 1 + kinetic_energy / mass
    ratio = ELECTRON_MASS / mass
    square = gamma**2 - 1
    return square / gamma**2, 2 * ELECTRON_MASS * square / (1 + 2 * gamma * ratio + ratio**2)


def width_by_hand(kinetic_energy, path, z_over_a=0.49848, density=2.329):
    """Landau's scale in silicon [GeV]."""
    return K / 2 * z_over_a * density * 100 * path / motion(kinetic_energy)[0]


@pytest.mark.parametrize(
    ("kinetic_energy", "depth"), [(0.1, 7.718), (0.15, 15.77), (0.2, 25.96), (0.25, 37.94)]
)
def test_proton_energy_of_a_range_in_water_is_that_of_nist_pstar(kinetic_energy, depth):
    found = energy_of_range("proton", "water", depth).item()
    assert found == pytest.approx(kinetic_energy, rel=3e-3)


@settings(deadline=None, max_examples=50)
@given(energy=st.floats(1e-3, 1e3))
def test_energy_of_range_undoes_the_range(energy):
    depth = csda_range("muon", "Fe", energy)
    assert energy_of_range("muon", "Fe", depth).item() == pytest.approx(energy, rel=1e-5)


def test_widths_of_a_layer_of_silicon_are_those_worked_by_hand():
    kinetic_energy, path = 0.28, 300e-6
    beta_squared, transfer = motion(kinetic_energy)
    width = width_by_hand(kinetic_energy, path)
    assert landau_width("muon", "Si", kinetic_energy, path).item() == pytest.approx(width, rel=1e-4)
    assert vavilov_kappa("muon", "Si", kinetic_energy, path).item() == pytest.approx(
        width / transfer, rel=1e-4
    )
    assert straggling_width("muon", "Si", kinetic_energy, path).item() == pytest.approx(
        math.sqrt(width * transfer * (1 - beta_squared / 2)), rel=1e-4
    )


def test_slow_protons_straggle_by_the_formula_of_bohr():
    # sigma^2 = 4 pi N_A r_e^2 (m_e c^2)^2 Z/A rho x = K m_e Z/A rho x for velocities far below c
    density, path = 1.0, 1e-3
    bohr = math.sqrt(K * ELECTRON_MASS * 0.55508 * density * 100 * path)
    width = straggling_width("proton", "water", 2e-3, path).item()
    assert width == pytest.approx(bohr, rel=6e-3)  # gamma^2 - 1 = 0.4 %


@settings(deadline=None, max_examples=50)
@given(energy=energies, path=paths, factor=st.floats(1.1, 10.0))
def test_landau_width_and_kappa_are_proportional_to_the_path(energy, path, factor):
    for quantity in (landau_width, vavilov_kappa):
        thin, thick = (quantity("muon", "Si", energy, x) for x in (path, factor * path))
        torch.testing.assert_close(thick, factor * thin, rtol=1e-10, atol=0.0)


@settings(deadline=None, max_examples=50)
@given(energy=energies, path=paths)
def test_variances_of_two_layers_add_up(energy, path):
    one, two = (straggling_width("muon", "Si", energy, x) for x in (path, 2 * path))
    torch.testing.assert_close(two.square(), 2 * one.square(), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("quantity", [landau_width, vavilov_kappa])
def test_widths_rise_with_the_square_of_the_charge(quantity):
    # at the same velocity: alphas carry 3.9726 times the energy of protons
    proton = quantity("proton", "Si", 0.1 * 0.93827209, 1e-3)
    alpha = quantity("alpha", "Si", 0.1 * 3.72737941, 1e-3)
    assert (alpha / proton).item() == pytest.approx(4.0, rel=5e-3)


@settings(deadline=None, max_examples=25)
@given(energy=st.floats(1.0, 100.0))
def test_vavilov_tends_to_landau_in_thin_layers(energy):
    landau = most_probable_loss("muon", "Si", energy, 1e-4)
    vavilov = vavilov_most_probable_loss("muon", "Si", energy, 1e-4)
    assert vavilov.item() == pytest.approx(landau.item(), rel=0.02)


def test_most_probable_loss_of_a_thick_layer_tends_to_the_mean():
    # kappa = 16 for protons of 10 MeV: Gauss, whose mode is its mean
    path, material = 4e-4, materials.get("Si")
    mean = collision_stopping_power("proton", material, 0.01).item() * material.density * 100 * path
    assert vavilov_kappa("proton", material, 0.01, path).item() > 10
    mode = vavilov_most_probable_loss("proton", material, 0.01, path).item()
    assert mode == pytest.approx(mean, rel=5e-3)


@settings(deadline=None, max_examples=50)
@given(score=st.floats(-5.0, 4.9))
def test_quantiles_of_landau_rise(score):
    low, high = landau_quantile(torch.tensor([score, score + 0.1], dtype=torch.float64))
    assert low < high


@settings(deadline=None, max_examples=50)
@given(score=st.floats(-5.0, 4.9), kappa=st.floats(0.01, 10.0), beta_squared=st.floats(0.1, 1.0))
def test_quantiles_of_vavilov_rise(score, kappa, beta_squared):
    scores = torch.tensor([score, score + 0.1], dtype=torch.float64)
    low, high = vavilov_quantile(scores, scores.new_tensor(kappa), scores.new_tensor(beta_squared))
    assert low < high


@settings(deadline=None, max_examples=50)
@given(energy=st.floats(0.01, 0.25), factor=st.floats(1.01, 3.0))
def test_bragg_kleeman_range_is_a_power_of_the_energy(energy, factor):
    near, far = bragg_kleeman_range(energy), bragg_kleeman_range(factor * energy)
    torch.testing.assert_close(far, near * factor**1.77, rtol=1e-12, atol=0.0)


@settings(deadline=None, max_examples=50)
@given(energy=st.floats(0.05, 0.25), share=st.floats(0.01, 0.95))
def test_range_that_is_left_is_the_range_less_the_depth(energy, share):
    depth = bragg_kleeman_range(energy) * share
    left = bragg_kleeman_range(bragg_kleeman_energy(energy, depth))
    torch.testing.assert_close(left, bragg_kleeman_range(energy) * (1 - share))


@settings(deadline=None, max_examples=50)
@given(depth=st.floats(0.01, 0.3), factor=st.floats(1.1, 3.0))
def test_range_straggling_grows_a_little_slower_than_the_range(depth, factor):
    near, far = range_straggling(depth), range_straggling(factor * depth)
    torch.testing.assert_close(far, near * factor**0.935, rtol=1e-12, atol=0.0)


def test_critical_energy_of_muons_falls_with_the_atomic_number():
    energies = [muon_critical_energy(name) for name in ("graphite", "Al", "Fe", "Sn", "Pb", "U")]
    assert energies == sorted(energies, reverse=True)


@pytest.mark.parametrize("material", ["graphite", "Fe", "Pb"])
def test_at_the_critical_energy_muons_lose_as_much_to_radiation_as_by_collisions(material):
    energy = muon_critical_energy(material) - MUON_MASS
    collision = collision_stopping_power("muon", material, energy)
    torch.testing.assert_close(
        radiative_stopping_power("muon", material, energy), collision, rtol=1e-6, atol=0.0
    )


@pytest.mark.parametrize(("beta_gamma", "expected"), [(3.5, 78.5), (100.0, 84.2)])
def test_vavilov_mode_in_300_micrometres_of_silicon_has_the_reference_value(beta_gamma, expected):
    # keV; Review of Particle Physics (minimum ionization) and the plateau, within a per cent
    kinetic_energy = MUON_MASS * (math.hypot(1.0, beta_gamma) - 1)
    mode = vavilov_most_probable_loss("muon", "Si", kinetic_energy, 300e-6)
    assert 1e6 * mode.item() == pytest.approx(expected, rel=1e-2)
