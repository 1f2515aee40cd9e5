"""Common point of several straight tracks.

Lengths are in metres.
"""

__all__ = ["Vertex", "fit_vertex"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError


@dataclass(frozen=True)
class Vertex:
    """A fitted vertex."""

    position: Float[Tensor, "*batch 3"]  # [m]
    covariance: Float[Tensor, "*batch 3 3"]  # [m2]
    chi_squared: Float[Tensor, "*batch"]  # with 2 n - 3 degrees of freedom for n tracks


def fit_vertex(
    points: Float[Tensor, "*#batch n 3"],
    directions: Float[Tensor, "*#batch n 3"],
    resolution: Float[Tensor, "*#batch n"],
) -> Vertex:
    r"""Point of least squares of the distances to straight tracks.

    .. math::
        \chi^2 = \sum_i \frac{|P_i (\vec v - \vec a_i)|^2}{\sigma_i^2}, \qquad
        P_i = 1 - \hat d_i \hat d_i^T

    Args:
        points: A point :math:`\vec a_i` of each track near the vertex [m].
        directions: Direction of each track, of any length.
        resolution: Resolution :math:`\sigma_i` of each track across it, near the vertex [m];
            infinite leaves a track out.

    Returns:
        Position, covariance and chi-squared.

    Raises:
        DomainError: There are fewer than 2 tracks.

    Note:
        Exact for straight tracks with the same resolution in both directions across. Not
        defined for parallel tracks. Differentiable in all tensors.
    """
    if points.shape[-2] < 2:
        raise DomainError(
            f"`points` must hold at least 2 tracks, got {points.shape[-2]}. "
            "One track has no vertex."
        )
    unit = torch.nn.functional.normalize(directions, dim=-1)
    identity = torch.eye(3, dtype=unit.dtype, device=unit.device)
    across = identity - unit.unsqueeze(-1) * unit.unsqueeze(-2)
    weight = across * resolution.reciprocal().square()[..., None, None]

    origin = points.mean(-2, keepdim=True)
    offset = points - origin
    information = weight.sum(-3)
    pull = (weight @ offset.unsqueeze(-1)).sum(-3)
    factor = torch.linalg.cholesky(information)
    moved = torch.cholesky_solve(pull, factor).mT
    miss = moved - offset
    chi_squared = (miss.unsqueeze(-2) @ weight @ miss.unsqueeze(-1)).sum((-3, -2, -1))

    position = (origin + moved).squeeze(-2)
    covariance = torch.cholesky_inverse(factor).expand(*position.shape[:-1], 3, 3)
    return Vertex(position, covariance, chi_squared)
