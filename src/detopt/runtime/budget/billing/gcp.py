"""Google Cloud: the billing export in BigQuery, which is where its costs can be asked for."""

__all__ = ["GcpBilling"]

import re
from dataclasses import dataclass
from typing import Any

from detopt.errors import ConfigError
from detopt.runtime.budget.billing.bill import Bill, Period, the_currency
from detopt.runtime.budget.billing.rest import post

API = "https://bigquery.googleapis.com"
TABLE = re.compile(r"[\w-]+\.\w+\.\w+")  # project, data set, table
QUERY = """\
SELECT currency, SUM(cost)
  + SUM(IFNULL((SELECT SUM(credit.amount) FROM UNNEST(credits) AS credit), 0)) AS cost
FROM `{table}`
WHERE usage_start_time >= TIMESTAMP(@begin) AND usage_start_time < TIMESTAMP(@end){label}
GROUP BY currency"""
LABEL = """
  AND EXISTS (SELECT 1 FROM UNNEST(labels) AS label
    WHERE label.key = @key AND label.value = @value)"""
WAIT = 20_000  # ms


@dataclass(frozen=True)
class GcpBilling:
    """Costs less credits, from the standard usage cost export of a billing account.

    Args:
        table: `PROJECT.DATASET.TABLE` of the export; its project pays for the query.
        label: `KEY=VALUE` of a label; None for all costs.
        endpoint: URL to ask instead of BigQuery itself.

    Raises:
        ConfigError: The table is not named so.

    References:
        BigQuery REST API v2: jobs.query. Cloud Billing: structure of the standard data export.
    """

    table: str
    label: str | None = None
    endpoint: str = API

    def __post_init__(self) -> None:
        if not TABLE.fullmatch(self.table):
            raise ConfigError(
                f"The billing export must be named PROJECT.DATASET.TABLE, got {self.table!r}."
            )

    def bill(self, period: Period) -> Bill:
        """What was billed for a period.

        Raises:
            ConfigError: Google Cloud refuses, is slow, or cannot be reached.
        """
        values = {"begin": str(period.begin), "end": str(period.end)}
        if self.label is not None:
            values["key"], _, values["value"] = self.label.partition("=")
        query = QUERY.format(table=self.table, label=LABEL if self.label is not None else "")
        body = {
            "query": query,
            "useLegacySql": False,
            "timeoutMs": WAIT,
            "parameterMode": "NAMED",
            "queryParameters": [_parameter(name, value) for name, value in values.items()],
        }
        project = self.table.partition(".")[0]
        answer = post(f"{self.endpoint}/bigquery/v2/projects/{project}/queries", body, "gcp")
        currency, amount = the_currency(_costs(answer), "gcp")
        return Bill("gcp", amount, currency)


def _parameter(name: str, value: str) -> dict[str, Any]:
    return {
        "name": name,
        "parameterType": {"type": "STRING"},
        "parameterValue": {"value": value},
    }


def _costs(answer: Any) -> dict[str, float]:
    try:
        if not answer["jobComplete"]:
            raise ConfigError("gcp has not finished the query in 20 s. Try again.")
        names = [one["name"] for one in answer["schema"]["fields"]]
        rows = [
            dict(zip(names, (cell["v"] for cell in row["f"]), strict=True))
            for row in answer.get("rows", [])
        ]
        return {row["currency"]: float(row["cost"]) for row in rows}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"gcp answers otherwise than documented: {error!r}.") from error
