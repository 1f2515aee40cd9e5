r"""Network weights benchmark: can a method train a small network from noisy losses alone?

A network with one hidden layer of six tanh units predicts a number from the features of a row that
is drawn at random. The published benchmark used a table of house prices that was withdrawn; two
tables replace it here: 506 seeded rows of 13 features whose scales span three decades, and the 442
rows of 10 features of the diabetes data in scikit-learn. Results are not comparable with the
published ones. Design parameters: all weights, 91 or 73. Objective: the mean squared error of the
standardized target; predicting its mean gives 1.

References:
    S. Shirobokov et al., arXiv:2002.04632, section 4; B. Efron et al., Ann. Stat. 32 (2004) 407.
"""

__all__ = ["Config", "build"]

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.optional import require
from detopt.pipeline import FunctionProblem

N_ROWS, N_FEATURES, N_HIDDEN = 506, 13, 6
DECADES = 3.0  # over which the scales of the features are spread
NOISE = 0.3  # of the seeded target, over its standard deviation
CHECK_EVENTS = 400
RECOMMENDED = {"method": "local_surrogate", "rounds": 60, "evaluation_events": 100_000}


class Config(BaseModel):
    """Options of the benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: Literal["seeded", "diabetes"] = Field("seeded", description="Rows that are predicted")
    n_samples: int = Field(3_000, gt=0, description="Rows that an evaluation draws")
    start_seed: int = Field(1337, ge=0, description="Seed of the weights at the start")


@dataclass(frozen=True)
class Regression:
    """The squared error of each drawn row.

    Args:
        features: Raw features of the table.
        target: Standardized target.
    """

    features: Float[Tensor, "rows features"]
    target: Float[Tensor, " rows"]

    def predict(self, design: Design, features: Float[Tensor, "n features"]) -> Float[Tensor, " n"]:
        """What the network says."""
        rows = [design[f"inner_{i}"] for i in range(features.shape[1])]
        hidden = torch.tanh(features @ torch.stack(rows) + design["inner_bias"])
        return hidden @ design["outer"] + design["outer_bias"]

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        like = design["outer"]
        rows = torch.randint(len(self.target), (n_events,), generator=rng)
        predicted = self.predict(design, self.features[rows].to(like))
        return (predicted - self.target[rows].to(like)).square()


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    table = _seeded() if config.table == "seeded" else _diabetes()
    n_features = table.features.shape[1]
    rng = torch.Generator().manual_seed(config.start_seed)
    scale = table.features.std(dim=0)
    inner = torch.randn(n_features, N_HIDDEN, generator=rng, dtype=torch.float64)
    inner = inner / (scale[:, None] * n_features**0.5)
    outer = torch.randn(N_HIDDEN, generator=rng, dtype=torch.float64) / N_HIDDEN**0.5
    middle = -(table.features.mean(dim=0) @ inner)
    space = DesignSpace(
        [
            *(
                Continuous(
                    f"inner_{i}",
                    weights.tolist(),
                    Real(scale=1 / spread),  # a step that counts, whatever the unit of the feature
                    group="inner",
                    description=f"Weights of feature {i}",
                )
                for i, (weights, spread) in enumerate(zip(inner, scale.tolist(), strict=True))
            ),
            Continuous("inner_bias", middle.tolist(), Real(), description="Hidden offsets"),
            Continuous("outer", outer.tolist(), Real(), description="Weights of hidden units"),
            Continuous("outer_bias", 0.0, Real(), description="Offset of the prediction"),
        ]
    )
    return FunctionProblem(
        space,
        table,
        n_events=config.n_samples,
        chunk_size=3_000,
        objective_name="mean squared error of the standardized target",
    )


def _seeded() -> Regression:
    """Rows whose target is a smooth function of a few features, with noise."""
    rng = torch.Generator().manual_seed(506)
    plain = torch.randn(N_ROWS, N_FEATURES, generator=rng, dtype=torch.float64)
    weights = torch.randn(N_FEATURES, 2, generator=rng, dtype=torch.float64) / 2
    noise = torch.randn(N_ROWS, generator=rng, dtype=torch.float64)
    smooth = torch.tanh(plain @ weights[:, 0]) + 0.5 * (plain @ weights[:, 1])
    scales = torch.logspace(0, DECADES, N_FEATURES, dtype=torch.float64)
    return Regression(plain * scales, _standardized(smooth + NOISE * smooth.std() * noise))


def _diabetes() -> Regression:
    datasets = require("sklearn.datasets", extra="benchmarks", purpose="The diabetes table")
    features, target = datasets.load_diabetes(return_X_y=True, scaled=False)
    return Regression(torch.as_tensor(features), _standardized(torch.as_tensor(target)))


def _standardized(values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    return (values - values.mean()) / values.std()
