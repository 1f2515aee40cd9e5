"""The parts of a report's page, each made from what a run's folder holds."""

__all__ = ["SECTIONS", "Section"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from detopt import usecases
from detopt.optimizers import METHODS
from detopt.reports import budget, evaluation, figures, health, scene, style, tables, tolerances
from detopt.reports.record import Record
from detopt.reports.words import interval, number, unit_of
from detopt.runtime.constraints import broken_words
from detopt.runtime.family import family

AFTERWARDS = (
    " The diamond, and the dashed line where there is a baseline, are the independent verdicts "
    "with 95 % intervals."
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        title: Heading.
        figures: Inline drawings.
        reading: How to read them.
        remarks: What they say here.
        table: Rows under `columns`.
        columns: Heads of the table.
        folded: Whether the table is folded away.
    """

    title: str
    figures: list[Markup] = field(default_factory=list)
    reading: str = ""
    remarks: list[str] = field(default_factory=list)
    table: list[tables.Row] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    folded: bool = False


def _svg(figure: Figure, alt: str, key: str) -> Markup:
    return Markup(style.svg(figure, alt, key))


def _verdict_section(record: Record) -> Section | None:
    result = record.result
    if result is None:
        return None
    rows = {name: result["objective"][name] for name in ("start", "final")}
    rows |= {name: row["objective"] for name, row in (result.get("baselines") or {}).items()}
    figure = evaluation.interval_figure(rows, result["objective_name"])
    said = "; ".join(f"{name} {interval(row)}" for name, row in rows.items())
    return Section(
        "Independent re-evaluation",
        [_svg(figure, f"Objective of each design with its 95 % interval: {said}.", "verdict")],
        "A dot is the objective of a design, the bar its 95 % interval; smaller is better, and the "
        "shaded strip is the final design. All designs meet the same fresh events, so bars that "
        "overlap a little can still belong to a clear difference: a ratio in the verdict uses "
        "the pairing.",
        [f"Data of the simulation: {label}." for label in result.get("data_labels", [])]
        + [
            f"The simulation of the design “{name}” failed: {why}"
            for name, why in result.get("failures", {}).items()
        ]
        + [
            f"The design “{name}” breaks {words}."
            for name in result.get("constraints", {})
            if (words := broken_words(result, name))
        ]
        + [
            f"The design “{name}” has no interval: {why}"
            for name, why in result.get("without_interval", {}).items()
        ],
        table=tables.evaluation_rows(result),
        columns=("design", "objective, 95 % interval", "relative to final", "cost"),
    )


def _scene_section(record: Record) -> Section | None:
    scenes = {}
    for name, design in record.designs.items():
        one = record.problem.scene(design)
        if one is not None:
            key = f"best baseline “{name}”" if name == record.best_baseline else name
            scenes[key if record.result else key.removeprefix("best ")] = one
    if not scenes:
        return None
    counts = {name: len(one.boxes) for name, one in scenes.items()}
    alt = "Drawings of the instrument in space, from the side and from above: " + ", ".join(
        f"{name} ({n} boxes)" for name, n in counts.items()
    )
    return Section(
        "The instrument, before and after",
        [_svg(scene.scene_figure(scenes), alt + ".", "scene")],
        "All columns have the same scale and the same point of view; lengths are in metres. The "
        "drawing in space shows the arrangement; read positions and sizes from the views below "
        "it, since a drawing in space hides them.",
    )


def _objective_section(record: Record) -> Section | None:
    if not record.history:
        return None
    history = record.history
    figure = figures.objective_figure(history, record.problem.objective_name, record.result)
    alt = (
        f"{record.problem.objective_name} over {len(history)} rounds, from "
        f"{number(history[0].value)} to {number(history[-1].value)}."
    )
    remarks = []
    if record.problem.reference is not record.problem:
        remarks.append(
            "The re-evaluation has a simulation of its own, with hard edges, in full detail or of "
            "events that no search sees: it need not agree exactly with that of the search."
        )
    if METHODS[record.config.method].has_leader:
        remarks.append(
            "Several searches go on beside each other. Each point is that of the one ahead, which "
            "changes where another overtakes it."
        )
    elif history[0].gradient is None:
        remarks.append(
            "Each point is the best of a population, chosen after the fact and so a little too "
            "good. The re-evaluation is not."
        )
    return Section(
        "The objective over the rounds",
        [_svg(figure, alt, "objective")],
        "The line is what the optimizer saw in each round, the band its standard error."
        + (AFTERWARDS if record.result else ""),
        remarks,
    )


def _parameter_section(record: Record) -> Section | None:
    if not record.history:
        return None
    designs = record.designs
    marks = {
        f"baseline “{name}”" if name == record.best_baseline else f"{name} design": design
        for name, design in designs.items()
        if name != "start"
    }
    space = record.problem.space
    figure = figures.parameter_figure(record.history, space, marks)
    names = ", ".join(parameter.name for parameter in space.free)
    return Section(
        "The parameters over the rounds",
        [_svg(figure, f"Values of {names} over {len(record.history)} rounds.", "parameters")],
        "Values in physical units, one line for each element. Bands: the range visited within a "
        "tenth of the rounds; a band that has become narrow tells of a search that has settled. "
        "The symbols at the right end are those of the legend.",
    )


def _budget_section(record: Record) -> Section | None:
    designs, problem = record.designs, record.problem
    if not any("cost" in r.terms for r in record.history):
        return None
    shared = budget.shared_parameters(problem.space)
    limit = _budget(record)
    name = record.best_baseline
    price = None if name is None else problem.cost(designs[name])
    baseline = None if price is None else float(price)
    drawn = budget.cost_figure(record.history, limit, baseline, wide=not shared)
    last = next(r.terms["cost"] for r in reversed(record.history) if "cost" in r.terms)
    found = [_svg(drawn, f"Cost of the design over the rounds, finally {number(last)}.", "cost")]
    for i, parameter in enumerate(shared):
        drawn = budget.share_figure(parameter, designs)
        alt = f"How start, {record.last} and baseline share {parameter.name}."
        found.append(_svg(drawn, alt, f"share{i}"))
    fixed = [p.name for p in shared if p.name not in problem.space.frozen]
    remarks = (
        [f"The total of {', '.join(fixed)} is fixed by construction: every design spends it."]
        if fixed
        else []
    )
    return Section(
        "The budget",
        found,
        "The line is the cost of the design in each round."
        + (" The bars show who gets how much of the total, before and after." if shared else ""),
        remarks,
    )


def _budget(record: Record) -> float | None:
    """The option `budget` of the use case, if it has one."""
    options = usecases.load(record.config.use_case).configure(record.config.options)
    found = getattr(options, "budget", None)
    return float(found) if isinstance(found, int | float) else None


def _health_section(record: Record) -> Section | None:
    if not record.history:
        return None
    found = health.health(record.history)
    title = "Health of the gradient"
    if found is None:
        return Section(title, remarks=[f"The method {record.config.method} uses no gradient."])
    figure = health.gradient_figure(found)
    alt = (
        f"Norm of the gradient over the rounds, from {number(found.norm[0], 3)} to "
        f"{number(found.norm[-1], 3)}, its standard error, their ratio, and the share of entries "
        "that are resolved."
    )
    return Section(
        title,
        [_svg(figure, alt, "gradient")],
        "Far from an optimum the gradient should stand well above its noise. Close to it the "
        "signal-to-noise ratio falls towards one: then more events in an evaluation help, more "
        "rounds do not.",
        health.health_words(found),
    )


def _sensitivity_section(record: Record) -> Section | None:
    found: list[Mapping[str, Any]] = (record.result or {}).get("sensitivities") or []
    figure = evaluation.sensitivity_figure(found)
    if figure is None:
        return None
    value = _value_at_optimum(record)
    known = tolerances.tolerances(record.result or {}, record.problem.space, value)
    steepest = max(found, key=lambda entry: entry["curvature"] or 0.0)["name"]
    alt = f"Gradient and curvature of the entries of theta; the largest curvature has {steepest}."
    return Section(
        "What each parameter is worth at the final design",
        [_svg(figure, alt, "sensitivity")],
        "θ are the search's own coordinates, in which every step is allowed; one unit is a "
        "sizeable change. A gradient near zero says that nothing is left to gain along an entry; "
        "a large curvature says that the entry must be built exactly. Both come from central "
        "differences with common random numbers. The tolerances translate them into units: the "
        "change of one entry alone that makes the objective 1 % worse.",
        evaluation.drawn_words(found) + tolerances.worth_words(known, value),
        tables.sensitivity_rows(known),
        ("entry of θ", "gradient", "curvature", "tolerance: 1 % worse"),
        folded=True,
    )


def _value_at_optimum(record: Record) -> float:
    """What the search would see at the final design; in an old result that of the last round."""
    value = (record.result or {}).get("objective_at_theta")
    if value is not None:
        return float(value)
    return record.history[-1].value if record.history else 0.0


def _diagnostics_section(record: Record) -> Section | None:
    plots = (record.result or {}).get("diagnostics") or []
    found = [
        _svg(
            evaluation.scatter_figure(plot),
            f"{plot['title']}: {plot['y_label']} against {plot['x_label']}, "
            f"{len(plot['x'])} points.",
            f"scatter{i}",
        )
        for i, plot in enumerate(plots)
    ]
    if not found:
        return None
    return Section(
        "Predicted against true, final design",
        found,
        "Fresh events that no round has seen, in the reference simulation. Where the truth takes "
        "few values, dark points give mean and standard deviation at each.",
    )


def _design_section(record: Record) -> Section | None:
    rows = tables.design_rows(record)
    return Section(
        "The designs in numbers",
        table=rows,
        columns=("parameter", "unit", *record.designs, "may lie in"),
        folded=len(rows) > 80,
    )


def _lineage_section(record: Record) -> Section | None:
    found = list(family(record.folder).members())
    if len(found) == 1:
        return None
    return Section(
        "Where it comes from",
        remarks=differences(record),
        table=[tables.lineage_row(depth, member, record.study) for depth, member in found],
        columns=("run", "what it did", "objective, 95 % interval", "design", "begun"),
        reading="Runs that start from the same design, and what was merged of them; a design is "
        "named by the beginning of its SHA-256. Each objective is from the fresh events of its own "
        "run: compare designs by the re-evaluation of one run.",
    )


def differences(record: Record) -> list[str]:
    """Whether a merged design is better than its parent and each part."""
    if record.result is None or not record.config.merged:
        return []
    labels = {"start": "the parent"} | {part.label: part.label for part in record.config.merged}
    unit = unit_of(record.result["objective_name"])[1]
    found = record.result["differences"]
    return [
        f"Merged minus {label}: {interval(found[name], unit)}"
        for name, label in labels.items()
        if name in found
    ]


SECTIONS: tuple[Callable[[Record], Section | None], ...] = (
    _verdict_section,
    _lineage_section,
    _scene_section,
    _objective_section,
    _parameter_section,
    _budget_section,
    _health_section,
    _sensitivity_section,
    _diagnostics_section,
    _design_section,
)
