"""Interpolation codes against pyhf, at their defining points, and their smoothness."""

import numpy as np
import pyhf
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from detopt.inference import interpolation
from detopt.inference.interpolation import ADDITIVE, EXPANSIONS, MULTIPLICATIVE

LOW = torch.tensor([9.0, 22.0, 28.5], dtype=torch.float64)
NOMINAL = torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
HIGH = torch.tensor([12.0, 19.0, 30.5], dtype=torch.float64)
ALPHAS = [-3.0, -1.0, -0.99, -0.3, 0.0, 0.2, 0.999, 1.0, 1.7]


def prediction(code, alpha):
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    if code in ADDITIVE:
        return NOMINAL + ADDITIVE[code](alpha, LOW - NOMINAL, HIGH - NOMINAL)
    down, up = (LOW / NOMINAL).log(), (HIGH / NOMINAL).log()
    return NOMINAL * MULTIPLICATIVE[code](alpha, down, up)


def oracle(code, alpha):
    """pyhf takes (set, histogram, low or nominal or high, bin) and one alpha for each set."""
    sets = torch.stack([LOW, NOMINAL, HIGH]).reshape(1, 1, 3, 3).numpy()
    made = getattr(pyhf.interpolators, f"code{code}")(sets.tolist(), subscribe=False)
    found = np.asarray(made(np.array([[alpha]])))[0, 0, 0]
    return NOMINAL + torch.tensor(found) if code in ADDITIVE else NOMINAL * torch.tensor(found)


# beyond one standard deviation, the tangents of pyhf's code 2 do not meet its parabola
CASES = [(code, alpha) for code in ("0", "1", "4", "4p") for alpha in ALPHAS]
CASES += [("2", alpha) for alpha in ALPHAS if abs(alpha) <= 1]


@pytest.mark.parametrize(("code", "alpha"), CASES)
def test_prediction_is_that_of_pyhf(code, alpha):
    torch.testing.assert_close(prediction(code, alpha), oracle(code, alpha), rtol=1e-12, atol=0)


@pytest.mark.parametrize("code", [*ADDITIVE, *MULTIPLICATIVE])
def test_variations_are_met(code):
    for alpha, expected in ((-1.0, LOW), (0.0, NOMINAL), (1.0, HIGH)):
        torch.testing.assert_close(prediction(code, alpha), expected)


@given(edge=st.sampled_from([-1.0, 1.0]), code=st.sampled_from(["2", "4", "4p"]))
def test_value_and_slope_are_continuous_where_the_pieces_meet(edge, code):
    values, slopes = [], []
    for shift in (-1e-9, 1e-9):
        alpha = torch.tensor(edge + shift, dtype=torch.float64, requires_grad=True)
        value = prediction(code, alpha)[0]
        values.append(value.detach())
        slopes.append(torch.autograd.grad(value, alpha)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-8, atol=0)
    torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-7, atol=0)


@pytest.mark.parametrize("code", ["4", "4p"])
def test_curvature_is_continuous_where_the_pieces_meet(code):
    bends = []
    for shift in (-1e-7, 1e-7):
        alpha = torch.tensor(1 + shift, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(prediction(code, alpha)[0], alpha, create_graph=True)
        bend = torch.zeros_like(alpha)
        if slope.requires_grad:
            (bend,) = torch.autograd.grad(slope, alpha, materialize_grads=True)
        bends.append(bend)
    torch.testing.assert_close(bends[0], bends[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [
        "piecewise_linear",
        "piecewise_exponential",
        "quadratic_linear",
        "polynomial_exponential",
        "polynomial_linear",
    ],
)
def test_gradient_matches_differences(name):
    alpha = torch.tensor([-2.0, -0.6, 0.3, 0.9, 1.5], dtype=torch.float64, requires_grad=True)
    down = torch.full((5,), -0.2, dtype=torch.float64, requires_grad=True)
    up = torch.full((5,), 0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(getattr(interpolation, name), (alpha, down, up))


def test_no_gradient_is_lost_to_the_branch_that_is_not_taken():
    alpha = torch.tensor([-300.0, 0.0, 300.0], dtype=torch.float64, requires_grad=True)
    up = torch.full((3,), 0.1, dtype=torch.float64, requires_grad=True)
    value = interpolation.polynomial_exponential(alpha, -up, up)
    for found in torch.autograd.grad(value.sum(), (alpha, up)):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("code", [*ADDITIVE, *MULTIPLICATIVE])
def test_expansion_is_that_of_automatic_differentiation(code):
    alpha = torch.tensor([-2.0, -0.6, 0.0, 0.3, 0.9, 1.5], dtype=torch.float64, requires_grad=True)
    down, up = (torch.tensor([[value]], dtype=torch.float64) for value in (-0.2, 0.3))
    value = {**ADDITIVE, **MULTIPLICATIVE}[code](alpha, down, up)
    (first,) = torch.autograd.grad(value.sum(), alpha, create_graph=True)
    second = torch.zeros_like(alpha)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), alpha)
    expected = [found.reshape(1, -1).detach() for found in (value, first, second)]
    for found, wanted in zip(EXPANSIONS[code](alpha.detach(), down, up), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-13)
