"""Whole hours of muons through known geometries: simulated, seen by designs, and fitted."""

__all__ = ["PIECE", "fit", "hour", "through_voxels"]

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Pipeline
from detopt.random import Seed
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner.flow import Muons, Scans
from detopt.usecases.muon_scanner.industry.deviations import Deviations
from detopt.usecases.muon_scanner.industry.parameters import ParameterFit, fit_parameters
from detopt.usecases.muon_scanner.industry.posterior import fit_posterior
from detopt.usecases.muon_scanner.industry.solids import Lines
from detopt.usecases.muon_scanner.transport import Medium, propagate

PIECE = 20_000  # muons simulated at once
FIRST = 2  # pieces that are fitted alone for a start, as one
VOXEL, VOXEL_PIECES = 2e-3, 8  # m; pieces of muons through voxels


def fit(problem: Pipeline, data: Sequence[Deviations]) -> ParameterFit:
    """The fit whose error the objective expects."""
    likelihood, geometry = problem.analysis.likelihood, problem.source.geometry
    if geometry.n_knots is None:
        return fit_parameters(likelihood, data, geometry.nominal.float()[None])
    return fit_posterior(likelihood, data)


def hour(
    problem: Pipeline,
    designs: Mapping[str, Design],
    parameters: Tensor,
    n_muons: int,
    rng: torch.Generator,
) -> dict[str, list[Deviations]]:
    """The muons of one scan as each design measures them, in pieces that stay in cache."""
    pieces: dict[str, list[Deviations]] = {kind: [] for kind in designs}
    volumes = parameters.expand(round(n_muons / problem.source.n_muons), -1)
    for some in volumes.split(PIECE // problem.source.n_muons):
        scans = _telling(problem, problem.source.scans(some.contiguous(), rng))
        state = rng.get_state()
        for kind, design in designs.items():
            rng.set_state(state)  # the same noise in each panel
            readout = problem.simulator(scans, design.to(torch.float32), rng)
            pieces[kind].append(problem.reconstruction(readout, design.to(torch.float32)))
    return {
        kind: [_joined(some[:FIRST]), *(_joined([one]) for one in some[FIRST:])]
        for kind, some in pieces.items()
    }


def through_voxels(problem: Pipeline, design: Design, quick: bool) -> dict[str, float]:
    """The radius fitted to muons that went through fine voxels in small steps, less the true one.

    The transport shares no formula of path lengths with the likelihood, and paths are bent.
    """
    rng = Seed("industry", "voxels").generator()
    geometry = problem.source.geometry
    width, height = geometry.grid.high[0] - geometry.grid.low[0], geometry.grid.high[2]
    shape = (round(width / VOXEL), 1, round(height / VOXEL))
    grid = Grid((geometry.grid.low[0], -10.0, 0.0), (VOXEL, 20.0, VOXEL), shape)
    n_pieces = 1 if quick else VOXEL_PIECES
    parameters = geometry.nominal.float()[None]
    volumes = geometry.rasterize(parameters, grid)
    medium = Medium(grid, volumes.materials, n_samples=2)
    pieces = []
    for _ in range(n_pieces):
        n_volumes = PIECE // problem.source.n_muons
        scans = problem.source.scans(parameters.expand(n_volumes, -1).contiguous(), rng)
        voxels = volumes.voxels.expand(n_volumes, *shape)
        after, stopped = propagate(scans.before, voxels, medium, rng)
        scans = replace(scans, after=after, stopped=stopped)
        readout = problem.simulator(scans, design.to(torch.float32), rng)
        pieces.append(problem.reconstruction(readout, design.to(torch.float32)))
    fit = fit_parameters(problem.analysis.likelihood, [_joined(pieces)], parameters)
    return {
        "muons": n_pieces * PIECE,
        "voxel_mm": 1e3 * VOXEL,
        "shift_mm": 1e3 * float(fit.parameters - parameters),
        "error_mm": 1e3 * float(fit.covariance.sqrt()),
    }


def _telling(problem: Pipeline, scans: Scans) -> Scans:
    """Where posteriors are fitted, only the muons that a parameter can change, as one scan."""
    geometry = problem.source.geometry
    if geometry.n_knots is None:
        return scans
    before, after = scans.before, scans.after
    lines = Lines(
        (before.position + after.position) / 2, (before.slope + after.slope) / 2, before.height
    )
    ends = geometry.spread(2).to(lines.slope)
    kept = problem.analysis.likelihood.affected(ends, lines)

    def some(muons: Muons) -> Muons:
        position, slope = muons.position[:, None, kept], muons.slope[:, None, kept]
        return Muons(position, slope, muons.momentum[None, kept], muons.height)

    return replace(scans, before=some(before), after=some(after), stopped=scans.stopped[None, kept])


def _joined(pieces: Sequence[Deviations]) -> Deviations:
    """All measured muons as those of one volume."""
    kept = [(piece.weight > 0) for piece in pieces]

    def joined(values: Sequence[Tensor]) -> Tensor:
        chosen = [value[..., keep] for value, keep in zip(values, kept, strict=True)]
        return torch.cat(chosen, dim=-1).unsqueeze(-2)

    lines = Lines(
        joined([p.lines.position for p in pieces]),
        joined([p.lines.slope for p in pieces]),
        pieces[0].lines.height,
    )
    return Deviations(
        lines,
        joined([p.deviation for p in pieces]),
        joined([p.error for p in pieces]),
        joined([p.weight for p in pieces]),
        joined([p.momentum for p in pieces]),
    )
