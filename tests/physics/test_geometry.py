"""Rays through solids against hand-worked cases, laws and soft limits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics.geometry import (
    box_box_overlap,
    box_crossing,
    box_cylinder_overlap,
    box_distance,
    cylinder_crossing,
    cylinder_cylinder_overlap,
    cylinder_distance,
    inside,
    path_length,
    plane_crossing,
    plane_distance,
    soft_inside,
    soft_path_length,
)

ORIGIN = torch.zeros(3, dtype=torch.float64)
coordinates = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def variable(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


HALF = vector(1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((-5.0, 0.0, 0.0), (1.0, 0.0, 0.0), 2.0),
        ((0.0, 0.0, 9.0), (0.0, 0.0, -2.0), 6.0),
        ((-1.0, -2.0, -3.0), (1.0, 2.0, 3.0), 2 * math.sqrt(14)),
        ((0.0, -9.0, 5.0), (0.0, 1.0, 0.0), 0.0),
        ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.0),
        ((-2.0, 0.0, 0.0), (1.0, 1.0, 0.0), math.sqrt(2)),
    ],
    ids=["along x", "down z", "diagonal", "miss", "from inside", "corner"],
)
def test_path_in_a_box_is_that_worked_by_hand(origin, direction, expected):
    crossing = box_crossing(vector(*origin), vector(*direction), ORIGIN, HALF)
    assert path_length(*crossing).item() == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(
    ("origin", "direction", "expected"),
    [
        ((-5.0, 0.0, 0.0), (1.0, 0.0, 0.0), 2.0),
        ((-5.0, 0.6, 0.0), (1.0, 0.0, 0.0), 1.6),
        ((0.0, 0.0, 9.0), (0.0, 0.0, -1.0), 4.0),
        ((0.3, 0.4, -9.0), (0.0, 0.0, 1.0), 4.0),
        ((-5.0, 1.5, 0.0), (1.0, 0.0, 0.0), 0.0),
        ((1.5, 0.0, -9.0), (0.0, 0.0, 1.0), 0.0),
        ((-2.0, 0.0, 0.0), (1.0, 0.0, 1.0), math.sqrt(2)),
    ],
    ids=["diameter", "chord", "axis", "beside the axis", "miss", "parallel miss", "cap"],
)
def test_path_in_a_cylinder_is_that_worked_by_hand(origin, direction, expected):
    crossing = cylinder_crossing(vector(*origin), vector(*direction), ORIGIN, 1.0, 2.0)
    assert path_length(*crossing).item() == pytest.approx(expected, abs=1e-9)


def test_plane_is_reached_where_worked_by_hand():
    # 2 m above, at 60 degrees from the normal: 4 m
    direction = vector(math.sqrt(3), 0.0, -1.0)
    distance = plane_crossing(vector(0, 0, 2), direction, ORIGIN, vector(0, 0, 7))
    assert distance.item() == pytest.approx(4.0, rel=1e-14)


@settings(deadline=None)
@given(origin=coordinates, toward=coordinates)
def test_path_does_not_depend_on_the_length_of_the_direction(origin, toward):
    direction = vector(*toward) + vector(0.0, 0.0, 5.0)
    once, again = (
        path_length(*box_crossing(vector(*origin), scale * direction, ORIGIN, HALF))
        for scale in (1.0, 7.0)
    )
    torch.testing.assert_close(once, again)


@settings(deadline=None)
@given(origin=coordinates, toward=coordinates)
def test_entry_and_exit_lie_on_the_surface(origin, toward):
    start, direction = vector(*origin), vector(*toward) + vector(0.0, 0.0, 5.0)
    unit = direction / direction.norm()
    entry, leave = box_crossing(start, direction, ORIGIN, HALF)
    if entry < leave:
        ends = start + torch.stack([entry, leave]).unsqueeze(-1) * unit
        assert box_distance(ends, ORIGIN, HALF).abs().max() < 1e-9


@settings(deadline=None)
@given(origin=coordinates, toward=coordinates)
def test_ends_in_a_cylinder_lie_on_the_surface(origin, toward):
    start, direction = vector(*origin), vector(*toward) + vector(0.0, 0.0, 5.0)
    unit = direction / direction.norm()
    entry, leave = cylinder_crossing(start, direction, ORIGIN, 1.0, 2.0)
    if entry + 1e-6 < leave:
        ends = start + torch.stack([entry, leave]).unsqueeze(-1) * unit
        assert cylinder_distance(ends, ORIGIN, 1.0, 2.0).abs().max() < 1e-7


def test_mean_chord_of_a_box_is_that_of_cauchy(rng):
    # four times the volume over the surface for isotropic rays: here from a surrounding sphere
    axis = torch.nn.functional.normalize(
        torch.randn(200_000, 3, generator=rng, dtype=torch.float64), dim=-1
    )
    helper = torch.nn.functional.normalize(
        torch.linalg.cross(axis, torch.randn(200_000, 3, generator=rng, dtype=torch.float64)),
        dim=-1,
    )
    radius = 4.0 * torch.rand(200_000, 1, generator=rng, dtype=torch.float64).sqrt()
    chord = path_length(*box_crossing(radius * helper - 9 * axis, axis, ORIGIN, HALF))
    mean = chord[chord > 0].mean().item()
    assert mean == pytest.approx(4 * 48 / 88, rel=0.01)  # edges of 2, 4 and 6 m


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        ((0.0, 0.0, 0.0), -1.0),
        ((1.0, 0.0, 0.0), 0.0),
        ((4.0, 6.0, 3.0), 5.0),
        ((0.0, 1.9, 0.0), -0.1),
    ],
    ids=["centre", "face", "edge", "inside"],
)
def test_distance_to_a_box_is_that_worked_by_hand(position, expected):
    distance = box_distance(vector(*position), ORIGIN, HALF)
    assert distance.item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize(
    ("position", "expected"),
    [((0.0, 0.0, 0.0), -1.0), ((3.0, 4.0, 0.0), 4.0), ((0.0, 4.0, 6.0), 5.0)],
    ids=["centre", "beside", "beyond the rim"],
)
def test_distance_to_a_cylinder_is_that_worked_by_hand(position, expected):
    distance = cylinder_distance(vector(*position), ORIGIN, 1.0, 2.0)
    assert distance.item() == pytest.approx(expected, abs=1e-14)


def test_distance_to_a_half_space_is_the_height_above_it():
    height = plane_distance(vector(1.0, 2.0, 5.0), vector(0, 0, 2), vector(0, 0, 4))
    assert height.item() == pytest.approx(3.0)


@pytest.mark.parametrize("softness", [1e-1, 1e-2, 1e-3])
def test_soft_edge_tends_to_the_hard_one(softness, rng):
    position = 4 * torch.rand(1000, 3, generator=rng, dtype=torch.float64) - 2
    distance = box_distance(position, ORIGIN, HALF)
    gap = (soft_inside(distance, softness) - inside(distance).double()).abs()
    assert (gap <= torch.exp(-distance.abs() / softness) + 1e-15).all()


def test_soft_edge_is_half_on_the_surface():
    assert soft_inside(torch.zeros(()), 0.1).item() == 0.5
    assert inside(torch.zeros(()))


@pytest.mark.parametrize("softness", [1e-1, 1e-2, 1e-4])
def test_soft_path_tends_to_the_hard_one(softness):
    entry, leave = vector(-1.0, 2.0, 0.3), vector(1.0, 1.0, 0.3)
    hard = path_length(entry, leave, start=-math.inf)
    gap = soft_path_length(entry, leave, softness) - hard
    assert (gap >= 0).all()
    assert (gap <= softness * math.log(2) * (1 + 1e-12)).all()


@pytest.mark.parametrize("direction", [(1.0, 0.0, 0.0), (1.0, 0.0, 0.3)])
def test_soft_path_fades_as_a_line_leaves_the_mantle(direction):
    # from a chord to a miss by 0.1 of the radius, in small steps
    offset = torch.linspace(0.9, 1.1, 2001, dtype=torch.float64, requires_grad=True)
    origin = torch.stack([torch.full_like(offset, -3.0), offset, -0.5 + 0 * offset], dim=-1)
    crossing = cylinder_crossing(origin, vector(*direction), ORIGIN, 1.0, 5.0)
    soft = soft_path_length(*crossing, 0.1)
    (slope,) = torch.autograd.grad(soft.sum(), offset)
    assert soft.diff().abs().max() < 0.02
    assert (slope[1100:] < 0).all()
    assert (path_length(*crossing)[1001:] == 0).all()


def test_path_stops_at_the_ends_of_the_ray():
    length = path_length(vector(-1.0), vector(5.0), start=1.0, end=3.0)
    assert length.item() == 2.0


@pytest.mark.parametrize(
    ("center", "expected"),
    [((3.0, 0.0, 0.0), -1.0), ((2.0, 1.0, 0.0), 0.0), ((1.5, 3.0, 0.0), 0.5)],
)
def test_overlap_of_boxes_is_that_worked_by_hand(center, expected):
    depth = box_box_overlap(ORIGIN, HALF, vector(*center), HALF)
    assert depth.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("center", "expected"), [((3.0, 4.0, 0.0), -3.0), ((0.6, 0.8, 0.0), 1.0), ((0, 0, 5.0), -1.0)]
)
def test_overlap_of_cylinders_is_that_worked_by_hand(center, expected):
    depth = cylinder_cylinder_overlap(ORIGIN, 1.0, 2.0, vector(*map(float, center)), 1.0, 2.0)
    assert depth.item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("center", "expected"),
    [((4.0, 6.0, 0.0), -4.0), ((1.5, 0.0, 0.0), 0.5), ((0.0, 0.0, 6.0), -1.0)],
    ids=["past the edge", "through the face", "above"],
)
def test_overlap_of_box_and_cylinder_is_that_worked_by_hand(center, expected):
    depth = box_cylinder_overlap(ORIGIN, HALF, vector(*center), 1.0, 2.0)
    assert depth.item() == pytest.approx(expected)


@settings(deadline=None)
@given(first=coordinates, second=coordinates)
def test_overlap_does_not_depend_on_the_order(first, second):
    half = vector(0.5, 0.7, 0.2)
    there = box_box_overlap(vector(*first), HALF, vector(*second), half)
    back = box_box_overlap(vector(*second), half, vector(*first), HALF)
    torch.testing.assert_close(there, back)


def test_shapes_broadcast():
    origins = torch.zeros(5, 1, 3, dtype=torch.float64)
    centers = torch.zeros(4, 3, dtype=torch.float64)
    crossing = box_crossing(origins, vector(0, 0, 1), centers, HALF)
    assert path_length(*crossing).shape == (5, 4)
    assert cylinder_distance(origins, centers, 1.0, 2.0).shape == (5, 4)


RAY = ((-3.0, 0.2, 0.1), (1.0, 0.1, 0.2))


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (plane_crossing, (*RAY, (0.0, 0.0, 1.0), (0.3, 0.1, 1.0))),
        (box_crossing, (*RAY, (0.0, 0.0, 0.0), (1.0, 2.0, 3.0))),
        (cylinder_crossing, (*RAY, (0.0, 0.0, 0.0), 1.0, 2.0)),
        (path_length, ((-1.0, 2.0), (1.0, 1.0))),
        (soft_path_length, ((-1.0, 2.0), (1.0, 1.0), 0.3)),
        (plane_distance, ((0.1, 0.2, 0.3), (0.0, 0.0, 1.0), (0.3, 0.1, 1.0))),
        (box_distance, ((2.0, 3.0, 0.5), (0.0, 0.1, 0.0), (1.0, 2.0, 3.0))),
        (box_distance, ((0.3, 0.1, 0.5), (0.0, 0.1, 0.0), (1.0, 2.0, 3.0))),
        (cylinder_distance, ((2.0, 3.0, 2.5), (0.0, 0.1, 0.0), 1.0, 2.0)),
        (soft_inside, ((-0.3, 0.1), 0.2)),
        (box_box_overlap, ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), (1.0, 0.4, 0.5), (0.4, 0.5, 0.6))),
        (cylinder_cylinder_overlap, ((0.1, 0.2, 0.3), 1.0, 2.0, (1.0, 0.4, 0.5), 0.5, 1.5)),
        (box_cylinder_overlap, ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0), (1.7, 2.9, 0.5), 0.9, 1.5)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_gradients_match_finite_differences(function, inputs):
    tensors = tuple(
        torch.tensor(values, dtype=torch.float64, requires_grad=True) for values in inputs
    )
    assert torch.autograd.gradcheck(function, tensors)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (cylinder_crossing, (ORIGIN, HALF, ORIGIN)),
        (cylinder_distance, (ORIGIN, ORIGIN)),
        (box_cylinder_overlap, (ORIGIN, HALF, ORIGIN)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_cylinder_without_radius_is_refused(function, arguments):
    with pytest.raises(DomainError, match="`radius` must be > 0"):
        function(*arguments, 0.0, 1.0)


def test_pair_of_cylinders_without_length_is_refused():
    with pytest.raises(DomainError, match="`second_half_length` must be > 0"):
        cylinder_cylinder_overlap(ORIGIN, 1.0, 1.0, ORIGIN, 1.0, -1.0)


def test_edge_without_width_is_refused():
    with pytest.raises(DomainError, match="`softness` must be > 0"):
        soft_inside(torch.zeros(()), 0.0)
    with pytest.raises(DomainError, match="`softness` must be > 0"):
        soft_path_length(torch.zeros(()), torch.ones(()), 0.0)
