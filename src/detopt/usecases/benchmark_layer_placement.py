r"""Layer placement: where should a calorimeter have its sensors, for electrons and for pions?

Showers develop in a block of absorber; a library holds for each of them the energy deposited up to
every depth. A sensor sees the difference over its thickness, so that a design costs two
interpolations a layer and shower, and its gradient is exact. Each sensor's signal is weighted with
the absorber in front of it, their sum is calibrated by least squares on one half of the
showers, and the resolution is that of the other half. Design parameter: `positions` of the sensors
[m], in order. Objective: hadronic plus electromagnetic resolution, in units of those of equal
spacings.

Showers are those of `detopt.physics.showers`, not of a full simulation: results are not like for
like with published ones, which are made with Geant4.

References:
    S. Qasim et al., arXiv:2412.10237, for the problem and the library of depths.
"""

__all__ = [
    "Config",
    "LayerPlacement",
    "ShowerLibrary",
    "build",
    "make_showers",
    "measure",
    "uniform",
]

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from detopt.design import Continuous, Design, DesignSpace, Ordered
from detopt.physics import materials, showers
from detopt.pipeline import Outcome, Problem, Summary
from detopt.random import Seed
from detopt.units import Length, Number

SENSOR = "polystyrene"
E_OVER_H = 1.4  # of iron and scintillator; Wigmans, Calorimetry (2017)
INSIDE = 0.98  # equal spacings times this are the start: their last sensor lies on the bound
FLOOR = 1e-6  # GeV of a sensor, below which its fluctuations no longer fall
CHECK_EVENTS = 200
RECOMMENDED = {
    "rounds": 150,
    "method_options": {"learning_rate": 0.1},
    "evaluation_events": 4_000,
}


class Config(BaseModel):
    """Options of the benchmark; lengths in metres or with units."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_layers: int = Field(8, ge=2, description="Sensors")
    length: Length = Field(1.64, gt=0.1, description="Depth of the block [m]")
    absorber: str = Field("iron", description="Material of the block")
    sensor: Length = Field(5e-3, gt=0, description="Thickness of a sensor [m]")
    gap: Length = Field(2e-3, gt=0, description="Least absorber between two sensors [m]")
    energies: tuple[Number, ...] = Field((20.0, 50.0), min_length=1, description="Energies [GeV]")
    hadronic_weight: Number = Field(1.0, ge=0, description="Of the hadronic resolution")
    electromagnetic_weight: Number = Field(0.1, ge=0, description="Of the electromagnetic one")
    n_showers: int = Field(1_000, ge=20, description="Showers of each kind in the library")
    nodes: int = Field(4, ge=1, description="Steps of the library in the thickness of a sensor")
    library_seed: int = Field(0, ge=0, description="Seed of the library")


@dataclass(frozen=True)
class ShowerLibrary:
    """Energy that showers have deposited up to equally spaced depths.

    Attributes:
        cumulative: Deposited energy at each node [GeV]; kinds are particles times energies,
            electrons first.
        step: Distance of the nodes [m].
    """

    cumulative: Float[Tensor, "showers kinds nodes"]
    step: float

    def deposited(self, depth: Float[Tensor, " layers"]) -> Float[Tensor, "showers kinds layers"]:
        r"""Energy in front of some depths [GeV], cubic between the nodes.

        .. math::
            C = C_0 + \tfrac{f}{2}\left[C_1 - C_{-1} + f (2 C_{-1} - 5 C_0 + 4 C_1 - C_2)
                + f^2 (3 C_0 - 3 C_1 + C_2 - C_{-1})\right]

        at the share :math:`f` of the way from node 0 to node 1. Its slope is continuous, whereas
        that of chords is wrong by the curvature over half a step.

        Args:
            depth: Depths [m]; those outside of the block count as its faces.

        Note:
            Differentiable in the depth, exactly.

        References:
            E. Catmull and R. Rom, in Computer Aided Geometric Design (1974) 317.
        """
        last = self.cumulative.shape[-1] - 1
        node = (depth / self.step).clamp(0, last)
        below = node.detach().floor().clamp(max=last - 1).long()
        f = node - below
        before, here, there, after = (
            self.cumulative[..., (below + k).clamp(0, last)].to(depth) for k in (-1, 0, 1, 2)
        )
        square = 2 * before - 5 * here + 4 * there - after
        cube = 3 * (here - there) + after - before
        return here + f / 2 * (there - before + f * (square + f * cube))


@dataclass(frozen=True)
class Signals(Summary):
    """Weighted sums of the sensors, for one shower of each kind."""

    total: Float[Tensor, "n kinds"]  # [GeV]
    first: Bool[Tensor, " n"]  # of two halves that calibrate each other


def make_showers(config: Config, n: int, rng: Generator) -> ShowerLibrary:
    """Draw showers of electrons and pions in the block.

    An electron makes one shower of fluctuating shape. A pion interacts after an exponential depth;
    its electromagnetic share fluctuates, and is divided at random between this interaction and
    a second one further behind, each a shower of fluctuating shape. The rest follows the hadronic
    profile and counts less by e/h.

    Args:
        config: Options of the use case.
        n: Showers of each kind.
        rng: Source of the draws.

    Note:
        Nuclear binding fluctuates together with the electromagnetic share alone: the hadronic
        resolution is a lower limit.
    """
    material = materials.get(config.absorber)
    step = config.sensor / config.nodes
    depth = step * torch.arange(int(config.length / step) + 2)
    energy = torch.tensor(config.energies).expand(n, -1)
    length, ratio = material.nuclear_interaction_length, material.radiation_length
    electron = _electromagnetic(config, energy, torch.zeros_like(energy), depth, rng)

    share = showers.sample_em_fraction(energy, rng)
    split, first, further = torch.rand(3, *energy.shape, generator=rng)
    first, further = (-length * torch.log1p(-one) for one in (first, further))
    inside = energy * share
    early = _electromagnetic(config, inside * split, first, depth, rng)
    late = _electromagnetic(config, inside * (1 - split), first + further, depth, rng)
    shape = showers.hadron_shape(energy[..., None])
    behind = (depth - first[..., None]) / length
    rest = showers.hadron_contained_fraction(behind, shape, length / ratio, 0.0)
    pion = early + late + (energy * (1 - share) / E_OVER_H)[..., None] * rest
    return ShowerLibrary(torch.cat([electron, pion], dim=1), step)


def _electromagnetic(
    config: Config, energy: Tensor, start: Tensor, depth: Tensor, rng: Generator
) -> Float[Tensor, "n energies nodes"]:
    material = materials.get(config.absorber)
    shape = showers.sample_shape(energy, showers.homogeneous(material), rng)
    wide = showers.LongitudinalShape(shape.maximum[..., None], shape.alpha[..., None])
    behind = (depth - start[..., None]) / material.radiation_length
    return energy[..., None] * showers.contained_fraction(behind, wide)


@functools.lru_cache(maxsize=4)
def _library(config: Config) -> ShowerLibrary:
    rng = Seed("layer placement", config.library_seed).generator()
    return make_showers(config, config.n_showers, rng)


@dataclass
class LayerPlacement(Problem):
    """Resolution of a calorimeter whose sensors stand at given depths.

    Args:
        config: Options of the use case.
        space: All designs that may be built.
        baselines: Designs to compare with.
        scale: Hadronic and electromagnetic resolution that count as 1.
        fresh: Whether showers are drawn anew, instead of from the library.
    """

    config: Config
    space: DesignSpace
    baselines: Mapping[str, Design] = field(default_factory=dict)
    scale: tuple[float, float] = (1.0, 1.0)
    fresh: bool = False
    n_events: int = 1_000
    chunk_size: int = 1_000
    dtype: torch.dtype = torch.float32
    objective_name: str = "hadronic + electromagnetic resolution [those of equal spacings]"

    def __post_init__(self) -> None:
        self._check()

    @property
    def reference(self) -> "LayerPlacement":
        """The problem with showers that are in no library."""
        return replace(self, fresh=True)

    def with_space(self, space: DesignSpace) -> "LayerPlacement":
        """The same block with another space of designs."""
        return replace(self, space=space)

    def summarize(self, design: Design, n_events: int, rng: Generator) -> Signals:
        """Weighted sums of the sensors' signals."""
        config, position = self.config, design["positions"]
        if self.fresh:
            return measure(config, make_showers(config, n_events, rng), position, rng)
        library = _library(config)
        chosen = torch.randint(config.n_showers, (n_events,), generator=rng)
        return measure(config, library, position, rng, chosen)

    def judge(self, summary: Summary, design: Design) -> Outcome:  # noqa: ARG002
        """Resolution of each half of the showers, calibrated with the other half."""
        assert isinstance(summary, Signals)
        config = self.config
        electron, pion = summary.total.chunk(2, dim=1)
        energy = torch.tensor(config.energies, dtype=electron.dtype)
        found = [_resolution(total / energy, energy, summary.first) for total in (pion, electron)]
        hadronic, electromagnetic = (one.mean() for one in found)
        objective = (
            config.hadronic_weight * hadronic / self.scale[0]
            + config.electromagnetic_weight * electromagnetic / self.scale[1]
        )
        terms = {"hadronic": hadronic, "electromagnetic": electromagnetic}
        names = ("hadronic", "electromagnetic")
        metrics = {
            f"{name} at {value:g} GeV": one
            for name, each in zip(names, found, strict=True)
            for value, one in zip(config.energies, each, strict=True)
        }
        return Outcome(objective, terms=terms, metrics=metrics)


def measure(
    config: Config,
    library: ShowerLibrary,
    position: Float[Tensor, " layers"],
    rng: Generator,
    chosen: Int[Tensor, " n"] | None = None,
) -> Signals:
    """Weighted sums of the sensors' signals in the showers of a library.

    Args:
        config: Options of the use case.
        library: Showers.
        position: Centers of the sensors [m].
        rng: Source of the signals' fluctuations.
        chosen: Which showers, as often as they are named; all of them by default.

    Note:
        Differentiable in the position.
    """
    half = config.sensor / 2
    deposit = library.deposited(position + half) - library.deposited(position - half)
    if chosen is not None:
        deposit = deposit[chosen]
    visible = _visible_share(config) * deposit.clamp(min=0.0)
    quantum = float(showers.sampling_term(config.sensor, 1.0)) ** 2
    normal = torch.randn(visible.shape, generator=rng, dtype=visible.dtype)
    signal = visible + torch.sqrt(quantum * (visible + FLOOR)) * normal
    edges = torch.cat([position.new_zeros(1), position + half])
    absorber = edges.diff() - config.sensor
    total = (signal * absorber / config.sensor).sum(dim=-1) / _visible_share(config)
    return Signals(total, torch.arange(len(total)) % 2 == 0)


def _visible_share(config: Config) -> float:
    """Visible energy of a sensor over what the absorber in its place would hold."""
    sensor, absorber = materials.get(SENSOR), materials.get(config.absorber)
    loss = [one.minimum_ionization * one.density for one in (sensor, absorber)]
    return loss[0] / loss[1]


def _resolution(
    ratio: Float[Tensor, "n energies"], energy: Float[Tensor, " energies"], first: Tensor
) -> Float[Tensor, " energies"]:
    r"""Root mean square of :math:`(a S + b)/E - 1`, where the other half gave a and b."""
    square = torch.zeros_like(energy)
    for mine, other in ((first, ~first), (~first, first)):
        known = ratio[other]
        columns = torch.stack([known, (1 / energy).expand_as(known)], dim=-1).reshape(-1, 2)
        normal = columns.mT @ columns
        factor, offset = torch.linalg.solve(normal, columns.sum(dim=0)).unbind()
        error = factor * ratio[mine] + offset / energy - 1
        square = square + error.square().sum(dim=0)
    return torch.sqrt(square / len(ratio))


def uniform(config: Config) -> Float[Tensor, " layers"]:
    """Centers of sensors behind absorbers of equal thickness, the last one at the end [m]."""
    pitch = config.length / config.n_layers
    return pitch * torch.arange(1, config.n_layers + 1, dtype=torch.float64) - config.sensor / 2


def build(config: Config) -> LayerPlacement:
    """The design problem that `config` describes."""
    low, high = config.sensor / 2, config.length - config.sensor / 2
    domain = Ordered(low, high, config.sensor + config.gap)
    equal = uniform(config)
    start = INSIDE * equal
    space = DesignSpace(
        [Continuous("positions", start.tolist(), domain, "m", description="Depth of the sensors")]
    )
    baseline = Design({"positions": equal})
    problem = LayerPlacement(config, space, {"uniform": baseline})
    rng = Seed("layer placement", "scale", config.library_seed).generator()
    terms = problem.judge(problem.summarize(baseline, config.n_showers, rng), baseline).terms
    return replace(problem, scale=(float(terms["hadronic"]), float(terms["electromagnetic"])))
