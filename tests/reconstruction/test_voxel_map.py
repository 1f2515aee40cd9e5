"""Voxel maps: probabilities of bins, and their sums over points."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.reconstruction import bin_probabilities, separable_sums

EDGES = torch.tensor([0.0, 0.1, 0.3, 1.0], dtype=torch.float64)


@settings(max_examples=50)
@given(center=st.floats(-3, 3), sigma=st.floats(1e-6, 10.0))
def test_probabilities_are_at_most_one_together(center, sigma):
    found = bin_probabilities(
        torch.tensor([center]).double(), torch.tensor([sigma**2]).double(), EDGES
    )
    assert float(found.min()) >= 0
    assert float(found.sum()) <= 1 + 1e-12


def test_probability_of_one_sigma_has_the_reference_value():  # erf(1 / sqrt 2)
    edges = torch.tensor([-2.0, 2.0], dtype=torch.float64)
    found = bin_probabilities(torch.zeros(1).double(), torch.full((1,), 4.0).double(), edges)
    assert found.item() == pytest.approx(math.erf(1 / math.sqrt(2)), rel=1e-12)


def test_sharp_point_lies_in_its_bin():
    centers = torch.tensor([0.05, 0.2, 0.9, 2.0], dtype=torch.float64)
    found = bin_probabilities(centers, torch.full((4,), 1e-10).double(), EDGES)
    expected = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    torch.testing.assert_close(found, torch.tensor(expected).double())


def test_bins_that_cover_everything_add_up_to_one(rng):
    edges = torch.linspace(-50, 50, 30, dtype=torch.float64)
    centers = torch.randn(2, 5, generator=rng, dtype=torch.float64)
    found = bin_probabilities(centers, torch.ones(2, 5).double(), edges)
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 5).double())


def test_gradient_of_probabilities_matches_finite_differences(rng):
    center = torch.rand(4, generator=rng, dtype=torch.float64, requires_grad=True)
    variance = (0.01 + 0.1 * torch.rand(4, generator=rng, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, v: bin_probabilities(c, v, EDGES), (center, variance))


@pytest.fixture
def factors(rng):
    shapes = [(2, 7, 3), (2, 7, 4), (2, 7, 5), (2, 7, 2)]  # volumes, points, bins or values
    return [torch.rand(shape, generator=rng, dtype=torch.float64) for shape in shapes]


def test_sums_are_those_of_the_dense_array(factors):
    expected = torch.einsum("vnx,vny,vnz,vnc->vcxyz", *factors)
    torch.testing.assert_close(separable_sums(*factors), expected, rtol=1e-13, atol=1e-14)


def test_sum_over_all_voxels_is_the_sum_of_values(factors):
    px, py, pz, values = factors
    normalized = [p / p.sum(-1, keepdim=True) for p in (px, py, pz)]
    total = separable_sums(*normalized, values).sum((2, 3, 4))
    torch.testing.assert_close(total, values.sum(1))


def test_gradient_of_sums_matches_finite_differences(factors):
    assert torch.autograd.gradcheck(separable_sums, [f.requires_grad_() for f in factors])
