"""Smooth steps against their distribution functions, their hard limit and their bias."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from detopt.errors import ConfigError, DomainError
from detopt.relax import (
    hard_step,
    hard_window,
    soft_step,
    soft_window,
    straight_through,
    straight_through_step,
)

KERNELS = ["normal", "logistic"]
ORDERS = [2, 4, 6]
MOMENTS = {  # of order 2, 4, 6: standard results for the normal and the logistic distribution
    "normal": {2: 1.0, 4: 3.0, 6: 15.0},
    "logistic": {2: math.pi**2 / 3, 4: 7 * math.pi**4 / 15, 6: 31 * math.pi**6 / 21},
}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("kernel", "law"), [("normal", stats.norm), ("logistic", stats.logistic)])
def test_step_of_second_order_is_the_distribution_function(kernel, law):
    x = torch.linspace(-5, 7, 41, dtype=torch.float64)
    step = soft_step(x, 1.0, 0.7, kernel)
    expected = torch.as_tensor(law.cdf((x.numpy() - 1.0) / 0.7))
    torch.testing.assert_close(step, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
def test_density_of_the_step_has_the_moments_of_its_order(kernel, order):
    """Moments 1, 0, ... up to the order, then the one of the kernel with alternating sign."""

    def density(u):
        where = torch.tensor(u, dtype=torch.float64, requires_grad=True)
        soft_step(where, 0.0, 1.0, kernel, order).backward()
        return where.grad.item()

    reach = 12.0 if kernel == "normal" else 60.0
    for power in range(2, order + 1, 2):
        moment = integrate.quad(lambda u, p=power: u**p * density(u), 0, reach, limit=200)[0] * 2
        last = (-1) ** (order // 2 + 1) * MOMENTS[kernel][order]
        expected = last if power == order else 0.0
        assert moment == pytest.approx(expected, abs=1e-6 * MOMENTS[kernel][power])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
def test_bias_of_the_mean_has_the_stated_order_and_size(kernel, order):
    def bias(width):  # of the pass fraction of a standard normal variable, threshold 0.8
        grid = torch.linspace(-12, 12, 40001, dtype=torch.float64)
        density = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi)
        mean = torch.trapezoid(density * soft_step(grid, 0.8, width, kernel, order), grid)
        return mean.item() - stats.norm.sf(0.8)

    hermite = {2: 0.8, 4: 0.8**3 - 3 * 0.8, 6: 0.8**5 - 10 * 0.8**3 + 15 * 0.8}[order]
    slope = -hermite * stats.norm.pdf(0.8)  # derivative of the distribution function, r times
    sign = (-1) ** (order // 2 + 1)
    width = 0.1 if kernel == "normal" else 0.04
    leading = -sign * MOMENTS[kernel][order] / math.factorial(order) * width**order * slope
    assert bias(width) == pytest.approx(leading, rel=0.1, abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
@settings(deadline=None, max_examples=30)
@given(x=st.floats(-5, 5).filter(lambda x: abs(x) > 1e-3))
def test_soft_step_tends_to_the_hard_one(kernel, order, x):
    values = tensor(x)
    soft = soft_step(values, 0.0, 2e-6, kernel, order)
    torch.testing.assert_close(soft, hard_step(values, 0.0), rtol=0, atol=1e-12)


def test_window_is_a_step_up_less_a_step_down():
    x = tensor(-1.0, 0.0, 0.5, 1.0, 3.0)
    assert hard_window(x, 0.0, 1.0).tolist() == [0, 1, 1, 0, 0]
    torch.testing.assert_close(soft_window(x, 0.0, 1.0, 1e-6)[[0, 2, 4]], tensor(0.0, 1.0, 0.0))
    assert soft_window(x, 0.0, 1.0, 1e-6)[1].item() == pytest.approx(0.5)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
def test_gradients_match_finite_differences(kernel, order, rng):
    x = torch.randn(6, dtype=torch.float64, generator=rng, requires_grad=True)
    threshold = tensor(0.2).requires_grad_()
    width = tensor(0.5).requires_grad_()

    def step(*inputs):
        return soft_step(*inputs, kernel, order)

    assert torch.autograd.gradcheck(step, (x, threshold, width))
    assert torch.autograd.gradgradcheck(step, (x, threshold, width))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("order", ORDERS)
def test_far_values_have_finite_gradients(kernel, order):
    x = tensor(-1e150, -60.0, 60.0, 1e150).requires_grad_()
    width = tensor(0.1).requires_grad_()
    soft_step(x, 0.0, width, kernel, order).sum().backward()
    assert x.grad.abs().max() < 1e-12
    assert width.grad.isfinite().all()


def test_straight_through_takes_value_and_gradient_from_different_places():
    x = tensor(-0.3, 0.1, 2.0).requires_grad_()
    width = tensor(0.5).requires_grad_()
    step = straight_through_step(x, 0.0, width, order=2)
    assert torch.equal(step, hard_step(x, 0.0))
    (gradient,) = torch.autograd.grad(step.sum(), x, retain_graph=True)
    (expected,) = torch.autograd.grad(soft_step(x, 0.0, 0.5).sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.grad(step.sum(), width, allow_unused=True)[0] is None


def test_a_function_of_straight_through_is_differentiated_at_the_hard_value():
    x = tensor(2.0).requires_grad_()
    y = straight_through(x.round().detach(), x)
    (y**3).sum().backward()
    assert x.grad.item() == pytest.approx(3 * 2.0**2)


def test_cuts_run_inside_vmap():
    x, t = torch.randn(3, 5), torch.randn(3)
    mapped = torch.vmap(lambda a, b: soft_step(a, b, 0.3, "normal", 4))(x, t)
    torch.testing.assert_close(mapped, soft_step(x, t[:, None], 0.3, "normal", 4))


@pytest.mark.parametrize("width", [0.0, -1.0, math.nan, math.inf, tensor(0.1, -2.0, 0.3)])
def test_width_that_is_not_positive_is_refused(width):
    with pytest.raises(DomainError, match="`width` must be positive and finite, got"):
        soft_step(tensor(1.0, 2.0, 3.0), 0.0, width)


def test_value_that_is_no_number_is_refused_with_its_place():
    with pytest.raises(DomainError, match=r"`values` has 1 entries .* at index \(1,\): nan"):
        soft_step(tensor(1.0, math.nan), 0.0, 0.1)
    with pytest.raises(DomainError, match="`threshold` has 1 entries"):
        hard_step(tensor(1.0), math.nan)


@pytest.mark.parametrize(("kernel", "order"), [("box", 2), ("normal", 3)])
def test_unknown_kernel_or_order_is_refused(kernel, order):
    with pytest.raises(ConfigError, match="must be one of"):
        soft_step(tensor(1.0), 0.0, 0.1, kernel, order)
