"""The portal: cargo with blocks, studies of it, and portals of humans."""

import dataclasses

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError
from detopt.optimizers import make
from detopt.pipeline.evaluation import evaluate, summarize_design
from detopt.random import Seed
from detopt.runtime import StudyConfig
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.portal.score import PortalAnalysis
from detopt.usecases.muon_scanner.portal.source import (
    SIZES,
    block_masses,
    block_sizes,
    hide,
    spread_sizes,
)
from detopt.usecases.muon_scanner.realism.pruning import final_sizing
from detopt.usecases.muon_scanner.volumes import Grid

SMALL = {"task": "portal", "cargo_edge": 0.8, "voxel_size": 0.1, "exposure": 4.0, "n_scans": 12}


@pytest.fixture(scope="module")
def small():
    return build(Config(**SMALL))


def test_blocks_have_the_mass_of_their_material():
    # 2 x 2 x 1 voxels of 5 cm: 0.5 litre of uranium (18.95) and of lead (11.35 g/cm3)
    grid = Grid((0.0, 0.0, 0.0), (0.05, 0.05, 0.05), (24, 24, 24))
    masses = block_masses(grid, ("U", "Pb"))
    assert SIZES[0] == (2, 2, 1)
    assert masses[:, 0].tolist() == pytest.approx([9.475, 5.675], rel=1e-3)


def test_blocks_of_coarser_voxels_are_as_large_as_voxels_allow():
    # half a litre to eight litres; a decimetre cube is the smallest that a decimetre voxel can be
    coarse, fine = (
        block_sizes(Grid((0.0, 0.0, 0.0), (edge,) * 3, (48, 48, 48))) for edge in (0.1, 0.025)
    )
    assert coarse.tolist()[0] == [1, 1, 1]
    assert coarse.tolist()[-1] == [2, 2, 2]
    assert torch.equal(fine, 2 * torch.tensor(SIZES))


def test_a_block_is_hidden_inside_the_walls_with_its_size(rng):
    voxels = torch.zeros(60, 8, 8, 8, dtype=torch.int64)
    size = torch.tensor(SIZES)[torch.arange(60) % len(SIZES)]
    found, middle = hide(voxels, torch.full((60,), 7), size, rng)
    centers = torch.arange(8) + 0.5
    mean = ((found == 7) * centers[:, None, None]).sum((1, 2, 3)) / size.prod(1)
    torch.testing.assert_close(mean, middle[0])
    torch.testing.assert_close((found == 7).sum((1, 2, 3)), size.prod(1))
    assert int((found[:, 1:-1, 1:-1, 1:-1] == 7).sum()) == int((found == 7).sum())


@pytest.mark.parametrize("n_scans", [1, 2, 12, 14, 60])
def test_sizes_of_blocks_occur_equally_often(n_scans, rng):
    chosen = spread_sizes(n_scans, rng)
    assert chosen.shape == (n_scans,)
    counts = torch.bincount(chosen[1::2], minlength=len(SIZES))
    assert int(counts.max() - counts.min()) <= 1


def test_sizes_of_blocks_are_equally_probable(rng):
    draws = torch.stack([spread_sizes(12, rng)[1::2] for _ in range(700)])
    for column in draws.unbind(1):  # 100 of each expected, with a deviation of 9
        counts = torch.bincount(column, minlength=len(SIZES)).double()
        torch.testing.assert_close(counts, torch.full_like(counts, 100), atol=45, rtol=0)


def test_light_goods_leave_out_steel_parts_and_concrete():
    def densest(goods):
        problem = build(Config(**SMALL, goods=goods))
        medium = problem.source.medium
        kinds = medium.materials[: -len(problem.source.hidden)]
        loads = [one for one in kinds if not isinstance(one, str)]
        scans = problem.source(24, Seed(2).generator(), torch.float32)
        assert int(scans.voxels.max()) < len(medium.materials)
        return max(one.density for one in loads[2:])

    assert densest("light") == pytest.approx(0.15 * 7.87, rel=0.03)  # loose steel of machines
    assert densest("any") == pytest.approx(0.4 * 7.87, rel=0.03)


def test_nothing_is_hidden_in_harmless_cargo(rng):
    voxels = torch.randint(5, (4, 8, 8, 8), generator=rng)
    size = torch.tensor(SIZES[:4])
    torch.testing.assert_close(hide(voxels, torch.full((4,), -1), size, rng)[0], voxels)


def test_human_portals_cost_the_same_and_are_pure(small):
    costs = {round(float(small.cost(design)), 6) for design in small.baselines.values()}
    assert costs == {20.0}
    assert {"even rpc", "even scintillator", "even silicon"} <= set(small.baselines)


def test_a_study_of_the_portal_starts_from_each_technology():
    study = StudyConfig.make("muon_scanner", options=SMALL)
    assert study.method == "multi_start"
    assert StudyConfig.make("muon_scanner").method == "adam"
    assert StudyConfig.make("muon_scanner", options=SMALL, method="adam").method_options == {}


def test_the_race_begins_with_human_portals_of_each_technology(small):
    optimizer = make("multi_start", small.space, 20, {"relax": 0.1}, small)
    asked = [optimizer.ask()]
    for _ in range(2):
        optimizer.tell([evaluate(small, request, Seed(1)) for request in optimizer.ask()])
        asked.append(optimizer.ask())
    assert len(asked[0]) == 1
    chosen = [small.space.design(request.theta)["panel_technology"] for request in asked[-1]]
    kinds = [tuple(shares.argmax(-1).tolist()) for shares in chosen]
    assert {(index,) * 6 for index in range(3)} <= set(kinds)
    assert all(float(shares.amax(-1).min()) > 0.9999 for shares in chosen)


def test_the_same_seed_gives_the_same_verdict(small):
    design = small.baselines["even rpc"]
    first, second = (
        summarize_design(small.reference, design, Seed(1), 12)[0].score for _ in range(2)
    )
    assert torch.equal(first, second)


def test_the_hard_portal_has_pure_panels(small):
    start = small.space.start
    leaning = start["panel_technology"] + torch.tensor([0.15, -0.12, -0.03])
    mixed = Design({**start, "panel_technology": leaning})
    alone = torch.zeros_like(leaning)
    alone[:, 0] = 1
    pure = Design({**start, "panel_technology": alone})
    scores = [summarize_design(small.reference, d, Seed(1), 6)[0].score for d in (mixed, pure)]
    assert torch.equal(*scores)


def test_dead_material_of_the_panels_scatters(small):
    real = build(Config(**SMALL, dead_material=True))
    assert real.space.labels == small.space.labels
    design = small.baselines["even scintillator"]
    ideal, thick = (
        summarize_design(p.reference, design, Seed(1), 6)[0].score for p in (small, real)
    )
    assert not torch.equal(ideal, thick)


def test_the_scene_names_the_technologies(small):
    labels = {box.label for box in small.scene(small.baselines["even scintillator"]).boxes}
    assert labels == {"scintillator", "cargo"}


def test_two_panels_a_side_have_all_the_money(small):
    design = small.baselines["two rpc"]
    cargo = 0.8
    panels = [box for box in small.scene(design).boxes if box.label == "rpc"]
    assert [box.center[2] for box in panels] == pytest.approx(
        [cargo + 7 / 16, cargo + 1 / 16, -1 / 16, -7 / 16]
    )
    pitch = (0.012 * 0.0015) ** 0.5  # m, the middle one
    price = 2.5 + 0.004 * 2 / pitch
    areas = [box.size[0] * box.size[1] for box in panels]
    assert areas == pytest.approx([5.0 / price] * 4, rel=1e-6)


def test_panels_with_hardly_any_money_do_nothing(small):
    def score(middle):
        money = torch.tensor([1, middle, 1, 1, middle, 1], dtype=torch.float64)
        design = Design({**small.baselines["two rpc"], "panel_cost": 20 * money / money.sum()})
        return summarize_design(small.reference, design, Seed(1), 6)[0].score

    torch.testing.assert_close(score(0.001), score(0.05), rtol=1e-5, atol=1e-5)  # 2 % are 0.083
    assert not torch.allclose(score(0.001), score(0.09))


def test_all_panels_stay_where_none_is_removed(small):
    problem = build(Config(**SMALL, removal_share=0.0))
    money = torch.tensor([1, 0.02, 1, 1, 0.02, 1], dtype=torch.float64)
    design = Design({**problem.baselines["even rpc"], "panel_cost": 20 * money / money.sum()})
    counts = [len(one.scene(design).boxes) - 1 for one in (problem, small)]
    assert counts == [6, 4]
    assert not any(name.startswith("two ") for name in problem.baselines)


def test_a_portal_with_free_edges_has_no_removal():
    config = Config(**SMALL, budget_mode="soft")
    problem = build(config)
    assert config.removal_share == 0
    assert not any(name.startswith("two ") for name in problem.baselines)
    _, outcome = summarize_design(problem.reference, problem.space.start, Seed(1), 6)
    assert "panels" not in outcome.metrics


@pytest.mark.parametrize(
    "options",
    [
        {"n_above": 2, "n_below": 4},
        {"technologies": ("rpc",)},
        {"removal_share": 0.002},
        {"side_panels": ("-x",)},
        {"n_behind": 2, "known_momentum": "estimated"},
    ],
)
def test_two_panels_a_side_fit_other_portals(options):
    config = Config(**{**SMALL, **options})
    problem = build(config)
    design = problem.baselines["two rpc"]
    problem.space.check(design)
    assert float(problem.cost(design)) == pytest.approx(20)
    kept = final_sizing(config).kept(design["panel_cost"])
    n_others = len(kept) - config.n_above - config.n_below
    above, below, others = kept.split([config.n_above, config.n_below, n_others])
    assert (int(above.sum()), int(below.sum())) == (2, 2)
    assert bool(above[[0, -1]].all())
    assert bool(below[[0, -1]].all())
    assert bool(others.all())


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"technologies": ()}, "technologies"),
        ({"voxel_size": 0.3}, "divide"),
        ({"cargo_edge": 0.3}, "fit"),
        ({"technologies": ("glass",)}, "technologies"),
        ({"voxel_size": 0.2, "cargo_edge": 2.0}, "at most 0.1 m"),
        ({"panel_thickness": 0.1}, "`panel_thickness`"),
        ({"resolution": 0.001}, "`resolution`"),
        ({"volume": "container.npz"}, "`volume`"),
    ],
)
def test_unusable_portals_are_refused(options, what):
    with pytest.raises(ConfigError, match=what):
        build(Config(**{**SMALL, **options}))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_fit_no_material_are_refused(weights):
    with pytest.raises(ValueError, match="hidden_weights"):
        Config(**SMALL, hidden_weights=weights)


def test_a_material_that_is_hidden_twice_is_refused():
    with pytest.raises(ValueError, match="different materials, got U, U"):
        Config(**SMALL, hidden=("U", "U"))


@pytest.mark.parametrize("edge", [0.8, 2.4])
def test_panels_start_above_the_middle_of_the_cargo(edge):
    space = build(Config(**{**SMALL, "cargo_edge": edge})).space
    assert space.start["panel_x"].tolist() == pytest.approx([edge / 2] * 6)
    moved = build(Config(**{**SMALL, "cargo_edge": edge, "center": (0.3, 0.5)})).space
    assert moved.start["panel_y"].tolist() == pytest.approx([0.5] * 6)


def test_the_default_method_can_search_a_portal_with_a_slab():
    problem = build(Config(**SMALL, n_behind=2, known_momentum="estimated"))
    assert "slab_thickness" in {parameter.name for parameter in problem.space.free}
    assert make("multi_start", problem.space, 20, {"relax": 0.1}, problem).ask()
    kinds = {box.label for box in problem.view(problem.space.start).boxes}
    assert {"slab of Pb", "panels behind the slab"} <= kinds


def test_known_momenta_tell_blocks_from_goods_and_estimated_ones_do_no_harm():
    # the same muons, once with momenta unknown, once estimated, once known
    options = {**SMALL, "budget": 200.0, "exposure": 60.0, "technologies": ("rpc",)}
    problem = build(Config(**options, n_behind=2, known_momentum="estimated")).reference
    design = problem.baselines["even rpc"].to(torch.float32)
    events = problem.source(144, Seed(3).generator(), torch.float32)
    readout = problem.simulator(events, design, Seed(4).generator())
    estimate = problem.reconstruction(readout, design)
    knowing = PortalAnalysis(problem.analysis.grid, problem.analysis.spectrum, is_known=True)

    def separated(analysis, seen):
        """Probability that a block has a larger score than harmless cargo."""
        rows = analysis(seen, events)
        harmless, dangerous = (rows.score[rows.kind < 0], rows.score[rows.kind >= 0])
        return float((dangerous[:, None] > harmless[None]).double().mean())

    unknown = separated(problem.analysis, dataclasses.replace(estimate, momenta=None))
    known = separated(knowing, dataclasses.replace(estimate, momentum=readout.momentum))
    assert known > unknown + 0.015
    assert separated(problem.analysis, estimate) > unknown - 0.01


@pytest.mark.parametrize("realism", [{"tilted": True}, {"misalignment": 1e-9}])
def test_panels_have_dead_material_only_if_that_is_wanted(realism):
    for is_dead in (False, True):
        problem = build(Config(**SMALL, **realism, dead_material=is_dead))
        equipped = problem.simulator.equip(problem.space.start)
        groups = problem.simulator.inner.instrument(equipped)
        assert (groups.above.thickness is not None) == is_dead


def test_a_number_of_muons_replaces_the_time():
    options = {key: value for key, value in SMALL.items() if key != "exposure"}
    assert build(Config(**options, n_muons=50)).source.n_muons == 50
    assert build(Config(**options)).source.n_muons > 1_000


def test_a_removal_of_all_equal_panels_is_refused():
    with pytest.raises(ValueError, match="less than 1/6"):
        Config(**SMALL, removal_share=0.17)


def test_technologies_of_other_tasks_are_refused():
    with pytest.raises(ValueError, match="belong to the task `portal`"):
        Config(task="image", technologies=("rpc",))
