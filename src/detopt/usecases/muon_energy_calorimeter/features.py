r"""What the reconstruction looks at: numbers that do not depend on how many layers there are.

Energies by layer become densities :math:`x_l = E_l/t_l` with the weights :math:`w_l = t_l/D`, of
which power means and shares above some levels are taken. A mean of low power is robust against
single large losses, as a truncated mean is.
"""

__all__ = ["N_FEATURES", "features", "truncated_mean"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.usecases.muon_energy_calorimeter.readout import Cells

POWERS = (0.25, 0.5, 1.0, 2.0)
FLOOR = 0.05  # GeV/m that is added to densities: logarithms stay finite
LEVELS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0)  # GeV/m
SLOPE = 0.3  # width of a level, in ln x
N_LARGEST = 4
KEPT = 0.7  # of the layers in a truncated mean
N_FEATURES = (4 + 2) * len(POWERS) + 2 * len(LEVELS) + N_LARGEST


def features(cells: Cells, thickness: Float[Tensor, " layers"]) -> Float[Tensor, "n features"]:
    """Features of muons, by layers, neighbours in depth, and distance from the track.

    Args:
        cells: Energies [GeV].
        thickness: Of the layers [m]; the last one may be thin.

    Note:
        Differentiable, and continuous where the last layer vanishes.
    """
    total = cells.center + cells.ring + cells.rim
    densities = [
        _density(total, thickness),
        _density(cells.center, thickness),
        _density(cells.ring, thickness),
        _density(cells.rim, thickness),
    ]
    weight = thickness / thickness.sum()
    found = [_means(one, weight) for one in densities]
    for length in (2, 4):
        merged = total.unfold(1, length, 1).sum(-1)
        under = thickness.unfold(0, length, 1).sum(-1)
        share = thickness[length - 1 :]
        found.append(_means(_density(merged, under), share / share.sum()))
    for one in densities[:2]:
        level = torch.tensor(LEVELS).to(one).log()
        above = torch.sigmoid((one.log()[..., None] - level) / SLOPE)
        found.append((above * weight[:, None]).sum(1))
    largest = total.clamp(min=0.0).topk(N_LARGEST, dim=1).values
    found.append((largest + FLOOR * thickness.sum() / len(thickness)).log())
    return torch.cat(found, dim=1)


def truncated_mean(cells: Cells, thickness: Float[Tensor, " layers"]) -> Float[Tensor, "n 1"]:
    """Logarithm of the mean of the smallest 70 % of the densities."""
    total = _density(cells.center + cells.ring + cells.rim, thickness)
    kept = total.sort(dim=1).values[:, : max(1, int(KEPT * total.shape[1]))]
    return kept.mean(1, keepdim=True).log()


def _density(energy: Tensor, thickness: Tensor) -> Float[Tensor, "n layers"]:
    return energy.clamp(min=0.0) / thickness + FLOOR


def _means(
    density: Float[Tensor, "n layers"], weight: Float[Tensor, " layers"]
) -> Float[Tensor, "n powers"]:
    """Logarithms of the power means."""
    means = [(weight * density**p).sum(1).log() / p for p in POWERS]
    return torch.stack(means, dim=1)
