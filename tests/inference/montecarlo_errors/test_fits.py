"""Fits, roots and integrals: closed forms, pyerrors, and derivatives."""

import autograd.numpy as anp
import numpy as np
import pyerrors
import pytest
import torch

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import (
    FixedWindow,
    Observables,
    covariance,
    elementwise,
    gamma_method,
    integrate,
    least_squares_fit,
    solve_root,
)

TIMES = torch.arange(8, dtype=torch.float64)


def line(p, x):
    return p[0] + p[1] * x


def exponential(p, x):
    return p[0] * torch.exp(-p[1] * x)


def decaying(autoregressive, n=2_000):
    """Two exponentials: a fit of one leaves residuals."""
    mean = torch.exp(-0.3 * TIMES) + 0.2 * torch.exp(-0.9 * TIMES)
    mixing = torch.eye(8).double() + 0.3
    return mean[:, None] * (1 + 0.02 * mixing @ autoregressive(0.7, n, 8))


@pytest.mark.parametrize("correlated", [False, True])
def test_a_straight_line_is_generalised_least_squares(autoregressive, correlated):
    x = torch.linspace(0, 1, 8, dtype=torch.float64)
    mixing = torch.eye(8).double() + 0.5
    data = Observables.from_samples(
        (1 + 2 * x)[:, None] + mixing @ autoregressive(0.6, 2_000, 8), "A"
    )
    analysis = gamma_method(data)
    matrix = covariance(data, analysis) if correlated else torch.diag(analysis.error**2)
    fit = least_squares_fit(line, x, data, torch.zeros(2), matrix if correlated else None)
    design = torch.stack([torch.ones(8).double(), x], dim=1)
    weight = design.mT @ torch.linalg.inv(matrix)
    projector = torch.linalg.solve(weight @ design, weight)
    torch.testing.assert_close(fit.parameters.value, projector @ data.value, rtol=1e-12, atol=1e-12)
    expected = projector @ data.fluctuations["A"]
    scale = expected.abs().max().item()
    torch.testing.assert_close(
        fit.parameters.fluctuations["A"], expected, rtol=0, atol=1e-12 * scale
    )
    residual = data.value - design @ projector @ data.value
    chi_square = residual @ torch.linalg.solve(matrix, residual)
    assert fit.chi_square.item() == pytest.approx(chi_square.item(), rel=1e-10)
    assert fit.degrees_of_freedom == 6


@pytest.mark.parametrize("correlated", [False, True])
def test_a_nonlinear_fit_agrees_with_pyerrors(autoregressive, correlated):
    samples = decaying(autoregressive)
    data = Observables.from_samples(samples, "A")
    matrix = covariance(data, gamma_method(data)) if correlated else None
    fit = least_squares_fit(exponential, TIMES, data, torch.tensor([1.0, 0.5]), matrix)
    peers = [pyerrors.Obs([row.numpy()], ["A"]) for row in samples]
    for peer in peers:
        peer.gamma_method()
    expected = pyerrors.fits.least_squares(
        TIMES.numpy(),
        peers,
        lambda p, x: p[0] * anp.exp(-p[1] * x),
        correlated_fit=correlated,
        initial_guess=fit.parameters.value.tolist(),
        silent=True,
    )
    for k in range(2):
        # its minimizer stops at a tolerance of 1e-8
        deltas = expected[k].deltas["A"]
        found = fit.parameters.fluctuations["A"][k].numpy()
        np.testing.assert_allclose(found, deltas, rtol=0, atol=1e-7 * np.abs(deltas).max())
    assert fit.chi_square.item() == pytest.approx(expected.chisquare, rel=1e-9)


def test_the_second_derivative_of_the_model_is_kept(autoregressive):
    """Equation 29 by hand for a fit with large residuals, where its term matters."""
    samples = decaying(autoregressive)
    data = Observables.from_samples(samples, "A")
    weight = 1 / gamma_method(data).error
    fit = least_squares_fit(exponential, TIMES, data, torch.tensor([1.0, 0.5]))
    a, m = fit.parameters.value
    decay = torch.exp(-m * TIMES)
    slopes = torch.stack([decay, -a * TIMES * decay])
    second = torch.stack(
        [torch.zeros(8).double(), -TIMES * decay, -TIMES * decay, a * TIMES**2 * decay]
    ).reshape(2, 2, 8)
    residual = data.value - a * decay
    weights = weight**2
    first_order = torch.einsum("in,jn,n->ij", slopes, slopes, weights)
    hessian = first_order - torch.einsum("ijn,n->ij", second, weights * residual)
    derivative = torch.linalg.solve(hessian, slopes * weights)
    expected = derivative @ data.fluctuations["A"]
    found = fit.parameters.fluctuations["A"]
    assert (found - expected).abs().max() < 1e-12 * expected.abs().max()
    naive = torch.linalg.solve(first_order, slopes * weights) @ data.fluctuations["A"]
    assert (naive - expected).abs().max() > 1e-3 * expected.abs().max()


def test_the_p_value_of_a_correlated_fit_is_uniform(autoregressive):
    values = []
    for _ in range(25):
        data = Observables.from_samples(autoregressive(0.5, 2_000, 6), "A")
        matrix = covariance(data, gamma_method(data))
        fit = least_squares_fit(line, TIMES[:6], data, torch.zeros(2), matrix)
        values.append(fit.p_value.item())
    assert 0.5 - 3 * 0.289 / 25**0.5 < np.mean(values) < 0.5 + 3 * 0.289 / 25**0.5


def test_the_error_of_a_fit_has_the_right_derivative_in_a_design(autoregressive):
    x = decaying(autoregressive, 500)

    def error(smearing):
        samples = x * torch.exp(smearing * TIMES)[:, None] + smearing * x.flip(0) / 10
        data = Observables.from_samples(samples, "A")
        matrix = covariance(data, gamma_method(data, FixedWindow(6)))
        fit = least_squares_fit(
            exponential, TIMES + smearing, data, torch.tensor([1.0, 0.5]), matrix
        )
        return gamma_method(fit.parameters, FixedWindow(6)).error

    theta = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(error, theta, eps=1e-5, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize(
    ("start", "data", "message"),
    [
        (torch.zeros(9), slice(None), "9 parameters needs a vector of at least as many"),
        (torch.zeros(2), (slice(None), None), "needs a vector"),
    ],
)
def test_impossible_fits_are_refused(autoregressive, start, data, message):
    observables = Observables.from_samples(decaying(autoregressive), "A")[data]
    with pytest.raises(DomainError, match=message):
        least_squares_fit(line, TIMES, observables, start)


def test_a_parameter_that_is_not_determined_is_named(autoregressive):
    data = Observables.from_samples(decaying(autoregressive), "A")
    with pytest.raises(DomainError, match="does not determine entry 1"):
        least_squares_fit(lambda p, x: p[0] + 0 * p[1] * x, TIMES, data, torch.zeros(2))


def test_a_fit_without_a_minimum_is_refused(autoregressive):
    data = Observables.from_samples(autoregressive(0.5, 1_000, 8) * 0.1 - 1, "A")
    with pytest.raises(DomainError, match=r"did not converge.*entry 0 still moves"):
        least_squares_fit(lambda p, x: torch.exp(-p * x), TIMES + 1, data, torch.zeros(1))


def test_a_singular_covariance_is_refused(autoregressive):
    data = Observables.from_samples(decaying(autoregressive), "A")
    with pytest.raises(DomainError, match="singular at datum 1"):
        least_squares_fit(line, TIMES, data, torch.zeros(2), torch.ones(8, 8).double())
    broken = torch.ones(8).double()
    broken[3] = 0
    with pytest.raises(DomainError, match="Datum 3 has the variance 0"):
        least_squares_fit(line, TIMES, data, torch.zeros(2), torch.diag(broken))
    with pytest.raises(DomainError, match="must have the shape"):
        least_squares_fit(line, TIMES, data, torch.zeros(2), torch.eye(3).double())


def test_a_root_is_the_inverse_function(autoregressive):
    a = Observables.from_samples(autoregressive(0.6, 1_000) + 8, "A")
    root = solve_root(lambda x, v: x**3 - v, torch.tensor(1.0), a)
    cube_root = a ** (1 / 3)
    assert root.value.item() == pytest.approx(cube_root.value.item(), rel=1e-13)
    torch.testing.assert_close(
        root.fluctuations["A"], cube_root.fluctuations["A"], rtol=1e-12, atol=1e-14
    )


def test_a_system_of_equations_agrees_with_the_linear_one(autoregressive):
    a = Observables.from_samples(autoregressive(0.6, 1_000, 2), "A")
    matrix = torch.tensor([[2.0, 1.0], [0.5, 3.0]], dtype=torch.float64)
    root = solve_root(lambda x, v: matrix @ x - v, torch.zeros(2), a)
    expected = torch.linalg.solve(matrix, a.fluctuations["A"])
    torch.testing.assert_close(root.fluctuations["A"], expected, rtol=1e-12, atol=1e-14)


def test_the_error_of_a_root_has_the_right_derivative(autoregressive):
    chain = autoregressive(0.6, 300)

    def error(width):
        a = Observables.from_samples(8 + chain * width + width**2, "A")
        root = solve_root(lambda x, v: x**3 + x - v, torch.tensor(1.0), a)
        return gamma_method(root, FixedWindow(5)).error

    assert torch.autograd.gradcheck(error, torch.tensor(0.5).double().requires_grad_())


@pytest.mark.parametrize(
    ("residual", "message"),
    [(lambda x, v: x**2 + v, "No root|singular"), (lambda x, v: 0 * x + v, "singular")],
)
def test_equations_without_a_root_are_refused(autoregressive, residual, message):
    a = Observables.from_samples(autoregressive(0.6, 300) + 8, "A")
    with pytest.raises(DomainError, match=message):
        solve_root(residual, torch.tensor(0.3), a)


def test_an_integral_has_the_closed_form(autoregressive):
    values = autoregressive(0.6, 1_000, 3) * 0.1 + torch.tensor([[0.5], [2.0], [1.5]])
    a = Observables.from_samples(values, "A")
    lower, upper, slope = a[0], a[1], a[2]

    def damped(x, p):
        return torch.exp(-p * x)

    found = integrate(damped, lower, upper, slope)
    exact = (
        elementwise(torch.exp, -slope * lower) - elementwise(torch.exp, -slope * upper)
    ) / slope
    assert found.value.item() == pytest.approx(exact.value.item(), rel=1e-13)
    torch.testing.assert_close(
        found.fluctuations["A"], exact.fluctuations["A"], rtol=1e-11, atol=1e-13
    )


def test_an_integral_agrees_with_pyerrors(autoregressive):
    values = autoregressive(0.6, 1_000, 2) * 0.1 + 2
    peers = [pyerrors.Obs([row.numpy()], ["A"]) for row in values]
    (expected, *_) = pyerrors.integrate.quad(
        lambda p, x: anp.sin(p[0] * x), [peers[0]], 0.0, peers[1]
    )
    expected.gamma_method()
    a = Observables.from_samples(values, "A")
    found = integrate(lambda x, p: torch.sin(p * x), 0, a[1], a[0])
    assert gamma_method(found).error.item() == pytest.approx(expected.dvalue, rel=1e-11)


@pytest.mark.parametrize(
    ("function", "upper", "message"),
    [
        (torch.exp, float("inf"), "Limits must be finite"),
        (lambda x: (x - 0.3).abs().sqrt(), 1.0, "not resolved"),
    ],
)
def test_integrals_that_are_not_resolved_are_refused(autoregressive, function, upper, message):
    lower = Observables.from_samples(autoregressive(0.6, 1_000) * 0.1, "A")
    with pytest.raises(DomainError, match=message):
        integrate(function, lower, upper)
    with pytest.raises(DomainError, match="that is an `Observables`"):
        integrate(function, 0.0, upper)
