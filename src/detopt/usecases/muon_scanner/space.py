"""The scanner's design space, and the designs of humans to compare with."""

__all__ = ["baselines", "design_space", "even_distances", "view"]

from collections.abc import Mapping

import torch

from detopt.design import Continuous, Design, DesignSpace, FixedSum, Interval, Ordered
from detopt.errors import ConfigError
from detopt.pipeline import Box, Scene
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.panels import layout, unit_price
from detopt.usecases.muon_scanner.realism.pruning import final_sizing
from detopt.usecases.muon_scanner.realism.space import real_parameters
from detopt.usecases.muon_scanner.realism.view import real_boxes
from detopt.usecases.muon_scanner.technologies import start_price, technology_parameters
from detopt.usecases.muon_scanner.volumes import Grid, Volumes

SHIFT = 1.0  # m; how far a panel's center may lie beyond the volume's axis
SMALLEST_SHARE = 0.002  # of the budget, for each panel
VANISHING_SHARE = 1e-4  # idem, where panels may be removed
SPANS = (0.05, 2.5)  # m
RESOLUTIONS = (2e-5, 5e-3)  # m
EFFICIENCIES = (0.3, 0.995)
FROZEN = ("panel_resolution", "panel_efficiency")
MATTER = ("panel_thickness", "panel_areal_density")  # idem, where panels have any
BAD_START = (0.05, 0.06, 0.07, 0.08)  # m from the volume's face: 1 cm apart, no lever arm
FLAT = 0.002  # m; thickness at which panels are drawn


def design_space(config: Config, grid: Grid) -> DesignSpace:
    """Positions, sizes and quality of all panels.

    Raises:
        ConfigError: A start height lies inside the volume or out of reach, or `free` names no
            parameter.
    """
    space = DesignSpace(
        [
            *_positions(config, grid),
            _sizes(config),
            *_technology(config),
            *real_parameters(config, grid),
        ],
    )
    freed = set(FROZEN) if "technology" in config.free else set(config.free)
    there = {parameter.name for parameter in space.parameters}
    fixed = [name for name in (*FROZEN, *MATTER) if name in there]
    unknown = sorted(freed - there)
    if unknown:
        raise ConfigError(
            f"`free` names no parameter: {', '.join(unknown)}. It may hold {', '.join(fixed)} or "
            f"`technology` for {' and '.join(FROZEN)}."
        )
    frozen = [name for name in fixed if name not in freed]
    return space.freeze(*frozen) if frozen else space


def _positions(config: Config, grid: Grid) -> list[Continuous]:
    """Centers and heights of all panels."""
    n = config.n_horizontal
    upper, lower = start_heights(config, grid)
    bottom, top = grid.low[2], grid.high[2]
    middle = [(low + high) / 2 for low, high in zip(grid.low[:2], grid.high[:2], strict=True)]
    above = Ordered(top, top + config.reach, config.clearance, descending=True)
    below = Ordered(bottom - config.reach, bottom, config.clearance, descending=True)
    heights = "Heights of the panels {}, from the highest"
    centers = [
        Continuous(
            f"panel_{axis}",
            [start] * n,
            Interval(center - SHIFT, center + SHIFT),
            "m",
            "position",
            f"Center of each panel in {axis}",
        )
        for axis, start, center in zip("xy", config.center, middle, strict=True)
    ]
    return [
        *centers,
        Continuous("upper_z", upper, above, "m", "position", heights.format("above")),
        Continuous("lower_z", lower, below, "m", "position", heights.format("below")),
    ]


def _sizes(config: Config) -> Continuous:
    """Shares of a fixed budget, or free edges."""
    n = config.n_panels
    if config.budget_mode == "fixed":
        may_vanish = config.panel_base_price > 0 or config.removal_share > 0
        smallest = VANISHING_SHARE if may_vanish else SMALLEST_SHARE
        return Continuous(
            "panel_cost",
            [config.budget / n] * n,
            FixedSum(config.budget, smallest * config.budget),
            "standard m2",
            "size",
            "Cost of each panel; its area is this over the price of a square metre",
        )
    spans = [[_start_span(config)] * 2] * n
    edges = "Edge lengths of each panel"
    return Continuous("panel_span", spans, Interval(*SPANS), "m", "size", edges)


def _technology(config: Config) -> list[Continuous]:
    """How well the panels measure."""
    n = config.n_panels
    if config.technologies:
        return technology_parameters(config.technologies, n)
    return [
        Continuous(
            "panel_resolution",
            [config.resolution] * n,
            Interval(*RESOLUTIONS),
            "m",
            "technology",
            "Resolution of a coordinate",
        ),
        Continuous(
            "panel_efficiency",
            [config.efficiency] * n,
            Interval(*EFFICIENCIES),
            "",
            "technology",
            "Probability of a hit inside the panel",
        ),
    ]


def _start_span(config: Config) -> float:
    """Edge of equal panels that spend the budget."""
    if config.technologies:
        price = start_price(config.technologies)
    else:
        price = unit_price(
            torch.tensor(config.resolution, dtype=torch.float64),
            torch.tensor(config.efficiency, dtype=torch.float64),
        )
    return float((config.budget / (config.n_above + config.n_below) / price) ** 0.5)


def start_heights(config: Config, grid: Grid) -> tuple[list[float], list[float]]:
    """Start heights of the panels above and below, checked against the volume."""
    bottom, top = grid.low[2], grid.high[2]
    upper, lower = config.upper_z, config.lower_z
    if upper is None:
        upper = tuple(sorted((top + d for d in _bad_start(config.n_above)), reverse=True))
    if lower is None:
        lower = tuple(sorted((bottom - d for d in _bad_start(config.n_below)), reverse=True))
    for name, heights, low, high in (
        ("upper_z", upper, top, top + config.reach),
        ("lower_z", lower, bottom - config.reach, bottom),
    ):
        for height in heights:
            if bottom < height < top:
                raise ConfigError(
                    f"A panel at z = {height:g} m (`{name}`) stands inside the volume, which "
                    f"reaches from {bottom:g} to {top:g} m."
                )
            if not low <= height <= high:
                raise ConfigError(
                    f"A panel at z = {height:g} m (`{name}`) is out of reach: it must stand "
                    f"between {low:g} and {high:g} m. Change it, or `reach`."
                )
    return list(upper), list(lower)


def _bad_start(n: int) -> list[float]:
    return [BAD_START[0] + 0.01 * i for i in range(n)]


def baselines(config: Config, space: DesignSpace, grid: Grid) -> Mapping[str, Design]:
    """Two designs of humans, centered and of equal panels: pairs far apart, and evenly spread."""
    start = space.start
    n = config.n_horizontal
    center = [(low + high) / 2 for low, high in zip(grid.low[:2], grid.high[:2], strict=True)]

    def design(above: list[float], below: list[float]) -> Design:
        top, bottom = grid.high[2], grid.low[2]
        values = {
            "panel_x": torch.full((n,), center[0], dtype=torch.float64),
            "panel_y": torch.full((n,), center[1], dtype=torch.float64),
            "upper_z": torch.tensor([top + d for d in reversed(above)], dtype=torch.float64),
            "lower_z": torch.tensor([bottom - d for d in below], dtype=torch.float64),
        }
        return Design({**start, **values})

    return {
        "pairs": design(_pairs(config.n_above, config.reach), _pairs(config.n_below, config.reach)),
        "even": design(
            even_distances(config.n_above, config.reach),
            even_distances(config.n_below, config.reach),
        ),
    }


def _pairs(n: int, reach: float) -> list[float]:
    """Distances from the volume: two groups, each 5 cm apart within, as far apart as possible."""
    gap = reach / 8
    near, far = (n + 1) // 2, n // 2
    group = [gap * (1 + i) for i in range(near)]
    return group + [reach - gap * i for i in reversed(range(far))]


def even_distances(n: int, reach: float) -> list[float]:
    """Distances from the volume: equal steps from reach/8 to 7 reach/8."""
    step = (3 / 4) * reach / (n - 1)
    return [reach / 8 + step * i for i in range(n)]


def view(config: Config, volumes: Volumes, design: Design) -> Scene:
    """Panels without those that are removed at last, and the first volume, as boxes."""
    design = design.detach().to(torch.float64)
    panels = layout(design, config.n_above, final_sizing(config))
    boxes = [
        Box((cx, cy, z), (2 * hx, 2 * hy, FLAT), f"panels {place}", 0.5)
        for place, side in (("above", panels.above), ("below", panels.below))
        for z, (cx, cy), (hx, hy) in zip(
            side.height.tolist(), side.center.T.tolist(), side.half_width.T.tolist(), strict=True
        )
    ]
    boxes = [box for box in boxes if min(box.size) > 0]
    return Scene([*boxes, *real_boxes(config, volumes.grid, design), *_material_boxes(volumes)])


def _material_boxes(volumes: Volumes) -> list[Box]:
    """A box around each material of the volume in the middle of the catalogue."""
    grid, voxels = volumes.grid, volumes.voxels[len(volumes) // 2]
    boxes = []
    for index, name in enumerate(volumes.names):
        filled = (voxels == index).nonzero()
        if name in {"air", "vacuum"} or len(filled) == 0:
            continue
        first, last = filled.amin(0).tolist(), (filled.amax(0) + 1).tolist()
        low = [o + d * i for o, d, i in zip(grid.low, grid.voxel, first, strict=True)]
        high = [o + d * i for o, d, i in zip(grid.low, grid.voxel, last, strict=True)]
        center = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
        size = tuple(b - a for a, b in zip(low, high, strict=True))
        place, extent = (center[0], center[1], center[2]), (size[0], size[1], size[2])
        boxes.append(Box(place, extent, name, 0.15))
    return boxes
