"""INFERNO: its exact bounds, its events, and that a short training comes near them."""

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DomainError
from detopt.gradients import Verdict, check_gradients
from detopt.objectives import BinnedEvents
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.inferno import Config
from detopt.usecases.inferno.config import BENCHMARKS, PUBLISHED
from detopt.usecases.inferno.events import NAMES, VARIATIONS, Events, Mixture
from detopt.usecases.inferno.exact import exact_uncertainty
from detopt.usecases.inferno.network import scores_of_bins
from detopt.usecases.inferno.training import (
    Batches,
    Recipe,
    evaluate_bins,
    signal_probability,
    train,
)

# Quadrature and a Monte Carlo integral with four million events agree on these.
BOUNDS = {"B0": 14.705, "B1": 15.503, "B2": 15.634, "B3": 15.605, "B4": 16.877}
BOUNDS_AT_ONE = {"B0": 16.154, "B1": 16.429, "B2": 16.619, "B3": 16.608, "B4": 18.280}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
@pytest.mark.parametrize(("mean", "bounds"), [(0.0, BOUNDS), (1.0, BOUNDS_AT_ONE)])
def test_exact_bound_has_the_reference_value(benchmark, mean, bounds):
    assert exact_uncertainty(benchmark, mean) == pytest.approx(bounds[benchmark], abs=6e-4)


def draw(n_events, seed=0, mean=0.0):
    return Mixture(mean)(n_events, Seed("test", seed).generator(), torch.float64)


def test_events_have_the_moments_of_the_mixture():
    events = draw(200_000)
    signal, background = events.features[:100_000], events.features[100_000:]
    torch.testing.assert_close(
        signal.mean(0), torch.tensor([0, 0, 0.5]).double(), atol=0.02, rtol=0
    )
    torch.testing.assert_close(
        background.mean(0), torch.tensor([2, 0, 1 / 3]).double(), atol=0.04, rtol=0
    )
    torch.testing.assert_close(
        background.var(0), torch.tensor([5, 9, 1 / 9]).double(), atol=0, rtol=0.03
    )


def test_one_bin_has_the_expected_counts_and_mean_scores_of_zero():
    events = draw(100_000)
    shares = torch.ones(100_000, 1, dtype=torch.float64)
    none = torch.zeros(100_000, 1, 0, dtype=torch.float64)
    templates = BinnedEvents(shares, events.weights, events.weight_slopes, none).templates()
    assert templates.counts.item() == pytest.approx(1050)
    expected = torch.tensor([[1.0, 0.0, 0.0, 1.0]]).double()
    torch.testing.assert_close(templates.slopes, expected, atol=8, rtol=0)
    assert templates.slopes[0, 0].item() == pytest.approx(1)


@pytest.mark.parametrize(("parameter", "step"), [("r", 1e-3), ("lambda", 1e-3)])
def test_scores_and_directions_belong_to_the_same_parameter(parameter, step):
    """The mean of any smooth function changes alike by weights and by moved samples."""
    events = draw(400_000, seed=1)
    a = NAMES.index(parameter)
    smooth = torch.tanh(events.features[:, 0] - 1) + torch.exp(-events.features[:, 2])
    moved = events.features + step * events.directions[..., a]
    smooth_moved = torch.tanh(moved[:, 0] - 1) + torch.exp(-moved[:, 2])
    by_motion = (events.weights * (smooth_moved - smooth)).mean() / step
    by_score = (events.weight_slopes[:, a] * smooth).mean()
    torch.testing.assert_close(by_motion, by_score, rtol=0.05, atol=0)


def test_both_classes_need_room():
    with pytest.raises(DomainError, match="`n_events` must be >= 2"):
        draw(1)


def test_learned_probability_is_that_of_the_densities():
    events = draw(20_000, seed=2)
    events = Events(events.features.float(), events.signal_share.float())
    found = signal_probability(events, 150, Seed("test"))
    x0, x1, x2 = events.features.unbind(-1)
    log_ratio = -(x0.square() + x1.square()) / 2 - 2 * x2 + torch.tensor(2.0).log()
    log_ratio += (x0 - 2).square() / 10 + x1.square() / 18 + 3 * x2
    log_ratio += torch.tensor(45.0).log() / 2 - torch.tensor(3.0).log()
    error = (found - torch.sigmoid(log_ratio)).square().mean().sqrt()
    assert error < 0.05


def test_batches_use_each_event_once_before_any_again():
    recipe = Recipe(n_training=40, batch=20, classifier_steps=0)
    batches = Batches(0.0, recipe, Seed("test"))
    features = torch.cat([batches.draw().features for _ in range(2)])
    assert len(torch.unique(features, dim=0)) == 40


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(n_training=10, batch=20), "`batch` must be <= `n_training`, got 20 and 10"),
        (Recipe(n_training=41, batch=20), "must be even, half of each class, got 20 and 41"),
    ],
)
def test_unusable_recipe_is_refused(recipe, message):
    with pytest.raises(ConfigError, match=message):
        Batches(0.0, recipe, Seed("test"))


@pytest.fixture(scope="module")
def trained():
    config = Config(**PUBLISHED, benchmark="B2", activation="relu")
    recipe = Recipe(n_training=20_000, n_steps=200, batch=1_000, classifier_steps=100)
    return config, train(config, recipe, seed=5)


def test_short_training_comes_near_the_bound_and_not_below(trained):
    config, design = trained
    result = evaluate_bins(design, config, 400_000, Seed("test", "events"))
    for name, bound in BOUNDS.items():
        found = result.uncertainty[name]
        assert bound - 3 * result.std_error[name] < found < 1.15 * bound


def test_fast_path_and_pipeline_agree(trained):
    config, design = trained
    problem = load("inferno").build(config.model_dump())
    _, outcome = summarize_design(
        problem.reference, Design(dict(design.to(torch.float64))), Seed("other"), 200_000
    )
    result = evaluate_bins(design, config, 200_000, Seed("test", "events"))
    assert float(outcome.objective) == pytest.approx(
        result.uncertainty["B2"], abs=5 * result.std_error["B2"]
    )


@pytest.mark.parametrize("slopes", ["weights", "transformation", "variations"])
def test_gradients_agree_in_all_variants(slopes):
    case = load("inferno")
    problem = case.build({"slopes": slopes, "hidden": (2,), "bins": 3, "benchmark": "B1"})
    problem = problem.with_space(problem.space.freeze("weight_0", "weight_1"))
    verdicts = {check.verdict for check in check_gradients(problem, n_events=1_000, n_repeats=8)}
    assert Verdict.BIASED not in verdicts
    assert Verdict.ZERO not in verdicts


def test_variants_have_the_same_value_up_to_noise():
    case = load("inferno")
    values = []
    for slopes in ("weights", "transformation", "variations"):
        problem = case.build({"slopes": slopes})
        _, outcome = summarize_design(problem, problem.space.start, Seed(1), 200_000)
        values.append(float(outcome.objective))
    assert values[1:] == pytest.approx([values[0]] * 2, rel=0.02)


@pytest.mark.parametrize("name", VARIATIONS)
def test_varied_samples_move_along_the_directions(name):
    events = draw(100, seed=3)
    size = 1e-6
    moved = (events.varied(name, size) - events.features) / (size * VARIATIONS[name])
    expected = events.directions[..., NAMES.index(name)]
    torch.testing.assert_close(moved[50:], expected[50:], rtol=1e-5, atol=1e-8)
    assert not expected[:50].any()  # signal stays


def test_activations_are_what_they_are_called():
    weights = {
        "weight_0": torch.eye(2),
        "bias_0": torch.zeros(2),
        "weight_1": torch.eye(2),
        "bias_1": torch.ones(2),
    }
    found = scores_of_bins(weights, torch.tensor([[-1.0, 2.0]]), "relu")
    torch.testing.assert_close(found, torch.tensor([[1.0, 3.0]]))
