"""Task `portal`: border control. Which panels find what is hidden in a container?"""

__all__ = ["portal_problem"]

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import Design, DesignSpace
from detopt.errors import ConfigError
from detopt.pipeline import Box, Objective, Pipeline, Scene
from detopt.random import Seed
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.panels import ScannerCost, layout
from detopt.usecases.muon_scanner.portal.evidence import Spectrum
from detopt.usecases.muon_scanner.portal.pictures import portal_pictures
from detopt.usecases.muon_scanner.portal.score import PortalAnalysis, PortalRows, n_places
from detopt.usecases.muon_scanner.portal.source import GOODS, CargoSource
from detopt.usecases.muon_scanner.portal.verdict import PortalGoal, PortalJudge, PredictedPortal
from detopt.usecases.muon_scanner.realism.detectors import Detector, detectors
from detopt.usecases.muon_scanner.realism.pruning import final_sizing
from detopt.usecases.muon_scanner.realism.view import real_boxes
from detopt.usecases.muon_scanner.sources import MuonBeam, MuonSource
from detopt.usecases.muon_scanner.space import (
    VANISHING_SHARE,
    baselines,
    design_space,
    even_distances,
)
from detopt.usecases.muon_scanner.technologies import (
    SHARES,
    Equip,
    EquippedReconstruction,
    EquippedSimulator,
)
from detopt.usecases.muon_scanner.transport import Medium
from detopt.usecases.muon_scanner.volumes import Grid, Volumes, container

CHUNK_MUONS = 48_000  # muons simulated at once: few chunks, whose graphs are kept
# frozen by default: goods and blocks lie anywhere, and the default method chooses technologies only
FIXED = ("panel_x", "panel_y", "slab_material")
SWITCH = 0.01  # > 0 makes panels scatter
DECIDED = ("panel_thickness", "resolution", "efficiency", "volume", "block", "filling")
FLAT = 0.01  # m; thickness at which panels are drawn
REMOVED = 0.1  # money of a panel that goes, in the least shares of one that stays
LEAST_MONEY = 10 * VANISHING_SHARE  # of such a panel, beside 1 for the others


def portal_problem(config: Config) -> Pipeline:
    """The design problem of a portal that `config` describes.

    Raises:
        ConfigError: The cargo is unusable, or no technology is given.
    """
    _check(config)
    volumes = _example(config)
    grid = volumes.grid
    config = _spread(config, grid)
    space = design_space(config, grid)
    fixed = {parameter.name for parameter in space.parameters} & set(FIXED)
    space = space.freeze(*sorted(fixed - set(config.free)))
    beam = _beam(config, grid)
    muons = MuonSource(beam, grid)
    n_muons = config.n_muons
    if config.exposure is not None:
        n_muons = max(1, round(muons.rate * config.exposure))
    medium = Medium(
        grid, volumes.materials, config.step, config.material_samples, config.loses_energy
    )
    period = 2 * len(config.hidden)
    goal = PortalGoal.of(
        config.hidden, config.hidden_weights, config.false_positive_rate, config.goal
    )
    soft, hard = detectors(_matter(config), volumes, medium, muons)
    source = CargoSource(medium, config.hidden, config.n_items, muons, n_muons, config.goods)
    is_known = config.known_momentum is True
    analysis = PortalAnalysis(grid, Spectrum.of(beam), is_known=is_known)

    def pipeline(used: Detector, is_pure: bool, reference: Pipeline | None) -> Pipeline:
        equip = Equip(config.technologies, is_pure, config.dead_material)
        cost = EquippedCost(ScannerCost(config.n_above), equip)
        budget = Budget(
            cost, config.budget if config.budget_mode == "soft" else None, used.n_panels
        )
        judge: Objective[PortalRows] = (
            PortalJudge(goal, budget) if is_pure else PredictedPortal(goal, budget, n_places(grid))
        )
        return Pipeline(
            space=space,
            source=source,
            simulator=EquippedSimulator(used.simulator, equip),
            reconstruction=EquippedReconstruction(used.reconstruction, equip),
            analysis=analysis,
            objective=judge,
            hard=reference,
            n_events=config.n_scans,
            chunk_size=max(1, CHUNK_MUONS // n_muons // period) * period,
            baselines=human_portals(config, space, grid),
            price=cost,
            objective_name=goal.name,
            view=functools.partial(portal_view, config, volumes),
            diagnostics=functools.partial(portal_pictures, goal=goal),
            nuisances=used.nuisances,
            treatment="fixed" if used.nuisances is None else "marginalized",
        )

    return pipeline(soft, False, pipeline(hard, True, None))


@dataclass(frozen=True)
class EquippedCost:
    """Cost of the panels with the prices of their technologies.

    Args:
        inner: Cost of panels with given prices.
        equip: Gives them.
    """

    inner: Callable[[Design], Tensor]
    equip: Equip

    def __call__(self, design: Design) -> Float[Tensor, ""]:
        """In thousand euros."""
        return self.inner(self.equip(design))


def human_portals(config: Config, space: DesignSpace, grid: Grid) -> Mapping[str, Design]:
    """Equal panels of each technology alone, with a middle pitch.

    They are evenly spread, in pairs, or, where small panels are removed, `two` on each side.
    """
    places = dict(baselines(config, space, grid))
    if max(config.n_above, config.n_below) > 2 and config.removal_share > LEAST_MONEY:
        places["two"] = _two_a_side(config, places["even"], grid)
    if len(config.technologies) == 1:
        return {f"{name} {config.technologies[0]}": found for name, found in places.items()}
    n = config.n_panels
    found = {}
    for name, design in places.items():
        for index, technology in enumerate(config.technologies):
            shares = torch.zeros(n, len(config.technologies), dtype=torch.float64)
            shares[:, index] = 1.0
            found[f"{name} {technology}"] = Design({**design, SHARES: shares})
    return found


def _two_a_side(config: Config, even: Design, grid: Grid) -> Design:
    """Panels far apart; those between them have so little money that they are removed."""
    near, far = even_distances(2, config.reach)
    above, below = (
        torch.linspace(near, far, n, dtype=torch.float64) for n in (config.n_above, config.n_below)
    )
    little = max(REMOVED * config.removal_share, LEAST_MONEY)
    money = torch.ones(config.n_panels, dtype=torch.float64)
    money[1 : config.n_above - 1] = little
    money[config.n_above + 1 : config.n_above + config.n_below - 1] = little
    return Design(
        {
            **even,
            "upper_z": grid.high[2] + above.flip(0),
            "lower_z": grid.low[2] - below,
            "panel_cost": config.budget * money / money.sum(),
        }
    )


def portal_view(config: Config, volumes: Volumes, design: Design) -> Scene:
    """Panels by their technology, without those that are removed, and the container."""
    equip = Equip(config.technologies, is_pure=True, is_dead=config.dead_material)
    whole = design.detach().to(torch.float64)
    panels = layout(equip(whole), config.n_above, final_sizing(config))
    kinds = [0] * config.n_panels
    if SHARES in whole:
        kinds = whole[SHARES].argmax(-1).tolist()
    names = iter([config.technologies[kind] for kind in kinds])
    boxes = [
        Box((cx, cy, z), (2 * hx, 2 * hy, FLAT), next(names), 0.5)
        for side in (panels.above, panels.below)
        for z, (cx, cy), (hx, hy) in zip(
            side.height.tolist(), side.center.T.tolist(), side.half_width.T.tolist(), strict=True
        )
    ]
    boxes = [box for box in boxes if min(box.size) > 0]
    grid = volumes.grid
    boxes += real_boxes(config, grid, equip(whole))
    x, y, z = ((a + b) / 2 for a, b in zip(grid.low, grid.high, strict=True))
    dx, dy, dz = (b - a for a, b in zip(grid.low, grid.high, strict=True))
    return Scene([*boxes, Box((x, y, z), (dx, dy, dz), "cargo", 0.12)])


def _check(config: Config) -> None:
    """Refuse what the technologies and the cargo decide, rather than leave it out silently."""
    if not config.technologies:
        raise ConfigError("The task `portal` needs at least one of `technologies`, got none.")
    fields = Config.model_fields
    given = [name for name in DECIDED if getattr(config, name) != fields[name].default]
    if given:
        raise ConfigError(
            f"In the task `portal` the technologies decide about the panels and `hidden` and "
            f"`goods` about the cargo: leave {', '.join(f'`{name}`' for name in given)} out."
        )


def _example(config: Config) -> Volumes:
    """One container, and all materials that containers are made of, the hidden ones last."""
    n = round(config.cargo_edge / config.voxel_size)
    if abs(n * config.voxel_size - config.cargo_edge) > 1e-6:
        raise ConfigError(
            f"`voxel_size` must divide `cargo_edge`, got {config.voxel_size:g} m and "
            f"{config.cargo_edge:g} m."
        )
    grid = Grid((0.0, 0.0, 0.0), (config.voxel_size,) * 3, (n, n, n))
    goods = container(
        grid,
        1,
        Seed("example cargo").generator(),
        n_items=config.n_items,
        clutter=GOODS[config.goods],
    )
    return Volumes(grid, (*goods.materials, *config.hidden), goods.voxels)


def _matter(config: Config) -> Config:
    """What the detector is told: with dead material it is one of real panels."""
    if not config.dead_material:
        return config
    return config.model_copy(update={"panel_thickness": SWITCH})  # the technologies give it


def _spread(config: Config, grid: Grid) -> Config:
    """The search starts from evenly spread and centered panels, where no places are given."""
    bottom, top = grid.low[2], grid.high[2]
    above = [top + d for d in reversed(even_distances(config.n_above, config.reach))]
    below = [bottom - d for d in even_distances(config.n_below, config.reach)]
    places: dict[str, Any] = {
        "upper_z": config.upper_z or tuple(above),
        "lower_z": config.lower_z or tuple(below),
    }
    if "center" not in config.model_fields_set:
        places["center"] = (config.cargo_edge / 2, config.cargo_edge / 2)
    return config.model_copy(update=places)


def _beam(config: Config, grid: Grid) -> MuonBeam:
    return MuonBeam(
        flux=config.flux,
        momentum=config.momentum,
        max_zenith=config.max_zenith,
        height=grid.high[2] + config.reach,
        margin=0.0 if config.margin is None else config.margin,
        crossing=config.crossing,
    )
