"""Answers of untrusted workers, on each database."""

import pytest
import torch

from detopt.errors import CheckpointError
from detopt.runtime.rounds import Round
from detopt.runtime.sources import KIND, StoreSource
from detopt.runtime.storage import BlobStore, Database, NewTask, Store, Tokens, encode
from detopt.runtime.votes import MAX_FAILED, MAX_TRIES, Votes, content_of, refuse_false
from detopt.testing.postgres import new_database


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        url = new_database(server, f"t{abs(hash(str(tmp_path)))}")
    store = Store(Database(url, patience=5.0), BlobStore(tmp_path / "blobs"))
    store.database.upgrade()
    store.add_study("study", "f" * 64, {})
    store.add_run("run", "study")
    yield store
    store.close()


@pytest.fixture
def group(store):
    """Makes workers with tokens."""
    return lambda trust="quorum", rate=0.0: Member(store, trust, rate)


class Member:
    """A worker with a token of its own."""

    def __init__(self, store, trust, rate):
        self.store, self.votes = store, Votes(store, rate)
        tokens = Tokens(store.database)
        self.text = tokens.make("run", 3600.0, trust=trust)
        self.token = tokens.find(self.text)

    def claim(self):
        where = self.votes.open_to(self.token)
        return self.store.tasks.claim(self.token.mark + "w", 60.0, kinds=[KIND], where=where)

    def say(self, number, cpu_s=0.5):
        (lease,) = self.claim()
        return self.votes.cast(self.token, lease, answer(number, cpu_s))

    @property
    def holds(self):
        return Tokens(self.store.database).find(self.text) is not None


def answer(number, cpu_s=0.5):
    gradient = torch.tensor([float(number)], dtype=torch.float64)
    return encode({"kind": None, "summary": None, "gradient": gradient, "cpu_s": cpu_s})


def add(store, n_tasks):
    return store.tasks.add("run", [NewTask(str(i), KIND, "a" * 64) for i in range(n_tasks)])


def keep_round(store):
    theta = torch.tensor([0.5], dtype=torch.float64)
    store.append("run", Round(0, theta, 0.1, 0.1, None, None, {}, 1, 0.1, 0.1), {"round": 1})


def trusted(store, number):
    """A trusted worker does one task."""
    source = StoreSource(store, "run")
    (lease,) = source.claim("own", 60.0)
    return source.finish(lease, answer(number))


def state(store, name):
    return store.tasks.states([name])[name].state


def test_the_time_that_an_answer_took_is_not_part_of_it():
    assert content_of(answer(1, 0.5)) == content_of(answer(1, 0.7))
    assert content_of(answer(1)) != content_of(answer(1 + 2**-52))


def test_an_answer_waits_for_a_second_one(store, group):
    (name,) = add(store, 1)
    first, second = group(), group()
    assert first.say(1, cpu_s=0.5) == "held"
    assert first.claim() == []  # nobody confirms himself
    assert state(store, name) == "open"
    assert second.say(1, cpu_s=0.7) == "accepted"
    assert state(store, name) == "done"
    assert first.holds
    assert second.holds


def test_the_answer_that_two_give_wins(store, group):
    (name,) = add(store, 1)
    liar, first, second = group(), group(), group()
    assert [liar.say(2), first.say(1), second.say(1)] == ["held", "held", "accepted"]
    assert store.blobs.get(store.tasks.states([name])[name].result) == answer(1)
    assert (liar.holds, first.holds, second.holds) == (False, True, True)
    (event,) = store.events("run")
    assert event.data["token"] == liar.token.digest


def test_a_trusted_worker_decides(store, group):
    add(store, 1)
    liar, honest = group(), group()
    assert [liar.say(2), honest.say(1)] == ["held", "held"]
    assert trusted(store, 1) == "accepted"
    assert (liar.holds, honest.holds) == (False, True)


def test_a_held_answer_of_a_revoked_token_confirms_nothing(store, group):
    (name,) = add(store, 1)
    first, second = group(), group()
    first.say(2)
    Tokens(store.database).revoke(first.token.digest)
    assert second.say(2) == "held"
    assert state(store, name) == "open"


def test_a_sample_is_for_trusted_workers_alone(store, group):
    add(store, 1)
    drawn, other = group("sample", rate=1.0), group("sample", rate=0.0)
    assert drawn.say(1) == "held"
    assert other.claim() == []
    assert trusted(store, 1) == "accepted"
    assert drawn.holds


def test_what_a_liar_said_is_discarded_and_done_again(store, group):
    names = add(store, 3)
    liar = group("sample", rate=0.0)
    assert [liar.say(2), liar.say(2)] == ["accepted", "accepted"]
    liar.votes.rate = 1.0
    assert liar.say(2) == "held"
    trusted(store, 1)
    assert not liar.holds
    assert [state(store, name) for name in names] == ["open", "open", "done"]
    (event,) = store.events("run")
    assert (event.data["discarded"], event.data["used"]) == (3, False)


def test_a_run_that_used_a_false_answer_is_stopped(store, group):
    names = add(store, 3)
    liar = group("sample", rate=0.0)
    liar.say(2)
    keep_round(store)
    liar.votes.rate = 1.0
    liar.say(2)
    assert refuse_false(store, "run") == 0  # nobody knows yet
    trusted(store, 1)
    assert state(store, names[0]) == "open"
    with pytest.raises(CheckpointError, match="Start a new run"):
        refuse_false(store, "run")


def test_a_process_that_read_a_false_answer_stops_and_is_resumed(store, group):
    add(store, 2)
    liar = group("sample", rate=0.0)
    liar.say(2)
    liar.votes.rate = 1.0
    liar.say(2)
    assert refuse_false(store, "run", 0) == 0
    trusted(store, 1)
    with pytest.raises(CheckpointError, match="Resume it"):
        refuse_false(store, "run", 0)
    assert refuse_false(store, "run") == 1  # the one that resumes
    keep_round(store)
    assert refuse_false(store, "run", 1) == 1


def test_a_round_that_is_kept_while_a_liar_is_found_counts_as_used(store, group):
    add(store, 2)
    liar = group("sample", rate=0.0)
    liar.say(2)
    liar.votes.rate = 1.0
    liar.say(2)
    trusted(store, 1)
    keep_round(store)
    for known in (0, None):
        with pytest.raises(CheckpointError, match="Start a new run"):
            refuse_false(store, "run", known)


def test_a_liar_that_was_never_believed_stops_nobody(store, group):
    add(store, 1)
    group().say(2)
    trusted(store, 1)
    assert refuse_false(store, "run", 0) == 1


def test_an_answer_is_cast_once(store, group):
    add(store, 1)
    one = group()
    (lease,) = one.claim()
    assert one.votes.cast(one.token, lease, answer(1)) == "held"
    assert one.votes.cast(one.token, lease, answer(1)) == "duplicate"
    assert one.votes.cast(one.token, lease, answer(2)) == "stale"


def test_an_answer_under_a_lost_lease_does_not_count(store, group):
    add(store, 1)
    one = group()
    (lease,) = one.claim()
    store.tasks.release(lease)
    assert one.votes.cast(one.token, lease, answer(1)) == "stale"


def test_failures_of_the_untrusted_cost_them_their_token(store, group):
    names = add(store, MAX_FAILED)
    one = group()
    for _ in names:
        (lease,) = one.claim()
        one.votes.refuse(one.token, lease, "broken")
    assert not one.holds
    assert {state(store, name) for name in names} == {"open"}


def test_a_token_tries_a_task_only_some_times(store, group):
    add(store, 1)
    one = group()
    for _ in range(MAX_TRIES):
        (lease,) = one.claim()
        store.tasks.release(lease)
    assert one.claim() == []
    assert len(group().claim()) == 1
