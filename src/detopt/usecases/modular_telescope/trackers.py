r"""The same six planes in four arrangements, as trackers that stand somewhere and look somewhere.

A ``tower`` is a tracker of six planes. In the others each tracker has three: side by side
(``wide``), on both sides of the object (``sandwich``), or at two places that see it from different
directions (``two_views``). A tracker of three planes needs all hits, one of six needs four.
"""

__all__ = ["Trackers", "arrange"]

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.usecases.modular_telescope.config import ARRANGEMENTS
from detopt.usecases.modular_telescope.targets import Target

TOWER, WIDE, SANDWICH, TWO_VIEWS = range(len(ARRANGEMENTS))
N_TOWER, N_SHORT, N_NEEDED = 6, 3, 4  # planes of both kinds, and hits that a tower needs
EDGE = 0.03  # of a plane's side: width of the soft edges of the acceptance
LEAST_AHEAD = 0.1  # cosine to the axis below which nothing is seen


@dataclass(frozen=True)
class Trackers:
    """Trackers that see the object by what it absorbs.

    Attributes:
        place: Middle of each tracker [m].
        axis: Unit vectors to the right, upward and along the axis, as rows.
        copies: Trackers side by side at each place.
        length: From the first to the last plane [m].
        slope_error: Resolution of a slope.
        efficiency: Probability that a track is found.
    """

    place: Float[Tensor, "trackers 3"]
    axis: Float[Tensor, "trackers 3 3"]
    copies: float
    length: Float[Tensor, ""]
    slope_error: Float[Tensor, ""]
    efficiency: Float[Tensor, ""]

    def acceptance(
        self, direction: Float[Tensor, "n trackers 3"], side: float, *, soft: bool
    ) -> Float[Tensor, "n trackers"]:
        r"""Area of both outer planes that a direction sees [m2].

        .. math::
            A = (m a - L|u|)_+\,(a - L|v|)_+ \cos\alpha

        of :math:`m` planes side by side, between which tracks may cross.

        Args:
            direction: Unit vectors from the trackers.
            side: Edge :math:`a` of a plane [m].
            soft: Whether the edges are smooth.
        """
        along = torch.einsum("ntj,tij->nti", direction, self.axis)
        cosine = along[..., 2]
        ahead = cosine > LEAST_AHEAD
        slopes = along[..., :2] / torch.where(ahead, cosine, 1.0).unsqueeze(-1)
        edges = slopes.new_tensor([self.copies * side, side])
        overlap = positive(edges - self.length * slopes.abs(), side, soft=soft)
        return torch.where(ahead, overlap.prod(dim=-1) * cosine, 0.0)


def positive(length: Tensor, side: float, *, soft: bool) -> Tensor:
    """The positive part of a length, with a soft edge of 3 % of a plane's side or a sharp one."""
    if not soft:
        return length.clamp(min=0.0)
    width = EDGE * side
    return width * torch.nn.functional.softplus(length / width)


def arrange(target: Target, design: Mapping[str, Tensor]) -> Trackers:
    """The trackers of a design.

    Args:
        target: What they look at.
        design: `arrangement`, `spacing`, `aim`, `view_angle`, `pitch` and `efficiency`.
    """
    kind = int(design["arrangement"])
    n = N_TOWER if kind == TOWER else N_SHORT
    length = (n - 1) * design["spacing"]
    zero = torch.zeros_like(design["view_angle"])
    angles = [zero, design["view_angle"]] if kind == TWO_VIEWS else [zero]
    places, axes = zip(*(_view(target, angle, design["aim"]) for angle in angles), strict=True)
    return Trackers(
        place=torch.stack(places),
        axis=torch.stack(axes),
        copies=2.0 if kind == WIDE else 1.0,
        length=length,
        slope_error=slope_error(n, length, design["pitch"]),
        efficiency=found(n, design["efficiency"]),
    )


def slope_error(n: int, length: Tensor, pitch: Tensor) -> Float[Tensor, ""]:
    """Resolution of the slope of a line through `n` planes, evenly over a length."""
    return pitch / length * math.sqrt((n - 1) / (n * (n + 1)))


def found(n: int, efficiency: Tensor) -> Float[Tensor, ""]:
    """Probability of all hits of a short tracker, or of four or more of a tower's six."""
    needed = N_NEEDED if n == N_TOWER else n
    terms = [
        math.comb(n, k) * efficiency**k * (1 - efficiency) ** (n - k) for k in range(needed, n + 1)
    ]
    return torch.stack(terms).sum()


def _view(target: Target, angle: Tensor, aim: Tensor) -> tuple[Tensor, Tensor]:
    """Place and axes of a tracker that sees the target from another direction."""
    center = torch.tensor(target.center, dtype=angle.dtype)
    cosine, sine, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    if target.is_overhead:  # walk along the tunnel, and look back up
        place = torch.stack([center[2] * torch.tan(angle), zero, zero])
        helper = torch.tensor([0.0, 1.0, 0.0], dtype=angle.dtype)
    else:  # walk around the target
        near = center[:2].norm()
        place = torch.stack([center[0] - near * cosine, center[1] - near * sine, zero])
        helper = torch.tensor([0.0, 0.0, 1.0], dtype=angle.dtype)
    ahead = torch.nn.functional.normalize(center - place, dim=-1)
    right = torch.nn.functional.normalize(torch.linalg.cross(ahead, helper), dim=-1)
    up = torch.linalg.cross(right, ahead)
    turned = torch.cos(aim) * ahead + torch.sin(aim) * up
    return place, torch.stack([right, torch.cos(aim) * up - torch.sin(aim) * ahead, turned])
