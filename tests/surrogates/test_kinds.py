"""What only some kinds of generators do; how a fit stops; surrogates in files."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from detopt.errors import CheckpointError, ConfigError, MethodError
from detopt.surrogates import (
    KINDS,
    ConditionalFlow,
    ConditionalRegression,
    EnergyShares,
    Training,
    WassersteinGAN,
    load_surrogate,
    save_surrogate,
)
from detopt.surrogates.training import Descent, perceptron

SHORT = Training(n_steps=20, n_warm_steps=5, batch=64)


def rng_of(seed=1):
    return torch.Generator().manual_seed(seed)


def noisy(n=2_000, width=1.0, seed=1):
    """A condition, and two correlated columns of mean c and 2c."""
    rng = rng_of(seed)
    given = torch.randn(n, 1, generator=rng, dtype=torch.float64)
    noise = torch.randn(n, 2, generator=rng, dtype=torch.float64)
    rows = torch.stack([noise[:, 0], 0.8 * noise[:, 0] + 0.6 * noise[:, 1]], 1) * width
    return given, rows + given * torch.tensor([1.0, 2.0])


# --- regression


def test_noise_of_the_regression_is_that_of_unseen_rows():
    given, rows = noisy(400)
    training = Training(n_steps=300, weight_decay=0.0, held_out=0.2, check_every=10)
    model = ConditionalRegression(1, 2, training)
    model.fit(given, rows, rng_of())
    fresh, truth = noisy(4_000, seed=2)
    miss = truth - sum(model.sample(fresh, rng_of(i)) for i in range(50)) / 50
    drawn = model.sample(fresh, rng_of(99)) - model.sample(fresh, rng_of(98))
    assert float(drawn.std() / 2**0.5 / miss.std()) == pytest.approx(1.0, abs=0.2)


def test_density_of_the_regression_is_the_normal_one():
    given, rows = noisy(6_000)
    model = ConditionalRegression(1, 2)
    model.fit(given, rows, rng_of())
    at = torch.zeros(1, 1).double()
    found = model.log_prob(at, torch.zeros(1, 2).double()).item()
    assert found == pytest.approx(-math.log(2 * math.pi * 0.6), abs=0.15)  # of the covariance


# --- flows


@pytest.mark.parametrize("layers", ["autoregressive", "coupling", "inverse_autoregressive"])
def test_flow_of_each_layer_maps_there_and_back(layers):
    given, rows = noisy(300)
    flow = ConditionalFlow(1, 2, SHORT, torch.float64, layers=layers)
    flow.fit(given, rows, rng_of())
    network = flow._network(given.double())
    noise = torch.randn(300, 2, generator=rng_of(3), dtype=torch.float64)
    torch.testing.assert_close(
        network.transform(network.transform.inv(noise)), noise, atol=1e-5, rtol=0
    )
    assert bool(flow.log_prob(given, rows).isfinite().all())


def test_student_draws_what_its_teacher_draws():
    given, rows = noisy(width=0.5)
    teacher = ConditionalFlow(1, 2, Training(n_steps=100, batch=256), layers="autoregressive")
    teacher.fit(given, rows, rng_of())
    student = ConditionalFlow(
        1, 2, Training(n_steps=200, batch=256), layers="inverse_autoregressive"
    )
    loss = student.distill(teacher, given, rows, rng_of())
    assert loss < 0.01
    first, second = (one.sample(given, rng_of(5)) for one in (teacher, student))
    assert float((first - second).square().mean().sqrt()) < 0.05  # of a width of 0.5


def test_teacher_must_be_fitted_and_for_the_same_rows():
    given, rows = noisy(100)
    student = ConditionalFlow(1, 2, SHORT)
    with pytest.raises(MethodError, match="The teacher was not fitted"):
        student.distill(ConditionalFlow(1, 2, SHORT), given, rows, rng_of())
    with pytest.raises(MethodError, match="for other rows: its n_columns differ"):
        student.distill(ConditionalFlow(1, 3, SHORT), given, rows, rng_of())
    with pytest.raises(MethodError, match="`layers` must be one of"):
        ConditionalFlow(1, 2, layers="convolution")


# --- Wasserstein


def test_wasserstein_gan_finds_the_width_of_a_normal_distribution():
    given, rows = noisy(width=2.0)
    training = Training(
        n_steps=200, batch=128, learning_rate=3e-3, held_out=0.2, check_every=10, patience=30
    )
    model = WassersteinGAN(1, 1, training)
    model.fit(given, rows[:, :1], rng_of())
    drawn = model.sample(given, rng_of(2)) - given
    assert float(drawn.std()) == pytest.approx(2.0, rel=0.2)
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.3)
    with pytest.raises(MethodError, match="`n_critic` must be >= 1, got 0"):
        WassersteinGAN(1, 1, n_critic=0)


# --- held-out rows


def lowered(training, n_rows=40, seed=1):
    """A network that can learn its few rows by heart, its losses at the looks, and the rest."""
    rng = rng_of(seed)
    inputs, truth = torch.randn(n_rows, 3, generator=rng), torch.randn(n_rows, 1, generator=rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = perceptron(3, (64, 64), 1)
    told = []

    def loss(rows):
        return (network(inputs[rows]) - truth[rows]).square().mean()

    descent = Descent(training, training.n_steps, rng, lambda done, total: told.append(done))
    found = descent.descend(network, loss, n_rows)
    return found, told, network, loss


def test_fit_stops_early_and_keeps_the_best_weights():
    training = Training(n_steps=400, learning_rate=1e-2, held_out=0.5, check_every=5, patience=3)
    found, told, *_ = lowered(training)
    assert told == list(range(1, len(told) + 1))
    assert len(told) < 200
    longer, all_told, *_ = lowered(replace(training, patience=80))
    assert len(all_told) == 400
    assert found == pytest.approx(longer, rel=0.1)  # no better for going on
    last, *_ = lowered(replace(training, patience=80, check_every=400))
    assert last > 1.5 * found  # rows learned by heart


def test_held_out_rows_are_never_learned_from():
    seen = set()
    training = Training(n_steps=50, batch=4, held_out=0.25, check_every=50)
    network = nn.Linear(1, 1)
    steps, scores = [], []

    def step(rows):
        seen.update(rows.tolist())
        steps.append(rows)
        return 0.0

    def score(rows):
        scores.extend(rows.tolist())
        return torch.zeros(())

    Descent(training, 50, rng_of()).improve(network, step, score, 40)
    assert len(set(scores)) == 10
    assert seen.isdisjoint(scores)
    assert len(seen) == 30


def test_loss_that_is_not_finite_stops_the_fit():
    descent = Descent(Training(n_steps=5), 5, rng_of())
    with pytest.raises(MethodError, match=r"The loss of step 1 is nan\. Lower"):
        descent.improve(nn.Linear(1, 1), lambda rows: math.nan, lambda rows: rows.sum(), 10)


def test_share_held_out_is_checked():
    with pytest.raises(MethodError, match=r"`held_out` must be in \[0, 1\), got 1.0"):
        Training(held_out=1.0)


# --- files


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_stored_surrogate_comes_back(kind, tmp_path):
    given, rows = noisy(100)
    model = kind(1, 2, SHORT)
    model.fit(given, rows, rng_of())
    path = save_surrogate(model, tmp_path / "model.safetensors", {"label": "normal"})
    again, facts = load_surrogate(path)
    assert facts == {"label": "normal"}
    assert again.options == model.options
    assert torch.equal(*(one.sample(given, rng_of(3)) for one in (model, again)))


def test_row_map_is_stored_too(tmp_path):
    given = torch.rand(100, 1, generator=rng_of()).double()
    rows = given.exp() * torch.rand(100, 3, generator=rng_of(2)).double() / 4 + 1e-3
    model = ConditionalFlow(1, 3, SHORT, row_map=EnergyShares(0, threshold=0.01))
    model.fit(given, rows, rng_of())
    again, _ = load_surrogate(save_surrogate(model, tmp_path / "model.safetensors"))
    assert again.row_map == model.row_map


def test_unusable_files_are_refused(tmp_path):
    model = ConditionalFlow(1, 2, SHORT)
    with pytest.raises(MethodError, match="Only a fitted surrogate is stored"):
        save_surrogate(model, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"must end in \.safetensors"):
        save_surrogate(model, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="hold no usable surrogate"):
        load_surrogate(tmp_path / "none.safetensors")
    model.fit(*noisy(100), rng_of())
    path = save_surrogate(model, tmp_path / "model.safetensors")
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(about | {"format": 9}))
    with pytest.raises(CheckpointError, match="has format 9, and 1 is known"):
        load_surrogate(path)
    about["options"]["hidden"] = [8, 8]
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(CheckpointError, match="another generator"):
        load_surrogate(path)
