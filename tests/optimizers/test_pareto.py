"""Fronts: dominance with and without noise, and the volume under them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.optimizers.gaussian_process import load
from detopt.optimizers.pareto import (
    hypervolume,
    non_dominated,
    probability_non_dominated,
    reference_point,
)
from detopt.random import Seed


def points(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def random_points(n, m, seed=0):
    return torch.rand(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- dominance


def test_dominated_points_are_found():  # by hand
    found = non_dominated(points([1, 4], [2, 2], [3, 3], [4, 1], [2, 4]))
    assert found.tolist() == [True, True, False, True, False]


def test_equal_points_stay_together():
    assert non_dominated(points([1, 1], [1, 1])).tolist() == [True, True]


@pytest.mark.parametrize("m", [2, 3, 5])
def test_front_agrees_with_botorch(m):
    load()
    from botorch.utils.multi_objective.pareto import is_non_dominated

    values = random_points(60, m)
    assert torch.equal(non_dominated(values), is_non_dominated(-values))


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_noise_removes_no_point_from_the_front(seed, m):
    values = random_points(20, m, seed)
    errors = 0.2 * random_points(20, m, seed + 1)
    exact, noisy = non_dominated(values), non_dominated(values, errors)
    assert bool((noisy | ~exact).all())


def test_point_leaves_the_front_where_the_noise_is_small_enough():  # by hand: 0.1 sqrt(2) = 0.141
    values = points([0.0, 0.0], [0.2, 0.2])
    errors = torch.full_like(values, 0.1)
    assert non_dominated(values, errors, 1.0).tolist() == [True, False]
    assert non_dominated(values, errors, 2.0).tolist() == [True, True]


def test_probability_of_the_front_has_its_normal_value():  # one objective: P(a < b) = Phi(0.5)
    found = probability_non_dominated(
        points([0.0], [0.5]), points([0.6], [0.8]), Seed(1), n_samples=4_000
    )
    assert found.tolist() == pytest.approx([0.6915, 0.3085], abs=0.025)


# --- volume


def test_volume_of_a_staircase():  # by hand: 3 x 1 + 2 x 1 + 1 x 1
    values = points([0, 2], [1, 1], [2, 0])
    assert hypervolume(values, torch.tensor([3.0, 3.0])).item() == pytest.approx(6.0)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_volume_agrees_with_botorch_and_pymoo(m):
    from pymoo.indicators.hv import HV

    values, reference = random_points(25, m, m), torch.full((m,), 0.9, dtype=torch.float64)
    found = hypervolume(values, reference).item()
    assert found == pytest.approx(HV(ref_point=reference.numpy())(values.numpy()), rel=1e-9)
    if m > 1:
        load()
        from botorch.utils.multi_objective.hypervolume import Hypervolume

        front = values[non_dominated(values)]
        assert found == pytest.approx(Hypervolume(-reference).compute(-front), rel=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_volume_grows_with_every_point(seed):
    values, reference = random_points(8, 3, seed), torch.ones(3, dtype=torch.float64)
    assert hypervolume(values, reference) >= hypervolume(values[:-1], reference)


def test_volume_scales_with_every_axis():
    values, reference = random_points(9, 3), torch.ones(3, dtype=torch.float64)
    scale = torch.tensor([2.0, 3.0, 0.5], dtype=torch.float64)
    scaled = hypervolume(values * scale, reference * scale)
    assert scaled.item() == pytest.approx(3.0 * hypervolume(values, reference).item())


def test_points_beyond_the_reference_add_nothing():
    reference = torch.ones(2, dtype=torch.float64)
    assert hypervolume(points([0.0, 1.0], [2.0, 0.0]), reference).item() == 0.0


@pytest.mark.parametrize("m", [2, 3])
def test_gradient_of_the_volume_matches_finite_differences(m):
    values = random_points(6, m, 3).requires_grad_()
    reference = torch.ones(m, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: hypervolume(v, reference), values)


def test_reference_lies_a_tenth_beyond_the_front():
    found = reference_point(points([0.0, 10.0], [2.0, 5.0]))
    assert found.tolist() == pytest.approx([2.2, 10.5])


# --- refusals


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: non_dominated(points([float("nan"), 1.0])), "hold NaN"),
        (lambda: non_dominated(points([1.0]), significance=-1.0), "must be >= 0, got -1.0"),
        (lambda: non_dominated(points([1.0]), points([-1.0])), "`errors` must be >= 0"),
        (lambda: hypervolume(points([1.0, 2.0]), torch.ones(3).double()), "has 3 objectives"),
        (lambda: hypervolume(points([float("nan")]), torch.ones(1).double()), "hold NaN"),
        (lambda: reference_point(torch.empty(0, 2)), "without points has no reference"),
        (
            lambda: probability_non_dominated(points([1.0]), points([1.0]), Seed(0), 0),
            "`n_samples` must be >= 1, got 0",
        ),
    ],
)
def test_unusable_numbers_are_refused(call, message):
    with pytest.raises(DomainError, match=message):
        call()
