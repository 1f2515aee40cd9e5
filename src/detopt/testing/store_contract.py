"""What every store of studies must do, as a class of tests.

A back end passes if a subclass with its two fixtures does:

    class TestMine(StoreContract):
        @pytest.fixture
        def database_url(self): ...   # an empty database

        @pytest.fixture
        def blobs_url(self): ...      # an empty folder or bucket
"""

__all__ = ["StoreContract"]

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from detopt.errors import CheckpointError, NotFoundError
from detopt.pipeline import Evaluation, Request
from detopt.runtime.rounds import Round
from detopt.runtime.storage import (
    Answers,
    Artifacts,
    BlobStore,
    Database,
    Lineage,
    Link,
    NewTask,
    Place,
    Store,
    migrate,
    task_id,
)

RUN, WORKER = "run-1", "worker-1"
FIRST = "0001"  # version of the tables
PAYLOAD, RESULT, OTHER = "a" * 64, "b" * 64, "c" * 64


class StoreContract:
    """Tests of one back end."""

    @pytest.fixture
    def store(self, database_url: str, blobs_url: str, request: pytest.FixtureRequest) -> Store:
        """A store with one run."""
        store = Store(Database(database_url, patience=5.0), BlobStore(blobs_url))
        store.database.upgrade()
        store.add_study("study-1", "f" * 64, {"use_case": "hump"})
        store.add_run(RUN, "study-1")
        request.addfinalizer(store.close)
        return store

    # --- tables

    def test_the_tables_are_those_of_this_version(self, store: Store) -> None:
        store.database.check()
        store.database.upgrade()  # again: nothing to do
        store.database.check()

    def test_down_and_up_again_leaves_empty_tables(self, store: Store) -> None:
        store.database.write(lambda connection: migrate.downgrade(connection, "base"))
        with pytest.raises(CheckpointError, match="no version"):
            store.database.check()
        store.database.upgrade()
        assert store.runs() == []

    def test_updates_of_the_tables_keep_what_is_there(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)])
        store.append(RUN, _round(0), {"round": 1}, [_evaluation(0.1)])
        store.keep(RUN, "surrogate", b"weights")
        Lineage(store.database).add(RUN, [Link("final", PAYLOAD, RUN)])
        store.database.write(lambda connection: migrate.downgrade(connection, FIRST))
        with pytest.raises(CheckpointError, match="detopt store upgrade"):
            store.database.check()
        store.database.upgrade()
        store.database.check()
        assert store.last_state(RUN) == {"round": 1}
        assert store.n_evaluations(RUN) == 1
        assert store.tasks.states([name])[name].state == "open"
        assert store.artifacts(RUN).keys() == {"surrogate"}

    # --- studies, rounds, events

    def test_a_study_comes_back_as_it_went(self, store: Store) -> None:
        store.add_study("child", "e" * 64, {"x": [1, 2.5, None]}, parent_id="study-1")
        found = store.study("child")
        assert (found.config, found.parent_id) == ({"x": [1, 2.5, None]}, "study-1")

    def test_what_is_not_there_is_named(self, store: Store) -> None:
        with pytest.raises(CheckpointError, match="no run `nobody`"):
            store.run("nobody")

    def test_a_round_comes_back_bit_for_bit(self, store: Store) -> None:
        record, x = _round(0), torch.tensor([0.1, 1 / 3])
        store.append(RUN, record, {"round": 1, "x": x}, [_evaluation(0.1)])
        (found,) = store.rounds(RUN)
        assert torch.equal(found.theta, record.theta)
        assert found.value == record.value
        assert torch.equal(store.last_state(RUN)["x"], x)

    def test_a_round_that_is_kept_twice_counts_once(self, store: Store) -> None:
        for _ in range(2):
            store.append(RUN, _round(0), {"round": 1}, [_evaluation(0.1), _evaluation(0.2)])
        assert len(store.rounds(RUN)) == 1
        assert store.n_evaluations(RUN) == 2

    def test_another_round_of_that_number_is_refused(self, store: Store) -> None:
        store.append(RUN, _round(0), {"round": 1})
        with pytest.raises(CheckpointError, match="Another process"):
            store.append(RUN, _round(0), {"round": 2})

    def test_a_round_is_kept_under_the_newest_lease_alone(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0)])
        (late,) = store.tasks.claim(WORKER, -1.0)
        (lease,) = store.tasks.claim("worker-2", 60.0)
        with pytest.raises(CheckpointError, match="Another process"):
            store.append(RUN, _round(0), {"round": 1}, lease=late)
        store.append(RUN, _round(0), {"round": 1}, lease=lease)
        store.set_status(RUN, "interrupted", late)
        assert store.run(RUN).status == "running"
        store.set_status(RUN, "interrupted", lease)
        assert store.run(RUN).status == "interrupted"

    def test_events_are_kept_in_order_and_once(self, store: Store) -> None:
        for kind, key in (("begin", "1"), ("end", "2"), ("end", "2")):
            store.log(kind, {"at": key}, RUN, key)
        assert [(event.kind, event.data) for event in store.events(RUN)] == [
            ("begin", {"at": "1"}),
            ("end", {"at": "2"}),
        ]

    def test_the_first_value_of_a_metric_stays(self, store: Store) -> None:
        store.measure(RUN, 3, {"loss": 0.5})
        store.measure(RUN, 3, {"loss": 0.7, "cost": 6.0})
        assert store.metrics(RUN) == {(3, "loss"): 0.5, (3, "cost"): 6.0}

    def test_artifacts_are_shared_by_digest(self, store: Store) -> None:
        store.add_run("run-2", "study-1")
        first = store.keep(RUN, "surrogate", b"weights")
        second = store.keep("run-2", "start", b"weights")
        assert first == second == store.artifacts("run-2")["start"]
        assert store.blobs.get(first) == b"weights"

    def test_what_runs_keep_is_found_by_digest(self, store: Store) -> None:
        artifacts = Artifacts(store)
        digest = artifacts.put(RUN, "surrogate", b"weights")
        state = store.append(RUN, _round(0), {"round": 1})
        found = {(one.run, one.name): one.digest for one in artifacts.list()}
        assert found == {(RUN, "surrogate"): digest, (RUN, "optimizer state"): state}
        assert artifacts.get(digest[:8]) == b"weights"
        with pytest.raises(CheckpointError, match="keeps other bytes"):
            artifacts.put(RUN, "surrogate", b"others")
        with pytest.raises(NotFoundError, match="keeps nothing"):
            artifacts.get("f" * 64)

    def test_runs_are_found_by_their_designs(self, store: Store) -> None:
        store.add_run("run-2", "study-1")
        lineage = Lineage(store.database)
        links = [Link("part", RESULT, "x"), Link("part", OTHER, "y"), Link("parent", PAYLOAD, "p")]
        for _ in range(2):
            lineage.add("run-2", links)
        lineage.add(RUN, [Link("final", PAYLOAD, RUN)])
        assert sorted(lineage.of("run-2"), key=repr) == sorted(links, key=repr)
        assert lineage.runs(PAYLOAD, "parent") == ["run-2"]
        assert lineage.runs(PAYLOAD, "final") == [RUN]
        assert lineage.runs(OTHER, "final") == []

    def test_the_first_place_of_an_answer_stays(self, store: Store) -> None:
        answers = Answers(store.database)
        answers.keep(RUN, {PAYLOAD: Place(RESULT, 0), OTHER: Place(RESULT, 1)})
        answers.keep(RUN, {PAYLOAD: Place(OTHER, 7)})
        assert answers.find([PAYLOAD, "d" * 64]) == {PAYLOAD: Place(RESULT, 0)}
        answers.forget(PAYLOAD)
        assert answers.find([PAYLOAD, OTHER]) == {OTHER: Place(RESULT, 1)}

    # --- blobs

    def test_a_blob_comes_back_as_it_went(self, store: Store) -> None:
        data = bytes(range(256)) * 100
        digest = store.blobs.put(data)
        assert digest in store.blobs
        assert store.blobs.get(digest) == data

    def test_a_missing_blob_is_named(self, store: Store) -> None:
        with pytest.raises(CheckpointError, match=r"d{64} is missing"):
            store.blobs.get("d" * 64)

    def test_a_name_that_leads_elsewhere_is_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="no digest"):
            store.blobs.get("../../etc/passwd")

    # --- tasks

    def test_a_task_is_done_by_one_worker(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)])
        (lease,) = store.tasks.claim(WORKER, 60.0)
        assert lease.task_id == name == task_id(RUN, "0")
        assert store.tasks.claim("worker-2", 60.0) == []
        assert store.tasks.finish(lease, RESULT) == "accepted"
        assert store.tasks.states([name])[name].result == RESULT
        assert store.tasks.claim("worker-2", 60.0) == []

    def test_the_same_work_is_one_task(self, store: Store) -> None:
        assert store.tasks.add(RUN, [_task(0)]) == store.tasks.add(RUN, [_task(0)])
        assert store.tasks.counts(RUN) == {"open": 1}

    def test_first_come_first_served(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(i) for i in range(5)])
        leases = store.tasks.claim(WORKER, 60.0, limit=3)
        assert [lease.task_id for lease in leases] == [task_id(RUN, str(i)) for i in range(3)]

    def test_a_worker_takes_what_it_can_do(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0), replace(_task(1), kind="other")])
        (lease,) = store.tasks.claim(WORKER, 60.0, limit=9, kinds=["other"])
        assert lease.kind == "other"

    def test_a_result_that_is_handed_in_twice_counts_once(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0)])
        (lease,) = store.tasks.claim(WORKER, 60.0)
        answers = [store.tasks.finish(lease, RESULT) for _ in range(3)]
        assert answers == ["accepted", "duplicate", "duplicate"]
        assert store.tasks.finish(lease, OTHER) == "stale"

    def test_results_are_handed_in_together_and_each_counts_for_itself(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(i) for i in range(3)])
        (late,) = store.tasks.claim(WORKER, -1.0)
        leases = store.tasks.claim("worker-2", 60.0, limit=3)
        results = [(lease, RESULT) for lease in [late, *leases]]
        assert store.tasks.finish_all(results) == ["stale", *["accepted"] * 3]
        assert set(store.tasks.finish_all(results[1:])) == {"duplicate"}
        assert store.tasks.counts(RUN) == {"done": 3}

    def test_every_claim_is_noted_as_an_attempt(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)], max_attempts=2)
        store.tasks.claim(WORKER, 60.0)  # looks for late leases first
        store.tasks.release(store.tasks.holder(name))  # type: ignore[arg-type]
        for _ in range(2):  # a single statement, where the database can
            (lease,) = store.tasks.claim(WORKER, 60.0, kinds=["chunk"], run_id=RUN)
            store.tasks.fail(lease, "it broke")
        assert store.tasks.counts(RUN) == {"failed": 1}

    def test_a_worker_takes_its_share(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(i) for i in range(20)])
        assert store.tasks.share(16, ["chunk"], RUN) == 10  # twice that is there
        assert store.tasks.share(4, ["chunk"], RUN) == 4
        assert store.tasks.share(16, ["other"]) == 1
        for i in range(5):
            store.tasks.claim(f"worker-{i}", 60.0)
        assert store.tasks.share(16, ["chunk"]) == 1  # 15 for 5 workers

    def test_a_lease_that_ran_out_goes_to_another_worker(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)])
        (late,) = store.tasks.claim(WORKER, -1.0)  # has run out already
        (lease,) = store.tasks.claim("worker-2", 60.0)
        assert lease.fence == late.fence + 1
        assert store.tasks.finish(late, OTHER) == "stale"
        assert store.tasks.finish(lease, RESULT) == "accepted"
        assert store.tasks.states([name])[name].result == RESULT
        assert not store.tasks.renew(late, 60.0)

    def test_a_late_worker_keeps_what_nobody_takes(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0), replace(_task(1), kind="other")])
        (late,) = store.tasks.claim(WORKER, -1.0, kinds=["other"])
        assert len(store.tasks.claim("worker-2", 60.0, limit=9, kinds=["chunk"])) == 1
        assert store.tasks.renew(late, 60.0)
        assert store.tasks.finish(late, RESULT) == "accepted"

    def test_a_renewed_lease_is_kept(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0)])
        (lease,) = store.tasks.claim(WORKER, -1.0)
        assert store.tasks.renew(lease, 60.0)
        assert store.tasks.claim("worker-2", 60.0) == []

    def test_a_task_that_is_given_back_is_open_at_once(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0)], max_attempts=1)
        (lease,) = store.tasks.claim(WORKER, 60.0)
        store.tasks.release(lease)
        assert len(store.tasks.claim("worker-2", 60.0)) == 1

    def test_a_task_fails_after_its_attempts(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)], max_attempts=2)
        for _ in range(2):
            (lease,) = store.tasks.claim(WORKER, 60.0)
            store.tasks.fail(lease, "it broke")
        assert store.tasks.claim(WORKER, 60.0) == []
        assert store.tasks.states([name])[name].error == "it broke"
        assert store.tasks.counts(RUN) == {"failed": 1}

    def test_a_task_that_kills_its_workers_fails_in_the_end(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0)], max_attempts=2)
        for _ in range(3):
            store.tasks.claim(WORKER, -1.0)
        assert store.tasks.counts(RUN) == {"failed": 1}

    def test_a_task_that_failed_can_be_opened_again(self, store: Store) -> None:
        names = store.tasks.add(RUN, [_task(0)], max_attempts=1)
        (lease,) = store.tasks.claim(WORKER, 60.0)
        store.tasks.fail(lease, "it broke")
        store.tasks.reopen(names, ["done"])
        assert store.tasks.counts(RUN) == {"failed": 1}
        store.tasks.reopen(names, ["failed"])
        (again,) = store.tasks.claim(WORKER, 60.0)
        store.tasks.fail(again, "it broke")
        assert store.tasks.counts(RUN) == {"open": 1}

    def test_a_worker_that_is_gone_loses_its_lease(self, store: Store) -> None:
        (name,) = store.tasks.add(RUN, [_task(0)])
        (lease,) = store.tasks.claim(WORKER, 60.0)
        holder = store.tasks.holder(name)
        assert holder is not None
        assert (holder.worker, holder.fence) == (WORKER, lease.fence)
        store.tasks.expire(holder)
        assert store.tasks.holder(name) is None
        assert len(store.tasks.claim("worker-2", 60.0)) == 1
        assert store.tasks.finish(lease, RESULT) == "stale"

    def test_only_tasks_that_ended_are_told_where_asked_for(self, store: Store) -> None:
        first, second = store.tasks.add(RUN, [_task(0), _task(1)])
        (lease,) = store.tasks.claim(WORKER, 60.0)
        assert store.tasks.states([first, second], ended=True) == {}
        store.tasks.finish(lease, RESULT)
        assert store.tasks.states([first, second], ended=True).keys() == {first}

    def test_damage_is_found(self, store: Store) -> None:
        digest = store.append(RUN, _round(0), {"round": 1})
        store.keep(RUN, "surrogate", b"weights")
        assert store.damage() == []
        store.blobs.remove(digest)
        assert len(store.damage()) == 1
        assert digest in store.damage()[0]

    def test_cancelled_work_counts_no_more(self, store: Store) -> None:
        store.tasks.add(RUN, [_task(0), _task(1)])
        (lease,) = store.tasks.claim(WORKER, 60.0)
        store.tasks.cancel(RUN)
        assert store.tasks.finish(lease, RESULT) == "stale"
        assert store.tasks.counts(RUN) == {"cancelled": 2}

    def test_many_workers_never_share_a_task(self, store: Store) -> None:
        n_tasks, n_workers = 60, 4
        store.tasks.add(RUN, [_task(i) for i in range(n_tasks)])
        begin = threading.Barrier(n_workers)

        def work(number: int) -> list[str]:
            begin.wait()
            done = []
            while leases := store.tasks.claim(f"worker-{number}", 60.0, limit=2):
                done += [one.task_id for one in leases]
                assert {store.tasks.finish(one, RESULT) for one in leases} == {"accepted"}
            return done

        with ThreadPoolExecutor(n_workers) as pool:
            done = [name for names in pool.map(work, range(n_workers)) for name in names]
        assert len(done) == len(set(done)) == n_tasks
        assert store.tasks.counts(RUN) == {"done": n_tasks}


def _task(number: int) -> NewTask:
    return NewTask(str(number), "chunk", PAYLOAD)


def _round(number: int) -> Round:
    theta = torch.tensor([0.1, -1 / 3], dtype=torch.float64)
    return Round(number, theta, 0.1 + 0.2, 0.01, None, None, {"cost": 6.0}, 2, 0.1, 0.1)


def _evaluation(value: float) -> Evaluation:
    request = Request(torch.tensor([0.5], dtype=torch.float64), ("round", 0))
    return Evaluation(request, value, 0.01, None, None, n_events=10)
