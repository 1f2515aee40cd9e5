r"""Hadronic showers: electromagnetic fraction, response, profile, leakage, layer energies.

Depths are in nuclear interaction lengths unless said, thicknesses in metres, energies in GeV. A
part of the energy, which fluctuates and grows with it, goes to neutral pions and showers
electromagnetically; the rest is measured less well. The coefficients are those of textbooks; they
describe pions of 10 to 300 GeV to about 10 %.
"""

__all__ = [
    "HadronShape",
    "em_fraction",
    "fluctuated_em_fraction",
    "hadron_contained_fraction",
    "hadron_containment_depth",
    "hadron_layer_energies",
    "hadron_leakage",
    "hadron_profile",
    "hadron_shape",
    "hadron_shower_maximum",
    "pion_response",
    "sample_em_fraction",
    "sample_hadron_layer_energies",
]

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_not_negative, require_positive, require_share
from detopt.physics._incomplete_gamma import gamma_density, lower_gamma, smooth_floor
from detopt.physics._tensors import Values, as_tensor, as_tensors
from detopt.physics.sampling_showers import sampling_factor, sharing_weight
from detopt.physics.shower_stacks import Stack, sum_cells

EXPONENT = 0.82  # dimensionless; Groom 2007, 0.80 to 0.87
SCALE = 1.0  # GeV for iron, 1.3 for lead; idem
SPREAD = 0.12  # rms of the electromagnetic fraction, typical of 10 to 300 GeV
EM_RATE = 0.2198  # per radiation length; Bock 1981
BOCK_WEIGHT = 0.4634  # share of the electromagnetic component; idem


@dataclass(frozen=True)
class HadronShape:
    r"""Two gamma distributions with one shape parameter, from the first interaction on.

    Attributes:
        alpha: Shape parameter of both.
        em_rate: Rate of the electromagnetic part per radiation length.
        rate: Rate of the other part per interaction length.
    """

    alpha: Float[Tensor, "*batch"]
    em_rate: Float[Tensor, "*batch"]
    rate: Float[Tensor, "*batch"]


def em_fraction(
    energy: Values, scale: Values = SCALE, exponent: Values = EXPONENT
) -> Float[Tensor, "*batch"]:
    r"""Mean share of a hadron's energy that goes to electromagnetic showers.

    .. math::
        f_\text{em} = 1 - (E/E_0)^{k-1}

    Args:
        energy: Energy :math:`E` of the hadron [GeV].
        scale: Energy :math:`E_0` of the first neutral pions [GeV]: 1.0 in iron, 1.3 in lead for
            pions, 2.6 for protons.
        exponent: Exponent :math:`k`, 0.80 to 0.87.

    Returns:
        Share from 0 to 1; below `scale` it tends to 0 smoothly instead of going negative.

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Exact where it is above 0.05. Differentiable.

    References:
        T. A. Gabriel et al., Nucl. Instrum. Meth. A 338 (1994) 336;
        D. E. Groom, Nucl. Instrum. Meth. A 572 (2007) 633.
    """
    require_positive(energy=energy, scale=scale, exponent=exponent)
    energy, scale, exponent = as_tensors(energy, scale, exponent)
    return smooth_floor(1 - (energy / scale) ** (exponent - 1), 0.05, 0.05)


def pion_response(fraction: Values, e_over_h: Values) -> Float[Tensor, "*batch"]:
    r"""Signal of a pion relative to that of an electron of its energy.

    .. math::
        \pi/e = f_\text{em} + \frac{1 - f_\text{em}}{e/h}

    Args:
        fraction: Electromagnetic share :math:`f_\text{em}`.
        e_over_h: Ratio :math:`e/h` of the calorimeter, 1 if it compensates.

    Raises:
        DomainError: A Python number for `e_over_h` is not positive.

    Note:
        Differentiable.

    References:
        Particle Data Group, Review of Particle Physics (2022), section on hadronic calorimeters.
    """
    require_positive(e_over_h=e_over_h)
    fraction, e_over_h = as_tensors(fraction, e_over_h)
    return fraction + (1 - fraction) / e_over_h


def fluctuated_em_fraction(
    fraction: Values, spread: Values, normal: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    r"""Electromagnetic share of single showers, from given unit normals.

    .. math::
        f = \Phi\!\left(\frac{m + \sqrt\rho\, z}{\sqrt{1 - \rho}}\right), \qquad
        m = \Phi^{-1}(\langle f\rangle), \qquad
        \rho + \frac{m^2 \rho^2}{2} = \frac{\sigma^2}{\varphi(m)^2}

    The share stays between 0 and 1 and its mean is :math:`\langle f\rangle` exactly.

    Args:
        fraction: Mean share :math:`\langle f\rangle`, from 0 to 1.
        spread: Standard deviation :math:`\sigma` of the share; 0 for none.
        normal: Unit normals :math:`z`.

    Raises:
        DomainError: A Python number lies outside the domain.

    Note:
        The standard deviation is `spread` within 2 % for shares of 0.2 to 0.8 and spreads up to
        0.2. Differentiable.

    References:
        Derived here: the first two terms of the tetrachoric series of the variance.
    """
    require_share(fraction=fraction)
    require_not_negative(spread=spread)
    normal, fraction, spread = as_tensors(normal, fraction, spread)
    least = torch.finfo(fraction.dtype).eps
    mean = torch.special.ndtri(fraction.clamp(least, 1 - least))
    density = torch.exp(-(mean**2) / 2) / (2 * torch.pi) ** 0.5
    width = spread / density
    stretch = (1 + torch.sqrt(1 + 2 * (mean * width) ** 2)) / 2
    kept = smooth_floor(1 - width**2 / stretch, 0.1, 0.05)
    # without a root of zero where nothing fluctuates
    common = torch.where(kept > 0.5, width / stretch.sqrt(), (1 - kept.clamp(max=0.5)).sqrt())
    share: Tensor = torch.special.ndtr((mean + common * normal) / torch.sqrt(kept))
    return share


def sample_em_fraction(
    energy: Float[Tensor, "*showers"],
    rng: Generator,
    spread: float = SPREAD,
    scale: float = SCALE,
) -> Float[Tensor, "*showers"]:
    """Draws the electromagnetic share of each shower by `fluctuated_em_fraction`.

    Args:
        energy: Energies of the hadrons [GeV].
        rng: Source of the draws, on the device of the energies.
        spread: Standard deviation of the share; the default is typical, not fitted.
        scale: See `em_fraction`.

    Raises:
        DomainError: `spread` is not between 0 and 0.3.
    """
    if not 0 < spread <= 0.3:
        raise DomainError(f"`spread` must lie between 0 and 0.3, got {spread}. Typical is 0.12.")
    normal = torch.randn(energy.shape, generator=rng, dtype=energy.dtype, device=energy.device)
    return fluctuated_em_fraction(em_fraction(energy, scale), spread, normal)


def hadron_shape(energy: Values) -> HadronShape:
    r"""Longitudinal shape of a hadronic shower from its first interaction on.

    .. math::
        a = 0.6165 + 0.3183 \ln E, \qquad b = 0.2198, \qquad d = 0.9099 - 0.0237 \ln E

    Args:
        energy: Energy :math:`E` of the hadron [GeV].

    Raises:
        DomainError: A Python number is not positive.

    Note:
        Fitted to pions of 15 to 140 GeV in iron and lead. Exact above 4 GeV, where :math:`a` is
        above 1.05; below, :math:`a` tends to 1 smoothly. Differentiable.

    References:
        R. K. Bock, T. Hansl-Kozanecka and T. P. Shah, Nucl. Instrum. Meth. 186 (1981) 533.
    """
    require_positive(energy=energy)
    log = torch.log(as_tensor(energy))
    alpha = smooth_floor(0.6165 + 0.3183 * log, 1.05, 0.05)
    return HadronShape(alpha, torch.full_like(alpha, EM_RATE), 0.9099 - 0.0237 * log)


def hadron_profile(
    depth: Values, shape: HadronShape, lengths_ratio: Values, weight: Values = BOCK_WEIGHT
) -> Float[Tensor, "*batch"]:
    r"""Share of the energy deposited per interaction length, from the first interaction on.

    .. math::
        \frac{1}{E}\frac{dE}{d\ell} = w\, \frac{\lambda}{X_0}\, g(t; a, b) + (1 - w)\, g(\ell; a, d)

    with the gamma densities :math:`g` and :math:`t = \ell\, \lambda/X_0`.

    Args:
        depth: Depth :math:`\ell` in interaction lengths.
        shape: Shape of the shower.
        lengths_ratio: Interaction length over radiation length :math:`\lambda/X_0`.
        weight: Electromagnetic share :math:`w`; 0.4634 in the fit.

    Raises:
        DomainError: A Python number for the ratio or the share lies outside the domain.

    Note:
        Its integral over depth is 1. Differentiable.

    References:
        R. K. Bock et al., Nucl. Instrum. Meth. 186 (1981) 533.
    """
    require_positive(lengths_ratio=lengths_ratio)
    require_share(weight=weight)
    _, depth, ratio, weight = as_tensors(shape.alpha, depth, lengths_ratio, weight)
    em_rate = ratio * shape.em_rate
    em = em_rate * gamma_density(shape.alpha, em_rate * depth)
    rest = shape.rate * gamma_density(shape.alpha, shape.rate * depth)
    return rest + weight * (em - rest)


def hadron_contained_fraction(
    depth: Values, shape: HadronShape, lengths_ratio: Values, weight: Values = BOCK_WEIGHT
) -> Float[Tensor, "*batch"]:
    """Share of the energy within a depth of the first interaction; see `hadron_profile`.

    Args:
        depth: Depth in interaction lengths; nothing is contained where it is negative.
        shape: Shape of the shower.
        lengths_ratio: Interaction length over radiation length.
        weight: Electromagnetic share.

    Raises:
        DomainError: A Python number for the ratio or the share lies outside the domain.

    Note:
        Differentiable.
    """
    require_positive(lengths_ratio=lengths_ratio)
    require_share(weight=weight)
    _, depth, ratio, weight = as_tensors(shape.alpha, depth, lengths_ratio, weight)
    em = lower_gamma(shape.alpha, ratio * shape.em_rate * depth)
    rest = lower_gamma(shape.alpha, shape.rate * depth)
    return rest + weight * (em - rest)


def hadron_leakage(
    depth: Values, shape: HadronShape, lengths_ratio: Values, weight: Values = BOCK_WEIGHT
) -> Float[Tensor, "*batch"]:
    """Share behind a depth after the first interaction; see `hadron_contained_fraction`."""
    return 1 - hadron_contained_fraction(depth, shape, lengths_ratio, weight)


def hadron_shower_maximum(energy: Values) -> Float[Tensor, "*batch"]:
    r"""Depth of the maximum from the calorimeter face, :math:`0.2 \ln E + 0.7`.

    Args:
        energy: Energy :math:`E` [GeV].

    Returns:
        Depth in interaction lengths.

    Raises:
        DomainError: A Python number is not positive.

    References:
        C. W. Fabjan and T. Ludlam, Ann. Rev. Nucl. Part. Sci. 32 (1982) 335.
    """
    require_positive(energy=energy)
    return 0.2 * torch.log(as_tensor(energy)) + 0.7


def hadron_containment_depth(energy: Values) -> Float[Tensor, "*batch"]:
    r"""Depth that holds 95 % on average, :math:`t_\text{max} + 2.5\, E^{0.13}`.

    Args:
        energy: Energy :math:`E` [GeV].

    Returns:
        Depth from the face in interaction lengths.

    Raises:
        DomainError: A Python number is not positive.

    References:
        As `hadron_shower_maximum`.
    """
    return hadron_shower_maximum(energy) + 2.5 * as_tensor(energy) ** 0.13


def hadron_layer_energies(
    stack: Stack,
    energy: Float[Tensor, "*showers"],
    fraction: Float[Tensor, "*showers"],
    start: Float[Tensor, "*showers"],
    e_over_h: Values = 1.4,
) -> Float[Tensor, "*batch layers"]:
    r"""Energy that hadronic showers leave in each layer, on the scale of electrons.

    .. math::
        E_i = E \left[f_\text{em}\, \Delta C^\text{em}
            + \frac{1 - f_\text{em}}{e/h}\, \Delta C^\text{had}\right]_\text{cell} \omega_i

    The electromagnetic part develops in radiation lengths and the rest in interaction lengths,
    both from the first interaction on, through whatever materials follow there.

    Args:
        stack: The layers; their designs broadcast against the showers.
        energy: Energies of the hadrons [GeV].
        fraction: Electromagnetic share of each shower.
        start: Depth of its first interaction in interaction lengths.
        e_over_h: Ratio :math:`e/h`; broadcasts against the showers.

    Returns:
        Energy in each layer [GeV]; in active layers on the scale where electrons count as
        `deposit_in_layers` says.

    Raises:
        DomainError: A Python number for `e_over_h` is not positive.

    Note:
        See `hadron_shape` for the validity. Differentiable in everything, exactly.

    References:
        R. K. Bock et al., Nucl. Instrum. Meth. 186 (1981) 533; R. Wigmans, Calorimetry (2017).
    """
    require_positive(e_over_h=e_over_h)
    shape = hadron_shape(energy)
    alpha, em_rate, rate = (x[..., None] for x in (shape.alpha, shape.em_rate, shape.rate))
    lengths = stack.matter / stack.column("nuclear_interaction_length")
    edges = torch.nn.functional.pad(lengths.cumsum(-1), (1, 0)) - start[..., None]
    behind = edges.clamp(min=0.0)
    ratio = stack.column("nuclear_interaction_length") / stack.column("radiation_length")
    radiation = torch.nn.functional.pad((behind.diff(dim=-1) * ratio).cumsum(-1), (1, 0))

    em = lower_gamma(alpha, em_rate * radiation).diff(dim=-1)
    rest = lower_gamma(alpha, rate * behind).diff(dim=-1) / as_tensor(e_over_h, energy)[..., None]
    share = rest + fraction[..., None] * (em - rest)
    # a cell shares its energy as the path in it does, so that no division by zero arises in front
    path = stack.depth * sharing_weight(stack)
    weight = path / sum_cells(stack, path)

    return energy[..., None] * sum_cells(stack, share) * weight


def sample_hadron_layer_energies(
    stack: Stack,
    energy: Float[Tensor, "*showers"],
    rng: Generator,
    e_over_h: float = 1.4,
    spread: float = SPREAD,
    scale: float = SCALE,
) -> Float[Tensor, "*batch layers"]:
    r"""Draws the energy that hadrons leave in each layer.

    Drawn are the depth of the first interaction, exponential in interaction lengths, the
    electromagnetic share, and the sampling fluctuations of each cell.

    Args:
        stack: The layers; their designs broadcast against the showers.
        energy: Energies of the hadrons [GeV].
        rng: Source of the draws, on the device of the energies.
        e_over_h: Ratio :math:`e/h`.
        spread: Standard deviation of the electromagnetic share.
        scale: See `em_fraction`.

    Returns:
        Energies [GeV] on the scale of electrons.

    Raises:
        DomainError: `e_over_h` is not positive or `spread` lies outside 0 to 0.3.

    Note:
        The fluctuations of nuclear binding energy are left out: a lower limit on the resolution
        of a compensating calorimeter. Differentiable at a fixed seed; no draw is discrete.
    """
    uniform = torch.rand(energy.shape, generator=rng, dtype=energy.dtype, device=energy.device)
    fraction = sample_em_fraction(energy, rng, spread, scale)
    deposit = hadron_layer_energies(stack, energy, fraction, -torch.log1p(-uniform), e_over_h)
    if not stack.is_sampling:
        return deposit
    return deposit * sampling_factor(stack, deposit, energy.shape, rng)
