"""The conformance suite on every use case, and on the file that `detopt new` writes."""

import shutil
from importlib.resources import files

import pytest

from detopt import usecases
from detopt.testing import conformance
from detopt.testing.conformance import CHECKS

# Smaller instances of costly use cases; all others run with their defaults.
OPTIONS = {
    "counting_experiment": {"n_hidden": 1, "n_bins": 3, "n_events": 300},
    "muon_energy_calorimeter": {"layers": 12, "most_layers": 14, "longest": 1.2, "depth": 0.7},
    "sampling_calorimeter": {"n_layers": 5, "absorber_thickness": 0.028, "n_events": 500},
    "tau_pairs": {"n_hidden": 1, "n_bins": 3, "n_events": 200},
    "muon_scanner": {"n_above": 2, "n_below": 2, "n_scans": 16, "center": [0.5, 0.5]},
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", usecases.names())
def test_use_case_conforms(name, check):
    (finding,) = conformance(name, OPTIONS.get(name), only=check)
    assert finding.passed, finding.detail


@pytest.mark.parametrize("check", CHECKS)
def test_the_file_that_new_writes_conforms(tmp_path, check):
    path = tmp_path / "my_detector.py"
    shutil.copyfile(files("detopt.cli").joinpath("telescope.py.txt"), path)
    (finding,) = conformance(str(path), only=check)
    assert finding.passed, finding.detail


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hump", {"draws": "exact"}),
        ("benchmark_branching_shower", {"baseline": "naive"}),
    ],
)
def test_options_that_decide_about_the_gradient_are_asked(name, options):
    (finding,) = conformance(name, options, only="has the gradients that it claims")
    assert finding.passed, finding.detail
