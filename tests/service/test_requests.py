"""Requests that are wrong, and servers that are no service or do not answer."""

import socket
import ssl
import threading
import time
from pathlib import Path

import pytest

from detopt.errors import CheckpointError, MissingExtraError
from detopt.runtime.executors.work import answer as do
from detopt.runtime.executors.work import decode_work, encode_answer
from detopt.runtime.storage import Lease
from detopt.service.client import ServiceSource


@pytest.mark.parametrize(
    ("body", "status", "match"),
    [
        (b'{"worker": "w", "lease_s": NaN}', 422, "lease_s"),
        (b'{"worker": "w", "lease_s": 4000}', 422, "less than or equal to 3600"),
        (b'{"worker": "\\ud800", "lease_s": 1}', 422, "worker"),
        (b"nothing", 422, "JSON"),
        (b'{"worker": "' + b"w" * 300_000 + b'"}', 413, "may have 262144 bytes"),
    ],
)
def test_a_request_that_is_wrong_is_told_why(run, service, certificate, body, status, match):
    import httpx

    context = ssl.create_default_context(cafile=str(certificate[0]))
    headers = {"Authorization": f"Bearer {run.token()}", "Content-Type": "application/json"}
    found = httpx.post(service.url + "/v1/claim", content=body, headers=headers, verify=context)
    assert found.status_code == status
    assert match in found.json()["error"]


@pytest.mark.parametrize("trust", ["full", "quorum"])
def test_an_error_with_any_sign_is_taken(run, service, trust):
    (name,) = run.add(1)
    source = service.client(run.token(trust))
    (lease,) = source.claim("w", 30.0)
    source.fail(lease, "printed \udcff and \0", final=True)
    assert run.state(name) == ("failed" if trust == "full" else "open")


@pytest.fixture
def elsewhere():
    """A server that is none of detopt: it takes connections and answers what it is told."""
    pytest.importorskip("httpx", reason="pip install detopt[service]")
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_server_of_another_kind_is_named(elsewhere):
    def answer():
        peer, _ = elsewhere.accept()
        with peer:
            peer.recv(10_000)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>")

    thread = threading.Thread(target=answer)
    thread.start()
    source = ServiceSource(f"http://127.0.0.1:{elsewhere.getsockname()[1]}", "token")
    with pytest.raises(CheckpointError, match="not as a service of detopt"):
        source.claim("w", 30.0)
    thread.join()
    source.close()


def test_a_service_that_is_silent_holds_up_nobody(elsewhere):
    source = ServiceSource(f"http://127.0.0.1:{elsewhere.getsockname()[1]}", "token")
    lease = Lease("a" * 64, "run", "chunk", "b" * 64, 1, "w", 0.0)
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=r"did not answer for 1 s"):
        source.renew(lease, 3.0)
    assert time.monotonic() - begin < 3.0
    source.close()


@pytest.mark.parametrize("where", ["referee.make_problem", "expectation.answer"])
def test_a_service_that_lacks_a_package_says_so_before_anybody_works(
    run, service, monkeypatch, where
):
    def missing(*_):
        raise MissingExtraError("It needs `geant4`. Install it with `pip install detopt[geant4]`.")

    (name,) = run.add(1)
    source = service.client(run.token("quorum"))
    with monkeypatch.context() as patch:
        patch.setattr(f"detopt.service.{where}", missing)
        with pytest.raises(CheckpointError, match=r"501 .*pip install detopt\[geant4\]"):
            source.claim("w", 30.0)
        assert run.state(name) == "open"
    assert len(source.claim("w", 30.0)) == 1


def test_a_store_that_is_away_is_no_fault_of_the_worker(run, service):
    (name,) = run.add(1)
    source = service.client(run.token("quorum"))
    (lease,) = source.claim("w", 30.0)
    answer = encode_answer(do(run.problem, decode_work(source.payload(lease))))
    payload = Path(run.store.blobs.path(lease.payload))
    elsewhere = payload.rename(payload.with_suffix(".away"))
    with pytest.raises(CheckpointError, match="503"):
        source.finish(lease, answer)
    elsewhere.rename(payload)
    assert run.state(name) == "leased"
    assert source.finish(lease, answer) == "held"
