"""1,000 faults of 12 kinds, one after the other, to a queue and a checkpoint.

Each fault is followed by a comparison with the answers that no queue and no store touched. A fault
is `recovered` if they come out right without help, `refused` if an error says what is wrong and
they come out right once its cause is gone.
"""

import errno
import os
import resource
import signal
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import sqlalchemy as sql
from sqlalchemy import event

from detopt.errors import CheckpointError
from detopt.runtime.interruption import Interrupted, interruptible
from detopt.runtime.sources import StoreSource
from detopt.runtime.storage import Database, Store, database, schema
from runtime_parts.lab import LEASE, Asked, Lab
from runtime_parts.processes import FORK

RECOVERED, REFUSED, WRONG = "recovered", "refused", "wrong"
HOUR = 3_600.0
MEMORY = 32 * 2**20  # B
TOO_MUCH = 2**40  # B; never from memory that the process had freed before


def kill(lab: Lab) -> str:
    """A worker is gone in mid-task."""
    asked = lab.ask()
    lab.claim()
    lab.clock.offset += LEASE + 1
    return _judged(asked.come_out_right())


class _Acting(StoreSource):
    """Something happens when a worker has fetched what it is to do."""

    act: Callable[[], None]

    def payload(self, lease: Any) -> bytes:
        self.act()
        return super().payload(lease)


def _acting(lab: Lab, act: Callable[[], None]) -> Any:
    source = _Acting(lab.store, lab.run_id)
    source.act = act
    return lab.new_worker(source)


def notice(lab: Lab) -> str:
    """SIGTERM or SIGUSR1 in mid-task: the lease is given back at once."""
    asked, number = lab.ask(), lab.rng.choice([signal.SIGTERM, signal.SIGUSR1])
    try:
        with interruptible():
            _acting(lab, lambda: os.kill(os.getpid(), number)).step()
    except Interrupted:
        states = lab.store.tasks.counts(lab.run_id)
        return _judged("leased" not in states and asked.come_out_right())
    return WRONG


def disk_full(lab: Lab) -> str:
    """No space for an answer, or for a round."""
    asked = lab.ask()
    if lab.rng.random() < 0.5:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch.object(os, "fsync", side_effect=full):
            lab.worker.step()
        return _judged(not list(lab.folder.rglob("*.partial")) and asked.come_out_right())
    record, state = lab.next_round({"x" * 100_000: 1.0})
    with _at_begin(lab, "PRAGMA max_page_count=1"):  # as many as there are
        refused = _refuses(lambda: lab.store.append(lab.run_id, record, state), "full")
    return _judged(refused and _keeps(lab) and asked.come_out_right(), REFUSED)


def database_away(lab: Lab) -> str:
    """No answer for 3, 30 or 300 s, or for longer than anybody waits."""
    asked, away = lab.ask(), lab.rng.choice([3.0, 30.0, 300.0, 1_000.0])
    now = SimpleNamespace(s=0.0)

    def wait(seconds: float) -> None:
        now.s += seconds

    def fail(*_: Any) -> None:
        if now.s < away:
            raise sqlite3.OperationalError("database is locked")

    engine, names = lab.store.database.engine, ("do_execute", "do_execute_no_params")
    clock = SimpleNamespace(sleep=wait, monotonic=lambda: now.s)
    record, state = lab.next_round()
    with mock.patch.object(database, "time", clock):
        for name in names:
            event.listen(engine, name, fail)
        try:
            refused = _refuses(lambda: lab.store.append(lab.run_id, record, state), "not answer")
        finally:
            for name in names:
                event.remove(engine, name, fail)
    lab.n_rounds += not refused
    right = refused == (away > lab.store.database.patience) and _sound(lab)
    return _judged((not refused or _keeps(lab)) and right and asked.come_out_right(),
                   REFUSED if refused else RECOVERED)  # fmt: skip


def restart_in_commit(lab: Lab) -> str:
    """What was committed is not confirmed: everything is written again."""
    dialect = lab.store.database.engine.dialect
    commit = type(dialect).do_commit
    lost = {lab.rng.randrange(8) for _ in range(3)}
    n = -1

    def unconfirmed(self: Any, connection: Any) -> None:
        nonlocal n
        n += 1
        commit(self, connection)
        if n in lost:
            raise sqlite3.OperationalError("database is locked")

    record, state = lab.next_round()
    with mock.patch.object(type(dialect), "do_commit", unconfirmed):
        asked = lab.ask()
        lab.store.append(lab.run_id, record, state)
        lab.n_rounds += 1
        lab.worker.step()
    lab.clock.offset += LEASE + 1
    return _judged(_sound(lab) and asked.come_out_right())


def flipped_bit(lab: Lab) -> str:
    """A bit of a checkpoint, of a round, of a task's payload or of its answer."""
    kind = lab.rng.choice(["state", "state", "round", "payload", "result"])
    if kind in {"state", "round"}:
        return _flipped_round(lab, kind)
    asked = lab.ask()
    lease = lab.store.tasks.claim("a", LEASE, kinds=["chunk"], run_id=lab.run_id)[0]
    lab.store.tasks.release(lease)
    digest = lease.payload
    if kind == "result":
        while lab.worker.step():
            pass
        state = lab.store.tasks.states([lease.task_id])[lease.task_id]
        assert state.result is not None
        digest = state.result
    _flip(lab, digest)
    if not _refuses(lambda: lab.store.blobs.get(digest), "damaged"):
        return WRONG
    return _judged(asked.come_out_right())


def _flipped_round(lab: Lab, kind: str) -> str:
    record, state = lab.next_round()
    digest = lab.store.append(lab.run_id, record, state)
    lab.n_rounds += 1
    table, run_id = schema.checkpoint, lab.run_id
    own = sql.and_(table.c.run_id == run_id, table.c.number == record.number)
    if kind == "state":
        _flip(lab, digest)
        seen = _refuses(lambda: lab.store.last_state(run_id), "damaged")
        lab.store.append(run_id, record, state)  # mends it
        return _judged(seen and lab.store.last_state(run_id)["round"] == lab.n_rounds, REFUSED)
    text = record.dumps()
    i, bit = lab.rng.randrange(len(text)), 1 << lab.rng.randrange(7)
    changed = text[:i] + chr(ord(text[i]) ^ bit) + text[i + 1 :]
    for value in (changed, text):
        query = sql.update(table).where(own).values(record=value.replace("\0", "?"))
        lab.store.database.write(lambda c, q=query: c.execute(q) and None)
        if value == changed:
            seen = _refuses(lambda: lab.store.rounds(run_id), "changed")
    return _judged(seen and _sound(lab), REFUSED)


def _flip(lab: Lab, digest: str) -> None:
    path = Path(lab.store.blobs.path(digest))
    data = bytearray(path.read_bytes())
    data[lab.rng.randrange(len(data))] ^= 1 << lab.rng.randrange(8)
    path.write_bytes(bytes(data))


def clock_jump(lab: Lab) -> str:
    """The clock is set forward or back by an hour while one worker is gone and one goes on."""
    asked = lab.ask()
    lab.claim()
    jump = lab.rng.choice([-HOUR, HOUR])
    _acting(lab, lambda: setattr(lab.clock, "offset", lab.clock.offset + jump)).step()
    return _judged(asked.come_out_right())


def duplicate(lab: Lab) -> str:
    """Everything is handed in twice, and once by somebody else."""
    asked = lab.ask()
    again = Asked(lab, asked.work, lab.executor.submit(asked.work))
    lease, tasks = lab.claim("twice"), lab.store.tasks
    tasks.release(lease)
    lab.worker.step()
    done = tasks.states([lease.task_id])[lease.task_id].result
    late = [tasks.finish(lease, one) for one in ("0" * 64, str(done))]
    record, state = lab.next_round()
    for _ in range(2):
        lab.store.append(lab.run_id, record, state)
    lab.n_rounds += 1
    right = late == ["stale", "stale"] and _sound(lab) and asked.come_out_right()
    return _judged(right and again.come_out_right())


def cut_network(lab: Lab) -> str:
    """The files are out of reach for a worker, and then for the controller."""
    asked, blobs = lab.ask(), lab.store.blobs
    cut = ConnectionError("the connection was reset")
    system = blobs._system
    with mock.patch.object(system, "cat_file", side_effect=cut):
        lab.worker.step()
    while lab.worker.step():
        pass
    get, n = system.cat_file, iter(range(1_000))
    with mock.patch.object(
        system, "cat_file", side_effect=lambda path: _first_fails(n, cut) or get(path)
    ):
        return _judged(asked.come_out_right())


def _first_fails(n: Iterator[int], error: Exception) -> None:
    if next(n) == 0:
        raise error


def memory_cap(lab: Lab) -> str:
    """A worker process may not have the memory that it needs."""
    asked, before = lab.ask(), _n_done(lab)
    process = FORK.Process(target=_starve, args=(lab,))
    process.start()
    process.join()
    lab.clock.offset += LEASE + 1  # it may have died of it
    return _judged(_n_done(lab) == before and asked.come_out_right())


def _starve(lab: Lab) -> None:
    store = Store(Database(str(lab.store.database.engine.url), clock=lab.clock), lab.store.blobs)
    source = _Acting(store, lab.run_id)
    source.act = lambda: len(bytearray(TOO_MUCH))  # type: ignore[assignment, return-value]
    worker = lab.new_worker(source)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    cap = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
    worker.step()


def _n_done(lab: Lab) -> int:
    return lab.store.tasks.counts(lab.run_id).get("done", 0)


def read_only(lab: Lab) -> str:
    """Neither rows nor files can be written."""
    asked = lab.ask()
    path = lab.store.database.engine.url.database
    store = Store(Database(f"sqlite:///file:{path}?mode=ro&uri=true"), lab.store.blobs)
    record, state = lab.next_round()
    refused = _refuses(lambda: store.append(lab.run_id, record, state), "readonly")
    store.close()
    volume = OSError(errno.EROFS, os.strerror(errno.EROFS))
    with mock.patch.object(Path, "open", side_effect=volume):
        refused &= _refuses(lambda: lab.store.blobs.put(b"%d" % time.time_ns()), "Read-only")
    return _judged(refused and _keeps(lab) and asked.come_out_right(), REFUSED)


def expired(lab: Lab) -> str:
    """A worker comes back after its lease went to another one."""
    asked = lab.ask()
    late = lab.claim()
    lab.clock.offset += LEASE + 1
    right = asked.come_out_right()
    answers = {lab.store.tasks.finish(late, "0" * 64), lab.store.tasks.renew(late, LEASE)}
    return _judged(right and answers == {"stale", False})


KINDS: dict[str, Callable[[Lab], str]] = {
    "kill": kill,
    "notice (SIGTERM, SIGUSR1)": notice,
    "disk full": disk_full,
    "database away 3, 30, 300, 1,000 s": database_away,
    "restart in a commit": restart_in_commit,
    "flipped bit": flipped_bit,
    "clock set by an hour": clock_jump,
    "duplicate delivery": duplicate,
    "cut network": cut_network,
    "memory cap": memory_cap,
    "read-only volume": read_only,
    "expired lease": expired,
}
FLIPS, OTHERS = 200, 73  # 1,003 in all


def run(quick: bool) -> dict[str, Any]:
    found: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        for i, (kind, fault) in enumerate(KINDS.items()):
            n = 2 if quick else FLIPS if fault is flipped_bit else OTHERS
            lab = Lab(Path(name) / str(i), seed=i)
            counts = dict.fromkeys((RECOVERED, REFUSED, WRONG), 0)
            for _ in range(n):
                counts[fault(lab)] += 1
            lab.close()
            found[kind] = counts
    return found


def rows(result: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    table = [
        (
            f"{kind}: {sum(counts.values())} x",
            "0 wrong",
            f"{counts[RECOVERED]} recovered, {counts[REFUSED]} refused, {counts[WRONG]} wrong",
            counts[WRONG] == 0,
        )
        for kind, counts in result.items()
    ]
    total = sum(sum(counts.values()) for counts in result.values())
    wrong = sum(counts[WRONG] for counts in result.values())
    return [*table, (f"all {total} faults", "0 silently wrong", f"{wrong}", wrong == 0)]


def _judged(right: bool, otherwise: str = RECOVERED) -> str:
    return otherwise if right else WRONG


def _refuses(action: Callable[[], Any], reason: str) -> bool:
    try:
        action()
    except CheckpointError as error:
        return reason in str(error)
    return False


def _keeps(lab: Lab) -> bool:
    """Keep the round that was refused, now that it can be."""
    lab.store.append(lab.run_id, *lab.next_round())
    lab.n_rounds += 1
    return _sound(lab)


def _sound(lab: Lab) -> bool:
    """Each round is there once, and the state is that after the last one."""
    state = lab.store.last_state(lab.run_id)
    n = len(lab.store.rounds(lab.run_id))
    return n == lab.n_rounds and (state or {"round": 0})["round"] == n


@contextmanager
def _at_begin(lab: Lab, setting: str) -> Iterator[None]:
    """A setting of the connections of the block."""
    engine = lab.store.database.engine

    def change(connection: Any) -> None:
        connection.exec_driver_sql(setting)

    event.listen(engine, "begin", change)
    try:
        yield
    finally:
        event.remove(engine, "begin", change)
        engine.dispose()
