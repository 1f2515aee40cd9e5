r"""Straight lines through hits of real panels: any orientation, kinks, competing hits.

Rows of the fit are hits in the coordinates of their panels, each divided by its resolution, so that
all have unit variance. A kink :math:`\kappa_j` in panel j moves the rows of the panels beyond it;
the rows' covariance is :math:`1 + G G^T` with :math:`G_{ij} = (z_i - z_j)\, \sigma_{\kappa j} /
\sigma_i`, and the fit is the generalized least squares with it: the line next to the volume,
with the panels nearest to it counting most where muons are slow.
"""

__all__ = ["fit_plane_hits"]

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.reconstruction import LineFit, fit_lines
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits
from detopt.usecases.muon_scanner.realism.plane_rows import (
    Tracker,
    displaced,
    floor,
    hit_rows,
    kink_shifts,
    solve,
)
from detopt.usecases.muon_scanner.realism.planes import Crossing, Planes, cross


def fit_plane_hits(
    hits: PlaneHits,
    tracker: Tracker,
    momentum: Float[Tensor, "*#batch"],
    slope: Float[Tensor, "2 *batch"] | None = None,
) -> LineFit:
    """Lines next to the volume, at the reference height of the tracker.

    Args:
        hits: Hits of one side.
        tracker: Its panels.
        momentum: Momentum that sets the width of the kinks [GeV/c].
        slope: Slopes that set the errors of tilted or misplaced panels in the first of two fits;
            vertical by default, which upright panels forbid. The second takes those of the first.

    Note:
        Panels that are not horizontal give errors that differ in x and y: the fit uses the full
        covariance, and `LineFit` reports the mean of both. Differentiable.
    """
    planes, reference, variance = tracker.planes, tracker.reference, tracker.variance
    start = torch.zeros_like(hits.scaled[:, 0, 0]) if slope is None else slope
    crossing = cross(planes, torch.zeros_like(start), start, reference)
    fit = _fit(displaced(hits, planes, crossing, variance), planes, reference, crossing, None)
    if planes.is_flat and planes.thickness is None and variance == 0:
        return fit
    crossing = cross(planes, fit.position, fit.slope, reference)
    hits = displaced(hits, planes, crossing, variance)
    kinks = kink_shifts(hits, planes, crossing, fit.slope, momentum, tracker.backwards)
    return _fit(hits, planes, reference, crossing, kinks)


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
    rows = hit_rows(hits, planes, center, crossing, kinks)
    unknowns, covariance = solve(rows, floor(hits, planes, center))
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
