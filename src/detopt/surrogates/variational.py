"""A conditional variational autoencoder."""

__all__ = ["ConditionalVAE"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.training import Descent, perceptron

NARROWEST, WIDEST = -6.0, 3.0  # logarithm of a width of the decoder


@dataclass(eq=False)
class ConditionalVAE(ConditionalGenerator):
    r"""Residuals from hidden variables, with normal noise of a learned width.

    .. math::
        q(r \mid c) = \int \mathcal{N}(r; \mu(z, c), \sigma(z, c))\,
            \mathcal{N}(z; 0, 1)\,\mathrm{d}z

    trained by a lower bound of the likelihood, for which an encoder guesses z from r and c. The
    density is this integral, of which there is no closed form: none is given.

    Args:
        n_latent: Hidden variables, >= 1.

    References:
        D. P. Kingma and M. Welling, Auto-Encoding Variational Bayes, arXiv:1312.6114.
    """

    n_latent: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_below(1, "n_latent")

    def _build(self) -> nn.Module:
        n_in = self.n_columns + self.n_conditions
        decoder = perceptron(self.n_latent + self.n_conditions, self.hidden, 2 * self.n_columns)
        last = decoder[-1]
        assert isinstance(last, nn.Linear)
        last.reset_parameters()  # at zero it would not see the hidden variables
        encoder = perceptron(n_in, self.hidden, 2 * self.n_latent)
        return nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    def _train(
        self, network: nn.Module, conditions: Tensor, residuals: Tensor, descent: Descent
    ) -> float:
        assert isinstance(network, nn.ModuleDict)

        def loss(rows: Tensor) -> Tensor:
            real, given = residuals[rows], conditions[rows]
            hidden, width = network["encoder"](torch.cat([real, given], dim=1)).chunk(2, dim=1)
            noise = self._noise(len(rows), self.n_latent, descent.rng)
            mean, spread = self._decoded(network, hidden + width.exp() * noise, given)
            miss = ((real - mean) / spread.exp()).square() / 2 + spread + math.log(2 * math.pi) / 2
            known = (hidden.square() + (2 * width).exp() - 1) / 2 - width
            total: Tensor = (miss.sum(dim=1) + known.sum(dim=1)).mean()
            return total

        return descent.descend(network, loss, len(residuals))

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        hidden = self._noise(len(conditions), self.n_latent, rng)
        mean, spread = self._decoded(network, hidden, conditions)
        return mean + spread.exp() * self._noise(len(conditions), self.n_columns, rng)

    def _noise(self, n: int, width: int, rng: torch.Generator) -> Tensor:
        return torch.randn(n, width, generator=rng, dtype=self.dtype)

    def _decoded(self, network: nn.Module, hidden: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(network, nn.ModuleDict)
        mean, spread = network["decoder"](torch.cat([hidden, given], dim=1)).chunk(2, dim=1)
        return mean, spread.clamp(NARROWEST, WIDEST)
