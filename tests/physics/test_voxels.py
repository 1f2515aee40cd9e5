"""Path lengths in voxels against boxes taken one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.physics.geometry import (
    box_crossing,
    path_length,
    voxel_path_lengths,
    voxel_segments,
)

LOWER = torch.tensor([-1.0, -2.0, 0.0], dtype=torch.float64)
UPPER = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
SHAPE = (4, 3, 5)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def boxes_one_by_one(origin, direction):
    """The same lengths, each voxel a box of its own."""
    pitch = (UPPER - LOWER) / torch.tensor(SHAPE)
    index = torch.cartesian_prod(*(torch.arange(n) for n in SHAPE)).double()
    centers = LOWER + (index + 0.5) * pitch
    crossing = box_crossing(origin.unsqueeze(-2), direction.unsqueeze(-2), centers, pitch / 2)
    return path_length(*crossing).unflatten(-1, SHAPE)


def test_vertical_ray_crosses_one_column():
    lengths = voxel_path_lengths(vector(-0.9, -1.5, -1), vector(0, 0, 1), LOWER, UPPER, SHAPE)
    torch.testing.assert_close(lengths[0, 0], torch.full((5,), 0.6, dtype=torch.float64))
    assert lengths.sum().item() == pytest.approx(3.0, rel=1e-12)


def test_diagonal_of_a_cube_is_shared_by_the_cells_on_it():
    ones = torch.ones(3, dtype=torch.float64)
    lengths = voxel_path_lengths(0 * ones - 1, ones, 0 * ones, ones, (4, 4, 4))
    on_diagonal = torch.stack([lengths[i, i, i] for i in range(4)])
    torch.testing.assert_close(on_diagonal, torch.full((4,), 3**0.5 / 4, dtype=torch.float64))


def test_lengths_are_those_of_single_boxes(rng):
    origin = torch.randn(200, 3, generator=rng, dtype=torch.float64) * 3
    direction = torch.randn(200, 3, generator=rng, dtype=torch.float64)
    lengths = voxel_path_lengths(origin, direction, LOWER, UPPER, SHAPE)
    torch.testing.assert_close(lengths, boxes_one_by_one(origin, direction), rtol=1e-10, atol=1e-10)


@settings(deadline=None)
@given(
    origin=st.lists(st.floats(-4.0, 4.0), min_size=3, max_size=3),
    toward=st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=3),
)
def test_lengths_add_up_to_the_path_in_the_grid(origin, toward):
    start, direction = vector(*origin), vector(*toward) + vector(0, 0, 2)
    lengths = voxel_path_lengths(start, direction, LOWER, UPPER, SHAPE)
    whole = box_crossing(start, direction, (LOWER + UPPER) / 2, (UPPER - LOWER) / 2)
    torch.testing.assert_close(lengths.sum(), path_length(*whole), rtol=1e-9, atol=1e-9)


def test_segments_are_in_the_order_of_the_ray():
    index, lengths = voxel_segments(vector(-0.9, -1.5, 9), vector(0, 0, -1), LOWER, UPPER, SHAPE)
    crossed = index[lengths > 1e-9]
    assert crossed.tolist() == [4, 3, 2, 1, 0]
    assert len(index) == sum(SHAPE) + 2


def test_single_precision_keeps_the_total():
    origin, direction = torch.tensor([0.1, 0.2, 9.0]), torch.tensor([0.1, -0.1, -1.0])
    lengths = voxel_path_lengths(origin, direction, LOWER.float(), UPPER.float(), SHAPE)
    exact = voxel_path_lengths(origin.double(), direction.double(), LOWER, UPPER, SHAPE)
    torch.testing.assert_close(lengths.double(), exact, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("function", [voxel_segments, voxel_path_lengths])
def test_gradients_match_finite_differences(function):
    def lengths(origin, direction, lower, upper):
        result = function(origin, direction, lower, upper, SHAPE)
        return result[1] if isinstance(result, tuple) else result

    inputs = (vector(0.1, 0.2, 9.0), vector(0.13, -0.11, -1.0), LOWER.clone(), UPPER.clone())
    assert torch.autograd.gradcheck(lengths, tuple(x.requires_grad_() for x in inputs))


@pytest.mark.parametrize("function", [voxel_segments, voxel_path_lengths])
def test_grid_without_voxels_is_refused(function):
    with pytest.raises(DomainError, match="`shape` must hold 3 counts"):
        function(LOWER, UPPER, LOWER, UPPER, (0, 1, 1))
