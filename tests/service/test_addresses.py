"""Where plain HTTP is allowed, and what a service may make a worker run."""

import pytest
import yaml

from detopt.errors import ConfigError, NotFoundError
from detopt.service.addresses import check_served, check_url, is_loopback
from detopt.service.client import _refuse_code


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
