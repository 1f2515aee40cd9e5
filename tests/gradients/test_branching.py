"""Branching programs: the bank, the flights, and every baseline against known derivatives."""

import pytest
import torch

from detopt.errors import DomainError, MethodError
from detopt.gradients import ParticleBank, Trials, attach_branching, fly
from detopt.gradients.branching import BRANCHING_BASELINES


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def small_bank():
    """Two trees: 0 - (2, 3 - (4, 5)) and 1."""
    bank = ParticleBank(2)
    bank.add(double([[1.0], [2.0]]), row=torch.tensor([0, 1]))
    bank.add(double([[10.0], [20.0]]), parent=torch.tensor([0, 0]))
    bank.add(double([[100.0], [200.0]]), parent=torch.tensor([3, 3]))
    return bank


def test_sums_over_rows_and_subtrees_have_the_known_values():
    bank = small_bank()
    assert bank.row.tolist() == [0, 1, 0, 0, 0, 0]
    assert bank.generation.tolist() == [0, 0, 1, 1, 2, 2]
    assert bank.row_sums(bank.tallies).squeeze(1).tolist() == [331.0, 2.0]
    expected = [331.0, 2.0, 10.0, 320.0, 100.0, 200.0]
    assert bank.subtree_sums(bank.tallies).squeeze(1).tolist() == expected


def test_sums_are_differentiable():
    bank = small_bank()
    values = torch.arange(6.0, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: bank.subtree_sums(v).sin(), values)
    assert torch.autograd.gradcheck(lambda v: bank.row_sums(v).sin(), values)


def test_impossible_particles_are_refused():
    bank, one = small_bank(), double([[1.0]])
    with pytest.raises(DomainError, match="`parent` must lie between 0 and 5, got values from 9"):
        bank.add(one, parent=torch.tensor([9]))
    with pytest.raises(DomainError, match="`row` must lie between 0 and 1"):
        bank.add(one, row=torch.tensor([-1]))
    with pytest.raises(DomainError, match="either the `row`"):
        bank.add(one)
    with pytest.raises(DomainError, match="2 particles, but 1 tallies"):
        bank.add.__wrapped__(bank, one, row=torch.tensor([0, 1]))
    with pytest.raises(DomainError, match="rows must be >= 1"):
        ParticleBank(0)


def test_flights_of_constant_probability_are_geometric(rng):
    n, p = 40_000, 0.05
    uniform = torch.rand(n, generator=rng, dtype=torch.float64)
    flights = fly(lambda particle, step: torch.full(step.shape, p).double(),
                  torch.full((n,), 500), uniform)  # fmt: skip
    assert flights.n_steps.double().mean().item() == pytest.approx(1 / p, rel=0.02)
    assert bool(flights.interacted.all())
    assert flights.success.sum().item() == n
    assert len(flights.step) == flights.n_steps.sum().item()


@pytest.mark.parametrize("limit", [1, 7, 8, 9, 40, 200])
def test_flights_are_those_of_a_plain_loop(limit, rng):
    n = 50
    chances = torch.rand(n, 200, generator=rng, dtype=torch.float64) * 0.1
    uniform = torch.rand(n, generator=rng, dtype=torch.float64)
    flights = fly(lambda i, k: chances[i, k - 1], torch.full((n,), limit), uniform)
    for i in range(n):
        alive, steps, hit = 1.0, 0, False
        while steps < limit and not hit:
            alive *= 1 - chances[i, steps].item()
            steps, hit = steps + 1, alive < 1 - uniform[i].item()
        assert (flights.n_steps[i].item(), flights.interacted[i].item()) == (steps, hit)
        own = flights.particle == i
        assert flights.step[own].tolist() == list(range(1, steps + 1))
        assert flights.success[own].tolist() == [False] * (steps - 1) + [hit]


def test_no_particles_fly_nowhere():
    empty = torch.zeros(0)
    flights = fly(lambda i, k: k + 0.0, empty.long(), empty)
    assert len(flights.n_steps) == len(flights.particle) == 0


# A tree whose every particle splits with probability p until generation DEPTH, of value N^2 with
# N particles: the law of N, and so the derivative, follow from a recursion of moments.
DEPTH = 4
P = 0.35


def moments(p):
    """First two moments of the number of particles."""
    first, second = p * 0 + 1, p * 0 + 1
    for _ in range(DEPTH):
        first, second = (
            1 + 2 * p * first,
            1 + p * (4 * first + 2 * second + 2 * first**2),
        )
    return first, second


def grow(p, n_rows, rng, critic=1.0):
    """Trees, their trials, and predictions that are off by a factor `critic`."""
    bank = ParticleBank(n_rows)
    index = bank.add(torch.ones(n_rows, 1).double(), row=torch.arange(n_rows))
    trials = []
    fixed = p.detach()
    left = [1 + sum((2 * fixed) ** k for k in range(1, d + 1)) for d in range(DEPTH + 1)]
    for generation in range(DEPTH):
        split = torch.rand(len(index), generator=rng, dtype=torch.float64) < fixed
        one = torch.ones(len(index), 1).double()
        after = critic * (1 + 2 * left[DEPTH - generation - 1]) * one
        trials.append(Trials(index, p.expand(len(index)), split, after, one))
        parent = index[split].repeat(2)
        index = bank.add(torch.ones(len(parent), 1).double(), parent=parent)
    joined = [torch.cat([getattr(t, name) for t in trials]) for name in vars(trials[0])]
    return bank, Trials(*joined)


def square(sums):
    return sums[..., 0] ** 2


def gradients(baseline, n_rows, n_repeats, critic=1.0):
    found = []
    for repeat in range(n_repeats):
        p = double(P).requires_grad_()
        bank, trials = grow(p, n_rows, torch.Generator().manual_seed(repeat), critic)
        features = torch.rand(bank.n_particles, 1).double()
        values = attach_branching(bank, trials, square, baseline, features)
        found += torch.autograd.grad(values.mean(), p)
    return torch.stack(found)


@pytest.mark.parametrize("n_rows", [2, 50])
@pytest.mark.parametrize("baseline", BRANCHING_BASELINES)
def test_every_baseline_is_unbiased(baseline, n_rows):
    p = double(P).requires_grad_()
    (exact,) = torch.autograd.grad(moments(p)[1], p)
    found = gradients(baseline, n_rows, 150 if n_rows == 2 else 60)
    error = found.std().item() / len(found) ** 0.5
    assert found.mean().item() == pytest.approx(exact.item(), abs=4 * error)
    assert error < 0.35 * exact.item()


@pytest.mark.parametrize("critic", [0.0, 0.5, 3.0])
def test_wrong_predictions_leave_the_mean_alone(critic):
    p = double(P).requires_grad_()
    (exact,) = torch.autograd.grad(moments(p)[1], p)
    found = gradients("martingale", 50, 60, critic)
    error = found.std().item() / len(found) ** 0.5
    assert found.mean().item() == pytest.approx(exact.item(), abs=4 * error)


def test_each_baseline_has_less_noise_than_the_one_before():
    noise = {b: gradients(b, 50, 40).std().item() for b in BRANCHING_BASELINES}
    assert noise["mean"] < noise["none"]
    assert noise["leave_subtree_out"] < 0.9 * noise["mean"]
    assert noise["martingale"] < 0.7 * noise["leave_subtree_out"]


def test_values_are_left_to_the_bit_and_follow_their_own_paths(rng):
    p, scale = double(P).requires_grad_(), double(2.0).requires_grad_()
    bank, trials = grow(p, 20, rng)
    bank.tallies = bank.tallies * scale
    for baseline in ("none", "mean", "leave_subtree_out", "martingale"):
        values = attach_branching(bank, trials, square, baseline)
        expected = square(bank.row_sums(bank.tallies))
        assert torch.equal(values.detach(), expected.detach())
        (found,) = torch.autograd.grad(values.mean(), scale, retain_graph=True)
        assert found.item() == pytest.approx(expected.mean().item())  # d (s^2 N^2) / ds at s = 2


def test_moments_of_the_tree_are_those_of_the_sample(rng):
    bank, _ = grow(double(P), 20_000, rng)
    size = bank.row_sums(bank.tallies).squeeze(1)
    first, second = moments(double(P))
    assert size.mean().item() == pytest.approx(first.item(), rel=0.03)
    assert size.square().mean().item() == pytest.approx(second.item(), rel=0.06)


def test_missing_predictions_features_and_unknown_names_are_refused(rng):
    p = double(P).requires_grad_()
    bank, trials = grow(p, 5, rng)
    bare = Trials(trials.particle, trials.probability, trials.success)
    with pytest.raises(MethodError, match="needs `if_success`"):
        attach_branching(bank, bare, square, "martingale")
    with pytest.raises(MethodError, match="needs `features`"):
        attach_branching(bank, bare, square, "cross_fitted")
    with pytest.raises(MethodError, match="`baseline` must be one of"):
        attach_branching.__wrapped__(bank, bare, square, "best")
