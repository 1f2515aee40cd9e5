"""Evaluations that other runs of a store have done."""

import math
from types import SimpleNamespace

import pytest
import torch

from detopt import usecases
from detopt.design import Continuous, Design, DesignSpace, Interval
from detopt.pipeline import Evaluation, FunctionProblem, Request
from detopt.random import Seed
from detopt.runtime.executors import DesignChunk, SerialExecutor, SharingExecutor
from detopt.runtime.executors.shared import n_shared
from detopt.runtime.storage import BlobStore, Database, Store, Tokens, sqlite_url

SEED = Seed(3)


class Counting(SerialExecutor):
    """Counts what it is asked for."""

    def __init__(self, problem):
        super().__init__(problem)
        self.asked = 0

    def evaluate(self, requests, seed):
        self.asked += len(requests)
        return super().evaluate(requests, seed)

    def summarize(self, work):
        self.asked += len(work)
        return super().summarize(work)


@pytest.fixture
def problem():
    return usecases.load("hump").build({})


@pytest.fixture
def store(tmp_path):
    store = Store(Database(sqlite_url(tmp_path / "x.sqlite")), BlobStore(tmp_path / "blobs"))
    store.database.upgrade()
    for name in ("one", "two"):
        store.add_study(name, name, {})
        store.add_run(name, name)
    yield store
    store.close()


@pytest.fixture
def make(problem, store):
    def make(run="one", digest="p", problem=problem):
        return SharingExecutor(Counting(problem), store, run, digest)

    return make


def request(problem, **settings):
    theta = problem.space.theta(problem.space.start)
    return Request(theta, ("round", 0), **{"n_events": 40, **settings})


def plain(found):
    data = vars(found) | {"request": None, "rows": None, "cpu_s": None}
    tensors = [] if found.rows is None else found.rows.tensors()
    return [repr(data), *(tensor.tolist() for tensor in tensors)]


@pytest.mark.parametrize("settings", [{}, {"gradient": True}, {"rows": True}, {"std_error": False}])
def test_an_evaluation_of_another_run_has_the_same_bits(make, problem, settings):
    asked = [request(problem, **settings)]
    (own,) = SerialExecutor(problem).evaluate(asked, SEED)
    (first,) = make("one").evaluate(asked, SEED)
    second = make("two")
    (found,) = second.evaluate(asked, SEED)
    assert second.inner.asked == 0
    assert second.n_used == 1
    assert plain(own) == plain(first) == plain(found)
    assert found.cpu_s == 0.0


def test_only_what_is_missing_is_done_and_the_order_stays(make, problem):
    asked = [request(problem, n_events=n) for n in (30, 40, 50)]
    make("one").evaluate(asked[1:2], SEED)
    second = make("two")
    found = second.evaluate(asked, SEED)
    assert second.inner.asked == 2
    assert [one.n_events for one in found] == [30, 40, 50]
    assert list(map(plain, found)) == list(
        map(plain, SerialExecutor(problem).evaluate(asked, SEED))
    )


@pytest.mark.parametrize(
    "other",
    [
        {"gradient": True},
        {"n_events": 41},
        {"std_error": False},
        {"rows": True},
        {"stream": ("round", 1)},
        {"theta": "moved"},
    ],
)
def test_another_request_is_another_evaluation(make, problem, other):
    make("one").evaluate([request(problem)], SEED)
    second = make("two")
    changed = vars(request(problem)) | other
    if "theta" in other:
        changed["theta"] = request(problem).theta + 1e-15
    second.evaluate([Request(**changed)], SEED)
    assert second.inner.asked == 1


def test_another_seed_or_problem_is_another_evaluation(make, problem):
    make("one").evaluate([request(problem)], SEED)
    for one, seed in ((make("two"), Seed(4)), (make("two", "other"), SEED)):
        one.evaluate([request(problem)], seed)
        assert one.inner.asked == 1


def test_frozen_parameters_belong_to_the_evaluation(make):
    """The same theta is another design where another parameter is free."""
    space = DesignSpace([Continuous(name, 0.5, Interval(0.0, 1.0)) for name in ("x", "y")])
    whole = FunctionProblem(
        space, lambda design, n, rng: design["x"] + torch.rand(n, generator=rng)
    )
    values = []
    for name in ("x", "y"):
        one = make(problem=whole.with_space(space.free_only(name)))
        asked = Request(torch.ones(1, dtype=torch.float64), ("round", 0), n_events=8)
        values.append(one.evaluate([asked], SEED)[0].value)
        assert one.inner.asked == 1
    assert values[0] != values[1]


def test_summaries_of_designs_are_shared(make, problem):
    design = problem.space.start
    work = [DesignChunk(design, SEED.child(i), 20) for i in range(3)]
    first = make("one").summarize(work)
    second = make("two")
    found = second.summarize([*work, DesignChunk(Design(dict(design)), SEED.child(3), 20)])
    assert second.inner.asked == 1
    for a, b in zip(first, found[:3], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.tensors(), b.tensors(), strict=True))


def test_what_failed_is_done_again(make, problem, monkeypatch):
    failed = Evaluation.failed(request(problem), "no licence")
    monkeypatch.setattr(Counting, "evaluate", lambda self, requests, seed: [failed])
    (found,) = make("one").evaluate([request(problem)], SEED)
    assert math.isnan(found.value)
    monkeypatch.undo()
    second = make("two")
    second.evaluate([request(problem)], SEED)
    assert second.inner.asked == 1


@pytest.mark.parametrize(("trust", "n_asked"), [("full", 0), ("quorum", 1), ("sample", 1)])
def test_nothing_is_shared_that_untrusted_workers_may_have_done(
    make, problem, store, trust, n_asked
):
    Tokens(store.database).make("one", 60.0, trust=trust)
    make("one").evaluate([request(problem)], SEED)
    second = make("two")
    second.evaluate([request(problem)], SEED)
    assert second.inner.asked == n_asked


@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_answer_is_made_anew(make, problem, store, tmp_path, damage):
    (first,) = make("one").evaluate([request(problem)], SEED)
    (path,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = make("two")
    (found,) = second.evaluate([request(problem)], SEED)
    assert second.inner.asked == 1
    assert plain(found) == plain(first)
    assert [event.kind for event in store.events("two")] == ["damaged"]
    third = make("two")
    third.evaluate([request(problem)], SEED)
    assert third.inner.asked == 0


def test_answers_stay_while_the_files_are_away(make, problem, monkeypatch, store):
    (first,) = make("one").evaluate([request(problem)], SEED)

    def away(_):
        raise TimeoutError("timed out")

    second = make("two")
    with monkeypatch.context() as patch:
        patch.setattr(store.blobs, "_system", SimpleNamespace(cat_file=away))
        assert second._find([second._evaluation_key(request(problem), SEED)]) == {}
    (found,) = second.evaluate([request(problem)], SEED)
    assert second.inner.asked == 0
    assert plain(found) == plain(first)


def test_how_much_was_shared_is_kept(make, problem, store):
    make("one").evaluate([request(problem)], SEED)
    with make("two") as second:
        second.evaluate([request(problem)], SEED)
        second.evaluate([request(problem)], SEED)
        second.close()  # as a budget does that is used up
    assert n_shared(store, "two") == 2
    assert n_shared(store, "one") == 0
