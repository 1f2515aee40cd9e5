"""Numbers and verdicts in plain words."""

import pytest

from detopt.reports.words import duration, interval, number, unit_of, verdict


def result(final, base, *, ratio=None, cost=(6.0, 6.0), best="even"):
    def row(value):
        return {"value": value, "low": value - 0.001, "high": value + 0.001}

    ratios = None if ratio is None else dict(zip(("value", "low", "high"), ratio, strict=True))
    return {
        "best_baseline": best,
        "objective_name": "error [m]",
        "objective": {"start": row(0.2), "final": row(final), "baseline": row(base)},
        "cost": {"start": 6.0, "final": cost[0], "baseline": cost[1]},
        "ratio": ratios,
    }


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((0.016512, 0.016101, 0.016903), "0.0165 m [0.0161, 0.0169]"),
        ((123.4, 100.2, 150.7), "123 m [100, 151]"),
        ((-0.8581, -0.8612, -0.8502), "−0.858 m [−0.861, −0.850]"),
        ((1.0, 1.0, 1.0), "1 m"),
        ((None, None, None), "– m"),
        ((3e-9, 2e-9, 4e-9), "3e-9 m [2e-9, 4e-9]"),
    ],
)
def test_an_interval_has_as_many_digits_as_it_deserves(data, expected):
    text = interval(dict(zip(("value", "low", "high"), data, strict=True)), "m")
    assert text.replace("e−", "e-") == expected


def test_large_numbers_are_written_out():
    assert number(21657.3) == "21660"
    assert number(2.5e9) == "2.5e9"


def test_a_missing_number_is_a_dash():
    assert number(None) == "–"
    assert number(float("nan")) == "–"


def test_the_unit_is_taken_from_the_name():
    assert unit_of("error of the height [m]") == ("error of the height", "m")
    assert unit_of("loss") == ("loss", "")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(12.34, "12.3 s"), (600.0, "10 min"), (9000.0, "2.5 h")]
)
def test_times_have_a_fitting_unit(seconds, expected):
    assert duration(seconds) == expected


def test_a_better_design_is_called_better_at_equal_cost():
    found = verdict(result(0.0165, 0.0194, ratio=(0.85, 0.83, 0.87)), 40, "finished")
    assert found.kind == "better"
    assert "best baseline “even” at equal cost: ratio 0.850 [0.830, 0.870]." in found.sentence


def test_a_worse_design_is_called_worse():
    found = verdict(result(0.03, 0.02, ratio=(1.5, 1.4, 1.6)), 40, "finished")
    assert found.kind == "worse"
    assert found.sentence.endswith("It is worse.")


def test_overlapping_intervals_are_no_success():
    found = verdict(result(0.0195, 0.0196, ratio=(0.99, 0.95, 1.03)), 40, "finished")
    assert found.kind == "undecided"
    assert "neither is better" in found.sentence


def test_unequal_costs_are_both_named():
    found = verdict(result(0.01, 0.02, ratio=(0.5, 0.4, 0.6), cost=(5.0, 6.0)), 40, "finished")
    assert "at a cost of 5 against 6" in found.sentence
    assert "equal cost" not in found.sentence


def test_without_a_baseline_the_start_is_compared():
    found = verdict(result(0.1, 0.2, ratio=(0.5, 0.4, 0.6), best=None), 40, "finished")
    assert "of the start" in found.sentence


def test_ratios_of_negative_objectives_are_not_used():
    found = verdict(result(-0.85, -0.5, ratio=(1.7, 1.6, 1.8)), 40, "finished")
    assert found.kind == "better"
    assert "ratio" not in found.sentence


def test_an_unfinished_run_has_no_verdict():
    found = verdict(None, 12, "interrupted")
    assert found.kind == "unfinished"
    assert "12 rounds" in found.sentence


def test_a_design_whose_simulation_failed_has_no_verdict():
    data = result(0.02, 0.03) | {"failures": {"final": "the magnet quenched"}}
    said = verdict(data, 10, "finished")
    assert said.kind == "undecided"
    assert said.sentence.endswith("failed in the re-evaluation: the magnet quenched")


def test_a_design_that_breaks_a_constraint_is_not_called_better():
    data = result(0.0165, 0.0194, ratio=(0.85, 0.83, 0.87))
    limits = {"weight": 13.25, "dose": -1.0, "rate": None}
    said = verdict(data | {"constraints": {"final": limits}}, 40, "finished")
    assert said.kind == "forbidden"
    assert "breaks the constraint “weight” by 13.25 and the constraint “rate”" in said.sentence
    assert "dose" not in said.sentence


def test_a_constraint_that_events_estimate_is_said_with_its_interval():
    data = result(0.0165, 0.0194, ratio=(0.85, 0.83, 0.87))
    ends = {"constraint_intervals": {"final": {"rate": [-0.1, 0.25]}}}
    broken = verdict(data | ends | {"constraints": {"final": {"rate": 0.075}}}, 40, "finished")
    assert "breaks the constraint “rate” by 0.075 [-0.1, 0.25]" in broken.sentence
    kept = verdict(data | ends | {"constraints": {"final": {"rate": -0.01}}}, 40, "finished")
    assert kept.kind == "better"
    assert "leave open whether it keeps the constraint “rate”" in kept.sentence
    ends["constraint_intervals"]["final"]["rate"] = [-0.1, -0.005]
    sure = verdict(data | ends | {"constraints": {"final": {"rate": -0.01}}}, 40, "finished")
    assert "rate" not in sure.sentence


def test_a_comparison_that_breaks_a_constraint_is_named():
    data = result(0.03, 0.02, ratio=(1.5, 1.4, 1.6))
    limits = {"final": {"weight": -1.0}, "even": {"weight": 2.0}}
    said = verdict(data | {"constraints": limits}, 40, "finished")
    assert "baseline “even” breaks the constraint “weight” by 2" in said.sentence
