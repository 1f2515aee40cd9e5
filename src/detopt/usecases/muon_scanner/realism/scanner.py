"""Simulation and reconstruction of a scanner with real panels."""

__all__ = ["RealReadout", "RealReconstruction", "RealSimulator"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Reconstruction, Simulator
from detopt.reconstruction import LineFit, MuonTracks, closest_approach
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.realism.association import associated
from detopt.usecases.muon_scanner.realism.instrument import Groups, Instrument
from detopt.usecases.muon_scanner.realism.momentum import (
    MomentumEstimate,
    MomentumPrior,
    estimate_momentum,
)
from detopt.usecases.muon_scanner.realism.plane_fits import fit_plane_hits
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits, Response, plane_hits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker
from detopt.usecases.muon_scanner.realism.planes import Planes
from detopt.usecases.muon_scanner.realism.slab import pass_slab

WORST_SLOPE = 0.1  # rad; error of a slope with which the weight of a track falls to 1/e


@dataclass(frozen=True)
class RealReadout:
    """Hits of all groups. A muon that stops has none below: nobody tells that it stopped.

    Args:
        above, below: Hits of the two sides of the volume.
        behind: Hits behind the slab, if there is one.
        momentum: True momentum before the volume, for a reconstruction that may know it [GeV/c].
    """

    above: PlaneHits
    below: PlaneHits
    behind: PlaneHits | None
    momentum: Float[Tensor, "n_volumes n_muons"]


class RealSimulator(Simulator[Scans, RealReadout]):
    """Hits of real panels.

    Args:
        instrument: Makes the panels of a design.
        response: Edges and noise.
    """

    def __init__(self, instrument: Instrument, response: Response) -> None:
        super().__init__()
        self.instrument = instrument
        self.response = response

    def forward(self, events: Scans, design: Design, rng: torch.Generator) -> RealReadout:
        """Hits above and below the volume, and behind the slab."""
        groups = self.instrument(design)
        alive = ~events.stopped
        above, _ = plane_hits(events.before, groups.above, self.response, rng, backwards=True)
        below, leaving = plane_hits(
            events.after, groups.below, self.response, rng, backwards=False, alive=alive
        )
        behind = None
        if groups.behind is not None and groups.slab is not None:
            soft = self.response.smoothness is not None
            emerging, through = pass_slab(leaving, groups.slab, rng, soft=soft)
            behind, _ = plane_hits(
                emerging,
                groups.behind,
                self.response,
                rng,
                backwards=False,
                alive=alive * through,
            )
        return RealReadout(above, below, behind, events.before.momentum)


class RealReconstruction(Reconstruction[RealReadout, Estimates]):
    """Tracks, scattering points and momenta.

    Args:
        instrument: Makes the panels of a design, where they are believed to be.
        reference: Height at which tracks are compared, in the middle of the volume [m].
        knowledge: What is known of the momenta: True, "marginalised" or "estimated".
        prior: Spectrum of the muons that cross the volume; needed unless momenta are known.
        variance: Variance of the panels' unknown offsets along each axis [m2].
    """

    def __init__(
        self,
        instrument: Instrument,
        reference: float,
        knowledge: str | bool,
        prior: MomentumPrior | None,
        variance: float,
    ) -> None:
        super().__init__()
        self.instrument = instrument
        self.reference = reference
        self.knowledge = knowledge
        self.prior = prior
        self.variance = variance

    def forward(self, readout: RealReadout, design: Design) -> Estimates:
        """Scattering point of each muon, its momentum, and the weight of both."""
        groups = self.instrument(self._nominal(design))
        momentum, weight = readout.momentum, torch.ones_like(readout.momentum)
        certainty, momenta = None, None
        if self.prior is not None:
            momentum = torch.full_like(momentum, self.prior.momentum)
        above, below, usable = self._tracks(readout, groups, momentum)
        if self.knowledge == "estimated":
            estimate, likelihood = self._momentum(readout, groups, below, momentum)
            weight = weight * likelihood
            momentum, certainty, momenta = estimate.momentum, estimate.weight, estimate.shares
            if groups.above.thickness is not None:  # slow muons: far panels count less
                above, below, usable = self._tracks(readout, groups, momentum)
        mean = (above.slope + below.slope) / 2
        for fit, planes in ((above, groups.above), (below, groups.below)):
            if not planes.is_flat:
                weight = weight * _steadiness(fit.slope_variance)
        return Estimates(
            poca=closest_approach(above, below, self.reference),
            secant=(1 + mean.square().sum(0)).sqrt(),
            weight=usable * weight,
            momentum=momentum,
            tracks=MuonTracks(
                above, below, self.reference, momentum, self.knowledge != "marginalised"
            ),
            certainty=certainty,
            momenta=momenta,
        )

    def _tracks(
        self, readout: RealReadout, groups: Groups, momentum: Tensor
    ) -> tuple[LineFit, LineFit, Float[Tensor, "n_volumes n_muons"]]:
        """Lines above and below, and the probability that there are both."""
        above, seen = self._track(readout.above, groups.above, momentum, backwards=True)
        slope = None if groups.below.is_flat else above.slope
        below, left = self._track(
            readout.below, groups.below, momentum, backwards=False, slope=slope
        )
        likelihood = readout.above.likelihood * readout.below.likelihood
        return above, below, seen * left * likelihood

    def _track(
        self,
        hits: PlaneHits,
        planes: Planes,
        momentum: Tensor,
        *,
        backwards: bool,
        slope: Float[Tensor, "2 n_volumes n_muons"] | None = None,
    ) -> tuple[LineFit, Float[Tensor, "n_volumes n_muons"]]:
        """The line of one side, and the probability that there is one."""
        tracker = Tracker(planes, self.reference, backwards, self.variance)
        if len(hits.root_weight) > 1:
            hits = associated(hits, tracker, momentum, slope)
        return fit_plane_hits(hits, tracker, momentum, slope), hits.usable

    def _momentum(
        self, readout: RealReadout, groups: Groups, below: LineFit, momentum: Tensor
    ) -> tuple[MomentumEstimate, Tensor | float]:
        """From the angle between the tracks above and below the slab, and its likelihood ratio."""
        assert readout.behind is not None
        assert groups.behind is not None
        assert groups.slab is not None
        assert self.prior is not None
        behind, found = self._track(readout.behind, groups.behind, momentum, backwards=False)
        kink = closest_approach(below, behind, self.reference)
        mean = (below.slope + behind.slope) / 2
        secant = (1 + mean.square().sum(0)).sqrt()
        estimate = estimate_momentum(self.prior, groups.slab, kink, secant, found)
        return estimate, readout.behind.likelihood

    def _nominal(self, design: Design) -> Design:
        """The design as it is believed to be: without nuisance parameters."""
        hidden = {"panel_offset", "panel_rotation", "panel_log_odds_shift"}
        if not hidden & set(design):
            return design
        return Design({name: value for name, value in design.items() if name not in hidden})


def _steadiness(variance: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Weight of a track by the variance of its slope.

    Tilted panels may come together at a place: a muon that has its hits there has no direction, and
    what it says changes with the tilt by a high power of one over the distance of the panels, which
    an exponential alone outdoes.
    """
    return (-variance / WORST_SLOPE**2).exp()
