"""How close features of drawn rows are to those of real ones."""

__all__ = ["closure", "coverage", "frechet_distance", "interval_coverage", "separations"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import MethodError

BINS = 30
TAIL = 0.002  # share of the real rows beyond each end of a histogram
NEIGHBORS = 5
CONDITION_BINS = 4  # of equal content
SMALL = 1e-300
NARROW = 1e-9  # bins of a constant feature over its size


def separations(
    real: Float[Tensor, "n f"], drawn: Float[Tensor, "m f"], bins: int = BINS
) -> Float[Tensor, " f"]:
    r"""How far the histograms of each feature are apart.

    .. math:: S^2 = \frac12 \sum_k \frac{(p_k - q_k)^2}{p_k + q_k}

    with bins of equal width over the real rows but for their extremes, which the first and the last
    bin hold. Where all real rows are the same, the middle one holds them.

    Args:
        real: Features of the simulator.
        drawn: Features of the surrogate.
        bins: Number of bins.

    Returns:
        From 0, the same, to 1, no overlap; by chance about :math:`(K - 1)/4 (1/n + 1/m)`.
    """
    found = []
    for one, other in zip(real.double().T, drawn.double().T, strict=True):
        low, high = one.quantile(TAIL), one.quantile(1 - TAIL)
        width = (high - low) / bins
        if not float(width) > 0:
            width = (NARROW * low.abs()).clamp(min=SMALL)
            low = low - bins / 2 * width
        p, q = (
            ((values - low) / width).clamp(0, bins - 1).long().bincount(minlength=bins).double()
            / len(values)
            for values in (one, other)
        )
        found.append(((p - q).square() / (p + q).clamp(min=SMALL)).sum() / 2)
    return torch.stack(found)


def frechet_distance(real: Float[Tensor, "n f"], drawn: Float[Tensor, "m f"]) -> float:
    r"""Frechet distance of features, scaled to unit width, without the excess of few rows.

    .. math::
        d = |\mu_1 - \mu_2|^2 + \operatorname{tr}\left(C_1 + C_2 - 2 (C_1 C_2)^{1/2}\right)

    The excess falls as one over the number of rows: from all rows and from halves the distance of
    infinitely many follows, which may come out slightly negative.

    Args:
        real: Features of the simulator.
        drawn: Features of the surrogate.

    References:
        M. Heusel et al., arXiv:1706.08500; M. J. Chong and D. Forsyth, arXiv:1911.07023.
    """
    width = real.std(0)
    scale = torch.where(width > 0, width, torch.ones_like(width))
    one, two = real / scale, drawn / scale
    halves = [_frechet(one[i::2], two[j::2]) for i in range(2) for j in range(2)]
    return 2 * _frechet(one, two) - sum(halves) / len(halves)


def _frechet(one: Tensor, two: Tensor) -> float:
    first, second = one.T.cov().reshape(one.shape[1], -1), two.T.cov().reshape(two.shape[1], -1)
    values, axes = torch.linalg.eigh(first)
    root = axes @ torch.diag(values.clamp(min=0).sqrt()) @ axes.T
    overlap = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    away = (one.mean(0) - two.mean(0)).square().sum()
    return float(away + first.trace() + second.trace() - 2 * overlap)


def closure(
    conditions: Float[Tensor, "n c"],
    real: Float[Tensor, "n f"],
    drawn: Float[Tensor, "n f"],
    bins: int = CONDITION_BINS,
) -> tuple[Float[Tensor, "c b f 2"], Float[Tensor, "c b f 2"]]:
    """Error of the mean and of the width of each feature in bins of each condition.

    Args:
        conditions: Of each row.
        real: Features of the simulator.
        drawn: Features of the surrogate at the same conditions.
        bins: Bins of equal content along a condition.

    Returns:
        Mean of drawn less real rows over the width of the real ones, and ratio of the widths less
        one; and the standard errors of both, by the scatter of the rows. Where all real rows of a
        bin are the same, both differences are in units of the width over all bins, or, where that
        is zero too, in the feature's own unit.

    Raises:
        MethodError: A bin would hold fewer than two rows.
    """
    if len(conditions) < 2 * bins:
        raise MethodError(f"{bins} bins need {2 * bins} rows or more, got {len(conditions)}.")
    real, drawn = real.double(), drawn.double()
    overall = real.std(0)
    overall = torch.where(overall > 0, overall, torch.ones_like(overall))
    errors, uncertainties = [], []
    for one in conditions.T:
        parts = one.argsort(stable=True).tensor_split(bins)
        pairs = [_moment_errors(real[part], drawn[part], overall) for part in parts]
        errors.append(torch.stack([pair[0] for pair in pairs]))
        uncertainties.append(torch.stack([pair[1] for pair in pairs]))
    return torch.stack(errors), torch.stack(uncertainties)


def _moment_errors(real: Tensor, drawn: Tensor, overall: Tensor) -> tuple[Tensor, Tensor]:
    n = len(real)
    own, other = real.std(0), drawn.std(0)
    width = torch.where(own > 0, own, overall)
    pulls, pulls_drawn = (real - real.mean(0)) / width, (drawn - drawn.mean(0)) / width
    ratio = other / width
    shift = pulls_drawn.mean(0) + (drawn.mean(0) - real.mean(0)) / width
    shift_error = (((own / width).square() + ratio.square()) / n).sqrt()
    spreads = [one.square().var(0) / 4 for one in (pulls, pulls_drawn)]
    ratio_error = (ratio.square() * spreads[0] + spreads[1] / ratio.square().clamp(min=SMALL)) / n
    found = torch.stack([shift, (other - own) / width], -1)
    return found, torch.stack([shift_error, ratio_error.sqrt()], -1)


def coverage(real: Float[Tensor, "n f"], drawn: Float[Tensor, "m f"]) -> float:
    r"""Share of real rows with a drawn one nearer than their fifth real neighbour.

    Args:
        real: Features of the simulator.
        drawn: Features of the surrogate.

    Returns:
        From 0 to 1; for as many rows alike :math:`1 - 2^{-5} = 0.97` are expected.

    References:
        M. F. Naeem et al., arXiv:2002.09797.
    """
    width = real.std(0)
    scale = torch.where(width > 0, width, torch.ones_like(width))
    one, two = real / scale, drawn / scale
    reach = torch.cdist(one, one).kthvalue(NEIGHBORS + 1, dim=1).values
    nearest = torch.cdist(one, two).amin(1)
    return float((nearest <= reach).double().mean())


def interval_coverage(
    real: Float[Tensor, "n f"], drawn: Float[Tensor, "m n f"], level: float
) -> Float[Tensor, " f"]:
    """Share of real features inside the central interval of drawn ones at the same conditions.

    Args:
        real: Features of the simulator.
        drawn: Features of several rows of the surrogate at the conditions of each real one.
        level: Content of the interval, in (0, 1).

    Returns:
        As large as the level where widths are right; drawn rows are counted as ranks, so that few
        of them make no bias.

    Raises:
        MethodError: `level` is out of range.
    """
    if not 0 < level < 1:
        raise MethodError(f"`level` must be in (0, 1), got {level}.")
    slots = len(drawn) + 1
    rank = (drawn < real).double().sum(0) + (drawn == real).double().sum(0) / 2
    low, high = (1 - level) / 2 * slots, (1 + level) / 2 * slots
    return ((rank + 1).clamp(max=high) - rank.clamp(min=low)).clamp(min=0).mean(0)
