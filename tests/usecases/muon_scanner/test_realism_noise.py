"""Noise hits, misalignment and unknown efficiencies."""

import math
from dataclasses import replace

import pytest
import torch

from detopt.pipeline import Nuisances
from detopt.usecases.muon_scanner import Config, build
from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.realism.association import associated
from detopt.usecases.muon_scanner.realism.plane_fits import fit_plane_hits
from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits, Response, plane_hits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker
from detopt.usecases.muon_scanner.realism.planes import Planes, flat_axes, tilted_axes

MUON = torch.tensor(5.0, dtype=torch.float64)


def panels(heights=(0.1, 0.2, 0.35, 0.4), half=0.5, efficiency=0.95, **more):
    height = torch.tensor(heights, dtype=torch.float64)
    ones = torch.ones_like(height)
    return Planes(
        center=torch.stack([0 * ones, 0 * ones, height]),
        along=flat_axes(height),
        half_width=half * torch.stack([ones, ones]),
        resolution=1e-4 * ones,
        efficiency=efficiency * ones,
        **more,
    )


def muons(n, rng, n_volumes=1):
    shape = (2, n_volumes, n)
    position = 0.5 * (torch.rand(shape, generator=rng, dtype=torch.float64) - 0.5)
    slope = 0.1 * torch.randn(shape, generator=rng, dtype=torch.float64)
    return Muons(position, slope, torch.full(shape[1:], 5.0, dtype=torch.float64), 0.0)


def first_only(hits):
    return PlaneHits(hits.root_weight[:1], hits.scaled[:, :1], hits.crossed, hits.usable)


def test_noise_hits_are_as_frequent_as_their_density_says(rng):
    planes = panels(half=0.4)
    hits, _ = plane_hits(muons(20_000, rng), planes, Response(None, 0.1), rng, backwards=True)
    expected = -math.expm1(-0.1 * 0.64)
    assert (hits.root_weight[1] > 0).double().mean().item() == pytest.approx(expected, rel=0.05)


def resolved(hits, planes):
    found = associated(hits, Tracker(planes, 0.0, backwards=True), MUON)
    return found, fit_plane_hits(found, Tracker(planes, 0.0, backwards=True), MUON)


def test_lines_among_noise_hits_are_those_without_where_three_panels_saw_the_muon(rng):
    tracks = muons(4_000, rng)
    hits, _ = plane_hits(tracks, panels(), Response(None, 0.05), rng, backwards=True)
    clean = first_only(hits)
    whole = ((clean.root_weight[0] > 0).sum(0) >= 3)[0]
    noisy = ((hits.root_weight[1] > 0).sum(0) > 0)[0] & whole
    assert noisy.sum() > 400
    found, line = resolved(hits, panels())
    true = fit_plane_hits(clean, Tracker(panels(), 0.0, backwards=True), MUON)
    away = (line.slope - tracks.slope).abs().amax(0)[0]
    least = (true.slope - tracks.slope).abs().amax(0)[0]
    good = away < least + 5 * true.slope_variance.sqrt()[0]
    assert good[noisy].double().mean().item() > 0.99
    assert good[whole & ~noisy].double().mean().item() > 0.99
    assert found.usable[0, whole].min().item() > 0.97


def test_two_hits_make_no_track_where_noise_may_be(rng):
    planes = panels(efficiency=0.7)
    hits, _ = plane_hits(muons(4_000, rng), planes, Response(None, 0.05), rng, backwards=True)
    found, _ = resolved(hits, planes)
    n_hits = (hits.root_weight > 0).any(0).sum(0)[0]
    two_true = ((hits.root_weight[0] > 0).sum(0)[0] == 2) & (n_hits == 3)
    assert (n_hits == 2).sum() > 20
    assert two_true.sum() > 50
    assert found.usable[0, n_hits <= 2].max().item() == 0
    assert found.usable[0, two_true].mean().item() < 0.1


def test_two_panels_cannot_tell_noise(rng):
    planes = panels(heights=(0.1, 0.4), efficiency=0.999)
    hits, _ = plane_hits(muons(500, rng), planes, Response(None, 0.02), rng, backwards=True)
    found, _ = resolved(hits, planes)
    both = (hits.root_weight > 0).any(0).all(0)
    assert both.sum() > 300
    torch.testing.assert_close(found.usable, both.double())


def test_without_noise_a_second_candidate_changes_nothing(rng):
    tracks = muons(500, rng)
    hits, _ = plane_hits(tracks, panels(), Response(None, 1e-12), rng, backwards=True)
    assert (hits.root_weight[1] == 0).all()
    good = (hits.root_weight[0] > 0).sum(0) >= 3
    _, found = resolved(hits, panels())
    true = fit_plane_hits(first_only(hits), Tracker(panels(), 0.0, backwards=True), MUON)
    spread = true.slope_variance.sqrt()[good]
    difference = (found.slope - true.slope)[:, good].abs() / spread
    assert difference.max().item() < 0.05


@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_tracks_among_noise_are_found_in_tilted_panels_that_scatter(rng, tilt):
    about = torch.tensor([tilt, 0.0, -tilt, tilt], dtype=torch.float64)
    planes = replace(
        panels(efficiency=1 - 1e-9),
        along=tilted_axes(about, 0 * about),
        thickness=0.01 * torch.ones(4, dtype=torch.float64),
        is_flat=False,
    )
    hits, _ = plane_hits(muons(2_000, rng), planes, Response(None, 0.05), rng, backwards=True)
    whole = (hits.root_weight[0] > 0).all(0)
    noise = hits.root_weight[1] > 0
    assert (whole & noise.any(0)).sum() > 150
    share = (
        associated(hits, Tracker(planes, 0.0, backwards=True), MUON).root_weight / hits.root_weight
    )
    share = share.square()
    assert share[0, :, whole].quantile(0.01).item() > 0.9
    assert share[1][noise & whole].quantile(0.98).item() < 1e-3


@pytest.mark.parametrize("noise", [False, True])
def test_shares_of_hits_have_the_right_gradient(rng, noise):
    planes = panels(heights=(0.1, 0.2, 0.35), efficiency=0.999)
    root = 1e4 * torch.tensor([[0.9, 0.7, 0.8], [0.0, 1.0 if noise else 0.0, 0.0]]).double()
    local = torch.tensor([[0.01, 0.0102, 0.0104], [0.0, 0.0105, 0.0]], dtype=torch.float64)

    def shares(local, root, height, resolution):
        moved = torch.stack([planes.center[0], planes.center[1], height])
        bent = replace(planes, center=moved, resolution=resolution)
        scaled = (root * local)[None].expand(2, -1, -1)[..., None, None]
        one = torch.ones(1, 1, dtype=torch.float64)
        hits = PlaneHits(root[..., None, None], scaled, torch.ones(3, 1, 1).double(), one)
        found = associated(hits, Tracker(bent, 0.0, backwards=True), MUON)
        return found.root_weight[0] * 1e-4, found.usable

    inputs = (local, root, planes.center[2].clone(), planes.resolution.clone())
    assert torch.autograd.gradcheck(
        shares, tuple(i.requires_grad_() for i in inputs), eps=1e-8, rtol=1e-3, nondet_tol=0.0
    )


def test_a_displaced_panel_measures_the_displacement(rng):
    offset = torch.zeros(2, 4, 3, dtype=torch.float64)
    offset[0, 1] = torch.tensor([1e-3, -2e-3, 0.0])
    tracks = muons(5, rng, n_volumes=2)
    state = rng.get_state()
    right, _ = plane_hits(tracks, panels(), Response(None), rng, backwards=True)
    rng.set_state(state)
    moved = panels(offset=offset)
    wrong, _ = plane_hits(tracks, moved, Response(None), rng, backwards=True)
    there = right.root_weight[0] > 0
    shift = ((wrong.scaled - right.scaled) / 1e4)[:, 0]  # of 1/m
    expected = torch.zeros_like(shift)
    expected[:, 1, 0] = torch.tensor([-1e-3, 2e-3], dtype=torch.float64)[:, None]
    torch.testing.assert_close(shift, expected * there)


def test_a_panel_at_a_wrong_height_shifts_inclined_muons_alone(rng):
    offset = torch.zeros(1, 4, 3, dtype=torch.float64)
    offset[0, :, 2] = 1e-3
    tracks = muons(5, rng)
    state = rng.get_state()
    right, _ = plane_hits(tracks, panels(), Response(None), rng, backwards=True)
    rng.set_state(state)
    wrong, _ = plane_hits(tracks, panels(offset=offset), Response(None), rng, backwards=True)
    shift = ((wrong.scaled - right.scaled) / 1e4)[:, 0]
    there = right.root_weight[0] > 0
    torch.testing.assert_close(shift, 1e-3 * tracks.slope[:, None] * there)


def test_a_turned_panel_measures_turned_coordinates(rng):
    rotation = torch.zeros(1, 4, 3, dtype=torch.float64)
    rotation[..., 2] = 1e-3
    tracks = replace(muons(5, rng), slope=torch.zeros(2, 1, 5, dtype=torch.float64))
    state = rng.get_state()
    right, _ = plane_hits(tracks, panels(), Response(None), rng, backwards=True)
    rng.set_state(state)
    wrong, _ = plane_hits(tracks, panels(rotation=rotation), Response(None), rng, backwards=True)
    shift = ((wrong.scaled - right.scaled) / 1e4)[:, 0]
    there = right.root_weight[0] > 0
    x, y = tracks.position
    torch.testing.assert_close(shift, 1e-3 * torch.stack([y, -x])[:, None] * there)


def test_a_fit_that_knows_the_spread_of_offsets_states_its_errors(rng):
    offset = 3e-4 * torch.randn(2_000, 4, 3, generator=rng, dtype=torch.float64)
    planes = panels(offset=offset)
    tracks = muons(5, rng, n_volumes=2_000)
    hits, _ = plane_hits(tracks, planes, Response(None), rng, backwards=True)
    good = hits.usable > 0
    fit = fit_plane_hits(hits, Tracker(panels(), 0.0, backwards=True, variance=9e-8), MUON)
    pull = ((fit.slope - tracks.slope) / fit.slope_variance.sqrt())[:, good]
    assert pull.square().mean().item() == pytest.approx(1, abs=0.1)


def test_unknown_efficiencies_change_the_share_of_hits(rng):
    shift = torch.tensor([[0.0] * 4, [-1.0] * 4], dtype=torch.float64)
    planes = panels(efficiency=0.9, log_odds_shift=shift)
    hits, _ = plane_hits(
        muons(5_000, rng, n_volumes=2), planes, Response(None), rng, backwards=True
    )
    share = (hits.root_weight[0] > 0).double().mean((0, 2))
    inside = (hits.crossed > 0).double().mean((0, 2))
    expected = 1 / (1 + math.exp(-(math.log(9) - 1)))
    assert (share / inside).tolist() == pytest.approx([0.9, expected], abs=0.015)


def test_hits_have_the_right_gradient(rng):
    tracks = muons(3, rng)
    state = rng.get_state()

    def recorded(half, resolution, offset, rotation):
        rng.set_state(state)
        planes = replace(panels(heights=(0.1, 0.2), efficiency=0.999), half_width=half)
        planes = replace(planes, resolution=resolution, offset=offset, rotation=rotation)
        hits, _ = plane_hits(tracks, planes, Response(0.3), rng, backwards=True)
        return hits.root_weight * 1e-4, hits.scaled * 1e-4, hits.usable

    inputs = (
        torch.tensor([[0.2, 0.25], [0.22, 0.3]]),
        torch.tensor([1.0, 1.1]),
        1e-3 * torch.ones(1, 2, 3),
        1e-3 * torch.ones(1, 2, 3),
    )
    assert torch.autograd.gradcheck(recorded, tuple(i.double().requires_grad_() for i in inputs))


def test_misalignment_is_a_nuisance_drawn_for_each_scan():
    problem = build(Config(misalignment=1e-4, misrotation=1e-4, efficiency_spread=0.1))
    assert isinstance(problem.nuisances, Nuisances)
    assert problem.treatment == "marginalized"
    assert problem.nuisances.names == ["panel_offset", "panel_rotation", "panel_log_odds_shift"]
    assert build(Config()).nuisances is None


@pytest.mark.parametrize(
    "options", [{"noise_density": -1.0}, {"misrotation": 0.2}, {"efficiency_spread": -0.1}]
)
def test_impossible_imperfections_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Config(**options)
