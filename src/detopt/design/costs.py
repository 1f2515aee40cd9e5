"""What a design costs, and how a budget enters the objective."""

__all__ = ["budget_term"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DesignError


def budget_term(
    cost: Float[Tensor, "*batch"], budget: float, width: float = 0.05, slope: float = 2.0
) -> Float[Tensor, "*batch"]:
    r"""Penalty of a cost: smooth below the budget, linear above it.

    .. math::
        P(c) = s\, w \ln\left(1 + e^{(c/B - 1)/w}\right)

    Far below the budget it vanishes, at the budget it is :math:`s w \ln 2`, and far above it
    is the relative excess times the slope :math:`s`.

    Args:
        cost: Cost :math:`c` of the design, in the currency of `budget`.
        budget: Budget :math:`B`, > 0.
        width: Width :math:`w` of the turn-on, as a share of the budget, > 0.
        slope: Penalty for a unit of relative excess.

    Returns:
        Penalty, dimensionless.

    Raises:
        DesignError: `budget` or `width` is not positive.

    Note:
        The turn-on of the published cost component is a sigmoid that is continued by a line;
        this one has the same limits and a continuous curvature. Differentiable in `cost`.

    References:
        T. Dorigo et al., arXiv:2203.13818, section 4.3.3 and figure 25.
    """
    if not budget > 0:
        raise DesignError(f"`budget` must be > 0, got {budget}.")
    if not width > 0:
        raise DesignError(f"`width` must be > 0, got {width}.")
    return slope * width * torch.nn.functional.softplus((cost / budget - 1) / width)
