"""Industry: error of the inner radius of a pipe and of electrode heights after an hour.

    python -m scanner.industry          prints the rows and writes JSON, about 15 minutes
    python -m scanner.industry pipe     one task, beside what is stored of the other
    python -m scanner.industry --quick  a small version, written nowhere

in the folder `benchmarks`. A study for each seed starts from panels 1 cm apart. Its design is
judged beside two designs of humans of the same cost, hard-edged: by the expected error, from the
information of the same fresh muons, and by whole hours of muons, simulated and fitted muon by muon.
The figures that count are those of the fits; nothing is corrected after a fit.
"""

__all__ = ["rows", "run"]

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline import Pipeline, evaluate
from detopt.pipeline.evaluation import bootstrap, summarize_design
from detopt.random import Seed
from detopt.reconstruction.voxel_grid import Grid
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.industry.deviations import Deviations
from detopt.usecases.muon_scanner.industry.parameters import fit_parameters
from detopt.usecases.muon_scanner.industry.solids import Lines
from detopt.usecases.muon_scanner.transport import Medium, propagate
from scanner.common import BENCHMARKS, say

TASKS = {"pipe": "inner radius", "furnace": "electrode heights"}
SEEDS, ROUNDS, LEARNING_RATE = (0, 1, 2, 3, 4), 60, 0.1
JUDGING, SAMPLES = 160, 500  # fresh scans of 1000 muons; resamplings
BASELINE_FITS = {"pipe": 75, "furnace": 60}  # scans of an hour, all of the better baseline
FINAL_FITS = {"pipe": 16, "furnace": 12}  # of the design of each seed
PIECE = 20_000  # muons simulated at once
FIRST = 2  # pieces that are fitted alone for a start
VOXEL, VOXEL_PIECES = 2e-3, 8  # m; pieces of muons through voxels
RESULTS = BENCHMARKS / "results" / "industry.json"


def run(
    quick: bool,
    scratch: Path = BENCHMARKS.parent / "runs" / "benchmark",
    tasks: Sequence[str] = tuple(TASKS),
) -> dict[str, Any]:
    """Tasks: designs of all seeds, their errors, and fits of whole hours."""
    torch.set_num_threads(1)
    scratch.mkdir(parents=True, exist_ok=True)
    return {task: _task(task, quick, scratch) for task in tasks}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for task, entry in result.items():
        name = f"{task}: error of the {TASKS[task]} after 1 h"
        fits, better = entry["fits"], entry["better_baseline"]
        scans = f"{fits['baseline']['scans']} fitted scans of {better}"
        ratio = fits["ratio"]
        table.append(
            (
                f"{name}, {fits['optimized']['scans']} fitted scans of the designs of "
                f"{len(entry['searches'])} seeds over {scans}",
                "ratio < 1 beyond the 95 % interval",
                f"{_interval(fits['optimized']['rms_mm'])} mm over "
                f"{_interval(fits['baseline']['rms_mm'])} mm, ratio {_interval(ratio)}",
                ratio["high"] < 1,
            )
        )
        for kind in ("baseline", "optimized"):
            fit = fits[kind]
            agreement = fit["over_expected"]
            table.append(
                (
                    f"{name}, {kind}: {fit['scans']} fitted scans over what the information says",
                    "95 % interval of the ratio holds 1; all fits converge",
                    f"ratio {_interval(agreement)}, mean error {fit['bias_mm']:.3g} +- "
                    f"{fit['bias_error_mm']:.2g} mm, {fit['failed']} failed",
                    agreement["low"] <= 1 <= agreement["high"] and fit["failed"] == 0,
                )
            )
        best = min(entry["error_mm"][key]["value"] for key in ("pairs", "even"))
        for key, ratio in entry["ratio"].items():
            what = f"{name} by information, {key} over the better baseline of {best:.4g} mm"
            text = f"{entry['error_mm'][key]['value']:.4g} mm, ratio {_interval(ratio)}"
            table.append((what, "ratio < 1 beyond the 95 % interval", text, ratio["high"] < 1))
        if entry["voxels"] is not None:
            voxels = entry["voxels"]
            what = f"{task}: shift of the fit for {voxels['muons']} muons through voxels of "
            what += f"{voxels['voxel_mm']:g} mm"
            text = f"{voxels['shift_mm']:.2f} +- {voxels['error_mm']:.2f} mm"
            table.append((what, "for comparison", text, True))
        cpu = max(one["cpu_s"] for one in entry["searches"].values())
        table.append((f"{task}: CPU time of a search [s]", "<= 180", f"{cpu:.0f}", cpu <= 180))
    return table


def _task(task: str, quick: bool, scratch: Path) -> dict[str, Any]:
    problem = build(Config(task=task))
    seeds = SEEDS[:1] if quick else SEEDS
    searches = {str(seed): _search(task, problem, seed, quick, scratch) for seed in seeds}
    designs = dict(problem.baselines)
    for seed, one in searches.items():
        theta = torch.tensor(one["theta"], dtype=torch.float64)
        designs[f"final {seed}"] = problem.space.design(theta).detach()
    values, samples = {}, {}
    for name, design in designs.items():
        values[name], samples[name] = _judge(problem.hard, design, 16 if quick else JUDGING)
        say(f"{task} {name}: {values[name]:.4g} mm")
    better = min(problem.baselines, key=lambda name: values[name])
    finals = [name for name in designs if name.startswith("final")]
    return {
        "searches": searches,
        "better_baseline": better,
        "cost": {name: float(problem.cost(design)) for name, design in designs.items()},
        "error_mm": {name: _with_interval(values[name], samples[name]) for name in designs},
        "ratio": {
            name: _with_interval(values[name] / values[better], samples[name] / samples[better])
            for name in finals
        },
        "fits": _compared(task, problem.hard, designs, values, better, quick, scratch),
        "voxels": _through_voxels(problem.hard, designs[better], quick) if task == "pipe" else None,
    }


def _search(task: str, problem: Pipeline, seed: int, quick: bool, scratch: Path) -> dict[str, Any]:
    """A study of one seed; one that was made before is read."""
    path = scratch / f"industry-{task}-{seed}{'-quick' if quick else ''}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text())
        return kept
    rounds = 3 if quick else ROUNDS
    begin = time.process_time()
    optimizer = make("adam", problem.space, rounds, {"learning_rate": LEARNING_RATE}, problem)
    for _ in range(rounds):
        optimizer.tell([evaluate(problem, request, Seed(seed)) for request in optimizer.ask()])
    found = {
        "cpu_s": time.process_time() - begin,
        "rounds": rounds,
        "theta": optimizer.recommend().tolist(),
    }
    path.write_text(json.dumps(found))
    say(f"{task} seed {seed}: {found['cpu_s']:.0f} s")
    return found


def _judge(problem: Pipeline, design: Design, n_scans: int) -> tuple[float, Tensor]:
    stream = Seed("industry", "fresh")
    summary, outcome = summarize_design(problem, design, stream, n_scans)
    again = bootstrap(problem, summary, design.to(problem.dtype), stream, SAMPLES)
    return float(outcome.objective), again


def _compared(
    task: str,
    problem: Pipeline,
    designs: Mapping[str, Design],
    expected: Mapping[str, float],
    better: str,
    quick: bool,
    scratch: Path,
) -> dict[str, Any]:
    """Fits of the better baseline beside those of all optimized designs, taken together."""
    groups: dict[str, list[dict[str, Any]]] = {"baseline": [], "optimized": []}
    for name, design in designs.items():
        if name == better or name.startswith("final"):
            kind = "baseline" if name == better else "optimized"
            n_scans = (BASELINE_FITS if name == better else FINAL_FITS)[task]
            path = scratch / f"industry-fits-{task}-{name.replace(' ', '-')}"
            found = _fits(name, problem, design, 2 if quick else n_scans, quick, path)
            groups[kind].append({**found, "expected_mm": expected[name]})
    result: dict[str, Any] = {}
    squares = {}
    for kind, group in groups.items():
        error = torch.cat([torch.tensor(one["error_mm"], dtype=torch.float64) for one in group])
        scale = torch.cat(
            [
                torch.full((len(one["error_mm"]),), one["expected_mm"], dtype=torch.float64)
                for one in group
            ]
        )
        squares[kind] = _resampled(error.square().mean(1))
        means = _resampled(error.mean(1))
        relative = error.square().mean(1) / scale.square()
        result[kind] = {
            "scans": len(error),
            "rms_mm": _with_interval(float(error.square().mean().sqrt()), squares[kind].sqrt()),
            "over_expected": _with_interval(
                float(relative.mean().sqrt()), _resampled(relative).sqrt()
            ),
            "bias_mm": float(error.mean()),
            "bias_error_mm": float(means.std()),
            "failed": sum(one["failed"] for one in group),
        }
    value = result["optimized"]["rms_mm"]["value"] / result["baseline"]["rms_mm"]["value"]
    ratios = (squares["optimized"] / squares["baseline"]).sqrt()
    return {**result, "ratio": _with_interval(value, ratios)}


def _resampled(values: Tensor) -> Tensor:
    """Means of resampled scans."""
    rng = Seed("industry", "resample", len(values)).generator()
    index = torch.randint(len(values), (20 * SAMPLES, len(values)), generator=rng)
    return values[index].mean(1)


def _fits(
    name: str, problem: Pipeline, design: Design, n_scans: int, quick: bool, path: Path
) -> dict[str, Any]:
    """Errors of maximum-likelihood fits of whole hours; those that were made before are read."""
    n_muons = PIECE if quick else int(problem.objective.n_muons)
    geometry = problem.source.geometry
    likelihood = problem.analysis.likelihood
    errors, failed = [], 0
    for index in range(n_scans):
        kept = path.with_name(f"{path.name}-{index}{'-quick' if quick else ''}.json")
        if not kept.exists():
            rng = Seed("industry", "hours", name, index).generator()
            truth = geometry.draw(1, rng, torch.float32)
            data = _hour(problem, design, truth[0], n_muons, rng)
            fit = fit_parameters(likelihood, data, geometry.nominal.float()[None])
            error = 1e3 * (fit.parameters - truth)[0]
            kept.write_text(
                json.dumps({"error_mm": error.tolist(), "converged": bool(fit.converged.all())})
            )
        one = json.loads(kept.read_text())
        errors.append(one["error_mm"])
        failed += not one["converged"]
    return {"error_mm": errors, "failed": failed}


def _through_voxels(problem: Pipeline, design: Design, quick: bool) -> dict[str, float]:
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


def _hour(
    problem: Pipeline, design: Design, parameters: Tensor, n_muons: int, rng: torch.Generator
) -> list[Deviations]:
    """The measured muons of one scan, the first of them apart."""
    pieces = []
    volumes = parameters.expand(round(n_muons / problem.source.n_muons), -1)
    for some in volumes.split(PIECE // problem.source.n_muons):
        scans = problem.source.scans(some.contiguous(), rng)
        readout = problem.simulator(scans, design.to(torch.float32), rng)
        pieces.append(problem.reconstruction(readout, design.to(torch.float32)))
    parts = (pieces[:FIRST], pieces[FIRST:])
    return [_joined(part) for part in parts if part]


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


def _with_interval(value: float, samples: Tensor) -> dict[str, float]:
    low, high = samples.quantile(torch.tensor([0.025, 0.975], dtype=samples.dtype)).tolist()
    return {"value": value, "low": low, "high": high}


def _interval(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv
    chosen = tuple(task for task in TASKS if task in sys.argv) or tuple(TASKS)
    measured = run(is_quick, tasks=chosen)
    if not is_quick:
        stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        measured = {**stored, **measured}
        RESULTS.write_text(json.dumps(measured, indent=1) + "\n")
    for what, bar, text, holds in rows(measured):
        print(f"{'ok  ' if holds else 'FAIL'} {what}: {text} ({bar})")
