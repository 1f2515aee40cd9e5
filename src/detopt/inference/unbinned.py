r"""Unbinned likelihoods of mixtures of densities, extended or not, with weights and constraints.

The intensity of events is a sum of components with yields :math:`\mu_j` and densities
:math:`p_j`, both functions of the parameters and of any tensors that carry a gradient:

.. math::
    \nu(x \mid \theta) = \sum_j \mu_j(\theta)\, p_j(x \mid \theta), \qquad
    \mu(\theta) = \sum_j \mu_j(\theta)

References:
    R. Barlow, Nucl. Instrum. Meth. A 297 (1990) 496 (extended likelihood).
    C. Langenbruch, Eur. Phys. J. C 82 (2022) 393, arXiv:1911.01303 (weighted events).
"""

__all__ = ["FitParameter", "UnbinnedLikelihood", "event_scores", "weighted_covariance"]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.fits import Fit

LogDensities = Callable[..., Tensor]
Yields = Callable[..., Tensor]


@dataclass(frozen=True)
class FitParameter:
    """A parameter of an unbinned likelihood.

    Args:
        name: As messages and fits call it.
        start: Where fits start; the value, if it is fixed.
        low: Lowest value.
        high: Highest value.
        width: Standard deviation of its auxiliary measurement; infinite if there is none.
        center: Result of its auxiliary measurement; `start` if left out.
        fixed: Whether it stays at its start.

    Raises:
        ConfigError: A width that is not above zero, or a start that is outside the bounds.
    """

    name: str
    start: float
    low: float = -math.inf
    high: float = math.inf
    width: float = math.inf
    center: float | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise ConfigError(
                f"`width` of parameter `{self.name}` must be > 0, got {self.width:g}. "
                "Leave it out for a free parameter, or set `fixed`."
            )
        if not self.low <= self.start <= self.high:
            raise ConfigError(
                f"`start` of parameter `{self.name}` must lie between {self.low:g} and "
                f"{self.high:g}, got {self.start:g}."
            )


@dataclass(frozen=True)
class UnbinnedLikelihood:
    r"""Likelihood of single events from a mixture of components.

    .. math::
        -\ln L = \mu(\theta) - \sum_i w_i \ln \nu(x_i \mid \theta)
            + \sum_a \frac{(\theta_a - c_a)^2}{2 \sigma_a^2}

    if it is extended; else the first term is left out and the intensity divided by
    :math:`\mu(\theta)`, so that the yields count as fractions.

    Args:
        log_densities: Maps (events [..., features], parameters [..., n], \*tensors) to
            :math:`\ln p_j(x)` of the shape [..., components]. It is written for one event: its
            leading axes broadcast.
        yields: Maps (parameters [..., n], \*tensors) to :math:`\mu_j` of the shape
            [..., components].
        parameters: The parameters in the order in which both functions take them.
        interest: Name of the parameter of interest.
        tensors: What else the densities and yields depend on: a design, the weights of a network.
        weights: Weights :math:`w` of the events, 1 if left out. An event of weight 0 does not
            count: copies of any event with weight 0 pad members of a batch to one length.
        centers: Auxiliary measurements :math:`c` where they are not those of `parameters`, such
            as fluctuated ones of toys.
        extended: Whether the number of events is data.

    Raises:
        ConfigError: No parameters, a name that occurs twice, or an unknown parameter of interest.

    Note:
        Meets the protocol `Likelihood` of `detopt.inference.fits`. Differentiable in parameters,
        tensors, weights, centers and events, as far as the densities are. The densities must be
        normalized for all parameters: no check can see that they are not.
    """

    log_densities: LogDensities
    yields: Yields
    parameters: tuple[FitParameter, ...]
    interest: str
    tensors: tuple[Tensor, ...] = ()
    weights: Float[Tensor, "*#batch events"] | None = None
    centers: Float[Tensor, "*#batch n"] | None = None
    extended: bool = True

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not self.names:
            raise ConfigError(f"`parameters` need one name each, got {list(self.names)}.")
        if self.interest not in self.names:
            raise ConfigError(
                f"`interest` must be one of {list(self.names)}, got {self.interest!r}."
            )
        if self.weights is not None and not bool(self.weights.isfinite().all()):
            raise DomainError("`weights` must be finite. Drop events without a weight.")

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each parameter."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def start(self) -> Float[Tensor, " n"]:
        """Where fits start."""
        return self._column([parameter.start for parameter in self.parameters])

    @property
    def bounds(self) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Lowest and highest values."""
        low = self._column([parameter.low for parameter in self.parameters])
        return low, self._column([parameter.high for parameter in self.parameters])

    @property
    def fixed(self) -> tuple[bool, ...]:
        """Which parameters stay where they start."""
        return tuple(parameter.fixed for parameter in self.parameters)

    @property
    def prior_widths(self) -> Float[Tensor, " n"]:
        """Standard deviations of the auxiliary measurements, infinite for free parameters."""
        return self._column([parameter.width for parameter in self.parameters])

    def index(self, name: str) -> int:
        """Position of a parameter.

        Raises:
            NotFoundError: There is no such parameter.
        """
        if name not in self.names:
            raise NotFoundError(f"No parameter `{name}`. There are: {', '.join(self.names)}.")
        return self.names.index(name)

    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the likelihood is differentiated in."""
        optional = (self.weights, self.centers)
        return (*self.tensors, *(tensor for tensor in optional if tensor is not None))

    def with_inputs(self, *inputs: Tensor) -> "UnbinnedLikelihood":
        """The same likelihood with other tensors, in the order of `inputs()`."""
        rest = list(inputs[len(self.tensors) :])
        weights = None if self.weights is None else rest.pop(0)
        centers = None if self.centers is None else rest.pop(0)
        return replace(self, tensors=inputs[: len(self.tensors)], weights=weights, centers=centers)

    def check_data(self, data: Tensor) -> None:
        """Refuses events that cannot be fitted.

        Raises:
            DomainError: No events, NaN or infinity, or events without density at the start.
        """
        if data.ndim < 2 or data.shape[-2] == 0:
            raise DomainError(
                "`events` must have the shape (*batch, events, features) with at least one event, "
                f"got {tuple(data.shape)}."
            )
        if not bool(data.isfinite().all()):
            where = tuple(int(i) for i in torch.nonzero(~data.isfinite())[0])
            raise DomainError(f"`events` holds {data[where].item()} at index {where}. Drop it.")
        with torch.no_grad():
            intensity = self._log_intensity(data, self.start.unsqueeze(-2))
        if self.weights is not None:
            intensity = torch.where(self.weights == 0, 0.0, intensity)
        if not bool(intensity.isfinite().all()):
            where = tuple(int(i) for i in torch.nonzero(~intensity.isfinite())[0])
            raise DomainError(
                f"The event at index {where} has no positive density at the start of the fit. "
                "Start elsewhere, or drop events outside the range of the densities."
            )

    def intensity(
        self,
        events: Float[Tensor, "*#batch events features"],
        parameters: Float[Tensor, "*#batch n"],
    ) -> Float[Tensor, "*batch events"]:
        r"""Intensity :math:`\nu(x)` at each event; divided by :math:`\mu` if not extended."""
        return self._log_intensity(events, parameters.unsqueeze(-2)).exp()

    def negative_log_likelihood(
        self,
        parameters: Float[Tensor, "*#batch n"],
        data: Float[Tensor, "*#batch events features"],
    ) -> Float[Tensor, "*batch"]:
        r""":math:`-\ln L`, without constants that depend on the events alone.

        Args:
            parameters: Values :math:`\theta`.
            data: Features :math:`x` of the events.

        Returns:
            One value a member; NaN or infinite where the intensity of an event is not positive.
        """
        terms = self._log_intensity(data, parameters.unsqueeze(-2))
        if self.weights is not None:
            counted = self.weights != 0
            terms = self.weights * torch.where(counted, terms, 0.0)
        value = -terms.sum(-1)
        if self.extended:
            value = value + self.yields(parameters, *self.tensors).sum(-1)
        return value + self._constraint(parameters)

    def _constraint(self, parameters: Tensor) -> Tensor:
        """Half the squared pulls of the auxiliary measurements."""
        centers = self.centers
        if centers is None:
            centers = self._column(
                [p.start if p.center is None else p.center for p in self.parameters]
            )
        return ((parameters - centers) / self.prior_widths).square().sum(-1) / 2

    def _log_intensity(self, events: Tensor, parameters: Tensor) -> Tensor:
        """Logarithm of the intensity; parameters broadcast with the events."""
        logarithms = self.log_densities(events, parameters, *self.tensors)
        yields = self.yields(parameters, *self.tensors)
        highest = logarithms.detach().amax(-1, keepdim=True)
        highest = torch.where(highest.isfinite(), highest, 0.0)
        # a sum and no logsumexp: a yield may be negative as long as the intensity is positive
        total = (yields * (logarithms - highest).exp()).sum(-1)
        result = total.log() + highest.squeeze(-1)
        return result if self.extended else result - yields.sum(-1).log()

    def _column(self, values: list[float]) -> Tensor:
        """Numbers of the parameters, in float64 on the device of the tensors."""
        device = self.inputs()[0].device if self.inputs() else None
        return torch.tensor(values, dtype=torch.float64, device=device)


def event_scores(
    likelihood: UnbinnedLikelihood,
    parameters: Float[Tensor, "*#batch n"],
    events: Float[Tensor, "*#batch events features"],
) -> Float[Tensor, "*batch events n"]:
    r"""Scores :math:`\partial \ln \nu(x_i) / \partial \theta_a` of each event, without weights.

    Args:
        likelihood: The likelihood; its auxiliary measurements do not enter.
        parameters: Values :math:`\theta` at which the scores are taken.
        events: Features :math:`x` of the events.

    Returns:
        Scores, for `unbinned_information` and for summaries.

    Raises:
        DomainError: An event without positive intensity.

    Note:
        One backward pass for all events and parameters. Differentiable in the tensors of the
        likelihood and in parameters and events.
    """
    n_events = events.shape[-2]
    batch = torch.broadcast_shapes(parameters.shape[:-1], events.shape[:-2])
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        copies = parameters.unsqueeze(-2).expand(*batch, n_events, -1)
        copies = copies.clone() if copies.requires_grad else copies.clone().requires_grad_()
        logarithm = likelihood._log_intensity(events, copies)
        if not bool(logarithm.isfinite().all()):
            where = tuple(int(i) for i in torch.nonzero(~logarithm.isfinite())[0])
            raise DomainError(
                f"The event at index {where} has no positive intensity: its score is undefined. "
                "Drop events outside the range of the densities."
            )
        (scores,) = torch.autograd.grad(logarithm.sum(), copies, create_graph=keep)
    return scores


def weighted_covariance(
    likelihood: UnbinnedLikelihood,
    found: Fit,
    events: Float[Tensor, "*#batch events features"],
) -> Float[Tensor, "*batch n n"]:
    r"""Covariance of fitted parameters, right for weighted events too.

    .. math::
        C = H^{-1} \left[\sum_i w_i^2\, s_i s_i^T
            + \mathrm{diag}\, \frac{1}{\sigma_a^2}\right] H^{-1}

    Args:
        likelihood: The likelihood that was fitted.
        found: Its fit.
        events: The events that were fitted.

    Returns:
        Covariance; zero for parameters that are fixed or on a bound.

    Note:
        For large numbers of events. The inverse Hessian is right for weights of one only; with
        weights its error is wrong by their spread. The result carries no gradient.
    """
    with torch.no_grad():
        scores = event_scores(likelihood, found.parameters.detach(), events)
        weights = scores.new_ones(()) if likelihood.weights is None else likelihood.weights
        middle = scores.mT @ (weights.square().unsqueeze(-1) * scores)
        middle = middle + torch.diag_embed(likelihood.prior_widths.square().reciprocal())
        inverse = found.covariance()
        return inverse @ middle @ inverse
