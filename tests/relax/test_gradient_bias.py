"""Error of smooth gradients against the derivative of the exact expected count."""

import math

import pytest
import torch
from scipy import stats

from detopt.relax import (
    kernel_histogram,
    reference_bandwidth,
    soft_step,
    straight_through_histogram,
)

EDGES = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.5, 3.0], dtype=torch.float64)
SHIFT, SCALE = 0.2, 1.1  # of the normal variable that is counted
MOMENTS = {2: 1.0, 4: -3.0, 6: 15.0}  # of the normal kernel of each order


def hermite_density(z, degree):
    """Derivative of the standard normal density of this degree."""
    polynomial = torch.special.hermite_polynomial_he(z, degree)
    return (-1) ** degree * polynomial * torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)


def exact_slopes():
    """Derivative of the expected fraction in each bin with respect to the shift."""
    return -hermite_density((EDGES - SHIFT) / SCALE, 0).diff() / SCALE


def expected_slopes(fill, bandwidth, order):
    """Mean over the distribution of the derivative that the histogram returns, by quadrature."""
    nodes = torch.linspace(-9, 9, 4001, dtype=torch.float64)
    mass = torch.exp(-nodes.square() / 2) / math.sqrt(2 * math.pi) * (nodes[1] - nodes[0])
    shift = torch.tensor(SHIFT, dtype=torch.float64, requires_grad=True)
    counts = fill(shift + SCALE * nodes, EDGES, bandwidth, mass, order=order).counts
    return torch.stack([torch.autograd.grad(n, shift, retain_graph=True)[0] for n in counts])


def leading_bias(bandwidth, order):
    z = (EDGES - SHIFT) / SCALE
    slopes = hermite_density(z, order).diff() / SCALE ** (order + 1)
    return -MOMENTS[order] / math.factorial(order) * bandwidth**order * slopes


@pytest.mark.parametrize("fill", [kernel_histogram, straight_through_histogram])
@pytest.mark.parametrize(("order", "bandwidth"), [(2, 0.1), (4, 0.2), (6, 0.25)])
def test_gradient_has_the_stated_leading_bias(fill, order, bandwidth):
    bias = expected_slopes(fill, bandwidth, order) - exact_slopes()
    scale = leading_bias(bandwidth, order).abs().max()
    torch.testing.assert_close(bias, leading_bias(bandwidth, order), rtol=0, atol=0.2 * scale)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_gradient_bias_falls_with_the_order(order):
    coarse, fine = (
        (expected_slopes(straight_through_histogram, h, order) - exact_slopes()).norm().item()
        for h in (0.3, 0.15)
    )
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.4)


def test_corrected_gradient_is_nearer_than_the_plain_one_at_every_width():
    for bandwidth in (0.1, 0.3, 0.6):
        errors = [
            (expected_slopes(straight_through_histogram, bandwidth, order) - exact_slopes()).norm()
            for order in (2, 4, 6)
        ]
        assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize(("order", "roughness"), [(2, 1.0), (4, 27 / 16), (6, 2265 / 1024)])
def test_gradient_variance_is_the_integral_of_the_squared_kernel(order, roughness):
    """Var = R p(e) / h for small widths, with R = 1/(2 sqrt pi) times the factor."""
    x = torch.linspace(-6, 6, 200001, dtype=torch.float64)
    h = 0.02
    slope = torch.func.vmap(torch.func.grad(lambda v: soft_step(v, 0.3, h, "normal", order)))(x)
    density = torch.as_tensor(stats.norm.pdf(x.numpy()))
    variance = torch.trapezoid(density * slope.square(), x)
    expected = roughness / (2 * math.sqrt(math.pi)) * stats.norm.pdf(0.3) / h
    assert variance.item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("order", [2, 4, 6])
def test_sampled_gradient_agrees_with_the_exact_one_at_the_reference_bandwidth(order, rng):
    """Mean over samples within its error; the bias is below the error of one sample."""
    n, repeats = 2000, 200
    z = torch.randn(repeats, n, dtype=torch.float64, generator=rng)
    h = reference_bandwidth(SHIFT + SCALE * z, order=order).mean().item()
    shift = torch.full((repeats, 1), SHIFT, dtype=torch.float64, requires_grad=True)
    counts = straight_through_histogram(shift + SCALE * z, EDGES, h, order=order).counts
    (slopes,) = torch.autograd.grad(counts[:, 2].sum() / n, shift)
    error = slopes.std().item() / math.sqrt(repeats)
    expected = expected_slopes(straight_through_histogram, h, order)[2].item()
    assert slopes.mean().item() == pytest.approx(expected, abs=4 * error)
    assert expected == pytest.approx(exact_slopes()[2].item(), abs=slopes.std().item())
