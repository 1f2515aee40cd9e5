"""Score functions and baselines: values untouched, gradients right, less noise."""

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Real
from detopt.errors import DomainError, MethodError
from detopt.gradients import Bernoulli, Draws, Verdict, check_gradients
from detopt.gradients.score import BASELINES, attach_score, cross_fitted, leave_one_out
from detopt.pipeline import (
    Analysis,
    Objective,
    Outcome,
    Pipeline,
    Reconstruction,
    Simulator,
    Source,
)
from detopt.pipeline.problem import Values


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_leave_one_out_has_the_known_values():
    assert leave_one_out(double([1.0, 2.0, 6.0])).tolist() == [4.0, 3.5, 1.5]
    assert leave_one_out(double([5.0])).tolist() == [0.0]


@pytest.mark.parametrize("baseline", [leave_one_out, None])
def test_baseline_of_a_row_does_not_see_the_row(baseline, rng):
    features = torch.randn(30, 2, generator=rng, dtype=torch.float64)
    values = torch.randn(30, generator=rng, dtype=torch.float64)

    def made(v):
        return leave_one_out(v) if baseline else cross_fitted(v, features)

    changed = values.clone()
    changed[7] += 100.0
    difference = made(changed) - made(values)
    assert difference[7] == pytest.approx(0.0, abs=1e-9)
    assert bool((difference[:7].abs() > 1e-9).any())


def test_cross_fit_of_a_group_does_not_see_the_group(rng):
    group = torch.arange(40) // 4
    values = torch.randn(40, generator=rng, dtype=torch.float64)
    changed = values + 50.0 * (group == 3)
    none = torch.zeros(40, 0, dtype=torch.float64)
    difference = cross_fitted(changed, none, group) - cross_fitted(values, none, group)
    assert difference[group == 3].abs().max().item() < 1e-9


def test_cross_fit_finds_a_linear_law(rng):
    features = torch.randn(200, 3, generator=rng, dtype=torch.float64)
    values = 2 + features @ double([[1.0, 0.0], [-3.0, 1.0], [0.5, 7.0]])
    assert torch.allclose(cross_fitted(values, features), values, atol=1e-3)


def test_cross_fit_of_few_rows_is_a_mean_of_the_others():
    values = double([1.0, 2.0, 6.0])
    features = torch.ones(3, 4, dtype=torch.float64)
    assert cross_fitted(values, features).tolist() == [4.0, 3.5, 1.5]
    assert cross_fitted(values[:1], features[:1]).tolist() == [0.0]


def test_cross_fit_survives_collinear_features(rng):
    column = torch.randn(100, 1, generator=rng, dtype=torch.float64)
    found = cross_fitted(column.squeeze(1), torch.cat([column, column, 0 * column], 1))
    assert torch.allclose(found, column.squeeze(1), atol=1e-3)


def test_attached_score_leaves_the_value_to_the_bit(rng):
    values = torch.randn(10, 2, generator=rng)
    log_p = torch.randn(10, generator=rng).requires_grad_()
    attached = attach_score(values, log_p, 0 * values)
    assert torch.equal(attached.detach(), values)
    (found,) = torch.autograd.grad(attached[:, 1].sum(), log_p)
    assert torch.allclose(found, values[:, 1])


def spread(baseline, n_rows=50, n_repeats=400):
    """Gradients of the mean of (10 + x + k)^2 / 10 over p = 0.3, of mean derivative
    E[(11 + x)^2 - (10 + x)^2] / 10 = 2.1."""
    p = double(0.3).requires_grad_()
    found = []
    for repeat in range(n_repeats):
        rng = torch.Generator().manual_seed(repeat)
        x = torch.randn(n_rows, generator=rng, dtype=torch.float64)
        draws = Draws(n_rows)
        k = draws.draw(Bernoulli(p.expand(n_rows)), rng)
        values = draws.attach((10 + x + k) ** 2 / 10, baseline, torch.stack([x, x**2], 1))
        found += torch.autograd.grad(values.mean(), p)
    gradients = torch.stack(found)
    return gradients.mean().item(), gradients.std().item()


def test_all_baselines_have_the_same_mean_and_better_ones_less_noise():
    results = {baseline: spread(baseline) for baseline in BASELINES}
    for mean, std in results.values():
        assert mean == pytest.approx(2.1, abs=4 * std / 400**0.5)
    assert results["mean"][1] < 0.5 * results["none"][1]
    assert results["cross_fitted"][1] < 0.5 * results["mean"][1]


@pytest.mark.parametrize("n_rows", [1, 2])
def test_few_rows_stay_unbiased(n_rows):
    mean, std = spread("mean", n_rows, 1_500)
    assert mean == pytest.approx(2.1, abs=4 * std / 1_500**0.5)


def test_recorded_draws_belong_to_their_rows():
    p = double([0.5, 0.25, 0.1]).requires_grad_()
    draws = Draws(2)
    draws.record(p.log(), torch.tensor([1, 0, 1]))
    assert draws.log_probability.tolist() == pytest.approx(double([0.25, 0.05]).log().tolist())
    values = draws.attach(double([3.0, 5.0]), "none")
    (found,) = torch.autograd.grad(values.sum(), p)
    assert found.tolist() == pytest.approx([10.0, 12.0, 50.0])


def test_no_draws_leave_the_values_alone():
    values = double([1.0, 2.0])
    assert Draws(2).attach(values) is values


def test_smooth_function_of_means_is_followed():
    class Uniform(Source):
        def forward(self, n_events, rng, dtype):
            return torch.rand(n_events, generator=rng, dtype=dtype)

    class Counter(Simulator):
        def forward(self, events, design, rng):
            draws = Draws(len(events))
            seen = draws.draw(Bernoulli(torch.sigmoid(design["a"] * events)), rng)
            return seen * (events + design["a"]), draws

    class Same(Reconstruction):
        def forward(self, readout, design):
            return readout

    class Attach(Analysis):
        def forward(self, estimate, events):
            signal, draws = estimate
            return Values(draws.attach(signal))

    class Logarithm(Objective):
        def forward(self, summary, design):
            return Outcome(-summary.value.mean().log())

    pipeline = Pipeline(
        space=DesignSpace([Continuous("a", 0.4, Real())]),
        source=Uniform(),
        simulator=Counter(),
        reconstruction=Same(),
        analysis=Attach(),
        objective=Logarithm(),
        n_events=1_000,
        chunk_size=250,
    )
    assert check_gradients(pipeline, n_repeats=12)[0].verdict is Verdict.AGREES


def test_impossible_arguments_are_refused():
    draws = Draws(2)
    draws.record(double([-1.0, -1.0]))
    with pytest.raises(DomainError, match="number of rows must be >= 1"):
        Draws(0)
    with pytest.raises(DomainError, match="2 rows, but 3 draws"):
        draws.record(double([-1.0, -1.0, -1.0]))
    with pytest.raises(MethodError, match="needs `features`"):
        draws.attach(double([1.0, 2.0]), "cross_fitted")
    with pytest.raises(MethodError, match="`n_folds` must be >= 2"):
        cross_fitted(double([1.0, 2.0]), torch.ones(2, 1).double(), n_folds=1)
    with pytest.raises(MethodError, match="`baseline` must be one of"):
        draws.attach.__wrapped__(draws, double([1.0, 2.0]), "best")
