"""Workers that have HTTPS and a token, and some of them lie."""

import ssl
import threading

import pytest
import torch

from detopt.errors import CheckpointError, ConfigError, DetoptError
from detopt.pipeline.evaluation import Request
from detopt.random import Seed
from detopt.runtime.executors import QueueExecutor, SerialExecutor
from detopt.runtime.executors.work import Answer, decode_answer, encode_answer
from detopt.runtime.storage import decode, encode
from detopt.runtime.worker import Worker


class Liar:
    """Hands in other numbers than those that it found."""

    def __init__(self, source):
        self._source = source

    def __getattr__(self, name):
        return getattr(self._source, name)

    def finish(self, lease, data):
        found = decode_answer(data)
        tensors = [one + 0.125 for one in found.summary.tensors()]
        return self._source.finish(
            lease, encode_answer(Answer(found.summary.replace(tensors), None, found.cpu_s))
        )


def serially(run, names):
    """Do all tasks that are open, trusted and on the spot."""
    worker = Worker(run.store, run_id=run.id)
    while worker.step():
        pass
    return [run.result(name) for name in names]


def test_a_remote_worker_gives_the_bits_of_this_process(run, service):
    requests = [
        Request(
            run.problem.space.theta(run.problem.space.start), ("a", i), gradient=True, n_events=20
        )
        for i in range(2)
    ]
    worker, over = Worker(service.client(run.token())), threading.Event()
    thread = threading.Thread(target=lambda: worker.run(until=over.is_set))
    thread.start()
    try:
        found = QueueExecutor(run.problem, run.store, run.id).evaluate(requests, Seed(3))
    finally:
        over.set()
        thread.join()
    expected = SerialExecutor(run.problem).evaluate(requests, Seed(3))
    for one, other in zip(found, expected, strict=True):
        assert (one.value, one.std_error) == (other.value, other.std_error)
        assert torch.equal(one.gradient, other.gradient)


def test_no_token_is_kept(run):
    text = run.token()
    run.store.close()
    raw = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    assert text.encode() not in raw
    assert text.removeprefix("detopt-").encode() not in raw


@pytest.mark.parametrize("kind", ["unknown", "expired", "revoked"])
def test_a_token_that_does_not_hold_is_refused(run, service, kind):
    text = run.token(lifetime_s=1e-9 if kind == "expired" else 60.0)
    if kind == "revoked":
        run.tokens.revoke(run.tokens.find(text).digest)
    text = "detopt-guess" if kind == "unknown" else text
    with pytest.raises(DetoptError, match="does not know this token"):
        service.client(text).claim("w", 30.0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/claim"),
        ("POST", f"/v1/tasks/{'a' * 64}/renew"),
        ("POST", f"/v1/tasks/{'a' * 64}/fail"),
        ("POST", f"/v1/tasks/{'a' * 64}/release"),
        ("PUT", f"/v1/tasks/{'a' * 64}/answer/{'b' * 64}?fence=1"),
        ("GET", "/v1/inputs"),
        ("GET", f"/v1/blobs/{'a' * 64}"),
    ],
)
def test_nothing_is_told_without_a_token(service, certificate, method, path):
    import httpx

    context = ssl.create_default_context(cafile=str(certificate[0]))
    body = {"worker": "w", "fence": 1, "lease_s": 1.0, "error": ""}
    found = httpx.request(method, service.url + path, json=body, verify=context)
    assert found.status_code == 401
    assert set(found.json()) == {"error"}
    with httpx.Client(verify=context) as client:
        assert client.get(service.url + "/v1/health").json() == {"status": "ok"}
        assert client.get(service.url + "/openapi.json").status_code == 404


@pytest.mark.parametrize("token", ["", "a\nb", "é"])
def test_what_is_no_token_is_refused(service, token):
    with pytest.raises(ConfigError, match="The token is empty"):
        service.client(token)


def test_a_token_is_for_one_run(run, service):
    run.store.add_run("other", run.store.run(run.id).study_id)
    run.add(1)
    other = run.tokens.make("other", 60.0, trust="full")
    assert service.client(other).claim("w", 30.0) == []


def test_a_lease_belongs_to_its_token(run, service):
    run.add(1)
    (lease,) = service.client(run.token()).claim("w", 30.0)
    thief = service.client(run.token())
    for steal in (
        lambda: thief.finish(lease, b"x"),
        lambda: thief.release(lease),
        lambda: thief.renew(lease, 30.0),
        lambda: thief.fail(lease, "no"),
        lambda: thief.payload(lease),
    ):
        with pytest.raises(CheckpointError, match="404"):
            steal()
    assert run.state(lease.task_id) == "leased"


def test_a_lease_is_short_renewed_and_given_back(run, service):
    run.add(1)
    source = service.client(run.token())
    (lease,) = source.claim("w", 3000.0)
    with run.store.database.engine.connect() as connection:
        now = run.store.database.now(connection)
    assert lease.until < now + 121
    assert source.renew(lease, 30.0)
    source.release(lease)
    assert run.state(lease.task_id) == "open"
    assert not source.renew(lease, 30.0)


def test_an_answer_counts_once_and_only_under_the_newest_lease(run, service):
    (name,) = run.add(1)
    source = service.client(run.token())
    (late,) = source.claim("w", 30.0)
    run.store.tasks.expire(run.store.tasks.holder(name))
    (lease,) = source.claim("w", 30.0)
    data = Worker(source)._answer(lease)
    assert source.finish(late, data) == "stale"
    assert source.finish(lease, data) == "accepted"
    assert source.finish(lease, data) == "duplicate"


def wrong(data, kind):
    """The answer, spoiled."""
    value = decode(data)
    tensors = value["summary"]
    match kind:
        case "not finite":
            value["summary"] = [torch.full_like(one, torch.nan) for one in tensors]
        case "wrong type":
            value["summary"] = [one.to(torch.float16) for one in tensors]
        case "wrong shape":
            value["summary"] = [one.unsqueeze(-1) for one in tensors]
        case "unknown kind":
            value["kind"] = "os:system"
        case "gradient":
            value = {"kind": None, "summary": None, "gradient": torch.ones(1), "cpu_s": 0.0}
        case "time":
            value["cpu_s"] = -1.0
        case "no tensor":
            value["summary"] = ["text"] * len(tensors)
        case "junk":
            return b"\x80\x04junk"
    return encode(value)


@pytest.mark.parametrize(
    "kind",
    [
        "not finite",
        "wrong type",
        "wrong shape",
        "unknown kind",
        "gradient",
        "time",
        "no tensor",
        "junk",
    ],
)
def test_what_cannot_be_an_answer_is_refused(run, service, kind):
    (name,) = run.add(1)
    source = service.client(run.token("quorum"))
    (lease,) = source.claim("w", 30.0)
    data = Worker(source)._answer(lease)
    with pytest.raises(CheckpointError, match="400"):
        source.finish(lease, wrong(data, kind))
    assert run.state(name) == "open"
    assert source.claim("w", 30.0) == []  # others do it


def test_an_answer_that_is_too_large_is_refused(run, service):
    run.add(1)
    source = service.client(run.token())
    (lease,) = source.claim("w", 30.0)
    with pytest.raises(CheckpointError, match="413"):
        source.finish(lease, bytes(200_000))


def test_a_request_that_is_too_large_is_not_read(service, certificate):
    import httpx

    context = ssl.create_default_context(cafile=str(certificate[0]))
    body = {"worker": "w" * 300_000, "lease_s": 1.0}
    found = httpx.post(service.url + "/v1/claim", json=body, verify=context)
    assert found.status_code in {400, 413}


def test_code_is_sent_to_those_that_allow_it(own_case, service):
    token = own_case.token()
    with pytest.raises(ConfigError, match="--allow-code"):
        service.client(token).inputs(own_case.id)
    inputs = service.client(token, allow_code=True).inputs(own_case.id)
    assert sorted(inputs) == ["inputs/mine.py", "study.yaml"]
    (name,) = own_case.add(1)
    assert Worker(service.client(token, allow_code=True)).step()
    assert own_case.state(name) == "done"


def test_two_tokens_have_to_agree(run, service):
    (name,) = run.add(1)
    first, second = (service.client(run.token("quorum")) for _ in range(2))
    assert Worker(first).step()
    assert run.state(name) == "open"
    assert not Worker(first).step()  # nobody confirms himself
    assert Worker(second).step()
    assert run.state(name) == "done"


def test_a_liar_is_outvoted_and_loses_its_token(run, service):
    names = run.add(2)
    lying, first, second = (service.client(run.token("quorum")) for _ in range(3))
    Worker(Liar(lying)).step()
    Worker(Liar(lying)).step()
    for source in (first, second):
        while Worker(source).step():
            pass
    assert [run.state(name) for name in names] == ["done", "done"]
    with pytest.raises(DetoptError, match="does not know"):
        lying.claim("w", 30.0)
    (event,) = run.store.events(run.id)
    assert event.kind == "false answer"


def test_a_trusted_worker_finds_a_liar(run, service):
    names = run.add(3)
    lying = service.client(run.token("sample"))  # all answers are done again here
    worker = Worker(Liar(lying))
    assert [worker.step() for _ in range(4)] == [True, True, True, False]
    found = serially(run, names)
    with pytest.raises(DetoptError, match="does not know"):
        lying.claim("w", 30.0)
    run.add(3, seed=1)  # other tasks: the honest answers to the first ones
    assert all(decode_answer(data).summary is not None for data in found)


def test_what_a_liar_said_before_is_discarded(run, service, monkeypatch):
    from detopt.runtime.votes import Votes

    names = run.add(2)
    token = run.tokens.find(run.token("sample"))
    draws = iter([0.9, 0.0])  # the first answer counts at once, the second is done again
    votes = Votes(run.store, rate=0.5)
    monkeypatch.setattr("secrets.SystemRandom.random", lambda _: next(draws))

    class Direct(Liar):
        def finish(self, lease, data):
            found = decode_answer(data)
            tensors = [one + 1.0 for one in found.summary.tensors()]
            data = encode_answer(Answer(found.summary.replace(tensors), None, 0.0))
            return votes.cast(token, lease, data)

        def claim(self, worker, lease_s):
            return run.store.tasks.claim(
                token.mark + worker, lease_s, where=votes.open_to(token), kinds=["chunk"]
            )

    from detopt.runtime.sources import StoreSource

    worker = Worker(Direct(StoreSource(run.store, run.id)))
    assert worker.step()
    assert run.state(names[0]) == "done"
    assert worker.step()
    found = serially(run, names)
    expected = serially(run, run.add(2))  # the same tasks: nothing to do
    assert found == expected
    (event,) = run.store.events(run.id)
    assert (event.data["discarded"], event.data["used"]) == (2, False)
    assert max(one.abs().max() for one in decode_answer(found[0]).summary.tensors()) < 1e3


def test_failures_of_the_untrusted_do_not_fail_a_task(run, service):
    (name,) = run.add(1)
    source = service.client(run.token("quorum"))
    (lease,) = source.claim("w", 30.0)
    source.fail(lease, "no", final=True)
    assert run.state(name) == "open"
    assert len(serially(run, [name])) == 1


def test_a_worker_that_does_not_know_the_certificate_goes_away(run, service):
    from detopt.service.client import ServiceSource

    source = ServiceSource(service.url, run.token(), patience=2.0)
    with pytest.raises(ConfigError, match="not trusted"):
        source.claim("w", 30.0)
    source.close()


def test_plain_http_is_not_answered(run, service):
    from detopt.service.client import ServiceSource

    source = ServiceSource(service.url.replace("https", "http"), run.token(), patience=0.0)
    with pytest.raises(CheckpointError, match="did not answer"):
        source.claim("w", 30.0)
    source.close()


def test_the_certificate_is_one(certificate):
    context = ssl.create_default_context(cafile=str(certificate[0]))
    assert len(context.get_ca_certs()) == 1
    assert certificate[1].stat().st_mode & 0o077 == 0
