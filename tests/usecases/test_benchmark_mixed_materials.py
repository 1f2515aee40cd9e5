"""Price, showers and limits of the mixed materials."""

import pytest
import torch

from detopt.design import Design
from detopt.errors import DesignError
from detopt.physics import showers
from detopt.random import Seed
from detopt.usecases import benchmark_mixed_materials as mixed
from detopt.usecases import load


@pytest.fixture
def problem():
    return load("benchmark_mixed_materials").build()


def detector(thickness, absorber=0, scintillator=1):
    values = {"thickness": torch.as_tensor(thickness, dtype=torch.float64)}
    for i in range(mixed.N_CELLS):
        values[f"absorber_{i}"] = torch.tensor(float(absorber))
        values[f"scintillator_{i}"] = torch.tensor(float(scintillator))
    return Design(values)


def summarize(problem, design, n=400):
    return problem.summarize(design, n, Seed("mixed").generator())


@pytest.mark.parametrize(
    ("absorber", "scintillator", "expected"),  # by hand: 10 cm of each layer
    [(0, 0, 30 * (25 + 2500)), (0, 1, 30 * (25 + 0.01)), (1, 1, 30 * (4.166 + 0.01))],
)
def test_price_is_that_of_the_materials(absorber, scintillator, expected):
    design = detector([0.1] * 6, absorber, scintillator)
    assert mixed.price(design).item() == pytest.approx(expected, rel=1e-14)
    assert mixed.length(design).item() == pytest.approx(0.6)


def test_photons_do_not_reach_what_is_behind_half_a_metre_of_lead(problem):
    summary = summarize(problem, detector([0.5, 0.01, 0.005, 0.01, 0.005, 0.01]))
    assert summary.visible[:200].sum(dim=1).max() < 0.01


def test_crystals_behind_foils_see_almost_all_of_a_photon(problem):
    summary = summarize(problem, detector([0.005, 0.5, 0.005, 0.5, 0.005, 0.5], 1, 0))
    seen = (summary.visible.sum(dim=1) / summary.energy)[:200]
    assert seen.mean().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("scintillator", [0, 1])
def test_layers_hold_no_more_than_the_shower(scintillator):
    layers = mixed.stack(detector([0.02, 0.1] * 3, 0, scintillator))
    energy = torch.full((300,), 10.0, dtype=torch.float64)
    start = torch.linspace(0, 3, 300, dtype=torch.float64)
    rng = Seed(2).generator()
    for deposit in (mixed._photons(layers, energy, rng), mixed._pions(layers, energy, start, rng)):
        assert (deposit >= 0).all()
        assert (deposit.sum(dim=1) <= energy * (1 + 1e-9)).all()


@pytest.mark.parametrize("scintillator", [0, 1])
def test_photons_share_their_energy_as_in_the_library(scintillator):
    layers = mixed.stack(detector([0.01, 0.02, 0.03, 0.05, 0.02, 0.1], 0, scintillator))
    energy = torch.tensor([2.0, 5.0, 15.0], dtype=torch.float64)
    shape = showers.mean_shape(energy, showers.stack_medium(layers))
    start = torch.tensor([0.3, 1.0, 2.5], dtype=torch.float64)
    wide = showers.LongitudinalShape(shape.maximum[:, None], shape.alpha[:, None])
    contained = showers.contained_fraction(mixed._edges(layers.depth) - start[:, None], wide)
    ours = energy[:, None] * mixed._shared(layers, contained, "radiation_length")
    torch.testing.assert_close(ours, showers.deposit_in_layers(layers, energy, shape, start))


def test_sampling_variance_is_that_of_the_sampling_term():
    layers = mixed.stack(detector([0.05, 0.01] * 3))
    deposit = torch.tensor([[8.0, 2.0, 0.0, 0.0, 0.0, 4.0]], dtype=torch.float64)
    found = mixed._sampling_variance(layers, deposit)[0]
    passive, active = layers.ionization[:2].tolist()
    fraction = active / (passive + active)
    term = 0.027**2 * 10 / fraction  # squared, GeV; 10 mm
    expected = [4 * term * (1 - fraction) / 10, 0.0, 16 * term * (1 - fraction) / 4]
    assert found.tolist() == pytest.approx(expected)


def test_gradient_in_the_thicknesses_matches_finite_differences(problem):
    def signals(thickness):
        summary = summarize(problem, detector(thickness), 10)
        return summary.visible.mean(dim=0), summary.variance.mean(dim=0)

    thickness = torch.tensor([0.02, 0.1, 0.03, 0.12, 0.05, 0.2], dtype=torch.float64)
    assert torch.autograd.gradcheck(signals, thickness.requires_grad_())


def test_gradient_of_the_objective_matches_finite_differences(problem):
    def objective(thickness):
        design = detector(thickness)
        return problem.judge(summarize(problem, design, 40), design).objective

    thickness = torch.tensor([0.02, 0.1, 0.03, 0.12, 0.05, 0.2], dtype=torch.float64)
    assert torch.autograd.gradcheck(objective, thickness.requires_grad_())


def test_signals_in_proportion_to_the_energy_have_no_error(problem):
    energy = torch.linspace(1, 20, 60, dtype=torch.float64)
    visible = torch.stack([energy, energy.square(), energy.sqrt()], dim=1)
    summary = mixed.Signals(visible, torch.zeros_like(visible), energy, torch.arange(60) % 2 == 0)
    assert problem.judge(summary, detector([0.1] * 6)).objective.item() == pytest.approx(
        0, abs=1e-6
    )


def test_objective_is_the_mean_over_drawn_fluctuations(problem):
    n, n_draws, design = 30, 20_000, detector([0.02, 0.01] * 3)
    exact = summarize(problem, design, n)
    rng = Seed("draws").generator()
    normal = torch.randn(n_draws, n, 3, generator=rng, dtype=torch.float64)
    drawn = (exact.visible + exact.variance.sqrt() * normal).reshape(-1, 3)
    many = mixed.Signals(
        drawn, torch.zeros_like(drawn), exact.energy.repeat(n_draws), exact.first.repeat(n_draws)
    )
    values = [problem.judge(summary, design).objective.item() for summary in (exact, many)]
    assert values[0] == pytest.approx(values[1], rel=0.01)
    silent = mixed.Signals(exact.visible, 0 * exact.variance, exact.energy, exact.first)
    assert problem.judge(silent, design).objective.item() != pytest.approx(values[0], rel=0.1)


@pytest.mark.parametrize(
    ("design", "match"),
    [
        (detector([0.1, 0.3] * 3, 0, 0), "price"),
        (detector([0.3, 0.4] * 3), "length"),
        (detector([0.1, 0.001] * 3), "thickness"),
    ],
)
def test_designs_outside_of_limits_and_bounds_are_refused(problem, design, match):
    with pytest.raises(DesignError, match=match):
        problem.space.check(design)
