"""Qualities of tracks, limits and objectives of the tracker."""

import pytest
import torch

from detopt.design import Design
from detopt.errors import DesignError
from detopt.physics import tracking
from detopt.random import Seed
from detopt.usecases import benchmark_tracker as tracker
from detopt.usecases import load


@pytest.fixture
def problem():
    return load("benchmark_tracker").build()


def changed(problem, **values):
    new = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    return Design({**problem.space.start, **new})


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_central_tracks_are_measured_by_the_barrel_alone(problem):
    start = problem.space.start
    sagitta = tracker.SAGITTA_LENGTH / 2 * start["cone"].tan().item()
    radius = [*tracker.VERTEX, sagitta, sagitta + tracker.SAGITTA_STEP, 0.33, *tracker.OUTER]
    pixels, gas = tracker.PIXEL, tracker.GAS
    layers = tracking.TrackingLayers(
        numbers(*radius),
        numbers(*[pixels[0]] * 5, *[gas[0]] * 3),
        numbers(*[pixels[1]] * 5, *[gas[1]] * 3),
    )
    expected = tracking.track_resolution(layers, 5.0, 1.5)
    found = tracker.track_quality(start, numbers(0.01), numbers(5.0), 1.5)[0, 0]
    assert found.item() == pytest.approx(expected.momentum.item(), rel=0.02)


def test_the_baseline_is_one_in_every_objective(problem):
    summary = problem.summarize(problem.space.start, 10, Seed(1).generator())
    outcome = problem.judge(summary, problem.space.start)
    assert tuple(outcome.objectives) == tracker.OBJECTIVES
    assert [value.item() for value in outcome.objectives.values()] == pytest.approx([1.0] * 3)


def test_a_batch_of_designs_is_the_designs_one_by_one(problem):
    theta = problem.space.theta(problem.space.start)
    batch = torch.stack([theta, theta + 0.2])
    eta, momentum = numbers(-3.0, -1.5, 0.5, 1.6, 2.4), numbers(3.0, 5.0, 8.0, 12.0, 20.0)
    whole = tracker.track_quality(problem.space.design(batch), eta, momentum, 1.5)
    for one, expected in zip(batch, whole, strict=True):
        single = tracker.track_quality(problem.space.design(one), eta, momentum, 1.5)
        torch.testing.assert_close(single, expected)


def test_the_inefficiency_is_at_least_that_of_missing_hits(problem):
    """Eight layers of 98 %: four hits or more but for 1 in 10 000."""
    eta, momentum = problem.tracks(50, Seed(2).generator())
    lost = tracker.track_quality(problem.space.start, eta.flatten(), momentum.flatten(), 1.5)[:, 2]
    assert (lost > 0).all()
    assert (lost < 1).all()


def test_a_stronger_field_measures_momentum_better(problem):
    eta, momentum = numbers(-2.5, 0.3, 2.5), numbers(10.0, 10.0, 10.0)
    weak, strong = (
        tracker.track_quality(problem.space.start, eta, momentum, field)[:, 0]
        for field in (1.5, 3.0)
    )
    torch.testing.assert_close(weak, 2 * strong)


def test_gradient_matches_finite_differences(problem):
    theta = problem.space.theta(problem.space.start) + 0.1
    eta, momentum = numbers(-2.4, 0.4, 1.5), numbers(4.0, 6.0, 10.0)

    def quality(theta):
        found = tracker.track_quality(problem.space.design(theta), eta, momentum, 1.5)
        return found * numbers(1e3, 1e5, 1e1)  # all of order 1

    assert torch.autograd.gradcheck(quality, theta.requires_grad_(), eps=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"forward_1": 0.49, "forward_2": 0.55}, "forward_2 behind forward_1"),
        ({"backward_2": 0.99}, "backward_2"),
        ({"barrel": 0.27, "cone": 0.52}, "barrel behind sagitta"),
        ({"barrel": 0.50}, "barrel"),
    ],
)
def test_layers_too_near_each_other_are_refused(problem, values, match):
    with pytest.raises(DesignError, match=match):
        problem.space.check(changed(problem, **values))


def test_tracks_fill_every_bin(problem):
    eta, momentum = problem.tracks(200, Seed(3).generator())
    edges = torch.tensor(tracker.ETA_EDGES, dtype=torch.float64)
    assert ((eta >= edges[:-1]) & (eta <= edges[1:])).all()
    assert momentum.min() >= 2
    assert momentum.max() <= 20
