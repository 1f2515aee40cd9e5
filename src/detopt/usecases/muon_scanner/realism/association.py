r"""Which hits belong to the track where panels have two candidates.

Each pair of hits in different panels is a hypothesis: the line through both. The other panels
judge it, each by the mixture of its candidates, and of noise anywhere on its area A,

.. math::
    \ln L_h = \sum_{k \notin h} \ln\Big(\frac{1}{A_k}
        + \sum_c \frac{e^{-d_{hkc}^2 / 2}}{2 \pi V_{hkc}}\Big),

with the distance d of a candidate from the line, in standard deviations, and its variance V, that
of the line added. A hit counts with the sum of the probabilities of what holds it. A wrong
hypothesis is wrong by a thousand standard deviations wherever the panels stand, so that no
decision hangs on a small change of the design: the weights have small derivatives. A filter that
starts from a mean of all hits and cools down decides near saddle points instead, with derivatives
of any size.

Two hits make a line whatever they are. One wrong line outweighs a thousand right ones where squared
angles are averaged, so that a track counts with the probability that three panels confirm it.
"""

__all__ = ["associated"]

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from detopt.usecases.muon_scanner.realism.plane_hits import PlaneHits
from detopt.usecases.muon_scanner.realism.plane_rows import Tracker, displaced, kink_shifts
from detopt.usecases.muon_scanner.realism.planes import Planes, cross

LEAST_RESPONSE = 1e-8  # behind a soft edge a hit with less is none
LEAST_SHARE = 1e-30  # where a square root still has a derivative
PARALLEL = 1e-9  # m; of two points, how far apart along the normal of a panel


@dataclass(frozen=True)
class _Candidates:
    """Hits of the muons whose panels have as many candidates.

    Args:
        there: Which hits exist.
        local: Coordinates u and v from the center of the panel [m].
        variance: Variance of a coordinate, kinks included [m2].
        response: Probability of the hit behind a soft edge, 1 or 0 with sharp ones.
    """

    there: Bool[Tensor, "candidates panels muons"]
    local: Float[Tensor, "2 candidates panels muons"]
    variance: Float[Tensor, "candidates panels muons"]
    response: Float[Tensor, "candidates panels muons"]


@dataclass(frozen=True)
class _Found:
    """What the hypotheses say together.

    Args:
        share: Probability of each hit to belong to the track.
        confirmed: Probability that three panels have hits on one line, or both of two.
    """

    share: Float[Tensor, "candidates panels muons"]
    confirmed: Float[Tensor, " muons"]


def associated(
    hits: PlaneHits,
    tracker: Tracker,
    momentum: Float[Tensor, "*#batch"],
    slope: Float[Tensor, "2 *batch"] | None = None,
) -> PlaneHits:
    """Hits weighted by the probability that they belong to a track, and not to noise.

    Args:
        hits: Hits of one side, one or two candidates in each panel.
        tracker: Its panels.
        momentum: Momentum that sets the width of the kinks [GeV/c].
        slope: Rough slopes, which set the path in panels that scatter; vertical by default.

    Returns:
        The hits with less weight; `usable` is multiplied by the probability that three panels
        have hits on one line, or both where there are two. Panels without area do not count.

    Note:
        Differentiable. Kinks count as independent errors of the hits.
    """
    batch = hits.usable.shape
    slope = torch.zeros_like(hits.scaled[:, 0, 0]) if slope is None else slope
    every = _candidates(hits, tracker, momentum.expand(batch), slope)
    share = torch.ones_like(every.response)
    confirmed = torch.zeros_like(share[0, 0])

    several = every.there[1:].any(0).any(0)
    enough = every.there.any(0).sum(0) >= min(int(_built(tracker.planes).sum()), 3)
    for number, chosen in ((1, enough & ~several), (len(share), enough & several)):
        index = chosen.nonzero().squeeze(1)
        if len(index) > 0:
            found = _judged(_picked(every, number, index), tracker.planes)
            rest = torch.ones_like(share[number:, :, index])
            share = share.index_copy(-1, index, torch.cat([found.share, rest]))
            confirmed = confirmed.index_copy(-1, index, found.confirmed)
    factor = (share * confirmed).clamp_min(LEAST_SHARE).sqrt().unflatten(-1, batch)
    return replace(
        hits,
        root_weight=hits.root_weight * factor,
        scaled=hits.scaled * factor,
        usable=hits.usable * confirmed.reshape(batch),
    )


def _candidates(
    hits: PlaneHits,
    tracker: Tracker,
    momentum: Float[Tensor, "*batch"],
    slope: Float[Tensor, "2 *batch"],
) -> _Candidates:
    planes = tracker.planes
    resolution = planes.resolution.reshape(-1, 1, 1)
    response = (hits.root_weight * resolution).square()
    there = response > LEAST_RESPONSE
    crossing = cross(planes, torch.zeros_like(slope), slope, tracker.reference)
    weaker = displaced(hits, planes, crossing, tracker.variance)
    root = torch.where(there, weaker.root_weight, 1.0)
    local = torch.where(there, hits.scaled / torch.where(there, hits.root_weight, 1.0), 0.0)
    error = root.pow(-2)
    kinks = kink_shifts(hits, planes, crossing, slope, momentum, tracker.backwards)
    if kinks is not None:
        error = error + kinks.square().sum(1)
    return _Candidates(*(values.flatten(-2) for values in (there, local, error, response)))


def _picked(hits: _Candidates, number: int, index: Tensor) -> _Candidates:
    """The first candidates of some muons."""
    return _Candidates(
        hits.there[:number, :, index],
        hits.local[:, :number, :, index],
        hits.variance[:number, :, index],
        hits.response[:number, :, index],
    )


def _judged(hits: _Candidates, planes: Planes) -> _Found:
    """Average over all hypotheses."""
    n_candidates, n_panels, _ = hits.there.shape
    n_hits = n_candidates * n_panels
    first, second = torch.triu_indices(n_hits, n_hits, offset=1)
    apart = first % n_panels != second % n_panels
    first, second = first[apart], second[apart]

    at, error = _predictions(hits, planes, first, second)
    spread = hits.variance[:, :, None] + error  # candidate, panel, pair, muon
    away = (hits.local[:, :, :, None] - at[:, None]).square().sum(0)
    density = -away / (2 * spread) - (2 * math.pi * spread).log()
    density = density.masked_fill(~hits.there[:, :, None], -torch.inf)
    built = _built(planes)
    area = torch.where(built, 4 * planes.half_width.prod(0), 1.0)  # no hit to judge without one
    noise = -area.log().reshape(1, -1, 1, 1)
    mixture = torch.cat([density, noise.expand_as(density[:1])]).log_softmax(0)

    own = _membership(first, second, n_hits).to(density.dtype)
    own = own.reshape(n_candidates, n_panels, -1, 1)
    judges = 1 - own.sum(0)
    least = torch.finfo(density.dtype).tiny
    seen = hits.response.flatten(0, 1).clamp_min(least).log()
    score = ((noise[0] - mixture[-1]) * judges).sum(0) + seen[first] + seen[second]
    there = hits.there.flatten(0, 1)
    weight = score.masked_fill(~(there[first] & there[second]), -torch.inf).softmax(0)

    holds = own + mixture[:-1].exp() * judges
    on_line = (holds * hits.response[:, :, None]).sum(0)
    confirmed = _at_least(min(int(built.sum()), 3), on_line)
    return _Found((holds * weight).sum(2), (confirmed * weight).sum(0))


def _predictions(
    hits: _Candidates, planes: Planes, first: Tensor, second: Tensor
) -> tuple[Float[Tensor, "2 panels pairs muons"], Float[Tensor, "panels pairs muons"]]:
    """Where the lines through pairs of hits cross all panels, and the variance of it."""
    axes = torch.stack([planes.along[0], planes.along[1], planes.normal])
    u, v = hits.local[..., None, :, :, :].unbind(0)
    center = planes.center[:, None, :, None]
    points = center + axes[0][:, None, :, None] * u + axes[1][:, None, :, None] * v
    points = points.flatten(1, 2)  # component, hit, muon
    origin = (axes * planes.center).sum(1)[..., None, None]
    seen_from = torch.einsum("aik,ihm->akhm", axes, points) - origin
    start, step = seen_from[:, :, first], seen_from[:, :, second] - seen_from[:, :, first]
    ahead = torch.where(step[2].abs() < PARALLEL, PARALLEL, step[2])
    way = -start[2] / ahead
    variance = hits.variance.flatten(0, 1)
    error = variance[first] * (1 - way).square() + variance[second] * way.square()
    return start[:2] + step[:2] * way, error


def _built(planes: Planes) -> Bool[Tensor, " panels"]:
    """Which panels have an area; a panel that was removed has none."""
    return (planes.half_width > 0).all(0)


def _membership(first: Tensor, second: Tensor, n_hits: int) -> Float[Tensor, "hits pairs"]:
    """1 where a hit belongs to a pair."""
    own = torch.zeros(n_hits, len(first))
    return own.scatter(0, torch.stack([first, second]), 1.0)


def _at_least(number: int, p: Float[Tensor, "n *batch"]) -> Float[Tensor, "*batch"]:
    """Probability that at least so many of several independent panels have a hit."""
    exactly = [torch.ones_like(p[0]), *(torch.zeros_like(p[0]) for _ in range(number - 1))]
    for one in p:
        below = [torch.zeros_like(one), *exactly[:-1]]
        exactly = [same * (1 - one) + less * one for same, less in zip(exactly, below, strict=True)]
    return (1 - torch.stack(exactly).sum(0)).clamp_min(0)  # rounding
