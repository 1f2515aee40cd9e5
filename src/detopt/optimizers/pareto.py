"""Several objectives at once: what dominates what, and how much a front covers.

All objectives are minimized.
"""

__all__ = [
    "hypervolume",
    "non_dominated",
    "probability_non_dominated",
    "reference_point",
]

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.random import Seed

MARGIN = 0.1  # of the front's extent, by which the reference point lies beyond it


def non_dominated(
    objectives: Float[Tensor, "n m"],
    errors: Float[Tensor, "n m"] | None = None,
    significance: float = 1.0,
) -> Bool[Tensor, " n"]:
    r"""Which points no other point dominates.

    Without errors, j dominates i if :math:`f_j \le f_i` in every objective and :math:`f_j < f_i`
    in one; equal points all stay. With errors, j must be better in every objective by

    .. math:: f_{ik} - f_{jk} > z \sqrt{\sigma_{ik}^2 + \sigma_{jk}^2},

    so that noise alone removes no point from the front, and the set is the larger the larger
    the noise is.

    Args:
        objectives: Values, to be minimized.
        errors: Their standard errors :math:`\sigma`, or None where the values are exact.
        significance: How many standard errors :math:`z` count as better, >= 0.

    Raises:
        DomainError: A value is NaN, the shapes differ, or `significance` is negative.

    Note:
        Not differentiable. Takes memory for :math:`n^2 m` truth values.
    """
    if bool(objectives.isnan().any()):
        raise DomainError("The objectives hold NaN. Leave failed evaluations out.")
    if not significance >= 0:
        raise DomainError(f"`significance` must be >= 0, got {significance}.")
    gain = objectives[:, None, :] - objectives[None, :, :]  # of the second over the first
    if errors is None:
        dominated = (gain >= 0).all(dim=-1) & (gain > 0).any(dim=-1)
    else:
        if errors.shape != objectives.shape or not bool((errors >= 0).all()):
            raise DomainError(
                "`errors` must be >= 0, one for each value, got the shape "
                f"{tuple(errors.shape)} for {tuple(objectives.shape)}."
            )
        noise = torch.hypot(errors[:, None, :], errors[None, :, :])
        dominated = (gain > significance * noise).all(dim=-1)
    return ~dominated.any(dim=1)


def probability_non_dominated(
    objectives: Float[Tensor, "n m"],
    errors: Float[Tensor, "n m"],
    seed: Seed,
    n_samples: int = 512,
) -> Float[Tensor, " n"]:
    """Probability of each point to lie on the front, for independent normal errors.

    Args:
        objectives: Values, to be minimized.
        errors: Their standard errors.
        seed: Of the draws.
        n_samples: Draws, >= 1; the probability is known to 0.5 / sqrt(n_samples) or better.

    Raises:
        DomainError: `n_samples` is below 1, or a value is NaN.
    """
    if n_samples < 1:
        raise DomainError(f"`n_samples` must be >= 1, got {n_samples}.")
    rng = seed.generator()
    hits = torch.zeros(len(objectives), dtype=torch.float64)
    for _ in range(n_samples):
        noise = torch.randn(objectives.shape, generator=rng, dtype=torch.float64)
        hits += non_dominated(objectives + errors * noise)
    return hits / n_samples


def reference_point(front: Float[Tensor, "n m"]) -> Float[Tensor, " m"]:
    """A reference for the hypervolume: a tenth of the front's extent beyond its worst values.

    Args:
        front: Points of a front, to be minimized; at least one.

    Raises:
        DomainError: The front is empty.

    Note:
        Hypervolumes can only be compared at the same reference: take that of all methods' points
        together.

    References:
        H. Ishibuchi et al., Evolutionary Computation 26 (2018) 411.
    """
    if not len(front):
        raise DomainError("A front without points has no reference. Give one.")
    low, high = front.amin(dim=0), front.amax(dim=0)
    extent = high - low
    extent = torch.where(extent > 0, extent, high.abs().clamp(min=1e-6))
    return high + MARGIN * extent


def hypervolume(
    objectives: Float[Tensor, "n m"], reference: Float[Tensor, " n_reference"]
) -> Float[Tensor, ""]:
    r"""Volume that a set of points dominates, up to a reference.

    .. math:: V = \lambda\Big(\bigcup_i \prod_k [f_{ik}, r_k]\Big)

    Args:
        objectives: Points, to be minimized; those not below the reference add nothing.
        reference: Worst point :math:`r` that counts.

    Raises:
        DomainError: The number of objectives differs, or a number is NaN.

    Note:
        Exact, by slices along the last objective; the time rises as :math:`n^{m-1}`. Differentiable
        in the points where no two share a coordinate. Noise makes it too large: it favors the
        lucky points. Evaluate a front again with fresh random numbers before it is quoted.

    References:
        E. Zitzler and L. Thiele, IEEE Trans. Evol. Comput. 3 (1999) 257.
    """
    if objectives.shape[1] != len(reference):
        raise DomainError(
            f"The reference has {len(reference)} objectives, the points have {objectives.shape[1]}."
        )
    if bool(objectives.isnan().any()) or bool(reference.isnan().any()):
        raise DomainError("The objectives hold NaN. Leave failed evaluations out.")
    inside = objectives[(objectives < reference).all(dim=1)]
    return _volume(inside[non_dominated(inside.detach())], reference)


def _volume(points: Tensor, reference: Tensor) -> Tensor:
    if not len(points):
        return reference.new_zeros(())
    if len(reference) == 1:
        return reference[0] - points[:, 0].min()
    points = points[points[:, -1].argsort(stable=True)]
    if len(reference) == 2:
        lowest = points[:, 0].cummin(dim=0).values
        heights = torch.cat([points[1:, 1], reference[1:]]) - points[:, 1]
        return ((reference[0] - lowest) * heights).sum()
    levels = torch.cat([points[:, -1], reference[-1:]])
    total = reference.new_zeros(())
    for i in range(len(points)):
        if bool(levels[i + 1] == levels[i]):
            continue
        slice_ = points[: i + 1, :-1]
        slice_ = slice_[non_dominated(slice_.detach())]
        total = total + _volume(slice_, reference[:-1]) * (levels[i + 1] - levels[i])
    return total
