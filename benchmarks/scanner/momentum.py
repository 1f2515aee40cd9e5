"""Row `momentum`: the image without true momenta, and what a slab of lead gives back.

    python -m scanner.momentum          1 minute
    python -m scanner.momentum --quick  few scans, written nowhere

in the folder `benchmarks`. All three reconstructions see the same muons of the sea-level spectrum
in panels with sharp edges: eight of a square metre around the volume, evenly spread, and for the
estimate four of two square metres below a slab of 10 cm of lead.
"""

__all__ = ["rows", "run"]

import json
import sys
from pathlib import Path
from typing import Any

import torch

from detopt.design import Design
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build

RESULT = Path(__file__).resolve().parent.parent / "results" / "scanner_momentum.json"
KNOWLEDGE: dict[str, Any] = {
    "true": True,
    "estimated": "estimated",
    "marginalised": "marginalised",
}
SCANS = {4_000: 80, 16_000: 30}  # muons in a scan, and scans
N_PARTS = 10  # independent samples of these scans
LEAST = 1 / 3  # of the loss that the slab must give back


def run(quick: bool) -> dict[str, Any]:
    """Error of ln X0 for each knowledge of the momenta, over samples of scans."""
    torch.set_num_threads(1)
    scans = {1_000: 20} if quick else SCANS
    cases = [_case(n_muons, n_scans) for n_muons, n_scans in scans.items()]
    return {"cases": cases, "quick": quick}


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What, what must be, what was measured, and whether it holds."""
    table = []
    for case in result["cases"]:
        title = f"image of {case['n_muons']} muons"
        loss, recovered = case["loss"], case["recovered"]
        table += [
            (f"{title}: loss of a marginalised momentum", "> 0", _interval(loss), loss["low"] > 0),
            (
                f"{title}: share of it that an estimated momentum recovers",
                ">= 1/3",
                _interval(recovered),
                recovered["low"] >= LEAST,
            ),
        ]
    return table


def _case(n_muons: int, n_scans: int) -> dict[str, Any]:
    errors = {
        name: _errors(knowledge, n_muons, n_scans // N_PARTS)
        for name, knowledge in KNOWLEDGE.items()
    }
    true, estimated, marginalised = (torch.tensor(errors[name]).double() for name in KNOWLEDGE)
    loss = marginalised - true
    gain = marginalised - estimated
    return {
        "n_muons": n_muons,
        "n_scans": n_scans,
        "errors": errors,
        "mean": {name: float(torch.tensor(values).mean()) for name, values in errors.items()},
        "loss": _mean(loss),
        "recovered": _ratio(gain, loss),
    }


def _errors(knowledge: bool | str, n_muons: int, n_scans: int) -> list[float]:
    """Of the sharp-edged simulation, in each sample."""
    around, behind = [1.0] * 8, [2.0] * 4 if knowledge == "estimated" else []
    slab = {"n_behind": 4, "slab_thickness": 0.1, "slab_material": "Pb"} if behind else {}
    config = Config(
        task="image",
        n_muons=n_muons,
        momentum=None,
        known_momentum=knowledge,
        budget=sum(around + behind),
        **slab,
    )
    problem = build(config)
    values = dict(problem.baselines["even"])
    values["panel_cost"] = torch.tensor(around + behind, dtype=torch.float64)
    errors = []
    for part in range(N_PARTS):
        seed = Seed("momentum benchmark").child(part)
        _, outcome = summarize_design(problem.reference, Design(values), seed, n_scans)
        errors.append(float(outcome.objective))
    return errors


def _mean(values: torch.Tensor) -> dict[str, float]:
    """Mean with its 95 % interval."""
    half = 2.26 * float(values.std()) / len(values) ** 0.5  # Student's t of 9 degrees of freedom
    return {"value": float(values.mean()), "low": float(values.mean()) - half, "half": half}


def _ratio(gain: torch.Tensor, loss: torch.Tensor) -> dict[str, float]:
    """Ratio of two means, with the interval of its linearization."""
    ratio = float(gain.mean() / loss.mean())
    residual = (gain - ratio * loss) / loss.mean()
    half = 2.26 * float(residual.std()) / len(gain) ** 0.5
    return {"value": ratio, "low": ratio - half, "half": half}


def _interval(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} +- {value['half']:.3f}"


if __name__ == "__main__":
    is_quick = "--quick" in sys.argv
    found = run(is_quick)
    for what, demanded, measured, holds in rows(found):
        print(f"{'ok ' if holds else 'NO '} {what}: {measured} ({demanded})")
    if not is_quick:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
