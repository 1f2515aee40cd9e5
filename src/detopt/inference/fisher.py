r"""Fisher information: what data can tell about parameters, before there are data.

Parameters are the ones of interest and the nuisance parameters together. Nuisance parameters are
profiled by inverting the whole matrix, and constrained by adding the information of their
auxiliary measurements. All functions work on batches and need first derivatives alone.

References:
    G. Cowan et al., Eur. Phys. J. C 71 (2011) 1554, section 3 (Asimov data).
    P. de Castro and T. Dorigo, Comput. Phys. Commun. 244 (2019) 170, arXiv:1806.04743.
"""

__all__ = [
    "binned_information",
    "correlation",
    "cramer_rao_bound",
    "profiled_information",
    "uncertainty",
    "unbinned_information",
]

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError

MIN_PIVOT = 64.0  # machine precisions that a pivot of the scaled matrix must exceed


def binned_information(
    counts: Float[Tensor, "*#batch bins"],
    jacobian: Float[Tensor, "*#batch bins parameters"],
    *,
    prior_widths: Float[Tensor, "*#batch parameters"] | None = None,
    variance: Float[Tensor, "*#batch bins"] | None = None,
) -> Float[Tensor, "*batch parameters parameters"]:
    r"""Expected information of Poisson counts, with Gaussian auxiliary measurements.

    .. math::
        I_{ab} = \sum_k \frac{1}{v_k}
            \frac{\partial \nu_k}{\partial \theta_a} \frac{\partial \nu_k}{\partial \theta_b}
            + \frac{\delta_{ab}}{w_a^2}

    Args:
        counts: Expected counts :math:`\nu_k`, >= 0.
        jacobian: Slopes :math:`\partial \nu_k / \partial \theta_a`.
        prior_widths: Standard deviations :math:`w_a` of the auxiliary measurements, > 0; infinite
            for a free parameter. None: all are free.
        variance: Variances :math:`v_k` of the counts, where they are not those of Poisson:
            for example :math:`\nu_k + \tau_k^2` for templates known to :math:`\tau_k`.

    Returns:
        The information matrix.

    Raises:
        DomainError: A count is negative or not finite, a bin without counts has a slope, or a
            width is not above zero. The message names the bin or the parameter.

    Note:
        For Poisson counts this is the Hessian of the negative log-likelihood at its own Asimov
        data, with the Asimov data held fixed. Differentiable in all tensors, also where those of
        the likelihood would need care: the Asimov data must not depend on the parameters, but
        must depend on whatever shapes the templates. A bin that is empty under all parameters
        tells nothing and adds nothing.
    """
    variance = counts if variance is None else variance
    _check_counts(counts, jacobian, variance)
    filled = variance > 0
    inverse = torch.where(filled, 1 / torch.where(filled, variance, 1.0), 0.0)
    information = jacobian.mT @ (inverse.unsqueeze(-1) * jacobian)
    return _constrain(information, prior_widths)


def unbinned_information(
    scores: Float[Tensor, "*#batch events parameters"],
    weights: Float[Tensor, "*#batch events"],
    *,
    prior_widths: Float[Tensor, "*#batch parameters"] | None = None,
) -> Float[Tensor, "*batch parameters parameters"]:
    r"""Expected information of an extended unbinned likelihood, by Monte Carlo or quadrature.

    .. math::
        I_{ab} = \int \nu(x)
            \frac{\partial \ln \nu}{\partial \theta_a} \frac{\partial \ln \nu}{\partial \theta_b}
            \mathrm{d}x + \frac{\delta_{ab}}{w_a^2}
            \approx \sum_i W_i\, s_{ia} s_{ib} + \frac{\delta_{ab}}{w_a^2}

    Args:
        scores: Derivatives :math:`s_{ia} = \partial \ln \nu(x_i) / \partial \theta_a` of the
            expected intensity of events.
        weights: Expected number of events :math:`W_i` that each point stands for; their sum is
            the expected number of all events.
        prior_widths: Standard deviations of the auxiliary measurements, as for
            `binned_information`.

    Returns:
        The information matrix.

    Raises:
        DomainError: A weight or score is not finite, or a width is not above zero.

    Note:
        Negative weights of Monte Carlo events are allowed; where they outweigh the others, the
        matrix is not positive and `uncertainty` says so. Differentiable in all tensors.
    """
    for name, value in (("scores", scores), ("weights", weights)):
        if not bool(torch.isfinite(value).all()):
            raise DomainError(f"`{name}` must be finite. Leave out events of zero density.")
    return _constrain(scores.mT @ (weights.unsqueeze(-1) * scores), prior_widths)


def cramer_rao_bound(
    information: Float[Tensor, "*batch parameters parameters"],
    jacobian: Float[Tensor, "*#batch functions parameters"] | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "*batch functions functions"]:
    r"""Smallest covariance that unbiased estimators can have: :math:`J I^{-1} J^T`.

    Args:
        information: Information matrix.
        jacobian: Slopes of functions of the parameters; None for the parameters themselves.
        names: Names of the parameters, for messages.

    Returns:
        The covariance matrix.

    Raises:
        DomainError: The information is singular; the message names the parameter.

    Note:
        Differentiable in all tensors.
    """
    scale, factor = _factorize(information, names)
    unit = torch.eye(information.shape[-1]).to(information)
    root = torch.linalg.solve_triangular(factor, unit.expand_as(factor), upper=False)
    root = root * scale.unsqueeze(-2)
    if jacobian is not None:
        root = root @ jacobian.mT
    bound: Tensor = root.mT @ root
    return bound


def uncertainty(
    information: Float[Tensor, "*batch parameters parameters"],
    interest: int = 0,
    *,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Standard deviation of one parameter with all others profiled: :math:`\sqrt{(I^{-1})_{ii}}`.

    Args:
        information: Information matrix.
        interest: Index of the parameter of interest.
        names: Names of the parameters, for messages.

    Returns:
        The expected uncertainty, in the parameter's unit.

    Raises:
        DomainError: The information is singular, or there is no such parameter.

    Note:
        Differentiable in `information`.
    """
    variance = 1 / profiled_information(information, interest, names=names)
    return variance.sqrt()


def profiled_information(
    information: Float[Tensor, "*batch parameters parameters"],
    interest: int = 0,
    *,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "*batch"]:
    r"""Information on one parameter that is left when all others are profiled.

    .. math::
        I_{ii} - I_{i\eta} (I_{\eta\eta})^{-1} I_{\eta i} = \frac{1}{(I^{-1})_{ii}}

    Args:
        information: Information matrix.
        interest: Index :math:`i` of the parameter of interest.
        names: Names of the parameters, for messages.

    Returns:
        The information on that parameter.

    Raises:
        DomainError: The information is singular, or there is no such parameter.

    Note:
        Differentiable in `information`.
    """
    n_parameters = information.shape[-1]
    if not 0 <= interest < n_parameters:
        raise DomainError(
            f"`interest` must lie between 0 and {n_parameters - 1}, got {interest}: it counts the "
            "parameters of the information matrix."
        )
    order = [i for i in range(n_parameters) if i != interest] + [interest]
    moved = information[..., order, :][..., :, order]
    ordered = None if names is None else [names[i] for i in order]
    scale, factor = _factorize(moved, ordered, order)
    return (factor[..., -1, -1] / scale[..., -1]).square()


def correlation(
    information: Float[Tensor, "*batch parameters parameters"],
    *,
    names: Sequence[str] | None = None,
) -> Float[Tensor, "*batch parameters parameters"]:
    r"""Correlation matrix of efficient estimators: :math:`I^{-1}` scaled to a unit diagonal.

    Args:
        information: Information matrix.
        names: Names of the parameters, for messages.

    Returns:
        The correlation matrix.

    Raises:
        DomainError: The information is singular; the message names the parameter.

    Note:
        Differentiable in `information`.
    """
    covariance = cramer_rao_bound(information, names=names)
    scale = covariance.diagonal(dim1=-2, dim2=-1).rsqrt()
    return scale.unsqueeze(-1) * covariance * scale.unsqueeze(-2)


def _constrain(information: Tensor, prior_widths: Tensor | None) -> Tensor:
    if prior_widths is None:
        return information
    if not bool((prior_widths > 0).all()):
        wrong = int((~(prior_widths > 0)).nonzero()[0, -1])
        raise DomainError(
            f"`prior_widths` must be > 0, got {prior_widths[..., wrong].min():g} for parameter "
            f"{wrong}. Give infinity for a free parameter."
        )
    return information + torch.diag_embed(prior_widths.reciprocal().square())


def _check_counts(counts: Tensor, jacobian: Tensor, variance: Tensor) -> None:
    for name, value in (("counts", counts), ("variance", variance)):
        wrong = ~(torch.isfinite(value) & (value >= 0))
        if bool(wrong.any()):
            index = wrong.nonzero()[0]
            raise DomainError(
                f"`{name}` must be finite and >= 0, got {value[tuple(index)]:g} in bin "
                f"{int(index[-1])}. Look for negative weights, or merge bins."
            )
    if not bool(torch.isfinite(jacobian).all()):
        index = (~torch.isfinite(jacobian)).nonzero()[0]
        raise DomainError(
            f"`jacobian` must be finite; it is {jacobian[tuple(index)]:g} in bin {int(index[-2])} "
            f"for parameter {int(index[-1])}."
        )
    largest = jacobian.detach().abs().amax(dim=-2, keepdim=True)
    rounding = torch.finfo(jacobian.dtype).eps * largest
    stray = (variance == 0).unsqueeze(-1) & (jacobian.abs() > rounding)
    if bool(stray.any()):
        index = stray.nonzero()[0]
        raise DomainError(
            f"Bin {int(index[-2])} expects no events, but its count has a slope in parameter "
            f"{int(index[-1])}: its information is infinite. Merge it with a neighbour."
        )


def _factorize(
    information: Tensor, names: Sequence[str] | None, order: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """1/sqrt(diagonal), and the Cholesky factor of the matrix scaled by it on both sides."""
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    if not bool(torch.isfinite(information).all()):
        raise DomainError("`information` must be finite. Look for NaN in the templates.")
    blind = diagonal <= 0
    if bool(blind.any()):
        raise _singular(int(blind.nonzero()[0, -1]), names, order)
    scale = diagonal.rsqrt()
    scaled = scale.unsqueeze(-1) * information * scale.unsqueeze(-2)
    factor, failed_at = torch.linalg.cholesky_ex(scaled)
    if bool((failed_at > 0).any()):
        raise _singular(int(failed_at[failed_at > 0].flatten()[0]) - 1, names, order)
    pivots = factor.diagonal(dim1=-2, dim2=-1).square()
    weak = pivots <= MIN_PIVOT * torch.finfo(information.dtype).eps
    if bool(weak.any()):
        raise _singular(int(weak.nonzero()[0, -1]), names, order)
    return scale, factor


def _singular(
    position: int, names: Sequence[str] | None, order: Sequence[int] | None
) -> DomainError:
    index = position if order is None else order[position]
    name = f"parameter {index}" if names is None else f"`{names[position]}`"
    return DomainError(
        f"The information is singular: the data do not tell {name} apart from the other "
        "parameters. Constrain it with a prior width, fix it, or add bins."
    )
