r"""Mixed materials: which layers of which materials make a small calorimeter?

Three absorbers of lead or iron and three scintillators of lead tungstate or polystyrene, one behind
the other, with a price and a length that must be kept. Photons and charged pions shower in
them by the parametrizations of `detopt.physics.showers`; the energy is reconstructed by a linear
fit to the three signals, made on one half of the events and judged on the other. Design
parameters: `thickness` of the six layers [m] and their materials. Objective: mean of
:math:`(\hat E - E)^2 / (E + 1)`, E in GeV. The mean over the sampling fluctuations is exact, with
their variances; only showers are drawn.

Published studies of such a detector simulate it with Geant4: results are not like for like.

References:
    K. Schmidt et al., Particles 8 (2025) 47, arXiv:2502.02152, for the layers and their prices.
"""

__all__ = ["Config", "MixedMaterials", "build", "length", "price", "stack"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from detopt.design import Categorical, Continuous, Design, DesignSpace, Interval, Limit
from detopt.physics import materials, showers
from detopt.physics.sampling_showers import sharing_weight
from detopt.physics.shower_stacks import sum_cells
from detopt.pipeline import Outcome, Problem, Summary
from detopt.units import Length, Number

ABSORBERS = ("lead", "iron")
SCINTILLATORS = ("PbWO4", "polystyrene")
PRICES = {"lead": 25.0, "iron": 4.166, "PbWO4": 2500.0, "polystyrene": 0.01}  # per cm
N_CELLS = 3
CM = 0.01  # m
E_OVER_H = 1.4  # typical of iron and lead with scintillator
FLOOR = 1e-9  # GeV, below which a cell is empty
EMPTY = 1e-200  # weighted share of a cell that counts as none
RIDGE = 1e-9  # of the fit, relative: signals may vanish
CHECK_EVENTS = 2_000
RECOMMENDED = {
    "rounds": 100,
    "method": "enumeration",
    "method_options": {"learning_rate": 0.5, "n_events": 2_000},
    "evaluation_events": 20_000,
}


class Config(BaseModel):
    """Options of the benchmark; lengths in metres or with units, energies in GeV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_events: int = Field(400, ge=20, description="Particles in an evaluation")
    low_energy: Number = Field(1.0, gt=0, description="Least energy [GeV]")
    high_energy: Number = Field(20.0, gt=0, description="Largest energy [GeV]")
    thinnest: Length = Field(5e-3, gt=0, description="Least thickness of a layer [m]")
    thickest: Length = Field(0.5, gt=0.1, description="Largest thickness of a layer [m]")
    longest: Length = Field(2.0, ge=0.6, description="Largest length of all layers [m]")
    dearest: Number = Field(200_000.0, ge=80_000, description="Largest price")


@dataclass(frozen=True)
class Signals(Summary):
    """What the scintillators see of each particle."""

    visible: Float[Tensor, "n 3"]  # mean over the sampling fluctuations [GeV]
    variance: Float[Tensor, "n 3"]  # of these fluctuations [GeV^2]
    energy: Float[Tensor, " n"]  # true [GeV]
    first: Bool[Tensor, " n"]  # of two halves that calibrate each other


def _names(design: Mapping[str, Tensor]) -> list[str]:
    """Material of each layer."""
    names = []
    for i in range(N_CELLS):
        names.append(ABSORBERS[int(design[f"absorber_{i}"])])
        names.append(SCINTILLATORS[int(design[f"scintillator_{i}"])])
    return names


def stack(design: Mapping[str, Tensor]) -> showers.Stack:
    """The layers of a design; the scintillators are active."""
    kinds = tuple(materials.get(name) for name in _names(design))
    return showers.Stack(design["thickness"], kinds, (False, True) * N_CELLS)


def price(design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Price of a design."""
    thickness = design["thickness"]
    each = torch.tensor(
        [PRICES[name] for name in _names(design)], dtype=thickness.dtype, device=thickness.device
    )
    return (each * thickness / CM).sum()


def length(design: Mapping[str, Tensor]) -> Float[Tensor, ""]:
    """Length of a design [m]."""
    return design["thickness"].sum()


@dataclass
class MixedMaterials(Problem):
    """Error of the energy that three scintillators between absorbers tell.

    Args:
        config: Options of the use case.
        space: All designs that may be built.
        baselines: Designs to compare with.
    """

    config: Config
    space: DesignSpace
    baselines: Mapping[str, Design] = field(default_factory=dict)
    n_events: int = 400
    chunk_size: int = 2_000
    dtype: torch.dtype = torch.float64
    objective_name: str = "mean squared error of the energy over E + 1 GeV [GeV]"

    def __post_init__(self) -> None:
        self._check()

    def with_space(self, space: DesignSpace) -> "MixedMaterials":
        """The same detector with another space of designs."""
        return replace(self, space=space)

    def cost(self, design: Design) -> Float[Tensor, ""]:
        """The price."""
        return price(design)

    def summarize(self, design: Design, n_events: int, rng: Generator) -> Signals:
        """Signals of photons and, as many, of pions."""
        config, layers = self.config, stack(design)
        dtype = layers.thickness.dtype
        uniform, first = torch.rand(2, n_events, generator=rng, dtype=dtype)
        energy = config.low_energy + (config.high_energy - config.low_energy) * uniform
        n_photons = (n_events + 1) // 2
        photons = _photons(layers, energy[:n_photons], rng)
        start = -torch.log1p(-first[n_photons:])
        pions = _pions(layers, energy[n_photons:], start, rng)
        deposit = torch.cat([photons, pions])
        visible, variance = deposit[:, 1::2], _sampling_variance(layers, deposit)
        return Signals(visible, variance, energy, torch.arange(n_events) % 2 == 0)

    def judge(self, summary: Summary, design: Design) -> Outcome:
        r"""Mean error of both halves, each reconstructed with the fit to the other.

        Fit and error are expectations over the sampling fluctuations: with factors :math:`w_c`,
        mean signals :math:`s_c` and variances :math:`v_c`, :math:`\langle (\hat E - E)^2\rangle =
        (\sum_c w_c s_c + w_0 - E)^2 + \sum_c w_c^2 v_c`.
        """
        assert isinstance(summary, Signals)
        loss = torch.zeros_like(summary.energy)
        ones = torch.ones_like(summary.energy)[:, None]
        columns = torch.cat([summary.visible, ones], dim=1)
        variance = torch.cat([summary.variance, torch.zeros_like(ones)], dim=1)
        weight = 1 / (summary.energy + 1)
        for mine in (summary.first, ~summary.first):
            known, its_weight = columns[~mine], weight[~mine]
            normal = known.mT @ (its_weight[:, None] * known)
            normal = normal + torch.diag(its_weight @ variance[~mine])
            ridge = RIDGE * torch.diag(normal.diagonal().detach() + 1e-6)
            target = known.mT @ (its_weight * summary.energy[~mine])
            factors = torch.linalg.solve(normal + ridge, target)
            square = (columns @ factors - summary.energy).square() + variance @ factors.square()
            loss = torch.where(mine, weight * square, loss)
        metrics = {"length [m]": length(design)}
        return Outcome(loss.mean(), cost=price(design), metrics=metrics)


def _photons(
    layers: showers.Stack, energy: Float[Tensor, " n"], rng: Generator
) -> Float[Tensor, "n 6"]:
    """Energy of photons in each layer [GeV]; layers are thick, and their mean is the medium."""
    medium = showers.stack_medium(replace(layers, active=(False,) * 2 * N_CELLS))
    shape = showers.sample_shape(energy, medium, rng)
    wide = showers.LongitudinalShape(shape.maximum[:, None], shape.alpha[:, None])
    start = showers.sample_conversion_depth((len(energy), 1), rng, energy.dtype)
    contained = showers.contained_fraction(_edges(layers.depth) - start, wide)
    return energy[:, None] * _shared(layers, contained, "radiation_length")


def _pions(
    layers: showers.Stack, energy: Float[Tensor, " n"], start: Float[Tensor, " n"], rng: Generator
) -> Float[Tensor, "n 6"]:
    """The same of pions that interact at `start`, in interaction lengths; see `hadron_profile`."""
    electromagnetic = showers.sample_em_fraction(energy, rng)[:, None]
    shape = showers.hadron_shape(energy[:, None])
    depth = layers.thickness / layers.column("nuclear_interaction_length")
    behind = (_edges(depth) - start[:, None]).clamp(min=0.0)
    ratio = layers.column("nuclear_interaction_length") / layers.column("radiation_length")
    steps = behind.diff(dim=1) * ratio
    radiation = torch.nn.functional.pad(steps.cumsum(dim=1), (1, 0))
    light = showers.hadron_contained_fraction(radiation, shape, 1.0, 1.0)
    rest = showers.hadron_contained_fraction(behind, shape, 1.0, 0.0)
    part = electromagnetic * _shared(layers, light, "radiation_length")
    other = _shared(layers, rest, "nuclear_interaction_length") / E_OVER_H
    return energy[:, None] * (part + (1 - electromagnetic) * other)


def _edges(depth: Float[Tensor, "6"]) -> Float[Tensor, "7"]:
    """Depths of the faces of the layers."""
    return torch.nn.functional.pad(depth.cumsum(dim=0), (1, 0))


def _shared(
    layers: showers.Stack, contained: Float[Tensor, "n 7"], unit: str
) -> Float[Tensor, "n 6"]:
    """Shares of the energy in each layer, of a profile in lengths called `unit`.

    A cell keeps what the profile says, and divides it as `deposit_in_layers`.
    """
    inside = contained.diff(dim=1).clamp(min=0.0)  # rounding behind the shower
    lengths = layers.column(unit) / layers.column("radiation_length")
    weighted = inside * sharing_weight(layers) * lengths
    total = sum_cells(layers, weighted).clamp(min=EMPTY)
    return sum_cells(layers, inside) * weighted / total


def _sampling_variance(
    layers: showers.Stack, deposit: Float[Tensor, "n 6"]
) -> Float[Tensor, "n 3"]:
    r"""Variance of the signals by sampling, :math:`s^2 a^2 (1 - f)/E_c` [GeV^2].

    :math:`a` is the `sampling_term`, :math:`E_c` the energy of the cell and :math:`f` the share of
    ionization in its scintillator: where nothing is passive all is seen. The variance is all that
    the objective needs; no distribution of the fluctuations is assumed.
    """
    passive, active = layers.ionization[0::2], layers.ionization[1::2]
    fraction = active / (passive + active)
    term = showers.sampling_term(layers.thickness[1::2], fraction)
    visible = deposit[:, 1::2]
    cell = deposit[:, 0::2] + visible
    return visible.square() * term.square() * (1 - fraction) / (cell + FLOOR)


def build(config: Config) -> MixedMaterials:
    """The design problem that `config` describes."""
    domain = Interval(config.thinnest, config.thickest)
    choices = [
        Categorical(f"{kind}_{i}", names, start, group="materials")
        for i in range(N_CELLS)
        for kind, names, start in (
            ("absorber", ABSORBERS, "iron"),
            ("scintillator", SCINTILLATORS, "polystyrene"),
        )
    ]
    start = [0.1] * (2 * N_CELLS)
    thickness = Continuous("thickness", start, domain, "m", description="Of each layer, in order")
    limits = [
        Limit("price", price, config.dearest),
        Limit("length", length, config.longest, "m"),
    ]
    space = DesignSpace([thickness, *choices], limits=limits)
    return MixedMaterials(config, space, {"equal layers": space.start}, n_events=config.n_events)
