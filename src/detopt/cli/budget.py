"""The commands `detopt budget`, and the options of a budget."""

__all__ = [
    "Machine",
    "MaxCpuHours",
    "MaxGpuHours",
    "MaxMoney",
    "MaxWallHours",
    "PriceFile",
    "SharedBudget",
    "Spot",
    "budget_app",
    "budget_settings",
    "spent",
]

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from detopt.cli import output
from detopt.cli.options import Debug, Json
from detopt.errors import BudgetError, ConfigError

if TYPE_CHECKING:
    from detopt.runtime import RunStore, StudyConfig
    from detopt.runtime.budget import BudgetLedger
    from detopt.runtime.budget.billing import Billing, Period

PANEL = "Compute budget"
SPENT = 3  # exit code
MaxCpuHours = Annotated[
    float | None,
    typer.Option(min=0, rich_help_panel=PANEL, help="CPU hours after which the study stops"),
]
MaxGpuHours = Annotated[
    float | None,
    typer.Option(min=0, rich_help_panel=PANEL, help="GPU hours after which it stops"),
]
MaxWallHours = Annotated[
    float | None,
    typer.Option(min=0, rich_help_panel=PANEL, help="Hours by the clock after which it stops"),
]
MaxMoney = Annotated[
    float | None,
    typer.Option(min=0, rich_help_panel=PANEL, help="Money after which it stops; with --prices"),
]
PriceFile = Annotated[
    Path | None,
    typer.Option(rich_help_panel=PANEL, help="Price file; see `detopt budget prices`"),
]
Machine = Annotated[
    str | None,
    typer.Option(
        metavar="PROVIDER/TYPE",
        rich_help_panel=PANEL,
        help="Entry of the price file for the workers' machines",
    ),
]
Spot = Annotated[bool, typer.Option("--spot", rich_help_panel=PANEL, help="They are spot machines")]
SharedBudget = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=PANEL,
        help="Budget that several runs of a database share; the first one gives its limits",
    ),
]


class _Group(TyperGroup):
    """`detopt budget RUN` is `detopt budget show RUN`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().parse_args(ctx, args)


budget_app = typer.Typer(
    cls=_Group,
    help="What a run may spend, and what it has spent: `detopt budget RUN`.",
    no_args_is_help=True,
)
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name below `runs/`, or a folder")]


def budget_settings(before: Mapping[str, Any] | None, **given: Any) -> dict[str, Mapping[str, Any]]:
    """The setting `compute_budget`, if there is one: what is given, over what a file says."""
    chosen = {name: value for name, value in given.items() if value not in (None, False)}
    return {"compute_budget": {**(before or {}), **chosen}} if chosen else {}


def spent(error: BudgetError, folder: Path) -> typer.Exit:
    """Say that the budget is used up, and how to go on."""
    output.say(f"Stopped: {error}")
    output.say(
        f"All complete rounds are kept. Go on with: detopt resume {folder} --max-..., "
        "with a larger limit."
    )
    return typer.Exit(SPENT)


@budget_app.command()
def show(
    run: RunName,
    ledger: Annotated[bool, typer.Option("--ledger", help="Also all lines of the ledger")] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Spent, reserved and left, by kind of work, and the forecast: also `detopt budget RUN`."""
    from detopt.cli.budget_tables import print_budget, print_lines
    from detopt.runtime.budget import overview
    from detopt.runtime.budget.history import lines

    with _opened(run) as found:
        remaining = max(0, found.config.rounds - len(found.store.rounds()))
        finished = found.store.status == "finished"
        view = overview(found.ledger, found.store.id, remaining, finished)
        written = lines(found.ledger) if ledger else []
    if json:
        also = {"ledger": [line.as_dict() for line in written]} if ledger else {}
        output.document({**view.as_dict(), **also})
        return
    print_budget(view)
    if ledger:
        print_lines(written)


@budget_app.command()
def prices(
    path: Annotated[Path | None, typer.Argument(help="Price file to check")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print an example, with made-up figures")
    ] = False,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Check a price file, which you write yourself, and print what a worker costs an hour."""
    from detopt.cli.budget_tables import print_prices
    from detopt.runtime.budget import EXAMPLE, load_prices

    if example or path is None:
        typer.echo(EXAMPLE, nl=False)
        return
    found = load_prices(path)
    if json:
        output.document(found.model_dump(mode="json"))
        return
    print_prices(found)


@budget_app.command()
def reconcile(
    run: RunName,
    provider: Annotated[str, typer.Option(help="aws, gcp or azure")],
    begin: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First day; that of the ledger")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day after the last one")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(metavar="KEY=VALUE", help="Only costs with that tag or label"),
    ] = None,
    account: Annotated[str | None, typer.Option(help="aws: number of the account")] = None,
    budget: Annotated[str | None, typer.Option(help="aws: name of a budget there")] = None,
    table: Annotated[
        str | None, typer.Option(help="gcp: PROJECT.DATASET.TABLE of the billing export")
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="azure: subscriptions/ID, or a resource group in it")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="URL to ask instead, for a test")] = None,
    json: Json = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Compare a provider's bill with the ledger and note the difference; nothing else changes.

    AWS takes the credentials of its SDK; gcp and azure an access token in DETOPT_BILLING_TOKEN.
    """
    from detopt.cli.budget_tables import print_reconciliation
    from detopt.runtime.budget.reconcile import reconcile as compare

    if tag is not None and not all(tag.partition("=")):
        raise ConfigError(f"A tag must read KEY=VALUE, got {tag!r}.")
    billing = _billing(provider, tag, account, budget, table, scope, endpoint)
    with _opened(run) as found:
        period = _period(begin, end)
        result = compare(found.ledger, found.store.id, billing, period)
    if json:
        output.document(result.as_dict())
        return
    print_reconciliation(result)


def _billing(
    provider: str,
    tag: str | None,
    account: str | None,
    budget: str | None,
    table: str | None,
    scope: str | None,
    endpoint: str | None,
) -> "Billing":
    from detopt.runtime.budget.billing import AwsBilling, AzureBilling, GcpBilling

    elsewhere = {} if endpoint is None else {"endpoint": endpoint.rstrip("/")}
    if provider == "aws":
        return AwsBilling(tag=tag, account=account, budget=budget, **elsewhere)
    if provider == "gcp":
        if table is None:
            raise ConfigError("gcp needs --table, the billing export in BigQuery.")
        return GcpBilling(table, label=tag, **elsewhere)
    if provider == "azure":
        if scope is None:
            raise ConfigError("azure needs --scope, such as subscriptions/ID.")
        return AzureBilling(scope, tag=tag, **elsewhere)
    raise ConfigError(f"No provider `{provider}`. There are: aws, gcp, azure.")


def _period(begin: datetime | None, end: datetime | None) -> "Period | None":
    from detopt.runtime.budget.billing import Period

    if begin is None and end is None:
        return None
    if begin is None or end is None:
        raise ConfigError("Give --begin and --end, or none of them.")
    first, last = date.fromordinal(begin.toordinal()), date.fromordinal(end.toordinal())
    return Period(first, last)


@dataclass(frozen=True)
class _Opened:
    store: "RunStore"
    config: "StudyConfig"
    ledger: "BudgetLedger"


@contextlib.contextmanager
def _opened(run: str) -> Iterator[_Opened]:
    from detopt.runtime import RunStore, load_study
    from detopt.runtime.budget.account import find_account

    folder = output.run_folder(run)
    with contextlib.closing(RunStore(folder)) as store:
        config = load_study(folder / "study.yaml", complete=True)
        ledger = find_account(store.store, store.id, config.compute_budget)
        if ledger is None:
            raise ConfigError(
                f"{folder} has no compute budget. Give it one: "
                f"detopt resume {folder} --max-cpu-hours HOURS"
            )
        yield _Opened(store, config, ledger)
