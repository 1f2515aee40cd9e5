"""Processes that leave with whoever started them."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from detopt.errors import DetoptError
from detopt.runtime.executors.process_pool import ProcessPool, result_of

SOON = 20.0  # s

PARENT = """
import os, time
from detopt.runtime.executors.process_pool import ProcessPool

if __name__ == "__main__":
    pool = ProcessPool(1, os.getpid)
    print(pool.call(os.getpid).result(), flush=True)
    time.sleep(60.0)
"""


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def soon(condition):
    end = time.monotonic() + SOON
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


@pytest.fixture
def pool():
    pool = ProcessPool(1, os.getpid)
    yield pool
    pool.close()


def test_a_worker_does_not_outlive_a_study_that_is_killed(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as study:
        worker = int(study.stdout.readline())
        assert is_alive(worker)
        study.kill()
    try:
        assert soon(lambda: not is_alive(worker))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def test_what_runs_is_stopped_when_nobody_waits_for_it(pool):
    pool.call(os.getpid).result()
    under_way = [pool.call(time.sleep, 60.0) for _ in range(3)]
    assert soon(under_way[0].running)
    begin = time.monotonic()
    pool.close()
    assert time.monotonic() - begin < SOON
    assert all(one.done() for one in under_way)


def test_a_worker_that_is_asked_to_end_is_reported(pool):
    pid = pool.call(os.getpid).result()
    asleep = pool.call(time.sleep, 60.0)
    assert soon(asleep.running)
    time.sleep(0.2)  # it is on its way to the process
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(DetoptError, match="worker process died"):
        result_of(asleep)


def test_processes_do_not_hear_ctrl_c_while_they_wait(pool):
    pid = pool.call(os.getpid).result()
    os.kill(pid, signal.SIGINT)
    time.sleep(0.2)
    assert is_alive(pid)
