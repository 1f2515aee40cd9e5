r"""Hump-2: a benchmark whose simulator draws a discrete number that depends on the design.

Of two inputs one is chosen with probability :math:`|a| / (|a| + |b|)`, multiplied with the
three-hump camel function h(a, b), and smeared twice; the loss rewards results between 0 and 10.
Differentiating through the simulator leaves out the choice: the gradient check calls it biased,
unless `draws` says how the choice is differentiated.
Design parameters: `a`, `b`. Objective: the mean loss; its minimum is -0.858 at a = 0, h = 1.52.

References:
    S. Shirobokov et al., arXiv:2002.04632, and the released code.
"""

__all__ = ["Config", "build"]

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.gradients.discrete import Categorical
from detopt.gradients.draws import Way, draw_through
from detopt.pipeline import FunctionProblem

INPUTS = {  # ranges of the uniform inputs x1, x2
    "code": ((-2.0, 2.0), (0.0, 5.0)),
    "paper": ((-2.0, 0.0), (2.0, 5.0)),
}
RECOMMENDED = {
    "rounds": 100,
    "method_options": {"estimator": "finite_differences", "learning_rate": 0.1},
    "evaluation_events": 300_000,
}


class Config(BaseModel):
    """Options of the benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variant: Literal["code", "paper"] = Field("code", description="Ranges of the inputs")
    draws: Way = Field("naive", description="How the discrete choice is differentiated")
    n_samples: int = Field(3_000, gt=0, description="Samples in an evaluation")

    def is_biased(self) -> bool:
        """Whether pathwise gradients leave out the choice."""
        return self.draws == "naive"


PATHWISE_IS_BIASED = Config.is_biased  # intended: the conformance suite demands that it shows


class _Hump:
    """The loss of each sample."""

    def __init__(self, config: Config) -> None:
        self.ranges = INPUTS[config.variant]
        self.way = config.draws

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        a, b = design["a"], design["b"]
        h = 2 * a**2 - 1.05 * a**4 + a**6 / 6 + a * b + b**2
        uniform = torch.rand(2, n_events, generator=rng, dtype=a.dtype)
        smear = torch.randn(2, n_events, generator=rng, dtype=a.dtype).sum(0)
        inputs = torch.stack(
            [low + (high - low) * u for (low, high), u in zip(self.ranges, uniform, strict=True)],
            dim=1,
        )
        probability = (a.abs() / (a.abs() + b.abs())).expand(n_events)
        choice = Categorical(torch.stack([probability, 1 - probability], dim=1))

        def loss(chosen: Float[Tensor, "n_events 2"]) -> Float[Tensor, " n_events"]:
            y = (chosen * inputs).sum(1) * h + smear
            return torch.sigmoid(y - 10) - torch.sigmoid(y)

        return draw_through(choice, loss, self.way, rng)


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    space = DesignSpace(
        [
            Continuous("a", 2.0, Real(), description="First argument of h"),
            Continuous("b", 0.0, Real(), description="Second argument of h"),
        ]
    )
    return FunctionProblem(
        space,
        _Hump(config),
        n_events=config.n_samples,
        chunk_size=3_000,
        objective_name="mean loss",
    )
