"""Molière's distribution against direct integration, its limits and published parameters."""

import math

import pytest
import torch
from scipy import integrate, special, stats

from detopt.errors import DomainError
from detopt.physics.moliere import moliere_deviate, moliere_expansion, moliere_survival


def projected_density(angle, expansion):
    """Bethe 1953 for the projected angle, by adaptive quadrature."""

    def term(order):
        def integrand(u):
            square = u * u / 4
            return math.cos(angle * u) * math.exp(-square) * special.xlogy(square, square) ** order

        value, _ = integrate.quad(integrand, 0, 14, limit=400, epsabs=1e-12)
        return 2 / math.pi * value / math.factorial(order) / expansion**order

    return term(0) + term(1) + term(2)


@pytest.mark.parametrize("collisions", [100.0, 1e3, 1e5, 1e7])
def test_parameter_solves_its_equation(collisions):
    expansion = moliere_expansion(collisions)
    residual = expansion - math.log(expansion) - math.log(collisions / 1.167)
    assert residual == pytest.approx(0.0, abs=1e-12)
    assert expansion > 1


def test_parameter_follows_the_lambert_function():
    argument = -math.exp(-math.log(1e5 / 1.167))
    expected = -special.lambertw(argument, k=-1).real
    assert moliere_expansion(1e5) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("angle", [0.3, 1.0, 2.5, 6.0])
@pytest.mark.parametrize("expansion", [6.0, 12.0])
def test_survival_integrates_the_published_density(angle, expansion):
    inside, _ = integrate.quad(projected_density, 0, angle, args=(expansion,), epsabs=1e-10)
    survival = moliere_survival(torch.tensor([angle], dtype=torch.float64), expansion)
    assert survival.item() == pytest.approx(1 - inside, abs=1e-8)


def test_tail_is_that_of_single_collisions():
    # Rutherford: P(space angle > a) = 1/(B a^2); projecting halves it
    angle = torch.tensor([50.0, 90.0], dtype=torch.float64)
    torch.testing.assert_close(
        moliere_survival(angle, 10.0), 1 / (2 * 10.0 * angle.square()), rtol=3e-3, atol=0.0
    )


def test_many_collisions_tend_to_a_gaussian():
    angle = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(moliere_survival(angle, 1e9), torch.erfc(angle), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("normal", [0.4, 1.3, 2.0, 3.5])
def test_deviates_have_the_probability_of_their_normals(normal):
    draws = moliere_deviate(torch.tensor([normal, 1.0], dtype=torch.float64), 1e5)
    expansion = moliere_expansion(1e5)
    unit = 1.0
    for _ in range(60):  # the scale that the normal 1 fixes, by bisection on the survival
        survival = moliere_survival(torch.tensor([unit], dtype=torch.float64), expansion).item()
        unit *= (survival / (2 * stats.norm.sf(1.0))) ** 0.3
    angle = draws[0] / draws[1] * unit
    survival = moliere_survival(angle.reshape(1), expansion)
    assert survival.item() == pytest.approx(2 * stats.norm.sf(normal), rel=2e-3)


def test_deviates_are_odd_and_increasing():
    normals = torch.linspace(0.0, 6.0, 601, dtype=torch.float64)
    draws = moliere_deviate(normals, 1e4)
    assert torch.equal(moliere_deviate(-normals, 1e4), -draws)
    assert (draws[:500].diff() > 0).all()


@pytest.mark.parametrize("collisions", [100.0, 1e4, 1e7])
def test_central_width_is_that_of_a_gaussian(collisions):
    edge = stats.norm.ppf(0.99)

    def square(normal):
        draw = moliere_deviate(torch.tensor([normal], dtype=torch.float64), collisions)
        return draw.item() ** 2 * stats.norm.pdf(normal) / 0.98

    variance, _ = integrate.quad(square, -edge, edge, limit=200, epsabs=1e-6, epsrel=1e-6)
    assert math.sqrt(variance) == pytest.approx(stats.truncnorm(-edge, edge).std(), rel=2e-3)


def test_gradient_of_the_survival_matches_finite_differences():
    angle = torch.tensor([0.2, 1.5, 8.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: moliere_survival(a, 8.0), (angle,))


def test_gradient_of_the_deviates_matches_finite_differences():
    normals = torch.tensor([-1.503, 0.203, 2.504], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: moliere_deviate(z, 1e4), (normals,))


@pytest.mark.parametrize("collisions", [99.0, -1.0, math.nan])
def test_few_collisions_are_refused(collisions):
    with pytest.raises(DomainError, match="`collisions` must be >= 100"):
        moliere_expansion(collisions)
