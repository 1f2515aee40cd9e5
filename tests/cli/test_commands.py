"""Every command, for people and as JSON."""

import json
import subprocess
import sys

import pytest
import yaml

from detopt.runtime import Study

QUICK = ("--rounds", "3", "--events", "300", "-o", "evaluation_events=600")
KEYS = {
    "study",
    "use_case",
    "method",
    "seed",
    "rounds",
    "evaluations",
    "wall_s",
    "cpu_s",
    "design",
    "cost",
    "objective",
}
CHECKED = {"name", "estimate", "std_error", "reference", "reference_error", "z", "verdict"}


def test_without_a_command_the_help_is_printed(detopt):
    answer = detopt()
    assert answer.code == 0
    assert "Commands" in answer.out


def test_list_names_use_cases_and_methods(detopt):
    answer = detopt("list")
    assert answer.code == 0
    assert "muon_scanner" in answer.out
    assert "adam" in answer.out


def test_list_gives_a_summary_of_each(detopt):
    document = detopt("list", "--json").document
    assert {"hump", "muon_scanner", "strip_sensor"} <= {x["name"] for x in document["use_cases"]}
    assert {"adam", "sgd", "lbfgsb", "cma"} <= {x["name"] for x in document["methods"]}
    assert all(x["summary"] for kind in document.values() for x in kind)


def test_run_leaves_a_complete_folder(detopt, here):
    answer = detopt("run", "hump", *QUICK, "--out", "first")
    assert answer.code == 0
    assert "Report: first/report.html" in answer.out
    assert {"study.yaml", "result.json", "report.html"} <= {x.name for x in here.glob("first/*")}


def test_run_prints_the_result_as_one_document(detopt, here):
    answer = detopt("run", "hump", *QUICK, "--seed", 5, "--out", "first", "--json")
    assert answer.document.keys() >= KEYS
    assert answer.document["seed"] == 5
    assert answer.document["rounds"] == 3
    assert set(answer.document["objective"]["final"]) == {"value", "low", "high"}
    assert json.loads((here / "first/result.json").read_text()).items() <= answer.document.items()


def test_run_goes_below_runs_by_default(detopt, here):
    first = detopt("run", "hump", *QUICK, "--json").document
    second = detopt("run", "hump", *QUICK, "--json").document
    assert first["folder"] != second["folder"]
    assert {x.name for x in here.glob("runs/*")} == {first["study"], second["study"]}


def test_a_run_says_how_far_it_is_on_standard_error(detopt):
    answer = detopt("run", "hump", *QUICK, "--json")
    assert "optimizing 3/3" in answer.err


def test_the_objective_keeps_its_unit_when_it_is_printed(detopt):
    settings = ("--rounds", 1, "--events", 100, "-o", "evaluation_events=100")
    answer = detopt("run", "strip_sensor", *settings)
    assert "mean squared hit error [(10 um)^2]" in answer.out


def test_run_takes_a_file_and_options_over_it(detopt, here):
    study = {"use_case": "hump", "rounds": 2, "events": 200, "evaluation_events": 400, "seed": 3}
    (here / "study.yaml").write_text(yaml.safe_dump(study))
    document = detopt("run", "study.yaml", "--seed", 4, "-o", "variant=paper", "--json").document
    assert (document["seed"], document["rounds"]) == (4, 2)
    stored = yaml.safe_load((here / document["folder"] / "study.yaml").read_text())
    assert stored["options"]["variant"] == "paper"


def test_the_stored_study_gives_the_same_result_again(detopt, done):
    document = detopt("run", done / "study.yaml", "--out", "again", "--json").document
    first = json.loads((done / "result.json").read_text())
    assert document["theta"] == first["theta"]
    assert document["objective"] == first["objective"]


def test_the_method_is_one_word(detopt):
    document = detopt("run", "hump", *QUICK, "--method", "sgd", "--json").document
    assert document["method"] == "sgd"


def test_a_frozen_parameter_keeps_its_start(detopt):
    design = detopt("run", "hump", *QUICK, "--freeze", "a", "--json").document["design"]
    assert design["final"]["a"] == design["start"]["a"]
    assert design["final"]["b"] != design["start"]["b"]


def test_resume_goes_on_to_the_same_bits(detopt, done, here):
    settings = yaml.safe_load((done / "study.yaml").read_text())
    (here / "study.yaml").write_text(yaml.safe_dump(settings))

    def stop(stage, done, total, record):
        raise KeyboardInterrupt

    study = Study.create(_config(here / "study.yaml"), here / "runs" / "stopped")
    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    assert detopt("show", "stopped", "--json").document["status"] == "interrupted"
    answer = detopt("resume", "stopped", "--json")
    assert answer.code == 0
    first = json.loads((done / "result.json").read_text())
    assert answer.document["theta"] == first["theta"]
    assert answer.document["objective"] == first["objective"]


def _config(path):
    from detopt.runtime import load_study

    return load_study(path)


def test_an_interrupted_run_says_how_to_go_on(detopt, monkeypatch):
    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("detopt.runtime.study.Study.run", interrupt)
    answer = detopt("run", "hump", *QUICK, "--out", "first")
    assert answer.code == 130
    assert answer.err == "Stopped. Go on with: detopt resume first\n"


def test_show_prints_settings_and_result(detopt, done):
    answer = detopt("show", "done")
    assert answer.code == 0
    assert "finished" in answer.out
    assert "3 of 3" in answer.out


def test_show_gives_settings_and_result(detopt, done):
    document = detopt("show", "done", "--json").document
    assert document["status"] == "finished"
    assert document["config"]["use_case"] == "hump"
    assert document["result"].keys() >= KEYS


def test_list_runs_has_a_row_for_each(detopt, done):
    assert "done" in detopt("list-runs").out
    (row,) = detopt("list-runs", "--json").document
    assert (row["study"], row["status"], row["rounds"]) == ("done", "finished", 3)


def test_list_runs_of_a_folder_that_is_not_there_is_refused(detopt, here):
    answer = detopt("list-runs", "--runs", "nosuch")
    assert answer.code == 2
    assert "no folder nosuch" in answer.err
    assert detopt("list-runs", "--json").document == []  # no run yet in the usual one


def test_a_folder_with_brackets_keeps_its_name(detopt, done):
    done.rename(done.with_name("done[v2]"))
    assert "done[v2]" in detopt("list-runs").out
    assert "done[v2]" in detopt("show", "done[v2]").out.partition("use_case")[0]


def test_list_runs_shows_a_damaged_run_as_such(detopt, done):
    (done / "result.json").write_text("no json")
    (row,) = detopt("list-runs", "--json").document
    assert row["status"] == "damaged"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"database": 5}',
        '{"database": "foo"}',
        '{"database": "sqlite:///x", "run": 5}',
        '{"database": "sqlite:///x", "blobs": "nosuch://x"}',
    ],
)
def test_a_damaged_place_is_one_line_and_hides_no_other_run(detopt, done, text):
    other = done.parent / "bad"
    other.mkdir()
    (other / "store.json").write_text(text)
    rows = {row["study"]: row["status"] for row in detopt("list-runs", "--json").document}
    assert rows == {"bad": "damaged", "done": "finished"}
    answer = detopt("show", "bad")
    assert answer.code == 2
    assert answer.err.count("\n") == 1


def test_report_is_written_again(detopt, done):
    (done / "report.html").unlink()
    assert detopt("report", "done", "--json").document == {"path": "runs/done/report.html"}
    assert (done / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_report_says_what_it_wrote(detopt, done):
    assert detopt("report", done).out == f"Wrote {done / 'report.html'}\n"


def test_new_writes_a_use_case_that_loads(detopt, here):
    assert detopt("new", "telescope").out == "Wrote " + str(here / "telescope.py") + "\n"
    document = detopt("run", "telescope", *QUICK, "--json").document
    assert set(document["design"]["final"]) == {"gap", "pitch"}


def test_new_gives_the_path(detopt, here):
    assert detopt("new", "telescope", "--json").document == {"path": str(here / "telescope.py")}


def test_check_passes_a_sound_use_case(detopt):
    answer = detopt("check", "strip_sensor", "--json")
    assert answer.code == 0
    assert all(finding["passed"] for finding in answer.document)
    assert "passed" in answer.err


def test_check_fails_an_unsound_one(detopt, here):
    detopt("new", "telescope")
    path = here / "telescope.py"
    path.write_text(path.read_text().replace('extra="forbid"', 'extra="ignore"'))
    answer = detopt("check", "telescope.py")
    assert answer.code == 1
    assert "FAILED  refuses a misspelt option" in answer.out


def test_gradients_of_each_parameter_are_checked(detopt):
    answer = detopt("check", "strip_sensor", "--gradients", "--json")
    assert answer.code == 0
    assert [row["name"] for row in answer.document] == ["pitch", "stagger", "distance", "tilt"]
    assert all(row.keys() == CHECKED for row in answer.document)
    assert {row["verdict"] for row in answer.document} == {"agrees"}


def test_a_biased_gradient_is_found(detopt):
    answer = detopt("check", "hump", "--gradients")
    assert answer.code == 1
    assert "biased" in answer.out
    assert "Biased: if a smaller --step" in answer.out
    assert "Dominated by noise" not in answer.out


def test_too_few_events_are_noise_and_more_repetitions_are_advised(detopt):
    answer = detopt("check", "strip_sensor", "--gradients", "--events", 2, "--repeats", 8)
    assert answer.code == 1
    assert "--extra repetitions" in answer.out


def test_another_estimator_can_be_checked(detopt):
    answer = detopt(
        "check", "strip_sensor", "--gradients", "--estimator", "finite_differences",
        "--repeats", 8, "--freeze", "tilt", "--json",
    )  # fmt: skip
    assert [row["name"] for row in answer.document] == ["pitch", "stagger", "distance"]


def test_the_installed_command_keeps_json_apart_from_all_else():
    command = [sys.executable, "-c", "from detopt.cli import main; main()", "run", "hump", *QUICK]
    finished = subprocess.run(
        [*command, "--workers", "2", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(finished.stdout).keys() >= KEYS
    assert "re-evaluating" in finished.stderr
