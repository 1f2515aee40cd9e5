r"""Simulated events in soft bins, with what parameters do to them: templates and their slopes.

An event :math:`i` is shared between bins, :math:`\sum_k p_{ik} = 1`, and stands for :math:`w_i`
expected events if it were the only one simulated. A parameter :math:`\theta_a` can change its
weight, its shares, or both:

.. math::
    \nu_k = \frac{1}{n} \sum_i w_i p_{ik}, \qquad
    \frac{\partial \nu_k}{\partial \theta_a} = \frac{1}{n} \sum_i
        \left(\frac{\partial w_i}{\partial \theta_a} p_{ik}
        + w_i \frac{\partial p_{ik}}{\partial \theta_a}\right)
"""

__all__ = ["BinnedEvents", "Templates"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.pipeline import Summary


@dataclass(frozen=True)
class Templates:
    """Expected counts and how they change; any number of leading batch dimensions.

    Args:
        counts: Expected counts.
        slopes: Derivatives of the counts in the parameters.
        simulation_variance: Variances of the counts from the finite number of simulated events.
    """

    counts: Float[Tensor, "*batch bins"]
    slopes: Float[Tensor, "*batch bins parameters"]
    simulation_variance: Float[Tensor, "*batch bins"]


@dataclass(frozen=True)
class BinnedEvents(Summary):
    """One row for each simulated event.

    Args:
        shares: Share of the event in each bin, or one in its own bin.
        weights: Expected number of events :math:`w_i`, as if this event were the only one.
        weight_slopes: Their derivatives in the parameters.
        share_slopes: Derivatives of the shares in the parameters; of size 0 in the last dimension
            where parameters change weights alone.
    """

    shares: Float[Tensor, "n_events bins"]
    weights: Float[Tensor, " n_events"]
    weight_slopes: Float[Tensor, "n_events parameters"]
    share_slopes: Float[Tensor, "n_events bins moved"]

    def templates(self) -> Templates:
        """Counts and slopes of all events together, in float64.

        Raises:
            DomainError: The slopes of the shares are neither absent nor of all parameters.
        """
        n_events, n_parameters = self.weight_slopes.shape
        n_moved = self.share_slopes.shape[-1]
        if n_moved not in (0, n_parameters):
            raise DomainError(
                f"`share_slopes` must have 0 or {n_parameters} parameters, got {n_moved}. Fill "
                "those that move no event with zeros."
            )
        measures = torch.cat([self.weights.unsqueeze(-1), self.weight_slopes], dim=-1) / n_events
        sums = (self.shares.mT @ measures).to(torch.float64)
        slopes = sums[:, 1:]
        if n_moved:
            moved = measures[:, 0] @ self.share_slopes.flatten(start_dim=1)
            slopes = slopes + moved.unflatten(0, self.share_slopes.shape[1:])
        squares = measures[:, 0].square() @ self.shares.square()
        return Templates(sums[:, 0], slopes, squares.to(torch.float64))
