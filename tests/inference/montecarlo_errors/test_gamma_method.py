"""Errors of chains with known autocorrelation, and beside pyerrors."""

import math

import numpy as np
import pyerrors
import pytest
import torch

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import (
    AutomaticWindow,
    ExponentialTail,
    FixedWindow,
    Observables,
    gamma_method,
)

RULES = [
    (AutomaticWindow(), {}),
    (AutomaticWindow(S=1.5), {"S": 1.5}),
    (ExponentialTail(12.0), {"tau_exp": 12.0}),
    (ExponentialTail(12.0, n_sigma=3.0), {"tau_exp": 12.0, "N_sigma": 3.0}),
]


def exact_time(phi):
    """Integrated autocorrelation time of an autoregressive chain."""
    return (1 + phi) / (2 * (1 - phi))


@pytest.mark.parametrize("phi", [0.5, 0.9, 0.95])
@pytest.mark.parametrize(("rule", "options"), RULES)
def test_agrees_with_pyerrors(autoregressive, phi, rule, options):
    samples = autoregressive(phi, 4_000) + 2
    peer = pyerrors.Obs([samples.numpy()], ["A"])
    peer.gamma_method(**options)
    analysis = gamma_method(Observables.from_samples(samples, "A"), rule)
    own = analysis.ensembles["A"]
    found = [
        analysis.value,
        analysis.error,
        analysis.error_of_error,
        own.tau_int,
        own.tau_int_error,
        own.window,
    ]
    expected = [
        peer.value,
        peer.dvalue,
        peer.ddvalue,
        peer.e_tauint["A"],
        peer.e_dtauint["A"],
        peer.e_windowsize["A"],
    ]
    assert [float(x) for x in found] == pytest.approx(expected, rel=1e-12)


def test_neglects_autocorrelation_with_window_zero(autoregressive):
    samples = autoregressive(0.9, 1_000)
    analysis = gamma_method(Observables.from_samples(samples, "A"), FixedWindow(0))
    expected = samples.std() / math.sqrt(1_000)  # of independent measurements
    assert analysis.error.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.95])
def test_autocorrelation_time_of_an_autoregressive_chain(
    autoregressive, phi
):  # (1 + phi)/(2 (1 - phi))
    samples = autoregressive(phi, 100_000)
    own = gamma_method(Observables.from_samples(samples, "A")).ensembles["A"]
    tolerance = 3 * own.tau_int_error.item() + 0.01 * exact_time(phi)  # 1 %: the truncated tail
    assert own.tau_int.item() == pytest.approx(exact_time(phi), abs=tolerance)


@pytest.mark.parametrize(
    ("rule", "low", "high"), [(AutomaticWindow(), 0.1, 0.5), (ExponentialTail(100.0), 0.85, 1.4)]
)
def test_a_tail_finds_the_slow_mode_that_a_fast_one_hides(rng, autoregressive, rule, low, high):
    share, slow = 0.03, math.exp(-1 / 100)  # of the variance, and its factor
    exact = (1 - share) * 0.5 + share * exact_time(slow)
    fast = torch.randn(8, 20_000, generator=rng, dtype=torch.float64)
    samples = math.sqrt(1 - share) * fast + math.sqrt(share) * autoregressive(slow, 20_000, 8)
    own = gamma_method(Observables.from_samples(samples, "A"), rule).ensembles["A"]
    assert low < own.tau_int.mean().item() / exact < high


def test_an_anticorrelated_chain_has_a_time_below_one_half(autoregressive):
    samples = autoregressive(-0.5, 100_000)
    observables = Observables.from_samples(samples, "A")
    own = gamma_method(observables, AutomaticWindow(antithetic=True)).ensembles["A"]
    assert own.tau_int.item() == pytest.approx(1 / 6, abs=0.01)
    assert gamma_method(observables).ensembles["A"].tau_int.item() >= 0.5


def test_a_batch_is_its_members(autoregressive):
    samples = torch.cat([autoregressive(phi, 3_000, 1) for phi in (0.0, 0.7, 0.97)])
    batch = gamma_method(Observables.from_samples(samples, "A"))
    single = [gamma_method(Observables.from_samples(x, "A")).error for x in samples]
    torch.testing.assert_close(batch.error, torch.stack(single), rtol=1e-12, atol=0)


def test_the_error_covers_in_68_percent_of_the_chains(autoregressive):
    samples = autoregressive(0.9, 10_000, 200)
    analysis = gamma_method(Observables.from_samples(samples, "A"))
    covered = (analysis.value.abs() < analysis.error).double().mean().item()
    assert covered == pytest.approx(0.683, abs=3 * math.sqrt(0.683 * 0.317 / 200))
    ratio = analysis.error.mean().item() / analysis.value.std().item()
    assert ratio == pytest.approx(1, abs=3 / math.sqrt(2 * 200))


def test_the_error_of_the_error_is_its_spread(autoregressive):
    samples = autoregressive(0.8, 5_000, 300)
    analysis = gamma_method(Observables.from_samples(samples, "A"), FixedWindow(20))
    spread = analysis.error.std().item()
    assert analysis.error_of_error.mean().item() == pytest.approx(spread, rel=0.15)


def test_equal_replica_give_the_error_of_one_long_chain(autoregressive):
    samples = autoregressive(0.8, 40_000)
    whole = gamma_method(Observables.from_samples(samples, "A"), FixedWindow(30))
    parts = dict(enumerate(samples.reshape(4, -1)))
    replica = Observables.from_samples({f"r{k}": x for k, x in parts.items()}, "A")
    split = gamma_method(replica, FixedWindow(30))
    assert split.value.item() == pytest.approx(whole.value.item(), rel=1e-12)
    assert split.error.item() == pytest.approx(whole.error.item(), rel=0.01)
    assert split.ensembles["A"].consistency.item() > 1e-3


def test_replica_agree_with_pyerrors(autoregressive):
    parts = {f"r{k}": autoregressive(0.8, n) for k, n in enumerate((3_000, 5_000))}
    parts = {name: x - x.mean() for name, x in parts.items()}  # it measures from each mean
    peer = pyerrors.Obs([x.numpy() for x in parts.values()], [f"A|{name}" for name in parts])
    peer.gamma_method()
    analysis = gamma_method(Observables.from_samples(parts, "A"))
    assert analysis.error.item() == pytest.approx(peer.dvalue, rel=1e-12)
    assert analysis.ensembles["A"].tau_int.item() == pytest.approx(peer.e_tauint["A"], rel=1e-12)


def test_replica_that_disagree_are_seen(autoregressive):
    parts = {"1": autoregressive(0.5, 5_000), "2": autoregressive(0.5, 5_000) + 0.5}
    analysis = gamma_method(Observables.from_samples(parts, "A"), FixedWindow(10))
    assert analysis.ensembles["A"].consistency.item() < 1e-3


@pytest.mark.parametrize("spacing", [1, 2, 4])
def test_a_regular_spacing_only_changes_the_unit_of_time(autoregressive, spacing):
    samples = autoregressive(0.9, 5_000)
    numbers = torch.arange(7, 7 + 5_000 * spacing, spacing)
    analysis = gamma_method(Observables.from_samples(samples, "A", numbers))
    assert analysis.ensembles["A"].spacing == spacing
    assert analysis.error.item() == gamma_method(Observables.from_samples(samples, "A")).error


def test_random_gaps_leave_the_right_error(rng, autoregressive):
    phi, n = 0.9, 10_000  # every second configuration is missing at random
    chains = autoregressive(phi, n, 200)
    kept = torch.randperm(n, generator=rng)[: n // 2].sort().values
    analysis = gamma_method(Observables.from_samples(chains[:, kept], "A", kept + 1))
    exact = math.sqrt((1 + 0.5 * 2 * phi / (1 - phi)) / (n / 2))  # half of the pairs is left
    assert analysis.value.std().item() == pytest.approx(exact, rel=3 / math.sqrt(400))
    assert analysis.error.mean().item() == pytest.approx(exact, rel=0.04)
    assert analysis.ensembles["A"].tau_int.mean().item() == pytest.approx(exact_time(phi), rel=0.08)


def test_gaps_do_not_change_the_autocorrelation_function(autoregressive):
    samples = autoregressive(0.9, 5_000)
    kept = [i for i in range(5_000) if i % 7 != 3 and not 2_000 < i < 2_400]
    peer = pyerrors.Obs([samples[kept].numpy()], ["A"], idl=[[i + 1 for i in kept]])
    peer.gamma_method()
    own = gamma_method(
        Observables.from_samples(samples[kept], "A", torch.tensor(kept) + 1)
    ).ensembles["A"]
    n = own.rho.shape[-1]
    np.testing.assert_allclose(own.rho, peer.e_rho["A"][:n], rtol=0, atol=1e-12)
    assert own.tau_int.item() == pytest.approx(peer.e_tauint["A"], rel=1e-12)


def test_two_ensembles_add_in_quadrature(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 4_000), "A")
    b = Observables.from_samples(autoregressive(0.8, 6_000), "B")
    total = gamma_method(2 * a - b)
    expected = (4 * gamma_method(a).error ** 2 + gamma_method(b).error ** 2).sqrt()
    assert total.error.item() == pytest.approx(expected.item(), rel=1e-12)
    assert list(total.ensembles) == ["A", "B"]


def test_external_inputs_add_to_the_error(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 4_000) + 3, "A")
    matrix = torch.tensor([[0.04, 0.01], [0.01, 0.09]], dtype=torch.float64)
    inputs = Observables.from_covariance(torch.tensor([1.0, 2.0]), matrix, "experiment")
    analysis = gamma_method(a + inputs[0] - inputs[1])
    external = math.sqrt(0.04 + 0.09 - 2 * 0.01)
    assert analysis.external["experiment"].item() == pytest.approx(external, rel=1e-12)
    expected = math.hypot(external, gamma_method(a).error.item())
    assert analysis.error.item() == pytest.approx(expected, rel=1e-12)


def test_longer_chains_have_smaller_errors(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 4_000), "A")
    b = Observables.from_samples(autoregressive(0.8, 6_000), "B")
    analysis = gamma_method(a + b)
    lengths = {"A": torch.tensor(16_000.0, dtype=torch.float64), "B": 6_000.0}
    parts = analysis.ensembles
    expected = (parts["A"].error ** 2 / 4 + parts["B"].error ** 2).sqrt()
    assert analysis.expected_error(lengths).item() == pytest.approx(expected.item(), rel=1e-12)
    with pytest.raises(DomainError, match="no ensemble `C`"):
        analysis.expected_error({"C": 1.0})


def test_a_constant_has_no_error_and_a_finite_gradient():
    samples = torch.full((2, 100), 3.0, dtype=torch.float64, requires_grad=True)
    analysis = gamma_method(Observables.from_samples(samples, "A"))
    assert analysis.error.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(analysis.error.sum(), samples)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize(
    "rule", [FixedWindow(4), AutomaticWindow(continuous=True), ExponentialTail(2.0)]
)
def test_the_error_has_the_right_derivative_in_the_data(autoregressive, rule):
    samples = autoregressive(0.3, 200, 2)
    directions = autoregressive(0.0, 200, 4, 2)

    def error(steps):
        moved = samples + torch.einsum("k,kin->in", steps, directions)
        return gamma_method(Observables.from_samples(moved, "A"), rule).error

    assert torch.autograd.gradcheck(error, torch.zeros(4).double().requires_grad_())


def test_the_error_has_the_right_derivative_in_a_design(autoregressive):
    chains = autoregressive(0.9, 4_000, 2)

    def error(mixing, rule):
        mixed = torch.cos(mixing) * chains[0] + torch.sin(mixing) * chains[1].cumsum(-1) / 50
        return gamma_method(Observables.from_samples(mixed, "A"), rule).error

    for rule in (AutomaticWindow(), AutomaticWindow(continuous=True)):
        theta = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(error(theta, rule), theta)
        step = 1e-6
        difference = (error(theta + step, rule) - error(theta - step, rule)) / (2 * step)
        assert slope.item() == pytest.approx(difference.item(), rel=1e-6)


def test_a_continuous_window_makes_no_jumps(autoregressive):
    chains = autoregressive(0.9, 2_000, 2)
    mixing = torch.linspace(0, 1, 2_001, dtype=torch.float64)[:, None]
    mixed = Observables.from_samples((1 - mixing) * chains[0] + mixing * chains[1], "A")
    largest = {
        continuous: gamma_method(mixed, AutomaticWindow(continuous=continuous))
        .error.diff()
        .abs()
        .max()
        .item()
        for continuous in (False, True)
    }
    assert largest[True] < 0.3 * largest[False]


def test_a_short_chain_warns_and_names_its_ensemble(autoregressive):
    samples = autoregressive(0.999, 300)
    with pytest.warns(UserWarning, match="`short` has 300 configurations"):
        gamma_method(Observables.from_samples(samples, "short"))


def test_an_open_window_warns(rng):
    samples = torch.randn(30, generator=rng, dtype=torch.float64)
    with pytest.warns(UserWarning, match="window does not close"):
        gamma_method(Observables.from_samples(samples, "A"), FixedWindow(100))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AutomaticWindow(S=0.0), "`S` must be > 0"),
        (lambda: FixedWindow(-1), "must be >= 0"),
        (lambda: ExponentialTail(-1.0), "`tau_exp` must be > 0"),
    ],
)
def test_impossible_rules_are_refused(make, message):
    with pytest.raises(DomainError, match=message):
        make()


def test_a_rule_for_an_unknown_ensemble_is_refused(rng):
    observables = Observables.from_samples(torch.randn(50, generator=rng), "A")
    with pytest.raises(DomainError, match="no ensemble `B`"):
        gamma_method(observables, {"B": FixedWindow(1)})
