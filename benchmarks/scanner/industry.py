"""Industry: error of the inner radius of a pipe and of electrode heights after an hour.

    python -m scanner.industry          prints the rows and writes JSON, about 15 minutes
    python -m scanner.industry pipe     one task, beside what is stored of the other
    python -m scanner.industry --quick  a small version, written nowhere

in the folder `benchmarks`. A study for each seed starts from panels 1 cm apart. Its design is
judged beside two designs of humans of the same cost, hard-edged, on the same fresh scans;
and hours of muons are simulated and fitted, muon by muon, for what the expected error leaves out.
"""

__all__ = ["rows", "run"]

import json
import math
import sys
import time
from collections.abc import Sequence
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
SEEDS, ROUNDS, LEARNING_RATE = {"pipe": (0, 1, 2, 3, 4), "furnace": (0, 1, 2, 3, 4)}, 150, 0.1
JUDGING, SAMPLES = 320, 500  # fresh scans of 1000 muons; resamplings
FITS = {"pipe": 24, "furnace": 8}  # scans of an hour
PIECE = 20_000  # muons simulated at once
VOXEL, VOXEL_PIECES = 2e-3, 8  # m; pieces of muons through voxels
NEAR = 1.1  # a fit may be this much worse than its prediction, beyond its own uncertainty
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
        best = min(entry["error_mm"][key]["value"] for key in ("pairs", "even"))
        finals = {k: v for k, v in entry["error_mm"].items() if k.startswith("final")}
        for key, ratio in entry["ratio"].items():
            what = f"{name}, {key} over the better baseline of {best:.4g} mm"
            text = f"{finals[key]['value']:.4g} mm, ratio {_interval(ratio)}"
            table.append((what, "ratio < 1 beyond the 95 % interval", text, ratio["high"] < 1))
        for key, fit in entry["fits"].items():
            what = f"{name}, {key}: {fit['scans']} fitted scans of an hour against the prediction"
            most = NEAR + 2 / math.sqrt(2 * fit["values"])
            ratio = fit["rms_mm"] / fit["expected_mm"]
            text = f"{fit['rms_mm']:.4g} mm for {fit['expected_mm']:.4g} mm, ratio {ratio:.2f}"
            table.append((what, f"ratio <= {most:.2f}", text, ratio <= most))
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
    seeds = SEEDS[task][:1] if quick else SEEDS[task]
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
    middle = sorted(finals, key=lambda name: values[name])[len(finals) // 2]
    return {
        "searches": searches,
        "better_baseline": better,
        "cost": {name: float(problem.cost(design)) for name, design in designs.items()},
        "error_mm": {name: _with_interval(values[name], samples[name]) for name in designs},
        "ratio": {
            name: _with_interval(values[name] / values[better], samples[name] / samples[better])
            for name in finals
        },
        "fits": {
            name: _fits(task, problem.hard, designs[name], values[name], quick)
            for name in (better, middle)
        },
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


def _fits(
    task: str, problem: Pipeline, design: Design, expected: float, quick: bool
) -> dict[str, Any]:
    """Errors of maximum-likelihood fits of whole hours, after one linear correction."""
    n_scans = 3 if quick else FITS[task]
    n_muons = PIECE if quick else int(problem.objective.n_muons)
    rng = Seed("industry", "hours").generator()
    geometry = problem.source.geometry
    likelihood = problem.analysis.likelihood
    truth = geometry.draw(n_scans, rng, torch.float32)
    fitted = []
    for parameters in truth:
        data = [_hour(problem, design, parameters, n_muons, rng)]
        start = geometry.nominal.float()[None]
        fitted.append(fit_parameters(likelihood, data, start, n_iterations=3).parameters[0])
    error = _residual(torch.stack(fitted).double(), truth.double())
    scale = math.sqrt(n_muons / problem.objective.n_muons)
    bias = (torch.stack(fitted) - truth).mean(0) * 1e3
    return {
        "scans": n_scans,
        "values": n_scans * truth.shape[1],
        "rms_mm": error * scale * 1e3,
        "expected_mm": expected,
        "bias_mm": bias.tolist(),
    }


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
    fit = fit_parameters(problem.analysis.likelihood, [_joined(pieces)], parameters, 5)
    return {
        "muons": n_pieces * PIECE,
        "voxel_mm": 1e3 * VOXEL,
        "shift_mm": 1e3 * float(fit.parameters - parameters),
        "error_mm": 1e3 * float(fit.covariance.sqrt()),
    }


def _hour(
    problem: Pipeline, design: Design, parameters: Tensor, n_muons: int, rng: torch.Generator
) -> Deviations:
    """The measured muons of one scan, in pieces and put together."""
    pieces = []
    for _ in range(math.ceil(n_muons / PIECE)):
        n_volumes = PIECE // problem.source.n_muons
        scans = problem.source.scans(parameters.expand(n_volumes, -1).contiguous(), rng)
        readout = problem.simulator(scans, design.to(torch.float32), rng)
        pieces.append(problem.reconstruction(readout, design.to(torch.float32)))
    return _joined(pieces)


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


def _residual(fitted: Tensor, truth: Tensor) -> float:
    """Root mean square over scans and parameters after a line common to all parameters."""
    x, y = fitted - fitted.mean(0), truth - truth.mean(0)
    gain = (x * y).sum() / x.square().sum()
    freedom = truth.numel() - truth.shape[1] - 1
    return float(((y - gain * x).square().sum() / freedom).sqrt())


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
