"""One process at a time goes on with a run, and another one when it is gone."""

import json
import os
import shutil
import signal
import subprocess
import threading

import pytest

from detopt.errors import CheckpointError, ConfigError
from detopt.runtime import RunStore, Study, StudyConfig, load_result
from detopt.runtime.controller import Controllers, leading
from detopt.runtime.heartbeat import is_gone, own_name, renewed
from detopt.runtime.interruption import Interrupted
from detopt.runtime.storage import BlobStore, Database, Lease, NewTask, Store, task_id
from detopt.runtime.storage.tasks import CONTROLLER

TIMES = {"wall_s", "cpu_s", "study", "use_case"}


def found(folder):
    return {key: value for key, value in load_result(folder).items() if key not in TIMES}


@pytest.fixture
def whole(make):
    study = make("whole")
    study.run()
    return found(study.store.folder)


def state(run):
    name = task_id(run.id, CONTROLLER)
    return run.store.tasks.states([name])[name].state


def held_by(run, worker, lease_s):
    """The run, as if that process went on with it."""
    run.store.tasks.add(run.id, [NewTask(CONTROLLER, CONTROLLER, run.fingerprint)], 100)
    (lease,) = run.store.tasks.claim(worker, lease_s, kinds=[CONTROLLER], run_id=run.id)
    return lease


def dead():
    """Name of a process of this machine that has ended."""
    place, _, started, word = own_name().split(" ")
    process = subprocess.Popen(["true"])
    process.wait()
    return " ".join([place, str(process.pid), started, word])


def stopping(act, n_rounds=2):
    def listen(what, done, total, record):
        if what == "optimizing" and done == n_rounds:
            act()

    return listen


def ctrl_c():
    raise KeyboardInterrupt


# --- who goes on


def test_a_second_controller_is_refused_while_the_first_lives(make):
    study = make()
    with leading(RunStore(study.store.folder)), pytest.raises(CheckpointError, match="Another"):
        study.run()


def test_a_controller_elsewhere_is_waited_for(make):
    study = make()
    held_by(study.store, "far 1 2 3", 60.0)
    with pytest.raises(CheckpointError, match="far 1 2 3"):
        study.run()
    assert study.store.status == "running"


@pytest.mark.parametrize(("worker", "lease_s"), [("far 1 2 3", -1.0), (None, 60.0)])
def test_a_controller_that_is_gone_is_followed_at_once(make, whole, worker, lease_s):
    study = make()
    held_by(study.store, worker or dead(), lease_s)
    study.run()
    assert found(study.store.folder) == whole


def test_a_controller_that_was_believed_dead_keeps_no_round(make):
    study, other = make(), []

    def lose():
        run = RunStore(study.store.folder)
        holder = run.store.tasks.holder(task_id(run.id, CONTROLLER))
        run.store.tasks.expire(holder)
        other.append(held_by(run, "far 1 2 3", 60.0))

    with pytest.raises(CheckpointError, match="did not answer for too long"):
        study.run(stopping(lose))
    assert len(study.store.rounds()) == 2
    assert study.store.status == "running"  # the other one's
    assert study.store.store.tasks.renew(other[0], 60.0)


def test_names_tell_whether_a_process_runs():
    assert not is_gone(own_name())
    assert is_gone(dead())
    assert not is_gone("elsewhere 1 2 3")
    assert not is_gone("")


# --- interruption


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_notice_gives_the_run_back_at_once(make, whole, number):
    study = make()
    with pytest.raises(Interrupted, match=signal.Signals(number).name):
        study.run(stopping(lambda: os.kill(os.getpid(), number)))
    assert study.store.status == "interrupted"
    assert state(study.store) == "open"
    run = RunStore(study.store.folder)
    assert Controllers(run.store, run=run).step()
    assert run.status == "finished"
    assert found(run.folder) == whole
    assert not Controllers(run.store, run=run).step()


def test_a_run_that_the_user_stopped_waits_for_the_user(make, whole):
    study = make()
    with pytest.raises(KeyboardInterrupt):
        study.run(stopping(ctrl_c))
    assert study.store.status == "interrupted"
    assert not Controllers(study.store.store, run=study.store).step()
    Study.resume(study.store.folder).run()
    assert found(study.store.folder) == whole


def test_a_run_that_cannot_go_on_is_left_to_the_user(make):
    study = make()
    with pytest.raises(Interrupted):
        study.run(stopping(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    path = study.store.folder / "study.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    said = []
    run = RunStore(study.store.folder)
    assert Controllers(run.store, run=run, say=said.append).step()
    assert "was changed" in said[-1]
    assert state(run) == "failed"


def test_a_run_of_a_shared_store_goes_on_elsewhere(make, case, whole, tmp_path):
    shared = {
        "database": f"sqlite:///{tmp_path / 'shared.sqlite'}",
        "blobs": str(tmp_path / "shared"),
    }
    study = Study.create(StudyConfig.make(case), tmp_path / "lost", **shared)
    with pytest.raises(Interrupted):
        study.run(stopping(lambda: os.kill(os.getpid(), signal.SIGTERM)))
    store = study.store.store
    shutil.rmtree(tmp_path / "lost")
    assert Controllers(store).step()
    assert store.run("lost").status == "finished"
    result = json.loads(store.blobs.get(store.artifacts("lost")["result.json"]))
    assert {key: value for key, value in result.items() if key not in TIMES} == whole


def test_a_password_is_not_written_into_a_file(case, tmp_path):
    with pytest.raises(ConfigError, match="PGPASSWORD"):
        Study.create(
            StudyConfig.make(case), tmp_path / "run", database="postgresql+psycopg://a:b@here/x"
        )
    assert not (tmp_path / "run").exists()


def test_a_password_is_not_taken_along_either():
    store = Store(Database("postgresql+psycopg://a:b@here/x"), BlobStore("memory://blobs"))
    with pytest.raises(ConfigError, match="PGPASSWORD"):
        Controllers(store)


# --- the heartbeat


def test_a_lease_is_renewed_although_the_store_was_away():
    lease = Lease("task", "run", "chunk", "a" * 64, 1, "worker", 0.0)
    renewals, over = [], threading.Event()

    class Source:
        def renew(self, lease: Lease, lease_s: float) -> bool:
            renewals.append(lease_s)
            if len(renewals) == 1:
                raise CheckpointError("away")
            over.set()
            return False

    with renewed(Source(), lease, 0.003):
        assert over.wait(10.0)
    assert renewals == [0.003, 0.003]
