"""The sampling calorimeter for charged pions, and the origin of its data."""

import numpy as np
import pytest
import torch

from detopt.errors import ConfigError, DesignError, NotFoundError
from detopt.physics import materials
from detopt.pipeline import Request, evaluate
from detopt.pipeline.evaluation import summarize_design
from detopt.random import Seed
from detopt.reports import write_report
from detopt.runtime import Study, StudyConfig, load_result
from detopt.simulators.geant4 import write_substitute
from detopt.simulators.geant4.folders import FOLDERS, OFFICIAL, VARIABLE
from detopt.usecases import load
from detopt.usecases.sampling_calorimeter import Calorimeter, Config, build

CASE = load("sampling_calorimeter")
SMALL = {"particle": "pion", "n_layers": 6, "absorber_thickness": 0.08}


@pytest.fixture
def official(tmp_path, monkeypatch):
    """What looks like the official data."""
    for name in FOLDERS:
        (tmp_path / name).mkdir(parents=True)
    for name in OFFICIAL:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("data\n")
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def resolution(low, high, **options):
    problem = build(Config(particle="pion", low_energy=low, high_energy=high, **options))
    outcome = summarize_design(problem, problem.space.start, Seed(1), 2_000)[1]
    return float(outcome.objective), outcome.metrics


# --- designs


def test_one_word_makes_a_calorimeter_that_contains_pions():
    calorimeter = Calorimeter(Config(particle="pion"))
    iron, plastic = materials.get("iron"), materials.get("polystyrene")
    expected = 20 * (
        0.05 / iron.nuclear_interaction_length + 0.005 / plastic.nuclear_interaction_length
    )
    assert float(calorimeter.depth(calorimeter.baseline)) == pytest.approx(expected)
    assert expected > 6


def test_what_is_given_goes_before_the_defaults_of_pions():
    config = Config(particle="pion", n_layers=7, absorber=("lead",))
    assert (config.n_layers, config.absorber, config.high_energy) == (7, ("lead",), 100.0)
    assert Config().n_layers == 8


def test_interaction_lengths_must_be_kept():
    calorimeter = Calorimeter(Config(**SMALL, design="thickness"))
    shallow = {**calorimeter.baseline, "absorber": torch.full((6,), 70.0, dtype=torch.float64)}
    with pytest.raises(DesignError, match="depth"):
        calorimeter.space.check(type(calorimeter.baseline)(shallow))


# --- laws


def test_relative_errors_fall_with_the_energy():
    (low, _), (high, _) = (
        resolution(*one, measure="relative") for one in ((5.0, 6.0), (80.0, 90.0))
    )
    assert low > 1.5 * high


def test_thinner_absorbers_resolve_better():
    coarse, _ = resolution(10.0, 80.0, n_layers=10, absorber_thickness=0.09)
    fine, metrics = resolution(10.0, 80.0, n_layers=36, absorber_thickness=0.025)
    assert coarse > 1.2 * fine
    assert float(metrics["depth [interaction lengths]"]) > 5


def test_pions_are_measured_worse_than_electrons():
    pion, _ = resolution(10.0, 20.0, n_layers=20, absorber_thickness=0.05)
    electron = build(Config(low_energy=10.0, high_energy=20.0, absorber=("iron",), n_layers=20))
    found = summarize_design(electron, electron.space.start, Seed(1), 2_000)[1]
    assert pion > 1.5 * float(found.objective)


# --- gradient


def test_gradient_of_the_objective_matches_finite_differences():
    problem = build(Config(**SMALL, design="thickness", length=1.0, budget=1e3, n_events=400))
    theta = problem.space.theta(problem.space.start)
    found = evaluate(problem, Request(theta, ("same",), gradient=True), Seed(1)).gradient
    step = 1e-5
    for i in (0, 3, 11):
        change = torch.zeros_like(theta)
        change[i] = step
        sides = [
            evaluate(problem, Request(theta + sign * change, ("same",)), Seed(1)).value
            for sign in (1, -1)
        ]
        difference = (sides[0] - sides[1]) / (2 * step)
        assert float(found[i]) == pytest.approx(difference, rel=1e-3, abs=1e-6)


# --- refusals


def test_pions_in_a_substitute_of_geant4_are_refused(tmp_path, monkeypatch):
    pytest.importorskip("xraylib", reason="substitute data are made with xraylib")
    monkeypatch.setenv(VARIABLE, str(write_substitute(tmp_path / "data").folder))
    with pytest.raises(ConfigError, match="Pions of 100 GeV make nuclear reactions"):
        build(Config(particle="pion", source="geant4"))


def test_pions_without_data_of_geant4_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(NotFoundError, match="data"):
        build(Config(particle="pion", source="geant4"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"e_over_h": 0.0}, "e_over_h"), ({"source": "library"}, "electrons"), ({"n": 1}, "n")],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        CASE.build({"particle": "pion", **options})


# --- origin of the data


def test_official_data_run_pions_with_a_hadronic_list(official):
    (label,) = build(Config(particle="pion", source="geant4")).data_labels
    assert label.endswith("official data, option1-FTFP_BERT")


def test_the_result_names_the_data(tmp_path, monkeypatch):
    monkeypatch.setattr("detopt.runtime.result.N_RESAMPLES", 20)
    label, path = "Geant4, data of a test", tmp_path / "showers.npz"
    rng = Seed("library").generator()
    energy = 50 ** torch.rand(100, 1, generator=rng, dtype=torch.float64)
    shares = torch.rand(100, 40, generator=rng, dtype=torch.float64)
    cumulative = energy * shares.cumsum(1) / shares.sum(1, keepdim=True)
    np.savez(path, energy=energy[:, 0], cumulative=cumulative, step=4e-3, absorber="lead",
             label=label)  # fmt: skip
    options = {"source": "library", "library": str(path), "n_layers": 2, "n_events": 40}
    config = StudyConfig.make("sampling_calorimeter", options=options, rounds=1,
                              evaluation_events=40)  # fmt: skip
    study = Study.create(config, tmp_path / "run")
    study.run()
    assert load_result(tmp_path / "run")["data_labels"] == [label]
    assert label in write_report(tmp_path / "run").read_text()


def test_the_fast_model_needs_no_label_of_events():
    assert build(Config()).data_labels == ()
