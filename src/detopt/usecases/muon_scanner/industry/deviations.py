r"""Angular and spatial deviations of muons, and their likelihood in a known geometry."""

__all__ = ["DeviationReconstruction", "Deviations", "KnownScattering", "MomentumClasses"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.physics.muon_flux import MuonFlux
from detopt.pipeline import Reconstruction
from detopt.random import Seed
from detopt.reconstruction import fit_lines
from detopt.usecases.muon_scanner.flow import Readout
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.line_source import (
    MASS,
    SLOWEST,
    beta_momentum,
    energy_after,
)
from detopt.usecases.muon_scanner.industry.solids import (
    Body,
    Lines,
    lengths,
    path_moments,
    scattering_moments,
    with_logarithm,
)

N_SPECTRUM = 200_000  # muons of which the classes of momentum are made
BEYOND = 2e-2  # share of muons that the last class of momentum takes in
N_COSINES = 9  # nodes of the table of shares
LEAST_COUNT = 0.5  # muons: no class is impossible at any angle
NO_ERROR = torch.tensor([1.0, 0.0, 1.0])  # rad2, m rad, m2; of a track that is not there
LEAST_SLOPE = 1e-6  # squared slope below which the azimuth of a muon does not matter
MOST = 40.0  # exponent beyond which next to no muon turns by more
IMPOSSIBLE = -1e4  # logarithm of the share of a class that stops
LARGEST_ANGLE = 0.15  # rad; a muon that turns by more is not used
LEAST_CHANGE = 1e-6  # 1/m; a muon whose scattering changes by less tells nothing
LEAST_FREEDOM = 1e-6  # 1 minus squared correlation, which rounding could spoil for lost tracks


@dataclass(frozen=True)
class Deviations:
    r"""What is measured of each muon: where it went, and by how much its track broke.

    The planes are across and along the direction of flight; deviations in them are slope and
    position at the reference height, below minus above.

    Args:
        lines: Mean of the tracks above and below.
        deviation: Deviations, the axes being slope and position, across and along.
        error: Their measurement covariance in either plane: of slope, mixed, of position.
        weight: Probability that both tracks exist; 0 or 1 in the hard-edged simulation.
        momentum: True momentum before [GeV/c], for where it is taken to be known.
    """

    lines: Lines
    deviation: Float[Tensor, "2 2 n_volumes n_muons"]
    error: Float[Tensor, "3 n_volumes n_muons"]
    weight: Float[Tensor, "n_volumes n_muons"]
    momentum: Float[Tensor, "n_volumes n_muons"]


class DeviationReconstruction(Reconstruction[Readout, Deviations]):
    """Line fits above and below, and their differences.

    Args:
        reference: Height at which tracks are compared [m].
    """

    def __init__(self, reference: float) -> None:
        super().__init__()
        self.reference = reference

    def forward(self, readout: Readout, design: Design) -> Deviations:
        """Deviations of each muon, and the probability that it is measured."""
        tracks = [
            fit_lines(hits.weighted, hits.weights, design[heights], self.reference)
            for hits, heights in ((readout.above, "upper_z"), (readout.below, "lower_z"))
        ]
        above, below = tracks
        slope = (above.slope + below.slope) / 2
        kick, shift = below.slope - above.slope, below.position - above.position
        unit = slope / (slope.square().sum(0) + LEAST_SLOPE).sqrt()
        across = torch.stack([-unit[1], unit[0]])
        planes = [
            torch.stack([(vector * axis).sum(0) for axis in (across, unit)])
            for vector in (kick, shift)
        ]
        variance = above.slope_variance + below.slope_variance
        parts = [track.slope_variance * track.arm for track in tracks]
        mixed = parts[0] + parts[1]
        place = above.centroid_variance + below.centroid_variance
        place = place + parts[0] * above.arm + parts[1] * below.arm
        weight = readout.above.usable * readout.below.usable * (~readout.stopped)
        spread = 1 + slope.square().sum(0)
        angle2 = planes[0][0].square() / spread + planes[0][1].square() / spread.square()
        weight = weight * (angle2 < LARGEST_ANGLE**2)
        seen = weight > 0
        error = torch.stack([variance, mixed, place])
        return Deviations(
            lines=Lines(
                torch.where(seen, (above.position + below.position) / 2, 0),
                torch.where(seen, slope, 0),
                self.reference,
            ),
            deviation=torch.where(seen, torch.stack(planes), 0),
            error=torch.where(seen, error, NO_ERROR[:, None, None].to(error)),
            weight=weight,
            momentum=readout.momentum,
        )


@dataclass(frozen=True)
class MomentumClasses:
    """A spectrum as a few momenta, with shares that depend on the zenith angle.

    Args:
        momenta: Momentum that stands for each class [GeV/c].
        shares: Share of the muons in each class, for equal steps of the zenith angle's cosine from
            `lowest_cosine` to 1.
        lowest_cosine: Cosine of the largest zenith angle.
    """

    momenta: Float[Tensor, " n_classes"]
    shares: Float[Tensor, "n_cosines n_classes"]
    lowest_cosine: float

    @staticmethod
    def of(flux: MuonFlux, n_classes: int = 16) -> "MomentumClasses":
        """Classes of equal width in the logarithm, for the muons through a horizontal plane.

        A class is represented by the mean of the inverse square of its momenta, to which
        scattering goes. The last class takes in the hardest 2 %.

        Args:
            flux: Spectrum.
            n_classes: Number of classes; with 16 the information is right to 2 %.
        """
        energy, cosine = flux.sample(
            N_SPECTRUM, Seed("momentum classes").generator(), torch.float64
        )
        momentum = (energy.square() - MASS**2).sqrt()
        logs = momentum.log()
        low, high = logs.min(), logs.quantile(1 - BEYOND)
        number = ((logs - low) / (high - low) * n_classes).long().clamp_max(n_classes - 1)
        counts = torch.bincount(number, minlength=n_classes).double()
        sums = torch.zeros(n_classes, dtype=torch.float64)
        sums = sums.index_add(0, number, momentum.square().reciprocal())

        lowest = math.cos(flux.max_zenith)
        node = ((cosine - lowest) / (1 - lowest) * (N_COSINES - 1)).round().long()
        table = torch.bincount(node * n_classes + number, minlength=N_COSINES * n_classes)
        shares = table.reshape(N_COSINES, n_classes).double() + LEAST_COUNT
        return MomentumClasses((counts / sums).sqrt(), shares / shares.sum(1, keepdim=True), lowest)

    def log_shares(self, secant: Float[Tensor, "*batch"]) -> Float[Tensor, "n_classes *batch"]:
        """Logarithm of the shares at the zenith angles of muons, interpolated."""
        place = (1 / secant - self.lowest_cosine) / (1 - self.lowest_cosine) * (N_COSINES - 1)
        place = place.clamp(0, N_COSINES - 1.001)
        index = place.detach().floor()
        part, row = place - index, index.long()
        table = self.shares.to(secant).log().T
        return table[:, row] * (1 - part) + table[:, row + 1] * part


class KnownScattering:
    r"""Likelihood of deviations in a known geometry.

    In each plane the deviations :math:`D = (\delta, \Delta)` are normal with the covariance

    .. math::
        \Sigma = \frac{c\, S(\nu)}{(\beta c p)_1 (\beta c p)_2} + E

    with `scattering_moments` S at the parameters :math:`\nu` along the measured mean line,
    :math:`c = 1 + t^2` across and :math:`(1 + t^2)^2` along the flight, the momenta before and
    after, and the covariance E of the measurement. Where the momentum is unknown, the density is
    the mean over the `classes` of the spectrum, without those that stop on the way.

    Only muons that turn by less than :math:`\theta_\max` = 150 mrad are used, and the density is
    that of those: in a class with the variance :math:`\sigma^2` of a projected angle it is divided
    by their share :math:`1 - e^{-\theta_\max^2 / 2 \sigma^2}`. Muons about to stop turn by more,
    and one of them could outweigh ten thousand others: a normal density knows no limit to what a
    large deviation says of its width.

    Args:
        geometry: The solids.
        classes: The spectrum, or None where momenta are known.
        energy_loss: Whether muons lose energy.
    """

    def __init__(
        self,
        geometry: KnownGeometry,
        classes: MomentumClasses | None,
        energy_loss: bool = True,
    ) -> None:
        self.geometry = geometry
        self.classes = classes
        self.energy_loss = energy_loss

    def log_density(
        self, parameters: Float[Tensor, "n_volumes n_parameters"], data: Deviations
    ) -> Float[Tensor, "n_volumes n_muons"]:
        """Logarithm of the density of each muon's deviations, given that it is measured."""
        bodies = self.geometry.bodies(parameters)
        moments = scattering_moments(bodies, data.lines, self.geometry.reference)
        chosen = torch.ones_like(data.weight, dtype=torch.bool)
        muons = self._muons(bodies, moments, data, chosen)
        logs = muons.logs.logsumexp(0) - muons.kept.logsumexp(0) - 2 * math.log(2 * math.pi)
        return logs.reshape(data.weight.shape)

    def score(
        self, parameters: Float[Tensor, "n_volumes n_parameters"], data: Deviations
    ) -> Float[Tensor, "n_parameters n_volumes n_muons"]:
        r"""Derivative of `log_density` in each parameter [1/m]; 0 for a muon of weight 0.

        For a normal density it is :math:`\frac12 [D^T \Sigma^{-1} \Sigma' \Sigma^{-1} D -
        \mathrm{tr}(\Sigma^{-1} \Sigma')]` summed over the planes; for several momenta the mean of
        these, weighted by how probable each momentum is given the deviations. The derivative of
        the probability to turn by less than the largest angle is subtracted.

        Note:
            The momentum behind the object is held fixed. Differentiable.
        """
        reference, lines = self.geometry.reference, data.lines
        bodies = self.geometry.bodies(parameters)
        constant = path_moments([body for body in bodies if body.is_fixed], lines, reference)

        def moments(values: Tensor) -> Tensor:
            moving = [body for body in self.geometry.bodies(values) if not body.is_fixed]
            return with_logarithm(constant + path_moments(moving, lines, reference), lines)

        slopes = []
        for index in range(parameters.shape[1]):
            tangent = torch.zeros_like(parameters)
            tangent[:, index] = 1
            pair = torch.func.jvp(moments, (parameters,), (tangent,))
            slopes.append(pair[1])
        middle, slope = pair[0], torch.stack(slopes)
        telling = slope[:, 0].detach().abs().amax(0) > LEAST_CHANGE * middle[0].detach()
        chosen = telling & (data.weight > 0)
        factors = self._muons(bodies, middle, data, chosen).factors()
        score = (slope[..., chosen] * factors).sum(1)
        return torch.zeros_like(slope[:, 0]).masked_scatter(
            chosen.expand(len(slope), -1, -1), score
        )

    def _muons(
        self, bodies: Sequence[Body], moments: Tensor, data: Deviations, chosen: Tensor
    ) -> "_Mixture":
        """The chosen muons in one row, in every class of momentum."""
        slope = data.lines.slope[:, chosen]
        secant2 = 1 + slope.square().sum(0)
        if self.classes is None:
            momentum, shares = data.momentum[chosen][None], torch.zeros_like(secant2)[None]
        else:
            momentum = self.classes.momenta.to(secant2)[:, None]
            shares = self.classes.log_shares(secant2.sqrt())
        energy = (momentum.square() + MASS**2).sqrt()
        last = energy
        if self.energy_loss:
            last = energy_after(bodies, lengths(bodies, data.lines)[:, chosen], energy)
            shares = torch.where(last > MASS + SLOWEST, shares, IMPOSSIBLE)
        strength = 1 / (beta_momentum(energy) * beta_momentum(last))
        return _Mixture(
            shares,
            strength.expand(len(shares), len(secant2)),
            secant2,
            moments[:, chosen],
            data.deviation[..., chosen],
            data.error[:, chosen],
        )


class _Mixture:
    """Densities of the deviations of muons, one for each class of momentum.

    Args:
        shares: Logarithm of the share of each class.
        strength: Mean of 1 over the square of beta c p in each class [1/GeV2].
        secant2: Square of path length over height difference.
        moments: Scattering moments.
        deviation: Slope and position, across and along.
        error: Their measurement covariance.
    """

    def __init__(
        self,
        shares: Float[Tensor, "n_classes n_muons"],
        strength: Float[Tensor, "n_classes n_muons"],
        secant2: Float[Tensor, " n_muons"],
        moments: Float[Tensor, "3 n_muons"],
        deviation: Float[Tensor, "2 2 n_muons"],
        error: Float[Tensor, "3 n_muons"],
    ) -> None:
        self.planes = []
        self.logs = shares
        kicks, shifts = deviation.unbind(0)
        for kick, shift, factor in zip(kicks, shifts, (secant2, secant2.square()), strict=True):
            scale = strength * factor
            a, b, d = (scale * moments[i] + error[i] for i in range(3))
            determinant = torch.maximum(a * d - b * b, LEAST_FREEDOM * a * d)
            self.planes.append((scale, a / determinant, b / determinant, d / determinant))
            square = (d * kick.square() - 2 * b * kick * shift + a * shift.square()) / determinant
            self.logs = self.logs - (determinant.log() + square) / 2
        # across and along, the mean square of the angle between the flights
        width = strength * moments[0] + error[0] * secant2.pow(-1.5)
        self.reach = LARGEST_ANGLE**2 / (2 * width)
        self.loss = strength / width
        self.kept = shares + torch.log(-torch.expm1(-self.reach))
        self.deviation = deviation

    def factors(self) -> Float[Tensor, "3 n_muons"]:
        """Derivatives of the log density in the three scattering moments."""
        probability = self.logs.softmax(0) / 2
        sums = []
        for (scale, a, b, d), kick, shift in zip(
            self.planes, *self.deviation.unbind(0), strict=True
        ):
            weight = probability * scale
            u, v = d * kick - b * shift, a * shift - b * kick
            terms = (u * u - d, 2 * (u * v + b), v * v - a)
            sums.append(torch.stack([(weight * term).sum(0) for term in terms]))
        lost = self.kept.softmax(0) * self.loss * self.reach / self.reach.clamp_max(MOST).expm1()
        return sums[0] + sums[1] + torch.stack([lost.sum(0), *torch.zeros_like(sums[0][1:])])
