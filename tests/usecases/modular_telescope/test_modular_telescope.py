"""Modular telescope: trackers, information, and which arrangement suits which target."""

import math

import pytest
import torch

from detopt.errors import ConfigError
from detopt.gradients import Verdict, check_gradients
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.usecases import load
from detopt.usecases.modular_telescope import Config, build
from detopt.usecases.modular_telescope.config import ARRANGEMENTS
from detopt.usecases.modular_telescope.information import absorption, place_error, scattering
from detopt.usecases.modular_telescope.targets import TARGETS, Objects, ObjectSource
from detopt.usecases.modular_telescope.trackers import arrange, found, slope_error

DOUBLE = torch.float64
SETTING = (1.0, 86_400.0, 0.0)


def number(value):
    return torch.tensor(value, dtype=DOUBLE)


def design(kind="wide", **changes):
    values = {
        "arrangement": float(ARRANGEMENTS.index(kind)),
        "spacing": 0.3,
        "aim": 0.0,
        "view_angle": 0.8,
        "pitch": 0.01,
        "efficiency": 0.9,
    }
    return {name: number(value) for name, value in {**values, **changes}.items()}


def sphere(target, radius=1.0):
    return Objects(number([list(target.center)]), number([radius]))


def square(name, kind, **changes):
    target = TARGETS[name]
    trackers = arrange(target, design(kind, **changes))
    return absorption(target, trackers, sphere(target), SETTING, soft=False)[0].item()


# Trackers


@pytest.mark.parametrize(
    ("n", "expected"),
    [(3, 0.9**3), (6, 0.98415)],  # binomial: 0.9^6 + 6 0.9^5 0.1 + 15 0.9^4 0.01
)
def test_a_tower_is_redundant_and_a_short_tracker_is_not(n, expected):
    assert found(n, number(0.9)).item() == pytest.approx(expected)


@pytest.mark.parametrize("n", [3, 6])
def test_resolution_is_that_of_a_straight_line_fit(n):
    z = torch.linspace(-0.75, 0.75, n, dtype=DOUBLE)
    expected = 0.01 / math.sqrt(12) / z.square().sum().sqrt().item()
    assert slope_error(n, number(1.5), number(0.01)).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", ARRANGEMENTS)
def test_trackers_look_at_the_target(name, kind):
    target = TARGETS[name]
    trackers = arrange(target, design(kind, aim=0.0))
    ahead = torch.nn.functional.normalize(number(target.center) - trackers.place, dim=-1)
    torch.testing.assert_close(trackers.axis[:, 2], ahead)
    orthogonal = trackers.axis @ trackers.axis.mT
    torch.testing.assert_close(orthogonal, torch.eye(3, dtype=DOUBLE).expand_as(orthogonal))
    area = trackers.acceptance(ahead[None], 1.0, soft=False)
    assert area.sum().item() == pytest.approx(2 if kind in {"wide", "two_views"} else 1)


def test_two_views_differ_by_their_angle():
    trackers = arrange(TARGETS["block"], design("two_views", view_angle=math.pi / 2))
    level = torch.nn.functional.normalize(trackers.axis[:, 2, :2], dim=-1)
    assert (level[0] @ level[1]).item() == pytest.approx(0, abs=1e-12)


# Information


def test_twice_the_area_is_twice_the_information():
    assert square("void", "wide") == pytest.approx(2 * square("void", "sandwich"))


def test_twice_the_time_is_twice_the_information():
    target = TARGETS["void"]
    trackers = arrange(target, design())
    twice = (1.0, 2 * SETTING[1], 0.0)
    once, again = (
        absorption(target, trackers, sphere(target), setting, soft=False)[0].item()
        for setting in (SETTING, twice)
    )
    assert again == pytest.approx(2 * once)


def test_uncertain_expectations_limit_the_significance():
    """For ever: Z tends to the signal over the uncertainty, whatever the time."""
    target = TARGETS["void"]
    trackers = arrange(target, design())
    values = [
        absorption(target, trackers, sphere(target), (1.0, time, 0.01), soft=False)[0].item()
        for time in (1e12, 1e14)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_one_view_knows_nothing_about_the_distance():
    target = TARGETS["block"]
    one = arrange(target, design("wide"))
    _, information = absorption(target, one, sphere(target), SETTING, soft=False)
    along = torch.nn.functional.normalize(number(target.center), dim=-1)
    assert (along @ information[0] @ along).item() == pytest.approx(0, abs=1e-9)
    two = arrange(target, design("two_views", view_angle=1.5))
    _, information = absorption(target, two, sphere(target), SETTING, soft=False)
    assert (along @ information[0] @ along).item() > 0.1


def test_without_information_the_place_is_that_of_the_prior():
    error = place_error(torch.zeros(1, 3, 3, dtype=DOUBLE), TARGETS["block"]).item()
    assert error == pytest.approx(math.sqrt(sum(half**2 / 3 for half in TARGETS["block"].half)))


def test_a_sandwich_sees_more_of_a_larger_lump():
    target = TARGETS["cargo"]
    trackers = arrange(target, design("sandwich"))
    small, large = (
        scattering(target, trackers, sphere(target, radius), SETTING, soft=False).item()
        for radius in (0.05, 0.1)
    )
    assert large > 4 * small  # four times the muons, each with more to say


def test_scattering_counts_the_muons_that_cross_both_trackers(rng):
    """With perfect planes and a lump that scatters all: the square is the number of muons."""
    target = TARGETS["cargo"]
    trackers = arrange(target, design("sandwich", pitch=1e-9, efficiency=1 - 1e-9))
    lump = sphere(target, 0.1)
    found = scattering(target, trackers, lump, SETTING, soft=False).item()
    reach = target.gap / 2 + 0.6
    slopes = 2 * (torch.rand(100_000, 2, generator=rng, dtype=DOUBLE) - 0.5)
    solid = 4 * ((slopes * reach).abs() < 0.5).all(dim=-1).double().mean().item()
    vertical = 80.0  # 1/(m2 s sr) above 0.2 GeV
    n = solid * vertical * SETTING[1] * math.pi * 0.1**2
    assert 0.3 * n < found < 1.1 * n


@pytest.mark.parametrize("name", TARGETS)
def test_information_has_the_right_gradient(name, rng):
    target = TARGETS[name]
    drawn = ObjectSource(target)(3, rng, DOUBLE)

    def information(spacing, aim, view_angle, pitch, efficiency):
        values = design("two_views")
        values |= {"spacing": spacing, "aim": aim, "view_angle": view_angle}
        values |= {"pitch": pitch, "efficiency": efficiency}
        trackers = arrange(target, values)
        square, place = absorption(target, trackers, drawn, SETTING, soft=True)
        return square.log1p(), place_error(place, target)

    inputs = [number(value).requires_grad_() for value in (0.2, 0.03, 0.7, 0.012, 0.9)]
    assert torch.autograd.gradcheck(information, inputs, atol=1e-4, rtol=1e-3)


# Problems


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("kind", ARRANGEMENTS)
def test_expected_and_random_measurements_agree(name, kind):
    problem = build(Config(target=name))
    soft, hard = (
        float(summarize_design(one, problem.baselines[kind], Seed(1), 2_000)[1].objective)
        for one in (problem, problem.reference)
    )
    assert soft == pytest.approx(hard, rel=0.05)


@pytest.mark.parametrize(("name", "kind"), [("cargo", "sandwich"), ("block", "two_views")])
def test_physics_decides(name, kind):
    problem = build(Config(target=name))
    errors = {
        other: float(summarize_design(problem, one, Seed(1), 500)[1].objective)
        for other, one in problem.baselines.items()
    }
    assert min(errors, key=errors.__getitem__) == kind


def test_gradients_of_planes_that_are_built_anew_agree():
    options = {"arrangement": "two_views", "free": ("pitch", "efficiency")}
    problem = build(Config(**options))
    problem = problem.with_space(problem.space.freeze("arrangement"))
    checks = check_gradients(problem, n_events=64, n_repeats=8)
    assert [check.verdict for check in checks] == [Verdict.AGREES] * 5


def test_planes_stay_as_they_are_for_a_new_target():
    free = {parameter.name for parameter in build(Config()).space.free}
    assert free == {"arrangement", "spacing", "aim", "view_angle"}


def test_a_picture_shows_all_trackers():
    for kind, n in (("tower", 1), ("wide", 2), ("sandwich", 2), ("two_views", 2)):
        problem = build(Config(target="cargo"))
        boxes = problem.scene(problem.baselines[kind]).boxes
        assert sum(box.label == "trackers" for box in boxes) == n


@pytest.mark.parametrize("options", [{"target": "moon"}, {"arrangement": "heap"}])
def test_unknown_choices_are_refused(options):
    with pytest.raises(ConfigError, match="Input should be"):
        load("modular_telescope").configure(options)
