r"""Muon-scattering scanner: where to put tracking panels, how large, how good.

Panels above and below a volume track cosmic-ray muons; what scatters them is inferred from the
tracks. Design parameters: `panel_x`, `panel_y`, `upper_z`, `lower_z` [m], the share of the budget
of each panel `panel_cost` (or its edges `panel_span` [m]), `panel_resolution` [m] and
`panel_efficiency`. Objective: the error of the fill height of a ladle furnace [m]
(task `ladle`), or of the logarithm of the radiation length of each voxel (task `image`, from
scattering points, or by a frozen network with `reconstruction: learned`), after a linear
correction; or of the inner radius of a pipe or the electrodes of a furnace after an hour [mm]
(tasks `pipe`, `furnace`); or the share of hidden blocks that border control misses at a fixed
rate of false alarms (task `portal`, with the technology `panel_technology` and the pitch
`panel_fineness` of each panel); at a fixed budget, or with a soft budget term.

Real panels are switched on by options (see `detopt.usecases.muon_scanner.realism.options`): they
scatter and slow muons down (`panel_thickness`, `panel_areal_density`), may be tilted
(`panel_tilt_x`, `panel_tilt_y`) or stand beside the volume (`side_distance`, `side_shift`,
`side_z`), have noise and unknown places; momenta may be unknown, or estimated by a slab
(`slab_depth`, `slab_thickness`, `slab_material`, `behind_depth`); and a price of its own for each
panel makes their number shrink.

References:
    T. Dorigo et al., arXiv:2203.13818, section 4.3; G. C. Strong et al., Mach. Learn.: Sci.
    Technol. 5 (2024) 035002.
"""

__all__ = ["Config", "build", "recommended_for"]

import functools
import math
from collections.abc import Mapping
from typing import Any

from detopt.design import DesignSpace
from detopt.errors import ConfigError
from detopt.pipeline import Analysis, Objective, Pipeline, Source
from detopt.random import Seed
from detopt.reconstruction import load_network
from detopt.usecases.muon_scanner.calibration import (
    Budget,
    CalibratedError,
    CalibrationRows,
    PredictedError,
)
from detopt.usecases.muon_scanner.config import Config
from detopt.usecases.muon_scanner.diagnostics import predicted_against_true
from detopt.usecases.muon_scanner.flow import Estimates, Scans
from detopt.usecases.muon_scanner.image_task import ImageAnalysis
from detopt.usecases.muon_scanner.imaging.analysis import LearnedImageAnalysis
from detopt.usecases.muon_scanner.industry.problem import GEOMETRIES, industry_problem
from detopt.usecases.muon_scanner.ladle_task import FillAnalysis
from detopt.usecases.muon_scanner.panels import ScannerCost
from detopt.usecases.muon_scanner.portal.task import portal_problem
from detopt.usecases.muon_scanner.realism.detectors import Detector, detectors
from detopt.usecases.muon_scanner.sources import (
    BlockSource,
    CatalogueSource,
    MuonBeam,
    MuonSource,
)
from detopt.usecases.muon_scanner.space import baselines, design_space, view
from detopt.usecases.muon_scanner.transport import Medium
from detopt.usecases.muon_scanner.volumes import (
    Grid,
    Volumes,
    blocks,
    ladle,
    load_scene,
    load_volumes,
)

CHUNK_MUONS = 16_000  # muons simulated at once: the working set stays in cache
LARGEST_CHUNK = 160_000  # muons; 2.5 GB with the gradient
RECOMMENDED = {
    "rounds": 250,
    "method_options": {"learning_rate": 0.1},
    "evaluation_events": 4_000,
}
PORTAL_STUDY: Mapping[str, Any] = {  # chooses technologies from several starts
    "rounds": 100,
    "method": "multi_start",
    "method_options": {"learning_rate": 0.3, "relax": 0.08, "exchanges": 1},
    "evaluation_events": 1_200,
}
CHECK_EVENTS = 16  # scans: noise is shared by both gradients of the check
LADLE_MARGIN_ANGLE = math.radians(15)  # the published starting area reaches this far sideways


def recommended_for(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a study that suit the task in `options`."""
    return PORTAL_STUDY if options.get("task") == "portal" else {}


def build(config: Config) -> Pipeline:
    """The design problem that `config` describes.

    Raises:
        ConfigError: The volume or the start is unusable.
    """
    if config.task == "portal":
        return portal_problem(config)
    if config.task in GEOMETRIES:
        return industry_problem(config)
    volumes = _volumes(config)
    space = design_space(config, volumes.grid)
    muons = MuonSource(_beam(config, volumes.grid), volumes.grid)
    n_muons = config.n_muons
    if config.exposure is not None:
        n_muons = max(1, round(muons.rate * config.exposure))
    n_kinds = len(volumes) if config.volume is not None or config.task == "ladle" else 1
    return _pipeline(config, volumes, space, muons, n_muons, _chunk_size(n_kinds, n_muons))


def _chunk_size(n_kinds: int, n_muons: int) -> int:
    """Scans simulated at once: every volume as often as the others, where memory allows it."""
    per_chunk = max(1, CHUNK_MUONS // n_muons)
    if n_kinds <= per_chunk:
        return per_chunk - per_chunk % n_kinds
    return n_kinds if n_kinds * n_muons <= LARGEST_CHUNK else per_chunk


def _pipeline(
    config: Config,
    volumes: Volumes,
    space: DesignSpace,
    muons: MuonSource,
    n_muons: int,
    chunk_size: int,
) -> Pipeline:
    medium = Medium(
        volumes.grid,
        volumes.materials,
        config.step,
        config.material_samples,
        config.loses_energy,
    )
    source = _source(config, volumes, medium, muons, n_muons)
    is_ladle = config.task == "ladle"
    n_values = 1 if is_ladle else volumes.voxels[0].numel()
    soft_budget = config.budget if config.budget_mode == "soft" else None
    cost = ScannerCost(config.n_above)
    soft, hard = detectors(config, volumes, medium, muons)
    budget = Budget(cost, soft_budget, hard.n_panels)
    judge = CalibratedError(budget, n_values)

    def pipeline(
        used: Detector, objective: Objective[CalibrationRows], reference: Pipeline | None
    ) -> Pipeline:
        window = None if reference is None else config.quantile_window
        analysis: Analysis[Estimates, Scans, CalibrationRows]
        if is_ladle:
            analysis = FillAnalysis(volumes.grid, window)
        elif config.reconstruction == "learned":
            analysis = LearnedImageAnalysis(volumes, load_network(config.imager))
        else:
            analysis = ImageAnalysis(volumes)
        return Pipeline(
            space=space,
            source=source,
            simulator=used.simulator,
            reconstruction=used.reconstruction,
            analysis=analysis,
            objective=objective,
            hard=reference,
            n_events=config.n_scans,
            chunk_size=chunk_size,
            baselines=baselines(config, space, volumes.grid),
            price=cost,
            objective_name=(
                "error of the fill height [m]" if is_ladle else "error of ln(radiation length)"
            ),
            view=functools.partial(view, config, volumes),
            diagnostics=functools.partial(predicted_against_true, task=config.task),
            nuisances=used.nuisances,
            treatment="fixed" if used.nuisances is None else "marginalized",
        )

    verdict = pipeline(hard, judge, None)
    return pipeline(soft, PredictedError(budget) if is_ladle else judge, verdict)


def _volumes(config: Config) -> Volumes:
    """The volumes to scan; for generated blocks one example that carries grid and materials."""
    if config.volume is not None:
        is_scene = config.volume.suffix in {".yaml", ".yml"}
        volumes = (load_scene if is_scene else load_volumes)(config.volume)
        n_targets = 0 if volumes.target is None else len(volumes.target.unique())
        if config.task == "ladle" and n_targets < 2:
            raise ConfigError(
                f"The task `ladle` needs volumes with at least two different values of `target` "
                f"(fill height); {config.volume} has {n_targets} in {len(volumes)} volumes."
            )
        return volumes
    if config.task == "ladle":
        return ladle()
    grid = _image_grid(config.voxel_size)
    rng = Seed("example volume").generator()
    return blocks(grid, 1, rng, size=_block_size(grid), filling=config.filling, block=config.block)


def _image_grid(voxel: float) -> Grid:
    """The published 1 x 1 x 0.6 m volume, in voxels of the edge `voxel`."""
    shape = tuple(round(length / voxel) for length in (1.0, 1.0, 0.6))
    if any(abs(n * voxel - size) > 1e-6 for n, size in zip(shape, (1, 1, 0.6), strict=True)):
        raise ConfigError(f"`voxel_size` must divide 1 m and 0.6 m, got {voxel:g} m.")
    return Grid((0.0, 0.0, 0.4), (voxel, voxel, voxel), (shape[0], shape[1], shape[2]))


def _block_size(grid: Grid) -> tuple[int, int, int]:
    """A block of 0.4 x 0.4 x 0.2 m in voxels."""
    x, y, z = (
        max(1, round(size / voxel)) for size, voxel in zip((0.4, 0.4, 0.2), grid.voxel, strict=True)
    )
    return x, y, z


def _beam(config: Config, grid: Grid) -> MuonBeam:
    top = grid.high[2] + config.reach
    margin = config.margin
    if margin is None:
        drop = top - grid.low[2] + grid.voxel[2]
        margin = drop * math.tan(LADLE_MARGIN_ANGLE) if config.task == "ladle" else 0.0
    return MuonBeam(
        flux=config.flux,
        momentum=config.momentum,
        max_zenith=config.max_zenith,
        height=top,
        margin=margin,
        crossing=config.crossing,
    )


def _source(
    config: Config, volumes: Volumes, medium: Medium, muons: MuonSource, n_muons: int
) -> Source[Scans]:
    if config.volume is not None or config.task == "ladle":
        return CatalogueSource(volumes, medium, muons, n_muons)
    return BlockSource(medium, _block_size(volumes.grid), muons, n_muons)
