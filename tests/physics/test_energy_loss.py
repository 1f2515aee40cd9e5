import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch.autograd import gradcheck

from detopt.errors import DomainError, NotFoundError
from detopt.physics import _radiative, energy_loss, materials, particles

MEV = 1e-3
KEV = 1e-6

# NIST PSTAR: T [MeV], electronic stopping power [MeV cm2/g], CSDA range [g/cm2]
PROTONS = {
    "water": [(10, 45.64, 0.1230), (50, 12.44, 2.227), (100, 7.286, 7.718), (250, 3.910, 37.94)],
    "Al": [(10, 33.75, 0.1705), (50, 9.590, 2.928), (100, 5.676, 10.01), (250, 3.075, 48.55)],
    "Si": [(10, 34.58, 0.1665), (50, 9.852, 2.852), (100, 5.836, 9.737), (250, 3.164, 47.21)],
    "Cu": [(10, 27.08, 0.2199), (50, 8.086, 3.530), (100, 4.850, 11.85), (250, 2.658, 56.62)],
    "Pb": [(10, 17.78, 0.3528), (50, 5.804, 5.057), (100, 3.551, 16.52), (250, 1.996, 76.69)],
    "U": [(10, 16.89, 0.3718), (50, 5.562, 5.292), (100, 3.410, 17.24), (250, 1.919, 79.85)],
    "CsI": [(10, 20.93, 0.2917), (50, 6.609, 4.397), (100, 4.021, 14.49), (250, 2.238, 67.97)],
    "polystyrene": [(10, 44.98, 0.1245), (100, 7.138, 7.870), (250, 3.826, 38.74)],
    "acetylene": [(10, 46.28, 0.1206), (100, 7.287, 7.697), (250, 3.898, 37.97)],
    "Li2B4O7": [(10, 38.21, 0.1479), (100, 6.176, 9.128), (250, 3.323, 44.72)],
    "polypropylene": [(10, 49.36, 0.1129), (100, 7.758, 7.227), (250, 4.149, 35.67)],
    "tissue_gas_propane": [(10, 47.16, 0.1183), (100, 7.437, 7.543), (250, 3.980, 37.20)],
    "cortical_bone": [(10, 40.06, 0.1414), (100, 6.534, 8.642), (250, 3.522, 42.24)],
}
# PDG tables of muon dE/dx and range: T [MeV], dE/dx [MeV cm2/g], CSDA range [g/cm2]
MUONS = {
    "Al": [(100, 1.798, 39.34), (1e3, 1.745, 577.3), (1e5, 2.693, 4.199e4), (1e6, 6.909, 2.433e5)],
    "Ar": [(100, 1.670, 42.50), (1e3, 1.715, 603.7), (1e5, 3.083, 3.760e4), (1e6, 8.194, 2.096e5)],
    "Cu": [(100, 1.561, 45.37), (1e3, 1.533, 661.7), (1e5, 2.765, 4.381e4), (1e6, 10.28, 2.021e5)],
    "Si": [(100, 1.849, 38.22), (1e3, 1.804, 559.5), (1e5, 2.814, 4.033e4), (1e6, 7.413, 2.301e5)],
    "water": [
        (100, 2.270, 31.03),
        (1e3, 2.109, 470.6),
        (1e5, 3.020, 3.629e4),
        (1e6, 6.013, 2.426e5),
    ],
    "diamond": [
        (100, 1.975, 35.27),
        (1e3, 1.825, 543.0),
        (1e4, 2.171, 4921),
        (1e6, 5.209, 2.798e5),
    ],
}
# Idem, T [MeV], radiative part of dE/dx [MeV cm2/g]
MUON_RADIATION = {
    "Si": [(1e5, 0.3640), (1e6, 4.726), (1e7, 52.27)],
    "water": [(1e5, 0.2281), (1e6, 2.958), (1e7, 33.12)],
}
# NIST ESTAR: T [MeV], collision and radiative stopping power [MeV cm2/g], CSDA range [g/cm2]
ELECTRONS = {
    "water": [(0.1, 4.12, 4.23e-3, 1.43e-2), (10, 1.97, 0.181, 4.98), (1000, 2.40, 26.8, 100)],
    "Si": [
        (0.1, 3.265, 8.389e-3, 1.822e-2),
        (10, 1.697, 0.3161, 5.642),
        (1000, 2.099, 44.59, 75.67),
    ],
    "Fe": [(0.1, 2.80, 1.55e-2, 2.14e-2), (10, 1.48, 0.522, 6.08), (1000, 1.88, 71.2, 56.8)],
    "Pb": [
        (0.1, 1.964, 4.454e-2, 3.113e-2),
        (10, 1.201, 1.206, 6.133),
        (1000, 1.583, 153.9, 33.73),
    ],
}
# PDG pages of the materials and the review: critical energy of the muon [GeV]
MUON_CRITICAL = {
    "Fe": 347,
    "Pb": 141,
    "Si": 581.6,
    "standard_rock": 693,
    "soft_tissue": 1064,
    "Ge": 298,
}

PURE = [name for name in materials.names() if len(materials.get(name).composition) == 1]


def rows(table):
    return [(name, *row) for name, entries in table.items() for row in entries]


@pytest.mark.parametrize(("material", "mev", "loss", "depth"), rows(PROTONS))
def test_protons_stop_as_in_the_tables_of_nist(material, mev, loss, depth):
    computed = energy_loss.stopping_power("proton", material, mev * MEV)
    assert computed.item() / MEV == pytest.approx(loss, rel=4e-3)
    assert energy_loss.csda_range("proton", material, mev * MEV).item() == pytest.approx(
        depth, rel=4e-3
    )


@pytest.mark.parametrize(("material", "mev", "loss", "depth"), rows(MUONS))
def test_muons_stop_as_in_the_tables_of_the_review(material, mev, loss, depth):
    computed = energy_loss.stopping_power("muon", material, mev * MEV)
    assert computed.item() / MEV == pytest.approx(loss, rel=5e-3)
    assert energy_loss.csda_range("muon", material, mev * MEV).item() == pytest.approx(
        depth, rel=5e-3
    )


@pytest.mark.parametrize(("material", "mev", "radiative"), rows(MUON_RADIATION))
def test_muons_radiate_as_in_the_tables_of_the_review(material, mev, radiative):
    computed = energy_loss.radiative_stopping_power("muon", material, mev * MEV)
    assert computed.item() / MEV == pytest.approx(radiative, rel=1e-2)


def test_nuclear_part_in_water_is_that_of_the_tables():  # 0.4235 MeV cm2/g at 1 TeV, PDG 2010
    energy = torch.tensor([1000.1056], dtype=torch.float64)
    elements = {"H": (1.008, 0.111894), "O": (15.999, 0.888106)}
    per_energy = sum(w * _radiative.nuclear(energy, mass) for mass, w in elements.values())
    assert (per_energy * energy).item() / MEV == pytest.approx(0.4235, rel=5e-3)


@pytest.mark.parametrize(("material", "mev", "collision", "radiative", "depth"), rows(ELECTRONS))
def test_electrons_stop_as_in_the_tables_of_nist(material, mev, collision, radiative, depth):
    energy = mev * MEV
    hit = energy_loss.collision_stopping_power("electron", material, energy)
    radiated = energy_loss.radiative_stopping_power("electron", material, energy)
    assert hit.item() / MEV == pytest.approx(collision, rel=8e-3)
    assert radiated.item() / MEV == pytest.approx(radiative, rel=1e-2)
    assert energy_loss.csda_range("electron", material, energy).item() == pytest.approx(
        depth, rel=1e-2
    )


@pytest.mark.parametrize(("material", "gev"), MUON_CRITICAL.items())
def test_muon_critical_energy_is_the_published_one(material, gev):
    assert energy_loss.muon_critical_energy(material) == pytest.approx(gev, rel=1.2e-2)


@pytest.mark.parametrize("material", ["Fe", "Pb", "water", "air"])
def test_smallest_collision_loss_is_that_of_the_material(material):
    energies = torch.logspace(-1, 1, 500, dtype=torch.float64)
    smallest = energy_loss.collision_stopping_power("muon", material, energies).min()
    assert smallest.item() == pytest.approx(materials.get(material).minimum_ionization, rel=1e-3)


@pytest.mark.parametrize("material", ["Si", "water", "PbWO4"])
def test_total_loss_is_the_sum_of_its_parts(material):
    energy = torch.logspace(-2, 3, 50, dtype=torch.float64)
    parts = energy_loss.collision_stopping_power("muon", material, energy)
    parts = parts + energy_loss.radiative_stopping_power("muon", material, energy)
    total = energy_loss.stopping_power("muon", material, energy)
    torch.testing.assert_close(total, parts, rtol=1e-4, atol=0)


@pytest.mark.parametrize("material", PURE)
def test_slow_particles_lose_energy_in_every_element(material):
    energy = torch.logspace(-7, 1, 40, dtype=torch.float64)
    loss = energy_loss.collision_stopping_power("proton", material, energy)
    assert (loss > 0).all()


@pytest.mark.parametrize("material", ["Ho", "Tm", "Pu"])
def test_muons_have_a_range_in_elements_between_the_tabulated_ones(material):
    energy = torch.tensor([0.1, 10.0], dtype=torch.float64)
    depth = energy_loss.csda_range("muon", material, energy)
    neighbor = energy_loss.csda_range("muon", "W", energy)
    torch.testing.assert_close(depth, neighbor, rtol=0.1, atol=0)


def test_heavy_particles_do_not_radiate():
    assert energy_loss.radiative_stopping_power("proton", "Pb", 100.0).item() == 0.0


def test_radiation_of_electrons_tends_to_energy_over_radiation_length():
    lead = materials.get("Pb")
    radiated = energy_loss.radiative_stopping_power("electron", lead, 100.0).item()
    expected = 100.0 / (lead.radiation_length * 100 * lead.density)
    assert radiated == pytest.approx(expected, rel=1e-2)


@settings(deadline=None)  # the first call makes the tables
@given(velocity=st.floats(0.1, 10.0))
def test_loss_goes_with_the_square_of_the_charge_at_equal_velocity(velocity):
    alpha = energy_loss.stopping_power("alpha", "water", velocity * particles.mass("alpha"))
    proton = energy_loss.stopping_power("proton", "water", velocity * particles.mass("proton"))
    assert alpha.item() == pytest.approx(4 * proton.item(), rel=2e-3)


def test_positrons_lose_less_than_electrons_at_high_energy():  # ICRU 37: 1.5 to 3 % in water
    ratio = energy_loss.collision_stopping_power(
        "positron", "water", 0.1
    ) / energy_loss.collision_stopping_power("electron", "water", 0.1)
    assert ratio.item() == pytest.approx(0.978, abs=8e-3)


@settings(deadline=None)  # the first call makes the tables
@given(energy=st.floats(1e-3, 100.0))
def test_energy_of_range_undoes_the_range(energy):
    depth = energy_loss.csda_range("muon", "Fe", energy)
    assert energy_loss.energy_of_range("muon", "Fe", depth).item() == pytest.approx(
        energy, rel=1e-5
    )


def test_range_grows_with_energy():
    energy = torch.logspace(-4, 4, 1000, dtype=torch.float64)
    assert (torch.diff(energy_loss.csda_range("muon", "Pb", energy)) > 0).all()


def test_slope_of_the_range_is_the_inverse_of_the_loss():
    energy = torch.logspace(-2, 2, 40, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(energy_loss.csda_range("proton", "Si", energy).sum(), energy)
    expected = 1 / energy_loss.stopping_power("proton", "Si", energy)
    torch.testing.assert_close(slope, expected.detach(), rtol=1e-4, atol=0)


def test_two_half_layers_take_as_much_as_one_layer():
    energy = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    half = energy_loss.residual_energy("muon", "Fe", energy, 0.05)
    twice = energy_loss.residual_energy("muon", "Fe", half, 0.05)
    once = energy_loss.residual_energy("muon", "Fe", energy, 0.1)
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0)


def test_proton_of_200_mev_leaves_20_cm_of_water_with_the_energy_of_its_range():
    # NIST PSTAR: 25.96 g/cm2 at 200 MeV, 5.96 g/cm2 is left: between 85 MeV (5.779)
    # and 90 MeV (6.398), 86.5 MeV
    left = energy_loss.residual_energy("proton", "water", 0.2, 0.2)
    assert left.item() / MEV == pytest.approx(86.5, rel=5e-3)


def test_thin_layer_takes_the_stopping_power_times_its_thickness():
    lost = 1.0 - energy_loss.residual_energy("muon", "Si", 1.0, 1e-5).item()
    expected = energy_loss.stopping_power("muon", "Si", 1.0).item() * 2.329 * 1e-3
    assert lost == pytest.approx(expected, rel=1e-3)


def test_a_stopped_particle_has_no_energy_and_no_gradient():
    path = torch.tensor([0.1, 0.5], dtype=torch.float64, requires_grad=True)
    left = energy_loss.residual_energy("proton", "water", 0.1, path)
    left.sum().backward()
    assert left.tolist() == [0.0, 0.0]
    assert path.grad.tolist() == [0.0, 0.0]


def test_most_probable_loss_in_300_um_of_silicon_is_78_5_kev_at_minimum_ionization():
    # beta gamma = 3.5; computed by hand from the formula of the review
    energy = particles.mass("muon") * (math.hypot(1, 3.5) - 1)
    loss = energy_loss.most_probable_loss("muon", "Si", energy, 300e-6)
    assert loss.item() / KEV == pytest.approx(78.5, abs=0.2)


def test_most_probable_loss_in_300_um_of_silicon_is_84_kev_on_the_plateau():
    loss = energy_loss.most_probable_loss("muon", "Si", 100.0, 300e-6)
    assert loss.item() / KEV == pytest.approx(84.2, abs=0.2)


@pytest.mark.parametrize("energy", [0.2, 1.0, 10.0, 1000.0])
def test_vavilov_tends_to_landau_in_thin_layers(energy):
    landau = energy_loss.most_probable_loss("muon", "Si", energy, 300e-6)
    vavilov = energy_loss.vavilov_most_probable_loss("muon", "Si", energy, 300e-6)
    assert vavilov.item() == pytest.approx(landau.item(), rel=1e-3)


def test_most_probable_loss_tends_to_the_mean_in_thick_layers():
    kappa = energy_loss.vavilov_kappa("proton", "water", 0.05, 0.004)
    mode = energy_loss.vavilov_most_probable_loss("proton", "water", 0.05, 0.004)
    mean = energy_loss.stopping_power("proton", "water", 0.05) * 0.4
    assert kappa.item() > 2
    assert mode.item() == pytest.approx(mean.item(), rel=1e-2)


def test_landau_width_is_half_of_k_in_unit_thickness():  # K = 0.307075 MeV cm2/mol
    width = energy_loss.landau_width("muon", "water", 1e3, 0.01)
    assert width.item() / MEV == pytest.approx(0.307075 / 2 * 0.55509, rel=1e-4)


def test_landau_width_goes_with_the_thickness():
    widths = energy_loss.landau_width("muon", "Si", 1.0, torch.tensor([1e-4, 3e-4]))
    assert (widths[1] / widths[0]).item() == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("probability", [0.001, 0.1, 0.5, 0.9, 0.98])
def test_landau_quantile_inverts_the_integral_of_landau(probability):
    # 1 - F = (1/pi) integral of exp(-t ln t - lambda t) sin(pi t) / t; Landau 1944
    score = math.sqrt(2) * torch.erfinv(torch.tensor(2 * probability - 1).double())
    quantile = energy_loss.landau_quantile(score).item()

    def integrand(t):
        return math.exp(-t * math.log(t) - quantile * t) * math.sin(math.pi * t) / (math.pi * t)

    survival = quad(integrand, 0, 60, limit=500)[0]
    assert survival == pytest.approx(1 - probability, rel=2e-3)


def test_landau_has_its_median_at_1_3558():  # CERN Program Library G110
    median = energy_loss.landau_quantile(torch.zeros(1, dtype=torch.float64))
    assert median.item() == pytest.approx(1.35578, abs=1e-4)


def test_landau_density_has_its_mode_and_width():  # mode -0.22278, full width 4.018
    score = torch.linspace(-4, 3, 20001, dtype=torch.float64)
    value = energy_loss.landau_quantile(score)
    density = torch.exp(-(score**2) / 2)[:-1] / torch.diff(value)
    above = value[:-1][density > density.max() / 2]
    assert value[density.argmax()].item() == pytest.approx(-0.2228, abs=0.03)
    assert (above[-1] - above[0]).item() == pytest.approx(4.018, abs=0.03)


@pytest.mark.parametrize("beta_squared", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("kappa", [0.02, 0.3, 3.0, 30.0])
def test_vavilov_quantiles_have_the_moments_of_the_distribution(kappa, beta_squared):
    # mean -0.4228 - beta^2 - ln kappa, variance (1 - beta^2 / 2) / kappa; Vavilov 1957
    probability = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    score = math.sqrt(2) * torch.erfinv(2 * probability - 1)
    values = energy_loss.vavilov_quantile(
        score, torch.tensor(kappa).double(), torch.tensor(beta_squared).double()
    )
    spread = math.sqrt((1 - beta_squared / 2) / kappa)
    mean = 0.5772157 - 1 - beta_squared - math.log(kappa)
    assert values.mean().item() == pytest.approx(mean, abs=0.01 * spread)
    assert values.std().item() == pytest.approx(spread, rel=0.01)


def test_quantiles_of_one_layer_equal_those_of_many():
    score = torch.linspace(-3, 3, 7, dtype=torch.float64)
    kappa, beta_squared = torch.tensor(0.3).double(), torch.tensor(0.7).double()
    one = energy_loss.vavilov_quantile(score, kappa, beta_squared)
    many = energy_loss.vavilov_quantile(score, kappa.expand(7), beta_squared.expand(7))
    torch.testing.assert_close(one, many)


@pytest.mark.parametrize(
    ("particle", "material", "energy", "path"),
    [("proton", "water", 0.2, 1e-3), ("proton", "water", 0.1, 1e-2), ("proton", "Pb", 0.05, 1e-4)],
)
def test_sampled_losses_have_the_mean_and_the_width(particle, material, energy, path, rng):
    energies = torch.full((200_000,), energy, dtype=torch.float64)
    losses = energy_loss.sample_loss(particle, material, energies, path, rng)
    thickness = path * 100 * materials.get(material).density
    mean = energy_loss.stopping_power(particle, material, energy).item() * thickness
    width = energy_loss.straggling_width(particle, material, energy, path).item()
    assert losses.mean().item() == pytest.approx(mean, abs=5 * width / math.sqrt(200_000))
    assert losses.std().item() == pytest.approx(width, rel=0.01)


def test_sampled_losses_agree_with_a_sum_of_single_collisions(rng):
    # independent simulation: a Poisson number of collisions with the spectrum (1 - b y)/y^2
    n, kappa, beta_squared, cut = 40_000, 1.0, 0.5, 1e-3
    y = torch.rand(4_000_000, generator=rng, dtype=torch.float64)
    y = cut / (1 - y * (1 - cut))
    keep = torch.rand(y.shape, generator=rng, dtype=torch.float64) < 1 - beta_squared * y
    y = y[keep]
    rate = kappa * ((1 / cut - 1) + beta_squared * math.log(cut))
    counts = torch.poisson(torch.full((n,), rate, dtype=torch.float64), generator=rng).long()
    picked = torch.randint(len(y), (int(counts.sum()),), generator=rng)
    sums = torch.zeros(n, dtype=torch.float64)
    sums.index_add_(0, torch.arange(n).repeat_interleave(counts), y[picked])
    mean = kappa * (-math.log(cut) - beta_squared * (1 - cut))
    landau = (sums - mean) / kappa - 1 + 0.5772157 - beta_squared - math.log(kappa)

    levels = torch.tensor([0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    score = torch.distributions.Normal(0.0, 1.0).icdf(levels)
    quantiles = energy_loss.vavilov_quantile(
        score, torch.tensor(kappa).double(), torch.tensor(beta_squared).double()
    )
    torch.testing.assert_close(torch.quantile(landau, levels), quantiles, rtol=0, atol=0.05)


def test_the_same_seed_gives_the_same_losses():
    def draw():
        return energy_loss.sample_loss(
            "muon", "Si", torch.full((5,), 3.0), 3e-4, torch.Generator().manual_seed(3)
        )

    assert torch.equal(draw(), draw())


def test_straggling_of_a_heavy_particle_is_that_of_bohr():
    # sigma^2 = K m_e z^2 (Z/A) x gamma^2 (1 - beta^2/2), heavy particle
    mass = particles.mass("alpha")
    gamma = 1 + 0.4 / mass
    beta_squared = 1 - gamma**-2
    variance = 0.307075 * 0.51099895 * 4 * 0.55509 * 0.1 * gamma**2 * (1 - beta_squared / 2)
    width = energy_loss.straggling_width("alpha", "water", 0.4, 1e-3)
    assert width.item() / MEV == pytest.approx(math.sqrt(variance), rel=2e-3)


@pytest.mark.parametrize(("mev", "depth"), [(50, 2.227), (100, 7.718), (200, 25.96), (230, 32.95)])
def test_bragg_kleeman_rule_is_within_its_stated_error(mev, depth):  # NIST PSTAR, water
    assert energy_loss.bragg_kleeman_range(mev * MEV).item() * 100 == pytest.approx(
        depth, rel=0.0125
    )


@given(energy=st.floats(0.02, 0.25), share=st.floats(0.0, 0.99))
def test_bragg_kleeman_energy_belongs_to_the_range_that_is_left(energy, share):
    depth = share * energy_loss.bragg_kleeman_range(energy)
    left = energy_loss.bragg_kleeman_energy(energy, depth)
    expected = energy_loss.bragg_kleeman_range(energy) - depth
    assert energy_loss.bragg_kleeman_range(left).item() == pytest.approx(expected.item())


def test_bragg_kleeman_energy_is_zero_beyond_the_range():
    assert energy_loss.bragg_kleeman_energy(0.1, 0.2).item() == 0.0


def test_range_straggling_is_a_quarter_of_a_centimetre_at_200_mev():  # Bortfeld 1997
    assert energy_loss.range_straggling(0.2596).item() * 100 == pytest.approx(0.252, rel=1e-2)


ENERGIES = torch.tensor([0.03, 0.2, 2.0, 30.0], dtype=torch.float64)
PATHS = torch.tensor([2e-4, 1e-3, 5e-3, 2e-2], dtype=torch.float64)
NOISE = torch.tensor([-1.3, -0.2, 0.6, 1.7], dtype=torch.float64)


@pytest.mark.parametrize("particle", ["muon", "proton", "electron", "positron"])
@pytest.mark.parametrize("material", ["Si", "water"])
@pytest.mark.parametrize(
    "function",
    [
        energy_loss.stopping_power,
        energy_loss.collision_stopping_power,
        energy_loss.csda_range,
        energy_loss.energy_of_range,
    ],
)
def test_gradient_in_the_energy_matches_finite_differences(function, particle, material):
    energies = ENERGIES.clone().requires_grad_()
    assert gradcheck(lambda e: function(particle, material, e), energies)


@pytest.mark.parametrize("particle", ["muon", "electron"])
def test_gradient_of_the_radiation_matches_finite_differences(particle):
    energies = ENERGIES.clone().requires_grad_()
    assert gradcheck(
        lambda e: energy_loss.radiative_stopping_power(particle, "Pb", e), energies, atol=1e-7
    )


@pytest.mark.parametrize(
    "function",
    [
        energy_loss.residual_energy,
        energy_loss.landau_width,
        energy_loss.vavilov_kappa,
        energy_loss.most_probable_loss,
        energy_loss.vavilov_most_probable_loss,
        energy_loss.straggling_width,
    ],
)
def test_gradient_in_energy_and_path_matches_finite_differences(function):
    inputs = ENERGIES.clone().requires_grad_(), PATHS.clone().requires_grad_()
    scale = 1e3  # GeV to MeV, so that the tolerances fit
    assert gradcheck(lambda e, x: scale * function("muon", "Si", e, x), inputs, eps=1e-7)


def test_gradient_of_a_sample_matches_finite_differences():
    inputs = ENERGIES.clone().requires_grad_(), PATHS.clone().requires_grad_()
    assert gradcheck(
        lambda e, x: 1e3 * energy_loss.sample_loss("proton", "Si", e, x, NOISE), inputs, eps=1e-7
    )


def test_gradient_of_the_quantiles_matches_finite_differences():
    score = NOISE.clone().requires_grad_()
    kappa = torch.tensor([0.003, 0.2, 1.5, 40.0], dtype=torch.float64, requires_grad=True)
    beta_squared = torch.tensor([0.2, 0.4, 0.8, 0.9], dtype=torch.float64, requires_grad=True)
    assert gradcheck(energy_loss.landau_quantile, score)
    assert gradcheck(energy_loss.vavilov_quantile, (score, kappa, beta_squared), eps=1e-7)


def test_gradient_of_the_bragg_kleeman_rule_matches_finite_differences():
    energies = torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64, requires_grad=True)
    depth = torch.tensor([0.01, 0.05, 0.1], dtype=torch.float64, requires_grad=True)
    assert gradcheck(energy_loss.bragg_kleeman_range, energies)
    assert gradcheck(energy_loss.bragg_kleeman_energy, (energies, depth))
    assert gradcheck(energy_loss.range_straggling, depth)


def test_results_keep_shape_and_dtype_of_the_input():
    energies = torch.rand(2, 3) + 0.1
    assert energy_loss.stopping_power("muon", "Fe", energies).shape == (2, 3)
    assert energy_loss.csda_range("muon", "Fe", energies).dtype == torch.float32
    left = energy_loss.residual_energy("muon", "Fe", energies, 1e-3)
    assert (left.shape, left.dtype) == ((2, 3), torch.float32)


@pytest.mark.parametrize(
    "function",
    [
        energy_loss.stopping_power,
        energy_loss.collision_stopping_power,
        energy_loss.radiative_stopping_power,
        energy_loss.csda_range,
    ],
)
@pytest.mark.parametrize("energy", [0.0, -1.0, math.nan])
def test_impossible_energy_is_refused(function, energy):
    with pytest.raises(DomainError, match="`kinetic_energy` must be > 0"):
        function("muon", "Fe", energy)


def test_impossible_depth_is_refused():
    with pytest.raises(DomainError, match="`depth` must be > 0"):
        energy_loss.energy_of_range("muon", "Fe", -1.0)
    with pytest.raises(DomainError, match="`depth` must be > 0"):
        energy_loss.range_straggling(0.0)


@pytest.mark.parametrize(
    "function",
    [
        energy_loss.landau_width,
        energy_loss.vavilov_kappa,
        energy_loss.most_probable_loss,
        energy_loss.vavilov_most_probable_loss,
        energy_loss.straggling_width,
    ],
)
def test_impossible_layer_is_refused(function):
    with pytest.raises(DomainError, match="`path` must be > 0"):
        function("muon", "Si", 1.0, -1e-4)


def test_impossible_sample_is_refused(rng):
    with pytest.raises(DomainError, match="`path` must be > 0"):
        energy_loss.sample_loss("muon", "Si", 1.0, 0.0, rng)


def test_impossible_bragg_kleeman_energy_is_refused():
    with pytest.raises(DomainError, match="`kinetic_energy` must be > 0"):
        energy_loss.bragg_kleeman_range(-0.1)
    with pytest.raises(DomainError, match="`exponent` must be > 0"):
        energy_loss.bragg_kleeman_energy(0.1, 0.01, exponent=0.0)


def test_a_neutral_particle_is_refused():
    with pytest.raises(DomainError, match="'neutron' is neutral"):
        energy_loss.stopping_power("neutron", "Fe", 1.0)


def test_an_unknown_material_is_refused():
    with pytest.raises(NotFoundError, match="No material 'unobtanium'"):
        energy_loss.residual_energy("muon", "unobtanium", 1.0, 0.1)
    with pytest.raises(NotFoundError, match="No material 'unobtanium'"):
        energy_loss.muon_critical_energy("unobtanium")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "function",
    [
        energy_loss.stopping_power,
        energy_loss.collision_stopping_power,
        energy_loss.radiative_stopping_power,
        energy_loss.csda_range,
        energy_loss.energy_of_range,
    ],
)
def test_an_energy_that_cannot_be_gives_no_number_and_spares_the_others(function, dtype):
    energy = torch.tensor([1.0, math.nan, -1.0, math.inf], dtype=dtype, requires_grad=True)
    value = function("muon", "water", energy)
    assert value.isfinite().tolist() == [True, False, False, False]
    (gradient,) = torch.autograd.grad(value.nansum(), energy)
    alone = energy.detach()[:1].requires_grad_()
    (expected,) = torch.autograd.grad(function("muon", "water", alone).sum(), alone)
    torch.testing.assert_close(gradient[:1], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stopped_particle_loses_nothing_more(dtype):
    energy = torch.tensor([0.0, 1.0, math.nan], dtype=dtype, requires_grad=True)
    noise = torch.tensor([0.3, 0.3, 0.3], dtype=dtype)
    loss = energy_loss.sample_loss("muon", "water", energy, 1e-3, noise)
    assert loss[0] == 0
    assert loss[1] > 0
    assert loss[2].isnan()
    (gradient,) = torch.autograd.grad(loss[:2].sum(), energy)
    assert gradient[0] == 0
    assert gradient[1].isfinite()
