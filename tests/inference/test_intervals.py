"""Profile intervals against a closed form and differences."""

import pytest
import torch
from scipy.optimize import brentq
from torch.autograd import gradcheck

from detopt.errors import DomainError
from detopt.inference.asymptotics import likelihood_ratio
from detopt.inference.histfactory import Channel, NormFactor, NormSys, Sample, histfactory_model
from detopt.inference.intervals import profile_interval


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def model_of(signal, background, low=0.9):
    rate = NormSys("rate", tensor(low)[0], tensor(1.1)[0])
    samples = (
        Sample("signal", signal, (NormFactor("mu"),)),
        Sample("background", background, (rate,)),
    )
    return histfactory_model([Channel("region", samples)]).with_bounds("mu", -3.0, 10.0)


def test_ends_of_a_counting_interval_are_roots_of_the_poisson_ratio():
    samples = (
        Sample("signal", tensor(10.0), (NormFactor("mu"),)),
        Sample("background", tensor(20.0)),
    )
    model = histfactory_model([Channel("region", samples)])
    found = profile_interval(model, model.data(tensor([35.0], [52.0])))
    for i, n in enumerate((35.0, 52.0)):

        def excess(nu, n=n):
            return 2 * (nu - n - n * (torch.log(tensor(nu)) - torch.log(tensor(n))).item()) - 1

        low, high = (brentq(excess, *ends, xtol=1e-13) for ends in ((n / 3, n), (n, 3 * n)))
        assert found.best[i].item() == pytest.approx((n - 20) / 10)
        assert found.low[i].item() == pytest.approx((low - 20) / 10, rel=1e-8)
        assert found.high[i].item() == pytest.approx((high - 20) / 10, rel=1e-8)


@pytest.mark.parametrize("n_sigma", [0.5, 2.0])
def test_ratio_at_the_ends_is_the_square_of_the_level(n_sigma):
    model = model_of(tensor(9.0, 4.0), tensor(30.0, 50.0))
    data = model.data(tensor([41.0, 53.0], [35.0, 60.0]))
    found = profile_interval(model, data, n_sigma)
    for end in (found.low, found.high):
        ratio = likelihood_ratio(model, data, end)
        torch.testing.assert_close(ratio, tensor(n_sigma**2, n_sigma**2), rtol=1e-8, atol=0)


def test_an_end_that_the_bounds_cut_off_lies_on_the_bound_without_a_gradient():
    signal = tensor(9.0, 4.0).requires_grad_()
    model = model_of(signal, tensor(30.0, 50.0)).with_bounds("mu", 0.0, 10.0)
    found = profile_interval(model, model.data(tensor(31.0, 50.0)))
    assert found.low == 0
    (gradient,) = torch.autograd.grad(found.low, signal, retain_graph=True)
    assert gradient.tolist() == [0.0, 0.0]
    assert found.high > found.best


def test_gradient_matches_differences():
    def ends(signal, background, counts):
        model = model_of(signal, background)
        found = profile_interval(model, model.data(counts))
        return found.best, found.low, found.high

    inputs = (tensor(9.0, 4.0), tensor(30.0, 50.0), tensor(41.0, 53.0))
    cloned = [item.requires_grad_() for item in inputs]
    assert gradcheck(ends, cloned, eps=1e-4, atol=1e-7, rtol=1e-5, fast_mode=True)


def test_a_level_of_zero_is_refused():
    model = model_of(tensor(9.0), tensor(30.0))
    with pytest.raises(DomainError, match="`n_sigma` must be > 0, got 0"):
        profile_interval(model, model.data(tensor(35.0)), 0.0)
