"""Hyperparameters of a Gaussian process: density, gradient and what is found."""

import math

import pytest
import torch
from torch.distributions import LogNormal, MultivariateNormal

from detopt.optimizers.marginal_likelihood import fit_scales, log_posterior


def drawn(n, d=2):
    rng = torch.Generator().manual_seed(4)
    features = torch.rand(n, d, generator=rng, dtype=torch.float64)
    noise = torch.randn(n, generator=rng, dtype=torch.float64)
    values = torch.sin(6 * features[:, 0]) + 0.1 * noise
    return features, (values - values.mean()) / values.std()


def number(value):
    return torch.tensor(value, dtype=torch.float64)


@pytest.mark.parametrize("known", [None, torch.linspace(0.01, 0.1, 12).double()])
def test_density_is_that_of_normal_values_and_log_normal_priors(known):
    features, values = drawn(12)
    lengths, noise = number([0.3, 0.9]), number(0.02)
    density, _, mean = log_posterior(
        lengths.log(), None if known is not None else noise.log(), features, values, known
    )
    distance = ((features[:, None] - features[None]) / lengths).square().sum(dim=-1)
    spread = torch.exp(-distance / 2) + (noise.expand(12) if known is None else known).diag()
    expected = MultivariateNormal(mean.expand(12), spread).log_prob(values)
    expected = expected + 6 * math.log(2 * math.pi)
    priors = [(lengths, LogNormal(math.sqrt(2) + math.log(2) / 2, math.sqrt(3)))]
    priors += [(noise[None], LogNormal(-4.0, 1.0))] if known is None else []
    for value, prior in priors:
        constant = math.log(float(prior.scale) * math.sqrt(2 * math.pi))
        expected = expected + (prior.log_prob(value) + constant).sum()
    assert float(density) == pytest.approx(float(expected), rel=1e-6)  # single precision inside


@pytest.mark.parametrize("known", [None, torch.linspace(0.01, 0.1, 12).double()])
def test_gradient_matches_finite_differences(known):
    features, values = drawn(12)
    point = number([-1.0, 0.2] if known is not None else [-1.0, 0.2, -3.5])

    def density(point):
        noise = None if known is not None else point[2]
        return log_posterior(point[:2], noise, features, values, known)

    _, gradient, _ = density(point)
    steps = 1e-5 * torch.eye(len(point), dtype=torch.float64)
    slopes = [(density(point + s)[0] - density(point - s)[0]) / 2e-5 for s in steps]
    torch.testing.assert_close(gradient, torch.stack(slopes), rtol=1e-6, atol=1e-6)


def test_coordinate_without_influence_becomes_long():
    features, values = drawn(40)
    found = fit_scales(features, values)
    assert float(found.lengths[1]) > 5 * float(found.lengths[0])
    assert 1e-3 < float(found.noise) < 0.1  # 0.02 as drawn


def test_no_hyperparameters_near_those_found_are_more_probable():
    features, values = drawn(20)
    found = fit_scales(features, values)
    point = torch.cat([found.lengths.log(), found.noise.log()[None]])
    best = log_posterior(point[:2], point[2], features, values, None)[0]
    for step in 0.05 * torch.eye(3, dtype=torch.float64):
        for moved in (point + step, point - step):
            assert log_posterior(moved[:2], moved[2], features, values, None)[0] <= best + 1e-6


def test_known_noise_leaves_none_to_learn():
    features, values = drawn(10)
    found = fit_scales(features, values, torch.full((10,), 1e-6, dtype=torch.float64))
    assert float(found.noise) == 0.0
    assert torch.isfinite(found.lengths).all()
