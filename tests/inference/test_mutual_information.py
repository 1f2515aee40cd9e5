"""Bounds on mutual information against correlated normal variables, where it is known."""

import functools
import math

import pytest
import torch

from detopt.errors import ConfigError, DomainError
from detopt.inference.mutual_information import (
    JointCritic,
    NormalPosterior,
    SeparableCritic,
    barber_agakov_bound,
    donsker_varadhan_bound,
    info_nce_bound,
    nwj_bound,
    train_critic,
)

BOUNDS = [info_nce_bound, nwj_bound, donsker_varadhan_bound]
ENTROPY = math.log(2 * math.pi * math.e) / 2  # of a standard normal variable


def information(rho):
    """Closed form for one pair of normal variables of this correlation."""
    return -math.log(1 - rho**2) / 2


def pairs(rho, n, rng, *batch, dtype=torch.float64):
    t, noise = torch.randn(2, *batch, n, 1, generator=rng, dtype=dtype)
    return t, rho * t + math.sqrt(1 - rho**2) * noise


def log_ratio(rho, t, z):
    """The best critic: logarithm of the joint density over the product of marginals."""
    t, z = t, z.mT
    joint = -(t.square() + z.square() - 2 * rho * t * z) / (2 * (1 - rho**2))
    return joint + (t.square() + z.square()) / 2 - math.log(1 - rho**2) / 2


def mean_and_error(values):
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize("bound", [nwj_bound, donsker_varadhan_bound])
@pytest.mark.parametrize("rho", [0.3, 0.8])
def test_best_critic_is_tight(bound, rho, rng):
    offset = 1.0 if bound is nwj_bound else 0.0
    values = bound(log_ratio(rho, *pairs(rho, 100, rng, 800)) + offset)
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(information(rho), abs=3.5 * error + 1e-4)


@pytest.mark.parametrize(("rho", "n"), [(0.5, 10), (0.5, 40), (0.8, 40)])
def test_bias_of_info_nce_is_the_stated_one(rho, n, rng):
    """E[ratio] over matched pairs is 1/(1 - rho^2); the bias is taken against the exact scores."""
    scores = log_ratio(rho, *pairs(rho, n, rng, 10000))
    matched = scores.diagonal(dim1=-2, dim2=-1).mean(-1)  # unbiased for the information
    mean, error = mean_and_error(info_nce_bound(scores) - matched)
    stated = -(1 / (1 - rho**2) - 1) / (2 * n)
    assert mean == pytest.approx(stated, rel=0.25, abs=3 * error)
    assert mean < -3 * error


def test_info_nce_never_exceeds_the_logarithm_of_the_batch(rng):
    scores = 50 * torch.eye(8, dtype=torch.float64) + torch.randn(8, 8, generator=rng)
    assert info_nce_bound(scores).item() == pytest.approx(math.log(8), abs=1e-12)


@pytest.mark.parametrize("bound", BOUNDS)
def test_critic_that_knows_nothing_gives_no_information(bound):
    scores = torch.full((3, 5, 5), 1.0 if bound is nwj_bound else 0.0, dtype=torch.float64)
    torch.testing.assert_close(bound(scores), torch.zeros(3, dtype=torch.float64))


def test_values_by_hand():
    scores = torch.tensor([[1.0, 0.0], [2.0, 3.0]], dtype=torch.float64)
    nce = 2 - (math.log(math.e + 1) + math.log(math.e**2 + math.e**3)) / 2 + math.log(2)
    others = (1 + math.e**2) / 2
    assert info_nce_bound(scores).item() == pytest.approx(nce)
    assert nwj_bound(scores).item() == pytest.approx(2 - others / math.e)
    assert donsker_varadhan_bound(scores).item() == pytest.approx(2 - math.log(others))


def test_donsker_varadhan_is_never_below_nwj(rng):
    scores = 2 * torch.randn(200, 6, 6, generator=rng, dtype=torch.float64)
    assert (donsker_varadhan_bound(scores) >= nwj_bound(scores)).all()


def test_functions_of_one_argument_drop_out(rng):
    scores = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    rows = torch.randn(6, 1, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(info_nce_bound(scores + rows), info_nce_bound(scores))
    torch.testing.assert_close(donsker_varadhan_bound(scores + 3), donsker_varadhan_bound(scores))


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_true_posterior_is_tight_and_a_wider_one_is_below(rho, rng):
    t, z = pairs(rho, 40000, rng)

    def bound(width):
        density = torch.distributions.Normal(rho * z, width, validate_args=False)
        return barber_agakov_bound(density.log_prob(t).squeeze(-1), ENTROPY).item()

    width = math.sqrt(1 - rho**2)
    assert bound(width) == pytest.approx(information(rho), abs=4 / math.sqrt(2 * 40000))
    divergence = math.log(2) + 1 / 8 - 1 / 2  # of a normal density of twice the width
    assert bound(2 * width) == pytest.approx(information(rho) - divergence, abs=0.01)


@pytest.mark.parametrize("bound", BOUNDS)
def test_gradients_match_finite_differences(bound, rng):
    scores = torch.randn(2, 4, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bound, scores)
    assert torch.autograd.gradgradcheck(bound, scores)


def test_gradient_of_the_posterior_bound_matches_finite_differences(rng):
    log_posterior = torch.randn(3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    entropy = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(barber_agakov_bound, (log_posterior, entropy))


TRAINED = [
    (SeparableCritic, info_nce_bound),
    (SeparableCritic, nwj_bound),
    (SeparableCritic, donsker_varadhan_bound),
    (NormalPosterior, functools.partial(barber_agakov_bound, entropy=ENTROPY)),
]


@pytest.mark.parametrize(("critic_type", "bound"), TRAINED)
def test_trained_critic_finds_the_information_and_its_slope_in_the_design(critic_type, bound, rng):
    """Readout = gain * truth + noise: I = ln(1 + gain^2)/2, slope gain/(1 + gain^2)."""
    gain = torch.tensor(1.3, requires_grad=True)

    def draw(n, rng):
        truth, noise = torch.randn(2, n, 1, generator=rng)
        return truth, gain * truth + noise

    critic = critic_type(1, 1, rng, width=32)
    train_critic(critic, draw, bound, rng, n_steps=400, n_pairs=128, learning_rate=3e-3)
    results = [bound(critic(*draw(128, rng))) for _ in range(150)]
    slopes = torch.stack([torch.autograd.grad(value, gain)[0] for value in results])
    mean, error = mean_and_error(torch.stack(results).detach())
    exact = math.log(1 + 1.3**2) / 2
    assert mean == pytest.approx(exact, abs=0.04 * exact + 3 * error)
    assert mean < exact + 3 * error  # a lower bound
    mean, error = mean_and_error(slopes)
    assert mean == pytest.approx(1.3 / (1 + 1.3**2), rel=0.1, abs=3 * error)


def test_joint_critic_scores_each_pair(rng):
    critic = JointCritic(2, 3, rng)
    t, z = torch.randn(4, 5, 2, generator=rng), torch.randn(4, 5, 3, generator=rng)
    scores = critic(t, z)
    assert scores.shape == (4, 5, 5)
    pair = torch.cat([t[1, 2], z[1, 4]])
    torch.testing.assert_close(scores[1, 2, 4], critic.network(pair)[0])


def test_separable_critic_scores_each_pair(rng):
    critic = SeparableCritic(2, 3, rng)
    t, z = torch.randn(5, 2, generator=rng), torch.randn(5, 3, generator=rng)
    expected = critic.truth(t[2]) @ critic.readout(z[4]) / 4
    torch.testing.assert_close(critic(t, z)[2, 4], expected)


def test_joint_critic_learns(rng):
    critic = JointCritic(1, 1, rng, width=32)

    def draw(n, rng):
        return pairs(0.8, n, rng, dtype=torch.float32)

    history = train_critic(critic, draw, info_nce_bound, rng, 250, 64, 3e-3)
    late = torch.tensor(history[-50:])
    assert late.mean() > 0.8 * information(0.8)
    assert late.mean() < information(0.8) + 3 * late.std() / math.sqrt(50)


def test_weights_depend_on_the_generator_alone():
    first, second = (
        SeparableCritic(1, 1, torch.Generator().manual_seed(3)).state_dict() for _ in range(2)
    )
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name])


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(1, 1), "at least 2 pairs"),
        (torch.full((3, 3), math.nan), "`scores` must be finite"),
    ],
)
def test_scores_without_a_bound_are_refused(bound, scores, message):
    with pytest.raises(DomainError, match=message):
        bound(scores)


@pytest.mark.parametrize(
    ("log_posterior", "message"),
    [(torch.zeros(0), "holds no events"), (torch.tensor([-math.inf]), "must be finite")],
)
def test_posterior_without_a_bound_is_refused(log_posterior, message):
    with pytest.raises(DomainError, match=message):
        barber_agakov_bound(log_posterior, 0.0)


@pytest.mark.parametrize("name", ["n_steps", "n_pairs", "learning_rate"])
def test_training_without_steps_is_refused(name, rng):
    value = 0.0 if name == "learning_rate" else 0
    with pytest.raises(ConfigError, match=f"`{name}` must be > 0, got 0"):
        train_critic(SeparableCritic(1, 1, rng), pairs, info_nce_bound, rng, **{name: value})
