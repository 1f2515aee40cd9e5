r"""From photons to counts and times: response of photosensors, pulses, first photons.

Times are in nanoseconds.
"""

__all__ = [
    "count_resolution",
    "first_photon_density",
    "pulse_cumulative",
    "pulse_density",
    "sample_counts",
    "sample_emission_times",
    "sensor_response",
    "time_resolution",
]

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from detopt.errors import DomainError
from detopt.physics._domain import require_positive
from detopt.physics._tensors import Values, as_tensors


def sensor_response(
    photons: Values, efficiency: Values, n_cells: Values, crosstalk: float = 0.0
) -> Float[Tensor, "*batch"]:
    r"""Mean number of fired cells of a silicon photomultiplier.

    .. math::
        N_\text{fired} = N_\text{cells} \left[1 - \exp\!\left(
            -\frac{\varepsilon N_\gamma}{(1 - p)\, N_\text{cells}}\right)\right]

    Args:
        photons: Photons :math:`N_\gamma` on the sensor within one recovery time.
        efficiency: Photon detection efficiency :math:`\varepsilon`.
        n_cells: Number of cells.
        crosstalk: Probability :math:`p` that a fired cell fires another one.

    Raises:
        DomainError: A Python number for efficiency or cells is not positive, or `crosstalk` does
            not lie between 0 and 1.

    Note:
        Linear for few photons, saturates at the number of cells. Differentiable.

    References:
        P. Buzhan et al., Nucl. Instrum. Meth. A 504 (2003) 48; the chain of crosstalk is
        geometric, S. Vinogradov, Nucl. Instrum. Meth. A 695 (2012) 247.
    """
    require_positive(efficiency=efficiency, n_cells=n_cells)
    _require_crosstalk(crosstalk)
    photons, efficiency, n_cells = as_tensors(photons, efficiency, n_cells)
    return -n_cells * torch.expm1(-efficiency * photons / (1 - crosstalk) / n_cells)


def count_resolution(photoelectrons: Values, crosstalk: float = 0.0) -> Float[Tensor, "*batch"]:
    r"""Relative resolution of a number of photoelectrons.

    .. math::
        \frac{\sigma}{N} = \sqrt{\frac{1 + p}{N}}

    Args:
        photoelectrons: Mean number :math:`N` of primary photoelectrons.
        crosstalk: Probability :math:`p` that a fired cell fires another one.

    Raises:
        DomainError: A Python number for the mean is not positive, or `crosstalk` does not lie
            between 0 and 1.

    Note:
        Without saturation. Differentiable.

    References:
        S. Vinogradov, Nucl. Instrum. Meth. A 695 (2012) 247, geometric chain.
    """
    require_positive(photoelectrons=photoelectrons)
    _require_crosstalk(crosstalk)
    (photoelectrons,) = as_tensors(photoelectrons)
    return torch.sqrt((1 + crosstalk) / photoelectrons)


def sample_counts(mean: Float[Tensor, "*batch"], rng: Generator) -> Float[Tensor, "*batch"]:
    r"""Draws numbers of photoelectrons, smooth in their mean.

    .. math::
        N = \left(\sqrt{\bar N} + z/2\right)^2 - \tfrac14

    with a unit normal :math:`z`, instead of a Poisson number, whose jumps have no derivative.

    Args:
        mean: Mean number :math:`\bar N \ge 0`.
        rng: Source of the draws, on the device of the tensor.

    Returns:
        Real numbers of mean :math:`\bar N` and variance :math:`\bar N + 1/8`, never below -1/4.

    Note:
        Mean and variance are exact; for less than about 5 photoelectrons the shape differs from
        Poisson's. Differentiable; where the mean is 0, by the mean of the slope, which is 1.

    References:
        F. J. Anscombe, Biometrika 35 (1948) 246, for the square root.
    """
    normal = torch.randn(mean.shape, generator=rng, dtype=mean.dtype, device=mean.device)
    lit = mean > 0
    root = torch.where(lit, mean, 1.0).sqrt()
    dark = mean + (normal / 2) ** 2
    return torch.where(lit, (root + normal / 2) ** 2, dark) - 0.25


def pulse_density(time: Values, rise: Values, decay: Values) -> Float[Tensor, "*batch"]:
    r"""Density of emission times of a scintillator.

    .. math::
        f(t) = \frac{e^{-t/\tau_d} - e^{-t/\tau_r}}{\tau_d - \tau_r}

    Args:
        time: Time :math:`t` after the particle [ns]; the density is 0 where it is negative.
        rise: Rise time :math:`\tau_r` [ns], other than `decay`.
        decay: Decay time :math:`\tau_d` [ns].

    Returns:
        Density [1/ns], with integral 1.

    Raises:
        DomainError: A Python number for a time constant is not positive, or both are equal.

    Note:
        Differentiable.

    References:
        P. Lecoq et al., Inorganic Scintillators for Detector Systems (2017), chapter 3.
    """
    _require_pulse(rise, decay)
    time, rise, decay = as_tensors(time, rise, decay)
    after = time.clamp(min=0.0)
    return (torch.exp(-after / decay) - torch.exp(-after / rise)) / (decay - rise)


def pulse_cumulative(time: Values, rise: Values, decay: Values) -> Float[Tensor, "*batch"]:
    """Share of the light that is emitted up to a time; the integral of `pulse_density`.

    Args:
        time: Time after the particle [ns].
        rise: Rise time [ns].
        decay: Decay time [ns].

    Raises:
        DomainError: See `pulse_density`.

    Note:
        It is also the share within a readout gate. Differentiable.
    """
    _require_pulse(rise, decay)
    time, rise, decay = as_tensors(time, rise, decay)
    after = time.clamp(min=0.0)
    late = decay * torch.exp(-after / decay) - rise * torch.exp(-after / rise)
    return 1 - late / (decay - rise)


def first_photon_density(
    time: Values, photoelectrons: Values, rise: Values, decay: Values
) -> Float[Tensor, "*batch"]:
    r"""Density of the time of the first of many photoelectrons.

    .. math::
        g(t) = N f(t) e^{-N F(t)}

    with pulse :math:`f` and its integral :math:`F`, for a Poisson number of mean :math:`N`. The
    integral of the density is the chance :math:`1 - e^{-N}` that there is one.

    Args:
        time: Time after the particle [ns].
        photoelectrons: Mean number :math:`N` of photoelectrons.
        rise: Rise time [ns].
        decay: Decay time [ns].

    Raises:
        DomainError: See `pulse_density`.

    Note:
        Differentiable.

    References:
        R. F. Post and L. I. Schiff, Phys. Rev. 80 (1950) 1113.
    """
    density = pulse_density(time, rise, decay)
    cumulative = pulse_cumulative(time, rise, decay)
    _, photoelectrons = as_tensors(density, photoelectrons)
    return photoelectrons * density * torch.exp(-photoelectrons * cumulative)


def sample_emission_times(
    shape: tuple[int, ...],
    rise: Values,
    decay: Values,
    rng: Generator,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "..."]:
    r"""Draws emission times, :math:`t = -\tau_r \ln u_1 - \tau_d \ln u_2`.

    The sum of two exponential times has exactly the density of `pulse_density`.

    Args:
        shape: Shape of the draws; the time constants broadcast against it.
        rise: Rise time :math:`\tau_r` [ns].
        decay: Decay time :math:`\tau_d` [ns].
        rng: Source of the draws.
        dtype: Type of the draws.

    Returns:
        Times [ns].

    Raises:
        DomainError: A Python number for a time constant is not positive.

    Note:
        Differentiable in the time constants at a fixed seed.
    """
    require_positive(rise=rise, decay=decay)
    uniform = torch.rand((2, *shape), generator=rng, dtype=dtype, device=rng.device)
    exponential = -torch.log1p(-uniform)
    _, rise, decay = as_tensors(exponential, rise, decay)
    return rise * exponential[0] + decay * exponential[1]


def time_resolution(
    photoelectrons: Values, decay: Values, jitter: Values = 0.0
) -> Float[Tensor, "*batch"]:
    r"""Resolution of the time of the first photoelectron of a fast-rising pulse.

    .. math::
        \sigma_t = \frac{\tau_d}{N} \oplus \sigma_j

    Args:
        photoelectrons: Number :math:`N` of photoelectrons.
        decay: Decay time :math:`\tau_d` [ns].
        jitter: Spread :math:`\sigma_j` of a single photoelectron's time [ns].

    Returns:
        Standard deviation [ns].

    Raises:
        DomainError: A Python number for photoelectrons or decay is not positive.

    Note:
        Exact without rise time and jitter; with jitter an upper limit. Differentiable.

    References:
        R. F. Post and L. I. Schiff, Phys. Rev. 80 (1950) 1113.
    """
    require_positive(photoelectrons=photoelectrons, decay=decay)
    photoelectrons, decay, jitter = as_tensors(photoelectrons, decay, jitter)
    return torch.sqrt((decay / photoelectrons) ** 2 + jitter**2)


def _require_crosstalk(crosstalk: float) -> None:
    if not 0 <= crosstalk < 1:
        raise DomainError(f"`crosstalk` must lie between 0 and 1, got {crosstalk}. Typical: 0.1.")


def _require_pulse(rise: Values, decay: Values) -> None:
    require_positive(rise=rise, decay=decay)
    if not isinstance(rise, Tensor) and not isinstance(decay, Tensor) and rise == decay:
        raise DomainError(
            f"`rise` and `decay` must differ, got {rise} ns twice. Change one by a per mille."
        )
