"""A library of depths: energy that stored showers have deposited up to every depth of a block."""

__all__ = ["ShowerLibrary", "make_library", "write_library"]

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from detopt.errors import ConfigError
from detopt.physics import materials
from detopt.physics.shower_stacks import Layer, Stack, stack_medium
from detopt.physics.tuned_showers import expected_layer_energies, load_tuning, tuned_shape
from detopt.random import Seed
from detopt.simulators.geant4 import Geant4, ParticleGun, simulate_stack
from detopt.usecases import benchmark_layer_placement
from detopt.usecases.sampling_calorimeter.config import Config

STEP, DEPTH = 0.1, 32.0  # radiation lengths: of the nodes, of the block
N_SHOWERS = 4_000
MEV = 1e-3  # GeV
EMPTY = 1e-9  # share of the energy
FIELDS = {"energy", "cumulative", "step", "absorber", "label"}


@dataclass(frozen=True)
class ShowerLibrary:
    """Showers of electrons in a block of absorber.

    Attributes:
        energy: Energy of each [GeV].
        cumulative: Energy deposited up to each node [GeV].
        step: Distance of the nodes [m].
        absorber: Material of the block.
        label: Where the showers come from.
    """

    energy: Float[Tensor, " showers"]
    cumulative: Float[Tensor, "showers nodes"]
    step: float
    absorber: str
    label: str

    def deposited(self, depth: Float[Tensor, " layers"]) -> Float[Tensor, "showers layers"]:
        """Energy in front of some depths [m], cubic between the nodes; differentiable."""
        table = benchmark_layer_placement.ShowerLibrary(self.cumulative[:, None], self.step)
        return table.deposited(depth)[:, 0]

    @classmethod
    def read(cls, path: str | Path) -> "ShowerLibrary":
        """The library in a file that `write_library` wrote.

        Raises:
            ConfigError: There is no such file, or it is something else.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                if set(found.files) != FIELDS:
                    raise ValueError(f"it holds {', '.join(found.files)}")
                return cls(
                    torch.from_numpy(found["energy"]).double(),
                    torch.from_numpy(found["cumulative"]).double(),
                    float(found["step"]),
                    str(found["absorber"]),
                    str(found["label"]),
                )
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path} is no library of showers: {error}.") from error


def write_library(
    path: str | Path, config: Config, n_showers: int, geant4: Geant4 | None = None
) -> ShowerLibrary:
    """Simulate electrons in a block of the first absorber with Geant4, and keep them in a file.

    Args:
        path: The file (npz).
        config: Options of the use case: absorber, energies, width and seed.
        n_showers: How many.
        geant4: Data, physics and processes.

    Raises:
        NotFoundError: There are no data for Geant4.
        SimulationError: Geant4 failed.
    """
    stack = _block(config.absorber[0])
    gun = ParticleGun("e-", (config.low_energy, config.high_energy))
    rng = Seed("shower library", config.seed).generator()
    primaries = gun(n_showers, rng, torch.float64)
    found = simulate_stack(stack, primaries, config.seed, config.width, geant4=geant4)
    library = _library(primaries.energy, found.energy, stack, config.absorber[0], found.label)
    np.savez_compressed(
        path,
        energy=library.energy.numpy(),
        cumulative=library.cumulative.numpy().astype(np.float32),
        step=library.step,
        absorber=library.absorber,
        label=library.label,
    )
    return library


def make_library(config: Config) -> ShowerLibrary:
    """The library of the options: that of a file, or one of the fast model's showers.

    The latter have the fast model's shapes, local fluctuations, and those of the tracks that cross
    an active layer in which a minimum ionizing particle loses 1 MeV.

    Raises:
        ConfigError: The file is no library, or one for another absorber.
    """
    if config.library is not None:
        found = ShowerLibrary.read(config.library)
        if found.absorber != config.absorber[0]:
            raise ConfigError(
                f"{config.library} holds showers in {found.absorber}, not in {config.absorber[0]}."
            )
        return found
    return _fast_library(config.absorber[0], config.low_energy, config.high_energy, config.seed)


@functools.lru_cache(maxsize=4)
def _fast_library(absorber: str, low: float, high: float, seed: int) -> ShowerLibrary:
    """Showers of the fast model in a block."""
    stack, tuning = _block(absorber), load_tuning()
    rng = Seed("shower library", seed).generator()
    energy = low * (high / low) ** torch.rand(N_SHOWERS, generator=rng, dtype=torch.float64)
    normals = torch.randn(N_SHOWERS, 2, generator=rng, dtype=torch.float64)
    shape = tuned_shape(energy, stack_medium(stack), normals, tuning)
    share = expected_layer_energies(stack, energy, shape, tuning) / energy[:, None]
    steps = torch.randn(share.shape, generator=rng, dtype=torch.float64) * share.sqrt()
    bridge = steps - share * steps.sum(1, keepdim=True)
    reach = round(float(tuning.sampling[3]) / STEP)
    nearby = [
        torch.nn.functional.avg_pool1d(one, 2 * reach + 1, 1, reach) for one in (bridge, share)
    ]
    local = nearby[0] / nearby[1].clamp(min=EMPTY)
    noise = (float(tuning.sampling[2]) * MEV / energy).sqrt()[:, None]
    deposit = energy[:, None] * share * (1 + noise * local)
    tracks = torch.randn(share.shape, generator=rng, dtype=torch.float64)
    deposit = deposit + (float(tuning.sampling[0]) * MEV * energy[:, None] * share).sqrt() * tracks
    return _library(energy, deposit, stack, absorber, "fast shower model")


def _block(absorber: str) -> Stack:
    """Thin layers of one material."""
    material = materials.get(absorber)
    layer = Layer(material, STEP * material.radiation_length, active=True)
    return Stack.of([layer] * round(DEPTH / STEP))


def _library(
    energy: Tensor, deposit: Tensor, stack: Stack, absorber: str, label: str
) -> ShowerLibrary:
    cumulative = torch.nn.functional.pad(deposit.double().cumsum(1), (1, 0))
    return ShowerLibrary(energy, cumulative, float(stack.thickness[0]), absorber, label)
