"""Alarms at a fixed rate, missed blocks, masses found half the time, and their prediction."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detopt.design import Design
from detopt.usecases.muon_scanner.calibration import Budget
from detopt.usecases.muon_scanner.portal.pictures import portal_pictures
from detopt.usecases.muon_scanner.portal.score import PortalRows
from detopt.usecases.muon_scanner.portal.source import CLEAN
from detopt.usecases.muon_scanner.portal.verdict import (
    PortalGoal,
    PortalJudge,
    PredictedPortal,
    alarm_level,
    half_mass,
    predicted_level,
    roc_curve,
)

GOAL = PortalGoal.of(("U", "Pb"), None, 0.1, "false_negatives")
FREE = Budget(lambda design: torch.zeros(()), None)
N_PLACES = 1000


def predicted(goal, budget):
    return PredictedPortal(goal, budget, N_PLACES)


def rows(n, rng, shift=1.0):
    kind = torch.arange(n) % 3 - 1
    score = -(-torch.rand(n, generator=rng, dtype=torch.float64).log()).log()
    mass = torch.where(kind < 0, 0.0, 5.0 + 10 * torch.rand(n, generator=rng)).double()
    score = score + shift * (kind >= 0)
    return PortalRows(score, kind, mass, score + 1.5, 0.1 * score)


def judged(objective, summary):
    return objective(summary, Design({}))


@pytest.mark.parametrize(("n", "rate", "expected"), [(19, 0.05, 19), (99, 0.1, 90), (3, 0.05, 3)])
def test_the_alarm_level_is_an_order_statistic(n, rate, expected):
    scores = torch.arange(1, n + 1, dtype=torch.float64).flip(0)
    assert alarm_level(scores, rate).item() == expected


def test_false_alarms_keep_their_rate_whatever_the_distribution(rng):
    scores = torch.randn(4_000, 60, generator=rng, dtype=torch.float64).exp()
    levels = torch.stack([alarm_level(row[:-1], 0.1) for row in scores])
    share = (scores[:, -1] > levels).double().mean().item()
    assert share == pytest.approx(0.1, abs=0.015)


def test_the_half_mass_is_that_of_the_efficiency_curve(rng):
    mass = (4 * torch.rand(4_000, generator=rng, dtype=torch.float64)).exp()
    found = torch.sigmoid(3 * (mass / 12).log())
    assert half_mass(mass, found).item() == pytest.approx(12, rel=0.01)
    drawn = (torch.rand(4_000, generator=rng, dtype=torch.float64) < found).double()
    assert half_mass(mass, drawn).item() == pytest.approx(12, rel=0.08)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_half_mass_is_finite_where_all_or_nothing_is_found(share):
    mass = torch.linspace(2, 50, 40, dtype=torch.float64)
    half = half_mass(mass, torch.full((40,), share, dtype=torch.float64)).item()
    assert half < 5 if share else half > 20
    assert math.isfinite(half)


def test_the_half_mass_is_differentiable_in_what_is_found(rng):
    mass = (3 * torch.rand(30, generator=rng, dtype=torch.float64)).exp()
    found = torch.sigmoid((mass / 5).log()).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: half_mass(mass, f), found, eps=1e-6, atol=1e-4)


def test_the_roc_curve_of_equal_scores_is_the_diagonal_and_of_distant_ones_the_corner(rng):
    scores = torch.rand(2_000, generator=rng, dtype=torch.float64)
    false, true = roc_curve(scores[::2], scores[1::2])
    assert (true - false).abs().max().item() < 0.07
    _, certain = roc_curve(scores, scores + 2)
    assert certain.min().item() == 1.0
    assert (true.diff() >= 0).all()


def test_without_a_difference_as_much_is_missed_as_is_no_false_alarm(rng):
    outcome = judged(PortalJudge(GOAL, FREE), rows(60_000, rng, shift=0.0))
    assert outcome.objective.item() == pytest.approx(0.9, abs=0.01)
    assert outcome.metrics["false alarms (cross-fitted)"].item() == pytest.approx(0.1, abs=0.01)


def test_blocks_at_the_predicted_level_are_found_half_the_time():
    # 5 %: asinh(8.75 e^0.42); a signal there is found half the time, one bandwidth above 84 %
    level = math.asinh(8.75 * math.exp(0.84 * 0.5))
    kind = torch.tensor([-1, 0, 1])
    summary = PortalRows(
        score=torch.zeros(3, dtype=torch.float64),
        kind=kind,
        mass=torch.tensor([0.0, 10.0, 10.0], dtype=torch.float64),
        signal=torch.tensor([0.0, level, level + 0.5], dtype=torch.float64),
        noise=torch.full((3,), 0.5, dtype=torch.float64),
    )
    goal = PortalGoal.of(("U", "Pb"), None, 0.05, "false_negatives")
    metrics = judged(PredictedPortal(goal, FREE, N_PLACES), summary).metrics
    assert metrics["missed U"].item() == pytest.approx(0.5)
    assert metrics["missed Pb"].item() == pytest.approx(1 - 0.841345, abs=1e-5)


def test_more_is_missed_where_fewer_false_alarms_are_allowed(rng):
    summary = rows(600, rng)
    missed = [
        judged(
            objective(PortalGoal.of(("U", "Pb"), None, rate, "false_negatives"), FREE), summary
        ).objective.item()
        for objective in (PortalJudge, predicted)
        for rate in (0.01, 0.05, 0.2)
    ]
    assert missed[0] > missed[1] > missed[2]
    assert missed[3] > missed[4] > missed[5]


@settings(deadline=None, max_examples=10)
@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_the_verdict_does_not_depend_on_the_unit_of_the_score(scale, offset):
    summary = rows(600, torch.Generator().manual_seed(3))
    other = replace(summary, score=scale * summary.score + offset)
    a, b = (judged(PortalJudge(GOAL, FREE), one).objective.item() for one in (summary, other))
    assert a == pytest.approx(b, rel=1e-6)


@pytest.mark.parametrize("goal", ["false_negatives", "w50"])
def test_the_predicted_goal_is_differentiable(goal, rng):
    summary = rows(24, rng)
    objective = PredictedPortal(PortalGoal.of(("U", "Pb"), (1.0, 3.0), 0.1, goal), FREE, N_PLACES)

    def value(signal, noise):
        return judged(objective, replace(summary, signal=signal, noise=noise)).objective

    leaves = summary.signal.requires_grad_(), summary.noise.requires_grad_()
    assert torch.autograd.gradcheck(value, leaves, eps=1e-6, atol=1e-4)


@pytest.mark.parametrize("goal", ["false_negatives", "w50"])
@pytest.mark.parametrize("kind", [PortalJudge, predicted])
def test_without_harmless_scans_there_is_no_level_and_everything_is_missed(kind, goal, rng):
    summary = rows(24, rng)
    dangerous = summary.rows((summary.kind != CLEAN).nonzero().flatten())
    objective = kind(PortalGoal.of(("U", "Pb"), None, 0.05, goal), FREE)
    outcome = judged(objective, dangerous)
    assert outcome.metrics["missed U"].item() == outcome.metrics["missed Pb"].item() == 1
    assert math.isfinite(outcome.objective.item())


def test_the_predicted_level_follows_the_size_of_excesses():
    noise = torch.tensor([0.0, 0.4], dtype=torch.float64, requires_grad=True)
    expected = math.asinh(8.75 * math.exp(0.84 * 0.2))
    levels = [predicted_level(noise, rate, N_PLACES) for rate in (0.01, 0.05, 0.2)]
    assert levels[1].item() == pytest.approx(expected)
    assert levels[0] > levels[1] > levels[2]
    assert torch.autograd.gradcheck(lambda one: predicted_level(one, 0.1, N_PLACES), noise)
    faint = noise - 2.4
    assert torch.autograd.gradcheck(lambda one: predicted_level(one, 0.1, N_PLACES), faint)


def test_weights_choose_the_materials_that_matter(rng):
    summary = rows(900, rng)
    only = PortalGoal.of(("U", "Pb"), (0.0, 2.0), 0.1, "false_negatives")
    outcome = judged(PortalJudge(only, FREE), summary)
    assert outcome.objective.item() == pytest.approx(outcome.metrics["missed Pb"].item())


def test_pictures_hold_a_roc_curve_and_an_efficiency_for_each_material(rng):
    pictures = portal_pictures(rows(300, rng), GOAL)
    assert [p.title.split(":")[0] for p in pictures] == [
        "ROC curve for U",
        "ROC curve for Pb",
        "U",
        "Pb",
    ]
    assert pictures[0].x[0] == 0
    assert pictures[0].y[-1] == pytest.approx(1.0)
