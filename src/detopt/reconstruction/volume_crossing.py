"""Which muons pass through a volume, and which tracks pass far from it."""

__all__ = ["crosses_volume", "meets_box", "stays_near"]

from jaxtyping import Bool
from torch import Tensor

from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.tracks import LineFit
from detopt.reconstruction.voxel_grid import Grid

Corner = tuple[float, float, float]


def crosses_volume(tracks: MuonTracks, grid: Grid) -> Bool[Tensor, "*batch n_muons"]:
    """Whether the track above or the one below of a muon, or both, meet the volume."""
    above, below = (
        meets_box(fit, tracks.reference, grid.low, grid.high)
        for fit in (tracks.above, tracks.below)
    )
    return above | below


def stays_near(tracks: MuonTracks, grid: Grid) -> Bool[Tensor, "*batch n_muons"]:
    """Whether both tracks of a muon pass the volume within its longest edge, sideways.

    A muon that is scattered in the volume has both tracks there: one that crosses it and goes
    astray has a wrong hit.
    """
    longest = max(b - a for a, b in zip(grid.low, grid.high, strict=True))
    low = (grid.low[0] - longest, grid.low[1] - longest, grid.low[2])
    high = (grid.high[0] + longest, grid.high[1] + longest, grid.high[2])
    above, below = (
        meets_box(fit, tracks.reference, low, high) for fit in (tracks.above, tracks.below)
    )
    return above & below


def meets_box(
    fit: LineFit, reference: float, low: Corner, high: Corner
) -> Bool[Tensor, "*batch n_muons"]:
    """Whether straight lines meet a box.

    Seen from above, the part of a line between the heights of the box is a stretch, and the box a
    rectangle; they are apart where they are so along x, along y or across the stretch.

    Args:
        fit: The lines.
        reference: Height at which they are given [m].
        low: Lowest corner of the box [m].
        high: Highest corner [m].
    """
    position, slope = fit.position.detach(), fit.slope.detach()
    bottom, top = (position + slope * (z - reference) for z in (low[2], high[2]))
    x, y = ((bottom + top) / 2).unbind()
    x, y = x - (low[0] + high[0]) / 2, y - (low[1] + high[1]) / 2
    dx, dy = ((top - bottom) / 2).unbind()
    a, b = (high[0] - low[0]) / 2, (high[1] - low[1]) / 2
    along = (x.abs() <= a + dx.abs()) & (y.abs() <= b + dy.abs())
    return along & ((x * dy - y * dx).abs() <= a * dy.abs() + b * dx.abs())
