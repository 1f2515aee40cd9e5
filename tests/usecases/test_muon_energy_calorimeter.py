"""The calorimeter for muons of TeV: losses, showers, cells, reconstruction and designs."""

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DesignError, NotFoundError
from detopt.physics import materials
from detopt.physics.muon_losses import hard_losses
from detopt.physics.shower_media import homogeneous
from detopt.physics.shower_radial import lateral_containment
from detopt.pipeline.evaluation import summarize_design
from detopt.pipeline.resampling import bootstrap
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.muon_energy_calorimeter import Block, Config, build, network, trees
from detopt.usecases.muon_energy_calorimeter.features import N_FEATURES, features, truncated_mean
from detopt.usecases.muon_energy_calorimeter.readout import CellReadout, Cells
from detopt.usecases.muon_energy_calorimeter.reconstruction import (
    LogEnergyError,
    Rows,
    half_width,
    residuals,
)
from detopt.usecases.muon_energy_calorimeter.showers import RADII, ShowerBank, corner_share
from detopt.usecases.muon_energy_calorimeter.tracks import MuonBeam, sample_losses

CASE = load("muon_energy_calorimeter")
SMALL = {"layers": 16, "most_layers": 20, "longest": 1.2, "depth": 0.7, "cell": 0.03, "cut": 0.05}
KINDS = ("network", "sum", "truncated")
CUT = 0.02
TABLE = hard_losses("PbWO4", CUT)


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    """Bodies of the network that are learned in a second, and forgotten."""
    monkeypatch.setattr(network, "N_DESIGNS", 12)
    monkeypatch.setattr(network, "N_STEPS", 300)
    network._learn.cache_clear()
    yield
    network._learn.cache_clear()


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def changed(design, **values):
    return Design({**design, **{k: torch.tensor(v).double() for k, v in values.items()}})


def objective(config, design=None, n_events=2_000):
    problem = build(config)
    chosen = next(iter(problem.baselines.values())) if design is None else design
    return summarize_design(problem.reference, chosen, Seed(1), n_events)[1].objective


def tracks(config, n=400, seed=1):
    return MuonBeam(config)(n, generator(seed), torch.float64)


# --- losses along a track ---


@pytest.mark.parametrize("energy", [100.0, 1_000.0, 4_000.0])
def test_muons_lose_on_average_what_the_tables_say(energy):
    length, n = 0.1, 40_000  # so short that the energy hardly falls
    muons = torch.full((n,), energy, dtype=torch.float64)
    losses = sample_losses(TABLE, muons, length, generator())
    lost = losses.loss.sum(1)
    at = torch.tensor(energy, dtype=torch.float64)
    error = float(lost.std()) / n**0.5
    expected = float(TABLE.mean_at(at)) * length
    assert abs(float(lost.mean()) - expected) < 4 * error + 0.01 * expected
    assert error < 0.2 * expected


def test_the_number_of_losses_is_a_poisson_variable():
    muons = torch.full((20_000,), 1_000.0, dtype=torch.float64)
    number = (sample_losses(TABLE, muons, 0.2, generator()).loss > 0).sum(1).double()
    expected = 0.2 * float(TABLE.rate_at(muons[0]))
    assert float(number.mean()) == pytest.approx(expected, rel=0.03)
    assert float(number.var() / number.mean()) == pytest.approx(1.0, abs=0.05)


def test_no_energy_is_lost_in_the_bookkeeping():
    muons = 100.0 * 40 ** torch.rand(500, generator=generator(), dtype=torch.float64)
    losses = sample_losses(TABLE, muons, 2.0, generator(2))
    below = muons - losses.loss.sum(1) - losses.left
    going = losses.left > 50
    most = 2.0 * TABLE.below_at(muons)
    assert bool((below[going] <= most[going] * (1 + 1e-9)).all())
    assert bool((below[going] >= 0.8 * most[going]).all())
    assert bool((losses.left >= 0).all())


def test_losses_stay_within_the_track_in_order():
    muons = torch.full((300,), 2_000.0, dtype=torch.float64)
    losses = sample_losses(TABLE, muons, 2.0, generator())
    assert bool((losses.position.diff(dim=1) >= 0).all())
    assert bool((losses.position[losses.loss > 0] < 2.0).all())
    assert bool((losses.loss.sum(1) <= 2_000.0).all())


def test_what_a_block_holds_does_not_depend_on_the_cut():
    quantiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    found = []
    for cut in (0.02, 0.1):
        config = Config(cut=cut, longest=0.5, depth=0.4, low_energy=900.0, high_energy=1_100.0)
        held = tracks(config, 4_000).before(torch.tensor([0.4], dtype=torch.float64))[0].sum(-1)
        found.append(torch.quantile(held, quantiles))
    torch.testing.assert_close(found[0], found[1], rtol=0.05, atol=0.0)


# --- showers ---


def test_templates_share_all_of_their_energy():
    shares = ShowerBank.of("PbWO4").shares
    torch.testing.assert_close(shares.sum((2, 3)), torch.ones(shares.shape[:2]))
    assert bool((shares >= 0).all())


@pytest.mark.parametrize("energy", [2.0, 30.0, 400.0])
def test_a_moliere_radius_holds_what_the_whole_shower_model_says(energy):
    bank, medium = ShowerBank.of("PbWO4"), homogeneous(materials.get("PbWO4"))
    n = 400
    start = torch.full((n,), energy, dtype=torch.float64)
    shares = bank.templates(start, torch.rand(n, generator=generator(), dtype=torch.float64))
    radii = torch.tensor(RADII)
    inside = float((shares.sum(1).mean(0) / (1 + radii**2)).sum())
    assert inside == pytest.approx(float(lateral_containment(1.0, energy, medium)), abs=0.01)
    assert inside == pytest.approx(0.9, abs=0.04)


def test_showers_put_their_energy_into_the_slices_behind_their_start():
    bank = ShowerBank.of("PbWO4")
    into = torch.zeros(2, 200, len(RADII))
    at, energy = torch.tensor([10, 120]), torch.tensor([3.0, 50.0])
    bank.deposit(into, torch.tensor([0, 1]), at, energy, torch.tensor([0.1, 0.9]))
    held = into.sum((1, 2))
    assert float(held[0]) == pytest.approx(3.0, rel=1e-5)
    assert 45.0 < float(held[1]) < 50.0  # its end lies behind the last slice
    assert float(into[0, :10].sum()) == 0.0


def test_a_quadrant_holds_a_quarter():
    far = torch.tensor(1e6, dtype=torch.float64)
    share = corner_share(far, far, torch.tensor(0.02, dtype=torch.float64))
    assert float(share) == pytest.approx(0.25, abs=1e-6)


def test_the_share_of_a_rectangle_is_the_integral_of_the_density():
    x, y, radius = 0.03, 0.01, 0.02
    u = (torch.arange(2_000, dtype=torch.float64) + 0.5) / 2_000
    square = (x * u[:, None]) ** 2 + (y * u) ** 2 + radius**2
    expected = float((radius**2 / (torch.pi * square**2)).mean()) * x * y
    values = (torch.tensor(v, dtype=torch.float64) for v in (x, y, radius))
    assert float(corner_share(*values)) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_of_the_share_matches_finite_differences():
    inputs = [torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (2.0, -1.0, 1.5)]
    assert torch.autograd.gradcheck(corner_share, inputs)


# --- cells ---


def test_energy_in_front_of_a_depth_grows_to_the_whole_and_is_smooth():
    block = tracks(Config(longest=0.5, depth=0.4), 50)
    depth = torch.linspace(0.0, 0.5, 300, dtype=torch.float64)
    before = block.before(depth)
    assert bool((before.diff(dim=0) >= -1e-5).all())
    at = torch.tensor([0.11, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: block.before(d).sum(-1), (at,), eps=1e-7)


def test_groups_of_cells_divide_the_block_and_its_energy():
    block = Block(Config(aperture=0.1))
    beam = tracks(block.config, 20)
    shares, channels = CellReadout(block).divide(beam, block.baseline)
    torch.testing.assert_close(channels.sum(1), torch.full((20,), 144.0).double())
    assert bool((shares >= 0).all())
    assert bool((shares.sum(-1) < 1).all())
    wide = CellReadout(block).divide(beam, changed(block.baseline, width=500.0))[0]
    assert bool((wide.sum(-1) > shares.sum(-1)).all())


def test_the_soft_threshold_tends_to_the_sharp_one():
    gaps = []
    for softness in (0.3, 0.05, 0.01):
        block = Block(Config(**SMALL, softness=softness))
        beam = tracks(block.config, 200)
        soft, sharp = (
            CellReadout(block, hard)(beam, block.baseline, generator(3)) for hard in (False, True)
        )
        gaps.append(float((soft.rim - sharp.rim).abs().mean()))
    assert gaps[0] > gaps[1] > gaps[2]


def test_features_are_continuous_where_a_layer_appears():
    block = Block(Config(**SMALL))
    beam = tracks(block.config, 100)
    found = []
    for layers in (14.0, 14.0 + 1e-7):
        design = changed(block.baseline, thickness=700 / layers)
        cells = CellReadout(block)(beam, design, generator(4))
        thickness = block.edges(design).diff()[: cells.center.shape[1]]
        found.append(features(cells, thickness))
    torch.testing.assert_close(*found, rtol=0.0, atol=2e-4)
    assert found[0].shape == (100, N_FEATURES)


def test_equal_layers_have_their_density_as_every_mean():
    energy = torch.full((3, 10), 0.2, dtype=torch.float64)
    cells = Cells(energy, energy, energy)
    thickness = torch.full((10,), 0.1, dtype=torch.float64)
    means = features(cells, thickness)[:, :4].exp()
    torch.testing.assert_close(means, torch.full_like(means, 6.05))  # with the floor of 0.05
    torch.testing.assert_close(truncated_mean(cells, thickness).exp(), means[:, :1])


# --- designs ---


def test_price_is_that_by_hand():
    block = Block(Config())
    material = 0.24**2 * 1.0 * 5_000
    channels = 12**2 * 50 * 0.02
    assert float(block.price(block.baseline)) == pytest.approx(material + channels)
    assert float(block.n_channels(block.baseline)) == pytest.approx(7_200)


def test_the_coarse_baseline_costs_as_much_and_is_deeper():
    block = Block(Config())
    coarse = block.coarse
    assert float(block.price(coarse)) == pytest.approx(block.budget, rel=0.01)
    assert float(block.price(coarse)) <= block.budget
    assert float(coarse["depth"]) > 1.3
    block.space.check(coarse)


@pytest.mark.parametrize("layers", [6, 7, 8, 9])
def test_few_layers_have_no_coarse_baseline(layers):
    block = Block(Config(layers=layers))
    assert list(block.baselines) == ["block of the options"]
    with pytest.raises(DesignError):
        block.space.check(block.coarse)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": 10},
        {"layers": 20, "depth": 1.5},
        {"cell": 0.055, "width": 0.3},
        {"cell": 0.04, "width": 0.3},
        {"width": 0.05, "cell": 0.01},
    ],
)
def test_all_baselines_may_be_built(options):
    block = Block(Config(**options))
    coarse = block.baselines["twice as coarse"]
    assert float(block.price(coarse)) <= block.budget * (1 + 1e-6)
    assert float(coarse["cell"]) <= 60.0
    for design in block.baselines.values():
        block.space.check(design)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": 0.0021, "width": 0.0101},
        {"cell": 0.0599, "width": 0.3},
        {"threshold": 0.199},
        {"threshold": 1e-4},
        {"depth": 1.9, "layers": 7},
        {"layers": 80},
    ],
)
def test_a_search_can_start_just_within_the_bounds_of_the_options(options):
    space = Block(Config(**options)).space
    assert bool(space.theta(space.start).isfinite().all())


def test_a_budget_that_does_not_pay_for_the_options_is_refused():
    with pytest.raises(ConfigError, match=r"`budget` must pay .* 432.0 kEUR, got 50"):
        CASE.build({"budget": 50.0, "reconstruction": "sum"})


def test_rounding_keeps_the_budget_and_the_depth():
    block = Block(Config())
    design = changed(block.baseline, thickness=900 / 30.7, depth=0.9)
    rounded = block.rounded(design)
    assert float(rounded["thickness"]) == pytest.approx(30.0)
    assert float(block.price(rounded)) <= float(block.price(design))
    edges = block.edges(rounded)
    assert float(edges[-1]) == pytest.approx(0.9)
    assert int((edges.diff() > 1e-9).sum()) == 30


def test_the_last_layer_of_a_broken_number_is_thin():
    block = Block(Config())
    design = changed(block.baseline, thickness=200.0, depth=0.9)
    thickness = block.edges(design).diff()[:6]
    expected = torch.tensor([0.2, 0.2, 0.2, 0.2, 0.1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(thickness, expected)
    presence = block.presence(design)[:6]
    torch.testing.assert_close(presence, torch.tensor([1, 1, 1, 1, 0.5, 0]).double())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 1.5}, "price"),
        ({"cell": 59.9, "width": 200.0}, "width"),
        ({"thickness": 11.0, "cell": 40.0}, "layers"),
    ],
)
def test_a_design_beyond_its_limits_is_refused(values, message):
    block = Block(Config())
    with pytest.raises(DesignError, match=message):
        block.space.check(changed(block.baseline, **values))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_energy": 5_000.0}, "high_energy"),
        ({"depth": 3.0}, "depth"),
        ({"layers": 100}, "layers"),
        ({"cell": 0.1}, "cell"),
        ({"cell": 0.001}, "cell"),
        ({"cell": 0.06, "width": 0.3}, "cell"),
        ({"width": 0.009, "cell": 0.0021}, "width"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 0.3}, "threshold"),
        ({"depth": 6.0, "longest": 8.0, "layers": 20}, "layers"),
        ({"cut": 1.0}, "cut"),
        ({"reconstruction": "magic"}, "reconstruction"),
    ],
)
def test_unusable_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CASE.configure(options)


def test_an_unknown_material_is_refused():
    with pytest.raises(NotFoundError):
        build(Config(material="unobtainium"))


def test_the_picture_shows_every_layer():
    block = Block(Config(layers=10))
    assert len(block.scene(block.baseline).boxes) == 20


# --- reconstruction ---


def noise_rows(n=400, n_columns=30):
    rng = generator(5)
    columns = torch.randn(n, n_columns, generator=rng, dtype=torch.float64)
    target = torch.randn(n, generator=rng, dtype=torch.float64)
    return Rows(columns, target, torch.arange(n) % 10)


def test_the_regression_finds_known_weights():
    rows = noise_rows()
    exact = Rows(rows.columns, rows.columns @ torch.arange(30).double(), rows.fold)
    torch.testing.assert_close(residuals(exact), torch.zeros(400).double(), atol=1e-4, rtol=0)


def test_weights_are_not_fitted_to_the_muons_that_they_are_judged_on():
    rows = noise_rows()
    assert float(residuals(rows).square().mean()) > float(rows.logarithm.square().mean())


def test_the_half_width_of_a_narrow_gaussian_is_its_width():
    error = 0.05 * torch.randn(100_000, generator=generator(), dtype=torch.float64)
    assert float(half_width(error)) == pytest.approx(0.05, rel=0.02)


def test_a_perfect_magnet_measures_alone_and_a_bad_one_does_not_matter():
    rng = generator(6)
    logarithm = torch.log(100.0 * 40 ** torch.rand(4_000, generator=rng, dtype=torch.float64))
    columns = torch.randn(4_000, 1, generator=rng, dtype=torch.float64)
    rows = Rows(columns, logarithm, torch.arange(4_000) % 10)
    values = {}
    for error in (0.0, 1e-6, 1e6):
        block = Block(Config(tracker=error))
        values[error] = float(LogEnergyError(block)(rows, block.baseline).objective)
    assert values[1e6] == pytest.approx(values[0.0], rel=1e-3)
    energy = logarithm.exp() / 1e3
    assert values[1e-6] == pytest.approx(1e-6 * float(energy.square().mean().sqrt()), rel=0.05)


def test_a_network_beats_a_truncated_mean_and_the_sum_of_energies():
    fine = {"layers": 40, "most_layers": 40, "longest": 1.2, "cut": 0.05}
    found = {kind: float(objective(Config(**fine, reconstruction=kind))) for kind in KINDS}
    assert found["network"] < 0.97 * found["sum"]
    assert found["network"] < 0.97 * found["truncated"]


def test_trees_agree_with_the_network_and_were_not_trained_on_the_verdict(monkeypatch):
    monkeypatch.setattr(trees, "N_MUONS", 4_000)
    by_trees = float(objective(Config(**SMALL, reconstruction="trees")))
    by_network = float(objective(Config(**SMALL)))
    assert by_trees == pytest.approx(by_network, rel=0.06)


def test_more_depth_measures_better():
    config = Config(**SMALL, budget=1e4)
    problem = build(config)
    base = problem.baselines["block of the options"]
    shallow = changed(base, depth=0.3)
    values = []
    for design in (shallow, base):
        summary, outcome = summarize_design(problem.reference, design, Seed(1), 2_000)
        spread = bootstrap(problem.reference, summary, design, Seed(1), 20).std()
        values.append((float(outcome.objective), float(spread)))
    (worse, error), (better, _) = values
    assert better < worse - 4 * error
