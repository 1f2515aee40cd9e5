"""Comparisons: equal numbers whoever computes them, and what they say together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import CheckpointError, ConfigError, NotFoundError
from detopt.runtime.comparison import compare_methods
from detopt.runtime.comparison_result import Comparison, Spread, load_comparison, without_dominated
from detopt.runtime.contenders import Contender, read_contenders
from detopt.runtime.race import Checkpoint, Plan, Run

PLAN = Plan(budget=8, n_checkpoints=2, evaluation_events=60, target=0.6)


def compared(case, methods="adam,cma:population=4", **settings):
    return compare_methods(case, read_contenders([methods]), PLAN, **{"seeds": 2, **settings})


def numbers(found):
    """Everything but times."""
    return [
        (
            run.method,
            run.seed,
            run.calls,
            run.to_target,
            run.design,
            [(one.calls, one.value, one.violation, one.front) for one in run.checkpoints],
        )
        for run in found.runs
    ]


def by_hand(*fronts, reference=(1.0, 1.0)):
    """Methods `a`, `b`, ... with one seed and a front each."""
    names = tuple("abcdef"[: len(fronts)])
    runs = tuple(
        Run(name, 0, checkpoints=[Checkpoint(0.0, 0.0, 0.0, 1.0, None, front)] * 2)
        for name, front in zip(names, fronts, strict=True)
    )
    plan = Plan(budget=1, n_checkpoints=1)
    return Comparison("case", {}, "sum", ("x", "y"), plan, names, runs, reference)


def test_every_method_runs_with_every_seed(case):
    found = compared(case)
    assert [(run.method, run.seed) for run in found.runs] == [
        ("adam", 0), ("adam", 1), ("cma (population=4)", 0), ("cma (population=4)", 1),
    ]  # fmt: skip
    assert all(run.calls == 8 for run in found.runs)
    assert len({run.checkpoints[0].value for run in found.runs}) == 1  # the same start and judge


def test_several_workers_give_the_same_numbers(case):
    assert numbers(compared(case, workers=2)) == numbers(compared(case))


def test_an_interrupted_comparison_goes_on(case, tmp_path):
    def stop(method, seed, calls):
        if (method, seed) == ("cma (population=4)", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compared(case, folder=tmp_path, listener=stop)
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"key": "cut sh')
    heard = []
    found = compared(case, folder=tmp_path, listener=lambda *news: heard.append(news[:2]))
    assert set(heard) == {("cma (population=4)", 1)}
    assert numbers(found) == numbers(compared(case))
    assert len(compared(case, "adam", folder=tmp_path, seeds=1).runs) == 1


def test_another_plan_makes_its_own_runs(case, tmp_path):
    compared(case, "cma:population=4", seeds=1, folder=tmp_path)
    other = compare_methods(
        case, read_contenders(["cma:population=4"]), Plan(4, 2, 60), seeds=1, folder=tmp_path
    )
    assert other.runs[0].calls == 4


def test_options_of_the_use_case_hold(case):
    start = compared(case, "cma", seeds=1, options={"gap": 0.6}).runs[0].checkpoints[0].value
    assert start < compared(case, "cma", seeds=1).runs[0].checkpoints[0].value


def test_a_method_that_does_not_fit_is_left_out_with_its_reason(case):
    found = compared(case, "adam,cma", options={"discrete": True})
    left, right = found.summaries()
    assert "cannot choose the discrete parameters layers" in left.reason
    assert (left.n_seeds, right.n_seeds) == (0, 2)
    assert math.isnan(left.objective.median)


def test_a_wrong_option_of_a_method_is_a_reason(case):
    (summary,) = compared(case, "cma:stride=2", seeds=1).summaries()
    assert "does not take these options: stride" in summary.reason


def test_a_comparison_can_be_read_again(case, tmp_path):
    found = compared(case, "cma", seeds=1)
    assert found.save(tmp_path / "deep" / "folder").name == "comparison.json"
    assert load_comparison(tmp_path / "deep" / "folder") == found


@pytest.mark.parametrize("content", ["no json", "[]", '{"version": "1"}'])
def test_a_damaged_comparison_is_refused(tmp_path, content):
    (tmp_path / "comparison.json").write_text(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_comparison(tmp_path)


def test_a_missing_comparison_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no comparison"):
        load_comparison(tmp_path)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9))
def test_a_spread_is_made_of_quantiles(values):
    spread = Spread.of(values)
    expected = np.quantile(values, [0.5, 0.16, 0.84])
    np.testing.assert_allclose([spread.median, spread.low, spread.high], expected, atol=1e-9)


def test_a_spread_of_seeds_that_missed_is_infinite_where_they_are():
    spread = Spread.of([3.0, 1.0, 2.0, math.inf, 4.0])
    assert (spread.median, spread.high) == (3.0, math.inf)
    assert Spread.of([1.0, math.inf, math.inf]).median == math.inf


def test_a_failed_verdict_is_not_hidden_by_the_others():
    assert math.isnan(Spread.of([1.0, math.nan, 2.0]).median)


def test_hypervolumes_share_one_reference():
    found = by_hand([[0.5, 0.5]], [[0.25, 0.75], [0.75, 0.25]], [])
    assert [found.volumes(name)[-1].median for name in "abc"] == pytest.approx([0.25, 0.3125, 0.0])


def test_the_best_front_of_each_method_has_no_dominated_points():
    found = by_hand([[0.5, 0.5], [0.6, 0.6]], [])
    assert [(one.method, one.points) for one in found.fronts()] == [("a", [[0.5, 0.5]]), ("b", [])]
    assert without_dominated([]) == []


def test_last_designs_that_break_constraints_are_counted():
    ends = [Checkpoint(0.0, 0.0, 0.0, value, worst) for value, worst in
            [(1.0, None), (1.0, -0.1), (1.0, 0.1), (math.nan, None)]]  # fmt: skip
    runs = tuple(Run("a", i, checkpoints=[end]) for i, end in enumerate(ends))
    found = Comparison("case", {}, "value", (), Plan(), ("a",), runs)
    assert found.summaries()[0].n_violated == 2


@pytest.mark.parametrize(("settings", "message"), [
    ({"seeds": 0}, "`seeds` must be >= 1"),
    ({"workers": 0}, "`workers` must be >= 1"),
    ({"reference": [1.0]}, "has 1 numbers for 0 objectives"),
    ({"options": {"gpa": 1}}, "Did you mean `gap`"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(case, settings, message):
    with pytest.raises(ConfigError, match=message):
        compared(case, **settings)


def test_unknown_methods_and_problems_are_refused(case):
    with pytest.raises(ConfigError, match="No method `adma`"):
        compare_methods(case, [Contender("adma")], PLAN)
    with pytest.raises(NotFoundError, match="No use case"):
        compared("nothing")
