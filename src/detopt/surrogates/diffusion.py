"""A conditional diffusion model whose samples take a few steps."""

__all__ = ["ConditionalDiffusion"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detopt.surrogates.base import ConditionalGenerator
from detopt.surrogates.training import Descent, perceptron

FREQUENCIES = (1.0, 2.0)  # in which the network sees the time


@dataclass(eq=False)
class ConditionalDiffusion(ConditionalGenerator):
    r"""Noise, turned into residuals by a few deterministic steps of a reversed diffusion.

    With :math:`r_t = \cos(t)\, r + \sin(t)\, \epsilon`, a network learns the velocity
    :math:`v = \cos(t)\, \epsilon - \sin(t)\, r` from :math:`(r_t, t, c)`. A sample starts as noise
    at :math:`t = \pi/2` and rotates back,

    .. math::
        r_{t - \delta} = \cos(\delta)\, r_t - \sin(\delta)\, v(r_t, t, c).

    No density.

    Args:
        n_draw_steps: Steps of a sample, >= 1.

    Note:
        Few steps leave an error of the shape; that of the mean is taken out to first order.

    References:
        J. Song et al., Denoising Diffusion Implicit Models, arXiv:2010.02502; T. Salimans and
        J. Ho, Progressive Distillation, arXiv:2202.00512.
    """

    n_draw_steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._refuse_below(1, "n_draw_steps")

    def _build(self) -> nn.Module:
        n_in = self.n_columns + self.n_conditions + 2 * len(FREQUENCIES)
        return perceptron(n_in, self.hidden, self.n_columns)

    def _train(
        self, network: nn.Module, conditions: Tensor, residuals: Tensor, descent: Descent
    ) -> float:
        rng = descent.rng

        def loss(rows: Tensor) -> Tensor:
            real, given = residuals[rows], conditions[rows]
            noise = torch.randn(real.shape, generator=rng, dtype=self.dtype)
            time = math.pi / 2 * torch.rand(len(real), 1, generator=rng, dtype=self.dtype)
            mixed = time.cos() * real + time.sin() * noise
            velocity = time.cos() * noise - time.sin() * real
            return (_velocity(network, mixed, time, given) - velocity).square().mean()

        return descent.descend(network, loss, len(residuals))

    def _draw(self, network: nn.Module, conditions: Tensor, rng: torch.Generator) -> Tensor:
        rows = torch.randn(len(conditions), self.n_columns, generator=rng, dtype=self.dtype)
        step = math.pi / 2 / self.n_draw_steps
        for i in range(self.n_draw_steps, 0, -1):
            time = torch.full((len(rows), 1), i * step, dtype=self.dtype)
            velocity = _velocity(network, rows, time, conditions)
            rows = math.cos(step) * rows - math.sin(step) * velocity
        return rows


def _velocity(network: nn.Module, rows: Tensor, time: Tensor, conditions: Tensor) -> Tensor:
    waves = [wave(f * time) for f in FREQUENCIES for wave in (torch.sin, torch.cos)]
    velocity: Tensor = network(torch.cat([rows, *waves, conditions], dim=1))
    return velocity
