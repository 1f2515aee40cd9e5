"""The check that a site runs on its executors."""

import pytest

from detopt.errors import ConfigError
from detopt.runtime.executors import QueueExecutor, SerialExecutor
from detopt.testing import doctor


def test_an_unknown_executor_is_refused():
    with pytest.raises(ConfigError, match="No executor `condor`"):
        list(doctor.examine("condor"))


def test_one_process_passes():
    assert all(found.passed for found in doctor.examine("local", workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["queue", "dask"])
@pytest.mark.filterwarnings("ignore")  # those of Dask
def test_executors_of_this_machine_pass(kind):
    if kind == "dask":
        pytest.importorskip("distributed", reason="pip install detopt[dask]")
    found = list(doctor.examine(kind, workers=2))
    assert len(found) == 6
    assert all(one.passed for one in found), found


class Wrong(SerialExecutor):
    """Gives a bit more than the others."""

    def evaluate(self, requests, seed):
        found = super().evaluate(requests, seed)
        for one in found:
            one.gradient.mul_(1 + 1e-15)
        return found


def test_a_wrong_bit_is_found(monkeypatch):
    monkeypatch.setattr("detopt.runtime.study.make_executor", lambda problem, *_: Wrong(problem))
    wrong = [one.check for one in doctor.examine("local", workers=1) if not one.passed]
    assert wrong == ["same bits as in one process"]


def test_an_executor_whose_workers_cannot_be_reached_does_not_pass(many, seed):
    class Unreachable(SerialExecutor):
        capabilities = QueueExecutor.capabilities

    found = doctor._disturbed(Unreachable(many.problem), many.problem, seed, "killed", 9)
    assert not found.passed
    assert "no worker" in found.detail
