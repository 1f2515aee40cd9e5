"""The sampling calorimeter: designs, prices, sources and reconstructions."""

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from detopt.design import Design
from detopt.errors import ConfigError, DesignError, DomainError, MethodError
from detopt.physics import materials
from detopt.physics.shower_tuning import shower_moments
from detopt.physics.tuned_showers import ShowerTuning
from detopt.pipeline import Request, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.reports import write_report
from detopt.runtime import Study, StudyConfig
from detopt.runtime import result as result_module
from detopt.simulators.geant4 import Geant4, close_pools, write_substitute
from detopt.simulators.geant4.folders import VARIABLE
from detopt.usecases import load
from detopt.usecases.sampling_calorimeter import (
    Calorimeter,
    Config,
    build,
    library,
    make_library,
    write_library,
)
from detopt.usecases.sampling_calorimeter.reconstruction import Columns, Rows, reconstruct
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


@pytest.mark.parametrize(("n_layers", "n_zones"), [(5, 4), (8, 5), (8, 6), (10, 4), (3, 3)])
def test_every_zone_has_layers(n_layers, n_zones):
    calorimeter = Calorimeter(Config(n_layers=n_layers, n_zones=n_zones, absorber=("lead", "iron")))
    iron = materials.get("iron").name
    number = []
    for zone in range(n_zones):
        design = changed(calorimeter.baseline, **{f"absorber_material_{zone}": 1.0})
        names = [one.name for one in calorimeter.stack(design).materials]
        number.append(names.count(iron))
    assert min(number) >= 1
    assert max(number) - min(number) <= 1
    assert sum(number) == n_layers


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


@pytest.mark.parametrize("source", ["fast", "library"])
def test_a_layer_is_there_or_not_in_the_verdict(source):
    options = {"n_layers": 4, "design": "thickness", "number": "relaxed"}
    problem = build(Config(source=source, **options))
    found = []
    for presence in ([1.0, 1.0, 0.49, 0.49], [0.9, 0.6, 0.0, 0.2]):
        design = changed(problem.space.start, presence=presence)
        with torch.no_grad():
            summary = problem.reference.summarize(design, 500, Seed("same").generator())
            found.append(float(problem.reference.judge(summary, design).objective))
    assert found[0] == found[1]


def test_a_layer_that_is_gone_sees_nothing():
    problem = build(Config(n_layers=4, design="thickness", number="relaxed", containment=0.5))
    design = changed(problem.space.start, presence=[0.9, 0.9, 0.1, 0.9])
    outcome = value(problem, design)
    assert float(outcome.metrics["active layers"]) == 3
    other = value(build(Config(n_layers=3)))
    assert float(outcome.objective) == pytest.approx(float(other.objective), rel=0.15)


@pytest.mark.parametrize("there", [[0, 1, 2, 3], [0, 2, 4, 6]])
@pytest.mark.parametrize("particle", ["electron", "pion"])
def test_layers_that_are_gone_are_none_for_the_shower(there, particle):
    options = {"particle": particle, "design": "thickness", "noise": 0.0, "light": 1e12}
    options["containment"] = 0.4
    relaxed = build(Config(n_layers=8, number="relaxed", **options))
    fixed = build(Config(n_layers=4, **options))
    presence = [1.0 if i in there else 0.0 for i in range(8)]
    gone = changed(relaxed.space.start, presence=presence)
    found, expected = (value(one, d) for one, d in ((relaxed, gone), (fixed, fixed.space.start)))
    assert float(found.objective) == pytest.approx(float(expected.objective), rel=1e-4)
    with torch.no_grad():
        events = fixed.source(20, Seed(2).generator(), torch.float64)
        several, few = (
            one.reference.simulator(events, design, Seed(3).generator()).layer
            for one, design in ((relaxed, gone), (fixed, fixed.space.start))
        )
    torch.testing.assert_close(several[:, there], few, rtol=1e-4, atol=1e-5)
    assert float(several.sum() - several[:, there].sum()) == pytest.approx(0.0, abs=1e-9)


def test_a_calorimeter_whose_layers_are_all_gone_sees_nothing():
    problem = build(Config(n_layers=2, design="thickness", number="relaxed", containment=0.0))
    events = problem.source(5, Seed(1).generator(), torch.float64)
    nothing = changed(problem.space.start, presence=[0.0, 0.0])
    signals = problem.reference.simulator(events, nothing, Seed(2).generator())
    assert float(signals.layer.abs().max()) < 10 * problem.source.config.noise


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


def test_a_fit_of_more_weights_than_showers_can_tell_is_refused():
    rows = Rows(torch.ones(60, 31).double(), torch.ones(60).double(), torch.arange(60) % 10)
    with pytest.raises(DomainError, match=r"31 weights need at least 62 showers .* got 60"):
        reconstruct(rows, 1)


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
    fast, stored = (
        float(value(build(Config(source=kind)), n_events=3_000).objective)
        for kind in ("fast", "library")
    )
    assert stored == pytest.approx(fast, rel=0.35)


def test_the_library_s_gradient_matches_finite_differences():
    config = Config(source="library", n_layers=3)
    showers = make_library(config)
    depth = torch.tensor([0.011, 0.043, 0.0902], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda d: showers.deposited(d)[:5], depth, eps=1e-8)


def test_smooth_showers_lack_what_single_tracks_add():
    # 20 MeV in each node; nodes fluctuate alone, with a variance of 2 MeV times that
    lead, rng = materials.get("lead"), Seed(3).generator()
    draws = torch.randn(600, 200, generator=rng, dtype=torch.float64)
    deposit = 0.02 + (0.002 * 0.02) ** 0.5 * draws
    cumulative = torch.nn.functional.pad(deposit.cumsum(1), (1, 0))
    step = 0.1 * lead.radiation_length
    showers = library.ShowerLibrary(torch.ones(600).double(), cumulative, step, "lead", "")
    kept = gaussian_filter1d(np.pad(np.ones(4), 40), 3.0)  # of a layer of four nodes, over three
    expected = 0.002 * (1 - (kept**2).sum() / 4)
    found = showers.track_energy(torch.tensor([4 * step]).double())
    assert float(found[0]) == pytest.approx(expected, rel=0.03)


def test_smooth_showers_have_the_energy_of_the_others():
    showers = make_library(Config(source="library"))
    smooth, depth = showers.smooth, torch.linspace(0.005, 0.15, 30, dtype=torch.float64)
    sharp, soft = (one.deposited(depth).mean(0) for one in (showers, smooth))
    away = showers.energy.mean() * 0.002
    torch.testing.assert_close(soft, sharp, rtol=0.01, atol=float(away))
    last = smooth.cumulative[:, -1] / showers.cumulative[:, -1]
    assert last.sub(1).abs().max() < 0.01


def test_search_and_verdict_of_a_library_agree():
    problem = build(Config(source="library", n_layers=6, absorber_thickness=0.02))
    soft, hard = (
        float(value(one, n_events=4_000).objective) for one in (problem, problem.reference)
    )
    assert soft == pytest.approx(hard, rel=0.04)


def test_derivatives_of_a_library_hold_over_long_steps():
    problem = build(Config(source="library", n_layers=5))
    theta = problem.space.theta(problem.space.start)

    def of(point, gradient=False):
        request = Request(point, ("same",), gradient=gradient, n_events=3_000)
        return evaluate(problem, request, Seed(5))

    slope = of(theta, gradient=True).gradient
    steps = 0.1 * torch.eye(len(theta), dtype=torch.float64)
    change = [float(of(theta + one).value - of(theta - one).value) / 0.2 for one in steps]
    assert slope.tolist() == pytest.approx(change, abs=0.2 * max(map(abs, change)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_energy": 60.0}, "high_energy"),
        ({"absorber_thickness": "0.1 mm"}, "absorber_thickness"),
        ({"absorber": ["gold_dust"]}, "prices"),
        ({"n_zones": 9}, "n_zones"),
        ({"n_zones": 2}, "several materials"),
        ({"number": "relaxed"}, "thickness"),
        ({"source": "library", "particle": "photon"}, "electrons"),
        ({"library": "showers.npz"}, "source"),
        ({"n_events": 40, "n_layers": 20}, "`n_events` must be at least 42"),
        ({"n_events": 40, "n_layers": 12, "reconstruction": "network"}, "at least 42"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CASE.build(options)


def test_verdicts_have_showers_that_no_search_has_seen():
    problem = build(Config(source="library"))
    search, verdict = (one.source.library.energy for one in (problem, problem.reference))
    assert len(search) == len(verdict) == 4_000
    assert not bool(torch.isin(verdict, search).any())


def test_no_shower_comes_twice_and_each_has_its_own_fold():
    problem = build(Config(source="library", n_layers=2))
    folds = {}
    for seed in (1, 2, 3):
        events = problem.source(1_000, Seed(seed).generator(), torch.float64)
        assert len(events.number.unique()) == 1_000
        rows = problem.analysis(Columns(torch.ones(1_000, 1)), events)
        for number, fold in zip(events.number.tolist(), rows.fold.tolist(), strict=True):
            assert folds.setdefault(number, fold) == fold


def test_more_events_than_a_library_holds_are_counted_once():
    problem = build(Config(source="library", n_layers=2)).reference
    with pytest.warns(UserWarning, match="25000 showers were asked for, and the library has 4000"):
        summary, _ = summarize_design(problem, problem.space.start, Seed(1), 25_000)
    assert summary.n_rows == 4_000


@pytest.fixture
def few_showers(monkeypatch):
    """Libraries of 300 showers, which are forgotten."""
    monkeypatch.setattr(library, "N_SHOWERS", 300)
    library._fast_library.cache_clear()
    yield
    library._fast_library.cache_clear()


@pytest.mark.filterwarnings("ignore:.* showers were asked for")
def test_the_stated_error_is_the_scatter_of_independent_libraries(few_showers):
    n_libraries, found = 24, []
    for seed in range(n_libraries):
        problem = build(Config(source="library", n_layers=3, seed=seed)).reference
        theta = problem.space.theta(problem.space.start)
        found.append(evaluate(problem, Request(theta, (), n_events=3_000), Seed(seed)))
    scatter = float(torch.tensor([one.value for one in found]).std())
    stated = float(torch.tensor([one.std_error**2 for one in found]).mean()) ** 0.5
    of_scatter = 1 / (2 * (n_libraries - 1)) ** 0.5  # relative, of a normal variable
    assert scatter == pytest.approx(stated, rel=3 * of_scatter)


@pytest.mark.filterwarnings("ignore:.* showers were asked for")
def test_a_study_says_what_the_verdict_had_of_a_library(few_showers, monkeypatch, tmp_path):
    monkeypatch.setattr(result_module, "N_RESAMPLES", 40)
    options = {"source": "library", "n_layers": 2, "n_events": 60}
    config = StudyConfig.make("sampling_calorimeter", options=options, rounds=1)
    result = Study.create(config, tmp_path / "run").run()
    assert result.data["evaluation_rows"] == dict.fromkeys(("start", "final", "equal layers"), 150)
    page = write_report(tmp_path / "run").read_text()
    assert "events that no search sees" in page


@pytest.mark.parametrize("content", [b"nothing", b"", b"cut"])
def test_a_file_that_is_no_library_is_refused(tmp_path, content):
    path = tmp_path / "showers.npz"
    whole = stored(path, 100).read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    with pytest.raises(ConfigError, match="no library"):
        CASE.build({"source": "library", "library": str(path)})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"energy": np.ones(99)}, "shapes"),
        ({"cumulative": np.full((100, 5), np.nan)}, "finite"),
        ({"energy": np.zeros(100)}, "> 0 GeV"),
        ({"step": 0.0}, "distance of its nodes"),
        ({"energy": np.array(["one"] * 100)}, "no library"),
        ({"more": 1.0}, "it holds"),
    ],
)
def test_numbers_that_no_library_has_are_refused(tmp_path, arrays, message):
    path = stored(tmp_path / "showers.npz", 100, **arrays)
    with pytest.raises(ConfigError, match=message):
        library.ShowerLibrary.read(path)


def stored(path, n_showers, low=1.0, high=50.0, **arrays):
    """A file of showers that deposit the same everywhere, with as many in each octave."""
    place = (np.arange(n_showers) * 0.618034) % 1
    energy = low * (high / low) ** place
    cumulative = energy[:, None] * np.linspace(0.0, 1.0, 5)
    fields = {"energy": energy, "cumulative": cumulative, "step": 0.05, "absorber": "lead"}
    np.savez(path, **{**fields, "label": "a test", **arrays})
    return path


def test_a_library_has_showers_of_the_energies_of_the_options(tmp_path):
    path = stored(tmp_path / "showers.npz", 2_000)
    config = Config(source="library", library=path, low_energy=5.0, high_energy=20.0)
    for problem in (build(config), build(config).reference):
        energy = problem.source(300, Seed(1).generator(), torch.float64).energy
        assert bool(((energy >= 5.0) & (energy <= 20.0)).all())
    assert len(make_library(config).energy) == pytest.approx(2_000 * 0.354, abs=5)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ({"high": 25.0}, {}, "showers of 1 to 25 GeV, which does not cover 1 to 50 GeV"),
        ({"low": 2.0}, {}, "does not cover"),
        ({"high": 500.0}, {"low_energy": 40.0, "high_energy": 41.0}, "holds 5 showers of 40 to 41"),
        ({"absorber": "iron"}, {}, "in iron, not in lead"),
    ],
)
def test_a_library_of_something_else_is_refused(tmp_path, given, options, message):
    path = stored(tmp_path / "showers.npz", 1_000, **given)
    with pytest.raises(ConfigError, match=message):
        CASE.build({"source": "library", "library": str(path), **options})


def test_methods_follow_the_source():
    assert CASE.recommended_for({})["method_options"]
    assert CASE.recommended_for({"source": "geant4"})["method"] == "local_surrogate"
    assert CASE.recommended_for({"absorber": ["lead", "iron"]})["method"] == "enumeration"
    assert CASE.recommended_for({"source": "library"})["evaluation_events"] == 4_000


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
