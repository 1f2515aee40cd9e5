"""Training of an imaging network on simulated scans."""

__all__ = ["ImagerTraining", "train_imager"]

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from detopt.errors import DomainError
from detopt.random import Seed
from detopt.reconstruction.imaging_network import ImagingNetwork, log_scattering
from detopt.surrogates.training import Training, scheduled
from detopt.usecases.muon_scanner.imaging.scans import ImagingScans, random_scans

VOLUMES = 4  # in a step; they share a detector
HELD_OUT = 24  # groups of volumes that no step sees
LONGEST = 1.0  # norm to which a longer gradient is cut

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImagerTraining:
    """A trained network, and what became of it.

    Args:
        network: Frozen.
        n_steps: Steps of the training.
        seed: Of scans and starting weights.
        error: Root mean square error of the logarithm of the scattering on held-out scans.
        spread: Standard deviation of the true logarithm there.
        cpu_s: CPU time of the training [s].
    """

    network: ImagingNetwork
    n_steps: int
    seed: int
    error: float
    spread: float
    cpu_s: float

    @property
    def recipe(self) -> dict[str, int | float]:
        """What a file of the network says about its training."""
        return {
            "n_steps": self.n_steps,
            "seed": self.seed,
            "volumes": self.n_steps * VOLUMES,
            "held_out_volumes": HELD_OUT * VOLUMES,
            "held_out_error": round(self.error, 4),
            "held_out_spread": round(self.spread, 4),
            "cpu_s": round(self.cpu_s, 1),
        }


def train_imager(
    n_steps: int = 1_800,
    seed: int = 0,
    learning_rate: float = 1.5e-3,
    progress: Progress | None = None,
) -> ImagerTraining:
    r"""A network trained on `random_scans`, each of which it sees once, and frozen.

    It lowers the mean square error of :math:`\ln(1 + \lambda/\lambda_w)` over the voxels, so that
    it tends to the mean of what may be in a voxel, given the muons.

    Args:
        n_steps: Steps, each on four fresh volumes scanned with a fresh detector.
        seed: Of scans and starting weights.
        learning_rate: At the start; it falls to 0 as a half cosine.
        progress: Told the steps done, and their number.

    Raises:
        DomainError: `n_steps` is not positive, or `learning_rate` is not.
    """
    if n_steps < 1:
        raise DomainError(f"`n_steps` must be >= 1, got {n_steps}.")
    if not learning_rate > 0:
        raise DomainError(f"`learning_rate` must be > 0, got {learning_rate:g}.")
    begin = time.process_time()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ImagingNetwork()
    training = Training(learning_rate=learning_rate, weight_decay=1e-4)
    rule, rate = scheduled(network.parameters(), training, n_steps)
    rng = Seed(seed, "imaging network", "training").generator()
    for step in range(n_steps):
        loss = _loss(network, random_scans(VOLUMES, rng))
        rule.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), LONGEST)
        rule.step()
        rate.step()
        if progress is not None:
            progress(step + 1, n_steps)
    network.requires_grad_(False)
    spent = time.process_time() - begin
    error, spread = _judge(network, seed)
    return ImagerTraining(network, n_steps, seed, error, spread, spent)


def _loss(network: ImagingNetwork, scans: ImagingScans) -> torch.Tensor:
    found = network(scans.tracks, scans.weight, scans.grid)
    return (found - log_scattering(scans.density)).square().mean()


@torch.no_grad()
def _judge(network: ImagingNetwork, seed: int) -> tuple[float, float]:
    """Error of the logarithm on held-out scans, and the spread of the truth."""
    rng = Seed(seed, "imaging network", "held out").generator()
    errors, truths = [], []
    for _ in range(HELD_OUT):
        scans = random_scans(VOLUMES, rng)
        true = log_scattering(scans.density)
        errors.append((network(scans.tracks, scans.weight, scans.grid) - true).reshape(-1))
        truths.append(true.reshape(-1))
    return float(torch.cat(errors).square().mean().sqrt()), float(torch.cat(truths).std())
