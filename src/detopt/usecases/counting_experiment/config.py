"""Options of the counting experiment, and what its budget buys."""

__all__ = ["Config", "Instrument"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Design

CONSTANT_TERM = 0.01  # relative resolution that no money improves


class Config(BaseModel):
    """Options of the use case; masses and momenta are in GeV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    signal: float = Field(500.0, gt=0, description="Signal events at full acceptance")
    peak: float = Field(30_000.0, gt=0, description="Events of the peak, idem")
    continuum: float = Field(10_000.0, gt=0, description="Events of the continuum, idem")
    peak_width: float = Field(0.05, gt=0, description="Relative width of the peak's normalization")
    length: float = Field(
        3.0, gt=0, description="Half length over radius of the barrel that the budget buys"
    )
    resolution: float = Field(
        0.10, gt=0, description="Relative resolution of that barrel's area for the whole budget"
    )
    scale_width: float = Field(
        0.01, gt=0, description="Width of the energy scale for the whole budget"
    )
    efficiency_width: float = Field(
        0.02, gt=0, description="Relative width of the efficiency for the whole budget"
    )
    n_bins: int = Field(12, ge=2, le=100, description="Bins of the summary")
    n_hidden: int = Field(8, ge=1, le=200, description="Hidden units of the summary network")
    softness: float = Field(0.02, gt=0, description="Width of the soft edges of bins, in score")
    n_events: int = Field(1_000, ge=10, description="Rows an evaluation: an event of each process")
    seed: int = Field(0, ge=0, description="Seed of the network's start")


@dataclass(frozen=True)
class Instrument:
    r"""What the shares :math:`(a, r, c)` of the budget buy.

    - A barrel of half length :math:`x = L a` radii covers :math:`|\cos\theta| < x/\sqrt{1 + x^2}`.
    - Its resolution is :math:`\sqrt{R^2 x / r + 0.01^2}`: the money is spread over the area.
    - Calibration leaves the widths :math:`w_s/\sqrt{c}` of the energy scale and
      :math:`w_e/\sqrt{c}` of the efficiency, as for a number of calibration events.

    Signal is isotropic; both backgrounds follow :math:`1 + \cos^2\theta`.
    """

    config: Config

    def half_length(self, design: Design) -> Float[Tensor, ""]:
        """Half length of the barrel over its radius."""
        return self.config.length * design["shares"][..., 0]

    def coverage(self, design: Design) -> Float[Tensor, ""]:
        """Largest |cos(polar angle)| that is seen: the acceptance for signal."""
        x = self.half_length(design)
        return x / (1 + x.square()).sqrt()

    def background_acceptance(self, design: Design) -> Float[Tensor, ""]:
        """Share of an angular distribution 1 + cos^2 that is seen."""
        edge = self.coverage(design)
        return (3 * edge + edge**3) / 4

    def resolution(self, design: Design) -> Float[Tensor, ""]:
        """Relative resolution of mass and transverse momentum."""
        stochastic = self.config.resolution**2 * self.half_length(design) / design["shares"][..., 1]
        return (stochastic + CONSTANT_TERM**2).sqrt()

    def scale_width(self, design: Design) -> Float[Tensor, ""]:
        """What is not known of the energy scale, relative."""
        return self.config.scale_width * torch.rsqrt(design["shares"][..., 2])

    def efficiency_width(self, design: Design) -> Float[Tensor, ""]:
        """What is not known of the efficiency for signal, relative."""
        return self.config.efficiency_width * torch.rsqrt(design["shares"][..., 2])
