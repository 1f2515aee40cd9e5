"""Tables of a comparison of methods: one for people, one for a spreadsheet."""

__all__ = ["COLUMNS", "columns", "csv_text", "note", "remarks", "rows", "text"]

import csv
import io
import math

from detopt.reports.words import duration, number
from detopt.runtime.comparison_result import Comparison, Spread, Summary

COLUMNS = ("method", "objective", "calls to target", "hypervolume", "CPU", "of it method")
ENOUGH = 0.9  # of the budget: a method that ends before it says so
OF_CHECKPOINT = ("budget", "calls", "cpu_s", "value", "violation")


def rows(found: Comparison) -> list[tuple[str, ...]]:
    """A line for each method, with the columns of `COLUMNS` that the comparison has."""
    return [
        tuple(cell for cell, shown in zip(_cells(one), _shown(found), strict=True) if shown)
        for one in found.summaries()
    ]


def columns(found: Comparison) -> tuple[str, ...]:
    """The columns that the comparison has."""
    return tuple(name for name, shown in zip(COLUMNS, _shown(found), strict=True) if shown)


def _shown(found: Comparison) -> tuple[bool, ...]:
    hidden = {"calls to target": found.plan.target is None, "hypervolume": not found.reference}
    return tuple(not hidden.get(name, False) for name in COLUMNS)


def _cells(one: Summary) -> tuple[str, ...]:
    if not one.n_seeds:
        return (one.method, *("–",) * (len(COLUMNS) - 1))
    volume = "–" if one.hypervolume is None else _spread(one.hypervolume)
    return (
        one.method,
        _spread(one.objective),
        f"{_spread(one.to_target, 3)} ({one.n_reached} of {one.n_seeds})",
        volume,
        _time(one.cpu_s),
        _time(one.method_cpu_s),
    )


def _spread(spread: Spread, digits: int = 4) -> str:
    if math.isinf(spread.median):
        return "not reached"
    ends = ("∞" if math.isinf(end) else number(end, digits) for end in (spread.low, spread.high))
    return f"{number(spread.median, digits)} [{', '.join(ends)}]"


def _time(spread: Spread) -> str:
    return duration(float(f"{spread.median:.2g}"))


def remarks(found: Comparison) -> list[str]:
    """What else must be said of methods: that they did not run, failures, early ends."""
    said = [(one.method, _remark(found, one)) for one in found.summaries()]
    return [f"{method}: {remark}" for method, remark in said if remark]


def _remark(found: Comparison, one: Summary) -> str:
    if not one.n_seeds:
        return f"did not run. {one.reason}"
    said = []
    if one.n_failed:
        said.append(f"{one.n_failed} failed evaluations in all")
    if one.n_violated:
        said.append(f"the last design is unusable in {one.n_violated} of {one.n_seeds} seeds")
    least = min(run.calls for run in found.of(one.method))
    if least < ENOUGH * found.plan.budget:
        said.append(f"ended after {number(least)} calls")
    if one.reason:
        said.append(f"stopped: {one.reason}")
    return "; ".join(said)


def note(found: Comparison) -> str:
    """What the numbers of a table mean."""
    plan = found.plan
    n_seeds = len({run.seed for run in found.runs})
    target = "" if plan.target is None else f" Target: objective <= {number(plan.target)}."
    return (
        f"{found.use_case}: {found.objective_name}, minimized. {plan.budget} calls for each "
        f"method and seed, {n_seeds} seeds; median [16 %, 84 %] over the seeds. A call is one "
        "evaluation of one design with the problem's number of events, with or without its "
        "gradient; one with fewer or more events counts its share. Objective: the recommended "
        f"design in the reference simulation with {plan.evaluation_events} fresh events, which "
        f"cost no calls.{target} CPU: of one run, simulation and method."
    )


def text(found: Comparison) -> str:
    """The table in plain text."""
    head = columns(found)
    body = rows(found)
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *body]
    ]
    return "\n".join([note(found), "", *lines, "", *remarks(found)]).rstrip() + "\n"


def csv_text(found: Comparison) -> str:
    """A line for each checkpoint of each run."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("method", "seed", *OF_CHECKPOINT, "hypervolume"))
    for run in found.runs:
        for one in run.checkpoints:
            values = ["" if (v := getattr(one, key)) is None else v for key in OF_CHECKPOINT]
            volume = found.volume(one.front) if found.reference else ""
            writer.writerow((run.method, run.seed, *values, volume))
    return buffer.getvalue()
