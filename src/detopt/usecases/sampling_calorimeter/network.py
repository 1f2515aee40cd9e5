"""A reconstruction that a network learns once and that every design retrains in its last layer."""

__all__ = ["NetworkColumns", "learn_features"]

import functools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detopt.design import Design
from detopt.pipeline import Reconstruction
from detopt.random import Seed
from detopt.usecases.sampling_calorimeter.config import N_FEATURES, Config
from detopt.usecases.sampling_calorimeter.layers import Calorimeter
from detopt.usecases.sampling_calorimeter.reconstruction import Columns
from detopt.usecases.sampling_calorimeter.sources import Signals, fast_showers

N_HIDDEN = 24
N_DESIGNS, N_SHOWERS = 40, 200  # that the features are learned from; showers of each
N_STEPS, LEARNING_RATE = 400, 5e-3
SPREAD = 0.5  # of the designs around the baseline, in theta
FLOOR = 1e-6  # GeV of a calorimeter's signal, below which it is empty


class Features(nn.Module):
    """Smooth functions of how the signal is divided among the layers, and of its size.

    Args:
        n_layers: Active layers.
    """

    def __init__(self, n_layers: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(n_layers + 1, N_HIDDEN),
            nn.Tanh(),
            nn.Linear(N_HIDDEN, N_FEATURES),
            nn.Tanh(),
        )

    def forward(self, signal: Float[Tensor, "n n_layers"]) -> Float[Tensor, "n features"]:
        """Features of showers."""
        total = signal.clamp(min=0.0).sum(1, keepdim=True) + FLOOR
        shares = (signal / total).clamp(-1.0, 1.0)
        inputs = torch.cat([shares * signal.shape[1] - 1, total.log()], dim=1)
        found: Tensor = self.body(inputs)
        return found


class NetworkColumns(Reconstruction[Signals, Columns]):
    r"""The columns of `LinearColumns`, and the total signal times learned features.

    The body of the network is learned once, on showers of the fast model in designs around the
    baseline; its last layer is the regression of the objective, which every design retrains. That
    is transfer learning with a closed form, hence a pure, differentiable function of the design.

    Args:
        config: Options of the use case.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.features = learn_features(config)

    def forward(self, readout: Signals, design: Design) -> Columns:  # noqa: ARG002
        """Signals, 1, and the total times each feature."""
        signal = readout.layer
        features = self.features(signal.float()).to(signal)
        total = signal.sum(1, keepdim=True)
        return Columns(torch.cat([signal, torch.ones_like(total), total * features], dim=1))


def learn_features(config: Config) -> Features:
    """Features that make the energy a linear function, in designs around the baseline.

    Args:
        config: Options of the use case; the same options give the same features, bit by bit.
    """
    return _learn(config.model_dump_json())


@functools.lru_cache(maxsize=4)
def _learn(options: str) -> Features:
    """Learned once for all problems with these options."""
    config = Config.model_validate_json(options)
    calorimeter = Calorimeter(config)
    seed = Seed("sampling calorimeter", "network", config.seed)
    rng = seed.generator()
    energy, signal, total = _showers(calorimeter, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
        features = Features(config.n_layers)
        head = nn.Linear(N_FEATURES, 1)
    weights = [*features.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(weights, lr=LEARNING_RATE)
    for _ in range(N_STEPS):
        chosen = torch.randint(len(energy), (500,), generator=rng)
        estimate = total[chosen] * (1 + head(features(signal[chosen]))[:, 0])
        loss = ((estimate - energy[chosen]).square() / energy[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return features.requires_grad_(False).eval()


def _showers(calorimeter: Calorimeter, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, signals and calibrated totals of showers in random designs."""
    config, space = calorimeter.config, calorimeter.space
    start = space.theta(space.start)
    found = []
    for _ in range(N_DESIGNS):
        step = SPREAD * torch.randn(start.shape, generator=rng, dtype=start.dtype)
        design = space.design(space.admit(start + step))
        uniform = torch.rand(N_SHOWERS, generator=rng, dtype=torch.float64)
        energy = config.low_energy * (config.high_energy / config.low_energy) ** uniform
        stack = calorimeter.stack(design, hard=False)
        signal = fast_showers(config, stack, energy, rng)[:, 1::2]
        total = signal.sum(1)
        found.append((energy, signal, total * energy.sum() / total.sum()))
    return tuple(torch.cat(one).float() for one in zip(*found, strict=True))  # type: ignore[return-value]
