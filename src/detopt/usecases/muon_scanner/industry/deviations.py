r"""Angular and spatial deviations of muons, and their likelihood in a known geometry."""

__all__ = ["DeviationReconstruction", "Deviations", "KnownScattering", "MomentumClasses"]

import math
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
    loss_rates,
)
from detopt.usecases.muon_scanner.industry.solids import (
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
    the mean over the `classes` of the spectrum.

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
        """Logarithm of the density of each muon's deviations."""
        moments = scattering_moments(
            self.geometry.bodies(parameters), data.lines, self.geometry.reference
        )
        logs, _ = self._components(moments, None, self._strength(parameters, data), data)
        return logs.logsumexp(0) - 2 * math.log(2 * math.pi)

    def score(
        self, parameters: Float[Tensor, "n_volumes n_parameters"], data: Deviations
    ) -> Float[Tensor, "n_parameters n_volumes n_muons"]:
        r"""Derivative of `log_density` in each parameter [1/m].

        For a normal density it is :math:`\frac12 [D^T \Sigma^{-1} \Sigma' \Sigma^{-1} D -
        \mathrm{tr}(\Sigma^{-1} \Sigma')]` summed over the planes; for several momenta the mean of
        these, weighted by how probable each momentum is given the deviations.

        Note:
            The momentum behind the object is held fixed. Differentiable.
        """
        reference, lines = self.geometry.reference, data.lines
        fixed = [body for body in self.geometry.bodies(parameters) if body.is_fixed]
        constant = path_moments(fixed, lines, reference)

        def moments(values: Tensor) -> Tensor:
            bodies = [body for body in self.geometry.bodies(values) if not body.is_fixed]
            return with_logarithm(constant + path_moments(bodies, lines, reference), lines)

        strength = self._strength(parameters, data)
        scores = []
        for index in range(parameters.shape[1]):
            tangent = torch.zeros_like(parameters)
            tangent[:, index] = 1
            pair = torch.func.jvp(moments, (parameters,), (tangent,))
            logs, derivatives = self._components(pair[0], pair[1], strength, data)
            scores.append((logs.softmax(0) * derivatives).sum(0))
        return torch.stack(scores)

    def _components(
        self, moments: Tensor, slope: Tensor | None, strength: Tensor, data: Deviations
    ) -> tuple[Tensor, Tensor]:
        """Log density and probability of each class of momentum, and its derivative."""
        secant2 = 1 + data.lines.slope.square().sum(0)
        logs = torch.zeros_like(strength)
        if self.classes is not None:
            logs = logs + self.classes.log_shares(data.lines.secant)
        derivatives = torch.zeros_like(strength)
        for plane, factor in enumerate((secant2, secant2.square())):
            kick, shift = data.deviation[:, plane].unbind(0)
            scale = strength * factor
            a, b, d = (scale * moments[i] + data.error[i] for i in range(3))
            determinant = torch.maximum(a * d - b * b, LEAST_FREEDOM * a * d)
            u = (d * kick - b * shift) / determinant
            v = (a * shift - b * kick) / determinant
            logs = logs - (determinant.log() + kick * u + shift * v) / 2
            if slope is not None:
                da, db, dd = slope.unbind(0)
                squares = da * u * u + 2 * db * u * v + dd * v * v
                trace = (d * da - 2 * b * db + a * dd) / determinant
                derivatives = derivatives + scale * (squares - trace) / 2
        return logs, derivatives

    def _strength(
        self, parameters: Tensor, data: Deviations
    ) -> Float[Tensor, "n_classes n_volumes n_muons"]:
        """Mean of 1 over the square of beta c p [1/GeV2] for each class."""
        if self.classes is None:
            momentum = data.momentum[None]
        else:
            momentum = self.classes.momenta.to(data.momentum)[:, None, None]
        energy = (momentum.square() + MASS**2).sqrt()
        last = energy
        if self.energy_loss:
            bodies = self.geometry.bodies(parameters)
            path = lengths(bodies, data.lines)
            loss = sum(
                rate * along for rate, along in zip(loss_rates(bodies, energy), path, strict=True)
            )
            last = (energy - loss).clamp_min(MASS + SLOWEST)
        strength = 1 / (beta_momentum(energy) * beta_momentum(last))
        return strength.expand(len(momentum), *data.weight.shape)
