"""What flows through the scanner: muons, hits, estimates."""

__all__ = ["Estimates", "Hits", "MomentumShares", "Muons", "Readout", "Scans"]

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from detopt.reconstruction import ClosestApproach, MuonTracks


@dataclass(frozen=True)
class Muons:
    """Muons at one height, on straight lines.

    Args:
        position: x and y at `height` [m].
        slope: dx/dz and dy/dz, z pointing up.
        momentum: Momentum [GeV/c].
        height: Where the positions hold [m].
    """

    position: Float[Tensor, "2 n_volumes n_muons"]
    slope: Float[Tensor, "2 n_volumes n_muons"]
    momentum: Float[Tensor, "n_volumes n_muons"]
    height: float


@dataclass(frozen=True)
class Scans:
    """Volumes with the muons that crossed them; nothing of it depends on the design.

    Args:
        voxels: Index of the material in each voxel.
        target: What each scan shall find out, or 0 where the voxels are asked for.
        before: The muons before the volume.
        after: The same muons behind it.
        stopped: Whether a muon ended inside.
        parameters: Parameters of a known geometry, whose voxels are none; None for voxels.
    """

    voxels: Int[Tensor, "n_volumes nx ny nz"]
    target: Float[Tensor, " n_volumes"]
    before: Muons
    after: Muons
    stopped: Bool[Tensor, "n_volumes n_muons"]
    parameters: Float[Tensor, "n_volumes n_parameters"] | None = None


@dataclass(frozen=True)
class Hits:
    """What the panels of one side measure.

    Args:
        weights: Inverse variance of each hit [1/m2]; 0 where there is none.
        weighted: Weight times measured coordinate, x and y first [1/m].
        usable: Probability of at least two hits; 0 or 1 in the hard-edged simulation.
    """

    weights: Float[Tensor, "n_panels n_volumes n_muons"]
    weighted: Float[Tensor, "2 n_panels n_volumes n_muons"]
    usable: Float[Tensor, "n_volumes n_muons"]


@dataclass(frozen=True)
class Readout:
    """Hits above and below the volume, and what is known of each muon.

    Args:
        above, below: Hits of the two sides.
        momentum: Momentum before the volume, taken to be known [GeV/c].
        stopped: Whether the muon ended inside the volume.
    """

    above: Hits
    below: Hits
    momentum: Float[Tensor, "n_volumes n_muons"]
    stopped: Bool[Tensor, "n_volumes n_muons"]


@dataclass(frozen=True)
class MomentumShares:
    """What is known of the momentum of each muon: the shares of a few momenta.

    Args:
        momentum: The momenta, common to all muons or of each [GeV/c].
        share: Probability of each for each muon; they add up to 1.
    """

    momentum: Float[Tensor, "*#batch n_momenta"]
    share: Float[Tensor, "*batch n_momenta"]


@dataclass(frozen=True)
class Estimates:
    """What is reconstructed of each muon.

    Args:
        poca: Point of closest approach of the tracks above and below.
        secant: Path length over height difference of the mean direction, >= 1.
        weight: Probability that both tracks exist; 0 or 1 in the hard-edged simulation.
        momentum: Momentum, taken to be known [GeV/c].
        tracks: The tracks themselves, for reconstructions that need more than their PoCA.
        certainty: Weight of a squared angle beside that of a muon whose momentum is known, <= 1;
            None for 1.
        momenta: What else is known of the momenta, where they are estimated.
    """

    poca: ClosestApproach
    secant: Float[Tensor, "n_volumes n_muons"]
    weight: Float[Tensor, "n_volumes n_muons"]
    momentum: Float[Tensor, "n_volumes n_muons"]
    tracks: MuonTracks | None = None
    certainty: Float[Tensor, "n_volumes n_muons"] | None = None
    momenta: MomentumShares | None = None

    @property
    def angle_weight(self) -> Float[Tensor, "n_volumes n_muons"]:
        """Weight of each squared angle, in units of the momentum, in a mean over muons."""
        return self.weight if self.certainty is None else self.weight * self.certainty
