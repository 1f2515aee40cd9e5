"""Row `cma`: the best design that a search without gradients finds with 2,000 evaluations.

CMA-ES minimizes the very objective that judges final designs: the hard-edged simulation. It starts
from the bad start and from the baseline `even`, keeps a checkpoint after every round, and goes on
from it when it is run again.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from detopt.design import Design
from detopt.optimizers import CMAES
from detopt.pipeline import Pipeline, evaluate
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from scanner.common import Setting, say

POPULATION = 20
ROUNDS = 100
SCANS = 400  # in an evaluation: 2 to 4 % noise, common to a population
STARTS = ("bad", "even")
STREAM = Seed(77)


def problem(start: str) -> Pipeline:
    """The hard-edged ladle, starting badly or from the evenly spread baseline."""
    plain = build(Config())
    if start == "bad":
        return plain.hard
    even = plain.baselines["even"]
    heights = {name: even[name].tolist() for name in ("upper_z", "lower_z")}
    center = (float(even["panel_x"][0]), float(even["panel_y"][0]))
    return build(Config(center=center, **heights)).hard


def search(start: str, setting: Setting) -> dict[str, Any]:
    """A search of 2,000 evaluations, or what is left of one that was stopped."""
    scanner = problem(start)
    rounds, scans = (3, 64) if setting.quick else (ROUNDS, SCANS)
    optimizer = CMAES(scanner.space, rounds, n_events=scans, population=POPULATION, seed=1)
    path = setting.scratch / f"cma-{start}{'-quick' if setting.quick else ''}.pt"
    history, cpu_s = _restore(path, optimizer)
    while optimizer.round < rounds:
        begin = time.process_time()
        requests = [replace(request, std_error=False) for request in optimizer.ask()]
        answers = [evaluate(scanner, request, STREAM) for request in requests]
        optimizer.tell(answers)
        cpu_s += time.process_time() - begin
        history.append(min(a.value for a in answers if math.isfinite(a.value)))
        say(f"cma {start}: round {optimizer.round}/{rounds}, best {history[-1]:.5f}")
        state = {"optimizer": optimizer.state_dict(), "history": history, "cpu_s": cpu_s}
        torch.save(state, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    design = scanner.space.design(optimizer.recommend()).detach()
    return {
        "start": start,
        "evaluations": rounds * POPULATION,
        "scans": scans,
        "cpu_s": cpu_s,
        "best_of_last_round": history[-1],
        "theta": optimizer.recommend().tolist(),
        "cost": float(scanner.cost(design)),
        "design": design.numbers(),
    }


def _restore(path: Path, optimizer: CMAES) -> tuple[list[float], float]:
    if not path.exists():
        return [], 0.0
    state = torch.load(path, weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    return state["history"], state["cpu_s"]


def found_design(entry: dict[str, Any]) -> Design:
    """The mean of the distribution that a search ended with."""
    space = problem(entry["start"]).space
    return space.design(torch.tensor(entry["theta"], dtype=torch.float64)).detach()


def run(setting: Setting) -> dict[str, Any]:
    """Both searches, or those that `--starts` names."""
    return {
        "population": POPULATION,
        "searches": {start: search(start, setting) for start in setting.starts or STARTS},
    }
