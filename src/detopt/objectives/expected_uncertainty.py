r"""Objective: the expected uncertainty of a parameter of interest, nuisance parameters profiled.

Trained on it, a summary network becomes one that nuisance parameters disturb least (INFERNO); a
detector becomes one that measures the parameter best.

References:
    P. de Castro and T. Dorigo, Comput. Phys. Commun. 244 (2019) 170, arXiv:1806.04743.
"""

__all__ = ["ExpectedUncertainty", "expected_uncertainty"]

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.errors import ConfigError, NotFoundError
from detopt.inference import binned_information, uncertainty
from detopt.objectives.binned_events import BinnedEvents, Templates
from detopt.pipeline import Objective, Outcome


def expected_uncertainty(
    templates: Templates,
    *,
    prior_widths: Float[Tensor, " parameters"] | None = None,
    interest: int = 0,
    names: Sequence[str] | None = None,
    simulation_errors: bool = False,
) -> Float[Tensor, "*batch"]:
    r"""Expected standard deviation of one parameter from binned counts.

    .. math::
        \sigma = \sqrt{(I^{-1})_{ii}}, \qquad I_{ab} = \sum_k \frac{1}{\nu_k}
            \frac{\partial \nu_k}{\partial \theta_a} \frac{\partial \nu_k}{\partial \theta_b}
            + \frac{\delta_{ab}}{w_a^2}

    Args:
        templates: Expected counts and their slopes.
        prior_widths: Standard deviations :math:`w_a` of auxiliary measurements; infinite for a
            free parameter. None: all are free.
        interest: Index of the parameter of interest.
        names: Names of the parameters, for messages.
        simulation_errors: Whether the finite number of simulated events adds to the variance of
            the counts. Shares of an event in several bins count as independent.

    Returns:
        The expected uncertainty, in the parameter's unit.

    Raises:
        DomainError: A negative count, or parameters that the bins cannot tell apart.

    Note:
        Templates from n events make the result too small by a share that goes as 1/n. First
        derivatives of the counts alone enter, so that the gradient in whatever shapes them is
        that of the expectation: no Asimov data are held fixed on the way.
    """
    variance = templates.counts + templates.simulation_variance if simulation_errors else None
    information = binned_information(
        templates.counts, templates.slopes, prior_widths=prior_widths, variance=variance
    )
    return uncertainty(information, interest, names=names)


class ExpectedUncertainty(Objective[BinnedEvents]):
    """The expected uncertainty as the last stage of a pipeline.

    Args:
        names: Names of the parameters, in the order of the slopes; the parameter of interest is
            the first unless `interest` says otherwise.
        widths: Standard deviations of auxiliary measurements, by parameter; others are free.
        interest: Name of the parameter of interest.
        simulation_errors: Whether the finite number of simulated events counts as a systematic.
        price: Maps a design to its cost, if it has one.

    Raises:
        NotFoundError: `widths` or `interest` name an unknown parameter.
        ConfigError: There are no parameters, or a width is not above zero.
    """

    def __init__(
        self,
        names: Sequence[str],
        widths: Mapping[str, float] | None = None,
        *,
        interest: str | None = None,
        simulation_errors: bool = False,
        price: Callable[[Design], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not names:
            raise ConfigError("`names` must not be empty: name the parameter of interest.")
        self.names = tuple(names)
        self.widths = dict(widths or {})
        self.interest = self.names.index(_known(interest or self.names[0], self.names))
        self.simulation_errors = simulation_errors
        self.price = price
        for name, width in self.widths.items():
            if not width > 0:
                raise ConfigError(f"The width of `{_known(name, self.names)}` must be > 0.")
            _known(name, self.names)

    def forward(self, summary: BinnedEvents, design: Design) -> Outcome:
        """Expected uncertainty, and what it would be without nuisance parameters."""
        templates = summary.templates()
        found = self.of_templates(templates)
        cost = None if self.price is None else self.price(design)
        return Outcome(
            found,
            terms={"without_nuisances": self._alone(templates)},
            cost=cost,
            metrics={"smallest_count": templates.counts.min()},
        )

    def of_templates(self, templates: Templates) -> Float[Tensor, "*batch"]:
        """Expected uncertainty of templates that are there already."""
        widths = templates.counts.new_tensor(
            [self.widths.get(name, torch.inf) for name in self.names]
        )
        return expected_uncertainty(
            templates,
            prior_widths=widths,
            interest=self.interest,
            names=self.names,
            simulation_errors=self.simulation_errors,
        )

    def _alone(self, templates: Templates) -> Tensor:
        slope = templates.slopes[..., self.interest : self.interest + 1]
        only = Templates(templates.counts, slope, templates.simulation_variance)
        return expected_uncertainty(only, simulation_errors=self.simulation_errors)


def _known(name: str, names: Sequence[str]) -> str:
    if name not in names:
        raise NotFoundError(f"No parameter `{name}`. There are: {', '.join(names)}.")
    return name
