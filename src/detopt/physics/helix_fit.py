r"""Fit of helical tracks between planes, by a Kalman filter that is linearized until it settles.

A state is :math:`(x, y, t_x, t_y, q/p)` just behind a plane of constant z, after the plane has
scattered the particle: position [m], slopes :math:`dx/dz, dy/dz` and charge over momentum [c/GeV].
"""

__all__ = ["HelixFit", "helix_fit", "helix_step"]

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError
from detopt.physics.fields import helix_to_plane
from detopt.physics.kalman import LinearModel, kalman_filter, kalman_smoother

N_STATE = 5


@dataclass(frozen=True)
class HelixFit:
    """Fitted states just behind the planes, from all measurements."""

    state: Float[Tensor, "*batch n 5"]
    covariance: Float[Tensor, "*batch n 5 5"]
    chi_squared: Float[Tensor, "*batch"]  # of the last linearization, with the prior


def helix_step(
    state: Float[Tensor, "*batch 5"],
    start: Float[Tensor, ""],
    end: Float[Tensor, ""],
    field: Float[Tensor, "3"],
) -> Float[Tensor, "*batch 5"]:
    """Carries a state from one plane to the next in a uniform field.

    Args:
        state: State at the plane `start`.
        start: Position of the plane along z [m].
        end: Position of the next plane [m].
        field: Field [T].

    Returns:
        State at the plane `end`.

    Note:
        Exact, without loss of energy, for tracks that turn by less than a right angle.
        Differentiable.
    """
    position = torch.cat([state[..., :2], start.expand(*state.shape[:-1], 1)], dim=-1)
    ones = torch.ones_like(state[..., :1])
    direction = torch.nn.functional.normalize(torch.cat([state[..., 2:4], ones], dim=-1), dim=-1)
    normal = torch.tensor([0.0, 0.0, 1.0], dtype=state.dtype, device=state.device)

    # a unit momentum with the charge q/p turns as the particle does
    charge = state[..., 4]
    moved, turned, _ = helix_to_plane(position, direction, charge, field, end * normal, normal)
    slopes = turned[..., :2] / turned[..., 2:]
    return torch.cat([moved[..., :2], slopes, charge.unsqueeze(-1)], dim=-1)


def helix_fit(
    measurements: Float[Tensor, "*batch n 2"],
    planes: Float[Tensor, " n"],
    field: Float[Tensor, "3"],
    resolution: Float[Tensor, " n"],
    scattering_angle: Float[Tensor, " n"],
    start: Float[Tensor, "*batch 5"],
    start_covariance: Float[Tensor, "5 5"],
    n_iterations: int = 5,
) -> HelixFit:
    """Fits helices to the positions measured at planes.

    Each round linearizes the transport about the states of the round before, filters and smooths.
    The rounds converge to the least-squares fit with all scattering angles as parameters.

    Args:
        measurements: Measured x and y at each plane [m].
        planes: Positions of the planes along z [m], in the order of the track.
        field: Uniform field [T].
        resolution: Resolution of x and of y at each plane [m].
        scattering_angle: Width of the projected scattering angle in each plane [rad]; that of the
            first plane acts before the fitted track begins.
        start: Prior state behind the first plane.
        start_covariance: Covariance of the prior; wide if little is known.
        n_iterations: Rounds; each doubles the correct digits.

    Returns:
        States, covariances and chi-squared.

    Raises:
        DomainError: There are fewer than 3 planes, or no rounds.

    Note:
        Thin planes, no loss of energy. Differentiable in all tensors.

    References:
        R. Frühwirth, Nucl. Instrum. Meth. A 262 (1987) 444.
    """
    if len(planes) < 3:
        raise DomainError(
            f"`planes` must hold at least 3 planes, got {len(planes)}. "
            "Fewer do not measure a momentum."
        )
    if n_iterations < 1:
        raise DomainError(f"`n_iterations` must be >= 1, got {n_iterations}. Try 5.")

    states = [start]
    for z, following in pairwise(planes):
        states.append(helix_step(states[-1], z, following, field))
    reference = torch.stack(states, dim=-2)

    for _ in range(n_iterations):
        model = _linearize(reference, planes, field, resolution, scattering_angle)
        residuals = measurements - reference[..., :2]
        deviation = start - reference[..., 0, :]
        filtered = kalman_filter(residuals, model, deviation, start_covariance)
        smoothed = kalman_smoother(filtered, model)
        reference = reference + smoothed.mean

    return HelixFit(reference, smoothed.covariance, filtered.chi_squared)


def _linearize(
    reference: Float[Tensor, "*batch n 5"],
    planes: Float[Tensor, " n"],
    field: Float[Tensor, "3"],
    resolution: Float[Tensor, " n"],
    scattering_angle: Float[Tensor, " n"],
) -> LinearModel:
    """Model of the deviations from reference states that need not lie on one track."""
    batch, n_planes = reference.shape[:-2], len(planes)
    flat = reference.reshape(-1, n_planes, N_STATE)[:, :-1]

    def step(state: Tensor, z: Tensor, following: Tensor) -> tuple[Tensor, Tensor]:
        moved = helix_step(state, z, following, field)
        return moved, moved

    over_planes = torch.func.vmap(torch.func.jacrev(step, has_aux=True))
    over_tracks = torch.func.vmap(over_planes, in_dims=(0, None, None))
    jacobian, moved = over_tracks(flat, planes[:-1], planes[1:])
    jacobian = jacobian.reshape(*batch, n_planes - 1, N_STATE, N_STATE)
    moved = moved.reshape(*batch, n_planes - 1, N_STATE)

    identity = torch.eye(N_STATE, dtype=reference.dtype, device=reference.device)
    scattered = _kick(reference[..., 1:, :], scattering_angle[1:])
    first = identity.expand(*batch, 1, N_STATE, N_STATE)
    return LinearModel(
        transition=torch.cat([first, jacobian], dim=-3),
        noise=torch.cat([torch.zeros_like(first), scattered], dim=-3),
        projection=identity[:2].expand(n_planes, 2, N_STATE),
        resolution=resolution.square()[:, None, None] * identity[:2, :2],
        shift=torch.nn.functional.pad(moved - reference[..., 1:, :], (0, 0, 1, 0)),
    )


def _kick(
    state: Float[Tensor, "*batch n 5"], angle: Float[Tensor, " n"]
) -> Float[Tensor, "*batch n 5 5"]:
    """Covariance that scattering in a plane adds to the slopes."""
    slopes = state[..., 2:4]
    outer = slopes.unsqueeze(-1) * slopes.unsqueeze(-2)
    stretch = 1 + slopes.square().sum(-1)
    identity = torch.eye(2, dtype=state.dtype, device=state.device)
    block = (angle.square() * stretch)[..., None, None] * (identity + outer)
    return torch.nn.functional.pad(block, (2, 1, 2, 1))
