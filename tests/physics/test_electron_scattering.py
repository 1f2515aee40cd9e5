"""Scattering off electrons against conservation laws and published end points."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants, integrate, optimize

from detopt.errors import DomainError
from detopt.physics.electron_scattering import (
    ELECTRON_MASS,
    MUON_MASS,
    compton_edge,
    compton_electron_angle,
    compton_energy,
    elastic_cross_section,
    elastic_electron_angle,
    elastic_electron_energy,
    elastic_max_electron_energy,
    elastic_muon_angle,
    elastic_vacuum_variable,
    klein_nishina,
    momentum_transfer,
)

shares = st.floats(1e-3, 0.999)
beams = st.floats(1.0, 500.0)


def column(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


@settings(deadline=None)
@given(share=shares, beam=beams)
def test_elastic_scattering_conserves_energy_and_momentum(share, beam):
    electron = ELECTRON_MASS + share * (elastic_max_electron_energy(beam).item() - ELECTRON_MASS)
    theta, phi = (f(electron, beam).item() for f in (elastic_electron_angle, elastic_muon_angle))
    momentum = math.sqrt(beam**2 - MUON_MASS**2)
    p_electron = math.sqrt(electron**2 - ELECTRON_MASS**2)
    p_muon = math.sqrt((beam + ELECTRON_MASS - electron) ** 2 - MUON_MASS**2)

    across = p_electron * math.sin(theta) - p_muon * math.sin(phi)
    along = p_electron * math.cos(theta) + p_muon * math.cos(phi) - momentum
    assert across == pytest.approx(0.0, abs=1e-10 * beam)
    assert along == pytest.approx(0.0, abs=1e-10 * beam)


@settings(deadline=None)
@given(share=shares, beam=beams)
def test_electron_angle_and_energy_invert_each_other(share, beam):
    electron = ELECTRON_MASS + share * (elastic_max_electron_energy(beam).item() - ELECTRON_MASS)
    angle = elastic_electron_angle(electron, beam)
    assert elastic_electron_energy(angle, beam).item() == pytest.approx(electron, rel=1e-10)


def test_end_point_of_150_gev_muons_is_the_published_one():
    # Abbiendi et al. 2017: 139.8 GeV
    assert elastic_max_electron_energy(150.0).item() == pytest.approx(139.82, abs=0.005)
    assert elastic_electron_energy(0.0, 150.0).item() == pytest.approx(139.82, abs=0.005)


def test_both_angles_are_equal_at_the_symmetric_point():
    # 160 GeV: both 2.4395 mrad where the electron takes half the energy
    electron = (160.0 + ELECTRON_MASS) / 2
    energies = torch.linspace(70.0, 90.0, 200_001, dtype=torch.float64)
    gap = elastic_electron_angle(energies, 160.0) - elastic_muon_angle(energies, 160.0)
    crossing = energies[gap.abs().argmin()].item()
    assert crossing == pytest.approx(electron, abs=0.01)
    assert elastic_muon_angle(crossing, 160.0).item() == pytest.approx(2.4395e-3, abs=1e-7)


@pytest.mark.parametrize("beam", [5.0, 150.0, 1000.0])
def test_largest_muon_angle_is_the_mass_ratio_at_any_energy(beam):
    end_point = elastic_max_electron_energy(beam).item() - ELECTRON_MASS
    scan = optimize.minimize_scalar(
        lambda share: -elastic_muon_angle(ELECTRON_MASS + end_point * share, beam).item(),
        bounds=(1e-6, 0.999),
        method="bounded",
        options={"xatol": 1e-9},
    )
    largest = -scan.fun
    assert largest == pytest.approx(math.asin(ELECTRON_MASS / MUON_MASS), rel=1e-10)
    assert largest == pytest.approx(4.8364e-3, abs=5e-8)


def test_momentum_transfer_is_the_invariant_of_the_electron():
    electron = 10.0
    square = (electron - ELECTRON_MASS) ** 2 - (electron**2 - ELECTRON_MASS**2)
    assert momentum_transfer(electron).item() == pytest.approx(square, rel=1e-10)


@settings(deadline=None)
@given(x=st.floats(0.01, 0.99))
def test_vacuum_variable_inverts_its_transfer(x):
    transfer = -(x**2) * MUON_MASS**2 / (1 - x)
    assert elastic_vacuum_variable(transfer).item() == pytest.approx(x, rel=1e-10)


def test_muons_of_150_gev_reach_the_published_vacuum_variable():
    # Abbiendi et al. 2017: t of -0.143 GeV2, x of 0.932 at the end point
    transfer = momentum_transfer(elastic_max_electron_energy(150.0))
    assert transfer.item() == pytest.approx(-0.143, abs=5e-4)
    assert elastic_vacuum_variable(transfer).item() == pytest.approx(0.932, abs=1e-3)


def test_cross_section_of_soft_electrons_is_that_of_rutherford():
    kinetic, beta = 1e-3, math.sqrt(1 - (MUON_MASS / 100.0) ** 2)
    expected = 2 * math.pi * (2.8179403262e-15) ** 2 * ELECTRON_MASS / (beta * kinetic) ** 2
    cross_section = elastic_cross_section(kinetic + ELECTRON_MASS, 100.0)
    assert cross_section.item() == pytest.approx(expected, rel=1e-4)


def test_cross_section_falls_with_the_energy_of_the_electron():
    energy = torch.logspace(-3, 2, 100, dtype=torch.float64)
    assert (elastic_cross_section(energy, 150.0).diff() < 0).all()


@pytest.mark.parametrize(
    ("energy", "edge"),
    [(0.6617e-3, 0.4777e-3), (1.2745e-3, 1.0617e-3)],
    ids=["caesium-137", "sodium-22"],
)
def test_compton_edges_are_those_of_the_calibration_sources(energy, edge):
    # Knoll, Radiation Detection and Measurement: 477.7 keV and 1062 keV
    assert compton_edge(energy).item() == pytest.approx(edge, abs=0.5e-6)


def test_photon_of_the_electron_mass_is_halved_at_a_right_angle():
    assert compton_energy(ELECTRON_MASS, 0.0).item() == pytest.approx(ELECTRON_MASS / 2, rel=1e-14)


@settings(deadline=None)
@given(energy=st.floats(1e-5, 1.0), cosine=st.floats(-0.999, 0.999))
def test_compton_scattering_conserves_energy_and_momentum(energy, cosine):
    scattered = compton_energy(energy, cosine).item()
    phi = compton_electron_angle(energy, cosine).item()
    kinetic = energy - scattered
    recoil = math.hypot(energy - scattered * cosine, scattered * math.sqrt(1 - cosine**2))
    across = recoil * math.sin(phi) - scattered * math.sqrt(1 - cosine**2)
    assert across == pytest.approx(0.0, abs=1e-10 * energy)
    assert math.sqrt(kinetic * (kinetic + 2 * ELECTRON_MASS)) == pytest.approx(recoil, rel=1e-8)


@settings(deadline=None)
@given(energy=st.floats(1e-5, 1.0))
def test_backscattered_photon_leaves_the_edge_to_the_electron(energy):
    left = energy - compton_energy(energy, -1.0)
    torch.testing.assert_close(compton_edge(energy), left, rtol=1e-10, atol=1e-15)


def test_klein_nishina_integrates_to_thomson_at_low_energy():
    total, _ = integrate.quad(lambda c: 2 * math.pi * klein_nishina(1e-10, c).item(), -1, 1)
    thomson = constants.value("Thomson cross section")
    assert total == pytest.approx(thomson, rel=1e-6)


def test_klein_nishina_integrates_to_the_closed_form():
    # total cross-section at E = m_e, Klein & Nishina 1929, k = 1
    total, _ = integrate.quad(
        lambda c: 2 * math.pi * klein_nishina(ELECTRON_MASS, c).item(), -1, 1, epsabs=0
    )
    log = math.log(3)
    closed = 2 * (2 * 2 / 3 - log) + log / 2 - 4 / 9
    assert total == pytest.approx(2 * math.pi * (2.8179403262e-15) ** 2 * closed, rel=1e-10)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (elastic_max_electron_energy, ((2.0, 150.0),)),
        (elastic_electron_energy, ((0.01, 0.1), (2.0, 150.0))),
        (elastic_electron_angle, ((0.01, 0.02), (2.0, 150.0))),
        (elastic_muon_angle, ((0.01, 1.0), (2.0, 150.0))),
        (momentum_transfer, ((1.0, 20.0),)),
        (elastic_vacuum_variable, ((-1e-3, -0.1),)),
        (compton_energy, ((1e-3, 0.1), (0.3, -0.4))),
        (compton_edge, ((1e-3, 0.1),)),
        (compton_electron_angle, ((1e-3, 0.1), (0.3, -0.4))),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_match_finite_differences(function, inputs):
    tensors = tuple(column(*values) for values in inputs)
    assert torch.autograd.gradcheck(function, tensors, eps=1e-7, rtol=1e-4)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [(elastic_cross_section, ((1.0, 20.0), (50.0, 150.0))), (klein_nishina, ((1e-3,), (0.3,)))],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_of_the_cross_sections_match_finite_differences(function, inputs):
    tensors = tuple(column(*values) for values in inputs)
    assert torch.autograd.gradcheck(lambda *args: 1e30 * function(*args), tensors, eps=1e-7)


@pytest.mark.parametrize("function", [elastic_electron_angle, elastic_muon_angle])
def test_beam_below_the_rest_mass_is_refused(function):
    with pytest.raises(DomainError, match="`muon_energy` must exceed the rest mass"):
        function(0.01, 0.1)


@pytest.mark.parametrize(
    "function", [elastic_electron_angle, elastic_muon_angle, elastic_cross_section]
)
def test_electron_below_the_rest_mass_is_refused(function):
    with pytest.raises(DomainError, match="`electron_energy` must exceed the rest mass"):
        function(1e-4, 10.0)


def test_transfer_to_an_electron_below_the_rest_mass_is_refused():
    with pytest.raises(DomainError, match="`electron_energy` must exceed the rest mass"):
        momentum_transfer(0.0)


def test_end_point_of_a_beam_at_rest_is_refused():
    with pytest.raises(DomainError, match="Give the total energy"):
        elastic_max_electron_energy(MUON_MASS)


def test_backward_electron_is_refused():
    with pytest.raises(DomainError, match="never scattered backwards"):
        elastic_electron_energy(2.0, 150.0)


def test_time_like_transfer_is_refused():
    with pytest.raises(DomainError, match="`transfer` must be < 0"):
        elastic_vacuum_variable(0.1)


@pytest.mark.parametrize("function", [compton_energy, compton_electron_angle, klein_nishina])
def test_impossible_cosine_is_refused(function):
    with pytest.raises(DomainError, match="`cos_angle` must lie between -1 and 1"):
        function(1e-3, 1.5)


def test_photon_without_energy_is_refused():
    with pytest.raises(DomainError, match="`photon_energy` must be > 0"):
        compton_edge(0.0)
