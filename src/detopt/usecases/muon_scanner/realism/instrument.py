"""All panels of a design as planes, grouped by the track that they measure."""

__all__ = ["Groups", "Instrument"]

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.panels import SIMPLE, half_widths
from detopt.usecases.muon_scanner.realism.planes import Planes, flat_axes, joined, tilted_axes
from detopt.usecases.muon_scanner.realism.pruning import Sizing
from detopt.usecases.muon_scanner.realism.slab import SLAB_MATERIALS, Slab
from detopt.usecases.muon_scanner.volumes import Grid


@dataclass(frozen=True)
class Groups:
    """The panels of an instrument.

    Args:
        above: Those that measure muons before the volume.
        below: Those that measure muons after it, below and beside.
        behind: Those behind the slab, if there is one.
        slab: The slab.
    """

    above: Planes
    below: Planes
    behind: Planes | None
    slab: Slab | None


class Instrument:
    """Builds the panels of a design.

    Args:
        config: Options of the scanner.
        grid: The volume that it surrounds.
        sizing: What a share of the budget buys.
    """

    def __init__(self, config: Config, grid: Grid, sizing: Sizing = SIMPLE) -> None:
        self.config = config
        self.grid = grid
        self.sizing = sizing

    def __call__(self, design: Design) -> Groups:
        """The panels, with whatever nuisance parameters the design carries."""
        config = self.config
        n_both = config.n_above + config.n_below
        n_flat = config.n_horizontal
        half_width, _ = half_widths(design, self.sizing)
        slab, heights = self._heights(design)
        center = torch.stack([design["panel_x"], design["panel_y"], heights])
        every = self._planes(design, half_width)
        horizontal = replace(every.part(slice(0, n_flat)), center=center, along=flat_axes(heights))
        if config.tilted:
            along = tilted_axes(design["panel_tilt_x"], design["panel_tilt_y"])
            horizontal = replace(horizontal, along=along, is_flat=False)
        below = horizontal.part(slice(config.n_above, n_both))
        if config.side_panels:
            below = joined(below, self._upright(design, every.part(slice(n_flat, None))))
        behind = horizontal.part(slice(n_both, n_flat)) if config.n_behind else None
        return Groups(horizontal.part(slice(0, config.n_above)), below, behind, slab)

    def slab(self, design: Design) -> Slab:
        """The slab, below the room of the lower panels."""
        room = self.grid.low[2] - self.config.reach
        material = SLAB_MATERIALS[int(design["slab_material"])]
        return Slab(room - design["slab_depth"], design["slab_thickness"], material)

    def _heights(self, design: Design) -> tuple[Slab | None, Float[Tensor, " n_flat"]]:
        heights = [design["upper_z"], design["lower_z"]]
        if not self.config.n_behind:
            return None, torch.cat(heights)
        slab = self.slab(design)
        floor = slab.top - slab.thickness
        return slab, torch.cat([*heights, floor - design["behind_depth"]])

    def _planes(self, design: Design, half_width: Float[Tensor, "2 n"]) -> Planes:
        """Quality and nuisance parameters of all panels; places are filled in later."""
        like = half_width[0]

        return Planes(
            center=torch.zeros(3, len(like), dtype=like.dtype),
            along=flat_axes(like),
            half_width=half_width,
            resolution=design["panel_resolution"],
            efficiency=design["panel_efficiency"],
            thickness=_optional(design, "panel_thickness"),
            areal_density=_optional(design, "panel_areal_density"),
            offset=_optional(design, "panel_offset"),
            rotation=_optional(design, "panel_rotation"),
            log_odds_shift=_optional(design, "panel_log_odds_shift"),
        )

    def _upright(self, design: Design, planes: Planes) -> Planes:
        """Panels beside the volume: u horizontal, v upwards, the normal outwards."""
        centers, axes = [], []
        low, high = self.grid.low, self.grid.high
        for i, face in enumerate(self.config.side_panels):
            sign, axis = (1.0 if face[0] == "+" else -1.0), "xy".index(face[1])
            edge = high[axis] if sign > 0 else low[axis]
            out = edge + sign * design["side_distance"][i]
            shift = (low[1 - axis] + high[1 - axis]) / 2 + design["side_shift"][i]
            z = design["side_z"][i]
            centers.append(torch.stack([out, shift, z] if axis == 0 else [shift, out, z]))
            u = [0.0, sign, 0.0] if axis == 0 else [-sign, 0.0, 0.0]
            axes.append([u, [0.0, 0.0, 1.0]])
        along = torch.tensor(axes, dtype=planes.half_width.dtype).movedim(0, -1)
        return replace(
            planes,
            center=torch.stack(centers, dim=-1),
            along=along,
            is_flat=False,
            is_upright=torch.ones(len(centers), dtype=torch.bool),
        )


def _optional(design: Design, name: str) -> Tensor | None:
    """A value that designs have only where something asks for it."""
    if name not in design:
        return None
    return design[name]
