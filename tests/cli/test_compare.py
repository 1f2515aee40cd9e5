"""The command that compares methods."""

import json

import pytest

QUICK = ("--budget", 12, "--seeds", 2, "--checkpoints", 3, "--evaluation-events", 300)


def test_a_comparison_leaves_tables_and_figures(detopt, here):
    answer = detopt("compare-methods", "hump", "-m", "adam,cma", *QUICK, "--target", -0.4)
    assert answer.code == 0
    assert "Tables and figures: comparisons/hump" in answer.out
    assert "A call is one evaluation" in answer.out
    names = {path.name for path in (here / "comparisons/hump").iterdir()}
    assert {"comparison.json", "comparison.txt", "comparison.csv", "comparison.png"} <= names
    assert "cma, seed 1: done" in answer.err


def test_a_comparison_is_one_document(detopt, here):
    methods = ("--methods", "adam:estimator=pathwise;cma", "-m", "enumeration")
    document = detopt("compare-methods", "hump", *methods, *QUICK, "--out", "x", "--json").document
    assert [row["method"] for row in document["methods"]] == [
        "adam (estimator=pathwise)", "cma", "enumeration",
    ]  # fmt: skip
    assert document["methods"][0]["objective"]["median"] < 0
    assert document["plan"]["budget"] == 12
    stored = json.loads((here / "x/comparison.json").read_text())
    assert len(stored["runs"]) == 6


def test_options_of_the_use_case_come_first(detopt):
    given = ("-o", "variant=paper", "n_samples=100")
    document = detopt("compare-methods", "hump", *given, "-m", "cma", *QUICK, "--json").document
    (row,) = document["methods"]
    assert row["n_seeds"] == 2


@pytest.mark.parametrize(("arguments", "message"), [
    (("nothing", "-m", "cma"), "No use case `nothing`"),
    (("hump", "-m", "adma"), "No method `adma`"),
    (("hump", "-m", "cma", "--budget", "0"), "`budget` must be >= 1"),
    (("hump", "-m", "cma", "--reference", "a"), "must be numbers with commas"),
    (("hump", "-m", "cma", "--reference", "1,2"), "has 2 numbers for 0 objectives"),
    (("hump", "-m", "cma", "-o", "variannt=1"), "Did you mean `variant`"),
    (("hump",), "methods"),
])  # fmt: skip
def test_mistakes_are_explained(detopt, arguments, message):
    answer = detopt("compare-methods", *arguments)
    assert answer.code == 2
    assert message in answer.err


def test_an_earlier_comparison_is_not_overwritten(detopt, here):
    (here / "x").mkdir()
    (here / "x/comparison.json").write_text("{}")
    answer = detopt("compare-methods", "hump", "-m", "cma", "--out", "x")
    assert answer.code == 2
    assert "x holds a comparison already" in answer.err
