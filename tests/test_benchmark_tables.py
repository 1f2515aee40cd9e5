"""Tables of benchmarks: parts that were measured replace their own rows and no others."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
ROW = ("what", "<= 2", "1", True)


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import tables

    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    yield tables.Benchmark("some", "Some.", {"one": "first", "two": "second"}, "# Some\n")
    for name in ("tables", "some_parts", "some_parts.first"):
        sys.modules.pop(name, None)


def part_of(tmp_path, holds):
    folder = tmp_path / "some_parts"
    folder.mkdir()
    row = ("what", "<= 2", "1", holds)
    (folder / "first.py").write_text(f"run = bool\n\ndef rows(result):\n    return [{row}]\n")


def test_parts_are_merged_in_their_order(benchmark, tmp_path):
    benchmark.store({"two": [ROW]})
    benchmark.store({"one": [("other", "-", "2", False)]})
    stored = json.loads((tmp_path / "some.json").read_text())
    assert stored == {"one": [["other", "-", "2", False]], "two": [list(ROW)]}
    assert list(stored) == ["one", "two"]


def test_what_another_run_stored_meanwhile_stays(benchmark, tmp_path):
    benchmark.store({"two": [ROW]})
    benchmark.store({"one": [ROW]})
    benchmark.store({"one": [("again", "<= 2", "3", False)]})
    text = (tmp_path / "some.md").read_text()
    assert text == (
        "# Some\n\n## one\n\n| what | must be | measured | holds |\n|---|---|---|---|\n"
        "| again | <= 2 | 3 | no |\n\n## two\n\n| what | must be | measured | holds |\n"
        "|---|---|---|---|\n| what | <= 2 | 1 | yes |\n"
    )


@pytest.mark.parametrize("holds", [True, False])
def test_the_exit_status_says_whether_all_rows_hold(benchmark, tmp_path, monkeypatch, holds):
    part_of(tmp_path, holds)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["some.py", "--only", "one"])
    assert benchmark.main() == int(not holds)
    assert list(json.loads((tmp_path / "some.json").read_text())) == ["one"]


def test_a_quick_run_stores_nothing(benchmark, tmp_path, monkeypatch):
    part_of(tmp_path, True)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["some.py", "--only", "one", "--quick"])
    assert benchmark.main() == 0
    assert not (tmp_path / "some.json").exists()


def test_an_unknown_part_is_refused(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["some.py", "--only", "three"])
    with pytest.raises(SystemExit, match="2"):
        benchmark.main()
    assert "invalid choice: 'three'" in capsys.readouterr().err
