r"""Objective: the expected limit on a signal strength, or the expected significance of a signal.

Both come from a profile likelihood of the templates, with nuisance parameters as constrained
shape systematics, in the limit of large samples; gradients run through all fits implicitly.

References:
    N. Simpson and L. Heinrich, neos, arXiv:2203.05570.
    G. Cowan et al., Eur. Phys. J. C 71 (2011) 1554, arXiv:1007.1727.
"""

__all__ = ["ExpectedLimit", "expected_limit", "model_of_templates"]

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.asymptotics import expected_significance, upper_limit
from detopt.inference.histfactory import (
    Channel,
    HistFactoryModel,
    HistoSys,
    NormFactor,
    Sample,
    histfactory_model,
)
from detopt.objectives.binned_events import BinnedEvents, Templates
from detopt.pipeline import Objective, Outcome

GOALS = ("limit", "significance")

STRENGTH = "mu"
MEDIAN = 2  # of the expected limits at -2, -1, 0, 1 and 2 standard deviations
MAX_STRENGTH = 1e3  # above it no limit is looked for
ROUNDING = 1e-5  # of a bin's counts: a template below zero by less is zero


def model_of_templates(
    templates: Templates,
    names: Sequence[str],
    widths: Mapping[str, float],
    *,
    signal: float,
    interest: str | None = None,
) -> HistFactoryModel:
    r"""A binned likelihood out of counts and slopes.

    .. math::
        \nu_k(\mu, \alpha) = \mu\, S\, \frac{\partial\nu_k}{\partial s}
            + b_k + \sum_a \delta_a\Bigl(\alpha_a;\;
                \pm w_a \frac{\partial \nu_k}{\partial\theta_a}\Bigr),
        \qquad b_k = \nu_k - S\, \frac{\partial\nu_k}{\partial s}

    Args:
        templates: Expected counts and slopes; the yield of the signal is a parameter.
        names: Names of the parameters, in the order of the slopes.
        widths: Standard deviation of the auxiliary measurement of each nuisance parameter.
        signal: Nominal yield :math:`S` of the signal, > 0: strength 1.
        interest: Name of the yield of the signal; the first parameter by default.

    Returns:
        Model with a signal strength `mu`, and up and down templates of the background at one
        standard deviation of each nuisance parameter.

    Raises:
        NotFoundError: `interest` is no parameter.
        ConfigError: A nuisance parameter has no finite width.
        DomainError: `signal` is not above 0, or a template of the background, nominal or varied,
            is negative in some bin by more than rounding.

    Note:
        Linear in the nuisance parameters. With varied samples at hand, as analyses have them,
        build the model from those instead (`HistoSys`).
    """
    _check_signal(signal)
    first = names[0] if interest is None else interest
    if first not in names:
        raise NotFoundError(f"No parameter `{first}`. There are: {', '.join(names)}.")
    _check_widths(names, first, widths)
    used = templates.counts.detach().reshape(-1, templates.counts.shape[-1]).amax(dim=0) > 0
    counts, slopes = templates.counts[..., used], templates.slopes[..., used, :]
    peak = signal * slopes[..., names.index(first)]
    flat = _without_rounding(counts - peak, counts)
    shapes = [
        HistoSys(
            name,
            low=_without_rounding(flat - shift, counts),
            high=_without_rounding(flat + shift, counts),
        )
        for name, shift in (
            (name, widths[name] * slopes[..., i]) for i, name in enumerate(names) if name != first
        )
    ]
    samples = (
        Sample("background", flat, tuple(shapes)),
        Sample("signal", peak, (NormFactor(STRENGTH),)),
    )
    return histfactory_model([Channel("bins", samples)], STRENGTH)


def _without_rounding(template: Tensor, counts: Tensor) -> Tensor:
    """A template with zero where differences of equal counts fall below it by rounding."""
    return torch.where((template < 0) & (template > -ROUNDING * counts), 0.0, template)


def _check_signal(signal: float) -> None:
    if not signal > 0:
        raise DomainError(f"`signal` must be > 0, got {signal}.")


def _check_background(templates: Templates, signal: float) -> None:
    """Refuses bins of signal alone, where one event excludes the background: no finite optimum."""
    counts = templates.counts.detach()
    background = counts - signal * templates.slopes[..., 0].detach()
    bare = (counts > 0) & (background <= ROUNDING * counts)
    if bool(bare.any()):
        raise DomainError(
            f"Bin {int(bare.nonzero()[0, -1])} has signal and no background: its significance is "
            "infinite. Merge it with another bin, simulate more background, or take the goal "
            "`limit`."
        )


def _check_widths(names: Sequence[str], first: str, widths: Mapping[str, float]) -> None:
    free = [n for n in names if n != first and not 0 < widths.get(n, torch.inf) < torch.inf]
    if free:
        raise ConfigError(
            f"`{free[0]}` has no finite width > 0: a limit with shape systematics needs an "
            "auxiliary measurement of each nuisance parameter."
        )


def expected_limit(model: HistFactoryModel, level: float = 0.05) -> Float[Tensor, "*batch"]:
    """Median upper limit on the signal strength (CLs), expected without a signal.

    Args:
        model: Model or models, with their parameter of interest at 1 for the nominal signal.
        level: One minus the confidence level, between 0 and 1.

    Returns:
        The limit, in units of the nominal signal.

    Raises:
        DomainError: A fit fails, or the limit lies above `MAX_STRENGTH`.

    Note:
        Differentiable in all templates.
    """
    wide = model.with_bounds(model.interest, 0.0, MAX_STRENGTH)
    start = wide.start
    nothing = torch.zeros_like(start)
    nothing[wide.index(wide.interest)] = 1.0
    background = wide.expected_data(start * (1 - nothing))
    return upper_limit(wide, background, level).expected[..., MEDIAN]


class ExpectedLimit(Objective[BinnedEvents]):
    """Expected limit, or minus the expected significance, as the last stage of a pipeline.

    Args:
        names: Names of the parameters, in the order of the slopes; the first is the yield of the
            signal.
        widths: Standard deviation of the auxiliary measurement of each nuisance parameter.
        signal: Nominal yield of the signal, > 0.
        goal: `limit` to minimize the limit on the strength, `significance` to maximize the median
            significance of the nominal signal.
        level: One minus the confidence level of the limit.
        price: Maps a design to its cost, if it has one.

    Raises:
        ConfigError: There are no parameters, no such goal, a level is not between 0 and 1, or a
            nuisance parameter has no finite width.
        NotFoundError: `widths` name an unknown parameter.
        DomainError: `signal` is not above 0.
    """

    def __init__(
        self,
        names: Sequence[str],
        widths: Mapping[str, float],
        *,
        signal: float,
        goal: str = "limit",
        level: float = 0.05,
        price: Callable[[Design], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not names:
            raise ConfigError("`names` must not be empty: name the yield of the signal.")
        if goal not in GOALS:
            raise ConfigError(f"`goal` must be one of {', '.join(GOALS)}, got {goal!r}.")
        if not 0 < level < 1:
            raise ConfigError(f"`level` must lie between 0 and 1, got {level}.")
        _check_signal(signal)
        for name in widths:
            if name not in names:
                raise NotFoundError(f"No parameter `{name}`. There are: {', '.join(names)}.")
        _check_widths(names, names[0], widths)
        self.names = tuple(names)
        self.widths = dict(widths)
        self.signal = signal
        self.goal = goal
        self.level = level
        self.price = price

    def forward(self, summary: BinnedEvents, design: Design) -> Outcome:
        """The limit, or minus the significance, which is a term of its own.

        Raises:
            DomainError: A bin has signal and no background, which leaves no finite significance;
                or a fit fails.
        """
        templates = summary.templates()
        model = model_of_templates(templates, self.names, self.widths, signal=self.signal)
        cost = None if self.price is None else self.price(design)
        if self.goal == "limit":
            return Outcome(expected_limit(model, self.level), cost=cost)
        _check_background(templates, self.signal)
        found = expected_significance(model)
        return Outcome(-found, terms={"significance": found}, cost=cost)
