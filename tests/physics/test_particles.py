import math
import subprocess
import sys

import pytest

from detopt.errors import NotFoundError
from detopt.physics import particles

# CODATA 2018 and Review of Particle Physics 2024: mass [GeV], charge, lifetime [ns]
PUBLISHED = {
    "electron": (0.51099895e-3, -1, math.inf),
    "positron": (0.51099895e-3, 1, math.inf),
    "muon": (0.1056583755, -1, 2196.98),
    "mu+": (0.1056583755, 1, 2196.98),
    "pion": (0.13957039, 1, 26.033),
    "pi0": (0.1349768, 0, 8.43e-8),
    "kaon": (0.493677, 1, 12.38),
    "proton": (0.93827208816, 1, math.inf),
    "neutron": (0.93956542052, 0, 878.4e9),
    "photon": (0.0, 0, math.inf),
    "deuteron": (1.87561294, 1, math.inf),
    "alpha": (3.7273794, 2, math.inf),
}


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_mass_is_the_published_one(name, row):
    assert particles.mass(name) == pytest.approx(row[0], rel=1e-7)


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_charge_is_the_published_one(name, row):
    assert particles.charge(name) == row[1]


@pytest.mark.parametrize(("name", "row"), PUBLISHED.items())
def test_lifetime_is_the_published_one(name, row):
    assert particles.lifetime(name) == pytest.approx(row[2], rel=2e-3)


@pytest.mark.parametrize("name", particles.names())
def test_every_name_is_a_particle(name):
    found = particles.get(name)
    assert found.name == name
    assert found.mass >= 0
    assert found.lifetime > 0


@pytest.mark.parametrize(("number", "name"), [(13, "muon"), (2212, "proton"), (-11, "positron")])
def test_a_number_names_the_same_particle(number, name):
    by_number, by_name = particles.get(number), particles.get(name)
    assert by_number.pdg_id == by_name.pdg_id
    assert by_number.mass == by_name.mass


@pytest.mark.parametrize("name", ["muon", "electron", "proton", "pi+", "K+"])
def test_antiparticle_has_the_same_mass_and_opposite_charge(name):
    particle = particles.get(name)
    anti = particles.get(-particle.pdg_id)
    assert anti.mass == particle.mass
    assert anti.charge == -particle.charge
    assert anti.lifetime == particle.lifetime


def test_names_of_the_review_are_known():
    assert particles.get("D(s)+").pdg_id == 431
    assert particles.get("Sigma-").pdg_id == 3112
    assert particles.get("Lambda(1520)").pdg_id == 3124  # the particle, not its antiparticle


def test_neutrinos_are_massless():
    assert particles.mass("muon_neutrino") == 0.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("muonn", "'muonn'. Did you mean 'muon'"),
        ("zzzzzzz", "names()"),
        (999999, "PDG number 999999"),
        (17, "no measured mass"),
        (10**20, "PDG number 1000"),
        ("pi", "'pi' may be any of 'pi\\+', 'pi0', 'pi-'. Name one"),
        ("Sigma", "'Sigma-'"),
    ],
)
def test_unknown_particle_is_refused(name, message):
    with pytest.raises(NotFoundError, match=message):
        particles.get(name)


def test_the_tables_are_not_read_by_the_import():
    code = "import sys, detopt.physics.particles; sys.exit('particle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
