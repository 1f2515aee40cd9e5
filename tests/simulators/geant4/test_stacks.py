"""Real Geant4 events in stacks: reference values, laws and refusals."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from detopt.design import Continuous, DesignSpace, Interval
from detopt.errors import ConfigError, DomainError, MethodError, MissingExtraError
from detopt.physics import energy_loss, materials
from detopt.physics.shower_stacks import Layer, Stack
from detopt.random import Seed
from detopt.simulators.geant4 import (
    Geant4,
    ParticleGun,
    Primaries,
    StackSimulator,
    simulate_stack,
    stack_volume,
)
from detopt.simulators.geant4.engines import ENGINES

LEAD, PLASTIC = materials.get("Pb"), materials.get("polyvinyltoluene")
SAMPLING = Stack.of([Layer(LEAD, 0.004), Layer(PLASTIC, 0.008, active=True)] * 25)
CRYSTAL = Stack.of([Layer(materials.get("PbWO4"), 0.01, active=True)] * 22)


def run(geant4, stack=SAMPLING, n=20, seed=7, particle="e-", energy=1.0, **options):
    return simulate_stack(stack, Primaries.gun(particle, energy, n), seed, geant4=geant4, **options)


@pytest.fixture(scope="module")
def showers(geant4):
    """Showers of 1 GeV in the sampling calorimeter."""
    return run(geant4, n=100)


def test_the_sampling_calorimeter_sees_what_an_independent_run_saw(showers):
    """135 MeV visible and 11.7 %: calzone driven by hand, on another substitute set."""
    visible = showers.visible
    error = visible.std().item() / math.sqrt(len(visible))
    assert visible.mean().item() == pytest.approx(0.135, abs=0.01 * 0.135 + 3 * error)
    resolution = (visible.std() / visible.mean()).item()
    statistics = resolution / math.sqrt(2 * len(visible))
    assert resolution == pytest.approx(0.117, abs=0.0117 + 3 * statistics)


def test_the_layers_hold_the_energy_but_for_what_leaks(showers):
    assert showers.energy.shape == (100, 50)
    assert bool((showers.energy >= 0).all())
    torch.testing.assert_close(showers.energy.sum(1) + showers.leakage, showers.incident)
    assert 0.0 < showers.leakage.mean().item() < 0.05


def test_a_crystal_holds_electrons_of_a_gigaelectronvolt(geant4):
    """991.6 MeV in 20 x 20 x 22 cm3 of PbWO4: geant4-pybind, on another substitute set."""
    deposits = run(geant4, CRYSTAL, n=60, width=0.2)
    assert deposits.visible.median().item() == pytest.approx(0.9916, rel=0.01)
    peak = (deposits.energy.mean(0).argmax().item() + 0.5) * 0.01
    expected = math.log(1.0 / 0.00964) - 0.5  # of an electron, in X0; PDG
    assert peak / 0.008903 == pytest.approx(expected, abs=0.7)


def test_a_muon_loses_what_the_stopping_power_says(geant4):
    iron = materials.get("Fe")
    stack = Stack.of([Layer(iron, 0.02, active=True)] * 10)
    deposits = run(geant4, stack, n=600, particle="mu-", energy=1.0)
    middle = deposits.energy[:, 3:8].mean(0).mean()
    error = deposits.energy[:, 3:8].mean(1).std().item() / math.sqrt(600)
    kinetic = torch.tensor(1.0 - 5.5 * middle.item(), dtype=torch.float64)
    loss = energy_loss.stopping_power("muon", iron, kinetic).item() * iron.density * 2.0
    assert middle.item() == pytest.approx(loss, abs=0.03 * loss + 3 * error)


def test_an_event_does_not_depend_on_what_ran_before_or_beside_it(geant4, showers):
    run(geant4, CRYSTAL, n=2)
    fewer = run(geant4, n=12)
    two = run(replace(geant4, n_workers=2), n=12)
    torch.testing.assert_close(fewer.cells, showers.cells[:12], rtol=0, atol=0)
    torch.testing.assert_close(two.cells, fewer.cells, rtol=0, atol=0)


def test_other_seeds_give_other_events(geant4, showers):
    other = run(geant4, n=3, seed=8)
    assert not torch.equal(other.cells, showers.cells[:3])
    named = run(geant4, n=3, seed=Seed(1, "round"))
    assert named.seed == Seed(1, "round").number


def test_cells_divide_the_active_layers(geant4):
    whole = run(geant4, n=30)
    cells = run(geant4, n=30, width=0.5, cells=(4, 2))
    assert cells.cells.shape == (30, 50, 4, 2)
    share = cells.cells[:, cells.active].sum((0, 1)) / cells.visible.sum()
    assert share[1:3].sum().item() > 0.9  # the beam goes between the two columns in the middle
    spread = whole.visible.std().item() / math.sqrt(30)
    assert cells.visible.mean().item() == pytest.approx(whole.visible.mean().item(), abs=5 * spread)


def test_a_layer_without_thickness_is_not_there(geant4):
    thickness = CRYSTAL.thickness.clone()
    thickness[3] = 0.0
    thinner = run(geant4, CRYSTAL.with_thickness(thickness), n=4)
    assert thinner.energy.shape == (4, 22)
    assert bool((thinner.energy[:, 3] == 0).all())
    assert bool((thinner.energy[:, 4] > 0).any())


def test_a_mixture_of_ones_own_is_built(geant4):
    """Lead under another name and density: the same radiation lengths give the same profile."""
    light = materials.Material.from_composition("light lead", {"Pb": 1}, LEAD.density / 2)
    plain = Stack.of([Layer(LEAD, 0.01, active=True)] * 8)
    longer = Stack.of([Layer(light, 0.02, active=True)] * 8)
    first, second = (run(geant4, one, n=60, width=2.0).energy.mean(0) for one in (plain, longer))
    torch.testing.assert_close(first, second, rtol=0.15, atol=0.003)


def test_results_say_what_they_were_made_with(geant4, showers, substitute):
    versions = {"calzone": "11.4.0", "geant4-pybind": "11.4.1"}
    through = "" if geant4.engine == "calzone" else f"; through {geant4.engine}"
    assert showers.label == geant4.label
    assert showers.label == (
        f"Geant4 {versions[geant4.engine]} libraries, substitute data (formula + xraylib), "
        f"electromagnetic option1; not official Geant4 data{through}"
    )
    assert showers.digest == substitute.digest


def test_a_stage_draws_its_seed_and_refuses_derivatives(geant4, rng):
    space = DesignSpace([Continuous("lead", 0.004, Interval(0.001, 0.01), "m")])

    def stack(design):
        return Stack.of([Layer(LEAD, design["lead"]), Layer(PLASTIC, 0.008, active=True)] * 2)

    stage = StackSimulator(stack, geant4=geant4)
    events = ParticleGun("photon", (0.1, 1.0), spot=0.001)(3, rng, torch.float64)
    state = rng.get_state()
    first = stage(events, space.start, rng)
    rng.set_state(state)
    torch.testing.assert_close(stage(events, space.start, rng).cells, first.cells)
    design = space.design(space.theta(space.start).requires_grad_())
    with pytest.raises(MethodError, match="no pathwise gradient"):
        stage(events, design, rng)


@pytest.mark.parametrize(
    ("thickness", "options", "match"),
    [
        ([0.01, -0.01], {}, "Thicknesses must be >= 0 m"),
        ([0.01, float("nan")], {}, "Thicknesses must be >= 0 m"),
        ([0.0, 0.0], {}, "No layer is left"),
        ([[0.01, 0.01]], {}, "one design at a time"),
        ([0.01, 0.01], {"cells": (0, 1)}, "`cells` must be >= 1"),
        ([0.01, 0.01], {"width": -1.0}, "`size` must be >= 1 nm"),
    ],
)
def test_impossible_stacks_are_refused(thickness, options, match):
    stack = Stack(torch.tensor(thickness, dtype=torch.float64), (LEAD, PLASTIC), (False, True))
    with pytest.raises(DomainError, match=match):
        stack_volume(stack, **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"physics": "option7"}, "no physics list 'option7'"),
        ({"physics": "option1-FTFP"}, "no physics list"),
        ({"cut": 0.0}, "`cut` must be > 0"),
        ({"event_timeout": -1.0}, "`event_timeout` must be > 0"),
        ({"n_workers": 0}, "`n_workers` must be >= 1"),
        ({"engine": "geant3"}, "`engine` must be calzone or geant4-pybind, got 'geant3'"),
    ],
)
def test_impossible_settings_are_refused(options, match):
    with pytest.raises(ConfigError, match=match):
        Geant4(**options)


def test_what_the_data_do_not_describe_is_refused(geant4):
    with pytest.raises(DomainError, match="nuclear reactions"):
        run(geant4, particle="pi+", energy=1.0)
    assert run(geant4, particle="proton", energy=0.05, n=2).visible.shape == (2,)
    with pytest.raises(ConfigError, match="needs the official data"):
        run(replace(geant4, physics="FTFP_BERT"))
    with pytest.raises(DomainError, match="event 0 starts at"):
        simulate_stack(
            CRYSTAL, Primaries.gun("e-", 1.0, position=(9.0, 0.0, 0.0)), 1, geant4=geant4
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_wheel_names_the_extra(substitute, monkeypatch, engine):
    monkeypatch.setitem(sys.modules, ENGINES[engine].module, None)
    with pytest.raises(MissingExtraError, match=rf"`{engine}`.*detopt\[{ENGINES[engine].extra}\]"):
        run(Geant4(data=substitute.folder, engine=engine))
