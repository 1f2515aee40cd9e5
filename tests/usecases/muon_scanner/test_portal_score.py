"""How far the excess of scattering at a place stands out, and what muons add to it."""

import math
from dataclasses import fields, replace

import pytest
import torch

from detopt.reconstruction import ClosestApproach
from detopt.usecases.muon_scanner.flow import Estimates
from detopt.usecases.muon_scanner.portal.evidence import Spectrum
from detopt.usecases.muon_scanner.portal.score import (
    Excess,
    excess_score,
    excess_size,
    excesses,
    largest,
    largest_near,
    measured,
    n_places,
)
from detopt.usecases.muon_scanner.portal.verdict import (
    predicted_level,
)
from detopt.usecases.muon_scanner.volumes import Grid

GRID = Grid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (10, 10, 10))
SPECTRUM = Spectrum(torch.tensor([1e-6, 1e-5, 1e-4], dtype=torch.float64))


def points(n, rng, angle=4e-3):
    """Scattering points anywhere in the grid, with exponential squared angles."""

    def draw(*shape):
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    height = draw(1, n)
    squared = -(angle**2) * draw(1, n).log()
    poca = ClosestApproach(
        position=draw(2, 1, n),
        height=height,
        position_variance=torch.full((2, 1, n), 1e-4, dtype=torch.float64),
        height_variance=torch.full((1, n), 1e-2, dtype=torch.float64),
        angle_squared=squared,
        angle_noise=torch.zeros_like(squared),
    )
    one = torch.ones_like(height)
    return Estimates(poca, one, one, one)


def test_a_cluster_of_large_angles_raises_the_score(rng):
    cargo = points(2_000, rng)
    calm = excess_score(cargo, GRID, SPECTRUM).item()
    poca = cargo.poca
    near = ((poca.position[:, 0] - 0.5).abs() < 0.1).all(0) & ((poca.height[0] - 0.5).abs() < 0.15)
    poca.angle_squared[0, near] *= 100
    assert excess_score(cargo, GRID, SPECTRUM).item() > calm + 0.5


def test_the_excess_near_a_place_is_that_of_the_cluster_there(rng):
    cargo = points(2_000, rng)
    poca = cargo.poca
    near = ((poca.position[:, 0] - 0.3).abs() < 0.1).all(0) & ((poca.height[0] - 0.3).abs() < 0.15)
    poca.angle_squared[0, near] *= 100
    found = excesses(cargo, GRID, SPECTRUM)
    here, far = (
        largest_near(found, torch.full((3, 1), place, dtype=torch.float64)).item()
        for place in (0.3, 0.8)
    )
    assert here > far + 0.5
    assert here <= largest(found).item()


def test_the_size_of_excesses_is_their_fourth_moment():
    value = torch.tensor([1.0, -2.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 2, 2, 1)
    edges = torch.zeros(2, dtype=torch.float64)
    size = excess_size(Excess(value, (edges, edges, edges[:1]))).item()
    assert size == pytest.approx(math.log(18 / 4) / 4, rel=1e-4)


def test_unmeasured_muons_do_not_count(rng):
    cargo, more = points(300, rng), points(300, rng, angle=1.0)
    both = Estimates(
        ClosestApproach(
            *(
                torch.cat([a, b], dim=-1)
                for a, b in zip(vars(cargo.poca).values(), vars(more.poca).values(), strict=True)
            )
        ),
        torch.cat([cargo.secant, more.secant], -1),
        torch.cat([cargo.weight, 0 * more.weight], -1),
        torch.cat([cargo.momentum, more.momentum], -1),
    )
    torch.testing.assert_close(
        excess_score(both, GRID, SPECTRUM), excess_score(cargo, GRID, SPECTRUM)
    )


def test_muons_that_nothing_measured_are_left_out_and_change_nothing(rng):
    n = 60
    both = [points(n, rng), points(n, rng)]
    weight = (torch.rand(2, n, generator=rng, dtype=torch.float64) - 0.6).clamp_min(0)

    def joined(name):
        parts = [getattr(one.poca, name) for one in both]
        return torch.cat(parts, dim=parts[0].ndim - 2)

    names = [field.name for field in fields(ClosestApproach)]
    ones = torch.ones_like(weight)
    whole = Estimates(ClosestApproach(**{n: joined(n) for n in names}), ones, weight, ones)
    fewer = measured(whole)
    assert fewer.weight.shape[-1] == int((weight > 0).sum(-1).max()) < n
    torch.testing.assert_close(
        excesses(fewer, GRID, SPECTRUM).value, excesses(whole, GRID, SPECTRUM).value
    )


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_nothing_is_left_out_where_almost_all_muons_were_measured(share, rng):
    estimate = points(100, rng)
    weight = (torch.arange(100, dtype=torch.float64) < 100 * share).double()[None]
    whole = replace(estimate, weight=weight)
    assert measured(whole) is whole


def test_the_score_is_differentiable_in_angles_places_and_weights(rng):
    cargo = points(12, rng)
    poca = cargo.poca

    def score(angle, height, variance, weight):
        moved = ClosestApproach(
            poca.position, height, poca.position_variance, variance, angle, poca.angle_noise
        )
        return excess_score(Estimates(moved, cargo.secant, weight, cargo.momentum), GRID, SPECTRUM)

    inputs = (poca.angle_squared * 1e4, poca.height, poca.height_variance, 0.8 * cargo.weight)

    def scaled(angle, *others):
        return score(angle / 1e4, *others)

    leaves = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(scaled, leaves, eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("n_others", [200, 2_000])
@pytest.mark.parametrize("angle", [0.03, 0.1, 0.3])
def test_the_signal_grows_with_the_probability_of_a_lonely_muon_without_a_tail(
    n_others, angle, rng
):
    cargo = points(n_others + 1, rng)
    place = torch.full((3, 1), 0.5, dtype=torch.float64)
    poca, signals = cargo.poca, []
    for values, here in ((poca.angle_squared, angle**2), (poca.height, 0.5), (poca.position, 0.5)):
        values[..., 0] = here
    for w in torch.linspace(0, 1, 21).tolist():
        cargo.weight[0, 0] = w
        signals.append(largest_near(excesses(cargo, GRID, SPECTRUM), place).item())
    slopes = torch.tensor(signals).diff() / 0.05
    # all along it rises by what a certain measurement is worth, within a factor: 1/w would be 20
    assert slopes.min() >= 0
    assert slopes.max() < 3 * (signals[-1] - signals[0])


def test_the_predicted_level_of_a_portal_that_sees_nothing_is_its_score():
    places = torch.zeros(3, 10, 10, 10, dtype=torch.float64)
    nothing = Excess(places, (torch.zeros(10),) * 3)
    score = largest(nothing)
    assert places[0].numel() == n_places(GRID)
    assert score[0].item() == pytest.approx(math.asinh(math.log(1000) / 3))
    level = predicted_level(excess_size(nothing), 0.05, n_places(GRID))
    # cells of 1e-4 in <Z^4> keep the logarithm finite: a typical excess of 0.1, far below ln N / b
    assert level.item() == pytest.approx(score[0].item(), abs=0.01)
    assert largest_near(nothing, torch.zeros(3, 3, dtype=torch.float64)).max() < level
