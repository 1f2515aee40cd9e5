"""Resolution and fits of tracks and vertices."""

from typing import Any

import torch
from torch import Tensor

from detopt.physics import helix_fit, kalman, tracking, vertexing
from physics_kernels.common import MOMENTUM, RNG, Kernel, vector

N_LAYERS = 10
Z = torch.linspace(0.1, 1.0, N_LAYERS)  # m
SHARP, THIN = torch.full_like(Z, 1e-4), torch.full_like(Z, 1e-3)  # m and rad or radiation lengths
MEASURED = (-1e-3, 1e-3, N_LAYERS, 1)  # m
LINE = kalman.straight_line_model(Z, SHARP, THIN)
PRIOR = torch.zeros(2), torch.eye(2)
FILTERED = kalman.kalman_filter(
    torch.empty(10_000, N_LAYERS, 1).uniform_(*MEASURED[:2], generator=RNG), LINE, *PRIOR
)
SCATTERED = tracking.position_covariance(Z, SHARP, Z, THIN)
CURVED = (0.1, 0.2, 5)  # state of a track: positions, slopes and charge over momentum
WIDE = torch.eye(5)
OF_LAYERS = f"a track of {N_LAYERS} layers"


def _line(resolution: Tensor) -> Any:
    return kalman.straight_line_model(Z, resolution, THIN)


def _smoothed(mean: Tensor) -> Any:
    """The smoother alone: what is filtered is a leaf."""
    n = len(mean)
    filtered = kalman.Filtered(
        mean=mean,
        covariance=FILTERED.covariance[:n],
        predicted_mean=FILTERED.predicted_mean[:n],
        predicted_covariance=FILTERED.predicted_covariance[:n],
        chi_squared=FILTERED.chi_squared[:n],
    )
    return kalman.kalman_smoother(filtered, LINE)


def _helix_step(state: Tensor) -> Any:
    return helix_fit.helix_step(state, Z[0], Z[1], vector(0.0, 1.0, 0.0))


def _helix_fit(measured: Tensor) -> Any:
    start = vector(0.0, 0.0, 0.0, 0.0, 0.5).expand(len(measured), 5)
    return helix_fit.helix_fit(measured, Z, vector(0.0, 1.0, 0.0), SHARP, THIN, start, WIDE, 2)


def _resolution(radius: Tensor, momentum: Tensor) -> Any:
    layers = tracking.TrackingLayers(radius.cumsum(-1), SHARP, THIN)
    return tracking.track_resolution(layers, momentum, 2.0)


KERNELS = {
    "tracking.gluckstern_resolution": Kernel(
        lambda p, b: tracking.gluckstern_resolution(N_LAYERS, 1.0, 1e-4, p, b),
        (MOMENTUM, (0.5, 2.0)),
    ),
    "tracking.position_covariance": Kernel(
        lambda r: tracking.position_covariance(Z, r, Z, THIN),
        ((1e-5, 1e-4, N_LAYERS),),
        element=OF_LAYERS,
        share=40,
    ),
    "tracking.fit_covariance": Kernel(
        lambda r: tracking.fit_covariance(r.cumsum(-1), SCATTERED, 2),
        ((0.05, 0.1, N_LAYERS),),
        element=OF_LAYERS,
        share=400,
    ),
    "tracking.track_resolution": Kernel(
        _resolution, ((0.05, 0.1, N_LAYERS), MOMENTUM), element=OF_LAYERS, share=400
    ),
    "kalman.straight_line_model": Kernel(
        _line, ((1e-5, 1e-4, N_LAYERS),), element=OF_LAYERS, share=40
    ),
    "kalman.kalman_filter": Kernel(
        lambda m: kalman.kalman_filter(m, LINE, *PRIOR),
        (MEASURED,),
        element=f"{OF_LAYERS}, one model for all",
        share=100,
    ),
    "kalman.kalman_filter, a model each": Kernel(
        lambda m, r: kalman.kalman_filter(m, _line(r), *PRIOR),
        (MEASURED, (1e-5, 1e-4, N_LAYERS)),
        element=f"{OF_LAYERS} with its own model",
        share=400,
    ),
    "kalman.kalman_smoother": Kernel(
        _smoothed,
        ((-1e-3, 1e-3, N_LAYERS, 2),),
        element=f"{OF_LAYERS}, one model for all",
        share=100,
    ),
    "helix_fit.helix_step": Kernel(_helix_step, (CURVED,), element="a track", share=100),
    "helix_fit.helix_fit": Kernel(
        _helix_fit,
        ((-1e-3, 1e-3, N_LAYERS, 2),),
        element=f"{OF_LAYERS}, 2 rounds",
        share=4000,
    ),
    "vertexing.fit_vertex": Kernel(
        lambda at, along: vertexing.fit_vertex(at, along, vector(*5 * [1e-4])),
        ((-1e-3, 1e-3, 5, 3), (-1.0, 1.0, 5, 3)),
        element="a vertex of 5 tracks",
        share=100,
    ),
}
