r"""From signals to energies: weights by regression, retrained for every design.

A reconstruction makes columns of the signals; the objective fits the energy as a linear function of
them, in folds, so that no shower is judged with weights that it has helped to find.
"""

__all__ = ["Columns", "EnergyError", "KeepColumns", "LinearColumns", "Rows"]

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.design import Design
from detopt.errors import DomainError
from detopt.pipeline import Analysis, Objective, Outcome, Reconstruction, Scatter, Summary
from detopt.usecases.sampling_calorimeter.config import SHOWERS_PER_WEIGHT
from detopt.usecases.sampling_calorimeter.layers import Calorimeter
from detopt.usecases.sampling_calorimeter.sources import Showers, Signals

N_FOLDS = 10
RIDGE = 1e-9  # of the fit, relative: signals may vanish
POWERS = {"stochastic": 1, "relative": 2}  # of the energy under the squared error
N_BANDS = 3  # in which metrics show the resolution
MM = 1e3  # in a metre


@dataclass(frozen=True)
class Columns:
    """What the energy is a linear function of."""

    columns: Float[Tensor, "n columns"]


@dataclass(frozen=True)
class Rows(Summary):
    """Columns, true energy and fold of each shower."""

    columns: Float[Tensor, "n columns"]
    energy: Float[Tensor, " n"]  # [GeV]
    fold: Int[Tensor, " n"]


class LinearColumns(Reconstruction[Signals, Columns]):
    """One column for each layer, and a constant."""

    def forward(self, readout: Signals, design: Design) -> Columns:  # noqa: ARG002
        """The signals and 1."""
        ones = torch.ones_like(readout.layer[:, :1])
        return Columns(torch.cat([readout.layer, ones], dim=1))


class KeepColumns(Analysis[Columns, Showers, Rows]):
    """Adds the truth, and divides the showers into folds; a shower is always in the same one."""

    def forward(self, estimate: Columns, events: Showers) -> Rows:
        """Rows of all showers."""
        return Rows(estimate.columns, events.energy, events.number % N_FOLDS)


class EnergyError(Objective[Rows]):
    r"""Error of the energy over the spectrum.

    .. math::
        \left\langle \frac{(\hat E - E)^2}{E^k} \right\rangle^{1/2}

    with :math:`k = 1` for the measure `stochastic`, which is the stochastic term of a calorimeter
    that has no other, and 2 for `relative`. The weights of the columns minimize the same
    expression over the other folds.

    Args:
        calorimeter: Maps designs to layers, for price and length.
    """

    def __init__(self, calorimeter: Calorimeter) -> None:
        super().__init__()
        self.calorimeter = calorimeter

    def forward(self, summary: Rows, design: Design) -> Outcome:
        """Objective, price and length; as metrics, both terms and the resolution in three bands.

        Raises:
            DomainError: There are fewer than two showers for each weight.
        """
        power = POWERS[self.calorimeter.config.measure]
        estimate = reconstruct(summary, power)
        relative = (estimate / summary.energy - 1).square()
        objective = (relative * summary.energy ** (2 - power)).mean().sqrt()
        with torch.no_grad():
            metrics = {
                **self._bands(relative, summary.energy),
                **_terms(relative, summary.energy),
                "length [mm]": MM * self.calorimeter.length(design),
                f"depth [{self.calorimeter.depth_unit}]": self.calorimeter.depth(design),
                "active layers": self.calorimeter.n_present(design),
            }
        return Outcome(objective, cost=self.calorimeter.price(design), metrics=metrics)

    def _bands(self, relative: Tensor, energy: Tensor) -> dict[str, Tensor]:
        """Resolution in bands of the energy with the same number of octaves."""
        config = self.calorimeter.config
        ratio = (config.high_energy / config.low_energy) ** (1 / N_BANDS)
        edges = [config.low_energy * ratio**i for i in range(N_BANDS + 1)]
        found = {}
        for low, high in itertools.pairwise(edges):
            inside = (energy >= low) & (energy <= high)
            if bool(inside.any()):
                name = f"resolution at {low:.3g} to {high:.3g} GeV"
                found[name] = relative[inside].mean().sqrt()
        return found


def reconstruct(rows: Rows, power: int) -> Float[Tensor, " n"]:
    r"""Energies of all showers [GeV], each with the weights of the other folds.

    Args:
        rows: Showers.
        power: Power :math:`k` of the energy under the squared error.

    Raises:
        DomainError: There are fewer than two showers for each weight.

    Note:
        Differentiable.
    """
    columns, energy = rows.columns, rows.energy
    n_weights, fewest = columns.shape[1], SHOWERS_PER_WEIGHT * columns.shape[1]
    if len(energy) < fewest:
        raise DomainError(
            f"{n_weights} weights need at least {fewest} showers for their fit, got {len(energy)}. "
            "Ask for more events, or for fewer layers."
        )
    weight = energy**-power
    normals, targets = [], []
    for k in range(N_FOLDS):
        mine = rows.fold == k
        weighted = (columns[mine] * weight[mine][:, None]).mT
        normals.append(weighted @ columns[mine])
        targets.append(weighted @ energy[mine])
    normal, target = torch.stack(normals), torch.stack(targets)
    normal, target = normal.sum(0) - normal, target.sum(0) - target
    diagonal = normal.diagonal(dim1=-2, dim2=-1).detach()
    normal = normal + RIDGE * torch.diag_embed(diagonal + diagonal.amax(-1, keepdim=True) * RIDGE)
    factors = torch.linalg.solve(normal, target)
    estimate: Tensor = (columns * factors[rows.fold]).sum(1)
    return estimate


def scatter(rows: Summary, power: int) -> list[Scatter]:
    """Reconstructed against true energy, and its relative error."""
    assert isinstance(rows, Rows)
    estimate, true = reconstruct(rows, power).tolist(), rows.energy.tolist()
    errors = [100 * (a / b - 1) for a, b in zip(estimate, true, strict=True)]
    return [
        Scatter(true, estimate, "true energy [GeV]", "reconstructed [GeV]", "Energy", True),
        Scatter(true, errors, "true energy [GeV]", "error [%]", "Relative error of the energy"),
    ]


def _terms(relative: Tensor, energy: Tensor) -> dict[str, Tensor]:
    r"""Terms :math:`a, c \ge 0` of :math:`\sigma^2/E^2 = a^2/E + c^2`, by least squares.

    Squared errors scatter in proportion to their mean: they are weighted with the energy squared.
    """
    columns = torch.stack([1 / energy, torch.ones_like(energy)], dim=1) * energy[:, None]
    target = relative * energy
    found = torch.linalg.lstsq(columns, target[:, None]).solution[:, 0]
    if bool(found[1] < 0):
        found = torch.stack([target.mean(), torch.zeros_like(found[1])])
    elif bool(found[0] < 0):
        found = torch.stack([torch.zeros_like(found[0]), relative.mean()])
    return {"stochastic term [GeV^1/2]": found[0].sqrt(), "constant term": found[1].sqrt()}
