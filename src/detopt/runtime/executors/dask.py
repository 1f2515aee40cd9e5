"""Work through Dask: processes of this machine, a scheduler elsewhere, or a batch system.

Dask carries bytes to its workers and back and keeps nothing that matters: whatever is lost with
it is asked for again. A scheduler elsewhere is reached by TLS only.
"""

__all__ = ["DaskExecutor", "DaskOptions"]

import contextlib
import hashlib
import logging
import math
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detopt import offspring
from detopt.errors import ConfigError, DetoptError
from detopt.optional import require
from detopt.pipeline.problem import Problem
from detopt.runtime.executors.base import Capabilities, Pending
from detopt.runtime.executors.pooled import PooledExecutor
from detopt.runtime.executors.work import Answer, Work, decode_answer, encode_work

TASK_S = 1.0  # s that a Dask task should last, which costs 10 to 20 ms itself
RETRIES = 100  # of a task whose worker was lost; workers on spot machines come and go
PURPOSE = "The executor `dask`"
CLOSE = 60.0  # s; for workers that end
LOCAL = {"localhost", "127.0.0.1", "::1"}
SUBMIT = {"slurm": "sbatch", "htcondor": "condor_submit"}


class DaskOptions(BaseModel):
    """Which cluster, and how it is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster: Literal["local", "address", "slurm", "htcondor", "kubernetes"] = Field(
        "local", description="Who starts the workers"
    )
    address: str | None = Field(None, description="Of a scheduler that runs: tls://HOST:PORT")
    tls_authority: Path | None = Field(None, description="Certificate to trust, PEM")
    tls_certificate: Path | None = Field(None, description="Own certificate, PEM")
    tls_key: Path | None = Field(None, description="Key of the own certificate, PEM")
    encrypted_network: bool = Field(
        False, description="Whether the Kubernetes cluster encrypts what its pods say"
    )
    minimum: int | None = Field(None, ge=0, description="Fewest workers, where it adapts")
    maximum: int | None = Field(None, ge=1, description="Most workers, where it adapts")
    retries: int = Field(RETRIES, ge=0, description="Trials of a task whose worker was lost")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the class of the cluster"
    )

    @classmethod
    def make(cls, options: Mapping[str, Any]) -> "DaskOptions":
        """Checked options.

        Raises:
            ConfigError: One is unknown or unusable.
        """
        try:
            made = cls(**options)
        except ValidationError as error:
            lines = [f"`{'.'.join(map(str, e['loc']))}`: {e['msg']}." for e in error.errors()]
            raise ConfigError(f"`executor_options`: {' '.join(lines)}") from error
        if (made.cluster == "address") != (made.address is not None):
            raise ConfigError("`address` goes with `cluster: address`, and only with it.")
        if made.address is not None:
            parts = urlsplit(made.address)
            if parts.scheme != "tls" and parts.hostname not in LOCAL:
                raise ConfigError(f"The scheduler {made.address} must be reached by tls://.")
        if made.cluster == "kubernetes" and not made.encrypted_network:
            raise ConfigError(
                "Between the pods of a Kubernetes cluster Dask speaks without TLS. Say "
                "`encrypted_network: true` if the cluster encrypts it."
            )
        if made.minimum is not None and made.maximum is None:
            raise ConfigError("`minimum` needs `maximum`.")
        if made.maximum is not None and (made.minimum or 0) > made.maximum:
            raise ConfigError(
                f"`minimum` {made.minimum} is above `maximum` {made.maximum}: no number of workers "
                "fits both."
            )
        return made


class DaskExecutor(PooledExecutor):
    """Chunks as tasks of Dask, several in one where they are short.

    Args:
        problem: The problem, for the parts that stay in this process.
        inputs: The study and its input files by name, from which workers make theirs.
        options: See `DaskOptions`.
        workers: Number of workers to start; 0 where others start them.

    Raises:
        ConfigError: An option is unusable.
        DetoptError: No scheduler answers, or jobs cannot be submitted from this machine.
        MissingExtraError: A package is not installed.
    """

    capabilities = Capabilities(parallel=True, elastic=True, remote=True, replaces_workers=True)

    def __init__(
        self,
        problem: Problem,
        inputs: Mapping[str, bytes],
        options: Mapping[str, Any] | None = None,
        workers: int = 1,
    ) -> None:
        super().__init__(problem)
        self.options = DaskOptions.make(options or {})
        self._distributed = require("distributed", extra="dask", purpose=PURPOSE)
        from detopt.runtime.executors import dask_worker

        self._do = dask_worker.do
        self._study = hashlib.sha256(repr(sorted(inputs.items())).encode()).hexdigest()[:16]
        self._piece_s = TASK_S  # until it is known
        self.cluster: Any = None
        self.client: Any = None
        try:
            with offspring.deaf():
                self.client = self._connect(workers)
            self.client.register_plugin(dask_worker.Inputs(self._study, dict(inputs)))
        except BaseException:
            self.close()
            raise

    def _connect(self, workers: int) -> Any:
        """A client of a cluster, which is started if need be."""
        chosen, dask = self.options, require("dask", extra="dask", purpose=PURPOSE)
        others = chosen.cluster == "address" or chosen.maximum or "n_workers" in chosen.options
        if workers == 0 and not others:
            raise ConfigError(
                f"The cluster `{chosen.cluster}` would have no worker: `workers` must be >= 1, or "
                "give `maximum`."
            )
        program = SUBMIT.get(chosen.cluster)
        if program is not None and shutil.which(program) is None:
            raise DetoptError(
                f"The cluster `{chosen.cluster}` needs the program `{program}`, which is not on "
                "this machine. Run the study where jobs are submitted."
            )
        with dask.config.set({"distributed.scheduler.allowed-failures": chosen.retries}):
            if chosen.cluster == "address":
                return self._client(chosen.address, security=self._security())
            self.cluster = _made(chosen, workers)
        if chosen.maximum is not None:
            self.cluster.adapt(minimum=chosen.minimum or 0, maximum=chosen.maximum)
        elif chosen.cluster != "local":
            self.cluster.scale(workers)
        return self._client(self.cluster)

    def _client(self, where: Any, **options: Any) -> Any:
        try:
            return self._distributed.Client(where, **options)
        except OSError as error:
            raise DetoptError(f"No Dask scheduler answers at {where}: {error}.") from error

    def _security(self) -> Any:
        chosen = self.options
        if urlsplit(str(chosen.address)).scheme != "tls":
            return None
        given = (chosen.tls_authority, chosen.tls_certificate, chosen.tls_key)
        for path in given:
            if path is None or not path.is_file():
                raise ConfigError(
                    "TLS needs the files `tls_authority`, `tls_certificate` and `tls_key`, got "
                    f"{path}."
                )
        return self._distributed.Security(
            tls_ca_file=str(given[0]),
            tls_client_cert=str(given[1]),
            tls_client_key=str(given[2]),
            require_encryption=True,
        )

    def submit(self, work: Sequence[Work]) -> Sequence[Pending]:
        """Give pieces of work to any workers, short ones together."""
        size = self._batch_size(len(work))
        pending: list[Pending] = []
        for first in range(0, len(work), size):
            payloads = [encode_work(piece) for piece in work[first : first + size]]
            future = self.client.submit(
                self._do,
                self._study,
                payloads,
                key=f"detopt-{uuid.uuid4().hex}",
                pure=False,
            )
            batch = _Batch(self, future, len(payloads))
            pending += [_Waiting(batch, i) for i in range(len(payloads))]
        return pending

    def _batch_size(self, n_pieces: int) -> int:
        """Pieces in a task: enough to last, but work for all workers."""
        n_workers = max(1, sum(self.client.nthreads().values()))
        wanted = math.ceil(TASK_S / max(self._piece_s, 1e-6))
        return int(max(1, min(wanted, math.ceil(n_pieces / n_workers))))

    def gather(self, future: Any) -> list[bytes]:
        """What a task gave; how long its pieces of work took is remembered.

        Raises:
            DetoptError: It killed all its workers, or there is no scheduler any more.
        """
        killed = self._distributed.scheduler.KilledWorker
        closed = (self._distributed.comm.CommClosedError, OSError, TimeoutError)
        try:
            found, seconds = future.result()
        except killed as error:
            raise DetoptError(
                f"A piece of work was lost with {error.allowed_failures + 1} workers, perhaps for "
                "lack of memory. Give workers more memory, or make chunks smaller."
            ) from error
        except (*closed, self._distributed.client.FutureCancelledError) as error:
            raise DetoptError(
                f"The Dask scheduler is gone: {error}. Resume the study when it is there again."
            ) from error
        self._piece_s = seconds / len(found)
        answers: list[bytes] = found
        return answers

    def signal_worker(self, number: int) -> bool:
        """Send a signal to one of the workers."""
        for address in self.client.nthreads():
            self.client.run(_raise, number, workers=[address], wait=False)
            return True
        return False

    def clock_skews(self) -> list[float]:
        """How far the clocks of the workers are ahead."""
        now = time.time()
        found = self.client.run(time.time, on_error="ignore")  # workers may leave meanwhile
        return [there - now for there in found.values()]

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        gone = (TimeoutError, OSError)  # what is done is kept already
        if self.client is not None:
            with contextlib.suppress(*gone):
                self.client.close()
        if self.cluster is not None:
            with contextlib.suppress(*gone):
                self.cluster.close(timeout=CLOSE)


def make_cluster(chosen: DaskOptions, workers: int) -> Any:
    """A cluster that this process starts.

    Raises:
        MissingExtraError: Its package is not installed.
    """
    if chosen.cluster == "local":
        distributed = require("distributed", extra="dask", purpose=PURPOSE)
        local = {"n_workers": workers, "threads_per_worker": 1, "processes": True}
        quiet: dict[str, Any] = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
        return distributed.LocalCluster(**{**local, **quiet, **chosen.options})
    if chosen.cluster == "kubernetes":
        operator = require("dask_kubernetes.operator", extra="kubernetes", purpose=PURPOSE)
        return operator.KubeCluster(**{"n_workers": workers, **chosen.options})
    jobqueue = require("dask_jobqueue", extra="dask", purpose=PURPOSE)
    kind = {"slurm": jobqueue.SLURMCluster, "htcondor": jobqueue.HTCondorCluster}[chosen.cluster]
    secure = {"security": True, "protocol": "tls://", "shared_temp_directory": str(Path.cwd())}
    settings: dict[str, Any] = {"cores": 1, "processes": 1, **secure, **chosen.options}
    if settings["security"] is not True and not hasattr(settings["security"], "tls_ca_file"):
        raise ConfigError("Workers of a batch system are reached by TLS: leave `security` out.")
    if settings["protocol"] != "tls://":
        raise ConfigError("Workers of a batch system are reached by TLS: leave `protocol` out.")
    if "memory" not in settings:
        raise ConfigError("A batch system wants to know `options: {memory: ...}` of a worker.")
    return kind(**settings)


def _made(chosen: DaskOptions, workers: int) -> Any:
    """A cluster; what its class says against its arguments comes as one line."""
    try:
        return make_cluster(chosen, workers)
    except DetoptError:
        raise
    except Exception as error:  # each class has errors of its own
        raise DetoptError(
            f"The cluster `{chosen.cluster}` does not start with `options: {chosen.options}`: "
            f"{_first_cause(error)}."
        ) from error


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).rstrip(".") or type(error).__name__


async def _raise(number: int) -> None:
    os.kill(os.getpid(), number)


class _Batch:
    """Pieces of work in one task."""

    def __init__(self, executor: DaskExecutor, future: Any, n_wanted: int) -> None:
        self.executor, self.future, self._n_wanted = executor, future, n_wanted
        self._data: list[bytes] | None = None

    def data(self) -> list[bytes]:
        """Wait for all answers."""
        if self._data is None:
            self._data = self.executor.gather(self.future)
        return self._data

    def drop(self) -> None:
        """One of them is not wanted any more."""
        self._n_wanted -= 1
        if self._n_wanted == 0:
            self.future.cancel()


class _Waiting(Pending):
    """One answer of a task."""

    def __init__(self, batch: _Batch, index: int) -> None:
        self._batch, self._index = batch, index
        self._is_dropped = False

    def result(self) -> Answer:
        """Wait for it."""
        return decode_answer(self._batch.data()[self._index])

    def done(self) -> bool:
        """Whether it is there."""
        return bool(self._batch.future.done())

    def cancel(self) -> None:
        """Drop it; the task ends when nothing in it is wanted."""
        if not self._is_dropped:
            self._is_dropped = True
            self._batch.drop()
