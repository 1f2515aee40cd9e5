"""Sequential placement: a design as a game, one coordinate after the other."""

__all__ = ["placement_environment"]

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.design import DesignSpace
from detopt.optimizers.unit_cube import UnitCube
from detopt.optional import require

EXTRA, PURPOSE = "rl", "Reinforcement learning"
Reward = Callable[[Float[Tensor, " n_free"]], float]


def placement_environment(space: DesignSpace, reward: Reward, reach: float = 4.0) -> Any:
    """An environment of the package `gymnasium` in which a design is made step by step.

    An episode has one step for each coordinate of the space's unit cube (`UnitCube`). The action,
    from -1 to 1, sets it: of an ordered parameter, such as the positions of layers, it is how
    much of the room that is left the next distance takes; of a whole number or a category, it
    falls into the cell of one choice. The agent sees what is set so far, 0 elsewhere, and which
    coordinates are set. There is no reward before the last step, which evaluates the design; a
    design that breaks a limit is moved onto it first.

    Args:
        space: Design space, of any parameters.
        reward: What a design is worth, at its theta.
        reach: Half width of the choices where the domain has no bounds, in units of theta, > 0.

    Returns:
        A `gymnasium.Env`; `info["theta"]` of the last step is the design.

    Raises:
        MissingExtraError: The package is not installed.
    """
    gymnasium = require("gymnasium", extra=EXTRA, purpose=PURPOSE)
    cube = UnitCube(space, reach)

    class Placement(gymnasium.Env):  # type: ignore[misc, name-defined]
        """See `placement_environment`."""

        def __init__(self) -> None:
            low = -np.ones(2 * cube.n, dtype=np.float32)
            self.observation_space = gymnasium.spaces.Box(low, -low, dtype=np.float32)
            self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
            self._chosen: list[float] = []

        def reset(
            self, *, seed: int | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Any, dict[str, Any]]:
            """An empty design."""
            super().reset(seed=seed, options=options)
            self._chosen = []
            return observation(self._chosen, cube.n), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            """Set the next coordinate."""
            self._chosen.append(float(np.clip(np.asarray(action).reshape(-1)[0], -1.0, 1.0)))
            seen = observation(self._chosen, cube.n)
            if len(self._chosen) < cube.n:
                return seen, 0.0, False, False, {}
            theta = placed(cube, torch.tensor(self._chosen, dtype=torch.float64))
            return seen, float(reward(theta)), True, False, {"theta": theta}

    return Placement()


def observation(chosen: list[float], n: int) -> Any:
    """What is set so far, and a mark for each coordinate that is set."""
    seen = np.zeros(2 * n, dtype=np.float32)
    seen[: len(chosen)] = chosen
    seen[n : n + len(chosen)] = 1.0
    return seen


def placed(cube: UnitCube, actions: Float[Tensor, " n"]) -> Float[Tensor, " n_free"]:
    """The allowed design that a whole episode made."""
    return cube.bring_in(cube.theta((actions.clamp(-1, 1) + 1) / 2))
