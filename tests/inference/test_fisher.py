"""Fisher information: closed forms, the Hessian of the Asimov likelihood, gradients, refusals."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.errors import DomainError
from detopt.inference import (
    binned_information,
    correlation,
    cramer_rao_bound,
    profiled_information,
    unbinned_information,
    uncertainty,
)

FREE = torch.inf


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def expected(theta, base, slopes, bends):
    """Counts that are nonlinear in the parameters."""
    return base * torch.exp(slopes @ theta + bends @ theta.square())


@pytest.fixture
def model(rng):
    base = 20 + 80 * torch.rand(8, generator=rng, dtype=torch.float64)
    slopes = 0.3 * torch.randn(8, 3, generator=rng, dtype=torch.float64)
    bends = 0.1 * torch.randn(8, 3, generator=rng, dtype=torch.float64)
    return base, slopes, bends


def jacobian_of(model):
    return torch.func.jacrev(expected)(torch.zeros(3, dtype=torch.float64), *model)


def test_one_bin_is_known_to_the_root_of_its_count():  # Poisson: sigma = sqrt(n)
    information = binned_information(tensor(1050.0), torch.ones(1, 1, dtype=torch.float64))
    assert uncertainty(information).item() == pytest.approx(1050**0.5, rel=1e-12)


def test_signal_over_background_with_a_known_shape():  # by hand: 1 / sqrt(sum s_k^2 / n_k)
    shape = tensor(0.2, 0.8)
    information = binned_information(tensor(100.0, 50.0), shape.unsqueeze(-1))
    assert uncertainty(information).item() == pytest.approx((0.04 / 100 + 0.64 / 50) ** -0.5)


def test_information_is_the_hessian_of_the_asimov_likelihood(model):
    start = torch.zeros(3, dtype=torch.float64)
    asimov = expected(start, *model)

    def nll(theta):
        counts = expected(theta, *model)
        return (counts - asimov * counts.log()).sum() + (theta[1] / 0.4).square() / 2

    hessian = torch.autograd.functional.hessian(nll, start)
    information = binned_information(
        asimov, jacobian_of(model), prior_widths=tensor(FREE, 0.4, FREE)
    )
    torch.testing.assert_close(information, hessian)


def test_uncertainty_is_the_entry_of_the_inverse(model):
    information = binned_information(expected(torch.zeros(3).double(), *model), jacobian_of(model))
    inverse = torch.linalg.inv(information)
    for i in range(3):
        torch.testing.assert_close(uncertainty(information, i), inverse[i, i].sqrt())
        torch.testing.assert_close(profiled_information(information, i), 1 / inverse[i, i])
    torch.testing.assert_close(cramer_rao_bound(information), inverse)
    scale = inverse.diagonal().rsqrt()
    torch.testing.assert_close(
        correlation(information), scale.unsqueeze(-1) * inverse * scale.unsqueeze(0)
    )


def test_bound_of_functions_is_propagated(model):
    information = binned_information(expected(torch.zeros(3).double(), *model), jacobian_of(model))
    slopes = tensor([1.0, -2.0, 0.5], [0.0, 1.0, 1.0])
    bound = cramer_rao_bound(information, slopes)
    torch.testing.assert_close(bound, slopes @ torch.linalg.inv(information) @ slopes.mT)


@settings(deadline=None, max_examples=30)
@given(width=st.floats(1e-3, 1e3), seed=st.integers(0, 1000))
def test_constraint_lies_between_free_and_fixed(width, seed):
    rng = torch.Generator().manual_seed(seed)
    counts = 1 + 50 * torch.rand(6, generator=rng, dtype=torch.float64)
    jacobian = torch.randn(6, 2, generator=rng, dtype=torch.float64)
    free = uncertainty(binned_information(counts, jacobian))
    fixed = uncertainty(binned_information(counts, jacobian[:, :1]))
    widths = tensor(FREE, width)
    held = uncertainty(binned_information(counts, jacobian, prior_widths=widths))
    assert fixed * (1 - 1e-9) <= held <= free * (1 + 1e-9)


@given(seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_merging_bins_never_helps(seed):
    rng = torch.Generator().manual_seed(seed)
    counts = 1 + 50 * torch.rand(6, generator=rng, dtype=torch.float64)
    jacobian = torch.randn(6, 2, generator=rng, dtype=torch.float64)
    merged = torch.cat([counts[:4], counts[4:].sum().unsqueeze(0)])
    slopes = torch.cat([jacobian[:4], jacobian[4:].sum(dim=0, keepdim=True)])
    coarse = uncertainty(binned_information(merged, slopes))
    assert coarse >= uncertainty(binned_information(counts, jacobian)) * (1 - 1e-9)


def test_many_bins_tend_to_the_unbinned_information():
    """A peak over a flat background: an integral against a fine histogram."""
    edges = torch.linspace(-5, 5, 2001, dtype=torch.float64)
    middle, width = (edges[1:] + edges[:-1]) / 2, 10 / 2000
    peak = torch.exp(-middle.square() / 2) / (2 * torch.pi) ** 0.5
    density = 50 * peak + 100
    slopes = torch.stack([peak, torch.full_like(peak, 1.0)], dim=-1)
    binned = binned_information(density * width, slopes * width)
    unbinned = unbinned_information(slopes / density.unsqueeze(-1), density * width)
    torch.testing.assert_close(binned, unbinned)


def test_empty_bin_adds_nothing():
    counts, jacobian = tensor(10.0, 20.0), tensor([1.0, 0.0], [0.3, 1.0])
    with_empty = binned_information(
        torch.cat([counts, tensor(0.0)]), torch.cat([jacobian, tensor([0.0, 0.0])])
    )
    torch.testing.assert_close(with_empty, binned_information(counts, jacobian))


def test_batches_are_independent(rng):
    counts = 1 + torch.rand(4, 5, generator=rng, dtype=torch.float64)
    jacobian = torch.randn(4, 5, 2, generator=rng, dtype=torch.float64)
    together = uncertainty(binned_information(counts, jacobian))
    alone = [uncertainty(binned_information(c, j)) for c, j in zip(counts, jacobian, strict=True)]
    torch.testing.assert_close(together, torch.stack(alone))


def test_gradient_matches_finite_differences(rng):
    counts = (1 + torch.rand(2, 5, generator=rng, dtype=torch.float64)).requires_grad_()
    jacobian = torch.randn(2, 5, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    widths = tensor(FREE, 0.5, 2.0).requires_grad_()

    def sigma(counts, jacobian, widths):
        information = binned_information(counts, jacobian, prior_widths=widths)
        return uncertainty(information, 1), correlation(information), cramer_rao_bound(information)

    assert torch.autograd.gradcheck(sigma, (counts, jacobian, widths))
    assert torch.autograd.gradgradcheck(
        lambda c, j: sigma(c, j, widths.detach())[0], (counts, jacobian)
    )


def test_gradient_past_an_empty_bin_is_finite():
    counts = tensor(10.0, 0.0, 5.0).requires_grad_()
    sigma = uncertainty(binned_information(counts, tensor([1.0], [0.0], [0.5])))
    (slope,) = torch.autograd.grad(sigma, counts)
    assert bool(torch.isfinite(slope).all())


@pytest.mark.parametrize(
    ("counts", "jacobian", "widths", "message"),
    [
        ([1.0, -2.0], [[1.0], [1.0]], None, "`counts` must be finite and >= 0, got -2 in bin 1"),
        ([1.0, float("nan")], [[1.0], [1.0]], None, "got nan in bin 1"),
        ([1.0, 0.0], [[1.0], [1.0]], None, "Bin 1 expects no events"),
        ([1.0, 2.0], [[1.0], [float("inf")]], None, "`jacobian` must be finite; it is inf in bin"),
        ([1.0, 2.0], [[1.0], [1.0]], [0.0], "`prior_widths` must be > 0, got 0 for parameter 0"),
    ],
)
def test_unusable_templates_are_refused(counts, jacobian, widths, message):
    widths = None if widths is None else tensor(*widths)
    with pytest.raises(DomainError, match=message):
        binned_information(tensor(*counts), tensor(*jacobian), prior_widths=widths)


@pytest.mark.parametrize(
    ("slopes", "message"),
    [
        ([[1.0, 2.0], [0.5, 1.0]], "do not tell `shift` apart"),
        ([[1.0, 0.0], [0.5, 0.0]], "do not tell `shift` apart"),
    ],
)
@pytest.mark.parametrize("function", [cramer_rao_bound, correlation])
def test_singular_information_names_the_parameter(function, slopes, message):
    information = binned_information(tensor(3.0, 4.0), tensor(*slopes))
    with pytest.raises(DomainError, match=message):
        function(information, names=["yield", "shift"])


@pytest.mark.parametrize(("names", "message"), [(None, "parameter 0"), (["a", "b"], "`a`")])
def test_singular_information_without_names_gives_the_index(names, message):
    information = binned_information(tensor(3.0, 4.0), tensor([1.0, 2.0], [0.5, 1.0]))
    with pytest.raises(DomainError, match=message):
        uncertainty(information, 0, names=names)


def test_unknown_parameter_of_interest_is_refused():
    with pytest.raises(DomainError, match="`interest` must lie between 0 and 1, got 2"):
        uncertainty(torch.eye(2, dtype=torch.float64), 2)


def test_infinite_scores_are_refused():
    with pytest.raises(DomainError, match="`scores` must be finite"):
        unbinned_information(tensor([float("inf")]), tensor(1.0))


def test_infinite_information_is_refused():
    with pytest.raises(DomainError, match="`information` must be finite"):
        uncertainty(tensor([float("nan"), 0.0], [0.0, 1.0]))
