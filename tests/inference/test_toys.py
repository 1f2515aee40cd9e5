"""Pseudo-experiments: their moments, and the coverage of profile intervals."""

import pytest
import torch
from scipy import stats

from detopt.errors import DomainError
from detopt.inference.histfactory import (
    Channel,
    NormFactor,
    NormSys,
    Sample,
    ShapeSys,
    histfactory_model,
)
from detopt.inference.toys import draw_data, interval_coverage


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def counting(signal=100.0, background=400.0):
    samples = (
        Sample("signal", tensor(signal), (NormFactor("mu"),)),
        Sample("background", tensor(background)),
    )
    return histfactory_model([Channel("region", samples)]).with_bounds("mu", -4.0, 10.0)


def profiled():
    rate = NormSys("rate", tensor(0.95)[0], tensor(1.05)[0])
    samples = (
        Sample("signal", tensor(40.0, 30.0), (NormFactor("mu"), rate)),
        Sample("background", tensor(200.0, 260.0), (ShapeSys("shape", tensor(10.0, 12.0)),)),
    )
    return histfactory_model([Channel("region", samples)]).with_bounds("mu", -4.0, 10.0)


def test_data_have_the_moments_of_the_model(rng):
    model = profiled()
    point = model.start
    point[model.index("rate")] = 0.7
    data = draw_data(model, point, 40_000, rng)
    expected = model.expected_data(point)
    variance = expected.clone()
    variance[model.gaussian_data] = 1.0
    error = (variance / 40_000).sqrt()
    assert ((data.mean(dim=0) - expected).abs() < 4 * error).all()
    torch.testing.assert_close(data.var(dim=0), variance, rtol=0.04, atol=0)


def test_same_generator_gives_the_same_data():
    model = profiled()
    first, second = (
        draw_data(model, model.start, 5, torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_coverage_of_a_counting_experiment_is_the_sum_of_its_probabilities(rng):
    model = counting()
    n = torch.arange(300, 720, dtype=torch.float64)
    ratio = 2 * (500 - n - n * torch.log(500 / n))
    exact = stats.poisson(500).pmf(n.numpy())[(ratio <= 1).numpy()].sum()
    found = interval_coverage(model, tensor(1.0), 4_000, rng)
    assert abs(found.fraction - exact) < 4 * found.std_error
    assert found.std_error == pytest.approx((exact * (1 - exact) / 4_000) ** 0.5, rel=0.02)


def test_profile_interval_covers_in_68_percent_of_experiments(rng):
    model = profiled()
    found = interval_coverage(model, model.start, 5_000, rng)
    assert abs(found.fraction - 0.683) < 0.02


def test_numbers_out_of_range_are_refused(rng):
    model = counting()
    with pytest.raises(DomainError, match="`n_experiments` must be > 0, got 0"):
        draw_data(model, model.start, 0, rng)
    with pytest.raises(DomainError, match="negative at these parameters"):
        draw_data(model, tensor(-5.0), 10, rng)
    with pytest.raises(DomainError, match="`n_sigma` must be > 0"):
        interval_coverage(model, model.start, 10, rng, n_sigma=-1.0)
