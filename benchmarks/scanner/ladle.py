"""Rows `ladle` and `verdict`: the default study from the bad start, judged beside all others.

`ladle` runs the study as a user would, with the settings that the use case recommends. `verdict`
judges all designs of `ladle` and `cma`, the start and the baselines by the hard-edged simulation on
the same fresh volumes, which nobody has seen before.
"""

from typing import Any

import torch
from torch import Tensor

from detopt.design import Design
from detopt.pipeline.evaluation import summarize_design
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed
from detopt.runtime import Study, StudyConfig
from detopt.usecases.muon_scanner import Config, build
from scanner.common import Setting, say
from scanner.search import found_design

SEEDS = (0, 1, 2, 3, 4)
JUDGING = 8_000  # volumes
SAMPLES = 1_000
TAILS = (0.025, 0.975)


def run(setting: Setting) -> dict[str, Any]:
    """A study for each seed; one that was stopped goes on."""
    return {"studies": {str(seed): study(seed, setting) for seed in setting.seeds or SEEDS}}


def study(seed: int, setting: Setting) -> dict[str, Any]:
    """What `detopt run muon_scanner --seed SEED` does, without the report."""
    small = {"rounds": 5, "events": 16, "evaluation_events": 64} if setting.quick else {}
    folder = setting.scratch / f"ladle-{seed}{'-quick' if setting.quick else ''}"
    if folder.exists():
        loop = Study.resume(folder)
    else:
        loop = Study.create(StudyConfig.make("muon_scanner", seed=seed, **small), folder)
    data = loop.run().data
    say(f"ladle seed {seed}: {data['objective']['final']['value']:.5f}")
    kept = ("seed", "rounds", "evaluations", "cpu_s", "wall_s", "cost", "objective", "ratio")
    return {key: data[key] for key in (*kept, "best_baseline", "evaluation_events", "theta")}


def judge(setting: Setting, results: dict[str, Any]) -> dict[str, Any]:
    """Error of every design on the same fresh volumes, and the ratios, with 95 % intervals."""
    scanner = build(Config())
    designs = {"start": scanner.space.start, **scanner.baselines}
    for seed, entry in sorted(results["ladle"]["studies"].items(), key=lambda item: int(item[0])):
        theta = torch.tensor(entry["theta"], dtype=torch.float64)
        designs[f"final {seed}"] = scanner.space.design(theta).detach()
    for start, entry in results.get("cma", {}).get("searches", {}).items():
        designs[f"cma {start}"] = found_design(entry)
    n_volumes = 64 if setting.quick else JUDGING
    values, samples = {}, {}
    for name, design in designs.items():
        values[name], samples[name] = _evaluate(design, n_volumes)
        say(f"verdict {name}: {values[name]:.5f}")
    return {
        "volumes": n_volumes,
        "error_m": {name: _interval(values[name], samples[name]) for name in designs},
        "cost": {name: float(scanner.cost(design)) for name, design in designs.items()},
        "final_over_baseline": _ratios(values, samples, ("pairs", "even")),
        "final_over_cma": _ratios(values, samples, [n for n in designs if n.startswith("cma")]),
    }


def _evaluate(design: Design, n_volumes: int) -> tuple[float, Tensor]:
    judge = build(Config()).hard
    stream = Seed("verdict", "fresh")
    summary, outcome = summarize_design(judge, design, stream, n_volumes)
    again = bootstrap(judge, summary, design.to(judge.dtype), stream, SAMPLES)
    return float(outcome.objective), again


def _interval(value: float, samples: Tensor) -> dict[str, float]:
    low, high = samples.quantile(torch.tensor(TAILS, dtype=samples.dtype)).tolist()
    return {"value": value, "low": low, "high": high}


def _ratios(
    values: dict[str, float], samples: dict[str, Tensor], others: "list[str] | tuple[str, ...]"
) -> dict[str, Any]:
    """Each final design over the best of the others; the volumes are the same, so they pair."""
    if not others:
        return {}
    best = min(others, key=lambda name: values[name])
    finals = [name for name in values if name.startswith("final")]
    ratios = {
        name: _interval(values[name] / values[best], samples[name] / samples[best])
        for name in finals
    }
    return {"best": best, "ratios": ratios}
