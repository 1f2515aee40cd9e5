"""Muons behind rock: the table, its limits, the fluctuations of the losses."""

import math

import pytest
import torch

from detopt.errors import DomainError, NotFoundError
from detopt.physics.energy_loss import csda_range, energy_of_range
from detopt.physics.fluxes import guan_intensity, intensity_at_depth
from detopt.usecases.muon_absorption.survival import (
    detection_grammage,
    survival_probability,
    transmitted_intensity,
)

DOUBLE = torch.float64
TABLE = transmitted_intensity(guan_intensity)
SMOOTH = transmitted_intensity(guan_intensity, fluctuations=False)


def tensor(*values):
    return torch.tensor(values, dtype=DOUBLE)


@pytest.mark.parametrize("cosine", [1.0, 0.6, 0.34])
@pytest.mark.parametrize("grammage", [500.0, 1e4, 1e5])
def test_without_fluctuations_it_is_the_integral_above_the_threshold(grammage, cosine):
    exact = intensity_at_depth(guan_intensity, tensor(grammage), tensor(cosine))
    torch.testing.assert_close(SMOOTH(tensor(grammage), tensor(cosine)), exact, rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("depth", "zenith", "transmission"),
    [  # mulder 0.3.7, `mixed`, over 0.1 GeV, its own flux: ratio to its `continuous` mode
        (500, 0.0, 1.0150),
        (1000, 0.0, 1.0237),
        (1000, 50.0, 1.0342),
        (1000, 70.0, 1.1006),
    ],
)
def test_fluctuations_add_what_a_monte_carlo_of_another_program_finds(depth, zenith, transmission):
    cosine = math.cos(math.radians(zenith))
    where = tensor(100 * depth / cosine), tensor(cosine)
    ratio = (TABLE(*where) / SMOOTH(*where)).item()
    assert ratio == pytest.approx(transmission, abs=0.015)


def test_fluctuations_do_not_matter_behind_little_rock():
    where = tensor(1e3, 5e3), tensor(1.0, 0.7)
    torch.testing.assert_close(TABLE(*where), SMOOTH(*where), rtol=2e-3, atol=0)


@pytest.mark.parametrize("cosine", [1.0, 0.5, 0.1])
def test_intensity_falls_with_the_grammage(cosine):
    grammage = torch.logspace(2.05, 5.5, 300, dtype=DOUBLE)
    assert bool((TABLE(grammage, tensor(cosine)).diff() < 0).all())


def test_survival_rises_with_energy_around_the_mean_range():
    grammage = 2e5
    mean = energy_of_range("muon", "standard_rock", grammage).item()
    chance = survival_probability(mean * torch.logspace(-1, 2, 60, dtype=DOUBLE), grammage)
    assert bool((chance.diff() >= -1e-6).all())
    assert chance[0] < 1e-6
    assert chance[-1] > 0.99
    assert 0.2 < survival_probability(tensor(mean), grammage).item() < 0.8


def test_mean_range_is_that_of_the_mean_loss():
    """The average of the random range is the range of the mean loss, up to its curvature."""
    energy = tensor(300.0)
    depths = torch.logspace(2, math.log10(3.9e5), 400, dtype=DOUBLE)
    chance = torch.stack([survival_probability(energy, depth)[0] for depth in depths.tolist()])
    mean = depths[0] + torch.trapezoid(chance, depths)
    expected = csda_range("muon", "standard_rock", energy)[0]
    assert mean.item() == pytest.approx(expected.item(), rel=0.05)


def test_a_threshold_counts_as_the_range_behind_it():
    energy = tensor(1.0)
    added = detection_grammage(tensor(1e4), energy, "standard_rock") - 1e4
    torch.testing.assert_close(added, csda_range("muon", "standard_rock", energy))


def test_gradients_match_finite_differences():
    grammage = tensor(3.3e3, 4.7e4, 2.1e5).requires_grad_()
    cosine = tensor(0.93, 0.41, 0.177).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, c: TABLE(x, c).log(), (grammage, cosine))


def test_bad_input_is_refused():
    with pytest.raises(NotFoundError, match="cheese"):
        transmitted_intensity(guan_intensity, "cheese")
    with pytest.raises(DomainError, match="`grammage` must lie"):
        survival_probability(tensor(100.0), 1.0)
