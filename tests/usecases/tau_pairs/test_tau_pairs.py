"""Tau pairs: kinematics, systematic variations, and the two objectives."""

import math

import pytest
import torch

from detopt.pipeline import SummaryWithSlopes, merge
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases._templates import ProfiledStrength, TemplateRows
from detopt.usecases.tau_pairs import Config, build
from detopt.usecases.tau_pairs import events as generator
from detopt.usecases.tau_pairs.events import PROCESSES, TauPairs, power_law
from detopt.usecases.tau_pairs.systematics import VARIATIONS, YIELDS, Detector, nuisances

PROBLEM = build(Config(n_hidden=3, n_bins=5)).with_dtype(torch.float64)
START = PROBLEM.space.start
EVENTS = TauPairs()(4_000, Seed(0).generator(), torch.float64)


def features(**shifts):
    unknown = nuisances()
    values = unknown.nominal(START)
    for name, shift in shifts.items():
        values[unknown.names.index(name)] = shift
    return Detector()(EVENTS, unknown.augment(START, values), Seed(0).generator())


# Events


def test_power_law_has_its_distribution_function():
    u = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    p = power_law(u, 40.0, 3.0)
    below = 1 - (1 + (p / 40.0).square()) ** (1 - 3.0)  # integral of the density by hand
    torch.testing.assert_close(below, u)


def test_decay_products_add_up_to_the_boost():
    total = EVENTS.first + EVENTS.second + EVENTS.missing
    resonant = slice(0, 3)
    torch.testing.assert_close(total[:, resonant, 0], EVENTS.boost[:, resonant])
    torch.testing.assert_close(
        total[:, resonant, 1], torch.zeros_like(total[:, resonant, 1]), atol=1e-9, rtol=0.0
    )


def test_whole_taus_have_the_mass_of_their_parent(monkeypatch):
    monkeypatch.setattr(generator, "LOWEST_FRACTION", 1.0)  # no momentum for neutrinos
    whole = TauPairs()(500, Seed(1).generator(), torch.float64)
    first, second = (leg[:, :2] for leg in (whole.first, whole.second))
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    mass = 2 * (lengths * whole.rapidity_gap[:, :2].cosh() - (first * second).sum(-1))
    torch.testing.assert_close(mass.sqrt(), torch.full_like(mass, 125.25), rtol=1e-9, atol=0.0)


def test_visible_mass_is_that_of_uniform_fractions():
    """<m_vis^2> = m^2 <x>^2 for independent fractions; 5 standard errors."""
    mean = (1 + generator.LOWEST_FRACTION) / 2
    first, second = (leg[:, :2] for leg in (EVENTS.first, EVENTS.second))
    lengths = first.norm(dim=-1) * second.norm(dim=-1)
    square = 2 * (lengths * EVENTS.rapidity_gap[:, :2].cosh() - (first * second).sum(-1))
    error = 5 * square.std() / math.sqrt(square.numel())
    assert square.mean().item() == pytest.approx((125.25 * mean) ** 2, abs=error.item())


def test_vector_boson_fusion_has_the_heaviest_jets():
    medians = EVENTS.jet_mass.median(dim=0).values
    assert PROCESSES[int(medians.argmax())] == "VBF"


# Systematic variations


def test_there_are_more_than_ten_variations():
    assert len(VARIATIONS) >= 10
    assert nuisances().widths(START).tolist() == [1.0] * len(VARIATIONS)


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_variation_moves_the_templates(name):
    summary, _ = summarize_design(PROBLEM, START, Seed(1), 500)
    index = nuisances().names.index(name)
    moved = sum(summary.slopes[kind][..., index].mean(0).abs().sum() for kind in summary.slopes)
    assert moved > 0.1  # events


def test_normalizations_scale_their_own_process():
    nominal = features().weights.sum(dim=0)
    up = features(z_normalization=1.0).weights.sum(dim=0)
    torch.testing.assert_close(
        up / nominal, torch.tensor([1.0, 1.0, 1.1, 1.0, 1.0], dtype=torch.float64)
    )


def test_tau_energy_scale_scales_the_visible_mass():
    nominal, up = features(), features(tau_energy_scale=1.0)
    ratio = up.visible_mass / nominal.visible_mass
    assert ratio.median().item() == pytest.approx(1.03, abs=1e-4)
    assert ratio.max() < 1.03 + 1e-9


def test_trigger_takes_events_and_never_adds_any():
    weights = features().weights
    assert bool((weights <= torch.tensor(YIELDS, dtype=torch.float64)).all())
    assert features(trigger_threshold=1.0).weights.sum() < weights.sum()


# Objectives


def test_profiling_adds_uncertainty():
    _, outcome = summarize_design(PROBLEM, START, Seed(1), 1_000)
    assert outcome.objective > outcome.metrics["uncertainty without nuisances"]


def test_few_simulated_events_cost_sensitivity_in_training():
    """The variance of the simulation falls as one over the rows; without it nothing is lost."""
    summary, _ = summarize_design(PROBLEM, START, Seed(1), 400)
    bare, full = (ProfiledStrength(nuisances(), flag) for flag in (False, True))
    whole = nuisances().augment(START)
    twice = merge([summary, summary])
    losses = [
        float(full(rows, whole).objective / bare(rows, whole).objective)
        for rows in (summary, twice)
    ]
    assert losses[0] > losses[1] > 1.0


@pytest.mark.parametrize("simulation_errors", [False, True])
def test_a_bin_without_simulated_events_tells_nothing(simulation_errors):
    """A shifted parameter moves an event into a bin that is empty: it counts as no bin at all."""
    objective = ProfiledStrength(nuisances(), simulation_errors)
    summary, _ = summarize_design(PROBLEM, START, Seed(1), 400)
    slopes = dict(summary.slopes)
    moved = torch.zeros_like(slopes["background"][:, :1])
    moved[7] = 3.0
    wider = SummaryWithSlopes(
        TemplateRows(*(torch.nn.functional.pad(rows, (0, 1)) for rows in summary.values.tensors())),
        {
            "signal": torch.cat([slopes["signal"], torch.zeros_like(moved)], dim=1),
            "background": torch.cat([slopes["background"], moved], dim=1),
        },
    )
    whole = nuisances().augment(START)
    torch.testing.assert_close(
        objective(wider, whole).objective, objective(summary, whole).objective
    )


def test_cross_entropy_is_that_of_torch():
    problem = build(Config(n_hidden=3, n_bins=5, training="cross_entropy"))
    problem = problem.with_dtype(torch.float64)
    _, outcome = summarize_design(problem, problem.space.start, Seed(1), 300)
    rng = Seed(1).child(0).generator()
    events = TauPairs()(300, rng, torch.float64)
    whole = problem.nuisances.augment(problem.space.start)
    scored = problem.reconstruction(problem.simulator(events, whole, rng), whole)
    label = torch.zeros_like(scored.score)
    label[:, :2] = 1.0
    weights = scored.weights.clone()
    weights[:, :2] /= 2 * weights[:, :2].sum()
    weights[:, 2:] /= 2 * weights[:, 2:].sum()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scored.score, label, weights, reduction="sum"
    )
    assert outcome.objective.item() == pytest.approx(expected.item(), rel=1e-9)


def test_cross_entropy_leaves_the_edges_alone():
    problem = build(Config(training="cross_entropy"))
    assert "edges" in problem.space.frozen
