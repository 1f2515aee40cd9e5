"""Maximum-likelihood image: known densities, rising posterior, derivative in the hits."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from detopt.errors import DomainError
from detopt.reconstruction import Grid, LikelihoodImaging, likelihood_image
from detopt.reconstruction.likelihood_imaging import _Iteration
from detopt.reconstruction.scattering_likelihood import (
    ScatteringSystem,
    log_likelihood,
    scattering_data,
)

ONE = Grid((-0.2, -0.2, -0.2), (0.4, 0.4, 0.4), (1, 1, 1))
FREE = LikelihoodImaging(400, 1e-9, roughness=math.inf, degrees=math.inf, floor=1e-12)
IRON = 1.2e-3  # rad2/m at 3 GeV


def test_one_voxel_has_the_maximum_in_closed_form(record):
    muons = record(
        torch.full((1, 1, 1), IRON, dtype=torch.float64), ONE, 4000, steep=1e-9, spread=0.3
    )
    tracks = muons.tracks(0.0)
    length = 0.4  # vertical muons: W = ((L, 0), (0, L^3/12)) about the middle
    data = scattering_data(tracks, ONE)
    angle, offset = data.measured
    whitened = (angle.square() / length + offset.square() * 12 / length**3) / data.strength
    expected = whitened.mean() / 2 * 1e4
    found = likelihood_image(tracks, ONE, FREE)
    # air between grid and planes takes up 2e-3 of the scattering
    assert found.values.item() == pytest.approx(expected.item(), rel=4e-3)
    assert found.values.item() == pytest.approx(IRON * 1e4, rel=4 / math.sqrt(2 * 4000))
    assert found.unit == "mrad2/cm"


def test_densities_of_a_block_are_recovered(record, box):
    density = torch.full(box.shape, 1e-5, dtype=torch.float64)
    density[1:3, 1:3, 1:3] = IRON
    tracks = record(density, box, 20_000, steep=0.3).tracks(0.0)
    found = likelihood_image(tracks, box, LikelihoodImaging(degrees=math.inf)).values / 1e4
    block = found[1:3, 1:3, 1:3]
    assert block.mean().item() == pytest.approx(IRON, rel=0.1)
    assert bool((found < block.min() / 5).sum() == box.n_voxels - 8)


@pytest.mark.parametrize("degrees", [math.inf, 5.5, 1.2])
@pytest.mark.parametrize("roughness", [math.inf, 1.0])
def test_no_step_lowers_the_posterior(record, box, degrees, roughness):
    density = 10 ** (-5 + 2 * torch.rand(box.shape, generator=torch.Generator().manual_seed(3)))
    tracks = record(density.double(), box, 800).tracks(0.0)
    options = LikelihoodImaging(roughness=roughness, degrees=degrees)
    system = ScatteringSystem(tracks, box, options.degrees_for(tracks))
    iteration = _Iteration(system, box, options)
    x = np.full(box.n_voxels, math.log(1e-4))
    values = []
    for _ in range(40):
        x, value = iteration.step(x)
        values.append(value)
    # the sums are in float32
    assert np.diff(values).min() > -1e-5 * abs(values[0])
    assert values[-1] > values[0] + 10


@pytest.mark.parametrize("degrees", [None, 5.5])
def test_sparse_and_dense_likelihood_agree(record, box, degrees):
    tracks = record(torch.full(box.shape, 1e-4, dtype=torch.float64), box, 300).tracks(0.05)
    density = (1e-4 * torch.linspace(0.2, 2.0, box.n_voxels, dtype=torch.float64)).requires_grad_()
    expected = log_likelihood(density, tracks, box, degrees)
    (slope,) = torch.autograd.grad(expected, density)
    value, gradient = ScatteringSystem(tracks, box, degrees).evaluate(density.detach().numpy())
    assert value == pytest.approx(expected.item(), rel=1e-5)
    # muons of hits 10 um precise see the float32 of their paths
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=1e-2, atol=2e-3 * slope.abs().max())


@pytest.mark.parametrize("degrees", [None, 5.5])
def test_gradient_of_the_likelihood_matches_differences(record, box, degrees):
    muons = record(torch.full(box.shape, 1e-4, dtype=torch.float64), box, 4)
    scale = torch.linspace(0.5, 2.0, box.n_voxels, dtype=torch.float64).requires_grad_()

    def function(values, shift):
        moved = dataclasses.replace(muons, hits=muons.hits + 1e-3 * shift)
        return log_likelihood(1e-4 * values, moved.tracks(0.0), box, degrees)

    shift = torch.zeros_like(muons.hits).requires_grad_()
    assert torch.autograd.gradcheck(function, (scale, shift), eps=1e-7, rtol=1e-3, fast_mode=True)


def test_derivative_in_the_hits_matches_differences(record):
    grid = Grid((-0.2, -0.2, -0.2), (0.4 / 3,) * 3, (3, 3, 3))
    density = torch.full(grid.shape, 1e-4, dtype=torch.float64)
    density[1, 1, 1] = IRON
    muons = record(density, grid, 200, resolution=1e-4)
    weights = torch.linspace(-1, 1, grid.n_voxels, dtype=torch.float64).reshape(grid.shape)
    rng = torch.Generator().manual_seed(5)

    def summary(hits):
        tracks = dataclasses.replace(muons, hits=hits).tracks(0.0)
        return (likelihood_image(tracks, grid).values * weights).sum()

    hits = muons.hits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(summary(hits), hits)
    for _ in range(3):
        way = torch.randn(hits.shape, generator=rng, dtype=torch.float64)
        step = 1e-7
        ends = [summary((muons.hits + sign * step * way).requires_grad_()) for sign in (1, -1)]
        expected = (ends[0] - ends[1]).item() / (2 * step)
        assert (gradient * way).sum().item() == pytest.approx(expected, rel=1e-3)


def test_momentum_that_is_not_known_gets_wider_tails(record, box):
    muons = record(torch.full(box.shape, 1e-4, dtype=torch.float64), box, 50)
    known, unknown = muons, dataclasses.replace(muons, momentum=None)
    options = LikelihoodImaging()
    assert options.degrees_for(known.tracks(0.0)) == 5.5
    assert options.degrees_for(unknown.tracks(0.0)) == 1.2


def test_progress_reaches_the_end(record, box):
    tracks = record(torch.full(box.shape, 1e-4, dtype=torch.float64), box, 50).tracks(0.0)
    seen = []
    likelihood_image(tracks, box, LikelihoodImaging(9, 1e-12), lambda *news: seen.append(news))
    assert seen[-1] == (9, 9)


@pytest.mark.parametrize(
    "wrong", [{"iterations": 0}, {"tolerance": 0.0}, {"roughness": -1.0}, {"degrees": 0.0}]
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(DomainError, match=next(iter(wrong))):
        LikelihoodImaging(**wrong)


def test_derivative_of_too_many_voxels_is_refused(record):
    grid = Grid((-0.2, -0.2, -0.2), (0.02,) * 3, (20, 20, 20))
    muons = record(torch.full(grid.shape, 1e-4, dtype=torch.float64), grid, 10)
    muons.hits.requires_grad_()
    with pytest.raises(DomainError, match="out of reach"):
        likelihood_image(muons.tracks(0.0), grid)
