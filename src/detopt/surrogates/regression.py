"""A conditional mean, with normal noise that is calibrated on rows of its own."""

__all__ = ["ConditionalRegression"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.errors import MethodError
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.training import Descent, perceptron

REACH = 1.5  # largest logarithm of a width over the typical one
CALIBRATION = 0.1  # share of the rows
FEWEST = 20  # rows, below which all of them calibrate
CONTENT = 0.6827  # of one standard deviation
FARTHEST = 4.0  # standard deviations of a pull, for the correlations
SMALL = 1e-6  # under a width


@dataclass(eq=False)
class ConditionalRegression(ConditionalGenerator):
    r"""The mean of the residuals and their width as functions of the conditions, and normal noise.

    .. math::
        r = \mu(c) + \sigma(c) \odot (A\, z), \qquad z \sim \mathcal{N}(0, 1)

    Means and widths are learned by maximum likelihood. Then A is scaled with the pulls
    :math:`(r - \mu) / \sigma` of a tenth of the rows, which is kept for that: 68.3 % of the rows
    that were not learned from lie within one standard deviation of each column, and the columns
    are correlated as the pulls are.

    Note:
        Widths may vary by a factor of 4.5 up and down with the conditions. The right choice where
        rows are nearly normal, or only their means and widths matter.

    References:
        D. A. Nix and A. S. Weigend, Proc. IEEE Int. Conf. Neural Networks (1994) 55.
    """

    def _build(self) -> nn.Module:
        network = perceptron(self.n_conditions, self.hidden, 2 * self.n_columns)
        network.register_buffer("factor", torch.eye(self.n_columns))
        return network

    def _train(
        self, network: nn.Module, conditions: Tensor, residuals: Tensor, descent: Descent
    ) -> float:
        n = len(residuals)
        order = torch.randperm(n, generator=descent.rng)
        n_kept = round(n * CALIBRATION) if n >= FEWEST else 0
        kept, learned = order[:n_kept], order[n_kept:]

        def loss(rows: Tensor) -> Tensor:
            chosen = learned[rows]
            mean, spread = _moments(network, conditions[chosen])
            miss = ((residuals[chosen] - mean) / spread.exp()).square() / 2
            return (miss + spread).sum(dim=1).mean()

        found = descent.descend(network, loss, len(learned))
        with torch.no_grad():
            rows = kept if n_kept > self.n_columns else order
            mean, spread = _moments(network, conditions[rows])
            pulls = ((residuals[rows] - mean) / spread.exp()).to(torch.float64)
            width = pulls.abs().quantile(CONTENT, dim=0).clamp(min=SMALL)
            pulls = (pulls / width).clamp(-FARTHEST, FARTHEST)
            moment = pulls.T @ pulls / len(rows) + SMALL * torch.eye(self.n_columns).to(pulls)
            size = moment.diagonal().sqrt()
            factor = width[:, None] * torch.linalg.cholesky(moment / (size[:, None] * size))
            network.get_buffer("factor").copy_(factor)
        return found

    def mean(self, conditions: Float[Tensor, "n n_conditions"]) -> Float[Tensor, "n n_columns"]:
        """The mean row at each condition, without noise; differentiable.

        Raises:
            MethodError: There was no fit yet, or rows are mapped: their mean is not known.
        """
        if self.row_map is not None:
            raise MethodError("The mean of mapped rows is not known. Draw them with `sample`.")
        scaled = self._scaled(conditions)
        assert self._network is not None
        center, _ = _moments(self._network, scaled.to(self.dtype))
        known = self._scaling
        rows = known["location"] + scaled @ known["slopes"] + known["scale"] * center
        return rows.to(conditions.dtype)

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        mean, spread = _moments(network, conditions)
        noise = torch.randn(mean.shape, generator=rng, dtype=self.dtype)
        return mean + spread.exp() * (noise @ network.get_buffer("factor").T)

    def _log_density(self, network: nn.Module, conditions: Tensor, residuals: Tensor) -> Tensor:
        mean, spread = _moments(network, conditions)
        factor = network.get_buffer("factor")
        pulls = ((residuals - mean) / spread.exp()).T
        noise = torch.linalg.solve_triangular(factor, pulls, upper=False)
        volume = spread.sum(dim=1) + factor.diagonal().log().sum()
        constant = self.n_columns * math.log(2 * math.pi) / 2
        density: Tensor = -noise.square().sum(dim=0) / 2 - volume - constant
        return density


def _moments(network: nn.Module, conditions: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, and logarithm of the width."""
    mean, spread = network(conditions).chunk(2, dim=1)
    return mean, REACH * torch.tanh(spread / REACH)
