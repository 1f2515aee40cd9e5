"""What `detopt physics` can tabulate: a row of `QUANTITIES` for each quantity."""

__all__ = ["QUANTITIES", "tabulate"]

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from detopt.cli.tables import Column, Quantity, Request, Row, Table
from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.physics import energy_loss, fluxes, kinematics, materials, particles, photons, showers
from detopt.physics.materials import Material
from detopt.physics.particles import Particle
from detopt.physics.scattering import highland_angle

MEV, MRAD, CM, CM2 = 1e3, 1e3, 1e2, 1e-4  # usual units in a base unit
COMMON = [
    "air",
    "water",
    "polystyrene",
    "Be",
    "graphite",
    "Al",
    "Si",
    "Fe",
    "Cu",
    "W",
    "Pb",
    "PbWO4",
]
ELECTRON_RANGE = (1e-5, 100.0)  # GeV, where the tables of electrons hold
HEAVY_RANGE = (1e-6, 1e5)  # of the mass, and GeV
PHOTON_RANGE = (1e-5, 10.0)  # GeV
SHOWER_RANGE = (0.4, 500.0)  # GeV
THICKNESS_RANGE = (1e-3, 100.0)  # radiation lengths
LARGEST_ANGLE = 1.0  # rad; the width of a Gaussian that is wider means nothing
DEPTHS = [0.5 * step for step in range(51)]  # radiation lengths


@dataclass(frozen=True)
class FluxModel:
    """A model of the muons at sea level."""

    name: str
    intensity: Callable[[Tensor, Tensor], Tensor]
    lowest: float  # GeV
    formula: str
    source: str


FLUXES = {
    "guan": FluxModel(
        "Guan et al.",
        fluxes.guan_intensity,
        0.5,
        "I = 1400 [E + 3.64/c*^1.29]^−2.7 [1/(1 + 1.1Ec*/115) + 0.054/(1 + 1.1Ec*/850)]",
        "Guan et al., arXiv:1509.06176",
    ),
    "shukla_sankrith": FluxModel(
        "Shukla and Sankrith",
        fluxes.shukla_sankrith_intensity,
        0.5,
        "I = I₀ (n−1) (E₀+E_c)^(n−1) (E₀+E)^−n (1 + E/ε)^−1 D^−(n−1)",
        "Shukla and Sankrith, Int. J. Mod. Phys. A 33 (2018) 1850175",
    ),
    "gaisser": FluxModel(
        "Gaisser",
        fluxes.gaisser_intensity,
        30.0,
        "I = 1400 E^−2.7 [1/(1 + 1.1 E c/115) + 0.054/(1 + 1.1 E c/850)]",
        "Gaisser, Cosmic Rays and Particle Physics (1990)",
    ),
}


def tabulate(name: str, request: Request) -> Table:
    """The table of a quantity.

    Args:
        name: Key of `QUANTITIES`.
        request: What the user asked for.

    Raises:
        ConfigError: The quantity is not that of the particle, or options exclude each other.
        NotFoundError: A material, a particle or a model does not exist.
        DomainError: A value lies where the formula does not hold.
    """
    quantity = QUANTITIES[name]
    if quantity.particles and request.particle not in {None, *quantity.particles}:
        raise ConfigError(
            f"`{name}` is that of {quantity.particles[0]}s, got --particle {request.particle}. "
            "Leave the option out."
        )
    if "model" in quantity.options:
        model = _model(request)
        quantity = replace(
            quantity,
            title=f"{quantity.title}, {model.name}",
            formula=model.formula,
            source=model.source,
        )
    headers = [*quantity.columns.split(", "), *quantity.more_columns(request)]
    values: list[list[Any]] = [[] for _ in headers]
    for label, tensors in quantity.rows(request):
        values[0] += [label] * len(tensors[0])
        for cells, tensor in zip(values[1:], tensors, strict=True):
            cells += tensor.tolist()
    title = quantity.title.format(
        particle=_charged(request).name if "{particle}" in quantity.title else "",
        materials=", ".join(request.material or ["PbWO4"]),
    )
    columns = [Column.of(header, cells) for header, cells in zip(headers, values, strict=True)]
    return Table(title, columns, quantity)


def _stopping_power(request: Request) -> Iterator[Row]:
    particle, energies = _beam(request)
    for medium in _media(request, ["water"]):
        loss = energy_loss.stopping_power(particle, medium, energies)
        linear = loss * medium.density
        yield medium.name, (energies, energies * MEV, loss, loss * MEV, linear * MEV)


def _range(request: Request) -> Iterator[Row]:
    particle, energies = _beam(request)
    for medium in _media(request, ["water"]):
        depth = energy_loss.csda_range(particle, medium, energies)
        length = depth / medium.density / CM
        yield medium.name, (energies, energies * MEV, depth, length, length * CM)


def _highland(request: Request) -> Iterator[Row]:
    particle = _charged(request)
    momenta = _tensor(request.momenta, _span(0.5, 100.0))
    beta = momenta / torch.hypot(momenta, torch.full_like(momenta, particle.mass))
    charge = round(particle.charge)
    for medium in _media(request, ["Pb"]):
        for path in request.path or [0.1]:
            thickness = path / medium.radiation_length
            _inside("thickness x/X0", [thickness], THICKNESS_RANGE, "")
            angle = highland_angle(path, medium.radiation_length, momenta, beta, charge=charge)
            _inside("angle", angle.tolist(), (0.0, LARGEST_ANGLE), "rad")
            label = f"{CM * path:.4g} cm of {medium.name}"
            yield label, ((momenta, torch.full_like(angle, thickness), angle, angle * MRAD))


def _radiation_length(request: Request) -> Iterator[Row]:
    for medium in _media(request, COMMON):
        length = torch.tensor([medium.radiation_length], dtype=torch.float64)
        density = torch.full_like(length, medium.density)
        yield medium.name, (length, length * CM, length * CM * density, density)


def _shower_profile(request: Request) -> Iterator[Row]:
    energies = _tensor(request.energies, [1.0, 10.0, 100.0]).tolist()
    _inside("energy", energies, SHOWER_RANGE, "GeV")
    media = _media(request, ["PbWO4"])
    for medium in media:
        length = medium.radiation_length
        depth = _tensor(request.path, [number * length for number in DEPTHS])
        for energy in energies:
            shape = showers.mean_shape(energy, showers.homogeneous(medium))
            share = showers.longitudinal_profile(depth / length, shape)
            deposit = energy * share / length  # GeV/m
            label = f"{energy:.4g} GeV" + (f" in {medium.name}" if len(media) > 1 else "")
            yield label, ((depth, depth * CM, depth / length, share, deposit, deposit * MEV / CM))


def _muon_flux(request: Request) -> Iterator[Row]:
    model = _model(request)
    energies = _tensor(request.energies, _span(max(model.lowest, 1.0), 1000.0))
    _inside("energy", energies.tolist(), (model.lowest, math.inf), "GeV")
    angles = request.zenith or [0.0]
    _inside("zenith angle", angles, (0.0, math.pi / 2), "rad")
    for angle in angles:
        cosine = torch.tensor(math.cos(angle), dtype=torch.float64).clamp(min=0.0)
        flux = model.intensity(energies, cosine.expand_as(energies))
        label = f"{math.degrees(angle):.4g}°"
        yield label, (torch.full_like(energies, angle), energies, flux, flux * CM2)


def _attenuation(request: Request) -> Iterator[Row]:
    energies = _tensor(request.energies, _span(*PHOTON_RANGE))
    _inside("energy", energies.tolist(), PHOTON_RANGE, "GeV")
    for medium in _media(request, ["water"]):
        coefficient = photons.mass_attenuation(medium, energies)
        length = photons.attenuation_length(medium, energies)
        crossing = [photons.transmission(medium, energies, path) for path in request.path or []]
        yield medium.name, (energies, energies * MEV, coefficient, length, length * CM, *crossing)


QUANTITIES = {
    "stopping-power": Quantity(
        title="Stopping power of {particle}",
        rows=_stopping_power,
        columns="material, kinetic energy [GeV], kinetic energy [MeV], "
        "stopping power [GeV cm2/g], stopping power [MeV cm2/g], "
        "loss per length [MeV/cm]",
        x=2,
        y=4,
        value=3,
        formula="S = K z² Z/A / β² [½ ln(2mβ²γ²W/I²) − β² − δ/2 − C/Z] + b E",
        source="Groom, Mokhov, Striganov, At. Data Nucl. Data Tables 78 (2001) 183; ICRU 37 and 49",
        options=("energies", "material", "momenta", "particle"),
        sweep=("energies", 1),
    ),
    "range": Quantity(
        title="Range of {particle} (CSDA)",
        rows=_range,
        columns="material, kinetic energy [GeV], kinetic energy [MeV], range [g/cm2], "
        "length [m], length [cm]",
        x=2,
        y=3,
        value=3,
        formula="R(T) = ∫ dT' / S(T') from 0 to T",
        source="as the stopping power; ICRU 37 and 49",
        options=("energies", "material", "momenta", "particle"),
        sweep=("energies", 1),
    ),
    "highland": Quantity(
        title="Multiple scattering of {particle}, projected angle",
        rows=_highland,
        columns="layer, momentum [GeV/c], thickness [X0], angle [rad], angle [mrad]",
        x=1,
        y=4,
        value=3,
        formula="θ₀ = 13.6 MeV / (βcp) z √(x/X₀) [1 + 0.038 ln(x z² / (X₀ β²))]",
        source="Lynch and Dahl, Nucl. Instrum. Meth. B 58 (1991) 6; PDG (2022) eq. 34.16",
        options=("material", "momenta", "particle", "path"),
        sweep=("momenta", 1),
    ),
    "radiation-length": Quantity(
        title="Radiation length",
        rows=_radiation_length,
        columns="material, radiation length [m], radiation length [cm], "
        "radiation length [g/cm2], density [g/cm3]",
        x=0,
        y=2,
        value=1,
        formula="1/X₀ = 4α r_e² N_A/A {Z² [L_rad − f(Z)] + Z L'_rad}; compounds: 1/X₀ = Σ w_j/X_j",
        source="Tsai, Rev. Mod. Phys. 46 (1974) 815; PDG tables of material properties",
        options=("material",),
    ),
    "shower-profile": Quantity(
        title="Electron shower in {materials}",
        rows=_shower_profile,
        columns="shower, depth [m], depth [cm], depth [X0], share [1/X0], deposit [GeV/m], "
        "deposit [MeV/cm]",
        x=3,
        y=4,
        value=4,
        formula="(1/E) dE/dt = β (βt)^(α−1) exp(−βt) / Γ(α)",
        source="Longo and Sestili (1975); Grindhammer and Peters, hep-ex/0001020",
        options=("energies", "material", "particle", "path"),
        sweep=("path", 1),
        particles=("electron", "e-", "positron", "e+"),
        logarithmic=False,
    ),
    "muon-flux": Quantity(
        title="Muons at sea level",
        rows=_muon_flux,
        columns="zenith, zenith [rad], energy [GeV], intensity [1/(m2 s sr GeV)], "
        "intensity [1/(cm2 s sr GeV)]",
        x=2,
        y=3,
        value=3,
        formula="that of the model",
        source="that of the model",
        options=("energies", "model", "particle", "zenith"),
        sweep=("energies", 2),
        particles=("muon", "mu-", "antimuon", "mu+"),
    ),
    "attenuation": Quantity(
        title="Attenuation of photons",
        rows=_attenuation,
        columns="material, energy [GeV], energy [MeV], mass attenuation [cm2/g], length [m], "
        "length [cm]",
        x=2,
        y=3,
        value=3,
        formula="μ/ρ = Σ w_j (N_A/A_j) σ_j(E): photoelectric, Compton, pairs, Rayleigh",
        source="xraylib (Schoonjans et al. 2011) to 800 keV, fit to NIST XCOM above",
        options=("energies", "material", "particle", "path"),
        sweep=("energies", 1),
        particles=("photon", "gamma"),
        more_columns=lambda request: [
            f"transmission of {CM * path:.4g} cm" for path in request.path or []
        ],
    ),
}


def _media(request: Request, default: list[str]) -> list[Material]:
    return [materials.get(name) for name in request.material or default]


def _charged(request: Request) -> Particle:
    name = "muon" if request.particle is None else request.particle
    particle = particles.get(int(name) if re.fullmatch(r"-?[0-9]+", name) else name)
    if particle.charge == 0:
        raise DomainError(f"{name!r} is neutral. Take a charged particle.")
    if particle.is_quark:
        raise DomainError(f"{name!r} is a quark. Take a charged particle that can be seen.")
    return particle


def _model(request: Request) -> FluxModel:
    name = (request.model or "guan").replace("-", "_")
    if name not in FLUXES:
        raise NotFoundError(f"No flux model `{request.model}`. There are: {', '.join(FLUXES)}.")
    return FLUXES[name]


def _beam(request: Request) -> tuple[Particle, Tensor]:
    """The charged particle and its kinetic energies, inside the validity of the tables."""
    particle = _charged(request)
    if request.energies is not None and request.momenta is not None:
        raise ConfigError("Give --energies (kinetic) or --momenta, not both.")
    if request.momenta is not None:
        momenta = torch.tensor(request.momenta, dtype=torch.float64)
        energies = kinematics.kinetic_energy(momenta, particle.mass)
    else:
        energies = _tensor(request.energies, _span(0.01, 10.0))
    light = abs(particle.pdg_id) == 11
    bounds = ELECTRON_RANGE if light else (HEAVY_RANGE[0] * particle.mass, HEAVY_RANGE[1])
    _inside(f"kinetic energy of {particle.name}", energies.tolist(), bounds, "GeV")
    return particle, energies


def _tensor(values: list[float] | None, default: list[float]) -> Tensor:
    return torch.tensor(default if values is None else values, dtype=torch.float64)


def _span(low: float, high: float) -> list[float]:
    """Four points a decade."""
    points = 1 + round(4 * math.log10(high / low))
    return torch.logspace(math.log10(low), math.log10(high), points, dtype=torch.float64).tolist()


def _inside(what: str, values: list[float], bounds: tuple[float, float], unit: str) -> None:
    low, high = bounds
    allowed = f"lie between {low:.4g} and {high:.4g}" if high < math.inf else f"be >= {low:.4g}"
    for value in values:
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            raise DomainError(
                f"The {what} must {allowed} {unit}".rstrip()
                + f", where the formula holds, got {value:.4g}."
            )
