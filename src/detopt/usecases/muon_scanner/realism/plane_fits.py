r"""Straight lines through hits of real panels: any orientation, kinks, competing hits.

Rows of the fit are hits in the coordinates of their panels, each divided by its resolution, so that
all have unit variance. A kink :math:`\kappa_j` in panel j moves the rows of the panels beyond it;
the rows' covariance is :math:`1 + G G^T` with :math:`G_{ij} = (z_i - z_j)\, \sigma_{\kappa j} /
\sigma_i`, and the fit is the generalized least squares with it: the line next to the volume,
with the panels nearest to it counting most where muons are slow.
"""

__all__ = ["fit_plane_hits"]

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import particles
from detopt.physics.scattering import highland_angle
from detopt.reconstruction import LineFit, fit_lines
from detopt.usecases.muon_scanner.realism.kinks import arms
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits
from detopt.usecases.muon_scanner.realism.planes import Crossing, Planes, cross

FLOOR = 1e-7  # of the largest weight, as in `fit_lines`
LEAST = 1e-6  # 1/m2; idem, where no track of all has a hit
CUT = 4.0  # standard deviations: a hit farther off than this is more likely noise
LOOSE = tuple(10.0**i for i in range(8, 1, -1))  # variances of the association, in that of a hit
STRICT = (30.0, 10.0, 3.0, 1.0)


@dataclass(frozen=True)
class _Rows:
    """Rows of a fit. Where panels are horizontal, x and y share them as two columns.

    Args:
        design: What a row measures of the unknowns of the line.
        measured: What was measured.
        kinks: Contribution of each kink to each row, or None.
    """

    design: Float[Tensor, "*batch rows unknowns"]
    measured: Float[Tensor, "*batch rows columns"]
    kinks: Float[Tensor, "*batch rows kinks"] | None = None


def fit_plane_hits(
    hits: PlaneHits,
    planes: Planes,
    reference: float,
    momentum: Float[Tensor, "*#batch"],
    *,
    backwards: bool,
    variance: float = 0.0,
    slope: Float[Tensor, "2 *batch"] | None = None,
) -> LineFit:
    """Lines next to the volume, at the height `reference`.

    Args:
        hits: Hits of one side.
        planes: Its panels, where they are believed to be.
        reference: Height at which the fit is given [m].
        momentum: Momentum that sets the width of the kinks [GeV/c].
        backwards: Panels above the volume.
        variance: Known variance of misalignment, added to that of each coordinate [m2].
        slope: Slopes that set the errors of tilted panels in the first of two fits; vertical by
            default, which upright panels forbid. The second takes those of the first.

    Note:
        Where a panel has two candidates, they compete in a deterministic annealing filter. Panels
        that are not horizontal give errors that differ in x and y: the fit uses the full
        covariance, and `LineFit` reports the mean of both. Differentiable.

    References:
        R. Fruehwirth and A. Strandlie, Comput. Phys. Commun. 120 (1999) 197, for the annealing.
    """
    if variance > 0:
        factor = (1 + variance / planes.resolution.square()).rsqrt().reshape(-1, 1, 1)
        hits = _times(hits, factor)
    start = torch.zeros_like(hits.scaled[:, 0, 0]) if slope is None else slope
    crossing = cross(planes, torch.zeros_like(start), start, reference)
    if len(hits.root_weight) > 1:
        hits = _associated(hits, planes, crossing, None, LOOSE)
    fit = _fit(hits, planes, reference, crossing, None)
    if planes.is_flat and planes.thickness is None and len(hits.root_weight) == 1:
        return fit
    crossing = cross(planes, fit.position, fit.slope, reference)
    kinks = _kinks(hits, planes, crossing, fit.slope, momentum, backwards)
    if len(hits.root_weight) > 1:
        hits = _associated(hits, planes, crossing, kinks, STRICT)
    return _fit(hits, planes, reference, crossing, kinks)


def _times(hits: PlaneHits, factor: Tensor) -> PlaneHits:
    return replace(hits, root_weight=hits.root_weight * factor, scaled=hits.scaled * factor)


def _kinks(
    hits: PlaneHits,
    planes: Planes,
    crossing: Crossing,
    slope: Float[Tensor, "2 *batch"],
    momentum: Tensor,
    backwards: bool,
) -> Float[Tensor, "n n *batch"] | None:
    """Shift of the line at panel i by a kink of one standard deviation in panel j (second) [m].

    The kink's variance is the mean of x and y, and scattering in the panels is that of the
    momentum at the volume.
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


def _rows(
    hits: PlaneHits,
    planes: Planes,
    center: float,
    crossing: Crossing,
    kinks: Float[Tensor, "n n *batch"] | None,
) -> _Rows:
    """Rows in order of candidate and panel (and, unless horizontal, u before v)."""
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
        return _Rows(
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
    return _Rows(
        design.movedim((0, 2, 1), (-3, -2, -1)).flatten(-3, -2),
        measured.movedim((0, 1), (-2, -1)).flatten(-2, -1).unsqueeze(-1),
        shift,
    )


def _solve(rows: _Rows, floor: Tensor) -> tuple[Tensor, Tensor]:
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
    normal = design.mT @ design + torch.diag(floor.double())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(normal).L)
    return inverse @ (design.mT @ measured), inverse


def _floor(hits: PlaneHits, planes: Planes, center: float) -> Float[Tensor, " unknowns"]:
    largest = FLOOR * hits.root_weight.detach().square().amax().clamp_min(LEAST)
    spread = (planes.center[2].detach() - center).square().sum()
    repeats = 1 if planes.is_flat else 2
    return torch.stack([largest, largest * spread]).repeat_interleave(repeats)


def _fit(
    hits: PlaneHits,
    planes: Planes,
    reference: float,
    crossing: Crossing,
    kinks: Float[Tensor, "n n *batch"] | None,
) -> LineFit:
    if planes.is_flat and kinks is None:
        root = hits.root_weight
        measured = root * planes.center[:2].reshape(2, 1, -1, 1, 1) + hits.scaled
        height = planes.center[2].repeat(len(root))
        weighted = (root * measured).flatten(1, 2)
        return fit_lines(weighted, root.square().flatten(0, 1), height, reference)
    center = float(planes.center[2].detach().mean())
    rows = _rows(hits, planes, center, crossing, kinks)
    unknowns, covariance = _solve(rows, _floor(hits, planes, center))
    if planes.is_flat:
        position, slope = unknowns.movedim((-2, -1), (0, 1))
        at, both, of = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    else:
        position, slope = unknowns.squeeze(-1).movedim(-1, 0).unflatten(0, (2, 2))
        at, both, of = (
            (covariance[..., i, j] + covariance[..., i + 1, j + 1]) / 2
            for i, j in ((0, 0), (0, 2), (2, 2))
        )
    step = reference - center
    dtype = hits.root_weight.dtype
    return LineFit(
        position=(position + slope * step).to(dtype),
        slope=slope.to(dtype),
        arm=(step + both / of).to(dtype),
        centroid_variance=(at - both.square() / of).to(dtype),
        slope_variance=of.to(dtype),
    )


def _associated(
    hits: PlaneHits,
    planes: Planes,
    crossing: Crossing,
    kinks: Float[Tensor, "n n *batch"] | None,
    temperatures: tuple[float, ...],
) -> PlaneHits:
    """Hits weighted by the probability that they belong to the track and not to noise."""
    center = float(planes.center[2].detach().mean())
    floor = _floor(hits, planes, center)
    plain = _rows(hits, planes, center, crossing, None)
    n_candidates, n_panels = hits.root_weight.shape[:2]
    missing = hits.root_weight == 0
    spread = torch.ones_like(hits.root_weight[:, :, None])
    if kinks is not None:
        spread = 1 + (hits.root_weight[:, :, None] * kinks).square()
    spread = spread.sum(2)
    weighted = hits
    share = None
    for temperature in temperatures:
        rows = plain if share is None else _rows(weighted, planes, center, crossing, None)
        unknowns, _ = _solve(rows, floor)
        residual = (plain.measured - plain.design @ unknowns.to(plain.design.dtype)).square()
        if planes.is_flat:
            distance = residual.sum(-1).movedim(-1, 0)
        else:
            distance = residual.squeeze(-1).unflatten(-1, (2, -1)).sum(-2).movedim(-1, 0)
        distance = distance.unflatten(0, (n_candidates, n_panels)) / spread
        logits = (distance / (-2 * temperature)).masked_fill(missing, -torch.inf)
        none = torch.full_like(logits[:1], -(CUT**2) / (2 * temperature))
        share = (torch.cat([logits, none]).log_softmax(0)[:-1] / 2).exp()
        weighted = _times(hits, share)
    return weighted
