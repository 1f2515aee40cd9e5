"""Angle statistics reconstruction (ASR)."""

__all__ = ["angle_statistics_image"]

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage, voxel_quantiles
from detopt.reconstruction.muon_paths import from_corner
from detopt.reconstruction.poca import ClosestApproach
from detopt.reconstruction.recorded_muons import MuonTracks
from detopt.reconstruction.tracks import LineFit
from detopt.reconstruction.volume_crossing import meets_box
from detopt.reconstruction.voxel_grid import Grid

CHUNK = 65_536  # muons at once, or muons times columns of voxels
MEV = 1e3  # MeV per GeV


def angle_statistics_image(
    tracks: MuonTracks,
    grid: Grid,
    *,
    share: float = 0.5,
    distance: float | None = None,
    depth: float | None = None,
) -> ScatteringImage:
    r"""Quantile of angle times momentum of all muons whose two tracks pass close to a voxel.

    Every voxel whose middle is nearer than `distance` to both tracks of a muon receives its
    :math:`\beta p \theta`; the score is a quantile of what it has received. A muon counts the less
    in a voxel, the farther above or below it was scattered,

    .. math:: w = \frac{1}{1 + (z - z_i)^2 / (D^2 + \sigma_i^2)}

    with the height :math:`z_i` of its point of closest approach, the error :math:`\sigma_i` of that
    and the `depth` D. Where it is infinite all count alike, as in the publication.

    Args:
        tracks: The muons.
        grid: The voxels.
        share: Which quantile, from 0 to 1.
        distance: Largest distance [m]; half the longest edge of a voxel by default.
        depth: Difference of heights at which a muon counts half [m]; the height of a voxel by
            default.

    Returns:
        Angle times momentum [MeV]; its counts are muons.

    Raises:
        DomainError: `share` is outside 0 to 1, or `distance` or `depth` is not positive.

    Note:
        Robust against single large angles. A muon of small angle counts in all voxels that both
        its tracks cross, so that objects throw shadows along the mean direction; with an infinite
        depth all muons do.

    References:
        M. Stapleton et al., J. Instrum. 9 (2014) P11019.
    """
    reach = max(grid.voxel) / 2 if distance is None else distance
    if not reach > 0:
        raise DomainError(f"`distance` must be > 0 m, got {reach:g}.")
    half = grid.voxel[2] if depth is None else depth
    if not half > 0:
        raise DomainError(f"`depth` must be > 0 m, got {half:g}.")
    place, tracks, grid = grid, *from_corner(tracks, grid)
    poca = tracks.closest_approach()
    scores = poca.angle_squared.clamp_min(0).sqrt() * tracks.beta_momentum * MEV
    found = [_near_both(tracks, group, grid, reach) for group in alike(tracks, grid, reach)]
    nothing = torch.zeros(0, dtype=torch.int64)
    voxels = torch.cat([nothing, *(voxel for voxel, _ in found)])
    members = torch.cat([nothing, *(member for _, member in found)])
    weights = None if math.isinf(half) else _nearness(poca, voxels, members, grid, half)
    values, counts = voxel_quantiles(voxels, members, scores, share, grid.n_voxels, weights)
    return ScatteringImage(
        place,
        values.reshape(grid.shape),
        counts.reshape(grid.shape),
        f"momentum times scattering angle, quantile {share:g}",
        "MeV",
    )


def _nearness(
    poca: ClosestApproach,
    voxels: Int[Tensor, " n"],
    members: Int[Tensor, " n"],
    grid: Grid,
    depth: float,
) -> Float[Tensor, " n"]:
    """What a muon counts in a voxel, by the height at which it was scattered."""
    height = poca.height.detach().float()[members]
    spread = (poca.height_variance.detach().float() + depth**2)[members]
    apart = grid.centers(2, torch.float32)[voxels % grid.shape[2]] - height
    return spread / (spread + apart * apart)


def alike(tracks: MuonTracks, grid: Grid, reach: float) -> list[Int[Tensor, " n"]]:
    """Muons with both tracks near the grid, in groups of like inclination.

    The columns of voxels that are looked at around a muon grow with its inclination; in a group
    they differ by a factor of two at most, so that a steep muon does not cost the others.
    """
    low = (grid.low[0] - reach, grid.low[1] - reach, grid.low[2] - reach)
    high = (grid.high[0] + reach, grid.high[1] + reach, grid.high[2] + reach)
    above, below = (
        meets_box(fit, tracks.reference, low, high) for fit in (tracks.above, tracks.below)
    )
    muons = (above & below).nonzero().squeeze(-1)
    squared = torch.maximum(
        *(1 + fit.slope.detach()[:, muons].square().sum(0) for fit in (tracks.above, tracks.below))
    )
    span = (reach * squared.sqrt() / min(grid.voxel[:2]) + 0.5).floor().clamp_min(1)
    octave = span.frexp().exponent
    return [part for one in octave.unique() for part in muons[octave == one].split(CHUNK)]


def _near_both(
    tracks: MuonTracks, muons: Int[Tensor, " m"], grid: Grid, reach: float
) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Voxels near both tracks of a muon, and the muon."""
    dtype = torch.float32
    lines = [_Line(fit, tracks.reference, muons, dtype) for fit in (tracks.above, tracks.below)]
    (nx, ny, nz), (dx, dy, _) = grid.shape, grid.voxel
    steepest = max(float(line.squared.max()) for line in lines) ** 0.5
    heights = grid.centers(2)
    voxels, members = [], []
    for k in range(nz):
        points = [line.at(float(heights[k])) for line in lines]
        middle = (points[0] + points[1]) / 2
        columns = _around((middle[0] - grid.low[0]) / dx, reach * steepest / dx, nx)
        rows = _around((middle[1] - grid.low[1]) / dy, reach * steepest / dy, ny)
        pairs = torch.arange(len(columns) * len(rows))
        for part in pairs.split(max(1, CHUNK // len(muons))):
            x, y = columns[part // len(rows)], rows[part % len(rows)]
            near = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
            center = grid.low[0] + (x + 0.5) * dx, grid.low[1] + (y + 0.5) * dy
            for line, point in zip(lines, points, strict=True):
                near &= line.is_near(center, point, reach)
            voxels.append((x[near].long() * ny + y[near].long()) * nz + k)
            members.append(muons[near.nonzero()[:, 1]])
    return torch.cat(voxels), torch.cat(members)


def _around(place: Float[Tensor, " m"], reach: float, n: int) -> Float[Tensor, "c m"]:
    """Voxels of an axis within reach of places, all in voxels; or all n, where these are fewer."""
    span = math.floor(reach + 0.5)
    if 2 * span + 1 < n:
        steps = torch.arange(-span, span + 1, dtype=place.dtype)
        return place.floor() + steps.unsqueeze(-1)
    return torch.arange(n, dtype=place.dtype).unsqueeze(-1).expand(-1, len(place))


class _Line:
    """A side's tracks, and their distance from points at given heights."""

    def __init__(self, fit: LineFit, reference: float, muons: Tensor, dtype: torch.dtype) -> None:
        self.position = fit.position.detach()[:, muons]
        self.slope = fit.slope.detach()[:, muons]
        self.reference = reference
        self.dtype = dtype
        self.sx, self.sy = self.slope.to(dtype)
        self.squared = 1 + self.sx.square() + self.sy.square()

    def at(self, height: float) -> Float[Tensor, "2 n"]:
        """Coordinates x and y at a height."""
        return (self.position + self.slope * (height - self.reference)).to(self.dtype)

    def is_near(self, point: tuple[Tensor, Tensor], on_line: Tensor, reach: float) -> Tensor:
        """Whether points at the height of `on_line` are nearer than `reach`."""
        x, y = point[0] - on_line[0], point[1] - on_line[1]
        cross = self.sx * y - self.sy * x
        near: Tensor = x * x + y * y + cross * cross <= reach**2 * self.squared
        return near
