"""Policy gradient (PPO), through the package `stable-baselines3`."""

__all__ = ["PolicyGradient"]

import copy
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.errors import MethodError
from detopt.optimizers.base import Optimizer, StateDict
from detopt.optimizers.isolation import isolated
from detopt.optimizers.placement import EXTRA, PURPOSE, observation, placed, placement_environment
from detopt.optimizers.records import Records
from detopt.optimizers.unit_cube import UnitCube
from detopt.optional import require
from detopt.pipeline.evaluation import Evaluation, Request
from detopt.random import Seed

N_PASSES = 10  # over the designs of a round
MINI_BATCH = 64  # steps


class PolicyGradient(Optimizer):
    """Train a network that places one coordinate after the other (PPO).

    A round is a batch of episodes of `placement_environment`: in each, the policy sees what it
    has set so far and draws the next coordinate. The reward of a design is minus its objective,
    in units of the spread of all objectives so far; a failed evaluation is rewarded as the worst
    one of its round. Needs far more evaluations than the other methods: it is here to compare with.

    Args:
        space: Design space.
        n_rounds: Rounds that are planned.
        n_events: Events in each evaluation, or None for the problem's own number.
        batch: Designs in a round, >= 2.
        learning_rate: Of the policy, > 0.
        reach: Half width of the search where the domain has no bounds, in units of theta, > 0.
        seed: Seed of the policy's weights and draws.

    References:
        J. Schulman et al., arXiv:1707.06347. S. Qasim et al., arXiv:2412.10237 (placement).
    """

    accepts_discrete = True

    def __init__(
        self,
        space: DesignSpace,
        n_rounds: int,
        n_events: int | None = None,
        batch: int = 32,
        learning_rate: float = 1e-3,
        reach: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__(space, n_rounds)
        if not isinstance(batch, int) or batch < 2:
            raise MethodError(f"`batch` must be a whole number >= 2, got {batch!r}.")
        if not (math.isfinite(learning_rate) and learning_rate > 0):
            raise MethodError(f"`learning_rate` must be > 0, got {learning_rate}.")
        self.n_events = n_events
        self.batch = batch
        self.learning_rate = learning_rate
        self.cube = UnitCube(space, reach)
        self.records = Records(space.n_free)
        self._reach = reach
        self._seed = Seed(int(seed)).child("policy gradient")
        self._agent = self._make_agent()

    def _make_agent(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            learning = require("stable_baselines3", extra=EXTRA, purpose=PURPOSE)
            logger = require("stable_baselines3.common.logger", extra=EXTRA, purpose=PURPOSE)
        with isolated(self._seed.child("weights")):
            agent = learning.PPO(
                "MlpPolicy",
                placement_environment(self.space, lambda _: 0.0, self._reach),
                learning_rate=self.learning_rate,
                n_steps=self.batch * self.cube.n,
                batch_size=min(MINI_BATCH, self.batch * self.cube.n),
                n_epochs=N_PASSES,
                gamma=1.0,
                device="cpu",
            )
        agent.set_logger(logger.Logger(folder=None, output_formats=[]))
        return agent

    def _play(self) -> list[list[tuple[Any, float, Tensor, Tensor]]]:
        """A batch of episodes: of each step what was seen, the action, its value and density."""
        n, policy = self.cube.n, self._agent.policy
        policy.set_training_mode(False)
        episodes: list[list[tuple[Any, float, Tensor, Tensor]]] = [[] for _ in range(self.batch)]
        chosen: list[list[float]] = [[] for _ in range(self.batch)]
        with isolated(self._seed.child("play", self.round)), torch.no_grad():
            for _ in range(n):
                seen = np.stack([observation(one, n) for one in chosen])
                actions, values, densities = policy(torch.as_tensor(seen))
                for i, episode in enumerate(episodes):
                    action = float(actions[i, 0])
                    episode.append((seen[i], action, values[i], densities[i]))
                    chosen[i].append(min(max(action, -1.0), 1.0))
        return episodes

    def ask(self) -> list[Request]:
        """The designs of a batch of episodes, with common random numbers."""
        actions = torch.tensor(
            [[action for _, action, _, _ in episode] for episode in self._play()],
            dtype=torch.float64,
        )
        return [
            Request(placed(self.cube, row), ("round", self.round), n_events=self.n_events)
            for row in actions
        ]

    def tell(self, evaluations: Sequence[Evaluation]) -> None:
        """Train the policy on the rewards of the batch."""
        episodes = self._play()
        self.records.add(evaluations)
        values = self.records.values[-len(evaluations) :]
        known = self.records.values[self.records.answered]
        if bool(torch.isfinite(values).any()):
            worst = values[torch.isfinite(values)].max()
            values = torch.where(torch.isfinite(values), values, worst)
            spread = float(known.std()) if len(known) > 1 else 0.0
            rewards = -(values - known.mean()) / (spread if spread > 0 else 1.0)
            with isolated(self._seed.child("train", self.round)):
                self._train(episodes, rewards)
        self.round += 1
        self.theta = self.records.thetas[self.records.best()].clone()

    def _train(self, episodes: Sequence[Sequence[Any]], rewards: Tensor) -> None:
        buffer = self._agent.rollout_buffer
        buffer.reset()
        for episode, reward in zip(episodes, rewards.tolist(), strict=True):
            for i, (seen, action, value, density) in enumerate(episode):
                last = i == len(episode) - 1
                buffer.add(
                    seen[None],
                    np.array([[action]], dtype=np.float32),
                    np.array([reward if last else 0.0]),
                    np.array([i == 0]),
                    value.reshape(1, 1),
                    density.reshape(1),
                )
        buffer.compute_returns_and_advantage(torch.zeros(1), np.array([True]))
        self._agent.train()

    def recommend(self) -> Float[Tensor, " n_free"]:
        """The design with the lowest objective; noise favors it, so evaluate it again."""
        return self.theta.clone()

    def state_dict(self) -> StateDict:
        """All evaluations so far, and the policy with its own optimizer."""
        return super().state_dict() | {
            "records": self.records.state_dict(),
            "policy": copy.deepcopy(dict(self._agent.policy.state_dict())),
            "rule": copy.deepcopy(self._agent.policy.optimizer.state_dict()),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from a stored state."""
        super().load_state_dict(state)
        self.records.load_state_dict(state["records"])
        self._agent = self._make_agent()
        self._agent.policy.load_state_dict(state["policy"])
        self._agent.policy.optimizer.load_state_dict(copy.deepcopy(state["rule"]))
