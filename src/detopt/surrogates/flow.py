"""A conditional normalizing flow: affine maps and splines whose knots depend on the conditions."""

__all__ = ["ConditionalFlow"]

import torch
from torch import Tensor, nn

from detopt import optional
from detopt.errors import MethodError
from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.training import Training, descend

MAX_AUTOREGRESSIVE = 8  # columns; beyond, coupling layers, whose samples cost two passes
LONGEST = 5.0  # norm of a gradient step
BLUR = 0.01  # noise added to residuals, so that repeated values have a density


class ConditionalFlow(ConditionalGenerator):
    r"""Noise, mapped by an invertible function that depends on the conditions.

    .. math::
        r = f_c^{-1}(z), \quad z \sim \mathcal{N}(0, 1), \qquad
        \log q(r \mid c) = \log \mathcal{N}(f_c(r)) + \log |\det \partial f_c / \partial r|

    with :math:`f_c` an affine map and then monotonic rational-quadratic splines; trained by maximum
    likelihood. The default: small, fast, and it has a density. Detail finer than a hundredth of the
    width of the residuals is blurred, so that rows may take the same value many times.

    Args:
        n_conditions: Columns of the conditions.
        n_columns: Columns of a row.
        training: Effort of a fit.
        dtype: Precision of the network.
        hidden: Units of the hidden layers.
        bins: Bins of a spline.
        n_splines: Splines one after the other; one suffices for one column.

    References:
        C. Durkan et al., Neural Spline Flows, arXiv:1906.04032.
    """

    def __init__(
        self,
        n_conditions: int,
        n_columns: int,
        training: Training | None = None,
        dtype: torch.dtype = torch.float32,
        hidden: tuple[int, ...] = (32, 32),
        bins: int = 8,
        n_splines: int | None = None,
    ) -> None:
        super().__init__(n_conditions, n_columns, training, dtype)
        if bins < 2 or not hidden or min(hidden) < 1:
            raise MethodError(
                f"`bins` must be >= 2 and `hidden` units >= 1, got {bins} and {hidden}."
            )
        self._zuko = optional.require("zuko", extra="surrogates", purpose="A conditional flow")
        self.hidden, self.bins = tuple(hidden), bins
        self.n_splines = (1 if n_columns == 1 else 2) if n_splines is None else n_splines

    def _build(self) -> nn.Module:
        settings = {
            "features": self.n_columns,
            "context": self.n_conditions,
            "hidden_features": self.hidden,
            "activation": nn.SiLU,
            "passes": None if self.n_columns <= MAX_AUTOREGRESSIVE else 2,
        }
        splines = self._zuko.flows.NSF(transforms=self.n_splines, bins=self.bins, **settings)
        affine = self._zuko.flows.MAF(transforms=1, **settings)
        maps = [*affine.transform.transforms, *splines.transform.transforms]
        for one in maps:
            nn.init.zeros_(one.hyper[-1].weight)
            nn.init.zeros_(one.hyper[-1].bias)
        flow: nn.Module = self._zuko.flows.Flow(maps, splines.base)
        return flow

    def _train(
        self,
        network: nn.Module,
        conditions: Tensor,
        residuals: Tensor,
        n_steps: int,
        rng: torch.Generator,
    ) -> float:
        def loss(rows: Tensor) -> Tensor:
            noise = torch.randn(len(rows), self.n_columns, generator=rng, dtype=self.dtype)
            blurred = residuals[rows] + BLUR * noise
            value: Tensor = -network(conditions[rows]).log_prob(blurred).mean()
            return value

        return descend(network, loss, len(residuals), n_steps, self.training, rng, LONGEST)

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        noise = torch.randn(len(conditions), self.n_columns, generator=rng, dtype=self.dtype)
        residuals: Tensor = network(conditions).transform.inv(noise)
        return residuals

    def _log_density(self, network: nn.Module, conditions: Tensor, residuals: Tensor) -> Tensor:
        density: Tensor = network(conditions).log_prob(residuals)
        return density
