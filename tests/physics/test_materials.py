import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detopt.errors import DomainError, NotFoundError
from detopt.physics import materials
from detopt.physics._sternheimer import DensityEffect
from detopt.physics.materials import Material

# Table of atomic and nuclear properties, Review of Particle Physics: X0 [g/cm2],
# nuclear interaction length [g/cm2], minimum ionization [MeV cm2/g], Z/A, density [g/cm3]
PUBLISHED = {
    "Be": (65.19, 77.8, 1.595, 0.44384, 1.848),
    "graphite": (42.70, 85.8, 1.742, 0.49955, 2.210),
    "Al": (24.01, 107.2, 1.615, 0.48181, 2.699),
    "Si": (21.82, 108.4, 1.664, 0.49848, 2.329),
    "Ti": (16.16, 126.2, 1.477, 0.45961, 4.540),
    "Fe": (13.84, 132.1, 1.451, 0.46557, 7.874),
    "Cu": (12.86, 137.3, 1.403, 0.45636, 8.960),
    "Ge": (12.25, 143.0, 1.370, 0.44053, 5.323),
    "Sn": (8.82, 166.7, 1.263, 0.42119, 7.310),
    "W": (6.76, 191.9, 1.145, 0.40252, 19.300),
    "Au": (6.46, 196.3, 1.134, 0.40108, 19.320),
    "Pb": (6.37, 199.6, 1.122, 0.39575, 11.350),
    "U": (6.00, 209.0, 1.081, 0.38651, 18.950),
    "Ar": (19.55, 119.7, 1.519, 0.45059, 1.662e-3),
    "air": (36.62, 90.1, 1.815, 0.49919, 1.205e-3),
    "concrete": (26.57, 97.5, 1.711, 0.50274, 2.300),
    "standard_rock": (26.54, 101.3, 1.688, 0.50000, 2.650),
    "water": (36.08, 83.3, 1.992, 0.55509, 1.000),
    "polystyrene": (43.79, 81.7, 1.936, 0.53768, 1.060),
    "polyvinyltoluene": (43.90, 81.3, 1.956, 0.54141, 1.032),
    "BGO": (7.97, 159.1, 1.251, 0.42065, 7.130),
    "CsI": (8.39, 171.5, 1.243, 0.41569, 4.510),
    "PbWO4": (7.39, 168.3, 1.229, 0.41315, 8.300),
    "soft_tissue": (37.63, 83.0, 1.982, 0.55121, 1.000),
}
# Idem, pages of the single materials: critical energy of the electron [MeV], Moliere radius [g/cm2]
SHOWERS = {
    "Fe": (21.68, 13.53),
    "Cu": (19.42, 14.05),
    "W": (7.97, 18.0),
    "Pb": (7.43, 18.18),
    "U": (6.65, 19.1),
    "Si": (40.19, 11.51),
    "Al": (42.70, 11.93),
    "water": (78.33, 9.77),
    "air": (87.92, 8.83),
    "BGO": (10.50, 16.10),
    "PbWO4": (9.64, 16.26),
    "CsI": (11.17, 15.92),
    "liquid_argon": (32.84, 12.62),
    "soft_tissue": (81.68, 9.77),
}
EXCITATION = {"Pb": 823.0, "Fe": 286.0, "Si": 173.0, "water": 79.7, "air": 85.7, "PbWO4": 600.7}
# Pages of the single materials, 2020: density [g/cm3], mean excitation energy [eV], Z/A
LISTED = {
    "Er": (9.026, 658.0, 0.40656),
    "Tc": (11.5, 428.0, 0.43919),
    "Pu": (19.84, 921.0, 0.38514),
    "carbon_tetrafluoride": (3.78e-3, 115.0, 0.47725),
    "polypropylene": (0.905, 57.4, 0.57023),
    "epoxy": (1.19, 76.7, 0.53404),
    "e_glass": (2.61, 143.4, 0.49686),
    "amorphous_carbon": (2.0, 78.0, 0.49954),
    "dry_ice": (1.563, 85.0, 0.49989),
    "bromine_gas": (7.072e-3, 343.0, 0.43803),
    "liquid_chlorine": (1.574, 174.0, 0.47951),
    "LuAP": (8.3, 423.2, 0.43209),
    "YAG": (4.56, 218.0, 0.46832),
    "benzene": (0.8787, 63.4, 0.53769),
    "methanol": (0.7914, 67.6, 0.56176),
    "UC2": (11.28, 752.0, 0.39687),
}
# Idem, coefficients of the density effect: a, k, x0, x1, C-bar, delta0
COEFFICIENTS = {
    "amorphous_carbon": (0.2024, 3.0036, -0.0351, 2.4860, 2.9925, 0.10),
    "polypropylene": (0.1211, 3.4292, 0.1452, 2.5259, 3.0395, 0.00),
    "carbon_tetrafluoride": (0.1855, 3.0, 1.7, 4.0, 10.0858, 0.00),
    "bromine_gas": (0.0633, 3.4670, 1.5262, 4.9899, 11.7307, 0.00),
}
ENGLISH = {"rubidium": "Rb", "yttrium": "Y", "technetium": "Tc", "ytterbium": "Yb", "radium": "Ra"}


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_radiation_length_is_the_published_one(name, row):
    material = materials.get(name)
    assert material.radiation_length * 100 * material.density == pytest.approx(row[0], rel=3e-3)


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_interaction_length_is_the_published_one(name, row):
    material = materials.get(name)
    length = material.nuclear_interaction_length * 100 * material.density
    assert length == pytest.approx(row[1], rel=3e-3)


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_minimum_ionization_is_the_published_one(name, row):
    assert materials.get(name).minimum_ionization * 1e3 == pytest.approx(row[2], rel=1e-3)


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_z_over_a_and_density_are_the_published_ones(name, row):
    material = materials.get(name)
    assert material.z_over_a == pytest.approx(row[3], rel=3e-4)
    assert material.density == pytest.approx(row[4], rel=3e-3)


@pytest.mark.parametrize(("name", "row"), SHOWERS.items())
def test_critical_energy_and_moliere_radius_are_the_published_ones(name, row):
    material = materials.get(name)
    assert material.critical_energy * 1e3 == pytest.approx(row[0], rel=2e-3)
    assert material.moliere_radius * 100 * material.density == pytest.approx(row[1], rel=5e-3)


@pytest.mark.parametrize(("name", "electronvolts"), EXCITATION.items())
def test_excitation_energy_is_the_published_one(name, electronvolts):
    assert materials.get(name).mean_excitation_energy * 1e9 == pytest.approx(electronvolts)


@pytest.mark.parametrize(("name", "row"), LISTED.items())
def test_density_excitation_energy_and_z_over_a_are_the_listed_ones(name, row):
    material = materials.get(name)
    assert material.density == pytest.approx(row[0], rel=1e-3)
    assert material.mean_excitation_energy * 1e9 == pytest.approx(row[1], rel=1e-3)
    assert material.z_over_a == pytest.approx(row[2], rel=1e-3)


@pytest.mark.parametrize(("name", "row"), COEFFICIENTS.items())
def test_density_effect_has_the_listed_coefficients(name, row):
    effect = materials.get(name).sternheimer
    ours = (effect.a, effect.k, effect.x0, effect.x1, effect.cbar, effect.delta0)
    assert ours == pytest.approx(row, abs=2e-3)


def test_g10_is_glass_and_epoxy_by_mass():  # six tenths of glass, page of the material, 2020
    glass, resin = materials.get("e_glass"), materials.get("epoxy")
    parts = 0.6 / (glass.radiation_length * glass.density)
    parts += 0.4 / (resin.radiation_length * resin.density)
    laminate = materials.get("g10")
    assert 1 / (laminate.radiation_length * laminate.density) == pytest.approx(parts, rel=1e-4)
    assert laminate.composition["C"] == pytest.approx(0.2759, rel=1e-3)


def test_lead_has_a_radiation_length_of_5_612_millimetres():  # Review of Particle Physics
    assert materials.get("Pb").radiation_length == pytest.approx(5.612e-3, rel=1e-3)


def test_plasma_energy_of_water_is_21_47_electronvolts():  # PDG page of water
    assert materials.get("water").plasma_energy * 1e9 == pytest.approx(21.47, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "millimetres"), [("steel", 17.82), ("liquid_steel", 19.91), ("slag", 82.11)]
)
def test_materials_of_the_ladle_have_the_lengths_of_the_benchmark(name, millimetres):
    assert materials.get(name).radiation_length * 1e3 == pytest.approx(millimetres)


def test_there_are_many_materials_in_alphabetical_order():
    names = materials.names()
    assert len(names) > 300
    assert names == sorted(set(names))


def test_every_element_up_to_plutonium_is_there():
    found = {materials.get(name).atomic_number for name in materials.names()}
    assert set(range(1, 95)) <= found


@pytest.mark.parametrize(("english", "symbol"), ENGLISH.items())
def test_elements_have_their_english_names(english, symbol):
    assert materials.get(english).name == symbol


@pytest.mark.parametrize("name", materials.names())
def test_every_material_is_physical(name):
    material = materials.get(name)
    assert 1 <= material.atomic_number <= 94
    assert 0.38 < material.z_over_a < 1.0
    assert 1e-9 < material.mean_excitation_energy < 1e-6
    assert 0.005 < material.critical_energy < 0.4
    assert 1.0e-3 < material.minimum_ionization < 4.2e-3
    assert 0 < material.radiation_length < 2 * material.nuclear_interaction_length * 10
    assert math.isclose(sum(material.composition.values()), 1.0, abs_tol=2e-4)


@pytest.mark.parametrize(
    ("alias", "name"),
    [("lead", "Pb"), ("Iron", "Fe"), ("LAr", "liquid_argon"), ("standard rock", "standard_rock")],
)
def test_aliases_case_and_spaces_lead_to_the_material(alias, name):
    assert materials.get(alias) is materials.get(alias)
    assert materials.get(alias) == materials.get(name)


def test_a_material_can_be_hashed_and_pickled():
    lead = materials.get("Pb")
    assert pickle.loads(pickle.dumps(lead)) == lead
    assert hash(lead) == hash(pickle.loads(pickle.dumps(lead)))


@pytest.mark.parametrize(
    ("name", "atoms"),
    [
        ("water", {"H": 2, "O": 1}),
        ("PbWO4", {"Pb": 1, "W": 1, "O": 4}),
        ("BGO", {"Bi": 4, "Ge": 3, "O": 12}),
        ("SiO2", {"Si": 1, "O": 2}),
        ("polystyrene", {"C": 8, "H": 8}),
    ],
)
def test_own_material_from_atoms_agrees_with_the_table(name, atoms):
    table = materials.get(name)
    own = Material.from_composition("mine", atoms, density=table.density)
    assert own.radiation_length == pytest.approx(table.radiation_length, rel=3e-3)
    assert own.z_over_a == pytest.approx(table.z_over_a, rel=1e-3)
    assert own.nuclear_interaction_length == pytest.approx(
        table.nuclear_interaction_length, rel=1e-2
    )
    assert own.critical_energy == pytest.approx(table.critical_energy, rel=4e-2)
    assert own.minimum_ionization == pytest.approx(table.minimum_ionization, rel=3e-2)


def test_mass_fractions_and_atom_counts_give_the_same_material():
    atoms = Material.from_composition("w", {"H": 2, "O": 1}, density=1.0)
    masses = Material.from_composition("w", {"H": 0.111898, "O": 0.888102}, density=1.0)
    assert masses.radiation_length == pytest.approx(atoms.radiation_length, rel=1e-5)


def test_the_meaning_of_the_numbers_can_be_said_outright():
    ratio = {"Cd": 0.5, "Te": 0.5}
    atoms = Material.from_composition("CdTe", ratio, density=6.2, by="atoms")
    masses = Material.from_composition("CdTe", ratio, density=6.2, by="mass")
    assert atoms.composition["Te"] == pytest.approx(0.5317, rel=1e-3)
    assert masses.composition["Te"] == pytest.approx(0.5)


@given(density=st.floats(0.1, 20.0))
def test_lengths_fall_as_one_over_density(density):
    one = Material.from_composition("a", {"Fe": 1}, density=1.0)
    other = Material.from_composition("b", {"Fe": 1}, density=density)
    assert other.radiation_length * density == pytest.approx(one.radiation_length)


def test_a_given_excitation_energy_is_kept():
    own = Material.from_composition("w", {"H": 2, "O": 1}, 1.0, mean_excitation_energy=75e-9)
    assert own.mean_excitation_energy == 75e-9


@given(share=st.floats(0.05, 0.95))
def test_radiation_lengths_of_a_mixture_add_in_mass(share):
    lead, water = materials.get("Pb"), materials.get("water")
    mixed = materials.mixture({"Pb": share, "water": 1 - share})
    parts = share / (lead.radiation_length * lead.density)
    parts += (1 - share) / (water.radiation_length * water.density)
    assert 1 / (mixed.radiation_length * mixed.density) == pytest.approx(parts, rel=2e-3)


def test_volumes_of_a_mixture_add():
    mixed = materials.mixture({"Fe": 7.874, materials.get("water"): 1.0})
    assert mixed.density == pytest.approx((7.874 + 1.0) / 2)
    assert mixed.name == "Fe+water"


def test_a_mixture_takes_a_density_and_a_name():
    mixed = materials.mixture({"Fe": 0.5, "water": 0.5}, density=2.0, name="slurry")
    assert (mixed.name, mixed.density) == ("slurry", 2.0)


def test_density_effect_has_its_asymptote():  # silicon, Sternheimer 1984: C-bar 4.4355
    silicon = materials.get("Si").sternheimer
    large = torch.tensor([1e4, 1e6], dtype=torch.float64)
    torch.testing.assert_close(silicon.delta(large), 2 * large.log() - 4.4355)


def test_density_effect_of_a_general_medium_is_continuous():
    effect = DensityEffect.from_plasma(100e-9, 30e-9, gas=False)
    just = torch.tensor([effect.x1 - 1e-9, effect.x1 + 1e-9], dtype=torch.float64)
    below, above = effect.delta(10**just)
    assert above.item() == pytest.approx(below.item(), abs=1e-6)
    start = effect.delta(10 ** torch.tensor([effect.x0], dtype=torch.float64))
    assert start.item() == pytest.approx(0.0, abs=1e-9)


def test_density_effect_has_the_right_gradient():
    beta_gamma = torch.tensor([0.5, 2.0, 50.0, 5e3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(materials.get("Fe").sternheimer.delta, beta_gamma)


def test_unknown_name_is_refused_with_the_nearest_ones():
    with pytest.raises(NotFoundError, match=r"'polystiren'. Did you mean 'polystyrene'"):
        materials.get("polystiren")


def test_strange_name_is_refused_with_the_way_to_the_list():
    with pytest.raises(NotFoundError, match=r"names\(\)"):
        materials.get("zzzzzzzz")


def test_unknown_element_is_refused():
    with pytest.raises(NotFoundError, match="No element 'Xx'"):
        Material.from_composition("odd", {"Xx": 1}, density=1.0)


@pytest.mark.parametrize(
    ("amounts", "density", "by", "message"),
    [
        ({"Fe": 1}, 0.0, "auto", "`density` of 'odd' must be > 0"),
        ({"Fe": -1}, 1.0, "auto", "amount of 'Fe' must be > 0"),
        ({}, 1.0, "auto", "at least one element"),
        ({"Fe": 1}, math.nan, "auto", "`density`"),
    ],
)
def test_impossible_composition_is_refused(amounts, density, by, message):
    with pytest.raises(DomainError, match=message):
        Material.from_composition("odd", amounts, density=density, by=by)


@pytest.mark.parametrize(
    ("parts", "message"), [({}, "at least one material"), ({"Fe": 0}, "mass of 'Fe' must be > 0")]
)
def test_impossible_mixture_is_refused(parts, message):
    with pytest.raises(DomainError, match=message):
        materials.mixture(parts)
