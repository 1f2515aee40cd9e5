"""Design parameters and nuisance parameters that a scanner with real panels adds."""

__all__ = ["real_nuisances", "real_parameters"]

import functools

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Categorical, Continuous, Design, Interval, Ordered, Parameter
from detopt.pipeline import Nuisance, Nuisances
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.realism.slab import SLAB_MATERIALS
from detopt.usecases.muon_scanner.volumes import Grid

THICKNESSES = (1e-4, 0.5)  # radiation lengths
AREAL_DENSITIES = (1e-3, 100.0)  # g/cm2
STEEPEST = 0.25  # rad; largest tilt: beyond it neighbours of a metre would cut each other
SLAB_DEPTHS = 0.25  # of the slab's room: below the lowest place of a panel
SLAB_SHARE = 0.25  # of its room: the largest thickness
BEHIND_SHARE = 0.5  # of its room: for the panels behind
THINNEST = 0.002  # m
SIDE_SHIFT = 1.0  # m; from the middle of the face
SIDE_REACH = 1.0  # m; above and below the volume


def real_parameters(config: Config, grid: Grid) -> list[Parameter]:
    """What may be chosen beside positions, sizes and quality of ideal panels."""
    return [
        *_matter(config),
        *_tilts(config),
        *(_slab(config) if config.n_behind else []),
        *(_side_panels(config, grid) if config.side_panels else []),
    ]


def _matter(config: Config) -> list[Parameter]:
    n = config.n_panels
    found: list[Parameter] = []
    for name, value, bounds, unit, what in (
        ("panel_thickness", config.panel_thickness, THICKNESSES, "radiation lengths", "Thickness"),
        (
            "panel_areal_density",
            config.panel_areal_density,
            AREAL_DENSITIES,
            "g/cm2",
            "Areal density",
        ),
    ):
        if value > 0:
            text = f"{what} of each panel"
            found.append(Continuous(name, [value] * n, Interval(*bounds), unit, "technology", text))
    return found


def _tilts(config: Config) -> list[Parameter]:
    if not config.tilted:
        return []
    n = config.n_horizontal
    return [
        Continuous(
            f"panel_tilt_{axis}",
            [0.0] * n,
            Interval(-STEEPEST, STEEPEST),
            "rad",
            "position",
            f"Tilt of each horizontal panel about {axis}; it ends at the height of the volume",
        )
        for axis in "xy"
    ]


def _slab(config: Config) -> list[Parameter]:
    room = config.slab_reach
    depth = Interval(0.0, SLAB_DEPTHS * room)
    thickness = Interval(THINNEST, SLAB_SHARE * room)
    drops = Ordered(0.0, BEHIND_SHARE * room, config.clearance)
    step = 0.9 * BEHIND_SHARE * room / config.n_behind
    start = [step * (i + 1) for i in range(config.n_behind)]
    return [
        Continuous(
            "slab_depth",
            depth.high / 4,
            depth,
            "m",
            "slab",
            "Depth of the slab below the room of the lower panels",
        ),
        Continuous(
            "slab_thickness", config.slab_thickness, thickness, "m", "slab", "Its thickness"
        ),
        Categorical("slab_material", SLAB_MATERIALS, config.slab_material, "slab", "Its material"),
        Continuous(
            "behind_depth", start, drops, "m", "slab", "Depths of the panels below the slab"
        ),
    ]


def _side_panels(config: Config, grid: Grid) -> list[Parameter]:
    n = len(config.side_panels)
    low, high = grid.low[2], grid.high[2]
    gap = config.reach / (n + 1)
    rank = [config.side_panels[:i].count(face) for i, face in enumerate(config.side_panels)]
    distances = [gap * (1 + i) for i in rank]
    return [
        Continuous(
            "side_distance",
            distances,
            Interval(0.0, config.reach),
            "m",
            "position",
            "Distance of each side panel from its face of the volume",
        ),
        Continuous(
            "side_shift",
            [0.0] * n,
            Interval(-SIDE_SHIFT, SIDE_SHIFT),
            "m",
            "position",
            "Horizontal shift of each side panel along its face",
        ),
        Continuous(
            "side_z",
            [(low + high) / 2] * n,
            Interval(low - SIDE_REACH, high + SIDE_REACH),
            "m",
            "position",
            "Height of the center of each side panel",
        ),
    ]


def real_nuisances(config: Config) -> Nuisances | None:
    """Unknown places and efficiencies of all panels, drawn for each scan."""
    n = config.n_panels
    found = []
    for name, width, unit, what in (
        ("panel_offset", config.misalignment, "m", "Offset along u, v and the normal"),
        ("panel_rotation", config.misrotation, "rad", "Rotation about u, v and the normal"),
    ):
        if width > 0:
            nominal = functools.partial(_in_place, n)
            found.append(Nuisance(name, nominal, width, unit, what))
    if config.efficiency_spread > 0:
        found.append(
            Nuisance(
                "panel_log_odds_shift",
                [0.0] * n,
                config.efficiency_spread,
                "",
                "Shift of the log odds of the efficiency",
            )
        )
    return Nuisances(found) if found else None


def _in_place(n_panels: int, design: Design) -> Float[Tensor, "n_panels 3"]:
    """Where panels are believed to be: no offset and no rotation about any axis."""
    like = next(iter(design.values()))
    return torch.zeros(n_panels, 3, dtype=like.dtype)
