r"""Interpolation between a nominal prediction and its variations by one standard deviation.

A nuisance parameter :math:`\alpha` is 0 at the nominal prediction and :math:`\pm 1` at the two
variations. Additive codes give the change of a template, multiplicative ones a factor. The numbers
of the codes are those of HistFactory. All functions work elementwise and broadcast.

References:
    K. Cranmer et al., HistFactory, CERN-OPEN-2012-016 (2012), section 4.1.
    L. Heinrich et al., J. Open Source Softw. 6 (2021) 2823.
"""

__all__ = [
    "ADDITIVE",
    "EXPANSIONS",
    "MULTIPLICATIVE",
    "piecewise_exponential",
    "piecewise_linear",
    "polynomial_exponential",
    "polynomial_linear",
    "quadratic_linear",
]

from collections.abc import Callable, Sequence
from types import MappingProxyType

import torch
from jaxtyping import Float
from torch import Tensor

Expanded = tuple[Tensor, Tensor, Tensor]  # value and first two derivatives in alpha


def piecewise_linear(
    alpha: Float[Tensor, "*#shape"], down: Float[Tensor, "*#shape"], up: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Code 0: straight lines that meet at the nominal prediction.

    .. math::
        \delta = \alpha u \;\;(\alpha \ge 0), \qquad \delta = -\alpha d \;\;(\alpha < 0)

    Args:
        alpha: Nuisance parameter.
        down: Change :math:`d` of the prediction at :math:`\alpha = -1`.
        up: Change :math:`u` of the prediction at :math:`\alpha = 1`.

    Returns:
        Change of the prediction.

    Note:
        The slope jumps at 0, where that of the side :math:`\alpha > 0` is taken: a fit that ends
        there is at a kink. Differentiable elsewhere; exact.
    """
    return alpha * torch.where(alpha >= 0, up, -down)


def piecewise_exponential(
    alpha: Float[Tensor, "*#shape"], down: Float[Tensor, "*#shape"], up: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Code 1: powers of the factors, which stay positive.

    .. math::
        \phi = u^{\alpha} \;\;(\alpha \ge 0), \qquad \phi = d^{-\alpha} \;\;(\alpha < 0)

    Args:
        alpha: Nuisance parameter.
        down: Logarithm of the factor :math:`d` at :math:`\alpha = -1`.
        up: Logarithm of the factor :math:`u` at :math:`\alpha = 1`.

    Returns:
        Factor :math:`\phi`.

    Note:
        The slope jumps at 0, as for `piecewise_linear`. Differentiable elsewhere.
    """
    return torch.exp(alpha * torch.where(alpha >= 0, up, -down))


def quadratic_linear(
    alpha: Float[Tensor, "*#shape"], down: Float[Tensor, "*#shape"], up: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Code 2: a parabola through the three predictions, its tangents beyond them.

    .. math::
        \delta = a \alpha^2 + b \alpha, \qquad a = (u + d) / 2, \quad b = (u - d) / 2

    Args:
        alpha: Nuisance parameter.
        down: Change :math:`d` of the prediction at :math:`\alpha = -1`.
        up: Change :math:`u` of the prediction at :math:`\alpha = 1`.

    Returns:
        Change of the prediction.

    Note:
        Continuous with its slope. Some programs leave out the constant of the tangents, so that
        their prediction jumps at :math:`|\alpha| = 1`; within that range all agree.
    """
    curvature, slope = (up + down) / 2, (up - down) / 2
    inside = alpha.clamp(-1, 1)
    excess = alpha - inside
    return inside * (curvature * inside + slope) + excess * (2 * curvature * inside + slope)


def polynomial_exponential(
    alpha: Float[Tensor, "*#shape"], down: Float[Tensor, "*#shape"], up: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Code 4: code 1 beyond one standard deviation, a polynomial of degree six between.

    .. math::
        \phi = 1 + \sum_{i=1}^{6} a_i \alpha^i \quad (|\alpha| < 1)

    with the coefficients that make value, slope and curvature continuous at :math:`\pm 1`.

    Args:
        alpha: Nuisance parameter.
        down: Logarithm of the factor at :math:`\alpha = -1`.
        up: Logarithm of the factor at :math:`\alpha = 1`.

    Returns:
        Factor :math:`\phi`.

    Note:
        Twice continuously differentiable in :math:`\alpha`.
    """
    odd_terms, even_terms = _coefficients(down, up)
    inside = alpha.clamp(-1, 1)
    square = inside**2
    odd_sum = odd_terms[0] + square * (odd_terms[1] + square * odd_terms[2])
    even_sum = even_terms[0] + square * (even_terms[1] + square * even_terms[2])
    polynomial = 1 + inside * odd_sum + square * even_sum
    return torch.where(alpha.abs() < 1, polynomial, piecewise_exponential(alpha, down, up))


def polynomial_linear(
    alpha: Float[Tensor, "*#shape"], down: Float[Tensor, "*#shape"], up: Float[Tensor, "*#shape"]
) -> Float[Tensor, "*shape"]:
    r"""Code 4p: straight lines beyond one standard deviation, a polynomial of degree six between.

    .. math::
        \delta = b \alpha + \frac{a}{8} (15 \alpha^2 - 10 \alpha^4 + 3 \alpha^6)
            \quad (|\alpha| < 1), \qquad a = (u + d) / 2, \quad b = (u - d) / 2

    Args:
        alpha: Nuisance parameter.
        down: Change :math:`d` of the prediction at :math:`\alpha = -1`.
        up: Change :math:`u` of the prediction at :math:`\alpha = 1`.

    Returns:
        Change of the prediction.

    Note:
        Twice continuously differentiable in :math:`\alpha`.
    """
    mean, slope = (up + down) / 2, (up - down) / 2
    square = alpha.clamp(-1, 1) ** 2
    polynomial = square * (15 + square * (3 * square - 10)) / 8
    return alpha * slope + mean * torch.where(alpha.abs() < 1, polynomial, alpha.abs())


def _expand_piecewise_linear(alpha: Tensor, down: Tensor, up: Tensor) -> Expanded:
    """`piecewise_linear` with its two derivatives."""
    slope = torch.where(alpha >= 0, up, -down)
    return alpha * slope, slope, torch.zeros_like(slope)


def _expand_piecewise_exponential(alpha: Tensor, down: Tensor, up: Tensor) -> Expanded:
    """`piecewise_exponential` with its two derivatives."""
    rate = torch.where(alpha >= 0, up, -down)
    value = torch.exp(alpha * rate)
    first = rate * value
    return value, first, rate * first


def _expand_quadratic_linear(alpha: Tensor, down: Tensor, up: Tensor) -> Expanded:
    """`quadratic_linear` with its two derivatives."""
    twice, slope = up + down, (up - down) / 2
    inside = alpha.clamp(-1, 1)
    first = twice * inside + slope
    second = torch.where(alpha.abs() < 1, twice, 0.0)
    return inside * (twice * inside / 2 + slope) + (alpha - inside) * first, first, second


def _expand_polynomial_exponential(alpha: Tensor, down: Tensor, up: Tensor) -> Expanded:
    """`polynomial_exponential` with its two derivatives."""
    (a1, a3, a5), (a2, a4, a6) = _coefficients(down, up)
    x = alpha.clamp(-1, 1)
    square = x**2
    polynomial = (
        1 + x * (a1 + square * (a3 + square * a5)) + square * (a2 + square * (a4 + square * a6)),
        a1
        + square * (3 * a3 + 5 * square * a5)
        + x * (2 * a2 + square * (4 * a4 + 6 * square * a6)),
        2 * a2 + square * (12 * a4 + 30 * square * a6) + x * (6 * a3 + 20 * square * a5),
    )
    inside = alpha.abs() < 1
    value, first, second = (
        torch.where(inside, near, far)
        for near, far in zip(
            polynomial, _expand_piecewise_exponential(alpha, down, up), strict=True
        )
    )
    return value, first, second


def _expand_polynomial_linear(alpha: Tensor, down: Tensor, up: Tensor) -> Expanded:
    """`polynomial_linear` with its two derivatives."""
    mean, slope = (up + down) / 2, (up - down) / 2
    x = alpha.clamp(-1, 1)
    square = x**2
    inside = alpha.abs() < 1
    value = torch.where(inside, square * (15 + square * (3 * square - 10)) / 8, alpha.abs())
    first = torch.where(inside, x * (15 + square * (9 * square - 20)) / 4, alpha.sign())
    second = torch.where(inside, (15 + square * (45 * square - 60)) / 4, 0.0)
    return alpha * slope + mean * value, slope + mean * first, mean * second


def _coefficients(down: Tensor, up: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Coefficients of the odd and the even powers in code 4."""
    high, low = up.exp(), down.exp()
    # even and odd parts of value, slope and curvature at the two ends
    even, odd = (high + low) / 2 - 1, (high - low) / 2
    even_slope, odd_slope = (up * high + down * low) / 2, (up * high - down * low) / 2
    even_bend, odd_bend = (up**2 * high + down**2 * low) / 2, (up**2 * high - down**2 * low) / 2
    odd_terms = (
        (15 * odd - 7 * odd_slope + odd_bend) / 8,
        (-10 * odd + 10 * odd_slope - 2 * odd_bend) / 8,
        (3 * odd - 3 * odd_slope + odd_bend) / 8,
    )
    even_terms = (
        (24 * even - 9 * even_slope + even_bend) / 8,
        (-24 * even + 14 * even_slope - 2 * even_bend) / 8,
        (8 * even - 5 * even_slope + even_bend) / 8,
    )
    return odd_terms, even_terms


ADDITIVE = MappingProxyType({"0": piecewise_linear, "2": quadratic_linear, "4p": polynomial_linear})
MULTIPLICATIVE: MappingProxyType[str, Callable[..., Tensor]] = MappingProxyType(
    {"1": piecewise_exponential, "4": polynomial_exponential}
)
EXPANSIONS: MappingProxyType[str, Callable[[Tensor, Tensor, Tensor], Expanded]] = MappingProxyType(
    {
        "0": _expand_piecewise_linear,
        "1": _expand_piecewise_exponential,
        "2": _expand_quadratic_linear,
        "4": _expand_polynomial_exponential,
        "4p": _expand_polynomial_linear,
    }
)
