"""Statistics, CLs and limits against pyhf, closed forms and differences."""

import math

import pyhf
import pytest
import torch
from torch.autograd import gradcheck

from detopt.errors import DomainError
from detopt.inference.asymptotics import (
    expected_significance,
    hypothesis_test,
    likelihood_ratio,
    q0,
    qmu,
    qmu_tilde,
    significance,
    upper_limit,
)
from detopt.inference.histfactory import (
    Channel,
    NormFactor,
    Sample,
    ShapeSys,
    histfactory_model,
)
from detopt.inference.workspaces import parse_workspace

# pyhf's check of the schema uses an interface that jsonschema will drop
pytestmark = pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


SIGNAL, BACKGROUND, UNCERTAINTY = tensor(12.0, 11.0), tensor(50.0, 52.0), tensor(3.0, 7.0)


def model_of(signal=SIGNAL, background=BACKGROUND, uncertainty=UNCERTAINTY):
    samples = (
        Sample("signal", signal, (NormFactor("mu"),)),
        Sample("background", background, (ShapeSys("uncertainty", uncertainty),)),
    )
    return histfactory_model([Channel("region", samples)])


def oracle_of():
    return pyhf.simplemodels.uncorrelated_background(
        SIGNAL.tolist(), BACKGROUND.tolist(), UNCERTAINTY.tolist()
    )


@pytest.mark.parametrize("counts", [(51.0, 48.0), (60.0, 66.0), (80.0, 50.0)])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.5])
def test_cls_with_its_bands_is_that_of_pyhf(counts, strength):
    model, oracle = model_of(), oracle_of()
    found = hypothesis_test(model, model.data(tensor(*counts)), strength)
    cls, tails, bands = pyhf.infer.hypotest(
        strength,
        [*counts, *oracle.config.auxdata],
        oracle,
        return_tail_probs=True,
        return_expected_set=True,
    )
    # the minima of pyhf are precise to 1e-5
    assert found.cls.item() == pytest.approx(float(cls), rel=3e-4)
    assert found.cls_b.item() == pytest.approx(float(tails[0]), rel=3e-4)
    assert found.cl_b.item() == pytest.approx(float(tails[1]), rel=3e-4)
    assert found.expected.tolist() == pytest.approx([float(b) for b in bands], rel=3e-4)


def test_cls_of_a_full_workspace_is_that_of_pyhf(realistic_workspace):
    spec = realistic_workspace(7)
    source, workspace = parse_workspace(spec), pyhf.Workspace(spec)
    model, oracle = source.model(), workspace.model()
    found = hypothesis_test(model, model.data(source.counts()), 1.0)
    expected = pyhf.infer.hypotest(1.0, workspace.data(oracle), oracle)
    assert found.cls.item() == pytest.approx(float(expected), rel=1e-3)


def test_statistics_are_those_of_pyhf():
    model, oracle = model_of(), oracle_of()
    counts = (60.0, 66.0)
    data = model.data(tensor(*counts))
    numbers = [*counts, *oracle.config.auxdata]
    start, fixed = oracle.config.suggested_init(), oracle.config.suggested_fixed()
    low, *others = oracle.config.suggested_bounds()
    wide, physical = [(-5.0, 10.0), *others], [low, *others]
    free = model.with_bounds("mu", -5.0, 10.0)
    of = pyhf.infer.test_statistics
    for found, expected in (
        (q0(free, data), of.q0(0.0, numbers, oracle, start, wide, fixed)),
        (qmu(free, data, 2.0), of.qmu(2.0, numbers, oracle, start, wide, fixed)),
        (
            qmu_tilde(model, data, 2.0),
            of.qmu_tilde(2.0, numbers, oracle, start, physical, fixed),
        ),
        (likelihood_ratio(free, data, 0.1), of.tmu(0.1, numbers, oracle, start, wide, fixed)),
    ):
        assert found.item() == pytest.approx(float(expected), rel=1e-5)


def test_statistics_are_one_sided():
    free = model_of().with_bounds("mu", -5.0, 10.0)
    above, below = (free.data(tensor(*counts)) for counts in ((80.0, 80.0), (40.0, 40.0)))
    assert qmu(free, above, 1.0) == 0
    assert q0(free, below) == 0
    assert significance(free, below) == 0
    assert qmu(free, below, 0.5) > qmu_tilde(free, below, 0.5) > 0


def test_expected_significance_of_a_counting_experiment_is_the_closed_form():
    s, b = 12.0, 50.0
    samples = (
        Sample("signal", tensor(s), (NormFactor("mu"),)),
        Sample("background", tensor(b)),
    )
    model = histfactory_model([Channel("region", samples)])
    expected = math.sqrt(2 * ((s + b) * math.log(1 + s / b) - s))
    assert expected_significance(model).item() == pytest.approx(expected, rel=1e-10)


def test_expected_significance_is_that_of_the_asimov_data():
    model = model_of()
    asimov = model.expected_data(model.start)
    torch.testing.assert_close(expected_significance(model), significance(model, asimov))


def test_fewer_events_than_the_background_are_no_discovery():
    strengths = tensor(-0.5, 0.0, 1.0)
    model = model_of().with_bounds("mu", -5.0, 10.0)
    found = expected_significance(model, strengths)
    assert found[:2].tolist() == [0.0, 0.0]
    assert found[2].item() == pytest.approx(expected_significance(model).item(), rel=1e-9)
    assert expected_significance(model, -0.5) == 0


def test_limits_are_those_of_pyhf():
    model, oracle = model_of(), oracle_of()
    counts = (51.0, 48.0)
    found = upper_limit(model, model.data(tensor(*counts)))
    numbers = [*counts, *oracle.config.auxdata]
    observed, expected = pyhf.infer.intervals.upper_limits.upper_limit(numbers, oracle, rtol=1e-6)
    assert found.observed.item() == pytest.approx(float(observed), rel=1e-4)
    assert found.expected.tolist() == pytest.approx([float(e) for e in expected], rel=1e-4)


def test_cls_at_the_limit_is_the_level():
    model = model_of()
    data = model.data(tensor([51.0, 48.0], [70.0, 66.0]))
    limit = upper_limit(model, data, level=0.1)
    test = hypothesis_test(model, data, limit.observed)
    torch.testing.assert_close(test.cls, tensor(0.1, 0.1), rtol=1e-8, atol=0)
    for i in range(5):
        test = hypothesis_test(model, data, limit.expected[:, i])
        torch.testing.assert_close(test.expected[:, i], tensor(0.1, 0.1), rtol=1e-8, atol=0)


def test_many_strengths_are_tested_at_once():
    model = model_of()
    data = model.data(tensor(51.0, 48.0))
    strengths = tensor(0.4, 1.0, 1.7)
    found = hypothesis_test(model, data, strengths)
    for i, strength in enumerate(strengths):
        single = hypothesis_test(model, data, strength)
        torch.testing.assert_close(found.cls[i], single.cls, rtol=1e-8, atol=0)
        torch.testing.assert_close(found.expected[i], single.expected, rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    "figure",
    [
        lambda model, data: hypothesis_test(model, data, 1.2).cls,
        lambda model, data: hypothesis_test(model, data, 1.2).expected,
        lambda model, data: expected_significance(model),
        lambda model, data: significance(model, data),
        lambda model, data: upper_limit(model, data).observed,
        lambda model, data: upper_limit(model, data).expected,
    ],
    ids=["cls", "expected cls", "expected significance", "significance", "limit", "expected limit"],
)
def test_gradient_in_templates_and_counts_matches_differences(figure):
    def value(signal, background, uncertainty, counts):
        model = model_of(signal, background, uncertainty)
        return figure(model, model.data(counts))

    inputs = (SIGNAL, BACKGROUND, UNCERTAINTY, tensor(60.0, 66.0))
    cloned = [item.clone().requires_grad_() for item in inputs]
    assert gradcheck(value, cloned, eps=1e-4, atol=1e-7, rtol=1e-5, fast_mode=True)


def test_gradient_of_a_significance_of_zero_is_zero():
    signal = SIGNAL.clone().requires_grad_()
    model = model_of(signal=signal)
    value = significance(model, model.data(tensor(40.0, 40.0)))
    (gradient,) = torch.autograd.grad(value, signal)
    assert gradient.tolist() == [0.0, 0.0]


def test_what_cannot_be_tested_is_refused():
    model = model_of()
    data = model.data(tensor(51.0, 48.0))
    with pytest.raises(DomainError, match="`mu` is bounded at 0"):
        qmu(model, data, 1.0)
    with pytest.raises(DomainError, match="between 0 and 1, got 5"):
        upper_limit(model, data, level=5.0)
    for strength in (-1.0, 0.0, math.nan, tensor(1.0, -1.0)):
        with pytest.raises(DomainError, match="`strength` must be > 0"):
            hypothesis_test(model, data, strength)
    with pytest.raises(DomainError, match=r"observed limit lies above the bound 0\.5"):
        upper_limit(model.with_bounds("mu", 0.0, 0.5), data)
