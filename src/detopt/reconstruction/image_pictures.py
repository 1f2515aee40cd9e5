"""Pictures of images: three slices with their scale."""

__all__ = ["slice_figure", "slice_voxel"]

from typing import TYPE_CHECKING

import numpy as np

from detopt.errors import DomainError
from detopt.reconstruction.images import ScatteringImage
from detopt.reconstruction.voxel_grid import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = "xyz"
BRIGHTEST = 0.999  # quantile of the values where the colours end


def slice_figure(image: ScatteringImage, at: tuple[float, float, float] | None = None) -> "Figure":
    """Slices across x, y and z, with common colours, scale and unit.

    Args:
        image: What is drawn.
        at: Point that the slices go through [m]; by default the voxel around which most
            scattering is seen.

    Raises:
        DomainError: The point is outside the image.
    """
    from matplotlib.figure import Figure

    values = image.values.detach().numpy()
    where = _middle(values) if at is None else slice_voxel(image.grid, at)
    low, high = float(values.min()), float(np.quantile(values, BRIGHTEST))
    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    grid = image.grid
    shown = None
    for panel, (across, right, up) in zip(panels, ((2, 0, 1), (1, 0, 2), (0, 1, 2)), strict=True):
        plane = np.take(values, where[across], axis=across)
        shown = panel.imshow(
            plane.T,
            origin="lower",
            extent=(grid.low[right], grid.high[right], grid.low[up], grid.high[up]),
            vmin=low,
            vmax=max(high, np.nextafter(low, np.inf)),
            cmap="viridis",
        )
        panel.set_xlabel(f"{AXES[right]} [m]")
        panel.set_ylabel(f"{AXES[up]} [m]")
        place = float(grid.centers(across)[where[across]])
        panel.set_title(f"{AXES[across]} = {place:.3f} m")
    assert shown is not None
    figure.colorbar(shown, ax=panels, label=image.label)
    return figure


def _middle(values: np.ndarray) -> tuple[int, ...]:
    """Voxel with the largest mean of its neighbourhood."""
    from scipy.ndimage import uniform_filter

    smooth = uniform_filter(values, size=3, mode="nearest")
    return tuple(int(i) for i in np.unravel_index(smooth.argmax(), values.shape))


def slice_voxel(grid: Grid, at: tuple[float, float, float]) -> tuple[int, ...]:
    """Indices of the voxel that holds a point [m].

    Raises:
        DomainError: The point is outside the grid.
    """
    found = []
    for axis, place in enumerate(at):
        index = np.floor((place - grid.low[axis]) / grid.voxel[axis])
        if not 0 <= index < grid.shape[axis]:  # what is no number is outside
            raise DomainError(
                f"{AXES[axis]} = {place:g} m is outside the image, which reaches from "
                f"{grid.low[axis]:g} to {grid.high[axis]:g} m."
            )
        found.append(int(index))
    return tuple(found)
