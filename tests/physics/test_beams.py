"""Beams: widths of the draws, emittance and its conservation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics.beams import Beam, beam_emittance, twiss_widths


def column(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def test_draws_have_the_widths_of_the_beam(rng):
    beam = Beam(150.0, spread=0.01, size=0.02, divergence=3e-4, correlation=-0.6)
    particles = beam.sample(200_000, rng)
    for_x = torch.stack([particles.position[:, 0], particles.slope[:, 0]])
    assert particles.momentum.mean().item() == pytest.approx(150.0, rel=1e-3)
    assert particles.momentum.std().item() == pytest.approx(1.5, rel=1e-2)
    assert for_x[0].std().item() == pytest.approx(0.02, rel=1e-2)
    assert for_x[1].std().item() == pytest.approx(3e-4, rel=1e-2)
    assert torch.corrcoef(for_x)[0, 1].item() == pytest.approx(-0.6, abs=1e-2)


def test_planes_have_their_own_widths(rng):
    size = torch.tensor([0.01, 0.03], dtype=torch.float64)
    particles = Beam(10.0, size=size).sample((100, 1000), rng)
    assert particles.position.shape == (100, 1000, 2)
    torch.testing.assert_close(particles.position.std((0, 1)), size, rtol=0.02, atol=0.0)


def test_pencil_beam_has_no_width(rng):
    particles = Beam(10.0).sample(5, rng)
    assert torch.equal(particles.momentum, torch.full((5,), 10.0, dtype=torch.float64))
    assert not particles.position.any()
    assert not particles.slope.any()


def test_round_beam_at_a_waist_has_the_widths_worked_by_hand():
    # emittance 1e-6 m rad, beta 4 m: sqrt(4e-6) = 2 mm and sqrt(1e-6/4) = 0.5 mrad
    size, divergence, correlation = twiss_widths(1e-6, 4.0, 0.0)
    assert size.item() == pytest.approx(2e-3)
    assert divergence.item() == pytest.approx(5e-4)
    assert correlation.item() == 0.0


@settings(deadline=None)
@given(emittance=st.floats(1e-9, 1e-3), beta=st.floats(0.1, 100.0), alpha=st.floats(-5.0, 5.0))
def test_twiss_parameters_give_the_emittance_back(emittance, beta, alpha):
    widths = twiss_widths(emittance, beta, alpha)
    assert beam_emittance(*widths).item() == pytest.approx(emittance, rel=1e-9)


@settings(deadline=None)
@given(length=st.floats(-10.0, 10.0), rho=st.floats(-0.9, 0.9))
def test_drift_keeps_the_emittance(length, rho):
    size, divergence = 0.01, 0.002
    drifted = math.sqrt(size**2 + 2 * length * rho * size * divergence + (length * divergence) ** 2)
    covariance = rho * size * divergence + length * divergence**2
    after = beam_emittance(drifted, divergence, covariance / (drifted * divergence))
    before = beam_emittance(size, divergence, rho)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=0.0)


def test_gradients_of_the_draws_match_finite_differences():
    def draw(momentum, spread, size, divergence, correlation):
        seeded = torch.Generator().manual_seed(2)
        particles = Beam(momentum, spread, size, divergence, correlation).sample(4, seeded)
        return particles.momentum, particles.position, particles.slope

    scalars = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (10.0, 0.1)]
    planes = (column(1.0, 2.0), column(0.1, 0.2), column(-0.3, 0.4))
    assert torch.autograd.gradcheck(draw, (*scalars, *planes))


def test_gradients_of_the_widths_match_finite_differences():
    inputs = (column(0.1), column(2.0, 3.0), column(-0.5, 0.7))
    assert torch.autograd.gradcheck(twiss_widths, inputs)
    assert torch.autograd.gradcheck(beam_emittance, inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.0}, "`momentum` must be > 0"),
        ({"momentum": 1.0, "spread": -0.1}, "`spread` must be >= 0"),
        ({"momentum": 1.0, "size": -0.1}, "`size` must be >= 0"),
        ({"momentum": 1.0, "divergence": -0.1}, "`divergence` must be >= 0"),
        ({"momentum": 1.0, "correlation": 1.5}, "`correlation` must lie between -1 and 1"),
    ],
)
def test_impossible_beam_is_refused(options, message):
    with pytest.raises(DomainError, match=message):
        Beam(**options)


def test_emittance_of_zero_is_refused():
    with pytest.raises(DomainError, match="`emittance` must be > 0"):
        twiss_widths(0.0, 1.0, 0.0)


def test_correlation_beyond_one_is_refused():
    with pytest.raises(DomainError, match="`correlation` must lie between -1 and 1"):
        beam_emittance(1.0, 1.0, 1.5)
