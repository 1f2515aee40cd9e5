r"""Template counts of a signal over background: what binned use cases share.

A row of the summary is one simulated event of each process, weighted by the process's yield and
shared between bins. Means over rows are the expected counts,
:math:`\nu_k(\mu, \nu) = \mu\, S_k(\nu) + B_k(\nu)`, and means of the slopes their derivatives with
respect to the nuisance parameters.
"""

__all__ = ["ProfiledStrength", "TemplateRows", "bin_shares", "hard_bin_shares"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.inference import binned_information, uncertainty
from detopt.objectives import Templates, expected_uncertainty
from detopt.pipeline import Nuisances, Objective, Outcome, Summary, SummaryWithSlopes
from detopt.relax import hard_step, soft_step


@dataclass(frozen=True)
class TemplateRows(Summary):
    """Weighted shares of the bins: signal, and the sum over backgrounds."""

    signal: Float[Tensor, "n_rows bins"]
    background: Float[Tensor, "n_rows bins"]


def bin_shares(
    score: Float[Tensor, "*batch"], edges: Float[Tensor, " n_inner"], width: float
) -> Float[Tensor, "*batch bins"]:
    """Shares of events between bins with smooth inner edges; the outer bins are open."""
    return _shares(soft_step(score.unsqueeze(-1), edges, width))


def hard_bin_shares(
    score: Float[Tensor, "*batch"], edges: Float[Tensor, " n_inner"]
) -> Float[Tensor, "*batch bins"]:
    """One in the bin of the event, zero elsewhere: the limit of `bin_shares`."""
    return _shares(hard_step(score.unsqueeze(-1), edges))


def _shares(above: Tensor) -> Tensor:
    """Differences of the shares above each inner edge, from 1 down to 0."""
    one = torch.ones_like(above[..., :1])
    return -torch.cat([one, above, torch.zeros_like(one)], dim=-1).diff(dim=-1)


class ProfiledStrength(Objective[SummaryWithSlopes]):
    r"""Expected uncertainty of the signal strength with all nuisance parameters profiled.

    .. math::
        \sigma(\mu) = \sqrt{(I^{-1})_{\mu\mu}}, \quad
        I_{ab} = \sum_k \frac{1}{\nu_k} \frac{\partial \nu_k}{\partial a}
            \frac{\partial \nu_k}{\partial b} + \frac{\delta_{ab}}{w_a^2}

    Its metrics are the uncertainty without any nuisance parameter, and the numbers of events.
    A bin in which no event is simulated gives no information: slopes by differences, which events
    that a shifted parameter moves into it can have there, count as 0. No other number of events in
    such a bin would make the uncertainty larger.

    Args:
        nuisances: The nuisance parameters, for their widths at the design.
        simulation_errors: Whether the finite number of rows adds to the variance of the counts.
            Training with few rows needs it: a bin that is short of background by chance looks
            sensitive, and the search would make such bins.
    """

    def __init__(self, nuisances: Nuisances, simulation_errors: bool = False) -> None:
        super().__init__()
        self.nuisances = nuisances
        self.simulation_errors = simulation_errors

    def forward(self, summary: SummaryWithSlopes, design: Design) -> Outcome:
        """Uncertainty at a signal strength of one."""
        rows = summary.values
        assert isinstance(rows, TemplateRows)
        signal, background = (t.double().mean(dim=0) for t in (rows.signal, rows.background))
        moved, shifted = (summary.slopes[key].double() for key in ("signal", "background"))
        counts = signal + background
        filled = (counts > 0).unsqueeze(-1)
        slopes = torch.where(filled, moved.mean(dim=0) + shifted.mean(dim=0), 0.0)
        templates = Templates(
            counts=counts,
            slopes=torch.cat([signal.unsqueeze(-1), slopes], dim=-1),
            simulation_variance=(rows.signal + rows.background).double().square().mean(dim=0)
            / rows.n_rows,
        )
        widths = self.nuisances.widths(design).double()
        found = expected_uncertainty(
            templates,
            prior_widths=torch.cat([torch.full_like(widths[:1], torch.inf), widths]),
            names=["signal_strength", *self.nuisances.labels(design)],
            simulation_errors=self.simulation_errors,
        )
        alone = binned_information(templates.counts, signal.unsqueeze(-1))
        return Outcome(
            found,
            metrics={
                "uncertainty without nuisances": uncertainty(alone),
                "signal events": signal.sum(),
                "background events": background.sum(),
            },
        )
