"""Row `gradients`: every continuous design parameter against central differences, in float64."""

from typing import Any

from detopt.gradients import GradientCheck, check_gradients
from detopt.usecases.muon_scanner import Config, build
from scanner.common import Setting, say

FREE = ("panel_resolution", "panel_efficiency")
CASES = [(task, mode) for task in ("ladle", "image") for mode in ("fixed", "soft")]
REPEATS = 32
SCANS = 8
RELATIVE = 0.05
Z = 3.0


def run(setting: Setting) -> dict[str, Any]:
    """Both tasks, with fixed and with soft budget."""
    return {
        "repeats": REPEATS,
        "scans": SCANS,
        "cases": [case(task, mode, setting) for task, mode in CASES],
    }


def case(task: str, mode: str, setting: Setting) -> dict[str, Any]:
    """The check of one problem, and its worst parameters."""
    problem = build(Config(task=task, budget_mode=mode, free=FREE))
    n_repeats, n_events = (8, 4) if setting.quick else (REPEATS, SCANS)
    checks = check_gradients(problem, n_repeats=n_repeats, n_events=n_events)
    agreeing = sum(_within(check) for check in checks)
    say(f"gradients {task} {mode}: {agreeing}/{len(checks)}")
    return {
        "task": task,
        "budget": mode,
        "parameters": len(checks),
        "within": agreeing,
        "verdicts": {str(v): sum(c.verdict == v for c in checks) for v in _verdicts(checks)},
        "largest_z": max(  # where the difference is larger than 5 %
            (abs(c.z) for c in checks if _relative(c) > RELATIVE), default=0.0
        ),
        "beyond_5_percent_and_3_errors": [c.as_dict() for c in checks if not _within(c)],
        "groups": {name: _group(checks, name) for name in _names(checks)},
    }


def _within(check: GradientCheck) -> bool:
    return _relative(check) <= RELATIVE or abs(check.z) <= Z


def _relative(check: GradientCheck) -> float:
    return abs(check.estimate - check.reference) / max(abs(check.reference), 1e-300)


def _verdicts(checks: list[GradientCheck]) -> list[Any]:
    return sorted({check.verdict for check in checks}, key=str)


def _names(checks: list[GradientCheck]) -> list[str]:
    return list(dict.fromkeys(check.name.partition("[")[0] for check in checks))


def _group(checks: list[GradientCheck], name: str) -> dict[str, float]:
    """Worst z of an array, and the difference of its gradient as a vector."""
    mine = [check for check in checks if check.name.partition("[")[0] == name]
    length = sum(check.reference**2 for check in mine) ** 0.5
    difference = sum((check.estimate - check.reference) ** 2 for check in mine) ** 0.5
    return {
        "largest_z": max(abs(check.z) for check in mine),
        "relative_difference": difference / max(length, 1e-300),
    }
