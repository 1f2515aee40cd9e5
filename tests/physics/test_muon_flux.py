"""Sampled muons against the distribution functions of the intensity, by quadrature."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from detopt.errors import DomainError
from detopt.physics import muon_flux
from detopt.physics.fluxes import MuonFlux, guan_intensity, shukla_sankrith_intensity

MODELS = pytest.mark.parametrize(
    "model", [guan_intensity, shukla_sankrith_intensity], ids=["guan", "shukla-sankrith"]
)
LOWEST = math.cos(math.radians(70.0))


def integral(model, energies=(0.5, 500.0), cosines=(LOWEST, 1.0)):
    """Integral of I c over a rectangle, by Gauss-Legendre of order 80 in c and ln E."""
    nodes, weights = np.polynomial.legendre.leggauss(80)

    def span(low, high):
        half = (high - low) / 2
        return low + half * (nodes + 1), weights * half

    log_energy, weight_energy = span(*np.log(energies))
    cosine, weight_cosine = span(*cosines)
    energy = torch.as_tensor(np.exp(log_energy)).unsqueeze(1)
    intensity = model(energy, torch.as_tensor(cosine)).numpy()
    return weight_energy @ (intensity * energy.numpy() * cosine) @ weight_cosine


def test_horizontal_plane_sees_the_reference_rate():
    # Guan et al., all angles above 0.5 GeV: 0.702 per cm2 and minute
    flux = MuonFlux(guan_intensity, energy_range=(0.5, 1e5), max_zenith=math.pi / 2)
    assert flux.rate_per_area * 60 / 1e4 == pytest.approx(0.702, rel=1e-3)


@MODELS
def test_rate_is_the_integral_of_the_intensity(model):
    expected = 2 * math.pi * integral(model)
    assert MuonFlux(model).rate_per_area == pytest.approx(expected, rel=1e-4)


def test_isotropic_flat_intensity_gives_the_rate_of_a_lambertian_plane():
    flux = MuonFlux(lambda e, c: torch.ones_like(e * c), (1.0, 3.0), math.pi / 2)
    assert flux.rate_per_area == pytest.approx(2 * math.pi, rel=1e-5)


@MODELS
@pytest.mark.parametrize("cosine", [0.45, 0.7, 0.95])
def test_zenith_angles_follow_the_distribution_function(model, cosine, rng):
    _, cosines = MuonFlux(model).sample(400_000, rng)
    expected = integral(model, cosines=(LOWEST, cosine)) / integral(model)
    assert (cosines < cosine).double().mean().item() == pytest.approx(expected, abs=3e-3)


@MODELS
@pytest.mark.parametrize("energy", [1.0, 4.0, 20.0, 100.0])
def test_energies_follow_the_distribution_function(model, energy, rng):
    energies, _ = MuonFlux(model).sample(400_000, rng)
    expected = integral(model, energies=(0.5, energy)) / integral(model)
    assert (energies < energy).double().mean().item() == pytest.approx(expected, abs=3e-3)


@MODELS
@pytest.mark.parametrize("cosines", [(LOWEST, 0.5), (0.9, 1.0)], ids=["inclined", "steep"])
def test_energies_depend_on_the_zenith_angle_as_the_model_says(model, cosines, rng):
    energy, cosine = MuonFlux(model).sample(400_000, rng)
    inside = (cosine > cosines[0]) & (cosine < cosines[1])
    expected = integral(model, (0.5, 4.0), cosines) / integral(model, cosines=cosines)
    assert (energy[inside] < 4.0).double().mean().item() == pytest.approx(expected, abs=7e-3)


@MODELS
@pytest.mark.parametrize("probability", [1e-4, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_quantiles_are_exact_to_a_thousandth(model, probability, monkeypatch):
    word = round(probability * 2**31) & -256 | 1

    def draw(scratch, rng):
        scratch.first.fill_(word)
        scratch.second.fill_(word)

    monkeypatch.setattr(muon_flux._Scratch, "draw", draw)
    energy, cosine = MuonFlux(model).sample((1,), torch.Generator(), dtype=torch.float64)

    below = integral(model, cosines=(LOWEST, cosine.item())) / integral(model)
    # with all low bits zero, the energy is that of the tabulated cosine below
    row = math.floor((cosine.item() - LOWEST) / (1 - LOWEST) * 64)
    edge = LOWEST + (1 - LOWEST) * row / 64
    narrow = (edge - 1e-6, edge + 1e-6)
    above = integral(model, (energy.item(), 500.0), narrow) / integral(model, cosines=narrow)
    assert below == pytest.approx(probability, abs=2e-4)
    assert above == pytest.approx(probability, rel=1e-3, abs=1e-6)


def test_rows_of_the_table_are_mixed_in_proportion():
    for position in (0.0, 0.25, 7.75, 64.0):
        cosine = torch.full((256,), position / 64)
        scratch = muon_flux._Scratch(cosine)
        scratch.first.copy_(torch.arange(256))
        rows = scratch.dithered_rows(cosine, 64.0) / 256
        assert rows.mean().item() == position


def test_draws_are_continuous(rng):
    energy, cosine = MuonFlux(guan_intensity).sample(10_000, rng, dtype=torch.float64)
    assert len(energy.unique()) == len(cosine.unique()) == 10_000
    assert energy.min() >= 0.5
    assert energy.max() <= 500.0 * (1 + 1e-12)
    assert cosine.min() >= LOWEST
    assert cosine.max() <= 1.0


def test_same_seed_gives_the_same_muons():
    flux = MuonFlux(guan_intensity)
    first = flux.sample((3, 4), torch.Generator().manual_seed(5))
    again = flux.sample((3, 4), torch.Generator().manual_seed(5))
    assert first[0].shape == (3, 4)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("energy", [1.0, 30.0])
def test_zenith_at_fixed_energy_follows_the_intensity(energy, rng):
    cosines = MuonFlux(guan_intensity).sample_zenith(torch.full((100_000,), energy), rng)
    grid = np.linspace(LOWEST, 1.0, 2001)
    density = guan_intensity(energy, torch.as_tensor(grid)).numpy() * grid
    cumulative = integrate.cumulative_simpson(density, x=grid, initial=0.0)

    def distribution(cosine):
        return np.interp(cosine, grid, cumulative / cumulative[-1])

    assert stats.kstest(cosines.double().numpy(), distribution).statistic < 5e-3


def test_zenith_at_fixed_energy_takes_a_number(rng):
    assert LOWEST <= MuonFlux(guan_intensity).sample_zenith(3.0, rng).item() <= 1.0


def test_rate_is_proportional_to_the_area():
    flux = MuonFlux(guan_intensity)
    torch.testing.assert_close(flux.rate(3.0), 3 * flux.rate(1.0))
    assert flux.rate(1.0).item() == pytest.approx(flux.rate_per_area)


def test_exposure_time_gives_the_expected_number_back():
    flux = MuonFlux(guan_intensity)
    time = flux.exposure_time(1000, area=2.0)
    assert (flux.rate(2.0) * time).item() == pytest.approx(1000.0)


def test_gradient_in_the_area_matches_finite_differences():
    flux = MuonFlux(guan_intensity)
    area = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: (flux.rate(a), flux.exposure_time(10, a)), (area,))


@pytest.mark.parametrize("energies", [(5.0, 1.0), (0.0, 1.0), (1.0, math.inf)])
def test_energies_that_do_not_increase_are_refused(energies):
    with pytest.raises(DomainError, match="two increasing energies"):
        MuonFlux(guan_intensity, energy_range=energies)


@pytest.mark.parametrize("angle", [0.0, 70.0])
def test_zenith_beyond_the_horizon_is_refused(angle):
    with pytest.raises(DomainError, match="Convert degrees"):
        MuonFlux(guan_intensity, max_zenith=angle)


def test_energy_outside_the_range_is_refused(rng):
    with pytest.raises(DomainError, match="Widen the `energy_range`"):
        MuonFlux(guan_intensity).sample_zenith(600.0, rng)


@pytest.mark.parametrize("method", ["rate", "exposure_time"])
def test_area_of_zero_is_refused(method):
    flux = MuonFlux(guan_intensity)
    arguments = (0.0,) if method == "rate" else (10, 0.0)
    with pytest.raises(DomainError, match="`area` must be > 0"):
        getattr(flux, method)(*arguments)
