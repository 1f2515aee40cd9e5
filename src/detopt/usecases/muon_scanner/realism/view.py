"""What a scanner with real panels looks like beside its horizontal panels around the volume."""

__all__ = ["real_boxes"]

from detopt.design import Design
from detopt.pipeline import Box
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.realism.instrument import Instrument
from detopt.usecases.muon_scanner.realism.planes import Planes
from detopt.usecases.muon_scanner.realism.pruning import final_sizing
from detopt.usecases.muon_scanner.volumes import Grid

FLAT = 0.002  # m; thickness at which panels are drawn
SLAB_MARGIN = 0.1  # m; by which the slab is drawn larger than the panels behind it


def real_boxes(config: Config, grid: Grid, design: Design) -> list[Box]:
    """Panels beside the volume and behind the slab, and the slab; tilts are not drawn.

    Panels that are removed at last are left out.

    Args:
        config: Options of the scanner.
        grid: The volume that it surrounds.
        design: The panels.
    """
    if not config.n_behind and not config.side_panels:
        return []
    groups = Instrument(config, grid, final_sizing(config))(design)
    boxes = []
    if config.side_panels:
        beside = groups.below.part(slice(config.n_below, None))
        boxes += _boxes(beside, "panels beside")
    if groups.behind is not None and groups.slab is not None:
        boxes += _boxes(groups.behind, "panels behind the slab")
        edge = 2 * (float(groups.behind.half_width.max()) + SLAB_MARGIN)
        x, y = groups.behind.center[:2].mean(1).tolist()
        thickness = float(groups.slab.thickness)
        name = f"slab of {groups.slab.material}"
        boxes.append(Box((x, y, float(groups.slab.middle)), (edge, edge, thickness), name, 0.3))
    return boxes


def _boxes(planes: Planes, name: str) -> list[Box]:
    """Flat boxes along the nearest axes."""
    boxes = []
    extents = (planes.along.abs() * planes.half_width[:, None]).amax(0)
    for center, half in zip(planes.center.T.tolist(), extents.T.tolist(), strict=True):
        if max(half) == 0:  # removed
            continue
        x, y, z = center
        dx, dy, dz = (max(2 * h, FLAT) for h in half)
        boxes.append(Box((x, y, z), (dx, dy, dz), name, 0.5))
    return boxes
