"""Where plain HTTP is allowed, and what a service may make a worker run."""

import pytest
import yaml

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime.storage import BlobStore, Database, Store, sqlite_url
from detopt.service.addresses import check_served, check_url, is_loopback, make_certificate
from detopt.service.client import ServiceSource, _refuse_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_loopback_is_known(host, expected):
    assert is_loopback(host) == expected


@pytest.mark.parametrize("url", ["https://a.b:8443", "http://127.0.0.1:80/", "http://[::1]:80"])
def test_protected_addresses_are_used(url):
    assert check_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://a.b:8443", "Use https"),
        ("http://127.0.0.1.a.b", "Use https"),
        ("https://me:secret@a.b", "no password"),
        ("https://a.b?token=1", "no query"),
        ("file:///etc", "no address"),
        ("a.b:8443", "no address"),
    ],
)
def test_other_addresses_are_refused(url, match):
    with pytest.raises(ConfigError, match=match):
        check_url(url)


def test_no_service_listens_unprotected(tmp_path):
    check_served("127.0.0.1", None, None)
    with pytest.raises(ConfigError, match="needs TLS"):
        check_served("0.0.0.0", None, None)
    with pytest.raises(ConfigError, match="its key"):
        check_served("127.0.0.1", tmp_path / "c", None)
    with pytest.raises(ConfigError, match="does not exist"):
        check_served("0.0.0.0", tmp_path / "c", tmp_path / "k")


@pytest.mark.parametrize(
    ("study", "error", "match"),
    [
        ({"use_case": "inputs/mine.py"}, NotFoundError, "not installed"),
        ({"use_case": "black_box", "options": {"command": "rm x"}}, ConfigError, "allow-code"),
        (
            {"use_case": "muon_scanner", "options": {"volume": "/etc/passwd"}},
            ConfigError,
            "of this machine",
        ),
        (
            {"use_case": "muon_scanner", "options": {"volume": "inputs/../../x"}},
            ConfigError,
            "of this machine",
        ),
    ],
)
def test_a_study_that_runs_code_is_refused(study, error, match):
    with pytest.raises(error, match=match):
        _refuse_code(yaml.safe_dump(study).encode())


@pytest.mark.parametrize(
    ("study", "taken"),
    [
        ({"use_case": "hump", "options": {}}, True),
        ({"use_case": "muon_scanner"}, True),
        ({"use_case": "muon_scanner", "options": {"volume": "inputs/wall.npz"}}, True),
        ({"use_case": "muon_scanner", "options": {"volume": "wall.npz"}}, False),
    ],
)
def test_a_study_with_files_of_its_own_alone_is_taken(study, taken):
    try:
        _refuse_code(yaml.safe_dump(study).encode())
        found = True
    except ConfigError:
        found = False
    assert found == taken


@pytest.mark.parametrize("url", ["https://a.b:port", "https://a.b:99999", "https://[::1"])
def test_an_address_that_cannot_be_read_is_refused(url):
    with pytest.raises(ConfigError, match=r"no address of a service: .*https://HOST:PORT"):
        check_url(url)


def test_files_without_a_certificate_are_refused(tmp_path):
    file = tmp_path / "certificate.pem"
    file.write_text("nothing")
    with pytest.raises(ConfigError, match="no certificate and its key"):
        check_served("0.0.0.0", file, file)
    pytest.importorskip("httpx", reason="pip install detopt[service]")
    with pytest.raises(ConfigError, match="holds no certificate"):
        ServiceSource("https://a.b", "token", authority=file)


def test_nobody_else_reads_the_key_of_a_certificate(tmp_path):
    pytest.importorskip("cryptography", reason="pip install detopt[service]")
    key = tmp_path / "key.pem"
    key.touch(mode=0o644)
    make_certificate(tmp_path)
    assert key.stat().st_mode & 0o777 == 0o600
    check_served("0.0.0.0", tmp_path / "certificate.pem", key)


def test_the_address_of_ipv6_can_be_used(tmp_path, monkeypatch):
    uvicorn = pytest.importorskip("uvicorn", reason="pip install detopt[service]")
    pytest.importorskip("fastapi", reason="pip install detopt[service]")
    from detopt.service.app import serve

    monkeypatch.setattr(uvicorn, "run", lambda *_, **__: None)
    database = Database(sqlite_url(tmp_path / "x.sqlite"))
    said = []
    serve(Store(database, BlobStore(tmp_path)), host="::1", port=8443, ready=said.append)
    assert [check_url(url) for url in said] == ["http://[::1]:8443"]
