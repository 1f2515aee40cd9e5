"""Price files."""

import pytest

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime.budget import EXAMPLE, ComputeBudget, load_prices

TOML = """
currency = "USD"
[machines.gcp."n2-standard-8"]
cores = 8
per_hour = 0.4
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name="prices.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_the_example_is_a_price_file(write):
    prices = load_prices(write(EXAMPLE))
    rate = prices.rate("aws/c7i.4xlarge", spot=True)
    assert (rate.per_worker_hour, rate.currency, rate.gpus) == (0.02, "EUR", 0.0)
    assert prices.rate("aws/g6.xlarge", workers=1).gpus == 1.0


def test_a_price_file_may_be_toml(write):
    assert load_prices(write(TOML, "prices.toml")).rate("gcp/n2-standard-8").per_worker_hour == 0.05


def test_times_cost_what_the_machine_costs(write):
    rate = load_prices(write(EXAMPLE)).rate("aws/g6.xlarge")
    amounts = rate.amounts(wall_s=1800.0, cpu_s=3000.0, worker_s=7200.0)
    assert amounts.money == pytest.approx(2 * 0.90 / 4)
    assert amounts.gpu_h == pytest.approx(2 / 4)
    assert (amounts.wall_h, amounts.cpu_h) == (0.5, pytest.approx(3000 / 3600))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("currency: euro\nmachines: {a: {b: {per_hour: 1}}}", "`currency`"),
        ("currency: EUR\nmachines: {a: {b: {per_hour: -1}}}", r"`machines\.a\.b\.per_hour`.*-1"),
        ("currency: EUR\nmachines: {a: {b: {per_hour: .nan}}}", r"per_hour`.*finite"),
        ("currency: EUR\nmachines: {a: {b: {per_day: 1}}}", r"`machines\.a\.b\.per_hour`"),
        ("currency: EUR\nmachines: {}", "`machines`"),
        (
            "currency: EUR\nmachines:\n  a:\n    b: {per_hour: 1}\n    b: {per_hour: 2}",
            "`b` in line",
        ),
        ("currency: [", "cannot be read"),
        ("- 1", "`the file`"),
        ("", "`the file`"),
    ],
)
def test_a_price_file_that_is_wrong_is_explained(write, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_prices(write(text))
    assert "prices.yaml" in str(caught.value)


def test_a_price_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match="Cannot read the price file"):
        load_prices(tmp_path / "none.yaml")


def test_a_machine_without_a_price_is_named_with_those_that_have_one(write):
    prices = load_prices(write(EXAMPLE))
    with pytest.raises(NotFoundError, match=r"aws/none.*aws/c7i\.4xlarge"):
        prices.rate("aws/none")
    with pytest.raises(ConfigError, match="no price as a spot machine"):
        prices.rate("institute/node", spot=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"money": 1.0}, "`money` needs `prices`"),
        ({"machine": "aws/x"}, "`machine` needs `prices`"),
        ({"prices": "p.yaml"}, "`prices` needs `machine`"),
        ({"spot": True}, "`spot` needs"),
        ({"gpu_hours": 1.0}, "`gpu_hours` needs `machine`"),
        ({"cpu_hours": -1.0}, "greater than or equal to 0"),
        ({"cpu_hours": 1.0, "margin": 0.5}, "greater than or equal to 1"),
        ({"cpus": 1.0}, "Extra inputs"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ComputeBudget(**settings)
