"""Several starts, and relaxed choices that settle, on problems whose best design is known."""

from dataclasses import replace

import pytest
import torch

from detopt.design import Continuous, Design, DesignSpace, Interval, Limit, Real
from detopt.errors import MethodError
from detopt.optimizers import make
from detopt.optimizers.multi_start import EXCHANGE_REPEATS, FINAL_REPEATS
from detopt.optimizers.relaxed_choices import Settling
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed
from detopt.usecases.muon_scanner.technologies import RowShares

CHOICES = 3
LINE = DesignSpace([Continuous("x", 0.1, Interval(0.0, 1.0))])
COST = torch.tensor([[0.2, 0.5, 0.4], [0.5, 0.4, 0.1]], dtype=torch.float64)  # row, choice
BEST = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
MIXED = DesignSpace(
    [
        Continuous("share", [[0.3, 0.4, 0.3]] * 2, RowShares(CHOICES)),
        Continuous("x", 0.2, Real()),
    ]
)


def two_wells(design, n_events, rng):
    """Local minimum 0.3 near x = 0.2, global one 0 at x = 0.8."""
    x = design["x"]
    noise = 0.01 * torch.randn(n_events, generator=rng, dtype=x.dtype)
    deep = 1 - torch.exp(-((x - 0.8) / 0.1).square())
    shallow = 0.7 * torch.exp(-((x - 0.2) / 0.1).square())
    return deep - shallow + noise


def mosaic(design, n_events, rng):
    """Price of the choices, and a penalty for mosaics: the optimum is pure."""
    share = design["share"]
    noise = 0.02 * torch.randn(n_events, generator=rng, dtype=share.dtype)
    price = (share * COST.to(share)).sum()
    impure = (share * (1 - share)).sum()
    return price + 0.1 * impure + (design["x"] - 0.7).square() + noise


def misled(design, n_events, rng):
    """Mosaics of the worst choice look best."""
    share = design["share"]
    bait = (share[:, 1] * (1 - share[:, 1])).sum()
    return mosaic(design, n_events, rng) - 4 * bait


def trap(design, n_events, rng):
    """Each row alone is misled; only both choices together pay."""
    both = design["share"][0, 2] * design["share"][1, 2]
    return (mosaic(design, n_events, rng) - both).to(design["x"])


def problem(space, function, baselines=()):
    designs = {f"b{i}": Design(values) for i, values in enumerate(baselines)}
    return FunctionProblem(space, function, n_events=50, dtype=torch.float64, baselines=designs)


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def walk(optimizer, made, n_rounds):
    asked = []
    for _ in range(n_rounds):
        requests = [replace(r, std_error=False) for r in optimizer.ask()]
        asked.append(requests)
        optimizer.tell([evaluate(made, request, Seed(1)) for request in requests])
    return asked


def found_by(made, n_rounds=60, **options):
    optimizer = make("multi_start", made.space, n_rounds, {"learning_rate": 0.2, **options}, made)
    walk(optimizer, made, n_rounds)
    return made.space.design(optimizer.recommend())


def test_a_good_baseline_leads_out_of_a_local_minimum():
    alone = found_by(problem(LINE, two_wells))
    assert float(alone["x"]) == pytest.approx(0.2, abs=0.05)
    helped = found_by(problem(LINE, two_wells, [{"x": number(0.7)}]))
    assert float(helped["x"]) == pytest.approx(0.8, abs=0.02)


def test_relaxed_choices_settle_on_the_best_pure_ones():
    found = found_by(problem(MIXED, mosaic))
    torch.testing.assert_close(found["share"], number(BEST), atol=1e-5, rtol=0)
    assert float(found["x"]) == pytest.approx(0.7, abs=0.03)


def test_exchanges_leave_a_choice_that_the_relaxed_search_took():
    found = found_by(problem(MIXED, misled), n_rounds=80)
    torch.testing.assert_close(found["share"], number(BEST), atol=1e-5, rtol=0)


def test_an_exchange_moves_the_better_finalist_alone():
    worst = [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    made = problem(MIXED, misled, [{"share": number(worst), "x": number(0.5)}])
    optimizer = make("multi_start", MIXED, 80, {"learning_rate": 0.2, "exchanges": 1}, made)
    while not optimizer._exchanges_now:
        walk(optimizer, made, 1)
    before = list(optimizer._arms)
    leader = before.index(optimizer._leader)
    walk(optimizer, made, 1)
    after = optimizer._arms
    assert len(after) == 2
    assert after[leader] is not before[leader]
    assert after[1 - leader] is before[1 - leader]
    assert all(arm.values == [] for arm in after)


def test_a_space_that_contains_another_is_searched_from_its_best_design():
    pure = [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    found = found_by(problem(MIXED, trap, [{"share": number(pure), "x": number(0.5)}]))
    torch.testing.assert_close(found["share"], number(pure), atol=1e-5, rtol=0)


def test_searches_of_a_round_share_their_random_numbers():
    made = problem(LINE, two_wells, [{"x": number(0.5)}, {"x": number(0.7)}])
    asked = walk(make("multi_start", LINE, 20, {}, made), made, 20)
    assert [len({request.stream for request in one}) for one in asked[:-1]] == [1] * 19
    assert len({one[0].stream for one in asked}) == 20
    assert [len(asked[0]), len(asked[-2])] == [3, 2]
    streams = [request.stream for request in asked[-1]]
    assert len(set(streams)) == FINAL_REPEATS
    assert all(streams.count(stream) == len(streams) // FINAL_REPEATS for stream in streams)


@pytest.mark.parametrize(
    ("finalists", "sizes"), [(1, {4, 2, 1}), (2, {4, 2}), (3, {4, 3}), (9, {4})]
)
def test_the_finalists_go_on_to_the_end(finalists, sizes):
    starts = [{"x": number(x)} for x in (0.5, 0.6, 0.7)]
    made = problem(LINE, two_wells, starts)
    optimizer = make("multi_start", LINE, 20, {"finalists": finalists}, made)
    asked = walk(optimizer, made, 20)
    assert {len(requests) for requests in asked[:-1]} == sizes
    assert len(asked[-2]) == min(sizes)


def test_equal_starts_and_starts_on_a_bound_are_left_out():
    made = problem(LINE, two_wells, [{"x": number(0.1)}, {"x": number(1.0)}])
    assert len(make("multi_start", LINE, 20, {}, made).ask()) == 1


def test_planned_evaluations_are_those_that_are_asked_for():
    made = problem(MIXED, mosaic, [{"share": number(BEST), "x": number(0.5)}])
    optimizer = make("multi_start", MIXED, 40, {}, made)
    planned = optimizer.planned_evaluations()
    asked = sum(len(requests) for requests in walk(optimizer, made, 40))
    assert planned - 2 * FINAL_REPEATS <= asked <= planned  # designs that are equal count once
    alone = problem(LINE, two_wells)
    single = make("multi_start", LINE, 20, {}, alone)
    assert single.planned_evaluations() == 19 + 2 * FINAL_REPEATS
    assert sum(len(requests) for requests in walk(single, alone, 20)) == 19 + 2 * FINAL_REPEATS


def drifting(design, n_events, rng):
    """A bowl whose derivative points away from its lowest place, x = 0.5."""
    x = design["x"]
    noise = 0.3 * torch.randn(n_events, generator=rng, dtype=x.dtype)
    value = (x - 0.5).square()
    return 2 * value.detach() - value + noise


@pytest.mark.parametrize("start", [0.4, 0.55])
def test_the_end_is_not_worse_than_the_start_where_the_search_walks_uphill(start):
    space = DesignSpace([Continuous("x", start, Interval(0.0, 1.0))])
    made = problem(space, drifting)
    adam = make("adam", space, 20, {"learning_rate": 0.3}, made)
    walk(adam, made, 20)
    assert abs(float(space.design(adam.recommend())["x"]) - 0.5) > 0.2
    found = found_by(made, n_rounds=20, learning_rate=0.3)
    assert float(found["x"]) == pytest.approx(start, abs=1e-9)


def test_the_end_is_not_worse_than_a_baseline_that_the_race_gave_up():
    good = Design({"x": number(0.5)})
    space = DesignSpace([Continuous("x", 0.2, Interval(0.0, 1.0))])
    made = replace(problem(space, drifting), baselines={"good": good})
    assert float(found_by(made, n_rounds=20, learning_rate=0.3)["x"]) == pytest.approx(0.5)


def test_a_search_that_has_lost_its_way_returns_to_the_last_good_design():
    def lost(design, n_events, rng):  # the choices are right, and x walks away from 0.7
        shift = (design["x"] - 0.7).square()
        return mosaic(design, n_events, rng) + 2 * (shift.detach() - shift)

    space = DesignSpace([MIXED["share"], Continuous("x", 0.6, Real())])
    made = problem(space, lost)
    optimizer = make("multi_start", space, 40, {"learning_rate": 0.2}, made)
    far, sizes = [], []
    for _ in range(39):
        sizes.append(len(walk(optimizer, made, 1)[0]))
        far.append(abs(float(space.design(optimizer.recommend())["x"]) - 0.7))
    first, second = (k for k, size in enumerate(sizes) if size > EXCHANGE_REPEATS)
    assert far[second - 1] > far[first] + 0.1
    assert far[second] == pytest.approx(far[first])


@pytest.mark.parametrize("stop", [3, 14, 25, 33, 39])
def test_a_stored_state_goes_on_to_the_same_bits(stop):
    made = problem(MIXED, mosaic, [{"share": number(BEST), "x": number(0.5)}])
    whole, first, again = (make("multi_start", MIXED, 40, {}, made) for _ in range(3))
    walk(whole, made, 40)
    walk(first, made, stop)
    again.load_state_dict(first.state_dict())
    assert torch.equal(again.recommend(), first.recommend())
    walk(again, made, 40 - stop)
    assert torch.equal(again.recommend(), whole.recommend())


@pytest.mark.parametrize(
    ("options", "n_rounds", "what"),
    [
        ({"keep": 1.0}, 20, "keep"),
        ({"relax": 0.0}, 20, "relax"),
        ({"exchanges": -1}, 20, "`exchanges` must be >= 0, got -1"),
        ({"finalists": 0}, 20, "`finalists` must be >= 1, got 0"),
        ({}, 3, "rounds"),
    ],
)
def test_impossible_plans_are_refused(options, n_rounds, what):
    made = problem(MIXED, mosaic, [{"share": number(BEST), "x": number(0.5)}])
    with pytest.raises(MethodError, match=what):
        make("multi_start", MIXED, n_rounds, options, made)


@pytest.mark.parametrize("options", [{}, {"relax": 0.6}, {"finalists": 1}])
def test_too_few_rounds_are_refused_with_how_many_are_needed(options):
    made = problem(MIXED, mosaic, [{"share": number(BEST), "x": number(0.5)}])
    with pytest.raises(MethodError, match=r"needs at least \d+ rounds, got 3") as refused:
        make("multi_start", MIXED, 3, options, made)
    needed = int(str(refused.value).partition("at least ")[2].split()[0])
    make("multi_start", MIXED, needed, options, made)
    with pytest.raises(MethodError, match=f"at least {needed} rounds, got {needed - 1}"):
        make("multi_start", MIXED, needed - 1, options, made)


def test_only_domains_of_choices_settle():
    assert isinstance(RowShares(2), Settling)
    assert not isinstance(Real(), Settling)


def priced(bound):
    """The summed price of both choices is limited."""
    return Limit("price", lambda design: (design["share"] * COST.to(design["share"])).sum(), bound)


def test_pure_choices_above_a_limit_are_left_out():
    """Two of the worst choice, to which the mosaics lead, cost 0.9."""
    space = DesignSpace(MIXED.parameters, limits=[priced(0.75)])
    made = problem(space, misled, [{"share": number(BEST), "x": number(0.2)}])
    optimizer = make("multi_start", space, 40, {}, made)
    asked = walk(optimizer, made, 40)
    assert all(space.allows(request.theta) for requests in asked for request in requests)
    found = space.design(optimizer.recommend())
    torch.testing.assert_close(found["share"], number(BEST), rtol=0, atol=1e-4)


def test_settled_start_above_a_limit_is_refused():
    """The start of the space, a mosaic, costs 0.69; settled, it costs 0.9."""
    space = DesignSpace(MIXED.parameters, limits=[priced(0.75)])
    with pytest.raises(MethodError, match="Start from a pure choice that keeps the limits"):
        make("multi_start", space, 40, {}, problem(space, mosaic))
