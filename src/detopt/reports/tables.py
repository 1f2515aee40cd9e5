"""Tables of a report as plain data: texts by row, ready for the template."""

__all__ = [
    "Facts",
    "Row",
    "design_rows",
    "evaluation_rows",
    "facts",
    "lineage_row",
    "sensitivity_rows",
]

import math
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from detopt._version import __version__
from detopt.design import (
    Categorical,
    Continuous,
    FixedSum,
    Integer,
    Interval,
    Ordered,
    Parameter,
)
from detopt.reports.record import Record, element_names
from detopt.reports.tolerances import Tolerance
from detopt.reports.words import duration, interval, number, unit_of
from detopt.runtime.constraints import broken_words
from detopt.runtime.family import Member

SHORT = 12  # letters of a digest
Facts = list[tuple[str, str]]


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        name: First column.
        cells: The others.
        note: Small print under the name.
        mark: Class of the line, for its color.
    """

    name: str
    cells: tuple[str, ...]
    note: str = ""
    mark: str = ""


def facts(record: Record) -> Facts:
    """What was studied, how long it took, and how to do it again."""
    config, history, space = record.config, record.history, record.problem.space
    n_frozen = len(space.parameters) - len(space.free)
    frozen = f", {n_frozen} held fixed" if n_frozen else ""
    method = config.method
    if config.method_options:
        options = ", ".join(f"{key} = {value}" for key, value in config.method_options.items())
        method += f" ({options})"
    options = ", ".join(f"{key} = {value}" for key, value in config.options.items())
    return [
        ("Use case", config.use_case),
        ("Options", options or "defaults"),
        ("Objective", f"{record.problem.objective_name}, minimized"),
        ("Free parameters", f"{len(space.free)} with {space.n_free} entries{frozen}"),
        ("Method", method),
        ("Rounds", f"{len(history)} of {config.rounds}"),
        ("Evaluations", f"{sum(r.n_evaluations for r in history)} with {_events(record)} each"),
        ("Independent re-evaluation", f"{config.evaluation_events} events for each design"),
        ("Seed", str(config.seed)),
        ("Wall time", f"{duration(sum((r.wall_s for r in history), 0.0))} (optimization)"),
        ("CPU time", f"{duration(sum((r.cpu_s for r in history), 0.0))} (evaluations)"),
        ("Versions", _versions(record.result)),
        ("Run it again", f"detopt run {_study_file(record.folder)}"),
    ]


def _study_file(folder: Path) -> str:
    """The study as a shell in the working folder names it, where the run lies below that."""
    here, whole = Path.cwd(), folder.resolve()
    inside = whole.is_relative_to(here) and whole != here
    return shlex.quote(
        str((whole.relative_to(here) if inside else Path(whole.name)) / "study.yaml")
    )


def _events(record: Record) -> str:
    """Events of the evaluations that were made, or of those that would be."""
    if record.events is not None:
        low, high = record.events
        return f"{low} events" if low == high else f"{low} to {high} events"
    config = record.config
    own = record.problem.n_events if config.events is None else config.events
    return f"{config.method_options.get('n_events', own)} events"


def _versions(result: Mapping[str, Any] | None) -> str:
    own = __version__ if result is None else str(result.get("version", __version__))
    return (
        f"detopt {own}; report written with Python {platform.python_version()}, "
        f"torch {version('torch')}, numpy {version('numpy')}, matplotlib {version('matplotlib')}"
    )


def evaluation_rows(result: Mapping[str, Any]) -> list[Row]:
    """Start, final and all baselines with objective, interval and cost."""
    unit = unit_of(result["objective_name"])[1]
    final = result["objective"]["final"]["value"]
    rows = []
    for name, objective, cost in _judged(result):
        value = objective["value"]
        share = f"{value / final:#.3g}" if value and final and min(value, final) > 0 else "–"
        mark = name if name in {"start", "final"} else "baseline"
        notes = ["best baseline"] if name == result.get("best_baseline") else []
        breaks = broken_words(result, name)
        note = ", ".join([*notes, f"breaks {breaks}"] if breaks else notes)
        rows.append(Row(name, (interval(objective, unit), share, number(cost)), note, mark))
    return rows


def _judged(
    result: Mapping[str, Any],
) -> list[tuple[str, Mapping[str, float | None], float | None]]:
    found = [(name, result["objective"][name], result["cost"][name]) for name in ("start", "final")]
    baselines = result.get("baselines") or {}
    return [*found, *((name, row["objective"], row["cost"]) for name, row in baselines.items())]


def design_rows(record: Record) -> list[Row]:
    """A line for each element of each parameter: its value in each design, and its domain."""
    rows = []
    designs = record.designs
    for parameter in record.problem.space.parameters:
        frozen = parameter.name in record.problem.space.frozen
        columns = [designs[name][parameter.name].reshape(-1).tolist() for name in designs]
        table = _aligned(columns)
        if isinstance(parameter, Categorical):
            table = [tuple(parameter.choices[round(c[0])] for c in columns)]
        limits = "held fixed" if frozen else domain_words(parameter)
        for i, (name, cells) in enumerate(zip(element_names(parameter), table, strict=True)):
            if i == 0:
                whole = (parameter.unit or "–", *cells, limits)
                rows.append(Row(name, whole, parameter.description, "first"))
            else:
                rows.append(Row(name, ("", *cells, "")))
    return rows


def _aligned(columns: Sequence[Sequence[float]]) -> list[tuple[str, ...]]:
    """The numbers of one parameter with as many decimals as four digits of the largest need."""
    numbers = [value for column in columns for value in column]
    largest = max((abs(value) for value in numbers), default=0.0)
    rows = list(zip(*columns, strict=True))
    if not 1e-3 <= largest < 1e6:
        return [tuple(number(value) for value in row) for row in rows]
    decimals = max(0, 3 - math.floor(math.log10(largest)))
    while decimals and all(f"{value:.{decimals}f}"[-1] == "0" for value in numbers):
        decimals -= 1
    return [tuple(f"{value:.{decimals}f}".replace("-", "−") for value in row) for row in rows]


def domain_words(parameter: Parameter) -> str:
    """Where a parameter may lie, in a few words."""
    if isinstance(parameter, Categorical):
        return ", ".join(parameter.choices)
    if isinstance(parameter, Integer):
        return f"{parameter.low} to {parameter.high}, whole"
    domain = parameter.domain if isinstance(parameter, Continuous) else None
    if isinstance(domain, FixedSum):
        return f"≥ {number(domain.low)}, sum {number(domain.total)}"
    if isinstance(domain, Ordered):
        gap = f", {number(domain.gap)} apart" if domain.gap else ""
        return f"{number(domain.low)} to {number(domain.high)}, in order{gap}"
    if isinstance(domain, Interval):
        return f"{number(domain.low)} to {number(domain.high)}"
    return "any"


def lineage_row(depth: int, member: Member, own: str) -> Row:
    """A run among its relatives; children stand below their parents."""
    objective = "–" if member.objective is None else interval(member.objective)
    begun = "–"
    if member.created is not None:
        begun = datetime.fromtimestamp(member.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    name = "· " * depth + member.name
    cells = (member.change or "–", objective, (member.design or "–")[:SHORT], begun)
    return Row(name, cells, "this run" if member.name == own else "")


def sensitivity_rows(found: Sequence[Tolerance]) -> list[Row]:
    """Gradient, curvature and tolerance of each entry of theta."""
    return [
        Row(one.name, (number(one.gradient, 3), number(one.curvature, 3), one.words))
        for one in found
    ]
