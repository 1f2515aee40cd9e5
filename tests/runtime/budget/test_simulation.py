"""Simulated studies never spend more than their budget and one running reservation."""

import importlib
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def budget(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("runtime_parts.budget")
    for name in [one for one in sys.modules if one.partition(".")[0] == "runtime_parts"]:
        del sys.modules[name]


def test_no_simulated_study_is_over_by_more_than_one_reservation(budget):
    table = budget.rows(budget.run(quick=True))
    assert [what for what, _, _, holds in table if not holds] == []
