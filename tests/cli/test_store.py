"""The commands that look after stores and work for them."""

import contextlib
import json
import os
import signal
import sqlite3

import pytest

from detopt.runtime import RunStore, Study, StudyConfig
from detopt.runtime.interruption import Interrupted


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stopped(folder, **settings):
    """A run whose machine went away after its first round."""
    config = StudyConfig.make("hump", rounds=3, events=300, evaluation_events=600, **settings)
    study = Study.create(config, folder)
    with pytest.raises(Interrupted):
        study.run(lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    return folder


def test_a_sound_store_is_said_to_be_so(detopt, done):
    before = contents(done)
    answer = detopt("store", "check", "done", "--json")
    assert answer.code == 0
    assert answer.document["damage"] == []
    assert contents(done) == before


def test_damage_is_named(detopt, done):
    with contextlib.closing(RunStore(done)) as run:
        digest = run.store.state_digest(run.id)
    path = done / "blobs" / digest[:2] / digest
    path.write_bytes(path.read_bytes()[:-1])
    answer = detopt("store", "check", "done")
    assert answer.code == 1
    assert digest in answer.err


def test_a_database_is_made_and_kept(detopt, here):
    url = f"sqlite:///{here / 'shared.sqlite'}"
    first = detopt("store", "upgrade", url, "--json").document
    assert first["before"] is None
    again = detopt("store", "upgrade", url, "--json").document
    assert again["before"] == again["after"] == first["after"]


def test_tables_of_another_version_are_named(detopt, done):
    connection = sqlite3.connect(done / "study.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.commit()
    connection.close()
    answer = detopt("show", "done")
    assert answer.code == 2
    assert "detopt store upgrade" in answer.err


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("store check nothing", "No run `nothing`"),
        ("store upgrade nothing", "No run `nothing`"),
        ("store check sqlite:///missing.sqlite --blobs .", "no database missing.sqlite"),
        ("store check sqlite:///missing.sqlite", "--blobs"),
        ("store upgrade nonsense://here", "Cannot use the database"),
        ("worker nothing", "No run `nothing`"),
        ("worker done --lease 0", "lease"),
    ],
)
@pytest.mark.usefixtures("done")
def test_what_is_not_there_is_refused(detopt, here, command, reason):
    before = contents(here)
    answer = detopt(*command.split())
    assert answer.code == 2
    assert reason in answer.err
    assert contents(here) == before


def test_a_worker_goes_on_with_a_run_that_nobody_controls(detopt, here, finished):
    folder = stopped(here / "stopped")
    answer = detopt("worker", folder, "--controllers", "--idle", 0)
    assert answer.code == 0
    assert "Finished stopped" in answer.err
    first, second = (json.loads((x / "result.json").read_text()) for x in (finished, folder))
    for key in ("theta", "objective", "evaluations", "rounds"):
        assert first[key] == second[key]
    assert detopt("show", folder, "--json").document["status"] == "finished"


def test_a_worker_without_work_ends(detopt, done):
    assert detopt("worker", done, "--idle", 0).code == 0
