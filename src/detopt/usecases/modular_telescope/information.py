r"""What the trackers learn about an object, as Fisher information.

**Absorption.** Seen from a distance :math:`D`, an object of the mass contrast :math:`M` changes the
logarithm of the muons by :math:`\kappa M / D^2` times a normal distribution of the width
:math:`s`, where :math:`\kappa = -\partial\ln I/\partial X`, and
:math:`s^2 = \sigma^2 + r^2/(5 D^2)` adds the resolution to the second moment of a sphere. With
:math:`n` muons per steradian the squares of its significance and of the slopes with respect to its
direction are integrals of squares of normal distributions:

.. math::
    Z^2 = \frac{n}{1 + 4\pi s^2 n \epsilon^2} \frac{(\kappa M / D^2)^2}{4\pi s^2}, \qquad
    F_{xyz} = \frac{Z^2}{2 s^2 D^2} \left(1 - \hat r \hat r^T\right)

with the relative uncertainty :math:`\epsilon` of what is expected behind the object.

**Scattering.** A muon of momentum :math:`p` that crosses both trackers and the object is deflected
with the variance :math:`\theta_o^2` by the object, :math:`\theta_b^2` by what is around it, and
measured with :math:`\sigma^2` by each tracker. The two projections together say

.. math::
    Z^2 = N \left\langle \left(
        \frac{\theta_o^2}{\theta_o^2 + \theta_b^2 + 2\sigma^2}\right)^2 \right\rangle

about the mass, with momenta that are known; the mean is over the spectrum.
"""

__all__ = ["Readout", "absorption", "place_error", "scattering"]

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.physics import materials
from detopt.physics.energy_loss import stopping_power
from detopt.physics.fluxes import guan_intensity, threshold_energy
from detopt.physics.scattering import HIGHLAND_SCALE
from detopt.usecases.modular_telescope.targets import Objects, Target
from detopt.usecases.modular_telescope.trackers import Trackers, positive
from detopt.usecases.muon_absorption.survival import transmitted_intensity

ROCK = "standard_rock"
CM2 = 1e4  # in a m2
GRAMS = 1e6  # in a tonne: a m3 at 1 g/cm3
STEP = 0.02  # of ln(grammage), for its slope, to either side
LOWEST_COSINE = 0.05
MOMENTA = (0.2, 100.0, 64)  # GeV: nodes of the spectrum
SPECTRAL_INDEX, WALL, LOSS_ENERGY = 2.7, 0.1, 10.0  # spectrum, GeV to be seen, GeV for the loss
LEAST = 1e-12  # square of a significance


@dataclass(frozen=True)
class Readout:
    """Squares of significances of each object, and the information about its place [1/m2]."""

    absorption: Float[Tensor, " n"]
    scattering: Float[Tensor, " n"]
    place: Float[Tensor, "n 3 3"]


def absorption(
    target: Target,
    trackers: Trackers,
    objects: Objects,
    setting: tuple[float, float, float],
    *,
    soft: bool,
    rng: Generator | None = None,
) -> tuple[Float[Tensor, " n"], Float[Tensor, "n 3 3"]]:
    """Square of the significance of each object, and information about its place.

    Args:
        target: What is around the objects.
        trackers: Trackers.
        objects: Objects.
        setting: Edge of a plane [m], time [s] and relative uncertainty.
        soft: Whether edges of the acceptance are smooth.
        rng: Draws the number of muons behind the object, instead of the expected one.
    """
    side, time, systematic = setting
    offset = objects.center[:, None] - trackers.place
    distance = offset.norm(dim=-1)
    direction = offset / distance.unsqueeze(-1)
    cosine = direction[..., 2].clamp(min=LOWEST_COSINE)
    first = max(target.center[2] / target.distance, LOWEST_COSINE)
    grammage = target.grammage * (first / cosine if target.layered else torch.ones_like(cosine))

    table = transmitted_intensity(guan_intensity, ROCK)
    log_step = math.exp(STEP)
    nearer, farther = (table(grammage * k, cosine) for k in (1 / log_step, log_step))
    slope = torch.log(nearer / farther) / (2 * STEP * grammage)
    area = trackers.acceptance(direction, side, soft=soft)
    density = time * trackers.efficiency * area * table(grammage, cosine)  # muons per sr

    own = objects.radius[:, None].square() / (5 * distance.square())
    spread = trackers.slope_error.square() + deflection(grammage).square() + own
    solid = 4 * math.pi * spread
    muons = density * solid
    if rng is not None:
        muons = torch.poisson(muons, generator=rng)
    effective = muons / (1 + systematic**2 * muons)
    mass = GRAMS * target.contrast * 4 / 3 * math.pi * objects.radius[:, None] ** 3
    amplitude = slope * mass / (CM2 * distance.square() * solid)
    square = effective * amplitude.square()
    across = torch.eye(3, dtype=distance.dtype) - direction.unsqueeze(-1) * direction.unsqueeze(-2)
    weight = square / (2 * spread * distance.square())
    return square.sum(dim=-1), (weight[..., None, None] * across).sum(dim=1)


def deflection(grammage: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Angle by which the matter in front has deflected the muons [rad].

    The formula of `detopt.usecases.muon_absorption.telescope.Telescopes.scattering`, with muons
    from 0.1 GeV up.
    """
    medium = materials.get(ROCK)
    length = 100 * medium.radiation_length * medium.density
    loss = float(stopping_power("muon", medium, LOSS_ENERGY))
    cut = threshold_energy(grammage, medium)
    inverse = (SPECTRAL_INDEX - 1) / cut * torch.log1p(cut / WALL)
    return HIGHLAND_SCALE * torch.sqrt(inverse / (loss * length))


def scattering(
    target: Target,
    trackers: Trackers,
    objects: Objects,
    setting: tuple[float, float, float],
    *,
    soft: bool,
    rng: Generator | None = None,
) -> Float[Tensor, " n"]:
    """Square of the significance of each object between two trackers, one above the other.

    Args:
        target: What is around the objects, with room for them.
        trackers: The lower tracker; the upper one is the same.
        objects: Objects.
        setting: Edge of a plane [m], time [s] and relative uncertainty, which does not matter.
        soft: Whether edges of the acceptance are smooth.
        rng: Draws the number of muons that cross the object, instead of the expected one.
    """
    side, time, _ = setting
    radius = objects.radius
    # slopes that reach the outer planes below and above, from where the object stands
    middle = torch.tensor(target.center, dtype=radius.dtype)
    up = target.gap / 2 + trackers.length + (middle - objects.center)[:, 2]
    down = target.gap / 2 + trackers.length - (middle - objects.center)[:, 2]
    reach = torch.maximum(up, down).unsqueeze(-1)
    aside = (objects.center - middle)[:, :2].abs()
    room = positive(side / 2 - aside, side, soft=soft) / reach
    solid = 4 * room.prod(dim=-1)
    seen = trackers.efficiency.square() * time * solid * math.pi * radius.square()
    if not soft:
        seen = torch.where((room > 0).all(dim=-1), seen, 0.0)

    low, high, n = MOMENTA
    nodes = torch.linspace(math.log(low), math.log(high), n, dtype=radius.dtype)
    momentum = nodes.exp()
    spectrum = guan_intensity(momentum, torch.ones_like(momentum)) * momentum
    weight = spectrum * (nodes[1] - nodes[0])
    total = weight.sum()
    variance = (HIGHLAND_SCALE / momentum).square()
    rock = materials.get(ROCK)
    around = variance * target.grammage / (100 * rock.radiation_length * rock.density)
    own = variance * (4 / 3 * radius / target.radiation_length).unsqueeze(-1)
    share = own / (own + around + 2 * trackers.slope_error.square())
    muons = seen * total
    if rng is not None:
        muons = torch.poisson(muons, generator=rng)
    return muons * (share.square() @ weight) / total


def place_error(information: Float[Tensor, "n 3 3"], target: Target) -> Float[Tensor, " n"]:
    """Root mean square error of the place of each object [m], with the box as prior.

    Args:
        information: From the trackers [1/m2].
        target: Whose box is the prior: a normal distribution of the same variance.
    """
    half = torch.tensor(target.half, dtype=information.dtype)
    prior = torch.diag(3 / half.square())
    inverse = torch.linalg.inv(information + prior)
    return torch.diagonal(inverse, dim1=-2, dim2=-1).sum(dim=-1).sqrt()
