"""Real panels at their limits: removed, certain to answer, inside the volume, beside it."""

import dataclasses
import math

import pytest
import torch

from detopt.design import Design
from detopt.optimizers import make
from detopt.pipeline.evaluation import evaluate, summarize_design
from detopt.random import Seed
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.association import associated
from detopt.usecases.muon_scanner.realism.plane_fits import fit_plane_hits
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits, Response, plane_hits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker
from detopt.usecases.muon_scanner.realism.planes import Planes, flat_axes
from detopt.usecases.muon_scanner.realism.pruning import prune

MUON = torch.tensor(5.0, dtype=torch.float64)
IMAGE = {"task": "image", "n_muons": 200, "n_scans": 8}
SLAB = {"n_behind": 2, "momentum": None, "known_momentum": "estimated"}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def panels(heights=(0.1, 0.2, 0.35, 0.4), half=0.5, efficiency=0.95, **more):
    height = tensor(*heights)
    ones = torch.ones_like(height)
    return Planes(
        center=torch.stack([0 * ones, 0 * ones, height]),
        along=flat_axes(height),
        half_width=half * torch.stack([ones, ones]),
        resolution=1e-4 * ones,
        efficiency=efficiency * ones,
        **more,
    )


def muons(n, rng, n_volumes=1, steepness=0.1):
    shape = (2, n_volumes, n)
    position = 0.5 * (torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5)
    slope = steepness * torch.randn(shape, generator=rng, dtype=torch.float64)
    return Muons(position, slope, torch.full(shape[1:], 5.0, dtype=torch.float64), 0.0)


def with_removed_panel(hits, planes, at):
    """The same hits with a panel of no area among the others."""

    def spread(values, dim, new):
        first, last = values.split([at, values.shape[dim] - at], dim)
        return torch.cat([first, torch.full_like(values.narrow(dim, 0, 1), new), last], dim)

    more = {
        name: spread(getattr(planes, name), -1, new)
        for name, new in (("center", 0.25), ("half_width", 0), ("resolution", 1), ("efficiency", 1))
    }
    wider = dataclasses.replace(planes, along=flat_axes(more["resolution"]), **more)
    return PlaneHits(
        spread(hits.root_weight, 1, 0),
        spread(hits.scaled, 2, 0),
        spread(hits.crossed, 0, 0),
        hits.usable,
    ), wider


@pytest.mark.parametrize("heights", [(0.1, 0.4), (0.1, 0.2, 0.4), (0.1, 0.2, 0.35, 0.4)])
def test_a_removed_panel_changes_no_track_among_noise(rng, heights):
    planes = panels(heights=heights)
    hits, _ = plane_hits(muons(500, rng), planes, Response(None, 0.1), rng, backwards=True)
    more, wider = with_removed_panel(hits, planes, 1)
    found, expected = (
        associated(some, Tracker(of, 0.0, backwards=True), MUON)
        for some, of in ((more, wider), (hits, planes))
    )
    assert expected.usable.mean() > 0.5
    torch.testing.assert_close(found.usable, expected.usable)
    kept = [0, *range(2, len(heights) + 1)]
    torch.testing.assert_close(found.root_weight[:, kept], expected.root_weight)


def test_a_removed_panel_has_no_noise(rng):
    planes = dataclasses.replace(panels(), half_width=torch.zeros(2, 4, dtype=torch.float64))
    hits, _ = plane_hits(muons(2_000, rng), planes, Response(None, 9.0), rng, backwards=True)
    assert (hits.root_weight[1] == 0).all()


@pytest.mark.parametrize(("n", "noise"), [(3, 1e-6), (4, 0.01)])
def test_a_noisy_design_with_removed_panels_is_judged_as_the_pruned_one(n, noise):
    shares = [1.5, 0.006, 1.494] if n == 3 else [1.0, 0.003, 1.0, 0.997]
    config = Config(**IMAGE, panel_base_price=0.2, noise_density=noise, n_above=n, n_below=n)
    problem = build(config)
    design = Design({**problem.baselines["even"], "panel_cost": tensor(*shares, *shares)})
    pruned = prune(config, design)
    assert len(pruned.removed) == 2
    values = [
        summarize_design(one.reference, at, Seed("pruned"), 60)[1].objective.item()
        for one, at in ((problem, design), (build(pruned.config), pruned.design))
    ]
    assert values[0] == pytest.approx(values[1], rel=0.03)  # other random numbers


def test_noise_that_is_certain_has_a_finite_score(rng):
    half = torch.full((2, 4), 1.0, requires_grad=True)
    planes = dataclasses.replace(single(panels()), half_width=half)
    tracks = single(muons(50, rng))
    hits, _ = plane_hits(tracks, planes, Response(0.3, 9.0), rng, backwards=True)
    (slope,) = torch.autograd.grad(hits.likelihood.sum(), half)
    expected = 50 * 9 * 4 * math.exp(-36)  # of a hit: N'/(e^N - 1) with the mean number N
    assert slope.flatten().tolist() == pytest.approx([expected] * 8, rel=1e-3)


def single(record):
    """The same in float32."""
    return dataclasses.replace(
        record,
        **{
            field.name: value.float()
            for field in dataclasses.fields(record)
            if isinstance(value := getattr(record, field.name), torch.Tensor)
        },
    )


def test_scores_of_noise_have_no_mean(rng):
    half = torch.full((2, 4), 0.5, dtype=torch.float64, requires_grad=True)
    planes = dataclasses.replace(panels(), half_width=half)
    hits, _ = plane_hits(muons(20_000, rng), planes, Response(0.3, 1.0), rng, backwards=True)
    (slope,) = torch.autograd.grad(hits.likelihood.mean(), half)
    spread = 2 / math.expm1(1) ** 0.5 / 20_000**0.5  # a score is 2/(e - 1) with a hit, -2 without
    assert slope.abs().max().item() < 5 * spread


@pytest.mark.parametrize("shift", [-30.0, 0.0, 30.0])
def test_an_efficiency_that_is_certain_has_a_finite_score(rng, shift):
    efficiency = torch.full((4,), 0.9, requires_grad=True)
    planes = single(panels(log_odds_shift=torch.full((1, 4), shift)))
    planes = dataclasses.replace(planes, efficiency=efficiency)
    hits, _ = plane_hits(single(muons(500, rng)), planes, Response(0.3), rng, backwards=True)
    (slope,) = torch.autograd.grad(hits.likelihood.mean(), efficiency)
    odds = math.log(9) + shift
    spread = 1 / 0.09 / (2 * math.cosh(odds / 2)) / 500**0.5  # sqrt(e (1 - e)) of log odds' score
    assert slope.abs().max().item() < 5 * spread + 1e-9


def test_much_noise_and_uncertain_efficiencies_leave_a_finite_gradient():
    for options in (
        {"noise_density": 9.0, "budget": 16.0},
        {"efficiency_spread": 6.0, "free": ("panel_efficiency",), "n_scans": 64},
    ):
        problem = build(Config(**{**IMAGE, "n_muons": 50, **options}))
        optimizer = make("adam", problem.space, 1, {})
        (found,) = [evaluate(problem, request, Seed(3)) for request in optimizer.ask()]
        assert torch.isfinite(found.gradient).all()


def test_a_misplaced_panel_errs_more_for_inclined_muons(rng):
    offset = 1e-3 * torch.randn(2_000, 4, 3, generator=rng, dtype=torch.float64)
    tracks = muons(5, rng, n_volumes=2_000, steepness=0.6)
    planes = panels(half=3.0)
    displaced = dataclasses.replace(planes, offset=offset)
    hits, _ = plane_hits(tracks, displaced, Response(None), rng, backwards=True)
    good = hits.usable > 0
    fit = fit_plane_hits(hits, Tracker(planes, 0.0, backwards=True, variance=1e-6), MUON)
    pull = ((fit.slope - tracks.slope) / fit.slope_variance.sqrt())[:, good]
    assert pull.square().mean().item() == pytest.approx(1, abs=0.06)  # 1.2 without the slope


def test_nominal_values_of_the_unknown_are_those_of_a_perfect_panel(rng):
    tracks, state = muons(20, rng), rng.get_state()
    perfect, _ = plane_hits(tracks, panels(), Response(None), rng, backwards=True)
    rng.set_state(state)
    nothing = torch.zeros(4, 3, dtype=torch.float64)
    nominal = panels(offset=nothing, rotation=nothing, log_odds_shift=nothing[:, 0])
    found, _ = plane_hits(tracks, nominal.part(slice(0, 4)), Response(None), rng, backwards=True)
    torch.testing.assert_close(found.scaled, perfect.scaled)


def test_unknown_places_may_be_held_at_their_nominal_values():
    options = {"misalignment": 1e-4, "misrotation": 1e-3, "efficiency_spread": 0.3}
    problem = build(Config(**IMAGE, **options, side_panels=("+x",)))
    fixed = dataclasses.replace(
        problem, treatment="fixed", hard=dataclasses.replace(problem.hard, treatment="fixed")
    )
    _, outcome = summarize_design(fixed, fixed.baselines["even"], Seed("fixed"), 4)
    assert math.isfinite(outcome.objective.item())


def tilted_into_the_volume(problem):
    """The lowest panel above 1 mm from the volume, with a corner 0.1 m inside."""
    tilt = torch.zeros(8, dtype=torch.float64)
    tilt[3] = 0.2499
    middle = torch.full((8,), 0.5, dtype=torch.float64)
    return Design(
        {
            **problem.space.start,
            "panel_tilt_y": tilt,
            "upper_z": tensor(1.3, 1.2, 1.1, 1.001),
            "panel_x": middle,
            "panel_y": middle,
        }
    )


def test_a_tilted_panel_measures_nothing_inside_the_volume():
    problem = build(Config(**IMAGE, tilted=True))
    design = tilted_into_the_volume(problem)
    events = problem.source(4, Seed("tilted").generator(), torch.float64)
    simulator = problem.reference.simulator
    hits = simulator(events, design, Seed("hits").generator()).above
    planes = simulator.instrument(design).above
    root = hits.root_weight[0, 3]
    seen = root > 0.01 * root.max()
    u = (hits.scaled[0, 0, 3] / root)[seen]
    heights = planes.center[2, 3] + planes.along[0, 2, 3] * u
    assert seen.sum() > 100
    assert heights.min().item() > 1.0 - 5e-3
    assert heights.max().item() > 1.05


def test_side_panels_see_the_muons_that_leave_through_the_sides():
    assert Config().crossing
    assert Config(side_panels=("+x",), crossing=True).crossing
    problem = build(Config(**{**IMAGE, "n_muons": 1_000}, side_panels=("+x", "-x")))
    events = problem.source(8, Seed("sides").generator(), torch.float32)
    design = problem.space.start.detach().to(torch.float32)
    hits = problem.reference.simulator(events, design, Seed("hits").generator()).below
    share = (hits.root_weight[0, -2:] > 0).float().mean((1, 2))
    assert share.min().item() > 0.03  # 2e-4 of those that leave through the bottom


def test_no_side_panel_is_left_of_those_that_are_not_worth_their_price():
    config = Config(**IMAGE, panel_base_price=0.2, side_panels=("+x",), tilted=True)
    problem = build(config)
    shares = tensor(*[0.74] * 8, 0.08)
    pruned = prune(config, Design({**problem.baselines["even"], "panel_cost": shares}))
    assert pruned.removed == ("side 1",)
    other = build(pruned.config)
    other.space.check(pruned.design)
    assert set(pruned.design) == set(other.space.start)
    assert pruned.config.crossing == config.crossing


def test_the_picture_shows_what_is_built():
    config = Config(**IMAGE, **SLAB, panel_base_price=0.2, side_panels=("+x", "-x"), budget=9.0)
    problem = build(config)
    shares = tensor(*[1.2, 0.02, 1.2, 1.2] * 2, 0.02, 1.2, 0.54, 0.02)
    design = Design({**problem.baselines["even"], "panel_cost": shares * 9 / shares.sum()})
    boxes = [box for box in problem.scene(design).boxes if box.label.startswith("panels")]
    labels = [box.label for box in boxes]
    assert labels.count("panels above") == labels.count("panels below") == 3
    assert labels.count("panels beside") == labels.count("panels behind the slab") == 1
    area = sum(sorted(box.size)[1] * sorted(box.size)[2] for box in boxes)
    assert area + 8 * 0.2 == pytest.approx(9)
