"""Policy gradient: the placement game, and a policy that learns to play it."""

import dataclasses

import numpy as np
import pytest
import torch

from detopt.design import Categorical, Continuous, DesignSpace, Limit, Ordered
from detopt.optimizers import make
from detopt.optimizers.placement import placement_environment
from detopt.pipeline import FunctionProblem, evaluate
from detopt.random import Seed

SPACE = DesignSpace(
    [
        Continuous("layers", [0.3, 0.6], Ordered(0.0, 1.0, gap=0.1)),
        Categorical("sensor", ("a", "b"), "a"),
    ]
)


def play(environment, actions):
    seen, _ = environment.reset(seed=0)
    history = [seen]
    for action in actions:
        seen, reward, terminated, truncated, info = environment.step(np.array([action]))
        history.append(seen)
        assert environment.observation_space.contains(seen)
        assert not truncated
    return history, reward, terminated, info


def test_episode_places_one_coordinate_after_the_other():
    environment = placement_environment(SPACE, lambda theta: 7.0)
    history, reward, terminated, info = play(environment, [-0.5, 0.25, 0.9])
    assert history[0].tolist() == [0, 0, 0, 0, 0, 0]
    assert history[2].tolist() == [-0.5, 0.25, 0, 1, 1, 0]
    assert (reward, terminated) == (7.0, True)
    design = SPACE.design(info["theta"])
    SPACE.check(design)
    assert float(design["sensor"]) == 1.0


def test_distance_to_the_next_layer_is_a_share_of_the_room_that_is_left():
    """Two of three shares: u = 1/2 takes 1 - (1/2)^(1/2), then 1/2 of the rest; room 0.9."""
    environment = placement_environment(SPACE, lambda theta: 0.0)
    _, _, _, info = play(environment, [0.0, 0.0, -1.0])
    first = 1 - 0.5**0.5
    expected = [0.9 * first, 0.9 * (first + (1 - first) / 2) + 0.1]
    assert SPACE.design(info["theta"])["layers"].tolist() == pytest.approx(expected)


def test_design_that_breaks_a_limit_is_moved_before_it_is_rewarded():
    limit = Limit("end", lambda d: d["layers"][..., -1], 0.7)
    space = DesignSpace(SPACE.parameters, limits=[limit])
    environment = placement_environment(space, lambda theta: float(space.allows(theta)))
    _, reward, _, info = play(environment, [0.9, 0.9, 0.0])
    assert reward == 1.0
    assert float(space.design(info["theta"])["layers"][-1]) == pytest.approx(0.7, abs=1e-3)


def test_environment_passes_the_check_of_gymnasium():
    from gymnasium.utils.env_checker import check_env

    check_env(placement_environment(SPACE, lambda theta: 0.0), skip_render_check=True)


def test_policy_learns_where_the_layers_belong():
    def loss(design, n_events, rng):
        far = (design["layers"] - torch.tensor([0.2, 0.8], dtype=torch.float64)).square().sum()
        return (far + 0.2 * (design["sensor"] != 1)).expand(n_events)

    problem = FunctionProblem(SPACE, loss, n_events=2, dtype=torch.float64)
    optimizer = make("policy_gradient", SPACE, 20, {"batch": 24, "learning_rate": 3e-3})
    means = []
    for _ in range(20):
        requests = [dataclasses.replace(r, std_error=False) for r in optimizer.ask()]
        answers = [evaluate(problem, request, Seed(0)) for request in requests]
        means.append(sum(answer.value for answer in answers) / len(answers))
        optimizer.tell(answers)
    assert sum(means[-4:]) < 0.65 * sum(means[:4])
    assert float(SPACE.design(optimizer.recommend())["sensor"]) == 1.0
