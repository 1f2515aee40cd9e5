r"""Intervals of the profile likelihood, whose ends carry gradients."""

__all__ = ["Interval", "profile_interval"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.inference._roots import bracketed_root
from detopt.inference.fits import fit
from detopt.inference.histfactory import HistFactoryModel
from detopt.inference.implicit import attach_root


@dataclass(frozen=True)
class Interval:
    """Interval of the profile likelihood; an end that the bounds cut off lies on the bound.

    Args:
        best: Most likely value.
        low: Lower end.
        high: Upper end.
    """

    best: Float[Tensor, "*batch"]
    low: Float[Tensor, "*batch"]
    high: Float[Tensor, "*batch"]


def profile_interval(
    model: HistFactoryModel, data: Float[Tensor, "*#batch data"], n_sigma: float = 1.0
) -> Interval:
    r"""Interval of strengths with :math:`t_\mu \le n_\sigma^2`: 68.3 % coverage for one sigma.

    Args:
        model: Model or models.
        data: Data of each member.
        n_sigma: Standard deviations, > 0.

    Raises:
        DomainError: `n_sigma` is not above 0, or a fit fails.

    Note:
        Differentiable in templates and data; an end on a bound has no gradient.
    """
    if not n_sigma > 0:
        raise DomainError(f"`n_sigma` must be > 0, got {n_sigma}.")
    index = model.index(model.interest)
    low, high = (float(bound[index]) for bound in model.bounds)
    free = fit(model, data)
    best = free.parameters[..., index]
    centre = best.detach()
    constants = [data.detach(), *[tensor.detach() for tensor in model.inputs()]]
    lowest = free.value.detach()

    def excess(ends: Tensor, data: Tensor, minimum: Tensor, *inputs: Tensor) -> Tensor:
        other = model.with_inputs(*inputs)
        fixed = fit(other, data, {model.interest: ends.movedim(-1, 0)})
        return 2 * (fixed.value - minimum).movedim(0, -1) - n_sigma**2

    def rising(ends: Tensor) -> Tensor:
        """Root of the ratio, which is nearly a straight line."""
        ratio = excess(ends, constants[0], lowest, *constants[1:]) + n_sigma**2
        return ratio.clamp(min=0).sqrt() - n_sigma

    limits = torch.stack([centre - low, high - centre], dim=-1)
    width = free.hessian.diagonal(dim1=-2, dim2=-1)[..., index].rsqrt()
    sign = centre.new_tensor([-1.0, 1.0])
    origin = centre.unsqueeze(-1)
    reach = torch.minimum(2 * n_sigma * width.unsqueeze(-1).expand_as(limits), limits)
    with torch.no_grad():
        while True:
            short = (rising(origin + sign * reach) < 0) & (reach < limits)
            if not bool(short.any()):
                break
            reach = torch.where(short, torch.minimum(2 * reach, limits), reach)
        cut = rising(origin + sign * reach) < 0
        distance = bracketed_root(
            lambda d: torch.where(cut, d - reach, rising(origin + sign * d)),
            torch.zeros_like(reach),
            reach,
        )
    ends = origin + sign * distance
    bound = ends.detach()

    def residual(ends: Tensor, data: Tensor, *inputs: Tensor) -> Tensor:
        with torch.enable_grad():
            minimum = fit(model.with_inputs(*inputs), data).value
            return torch.where(cut, ends - bound, excess(ends, data, minimum, *inputs))

    attached = attach_root(residual, ends, data, *model.inputs())
    return Interval(best=best, low=attached[..., 0], high=attached[..., 1])
