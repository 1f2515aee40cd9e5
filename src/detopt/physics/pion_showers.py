r"""Showers of charged pions in stacks of layers, one by one.

Thicknesses are in metres, energies in GeV. A pion ionizes until its first interaction; a share of
its energy that fluctuates becomes electromagnetic showers there and at a second interaction; the
rest follows the profile of hadrons and is seen less well. Electromagnetic parts are those of
`detopt.physics.tuned_sampling`, so that electrons and pions are on one scale.

Interaction lengths are those of nucleons; those of pions are some 20 % longer. Nuclear binding
energy does not fluctuate by itself, so that resolutions are lower limits: 10 mm of lead with 2.5 mm
of scintillator have 0.30 GeV^1/2 at 10 GeV, where 0.44 was measured.

References:
    E. Bernardi et al., Nucl. Instrum. Meth. A 262 (1987) 229, for the measurement.
"""

__all__ = ["pion_energy_scale", "sample_pion_showers"]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.physics._domain import require_not_negative, require_positive
from detopt.physics._incomplete_gamma import lower_gamma
from detopt.physics._tensors import Values, as_tensor
from detopt.physics.hadronic_showers import (
    SPREAD,
    em_fraction,
    fluctuated_em_fraction,
    hadron_shape,
)
from detopt.physics.shower_stacks import Stack, sampling_fraction, stack_medium, sum_cells
from detopt.physics.tuned_sampling import sample_started_showers
from detopt.physics.tuned_showers import expected_layer_energies, load_tuning, tuned_shape

IRON, LEAD = (26.0, 1.0), (82.0, 1.3)  # atomic number and scale [GeV]; Gabriel et al. 1994
SAMPLING = 0.09  # GeV^1/2 per root of MeV; Fabjan 1987
MEV_PER_GEV = 1e3
REFERENCE = 10.0  # GeV, of the electrons that tell the visible share
SOFTEST = 0.1  # GeV: electromagnetic showers below have the shape of this one
FLOOR = 1e-9  # GeV, below which a cell does not fluctuate more


@dataclass(frozen=True)
class _Pions:
    """What is drawn for each pion; depths in interaction lengths."""

    first: Float[Tensor, "*showers"]  # depth of the first interaction
    second: Float[Tensor, "*showers"]  # of the other one that makes neutral pions
    split: Float[Tensor, "*showers"]  # share of these that is made at the first one
    fraction: Float[Tensor, "*showers"]  # electromagnetic share of the energy

    @classmethod
    def draw(
        cls, stack: Stack, energy: Float[Tensor, "*showers"], spread: float, rng: Generator
    ) -> "_Pions":
        shape, dtype, device = energy.shape, energy.dtype, rng.device
        uniform = torch.rand((3, *shape), generator=rng, dtype=dtype, device=device)
        normal = torch.randn(shape, generator=rng, dtype=dtype, device=device)
        first, further = -torch.log1p(-uniform[:2])
        mean = em_fraction(energy, pion_energy_scale(stack_medium(stack).atomic_number))
        fraction = fluctuated_em_fraction(mean, spread, normal)
        return cls(first, first + further, uniform[2], fraction)


def pion_energy_scale(atomic_number: Values) -> Float[Tensor, "*batch"]:
    r"""Energy :math:`E_0` of `em_fraction` for pions [GeV].

    Args:
        atomic_number: Of the absorber.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        1.0 GeV in iron and 1.3 GeV in lead are known; linear in the atomic number in between, and
        constant outside. Differentiable.

    References:
        T. A. Gabriel et al., Nucl. Instrum. Meth. A 338 (1994) 336.
    """
    require_positive(atomic_number=atomic_number)
    share = (as_tensor(atomic_number) - IRON[0]) / (LEAD[0] - IRON[0])
    return IRON[1] + share.clamp(0.0, 1.0) * (LEAD[1] - IRON[1])


def sample_pion_showers(
    stack: Stack,
    energy: Float[Tensor, "*showers"],
    rng: Generator,
    e_over_h: float = 1.4,
    spread: float = SPREAD,
    sampling: float = SAMPLING,
) -> Float[Tensor, "*batch layers"]:
    r"""Draws the energy in each layer, shower by shower.

    A pion interacts after :math:`s` interaction lengths, :math:`s \sim e^{-s}`, and ionizes before.
    Of the energy :math:`E'` that is left,

    .. math::
        E' \left[u f_\text{em}\, C^\text{em}(s) + (1 - u) f_\text{em}\, C^\text{em}(s + s')
            + \frac{1 - f_\text{em}}{e/h}\, C^\text{had}(s)\right]

    with an electromagnetic share :math:`f_\text{em}` of `fluctuated_em_fraction`, divided
    uniformly by :math:`u`; showers :math:`C^\text{em}` that fluctuate as those of electrons; and
    the hadronic profile :math:`C^\text{had} = P(a, d\,(\ell - s))` of `hadron_shape`. Cells
    share hadronic energy as a minimum ionizing particle does, times a factor that makes :math:`e/h`
    hold for the whole stack. In each cell it fluctuates log-normally, by :math:`9\,\% \sqrt{\Delta
    E/E_c}` for an energy :math:`E_c` [GeV] and a loss :math:`\Delta E` of a minimum ionizing
    particle [MeV].

    Args:
        stack: The layers, of one design.
        energy: Energies of the pions [GeV].
        rng: Source of the draws, on the device of the energies.
        e_over_h: Ratio :math:`e/h`: 1.4 for iron and scintillator, near 1 for lead with a quarter
            of its thickness of scintillator.
        spread: Standard deviation of the electromagnetic share.
        sampling: The factor of 9 %.

    Returns:
        Energies [GeV]; those of active layers are visible energies, as of `sample_tuned_showers`.

    Raises:
        DomainError: `e_over_h` is not positive, or `spread` or `sampling` is negative.

    Note:
        Profile and share are known to about 10 % from 10 to 300 GeV, the profile in iron and lead;
        below 4 GeV they are extrapolated. Differentiable in thicknesses and energies at a fixed
        seed; no draw is discrete.

    References:
        R. K. Bock et al., Nucl. Instrum. Meth. 186 (1981) 533; D. E. Groom, Nucl. Instrum. Meth. A
        572 (2007) 633; C. W. Fabjan, in Experimental Techniques in High-Energy Physics (1987) 257.
    """
    require_positive(e_over_h=e_over_h)
    require_not_negative(spread=spread, sampling=sampling)
    lengths = stack.matter / stack.column("nuclear_interaction_length")
    drawn = _Pions.draw(stack, energy, spread, rng)
    passed = _share_in_front(lengths, drawn.first)
    track = stack.ionization * passed
    lost = track.sum(-1)
    left = (energy - lost).clamp(min=0.0)
    track = track * (energy / lost.clamp(min=FLOOR)).clamp(max=1.0)[..., None]

    inside = left * drawn.fraction
    early, late = (
        _electromagnetic(stack, inside * share, (front * stack.depth).sum(-1), rng)
        for share, front in (
            (drawn.split, passed),
            (1 - drawn.split, _share_in_front(lengths, drawn.second)),
        )
    )
    rest = _hadronic(stack, left - inside, energy, lengths, drawn.first)
    seen = rest / e_over_h * _fluctuation(stack, rest, rng, sampling)
    return track + early + late + seen


def _share_in_front(
    lengths: Float[Tensor, " layers"], depth: Float[Tensor, "*showers"]
) -> Float[Tensor, "*showers layers"]:
    """Share of each layer that lies in front of depths, in interaction lengths."""
    front = torch.nn.functional.pad(lengths.cumsum(-1), (1, 0))[..., :-1]
    return ((depth[..., None] - front) / lengths).clamp(0.0, 1.0)


def _electromagnetic(
    stack: Stack, energy: Tensor, start: Tensor, rng: Generator
) -> Float[Tensor, "*batch layers"]:
    """Showers of neutral pions; soft ones have the shape of the softest that is known."""
    known = energy.clamp(min=SOFTEST)
    return (energy / known)[..., None] * sample_started_showers(stack, known, start, rng)


def _hadronic(
    stack: Stack, amount: Tensor, energy: Tensor, lengths: Tensor, start: Tensor
) -> Float[Tensor, "*batch layers"]:
    """Hadronic energy of each layer, active ones as they would see that of an electron."""
    shape = hadron_shape(energy)
    edges = torch.nn.functional.pad(lengths.cumsum(-1), (1, 0)) - start[..., None]
    inside = lower_gamma(shape.alpha[..., None], shape.rate[..., None] * edges).diff(dim=-1)
    cell = sum_cells(stack, inside)
    ionization = stack.ionization
    path = ionization / sum_cells(stack, ionization)
    if stack.is_sampling:
        active = stack.active_mask
        light = sum_cells(stack, torch.where(active, path, 0.0))
        factor = _visible_fraction(stack) / sampling_fraction(stack)
        dark = (1 - factor * light) / (1 - light).clamp(min=FLOOR)
        path = path * torch.where(active, factor, dark)
    return amount[..., None] * cell * path


def _visible_fraction(stack: Stack) -> Float[Tensor, ""]:
    """Share of the energy of electrons that active layers see."""
    tuning = load_tuning()
    energy = stack.thickness.new_tensor(REFERENCE)
    shape = tuned_shape(energy, stack_medium(stack), stack.thickness.new_zeros(2), tuning)
    deposit = expected_layer_energies(stack, energy, shape, tuning)
    return torch.where(stack.active_mask, deposit, 0.0).sum() / deposit.sum()


def _fluctuation(
    stack: Stack, rest: Tensor, rng: Generator, sampling: float
) -> Float[Tensor, "*batch layers"]:
    """The factor by which the hadronic energy of active layers fluctuates."""
    if sampling == 0:
        return torch.ones_like(rest)
    n_cells = stack.cells()[-1] + 1
    shape = (*rest.shape[:-1], n_cells)
    normals = torch.randn(shape, generator=rng, dtype=rest.dtype, device=rng.device)
    loss = MEV_PER_GEV * sum_cells(stack, stack.ionization)
    variance = sampling**2 * loss / (sum_cells(stack, rest) + FLOOR)
    width = torch.log1p(variance)
    factor = torch.exp(width.sqrt() * normals[..., stack.cells()] - width / 2)
    return torch.where(stack.sampling_mask, factor, torch.ones_like(factor))
