"""Binned likelihoods against pyhf, closed forms, differences, and what they refuse."""

import math

import numpy as np
import pyhf
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.inference.histfactory import (
    Channel,
    HistoSys,
    Luminosity,
    NormFactor,
    NormSys,
    ParameterSettings,
    Sample,
    ShapeFactor,
    ShapeSys,
    StatError,
    histfactory_model,
)
from detopt.inference.workspaces import parse_workspace

# pyhf's check of the schema uses an interface that jsonschema will drop
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def counting(signal=(5.0, 8.0), background=(20.0, 30.0), *modifiers):
    samples = (
        Sample("signal", tensor(*signal), (NormFactor("mu"),)),
        Sample("background", tensor(*background), modifiers),
    )
    return histfactory_model([Channel("region", samples)])


@pytest.mark.parametrize(("norm", "shape"), [("4", "4p"), ("1", "0"), ("4", "2")])
@pytest.mark.parametrize("seed", [1, 2])
def test_likelihood_is_that_of_pyhf_for_all_modifiers(norm, shape, seed, realistic_workspace):
    spec = realistic_workspace(seed)
    codes = {"normsys": {"interpcode": f"code{norm}"}, "histosys": {"interpcode": f"code{shape}"}}
    oracle = pyhf.Workspace(spec).model(modifier_settings=codes)
    workspace = parse_workspace(spec)
    model = workspace.model(norm_code=norm, shape_code=shape)
    data = model.data(workspace.counts())
    numbers = pyhf.Workspace(spec).data(oracle)
    assert list(model.names) == oracle.config.par_names
    assert list(model.fixed) == oracle.config.suggested_fixed()
    assert data.tolist() == pytest.approx(numbers, rel=1e-14)
    rng = np.random.default_rng(seed)
    systematic = np.array(oracle.config.suggested_init()) == 0
    for _ in range(10):
        # pyhf's code 2 is not continuous beyond one standard deviation
        wide = rng.uniform(-1, 1, len(systematic)) * (1 if shape == "2" else 2.5)
        narrow = rng.uniform(-0.3, 0.3, len(systematic))
        point = np.array(oracle.config.suggested_init()) + np.where(systematic, wide, narrow)
        found = model.negative_log_likelihood(torch.tensor(point), data).item()
        assert found == pytest.approx(-oracle.logpdf(point, numbers)[0], rel=1e-8, abs=1e-8)
        expected = model.expected_data(torch.tensor(point))
        np.testing.assert_allclose(expected, oracle.expected_data(point), rtol=1e-12)


def test_bounds_are_those_of_pyhf(realistic_workspace):
    spec = realistic_workspace(3)
    oracle = pyhf.Workspace(spec).model()
    low, high = parse_workspace(spec).model().bounds
    np.testing.assert_allclose(torch.stack([low, high], dim=-1), oracle.config.suggested_bounds())


def test_likelihood_of_a_counting_experiment_is_the_poisson_probability():
    model = counting()
    value = model.negative_log_likelihood(tensor(2.0), model.data(tensor(31.0, 40.0)))
    expected = sum(nu - n * math.log(nu) + math.lgamma(n + 1) for n, nu in ((31, 30.0), (40, 46.0)))
    assert value.item() == pytest.approx(expected, rel=1e-14)


def test_members_of_a_batch_are_independent_models():
    signal = tensor([5.0, 8.0], [1.0, 2.0], [9.0, 0.0])
    background = tensor(20.0, 30.0)
    uncertainty = tensor([2.0, 3.0], [1.0, 2.0], [2.0, 2.0])

    def model(signal, uncertainty):
        samples = (
            Sample(
                "signal", signal, (NormFactor("mu"), NormSys("e", tensor(0.9)[0], tensor(1.2)[0]))
            ),
            Sample("background", background, (StatError("stat", uncertainty),)),
        )
        return histfactory_model([Channel("region", samples)])

    point = torch.cat([tensor(1.2, 0.4), tensor(1.1, 0.9)])
    counts = tensor(25.0, 40.0)
    batch = model(signal, uncertainty)
    found = batch.negative_log_likelihood(point, batch.data(counts))
    for i in range(3):
        one = model(signal[i], uncertainty[i])
        single = one.negative_log_likelihood(point, one.data(counts))
        torch.testing.assert_close(found[i], single, rtol=1e-14, atol=0)


def test_expected_samples_add_up_and_scale_with_the_strength(realistic_workspace):
    spec = realistic_workspace(4)
    model = parse_workspace(spec).model()
    point = model.start.clone()
    point[model.index("mu")] = 3.0
    signal = model.layout.samples.index("signal")
    nominal, scaled = (model.expected_by_sample(p) for p in (model.start, point))
    torch.testing.assert_close(scaled[signal], 3 * nominal[signal])
    torch.testing.assert_close(scaled.sum(dim=0), model.expected_counts(point))


def test_an_empty_bin_adds_nothing_and_has_finite_gradients():
    signal = tensor(5.0, 0.0).requires_grad_()
    samples = (
        Sample("signal", signal, (NormFactor("mu"),)),
        Sample("background", tensor(20.0, 0.0), (StatError("stat", tensor(2.0, 0.0)),)),
    )
    model = histfactory_model([Channel("region", samples)])
    point = model.start.requires_grad_()
    value = model.negative_log_likelihood(point, model.data(tensor(21.0, 0.0)))
    one = counting((5.0,), (20.0,), StatError("stat", tensor(2.0)))
    expected = one.negative_log_likelihood(one.start, one.data(tensor(21.0)))
    fixed_factor = math.log(math.sqrt(2 * math.pi))  # of the second bin, whose width is 1
    assert value.item() == pytest.approx(expected.item() + fixed_factor, rel=1e-13)
    for found in torch.autograd.grad(value, (point, signal)):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("check", [gradcheck, gradgradcheck])
def test_gradient_in_templates_and_parameters_matches_differences(check):
    def value(signal, background, varied, low, uncertainty, point, counts):
        other = Sample("background", background, (HistoSys("shape", 0.9 * background, varied),))
        modifiers = (
            NormFactor("mu"),
            NormSys("scale", low, 2 - low),
            ShapeSys("free", uncertainty),
        )
        channels = [
            Channel("a", (Sample("signal", signal, modifiers), other)),
            Channel("b", (Sample("signal", 2 * signal, (StatError("stat", uncertainty),)),)),
        ]
        model = histfactory_model(channels)
        return model.negative_log_likelihood(point, model.data(counts))

    inputs = [
        tensor(5.0, 8.0),
        tensor(20.0, 30.0),
        tensor(23.0, 29.0),
        torch.tensor(0.9, dtype=torch.float64),
        tensor(2.0, 3.0),
        tensor(0.3, 1.2, -0.4, 1.1, 0.9, 1.05, 0.97),
        tensor(26.0, 35.0, 12.0, 15.0),
    ]
    assert check(value, [item.requires_grad_() for item in inputs], fast_mode=True)


@pytest.mark.parametrize(
    ("modifiers", "error", "message"),
    [
        ((HistoSys("x", tensor(1.0), tensor(2.0)),), ConfigError, "`low` of `x` .* has 1 bins"),
        ((HistoSys("x", tensor(1.0, -2.0), tensor(2.0, 3.0)),), DomainError, "-2 in bin 1"),
        (
            (NormSys("x", tensor(0.0)[0], tensor(1.0)[0]),),
            DomainError,
            "`low` of `x` .* must be > 0",
        ),
        ((ShapeSys("x", tensor(1.0, -1.0)),), DomainError, "`x` of sample `background` .* bin 1"),
        ((StatError("x", tensor(1.0, math.nan)),), DomainError, "got nan in bin 1"),
        ((StatError("x", tensor(1.0)),), ConfigError, "has 1 bins, the sample 2"),
        ((NormFactor("mu"), NormFactor("mu")), ConfigError, "acts twice"),
        ((ShapeFactor("mu"),), ConfigError, "`mu` names a NormFactor and ShapeFactor"),
        ((Luminosity(),), ConfigError, "`lumi` needs settings for start"),
    ],
)
def test_a_bad_modifier_is_refused_by_name(modifiers, error, message):
    with pytest.raises(error, match=message):
        counting((5.0, 8.0), (20.0, 30.0), *modifiers)


def test_a_negative_template_is_refused_by_sample_and_bin_unless_allowed():
    sample = Sample("background", tensor(20.0, -0.5), (NormFactor("mu"),))
    with pytest.raises(DomainError, match=r"sample `background` in channel `a` .* -0.5 in bin 1"):
        histfactory_model([Channel("a", (sample,))])
    histfactory_model([Channel("a", (sample,))], allow_negative=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nu": ParameterSettings()}, "No parameter `nu`"),
        ({"mu": ParameterSettings(start=(1.0, 2.0))}, "must have 1 entries, got 2"),
        ({"mu": ParameterSettings(start=(11.0,))}, "starts at 11, outside its bounds"),
        ({"mu": ParameterSettings(auxiliary=(1.0,))}, "no auxiliary measurement"),
        ({"mu": ParameterSettings(width=(1.0,))}, "`width` of `mu`"),
        ({"mu": ParameterSettings(rate=(1.0,))}, "`rate` of `mu`"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    channel = Channel("a", (Sample("signal", tensor(5.0), (NormFactor("mu"),)),))
    with pytest.raises(ConfigError, match=message):
        histfactory_model([channel], settings=settings)


def test_names_that_clash_are_refused():
    sample = Sample("signal", tensor(5.0), (NormFactor("mu"),))
    with pytest.raises(ConfigError, match="Channel names must differ"):
        histfactory_model([Channel("a", (sample,)), Channel("a", (sample,))])
    with pytest.raises(ConfigError, match="samples of different names"):
        histfactory_model([Channel("a", (sample, sample))])
    with pytest.raises(ConfigError, match="no parameters"):
        histfactory_model([Channel("a", (Sample("signal", tensor(5.0)),))])
    shared = Sample("other", tensor(3.0), (ShapeSys("x", tensor(1.0)),))
    with pytest.raises(ConfigError, match="`x` is shared by"):
        histfactory_model([Channel("a", (sample, shared)), Channel("b", (shared,))])


def test_unknown_parameters_codes_and_data_are_refused():
    model = counting()
    with pytest.raises(NotFoundError, match=r"No parameter `nu`. There are: mu"):
        model.index("nu")
    with pytest.raises(ConfigError, match="no interpolation `7`"):
        histfactory_model(model.channels, norm_code="7")
    with pytest.raises(DomainError, match="-1 in bin 1 of channel `region`"):
        model.data(tensor(3.0, -1.0))
    with pytest.raises(DomainError, match="must have 2 bins, got 1"):
        model.data(tensor(3.0))


def test_data_in_a_bin_that_expects_nothing_are_refused_by_name():
    model = counting((5.0, 0.0), (20.0, 0.0))
    with pytest.raises(DomainError, match="expects 0 counts in bin 1 of channel `region`"):
        model.check_data(tensor(20.0, 1.0))
    with pytest.raises(DomainError, match="must have 2 entries"):
        model.check_data(tensor(20.0))


@pytest.mark.parametrize(("norm", "shape"), [("4", "4p"), ("1", "0"), ("4", "2")])
def test_expansion_is_that_of_automatic_differentiation(norm, shape, realistic_workspace):
    workspace = parse_workspace(realistic_workspace(5))
    model = workspace.model(norm_code=norm, shape_code=shape)
    data = model.data(workspace.counts())
    rng = torch.Generator().manual_seed(2)
    noise = torch.randn(3, len(model.names), generator=rng, dtype=torch.float64)
    points = model.start + 0.2 * noise
    points[1, model.index("mu")] = 0.0  # a factor that vanishes
    value, slope, hessian = model.expansion(points, data)
    for i in range(3):

        def function(point):
            return model.negative_log_likelihood(point, data)

        exact = torch.autograd.functional.jacobian(function, points[i])
        bend = torch.autograd.functional.hessian(function, points[i])
        torch.testing.assert_close(value[i], function(points[i]), rtol=1e-12, atol=0)
        torch.testing.assert_close(slope[i], exact, rtol=1e-10, atol=1e-9)
        torch.testing.assert_close(hessian[i], bend, rtol=1e-9, atol=1e-8)
