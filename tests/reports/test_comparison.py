"""Tables and figures of a comparison."""

import csv
import math

import pytest

from detopt.reports.comparison import comparison_figure, pareto_figure, write_comparison
from detopt.reports.comparison_tables import columns, csv_text, note, remarks, rows, text
from detopt.runtime.comparison_result import Comparison
from detopt.runtime.race import Checkpoint, Plan, Run

BUDGET, PARTS = 40, 4


def run(method, seed, factor, n_goals=0, target=True):
    goals = [[0.2 * k, factor / k] for k in (1, 2, 3)] if n_goals == 2 else []
    goals = [[*goal[:1], factor, 1 / factor] for goal in [[1.0], [2.0]]] if n_goals == 3 else goals
    checkpoints = [
        Checkpoint(10.0 * i, 10.0 * i, 0.1 * i * factor, 5.0 * factor**-i, None, goals if i else [])
        for i in range(PARTS + 1)
    ]
    reached = 20.0 if target and factor > 2 else None
    return Run(method, seed, 40.0, 0.4 * factor, 0.1, 0, reached, checkpoints, {"x": 1.0})


def comparison(n_goals=0, target=None, extra=()):
    runs = [
        run(m, s, f + 0.1 * s, n_goals) for m, f in (("adam", 1.5), ("cma", 2.5)) for s in (0, 1)
    ]
    skipped = Run("grid", 0, reason="The grid has too many points.")
    return Comparison(
        "case", {}, "error [mm]", tuple(f"goal {i}" for i in range(n_goals)),
        Plan(BUDGET, PARTS, 100, target), ("adam", "cma", "grid"), (*runs, skipped, *extra),
        (3.0,) * n_goals,
    )  # fmt: skip


def test_the_table_has_the_columns_that_it_needs():
    assert columns(comparison()) == ("method", "objective", "CPU", "of it method")
    assert "calls to target" in columns(comparison(target=1.0))
    assert "hypervolume" in columns(comparison(n_goals=2))
    assert all(len(row) == 5 for row in rows(comparison(target=1.0)))


def test_a_row_says_median_and_interval():
    adam, cma, grid = rows(comparison(target=1.0))
    assert adam[2] == "not reached (0 of 2)"
    assert cma[2] == "20 [20, 20] (2 of 2)"
    middle = (5 * 2.5**-4 + 5 * 2.6**-4) / 2
    assert cma[1].startswith(f"{middle:.4g} [")
    assert grid == ("grid", "–", "–", "–", "–")


def test_remarks_say_what_went_wrong():
    early = Run(
        "adam", 7, 10.0, 1.0, 0.1, 3, None, comparison().runs[0].checkpoints, {}, "No room."
    )
    said = remarks(comparison(extra=[early]))
    assert said == [
        "adam: 3 failed evaluations in all; ended after 10 calls; stopped: No room.",
        "grid: did not run. The grid has too many points.",
    ]


def test_the_note_says_what_a_call_is():
    said = note(comparison(target=1.0))
    assert "A call is one evaluation of one design" in said
    assert "error [mm], minimized. 40 calls for each method and seed, 2 seeds" in said
    assert "Target: objective <= 1." in said


def test_the_text_is_a_table_with_note_and_remarks():
    lines = text(comparison()).splitlines()
    assert lines[0] == note(comparison())
    assert [line.split()[0] for line in lines[2:6]] == ["method", "adam", "cma", "grid"]
    assert lines[-1].startswith("grid: did not run")


def test_the_spreadsheet_has_a_line_for_each_checkpoint():
    found = comparison(n_goals=2)
    lines = list(csv.DictReader(csv_text(found).splitlines()))
    assert len(lines) == 4 * (PARTS + 1)
    assert float(lines[1]["value"]) == pytest.approx(5.0 / 1.5)
    assert (lines[0]["hypervolume"], lines[1]["violation"]) == ("0.0", "")


@pytest.mark.parametrize(("target", "n_panels"), [(None, 2), (1.0, 3)])
def test_the_figure_has_medians_and_bands_of_methods_that_ran(target, n_panels):
    figure = comparison_figure(comparison(target=target))
    assert len(figure.axes) == n_panels
    calls, cpu = figure.axes[:2]
    labels = calls.get_legend_handles_labels()[1]
    assert labels == ["adam", "cma"]
    line = calls.get_lines()[0]
    assert line.get_xdata().tolist() == [0, 10, 20, 30, 40]
    assert line.get_ydata()[-1] == pytest.approx((5 * 1.5**-4 + 5 * 1.6**-4) / 2)
    assert cpu.get_lines()[0].get_xdata()[0] > 0
    assert calls.get_ylabel() == "error [mm]"


def test_targets_are_shown_seed_by_seed():
    panel = comparison_figure(comparison(target=1.0)).axes[2]
    at = [line.get_xdata()[0] for line in panel.get_lines() if line.get_marker() in {"o", ">"}]
    assert at == [pytest.approx(1.06 * BUDGET)] * 2 + [20.0] * 2
    assert [label.get_text() for label in panel.get_yticklabels()] == ["adam", "cma"]


def test_a_target_reached_at_the_start_is_drawn_inside_its_panel():
    """A symbol at no call lies off the left edge."""
    panel = comparison_figure(comparison(target=10.0)).axes[2]
    assert panel.get_xlim()[0] < 0 < BUDGET < panel.get_xlim()[1]


@pytest.mark.parametrize(("n_goals", "n_panels"), [(2, 2), (3, 4)])
def test_fronts_are_shown_for_each_pair_of_objectives(n_goals, n_panels):
    figure = pareto_figure(comparison(n_goals=n_goals))
    assert len(figure.axes) == n_panels
    assert figure.axes[0].get_xlabel() == "goal 0"
    assert figure.axes[-1].get_ylabel() == "hypervolume"


@pytest.mark.parametrize(
    ("n_goals", "figures"), [(0, {"comparison"}), (2, {"comparison", "pareto"})]
)
def test_everything_is_written(tmp_path, n_goals, figures):
    written = write_comparison(comparison(n_goals=n_goals), tmp_path / "out")
    assert all(path.stat().st_size > 0 for path in written)
    assert {path.name for path in written} == {
        "comparison.json", "comparison.txt", "comparison.csv",
        *(f"{name}.{suffix}" for name in figures for suffix in ("png", "svg")),
    }  # fmt: skip


def test_without_any_run_there_is_no_figure(tmp_path):
    found = comparison()
    nothing = Comparison("case", {}, "error", (), found.plan, ("grid",), (found.runs[-1],))
    names = {path.name for path in write_comparison(nothing, tmp_path)}
    assert names == {"comparison.json", "comparison.txt", "comparison.csv"}
    assert math.isnan(nothing.summaries()[0].objective.median)
