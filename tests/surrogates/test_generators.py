"""Conditional generators: what they learn, that they can be differentiated, what they refuse."""

import io
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import MethodError, MissingExtraError
from detopt.surrogates import (
    KINDS,
    ConditionalDiffusion,
    ConditionalFlow,
    ConditionalVAE,
    CramerGAN,
    Training,
    WassersteinGAN,
)
from detopt.surrogates.agreement import Agreement
from detopt.surrogates.training import batches, ridge

LEARNS_SHAPES = {name: kind for name, kind in KINDS.items() if kind is not WassersteinGAN}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
SHORT = Training(n_steps=8, n_warm_steps=4, batch=64)  # for laws that hold whatever is learned
MODERATE = Training(n_steps=200, batch=256, learning_rate=5e-3)
N = 4_000


def generator_of(seed=1):
    return torch.Generator().manual_seed(seed)


def draw_two(conditions, rng):
    """Mean 2 + c1 + c2^2, a standard deviation that grows with c1, and a skew; a correlated one."""
    first, second = conditions.T
    skewed = (torch.rand(len(conditions), generator=rng, dtype=torch.float64) + 1e-9).log() + 1
    noise = torch.randn(len(conditions), generator=rng, dtype=torch.float64)
    column = 2 + first + second.square() - (0.5 + 0.3 * first) * skewed
    return torch.stack([column, 3 * noise - 10 * skewed], dim=1)


def draw(conditions, rng):
    """The first column of `draw_two`."""
    return draw_two(conditions, rng)[:, :1]


@pytest.fixture(scope="module", params=LEARNS_SHAPES.values(), ids=LEARNS_SHAPES)
def fitted(request):
    rng = generator_of()
    conditions = 2 * torch.rand(N, 2, generator=rng, dtype=torch.float64) - 1
    model = request.param(2, 2, MODERATE)
    model.fit(conditions, draw_two(conditions, rng), rng)
    return model


# --- what is learned


@pytest.mark.parametrize("at", [(0.0, 0.0), (0.6, 0.0), (-0.5, 0.5)])
def test_mean_is_that_of_the_simulator(fitted, at):
    given = torch.tensor(at, dtype=torch.float64).expand(20_000, 2)
    rows = fitted.sample(given, generator_of(3))
    assert rows[:, 0].mean().item() == pytest.approx(2 + at[0] + at[1] ** 2, abs=0.15)


def test_gradient_of_the_mean_is_that_of_the_simulator(fitted):
    at = torch.tensor([0.0, 0.5], dtype=torch.float64, requires_grad=True)
    mean = fitted.sample(at.expand(20_000, 2), generator_of(3))[:, 0].mean()
    (gradient,) = torch.autograd.grad(mean, at)
    assert gradient.tolist() == pytest.approx([1.0, 1.0], abs=0.35)


def test_width_follows_the_conditions(fitted):
    narrow, wide = (
        fitted.sample(torch.tensor([[x, 0.0]]).double().expand(20_000, 2), generator_of(3))[:, 0]
        for x in (-0.8, 0.8)
    )
    assert 1.5 < float(wide.std() / narrow.std()) < 4.5  # 2.8 is exact


def test_density_of_the_flow_is_normalized():
    rng = generator_of()
    conditions = torch.randn(N, 1, generator=rng, dtype=torch.float64)
    flow = ConditionalFlow(1, 1, SHORT)
    flow.fit(conditions, 3 + 2 * torch.randn(N, 1, generator=rng, dtype=torch.float64), rng)
    grid = torch.linspace(-30, 36, 4_001, dtype=torch.float64)[:, None]
    density = flow.log_prob(torch.full_like(grid, 0.3), grid).exp()
    assert torch.trapezoid(density, grid[:, 0]).item() == pytest.approx(1.0, abs=1e-3)


def test_density_of_a_normal_distribution_is_learned():
    rng = generator_of()
    conditions = torch.randn(N, 1, generator=rng, dtype=torch.float64)
    rows = 3 + 2 * torch.randn(N, 1, generator=rng, dtype=torch.float64)
    flow = ConditionalFlow(1, 1, MODERATE)
    flow.fit(conditions, rows, rng)
    found = flow.log_prob(torch.zeros(1, 1).double(), torch.tensor([[3.0]]).double())
    assert found.item() == pytest.approx(-math.log(2 * math.sqrt(2 * math.pi)), abs=0.15)


def test_columns_keep_their_correlation(fitted):
    given = torch.zeros(20_000, 2, dtype=torch.float64)
    drawn = fitted.sample(given, generator_of(3))
    assert torch.corrcoef(drawn.T)[0, 1].item() > 0.8  # 0.958 is exact


@every_kind
def test_constant_column_stays_exact(kind):
    rng = generator_of()
    conditions = torch.rand(200, 1, generator=rng, dtype=torch.float64)
    rows = torch.cat([torch.randn(200, 1, generator=rng).double(), torch.ones(200, 1) * 7], dim=1)
    model = kind(1, 2, SHORT)
    model.fit(conditions, rows, rng)
    drawn = model.sample(conditions, rng)
    torch.testing.assert_close(drawn[:, 1], rows[:, 1])
    assert bool(drawn.isfinite().all())


@pytest.mark.parametrize("n_columns", [3, 10])
def test_flow_takes_few_and_many_columns(n_columns):
    rng = generator_of()
    flow = ConditionalFlow(2, n_columns, SHORT)
    conditions = torch.rand(200, 2, generator=rng)
    rows = torch.randn(200, n_columns, generator=rng)
    flow.fit(conditions, rows, rng)
    drawn = flow.sample(conditions, rng)
    assert drawn.shape == (200, n_columns)
    assert bool(flow.log_prob(conditions, drawn).isfinite().all())


# --- laws


@every_kind
@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (1e-6, 5.0)])
def test_units_of_the_rows_do_not_matter(kind, factor, shift):
    drawn = []
    for scale, offset in ((1.0, 0.0), (factor, shift)):
        rng = generator_of()
        conditions = torch.rand(300, 2, generator=rng, dtype=torch.float64)
        rows = draw(conditions, rng)
        model = kind(2, 1, SHORT, torch.float64)
        model.fit(conditions, scale * rows + offset, rng)
        drawn.append((model.sample(conditions, rng) - offset) / scale)
    torch.testing.assert_close(*drawn, rtol=1e-4, atol=1e-4)


@every_kind
def test_same_seed_gives_the_same_bits_and_global_generators_have_no_say(kind):
    drawn = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        rng = generator_of()
        conditions = torch.rand(300, 2, generator=rng, dtype=torch.float64)
        model = kind(2, 1, SHORT)
        model.fit(conditions, draw(conditions, rng), rng)
        drawn.append(model.sample(conditions, rng))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*drawn)


@every_kind
def test_stored_state_draws_and_learns_on_to_the_same_bits(kind):
    rng = generator_of()
    conditions = torch.rand(300, 2, generator=rng, dtype=torch.float64)
    rows = draw(conditions, rng)
    first, second = kind(2, 1, SHORT), kind(2, 1, SHORT)
    first.fit(conditions, rows, rng)
    buffer = io.BytesIO()
    torch.save(first.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(*(m.sample(conditions, generator_of(4)) for m in (first, second)))
    losses = [m.fit(conditions, rows, generator_of(5)) for m in (first, second)]
    assert losses[0] == losses[1]
    assert torch.equal(*(m.sample(conditions, generator_of(4)) for m in (first, second)))


def test_warm_start_goes_on_from_the_weights():
    rng = generator_of()
    conditions = 2 * torch.rand(N, 2, generator=rng, dtype=torch.float64) - 1
    rows = draw(conditions, rng)
    flow = ConditionalFlow(2, 1, Training(n_steps=150, n_warm_steps=5, batch=256))
    cold = ConditionalFlow(2, 1, Training(n_steps=5, batch=256))
    flow.fit(conditions, rows, rng)
    assert flow.fit(conditions, rows, rng) < cold.fit(conditions, rows, rng) - 0.05


@given(st.integers(2, 40), st.integers(2, 40))
def test_every_row_comes_before_any_comes_again(n_rows, size):
    found = batches(n_rows, min(size, n_rows), generator_of())
    seen = torch.cat([next(found) for _ in range(n_rows // min(size, n_rows))])
    assert len(seen.unique()) == len(seen)


def test_ridge_with_little_noise_is_least_squares():
    rng = generator_of()
    inputs = torch.randn(500, 4, generator=rng, dtype=torch.float64)
    inputs = inputs - inputs.mean(dim=0)
    slopes = torch.tensor([[1.0, -2.0, 0.5, 3.0]], dtype=torch.float64).T
    torch.testing.assert_close(ridge(inputs, inputs @ slopes), slopes, rtol=1e-4, atol=1e-4)


def test_ridge_shrinks_noise():
    rng = generator_of()
    inputs = torch.randn(30, 20, generator=rng, dtype=torch.float64)
    inputs = inputs - inputs.mean(dim=0)
    noise = torch.randn(30, 1, generator=rng, dtype=torch.float64)
    noise = noise - noise.mean()
    plain = torch.linalg.lstsq(inputs, noise).solution
    assert float(ridge(inputs, noise).norm()) < 0.5 * float(plain.norm())


def test_agreement_compares_gradients():
    agreement = Agreement(
        torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.1, 0.1])
    )
    assert agreement.cosine == pytest.approx(math.sqrt(0.5))
    assert agreement.difference == pytest.approx(1.0)
    assert math.isnan(agreement.numbers()["error"])


# --- gradient


@every_kind
def test_samples_have_the_derivative_of_finite_differences(kind):
    rng = generator_of()
    conditions = torch.rand(300, 2, generator=rng, dtype=torch.float64)
    model = kind(2, 1, SHORT, torch.float64)
    model.fit(conditions, draw(conditions, rng), rng)
    at = conditions[:4].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda c: model.sample(c, generator_of(6)), at)


def test_density_has_the_derivative_of_finite_differences():
    rng = generator_of()
    conditions = torch.rand(300, 2, generator=rng, dtype=torch.float64)
    rows = draw(conditions, rng)
    flow = ConditionalFlow(2, 1, SHORT, torch.float64)
    flow.fit(conditions, rows, rng)
    at = (conditions[:4].clone().requires_grad_(), rows[:4].clone().requires_grad_())
    assert torch.autograd.gradcheck(flow.log_prob, at)


# --- refusals


@every_kind
def test_unusable_examples_are_refused(kind):
    rng, model = generator_of(), kind(2, 1, SHORT)
    good = torch.zeros(5, 2), torch.zeros(5, 1)
    with pytest.raises(MethodError, match="not fitted yet"):
        model.sample(good[0], rng)
    with pytest.raises(MethodError, match=r"2 conditions and 1 columns, got \(5, 3\)"):
        model.fit(torch.zeros(5, 3), good[1], rng)
    with pytest.raises(MethodError, match="two or more rows"):
        model.fit(good[0][:1], good[1][:1], rng)
    with pytest.raises(MethodError, match="finite numbers"):
        model.fit(good[0], good[1] + math.nan, rng)


@every_kind
def test_conditions_of_another_width_are_refused(kind):
    rng, model = generator_of(), kind(2, 3, SHORT)
    model.fit(torch.rand(9, 2, generator=rng), torch.rand(9, 3, generator=rng), rng)
    with pytest.raises(MethodError, match=r"fitted with 2 conditions.* got the shape \(5, 1\)"):
        model.sample(torch.zeros(5, 1), rng)


def test_the_density_of_other_columns_is_refused():
    rng, model = generator_of(), ConditionalFlow(2, 3, SHORT)
    model.fit(torch.rand(9, 2, generator=rng), torch.rand(9, 3, generator=rng), rng)
    with pytest.raises(MethodError, match=r"fitted with 3 columns.* got the shape \(5, 1\)"):
        model.log_prob(torch.zeros(5, 2), torch.zeros(5, 1))


@pytest.mark.parametrize("kind", [CramerGAN, WassersteinGAN, ConditionalDiffusion, ConditionalVAE])
def test_density_that_does_not_exist_is_refused(kind):
    rng, model = generator_of(), kind(1, 1, SHORT)
    model.fit(torch.rand(9, 1, generator=rng), torch.rand(9, 1, generator=rng), rng)
    with pytest.raises(MethodError, match=f"{kind.__name__} has no density"):
        model.log_prob(torch.zeros(1, 1), torch.zeros(1, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConditionalFlow(0, 1), "at least one condition and one column, got 0 and 1"),
        (lambda: ConditionalFlow(1, 1, bins=1), "`bins` must be >= 2, got 1"),
        (lambda: CramerGAN(1, 1, n_latent=0), "`n_latent` must be >= 1, got 0"),
        (lambda: CramerGAN(1, 1, hidden=()), r"`hidden` units must be >= 1, got \(\)"),
        (lambda: ConditionalDiffusion(1, 1, n_draw_steps=0), "`n_draw_steps` must be >= 1, got 0"),
        (lambda: Training(n_steps=0), "`n_steps` must be a whole number >= 1, got 0"),
        (lambda: Training(batch=1), "`batch` must be a whole number >= 2, got 1"),
        (lambda: Training(learning_rate=0.0), "`learning_rate` must be > 0, got 0.0"),
        (lambda: Training(weight_decay=-1.0), "`weight_decay` must be >= 0, got -1.0"),
    ],
)
def test_value_out_of_range_is_refused(make, message):
    with pytest.raises(MethodError, match=message):
        make()


def test_state_of_another_generator_is_refused():
    rng, model = generator_of(), ConditionalFlow(1, 1, SHORT)
    model.fit(torch.rand(9, 1, generator=rng), torch.rand(9, 1, generator=rng), rng)
    with pytest.raises(MethodError, match="another generator"):
        ConditionalFlow(2, 1, SHORT).load_state_dict(model.state_dict())


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zuko", None)
    with pytest.raises(MissingExtraError, match=r"pip install detopt\[surrogates\]"):
        ConditionalFlow(1, 1)
