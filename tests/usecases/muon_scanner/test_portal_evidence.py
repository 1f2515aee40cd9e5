"""Evidence of single muons for a dense block on their way."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from detopt.usecases.muon_scanner.portal.evidence import (
    SINGLE,
    SINGLE_SQUARED,
    Spectrum,
    angle_evidence,
    counted_evidence,
)

SPECTRUM = Spectrum(torch.tensor([1e-6, 1e-5, 1e-4], dtype=torch.float64))


def test_evidence_is_the_ratio_of_two_spectra():
    # densities integrated by another way: the angle of one muon, harmless scale from a second
    angle = torch.tensor([[4e-4, 1e-5]], dtype=torch.float64)
    weight = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    harmless = (1e-5 + 1e-8) * math.exp(0.5772156649) / 2
    strength = SPECTRUM.strength.tolist()
    middle = math.exp(sum(map(math.log, strength)) / 3)

    def density(squared, v):
        return sum(math.exp(-squared / (2 * v * s / middle)) / (2 * v * s / middle) / 3
                   for s in strength)  # fmt: skip

    dense = harmless + 20 * middle
    assert integrate.quad(density, 0, 1, (dense,), points=[1e-4, 1e-2])[0] == pytest.approx(1)
    expected = math.log(density(4e-4, dense) / density(4e-4, harmless))
    found = angle_evidence(angle, torch.zeros_like(angle), weight, SPECTRUM)[0, 0].item()
    assert found == pytest.approx(max(expected, 0), rel=1e-6)


def test_evidence_grows_with_the_angle_and_is_nothing_for_small_ones():
    # for one momentum the likelihood ratio of two exponential distributions is monotonic
    one = Spectrum(SPECTRUM.strength[1:2])
    squared = torch.linspace(1e-7, 2e-3, 200, dtype=torch.float64)[None]
    evidence = angle_evidence(squared, torch.zeros_like(squared), torch.exp(-squared * 2e4), one)[0]
    assert evidence[0].item() == 0
    assert (evidence.diff() >= 0).all()
    assert evidence[-1].item() > 1


def test_a_track_with_a_far_larger_error_than_others_is_less_evidence():
    squared = torch.full((1, 101), 1e-5, dtype=torch.float64)
    squared[0, :2] = 1e-3
    noise = torch.full_like(squared, 2e-6)
    weight = torch.full_like(squared, 0.5)
    weight[0, 0] = 1e-9  # of no weight for the mean
    noise[0, 0] = 7.9e-6
    tolerated = angle_evidence(squared, noise, weight, SPECTRUM)[0]
    assert tolerated[0].item() == pytest.approx(tolerated[1].item())
    noise[0, 0] = 1e-3
    bad = angle_evidence(squared, noise, weight, SPECTRUM)[0]
    assert bad[0] < 0.2 * bad[1]
    torch.testing.assert_close(bad[1:], tolerated[1:])


def test_evidence_has_its_derivatives(rng):
    def draw():
        return torch.rand(1, 6, generator=rng, dtype=torch.float64)

    squared, noise = 1e-4 + 1e-3 * draw(), 1e-5 * draw()
    noise[0, :2] *= 100  # beyond what is tolerated
    leaves = [one.requires_grad_() for one in (squared, noise, 0.5 + 0.5 * draw())]

    def value(*given):
        return angle_evidence(*given, SPECTRUM)

    assert torch.autograd.gradcheck(value, leaves, eps=1e-8, atol=1e-3, rtol=1e-4)


def test_certain_muons_count_with_their_evidence_and_unmeasured_ones_for_nothing():
    evidence = torch.tensor([0.0, 0.3, 2.0, 11.0, 1e3], dtype=torch.float64)
    one, squared = counted_evidence(evidence, torch.ones_like(evidence))
    torch.testing.assert_close(one, evidence)
    torch.testing.assert_close(squared, evidence.square())
    none, nothing = counted_evidence(evidence, torch.zeros_like(evidence))
    assert not none.any()
    assert not nothing.any()


@settings(deadline=None, max_examples=20)
@given(st.floats(0.1, 1e3), st.floats(0.01, 0.99))
def test_what_follows_from_a_lonely_muon_is_its_probability_times_that_of_a_certain_one(f, w):
    # mean of asinh and logarithm over "measured" and "not measured": w times the full value
    evidence, weight = (torch.tensor([x], dtype=torch.float64) for x in (f, w))
    alone, squared = (one.item() for one in counted_evidence(evidence, weight))
    assert math.asinh(alone / SINGLE) == pytest.approx(w * math.asinh(f / SINGLE))
    expected = w * math.log1p(f * f / SINGLE_SQUARED)
    assert math.log1p(squared / SINGLE_SQUARED) == pytest.approx(expected)
    assert alone <= w * f * (1 + 1e-12)  # both are convex in w
    assert squared <= w * f * f * (1 + 1e-12)


def test_muons_that_are_ones_of_many_count_with_their_share():
    evidence = torch.full((5,), 0.02, dtype=torch.float64)
    weight = torch.linspace(0, 1, 5, dtype=torch.float64)
    alone, squared = counted_evidence(evidence, weight)
    torch.testing.assert_close(alone, weight * evidence, rtol=1e-4, atol=0)
    torch.testing.assert_close(squared, weight * evidence.square(), rtol=1e-4, atol=0)


def test_counted_evidence_has_its_derivatives(rng):
    evidence = (20 * torch.rand(8, generator=rng, dtype=torch.float64)).requires_grad_()
    weight = torch.rand(8, generator=rng, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(counted_evidence, (evidence, weight))
