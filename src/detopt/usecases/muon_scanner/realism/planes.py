r"""Panels as planes in space: horizontal, tilted, or upright beside the volume.

A plane has a center, two axes u and v in it and a normal. A line is a point p at the height
:math:`z_0` with the slopes :math:`t_x, t_y` to the vertical, :math:`d = (t_x, t_y, 1)`.
"""

__all__ = ["Crossing", "Planes", "cross", "flat_axes", "joined", "tilted_axes"]

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GRAZING = 1e-3  # cosine-like; flatter lines count as crossing at this angle, far outside the panel


@dataclass(frozen=True)
class Planes:
    """Panels of one group.

    Args:
        center: Centers, x, y and z first [m].
        along: Unit axes u and v in the plane; their components x, y and z second.
        half_width: Half edge lengths along u and v [m].
        resolution: Resolution of a coordinate in the plane [m].
        efficiency: Probability of a hit inside the panel.
        thickness: Thickness in radiation lengths, or None for panels that do not scatter.
        areal_density: Areal density [g/cm2], or None for panels without loss of energy.
        offset: Unknown displacement along u, v and the normal, for each volume or all [m].
        rotation: Unknown rotation about the same axes, idem [rad].
        log_odds_shift: Unknown shift of the log odds of the efficiency, idem.
        is_flat: All panels are horizontal, u along x and v along y.
        is_upright: Which panels stand beside the volume and see only what leaves it.
    """

    center: Float[Tensor, "3 n"]
    along: Float[Tensor, "2 3 n"]
    half_width: Float[Tensor, "2 n"]
    resolution: Float[Tensor, " n"]
    efficiency: Float[Tensor, " n"]
    thickness: Float[Tensor, " n"] | None = None
    areal_density: Float[Tensor, " n"] | None = None
    offset: Float[Tensor, "*n_volumes n 3"] | None = None
    rotation: Float[Tensor, "*n_volumes n 3"] | None = None
    log_odds_shift: Float[Tensor, "*n_volumes n"] | None = None
    is_flat: bool = True
    is_upright: Bool[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return self.center.shape[1]

    @property
    def normal(self) -> Float[Tensor, "3 n"]:
        """The cross product of u and v."""
        normal: Tensor = torch.linalg.cross(self.along[0], self.along[1], dim=0)
        return normal

    def part(self, panels: slice) -> "Planes":
        """Some of the panels."""
        last = {"center", "along", "half_width", "resolution", "efficiency"}
        last |= {"thickness", "areal_density", "log_odds_shift", "is_upright"}
        changed: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = (
                    value[..., panels] if field.name in last else value[..., panels, :]
                )
        return replace(self, **changed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Crossing:
    r"""Where lines cross planes.

    Args:
        height: Heights z of the points [m].
        local: Coordinates u and v from the center [m].
        local_slope: Change of u and v for a displacement along the normal.
        slant: Path in the panel over its thickness, >= 1.
        projection: Change of (u, v), first, for a horizontal shift of the line in (x, y),
            second; None for horizontal panels, where it is the identity.
        outward: Which lines leave the volume through the panel; None where all count.
    """

    height: Float[Tensor, "n *#batch"]
    local: Float[Tensor, "2 n *batch"]
    local_slope: Float[Tensor, "2 #n *#batch"]
    slant: Float[Tensor, "#n *#batch"]
    projection: Float[Tensor, "2 2 n *#batch"] | None = None
    outward: Bool[Tensor, "n *#batch"] | None = None


def flat_axes(like: Float[Tensor, " n"]) -> Float[Tensor, "2 3 n"]:
    """Axes u along x and v along y for each of some panels."""
    axes = torch.zeros(2, 3, len(like), dtype=like.dtype)
    axes[0, 0] = axes[1, 1] = 1
    return axes


def tilted_axes(
    about_x: Float[Tensor, " n"], about_y: Float[Tensor, " n"]
) -> Float[Tensor, "2 3 n"]:
    r"""Axes u and v of planes turned about x by :math:`\alpha`, then about y by :math:`\beta`.

    .. math::
        u = (\cos\beta, 0, -\sin\beta), \qquad
        v = (\sin\alpha \sin\beta, \cos\alpha, \sin\alpha \cos\beta)

    Note:
        Differentiable.
    """
    sin_a, cos_a = about_x.sin(), about_x.cos()
    sin_b, cos_b = about_y.sin(), about_y.cos()
    u = torch.stack([cos_b, torch.zeros_like(cos_b), -sin_b])
    v = torch.stack([sin_a * sin_b, cos_a, sin_a * cos_b])
    return torch.stack([u, v])


def cross(
    planes: Planes,
    position: Float[Tensor, "2 *batch"],
    slope: Float[Tensor, "2 *batch"],
    height: float,
) -> Crossing:
    r"""Where lines cross planes.

    With the normal n, the line reaches the plane at the height :math:`z_0 + s`,

    .. math::
        s = \frac{n \cdot (c - p)}{n \cdot d}, \qquad
        u = e_u \cdot (p + s d - c), \qquad
        \frac{\partial u}{\partial (x, y)} = e_u - \frac{e_u \cdot d}{n \cdot d} n .

    Args:
        planes: The panels.
        position: Points p of the lines, x and y first [m].
        slope: Slopes dx/dz and dy/dz.
        height: Height :math:`z_0` of the points [m].

    Note:
        Exact; lines flatter than 1 mrad to a plane are taken at 1 mrad. Differentiable.
    """
    extra = (1,) * (position.ndim - 1)
    center = planes.center.reshape(3, -1, *extra)
    if planes.is_flat:
        step = center[2] - height
        length = (1 + slope.square().sum(0)).sqrt()
        local = position[:, None] + slope[:, None] * step - center[:2]
        return Crossing(center[2], local, slope[:, None], length[None])
    axes = planes.along.reshape(2, 3, -1, *extra)
    normal = planes.normal.reshape(3, -1, *extra)
    ahead = _dot(normal, slope)
    across = torch.where(ahead.abs() < GRAZING, torch.full_like(ahead, GRAZING), ahead)
    away = torch.stack([position[0] - center[0], position[1] - center[1]])
    depth = center[2] - height
    step = (normal[2] * depth - normal[0] * away[0] - normal[1] * away[1]) / across
    along = torch.stack([_dot(axis, slope) for axis in axes])
    start = torch.stack([a[0] * away[0] + a[1] * away[1] - a[2] * depth for a in axes])
    local_slope = along / across
    projection = torch.stack(
        [
            torch.stack([axis[i] - tilt * normal[i] for i in (0, 1)])
            for axis, tilt in zip(axes, local_slope, strict=True)
        ]
    )
    length = (1 + slope.square().sum(0)).sqrt()
    outward = None
    if planes.is_upright is not None:  # muons fly along -d
        outward = (ahead < 0) | ~planes.is_upright.reshape(-1, *extra)
    return Crossing(
        height=height + step,
        local=start + along * step,
        local_slope=local_slope,
        slant=length / across.abs(),
        projection=projection,
        outward=outward,
    )


def joined(first: Planes, second: Planes) -> Planes:
    """Two groups as one that is not flat."""
    changed: dict[str, Tensor | None] = {}
    for field in fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, Tensor) and field.name != "is_upright":
            dim = -2 if field.name in {"offset", "rotation"} else -1
            changed[field.name] = torch.cat([a, b], dim=dim)
    sides = [
        torch.zeros(len(p), dtype=torch.bool) if p.is_upright is None else p.is_upright
        for p in (first, second)
    ]
    return replace(first, **changed, is_flat=False, is_upright=torch.cat(sides))  # type: ignore[arg-type]


def _dot(
    axis: Float[Tensor, "3 n *extra"], slope: Float[Tensor, "2 *batch"]
) -> Float[Tensor, "n *batch"]:
    """Products of an axis of each plane with d of each line."""
    return axis[0] * slope[0] + axis[1] * slope[1] + axis[2]
