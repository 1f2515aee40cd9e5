"""Whether an executor keeps its promises where it really runs: a check for who looks after a site.

The promises: the bits of a computation in one process, whoever computes, and though workers are
killed, asked to leave, or hand in damaged bytes.
"""

__all__ = ["KINDS", "examine"]

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from detopt.errors import CheckpointError, ConfigError, DetoptError
from detopt.pipeline.evaluation import Evaluation, Request, chunks
from detopt.pipeline.problem import Problem
from detopt.random import Seed
from detopt.runtime import Study, StudyConfig
from detopt.runtime.executors import Executor, QueueExecutor, SerialExecutor, Work
from detopt.runtime.executors.work import encode_answer
from detopt.testing.conformance import Finding

KINDS = {
    "local": ("local", {}),
    "queue": ("queue", {}),
    "dask": ("dask", {}),
    "slurm": ("dask", {"cluster": "slurm"}),
    "htcondor": ("dask", {"cluster": "htcondor"}),
    "kubernetes": ("dask", {"cluster": "kubernetes"}),
}
USE_CASE, N_REQUESTS, N_EVENTS = "hump", 4, 200
N_PIECES = 60
MOST_SKEW = 60.0  # s


def examine(
    kind: str,
    *,
    workers: int = 2,
    options: Mapping[str, Any] | None = None,
    database: str | None = None,
    blobs: str | None = None,
) -> Iterator[Finding]:
    """Findings about an executor, as they come.

    Args:
        kind: See `KINDS`.
        workers: Number of workers; 0 with a shared database: others bring them.
        options: Of the executor.
        database: URL of a shared database, for the executor `queue`.
        blobs: URL of its files.

    Raises:
        ConfigError: There is no such executor, or its options are unusable.
    """
    if kind not in KINDS:
        raise ConfigError(f"No executor `{kind}`. There are: {', '.join(KINDS)}.")
    executor, preset = KINDS[kind]
    settings = {**preset, **(options or {})}
    config = StudyConfig.make(
        USE_CASE, executor=executor, workers=workers, executor_options=settings, rounds=1
    )
    with tempfile.TemporaryDirectory(prefix="detopt-doctor-") as name:
        study = Study.create(
            config,
            Path(name) / f"doctor-{os.getpid()}-{time.time_ns()}",
            database=database,
            blobs=blobs,
        )
        with contextlib.closing(study.store):
            yield from _of_study(study)


def _of_study(study: Study) -> Iterator[Finding]:
    seed = Seed(7)
    theta = study.problem.space.theta(study.problem.space.start)
    requests = [
        Request(theta, ("doctor", i), gradient=True, n_events=N_EVENTS) for i in range(N_REQUESTS)
    ]
    expected = SerialExecutor(study.problem).evaluate(requests, seed)
    begin = time.perf_counter()
    try:
        executor = study.make_executor()
    except DetoptError as error:
        yield Finding("the executor starts", False, str(error))
        return
    with executor:
        yield Finding("the executor starts", True, f"{time.perf_counter() - begin:.1f} s")
        found = executor.evaluate(requests, seed)
        yield _compare("same bits as in one process", found, expected)
        for check, number in (
            ("same bits when a worker is killed", signal.SIGKILL),
            ("same bits when a worker gets notice to leave", signal.SIGTERM),
        ):
            yield _disturbed(executor, study.problem, seed.child(check), check, number)
        yield _damaged(executor)
        yield _clock(executor)


def _disturbed(
    executor: Executor, problem: Problem, seed: Seed, check: str, number: int
) -> Finding:
    if not executor.capabilities.replaces_workers:
        return Finding(check, True, "not promised: the study stops with an error and is resumed")
    theta = problem.space.theta(problem.space.start)
    work = [
        Work(chunk)
        for i in range(N_PIECES)
        for chunk in chunks(problem, Request(theta, (i,), n_events=N_EVENTS), seed)
    ]
    pending = executor.submit(work)
    reached = executor.signal_worker(number)
    try:
        answers = [_bits(encode_answer(one.result())) for one in pending]
    except DetoptError as error:
        return Finding(check, False, str(error))
    serial = [_bits(encode_answer(one.result())) for one in SerialExecutor(problem).submit(work)]
    if not reached:
        return Finding(check, False, "no worker could be reached; start some with --workers")
    return Finding(check, answers == serial, "" if answers == serial else "other bits")


def _bits(data: bytes) -> str:
    from detopt.runtime.votes import content_of

    return content_of(data)


def _damaged(executor: Executor) -> Finding:
    """A flipped bit in what is stored is seen."""
    check = "a damaged result is recognised"
    blobs = executor.store.blobs if isinstance(executor, QueueExecutor) else None
    if blobs is None:
        return Finding(check, True, "not applicable: results do not rest in files")
    if "://" in blobs.url:
        return Finding(check, True, "not tried: the files are no folder of this machine")
    data = os.urandom(1000)
    digest = blobs.put(data)
    path = Path(blobs.path(digest))
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    try:
        blobs.get(digest)
    except CheckpointError:
        return Finding(check, True)
    finally:
        blobs.remove(digest)
    return Finding(check, False, "the changed bytes were read as if they were right")


def _clock(executor: Executor) -> Finding:
    """Leases are counted by one clock; others may differ, which is worth knowing."""
    check, skews = "clocks agree", executor.clock_skews()
    if not skews:
        return Finding(check, True, "one machine")
    worst = max(skews, key=abs)
    return Finding(check, abs(worst) < MOST_SKEW, f"largest difference {worst:.1f} s")


def _compare(check: str, found: Sequence[Evaluation], expected: Sequence[Evaluation]) -> Finding:
    for one, other in zip(found, expected, strict=True):
        assert one.gradient is not None
        assert other.gradient is not None
        same = (one.value, one.std_error) == (other.value, other.std_error)
        if not same or not torch.equal(one.gradient, other.gradient):
            return Finding(check, False, f"{one.value!r} where {other.value!r} was expected")
    return Finding(check, True)
