"""Panels: soft hits tend to hard ones, probabilities are exact, prices behave."""

import itertools
import math

import pytest
import torch

from detopt.design import Design
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.panels import (
    Side,
    at_least_two,
    hard_hits,
    layout,
    soft_hits,
    unit_price,
)


def side(n=3, efficiency=0.9, half=0.4):
    return Side(
        height=torch.linspace(0.1, 0.3, n, dtype=torch.float64),
        center=torch.zeros(2, n, dtype=torch.float64),
        half_width=torch.full((2, n), half, dtype=torch.float64),
        resolution=torch.full((n,), 1e-4, dtype=torch.float64),
        efficiency=torch.full((n,), efficiency, dtype=torch.float64),
    )


def muons(n, rng, spread=1.0):
    position = spread * (torch.rand(2, 1, n, generator=rng, dtype=torch.float64) - 0.5)
    slope = 0.3 * torch.randn(2, 1, n, generator=rng, dtype=torch.float64)
    return Muons(position, slope, torch.full((1, n), 5.0, dtype=torch.float64), 0.0)


@pytest.mark.parametrize("n_panels", [2, 3, 4])
def test_two_hits_or_more_are_counted_like_all_patterns(n_panels, rng):
    p = torch.rand(n_panels, 5, generator=rng, dtype=torch.float64)
    expected = torch.zeros(5, dtype=torch.float64)
    for pattern in itertools.product((0, 1), repeat=n_panels):
        if sum(pattern) >= 2:
            hit = torch.tensor(pattern, dtype=torch.bool)[:, None]
            expected += torch.where(hit, p, 1 - p).prod(0)
    torch.testing.assert_close(at_least_two(p), expected)


def test_soft_probabilities_tend_to_hard_ones(rng):
    tracks = muons(20_000, rng)
    soft = soft_hits(tracks, side(), 1e-4, rng)
    hard = hard_hits(tracks, side(), rng)
    assert soft.usable.mean().item() == pytest.approx(hard.usable.mean().item(), abs=0.01)


def test_soft_weights_inside_and_outside_are_those_of_a_hit_and_none(rng):
    tracks = muons(5_000, rng, spread=2.0)
    panels = side(efficiency=0.9)
    soft = soft_hits(tracks, panels, 0.05, rng)
    crossing = tracks.position[:, None] + tracks.slope[:, None] * panels.height[:, None, None]
    depth = (0.4 - crossing.abs()).amin(0)
    inside = soft.weights[depth > 0.03] * 1e-8
    assert ((inside == 0) | ((inside - 1).abs() < 1e-5)).all()
    assert inside.mean().item() == pytest.approx(0.9, abs=0.02)
    assert soft.weights[depth < -0.03].abs().max() == 0


def test_a_hard_hit_has_the_resolution_of_its_panel(rng):
    tracks = muons(20_000, rng, spread=0.1)
    panels = side(efficiency=0.999)
    hits = hard_hits(tracks, panels, rng)
    crossing = tracks.position[:, None] + tracks.slope[:, None] * panels.height[:, None, None]
    there = hits.weights > 0
    residual = (hits.weighted / hits.weights.clamp_min(1) - crossing)[:, there]
    assert residual.std().item() == pytest.approx(1e-4, rel=0.02)


def test_hits_carry_gradients_to_every_property_of_a_panel(rng):
    tracks = muons(50, rng)
    base = side()
    names = ("height", "center", "half_width", "resolution")
    seed = rng.get_state()

    def total(*tensors):
        generator = torch.Generator()
        generator.set_state(seed)
        panels = Side(**dict(zip(names, tensors, strict=True)), efficiency=base.efficiency)
        hits = soft_hits(tracks, panels, 0.2, generator)
        return hits.weighted.sum() * 1e-8 + hits.usable.sum()

    inputs = [getattr(base, name).clone().requires_grad_() for name in names]
    assert torch.autograd.gradcheck(total, inputs, eps=1e-7, rtol=1e-3, atol=1e-4)


def test_the_score_of_the_efficiency_is_the_derivative_of_the_mean(rng):
    # all muons cross all panels, so P(at least two of three) = 3 e^2 - 2 e^3
    tracks = muons(200_000, rng, spread=0.01)
    straight = Muons(tracks.position, 0 * tracks.slope, tracks.momentum, tracks.height)
    base = side(efficiency=0.8)
    efficiency = base.efficiency.clone().requires_grad_()
    panels = Side(base.height, base.center, base.half_width, base.resolution, efficiency)
    mean = soft_hits(straight, panels, 0.05, rng).usable.mean()
    (gradient,) = torch.autograd.grad(mean, efficiency)
    assert mean.item() == pytest.approx(3 * 0.8**2 - 2 * 0.8**3, abs=0.005)
    assert gradient.sum().item() == pytest.approx(6 * 0.8 - 6 * 0.8**2, abs=0.02)


def test_the_reference_panel_costs_one_a_square_metre():
    price = unit_price(torch.tensor(1e-4), torch.tensor(0.9))
    assert price.item() == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("better", "worse"), [((5e-5, 0.9), (1e-4, 0.9)), ((1e-4, 0.95), (1e-4, 0.9))]
)
def test_better_panels_cost_more(better, worse):
    dear, cheap = (unit_price(*map(torch.tensor, pair)).item() for pair in (better, worse))
    assert dear > cheap


def test_an_exact_budget_is_spent_exactly():
    shares = torch.tensor([1.0, 2.0, 3.0, 1.0], dtype=torch.float64)
    design = Design(
        {
            "panel_x": torch.zeros(4),
            "panel_y": torch.zeros(4),
            "upper_z": torch.tensor([1.7, 1.5]),
            "lower_z": torch.tensor([0.3, 0.1]),
            "panel_cost": shares,
            "panel_resolution": torch.full((4,), 5e-5, dtype=torch.float64),
            "panel_efficiency": torch.full((4,), 0.95, dtype=torch.float64),
        }
    )
    panels = layout(design, 2)
    price = unit_price(design["panel_resolution"], design["panel_efficiency"])
    area = 4 * torch.cat([panels.above.half_width, panels.below.half_width], dim=1).prod(0)
    assert (area * price).sum().item() == pytest.approx(7.0)
    assert panels.cost.item() == pytest.approx(7.0)
    assert math.sqrt(area[0].item()) == pytest.approx(math.sqrt(1 / price[0].item()))
