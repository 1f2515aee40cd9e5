"""Telescopes: acceptance, resolution, blobs of cavities, the search, and whole problems."""

import math

import numpy as np
import pytest
import torch

from detopt.design import Design
from detopt.pipeline.evaluation import Request, evaluate, summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.muon_absorption import Config, build
from detopt.usecases.muon_absorption.counts import angular_bins, blob, chord, drawn_bins
from detopt.usecases.muon_absorption.scan import Metric, effective_trials, global_threshold
from detopt.usecases.muon_absorption.space import baselines, design_space
from detopt.usecases.muon_absorption.targets import make_target
from detopt.usecases.muon_absorption.telescope import DAY, money, place_telescopes

DOUBLE = torch.float64
CONFIG = Config(n_bins=(16, 8), n_templates=32, n_rays=2)
TARGET = make_target(CONFIG)
SPACE = design_space(CONFIG, TARGET)
HUMAN = baselines(CONFIG, TARGET, SPACE)["near"]


def telescopes(**changes):
    design = {**HUMAN, **{k: torch.tensor(v, dtype=DOUBLE) for k, v in changes.items()}}
    return place_telescopes(CONFIG, TARGET.terrain, design)


# Telescopes


def test_money_buys_what_it_says():
    spent = money(CONFIG, side=0.8, days=50.0, wall=0.2, pitch=0.01)
    placed = telescopes(money=[spent])
    assert placed.side.item() == pytest.approx(0.8)
    assert placed.exposure.item() == pytest.approx(50 * DAY)
    assert placed.wall.item() == pytest.approx(0.2)


def test_acceptance_on_the_axis_is_the_area_of_a_plane():
    placed = telescopes()
    area, cosine = placed.acceptance(placed.axis[:, 2:], soft=False)
    assert area.item() == pytest.approx(placed.side.item() ** 2)
    assert cosine.item() == pytest.approx(1.0)


def test_acceptance_integrates_to_that_of_two_squares(rng):
    """Sharp and soft, against muons that are drawn through both planes."""
    placed = telescopes(spacing=[1.5])
    side, spacing = placed.side.item(), placed.spacing.item()
    first = side * (torch.rand(400_000, 2, generator=rng, dtype=DOUBLE) - 0.5)
    slopes = 2.5 * (torch.rand(400_000, 2, generator=rng, dtype=DOUBLE) - 0.5)
    hits = ((first + spacing * slopes).abs() < side / 2).all(dim=-1)
    cosine = 1 / torch.sqrt(1 + slopes.square().sum(dim=-1))
    expected = side**2 * 2.5**2 * (hits * cosine**4).mean().item()
    ahead = torch.nn.functional.pad(slopes, (0, 1), value=1.0)
    rays = torch.nn.functional.normalize(ahead @ placed.axis[0], dim=-1)
    for soft, tolerance in ((False, 0.01), (True, 0.03)):
        area, _ = placed.acceptance(rays[None], soft=soft)
        total = 2.5**2 * (area * cosine**3).mean().item()
        assert total == pytest.approx(expected, rel=tolerance)


def test_resolution_is_that_of_a_straight_line_fit():
    placed = telescopes(spacing=[2.0])
    n, pitch = CONFIG.n_planes, 0.01
    z = torch.linspace(-1, 1, n, dtype=DOUBLE)
    expected = pitch / math.sqrt(12) / z.square().sum().sqrt().item()
    assert placed.slope_error.item() == pytest.approx(expected)


def test_angles_and_directions_are_inverse(rng):
    placed = telescopes(bearing=[2.5], turn=[0.3])
    center = torch.tensor([[10.0, -20.0, 40.0], [-30.0, 5.0, 20.0]], dtype=DOUBLE)
    angles, distance = placed.angles(center)
    rays = placed.direction(angles.transpose(0, 1))
    torch.testing.assert_close(placed.place + distance * rays[0], center)


def test_a_wall_stops_more_and_scatters_less():
    thin = telescopes()
    thick = telescopes(money=[[HUMAN["money"][0, 0], 9.0, 20.0]])
    cut = torch.full((1, 1), 50.0, dtype=DOUBLE)
    assert thick.threshold > thin.threshold + 0.3
    assert thick.scattering(cut, "standard_rock") < thin.scattering(cut, "standard_rock")


# Counts


def test_a_blob_holds_the_matter_of_its_sphere():
    placed = telescopes()
    bins = angular_bins(CONFIG, TARGET.terrain, placed)
    center, radius = torch.tensor([[0.0, 0.0, 30.0]], dtype=DOUBLE), torch.tensor([8.0]).double()
    _, distance = placed.angles(center)
    solid = bins.width.prod(dim=-1) * torch.cos(bins.angles[..., 1])
    total = (blob(placed, bins, center, radius, 2.65) * solid).sum()
    expected = 265 * 4 / 3 * math.pi * 8**3 / distance.item() ** 2
    assert total.item() == pytest.approx(expected, rel=0.01)


def test_a_blob_and_sharp_chords_add_as_many_muons(rng):
    config = CONFIG.model_copy(update={"n_draws": 200})
    placed = telescopes()
    center, radius = torch.tensor([[0.0, 0.0, 30.0]], dtype=DOUBLE), torch.tensor([8.0]).double()
    soft = angular_bins(config, TARGET.terrain, placed)
    sharp = drawn_bins(config, TARGET.terrain, placed, rng)
    density = TARGET.terrain.density
    length = 100 * density * chord(placed.place, sharp.rays, center, radius)
    expected = (sharp.expected(length) - sharp.expected()).sum().item()
    found = soft.excess(blob(placed, soft, center, radius, density), 100 * density * 8.0)
    assert found.sum().item() == pytest.approx(expected, rel=0.08)


def test_chord_through_the_middle_is_the_diameter():
    place = torch.zeros(1, 3, dtype=DOUBLE)
    rays = torch.tensor([[1.0, 0, 0], [0, 1.0, 0], [-1.0, 0, 0]], dtype=DOUBLE)[None, None]
    center = torch.tensor([[50.0, 0.0, 0.0]], dtype=DOUBLE)
    found = chord(place, rays, center, torch.tensor([7.0], dtype=DOUBLE))
    torch.testing.assert_close(found.flatten(), torch.tensor([14.0, 0.0, 0.0], dtype=DOUBLE))


def test_twice_the_time_gives_twice_the_muons():
    once = angular_bins(CONFIG, TARGET.terrain, telescopes()).expected()
    planes, days, wall = HUMAN["money"][0].tolist()
    longer = telescopes(money=[[planes, 2 * days, wall]])
    torch.testing.assert_close(angular_bins(CONFIG, TARGET.terrain, longer).expected(), 2 * once)


def test_counts_have_the_right_gradient():
    names = ("bearing", "distance", "spacing", "money")
    start = {name: SPACE.start[name].clone() for name in names}
    config = CONFIG.model_copy(update={"n_bins": (4, 3), "n_rays": 1})

    def total(*values):
        design = {**HUMAN, **dict(zip(start, values, strict=True))}
        placed = place_telescopes(config, TARGET.terrain, design)
        return angular_bins(config, TARGET.terrain, placed).expected().clamp(min=1.0).log().sum()

    values = [value.requires_grad_() for value in start.values()]
    assert torch.autograd.gradcheck(total, values, eps=1e-5, atol=1e-3, rtol=1e-3)


# Search


def test_profiled_density_takes_away_what_looks_like_it():
    mean = torch.tensor([100.0, 200.0, 50.0], dtype=DOUBLE)
    slope = -2 * mean
    free = Metric.of_counts(mean, slope, 0.0, 1e6)
    fixed = Metric.of_counts(mean, slope, 0.0, 1e-9)
    both = torch.stack([slope, torch.tensor([1.0, -1.0, 2.0], dtype=DOUBLE)])
    torch.testing.assert_close(fixed.square(both), (both.square() / mean).sum(dim=-1))
    assert free.square(both)[0].item() == pytest.approx(0.0, abs=1e-6)
    torch.testing.assert_close(free.product(both, both).diagonal(), free.square(both))


def test_trials_count_unrelated_templates():
    metric = Metric(torch.ones(5, dtype=DOUBLE), torch.zeros(5, dtype=DOUBLE), 1.0)
    assert effective_trials(metric, torch.eye(5, dtype=DOUBLE)).item() == pytest.approx(5)
    same = torch.ones(4, 5, dtype=DOUBLE)
    assert effective_trials(metric, same).item() == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_trials_count_templates_that_are_seen(dtype):
    metric = Metric(torch.ones(5, dtype=dtype), torch.zeros(5, dtype=dtype), 1.0)
    for n_seen, expected in ((0, 1.0), (1, 1.0), (3, 3.0)):
        templates = torch.eye(5, dtype=dtype) * (torch.arange(5) < n_seen)[:, None]
        found = effective_trials(metric, templates.requires_grad_())
        (gradient,) = torch.autograd.grad(found, templates)
        assert found.item() == pytest.approx(expected, rel=1e-5)
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize(("trials", "expected"), [(1.0, 1.6449), (100.0, 3.2835)])
def test_threshold_has_the_reference_value(trials, expected):  # normal tables: 0.95, 0.95^(1/100)
    found = global_threshold(0.05, torch.tensor(trials, dtype=DOUBLE))
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_search_has_the_right_gradient(rng):
    templates = torch.rand(4, 6, generator=rng, dtype=DOUBLE)
    mean = 10 + torch.rand(6, generator=rng, dtype=DOUBLE)

    def threshold(mean, templates):
        metric = Metric.of_counts(mean, -mean, 0.02, 0.1)
        return global_threshold(0.05, effective_trials(metric, templates)), metric.square(templates)

    inputs = (mean.requires_grad_(), templates.requires_grad_())
    assert torch.autograd.gradcheck(threshold, inputs)


# Problems


@pytest.mark.parametrize("options", [{}, {"n_telescopes": 2}, {"target": "volcano"}])
def test_expected_and_random_search_agree(options):
    problem = build(CONFIG.model_copy(update={"n_templates": 128, **options}))
    design = problem.baselines["near"]
    soft, hard = (
        float(summarize_design(one, design, Seed(3), 600)[1].objective)
        for one in (problem, problem.reference)
    )
    assert soft == pytest.approx(hard, abs=0.12)


def test_expected_and_random_densities_agree():
    problem = build(CONFIG.model_copy(update={"task": "density"}))
    design = problem.baselines["near"]
    soft, hard = (
        float(summarize_design(one, design, Seed(3), 300)[1].objective)
        for one in (problem, problem.reference)
    )
    assert soft == pytest.approx(hard, rel=0.03)
    assert soft < CONFIG.sector_spread


def test_baselines_cost_as_much_as_the_start():
    problem = build(CONFIG)
    for design in (problem.space.start, *problem.baselines.values()):
        assert float(problem.cost(design)) == pytest.approx(make_target(CONFIG).budget)


def test_more_money_misses_less():
    missed = []
    for budget in (20.0, 80.0):
        problem = build(CONFIG.model_copy(update={"budget": budget}))
        outcome = summarize_design(problem, problem.baselines["near"], Seed(0), 200)[1]
        missed.append(float(outcome.objective))
    assert missed[1] < missed[0]


AWAY = {"turn": [0.59], "elevation": [0.95], "spacing": [3.9], "money": [[1.0, 38.0, 1.0]]}


@pytest.mark.parametrize(("budget", "changes"), [(40.0, AWAY), (0.1, {}), (0.001, {})])
def test_a_telescope_that_sees_nothing_misses_all(budget, changes):
    problem = build(CONFIG.model_copy(update={"budget": budget}))
    changed = {name: torch.tensor(value, dtype=DOUBLE) for name, value in changes.items()}
    theta = problem.space.theta(Design({**problem.space.start, **changed}))
    expected = evaluate(problem, Request(theta, ("expected",), gradient=True), Seed(0))
    judged = evaluate(problem.reference, Request(theta, ("judged",), n_events=300), Seed(0))
    assert expected.value > 0.93
    assert bool(torch.isfinite(expected.gradient).all())
    assert judged.value > 0.9


@pytest.fixture
def moved_hill(tmp_path):
    """The problem of one hill whose middle has given coordinates."""
    axis = np.linspace(-400, 400, 41)
    height = 100 * np.exp(-((axis[:, None] / 90) ** 2) / 2 - (axis / 50) ** 2 / 2)

    def problem(x, y, z):
        corners = {"low": [x - 400, y - 400], "high": [x + 400, y + 400]}
        np.savez(tmp_path / "hill.npz", elevation=height + z, **corners)
        sizes = {"n_bins": (8, 4), "radius": (4.0, 8.0), "distance": (150.0, 350.0)}
        return build(Config(terrain=tmp_path / "hill.npz", n_templates=16, **sizes))

    return problem


def test_coordinates_of_a_map_change_neither_objective_nor_gradient(moved_hill):
    found = []
    for middle in ((0.0, 0.0, 0.0), (500_000.0, 4_510_000.0, 1_024.0)):
        problem = moved_hill(*middle)
        design = {k: v.float().requires_grad_() for k, v in problem.space.start.items()}
        summary = problem.summarize(Design(design), 64, Seed(0).generator())
        objective = problem.judge(summary, Design(design)).objective
        assert objective.dtype == torch.float32
        places = design["bearing"], design["distance"]
        found.append((objective, *torch.autograd.grad(objective, places)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-7)


def test_a_picture_has_the_coordinates_of_the_map(moved_hill):
    middle = (500_000.0, 4_510_000.0, 1_000.0)
    here, there = moved_hill(0.0, 0.0, 0.0), moved_hill(*middle)
    first, last = (problem.scene(problem.space.start).boxes for problem in (here, there))
    for one, other in zip(first, last, strict=True):
        moved = [a + b for a, b in zip(one.center, middle, strict=True)]
        assert other.center == pytest.approx(moved, abs=1e-3, rel=0)


def test_a_picture_shows_ground_and_telescopes():
    scene = build(CONFIG).scene(HUMAN)
    labels = {box.label for box in scene.boxes}
    assert labels == {"ground", "telescopes"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": [3.0, 1.0]}, "two increasing lengths"),
        ({"sectors": [0, 1, 1]}, "three counts"),
        ({"n_bins": [1, 1]}, "two counts"),
        ({"density": 2650}, "divide kg/m3 by 1,000"),
        ({"density_spread": 0.5}, "density_spread"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(Exception, match=message):
        load("muon_absorption").configure(options)
