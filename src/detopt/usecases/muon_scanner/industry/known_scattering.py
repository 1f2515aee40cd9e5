r"""Likelihood of the deviations of muons in a known geometry."""

__all__ = ["KnownScattering"]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.usecases.muon_scanner.industry.deviations import LARGEST_ANGLE, Deviations
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.line_source import (
    MASS,
    SLOWEST,
    beta_momentum,
    energy_after,
)
from detopt.usecases.muon_scanner.industry.momenta import MomentumClasses
from detopt.usecases.muon_scanner.industry.solids import (
    Body,
    Lines,
    lengths,
    path_moments,
    with_logarithm,
)

MOST = 40.0  # exponent beyond which next to no muon turns by more
IMPOSSIBLE = -1e4  # logarithm of the share of a class that stops
LEAST_CHANGE = 1e-6  # 1/m; a muon whose scattering changes by less tells nothing
NO_CHANGE = 3e-7  # radiation lengths; idem, from end to end
LEAST_FREEDOM = 1e-6  # 1 minus squared correlation, which rounding could spoil for lost tracks
CURVE_MUONS = 1_000  # muons whose curves are computed at once, so that all stays in cache


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
        moments = with_logarithm(self._paths(bodies, data.lines), data.lines)
        chosen = torch.ones_like(data.weight, dtype=torch.bool)
        path = lengths(bodies, data.lines)[:, chosen]
        mixture = _Mixture(self._muons(bodies, data, chosen, path), moments[:, chosen])
        return mixture.log_density().reshape(data.weight.shape)

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
        lines = data.lines
        bodies = self.geometry.bodies(parameters)
        constant = self._paths([body for body in bodies if body.is_fixed], lines)

        def moments(values: Tensor) -> Tensor:
            return with_logarithm(constant + self._paths(self._moving(values), lines), lines)

        slopes = []
        for index in range(parameters.shape[1]):
            tangent = torch.zeros_like(parameters)
            tangent[:, index] = 1
            pair = torch.func.jvp(moments, (parameters,), (tangent,))
            slopes.append(pair[1])
        middle, slope = pair[0], torch.stack(slopes)
        telling = slope[:, 0].detach().abs().amax(0) > LEAST_CHANGE * middle[0].detach()
        chosen = telling & (data.weight > 0)
        path = lengths(bodies, lines)[:, chosen]
        factors = _Mixture(self._muons(bodies, data, chosen, path), middle[:, chosen]).factors()
        score = (slope[..., chosen] * factors).sum(1)
        return torch.zeros_like(slope[:, 0]).masked_scatter(
            chosen.expand(len(slope), -1, -1), score
        )

    def curves(
        self,
        parameters: Float[Tensor, "n_volumes n_parameters"],
        data: Deviations,
        knots: Float[Tensor, "n_parameters n_knots"],
    ) -> Float[Tensor, "n_parameters n_knots n_volumes n_muons"]:
        """How `log_density` changes as each parameter moves alone from its first knot to others.

        Args:
            parameters: Where the other parameters stay [m].
            data: The muons; those of weight 0 get 0.
            knots: Values of each parameter [m], in order. A muon whose scattering is the same at
                the first and the last is taken to tell nothing.

        Note:
            The momentum behind the object is held fixed. Differentiable in the data.
        """
        used = self.affected(knots[:, [0, -1]].to(parameters), data.lines) & (data.weight > 0)
        volume = torch.arange(len(parameters))[:, None].expand(used.shape)[used]
        rows, lines = parameters[volume], data.lines[used]
        single = Lines(lines.position[..., None], lines.slope[..., None], lines.height)
        bodies = self.geometry.bodies(rows)  # a volume of its own for each muon
        constant = self._paths([body for body in bodies if body.is_fixed], single)[..., 0]
        muons = self._muons(bodies, data, used, lengths(bodies, single)[..., 0])
        found = []
        for index, values in enumerate(knots):
            first, last = (
                constant[0] + self._paths(self._moving(_moved(rows, index, end)), single)[0, :, 0]
                for end in (values[:1], values[-1:])
            )
            span = values[-1] - values[0]
            (chosen,) = torch.where((last - first).abs() > LEAST_CHANGE * span * first)
            parts = [
                self._curve(rows[some], index, values, lines[some], constant[:, some], muons[some])
                for some in chosen.split(CURVE_MUONS)
            ]
            curve = torch.cat(parts, dim=1)
            curve = curve.new_zeros(len(values), len(rows)).index_copy(1, chosen, curve)
            empty = curve.new_zeros(len(values), *used.shape)
            found.append(empty.masked_scatter(used.expand_as(empty), curve))
        return torch.stack(found)

    @torch.no_grad()
    def affected(
        self, ends: Float[Tensor, "n_parameters 2"], lines: Lines
    ) -> Bool[Tensor, "*batch"]:
        """Whether lines meet some body otherwise if all parameters move from one end to another."""
        first, last = (
            [self._paths([body], lines) for body in self._moving(end[None].contiguous())]
            for end in ends.unbind(1)
        )
        change = torch.stack(
            [(one - other).abs().sum(0) for one, other in zip(first, last, strict=True)]
        )
        return change.sum(0) > NO_CHANGE

    def _curve(
        self,
        rows: Float[Tensor, "n_muons n_parameters"],
        index: int,
        values: Float[Tensor, " n_knots"],
        lines: Lines,
        constant: Float[Tensor, "3 n_muons"],
        muons: "_Muons",
    ) -> Float[Tensor, "n_knots n_muons"]:
        """Log densities of muons with parameters of their own, less those at the first knot."""
        n_knots, n_muons = len(values), len(rows)
        moved = _moved(rows.repeat(n_knots, 1), index, values.repeat_interleave(n_muons))
        every = Lines(
            lines.position.repeat(1, n_knots)[..., None],
            lines.slope.repeat(1, n_knots)[..., None],
            lines.height,
        )
        paths = self._paths(self._moving(moved), every).reshape(3, n_knots, n_muons)
        moments = with_logarithm(constant[:, None] + paths, lines)
        curve = _Mixture(muons.for_knots(), moments).log_density()
        return curve - curve[:1]

    def _moving(self, parameters: Float[Tensor, "n_volumes n_parameters"]) -> list[Body]:
        """The bodies that the parameters shape."""
        return [body for body in self.geometry.bodies(parameters) if not body.is_fixed]

    def _paths(self, bodies: Sequence[Body], lines: Lines) -> Float[Tensor, "3 *batch"]:
        return path_moments(bodies, lines, self.geometry.reference)

    def _muons(
        self,
        bodies: Sequence[Body],
        data: Deviations,
        chosen: Bool[Tensor, "n_volumes n_muons"],
        path: Float[Tensor, "n_bodies n_chosen"],
    ) -> "_Muons":
        """The chosen muons in one row, in every class of momentum, with their paths in bodies."""
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
            last = energy_after(bodies, path, energy)
            shares = torch.where(last > MASS + SLOWEST, shares, IMPOSSIBLE)
        strength = 1 / (beta_momentum(energy) * beta_momentum(last))
        return _Muons(
            shares,
            strength.expand(len(shares), len(secant2)),
            secant2,
            data.deviation[..., chosen],
            data.error[:, chosen],
        )


def _moved(
    parameters: Float[Tensor, "n_rows n_parameters"], index: int, values: Float[Tensor, " n"]
) -> Float[Tensor, "n_rows n_parameters"]:
    """The same with another value in one column, or with other values."""
    columns = list(parameters.unbind(1))
    columns[index] = values.expand(len(parameters))
    return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class _Muons:
    """What is known of muons in one row.

    Args:
        shares: Logarithm of the share of each class.
        strength: Mean of 1 over the square of beta c p in each class [1/GeV2].
        secant2: Square of path length over height difference.
        deviation: Slope and position, across and along.
        error: Their measurement covariance.
    """

    shares: Float[Tensor, "n_classes *muons"]
    strength: Float[Tensor, "n_classes *muons"]
    secant2: Float[Tensor, "*muons"]
    deviation: Float[Tensor, "2 2 *muons"]
    error: Float[Tensor, "3 *muons"]

    def __getitem__(self, some: Int[Tensor, " n_some"]) -> "_Muons":
        return self._each(lambda values: values[..., some])

    def for_knots(self) -> "_Muons":
        """The same with a dimension for knots before that of the muons."""
        return self._each(lambda values: values.unsqueeze(-2))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "_Muons":
        return _Muons(
            *(
                change(values)
                for values in (
                    self.shares,
                    self.strength,
                    self.secant2,
                    self.deviation,
                    self.error,
                )
            )
        )


class _Mixture:
    """Densities of the deviations of muons, one for each class of momentum.

    Args:
        muons: The muons.
        moments: Their scattering moments.
    """

    def __init__(self, muons: _Muons, moments: Float[Tensor, "3 *batch"]) -> None:
        self.planes = []
        self.logs = muons.shares
        strength, error, secant2 = muons.strength, muons.error, muons.secant2
        kicks, shifts = muons.deviation.unbind(0)
        for kick, shift, factor in zip(kicks, shifts, (secant2, secant2.square()), strict=True):
            scale = strength * factor
            a, b, d = (scale * moments[i] + error[i] for i in range(3))
            determinant = torch.maximum(a * d - b * b, LEAST_FREEDOM * a * d)
            inverse = determinant.reciprocal()
            self.planes.append((scale, a * inverse, b * inverse, d * inverse))
            square = (d * kick.square() - 2 * b * kick * shift + a * shift.square()) * inverse
            self.logs = self.logs - (determinant.log() + square) / 2
        # across and along, the mean square of the angle between the flights
        width = strength * moments[0] + error[0] * secant2.pow(-1.5)
        self.reach = LARGEST_ANGLE**2 / (2 * width)
        self.loss = strength / width
        self.kept = muons.shares + torch.log(-torch.expm1(-self.reach))
        self.deviation = muons.deviation

    def log_density(self) -> Float[Tensor, "*batch"]:
        """Logarithm of the density of the deviations, given that they are used."""
        return self.logs.logsumexp(0) - self.kept.logsumexp(0) - 2 * math.log(2 * math.pi)

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
