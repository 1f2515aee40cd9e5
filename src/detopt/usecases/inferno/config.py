"""Options of the INFERNO benchmark."""

__all__ = ["BENCHMARKS", "Benchmark", "Config", "PUBLISHED", "Slopes"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from detopt.units import Number

Slopes = Literal["weights", "transformation", "variations"]


@dataclass(frozen=True)
class Benchmark:
    """Which parameters are unknown, and how well auxiliary measurements know them.

    Args:
        names: Parameters, that of interest first.
        widths: Standard deviations of auxiliary measurements; other parameters are free.
    """

    names: tuple[str, ...]
    widths: Mapping[str, float]


BENCHMARKS: Mapping[str, Benchmark] = {
    "B0": Benchmark(("s",), {}),
    "B1": Benchmark(("s", "r"), {}),
    "B2": Benchmark(("s", "r", "lambda"), {}),
    "B3": Benchmark(("s", "r", "lambda"), {"r": 0.4, "lambda": 1.0}),
    "B4": Benchmark(("s", "r", "lambda", "b"), {"r": 0.4, "lambda": 1.0, "b": 100.0}),
}
PUBLISHED: Mapping[str, Any] = {"hidden": (100, 100), "bins": 10}  # the network of the paper


class Config(BaseModel):
    """Options of the benchmark; the defaults are a small network that trains in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: Literal["B0", "B1", "B2", "B3", "B4"] = Field(
        "B3", description="Which parameters are unknown"
    )
    slopes: Slopes = Field(
        "weights",
        description="How nuisance parameters act in training: by scores, by samples that move, "
        "or by samples one standard deviation up and down",
    )
    signal_mean: Number = Field(0.0, description="Mean of both signal features (the text: 1)")
    hidden: tuple[int, ...] = Field((4,), min_length=1, description="Units of the hidden layers")
    bins: int = Field(4, ge=2, description="Outputs of the network")
    activation: Literal["relu", "silu", "tanh"] = Field("tanh", description="Of the hidden units")
    temperature: Number = Field(0.5, gt=0, description="Of the softmax; hard bins judge the result")
    n_events: int = Field(2_000, ge=2, description="Simulated events, half of them signal")
    network_seed: int = Field(3, description="Of the weights that the search starts from")
    start_width: Number = Field(3.0, gt=0, description="Of these weights, times sqrt(inputs)")
