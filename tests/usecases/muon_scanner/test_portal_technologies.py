"""Technologies: prices by hand, mosaics between their tiles, and designs that end pure."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import Design
from detopt.errors import ConfigError, DesignError
from detopt.usecases.muon_scanner.panels import half_widths
from detopt.usecases.muon_scanner.technologies import (
    TECHNOLOGIES,
    Equip,
    RowShares,
    mean_panels,
    pure,
    start_price,
    start_shares,
    technology_parameters,
)

NAMES = ("rpc", "scintillator", "silicon")
PROPERTIES = ("panel_resolution", "panel_efficiency", "panel_thickness", "panel_price")


def design(shares, fineness=0.5):
    shares = torch.as_tensor(shares, dtype=torch.float64)
    middle = torch.full((len(shares),), fineness, dtype=torch.float64)
    return Design({"panel_technology": shares, "panel_fineness": middle})


@pytest.mark.parametrize(
    ("name", "fineness", "resolution", "price"),
    [  # by hand: r p, and the price of a square metre + 2/p channels
        ("rpc", 0.0, 3e-3, 2.5 + 0.004 * 2 / 0.012),
        ("rpc", 1.0, 0.375e-3, 2.5 + 0.004 * 2 / 0.0015),
        ("scintillator", 0.0, 3.5e-3, 1.5 + 0.02 * 2 / 0.035),
        ("silicon", 1.0, 8e-5 / 12**0.5, 50 + 0.0005 * 2 / 8e-5),
    ],
)
def test_a_technology_has_the_resolution_and_price_of_its_pitch(name, fineness, resolution, price):
    kind = TECHNOLOGIES[name]
    there = torch.tensor(fineness, dtype=torch.float64)
    assert kind.resolution(there).item() == pytest.approx(resolution, rel=1e-12)
    assert kind.price(there).item() == pytest.approx(price, rel=1e-12)


def test_the_middle_pitch_is_the_geometric_mean_of_the_ends():
    pitch = TECHNOLOGIES["rpc"].pitch(torch.tensor(0.5, dtype=torch.float64))
    assert pitch.item() == pytest.approx((0.012 * 0.0015) ** 0.5, rel=1e-12)


@pytest.mark.parametrize("index", range(3))
def test_a_panel_of_one_technology_has_its_properties(index):
    shares = torch.eye(3, dtype=torch.float64)[index : index + 1]
    found = mean_panels(design(shares), NAMES)
    kind, middle = TECHNOLOGIES[NAMES[index]], torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(found["panel_resolution"], kind.resolution(middle))
    torch.testing.assert_close(found["panel_price"], kind.price(middle))
    assert found["panel_efficiency"].item() == pytest.approx(kind.efficiency)
    assert found["panel_thickness"].item() == pytest.approx(kind.thickness)


def test_one_technology_needs_no_shares():
    alone = mean_panels(Design({"panel_fineness": torch.tensor([0.2])}), ("rpc",))
    expected = TECHNOLOGIES["rpc"].resolution(torch.tensor([0.2]))
    torch.testing.assert_close(alone["panel_resolution"], expected)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3), st.floats(0.0, 1.0))
def test_a_mosaic_lies_between_its_technologies(weights, fineness):
    shares = torch.tensor([weights], dtype=torch.float64)
    mixed = mean_panels(design(shares / shares.sum(), fineness), NAMES)
    alone = mean_panels(design(torch.eye(3), fineness), NAMES)
    for name in PROPERTIES:
        low, high = alone[name].min().item(), alone[name].max().item()
        assert low * (1 - 1e-9) <= mixed[name].item() <= high * (1 + 1e-9)


def test_a_mosaic_of_two_is_coarser_than_a_pure_panel_of_its_price():
    # the mean variance is dominated by the coarse tiles: half silicon, half scintillator
    mixed = mean_panels(design([[0.0, 0.5, 0.5]], 0.0), NAMES)
    coarse = TECHNOLOGIES["scintillator"].resolution(torch.zeros(1)).item()
    assert mixed["panel_resolution"].item() > 0.7 * coarse
    assert mixed["panel_price"].item() > 20


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-5, 5), min_size=6, max_size=6))
def test_shares_add_up_and_come_back(theta):
    domain = RowShares(3)
    given_theta = torch.tensor(theta, dtype=torch.float64)
    values = domain.values(given_theta)
    assert domain.violation(values) is None
    torch.testing.assert_close(values.reshape(2, 3).sum(1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(domain.values(domain.theta(values)), values)


def test_one_choice_in_each_row_comes_back_from_theta():
    domain = RowShares(3)
    pure_rows = torch.eye(3, dtype=torch.float64).flatten()
    again = domain.values(domain.theta(pure_rows))
    torch.testing.assert_close(again, pure_rows, atol=1e-5, rtol=0)


def test_shares_settle_on_the_largest_and_are_exchanged_one_row_at_a_time():
    domain = RowShares(3)
    mixed = torch.tensor([0.2, 0.7, 0.1, 0.5, 0.2, 0.3], dtype=torch.float64)
    settled = domain.settled(mixed)
    assert settled.tolist() == [0, 1, 0, 1, 0, 0]
    assert torch.equal(domain.settled(settled), settled)
    others = domain.exchanges(mixed)
    assert len({tuple(other.tolist()) for other in others}) == len(others) == 4
    for other in others:
        assert domain.violation(other) is None
        assert float((other - settled).abs().sum()) == 2


def test_the_pure_design_keeps_the_largest_share_and_its_price_sets_the_area():
    mixed = Design(
        {**design([[0.2, 0.7, 0.1]]), "panel_cost": torch.tensor([10.0], dtype=torch.float64)}
    )
    hard = pure(mixed)
    assert hard["panel_technology"].tolist() == [[0.0, 1.0, 0.0]]
    half, cost = half_widths(Equip(NAMES, is_pure=True)(mixed))
    price = TECHNOLOGIES["scintillator"].price(torch.tensor(0.5, dtype=torch.float64))
    assert (4 * half[0, 0] * half[1, 0]).item() == pytest.approx((10 / price).item())
    assert cost.item() == pytest.approx(10.0)


def test_properties_are_differentiable_in_shares_and_fineness():
    def properties(theta, fineness):
        shares = RowShares(3).values(theta).reshape(2, 3)
        found = mean_panels(Design({"panel_technology": shares, "panel_fineness": fineness}), NAMES)
        return torch.stack([found[name] for name in PROPERTIES])

    theta = torch.linspace(-1, 1, 6, dtype=torch.float64).requires_grad_()
    fineness = torch.tensor([0.3, 0.6], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(properties, (theta, fineness))


def test_the_search_starts_with_equal_money_for_each_technology():
    middle = torch.tensor(0.5, dtype=torch.float64)
    prices = torch.stack([TECHNOLOGIES[name].price(middle) for name in NAMES])
    spent = start_shares(NAMES) * prices
    torch.testing.assert_close(spent, spent.mean().expand(3))
    assert start_shares(NAMES).sum().item() == pytest.approx(1)
    assert start_price(NAMES).item() == pytest.approx(3 / (1 / prices).sum().item())


@pytest.mark.parametrize("names", [("rpc", "glass"), ("rpc", "rpc")])
def test_unknown_or_repeated_technologies_are_refused(names):
    with pytest.raises(ConfigError, match="technologies"):
        technology_parameters(names, 6)


@pytest.mark.parametrize(("columns", "low"), [(1, 0.0), (3, 0.4), (2, -0.1)])
def test_impossible_shares_are_refused(columns, low):
    with pytest.raises(DesignError, match="shares"):
        RowShares(columns, low)


@pytest.mark.parametrize(("values", "what"), [([0.5, 0.6], "add up"), ([1.2, -0.2], ">= 0")])
def test_rows_that_are_no_shares_are_refused(values, what):
    problem = RowShares(2).violation(torch.tensor(values, dtype=torch.float64))
    assert problem is not None
    assert what in problem


@pytest.mark.parametrize(
    "change", [{"thickness": 0.0}, {"efficiency": 1.0}, {"pitches": (0.001, 0.01)}]
)
def test_a_technology_without_sense_is_refused(change):
    with pytest.raises(ConfigError, match="A technology needs"):
        dataclasses.replace(TECHNOLOGIES["rpc"], **change)
