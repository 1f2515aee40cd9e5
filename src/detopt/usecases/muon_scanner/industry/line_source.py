"""Muons through known geometries: straight paths, scattering in closed form."""

__all__ = ["LineSource", "energy_after", "loss_rates"]

import functools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detopt.physics import particles
from detopt.pipeline import Source
from detopt.usecases.muon_scanner.flow import Muons, Scans
from detopt.usecases.muon_scanner.industry.known_geometry import KnownGeometry
from detopt.usecases.muon_scanner.industry.solids import Body, Lines, lengths, scattering_moments
from detopt.usecases.muon_scanner.sources import MuonSource
from detopt.usecases.muon_scanner.volumes import Substance, substance

MASS = particles.mass("muon")
SLOWEST = 0.01  # GeV; kinetic energy below which a muon counts as stopped
LOSS_RANGE = (0.005, 2_000.0)  # GeV; kinetic energies of the loss table
N_LOSS = 512  # 2.6 % apart, interpolated
NOTHING = 1e-16  # GeV2 rad2; scattering of a muon that meets nothing


class LineSource(Source[Scans]):
    r"""Scans of a known geometry at random parameters.

    The mean of the lines before and behind is drawn, and what a muon meets is taken along it, as
    the likelihood takes it. A path is bent: the line before it misses it by millimetres on the far
    side, which would shift a fitted edge. The two lines differ by one deflection with the whole
    covariance of `scattering_moments`. The momentum that counts is
    the geometric mean of those before and after, exact for a constant energy loss at
    :math:`\beta = 1`: :math:`\langle 1/E^2 \rangle = 1/(E_1 E_2)`.

    Args:
        geometry: The solids and the ranges of their parameters.
        muons: What they are scanned with; drawn on the horizontal plane in the middle.
        n_muons: Muons in a scan.
        energy_loss: Whether muons lose energy.
    """

    def __init__(
        self, geometry: KnownGeometry, muons: MuonSource, n_muons: int, energy_loss: bool = True
    ) -> None:
        super().__init__()
        self.geometry = geometry
        self.muons = muons
        self.n_muons = n_muons
        self.energy_loss = energy_loss

    def forward(self, n_events: int, rng: torch.Generator, dtype: torch.dtype) -> Scans:
        """Fresh parameters and fresh muons."""
        return self.scans(self.geometry.draw(n_events, rng, dtype), rng)

    @torch.no_grad()
    def scans(
        self, parameters: Float[Tensor, "n_volumes n_parameters"], rng: torch.Generator
    ) -> Scans:
        """Scans at given parameters."""
        middle = self.muons.draw(len(parameters), self.n_muons, rng, parameters.dtype)
        lines = Lines(middle.position, middle.slope, middle.height)
        bodies = self.geometry.bodies(parameters)
        energy = (middle.momentum.square() + MASS**2).sqrt()
        last = energy
        if self.energy_loss:
            last = energy_after(bodies, lengths(bodies, lines), energy)
        s00, s01, s11 = scattering_moments(bodies, lines, middle.height)
        strength = (beta_momentum(energy) * beta_momentum(last)).rsqrt()

        normals = torch.randn(2, 2, *energy.shape, generator=rng, dtype=energy.dtype)
        first = s00.clamp_min(NOTHING).sqrt()
        slant = s01 / first
        second = (s11 - slant.square()).clamp_min(0).sqrt()
        kick = normals[0] * first * strength
        shift = (normals[0] * slant + normals[1] * second) * strength
        kick, shift = (_spread(planes, middle.slope) for planes in (kick, shift))
        height = middle.height
        before, after = (
            Muons(middle.position + sign * shift, middle.slope + sign * kick, momentum, height)
            for sign, momentum in (
                (-0.5, middle.momentum),
                (0.5, (last.square() - MASS**2).sqrt()),
            )
        )
        voxels = torch.zeros(len(parameters), 0, 0, 0, dtype=torch.int64)
        stopped = last <= MASS + SLOWEST
        return Scans(voxels, parameters[:, 0], before, after, stopped, parameters)


def _spread(planes: Float[Tensor, "2 *batch"], slope: Float[Tensor, "2 *batch"]) -> Tensor:
    """From across and along the direction of flight, per projected angle, to x and y."""
    square = slope.square().sum(0)
    secant = (1 + square).sqrt()
    unit = slope / (square + 1e-12).sqrt()
    across, along = planes[0] * secant, planes[1] * secant.square()
    return torch.stack([along * unit[0] - across * unit[1], along * unit[1] + across * unit[0]])


def beta_momentum(energy: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    r""":math:`\beta c p` of muons [GeV] of a total energy [GeV]."""
    return energy - MASS**2 / energy


def energy_after(
    bodies: Sequence[Body], path: Float[Tensor, "n_bodies ..."], energy: Float[Tensor, "..."]
) -> Float[Tensor, "*batch"]:
    """Total energy behind the bodies [GeV], by the midpoint rule; never below a stopped muon's.

    How the loss changes on the way is taken from the body where it is largest: to 1 % it is the
    same in all.

    Args:
        bodies: The solids.
        path: Path length in each [m].
        energy: Total energy before [GeV], of a shape that goes with that of a path.
    """
    least = MASS + SLOWEST
    if energy.numel() == 0:
        return energy
    rates = loss_rates(bodies, energy)
    loss = torch.zeros_like(energy)
    for rate, along in zip(rates, path, strict=True):
        loss = loss + rate * along
    middle = (energy - loss / 2).clamp_min(least)
    main = int(rates.flatten(1).abs().amax(1).argmax())
    change = loss_rates(bodies[main : main + 1], middle)[0] / rates[main]
    return (energy - loss * change).clamp_min(least)


def loss_rates(
    bodies: Sequence[Body], energy: Float[Tensor, "*batch"]
) -> Float[Tensor, "n_bodies *batch"]:
    """Mean energy loss in each body beyond that in what is around [GeV/m]."""
    low, high = LOSS_RANGE
    place = (energy - MASS).clamp(low, high).log()
    place = ((place - math.log(low)) * ((N_LOSS - 1) / math.log(high / low))).clamp(
        0, N_LOSS - 1.001
    )
    index = place.floor()
    part = place - index
    number = index.long()
    rates = []
    for body in bodies:
        table = (_losses(body.material) - _losses(body.around)).to(energy.dtype)
        rates.append(table[number] * (1 - part) + table[number + 1] * part)
    return torch.stack(rates)


@functools.cache
def _losses(given: Substance | None) -> Float[Tensor, " n_energies"]:
    """Mean energy loss of muons [GeV/m] at the energies of the table."""
    from detopt.physics import energy_loss

    if given is None:
        return torch.zeros(N_LOSS, dtype=torch.float64)
    low, high = LOSS_RANGE
    kinetic = torch.logspace(math.log10(low), math.log10(high), N_LOSS, dtype=torch.float64)
    medium = substance(given)
    return energy_loss.stopping_power("muon", medium, kinetic) * medium.density * 100
