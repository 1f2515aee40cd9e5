"""Figures hold the data that they claim to show."""

import dataclasses
import math

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from detopt.design import Categorical, Continuous, DesignSpace, Interval
from detopt.pipeline import Box, FunctionProblem, Scene
from detopt.reports import curves, scene_figure
from detopt.reports.budget import share_figure, shared_parameters
from detopt.reports.evaluation import (
    drawn_words,
    interval_figure,
    scatter_figure,
    sensitivity_figure,
)
from detopt.reports.figures import _spread, objective_figure
from detopt.reports.health import health, health_words
from detopt.reports.record import tracks
from detopt.reports.scene import _back_to_front
from detopt.reports.surrogate_figure import _histogram
from detopt.reports.tables import evaluation_rows
from detopt.reports.tolerances import tolerances, worth_words
from detopt.runtime import Round


def make_rounds(space, n=12, gradient=True):
    start = space.theta(space.start)
    ones = torch.ones_like(start)
    return [
        Round(
            number=i,
            theta=start + 0.1 * i,
            value=1 / (i + 1),
            std_error=0.01,
            gradient=3 * ones if gradient else None,
            gradient_std_error=ones if gradient else None,
            terms={"cost": 6.0},
            n_evaluations=1,
            cpu_s=0.1,
            wall_s=0.1,
        )
        for i in range(n)
    ]


@pytest.fixture
def space():
    return DesignSpace(
        [
            Continuous("gap", 0.5, Interval(0.0, 1.0), "m"),
            Continuous("height", [[0.1, 0.2], [0.3, 0.4]], Interval(0.0, 1.0), "m"),
        ]
    )


def problem(space):
    return FunctionProblem(space, lambda design, n, rng: torch.zeros(n))


def box(center=(0.0, 0.0, 0.0), size=(1.0, 1.0, 1.0), label="volume"):
    return Box(center, size, label)


def line_data(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return [line.get_ydata() for line in axes.lines]


def test_curves_show_the_objective_of_every_round(space):
    rounds = make_rounds(space)
    (shown,) = line_data(curves(rounds, problem(space)), "Objective")
    np.testing.assert_allclose(shown, [record.value for record in rounds])


def test_curves_show_parameters_in_physical_units(space):
    rounds = make_rounds(space)
    (shown,) = line_data(curves(rounds, problem(space)), "gap [m]")
    expected = [float(space.design(record.theta)["gap"]) for record in rounds]
    np.testing.assert_allclose(shown, expected)


def test_curves_of_no_round_are_empty(space):
    assert curves([], problem(space)).axes[0].get_title(loc="left") == "Objective"


def test_curves_leave_the_settings_of_the_user_alone(space):
    with mpl.rc_context({"font.size": 17.0}):
        curves(make_rounds(space), problem(space))
        assert mpl.rcParams["font.size"] == 17.0


def test_elements_of_arrays_are_named_by_their_indices(space):
    assert tracks(make_rounds(space), space)[1].names[-1] == "height[1, 1]"


def test_categories_are_named_on_their_axis():
    space = DesignSpace([Categorical("metal", ("iron", "lead"), "iron")])
    figure = curves(make_rounds(space), problem(space))
    assert [tick.get_text() for tick in figure.axes[1].get_yticklabels()] == ["iron", "lead"]


def test_health_is_norm_noise_and_share(space):
    found = health(make_rounds(space))
    assert found is not None
    np.testing.assert_allclose(found.norm / found.noise, 3.0)
    np.testing.assert_allclose(found.resolved, 1.0)
    assert "3" in health_words(found)[0]


def test_methods_without_gradients_have_no_health(space):
    assert health(make_rounds(space, gradient=False)) is None


def test_an_unknown_standard_error_is_said_to_be_unknown(space):
    rounds = make_rounds(space)
    for record in rounds:
        record.gradient_std_error.fill_(math.nan)
    assert "not known" in health_words(health(rounds))[0]


def test_names_of_lines_do_not_overlap():
    places = _spread([0.5, 0.5, 0.51, 0.1], gap=0.08)
    assert np.diff(sorted(places)).min() > 0.079


def test_a_scene_is_drawn_in_space_and_from_two_sides():
    one = Scene([box((0.0, 0.0, 1.0), (1.0, 1.0, 0.001), "panel"), box()])
    assert len(scene_figure(one).axes) == 3
    figure = scene_figure({"start": one, "final": one})
    assert len(figure.axes) == 6
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {"panel", "volume"}


def test_scenes_side_by_side_share_their_scale():
    small, large = (Scene([box(size=(s, s, s))]) for s in (1.0, 4.0))
    figure = scene_figure({"small": small, "large": large})
    assert figure.axes[1].get_xlim() == figure.axes[4].get_xlim()


def test_an_empty_scene_is_drawn():
    assert len(scene_figure(Scene([])).axes) == 3


def test_boxes_are_painted_from_the_bottom_up_and_from_the_inside_out():
    low, high = (box((0.0, 0.0, z), (1.0, 1.0, 0.01)) for z in (-1.0, 1.0))
    inner, outer = (box(size=(s, s, s)) for s in (0.5, 1.0))
    assert _back_to_front([high, outer, low, inner]) == [low, inner, outer, high]


def test_the_scatter_of_few_true_values_shows_their_means():
    plot = {
        "x": [1.0] * 10 + [2.0] * 10,
        "y": [1.5] * 10 + [2.0, 3.0] * 5,
        "x_label": "true [m]",
        "y_label": "found [m]",
        "title": "Heights",
        "diagonal": True,
    }
    figure = scatter_figure(plot)
    means = figure.axes[0].containers[0].lines[0].get_ydata()
    assert [float(mean) for mean in means] == [1.5, 2.5]


def test_each_design_has_its_interval():
    rows = {"final": {"value": 1.0, "low": 0.9, "high": 1.1}}
    rows["even"] = {"value": 2.0, "low": 1.9, "high": 2.1}
    axes = interval_figure(rows, "error [m]").axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["final", "even"]


def test_sensitivities_without_numbers_have_no_figure():
    assert sensitivity_figure([]) is None
    assert sensitivity_figure([{"name": "a", "gradient": None, "curvature": 1.0}]) is None


def test_of_many_sensitivities_the_largest_are_shown():
    entries = [{"name": f"a[{i}]", "gradient": 0.0, "curvature": float(i)} for i in range(100)]
    axes = sensitivity_figure(entries).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()][-1] == "a[99]"
    assert len(axes.get_yticks()) == 40


def test_a_tolerance_is_where_the_parabola_has_risen_by_one_percent():
    space = DesignSpace([Continuous("gap", 0.5, Interval(0.0, 1.0), "m")])
    entry = {"name": "gap", "gradient": 0.0, "curvature": 2.0}
    (found,) = tolerances({"theta": [0.0], "sensitivities": [entry]}, space, value=4.0)
    step = math.sqrt(2 * 0.04 / 2.0)  # curvature * step^2 / 2 = 0.01 * 4
    assert found.change == pytest.approx(1 / (1 + math.exp(-step)) - 0.5)
    assert found.words.endswith(" m")


@pytest.mark.parametrize(("gradient", "side"), [(1.0, 1), (-1.0, -1)])
def test_a_tolerance_is_that_of_the_side_that_makes_the_design_worse(gradient, side):
    space = DesignSpace([Continuous("gap", 0.5, Interval(0.0, 1.0), "m")])
    entry = {"name": "gap", "gradient": gradient, "curvature": 0.0}
    theta = 3.0  # close to the upper bound: a step down moves the gap farther than one up
    (found,) = tolerances({"theta": [theta], "sensitivities": [entry]}, space, value=100.0)
    gaps = space.design(torch.tensor([[theta], [theta + side]], dtype=torch.float64))["gap"]
    assert found.change == pytest.approx(float((gaps[1] - gaps[0]).abs()))


def test_entries_along_which_the_design_is_at_no_minimum_are_counted():
    space = DesignSpace([Continuous("gap", [0.4, 0.6], Interval(0.0, 1.0), "m")])
    entries = [
        {"name": f"gap[{i}]", "gradient": 0.1, "curvature": c} for i, c in enumerate((-1.0, 2.0))
    ]
    found = tolerances({"theta": [0.0, 0.0], "sensitivities": entries}, space, value=1.0)
    assert any(
        "1 of 2 entries have a negative curvature" in line for line in worth_words(found, 1.0)
    )


def test_entries_that_are_not_drawn_are_said():
    entries = [{"name": f"a[{i}]", "gradient": 0.0, "curvature": float(i)} for i in range(100)]
    assert "40 of 100" in drawn_words(entries)[0]
    assert drawn_words(entries[:40]) == []


def test_rounds_without_a_known_error_do_not_hide_the_others(space):
    rounds = make_rounds(space)
    unknown = torch.full_like(rounds[0].gradient, math.nan)
    late = [dataclasses.replace(one, gradient_std_error=unknown) for one in rounds[6:]]
    (words,) = health_words(health([*rounds[:6], *late]))
    assert "3 in the first quarter of the rounds, 3 in the last" in words


def test_a_gradient_without_noise_is_said_to_have_none(space):
    none = torch.zeros_like(make_rounds(space)[0].gradient)
    exact = [dataclasses.replace(one, gradient_std_error=none) for one in make_rounds(space)]
    assert health_words(health(exact)) == [
        "The gradient has no noise: every chunk of events gave the same."
    ]


def test_an_interval_that_reaches_below_zero_is_drawn_on_a_linear_axis():
    rows = {"final": {"value": 0.1, "low": -0.2, "high": 0.4}}
    rows["even"] = {"value": 2.0, "low": 1.9, "high": 2.1}
    assert interval_figure(rows, "error [m]").axes[0].get_xscale() == "linear"


def test_a_verdict_that_reaches_below_zero_is_drawn_whole(space):
    final = {"value": 0.1, "low": -0.2, "high": 0.4}
    result = {"objective": {"final": final, "baseline": None}}
    axes = objective_figure(make_rounds(space), "error [m]", result).axes[0]
    assert axes.get_ylim()[0] < final["low"]


@pytest.mark.parametrize(("values", "share"), [((1.0, 2.0), "2.00"), ((-2.0, -1.0), "–")])
def test_a_ratio_is_only_that_of_positive_objectives(values, share):
    final, start = ({"value": v, "low": v - 0.1, "high": v + 0.1} for v in values)
    result = {
        "objective": {"start": start, "final": final},
        "cost": {"start": None, "final": None},
        "objective_name": "loss",
    }
    assert evaluation_rows(result)[0].cells[1] == share


def test_the_difference_from_the_truth_has_its_unit():
    plot = {"x": [1.0, 2.0], "y": [1.3, 1.6], "x_label": "true [m]", "y_label": "found [m]"}
    right = scatter_figure({**plot, "title": "Heights", "diagonal": True}).axes[1]
    assert right.get_ylabel() == "difference [m]"
    assert "rms 0.354 m" in right.get_title(loc="left")


def test_rows_of_a_surrogate_outside_the_histogram_are_not_made_up_for():
    real = torch.linspace(0.0, 1.0, 1000, dtype=torch.float64)
    drawn = torch.cat([real[::2], torch.full((500,), 9.0, dtype=torch.float64)])
    axes = Figure().add_subplot()
    _histogram(axes, real, drawn, "energy", 0.5)
    shares = [sum(values) for values in seen_histograms(axes)]
    assert shares == pytest.approx([1.0, 0.5], abs=0.01)


def seen_histograms(axes):
    """Heights of the bars of the simulator, and of the outline of the surrogate."""
    bars = [one.get_height() for one in axes.patches[:-1]]
    outline = axes.patches[-1].get_xy()[:, 1]
    return bars, outline[1 : 2 * len(bars) + 1 : 2]


def test_an_entry_that_nothing_depends_on_has_no_tolerance():
    space = DesignSpace([Continuous("gap", 0.5, Interval(0.0, 1.0), "m")])
    entry = {"name": "gap", "gradient": 0.0, "curvature": 0.0}
    (found,) = tolerances({"theta": [0.0], "sensitivities": [entry]}, space, value=4.0)
    assert found.change is None


def test_shares_of_each_design_are_bars(study):
    (parameter,) = shared_parameters(study.problem.space)
    figure = share_figure(parameter, study.designs)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights[:2] == [0.5, 2.5]
    assert sum(heights) == pytest.approx(3.0 * len(study.designs))
