"""The page of a run: self-contained, complete, and honest."""

import html
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from detopt.errors import CheckpointError
from detopt.reports import write_report
from detopt.reports.words import interval, number
from detopt.runtime import load_result


@pytest.fixture(scope="session")
def page(study) -> str:
    return write_report(study.store.folder).read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def bare_page(bare) -> str:
    return write_report(bare.store.folder).read_text(encoding="utf-8")


def drawings(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)


def test_the_report_lies_in_the_run_folder(study, page):
    assert (study.store.folder / "report.html").is_file()
    assert not list(study.store.folder.glob("*.part"))


def test_the_report_needs_nothing_from_outside(page):
    places = re.findall(r'(?:src|href)\s*=\s*["\']?([^"\'\s>]+)|url\(["\']?([^)]+)', page)
    outside = [a or b for a, b in places if not (a or b).startswith(("#", "data:"))]
    assert outside == []
    assert "<script" not in page
    assert "@import" not in page


def test_every_reference_within_a_drawing_has_its_target(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    targets = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {a or b for a, b in targets} <= set(ids)


def test_ids_of_different_drawings_differ(page):
    owners = {}
    for i, drawing in enumerate(drawings(page)):
        for name in re.findall(r'\bid="([^"]+)"', drawing):
            assert owners.setdefault(name, i) == i


def test_drawings_are_well_formed_and_described(page):
    assert len(drawings(page)) >= 8
    for drawing in drawings(page):
        root = ET.fromstring(drawing)
        assert root.attrib["role"] == "img"
        assert len(root.attrib["aria-label"]) > 20


class TagChecker(HTMLParser):
    def __init__(self):
        super().__init__()
        self.stack = []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "br"}:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_tags_are_balanced(page):
    checker = TagChecker()
    checker.feed(page)
    assert checker.stack == []


def test_the_page_is_small(page):
    assert len(page.encode()) < 3e6


def test_every_design_parameter_appears(page):
    for name in ("gap", "share[0]", "share[1]"):
        assert f"<td>{name}" in page
    assert "Distance" in page
    assert "currency" in page


def test_the_numbers_of_the_result_appear(study, page):
    result = load_result(study.store.folder)
    for name in ("start", "final", "baseline"):
        assert interval(result["objective"][name], "m") in page
        assert number(result["cost"][name]) in page
    assert interval(result["ratio"]) in page


def test_the_page_says_how_to_run_the_study_again(page):
    assert "detopt run run/study.yaml" in page


def test_the_study_is_named_as_seen_from_the_working_folder(study, tmp_path, monkeypatch):
    shutil.copytree(study.store.folder, tmp_path / "runs" / "first one")
    monkeypatch.chdir(tmp_path)
    page = write_report(Path("runs/first one")).read_text(encoding="utf-8")
    (command,) = re.findall(r"<code>(.*?)</code>", page)
    (*_, file) = shlex.split(html.unescape(command))
    assert Path(file).is_file()


def test_times_say_what_they_cover(page):
    """The wall time holds the method, the CPU time only what was simulated."""
    assert re.search(r"<dt>Wall time</dt><dd>[^<]*\(optimization\)", page)
    assert re.search(r"<dt>CPU time</dt><dd>[^<]*\(evaluations\)", page)


def test_an_unfinished_run_names_no_best_baseline(new_study, tmp_path):
    study = new_study(tmp_path / "run")

    def stop(phase, done, total, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    page = write_report(study.store.folder).read_text(encoding="utf-8")
    assert "The budget" in page
    assert "best baseline" not in re.sub(r"<footer>.*", "", page, flags=re.DOTALL).lower()


def test_texts_of_the_user_are_escaped(page):
    assert "&lt;each &amp; both&gt;" in page
    assert "<each" not in page


@pytest.mark.parametrize(
    "heading",
    [
        "Independent re-evaluation",
        "The instrument, before and after",
        "The objective over the rounds",
        "The parameters over the rounds",
        "The budget",
        "Health of the gradient",
        "What each parameter is worth at the final design",
        "Predicted against true, final design",
        "The designs in numbers",
    ],
)
def test_a_full_report_has_the_section(page, heading):
    assert f"<h2>{heading}</h2>" in page


def test_a_report_is_written_again_with_the_same_bytes(study, page):
    assert write_report(study.store.folder).read_text(encoding="utf-8") == page


def test_a_problem_without_scene_and_cost_has_a_shorter_report(bare_page):
    assert "<h2>The instrument" not in bare_page
    assert "<h2>The budget" not in bare_page
    assert "<h2>The designs in numbers</h2>" in bare_page


def test_a_method_without_gradient_says_so(bare_page):
    assert "The method cma uses no gradient" in bare_page


def test_an_unfinished_run_shows_its_rounds_and_gives_no_verdict(new_study, tmp_path):
    study = new_study(tmp_path / "run")

    def stop(stage, done, total, record):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    page = write_report(study.store.folder).read_text(encoding="utf-8")
    assert "not finished" in page
    assert "<h2>The objective over the rounds</h2>" in page
    assert "<h2>Independent re-evaluation</h2>" not in page
    assert "latest" in page


def test_a_run_without_a_single_round_has_a_report(new_study, tmp_path):
    study = new_study(tmp_path / "run")
    page = write_report(study.store.folder).read_text(encoding="utf-8")
    assert "0 rounds so far" in page


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        write_report(tmp_path)


def test_a_damaged_result_is_refused_and_the_old_report_stays(new_study, tmp_path):
    study = new_study(tmp_path / "run")
    before = write_report(study.store.folder).read_text(encoding="utf-8")
    (study.store.folder / "result.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        write_report(study.store.folder)
    assert (study.store.folder / "report.html").read_text(encoding="utf-8") == before


def test_missing_numbers_do_not_stop_the_report(study, new_study, tmp_path):
    copy = new_study(tmp_path / "run")
    result = load_result(study.store.folder)
    result["ratio"] = {"value": None, "low": None, "high": None}
    for entry in result["sensitivities"]:
        entry["curvature"] = None
    result["objective"]["start"] = {"value": None, "low": None, "high": None}
    (copy.store.folder / "result.json").write_text(json.dumps(result))
    page = write_report(copy.store.folder).read_text(encoding="utf-8")
    assert "<h2>Independent re-evaluation</h2>" in page


def test_the_events_of_the_method_are_said(new_study, tmp_path):
    study = new_study(tmp_path / "run", method="random", rounds=2, method_options={"n_events": 7})
    assert "with 7 events each" in write_report(study.store.folder).read_text(encoding="utf-8")
    study.run()
    assert "with 7 events each" in write_report(study.store.folder).read_text(encoding="utf-8")


def test_tolerances_belong_to_the_final_design_and_not_to_the_last_round(
    study, new_study, tmp_path
):
    copy = new_study(tmp_path / "run")
    result = load_result(study.store.folder)
    pages = []
    for level in (1.0, 100.0):  # the changes grow with what 1 % is
        text = json.dumps(result | {"objective_at_theta": level})
        (copy.store.folder / "result.json").write_text(text)
        pages.append(write_report(copy.store.folder).read_text(encoding="utf-8"))
    tightest = [re.search(r"Tightest tolerances[^<]*", page) for page in pages]
    assert tightest[0] is not None
    assert tightest[1] is None or tightest[0][0] != tightest[1][0]
