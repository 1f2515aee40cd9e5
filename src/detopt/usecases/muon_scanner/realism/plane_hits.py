"""Hits of real panels: dead material, tilts, misalignment, noise; with soft or sharp edges."""

__all__ = ["PlaneHits", "Response", "plane_hits"]

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from detopt.usecases.muon_scanner.flow import Muons
from detopt.usecases.muon_scanner.panels import CERTAIN, at_least_two, likelihood_ratio
from detopt.usecases.muon_scanner.realism.kinks import (
    Passage,
    displacements,
    pass_panels,
    slope_changes,
)
from detopt.usecases.muon_scanner.realism.planes import Crossing, Planes, cross


@dataclass(frozen=True)
class Response:
    """How panels answer, beyond what each `Planes` says of itself.

    Args:
        smoothness: Full width of the panels' edges [m], or None for sharp ones.
        noise_density: Mean number of noise hits per m2 of panel beside a muon.
        faces: Heights of the volume's lower and upper face, at which tilted panels end [m]; None
            where they do not, as in the soft simulation: fading out there, muons that cross just
            past the face would be the noise of the gradient.
    """

    smoothness: float | None
    noise_density: float = 0.0
    faces: tuple[float, float] | None = None


@dataclass(frozen=True)
class PlaneHits:
    """Hits in the coordinates of their panels; one or two candidates in each panel.

    Args:
        root_weight: Inverse standard deviation of each hit [1/m]; 0 where there is none.
        scaled: Coordinates u and v from the panel's nominal center, times `root_weight`.
        crossed: How far each muon crosses each panel, 0 to 1: where it scatters.
        usable: Probability of hits in at least two panels; 0 or 1 with sharp edges. With noise 1:
            `detopt.usecases.muon_scanner.realism.association` finds which hits make a track.
        likelihood: Likelihood ratio of what was drawn: 1 in value, the score in its derivative.
    """

    root_weight: Float[Tensor, "n_candidates n *batch"]
    scaled: Float[Tensor, "2 n_candidates n *batch"]
    crossed: Float[Tensor, "n *batch"]
    usable: Float[Tensor, "*batch"]
    likelihood: Float[Tensor, "*#batch"] | float = 1.0


def plane_hits(
    muons: Muons,
    planes: Planes,
    response: Response,
    rng: torch.Generator,
    *,
    backwards: bool,
    alive: Bool[Tensor, "n_volumes n_muons"] | Float[Tensor, "n_volumes n_muons"] | None = None,
) -> tuple[PlaneHits, Muons]:
    r"""What the panels of one side record, and the line beyond them all.

    Ideal horizontal panels give what `soft_hits` and `hard_hits` give with the same random
    numbers. Beyond these,

    - a panel scatters the muons that cross its area, see
      `detopt.usecases.muon_scanner.realism.kinks`;
      behind a soft edge the variance of the kink is multiplied by the probability p of the hit;
    - a panel displaced by :math:`o` and turned by :math:`\omega` about u, v and its normal
      measures :math:`u - o_u + t_u h + \omega_n v` and :math:`v - o_v + t_v h - \omega_n u`,
      :math:`h = o_n + \omega_u v - \omega_v u`, with the line's slopes t to the normal;
    - it responds with the efficiency whose log odds are shifted;
    - a tilted one ends at the height of its face of the volume, past which the line may have been
      scattered: a crossing there counts as one beside the panel;
    - a noise hit lies anywhere on the panel with the probability :math:`1 - e^{-\nu A}` for an
      area A, as a second candidate that nothing tells from the first.

    Args:
        muons: The line next to the volume.
        planes: The panels.
        response: Edges and noise.
        rng: Where noise, responses and kinks come from.
        backwards: Panels above the volume, met against the flight.
        alive: Which muons have not stopped, or the root of that probability; all by default.

    Note:
        Differentiable with soft edges in everything that `planes` holds; a muon that stops fades
        out over `detopt.usecases.muon_scanner.realism.kinks.SOFT_STOP` of its energy. Draws depend
        on efficiency and area by their likelihood ratio.
    """
    crossing = cross(planes, muons.position, muons.slope, muons.height)
    shape = crossing.local.shape
    noise = torch.randn(shape, generator=rng, dtype=muons.position.dtype)
    lottery = torch.rand(shape[1:], generator=rng, dtype=noise.dtype)

    if response.faces is not None:
        alive = _outside(crossing, planes, response.faces, alive, backwards=backwards)
    gate = _gate(crossing.local, planes, response, crossing, alive)
    soft = response.smoothness is not None
    passage = pass_panels(planes, crossing, gate, muons, backwards=backwards, soft=soft)
    local, beyond = _scattered(crossing, passage, gate, muons, rng, backwards)
    recorded = local
    if planes.offset is not None or planes.rotation is not None:
        recorded = local + _misalignment(planes, local, crossing.local_slope)

    responds = lottery < _efficiency(planes).detach()
    moved = gate if local is crossing.local else _gate(local, planes, response, crossing, alive)
    root_p = moved * responds
    if passage.alive is not None:
        root_p = root_p * passage.alive
    root_weight = root_p / _column(planes.resolution)
    scaled = (root_weight * recorded + noise) * (root_p > 0)
    likelihood = _likelihood(planes, responds)
    root, candidates = root_weight[None], scaled[:, None]
    if response.noise_density > 0:
        false_hits = _noise(planes, noise, response.noise_density, rng)
        root, candidates = _with_noise(root, candidates, false_hits, planes)
        likelihood = likelihood * false_hits.likelihood()
        usable = torch.ones(shape[2:], dtype=noise.dtype)
    else:
        usable = _usable(root_p * root_p * CERTAIN, response)
    return PlaneHits(root, candidates, gate, usable, likelihood), beyond


def _scattered(
    crossing: Crossing,
    passage: Passage,
    gate: Tensor,
    muons: Muons,
    rng: torch.Generator,
    backwards: bool,
) -> tuple[Float[Tensor, "2 n *batch"], Muons]:
    """Where the muons cross the panels, and their line beyond, with the kinks in each panel."""
    beyond = replace(muons, momentum=passage.leaving)
    if passage.width is None:
        return crossing.local, beyond
    local = crossing.local
    normals = torch.randn(local.shape, generator=rng, dtype=muons.position.dtype)
    kinks = slope_changes(passage.width, muons.slope, normals) * gate
    local = local + _in_plane(crossing, displacements(crossing.height, kinks, backwards))
    moved = (kinks * (muons.height - crossing.height)).sum(1)
    return local, replace(beyond, position=muons.position + moved, slope=muons.slope + kinks.sum(1))


def _gate(
    local: Float[Tensor, "2 n *batch"],
    planes: Planes,
    response: Response,
    crossing: Crossing,
    alive: Tensor | None,
) -> Float[Tensor, "n *batch"]:
    """1 inside the area and 0 outside, or past the panel; the root of the hit's probability."""
    gate = _inside(local, planes, response.smoothness)
    if crossing.outward is not None:
        gate = gate * crossing.outward
    return gate if alive is None else gate * alive


def _inside(
    local: Float[Tensor, "2 n *batch"], planes: Planes, smoothness: float | None
) -> Float[Tensor, "n *batch"]:
    half = _column(planes.half_width)
    distance = local.abs()
    if smoothness is None:
        return (distance <= half).all(0).to(local.dtype)
    t = (half / smoothness + 0.5 - distance / smoothness).clamp(0, 1)
    step_u, step_v = (t * t * torch.rsub(t, 3, alpha=2)).unbind()
    return step_u * step_v


def _outside(
    crossing: Crossing,
    planes: Planes,
    faces: tuple[float, float],
    alive: Tensor | None,
    *,
    backwards: bool,
) -> Float[Tensor, "n *batch"]:
    """`alive` where lines cross panels outside of their face of the volume, else 0."""
    low, high = faces
    depth = high - crossing.height if backwards else crossing.height - low
    if planes.is_upright is not None:
        depth = depth.masked_fill(_column(planes.is_upright), 0.0)
    outside = (depth <= 0).to(depth.dtype)
    return outside if alive is None else outside * alive


def _in_plane(
    crossing: Crossing, shift: Float[Tensor, "2 n *batch"]
) -> Float[Tensor, "2 n *batch"]:
    """Change of u and v for a horizontal shift of the line."""
    if crossing.projection is None:
        return shift
    return (crossing.projection * shift[None]).sum(1)


def _misalignment(
    planes: Planes, local: Float[Tensor, "2 n *batch"], slope: Float[Tensor, "2 #n *#batch"]
) -> Float[Tensor, "2 n *batch"]:
    """What the unknown place of the panels adds to the recorded coordinates."""
    nothing = torch.zeros(1, 3, dtype=local.dtype)
    found = (nothing if value is None else value for value in (planes.offset, planes.rotation))
    offset, rotation = (  # axis, panel, volume, muon
        value.reshape(-1, *value.shape[-2:]).movedim((2, 1, 0), (0, 1, 2)).unsqueeze(-1)
        for value in found
    )
    u, v = local
    above = offset[2] + rotation[0] * v - rotation[1] * u
    du = slope[0] * above - offset[0] + rotation[2] * v
    dv = slope[1] * above - offset[1] - rotation[2] * u
    return torch.stack([du, dv])


def _efficiency(planes: Planes) -> Float[Tensor, "n #n_volumes 1"]:
    if planes.log_odds_shift is None:
        return _column(planes.efficiency)
    return _log_odds(planes).sigmoid()


def _likelihood(planes: Planes, responds: Bool[Tensor, "n *batch"]) -> Tensor | float:
    """Likelihood ratio of the responses, where it depends on the efficiency."""
    log_odds = _log_odds(planes)
    if not log_odds.requires_grad:
        return 1.0
    return likelihood_ratio(responds, logsigmoid(log_odds), logsigmoid(-log_odds))


def _log_odds(planes: Planes) -> Float[Tensor, "n #n_volumes 1"]:
    """Logarithm of the odds of a hit, which is finite where one is certain."""
    log_odds = planes.efficiency.logit()
    if planes.log_odds_shift is not None:
        log_odds = log_odds + planes.log_odds_shift
    rows: Tensor = torch.atleast_2d(log_odds)  # one for each volume, or one for all
    return rows.T.unsqueeze(-1)


@dataclass(frozen=True)
class _FalseHits:
    """Noise: which panels have a hit, where, and the mean number of hits in each."""

    present: Bool[Tensor, "n *batch"]
    at: Float[Tensor, "2 n *batch"]
    mean: Float[Tensor, "n 1 1"]

    def likelihood(self) -> Tensor | float:
        """How the likelihood of what is present depends on the mean number."""
        if not self.mean.requires_grad:
            return 1.0
        mean = self.mean.clamp_min(torch.finfo(self.mean.dtype).tiny)
        return likelihood_ratio(self.present, (-torch.expm1(-mean)).log(), -mean)


def _noise(
    planes: Planes, like: Float[Tensor, "2 n *batch"], density: float, rng: torch.Generator
) -> _FalseHits:
    shape, dtype = like.shape, like.dtype
    mean = _column(density * 4 * planes.half_width.prod(0))
    chance = -torch.expm1(-mean.detach())
    present = torch.rand(shape[1:], generator=rng, dtype=dtype) < chance
    at = 2 * torch.rand(shape, generator=rng, dtype=dtype) - 1
    return _FalseHits(present, at * _column(planes.half_width), mean)


def _with_noise(
    root: Tensor, scaled: Tensor, false: _FalseHits, planes: Planes
) -> tuple[Tensor, Tensor]:
    """Weights and coordinates of the hits, with a second candidate in each panel."""
    false_root = false.present / _column(planes.resolution)
    candidates = torch.cat([scaled, (false_root * false.at)[:, None]], dim=1)
    return torch.cat([root, false_root[None]]), candidates


def _usable(hit: Float[Tensor, "n *batch"], response: Response) -> Float[Tensor, "*batch"]:
    if response.smoothness is None:
        return ((hit > 0).sum(0) >= 2).to(hit.dtype)
    return at_least_two(hit)


def _column(values: Float[Tensor, "*lead n"]) -> Float[Tensor, "*lead n 1 1"]:
    return values.reshape(*values.shape, 1, 1)
