"""The budget of a run: where its account is, and how a study spends from it."""

__all__ = [
    "account_name",
    "find_account",
    "open_account",
    "raise_limits",
    "refuse_alone",
    "refuse_edited",
    "spending",
]

from collections.abc import Callable, Mapping

from detopt.errors import ConfigError
from detopt.runtime.budget.amounts import Limits
from detopt.runtime.budget.config import ComputeBudget
from detopt.runtime.budget.history import charged
from detopt.runtime.budget.ledger import BudgetLedger, BudgetState
from detopt.runtime.budget.meters import LocalMeter, Meter, QueueMeter
from detopt.runtime.budget.prices import HOUR
from detopt.runtime.budget.spending import Spending
from detopt.runtime.storage import Lease, Store


def account_name(run_id: str, chosen: ComputeBudget | None) -> str:
    """Name of the budget that a run uses: its own, or one that it shares."""
    return run_id if chosen is None or chosen.shared is None else chosen.shared


def open_account(store: Store, run_id: str, chosen: ComputeBudget) -> BudgetLedger:
    """Make the budget of a new run, or join one that is shared.

    Raises:
        ConfigError: A shared one is there with other limits or in another currency; or it limits
            money, and the run has no prices.
    """
    ledger = BudgetLedger(store.database, account_name(run_id, chosen))
    currency = chosen.rate().currency
    ledger.open(chosen.limits, currency)
    if currency is None and ledger.state().limits.money is not None:
        raise ConfigError(
            f"The budget `{ledger.name}` limits money, and without prices this run would count "
            "none. Give --prices and --machine; what is free has a price of 0."
        )
    return ledger


def refuse_alone(chosen: ComputeBudget | None, database: str | None) -> None:
    """Runs share a budget in the database that they share.

    Raises:
        ConfigError: The run has a database of its own.
    """
    if chosen is not None and chosen.shared is not None and database is None:
        raise ConfigError(
            f"The budget `{chosen.shared}` is shared in a database that runs share. Give its URL, "
            "such as --database postgresql+psycopg://me@host/detopt."
        )


def find_account(store: Store, run_id: str, chosen: ComputeBudget | None) -> BudgetLedger | None:
    """The budget of a run, if it has one."""
    ledger = BudgetLedger(store.database, account_name(run_id, chosen))
    return ledger if ledger.exists() else None


def raise_limits(
    store: Store, run_id: str, chosen: ComputeBudget | None, limits: Limits
) -> BudgetState:
    """Change the limits that are given; a run without a budget gets one.

    Raises:
        ConfigError: Money is limited, and the run has no prices.
    """
    ledger = find_account(store, run_id, chosen)
    if ledger is None:
        ledger = BudgetLedger(store.database, account_name(run_id, chosen))
        ledger.open(Limits())
    if limits.money is not None and ledger.state().currency is None:
        raise ConfigError("A limit of money needs prices, which this run was begun without.")
    before, after = ledger.state().limits, ledger.change_limits(limits)
    if before != after.limits:
        change = {"before": before.given(), "after": after.limits.given(), "budget": ledger.name}
        store.log("limits", change, run_id)
    return after


def refuse_edited(
    chosen: ComputeBudget | None, begun_with: Mapping[str, float | None] | None
) -> None:
    """Limits in `study.yaml` are those that a run begins with; the store holds those in force.

    Raises:
        ConfigError: They were edited.
    """
    hours = begun_with or {}
    before = Limits(
        hours.get("cpu_hours"),
        hours.get("gpu_hours"),
        hours.get("wall_hours"),
        hours.get("money"),
    )
    now = Limits() if chosen is None else chosen.limits
    if now != before:
        raise ConfigError(
            "The limits of `compute_budget` in study.yaml were changed since the run began. Undo "
            "that, and give the new ones to `detopt resume`, such as --max-cpu-hours 20."
        )


def spending(
    store: Store,
    lease: Lease,
    chosen: ComputeBudget | None,
    executor: str,
    workers: int,
    close: Callable[[], None],
) -> Spending:
    """How a study spends, within its budget if it has one.

    Args:
        store: Where the run is.
        lease: The right to go on with the run.
        chosen: What the study says of its budget.
        executor: `local`, `queue` or `dask`.
        workers: Their number.
        close: Frees the workers.
    """
    ledger, run_id = find_account(store, lease.run_id, chosen), lease.run_id
    budget = ComputeBudget() if chosen is None else chosen
    meter: Meter = LocalMeter(workers)
    if executor == "queue" and ledger is not None:
        account = ledger
        meter = QueueMeter(store, run_id, lambda: charged(account, run_id).worker_h * HOUR)

    def halt() -> None:
        if executor == "queue":
            store.tasks.withdraw(run_id)
        close()

    return Spending(ledger, run_id, lease.fence, meter, budget.rate(), budget, workers, halt)
