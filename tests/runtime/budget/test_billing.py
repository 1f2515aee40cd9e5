"""Bills of providers beside the ledger: AWS by moto, the REST shapes of the others by a server."""

import json
import sys
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from detopt.errors import ConfigError, MissingExtraError
from detopt.runtime.budget import Amounts
from detopt.runtime.budget.billing import AwsBilling, AzureBilling, GcpBilling, Period
from detopt.runtime.budget.billing.rest import TOKEN
from detopt.runtime.budget.history import lines
from detopt.runtime.budget.reconcile import reconcile

PERIOD = Period(date(2026, 1, 5), date(2026, 1, 7))
SECRET = "bearer-token-of-the-test"
TABLE = "my-project.billing.gcp_billing_export_v1_012345"
SCOPE = "subscriptions/00000000-0000-0000-0000-000000000000"
GCP = {  # BigQuery REST API v2, QueryResponse
    "kind": "bigquery#queryResponse",
    "schema": {
        "fields": [
            {"name": "currency", "type": "STRING", "mode": "NULLABLE"},
            {"name": "cost", "type": "FLOAT", "mode": "NULLABLE"},
        ]
    },
    "jobReference": {"projectId": "my-project", "jobId": "job_1", "location": "EU"},
    "totalRows": "1",
    "rows": [{"f": [{"v": "EUR"}, {"v": "3.25"}]}],
    "totalBytesProcessed": "1024",
    "jobComplete": True,
    "cacheHit": False,
}


def azure_page(rows, following=None):
    """Azure Cost Management, QueryResult."""
    return {
        "id": f"{SCOPE}/providers/Microsoft.CostManagement/Query/1",
        "name": "1",
        "type": "microsoft.costmanagement/Query",
        "properties": {
            "nextLink": following,
            "columns": [
                {"name": "Cost", "type": "Number"},
                {"name": "Currency", "type": "String"},
            ],
            "rows": rows,
        },
    }


@pytest.fixture
def server(monkeypatch):
    """Answers what is in its list, and remembers what it was asked."""
    monkeypatch.setenv(TOKEN, SECRET)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked = (self.path, self.headers["Authorization"], json.loads(body))
            self.server.asked.append(asked)
            status, answer = self.server.answers.pop(0)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def spent(account, clock):
    """The ledger of a run that has spent 3 euros on 5 January 2026."""
    clock.now = 1767614400.0
    amounts = Amounts(cpu_h=2.0, wall_h=2.0, money=3.0, worker_h=2.0)
    held = account.reserve("run-1", "a", amounts, purpose="round", lease_s=600.0)
    account.settle(held, amounts)
    return account


def test_google_is_asked_as_documented_and_its_answer_read(server):
    server.answers = [(200, GCP)]
    bill = GcpBilling(TABLE, "study=ladle", server.url).bill(PERIOD)
    assert (bill.amount, bill.currency) == (3.25, "EUR")
    ((path, authorization, body),) = server.asked
    assert path == "/bigquery/v2/projects/my-project/queries"
    assert authorization == f"Bearer {SECRET}"
    assert body["useLegacySql"] is False
    values = {one["name"]: one["parameterValue"]["value"] for one in body["queryParameters"]}
    assert values == {
        "begin": "2026-01-05",
        "end": "2026-01-07",
        "key": "study",
        "value": "ladle",
    }
    assert f"FROM `{TABLE}`" in body["query"]
    assert "ladle" not in body["query"]


def test_azure_is_asked_page_by_page(server):
    following = f"{server.url}/{SCOPE}/providers/Microsoft.CostManagement/query?$skiptoken=2"
    first = azure_page([[1.5, "EUR"]], following)
    server.answers = [(200, first), (200, azure_page([[2.25, "EUR"]]))]
    bill = AzureBilling(SCOPE, "study=ladle", server.url).bill(PERIOD)
    assert (bill.amount, bill.currency) == (3.75, "EUR")
    path, _, body = server.asked[0]
    assert path == (f"/{SCOPE}/providers/Microsoft.CostManagement/query?api-version=2023-11-01")
    assert body["timePeriod"] == {"from": "2026-01-05T00:00:00Z", "to": "2026-01-06T23:59:59Z"}
    assert body["dataset"]["filter"]["tags"]["values"] == ["ladle"]
    assert server.asked[1][0].endswith("skiptoken=2")


def test_a_token_goes_to_no_other_place(server):
    server.answers = [(200, azure_page([], "http://127.0.0.1:1/elsewhere")), (302, b"")]
    with pytest.raises(ConfigError, match="next page elsewhere"):
        AzureBilling(SCOPE, None, server.url).bill(PERIOD)
    with pytest.raises(ConfigError, match="302"):
        AzureBilling(SCOPE, None, server.url).bill(PERIOD)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, b"{}"), f"401 .*The token in {TOKEN} does not hold"),
        ((403, b"{}"), "may not read bills"),
        ((404, b"{}"), "compare project"),
        ((429, b"{}"), "too often"),
        ((200, b"<html>"), "no JSON"),
        ((200, {"jobComplete": False}), "not finished"),
        ((200, {"jobComplete": True}), "otherwise than documented"),
        ((200, {**GCP, "rows": []}), r"0 currencies \(none\)"),
        ((200, {**GCP, "rows": [*GCP["rows"], {"f": [{"v": "USD"}, {"v": "1"}]}]}), "EUR, USD"),
    ],
)
def test_what_a_provider_refuses_is_told_without_the_token(server, answer, message):
    server.answers = [answer]
    with pytest.raises(ConfigError, match=message) as caught:
        GcpBilling(TABLE, None, server.url).bill(PERIOD)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None or SECRET not in repr(vars(caught.value.__cause__))


def test_a_bill_needs_a_token_and_https(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(ConfigError, match=f"needs an access token in {TOKEN}"):
        GcpBilling(TABLE).bill(PERIOD)
    monkeypatch.setenv(TOKEN, SECRET)
    with pytest.raises(ConfigError, match="only asked for by https"):
        GcpBilling(TABLE, None, "http://example.org").bill(PERIOD)
    monkeypatch.setenv(TOKEN, "two\nlines")
    with pytest.raises(ConfigError, match="letters that no token has"):
        GcpBilling(TABLE).bill(PERIOD)


@pytest.mark.parametrize("name", ["a.b", "a.b.c`; DROP TABLE x", "a b.c.d", ""])
def test_a_table_or_scope_of_another_kind_is_refused(name):
    with pytest.raises(ConfigError, match=r"PROJECT\.DATASET\.TABLE"):
        GcpBilling(name)
    with pytest.raises(ConfigError, match="subscriptions/ID"):
        AzureBilling(name)


def test_a_period_without_a_day_is_refused():
    with pytest.raises(ConfigError, match="has no day"):
        Period(PERIOD.end, PERIOD.end)


def test_a_bill_is_stated_and_noted_once_and_changes_nothing(server, spent):
    server.answers = [(200, GCP), (200, GCP)]
    before = spent.state()
    found = reconcile(spent, "run-1", GcpBilling(TABLE, None, server.url))
    assert (found.own, found.difference, found.is_new) == (3.0, 0.25, True)
    assert found.period == Period(date(2026, 1, 5), date(2026, 1, 6))
    assert not reconcile(spent, "run-1", GcpBilling(TABLE, None, server.url)).is_new
    assert spent.state() == before
    (line,) = [one for one in lines(spent) if one.kind == "reconcile"]
    assert line.amounts.money == 0.25
    assert (line.note["billed"], line.note["own"]) == (3.25, 3.0)
    assert SECRET not in json.dumps([one.as_dict() for one in lines(spent)])


def test_a_bill_in_another_currency_is_refused(server, spent):
    rows = [{"f": [{"v": "USD"}, {"v": "3"}]}]
    server.answers = [(200, {**GCP, "rows": rows})]
    with pytest.raises(ConfigError, match="in USD, the ledger in EUR"):
        reconcile(spent, "run-1", GcpBilling(TABLE, None, server.url))


def test_a_ledger_without_charges_has_nothing_to_compare(account):
    with pytest.raises(ConfigError, match="Nothing is spent"):
        reconcile(account, "run-1", GcpBilling(TABLE))


@pytest.fixture
def moto_server(monkeypatch):
    server_module = pytest.importorskip("moto.server", reason="moto is not installed")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def costs(*pages):
    """Cost Explorer, responses of GetCostAndUsage."""
    found = []
    for i, amounts in enumerate(pages):
        days = [
            {
                "TimePeriod": {"Start": f"2026-01-0{5 + j}", "End": f"2026-01-0{6 + j}"},
                "Total": {"UnblendedCost": {"Amount": amount, "Unit": "EUR"}},
                "Groups": [],
                "Estimated": False,
            }
            for j, amount in enumerate(amounts)
        ]
        more = {"NextPageToken": f"page-{i + 1}"} if i + 1 < len(pages) else {}
        found.append({"ResultsByTime": days, "DimensionValueAttributes": [], **more})
    return found


def test_amazon_is_asked_for_costs_and_for_a_budget(moto_server, spent):
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    preset = {"results": costs(["1.25", "0.5"], ["2.0"])}
    requests.post(f"{moto_server}/moto-api/static/ce/cost-and-usage-results", json=preset)
    budgets = boto3.client("budgets", "us-east-1", endpoint_url=moto_server)
    limit = {"Amount": "10", "Unit": "USD"}
    budgets.create_budget(
        AccountId="123456789012",
        Budget={
            "BudgetName": "ladle",
            "BudgetLimit": limit,
            "TimeUnit": "MONTHLY",
            "BudgetType": "COST",
        },
    )
    billing = AwsBilling("study=ladle", "123456789012", "ladle", moto_server)
    found = reconcile(spent, "run-1", billing, PERIOD)
    assert found.bill.amount == 3.75
    assert found.difference == 0.75
    assert found.bill.details["budget_limit"] == 10.0
    assert found.bill.details["budget_spent"] == 0.0


def test_what_amazon_refuses_is_told(moto_server):
    preset = {"results": costs(["1.25"])}
    requests.post(f"{moto_server}/moto-api/static/ce/cost-and-usage-results", json=preset)
    with pytest.raises(ConfigError, match=r"AWS does not tell its bill.*NotFound"):
        AwsBilling(None, "123456789012", "none", moto_server).bill(PERIOD)
    with pytest.raises(ConfigError, match="needs --account"):
        AwsBilling(None, None, "none", moto_server).bill(PERIOD)


def test_without_its_package_amazon_cannot_be_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"needs `boto3`.*detopt\[aws\]"):
        AwsBilling().bill(PERIOD)


def test_a_budget_at_amazon_without_its_account_is_asked_for_it():
    with pytest.raises(ConfigError, match=r"^A budget at AWS needs --account"):
        AwsBilling(budget="ladle").bill(PERIOD)
