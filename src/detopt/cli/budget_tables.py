"""Tables of budgets, prices, ledgers and bills."""

__all__ = ["print_budget", "print_lines", "print_prices", "print_reconciliation"]

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from detopt.cli import output
from detopt.runtime.budget import Amounts, Line, Overview, Prices
from detopt.runtime.budget.amounts import LABELS
from detopt.runtime.budget.reconcile import Reconciliation


def print_budget(view: Overview) -> None:
    """How a budget stands, by unit and by kind of work."""
    state, left = view.state, view.state.left
    rows = []
    for name, label in LABELS.items():
        if name == "money" and state.currency is None:
            continue
        limit = state.limits.given().get(name)
        rows.append(
            (
                _unit(label, name, state.currency),
                "no limit" if limit is None else _digits(limit),
                _digits(getattr(state.spent, name)),
                _digits(getattr(state.held, name)),
                "" if limit is None else _digits(left[name]),
                "" if view.forecast is None else _digits(getattr(view.forecast, name)),
            )
        )
    columns = ("", "limit", "spent", "reserved", "left", "forecast")
    _print(f"compute budget {view.name}", columns, rows)
    kinds = []
    for purpose, amounts in view.purposes.items():
        n = view.counts[purpose]
        kinds.append((purpose, str(n["settle"]), str(n["lost"]), *_amounts(amounts)))
    head = ("work of this run", "ended", "lost", *_heads(state.currency))
    _print("", head, kinds)
    if view.forecast is None:
        output.say("No forecast: no round is measured yet.")
    elif view.remaining:
        broken = state.limits.broken_by(view.forecast)
        output.say(
            f"The forecast holds if the method needs all {view.remaining} rounds that are left."
            + (f" It is beyond the limit of {LABELS[broken[0]]}." if broken else "")
        )
    for line in view.reconciled:
        note = line.note
        output.say(
            f"Bill of {note['provider']}, {note['begin']} until before {note['end']}: "
            f"{note['billed']:.2f} {note['currency']}, {note['difference']:+.2f} beside the ledger."
        )


def print_lines(lines: Iterable[Line]) -> None:
    """All lines of a ledger, each in one line."""
    console = Console()
    for line in lines:
        when = datetime.fromtimestamp(line.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        amounts = ", ".join(
            f"{text} {head}"
            for text, head in zip(_amounts(line.amounts), _heads(None), strict=True)
            if text != "0"
        )
        text = f"{when}  {line.kind:9}  {line.run_id}  {line.key}  {amounts}"
        console.print(text, highlight=False, soft_wrap=True, markup=False)


def print_prices(found: Prices) -> None:
    """What a worker costs an hour on each machine."""
    rows = []
    for provider, kinds in found.machines.items():
        for kind, price in kinds.items():
            name = f"{provider}/{kind}"
            spot = ""
            if price.spot_per_hour is not None:
                spot = _digits(found.rate(name, spot=True).per_worker_hour)
            rate = found.rate(name)
            rows.append(
                (name, str(price.cores), str(price.gpus), _digits(rate.per_worker_hour), spot)
            )
    columns = ("machine", "cores", "GPUs", "a worker", "as spot")
    since = "" if found.as_of is None else f", as of {found.as_of}"
    _print(f"{found.currency} an hour{since}", columns, rows)


def print_reconciliation(found: Reconciliation) -> None:
    """A bill and the ledger."""
    currency = found.bill.currency
    rows = [
        ("billed", f"{found.bill.amount:.4f} {currency}"),
        ("in the ledger", f"{found.own:.4f} {currency}"),
        ("difference", f"{found.difference:+.4f} {currency}"),
        *((name.replace("_", " "), str(value)) for name, value in found.bill.details.items()),
    ]
    end = "The ledger has a line of it now." if found.is_new else "The ledger had a line of it."
    title = f"{found.bill.provider}, {found.period.begin} until before {found.period.end}"
    output.facts(title, rows)
    output.say(f"{end} What is spent stays as it was measured.")


def _unit(label: str, name: str, currency: str | None) -> str:
    return str(currency) if name == "money" else label


def _heads(currency: str | None) -> tuple[str, ...]:
    return ("CPU h", "GPU h", "wall h", currency or "money")


def _amounts(amounts: Amounts) -> tuple[str, ...]:
    return tuple(_digits(getattr(amounts, name)) for name in LABELS)


def _digits(value: float) -> str:
    return f"{value:.4g}"


def _print(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 2, 0, 0))
    for i, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=i == 0)
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    Console().print(table)
