"""Judges portals by the simulation with sharp edges, on scans that all of them share."""

__all__ = ["Portal", "interval", "judge", "scan"]

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detopt.design import Design
from detopt.pipeline import Pipeline, Summary
from detopt.pipeline.outcome import merge
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed
from detopt.usecases.muon_scanner.portal.score import PortalRows
from detopt.usecases.muon_scanner.portal.source import CLEAN
from detopt.usecases.muon_scanner.portal.verdict import roc_curve
from detopt.usecases.muon_scanner.technologies import SHARES

VERDICT = "verdict after removal of panels"  # name of its scans, which no search has seen
SAMPLES = 400
N_POINTS = 150  # of a curve
DRAWN_SEED = 0  # of the searches whose curves are kept
TAILS = (0.025, 0.975)
Portal = tuple[Pipeline, Design]


@torch.no_grad()
def scan(
    found: Mapping[str, Portal], scans: range, label: str = VERDICT
) -> dict[str, list[Summary]]:
    """Answers to the scans of that label, in chunks; all portals share scans and random numbers."""
    answers: dict[str, list[Summary]] = {name: [] for name in found}
    shared = _reference(next(iter(found.values()))[0])
    for first in range(scans.start, scans.stop, shared.chunk_size):
        stream = Seed("portal", label).child(first)
        n_scans = min(shared.chunk_size, scans.stop - first)
        events = shared.source(n_scans, stream.child("scans").generator(), shared.dtype)
        for name, (problem, design) in found.items():
            real, values = _reference(problem), design.to(shared.dtype)
            readout = real.simulator(events, values, stream.child("hits").generator())
            answers[name].append(real.analysis(real.reconstruction(readout, values), events))
    return answers


def _reference(problem: Pipeline) -> Pipeline:
    """The simulation that the verdict is taken from."""
    real = problem.reference
    assert isinstance(real, Pipeline)
    return real


def judge(
    found: Mapping[str, Portal], answers: Mapping[str, list[Summary]], label: str = VERDICT
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Verdicts, and their values for resampled scans, the same ones for all portals."""
    judged: dict[str, Any] = {}
    samples: dict[str, Tensor] = {}
    for name, (problem, design) in found.items():
        summary, values = merge(answers[name]), design.to(problem.reference.dtype)
        outcome = problem.reference.judge(summary, values)
        samples[name] = bootstrap(
            problem.reference, summary, values, Seed("portal", label), SAMPLES
        )
        judged[name] = {
            "objective": interval(float(outcome.objective), samples[name]),
            "cost": float(_reference(problem).cost(design)),
            "metrics": {key: float(value) for key, value in outcome.metrics.items()},
            "purest": float(design[SHARES].amax(-1).min()) if SHARES in design else 1.0,
        }
        if name.endswith(f" {DRAWN_SEED}") or name.startswith(("even ", "two ")):
            judged[name]["roc"] = _roc(summary, _reference(problem).objective.goal.materials)
    return judged, samples


def _roc(summary: Summary, materials: Sequence[str]) -> dict[str, list[list[float]]]:
    """Rates of false and true alarms for each material, thinned out."""
    assert isinstance(summary, PortalRows)
    harmless = summary.score[summary.kind == CLEAN]
    curves = {}
    for index, name in enumerate(materials):
        false, true = roc_curve(harmless, summary.score[summary.kind == index])
        step = max(1, len(false) // N_POINTS)
        curves[name] = [false[::step].tolist(), true[::step].tolist()]
    return curves


def interval(value: float, samples: Tensor) -> dict[str, float]:
    """A value with the central 95 % of its samples."""
    low, high = samples.quantile(torch.tensor(TAILS, dtype=samples.dtype)).tolist()
    return {"value": value, "low": low, "high": high}
