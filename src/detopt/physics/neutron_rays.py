r"""Rays of a neutron beam through apertures, what these absorb, and the background of it.

Lengths are in metres, angles in radians. A ray has an offset and a slope at the start of the
line, z = 0, in one transverse coordinate.
"""

__all__ = ["Rays", "absorbed_shares", "aperture_background", "aperture_survival", "sample_rays"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors


@dataclass(frozen=True)
class Rays:
    """Straight rays, at the start of the line."""

    offset: Float[Tensor, " n_rays"]  # [m]
    slope: Float[Tensor, " n_rays"]  # [rad]


def sample_rays(
    n_rays: int,
    size: Values,
    divergence: Values,
    rng: Generator,
    dtype: torch.dtype = torch.float64,
) -> Rays:
    """Draws rays of a Gaussian source.

    Args:
        n_rays: Number of rays.
        size: Standard deviation of the offset [m].
        divergence: Standard deviation of the slope [rad].
        rng: Source of the draws.
        dtype: Type of the draws.

    Raises:
        DomainError: A Python number for size or divergence is not positive.

    Note:
        Differentiable in size and divergence at a fixed seed.
    """
    require_positive(size=size, divergence=divergence)
    normals = torch.randn((2, n_rays), generator=rng, dtype=dtype, device=rng.device)
    _, size, divergence = as_tensors(normals, size, divergence)
    return Rays(size * normals[0], divergence * normals[1])


def aperture_survival(
    rays: Rays,
    positions: Float[Tensor, "*batch n"],
    widths: Float[Tensor, "*batch n"],
    edge: str = "gaussian",
    softness: float = 1e-4,
) -> Float[Tensor, "*batch n n_rays"]:
    r"""Weight of each ray behind each aperture.

    .. math::
        W_k = \prod_{i \le k} \begin{cases}
            e^{-x_i^2/2a_i^2} & \text{gaussian} \\
            1 \text{ if } |x_i| \le a_i & \text{sharp} \\
            \operatorname{sigm}\frac{a_i + x_i}{s} \operatorname{sigm}\frac{a_i - x_i}{s}
                & \text{soft}
        \end{cases}

    Args:
        rays: The rays.
        positions: Distance of each aperture from the start [m], in the order of the beam.
        widths: Its Gaussian width or half width :math:`a_i` [m].
        edge: Form of the edge: ``"gaussian"``, ``"sharp"`` or ``"soft"``.
        softness: Length :math:`s` over which a soft edge fades [m].

    Returns:
        Weights from 0 to 1.

    Raises:
        DomainError: `edge` is none of the three, or `softness` is not positive.

    Note:
        The sharp edge has gradient 0 almost everywhere: for evaluation, not for optimization. The
        soft one tends to it as the softness goes to 0. Differentiable otherwise.
    """
    require_positive(softness=softness)
    offset = rays.offset + positions[..., None] * rays.slope
    width = widths[..., None]
    if edge == "gaussian":
        return torch.exp(-((offset / width) ** 2).cumsum(-2) / 2)
    if edge == "sharp":
        return (offset.abs() <= width).to(offset.dtype).cumprod(-2)
    if edge == "soft":
        inside = torch.nn.functional.logsigmoid((width + offset) / softness)
        inside = inside + torch.nn.functional.logsigmoid((width - offset) / softness)
        return inside.cumsum(-2).exp()
    raise DomainError(f"`edge` must be 'gaussian', 'sharp' or 'soft', got {edge!r}.")


def absorbed_shares(survival: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Share of the neutrons of the source that each aperture absorbs.

    Args:
        survival: Share left behind each aperture, as of `cumulative_transmission`, or the mean
            over rays of `aperture_survival`.

    Note:
        They add up to one minus the last transmission. Differentiable.
    """
    return -torch.nn.functional.pad(survival, (1, 0), value=1.0).diff(dim=-1)


def aperture_background(
    absorbed: Float[Tensor, "*batch n"],
    positions: Float[Tensor, "*batch n"],
    plane: float,
    radius: float,
    photons: float = 1.0,
) -> Float[Tensor, "*batch"]:
    r"""Background at a detector from neutrons absorbed in the apertures.

    .. math::
        B = n_\gamma \sum_i A_i\, \frac12 \left(1 - \frac{d_i}{\sqrt{d_i^2 + R^2}}\right),
        \qquad d_i = L - z_i

    Args:
        absorbed: Share :math:`A_i` absorbed in each aperture, see `absorbed_shares`.
        positions: Distance :math:`z_i` of each aperture from the start [m], before the detector.
        plane: Distance :math:`L` of the detector from the start [m].
        radius: Radius :math:`R` of the detector, a disc on the axis [m].
        photons: Photons :math:`n_\gamma` per absorbed neutron; 0.94 of 478 keV in boron.

    Returns:
        Photons on the detector per neutron of the source.

    Raises:
        DomainError: `radius` or `photons` is not positive.

    Note:
        Isotropic emission on the axis, no shield, no scattering. It falls as the square of the
        distance: its weight in an objective moves apertures upstream. Differentiable.

    References:
        Solid angle of a disc; arXiv:2203.13818, section 4.5.
    """
    require_positive(radius=radius, photons=photons)
    distance = plane - positions
    # (1 - d/r)/2 without cancellation far away
    hypotenuse = torch.sqrt(distance**2 + radius**2)
    share = radius**2 / (2 * hypotenuse * (hypotenuse + distance))
    return photons * (absorbed * share).sum(-1)
