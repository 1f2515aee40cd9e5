"""What `detopt physics` can tabulate: one function a quantity, which returns a `Table`."""

__all__ = ["QUANTITIES", "Column", "Request", "Table"]

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from detopt.errors import ConfigError, DomainError, NotFoundError
from detopt.physics import energy_loss, fluxes, kinematics, materials, particles, photons, showers
from detopt.physics.materials import Material
from detopt.physics.particles import Particle
from detopt.physics.scattering import highland_angle

MEV, MRAD, CM, CM2 = 1e3, 1e3, 1e2, 1e-4  # usual units in a base unit
COMMON = "air, water, polystyrene, Be, graphite, Al, Si, Fe, Cu, W, Pb, PbWO4"
MODELS = {
    "guan": (fluxes.guan_intensity, "Guan et al., arXiv:1509.06176", 0.5),
    "shukla_sankrith": (
        fluxes.shukla_sankrith_intensity,
        "Shukla and Sankrith, Int. J. Mod. Phys. A 33 (2018) 1850175",
        0.5,
    ),
    "gaisser": (fluxes.gaisser_intensity, "Gaisser, Cosmic Rays and Particle Physics (1990)", 30.0),
}
ELECTRON_RANGE = (1e-5, 100.0)  # GeV, where the tables of electrons hold
HEAVY_RANGE = (1e-6, 1e5)  # of the mass, and GeV
PHOTON_RANGE = (1e-5, 10.0)  # GeV
SHOWER_RANGE = (0.4, 500.0)  # GeV
THICKNESS_RANGE = (1e-3, 100.0)  # radiation lengths
DEPTHS = [0.5 * step for step in range(1, 51)]  # radiation lengths


@dataclass(frozen=True)
class Request:
    """What the user asked for; None where nothing was said."""

    material: list[str] | None = None
    particle: str | None = None
    energies: list[float] | None = None  # GeV
    momenta: list[float] | None = None  # GeV/c
    path: list[float] | None = None  # m
    zenith: list[float] | None = None  # rad
    model: str | None = None


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    unit: str
    values: list[Any]

    @property
    def header(self) -> str:
        """Name and unit as a reader expects them."""
        return self.name.replace("_", " ") + (f" [{self.unit}]" if self.unit else "")


@dataclass(frozen=True)
class Table:
    """Values of a quantity in long form: a row for each curve and abscissa.

    Attributes:
        title: What the table shows.
        columns: Columns of equal length; the first names the curve.
        x: Place of the column to plot against, 0 for bars.
        y: Place of the column to plot.
        value: Place of the column with the quantity in its base unit.
        formula: The formula, in one line.
        source: Where it is from.
        sweep: Option of `Request` that runs along the abscissa and the place of its column, in
            base units; None for bars.
        logarithmic: Whether a wide axis may be logarithmic.
    """

    title: str
    columns: list[Column]
    x: int
    y: int
    value: int
    formula: str
    source: str
    sweep: tuple[str, int] | None = None
    logarithmic: bool = True


def stopping_power(request: Request) -> Table:
    """Mean energy loss of charged particles."""
    particle, energies = _beam(request)
    rows = []
    for medium in _media(request, "water"):
        loss = energy_loss.stopping_power(particle, medium, energies)
        linear = loss * medium.density
        rows.append((medium.name, energies, energies * MEV, loss, loss * MEV, linear * MEV))
    return Table(
        f"Stopping power of {particle.name}",
        _columns(
            rows,
            "material",
            ("kinetic_energy", "GeV"),
            ("kinetic_energy", "MeV"),
            ("stopping_power", "GeV cm2/g"),
            ("stopping_power", "MeV cm2/g"),
            ("loss_per_length", "MeV/cm"),
        ),
        x=2,
        y=4,
        value=3,
        formula="S = K z² Z/A / β² [½ ln(2mβ²γ²W/I²) − β² − δ/2 − C/Z] + b E",
        source="Groom, Mokhov, Striganov, At. Data Nucl. Data Tables 78 (2001) 183; ICRU 37 and 49",
        sweep=("energies", 1),
    )


def range_(request: Request) -> Table:
    """Range of charged particles in the continuous-slowing-down approximation."""
    particle, energies = _beam(request)
    rows = []
    for medium in _media(request, "water"):
        depth = energy_loss.csda_range(particle, medium, energies)
        length = depth / medium.density / CM
        rows.append((medium.name, energies, energies * MEV, depth, length, length * CM))
    return Table(
        f"Range of {particle.name} (CSDA)",
        _columns(
            rows,
            "material",
            ("kinetic_energy", "GeV"),
            ("kinetic_energy", "MeV"),
            ("range", "g/cm2"),
            ("length", "m"),
            ("length", "cm"),
        ),
        x=2,
        y=3,
        value=3,
        formula="R(T) = ∫ dT' / S(T') from 0 to T",
        source="as the stopping power; ICRU 37 and 49",
        sweep=("energies", 1),
    )


def highland(request: Request) -> Table:
    """Width of the projected angle of multiple scattering."""
    particle = _charged(request.particle or "muon")
    momenta = _tensor(request.momenta, "0.5 GeV to 100 GeV")
    beta = momenta / torch.hypot(momenta, torch.full_like(momenta, particle.mass))
    rows = []
    for medium in _media(request, "Pb"):
        for path in request.path or [0.1]:
            _inside("x/X0", [path / medium.radiation_length], THICKNESS_RANGE, "")
            angle = highland_angle(
                path, medium.radiation_length, momenta, beta, charge=round(particle.charge)
            )
            label = f"{CM * path:.4g} cm of {medium.name}"
            thickness = torch.full_like(angle, path / medium.radiation_length)
            rows.append((label, momenta, thickness, angle, angle * MRAD))
    return Table(
        f"Multiple scattering of {particle.name}, projected angle",
        _columns(
            rows,
            "layer",
            ("momentum", "GeV/c"),
            ("thickness", "X0"),
            ("angle", "rad"),
            ("angle", "mrad"),
        ),
        x=1,
        y=4,
        value=3,
        formula="θ₀ = 13.6 MeV / (βcp) z √(x/X₀) [1 + 0.038 ln(x z² / (X₀ β²))]",
        source="Lynch and Dahl, Nucl. Instrum. Meth. B 58 (1991) 6; PDG (2022) eq. 34.16",
        sweep=("momenta", 1),
    )


def radiation_length(request: Request) -> Table:
    """Radiation length of materials."""
    rows = [
        (
            medium.name,
            *(
                torch.tensor([value], dtype=torch.float64)
                for value in (
                    medium.radiation_length,
                    medium.radiation_length * CM,
                    medium.radiation_length * CM * medium.density,
                    medium.density,
                )
            ),
        )
        for medium in _media(request, COMMON)
    ]
    return Table(
        "Radiation length",
        _columns(
            rows,
            "material",
            ("radiation_length", "m"),
            ("radiation_length", "cm"),
            ("radiation_length", "g/cm2"),
            ("density", "g/cm3"),
        ),
        x=0,
        y=2,
        value=1,
        formula="1/X₀ = 4α r_e² N_A/A {Z² [L_rad − f(Z)] + Z L'_rad}; compounds: 1/X₀ = Σ w_j/X_j",
        source="Tsai, Rev. Mod. Phys. 46 (1974) 815; PDG tables of material properties",
    )


def shower_profile(request: Request) -> Table:
    """Mean longitudinal profile of electron showers."""
    if request.particle not in {None, "electron", "e-", "positron", "e+"}:
        raise ConfigError(
            f"`shower-profile` is that of electrons and positrons, got --particle "
            f"{request.particle}. Leave the option out."
        )
    energies = _tensor(request.energies, [1.0, 10.0, 100.0]).tolist()
    _inside("energy", energies, SHOWER_RANGE, "GeV")
    rows = []
    media = _media(request, "PbWO4")
    for medium in media:
        length = medium.radiation_length
        depth = torch.tensor(request.path or [d * length for d in DEPTHS], dtype=torch.float64)
        for energy in energies:
            shape = showers.mean_shape(energy, showers.homogeneous(medium))
            share = showers.longitudinal_profile(depth / length, shape)
            deposit = energy * share / length  # GeV/m
            label = f"{energy:.4g} GeV" + (f" in {medium.name}" if len(media) > 1 else "")
            rows.append(
                (label, depth, depth * CM, depth / length, share, deposit, deposit * MEV / CM)
            )
    return Table(
        "Electron shower in " + ", ".join(medium.name for medium in media),
        _columns(
            rows,
            "shower",
            ("depth", "m"),
            ("depth", "cm"),
            ("depth", "X0"),
            ("share", "1/X0"),
            ("deposit", "GeV/m"),
            ("deposit", "MeV/cm"),
        ),
        x=3,
        y=4,
        value=4,
        formula="(1/E) dE/dt = β (βt)^(α−1) exp(−βt) / Γ(α)",
        source="Longo and Sestili (1975); Grindhammer and Peters, hep-ex/0001020",
        sweep=("path", 1),
        logarithmic=False,
    )


def muon_flux(request: Request) -> Table:
    """Intensity of atmospheric muons at sea level."""
    if request.particle not in {None, "muon", "mu-", "antimuon", "mu+"}:
        raise ConfigError(
            f"`muon-flux` is that of muons, got --particle {request.particle}. "
            "Leave the option out."
        )
    name = (request.model or "guan").replace("-", "_")
    if name not in MODELS:
        raise NotFoundError(f"No flux model `{request.model}`. There are: {', '.join(MODELS)}.")
    intensity, source, lowest = MODELS[name]
    low = max(lowest, 1.0)
    energies = _tensor(request.energies, f"{low:g} GeV to 1000 GeV")
    _inside("energy", energies.tolist(), (lowest, math.inf), "GeV")
    angles = request.zenith or [0.0]
    _inside("zenith angle", angles, (0.0, math.pi / 2), "rad")
    rows = []
    for angle in angles:
        cosine = torch.tensor(math.cos(angle), dtype=torch.float64).clamp(min=0.0)
        flux = intensity(energies, cosine.expand_as(energies))
        label = f"{math.degrees(angle):.4g}°"
        radian = torch.full_like(energies, angle)
        rows.append((label, radian, energies, flux, flux * CM2))
    return Table(
        f"Muons at sea level, {FLUX_NAMES[name]}",
        _columns(
            rows,
            "zenith",
            ("zenith", "rad"),
            ("energy", "GeV"),
            ("intensity", "1/(m2 s sr GeV)"),
            ("intensity", "1/(cm2 s sr GeV)"),
        ),
        x=2,
        y=3,
        value=3,
        formula=FLUX_FORMULAS[name],
        source=source,
        sweep=("energies", 2),
    )


def attenuation(request: Request) -> Table:
    """Attenuation of photons."""
    if request.particle not in {None, "photon", "gamma"}:
        raise ConfigError(
            f"`attenuation` is that of photons, got --particle {request.particle}. "
            "Leave the option out."
        )
    energies = _tensor(request.energies, "0.00001 GeV to 10 GeV")
    _inside("energy", energies.tolist(), PHOTON_RANGE, "GeV")
    paths = request.path or []
    rows = []
    for medium in _media(request, "water"):
        coefficient = photons.mass_attenuation(medium, energies)
        length = photons.attenuation_length(medium, energies)
        crossing = [photons.transmission(medium, energies, path) for path in paths]
        rows.append(
            (medium.name, energies, energies * MEV, coefficient, length, length * CM, *crossing)
        )
    return Table(
        "Attenuation of photons",
        _columns(
            rows,
            "material",
            ("energy", "GeV"),
            ("energy", "MeV"),
            ("mass_attenuation", "cm2/g"),
            ("length", "m"),
            ("length", "cm"),
            *((f"transmission_of_{CM * path:.4g}_cm", "") for path in paths),
        ),
        x=2,
        y=3,
        value=3,
        formula="μ/ρ = Σ w_j (N_A/A_j) σ_j(E): photoelectric, Compton, pairs, Rayleigh",
        source="xraylib (Schoonjans et al. 2011) to 800 keV, fit to NIST XCOM above",
        sweep=("energies", 1),
    )


FLUX_NAMES = {
    "guan": "Guan et al.",
    "shukla_sankrith": "Shukla and Sankrith",
    "gaisser": "Gaisser",
}
FLUX_FORMULAS = {
    "guan": "I = 1400 [E + 3.64/c*^1.29]^−2.7 [1/(1 + 1.1Ec*/115) + 0.054/(1 + 1.1Ec*/850)]",
    "shukla_sankrith": "I = I₀ (n−1) (E₀+E_c)^(n−1) (E₀+E)^−n (1 + E/ε)^−1 D^−(n−1)",
    "gaisser": "I = 1400 E^−2.7 [1/(1 + 1.1 E c/115) + 0.054/(1 + 1.1 E c/850)]",
}
# each quantity with the options that it takes
QUANTITIES: dict[str, tuple[Callable[[Request], Table], frozenset[str]]] = {
    "stopping-power": (
        stopping_power,
        frozenset({"material", "particle", "energies", "momenta"}),
    ),
    "range": (range_, frozenset({"material", "particle", "energies", "momenta"})),
    "highland": (highland, frozenset({"material", "particle", "momenta", "path"})),
    "radiation-length": (radiation_length, frozenset({"material"})),
    "shower-profile": (shower_profile, frozenset({"material", "particle", "energies", "path"})),
    "muon-flux": (muon_flux, frozenset({"particle", "energies", "zenith", "model"})),
    "attenuation": (attenuation, frozenset({"material", "particle", "energies", "path"})),
}


def _media(request: Request, default: str) -> list[Material]:
    wanted = request.material or default.split(",")
    return [materials.get(name.strip()) for name in wanted]


def _charged(name: str) -> Particle:
    particle = particles.get(int(name) if name.lstrip("-").isdigit() else name)
    if particle.charge == 0:
        raise DomainError(f"{name!r} is neutral. Take a charged particle.")
    return particle


def _beam(request: Request) -> tuple[Particle, torch.Tensor]:
    """The charged particle and its kinetic energies, inside the validity of the tables."""
    particle = _charged(request.particle or "muon")
    if request.energies is not None and request.momenta is not None:
        raise ConfigError("Give --energies (kinetic) or --momenta, not both.")
    if request.momenta is not None:
        momenta = torch.tensor(request.momenta, dtype=torch.float64)
        energies = kinematics.kinetic_energy(momenta, particle.mass)
    else:
        energies = _tensor(request.energies, "0.01 GeV to 10 GeV")
    light = abs(particle.pdg_id) == 11
    bounds = ELECTRON_RANGE if light else (HEAVY_RANGE[0] * particle.mass, HEAVY_RANGE[1])
    _inside(f"kinetic energy of {particle.name}", energies.tolist(), bounds, "GeV")
    return particle, energies


def _tensor(values: list[float] | None, default: str | list[float]) -> torch.Tensor:
    """Values given, or a default: a list, or a span that is cut logarithmically."""
    if values is None and isinstance(default, str):
        low, high = (float(end.split()[0]) for end in default.split(" to "))
        points = 1 + round(4 * math.log10(high / low))
        return torch.logspace(math.log10(low), math.log10(high), points, dtype=torch.float64)
    return torch.tensor(default if values is None else values, dtype=torch.float64)


def _inside(what: str, values: list[float], bounds: tuple[float, float], unit: str) -> None:
    low, high = bounds
    for value in values:
        if not low * (1 - 1e-9) <= value <= high * (1 + 1e-9):
            raise DomainError(
                f"The {what} must lie between {low:.4g} and {high:.4g} {unit}".rstrip()
                + f", where the formula holds, got {value:.4g}."
            )


def _columns(rows: Iterable[tuple[Any, ...]], label: str, *names: tuple[str, str]) -> list[Column]:
    """Columns from a label and tensors for each curve."""
    labels: list[str] = []
    values: list[list[float]] = [[] for _ in names]
    for name, *tensors in rows:
        labels += [name] * len(tensors[0])
        for column, tensor in zip(values, tensors, strict=True):
            column += tensor.tolist()
    filled = [
        Column(name, unit, column) for (name, unit), column in zip(names, values, strict=True)
    ]
    return [Column(label, "", labels), *filled]
