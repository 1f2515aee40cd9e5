"""Fields and transport against the analytic circle and exact solutions."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from detopt.errors import DomainError
from detopt.physics.fields import (
    FieldMap,
    UniformField,
    bending_radius,
    field_integral,
    helix,
    helix_to_plane,
    momentum_kick,
    runge_kutta,
)

TESLA_ALONG_Z = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
ORIGIN = torch.zeros(3, dtype=torch.float64)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def variable(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def linear_map(n_points=5):
    """Grid of a field that is linear in each coordinate, which the map holds exactly."""
    axis = torch.linspace(-1.0, 1.0, n_points, dtype=torch.float64)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    values = torch.stack([1 + x, y * z, 2 - x * y * z], dim=-1)
    return FieldMap(values, vector(-1, -1, -1), vector(1, 1, 1))


def test_radius_of_one_gev_in_one_tesla_is_the_published_one():
    # p[GeV] = 0.299792458 B[T] R[m]; Review of Particle Physics, eq. 35.46
    assert bending_radius(1.0, 1.0).item() == pytest.approx(3.33564095, rel=1e-8)


def test_kick_of_one_tesla_metre_is_three_tenths_of_a_gev():
    assert momentum_kick(1.0).item() == pytest.approx(0.299792458, rel=1e-12)
    torch.testing.assert_close(momentum_kick(2.0, charge=-1), -2 * momentum_kick(1.0))


@pytest.mark.parametrize("turns", [0.01, 0.3, 1.0, 7.3])
def test_helix_across_the_field_is_the_analytic_circle(turns):
    # a positive charge turns clockwise seen against the field: dp/dt = q v x B
    radius = 0.8 / 0.299792458
    path, angle = 2 * math.pi * radius * turns, 2 * math.pi * turns
    position, momentum = helix(ORIGIN, vector(0.8, 0, 0), 1, TESLA_ALONG_Z, path)
    circle = vector(radius * math.sin(angle), radius * (math.cos(angle) - 1), 0)
    direction = vector(0.8 * math.cos(angle), -0.8 * math.sin(angle), 0)
    torch.testing.assert_close(position, circle, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(momentum, direction, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e-3, 0.4999, 0.5001])
def test_helix_keeps_its_digits_at_any_turning_angle(scale):
    # sagitta of a weak bend: p (1 - cos a)/(0.3 B), compared with the sine of half the angle
    position, _ = helix(ORIGIN, vector(1.0, 0, 0), -1, TESLA_ALONG_Z, scale / 0.299792458)
    radius = 1 / 0.299792458
    assert position[1].item() == pytest.approx(2 * radius * math.sin(scale / 2) ** 2, rel=1e-13)


def test_momentum_along_the_field_goes_straight():
    position, momentum = helix(ORIGIN, vector(0, 0, 2.0), 1, 3 * TESLA_ALONG_Z, 5.0)
    torch.testing.assert_close(position, vector(0, 0, 5.0))
    torch.testing.assert_close(momentum, vector(0, 0, 2.0))


@settings(deadline=None)
@given(
    momentum=st.lists(st.floats(0.1, 3.0), min_size=3, max_size=3),
    field=st.lists(st.floats(-4.0, 4.0), min_size=3, max_size=3),
    path=st.floats(-5.0, 5.0),
)
def test_transport_back_returns_to_the_start(momentum, field, path):
    there = helix(ORIGIN, vector(*momentum), 1, vector(*field), path)
    back = helix(*there, 1, vector(*field), -path)
    torch.testing.assert_close(back[0], ORIGIN, rtol=0.0, atol=1e-12)
    torch.testing.assert_close(back[1], vector(*momentum), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(first=st.floats(0.1, 3.0), second=st.floats(0.1, 3.0))
def test_two_paths_make_one(first, second):
    start = ORIGIN, vector(0.3, 0.5, 1.0)
    once = helix(*start, 1, TESLA_ALONG_Z, first + second)
    twice = helix(*helix(*start, 1, TESLA_ALONG_Z, first), 1, TESLA_ALONG_Z, second)
    torch.testing.assert_close(once, twice, rtol=1e-12, atol=1e-12)


def test_runge_kutta_follows_the_analytic_circle():
    field = UniformField(TESLA_ALONG_Z)
    start = ORIGIN, vector(0.8, 0.1, 0.3)
    stepped = runge_kutta(*start, 1, field, 2.0, n_steps=200)
    torch.testing.assert_close(stepped, helix(*start, 1, TESLA_ALONG_Z, 2.0), rtol=0.0, atol=1e-9)


def test_runge_kutta_converges_with_the_fourth_order():
    start, field = (ORIGIN, vector(0.8, 0.1, 0.3)), UniformField(TESLA_ALONG_Z)
    exact, _ = helix(*start, 1, TESLA_ALONG_Z, 4.0)
    errors = [
        (runge_kutta(*start, 1, field, 4.0, n_steps=n)[0] - exact).norm().item() for n in (10, 20)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4.0, abs=0.3)


def test_runge_kutta_agrees_with_an_adaptive_solver_in_a_field_map():
    field_map = linear_map()

    def derivative(_, state):
        where, direction = vector(*state[:3]), vector(*state[3:])
        turn = 0.299792458 / 1.2 * torch.linalg.cross(direction, field_map(where))
        return [*state[3:], *turn.tolist()]

    direction = vector(0.6, 0.0, 0.8)
    solution = integrate.solve_ivp(
        derivative, (0, 0.9), [0, 0, 0, *direction.tolist()], rtol=1e-11, atol=1e-12
    )
    position, _ = runge_kutta(ORIGIN, 1.2 * direction, 1, field_map, 0.9, n_steps=100)
    torch.testing.assert_close(position, vector(*solution.y[:3, -1]), rtol=0.0, atol=1e-8)


def test_transport_keeps_the_size_of_the_momentum():
    _, momentum = runge_kutta(ORIGIN, vector(0.3, 0.2, 0.1), 1, linear_map(), 0.8, n_steps=5)
    torch.testing.assert_close(momentum.norm(), vector(0.3, 0.2, 0.1).norm())


@pytest.mark.parametrize("charge", [1, -1, 0])
def test_track_ends_on_the_plane(charge):
    normal, point = vector(0.1, -0.2, 2.0), vector(0, 0, 1.5)
    start = ORIGIN, vector(0.3, 0.1, 2.0)
    position, momentum, path = helix_to_plane(*start, charge, vector(0.5, 2.0, 0.3), point, normal)
    assert ((position - point) * normal).sum().item() == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(
        (position, momentum), helix(*start, charge, vector(0.5, 2.0, 0.3), path)
    )


def test_map_is_exact_for_a_field_linear_in_each_coordinate(rng):
    where = 2 * torch.rand(50, 3, generator=rng, dtype=torch.float64) - 1
    x, y, z = where.unbind(-1)
    expected = torch.stack([1 + x, y * z, 2 - x * y * z], dim=-1)
    torch.testing.assert_close(linear_map(3)(where), expected)


def test_map_ends_at_its_edge():
    inside, outside = linear_map()(vector([1.0, 1.0, 1.0], [1.0, 1.0, 1.001]))
    torch.testing.assert_close(inside, vector(2, 1, 1))
    assert not outside.any()


def test_field_integral_is_the_length_times_the_field_across():
    integral = field_integral(UniformField(2 * TESLA_ALONG_Z), ORIGIN, vector(3.0, 0, 4.0))
    torch.testing.assert_close(integral, vector(0, -6.0, 0))


def test_small_kick_agrees_with_the_helix():
    momentum = vector(100.0, 0, 0)
    integral = field_integral(UniformField(TESLA_ALONG_Z), ORIGIN, vector(2.0, 0, 0))
    _, bent = helix(ORIGIN, momentum, 1, TESLA_ALONG_Z, 2.0)
    assert bent[1].item() == pytest.approx(momentum_kick(integral)[1].item(), rel=1e-4)


def test_batches_broadcast():
    momenta = torch.ones(4, 1, 3, dtype=torch.float64)
    charges = vector(1.0, -1.0)
    position, _ = helix(ORIGIN, momenta, charges, TESLA_ALONG_Z, 1.0)
    stepped, _ = runge_kutta(ORIGIN, momenta, charges, UniformField(TESLA_ALONG_Z), 1.0, n_steps=2)
    assert position.shape == stepped.shape == (4, 2, 3)


@pytest.mark.parametrize("field", [0.0, 0.5], ids=["without field", "with field"])
def test_gradients_of_the_helix_match_finite_differences(field):
    def transport(position, momentum, charge, field, path):
        return helix(position, momentum, charge, field, path)

    inputs = (
        variable(0.1, 0.2, 0.3),
        variable(1.0, 0.2, 0.5),
        variable(1.0).squeeze(),
        variable(0.1 * field, 0.3 * field, field),
        variable(2.0).squeeze(),
    )
    inputs = tuple(tensor.detach().requires_grad_() for tensor in inputs)
    assert torch.autograd.gradcheck(transport, inputs)


def test_gradients_on_the_plane_match_finite_differences():
    def crossing(position, momentum, field, point, normal):
        return helix_to_plane(position, momentum, 1, field, point, normal)

    inputs = (
        variable(0.1, 0.2, 0.0),
        variable(0.3, 0.2, 1.0),
        variable(0.1, 0.8, 0.2),
        variable(0.0, 0.0, 1.0),
        variable(0.1, 0.0, 1.0),
    )
    assert torch.autograd.gradcheck(crossing, inputs)


def test_gradients_through_a_map_match_finite_differences():
    grid = linear_map(3)

    def transport(position, momentum, values):
        field = FieldMap(values, grid.lower, grid.upper)
        return runge_kutta(position, momentum, 1, field, 0.3, n_steps=3)

    inputs = (variable(0.1, 0.2, 0.3), variable(0.1, 0.2, 1.0), grid.values.requires_grad_())
    assert torch.autograd.gradcheck(transport, inputs)


def test_jacobian_through_a_map_is_mapped_over_particles(rng):
    grid, starts = linear_map(3), 0.5 * torch.rand(4, 3, generator=rng, dtype=torch.float64)

    def end(start):
        return runge_kutta(start, vector(0.1, 0.2, 1.0), 1, grid, 0.3, n_steps=3)[0]

    together = torch.func.vmap(torch.func.jacrev(end))(starts)
    alone = [torch.autograd.functional.jacobian(end, start) for start in starts]
    torch.testing.assert_close(together, torch.stack(alone))


def test_gradients_of_the_integral_and_the_kick_match_finite_differences():
    def kick(strength, start, end):
        return momentum_kick(field_integral(UniformField(strength), start, end, n_points=3))

    inputs = (variable(0.1, 0.2, 1.0), variable(0.0, 0.0, 0.0), variable(1.0, 0.3, 0.1))
    assert torch.autograd.gradcheck(kick, inputs)
    assert torch.autograd.gradcheck(bending_radius, (variable(1.0), variable(2.0), variable(-1.0)))


@pytest.mark.parametrize(
    "function", [lambda: bending_radius(1.0, 1.0, 0), lambda: momentum_kick(1.0, 0)]
)
def test_neutral_particles_are_refused(function):
    with pytest.raises(DomainError, match="neutral particle"):
        function()


def test_field_of_zero_has_no_radius():
    with pytest.raises(DomainError, match="`field` must be > 0"):
        bending_radius(1.0, 0.0)


def test_endless_path_is_refused():
    with pytest.raises(DomainError, match="`path` must be finite"):
        helix(ORIGIN, vector(0, 0, 1.0), 1, TESLA_ALONG_Z, math.inf)


def test_endless_charge_is_refused():
    with pytest.raises(DomainError, match="`charge` must be finite"):
        helix_to_plane(ORIGIN, TESLA_ALONG_Z, math.inf, TESLA_ALONG_Z, ORIGIN, TESLA_ALONG_Z)


def test_transport_without_steps_is_refused():
    with pytest.raises(DomainError, match="`n_steps` must be >= 1"):
        runge_kutta(ORIGIN, TESLA_ALONG_Z, 1, UniformField(TESLA_ALONG_Z), 1.0, n_steps=0)


def test_even_number_of_points_is_refused():
    with pytest.raises(DomainError, match="`n_points` must be odd"):
        field_integral(UniformField(TESLA_ALONG_Z), ORIGIN, TESLA_ALONG_Z, n_points=10)


def test_map_with_one_plane_is_refused():
    with pytest.raises(DomainError, match="at least 2 points an axis"):
        FieldMap(torch.zeros(1, 2, 2, 3), torch.zeros(3), torch.ones(3))
