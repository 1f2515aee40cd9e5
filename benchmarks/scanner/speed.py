"""Row `speed`: one optimization step, alternating with the peer in one run.

A step draws fresh volumes and muons, propagates, reconstructs, makes the loss and goes back to x,
y, z and span of all panels. It is measured with one volume of 1,000 muons, the peer's own work,
and with 16 such volumes in one graph; with our physics, and with the peer's switched on.
"""

import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch

from detopt.pipeline import Pipeline
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from scanner.common import BENCHMARKS, Setting, one_thread_environment, say

MUONS = 1_000
GEOMETRY: dict[str, Any] = {  # the configuration std250 of the peer
    "task": "image",
    "n_muons": MUONS,
    "momentum": 5.0,
    "crossing": False,
    "margin": 0.0,
    "upper_z": (1.32, 1.24, 1.16, 1.08),
    "lower_z": (0.32, 0.24, 0.16, 0.08),
    "center": (0.5, 0.5),
    "budget_mode": "soft",
    "budget": 8.0,  # 8 panels of 1 x 1 m
}
PEER_PHYSICS = {"energy_loss": False, "step": 0.01, "material_samples": 1}
PHYSICS = {"ours": {}, "peer's": PEER_PHYSICS}
BATCHES = {1: 40, 16: 4}  # volumes in a graph, and steps in an alternation
ALTERNATIONS = 11
TOP = 12  # operators in the profile


class Step:
    """One optimization step, ready to be repeated."""

    def __init__(self, problem: Pipeline, n_volumes: int) -> None:
        self.problem = problem
        self.n_volumes = n_volumes
        self.rng = Seed("speed").generator()
        self.theta = problem.space.theta(problem.space.start).requires_grad_()
        self.optimizer = torch.optim.SGD([self.theta], lr=0.0)

    def __call__(self) -> None:
        """One step."""
        self.optimizer.zero_grad()
        design = self.problem.space.design(self.theta).to(self.problem.dtype)
        summary = self.problem.summarize(design, self.n_volumes, self.rng)
        self.problem.judge(summary, design).objective.backward()
        self.optimizer.step()

    def microseconds(self, repeats: int) -> float:
        """Mean CPU time of a muon [us]."""
        begin = time.process_time()
        for _ in range(repeats):
            self()
        return 1e6 * (time.process_time() - begin) / (repeats * self.n_volumes * MUONS)


class Peer:
    """The peer's process, which answers a line with one step."""

    def __init__(self, setting: Setting) -> None:
        script = str(BENCHMARKS / "peers" / "tomopt_step.py")
        self.process = subprocess.Popen(
            [str(setting.peer), script, "--config", "std250", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=one_thread_environment(),
        )
        assert self._line() == "ready"

    def ask(self, word: str) -> dict[str, Any]:
        """Its answer to `go` or `info`."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self._line())

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        """Stop it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)


def run(setting: Setting) -> dict[str, Any]:
    """CPU microseconds a muon of both programs, and their ratios."""
    if setting.peer is None:
        sys.exit("The row `speed` needs `--peer`, the Python of the peer's environment.")
    steps = {
        (physics, n): Step(build(Config(**{**GEOMETRY, **options})), n)
        for physics, options in PHYSICS.items()
        for n in BATCHES
    }
    for (_, n), step in steps.items():
        step.microseconds(max(3, BATCHES[n] // 4))  # warm-up
    peer = Peer(setting)
    info = peer.ask("info")
    theirs: list[float] = []
    ours: dict[tuple[str, int], list[float]] = {key: [] for key in steps}
    n_alternations = 2 if setting.quick else ALTERNATIONS
    for i in range(n_alternations):
        theirs.append(1e3 * peer.ask("go")["ms_per_muon"])
        for key, step in steps.items():
            ours[key].append(step.microseconds(BATCHES[key[1]]))
        mine = ", ".join(f"{values[-1]:.1f}" for values in ours.values())
        say(f"speed {i + 1}/{n_alternations}: peer {theirs[-1]:.0f} us a muon, ours {mine}")
    peer.close()
    return {
        "alternations": n_alternations,
        "peer": {**info, "us_per_muon": _spread(theirs)},
        "ours": [
            {
                "physics": physics,
                "volumes_in_graph": n,
                "us_per_muon": _spread(values),
                "ratio": statistics.median(theirs) / statistics.median(values),
                "ratio_of_pairs": _spread([a / b for a, b in zip(theirs, values, strict=True)]),
            }
            for (physics, n), values in ours.items()
        ],
        "profile": {f"{n} volumes": profile(steps["ours", n]) for n in BATCHES},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def profile(step: Step, repeats: int = 5) -> dict[str, Any]:
    """Calls of operators in a step, and those that take most of its time."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        for _ in range(repeats):
            step()
    events = sorted(profiler.key_averages(), key=lambda e: -e.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    return {
        "operator_calls": sum(event.count for event in events) // repeats,
        "top": [
            {
                "operator": event.key,
                "calls": event.count // repeats,
                "share": event.self_cpu_time_total / total,
            }
            for event in events[:TOP]
        ],
    }
