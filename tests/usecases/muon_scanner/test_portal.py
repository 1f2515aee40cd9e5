"""The portal: cargo with blocks, alarms at a fixed rate, masses found half the time."""

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import Design
from detopt.errors import ConfigError
from detopt.optimizers import make
from detopt.pipeline.evaluation import evaluate, summarize_design
from detopt.random import Seed
from detopt.reconstruction import ClosestApproach
from detopt.runtime import StudyConfig
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.flow import Estimates
from detopt.usecases.muon_scanner.portal.evidence import Spectrum
from detopt.usecases.muon_scanner.portal.pictures import portal_pictures
from detopt.usecases.muon_scanner.portal.score import (
    Excess,
    PortalRows,
    excess_score,
    excess_size,
    excesses,
    largest,
    largest_near,
    measured,
    n_places,
)
from detopt.usecases.muon_scanner.portal.source import (
    CLEAN,
    SIZES,
    block_masses,
    hide,
    spread_sizes,
)
from detopt.usecases.muon_scanner.portal.verdict import (
    PortalGoal,
    PortalJudge,
    PredictedPortal,
    alarm_level,
    half_mass,
    predicted_level,
    roc_curve,
)
from detopt.usecases.muon_scanner.volumes import Grid

SMALL = {"task": "portal", "cargo_edge": 0.8, "voxel_size": 0.1, "exposure": 4.0, "n_scans": 12}
GRID = Grid((0.0, 0.0, 0.0), (0.1, 0.1, 0.1), (10, 10, 10))
SPECTRUM = Spectrum(torch.tensor([1e-6, 1e-5, 1e-4], dtype=torch.float64))
GOAL = PortalGoal.of(("U", "Pb"), None, 0.1, "false_negatives")
FREE = Budget(lambda design: torch.zeros(()), None)
N_PLACES = 1000


def predicted(goal, budget):
    return PredictedPortal(goal, budget, N_PLACES)


@pytest.fixture(scope="module")
def small():
    return build(Config(**SMALL))


def points(n, rng, angle=4e-3):
    """Scattering points anywhere in the grid, with exponential squared angles."""

    def draw(*shape):
        return torch.rand(*shape, generator=rng, dtype=torch.float64)

    height = draw(1, n)
    squared = -(angle**2) * draw(1, n).log()
    poca = ClosestApproach(
        position=draw(2, 1, n),
        height=height,
        position_variance=torch.full((2, 1, n), 1e-4, dtype=torch.float64),
        height_variance=torch.full((1, n), 1e-2, dtype=torch.float64),
        angle_squared=squared,
        angle_noise=torch.zeros_like(squared),
    )
    one = torch.ones_like(height)
    return Estimates(poca, one, one, one)


def rows(n, rng, shift=1.0):
    kind = torch.arange(n) % 3 - 1
    score = -(-torch.rand(n, generator=rng, dtype=torch.float64).log()).log()
    mass = torch.where(kind < 0, 0.0, 5.0 + 10 * torch.rand(n, generator=rng)).double()
    score = score + shift * (kind >= 0)
    return PortalRows(score, kind, mass, score + 1.5, 0.1 * score)


def judged(objective, summary):
    return objective(summary, Design({}))


def test_blocks_have_the_mass_of_their_material():
    # 2 x 2 x 1 voxels of 5 cm: 0.5 litre of uranium (18.95) and of lead (11.35 g/cm3)
    grid = Grid((0.0, 0.0, 0.0), (0.05, 0.05, 0.05), (24, 24, 24))
    masses = block_masses(grid, ("U", "Pb"))
    assert SIZES[0] == (2, 2, 1)
    assert masses[:, 0].tolist() == pytest.approx([9.475, 5.675], rel=1e-3)


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


@pytest.mark.parametrize(("n", "rate", "expected"), [(19, 0.05, 19), (99, 0.1, 90), (3, 0.05, 3)])
def test_the_alarm_level_is_an_order_statistic(n, rate, expected):
    scores = torch.arange(1, n + 1, dtype=torch.float64).flip(0)
    assert alarm_level(scores, rate).item() == expected


def test_false_alarms_keep_their_rate_whatever_the_distribution(rng):
    scores = torch.randn(4_000, 60, generator=rng, dtype=torch.float64).exp()
    levels = torch.stack([alarm_level(row[:-1], 0.1) for row in scores])
    share = (scores[:, -1] > levels).double().mean().item()
    assert share == pytest.approx(0.1, abs=0.015)


def test_the_half_mass_is_that_of_the_efficiency_curve(rng):
    mass = (4 * torch.rand(4_000, generator=rng, dtype=torch.float64)).exp()
    found = torch.sigmoid(3 * (mass / 12).log())
    assert half_mass(mass, found).item() == pytest.approx(12, rel=0.01)
    drawn = (torch.rand(4_000, generator=rng, dtype=torch.float64) < found).double()
    assert half_mass(mass, drawn).item() == pytest.approx(12, rel=0.08)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_half_mass_is_finite_where_all_or_nothing_is_found(share):
    mass = torch.linspace(2, 50, 40, dtype=torch.float64)
    half = half_mass(mass, torch.full((40,), share, dtype=torch.float64)).item()
    assert half < 5 if share else half > 20
    assert math.isfinite(half)


def test_the_half_mass_is_differentiable_in_what_is_found(rng):
    mass = (3 * torch.rand(30, generator=rng, dtype=torch.float64)).exp()
    found = torch.sigmoid((mass / 5).log()).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: half_mass(mass, f), found, eps=1e-6, atol=1e-4)


def test_the_roc_curve_of_equal_scores_is_the_diagonal_and_of_distant_ones_the_corner(rng):
    scores = torch.rand(2_000, generator=rng, dtype=torch.float64)
    false, true = roc_curve(scores[::2], scores[1::2])
    assert (true - false).abs().max().item() < 0.07
    _, certain = roc_curve(scores, scores + 2)
    assert certain.min().item() == 1.0
    assert (true.diff() >= 0).all()


def test_a_cluster_of_large_angles_raises_the_score(rng):
    cargo = points(2_000, rng)
    calm = excess_score(cargo, GRID, SPECTRUM).item()
    poca = cargo.poca
    near = ((poca.position[:, 0] - 0.5).abs() < 0.1).all(0) & ((poca.height[0] - 0.5).abs() < 0.15)
    poca.angle_squared[0, near] *= 100
    assert excess_score(cargo, GRID, SPECTRUM).item() > calm + 0.5


def test_the_excess_near_a_place_is_that_of_the_cluster_there(rng):
    cargo = points(2_000, rng)
    poca = cargo.poca
    near = ((poca.position[:, 0] - 0.3).abs() < 0.1).all(0) & ((poca.height[0] - 0.3).abs() < 0.15)
    poca.angle_squared[0, near] *= 100
    found = excesses(cargo, GRID, SPECTRUM)
    here, far = (
        largest_near(found, torch.full((3, 1), place, dtype=torch.float64)).item()
        for place in (0.3, 0.8)
    )
    assert here > far + 0.5
    assert here <= largest(found).item()


def test_the_size_of_excesses_is_their_fourth_moment():
    value = torch.tensor([1.0, -2.0, 0.0, 1.0], dtype=torch.float64).reshape(1, 2, 2, 1)
    edges = torch.zeros(2, dtype=torch.float64)
    size = excess_size(Excess(value, (edges, edges, edges[:1]))).item()
    assert size == pytest.approx(math.log(18 / 4) / 4, rel=1e-4)


def test_unmeasured_muons_do_not_count(rng):
    cargo, more = points(300, rng), points(300, rng, angle=1.0)
    both = Estimates(
        ClosestApproach(
            *(
                torch.cat([a, b], dim=-1)
                for a, b in zip(vars(cargo.poca).values(), vars(more.poca).values(), strict=True)
            )
        ),
        torch.cat([cargo.secant, more.secant], -1),
        torch.cat([cargo.weight, 0 * more.weight], -1),
        torch.cat([cargo.momentum, more.momentum], -1),
    )
    torch.testing.assert_close(
        excess_score(both, GRID, SPECTRUM), excess_score(cargo, GRID, SPECTRUM)
    )


def test_muons_that_nothing_measured_are_left_out_and_change_nothing(rng):
    n = 60
    both = [points(n, rng), points(n, rng)]
    weight = (torch.rand(2, n, generator=rng, dtype=torch.float64) - 0.6).clamp_min(0)

    def joined(name):
        parts = [getattr(one.poca, name) for one in both]
        return torch.cat(parts, dim=parts[0].ndim - 2)

    names = [field.name for field in fields(ClosestApproach)]
    ones = torch.ones_like(weight)
    whole = Estimates(ClosestApproach(**{n: joined(n) for n in names}), ones, weight, ones)
    fewer = measured(whole)
    assert fewer.weight.shape[-1] == int((weight > 0).sum(-1).max()) < n
    torch.testing.assert_close(
        excesses(fewer, GRID, SPECTRUM).value, excesses(whole, GRID, SPECTRUM).value
    )


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_nothing_is_left_out_where_almost_all_muons_were_measured(share, rng):
    estimate = points(100, rng)
    weight = (torch.arange(100, dtype=torch.float64) < 100 * share).double()[None]
    whole = replace(estimate, weight=weight)
    assert measured(whole) is whole


def test_the_score_is_differentiable_in_angles_places_and_weights(rng):
    cargo = points(12, rng)
    poca = cargo.poca

    def score(angle, height, variance, weight):
        moved = ClosestApproach(
            poca.position, height, poca.position_variance, variance, angle, poca.angle_noise
        )
        return excess_score(Estimates(moved, cargo.secant, weight, cargo.momentum), GRID, SPECTRUM)

    inputs = (poca.angle_squared * 1e4, poca.height, poca.height_variance, 0.8 * cargo.weight)

    def scaled(angle, *others):
        return score(angle / 1e4, *others)

    leaves = [x.clone().requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(scaled, leaves, eps=1e-7, atol=1e-4, rtol=1e-3)


def test_without_a_difference_as_much_is_missed_as_is_no_false_alarm(rng):
    outcome = judged(PortalJudge(GOAL, FREE), rows(60_000, rng, shift=0.0))
    assert outcome.objective.item() == pytest.approx(0.9, abs=0.01)
    assert outcome.metrics["false alarms (cross-fitted)"].item() == pytest.approx(0.1, abs=0.01)


def test_blocks_at_the_predicted_level_are_found_half_the_time():
    # 5 %: asinh(8.75 e^0.42); a signal there is found half the time, one bandwidth above 84 %
    level = math.asinh(8.75 * math.exp(0.84 * 0.5))
    kind = torch.tensor([-1, 0, 1])
    summary = PortalRows(
        score=torch.zeros(3, dtype=torch.float64),
        kind=kind,
        mass=torch.tensor([0.0, 10.0, 10.0], dtype=torch.float64),
        signal=torch.tensor([0.0, level, level + 0.5], dtype=torch.float64),
        noise=torch.full((3,), 0.5, dtype=torch.float64),
    )
    goal = PortalGoal.of(("U", "Pb"), None, 0.05, "false_negatives")
    metrics = judged(PredictedPortal(goal, FREE, N_PLACES), summary).metrics
    assert metrics["missed U"].item() == pytest.approx(0.5)
    assert metrics["missed Pb"].item() == pytest.approx(1 - 0.841345, abs=1e-5)


def test_more_is_missed_where_fewer_false_alarms_are_allowed(rng):
    summary = rows(600, rng)
    missed = [
        judged(
            objective(PortalGoal.of(("U", "Pb"), None, rate, "false_negatives"), FREE), summary
        ).objective.item()
        for objective in (PortalJudge, predicted)
        for rate in (0.01, 0.05, 0.2)
    ]
    assert missed[0] > missed[1] > missed[2]
    assert missed[3] > missed[4] > missed[5]


@settings(deadline=None, max_examples=10)
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_the_verdict_does_not_depend_on_the_unit_of_the_score(scale, offset):
    summary = rows(600, torch.Generator().manual_seed(3))
    other = replace(summary, score=scale * summary.score + offset)
    a, b = (judged(PortalJudge(GOAL, FREE), one).objective.item() for one in (summary, other))
    assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize("goal", ["false_negatives", "w50"])
def test_the_predicted_goal_is_differentiable(goal, rng):
    summary = rows(24, rng)
    objective = PredictedPortal(PortalGoal.of(("U", "Pb"), (1.0, 3.0), 0.1, goal), FREE, N_PLACES)

    def value(signal, noise):
        return judged(objective, replace(summary, signal=signal, noise=noise)).objective

    leaves = summary.signal.requires_grad_(), summary.noise.requires_grad_()
    assert torch.autograd.gradcheck(value, leaves, eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("goal", ["false_negatives", "w50"])
@pytest.mark.parametrize("kind", [PortalJudge, predicted])
def test_without_harmless_scans_there_is_no_level_and_everything_is_missed(kind, goal, rng):
    summary = rows(24, rng)
    dangerous = summary.rows((summary.kind != CLEAN).nonzero().flatten())
    objective = kind(PortalGoal.of(("U", "Pb"), None, 0.05, goal), FREE)
    outcome = judged(objective, dangerous)
    assert outcome.metrics["missed U"].item() == outcome.metrics["missed Pb"].item() == 1
    assert math.isfinite(outcome.objective.item())


def test_the_predicted_level_follows_the_size_of_excesses():
    noise = torch.tensor([0.0, 0.4], dtype=torch.float64, requires_grad=True)
    expected = math.asinh(8.75 * math.exp(0.84 * 0.2))
    levels = [predicted_level(noise, rate, N_PLACES) for rate in (0.01, 0.05, 0.2)]
    assert levels[1].item() == pytest.approx(expected)
    assert levels[0] > levels[1] > levels[2]
    assert torch.autograd.gradcheck(lambda one: predicted_level(one, 0.1, N_PLACES), noise)
    faint = noise - 2.4
    assert torch.autograd.gradcheck(lambda one: predicted_level(one, 0.1, N_PLACES), faint)


def test_the_predicted_level_of_a_portal_that_sees_nothing_is_its_score():
    places = torch.zeros(3, 10, 10, 10, dtype=torch.float64)
    nothing = Excess(places, (torch.zeros(10),) * 3)
    score = largest(nothing)
    assert places[0].numel() == n_places(GRID)
    assert score[0].item() == pytest.approx(math.asinh(math.log(1000) / 3))
    level = predicted_level(excess_size(nothing), 0.05, n_places(GRID))
    # cells of 1e-4 in <Z^4> keep the logarithm finite: a typical excess of 0.1, far below ln N / b
    assert level.item() == pytest.approx(score[0].item(), abs=0.01)
    assert largest_near(nothing, torch.zeros(3, 3, dtype=torch.float64)).max() < level


def test_weights_choose_the_materials_that_matter(rng):
    summary = rows(900, rng)
    only = PortalGoal.of(("U", "Pb"), (0.0, 2.0), 0.1, "false_negatives")
    outcome = judged(PortalJudge(only, FREE), summary)
    assert outcome.objective.item() == pytest.approx(outcome.metrics["missed Pb"].item())


def test_pictures_hold_a_roc_curve_and_an_efficiency_for_each_material(rng):
    pictures = portal_pictures(rows(300, rng), GOAL)
    assert [p.title.split(":")[0] for p in pictures] == [
        "ROC curve for U",
        "ROC curve for Pb",
        "U",
        "Pb",
    ]
    assert pictures[0].x[0] == 0
    assert pictures[0].y[-1] == pytest.approx(1.0)


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


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"technologies": ()}, "technologies"),
        ({"voxel_size": 0.3}, "divide"),
        ({"cargo_edge": 0.5}, "fit"),
        ({"technologies": ("glass",)}, "technologies"),
    ],
)
def test_unusable_portals_are_refused(options, what):
    with pytest.raises(ConfigError, match=what):
        build(Config(**{**SMALL, **options}))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0)])
def test_weights_that_fit_no_material_are_refused(weights):
    with pytest.raises(ValueError, match="hidden_weights"):
        Config(**SMALL, hidden_weights=weights)


def test_technologies_of_other_tasks_are_refused():
    with pytest.raises(ValueError, match="belong to the task `portal`"):
        Config(task="image", technologies=("rpc",))
