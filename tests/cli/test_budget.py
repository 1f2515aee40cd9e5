"""The commands and options of a compute budget."""

import pytest

from detopt.runtime import load_study

RUN = ("run", "hump", "--rounds", "3", "--events", "200", "-o", "evaluation_events=400")


@pytest.fixture
def prices(here, detopt):
    path = here / "prices.yaml"
    path.write_text(detopt("budget", "prices", "--example").out)
    return path


def test_the_example_of_prices_passes_its_check(prices, detopt):
    answer = detopt("budget", "prices", prices)
    assert answer.code == 0
    assert "aws/c7i.4xlarge" in answer.out
    assert detopt("budget", "prices", prices, "--json").document["currency"] == "EUR"


def test_a_run_stops_at_its_budget_and_goes_on_with_a_larger_one(here, detopt):
    stopped = detopt(*RUN, "--max-wall-hours", "0.00003", "--out", "a")
    assert stopped.code == 3
    assert "Stopped: The compute budget" in stopped.err
    assert "detopt resume a --max-" in stopped.err
    assert "Traceback" not in stopped.err
    assert detopt("resume", "a", "--max-wall-hours", "1", "--json").code == 0
    found = detopt("budget", "a", "--json", "--ledger").document
    assert found["limits"] == {"wall_h": 1.0}
    assert found["by_kind"]["round"]["settle"] >= 3
    assert found["reserved"]["wall_h"] == 0
    assert {line["kind"] for line in found["ledger"]} >= {"reserve", "settle"}


def test_a_budget_is_shown_in_words(here, detopt, prices):
    answer = detopt(
        *RUN, "--max-money", "2", "--prices", prices, "--machine", "aws/g6.xlarge", "--out", "a"
    )
    assert answer.code == 0
    assert load_study(here / "a" / "study.yaml").compute_budget.money == 2.0
    shown = detopt("budget", "a", "--ledger").out
    for word in ("compute budget a", "EUR", "no limit", "round", "conclusion", "settle"):
        assert word in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("budget", "done"), "has no compute budget"),
        (("budget", "none"), "No run `none`"),
        (("budget", "reconcile", "done", "--provider", "other"), "No provider `other`"),
        (("budget", "reconcile", "done", "--provider", "gcp"), "gcp needs --table"),
        (("budget", "reconcile", "done", "--provider", "azure"), "azure needs --scope"),
        (("budget", "reconcile", "done", "--provider", "aws", "--tag", "x"), "KEY=VALUE"),
        ((*RUN, "--max-money", "2"), "`money` needs `prices`"),
        ((*RUN, "--max-cpu-hours", "-2"), "max-cpu-hours"),
        (("budget", "prices", "none.yaml"), "Cannot read the price file"),
    ],
)
def test_what_cannot_be_is_one_line(done, detopt, arguments, message):
    answer = detopt(*arguments)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_the_help_of_run_names_the_budget(detopt):
    shown = detopt("run", "--help").out
    for option in ("--max-cpu-hours", "--max-money", "--prices", "--machine", "Compute budget"):
        assert option in shown
