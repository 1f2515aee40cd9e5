"""Task `cavity`: how often is a cavity of unknown place and size missed?"""

__all__ = [
    "ExpectedSearch",
    "MissProbability",
    "MissedShare",
    "PoissonSearch",
    "Significances",
    "WholeScan",
    "OwnTemplate",
    "KeepSignificances",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Reconstruction, Simulator, Summary
from detopt.usecases.muon_absorption.cavities import Cavities
from detopt.usecases.muon_absorption.config import Config
from detopt.usecases.muon_absorption.counts import Bins, angular_bins, blob, chord, drawn_bins
from detopt.usecases.muon_absorption.scan import Metric, effective_trials, global_threshold
from detopt.usecases.muon_absorption.targets import Target
from detopt.usecases.muon_absorption.telescope import Telescopes, place_telescopes
from detopt.usecases.muon_absorption.terrain import GRAMS_PER_METRE

TINY = 1e-6  # square of a significance, or muons, that are as good as none


@dataclass(frozen=True)
class Search:
    """Counts of all bins of all telescopes, with what the search knows about them.

    Attributes:
        counts: Muons, or expected muons, with a cavity.
        null: The same without one.
        mean: Expected muons without a cavity.
        slope: Their change for a unit of ln(density).
        templates: Expected excess for the cavities that are searched for.
    """

    counts: Float[Tensor, "n bins"]
    null: Float[Tensor, "n bins"]
    mean: Float[Tensor, " bins"]
    slope: Float[Tensor, " bins"]
    templates: Float[Tensor, "k bins"]

    def metric(self, config: Config) -> Metric:
        """Inner product of deviations from the expected counts."""
        return Metric.of_counts(self.mean, self.slope, config.systematic, config.density_spread)


@dataclass(frozen=True)
class Significances(Summary):
    """Of each target: significance with and without its cavity, and the cavity's radius [m].

    With expected counts the second is the threshold of the search.
    """

    signal: Float[Tensor, " n"]
    null: Float[Tensor, " n"]
    radius: Float[Tensor, " n"]


class _Model:
    """What both simulators share: terrain, telescopes and templates."""

    def __init__(self, config: Config, target: Target, library: Cavities) -> None:
        self.config = config
        self.terrain = target.terrain
        self.library = library
        self.density = target.terrain.mean_density
        self.scale = GRAMS_PER_METRE * self.density * target.radius[1]
        self.least = target.least_grammage

    def excess(
        self, telescopes: Telescopes, bins: Bins, cavities: Cavities
    ) -> Float[Tensor, "n bins"]:
        """Expected muons that cavities add."""
        missing = blob(telescopes, bins, cavities.center, cavities.radius, self.density)
        return bins.excess(missing, self.scale).flatten(1)

    def templates(self, telescopes: Telescopes, bins: Bins) -> Float[Tensor, "k bins"]:
        """Excess of the cavities of the library."""
        like, library = telescopes.place, self.library
        nothing = library.scale.to(like)
        cast = Cavities(library.center.to(like), library.radius.to(like), nothing, nothing[:, None])
        return self.excess(telescopes, bins, cast)


class ExpectedSearch(Simulator[Cavities, Search]):
    """Expected counts, with soft edges of the acceptance.

    Args:
        config: Options.
        target: What muons cross.
        library: Cavities that are searched for.
    """

    def __init__(self, config: Config, target: Target, library: Cavities) -> None:
        super().__init__()
        self.model = _Model(config, target, library)

    def forward(self, events: Cavities, design: Design, rng: torch.Generator) -> Search:  # noqa: ARG002
        """Expected muons of each target."""
        model = self.model
        telescopes = place_telescopes(model.config, model.terrain, design)
        bins = angular_bins(model.config, model.terrain, telescopes, model.least)
        mean = bins.expected().flatten()
        excess = model.excess(telescopes, bins, events)
        templates = model.templates(telescopes, bins)
        return Search(
            mean + excess,
            mean.expand_as(excess),
            mean,
            bins.slope().flatten(),
            templates,
        )


class PoissonSearch(Simulator[Cavities, Search]):
    """Random counts, with sharp edges of acceptance and cavities, and smeared directions.

    Directions are drawn in each bin and smeared by the resolution; density and bins are off by
    their uncertainties, which differ from target to target.

    Args:
        config: Options.
        target: What muons cross.
        library: Cavities that are searched for.
    """

    def __init__(self, config: Config, target: Target, library: Cavities) -> None:
        super().__init__()
        self.model = _Model(config, target, library)

    def forward(self, events: Cavities, design: Design, rng: torch.Generator) -> Search:
        """Counts of each target."""
        config, model = self.model.config, self.model
        telescopes = place_telescopes(config, model.terrain, design)
        bins = drawn_bins(config, model.terrain, telescopes, rng, model.least)
        length = chord(telescopes.place, bins.rays, events.center, events.radius)
        cavity = GRAMS_PER_METRE * model.density * length
        denser = config.density_spread * events.scale[:, None, None, None] * bins.grammage
        smooth = angular_bins(config, model.terrain, telescopes, model.least)
        mean = bins.expected().flatten()
        whole = smooth.expected().flatten().clamp(min=TINY)
        seen = (mean / whole).clamp(max=1.0)  # of a bin that the sharp edges leave
        return Search(
            _random_counts(bins.expected(cavity - denser), config.systematic, rng),
            _random_counts(bins.expected(-denser), config.systematic, rng),
            mean,
            bins.slope().flatten(),
            seen * model.templates(telescopes, smooth),
        )


def _random_counts(
    mean: Float[Tensor, "n telescopes bins"], systematic: float, rng: torch.Generator
) -> Float[Tensor, "n all_bins"]:
    normal = torch.randn(mean.shape, generator=rng, dtype=mean.dtype)
    shifted = mean * torch.exp(systematic * normal - systematic**2 / 2)
    counts: Tensor = torch.poisson(shifted.flatten(1), generator=rng)
    return counts


class OwnTemplate(Reconstruction[Search, Significances]):
    """Significance of each cavity at its true place, and the threshold of the search.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Search, design: Design) -> Significances:  # noqa: ARG002
        """Expected significances."""
        config = self.config
        metric = readout.metric(config)
        square = metric.square(readout.counts - readout.null)
        trials = effective_trials(metric, readout.templates)
        threshold = global_threshold(config.false_positive_rate, trials)
        signal = torch.sqrt(square + TINY)
        return Significances(signal, threshold.expand_as(signal), signal.detach())


class WholeScan(Reconstruction[Search, Significances]):
    """Largest significance over all templates, with and without the cavity.

    Args:
        config: Options.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    def forward(self, readout: Search, design: Design) -> Significances:  # noqa: ARG002
        """Significances of random counts."""
        metric = readout.metric(self.config)
        norm = torch.sqrt(metric.square(readout.templates) + TINY)
        found = [
            (metric.product(counts - readout.mean, readout.templates) / norm).amax(dim=-1)
            for counts in (readout.counts, readout.null)
        ]
        return Significances(found[0], found[1], found[0])


class KeepSignificances(Analysis[Significances, Cavities, Significances]):
    """Hands the significances on, with the true radii for the diagnostics."""

    def forward(self, estimate: Significances, events: Cavities) -> Significances:
        """Rows of the summary."""
        return Significances(estimate.signal, estimate.null, events.radius)


class MissProbability(Objective[Significances]):
    r"""Probability that the search finds nothing, :math:`\langle\Phi(u - Z)\rangle`."""

    def forward(self, summary: Significances, design: Design) -> Outcome:
        """Mean over the cavities."""
        missed: Tensor = torch.special.ndtr(summary.null - summary.signal)
        return _outcome(missed.mean(), summary, summary.null.mean(), design)


class MissedShare(Objective[Significances]):
    """Share of the cavities that a search misses, at the given rate of false positives.

    Args:
        rate: Share of targets without a cavity where the search finds one.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, summary: Significances, design: Design) -> Outcome:
        """Share of the targets that are not above the threshold of the same simulation."""
        threshold = summary.null.quantile(1 - self.rate)
        missed = (summary.signal <= threshold).to(summary.signal).mean()
        return _outcome(missed, summary, threshold, design)


def _outcome(missed: Tensor, summary: Significances, threshold: Tensor, design: Design) -> Outcome:
    metrics = {"mean significance": summary.signal.mean(), "threshold": threshold}
    return Outcome(missed, cost=design["money"].sum(), metrics=metrics)
