"""The loop of a study as a leased task: one process at a time goes on with a run.

Whoever runs a study holds the lease of its controller task and renews it. When that process dies,
the lease runs out, and any other one goes on from the last checkpoint to the same bits. A round is
kept only under the newest lease, so that a process which was believed dead changes nothing.
"""

__all__ = ["LEASE", "Controllers", "leading"]

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from detopt.errors import CheckpointError, DetoptError
from detopt.runtime.heartbeat import is_gone, own_name, renewed
from detopt.runtime.interruption import Interrupted
from detopt.runtime.sources import StoreSource
from detopt.runtime.storage import Lease, NewTask, Store, task_id
from detopt.runtime.storage.tasks import CONTROLLER, NOTICE
from detopt.runtime.store import RunStore, refuse_password

LEASE = 30.0  # s
ENDED = ("done", "failed", "cancelled")
UNLIMITED = 1_000_000  # attempts


@contextlib.contextmanager
def leading(run: RunStore, lease_s: float = LEASE, lease: Lease | None = None) -> Iterator[Lease]:
    """The right to go on with a run, kept as long as the block takes.

    A block that ends well finishes the run. On a notice that the machine goes away the lease is
    given back at once, for others to go on; after Ctrl-C or an error only `detopt resume` goes on.

    Args:
        run: The run.
        lease_s: Time after which others may go on, once this process is gone [s].
        lease: The right, where it was taken before.

    Raises:
        CheckpointError: Another process goes on with the run.
    """
    tasks = run.store.tasks
    try:
        held = _take(run, lease_s) if lease is None else lease
        with renewed(tasks, held, lease_s):
            try:
                run.status = "running"
                yield held
                run.status = "finished"
                tasks.finish(held, held.payload)
            except BaseException as error:
                with contextlib.suppress(DetoptError):  # the first error says more
                    _give_up(run, held, error)
                raise
    finally:
        run.close()


def _give_up(run: RunStore, lease: Lease, error: BaseException) -> None:
    run.interrupt(lease)
    if isinstance(error, Interrupted):
        run.store.tasks.release(lease)
        return
    reason = (
        "stopped by the user"
        if isinstance(error, KeyboardInterrupt)
        else f"{type(error).__name__}: {error}"
    )
    run.store.tasks.fail(lease, reason, final=True, patience=NOTICE)


def _take(run: RunStore, lease_s: float) -> Lease:
    tasks, name = run.store.tasks, task_id(run.id, CONTROLLER)
    tasks.add(run.id, [NewTask(CONTROLLER, CONTROLLER, run.fingerprint)], UNLIMITED)
    tasks.reopen([name], ENDED, UNLIMITED)
    holder = tasks.holder(name)
    if holder is not None and is_gone(holder.worker):
        tasks.expire(holder)
    leases = tasks.claim(own_name(), lease_s, kinds=[CONTROLLER], run_id=run.id)
    if leases:
        return leases[0]
    raise CheckpointError(
        f"Another process goes on with the run in {run.folder}"
        + ("" if holder is None else f", on {holder.worker}")
        + ". Stop it first; if it is gone, the run is free within a minute."
    )


class Controllers:
    """Goes on with runs whose controllers are gone.

    Args:
        store: Where the runs are.
        lease_s: See `leading`.
        run: The only run to go on with, in its folder; None for all runs of the store.
        say: Told what happens.

    Raises:
        ConfigError: The URL of a shared database holds a password, which would be written down.
    """

    def __init__(
        self,
        store: Store,
        *,
        lease_s: float = LEASE,
        run: RunStore | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        if run is None:
            refuse_password(store.database.engine.url.render_as_string(hide_password=False))
        self.store = store
        self.lease_s = lease_s
        self.run = run
        self.say = say

    def step(self) -> bool:
        """Go on with one run, if there is one that nobody goes on with."""
        run_id = None if self.run is None else self.run.id
        leases = self.store.tasks.claim(own_name(), self.lease_s, kinds=[CONTROLLER], run_id=run_id)
        for lease in leases:
            self.say(f"Going on with {lease.run_id}.")
            try:
                self._go_on(lease)
                self.say(f"Finished {lease.run_id}.")
            except DetoptError as error:
                self.store.tasks.fail(lease, str(error), final=True)
                self.say(f"Cannot go on with {lease.run_id}: {error}")
        return bool(leases)

    def _go_on(self, lease: Lease) -> None:
        from detopt.runtime.study import Study  # it uses this module

        if self.run is not None:
            Study.resume(self.run.folder).run(lease=lease, lease_s=self.lease_s)
            return
        with tempfile.TemporaryDirectory(prefix="detopt-") as name:
            inputs = StoreSource(self.store).inputs(lease.run_id)
            RunStore.fetch(Path(name), self.store, lease.run_id, inputs).close()
            Study.resume(Path(name)).run(lease=lease, lease_s=self.lease_s)
