r"""Kalman filter and smoother for tracks that are linear in their parameters.

A state :math:`x_k` at layer :math:`k` follows :math:`x_k = F_k x_{k-1} + c_k + w_k`, and the layer
measures :math:`m_k = H_k x_k + e_k`, where :math:`w_k` has the covariance :math:`Q_k` (scattering)
and :math:`e_k` the covariance :math:`V_k` (resolution). Units are those that the caller chooses.
"""

__all__ = [
    "Filtered",
    "LinearModel",
    "Smoothed",
    "kalman_filter",
    "kalman_smoother",
    "straight_line_model",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import DomainError


@dataclass(frozen=True)
class LinearModel:
    """How a state goes from layer to layer and what each layer measures of it."""

    transition: Float[Tensor, "*#batch n d d"]  # F, from the layer before; the first from the prior
    noise: Float[Tensor, "*#batch n d d"]  # Q, added on the way to the layer
    projection: Float[Tensor, "*#batch n m d"]  # H
    resolution: Float[Tensor, "*#batch n m m"]  # V, covariance of the measurement
    shift: Float[Tensor, "*#batch n d"] | None = None  # c, zero if None


@dataclass(frozen=True)
class Filtered:
    """States at each layer, from the measurements up to that layer."""

    mean: Float[Tensor, "*batch n d"]
    covariance: Float[Tensor, "*batch n d d"]
    predicted_mean: Float[Tensor, "*batch n d"]  # before the layer's own measurement
    predicted_covariance: Float[Tensor, "*batch n d d"]
    chi_squared: Float[Tensor, "*batch"]  # of the track and its prior


@dataclass(frozen=True)
class Smoothed:
    """States at each layer, from all measurements."""

    mean: Float[Tensor, "*batch n d"]
    covariance: Float[Tensor, "*batch n d d"]


def kalman_filter(
    measurements: Float[Tensor, "*batch n m"],
    model: LinearModel,
    mean: Float[Tensor, "*#batch d"],
    covariance: Float[Tensor, "*#batch d d"],
) -> Filtered:
    r"""Runs through the layers and updates the state with each measurement.

    .. math::
        K = P H^T (H P H^T + V)^{-1}, \qquad x' = x + K (m - H x), \qquad
        P' = (1 - K H) P (1 - K H)^T + K V K^T

    Args:
        measurements: Measurements :math:`m_k`.
        model: Transitions, noise, projections and resolutions of the layers.
        mean: Mean of the state before the first transition.
        covariance: Its covariance; wide if nothing is known.

    Returns:
        Means and covariances at every layer and the chi-squared of the track.

    Raises:
        DomainError: Measurements and model have a different number of layers.

    Note:
        Exact for Gaussian errors: at the last layer the same as a global least-squares fit with
        the same prior. Differentiable in all tensors.

    References:
        R. Frühwirth, Nucl. Instrum. Meth. A 262 (1987) 444.
    """
    _require_layers(measurements, model)
    identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    means, covariances, aheads, spreads = (list[Tensor]() for _ in range(4))
    chi_squared = torch.zeros((), dtype=mean.dtype, device=mean.device)

    for k in range(measurements.shape[-2]):
        transition, projection = model.transition[..., k, :, :], model.projection[..., k, :, :]
        resolution = model.resolution[..., k, :, :]
        ahead = _apply(transition, mean)
        if model.shift is not None:
            ahead = ahead + model.shift[..., k, :]
        spread = transition @ covariance @ transition.mT + model.noise[..., k, :, :]

        residual = measurements[..., k, :] - _apply(projection, ahead)
        factor = torch.linalg.cholesky(projection @ spread @ projection.mT + resolution)
        gain = torch.cholesky_solve(projection @ spread, factor).mT
        kept = identity - gain @ projection
        mean = ahead + _apply(gain, residual)
        covariance = kept @ spread @ kept.mT + gain @ resolution @ gain.mT
        white = torch.linalg.solve_triangular(factor, residual.unsqueeze(-1), upper=False)
        chi_squared = chi_squared + white.square().sum((-2, -1))
        means.append(mean)
        covariances.append(covariance)
        aheads.append(ahead)
        spreads.append(spread)

    return Filtered(
        mean=torch.stack(means, dim=-2),
        covariance=_stack_matrices(covariances, means),
        predicted_mean=_stack_vectors(aheads, means),
        predicted_covariance=_stack_matrices(spreads, means),
        chi_squared=chi_squared,
    )


def kalman_smoother(filtered: Filtered, model: LinearModel) -> Smoothed:
    r"""Runs back through the layers, so that each state knows all measurements.

    .. math::
        A = P_k F^T \tilde P_{k+1}^{-1}, \qquad
        x_k' = x_k + A (x_{k+1}' - \tilde x_{k+1}), \qquad
        P_k' = P_k + A (P_{k+1}' - \tilde P_{k+1}) A^T

    with :math:`\tilde x, \tilde P` the prediction.

    Args:
        filtered: Result of `kalman_filter`.
        model: The model that it was filtered with.

    Returns:
        Means and covariances at every layer.

    Raises:
        DomainError: The result and the model have a different number of layers.

    Note:
        Exact for Gaussian errors. Differentiable in all tensors.

    References:
        R. Frühwirth, Nucl. Instrum. Meth. A 262 (1987) 444.
    """
    _require_layers(filtered.mean, model)
    n_layers = filtered.mean.shape[-2]
    mean, covariance = filtered.mean[..., -1, :], filtered.covariance[..., -1, :, :]
    means, covariances = [mean], [covariance]

    for k in reversed(range(n_layers - 1)):
        transition = model.transition[..., k + 1, :, :]
        ahead = filtered.predicted_mean[..., k + 1, :]
        spread = filtered.predicted_covariance[..., k + 1, :, :]
        own = filtered.covariance[..., k, :, :]
        gain = torch.cholesky_solve(transition @ own, torch.linalg.cholesky(spread)).mT
        mean = filtered.mean[..., k, :] + _apply(gain, mean - ahead)
        covariance = own + gain @ (covariance - spread) @ gain.mT
        means.append(mean)
        covariances.append(covariance)

    return Smoothed(
        mean=torch.stack(means[::-1], dim=-2),
        covariance=_stack_matrices(covariances[::-1], means),
    )


def straight_line_model(
    positions: Float[Tensor, "*#batch n"],
    resolution: Float[Tensor, "*#batch n"],
    scattering_angle: Float[Tensor, "*#batch n"],
) -> LinearModel:
    """Layers that measure the offset of a straight line, and scatter it.

    The state is (offset [m], slope). The prior is the state at the first layer, before it
    scatters there.

    Args:
        positions: Positions of the layers along the track [m], increasing.
        resolution: Resolution of each layer [m].
        scattering_angle: Width of the projected angle in each layer [rad].

    Returns:
        Model for `kalman_filter`; measurements have one component.

    Raises:
        DomainError: There are fewer than 2 layers.

    Note:
        Thin layers, small angles. Differentiable.
    """
    if positions.shape[-1] < 2:
        raise DomainError(
            f"`positions` must hold at least 2 layers, got {positions.shape[-1]}. "
            "One layer measures no slope."
        )
    positions, resolution, angle = torch.broadcast_tensors(positions, resolution, scattering_angle)
    step = torch.nn.functional.pad(positions.diff(dim=-1), (1, 0))
    kick = torch.nn.functional.pad(angle[..., :-1].square(), (1, 0))
    one, zero = torch.ones_like(step), torch.zeros_like(step)

    transition = torch.stack([one, step, zero, one], dim=-1).unflatten(-1, (2, 2))
    noise = [kick * step.square(), kick * step, kick * step, kick]
    return LinearModel(
        transition=transition,
        noise=torch.stack(noise, dim=-1).unflatten(-1, (2, 2)),
        projection=torch.stack([one, zero], dim=-1).unsqueeze(-2),
        resolution=resolution.square()[..., None, None],
    )


def _apply(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _stack_vectors(vectors: list[Tensor], like: list[Tensor]) -> Tensor:
    """Layers on the axis after the batch, with the batch of `like`."""
    return torch.stack([v.expand_as(u) for v, u in zip(vectors, like, strict=True)], dim=-2)


def _stack_matrices(matrices: list[Tensor], like: list[Tensor]) -> Tensor:
    """Layers on the axis after the batch, with the batch of the vectors `like`."""
    batch = like[0].shape[:-1]
    return torch.stack([m.expand(*batch, *m.shape[-2:]) for m in matrices], dim=-3)


def _require_layers(values: Tensor, model: LinearModel) -> None:
    n_layers = model.transition.shape[-3]
    if values.shape[-2] != n_layers:
        raise DomainError(
            f"the model has {n_layers} layers, got {values.shape[-2]} measurements. "
            "Give one measurement a layer."
        )
