r"""From columns to energies: regression of :math:`\ln E`, retrained for every design.

Weights come from other folds than the muons that they are judged on. A magnetic measurement, whose
relative error grows as the energy, is combined in quadrature.
"""

__all__ = ["Columns", "KeepColumns", "LogEnergyError", "Rows", "half_width", "residuals", "scatter"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Analysis, Objective, Outcome, Scatter, Summary
from detopt.usecases.muon_energy_calorimeter.block import Block
from detopt.usecases.muon_energy_calorimeter.tracks import Tracks

N_FOLDS = 10
RIDGE = 1e-8  # of the fit, relative
N_BANDS = 8  # of the energy, in which the error is combined with that of the magnet
BANDS = {"0.1 to 0.3 TeV": (100.0, 300.0), "0.3 to 1 TeV": (300.0, 1e3), "above 1 TeV": (1e3, 1e6)}
TEV = 1e3  # GeV
LN_10 = math.log(10)
CENTRAL = (0.1587, 0.8413)  # 68.3 %


@dataclass(frozen=True)
class Columns:
    """What the logarithm of the energy is a linear function of."""

    columns: Float[Tensor, "n columns"]


@dataclass(frozen=True)
class Rows(Summary):
    """Columns, logarithm of the true energy in GeV, and fold of each muon."""

    columns: Float[Tensor, "n columns"]
    logarithm: Float[Tensor, " n"]
    fold: Int[Tensor, " n"]


class KeepColumns(Analysis[Columns, Tracks, Rows]):
    """Adds the truth, and divides the muons into folds."""

    def forward(self, estimate: Columns, events: Tracks) -> Rows:
        """Rows of all muons."""
        fold = torch.arange(len(events.energy)) % N_FOLDS
        return Rows(estimate.columns, events.energy.log(), fold)


class LogEnergyError(Objective[Rows]):
    r"""Error of the energy over the spectrum.

    .. math::
        \left\langle \left(\widehat{\ln E} - \ln E\right)^2 \right\rangle^{1/2}

    With a magnetic measurement, :math:`\sigma_m = c E`, each of eight bands of the energy counts
    with :math:`(1/\sigma^2 + 1/\sigma_m^2)^{-1}`.

    Args:
        block: Maps designs to cells, for the price.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block

    def forward(self, summary: Rows, design: Design) -> Outcome:
        """Objective and price; as metrics, the resolution in bands of the energy."""
        error = residuals(summary)
        objective = self._combined(error.square(), summary.logarithm).sqrt()
        with torch.no_grad():
            metrics = _resolutions(error, summary.logarithm)
            metrics["layers"] = self.block.n_layers(design)
            metrics["channels"] = self.block.n_channels(design)
        return Outcome(objective, cost=self.block.price(design), metrics=metrics)

    def _combined(self, square: Tensor, logarithm: Tensor) -> Float[Tensor, ""]:
        config = self.block.config
        if config.tracker == 0:
            return square.mean()
        low, high = (torch.tensor(x).log() for x in (config.low_energy, config.high_energy))
        band = ((logarithm - low) / (high - low) * N_BANDS).long().clamp(0, N_BANDS - 1)
        parts = []
        for k in range(N_BANDS):
            inside = band == k
            if not bool(inside.any()):
                continue
            energy = torch.exp(low + (k + 0.5) / N_BANDS * (high - low))
            magnetic = (config.tracker * energy / TEV) ** 2
            variance = square[inside].mean()
            parts.append(inside.sum() * variance * magnetic / (variance + magnetic))
        combined: Tensor = torch.stack(parts).sum() / len(square)
        return combined


def residuals(rows: Rows) -> Float[Tensor, " n"]:
    r"""Estimated less true logarithm of the energy, each with the weights of the other folds.

    Note:
        Differentiable.
    """
    columns, target = rows.columns, rows.logarithm
    normals, moments = [], []
    for k in range(N_FOLDS):
        mine = columns[rows.fold == k]
        normals.append(mine.mT @ mine)
        moments.append(mine.mT @ target[rows.fold == k])
    normal, moment = torch.stack(normals), torch.stack(moments)
    normal, moment = normal.sum(0) - normal, moment.sum(0) - moment
    diagonal = normal.diagonal(dim1=-2, dim2=-1).detach()
    ridge = RIDGE * (diagonal + RIDGE * diagonal.amax(-1, keepdim=True))
    weights = torch.linalg.solve(normal + torch.diag_embed(ridge), moment)
    estimate: Tensor = (columns * weights[rows.fold]).sum(1)
    return estimate - target


def half_width(error: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    r"""Half the width of the central 68.3 % of :math:`E_{est}/E`.

    Args:
        error: Residuals of :math:`\ln E`.
    """
    ends = torch.quantile(error.exp(), torch.tensor(CENTRAL).to(error))
    return (ends[1] - ends[0]) / 2


def scatter(rows: Summary) -> Sequence[Scatter]:
    """Reconstructed against true energy."""
    assert isinstance(rows, Rows)
    error = residuals(rows).detach()
    true = (rows.logarithm / LN_10).tolist()
    found = ((rows.logarithm + error) / LN_10).tolist()
    label = "logarithm (base 10) of the {} energy [GeV]"
    return [Scatter(true, found, label.format("true"), label.format("found"), "Energy", True)]


def _resolutions(error: Tensor, logarithm: Tensor) -> dict[str, Tensor]:
    """Half-width and bias in bands."""
    found = {"half-width of E": half_width(error)}
    for name, (low, high) in BANDS.items():
        inside = (logarithm >= torch.tensor(low).log()) & (logarithm < torch.tensor(high).log())
        if int(inside.sum()) > 1:
            found[f"half-width of E, {name}"] = half_width(error[inside])
            found[f"mean of ln E less truth, {name}"] = error[inside].mean()
    return found
