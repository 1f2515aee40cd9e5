r"""Tracker of an electron-ion collider: where do disks, barrel and timing layers go?

A tracker of the kind of ECCE in a solenoid: a vertex detector, two layers that measure the sagitta,
gas layers outside, disks and timing layers at both ends, and a support cone between barrel and
disks. Three objectives, each the mean over five bins of pseudorapidity of the ratio to a baseline:
resolution of the momentum, resolution of the angle at the RICH, and inefficiency of the Kalman
filter. Disks must be 10 cm and barrel layers 5 cm apart. Design parameters: angle of the `cone`
[rad], radius of the `barrel` and distances of disks and timing layers [m]. How far sensors are from
whole tiles is reported as terms.

Tracks are covariances of `detopt.physics.tracking`; fixed layers and their matter are those of this
benchmark. Published studies use Geant4: results are not like for like.

References:
    C. Fanelli et al. (ECCE), arXiv:2205.09185, for parameters, ranges and objectives.
"""

__all__ = ["OBJECTIVES", "Config", "Tracker", "build", "track_quality"]

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from detopt.design import Continuous, Design, DesignSpace, Interval, Limit
from detopt.physics import tracking
from detopt.physics.scattering import highland_variance
from detopt.pipeline import Outcome, Problem, Summary
from detopt.units import Number

OBJECTIVES = ("momentum", "angle", "inefficiency")
ETA_EDGES = (-3.5, -2.0, -1.0, 1.0, 2.0, 3.5)
# radius or distance [m], resolution [m], thickness in radiation lengths
PIXEL, GAS, TIMING = (5e-6, 0.001), (55e-6, 0.004), (30e-6, 0.02)
VERTEX = (0.033, 0.0435, 0.054)  # m
VERTEX_HALF_LENGTH = 0.135  # m
SAGITTA_LENGTH, SAGITTA_STEP = 0.84, 0.0168  # m; radius is half of it times tan(cone)
OUTER = (0.51, 0.77)  # m, gas layers behind the movable one
FIRST_DISK, LAST_BACKWARD = 0.25, 1.06  # m
PIPE, PIPE_SLOPE = 0.032, 0.012  # m, inner radius of disks and its growth with distance
WIDEST = 0.65  # m, outer radius of disks
EDGE, INNER_EDGE = 0.01, 0.003  # m, over which the acceptance of a layer vanishes
LEAST = 1e-8  # hit weight of a layer that is missed
FARTHEST = 1.5  # m, radius that a missed disk is given at most
RICH_RADIUS, RICH_DISTANCE = 0.80, 1.90  # m
HIT_EFFICIENCY, LEAST_HITS = 0.98, 4
DENSITY, DENSITY_RADIUS, WINDOW = 5e3, 0.10, 3.0  # strange hits per m2 there, standard deviations
SEED_OFFSET, SEED_SLOPE, SEED_CURVATURE = 1e-4, 0.002, 0.02  # m, dimensionless, 1/m
DISK_GAP, BARREL_GAP = 0.10, 0.05  # m
TILES, BARREL_TILE = (0.0178, 0.0300), 0.0178  # m
CHECK_EVENTS = 8
RECOMMENDED = {"rounds": 100, "method_options": {"learning_rate": 0.1}, "evaluation_events": 400}
PARAMETERS = {  # start, which is the baseline too, and range; lengths in m, the cone in rad
    "cone": (0.47, math.radians(25), math.radians(30)),
    "barrel": (0.33, 0.25, 0.45),
    "backward_1": (0.42, 0.35, 0.50),
    "backward_2": (0.75, 0.45, 1.00),
    "backward_timing": (1.66, 1.61, 1.71),
    "forward_1": (0.42, 0.35, 0.50),
    "forward_2": (0.70, 0.45, 1.00),
    "forward_3": (1.25, 1.00, 1.50),
    "forward_timing": (1.70, 1.56, 1.83),
}
SIDES = ("backward", "forward")
TIMING_LAYERS = ("backward_timing", "forward_timing")
MOVABLE = ("backward_1", "backward_2", "forward_1", "forward_2", "forward_3")  # disks


class Config(BaseModel):
    """Options of the benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: Number = Field(1.5, gt=0, description="Magnetic field [T]")
    low_momentum: Number = Field(2.0, gt=0, description="Least momentum [GeV/c]")
    high_momentum: Number = Field(20.0, gt=0, description="Largest momentum [GeV/c]")
    n_events: int = Field(50, ge=2, description="Tracks in each bin of pseudorapidity")


@dataclass(frozen=True)
class Qualities(Summary):
    """What one track in each bin is measured to, in the design and in the baseline."""

    design: Float[Tensor, "n bins 3"]
    baseline: Float[Tensor, "n bins 3"]


def track_quality(
    design: Mapping[str, Tensor],
    eta: Float[Tensor, " n"],
    momentum: Float[Tensor, " n"],
    field: float,
) -> Float[Tensor, "*designs n 3"]:
    r"""Relative momentum resolution, angular resolution at the RICH [rad] and inefficiency.

    The inefficiency is that of tracks with fewer than four hits, or with a strange hit in a window
    of three standard deviations :math:`S_i` of the filter's prediction,

    .. math::
        1 - P(N \ge 4)\, \exp\Big(-\sum_i w_i\, \rho(r_i)\, \pi\, 9 \sqrt{S_i^t S_i^z}\Big)

    where :math:`S_i` is the square of the diagonal of the Cholesky factor of all offsets'
    covariance, prior of the seed included.

    Args:
        design: A design, or a batch of them.
        eta: Pseudorapidity of the tracks, not 0.
        momentum: Their momentum [GeV/c].
        field: Magnetic field [T].

    Note:
        For tracks that turn little. A layer's acceptance ends over a centimetre, so that all is
        differentiable in the design.
    """
    layers, weight = _crossed(design, eta)
    sine = 1 / torch.cosh(eta)
    transverse, polar = momentum * sine, torch.atan2(sine, torch.tanh(eta))
    shape = layers.radius.shape[:-1]
    found = tracking.track_resolution(layers, transverse.expand(shape), field, polar.expand(shape))
    tilt = _scattering(layers, momentum, sine)
    angle = _angle_at_rich(layers, tilt, eta, sine)
    lost = _inefficiency(layers, weight, tilt, sine)
    return torch.stack([found.momentum, angle, lost], dim=-1)


def _crossed(
    design: Mapping[str, Tensor], eta: Float[Tensor, " n"]
) -> tuple[tracking.TrackingLayers, Float[Tensor, "*designs n layers"]]:
    """The layers where each track crosses them, in order of radius, and whether it does."""
    slope, forward = torch.sinh(eta).abs()[:, None], (eta > 0)[:, None]
    sine = 1 / torch.cosh(eta)[:, None]
    cone = design["cone"][..., None].tan()
    sagitta = SAGITTA_LENGTH / 2 * cone
    fixed = torch.ones_like(cone)
    barrel = torch.cat(
        [
            torch.tensor(VERTEX).to(cone) * fixed,
            sagitta,
            sagitta + SAGITTA_STEP,
            design["barrel"][..., None],
            torch.tensor(OUTER).to(cone) * fixed,
        ],
        dim=-1,
    )[..., None, :]
    reach = torch.where(_mask(barrel, len(VERTEX)), VERTEX_HALF_LENGTH, barrel / cone[..., None, :])
    barrel_weight = torch.sigmoid((reach - barrel * slope) / EDGE)

    moved = {name: design[name][..., None] for name in (*MOVABLE, *TIMING_LAYERS)}
    back, front = ([one for name, one in moved.items() if name.startswith(side)] for side in SIDES)
    back.insert(2, LAST_BACKWARD * fixed)
    ahead, behind = (
        torch.cat([FIRST_DISK * fixed, *side], dim=-1)[..., None, :] for side in (front, back)
    )
    distance = torch.where(forward, ahead, behind)
    radius = (distance / slope).clamp(max=FARTHEST)
    outer = (distance * cone[..., None, :]).clamp(max=WIDEST)
    disk_weight = torch.sigmoid((outer - radius) / EDGE) * torch.sigmoid(
        (radius - PIPE - PIPE_SLOPE * distance) / INNER_EDGE
    )

    kinds = [PIXEL] * 5 + [GAS] * 3 + [PIXEL] * 4 + [TIMING]
    resolution, thickness = torch.tensor(kinds).to(cone).unbind(dim=-1)
    weight = torch.cat([barrel_weight, disk_weight], dim=-1)
    position = torch.cat([barrel.expand(barrel_weight.shape), radius], dim=-1)
    # a disk counts its matter along z and measures radii, of which z follows from the slope
    turn = torch.cat([torch.ones_like(sine).expand(-1, 8), (1 / slope).expand(-1, 5)], dim=-1)
    lever = torch.cat([torch.ones_like(sine).expand(-1, 8), slope.expand(-1, 5)], dim=-1)
    weight = weight.clamp(min=LEAST)
    across = resolution / weight.sqrt()
    columns = [position, across, across * lever, thickness * turn * weight, weight]
    order = position.detach().argsort(dim=-1)
    position, across, along, matter, weight = (c.gather(-1, order) for c in columns)
    return tracking.TrackingLayers(position, across, matter, along), weight


def _mask(like: Tensor, n: int) -> Tensor:
    return torch.arange(like.shape[-1]) < n


def _scattering(
    layers: tracking.TrackingLayers, momentum: Tensor, sine: Tensor
) -> Float[Tensor, "*designs n layers"]:
    """Width of the scattering angle in each layer [rad]."""
    crossed = layers.thickness / sine[:, None]
    beta = momentum / torch.hypot(momentum, momentum.new_tensor(tracking.PION_MASS))
    total = crossed.sum(dim=-1, keepdim=True)
    return highland_variance(crossed, total, momentum[:, None], beta[:, None]).sqrt()


def _angle_at_rich(
    layers: tracking.TrackingLayers, angle: Tensor, eta: Tensor, sine: Tensor
) -> Float[Tensor, "*designs n"]:
    """Resolution of the polar angle where the track enters the RICH, seen backwards from there."""
    assert layers.longitudinal is not None
    rich = (RICH_DISTANCE / torch.sinh(eta).abs()).clamp(max=RICH_RADIUS)[:, None]
    back = (rich - layers.radius).clamp(min=0.0)
    tilt = angle / sine[:, None].square()
    spread = tracking.position_covariance(back, layers.longitudinal, back, tilt)
    slope = tracking.fit_covariance(back, spread, degree=1)[..., 1, 1]
    return slope.sqrt() * sine.square()


def _inefficiency(
    layers: tracking.TrackingLayers, weight: Tensor, angle: Tensor, sine: Tensor
) -> Float[Tensor, "*designs n"]:
    assert layers.longitudinal is not None
    radius = layers.radius
    powers = torch.stack([torch.ones_like(radius), radius, radius.square() / 2], dim=-1)
    prior = torch.tensor([SEED_OFFSET, SEED_SLOPE, SEED_CURVATURE]).to(radius)
    windows = []
    for tilt, resolution, n in (
        (angle / sine[:, None], layers.resolution, 3),
        (angle / sine[:, None].square(), layers.longitudinal, 2),
    ):
        known = powers[..., :n] * prior[:n]
        spread = tracking.position_covariance(radius, resolution, radius, tilt) + known @ known.mT
        windows.append(torch.linalg.cholesky(spread).diagonal(dim1=-2, dim2=-1))
    density = DENSITY * (DENSITY_RADIUS / radius).square()
    across, along = windows
    # the prediction of a layer that is missed is as wide as its resolution: it counts by weight
    strange = weight.square() * density * math.pi * WINDOW**2 * across * along
    hit = HIT_EFFICIENCY * weight
    counts = [torch.ones_like(hit[..., 0])] + [torch.zeros_like(hit[..., 0])] * (LEAST_HITS - 1)
    for one in hit.unbind(dim=-1):
        before = [torch.zeros_like(one), *counts[:-1]]
        counts = [now * (1 - one) + less * one for now, less in zip(counts, before, strict=True)]
    few = torch.stack(counts).sum(dim=0)
    return 1 - (1 - few) * torch.exp(-strange.sum(dim=-1))


@dataclass
class Tracker(Problem):
    """Three qualities of a tracker, relative to a baseline.

    Args:
        config: Options of the use case.
        space: All designs that may be built.
        baselines: Designs to compare with; `baseline` is the unit of the objectives.
    """

    config: Config
    space: DesignSpace
    baselines: Mapping[str, Design] = field(default_factory=dict)
    n_events: int = 50
    chunk_size: int = 200
    dtype: torch.dtype = torch.float64
    objective_name: str = "mean of momentum, angle and inefficiency [those of the baseline]"
    objective_names: tuple[str, ...] = OBJECTIVES

    def __post_init__(self) -> None:
        self._check()

    def with_space(self, space: DesignSpace) -> "Tracker":
        """The same tracker with another space of designs."""
        return replace(self, space=space)

    def tracks(self, n: int, rng: Generator) -> tuple[Tensor, Tensor]:
        """Pseudorapidity and momentum [GeV/c] of `n` tracks in each bin, bins last."""
        config, edges = self.config, torch.tensor(ETA_EDGES, dtype=self.dtype)
        uniform = torch.rand(2, n, len(edges) - 1, generator=rng, dtype=self.dtype)
        eta = edges[:-1] + edges.diff() * uniform[0]
        width = config.high_momentum - config.low_momentum
        momentum = config.low_momentum + width * uniform[1]
        return torch.where(eta.abs() < 1e-3, 1e-3, eta), momentum

    def summarize(self, design: Design, n_events: int, rng: Generator) -> Qualities:
        """Qualities of tracks, in the design and in the baseline."""
        eta, momentum = self.tracks(n_events, rng)
        field = self.config.field
        found = [
            track_quality(one, eta.flatten(), momentum.flatten(), field).reshape(*eta.shape, 3)
            for one in (design, self.baselines["baseline"].to(self.dtype))
        ]
        return Qualities(*found)

    def judge(self, summary: Summary, design: Design) -> Outcome:
        """Ratios to the baseline: of each track for resolutions, of the sums for inefficiency."""
        assert isinstance(summary, Qualities)
        ratios = ratio(summary.design, summary.baseline)
        objectives = dict(zip(OBJECTIVES, ratios.unbind(), strict=True))
        return Outcome(ratios.mean(), terms=_tiles(design), objectives=objectives)


def ratio(
    design: Float[Tensor, "*designs n bins 3"], baseline: Float[Tensor, "n bins 3"]
) -> Float[Tensor, "*designs 3"]:
    """Mean over bins of the qualities in units of those of the baseline."""
    each = (design[..., :2] / baseline[..., :2]).mean(dim=-3)
    sums = design[..., 2:].mean(dim=-3) / baseline[..., 2:].mean(dim=-3)
    return torch.cat([each, sums], dim=-1).mean(dim=-2)


def _tiles(design: Mapping[str, Tensor]) -> dict[str, Tensor]:
    r"""How far the sensors are from whole tiles, :math:`\sin^2 \pi x`: 0 fits, 1 is half a tile."""
    distance = torch.stack([design[name] for name in MOVABLE])
    outer = (distance * design["cone"].tan()).clamp(max=WIDEST)
    length = outer - PIPE - PIPE_SLOPE * distance
    sagitta = SAGITTA_LENGTH / 2 * design["cone"].tan()
    found = {
        f"disks, tiles of {1e3 * tile:.1f} mm": torch.sin(math.pi * length / tile).square().mean()
        for tile in TILES
    }
    turn = 2 * math.pi * sagitta / BARREL_TILE
    return found | {"barrel, tiles around": torch.sin(math.pi * turn).square()}


def _limits() -> list[Limit]:
    pairs = (MOVABLE[:2], MOVABLE[2:4], MOVABLE[3:5], (MOVABLE[4], TIMING_LAYERS[1]))
    gaps = [
        Limit(f"{far} behind {near}", functools.partial(_shortage, near, far), -DISK_GAP, "m")
        for near, far in pairs
    ]
    last = Limit(MOVABLE[1], lambda design: design[MOVABLE[1]], LAST_BACKWARD - DISK_GAP, "m")
    return [*gaps, last, Limit("barrel behind sagitta layers", _barrel_shortage, -BARREL_GAP, "m")]


def _shortage(near: str, far: str, design: Mapping[str, Tensor]) -> Tensor:
    return design[near] - design[far]


def _barrel_shortage(design: Mapping[str, Tensor]) -> Tensor:
    sagitta = SAGITTA_LENGTH / 2 * design["cone"].tan() + SAGITTA_STEP
    return sagitta - design["barrel"]


def build(config: Config) -> Tracker:
    """The design problem that `config` describes."""
    parameters = [
        Continuous(name, start, Interval(low, high), "rad" if name == "cone" else "m")
        for name, (start, low, high) in PARAMETERS.items()
    ]
    space = DesignSpace(parameters, limits=_limits())
    return Tracker(config, space, {"baseline": space.start}, n_events=config.n_events)
