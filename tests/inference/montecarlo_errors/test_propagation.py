"""Arithmetic, propagation, merging and refusals."""

import autograd.numpy as anp
import numpy as np
import pyerrors
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.inference.montecarlo_errors import (
    FixedWindow,
    Observables,
    concatenate,
    covariance,
    elementwise,
    gamma_method,
    propagate,
)


def peers(samples, name="A"):
    return [pyerrors.Obs([row.numpy()], [name]) for row in samples]


def test_ratio_and_logarithm_are_linear_propagation(autoregressive):
    x = autoregressive(0.5, 3_000, 2) + torch.tensor([[3.0], [5.0]])
    a = Observables.from_samples(x, "A")
    mean = x.mean(-1)
    by_hand = {
        "ratio": (
            a[0] / a[1],
            (x[0] - mean[0]) / mean[1] - (x[1] - mean[1]) * mean[0] / mean[1] ** 2,
        ),
        "logarithm": (elementwise(torch.log, a[0]), (x[0] - mean[0]) / mean[0]),
    }
    for found, expected in by_hand.values():
        torch.testing.assert_close(found.fluctuations["A"], expected, rtol=1e-12, atol=1e-14)


OPERATIONS = {
    "sum": (lambda x: x[0] + x[1], lambda x: x[0] + x[1]),
    "from a number": (lambda x: 2 - x[0], lambda x: 2 - x[0]),
    "over": (lambda x: 1.0 / x[0], lambda x: 1.0 / x[0]),
    "product": (lambda x: x[0] * x[1] * 3, lambda x: x[0] * x[1] * 3),
    "power": (lambda x: x[0] ** 1.5, lambda x: x[0] ** 1.5),
    "minus": (lambda x: -x[1], lambda x: -x[1]),
    "exponential": (
        lambda x: elementwise(torch.exp, x[0] / x[1]),
        lambda x: np.exp(x[0] / x[1]),
    ),
    "function": (
        lambda x: propagate(lambda v: torch.sin(v[0]) * v[1], x),
        lambda x: pyerrors.derived_observable(lambda v: anp.sin(v[0]) * v[1], list(x)),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_agree_with_pyerrors(autoregressive, name):
    samples = autoregressive(0.5, 2_000, 2) + torch.tensor([[3.0], [5.0]])
    own, peer = OPERATIONS[name]
    expected = peer(peers(samples))
    expected.gamma_method()
    found = gamma_method(own(Observables.from_samples(samples, "A")))
    assert found.value.item() == pytest.approx(expected.value, rel=1e-12)
    assert found.error.item() == pytest.approx(expected.dvalue, rel=1e-12)


def test_eigenvalues_propagate(autoregressive):
    samples = autoregressive(0.5, 1_000, 3) * 0.1 + torch.tensor([[2.0], [0.5], [1.0]])
    entries = Observables.from_samples(samples, "A")

    def eigenvalues(v):
        return torch.linalg.eigvalsh(torch.stack([v[:2], v[1:]]))

    found = propagate(eigenvalues, entries)
    again = propagate(eigenvalues, entries, vectorized=True)
    total = entries[0] + entries[2]  # the trace
    trace = found.fluctuations["A"].sum(0)
    torch.testing.assert_close(trace, total.fluctuations["A"], rtol=0, atol=1e-13)
    torch.testing.assert_close(found.fluctuations["A"], again.fluctuations["A"])


def test_chained_steps_are_one_step(autoregressive):
    samples = (autoregressive(0.5, 500, 2) * 0.1 + 2).requires_grad_()
    a = Observables.from_samples(samples, "A")
    squares = propagate(lambda v: v**2, a)
    chained = propagate(lambda s, v: s * v, squares, a)  # one input is computed from the other
    direct = a**3
    torch.testing.assert_close(chained.fluctuations["A"], direct.fluctuations["A"])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=6, max_size=30, unique=True))
def test_a_missing_configuration_adds_nothing(numbers):
    numbers = torch.tensor(sorted(numbers))
    rng = torch.Generator().manual_seed(0)
    few = Observables.from_samples(
        torch.randn(len(numbers), generator=rng, dtype=torch.float64), "A", numbers
    )
    many = Observables.from_samples(torch.randn(40, generator=rng, dtype=torch.float64), "A")
    merged = few + 0.0 * many
    assert len(merged.configurations["A"]) == 40
    # what a configuration adds to the value: its fluctuation over the number of configurations
    own = few.fluctuations["A"] / len(numbers)
    torch.testing.assert_close(merged.fluctuations["A"][numbers - 1] / 40, own)
    assert merged.fluctuations["A"].sum().item() == pytest.approx(0, abs=1e-12)


def test_merging_agrees_with_pyerrors(autoregressive):
    x, y = autoregressive(0.5, 1_000), autoregressive(0.5, 1_500)
    kept = [i for i in range(1_000) if i % 5]
    peer = pyerrors.Obs([x[kept].numpy()], ["A"], idl=[[i + 1 for i in kept]])
    peer = peer * pyerrors.Obs([y.numpy() + 2], ["A"])
    peer.gamma_method()
    a = Observables.from_samples(x[kept], "A", torch.tensor(kept) + 1)
    found = gamma_method(a * Observables.from_samples(y + 2, "A"))
    assert found.error.item() == pytest.approx(peer.dvalue, rel=1e-12)


def test_a_missing_replica_agrees_with_pyerrors(autoregressive):
    x, y, z = autoregressive(0.5, 1_000), autoregressive(0.5, 1_500), autoregressive(0.5, 1_500)
    y, z = y - y.mean(), z - z.mean()
    peer = pyerrors.Obs([x.numpy() + 1], ["A|1"])
    peer = peer + pyerrors.Obs(
        [y[:1_000].numpy() - y[:1_000].mean().item(), z.numpy()], ["A|1", "A|2"]
    )
    peer.gamma_method()
    both = {"1": y[:1_000] - y[:1_000].mean(), "2": z}
    found = Observables.from_samples({"1": x + 1}, "A") + Observables.from_samples(both, "A")
    assert gamma_method(found).error.item() == pytest.approx(peer.dvalue, rel=1e-12)


def test_covariance_agrees_with_pyerrors(autoregressive):
    samples = torch.einsum(
        "ij,jn->in", torch.rand(4, 4).double() + torch.eye(4), autoregressive(0.8, 2_000, 4)
    )
    expected = peers(samples)
    for peer in expected:
        peer.gamma_method()
    observables = Observables.from_samples(samples, "A")
    found = covariance(observables, gamma_method(observables))
    np.testing.assert_allclose(found, pyerrors.covariance(expected), rtol=1e-11)


def test_covariance_of_two_ensembles_adds_up(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 2_000, 2), "A")
    b = Observables.from_samples(autoregressive(0.9, 9_000, 2), "B")
    found = covariance(a + b, gamma_method(a + b))
    expected = covariance(a, gamma_method(a)) + covariance(b, gamma_method(b))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


def test_concatenated_observables_keep_their_ensembles(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 100, 2), "A")
    b = Observables.from_samples(autoregressive(0.5, 200, 3), "B")
    both = concatenate([a, b])
    assert both.shape == (5,)
    assert not both.fluctuations["B"][:2].any()
    torch.testing.assert_close(both[:2].fluctuations["A"], a.fluctuations["A"])


def test_indexing_and_reshaping_keep_fluctuations(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 100, 2, 3), "A")
    assert a[..., 1].shape == (2,)
    assert a[:, None].shape == (2, 1, 3)
    flat = a.reshape(6)
    torch.testing.assert_close(flat[4].fluctuations["A"], a[1, 1].fluctuations["A"])
    assert len(a) == 2


def test_a_tensor_on_the_left_leaves_the_operation_to_the_observables(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 100, 3), "A")
    factor = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close((factor * a).value, factor * a.value)
    torch.testing.assert_close((factor - a).value, factor - a.value)


def test_values_without_any_gradient_keep_none(autoregressive):
    a = Observables.from_samples(autoregressive(0.5, 100, 2), "A")
    derived = propagate(lambda v: v.prod(), elementwise(torch.exp, a))
    assert not derived.value.requires_grad
    assert not derived.fluctuations["A"].requires_grad


@pytest.mark.parametrize("way", ["propagate", "elementwise"])
def test_the_error_has_a_derivative_in_what_a_function_takes_from_elsewhere(autoregressive, way):
    a = Observables.from_samples(autoregressive(0.5, 400, 2) * 0.1 + 1, "A")
    call = {"propagate": propagate, "elementwise": elementwise}[way]

    def error(power):
        return gamma_method(call(lambda v: v**power, a), FixedWindow(5)).error

    assert torch.autograd.gradcheck(error, torch.tensor(1.7).double().requires_grad_())


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_measurements_are_refused(n):
    with pytest.raises(DomainError, match=f"`A` has {n} measurements"):
        Observables.from_samples(torch.zeros(n), "A")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_measurements_that_are_not_finite_are_refused(bad):
    samples = {"1": torch.zeros(2, 9), "2": torch.zeros(2, 9)}
    samples["2"][1, 3] = bad
    with pytest.raises(DomainError, match=r"`A\|2` has 1 values that are not finite.*\[1, 3\]"):
        Observables.from_samples(samples, "A")


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1, 2, 3], "9 measurements, but configuration numbers of the shape"),
        ([1, 2, 3, 4, 4, 5, 6, 7, 8], "must ascend, got 4 before 4"),
        (torch.arange(9) / 2, "Give one integer for each"),
        ({"1": list(range(9))}, "Name the same replica in both"),
    ],
)
def test_configuration_numbers_that_do_not_match_are_refused(numbers, message):
    with pytest.raises(DomainError, match=message):
        Observables.from_samples(torch.zeros(9), "A", numbers)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: Observables.from_samples({}, "A"), "`A` is empty"),
        (lambda a: Observables.from_samples(torch.zeros(9), "A|1"), "must not be empty or hold"),
        (
            lambda a: Observables.from_samples({"1": torch.zeros(9), "2": torch.zeros(2, 9)}, "A"),
            "hold observables of the shapes",
        ),
        (
            lambda a: Observables.from_covariance(torch.zeros(2), torch.eye(3), "x"),
            "must have the shape",
        ),
        (
            lambda a: Observables.from_covariance(torch.zeros(2), -torch.eye(2), "x"),
            "without negative eigenvalues",
        ),
        (lambda a: concatenate([]), "nothing to concatenate"),
        (lambda a: concatenate([a, a[:, None]]), "Cannot concatenate"),
        (lambda a: propagate(lambda: torch.zeros(1)), "at least one `Observables`"),
        (lambda a: elementwise(torch.exp, 1.0), "at least one `Observables`"),
        (lambda a: elementwise(lambda v: v.sum(), a), "must keep the shape"),
        (lambda a: elementwise(torch.log, a - a.value - 1.0), "not finite"),
        (lambda a: elementwise(torch.sqrt, a - a.value), "derivative of the function"),
    ],
)
def test_impossible_observables_are_refused(autoregressive, call, message):
    with pytest.raises(DomainError, match=message):
        call(Observables.from_samples(autoregressive(0.5, 100, 3), "A"))


def test_two_covariances_of_one_name_are_refused():
    first = Observables.from_covariance(torch.tensor(1.0), torch.tensor([[0.1]]), "x")
    second = Observables.from_covariance(torch.tensor(1.0), torch.tensor([[0.2]]), "x")
    with pytest.raises(DomainError, match="Two different covariance matrices"):
        first + second
