"""The unit cube: it goes there and back, spreads evenly and keeps limits."""

import pytest
import torch

from detopt.design import (
    Categorical,
    Continuous,
    DesignSpace,
    FixedSum,
    Integer,
    Interval,
    Limit,
    Ordered,
    Real,
)
from detopt.errors import MethodError
from detopt.optimizers import RelaxedCategorical
from detopt.optimizers.unit_cube import UnitCube
from detopt.random import Seed

SPACE = DesignSpace(
    [
        Continuous("real", [1.0, -2.0], Real(0.5)),
        Continuous("inside", 0.3, Interval(0.0, 2.0)),
        Continuous("layers", [0.2, 0.5, 0.7], Ordered(0.0, 1.0, gap=0.05)),
        Continuous("falling", [0.7, 0.2], Ordered(0.0, 1.0, descending=True)),
        Continuous("shares", [1.0, 2.0, 1.0], FixedSum(4.0)),
        Integer("n", 2, 1, 4),
        Categorical("glue", ("a", "b", "c"), "b"),
        RelaxedCategorical("metal", ("lead", "iron"), "iron"),
    ]
)
CUBE = UnitCube(SPACE)


def drawn(n):
    rng = torch.Generator().manual_seed(3)
    return torch.rand(n, CUBE.n, generator=rng, dtype=torch.float64)


def test_coordinates_are_as_many_as_choices():
    assert CUBE.n == 2 + 1 + 3 + 2 + 2 + 1 + 1 + 1
    assert CUBE.n_levels == [0] * 10 + [4, 3, 2]
    assert CUBE.is_category == [False] * 11 + [True, True]


def test_there_and_back_is_the_same_point():
    unit = CUBE.snap(drawn(50))
    torch.testing.assert_close(CUBE.unit(CUBE.theta(unit)), unit)


def test_back_and_there_is_the_same_design():
    start = SPACE.theta(SPACE.start)
    again = SPACE.design(CUBE.theta(CUBE.unit(start)))
    for name, value in SPACE.start.items():
        torch.testing.assert_close(again[name], value)


def test_every_point_is_a_design():
    corners = torch.stack([torch.zeros(CUBE.n), torch.ones(CUBE.n)]).double()
    for unit in [*drawn(20), *corners]:
        theta = CUBE.theta(unit)
        assert bool(torch.isfinite(theta).all())
        SPACE.check(SPACE.design(theta))


def test_interval_is_in_proportion():
    unit = torch.full((CUBE.n,), 0.25, dtype=torch.float64)
    assert SPACE.design(CUBE.theta(unit))["inside"].item() == pytest.approx(0.5)


def test_uniform_points_are_uniform_shares():  # Dirichlet(1, 1, 1): mean 1/3, variance 1/18
    shares = SPACE.design(CUBE.theta(drawn(20_000)))["shares"] / 4.0
    torch.testing.assert_close(shares.mean(0), torch.full((3,), 1 / 3).double(), atol=0.006, rtol=0)
    torch.testing.assert_close(shares.var(0), torch.full((3,), 1 / 18).double(), atol=0.003, rtol=0)


def test_levels_have_equal_shares():
    numbers = SPACE.design(CUBE.theta(drawn(8_000)))["n"]
    counts = [(numbers == n).double().mean().item() for n in (1, 2, 3, 4)]
    assert counts == pytest.approx([0.25] * 4, abs=0.02)


def test_gradient_of_theta_matches_finite_differences():
    continuous = UnitCube(SPACE.freeze("n", "glue", "metal"))
    unit = drawn(2)[:, : continuous.n].requires_grad_()
    assert torch.autograd.gradcheck(continuous.theta, unit)


def test_features_hold_an_indicator_for_each_choice():
    unit = torch.full((CUBE.n,), 0.9, dtype=torch.float64)
    features = CUBE.features(unit)
    assert features[-5:].tolist() == [0.0, 0.0, 1.0, 0.0, 1.0]
    assert features[10].item() == 0.875


def test_sobol_points_are_allowed():
    limit = Limit("sum", lambda d: d["inside"] + d["n"], 3.0)
    space = DesignSpace(SPACE.parameters, limits=[limit])
    cube = UnitCube(space)
    found = cube.sobol(30, Seed(1))
    assert found.shape == (30, cube.n)
    assert all(space.allows(theta) for theta in cube.theta(found))
    assert torch.equal(found, cube.sobol(30, Seed(1)))


def test_of_no_points_none_is_allowed():
    limit = Limit("sum", lambda d: d["inside"] + d["n"], 3.0)
    cube = UnitCube(DesignSpace(SPACE.parameters, limits=[limit]))
    assert cube.allowed(torch.empty(0, cube.n, dtype=torch.float64)).shape == (0, cube.n)


def test_space_with_hardly_any_allowed_design_is_reported():
    space = DesignSpace(
        [Continuous("x", 1e-7, Interval(0.0, 1.0))], limits=[Limit("x", lambda d: d["x"], 1e-6)]
    )
    with pytest.raises(MethodError, match="Only 0 of 2 designs that keep the limits"):
        UnitCube(space).sobol(2, Seed(0))
