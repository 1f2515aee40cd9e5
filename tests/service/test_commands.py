"""`detopt serve`, `detopt token` and `detopt worker --url`."""

import json

import pytest

from detopt.cli import main


def call(*arguments):
    return main([str(one) for one in arguments])


def test_a_token_is_made_listed_and_taken_back(run, capsys):
    assert call("token", run.folder, "--trust", "sample", "--note", "them") == 0
    text = capsys.readouterr().out.strip()
    assert run.tokens.find(text).trust == "sample"
    assert call("token", run.folder, "--list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["note"], row["revoked"]) == ("them", False)
    assert call("token", run.folder, "--revoke", row["digest"][:12]) == 0
    assert run.tokens.find(text) is None
    assert text not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "RUN", "--host", "0.0.0.0"], "needs TLS"),
        (["serve", "RUN", "--certificate", "none.pem"], "needs its key"),
        (["token", "RUN", "--trust", "blind"], "No trust"),
        (["token", "RUN", "--revoke", "abcdef"], "has no token 'abcdef'"),
        (["worker"], "a place or --url"),
        (["worker", "RUN", "--url", "https://a.b"], "not both"),
        (["worker", "RUN", "--allow-code"], "go with --url"),
        (["worker", "--url", "https://a.b"], "--token-file"),
        (["worker", "--url", "http://a.b", "--token-file", "TOKEN"], "Use https"),
        (["worker", "--url", "https://a.b", "--token-file", "none"], "Cannot read the token"),
        (["worker", "--url", "https://a.b", "--token-file", "EMPTY"], "The token is empty"),
        (["doctor", "--executor", "condor"], "No executor"),
    ],
)
def test_mistakes_are_explained(run, tmp_path, capsys, arguments, message):
    pytest.importorskip("httpx", reason="pip install detopt[service]")
    (tmp_path / "token").write_text("detopt-x\n")
    (tmp_path / "empty").write_text("\n")
    known = {"RUN": run.folder, "TOKEN": tmp_path / "token", "EMPTY": tmp_path / "empty"}
    assert call(*(known.get(one, one) for one in arguments)) == 2
    assert message in capsys.readouterr().err
