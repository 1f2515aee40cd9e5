"""Trackers that raise, hang, die, babble or are missing change nothing in a study."""

import json
import logging
import time

import pytest

from detopt.runtime import Study, load_result
from detopt.runtime.trackers import child, outlet, session
from detopt.runtime.trackers.base import Tracker
from detopt.runtime.trackers.outlet import Outlet
from detopt.runtime.trackers.secrets import hide

UNKIND = {
    "hangs": "import time; time.sleep(600)",
    "dies": "import sys; sys.exit(3)",
    "babbles": "while True: print('nonsense', flush=True)",
    "is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "reads nothing": "import os, time; os.close(0); time.sleep(600)",
}
SECRET = "hf_0123456789abcdef"
TIMES = {"wall_s", "cpu_s", "study"}


@pytest.fixture
def expected(make):
    return findings(make("alone").run())


@pytest.fixture
def messages(caplog):
    caplog.set_level(logging.WARNING, logger="detopt.trackers")
    return lambda: [one.getMessage() for one in caplog.records if one.name == "detopt.trackers"]


def findings(result):
    return {key: value for key, value in result.data.items() if key not in TIMES}


@pytest.mark.parametrize("kind", UNKIND)
def test_an_unkind_tracker_changes_no_bit(make, expected, messages, monkeypatch, kind):
    monkeypatch.setattr(outlet, "START", UNKIND[kind])
    monkeypatch.setattr(session, "FLUSH", 1.0)
    begin = time.monotonic()
    study = make("tracked", trackers=["tensorboard"])
    assert findings(study.run()) == expected
    assert study.store.status == "finished"
    assert time.monotonic() - begin < 30.0
    assert len(messages()) == 1


@pytest.mark.parametrize("missing", ["no program", "no tracker"])
def test_a_missing_tracker_changes_no_bit(make, expected, messages, monkeypatch, missing):
    study = make("tracked", trackers=["wandb"])
    if missing == "no program":
        monkeypatch.setattr(outlet.sys, "executable", "/nowhere/python")
    else:
        gone = study.config.model_copy(update={"trackers": ["gone"]})
        monkeypatch.setattr(study, "config", gone)
    assert findings(study.run()) == expected
    (message,) = messages()
    assert "The study goes on" in message


def test_a_tracker_that_hangs_holds_no_interruption_up(make, messages, monkeypatch):
    monkeypatch.setattr(outlet, "START", UNKIND["hangs"])
    monkeypatch.setattr(session, "SHORT", 0.5)

    def stop(*news):
        raise KeyboardInterrupt

    study = make("run", trackers=["tensorboard"])
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    assert time.monotonic() - begin < session.FLUSH / 2
    assert study.store.status == "interrupted"
    monkeypatch.setattr(session, "FLUSH", 0.1)
    assert len(Study.resume(study.store.folder).run().data["design"]) == 3


def test_what_cannot_be_shown_changes_no_bit(make, expected, messages, monkeypatch):
    monkeypatch.setattr(outlet, "START", "import sys; sys.stdin.read()")
    study = make("tracked", trackers=["tensorboard"])
    monkeypatch.setattr(session.Tracking, "_numbers", lambda self, record: 1 / 0)
    assert findings(study.run()) == expected
    (message,) = messages()
    assert "ZeroDivisionError" in message


def test_trackers_do_not_belong_to_the_fingerprint(make):
    study, tracked = make("one"), make("two", trackers=["tensorboard"])
    assert study.store.fingerprint == tracked.store.fingerprint


def test_a_study_waits_for_no_tracker(messages, monkeypatch):
    monkeypatch.setattr(outlet, "START", UNKIND["hangs"])
    way = Outlet("slow", length=3)
    way.start({})
    begin = time.monotonic()
    for _ in range(1_000):
        way.put({"name": 10_000 * "x"})  # a pipe takes 64 kB
    assert time.monotonic() - begin < 1.0
    way.finish("finished", 0.2)
    (message,) = messages()
    assert "is too slow" in message


class Fake(Tracker):
    """Does what it is told to do wrong."""

    def __init__(self, wrong=""):
        super().__init__(None)
        self.wrong, self.seen = wrong, []

    def _do(self, name, *what):
        if name == self.wrong:
            raise OSError(f"{name} failed\nwith {SECRET} at https://me:word@host/x")
        self.seen.append((name, *what))

    def start(self, run):
        self._do("start", run.resumed)

    def log(self, metrics, step):
        self._do("log", step)

    def attach(self, path, name):
        self._do("attach", name)

    def finish(self, status):
        self._do("finish", status)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """What a tracker got and what was said, of a run of two rounds and a file."""
    first = {"tracker": "fake", "options": {}, "name": "run", "folder": str(tmp_path / "fake")}
    first |= {"memory": str(tmp_path / "fake.json"), "config": {}}
    rest = [
        {"rounds": [[0, {"x": 1.0}]]},
        {"rounds": [[1, {"x": 2.0}]]},
        {"path": "a", "name": "a"},
    ]

    def serve(wrong="", status="finished"):
        tracker, said = Fake(wrong), []
        monkeypatch.setattr(child, "load_tracker", lambda name, options: tracker)
        end = [] if status is None else [{"status": status}]
        child.serve([json.dumps(one) for one in [first, *rest, *end]], said.append)
        return tracker.seen, said

    return serve


ALL = [("start", False), ("log", 0), ("log", 1), ("attach", "a"), ("finish", "finished")]


@pytest.mark.parametrize("wrong", ["start", "log", "attach", "finish"])
def test_what_fails_is_left_out_and_said_without_secrets(serve, monkeypatch, wrong):
    monkeypatch.setenv("SOME_TOKEN", SECRET)
    seen, said = serve(wrong)
    assert seen == ([] if wrong == "start" else [one for one in ALL if one[0] != wrong])
    assert said
    assert all("OSError" in one and f"{wrong} failed with ***" in one for one in said)
    assert not any(SECRET in one or "word" in one or "\n" in one for one in said)


def test_a_tracker_gets_everything_in_order(serve):
    assert serve() == (ALL, [])


def test_a_run_whose_study_died_is_interrupted_and_goes_on_later(serve):
    seen, _ = serve(status=None)
    assert seen[-1] == ("finish", "interrupted")
    seen, _ = serve()
    assert seen[0] == ("start", True)


def test_secrets_of_the_environment_are_hidden():
    environment = {"WANDB_API_KEY": SECRET, "HOME": "/home/me", "A_TOKEN": "short"}
    value = {"a": [f"x {SECRET} y", 3], "b": "/home/me shorter", "c": "mysql://u:pw1@h/d"}
    expected = {"a": ["x *** y", 3], "b": "/home/me shorter", "c": "mysql://***@h/d"}
    assert hide(value, environment) == expected


def test_a_study_that_is_resumed_shows_what_was_missed(make, monkeypatch):
    sent = []
    monkeypatch.setattr(session, "Outlet", lambda name: Recorder(name, sent))
    study = make("run", trackers=["tensorboard"])

    def stop(stage, done, total, record):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    assert [steps(one) for one in sent] == ["run", [0], [1], [2], [3], "interrupted"]
    sent.clear()
    session.Memory(study.store.folder / "trackers" / "tensorboard.json", "k", 1, True).keep(1)
    Study.resume(study.store.folder).run()
    assert [steps(one) for one in sent[:5]] == ["run", [2, 3], [4], [5], [6]]
    assert [steps(one) for one in sent[5:]] == ["study.yaml", "result.json", "finished"]
    verdict = load_result(study.store.folder)["objective"]
    (_, numbers) = sent[4]["rounds"][0]
    assert numbers["result/final"] == verdict["final"]["value"]
    assert numbers["result/baseline_low"] == verdict["baseline"]["low"]


def steps(message):
    if "rounds" in message:
        return [step for step, _ in message["rounds"]]
    return message.get("name") or message["status"]


class Recorder(Outlet):
    def __init__(self, name, sent):
        super().__init__(name)
        self.put = self.start = sent.append

    def finish(self, status, limit_s):
        self.put({"status": status})
