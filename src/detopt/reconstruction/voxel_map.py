"""Maps of a voxel grid from points with uncertainty."""

__all__ = ["bin_probabilities", "separable_sums"]

import functools

import torch
from jaxtyping import Float
from torch import Tensor

FARTHEST = 6.0  # erf(6) is 1 in float64


def bin_probabilities(
    center: Float[Tensor, "*batch"],
    variance: Float[Tensor, "*batch"],
    edges: Float[Tensor, " n_edges"],
) -> Float[Tensor, "*batch n_bins"]:
    r"""Probability of each bin for a normal distribution.

    :math:`p_j = \frac{1}{2}\left[\mathrm{erf}\frac{e_{j+1} - \mu}{\sqrt 2 \sigma}
    - \mathrm{erf}\frac{e_j - \mu}{\sqrt 2 \sigma}\right]`

    Args:
        center: Means [m].
        variance: Variances [m2], > 0.
        edges: Increasing edges of the bins [m].
    """
    scale = (2 * variance).rsqrt()
    reduced = (edges - center.unsqueeze(-1)) * scale.unsqueeze(-1)
    # erf is 1 far below the limit, and its derivative is slow where it underflows
    below = torch.erf(reduced.clamp(-FARTHEST, FARTHEST))
    return below @ _half_differences(len(edges), edges.dtype)


@functools.cache
def _half_differences(n_edges: int, dtype: torch.dtype) -> Float[Tensor, "n_edges n_bins"]:
    """Matrix of half the differences of neighbours: one product, forward and backward."""
    steps = torch.eye(n_edges, dtype=dtype)
    return (steps[:, 1:] - steps[:, :-1]) / 2


def separable_sums(
    px: Float[Tensor, "v n x"],
    py: Float[Tensor, "v n y"],
    pz: Float[Tensor, "v n z"],
    values: Float[Tensor, "v n c"],
) -> Float[Tensor, "v c x y z"]:
    r"""Sums over points of value times the product of three axis probabilities.

    :math:`S_{cxyz} = \sum_n f_{nc}\, p_{nx} p_{ny} p_{nz}` as one batched matrix product, which
    never makes the (points x voxels) array: memory grows as n (x + y z).
    """
    n_volumes, _, nx = px.shape
    ny, nz, n_values = py.shape[-1], pz.shape[-1], values.shape[-1]
    left = (values.unsqueeze(-1) * px.unsqueeze(-2)).flatten(-2)
    right = (py.unsqueeze(-1) * pz.unsqueeze(-2)).flatten(-2)
    sums = left.transpose(-1, -2) @ right
    return sums.reshape(n_volumes, n_values, nx, ny, nz)
