r"""Hump-40: the hump benchmark behind a nonlinear map of forty design parameters.

The two arguments of the hump are :math:`(a, b) = B \tanh(A \psi)` with matrices of orthonormal
rows, 16 by 40 and 2 by 16, of a fixed seed. Design parameters: `psi`. Objective: the mean loss; its
minimum is that of `hump`, -0.858.

References:
    S. Shirobokov et al., arXiv:2002.04632, and the released code, whose matrices differ from run to
    run.
"""

__all__ = ["Config", "build"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.pipeline import FunctionProblem
from detopt.usecases import hump

N_FREE, N_HIDDEN = 40, 16
RECOMMENDED = {"method": "local_surrogate", "rounds": 30, "evaluation_events": 300_000}


class Config(hump.Config):
    """Options of the benchmark."""

    rotation: int = Field(1337, ge=0, description="Seed of the matrices")


PATHWISE_IS_BIASED = Config.is_biased  # as in `hump`


@dataclass(frozen=True)
class Simulation:
    """The loss of each sample."""

    plane: FunctionProblem
    inner: Float[Tensor, "hidden n"]
    outer: Float[Tensor, "2 hidden"]

    def plane_design(self, psi: Float[Tensor, " n"]) -> Design:
        """The two arguments of the hump."""
        a, b = self.outer.to(psi) @ torch.tanh(self.inner.to(psi) @ psi)
        return Design({"a": a, "b": b})

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        return self.plane.function(self.plane_design(design["psi"]), n_events, rng)


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    rng = torch.Generator().manual_seed(config.rotation)
    plane = hump.build(hump.Config(**config.model_dump(exclude={"rotation"})))
    start = [2.0] + [0.0] * (N_FREE - 1)
    return FunctionProblem(
        DesignSpace([Continuous("psi", start, Real(), description="Arguments of the map")]),
        Simulation(plane, _rows(N_HIDDEN, N_FREE, rng), _rows(2, N_HIDDEN, rng)),
        n_events=config.n_samples,
        chunk_size=3_000,
        objective_name="mean loss",
    )


def _rows(n: int, length: int, rng: torch.Generator) -> Float[Tensor, "n length"]:
    """Orthonormal rows."""
    columns: Tensor = torch.linalg.qr(torch.randn(length, n, generator=rng, dtype=torch.float64))[0]
    return columns.T
