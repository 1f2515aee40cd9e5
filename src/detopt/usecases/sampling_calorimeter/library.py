"""A library of depths: energy that stored showers have deposited up to every depth of a block."""

__all__ = ["ShowerLibrary", "make_library", "write_library"]

import functools
import math
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
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
REACH = 0.3  # radiation lengths: standard deviation of the smoothing; showers change over several
CUT = 4.0  # standard deviations, where its kernel ends
N_WIDTHS, WIDEST = 12, 20.0  # of layers whose tracks are looked at; times `STEP`
N_LOOKED = 500  # showers
N_SHOWERS = 8_000  # half of them for verdicts
MOST_EMPTY = 10.0  # mean distances of showers, at either end of the spectrum
MEV = 1e-3  # GeV
EMPTY = 1e-9  # share of the energy
FIELDS = {"energy", "cumulative", "step", "absorber", "label"}
UNREADABLE = (OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)


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

    @functools.cached_property
    def smooth(self) -> "ShowerLibrary":
        """The showers without the fluctuations of single tracks: with a moving mean of deposits.

        It reaches over 0.3 radiation lengths, on which the density of a shower hardly changes.
        """
        reach = REACH * materials.get(self.absorber).radiation_length / self.step
        far = math.ceil(CUT * reach)
        place = torch.arange(-far, far + 1, dtype=torch.float64)
        kernel = torch.exp(-(place / reach).square() / 2)[None, None]
        deposit = self.cumulative.diff(dim=1)[:, None]
        inside = torch.ones_like(deposit[:1])
        means, shares = (
            torch.nn.functional.conv1d(one, kernel, padding=far)[:, 0] for one in (deposit, inside)
        )
        cumulative = torch.nn.functional.pad((means / shares).cumsum(1), (1, 0))
        return replace(self, cumulative=cumulative)

    def track_energy(self, width: Float[Tensor, " layers"]) -> Float[Tensor, " layers"]:
        """Variance over mean [GeV] of what single tracks add to the energy in a layer.

        It is what `smooth` lacks of the variance around the mean profile, summed over all depths.
        Showers count with the inverse square of their energy: the shapes of those with much energy
        vary by more than their tracks.

        Args:
            width: Thickness of the layers [m]; below that of a node it counts as one.
        """
        widths, energies = self._track_energies
        place = torch.log(width / widths[0]) / torch.log(widths[1] / widths[0])
        place = place.clamp(0.0, N_WIDTHS - 1.0)
        below = place.detach().floor().long().clamp(max=N_WIDTHS - 2)
        share = place - below
        return (1 - share) * energies[below] + share * energies[below + 1]

    @functools.cached_property
    def _track_energies(self) -> tuple[Float[Tensor, " widths"], Float[Tensor, " widths"]]:
        """Thicknesses [m], in equal ratios, and what `track_energy` is for them [GeV]."""
        looked = self.part(torch.arange(len(self.energy)) < N_LOOKED)
        widths = self.step * torch.logspace(0, math.log10(WIDEST), N_WIDTHS, dtype=torch.float64)
        nodes = self.step * torch.arange(self.cumulative.shape[1], dtype=torch.float64)
        found = []
        for half in widths / 2:
            inside, smooth = (
                (one.deposited(nodes + half) - one.deposited(nodes - half)) / one.energy[:, None]
                for one in (looked, looked.smooth)
            )
            variance = inside.var(0) - smooth.var(0)
            found.append(variance.sum() / (smooth / looked.energy[:, None]).mean(0).sum())
        return widths, torch.stack(found).clamp(min=0.0)

    def halves(self) -> tuple["ShowerLibrary", "ShowerLibrary"]:
        """Showers for the search, and others for verdicts."""
        even = torch.arange(len(self.energy)) % 2 == 0
        return self.part(even), self.part(~even)

    def part(self, which: Bool[Tensor, " showers"]) -> "ShowerLibrary":
        """The library of some of the showers."""
        return replace(self, energy=self.energy[which], cumulative=self.cumulative[which])

    @classmethod
    def read(cls, path: str | Path) -> "ShowerLibrary":
        """The library in a file that `write_library` wrote.

        Raises:
            ConfigError: There is no such file, it is cut, or it is something else.
        """
        try:
            with Path(path).open("rb") as file, np.lib.npyio.NpzFile(file) as found:
                if set(found.files) != FIELDS:
                    raise ValueError(f"it holds {', '.join(found.files)}")
                names = ("energy", "cumulative", "step")
                energy, cumulative, step = (torch.as_tensor(found[name]) for name in names)
                _refuse_unusable(energy, cumulative, step)
                return cls(
                    energy.double(),
                    cumulative.double(),
                    float(step),
                    str(found["absorber"]),
                    str(found["label"]),
                )
        except UNREADABLE as error:
            raise ConfigError(f"{path} is no library of showers: {error}.") from error


def _refuse_unusable(energy: Tensor, cumulative: Tensor, step: Tensor) -> None:
    """Refuse arrays of the wrong shape, and numbers that no shower has."""
    if (energy.ndim, cumulative.ndim, step.ndim) != (1, 2, 0) or len(energy) != len(cumulative):
        shapes = ", ".join(str(tuple(one.shape)) for one in (energy, cumulative, step))
        raise ValueError(f"energies, energies up to each node and step have the shapes {shapes}")
    if not bool((energy > 0).all() and energy.isfinite().all() and cumulative.isfinite().all()):
        raise ValueError("its energies are not all finite and > 0 GeV")
    if not 0 < float(step) < math.inf:
        raise ValueError(f"the distance of its nodes is {float(step)} m")


def write_library(
    path: str | Path, config: Config, n_showers: int, geant4: Geant4 | None = None
) -> ShowerLibrary:
    """Simulate electrons in a block of the first absorber with Geant4, and keep them in a file.

    Args:
        path: The file (npz).
        config: Options of the use case: absorber, energies, width and seed.
        n_showers: How many; a half serves searches, the other one verdicts.
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
        ConfigError: The file is no library, or one for another absorber or other energies.
    """
    if config.library is not None:
        found = ShowerLibrary.read(config.library)
        if found.absorber != config.absorber[0]:
            raise ConfigError(
                f"{config.library} holds showers in {found.absorber}, not in {config.absorber[0]}."
            )
        return _within(found, config)
    return _fast_library(config.absorber[0], config.low_energy, config.high_energy, config.seed)


def _within(library: ShowerLibrary, config: Config) -> ShowerLibrary:
    """The showers between the energies of the options, which they must cover."""
    low, high = config.low_energy, config.high_energy
    found = library.part((library.energy >= low) & (library.energy <= high))
    n_showers, fewest = len(found.energy), 2 * config.fewest_events
    if n_showers < fewest:
        raise ConfigError(
            f"{config.library} holds {n_showers} showers of {low:g} to {high:g} GeV, and "
            f"{fewest} are needed, half of them for verdicts. Simulate more, or widen the energies."
        )
    place = (found.energy / low).log() / math.log(high / low)
    empty = float(torch.maximum(place.min(), 1 - place.max()))
    if empty * n_showers > MOST_EMPTY:
        ends = [float(one) for one in (found.energy.min(), found.energy.max())]
        raise ConfigError(
            f"{config.library} holds showers of {ends[0]:.3g} to {ends[1]:.3g} GeV, which does not "
            f"cover {low:g} to {high:g} GeV. Set `low_energy` and `high_energy` to what it covers, "
            "or simulate others."
        )
    return found


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
