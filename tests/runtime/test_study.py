"""Studies: the same bits whoever computes them, and nothing lost on the way."""

import json
import math
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from detopt.errors import (
    CheckpointError,
    ConfigError,
    DetoptError,
    DomainError,
    MethodError,
    NotFoundError,
    SimulationError,
)
from detopt.optimizers import METHODS
from detopt.pipeline import Request, evaluate
from detopt.random import Seed
from detopt.reports import write_report
from detopt.runtime import RunStore, Study, StudyConfig, load_result
from detopt.runtime.executors import ProblemRecipe, ProcessExecutor, SerialExecutor
from detopt.runtime.storage import Artifacts

TIMES = {"wall_s", "cpu_s"}
QUICK = {"n_steps": 20, "n_warm_steps": 5}
OPTIONS = {
    "cma": {"population": 4},
    "lbfgsb": {},
    "end_to_end_surrogate": {"batch": 1, "training": QUICK},
    "lgso": {"batch": 2, "training": QUICK, "n_drawn": 500},
}

OTHER_PROBLEMS = {"enumeration", "gumbel_softmax", "nsga3"}  # categories, two objectives
every_method = pytest.mark.parametrize("method", sorted(set(METHODS) - OTHER_PROBLEMS))


class StopError(Exception):
    pass


def stopping_after(n_rounds):
    def listen(what, done, total, record):
        if what == "optimizing" and done == n_rounds:
            raise StopError

    return listen


def interrupt(study, n_rounds):
    with pytest.raises(StopError):
        study.run(stopping_after(n_rounds))
    return study.store.folder


def numbers(study):
    """Everything that a study found, except the time and its name."""
    result = load_result(study.store.folder)
    rounds = [
        {key: value for key, value in json.loads(record.dumps()).items() if key not in TIMES}
        for record in study.store.rounds()
    ]
    skipped = {*TIMES, "study", "use_case"}
    return rounds, {key: value for key, value in result.items() if key not in skipped}


def finished(study):
    study.run()
    return numbers(study)


# --- the same bits


@every_method
def test_same_seed_gives_the_same_bits(make, method):
    settings = {"method": method, "method_options": OPTIONS.get(method)}
    assert finished(make("one", **settings)) == finished(make("two", **settings))


def test_the_record_follows_the_search_that_is_ahead(make):
    study = make(method="multi_start", rounds=12)
    ahead = [study.optimizer.theta.clone()]

    def listen(what, done, total, record):
        if what == "optimizing":
            ahead.append(study.optimizer.theta.clone())

    study.run(listen)
    shown = torch.stack([record.theta for record in study.history])
    # first the start, though the human design is better; where a search is and what it
    # recommends, a mean of its last steps, are close
    torch.testing.assert_close(shown, torch.stack(ahead[:-1]), rtol=0, atol=0.05)
    assert study.history[0].n_evaluations == 2


def test_other_seed_gives_other_numbers(make):
    one, other = finished(make("one")), finished(make("two", seed=1))
    assert one[1]["theta"] != other[1]["theta"]


@pytest.mark.parametrize(("method", "chunk"), [("adam", 25), ("cma", 7)], ids=str)
def test_two_workers_give_the_same_bits(make, method, chunk):
    settings = {
        "method": method,
        "method_options": OPTIONS.get(method),
        "options": {"chunk": chunk},
        "rounds": 2,
    }
    assert finished(make("one", **settings)) == finished(make("two", workers=2, **settings))


def test_summaries_of_workers_have_the_class_of_the_use_case(make):
    result = make(workers=2, rounds=1, options={"checks_type": True}).run()
    assert result.data["rounds"] == 1


@every_method
@pytest.mark.parametrize("n_rounds", [1, 2, 5])
def test_interrupted_study_goes_on_to_the_same_bits(make, method, n_rounds):
    settings = {"method": method, "method_options": OPTIONS.get(method)}
    expected = finished(make("whole", **settings))
    folder = interrupt(make("part", **settings), n_rounds)
    resumed = Study.resume(folder)
    assert len(resumed.history) == n_rounds
    assert finished(resumed) == expected


def test_study_can_be_interrupted_again_and_again(make):
    expected = finished(make("whole"))
    folder = make("part").store.folder
    for n_rounds in range(1, 6):
        interrupt(Study.resume(folder), n_rounds)
    assert finished(Study.resume(folder)) == expected


def test_study_that_is_interrupted_in_its_conclusion_goes_on(make):
    expected = finished(make("whole"))
    study = make("part")

    def listen(what, done, total, record):
        if what.startswith("re-evaluating final"):
            raise StopError

    with pytest.raises(StopError):
        study.run(listen)
    assert study.store.status == "interrupted"
    with pytest.raises(CheckpointError, match="has no result yet"):
        load_result(study.store.folder)
    assert finished(Study.resume(study.store.folder)) == expected


def test_finished_study_concludes_again_to_the_same_bits(make):
    study = make()
    expected = finished(study)
    assert finished(Study.resume(study.store.folder)) == expected


KILLED = """
import os, signal, sys
from pathlib import Path
from detopt.runtime import Study, StudyConfig

def listen(what, done, total, record):
    if what == "optimizing" and done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

Study.create(StudyConfig.make(sys.argv[1]), Path(sys.argv[2])).run(listen)
"""


def test_killed_process_loses_nothing(make, case, tmp_path):
    expected = finished(make("whole"))
    command = [sys.executable, "-c", textwrap.dedent(KILLED), case, str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    resumed = Study.resume(tmp_path / "killed")
    assert len(resumed.history) == 3
    assert finished(resumed) == expected


@pytest.mark.parametrize("end", ["", ".0123456789.partial"])
def test_checkpoint_without_its_row_is_made_again(make, end):
    whole = make("whole")
    interrupt(whole, 4)
    left = blob(whole.store.folder, whole.store.store.state_digest(whole.store.id))
    expected = finished(Study.resume(whole.store.folder))
    study = make("part")
    folder = interrupt(study, 3)
    half = blob(folder, left.name).with_name(left.name + end)  # killed between the file and the row
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half a checkpo")
    assert finished(Study.resume(folder)) == expected


def test_moved_folder_goes_on(make, tmp_path):
    expected = finished(make("whole"))
    folder = interrupt(make("part"), 2).rename(tmp_path / "elsewhere")
    assert finished(Study.resume(folder)) == expected


def test_lost_original_of_the_use_case_does_not_matter(make, case):
    expected = finished(make("whole"))
    folder = interrupt(make("part"), 2)
    Path(case).unlink()
    assert finished(Study.resume(folder)) == expected


# --- executors


def test_dead_worker_is_reported(make, case):
    study = make()
    recipe = ProblemRecipe(case, {}, (), None)
    with ProcessExecutor(study.problem, recipe, 1) as executor:
        requests = study.optimizer.ask()
        expected = SerialExecutor(study.problem).evaluate(requests, Seed(0))
        assert executor.evaluate(requests, Seed(0))[0].value == expected[0].value
        for process in executor._pool._processes.values():
            process.kill()
            process.join()
        with pytest.raises(DetoptError, match="worker process died"):
            executor.evaluate(requests, Seed(0))
        with pytest.raises(DetoptError, match="worker process died"):
            executor.evaluate(requests, Seed(0))


# --- refusals


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method_options": {"learning_rat": 1.0}}, MethodError, "does not take these options"),
        ({"method": "cma", "method_options": {"step": -1.0}}, MethodError, "`step` must be > 0"),
        ({"options": {"discrete": True}}, MethodError, "discrete parameters layers"),
        ({"freeze": ["gapp"]}, NotFoundError, "No parameter or group `gapp`"),
        ({"freeze": ["gap", "shifts"]}, DetoptError, "nothing is left"),
    ],
)
def test_unusable_study_writes_nothing(make, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        make("run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["study.yaml", "result.json", "report.html", "study.sqlite"])
def test_occupied_folder_is_refused_and_left_alone(make, tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("precious")
    with pytest.raises(CheckpointError, match="already holds"):
        make("run")
    assert [path.name for path in folder.iterdir()] == [name]
    assert (folder / name).read_text() == "precious"


def test_folder_with_other_files_is_no_obstacle(make, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").write_text("precious")
    make("run")
    assert (tmp_path / "run" / "log.txt").read_text() == "precious"


def test_folder_that_is_a_file_is_refused(make, tmp_path):
    (tmp_path / "run").write_text("precious")
    with pytest.raises(CheckpointError, match="Cannot make the folder"):
        make("run")


def test_default_folder_is_named_after_the_study(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = (Study.create(StudyConfig.make(case)) for _ in range(2))
    assert one.store.folder.parent.name == "runs"
    assert one.store.id.startswith("vector-")
    assert two.store.id == f"{one.store.id}-2"


@every_method
def test_broken_objective_stops_with_the_reason(make, method):
    study = make(method=method, method_options=OPTIONS.get(method), options={"broken": True})
    with pytest.raises(MethodError, match="finite"):
        study.run()
    assert study.store.status == "interrupted"


def test_frozen_parameter_keeps_its_start(make):
    study = make(freeze=["shifts"])
    study.run()
    final = load_result(study.store.folder)["design"]["final"]
    assert final["shift"] == [0.1, 0.2]
    assert final["gap"] != 0.3


# --- damage


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def flip(path, position=0.5):
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 0xFF
    path.write_bytes(bytes(data))


def blob(folder, digest):
    return folder / "blobs" / digest[:2] / digest


def checkpoint(folder):
    """The file with the optimizer's last state."""
    connection = sqlite3.connect(folder / "study.sqlite")
    row = connection.execute("SELECT state FROM checkpoint ORDER BY number DESC").fetchone()
    connection.close()
    return blob(folder, row[0])


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "flipped byte of the checkpoint": lambda f: flip(checkpoint(f)),
    "truncated checkpoint": lambda f: cut(checkpoint(f)),
    "empty checkpoint": lambda f: checkpoint(f).write_bytes(b""),
    "lost checkpoint": lambda f: checkpoint(f).unlink(),
    "truncated database": lambda f: cut(f / "study.sqlite"),
    "empty database": lambda f: (f / "study.sqlite").write_bytes(b""),
    "lost database": lambda f: (f / "study.sqlite").unlink(),
    "no database": lambda f: (f / "study.sqlite").write_text("precious" * 1_000),
    "flipped header": lambda f: flip(f / "study.sqlite", 0.0),
    "edited round": lambda f: sql(f, "UPDATE checkpoint SET record = replace(record, '0', '1')"),
    "lost round": lambda f: sql(f, "DELETE FROM checkpoint WHERE number = 1"),
    "lost last round": lambda f: sql(f, "UPDATE checkpoint SET number = 7 WHERE number = 2"),
    "other state": lambda f: sql(f, f"UPDATE checkpoint SET state = '{'0' * 64}'"),
    "lost study": lambda f: sql(f, "DELETE FROM study"),
    "lost run": lambda f: sql(f, "DELETE FROM run"),
    "other fingerprint": lambda f: sql(f, "UPDATE study SET fingerprint = 'f'"),
    "other version": lambda f: sql(f, "UPDATE alembic_version SET version_num = '99'"),
    "lost table": lambda f: sql(f, "DROP TABLE checkpoint"),
    "edited study": lambda f: edit(f / "study.yaml", "seed: 0", "seed: 1"),
    "edited options": lambda f: edit(f / "study.yaml", "\noptions: {}", "\noptions: {gap: 0.4}"),
    "edited use case": lambda f: edit(f / "inputs/vector.py", "0.3 * events", "0.4 * events"),
}


def sql(folder, statement):
    connection = sqlite3.connect(folder / "study.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_run_is_refused_and_left_alone(make, damage):
    folder = interrupt(make(), 3)
    damage(folder)
    before = contents(folder)
    with pytest.raises(CheckpointError, match=str(folder)):
        Study.resume(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("position", [i / 13 for i in range(13)])
def test_flipped_byte_of_the_database_never_changes_the_result(make, whole, position):
    folder = interrupt(make("part"), 2)
    flip(folder / "study.sqlite", position)
    try:
        resumed = Study.resume(folder)
        found = finished(resumed)
    except CheckpointError:
        return
    assert found == whole


@pytest.fixture
def whole(make):
    return finished(make("whole"))


def test_missing_study_file_is_refused(make):
    folder = interrupt(make(), 1)
    (folder / "study.yaml").unlink()
    with pytest.raises(ConfigError, match="Cannot read the study"):
        Study.resume(folder)


def test_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no run: study\.sqlite is missing"):
        Study.resume(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_on_one_run_are_told_apart(make):
    folder = interrupt(make(), 1)
    one, other = Study.resume(folder), Study.resume(folder)
    one.run()
    before = contents(folder)
    with pytest.raises(CheckpointError, match="Another process"):
        other.run()
    assert load_result(folder)["rounds"] == 6
    assert before[folder / "result.json"] == contents(folder)[folder / "result.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}"])
def test_damaged_result_is_refused(make, text):
    study = make(rounds=1)
    study.run()
    (study.store.folder / "result.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"result\.json is damaged"):
        load_result(study.store.folder)


# --- the store


def test_old_checkpoints_are_removed_and_rounds_stay(make):
    study = make()
    study.run()
    states = {study.store.store.state_digest(study.store.id, back) for back in (0, 1)}
    others = {one.digest for one in Artifacts(study.store.store).list(study.store.id)}
    kept = {path.name for path in study.store.folder.glob("blobs/*/*")}
    assert len(states) == 2
    assert kept == states | others
    assert [record.number for record in study.store.rounds()] == list(range(6))


def test_stored_rounds_keep_every_bit(make):
    study = make()
    study.run()
    stored = RunStore(study.store.folder).rounds()
    assert [r.dumps() for r in stored] == [r.dumps() for r in study.history]
    assert all(torch.equal(a.theta, b.theta) for a, b in zip(stored, study.history, strict=True))
    assert all(
        torch.equal(a.gradient, b.gradient) for a, b in zip(stored, study.history, strict=True)
    )


def test_status_follows_the_study(make):
    study = make()
    assert study.store.status == "running"
    interrupt(study, 2)
    assert study.store.status == "interrupted"
    Study.resume(study.store.folder).run()
    assert study.store.status == "finished"


# --- the result


@pytest.fixture
def result(make):
    study = make()
    study.run()
    return load_result(study.store.folder)


def test_result_has_the_promised_keys(result):
    promised = {
        "study", "use_case", "method", "seed", "rounds", "evaluations", "wall_s", "cpu_s",
        "design", "cost", "objective",
    }  # fmt: skip
    assert promised <= set(result)
    names = {"start", "final", "baseline"}
    assert set(result["design"]) == set(result["cost"]) == set(result["objective"]) == names
    assert (result["method"], result["seed"], result["rounds"]) == ("adam", 0, 6)
    assert result["evaluations"] == 6
    assert result["design"]["start"] == {"gap": 0.3, "shift": [0.1, 0.2]}
    assert result["cost"]["start"] == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["start", "final", "baseline"])
def test_interval_brackets_its_value(result, name):
    objective = result["objective"][name]
    assert objective["low"] < objective["value"] < objective["high"]


def test_final_design_beats_the_start(result):
    assert result["objective"]["final"]["high"] < result["objective"]["start"]["low"]
    assert result["ratio"]["high"] < 1.0


def test_start_has_the_reference_value(result):
    # noise 3 x 0.3^2, distance 0.3^2 + 0.4^2 + 0.7^2; the small smearing shifts by 0.005
    expected = math.sqrt(0.27 + 0.295**2 + 0.395**2 + 0.705**2)
    found = result["objective"]["start"]
    assert found["value"] == pytest.approx(expected, abs=2 * (found["high"] - found["low"]))


def test_result_is_json_without_nan(make):
    study = make(rounds=1)
    study.problem.price = None
    study.run()

    def refuse(constant):
        raise AssertionError(constant)

    text = (study.store.folder / "result.json").read_text()
    assert json.loads(text, parse_constant=refuse)["cost"]["start"] is None


def test_same_events_judge_every_design(make):
    study = make(rounds=1)
    study.problem = study.problem.with_space(study.problem.space)
    study.problem.baselines = {"twin": study.problem.space.start}
    study.run()
    result = load_result(study.store.folder)
    assert result["objective"]["baseline"] == result["objective"]["start"]


def test_the_result_tells_how_many_rows_the_verdict_had(make, result):
    assert result["evaluation_events"] == 90
    assert result["evaluation_rows"] == {"start": 90, "final": 90, "human": 90}
    study = make("limited", rounds=1, options={"chunk": 1_000})
    draw = study.problem.source.forward
    study.problem.source.forward = lambda n_events, *rest: draw(min(n_events, 70), *rest)
    study.run()
    found = load_result(study.store.folder)
    assert found["evaluation_rows"] == {"start": 70, "final": 70, "human": 70}


def test_study_without_a_baseline_compares_with_the_start(make):
    study = make(rounds=2)
    study.problem.baselines = {}
    study.run()
    result = load_result(study.store.folder)
    assert result["objective"]["baseline"] is None
    assert result["best_baseline"] is None
    start, final = (result["objective"][name]["value"] for name in ("start", "final"))
    assert result["ratio"]["value"] == pytest.approx(final / start)


# --- constraints, intervals and the level of the sensitivities


class Limit:
    """A judge whose outcome has a constraint, and which may not resample."""

    def __init__(self, problem, failing=False):
        self.judge, self.failing, self.n_calls = problem.judge, failing, 0

    def __call__(self, summary, design):
        self.n_calls += 1
        if self.failing and len(summary.square.unique()) < len(summary.square):
            raise DomainError("Too few hits.")
        hits = summary.square.mean()  # known from the events, while the weight is exact
        limit = {"weight": 5.0 + 0 * design["gap"], "dose": torch.tensor(-math.inf), "hits": -hits}
        return replace(self.judge(summary, design), constraints=limit)


def concluded(make, **settings):
    """The folder of a study whose re-evaluation has a constraint."""
    folder = make(rounds=2).store.folder
    Study.resume(folder).run()
    study = Study.resume(folder)
    study.problem.judge = Limit(study.problem, **settings)
    study.run()
    return folder


def test_constraints_of_every_design_are_kept_and_said(make):
    folder = concluded(make)
    limits = load_result(folder)["constraints"]
    assert set(limits) == {"start", "final", "human"}
    assert all(one["weight"] == 5.0 and one["dose"] < 0 for one in limits.values())
    page = write_report(folder).read_text()
    assert "Breaks a constraint" in page
    assert "“weight” by 5:" in page


def test_constraints_that_events_estimate_have_intervals(make):
    result = load_result(concluded(make))
    for name, limits in result["constraints"].items():
        (low, high) = result["constraint_intervals"][name].pop("hits")
        assert low < limits["hits"] < high < 0
        assert result["constraint_intervals"][name] == {}  # a weight has no error


def test_a_design_that_cannot_be_resampled_keeps_its_value(make):
    result = load_result(concluded(make, failing=True))
    assert result["objective"]["final"]["value"] > 0
    assert result["objective"]["final"]["low"] is None
    assert result["without_interval"]["final"] == "Too few hits."


def test_the_level_of_the_sensitivities_is_that_of_the_final_design(make):
    study = make(method="random", rounds=4)
    study.run()
    level = load_result(study.store.folder)["objective_at_theta"]
    request = Request(
        study.theta(), ("sensitivity",), n_events=study.config.events, std_error=False
    )
    assert level == evaluate(study.problem, request, study.seed).value


# --- designs whose simulation fails in the conclusion


def conclude_again(make, failing, on_failure):
    """A finished study that is concluded again while the simulation of one design fails."""
    folder = make(rounds=2).store.folder
    Study.resume(folder).run()
    study = Study.resume(folder)
    gap, summarize = study.designs[failing]["gap"], study.problem.summarize

    def summarize_or_fail(design, n_events, rng):
        if torch.equal(design["gap"], gap.to(study.problem.dtype)):
            raise SimulationError("The magnet quenched.")
        return summarize(design, n_events, rng)

    study.problem.on_failure = on_failure
    study.problem.summarize = summarize_or_fail
    study.run()
    return folder


@pytest.mark.parametrize("failing", ["final", "human"])
def test_a_design_that_fails_does_not_end_the_study(make, failing):
    folder = conclude_again(make, failing, "skip")
    result = load_result(folder)
    assert result["failures"] == {failing: "The magnet quenched."}
    missing = {"value": None, "low": None, "high": None}
    objectives = {name: row["objective"] for name, row in result["baselines"].items()}
    objectives |= result["objective"]
    assert objectives[failing] == missing
    assert objectives["start"]["value"] > 0
    assert (result["best_baseline"] is None) == (failing == "human")
    assert (result["ratio"]["value"] is None) == (failing == "final")
    assert "magnet quenched" in write_report(folder).read_text()


def test_a_start_that_fails_leaves_the_others(make):
    result = load_result(conclude_again(make, "start", "skip"))
    assert set(result["failures"]) == {"start"}
    assert result["ratio"]["value"] > 0


def test_a_design_that_fails_stops_the_study_where_the_problem_says_so(make):
    with pytest.raises(SimulationError, match="quenched"):
        conclude_again(make, "final", "stop")
