"""Evidence of single muons for a dense block on their way."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from detopt.usecases.muon_scanner.flow import MomentumShares
from detopt.usecases.muon_scanner.portal.evidence import (
    SINGLE,
    SINGLE_SQUARED,
    Spectrum,
    angle_evidence,
    counted_evidence,
    momentum_evidence,
    scattering_strength,
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


def known(momentum):
    """Momenta that are known, one for each muon."""
    momenta = torch.as_tensor(momentum, dtype=torch.float64)[..., None]
    return MomentumShares(momenta, torch.ones_like(momenta))


def scattered(momentum, thickness, noise, rng):
    """Squared angles of muons of known momenta behind cargo of some radiation lengths."""
    variance = thickness * scattering_strength(momentum) + noise / 2
    projected = torch.randn(2, *momentum.shape, generator=rng, dtype=torch.float64)
    return (variance * projected.square()).sum(0)


def test_evidence_of_known_momenta_is_the_ratio_of_two_exponential_densities(rng):
    # 40,000 muons tell the thickness to 0.8 %; the ratio for that thickness by hand
    momentum = torch.exp(2 * torch.rand(1, 40_000, generator=rng, dtype=torch.float64))
    noise = torch.full_like(momentum, 2e-5)
    squared = scattered(momentum, 3.0, noise, rng)
    found = momentum_evidence(squared, noise, torch.ones_like(squared), known(momentum))
    strength = scattering_strength(momentum)
    harmless, dense = 1e-5 + 3 * strength, 1e-5 + 23 * strength
    expected = squared / 2 * (1 / harmless - 1 / dense) - (dense / harmless).log()
    telling = expected > 0.5
    assert int(telling.sum()) > 1_000
    torch.testing.assert_close(found[telling], expected[telling], rtol=0.05, atol=0.05)


def test_a_large_angle_of_a_slow_muon_is_less_evidence_than_that_of_a_fast_one():
    momentum = torch.tensor([[1.0, 5.0] + [3.0] * 98], dtype=torch.float64)
    squared = torch.full((1, 100), 2e-4, dtype=torch.float64)
    squared[0, :2] = 4e-3
    nothing = torch.zeros_like(squared)
    slow, fast = momentum_evidence(squared, nothing, nothing + 1, known(momentum))[0, :2].tolist()
    assert fast > slow + 2


def test_certain_shares_are_known_momenta_and_uncertain_ones_are_less_evidence():
    squared = torch.full((1, 100), 2e-4, dtype=torch.float64)
    squared[0, :2] = 4e-3  # too large for a fast muon, usual for a slow one
    nothing, two = torch.zeros_like(squared), torch.tensor([1.0, 5.0], dtype=torch.float64)
    fast = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(1, 100, 2)
    certain = momentum_evidence(squared, nothing, nothing + 1, MomentumShares(two, fast))
    alone = momentum_evidence(squared, nothing, nothing + 1, known(nothing + 5.0))
    torch.testing.assert_close(certain, alone)
    doubtful = fast.clone()
    doubtful[0, 0] = 0.5
    found = momentum_evidence(squared, nothing, nothing + 1, MomentumShares(two, doubtful))
    assert found[0, 0] < found[0, 1] - 1


def test_evidence_of_shares_has_its_derivatives(rng):
    def draw(*shape):
        return torch.rand(1, 8, *shape, generator=rng, dtype=torch.float64)

    momenta = torch.tensor([0.8, 2.0, 9.0], dtype=torch.float64)
    leaves = [1e-3 + 4e-3 * draw(), 1e-4 * draw(), 0.5 + 0.5 * draw(), 0.2 + draw(3)]

    def value(squared, noise, weight, share):
        shares = MomentumShares(momenta, share / share.sum(-1, keepdim=True))
        return momentum_evidence(squared, noise, weight, shares)

    leaves = [one.requires_grad_() for one in leaves]
    assert (value(*leaves) > 0).any()
    assert torch.autograd.gradcheck(value, leaves, eps=1e-7, atol=1e-3, rtol=1e-4)


def test_a_scan_without_a_measured_muon_has_finite_evidence():
    nothing = torch.zeros(1, 4, dtype=torch.float64)
    found = momentum_evidence(nothing, nothing + 1e-6, nothing, known(nothing + 3.0))
    assert found.isfinite().all()


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
