"""The library of showers, its interpolation and the calibration of the layer placement."""

import pytest
import torch

from detopt.design import Design
from detopt.errors import DesignError
from detopt.physics import materials, showers
from detopt.random import Seed
from detopt.usecases import benchmark_layer_placement as placement
from detopt.usecases import load

NAME = "benchmark_layer_placement"
SMALL = {"n_layers": 4, "n_showers": 40}


@pytest.fixture
def config():
    return load(NAME).configure(SMALL)


def curves(function, n=20, step=0.1):
    nodes = step * torch.arange(n, dtype=torch.float64)
    return placement.ShowerLibrary(function(nodes).expand(1, 1, -1), step)


@pytest.mark.parametrize("power", [0, 1, 2])
def test_interpolation_is_exact_for_parabolas(power):
    depth = torch.tensor([0.33, 0.7, 1.06], dtype=torch.float64)
    library = curves(lambda x: x**power)
    torch.testing.assert_close(library.deposited(depth)[0, 0], depth**power)


def test_depths_outside_count_as_the_faces():
    library = curves(lambda x: x**2)
    found = library.deposited(torch.tensor([-1.0, 5.0], dtype=torch.float64))
    torch.testing.assert_close(found[0, 0], torch.tensor([0.0, 1.9**2], dtype=torch.float64))


def test_gradient_of_the_deposit_matches_finite_differences():
    library = curves(torch.sin)
    depth = torch.tensor([0.33, 0.74, 1.06], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(library.deposited, depth)


def test_showers_deposit_less_than_their_energy_and_never_take_it_back(config, rng):
    library = placement.make_showers(config, 30, rng)
    energy = torch.tensor([20.0, 50.0, 20.0, 50.0])
    assert (library.cumulative[..., -1] <= energy * (1 + 1e-5)).all()
    assert library.cumulative.diff(dim=-1).min() > -1e-4


def test_mean_electron_has_the_mean_profile(config, rng):
    """Half of the energy within the depth that GFLASH's mean shower says."""
    library = placement.make_showers(config, 500, rng)
    iron = materials.get("iron")
    shape = showers.mean_shape(50.0, showers.homogeneous(iron))
    depth = showers.containment_depth(0.5, shape) * iron.radiation_length
    inside = library.deposited(depth.reshape(1).double())[:, 1, 0].mean().item() / 50
    assert inside == pytest.approx(0.5, abs=0.03)


def test_pions_respond_as_their_electromagnetic_share_says(rng):
    """Signal over energy in an endless block, 1 - (1 - f)(1 - h/e)."""
    config = load(NAME).configure({**SMALL, "length": 8.0, "nodes": 1})
    library = placement.make_showers(config, 500, rng)
    mean = library.cumulative[:, 2:, -1].mean(dim=0) / torch.tensor(config.energies)
    share = showers.em_fraction(torch.tensor(config.energies))
    torch.testing.assert_close(
        mean, showers.pion_response(share, placement.E_OVER_H), atol=0.02, rtol=0
    )


def judged(config, total):
    problem = placement.build(config)
    summary = placement.Signals(total, torch.arange(len(total)) % 2 == 0)
    return problem.judge(summary, problem.baselines["uniform"]).terms


def test_signals_that_are_affine_in_the_energy_have_no_error(config):
    energy = torch.tensor([20.0, 50.0, 20.0, 50.0], dtype=torch.float64)
    terms = judged(config, (3 + 2 * energy).expand(10, -1))
    assert float(terms["hadronic"]) == pytest.approx(0, abs=1e-9)


def test_a_half_is_not_calibrated_with_itself(config):
    """Halves of unlike scale are both wrong, as far as the other half's calibration says."""
    energy = torch.tensor([20.0, 50.0, 20.0, 50.0], dtype=torch.float64).expand(10, -1)
    scale = torch.where(torch.arange(10) % 2 == 0, 1.0, 2.0)[:, None]
    expected = ((1.0**2 + 0.5**2) / 2) ** 0.5  # 2/1 - 1 and 1/2 - 1
    terms = judged(config, energy * scale)
    assert float(terms["electromagnetic"]) == pytest.approx(expected, rel=1e-6)


def test_chosen_showers_are_those_of_the_library(config):
    library = placement.make_showers(config, 20, Seed(2).generator())
    turned = placement.ShowerLibrary(library.cumulative.flip(0), library.step)
    position, chosen = placement.uniform(config), torch.arange(20).flip(0)
    found = placement.measure(config, library, position, Seed(3).generator(), chosen)
    expected = placement.measure(config, turned, position, Seed(3).generator())
    torch.testing.assert_close(found.total, expected.total)


def test_equal_spacings_end_at_the_end_of_the_block(config):
    positions = placement.uniform(config)
    assert positions[-1].item() == pytest.approx(config.length - config.sensor / 2)
    assert positions.diff().std().item() == pytest.approx(0, abs=1e-12)


def test_more_layers_resolve_better():
    found = []
    for n_layers in (4, 16):
        problem = load(NAME).build({**SMALL, "n_layers": n_layers})
        equal = problem.baselines["uniform"]
        summary = problem.reference.summarize(equal.to(torch.float32), 200, Seed(1).generator())
        found.append(problem.judge(summary, equal).terms)
    assert found[1]["electromagnetic"] < found[0]["electromagnetic"] / 2
    assert found[1]["hadronic"] < found[0]["hadronic"]


def test_sensors_that_overlap_are_refused(config):
    problem = placement.build(config)
    close = Design({"positions": torch.tensor([0.1, 0.101, 0.5, 1.0], dtype=torch.float64)})
    with pytest.raises(DesignError, match="positions"):
        problem.space.check(close)


def test_layers_that_do_not_fit_are_refused():
    with pytest.raises(DesignError):
        load(NAME).build({"n_layers": 300})
