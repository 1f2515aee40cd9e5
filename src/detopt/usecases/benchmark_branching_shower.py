r"""Branching shower: where should a ring of absorber begin so that showers develop at radius 2?

A particle leaves the origin in a random direction and steps through a ring of structured absorber
that begins at radius theta. At every step it may interact: in the mode `shower` it splits into two
of half its energy, in the mode `loss` it loses a fixed energy. It stops at low energy or outside.
Objective: the mean over showers of (m - 2)^2, with m the mean radius of all interactions and stops.

Every interaction is a discrete draw whose probability depends on the design, so that the simulation
has no derivative; `baseline` chooses how the scores of the draws are weighted. All choices are
unbiased but `naive`, which leaves the draws out. Lengths and energies have no unit.

References:
    M. Kagan and L. Heinrich, arXiv:2308.16680, section 4 and the released code.
"""

__all__ = ["Config", "build", "simulate"]

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from detopt.design import Continuous, Design, DesignSpace, Real
from detopt.gradients.branching import BranchingBaseline, Trials, attach_branching
from detopt.gradients.particle_bank import ParticleBank, fly
from detopt.pipeline import FunctionProblem

ENERGY, LOWEST_ENERGY, LOSS = 25.0, 0.5, 2.0
STEP, OUTSIDE, DEPTH = 0.02, 20.0, 10.0  # length of a step, end of the world, depth of the ring
KICK = 0.05  # of both components of the direction at a split
TARGET = 2.0  # radius
SHARPNESS = 10.0  # of all edges
PERIOD = 2 * math.pi / SHARPNESS  # of the structure in azimuth
N_AZIMUTHS = 32  # of the prediction, in a period
REACH = (1.0, 3.0)  # of the prediction, before and behind the edge
RECOMMENDED = {"rounds": 60, "method_options": {"learning_rate": 0.1}, "evaluation_events": 4_000}
CHECK_EVENTS = 600


class Config(BaseModel):
    """Options of the benchmark."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["shower", "loss"] = Field("shower", description="What an interaction does")
    baseline: BranchingBaseline | Literal["naive"] = Field(
        "martingale", description="Weights of the scores, or naive for none"
    )
    n_showers: int = Field(200, gt=0, description="Showers in an evaluation")
    start: float = Field(3.0, gt=0, description="Radius theta to start from")

    def is_biased(self) -> bool:
        """Whether the draws are left out of pathwise gradients."""
        return self.baseline == "naive"

    @property
    def n_children(self) -> int:
        """Particles after an interaction."""
        return 2 if self.mode == "shower" else 1

    @property
    def n_generations(self) -> int:
        """Interactions from the first particle to one that stops."""
        if self.mode == "shower":
            return math.floor(math.log2(ENERGY / LOWEST_ENERGY)) + 1
        return math.floor((ENERGY - LOWEST_ENERGY) / LOSS) + 1


PATHWISE_IS_BIASED = Config.is_biased  # intended: the conformance suite demands that it shows


class _Showers:
    """The squared distance of each shower's mean radius from the target."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self, design: Design, n_events: int, rng: torch.Generator
    ) -> Float[Tensor, " n_events"]:
        theta, baseline = design["theta"], self.config.baseline
        bank, trials, births = simulate(self.config, theta, n_events, rng)
        if baseline == "naive":
            return _distance(bank.row_sums(bank.tallies))
        return attach_branching(bank, trials, _distance, baseline, births)


def _distance(sums: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """(m - 2)^2 from the sum of radii and the number of points."""
    return (sums[..., 0] / sums[..., 1] - TARGET).square()


def simulate(
    config: Config, theta: Float[Tensor, ""], n_showers: int, rng: torch.Generator
) -> tuple[ParticleBank, Trials, Float[Tensor, "n_particles 2"]]:
    """Showers, all trials of their particles, and what is known of each particle at its birth.

    Every flight has a random number of its own, so that showers of two designs share theirs.
    """
    n_slots = sum(config.n_children**g for g in range(config.n_generations))
    azimuth = 2 * math.pi * torch.rand(n_showers, generator=rng, dtype=theta.dtype)
    uniform = torch.rand(n_showers, n_slots, generator=rng, dtype=theta.dtype)
    direction = torch.stack([azimuth.cos(), azimuth.sin()], dim=1)
    position = torch.zeros_like(direction)
    predict = None
    if config.baseline == "martingale" and theta.requires_grad:
        predict = _Prediction(config, theta.detach())

    bank, trials, births = ParticleBank(n_showers), list[Trials](), list[Tensor]()
    row = torch.arange(n_showers)
    slot = torch.zeros_like(row)
    parent = row[:0]
    for generation in range(config.n_generations + 1):
        births.append(_features(position, theta.detach()))
        origin = {"row": row} if generation == 0 else {"parent": parent}
        if generation == config.n_generations:  # too little energy to go on
            bank.add(_point(position), **origin)
            break
        chances = _Chances(theta.detach(), position, direction)
        flights = fly(chances, _limits(position, direction), uniform[row, slot])
        end = chances.place(torch.arange(len(position)), flights.n_steps)
        index = bank.add(_point(end), **origin)
        place = chances.place(flights.particle, flights.step)
        predictions = predict(place, generation) if predict is not None else (None, None)
        probability = _probability(theta, place)
        trials.append(Trials(index[flights.particle], probability, flights.success, *predictions))
        alive = flights.interacted
        position, direction = _products(config, end[alive], direction[alive])
        n_children = config.n_children
        row, parent = row[alive].repeat(n_children), index[alive].repeat(n_children)
        slot = torch.cat([n_children * slot[alive] + k + 1 for k in range(n_children)])
    return bank, _join(trials), torch.cat(births)


def _probability(theta: Tensor, place: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch"]:
    """Of an interaction in the step that ends at `place`; its derivative is that in theta."""
    radius = place.norm(dim=-1)
    structure = _structure(radius, torch.atan2(place[..., 1], place[..., 0]))
    return _ring(theta, radius) * structure


def _structure(radius: Tensor, azimuth: Tensor) -> Tensor:
    """Half of the two factors that do not depend on the design."""
    spiral = torch.sigmoid(-SHARPNESS * torch.sin(SHARPNESS * (azimuth + 2 * radius)))
    shells = torch.sigmoid(-SHARPNESS * torch.cos(SHARPNESS * (radius - TARGET)))
    return 0.5 * spiral * shells


def _ring(theta: Tensor, radius: Tensor) -> Tensor:
    """The factors of the two edges of the ring."""
    inner = torch.sigmoid(SHARPNESS * (radius - theta))
    return inner * torch.sigmoid(SHARPNESS * (theta + DEPTH - radius))


class _Chances:
    """Probabilities along straight flights."""

    def __init__(self, theta: Tensor, position: Tensor, direction: Tensor) -> None:
        self.theta, self.position, self.direction = theta, position, direction

    def place(self, particle: Tensor, step: Tensor) -> Tensor:
        """Where a step ends."""
        length = STEP * step.to(self.position)
        return self.position[particle] + length[..., None] * self.direction[particle]

    def __call__(self, particle: Tensor, step: Tensor) -> Tensor:
        """Probability of an interaction."""
        return _probability(self.theta, self.place(particle, step))


def _limits(position: Tensor, direction: Tensor) -> Int[Tensor, " n"]:
    """The step that leads outside."""
    along = (position * direction).sum(1)
    way = (along.square() + OUTSIDE**2 - position.square().sum(1)).clamp_min(0).sqrt() - along
    return (way / STEP).floor().to(torch.int64).clamp_min(0) + 1


def _products(config: Config, position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Where the children of interactions begin, and their directions."""
    if config.mode == "loss":
        return position, direction
    kicked = torch.cat([direction + KICK, direction - KICK])
    return position.repeat(2, 1), kicked / kicked.norm(dim=1, keepdim=True)


def _point(position: Tensor) -> Float[Tensor, "n 2"]:
    """Radius and count of an interaction or stop."""
    radius = position.norm(dim=1)
    return torch.stack([radius, torch.ones_like(radius)], dim=1)


def _features(position: Tensor, theta: Tensor) -> Float[Tensor, "n 2"]:
    """Depth in the ring at birth, and its square."""
    depth = position.norm(dim=1).clamp_min(float(theta) - 0.5) - theta
    return torch.stack([depth, depth.square()], dim=1)


def _join(trials: list[Trials]) -> Trials:
    """The trials of all generations."""
    return Trials(
        torch.cat([each.particle for each in trials]),
        torch.cat([each.probability for each in trials]),
        torch.cat([each.success for each in trials]),
        _cat([each.if_success for each in trials]),
        _cat([each.if_failure for each in trials]),
    )


def _cat(columns: list[Tensor | None]) -> Tensor | None:
    known = [column for column in columns if column is not None]
    return torch.cat(known) if known else None


class _Prediction:
    """Expected sums over a particle and its descendants, if nobody ever changed direction.

    Along a straight line from the center the expectations obey a recursion from step to step and
    generation to generation. They are tabulated in a period of the azimuth and around the edge;
    elsewhere the nearest entry stands in. Only the noise depends on how good that is.
    """

    def __init__(self, config: Config, theta: Tensor) -> None:
        low = (theta - REACH[0]).clamp(0, OUTSIDE - REACH[1])
        high = (theta + REACH[1]).clamp_max(OUTSIDE)
        self.low = low
        n_radii = int((high - low) / STEP) + 1
        self.n_children, n = config.n_children, config.n_generations
        radius = low + STEP * torch.arange(n_radii, dtype=theta.dtype)
        azimuth = PERIOD * (torch.arange(N_AZIMUTHS, dtype=theta.dtype) + 0.5) / N_AZIMUTHS
        chance = _ring(theta, radius)[:, None] * _structure(radius[:, None], azimuth)
        points = torch.stack([radius, torch.ones_like(radius)], dim=1)
        table = points[:, None, None].repeat(1, N_AZIMUTHS, n + 1, 1)
        for k in range(n_radii - 2, -1, -1):
            p = chance[k + 1, :, None, None]
            split = points[k + 1] + self.n_children * table[k + 1, :, 1:]
            table[k, :, :n] = p * split + (1 - p) * table[k + 1, :, :n]
        self.table = table

    def __call__(self, place: Tensor, generation: int) -> tuple[Tensor, Tensor]:
        """Sums after an interaction at `place`, and after none."""
        radius, azimuth = place.norm(dim=1), torch.atan2(place[:, 1], place[:, 0])
        k = ((radius - self.low) / STEP).round().to(torch.int64).clamp(0, len(self.table) - 1)
        a = (azimuth.remainder(PERIOD) / PERIOD * N_AZIMUTHS).to(torch.int64)
        a = a.clamp_max(N_AZIMUTHS - 1)
        after = _point(place) + self.n_children * self.table[k, a, generation + 1]
        return after, self.table[k, a, generation]


def build(config: Config) -> FunctionProblem:
    """The design problem that `config` describes."""
    space = DesignSpace(
        [Continuous("theta", config.start, Real(), description="Radius where the ring begins")]
    )
    return FunctionProblem(
        space,
        _Showers(config),
        n_events=config.n_showers,
        chunk_size=1_000,
        objective_name="mean squared distance of the showers' mean radius from 2",
    )
