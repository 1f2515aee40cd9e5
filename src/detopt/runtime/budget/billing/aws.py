"""AWS: Cost Explorer says what was billed, Budgets how a budget there stands."""

__all__ = ["AwsBilling"]

from dataclasses import dataclass
from typing import Any

from detopt.errors import ConfigError
from detopt.optional import require
from detopt.runtime.budget.billing.bill import Bill, Period, the_currency

PURPOSE = "Asking AWS for a bill"
METRIC = "UnblendedCost"
REGION = "us-east-1"  # where these services are


@dataclass(frozen=True)
class AwsBilling:
    """Costs of an account, by `GetCostAndUsage` and `DescribeBudget`.

    Credentials and region are those of the AWS SDK: environment, profile, or the machine's role.

    Args:
        tag: `KEY=VALUE` of a cost allocation tag; None for all costs.
        account: Number of the account, with `budget`.
        budget: Name of a budget there, whose state is told beside.
        endpoint: URL to ask instead of AWS itself.

    References:
        AWS Billing and Cost Management API Reference: GetCostAndUsage, DescribeBudget.
    """

    tag: str | None = None
    account: str | None = None
    budget: str | None = None
    endpoint: str | None = None

    def bill(self, period: Period) -> Bill:
        """What was billed for a period, unblended.

        Raises:
            MissingExtraError: `boto3` is not installed.
            ConfigError: A budget is asked for without its account, or AWS refuses or cannot be
                reached.
        """
        if self.budget is not None and self.account is None:
            raise ConfigError("A budget at AWS needs --account, the number of its account.")
        sdk = require("boto3", extra="aws", purpose=PURPOSE)
        errors = require("botocore.exceptions", extra="aws", purpose=PURPOSE)
        try:
            found = self._costs(self._client(sdk, "ce"), period)
            details = {} if self.budget is None else self._budget(self._client(sdk, "budgets"))
        except (errors.BotoCoreError, errors.ClientError) as error:
            raise ConfigError(f"AWS does not tell its bill: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"AWS answers otherwise than documented: {error!r}.") from error
        currency, amount = the_currency(found, "aws")
        return Bill("aws", amount, currency, details)

    def _client(self, sdk: Any, service: str) -> Any:
        return sdk.client(service, region_name=REGION, endpoint_url=self.endpoint)

    def _costs(self, client: Any, period: Period) -> dict[str, float]:
        request: dict[str, Any] = {
            "TimePeriod": {"Start": str(period.begin), "End": str(period.end)},
            "Granularity": "DAILY",
            "Metrics": [METRIC],
        }
        if self.tag is not None:
            key, _, value = self.tag.partition("=")
            request["Filter"] = {"Tags": {"Key": key, "Values": [value]}}
        found: dict[str, float] = {}
        while True:
            page = client.get_cost_and_usage(**request)
            for day in page["ResultsByTime"]:
                cost = day["Total"][METRIC]
                found[cost["Unit"]] = found.get(cost["Unit"], 0.0) + float(cost["Amount"])
            if not page.get("NextPageToken"):
                return found
            request["NextPageToken"] = page["NextPageToken"]

    def _budget(self, client: Any) -> dict[str, float | str]:
        found = client.describe_budget(AccountId=self.account, BudgetName=self.budget)["Budget"]
        limit, spent = found["BudgetLimit"], found["CalculatedSpend"]["ActualSpend"]
        return {
            "budget": found["BudgetName"],
            "budget_limit": float(limit["Amount"]),
            "budget_spent": float(spent["Amount"]),
            "budget_currency": limit["Unit"],
        }
