"""How surrogates are judged: values with a source, laws, and one that is broken on purpose."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import MethodError
from detopt.random import Seed
from detopt.surrogates import ConditionalRegression, Training
from detopt.surrogates.closeness import (
    closure,
    coverage,
    frechet_distance,
    interval_coverage,
    separations,
)
from detopt.surrogates.gradient_score import (
    Differences,
    gradient_score,
    log_mean,
    log_resolution,
    surrogate_gradients,
)
from detopt.surrogates.two_sample import _divergence, area_under_curve, calibrated, two_sample
from detopt.surrogates.validation import FEATURES, layer_features, validate

QUICK = Training(n_steps=60, batch=200, learning_rate=3e-3, held_out=0.2, check_every=20)


def rng_of(seed=1):
    return torch.Generator().manual_seed(seed)


def normal(n, d=2, seed=1):
    return torch.randn(n, d, generator=rng_of(seed), dtype=torch.float64)


# --- classifiers


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=4, max_size=30))
def test_area_is_the_share_of_pairs_in_order(rows):
    scores = torch.tensor([one for one, _ in rows]).double()
    real = torch.tensor([kind for _, kind in rows])
    if bool(real.all()) or not bool(real.any()):
        return
    gaps = scores[real][:, None] - scores[~real]
    expected = float((gaps > 0).double().mean() + (gaps == 0).double().mean() / 2)
    assert area_under_curve(scores, real) == pytest.approx(expected)


def test_calibration_pools_what_is_out_of_order():
    scores = torch.tensor([1.0, 2.0, 3.0, 4.0])
    real = torch.tensor([False, True, False, True])
    found = calibrated(scores, real, torch.tensor([0.0, 2.0, 3.0, 9.0]))
    assert found.tolist() == [0.0, 0.5, 0.5, 1.0]  # by hand


def test_area_of_shifted_normals_is_that_of_the_formula():
    found = two_sample(normal(2_000), normal(2_000, seed=2) + torch.tensor([1.0, 0.0]), Seed(1),
                       n_repeats=1, training=QUICK)  # fmt: skip
    expected = 0.5 * (1 + math.erf(0.5))  # area of two normals a width apart
    assert found.area == pytest.approx(expected, abs=0.03)
    assert 0.05 < found.divergence < 0.13  # 0.111 nat is the Jensen-Shannon divergence


def test_rows_alike_are_not_told_apart():
    found = two_sample(normal(1_000), normal(1_000, seed=2), Seed(1), 1, QUICK)
    assert found.area == pytest.approx(0.5, abs=4 * found.std_error)
    assert found.divergence < 0.01


def test_unequal_rows_are_refused():
    with pytest.raises(MethodError, match="as many drawn as real rows, 40 at least"):
        two_sample(normal(50), normal(60), Seed(1))


# --- closeness


def test_separation_goes_from_zero_to_one():
    rows = normal(500, 1)
    assert float(separations(rows, rows)) == 0.0
    assert float(separations(rows, rows + 100)) == pytest.approx(1.0, abs=0.05)


def test_frechet_distance_has_the_value_of_the_formula():
    real, other = normal(20_000), normal(20_000, seed=2)
    real, other = ((one - one.mean(0)) / one.std(0) for one in (real, other))
    away = frechet_distance(real, 2 * other + torch.tensor([1.0, 0.0]))
    assert away == pytest.approx(1 + 2 * (2 - 1) ** 2, rel=0.01)
    assert frechet_distance(normal(2_000), normal(2_000, seed=2)) == pytest.approx(0.0, abs=0.01)


def test_closure_finds_errors_in_units_of_their_uncertainty():
    conditions, real = normal(4_000, 1), normal(4_000, 1, seed=2)
    drawn = 1.2 * normal(4_000, 1, seed=3) + 0.3
    errors, uncertainties = closure(conditions, real, drawn)
    assert errors.shape == (1, 4, 1, 2)
    pulls = (errors - torch.tensor([0.3, 0.2])) / uncertainties
    assert float(pulls.abs().max()) < 3.5
    assert float(uncertainties[..., 1].mean()) == pytest.approx(1.2 * (1 / 1_000) ** 0.5, rel=0.1)


def test_coverage_falls_where_rows_are_missing():
    real = normal(800)
    full, half = coverage(real, normal(800, seed=2)), coverage(real, normal(800, seed=2).abs())
    assert full > 0.9
    assert half < 0.6


@pytest.mark.parametrize("level", [0.3, 0.683, 0.95])
def test_intervals_of_the_right_width_hold_what_they_should(level):
    real, drawn = normal(4_000, 1), torch.stack([normal(4_000, 1, seed=i) for i in range(2, 22)])
    assert float(interval_coverage(real, drawn, level)) == pytest.approx(level, abs=0.025)
    assert float(interval_coverage(real, drawn / 2, level)) < level - 0.1
    with pytest.raises(MethodError, match=r"must be in \(0, 1\)"):
        interval_coverage(real, drawn, 1.0)


# --- gradients


def test_score_of_a_known_turn_and_length():
    reference = torch.tensor([[1.0, 0.0]]).double()
    turned = 1.1 * torch.tensor([[math.cos(0.2), math.sin(0.2)]]).double()
    none = torch.zeros(1, 2).double()
    found = gradient_score(turned, none, reference, none, Seed(1))
    assert float(found.cosine) == pytest.approx(math.cos(0.2))
    assert float(found.norm_error) == pytest.approx(0.1)
    assert float(found.norm_std_error) == pytest.approx(0.0, abs=1e-12)
    error = torch.full((1, 2), 0.05).double()
    noisy = gradient_score(turned, none, reference, error, Seed(1))
    assert float(noisy.cosine_error) == pytest.approx(0.05**2 / 2, rel=0.1)  # of small angles
    assert float(noisy.norm_std_error) == pytest.approx(1.1 * 0.05, rel=0.1)
    with pytest.raises(MethodError, match="is zero"):
        gradient_score(turned, none, none, none, Seed(1))


def test_differences_have_slope_and_error_of_the_formula():
    noise = normal(4_000, 1)[:, 0]
    below, above = 10 * 0.9 + noise, 10 * 1.1 + noise  # common random numbers
    other = 10 * 1.1 + normal(4_000, 1, seed=5)[:, 0]
    theta = torch.zeros(2, 1).double()
    totals = torch.stack([torch.stack([below, above])[None], torch.stack([below, other])[None]])
    found, errors = Differences(theta, 0.1, totals).gradients(log_mean, Seed(1))
    assert found.flatten().tolist() == pytest.approx([1.0, 1.0], abs=0.03)
    assert float(errors[1]) == pytest.approx(0.1 * 2**0.5 / 4_000**0.5 / 0.2, rel=0.2)
    assert float(errors[0]) < 0.3 * float(errors[1])
    with pytest.raises(MethodError, match=r"2 designs of 1 parameters need totals .* step > 0"):
        Differences(theta, 0.0, totals)


def test_surrogate_has_the_gradient_of_what_it_learned():
    rng = rng_of()
    theta = torch.rand(6_000, 1, generator=rng, dtype=torch.float64)
    rows = theta.exp() * (1 + 0.1 * normal(6_000, 1, seed=7))
    model = ConditionalRegression(1, 1)
    model.fit(theta, rows, rng)
    at = torch.tensor([[0.5]]).double()
    found, error = surrogate_gradients(
        model, at, [log_mean, log_resolution], lambda t: t, Seed(1), 4_000
    )
    assert found.flatten().tolist() == pytest.approx([1.0, 0.0], abs=0.15)
    assert 0 < float(error[0]) < 0.05


# --- all together


def test_features_of_a_profile_by_hand():
    names, found = layer_features(torch.zeros(1, 1), torch.tensor([[0.0, 2.0, 2.0, 0.0]]).double())
    values = dict(zip(names, found[0].tolist(), strict=True))
    assert values["ln total"] == pytest.approx(math.log(4))
    assert values["mean depth"] == pytest.approx(2.0)
    assert values["width"] == pytest.approx(0.5)
    assert values["skewness"] == pytest.approx(0.0)
    assert values["first third"] == 0.0
    assert values["layers hit"] == 2.0


def test_features_of_a_row_without_energy_are_finite():
    """A surrogate may draw layers whose noise makes the total negative."""
    rows = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, -3.0]]).double()
    names, found = layer_features(torch.zeros(2, 1), rows)
    assert bool(found.isfinite().all())
    assert found[:, names.index("mean depth")].tolist() == [0.0, 0.0]


def learned(n=600, factor=1.0):
    """A surrogate of two columns, and rows that it did not learn from."""
    rng = rng_of()
    conditions = torch.rand(2 * n, 1, generator=rng, dtype=torch.float64)
    rows = 3 + conditions * torch.tensor([1.0, 2.0]) + 0.3 * normal(2 * n, seed=7)
    model = ConditionalRegression(1, 2, Training(n_steps=100))
    model.fit(conditions[:n], factor * rows[:n], rng)
    return model, conditions[n:], rows[n:]


def test_good_and_broken_surrogates_are_told_apart():
    areas = []
    for factor in (1.0, 1.05):
        model, conditions, rows = learned(factor=factor)
        told = []
        found = validate(model, conditions, rows, Seed(1), FEATURES["columns"], training=QUICK,
                         progress=lambda done, total, told=told: told.append(done))  # fmt: skip
        assert told == [1, 2, 3, 4, 5]
        areas.append(found.high.area)
        assert len(found.table()) == 10
        assert found.as_dict()["features"] == ["column 0", "column 1"]
    good, broken = areas
    assert good < 0.56
    assert broken > good + 0.1


def test_too_few_rows_are_refused():
    model, conditions, rows = learned(79)
    with pytest.raises(MethodError, match="needs 80 rows or more, got 79"):
        validate(model, conditions, rows, Seed(1), training=QUICK)


def test_gradient_without_differences_is_refused():
    model, conditions, rows = learned(120)
    with pytest.raises(MethodError, match="Gradients of response need differences"):
        validate(model, conditions, rows, Seed(1), training=QUICK, quantities=["response"])


# --- features that are constant or take few values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_constant_feature_agrees_with_itself(dtype):
    conditions, rows = normal(200, 1).to(dtype), torch.full((200, 1), 10.0, dtype=dtype)
    errors, uncertainties = closure(conditions, rows, rows)
    assert float(separations(rows, rows)) == 0
    assert float(errors.abs().max()) == float(uncertainties.abs().max()) == 0


@pytest.mark.parametrize("other", [9.0, 11.0])
def test_what_misses_a_constant_feature_is_seen(other):
    conditions = normal(200, 1)
    rows = torch.full((200, 1), 10.0, dtype=torch.float64)
    drawn = torch.full((200, 1), other, dtype=torch.float64)
    errors, _ = closure(conditions, rows, drawn)
    assert float(separations(rows, drawn)) == 1
    assert errors[..., 0].flatten().tolist() == pytest.approx([other - 10] * 4)


def test_divergence_of_few_values_is_the_exact_one():
    """ln 2 less the entropy of the odds 7 : 3; scores of one value have one probability."""
    real = torch.arange(2).repeat_interleave(4_000) == 0
    chance = torch.rand(8_000, generator=rng_of(3))
    scores = torch.where(real, chance < 0.7, chance < 0.3).float()
    exact = math.log(2) + 0.7 * math.log(0.7) + 0.3 * math.log(0.3)
    assert _divergence(scores, real) == pytest.approx(exact, abs=0.01)
    assert _divergence(torch.zeros(8_000), real) == pytest.approx(0.0, abs=1e-9)


def test_showers_in_single_precision_are_looked_at_alike():
    showers = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])
    _, found = layer_features(showers, showers)
    _, wide = layer_features(showers.double(), showers.double())
    assert torch.equal(found.double(), wide)
    assert bool(found.isfinite().all())
