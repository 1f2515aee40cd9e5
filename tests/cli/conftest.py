"""An empty folder to work in, commands run in this process, and one finished run."""

import json
import shutil
from dataclasses import dataclass

import pytest

from detopt.cli import main
from detopt.runtime import result as result_module

RUN = ("run", "hump", "--rounds", "3", "--events", "300", "-o", "evaluation_events=600")
N_RESAMPLES = 40  # intervals of the result need not be precise here


@dataclass(frozen=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working folder: empty at first."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(result_module, "N_RESAMPLES", N_RESAMPLES)
    return folder


@pytest.fixture
def detopt(capsys):
    """Runs a command."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run; copy it before changing it."""
    folder = tmp_path_factory.mktemp("session") / "done"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_module, "N_RESAMPLES", N_RESAMPLES)
        assert main([*RUN, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def done(finished, here):
    """A finished run of one's own, below `runs/`."""
    return shutil.copytree(finished, here / "runs" / "done")
