"""Single losses of muons: their spectra, their sums, and what is left below a cut."""

import math

import pytest
import torch

from detopt.errors import DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics.energy_loss import radiative_stopping_power, stopping_power
from detopt.physics.muon_losses import (
    PROCESSES,
    hard_losses,
    loss_spectrum,
    soft_straggling,
)

BLOCK = "PbWO4"
THICKNESS = 100 * materials.get(BLOCK).density  # g/cm2 in a metre
MUON = 0.1056583755  # GeV
ELECTRON = 0.51099895e-3  # GeV
ENERGIES = (100.0, 1_000.0, 4_000.0)


def integral(energy, process, power, low=1e-8, n=20_001):
    """Integral of v^power dN/dv by the trapezoidal rule in ln v."""
    logarithm = torch.linspace(math.log(low), -1e-9, n, dtype=torch.float64)
    v = logarithm.exp()
    total = torch.full_like(v, energy)
    return float(torch.trapezoid(loss_spectrum(BLOCK, total, v, process) * v**power, logarithm))


@pytest.mark.parametrize("energy", ENERGIES)
def test_spectra_add_up_to_the_radiative_loss(energy):
    total = sum(integral(energy, process, 1) for process in PROCESSES[:3]) * energy
    expected = radiative_stopping_power("muon", BLOCK, energy - MUON)
    assert total == pytest.approx(float(expected), rel=3e-3)


def test_pairs_lose_most_in_lead_and_nuclear_interactions_least():
    v = torch.exp(torch.linspace(math.log(1e-8), -1e-9, 20_001, dtype=torch.float64))
    parts = [
        float(torch.trapezoid(loss_spectrum("Pb", torch.full_like(v, 1e3), v, p) * v, v.log()))
        for p in PROCESSES[:3]
    ]
    assert sum(parts) * 1e3 == pytest.approx(
        float(radiative_stopping_power("muon", "Pb", 1e3 - MUON)), rel=3e-3
    )
    assert parts[1] > parts[0] > parts[2]


def test_knock_on_electrons_have_the_value_by_hand():
    # Rossi: K/2 Z/A / beta^2 [1 - beta^2 T/T_max + T^2/(2 E^2)] / T for T = 1 GeV, E = 100 GeV
    energy, transfer = 100.0, 1.0
    gamma = energy / MUON
    ratio = ELECTRON / MUON
    largest = 2 * ELECTRON * (gamma**2 - 1) / (1 + 2 * gamma * ratio + ratio**2)
    beta_squared = 1 - 1 / gamma**2
    shape = 1 - beta_squared * transfer / largest + 0.5 * (transfer / energy) ** 2
    expected = 0.307075e-3 / 2 * materials.get(BLOCK).z_over_a / beta_squared * shape / transfer
    assert float(loss_spectrum(BLOCK, energy, 0.01, "knock-on")) == pytest.approx(
        expected, rel=1e-4
    )


def test_no_electron_takes_more_than_the_largest_transfer():
    assert float(loss_spectrum(BLOCK, 1.0, 0.5, "knock-on")) == 0.0


@pytest.mark.parametrize("process", PROCESSES)
def test_spectra_are_never_negative_and_end_before_the_whole_energy(process):
    v = 1 - torch.logspace(-12, -1e-9, 200, dtype=torch.float64)
    spectrum = loss_spectrum(BLOCK, torch.full_like(v, 50.0), v, process)
    assert bool(torch.isfinite(spectrum).all())
    assert bool((spectrum >= 0).all())


@pytest.mark.parametrize("process", PROCESSES)
def test_gradients_of_the_spectra_match_finite_differences(process):
    energy = torch.tensor([80.0, 900.0], dtype=torch.float64, requires_grad=True)
    fraction = torch.tensor([0.02, 0.3], dtype=torch.float64, requires_grad=True)

    def scaled(energy, fraction):
        return 1e6 * loss_spectrum(BLOCK, energy, fraction, process)

    assert torch.autograd.gradcheck(scaled, (energy, fraction))


@pytest.mark.parametrize("cut", [0.02, 0.2])
@pytest.mark.parametrize("energy", ENERGIES)
def test_what_is_above_and_below_the_cut_is_the_whole_loss(cut, energy):
    table = hard_losses(BLOCK, cut)
    at = torch.tensor(energy, dtype=torch.float64)
    whole = float(stopping_power("muon", BLOCK, energy - MUON)) * THICKNESS
    assert float(table.mean_at(at) + table.below_at(at)) == pytest.approx(whole, rel=2e-3)


@pytest.mark.parametrize("energy", ENERGIES)
def test_sampled_losses_have_the_mean_of_the_spectrum(energy):
    table = hard_losses(BLOCK, 0.02)
    rng = torch.Generator().manual_seed(1)
    uniform = 1 - torch.rand(400_000, generator=rng, dtype=torch.float64)
    at = torch.tensor(energy, dtype=torch.float64)
    loss = table.loss(at.expand_as(uniform), uniform)
    expected = float(table.mean_at(at) / table.rate_at(at))
    error = float(loss.std()) / len(loss) ** 0.5
    assert abs(float(loss.mean()) - expected) < 4 * error + 0.005 * expected
    assert error < 0.04 * expected
    assert float(loss.min()) == pytest.approx(0.02, rel=1e-3)
    assert float(loss.max()) <= energy


@pytest.mark.parametrize("energy", ENERGIES)
def test_losses_above_a_higher_cut_are_those_of_the_lower_one(energy):
    low, high = hard_losses(BLOCK, 0.02), hard_losses(BLOCK, 0.2)
    rng = torch.Generator().manual_seed(2)
    uniform = 1 - torch.rand(100_000, generator=rng, dtype=torch.float64)
    at = torch.tensor(energy, dtype=torch.float64)
    share = float((low.loss(at.expand_as(uniform), uniform) > 0.2).double().mean())
    expected = float(high.rate_at(at) / low.rate_at(at))
    assert share == pytest.approx(expected, abs=0.007)


def test_straggling_below_the_cut_has_mean_zero_and_the_variance_of_restricted_losses():
    cut, path = 0.02, 0.5  # xi of 26 MeV: the tail is short
    rng = torch.Generator().manual_seed(3)
    loss = soft_straggling(BLOCK, cut, path, torch.randn(400_000, generator=rng).double())
    width = 0.307075e-3 / 2 * materials.get(BLOCK).z_over_a * THICKNESS * path
    assert float(loss.mean()) == pytest.approx(0.0, abs=5e-4)
    assert float(loss.var()) == pytest.approx(width * cut, rel=0.03)


def test_a_gradient_reaches_the_score_of_the_straggling():
    score = torch.tensor([-1.0, 0.3, 1.2], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: 1e3 * soft_straggling(BLOCK, 0.02, 0.05, z), (score,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: loss_spectrum(BLOCK, 100.0, 0.1, "decay"), "process"),
        (lambda: loss_spectrum(BLOCK, -1.0, 0.1, "nuclear"), "energy"),
        (lambda: hard_losses(BLOCK, 0.0), "cut"),
        (lambda: hard_losses(BLOCK, 5.0), "cut"),
        (lambda: soft_straggling(BLOCK, 0.1, -1.0, torch.zeros(1)), "path"),
    ],
)
def test_unusable_numbers_are_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()


def test_an_unknown_material_is_refused():
    with pytest.raises(NotFoundError):
        loss_spectrum("unobtainium", 100.0, 0.1, "nuclear")
