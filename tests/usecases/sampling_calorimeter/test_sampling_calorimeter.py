"""The sampling calorimeter: designs, prices, sources and reconstructions."""

import json

import pytest
import torch

from detopt.design import Design
from detopt.errors import ConfigError, DesignError, MethodError
from detopt.physics import materials
from detopt.physics.shower_tuning import shower_moments
from detopt.physics.tuned_showers import ShowerTuning
from detopt.pipeline import Request, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.simulators.geant4 import Geant4, close_pools, write_substitute
from detopt.simulators.geant4.folders import VARIABLE
from detopt.usecases import load
from detopt.usecases.sampling_calorimeter import Calorimeter, Config, build, write_library
from detopt.usecases.sampling_calorimeter.library import make_library
from detopt.usecases.sampling_calorimeter.reconstruction import Rows, reconstruct
from detopt.usecases.sampling_calorimeter.tuning import (
    layers_of,
    simulate_samples,
    write_tuning,
)

CASE = load("sampling_calorimeter")


def value(problem, design=None, n_events=2_000):
    chosen = problem.space.start if design is None else design
    return summarize_design(problem.reference, chosen, Seed(1), n_events)[1]


def changed(design, **values):
    return Design({**design, **{k: torch.tensor(v).double() for k, v in values.items()}})


def test_length_and_price_are_those_by_hand():
    calorimeter = Calorimeter(Config(n_layers=4, absorber_thickness=0.01, active_thickness=0.005))
    assert float(calorimeter.length(calorimeter.baseline)) == pytest.approx(0.06)
    materials_price = 0.25 * 4 * (0.01 * 40 + 0.005 * 110)  # kEUR
    channels_price = 4 * 100 * 0.02
    price = float(calorimeter.price(calorimeter.baseline))
    assert price == pytest.approx(materials_price + channels_price)


def test_a_design_that_is_too_long_or_too_dear_is_refused():
    calorimeter = Calorimeter(Config(n_layers=2, design="thickness"))
    base = calorimeter.baseline
    with pytest.raises(DesignError, match="length"):
        calorimeter.space.check(changed(base, absorber=[30.0, 6.0]))
    dear = Calorimeter(Config(n_layers=2, design="thickness", length=1.0))
    with pytest.raises(DesignError, match="price"):
        dear.space.check(changed(base, absorber=[17.5, 18.0]))


def test_a_design_that_is_too_shallow_is_refused():
    calorimeter = Calorimeter(Config(n_layers=2, design="thickness"))
    design = changed(calorimeter.baseline, absorber=[17.5, 12.0])
    with pytest.raises(DesignError, match="depth"):
        calorimeter.space.check(design)
    Calorimeter(Config(n_layers=2, design="thickness", containment=0.5)).space.check(design)


def test_shares_keep_length_price_and_depth_of_equal_layers():
    calorimeter = Calorimeter(Config(n_layers=5))
    space = calorimeter.space
    rng = Seed("shares").generator()
    design = space.design(torch.randn(space.n_free, generator=rng, dtype=torch.float64))
    for quantity in (calorimeter.length, calorimeter.price, calorimeter.depth):
        torch.testing.assert_close(quantity(design), quantity(calorimeter.baseline))
    assert float(design["absorber"].min()) >= 2.0


def test_positions_and_thicknesses_describe_the_same_layers():
    by_position = Calorimeter(Config(n_layers=3, design="positions"))
    by_thickness = Calorimeter(Config(n_layers=3))
    positions = changed(by_position.baseline, positions=[20.0, 40.0, 67.0])
    thickness = changed(by_thickness.baseline, absorber=[15.0, 15.0, 22.0], active=[5.0, 5.0, 5.0])
    one, other = by_position.stack(positions), by_thickness.stack(thickness)
    torch.testing.assert_close(one.thickness, other.thickness)
    assert one.materials == other.materials


def test_zones_have_materials_of_their_own():
    calorimeter = Calorimeter(Config(n_layers=4, n_zones=2, absorber=("lead", "iron")))
    design = changed(calorimeter.baseline, absorber_material_1=1.0)
    names = [one.name for one in calorimeter.stack(design).materials[::2]]
    assert names == [materials.get(name).name for name in ("lead", "lead", "iron", "iron")]


def test_the_soft_number_of_layers_tends_to_the_hard_one():
    presence = [0.8, 0.3, 0.6, 0.45]
    gaps = []
    for softness in (0.1, 0.02, 0.004):
        calorimeter = Calorimeter(
            Config(n_layers=4, design="thickness", number="relaxed", softness=softness)
        )
        design = changed(calorimeter.baseline, presence=presence)
        soft, hard = (calorimeter.stack(design, hard).thickness for hard in (False, True))
        gaps.append(float((soft - hard).abs().max()))
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


def test_limits_of_a_relaxed_number_hold_after_rounding():
    calorimeter = Calorimeter(
        Config(
            n_layers=4,
            design="thickness",
            number="relaxed",
            length=0.09,
            budget=50.0,
            absorber_thickness=0.015,
        )
    )
    rng = Seed("rounding").generator()
    for _ in range(50):
        presence = torch.rand(4, generator=rng, dtype=torch.float64)
        design = changed(calorimeter.baseline, presence=presence.tolist())
        assert calorimeter.safe_length(design) >= calorimeter.length(design) - 1e-12
        assert calorimeter.safe_price(design) >= calorimeter.price(design) - 1e-12
        assert -calorimeter.safe_depth(design) <= calorimeter.depth(design) + 1e-12


def test_a_layer_that_is_gone_sees_nothing():
    problem = build(Config(n_layers=4, design="thickness", number="relaxed", containment=0.5))
    design = changed(problem.space.start, presence=[0.9, 0.9, 0.1, 0.9])
    outcome = value(problem, design)
    assert float(outcome.metrics["active layers"]) == 3
    other = value(build(Config(n_layers=3)))
    assert float(outcome.objective) == pytest.approx(float(other.objective), rel=0.15)


def test_the_regression_finds_known_weights():
    rng = Seed("weights").generator()
    energy = 1 + 49 * torch.rand(500, generator=rng, dtype=torch.float64)
    share = torch.rand(500, 1, generator=rng, dtype=torch.float64)
    columns = torch.cat([energy[:, None] * share / 3, energy[:, None] * (1 - share) / 5], dim=1)
    rows = Rows(columns, energy, torch.arange(500) % 10)
    torch.testing.assert_close(reconstruct(rows, 1), energy)


def test_weights_are_not_fitted_to_the_showers_that_they_are_judged_on():
    rng = Seed("noise").generator()
    energy = 1 + torch.rand(60, generator=rng, dtype=torch.float64)
    columns = torch.randn(60, 30, generator=rng, dtype=torch.float64)
    error = reconstruct(Rows(columns, energy, torch.arange(60) % 10), 0) - energy
    assert error.square().mean() > energy.square().mean()


def test_more_layers_of_the_same_stuff_resolve_better():
    few = build(Config(n_layers=4, absorber_thickness=0.03))
    many = build(Config(n_layers=12, absorber_thickness=0.01))
    assert 1.3 * float(value(many).objective) < float(value(few).objective)


def test_a_network_is_at_least_as_good_as_weights_in_short_calorimeters():
    options = {"n_layers": 6, "absorber_thickness": 0.012}
    linear, network = (
        float(value(build(Config(reconstruction=kind, **options)), n_events=6_000).objective)
        for kind in ("linear", "network")
    )
    assert network < 1.02 * linear


def test_the_library_agrees_with_the_fast_model():
    fast, library = (
        float(value(build(Config(source=kind)), n_events=3_000).objective)
        for kind in ("fast", "library")
    )
    assert library == pytest.approx(fast, rel=0.35)


def test_the_library_s_gradient_matches_finite_differences():
    config = Config(source="library", n_layers=3)
    library = make_library(config)
    depth = torch.tensor([0.011, 0.043, 0.0902], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: library.deposited(d)[:5], depth, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_energy": 60.0}, "high_energy"),
        ({"absorber_thickness": "0.1 mm"}, "absorber_thickness"),
        ({"absorber": ["gold_dust"]}, "prices"),
        ({"n_zones": 9}, "n_zones"),
        ({"number": "relaxed"}, "thickness"),
        ({"source": "library", "particle": "photon"}, "electrons"),
        ({"library": "showers.npz"}, "source"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CASE.build(options)


def test_a_file_that_is_no_library_is_refused(tmp_path):
    path = tmp_path / "showers.npz"
    path.write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="no library"):
        CASE.build({"source": "library", "library": str(path)})


def test_methods_follow_the_source():
    assert CASE.recommended_for({})["method_options"]
    assert CASE.recommended_for({"source": "geant4"})["method"] == "local_surrogate"
    assert CASE.recommended_for({"absorber": ["lead", "iron"]})["method"] == "enumeration"


@pytest.fixture(scope="module")
def geant4(tmp_path_factory):
    """Geant4 on substitute data that are written for these tests."""
    pytest.importorskip("xraylib", reason="substitute data are made with xraylib")
    pytest.importorskip("calzone", reason="the wheel of calzone brings the libraries of Geant4")
    folder = write_substitute(tmp_path_factory.mktemp("geant4") / "data").folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder))
        yield Geant4(data=folder)
    close_pools()


def test_coefficients_are_written_with_their_origin(geant4, tmp_path):
    slabs = layers_of("Pb", 10.0, "polystyrene", 5.0, 10)
    samples = simulate_samples(slabs, {0.5: 30, 1.0: 30}, 1, geant4)
    assert samples[1].deposit.shape == (30, 20)
    path = tmp_path / "tuning.json"
    write_tuning(path, {"test": samples}, geant4.label, geant4.data_set.digest, n_iterations=1)
    found = json.loads(path.read_text())
    assert found["origin"]["stacks"] == {"test": {"0.5 GeV": 30, "1 GeV": 30}}
    assert "not official" in found["origin"]["label"]
    tuning = ShowerTuning.read(found["tuning"])
    assert shower_moments(samples[0].stack, 0.5, tuning).visible > 0


def test_real_events_agree_with_the_fast_model(geant4):
    options = {"n_layers": 6, "absorber_thickness": 0.02, "high_energy": 4.0}
    fast, real = (
        float(value(build(Config(source=kind, **options)), n_events=300).objective)
        for kind in ("fast", "geant4")
    )
    assert real == pytest.approx(fast, rel=0.25)


def test_real_events_have_no_gradient(geant4):
    problem = build(Config(source="geant4", n_layers=2, n_events=40))
    theta = problem.space.theta(problem.space.start)
    with pytest.raises(MethodError, match="no pathwise gradient"):
        evaluate(problem, Request(theta, ("gradient",), gradient=True), Seed(1))


def test_a_library_of_real_showers_is_kept_in_a_file(geant4, tmp_path):
    config = Config(n_layers=3, high_energy=2.0, source="library", n_events=40)
    written = write_library(tmp_path / "showers.npz", config, 60, geant4)
    found = make_library(config.model_copy(update={"library": tmp_path / "showers.npz"}))
    torch.testing.assert_close(found.cumulative, written.cumulative, rtol=1e-6, atol=1e-9)
    assert found.label == geant4.label
    held = found.cumulative[:, -1] / found.energy
    assert 0.9 < float(held.mean()) < 1.0
