r"""Two-strip sensor: how should two glued silicon strip sensors be pitched, staggered and tilted?

Two sensors measure one coordinate back to back. A track that leaves its charge on one strip is
known to :math:`p/\sqrt{12}`; shared charge tells more. Sharing comes from the tilt, from
diffusion, and from strips of the second sensor that start between those of the first. Design
parameters: `pitch`, `stagger`, `distance` [m], `tilt` [rad]. Objective: mean squared error of the
hit in units of (10 um)^2, with a budget for channels.

References:
    T. Dorigo et al., arXiv:2203.13818, section 3.2.1 and figure 4.
"""

__all__ = ["Config", "build"]

import math

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, budget_term
from detopt.pipeline import FunctionProblem
from detopt.units import Angle, Length, Number

UNIT = 10e-6  # m; errors are quoted in squares of it
N_STRIPS = 9  # read out around the track
BASELINE = {"pitch": 90e-6, "stagger": 0.0, "distance": 1.8e-3, "tilt": 0.0}  # m, rad


class Config(BaseModel):
    """Options of the use case; lengths in metres or with units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    thickness: Length = Field(320e-6, gt=0, description="Thickness of a sensor [m]")
    diffusion: Length = Field(4e-6, gt=0, description="Width of the diffused charge [m]")
    noise: Number = Field(0.03, gt=0, description="Noise of a strip over the charge of a track")
    threshold: Number = Field(0.10, gt=0, description="Threshold of a strip, idem")
    spread: Angle = Field(1e-3, ge=0, description="Angular spread of the tracks [rad]")
    channels: Number = Field(22_000.0, gt=0, description="Budget: strips per metre, both sensors")


class _Sensor:
    """The mean squared error of a hit, track by track."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        config, pitch = self.config, design["pitch"]
        slope = config.spread * torch.randn(n_events, generator=rng, dtype=pitch.dtype)
        middle = pitch * (torch.rand(n_events, generator=rng, dtype=pitch.dtype) - 0.5)
        angle = torch.tan(design["tilt"] + slope)
        error = torch.zeros_like(middle)
        for sign, offset in ((-1, torch.zeros_like(pitch)), (1, design["stagger"])):
            crossing = middle + sign * design["distance"] / 2 * angle
            noise = torch.randn(n_events, N_STRIPS, generator=rng, dtype=pitch.dtype)
            hit = self._centroid(crossing - offset, angle, pitch, noise) + offset
            error = error + (hit - crossing) / 2
        penalty = budget_term(channel_density(design), config.channels)
        return (error / UNIT).square() * (1 + penalty)

    def _centroid(self, x: Tensor, angle: Tensor, pitch: Tensor, noise: Tensor) -> Tensor:
        """Charge-weighted mean of the strips around the nearest one."""
        config = self.config
        nearest = (x / pitch).detach().round()
        strips = nearest[:, None] + torch.arange(N_STRIPS).to(x) - N_STRIPS // 2
        width = (config.diffusion**2 + (config.thickness * angle).square() / 12).sqrt()
        edges = torch.cat([strips - 0.5, strips[:, -1:] + 0.5], dim=1) * pitch
        collected = torch.erf((edges - x[:, None]) / (math.sqrt(2) * width[:, None])).diff() / 2
        charge = collected + config.noise * noise
        seen = charge * torch.sigmoid((charge - config.threshold) / (config.threshold / 10))
        return (seen * strips).sum(1) / seen.sum(1) * pitch


def channel_density(design: Design) -> Tensor:
    """Strips per metre, both sensors together."""
    return 2 / design["pitch"]


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    space = DesignSpace(
        [
            Continuous("pitch", 120e-6, Interval(30e-6, 250e-6), "m", description="Strip pitch"),
            Continuous("stagger", 10e-6, Interval(-1e-6, 125e-6), "m", description="Offset"),
            Continuous("distance", 1.8e-3, Interval(0.5e-3, 5e-3), "m", description="Gap"),
            Continuous("tilt", 0.02, Interval(-0.05, 0.5), "rad", description="Tilt of both"),
        ]
    )
    human = Design({k: torch.tensor(v, dtype=torch.float64) for k, v in BASELINE.items()})
    return FunctionProblem(
        space,
        _Sensor(config),
        price=channel_density,
        n_events=4_000,
        chunk_size=4_000,
        baselines={"aligned": human},
        objective_name="mean squared hit error [(10 um)^2]",
    )
