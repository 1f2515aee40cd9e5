r"""Telescopes: where they stand, what they see, how well they measure and what they cost.

A telescope has equal square planes, evenly spaced along its axis, and an absorber wall behind which
only muons above a threshold are seen. Directions are pairs of angles: the azimuth, counted from the
direction to the middle of the target to the left, and the elevation over the horizon.
"""

__all__ = ["Telescopes", "place_telescopes"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.physics import materials
from detopt.physics.energy_loss import energy_of_range, stopping_power
from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.terrain import Terrain

DAY = 86_400.0  # s
ABOVE_GROUND = 1.0  # m, of a telescope's middle
PLANES_THRESHOLD = 0.1  # GeV, that a muon needs in the planes themselves
EDGE = 0.02  # of a plane's side: width of the soft edges of the acceptance
SPECTRAL_INDEX = 2.7  # of muons well above the threshold of the target
LEAST_WALL = 0.1  # g/cm2, so that the range of the wall's threshold never vanishes
GRAMS = 100.0  # g/cm2 in a metre at 1 g/cm3
LEAST_AHEAD = 0.1  # cosine to the axis below which nothing is seen
STEEPEST = 1 - 1e-6  # sine of an elevation
LOSS_ENERGY = 10.0  # GeV, where the loss for scattering is taken


@dataclass(frozen=True)
class Telescopes:
    """Telescopes in place; every tensor has one entry for each.

    Attributes:
        place: Middle of the telescope [m].
        heading: Azimuth of the target's middle [rad].
        axis: Unit vectors to the right, upward and along the axis, as rows.
        side: Edge of a plane [m].
        spacing: From the first to the last plane [m].
        wall: Thickness of the wall [m].
        threshold: Kinetic energy that a muon needs at the wall [GeV].
        exposure: Running time [s].
        slope_error: Resolution of a slope, by the planes alone.
        efficiency: Probability to be seen in all planes.
    """

    place: Float[Tensor, "telescopes 3"]
    heading: Float[Tensor, " telescopes"]
    axis: Float[Tensor, "telescopes 3 3"]
    side: Float[Tensor, " telescopes"]
    spacing: Float[Tensor, " telescopes"]
    wall: Float[Tensor, " telescopes"]
    threshold: Float[Tensor, " telescopes"]
    exposure: Float[Tensor, " telescopes"]
    slope_error: Float[Tensor, " telescopes"]
    efficiency: float

    def direction(self, angles: Float[Tensor, "telescopes n 2"]) -> Float[Tensor, "telescopes n 3"]:
        """Unit vectors of azimuths and elevations, pointing away from the telescope."""
        azimuth, elevation = angles.unbind(-1)
        azimuth = azimuth + self.heading[:, None]
        level = torch.cos(elevation)
        return torch.stack(
            [level * torch.cos(azimuth), level * torch.sin(azimuth), torch.sin(elevation)], dim=-1
        )

    def angles(self, center: Float[Tensor, "n 3"]) -> tuple[Tensor, Float[Tensor, "n telescopes"]]:
        """Azimuth and elevation (n, telescopes, 2) of places, and their distance [m]."""
        offset = center[:, None] - self.place
        cos_h, sin_h = torch.cos(self.heading), torch.sin(self.heading)
        ahead = offset[..., 0] * cos_h + offset[..., 1] * sin_h
        left = offset[..., 1] * cos_h - offset[..., 0] * sin_h
        distance = offset.norm(dim=-1)
        azimuth = torch.atan2(left, ahead)
        elevation = torch.asin((offset[..., 2] / distance).clamp(-STEEPEST, STEEPEST))
        return torch.stack([azimuth, elevation], dim=-1), distance

    def acceptance(
        self, direction: Float[Tensor, "telescopes n 3"], *, soft: bool
    ) -> tuple[Float[Tensor, "telescopes n"], Float[Tensor, "telescopes n"]]:
        r"""Area [m2] that a direction sees of both outer planes, and its :math:`\cos\alpha`.

        .. math::
            A = (a - L|u|)_+\,(a - L|v|)_+ \cos\alpha

        with the slopes :math:`(u, v)` of the direction to the right and upward: the overlap of
        two squares, seen under the angle :math:`\alpha`.

        Args:
            direction: Unit vectors.
            soft: Whether the edges of the overlap are smooth, over 2 % of a plane's side.
        """
        sideways = torch.einsum("tnj,tij->tni", direction, self.axis)
        cosine = sideways[..., 2]
        ahead = cosine > LEAST_AHEAD
        slopes = sideways[..., :2] / torch.where(ahead, cosine, 1.0).unsqueeze(-1)
        side, spacing = self.side[:, None, None], self.spacing[:, None, None]
        overlap = side - spacing * slopes.abs()
        if soft:
            width = EDGE * side
            overlap = width * torch.nn.functional.softplus(overlap / width)
        else:
            overlap = overlap.clamp(min=0.0)
        return torch.where(ahead, overlap.prod(dim=-1) * cosine, 0.0), cosine

    def scattering(
        self, threshold_energy: Float[Tensor, "telescopes n"], material: str
    ) -> Float[Tensor, "telescopes n"]:
        r"""Plane angle by which the target itself has deflected the muons that come through.

        .. math::
            \theta^2 = \frac{(13.6\,\mathrm{MeV})^2}{S X_0}
                \left\langle\frac{1}{T}\right\rangle, \qquad
            \left\langle\frac{1}{T}\right\rangle = \frac{\gamma - 1}{T_c}
                \ln\left(1 + \frac{T_c}{T_w}\right)

        from :math:`d\theta^2 = (13.6\,\mathrm{MeV}/T)^2 dX / X_0` with :math:`dX = dT / S`, for the
        spectrum :math:`(1 + T/T_c)^{-\gamma}` behind matter that stops muons below
        :math:`T_c`, from the threshold :math:`T_w` of the wall up.

        Args:
            threshold_energy: Energy :math:`T_c` that the target asks for [GeV].
            material: Name of the target's material.

        Returns:
            Root mean square angle [rad].

        Note:
            Highland's logarithm is left out and the integral taken to leading order: 20 %.
        """
        medium = materials.get(material)
        length = medium.radiation_length * GRAMS * medium.density
        loss = float(stopping_power("muon", medium, LOSS_ENERGY))
        ratio = threshold_energy / self.threshold[:, None]
        inverse = (SPECTRAL_INDEX - 1) / threshold_energy * torch.log1p(ratio)
        return HIGHLAND_SCALE * torch.sqrt(inverse / (loss * length))


def place_telescopes(config: Config, terrain: Terrain, design: Mapping[str, Tensor]) -> Telescopes:
    """The telescopes of a design.

    Args:
        config: Options.
        terrain: What they stand on.
        design: `bearing`, `distance`, `turn`, `elevation`, `spacing`, `pitch` and `money`.
    """
    low, high = terrain.target
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    bearing, distance = design["bearing"], design["distance"]
    x = middle[0] + distance * torch.cos(bearing)
    y = middle[1] + distance * torch.sin(bearing)
    place = torch.stack([x, y, terrain.ground(x, y) + ABOVE_GROUND], dim=-1)

    azimuth, elevation = bearing + math.pi + design["turn"], design["elevation"]
    cos_a, sin_a = torch.cos(azimuth), torch.sin(azimuth)
    cos_e, sin_e = torch.cos(elevation), torch.sin(elevation)
    right = torch.stack([sin_a, -cos_a, torch.zeros_like(cos_a)], dim=-1)
    up = torch.stack([-sin_e * cos_a, -sin_e * sin_a, cos_e], dim=-1)
    ahead = torch.stack([cos_e * cos_a, cos_e * sin_a, sin_e], dim=-1)

    planes, running, walls = design["money"].unbind(-1)
    pitch, n = design["pitch"], config.n_planes
    area = planes / (n * _square_metre(config, pitch))
    thickness = walls / (area * wall_price(config))
    threshold = PLANES_THRESHOLD + energy_of_range(
        "muon", config.wall, GRAMS * materials.get(config.wall).density * thickness + LEAST_WALL
    )
    return Telescopes(
        place=place,
        heading=bearing + math.pi,
        axis=torch.stack([right, up, ahead], dim=-2),
        side=area.sqrt(),
        spacing=design["spacing"],
        wall=thickness,
        threshold=threshold,
        exposure=DAY * running / config.day_price,
        slope_error=pitch / design["spacing"] * math.sqrt((n - 1) / (n * (n + 1))),
        efficiency=config.efficiency**n,
    )


def _square_metre(config: Config, pitch: Tensor) -> Tensor:
    """Price of a square metre of plane [k]: two coordinates of strips of that pitch."""
    return config.plane_price + 2 * config.channel_price / pitch


def wall_price(config: Config) -> float:
    """Price of a cubic metre of wall [k]; a tonne of water is a cubic metre."""
    return config.wall_price * materials.get(config.wall).density


def money(config: Config, side: float, days: float, wall: float, pitch: float) -> list[float]:
    """What planes, time and wall of a telescope cost [k].

    Args:
        config: Options.
        side: Edge of a plane [m].
        days: Running time [d].
        wall: Thickness of the wall [m].
        pitch: Pitch of the strips [m].
    """
    planes = config.n_planes * side**2 * float(_square_metre(config, torch.tensor(pitch)))
    return [planes, days * config.day_price, side**2 * wall * wall_price(config)]


def cost(design: Design) -> Float[Tensor, ""]:
    """Money of all telescopes [k]."""
    return design["money"].sum()
