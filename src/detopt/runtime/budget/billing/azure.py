"""Azure: the query interface of Cost Management."""

__all__ = ["AzureBilling"]

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from detopt.errors import ConfigError
from detopt.runtime.budget.billing.bill import Bill, Period, the_currency
from detopt.runtime.budget.billing.rest import post

API = "https://management.azure.com"
VERSION = "2023-11-01"
SCOPE = re.compile(r"(subscriptions|providers)/[\w./():-]+")
MOST_PAGES = 1_000


@dataclass(frozen=True)
class AzureBilling:
    """Actual costs of a scope.

    Args:
        scope: Such as `subscriptions/ID` or `subscriptions/ID/resourceGroups/NAME`.
        tag: `KEY=VALUE` of a tag of the resources; None for all costs.
        endpoint: URL to ask instead of Azure itself.

    Raises:
        ConfigError: The scope is not named so.

    References:
        Azure REST API, Cost Management: Query - Usage, version 2023-11-01.
    """

    scope: str
    tag: str | None = None
    endpoint: str = API

    def __post_init__(self) -> None:
        if not SCOPE.fullmatch(self.scope.strip("/")) or ".." in self.scope:
            raise ConfigError(f"The scope must read subscriptions/ID or so, got {self.scope!r}.")

    def bill(self, period: Period) -> Bill:
        """What was billed for a period.

        Raises:
            ConfigError: Azure refuses or cannot be reached.
        """
        dataset: dict[str, Any] = {
            "granularity": "None",
            "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
        }
        if self.tag is not None:
            key, _, value = self.tag.partition("=")
            dataset["filter"] = {"tags": {"name": key, "operator": "In", "values": [value]}}
        last = period.end.toordinal() - 1
        body = {
            "type": "ActualCost",
            "timeframe": "Custom",
            "timePeriod": {
                "from": f"{period.begin}T00:00:00Z",
                "to": f"{period.begin.fromordinal(last)}T23:59:59Z",
            },
            "dataset": dataset,
        }
        path = f"{self.scope.strip('/')}/providers/Microsoft.CostManagement/query"
        url: str | None = f"{self.endpoint}/{path}?api-version={VERSION}"
        found: dict[str, float] = {}
        for _ in range(MOST_PAGES):
            if url is None:
                break
            url = self._read(post(url, body, "azure"), found)
        currency, amount = the_currency(found, "azure")
        return Bill("azure", amount, currency)

    def _read(self, answer: Any, found: dict[str, float]) -> str | None:
        """Add the costs of a page; address of the next one."""
        try:
            page = answer["properties"]
            names = [column["name"] for column in page["columns"]]
            cost, currency = names.index("Cost"), names.index("Currency")
            for row in page["rows"]:
                found[row[currency]] = found.get(row[currency], 0.0) + float(row[cost])
            following = page.get("nextLink")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ConfigError(f"azure answers otherwise than documented: {error!r}.") from error
        if not following:
            return None
        if urlsplit(following)[:2] != urlsplit(self.endpoint)[:2]:
            raise ConfigError("azure names a next page elsewhere, where no token is sent.")
        return str(following)
