"""The number of panels: what a share buys, and which panels go."""

import math

import pytest
import torch

from detopt.design import Design, DesignSpace
from detopt.errors import ConfigError, DesignError
from detopt.optimizers import make
from detopt.pipeline.evaluation import evaluate, summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.realism.pruning import Sizing, prune


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_without_a_base_price_the_whole_share_buys_area():
    cost = tensor(0.1, 1.0, 2.0)
    assert torch.equal(Sizing().spent_on_area(cost), cost)
    assert torch.equal(Sizing(is_final=True).spent_on_area(cost), cost)


def test_a_large_share_pays_the_whole_base_price_and_a_small_one_gets_nearly_nothing():
    spent = Sizing(base_price=0.2).spent_on_area(tensor(4.0, 0.02))
    assert spent[0].item() == pytest.approx(3.8, rel=1e-3)
    assert spent[1].item() == pytest.approx(0.02 / (1 + math.exp(4)), rel=0.3)  # its slope at 0


def test_a_final_design_has_fewer_panels_and_spends_the_same():
    sizing = Sizing(base_price=0.2, is_final=True)
    spent = sizing.spent_on_area(tensor(3.0, 0.1, 2.9))
    assert spent[1] == 0
    assert (spent.sum() + 2 * 0.2).item() == pytest.approx(6.0)
    assert ((spent[0] + 0.2) / (spent[2] + 0.2)).item() == pytest.approx(3.0 / 2.9)


def test_a_share_below_the_limit_is_removed_without_a_base_price():
    sizing = Sizing(removal_share=0.05, is_final=True)
    assert sizing.kept(tensor(5.0, 0.2, 0.8)).tolist() == [True, False, True]


def test_what_a_share_buys_has_the_right_gradient():
    cost = tensor(0.05, 0.3, 2.0).requires_grad_()
    assert torch.autograd.gradcheck(Sizing(base_price=0.2).spent_on_area, cost)


def small(**options):
    return Config(panel_base_price=0.7, n_above=3, n_below=3, n_muons=300, n_scans=16, **options)


def lopsided(problem, shares):
    start = problem.baselines["even"]
    return Design({**start, "panel_cost": tensor(*shares)})


def test_the_hard_reference_judges_the_pruned_design():
    config = small()
    problem = build(config)
    design = lopsided(problem, (1.4, 0.2, 1.4, 1.4, 0.2, 1.4))
    pruned = prune(config, design)
    assert pruned.removed == ("above 2", "below 2")
    assert (pruned.config.n_above, pruned.config.n_below) == (2, 2)
    other = build(pruned.config)
    other.space.check(pruned.design)
    values = []
    for one, at in ((problem, design), (other, pruned.design)):
        _, outcome = summarize_design(one.reference, at, Seed("pruned"), 600)
        values.append(outcome.objective.item())
        assert outcome.metrics["panels"].item() == 4
    assert values[0] == pytest.approx(values[1], rel=0.08)  # other random numbers


def test_a_portal_of_fewer_panels_keeps_their_technologies():
    config = Config(task="portal", cargo_edge=0.8, voxel_size=0.1, exposure=4.0, n_scans=12)
    problem = build(config)
    two = problem.baselines["two rpc"]
    kinds = torch.eye(3, dtype=torch.float64)[[0, 2, 1, 2, 1, 0]]
    fineness = tensor(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    design = Design({**two, "panel_technology": kinds, "panel_fineness": fineness})
    pruned = prune(config, design)
    other = build(pruned.config)
    other.space.check(pruned.design)
    assert pruned.removed == ("above 2", "below 2")
    assert torch.equal(pruned.design["panel_technology"], kinds[[0, 2, 3, 5]])
    for box, whole in zip(
        other.scene(pruned.design).boxes, problem.scene(design).boxes, strict=True
    ):
        assert box.label == whole.label
        assert (*box.center, *box.size) == pytest.approx((*whole.center, *whole.size))
    assert pruned.design["panel_fineness"].tolist() == [0.1, 0.3, 0.4, 0.6]


def test_fewer_panels_are_better_where_each_has_a_price():
    problem = build(small())
    values = [
        summarize_design(problem.reference, lopsided(problem, shares), Seed("few"), 200)[
            1
        ].objective.item()
        for shares in ([1.0] * 6, (1.5, 0.0006, 1.4994, 1.5, 0.0006, 1.4994))
    ]
    assert values[1] < 0.8 * values[0]


def test_a_search_drops_panels_that_are_not_worth_their_price():
    config = small()
    problem = build(config)
    # the middle panels begin smaller than the others, but large enough to be built
    start = lopsided(problem, (1.05, 0.9, 1.05, 1.05, 0.9, 1.05))
    assert prune(config, start).removed == ()
    places = ("panel_x", "panel_y", "upper_z", "lower_z")
    frozen = {**problem.space.frozen, **{name: start[name] for name in places}}
    space = DesignSpace(problem.space.parameters, frozen)
    sizes = problem.with_space(space)
    optimizer = make("adam", space, 14, {"learning_rate": 0.2})
    optimizer.theta = space.theta(start)
    for _ in range(14):
        optimizer.tell([evaluate(sizes, request, Seed(3)) for request in optimizer.ask()])
    final = space.design(optimizer.recommend()).detach()
    assert prune(config, final).removed
    before, after = (
        summarize_design(problem.reference, one, Seed("verdict"), 100)[1].objective.item()
        for one in (start, final)
    )
    assert after < 0.97 * before


def test_a_track_keeps_two_panels():
    config = small()
    with pytest.raises(DesignError, match="a track needs two"):
        prune(config, lopsided(build(config), (2.8, 0.1, 0.1, 1.0, 1.0, 1.0)))


def test_panels_with_free_edges_have_no_shares_to_prune():
    config = Config(budget_mode="soft")
    with pytest.raises(ConfigError, match="fixed budget"):
        prune(config, build(config).space.start)
