"""Rows of the fit of a line: hits in the coordinates of their panels, in units of their errors."""

__all__ = ["Rows", "Tracker", "displaced", "floor", "hit_rows", "kink_shifts", "solve"]

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import particles
from detopt.physics.scattering import highland_angle
from detopt.usecases.muon_scanner.realism.kinks import arms
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits
from detopt.usecases.muon_scanner.realism.planes import Crossing, Planes

FLOOR = 1e-7  # of the largest weight, as in `fit_lines`
LEAST = 1e-6  # 1/m2; idem, where no track of all has a hit


@dataclass(frozen=True)
class Tracker:
    """The panels of one side, as tracks are found with them.

    Args:
        planes: The panels, where they are believed to be.
        reference: Height near the volume, at which tracks are given [m].
        backwards: Panels above the volume.
        variance: Known variance of the panels' offsets along each axis [m2].
    """

    planes: Planes
    reference: float
    backwards: bool
    variance: float = 0.0


@dataclass(frozen=True)
class Rows:
    """Rows of a fit. Where panels are horizontal, x and y share them as two columns.

    Args:
        design: What a row measures of the unknowns of the line.
        measured: What was measured.
        kinks: Contribution of each kink to each row, or None.
    """

    design: Float[Tensor, "*batch rows unknowns"]
    measured: Float[Tensor, "*batch rows columns"]
    kinks: Float[Tensor, "*batch rows kinks"] | None = None


def displaced(hits: PlaneHits, planes: Planes, crossing: Crossing, variance: float) -> PlaneHits:
    r"""Hits with the variance of misalignment added to that of each coordinate.

    With the slope t to the normal of the panel, an offset of the variance V along each axis moves a
    coordinate by :math:`V (1 + t^2)`; u and v get the mean of both.

    Args:
        hits: Hits of one side.
        planes: Its panels.
        crossing: Where the lines cross them.
        variance: Known variance V of the panels' offsets along each axis [m2].
    """
    if variance == 0:
        return hits
    added = variance * (1 + crossing.local_slope.square().mean(0))
    factor = (1 + added / planes.resolution.reshape(-1, 1, 1).square()).rsqrt()
    return replace(hits, root_weight=hits.root_weight * factor, scaled=hits.scaled * factor)


def kink_shifts(
    hits: PlaneHits,
    planes: Planes,
    crossing: Crossing,
    slope: Float[Tensor, "2 *batch"],
    momentum: Tensor,
    backwards: bool,
) -> Float[Tensor, "n n *batch"] | None:
    """Shift of the line at panel i by a kink of one standard deviation in panel j (second) [m].

    None where panels do not scatter. The kink's variance is the mean of x and y, and scattering
    in the panels is that of the momentum at the volume.
    """
    if planes.thickness is None:
        return None
    beta = momentum / (momentum.square() + particles.mass("muon") ** 2).sqrt()
    thickness = planes.thickness.reshape(-1, 1, 1) * crossing.slant
    steepness = slope.square().sum(0)
    angle = highland_angle(thickness, 1.0, momentum, beta)
    width = angle * ((1 + steepness) * (1 + steepness / 2)).sqrt() * hits.crossed
    arm = arms(crossing.height, backwards)
    return (arm[..., None, None] if arm.ndim == 2 else arm) * width


def hit_rows(
    hits: PlaneHits,
    planes: Planes,
    center: float,
    crossing: Crossing,
    kinks: Float[Tensor, "n n *batch"] | None,
) -> Rows:
    """Rows in order of candidate and panel (and, unless horizontal, u before v).

    Args:
        hits: Hits of one side.
        planes: Its panels.
        center: Height at which the unknowns are positions [m].
        crossing: Where the lines cross the panels.
        kinks: Shifts by kinks, see `kink_shifts`.
    """
    root, scaled = hits.root_weight, hits.scaled
    middle = planes.center.reshape(3, 1, -1, 1, 1)
    height = middle[2] - center
    if planes.is_flat:
        design = torch.stack([root, root * height], dim=-1)
        measured = root * middle[:2] + scaled
        shift = None
        if kinks is not None:
            shift = root[:, :, None] * kinks  # candidate, panel, kink
            shift = shift.flatten(0, 1).movedim((0, 1), (-2, -1))
        return Rows(
            design.flatten(0, 1).movedim(0, -2),
            measured.flatten(1, 2).movedim((1, 0), (-2, -1)),
            shift,
        )
    projection = crossing.projection
    assert projection is not None
    axes = planes.along.reshape(2, 3, 1, -1, 1, 1)
    x, y, z = (
        root * (middle[i] - (center if i == 2 else 0.0))
        + scaled[0] * axes[0, i]
        + scaled[1] * axes[1, i]
        for i in range(3)
    )
    rows = projection[:, :, None]  # in-plane, horizontal, candidate, panel
    design = torch.cat([rows * root, rows * z], dim=1).flatten(2, 3)
    measured = (rows[:, 0] * x + rows[:, 1] * y).flatten(1, 2)
    shift = None
    if kinks is not None:  # in-plane row, horizontal kink
        shift = (rows * root)[:, :, :, :, None] * kinks
        shift = shift.flatten(2, 3)  # in-plane, horizontal, row, kink
        shift = shift.movedim((0, 2, 1, 3), (-4, -3, -2, -1)).flatten(-4, -3).flatten(-2, -1)
    return Rows(
        design.movedim((0, 2, 1), (-3, -2, -1)).flatten(-3, -2),
        measured.movedim((0, 1), (-2, -1)).flatten(-2, -1).unsqueeze(-1),
        shift,
    )


def solve(rows: Rows, least: Tensor) -> tuple[Tensor, Tensor]:
    """Unknowns of each column and their covariance, in float64: tracks may lack hits."""
    design, measured = rows.design.double(), rows.measured.double()
    n_unknowns = design.shape[-1]
    if rows.kinks is not None:
        kinks = rows.kinks.double()
        covariance = kinks @ kinks.mT + torch.eye(kinks.shape[-2], dtype=torch.float64)
        factor = torch.linalg.cholesky_ex(covariance).L
        both = torch.linalg.solve_triangular(
            factor, torch.cat([design, measured], dim=-1), upper=False
        )
        design, measured = both[..., :n_unknowns], both[..., n_unknowns:]
    normal = design.mT @ design + torch.diag(least.double())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(normal).L)
    return inverse @ (design.mT @ measured), inverse


def floor(hits: PlaneHits, planes: Planes, center: float) -> Float[Tensor, " unknowns"]:
    """Inverse variances of the unknowns where no hit says anything of them.

    Args:
        hits: Hits of all muons.
        planes: The panels.
        center: Height at which the unknowns are positions [m].
    """
    largest = FLOOR * hits.root_weight.detach().square().amax().clamp_min(LEAST)
    spread = (planes.center[2] - center).square().sum()
    repeats = 1 if planes.is_flat else 2
    return torch.stack([largest, largest * spread]).repeat_interleave(repeats)
