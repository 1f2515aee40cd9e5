r"""Rosenbrock benchmark: can a method find the valley from noisy simulations alone?

The mean of a noisy simulation is the function

.. math::
    g(p) = \sum_{i=1}^{9} \left[(p_{i+1} - p_i^2)^2 + (1 - p_i)^2\right]

of ten numbers, without the usual factor of 100. With 100 design parameters the ten are
:math:`p = Q^{\mathsf T} \psi` with a matrix of orthonormal columns: only a subspace matters.
A sample is drawn as x0 ~ U(-10, 10), x ~ N(x0, 1), y ~ N(x + g, 0.1 + 0.5 \|x\|): the standard
deviation of the objective of 3,000 samples is 0.12. Design parameters: `psi`. Objective: the mean
of y, whose minimum is 0 at p = 1; it starts at 45 (10 parameters) or 9 (100).

References:
    S. Shirobokov et al., arXiv:2002.04632, and the released code.
"""

__all__ = ["Config", "build", "rosenbrock"]

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.pipeline import FunctionProblem

N_INTRINSIC = 10
SPREAD = 10.0  # of the uniform input
RECOMMENDED = {"method": "local_surrogate", "rounds": 40, "evaluation_events": 100_000}


class Config(BaseModel):
    """Options of the benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: Literal[10, 100] = Field(10, description="Number of design parameters")
    n_samples: int = Field(3_000, gt=0, description="Samples in an evaluation")
    rotation: int = Field(1337, ge=0, description="Seed of the matrix of the 100 parameters")


def rosenbrock(p: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """The function g, without noise."""
    first, second = p[..., :-1], p[..., 1:]
    return ((second - first.square()).square() + (1 - first).square()).sum(dim=-1)


@dataclass(frozen=True)
class Simulation:
    """The value y of each sample.

    Args:
        columns: Matrix Q that leads to the ten numbers, or None where they are the parameters.
    """

    columns: Float[Tensor, "n ten"] | None

    def intrinsic(self, psi: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch ten"]:
        """The ten numbers that matter."""
        return psi if self.columns is None else psi @ self.columns.to(psi)

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        psi = design["psi"]
        uniform = torch.rand(n_events, generator=rng, dtype=psi.dtype)
        normal = torch.randn(2, n_events, generator=rng, dtype=psi.dtype)
        x = SPREAD * (2 * uniform - 1) + normal[0]
        return x + rosenbrock(self.intrinsic(psi)) + (0.1 + 0.5 * x.abs()) * normal[1]


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    columns = None
    start = [2.0] * N_INTRINSIC
    if config.dimensions > N_INTRINSIC:
        rng = torch.Generator().manual_seed(config.rotation)
        normal = torch.randn(config.dimensions, N_INTRINSIC, generator=rng, dtype=torch.float64)
        columns = torch.linalg.qr(normal)[0]
        start = [0.0] * config.dimensions
    space = DesignSpace([Continuous("psi", start, Real(), description="Arguments of g")])
    return FunctionProblem(
        space,
        Simulation(columns),
        n_events=config.n_samples,
        chunk_size=3_000,
        objective_name="mean of y",
    )
