"""Hadronic interactions of chromo from a process of its own: laws, seeds, and faults."""

import importlib.util

import pytest
import torch

from detopt.errors import ConfigError, DomainError, MissingExtraError
from detopt.simulators.sources import Chromo

NUCLEON = 0.938919  # GeV; mean of proton and neutron
CASES = [
    ("Sibyll21", "pi+", "proton", 200.0, 2e-3),
    ("Sibyll23d", "proton", (14, 7), 1_000.0, 2e-3),
    ("Pythia6", "proton", "proton", 300.0, 1e-9),
    ("UrQMD34", "proton", (14, 7), 20.0, 1e-3),
]

needs_chromo = pytest.mark.skipif(
    importlib.util.find_spec("chromo") is None, reason="chromo is not installed"
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def sibyll():
    source = Chromo("Sibyll23d", "proton", {"N": 0.5, "O": 0.5}, 1_000.0, stretch=20)
    yield source
    source.close()


@needs_chromo
@pytest.mark.parametrize(("model", "projectile", "target", "energy", "share"), CASES)
def test_energy_momentum_and_charge_are_conserved(model, projectile, target, energy, share):
    source = Chromo(model, projectile, target, energy)
    events = source(40, seeded(1), torch.float64)
    source.close()
    assert events.n_events == 40
    assert set(events.status.tolist()) == {1}
    mean = events.total.mean(0)
    at_rest = NUCLEON * (14 if model == "UrQMD34" else 1)  # Sibyll: nucleons that were hit
    assert mean[0].item() == pytest.approx(energy + at_rest, rel=share + 2 / energy)
    assert mean[3].item() == pytest.approx(energy, rel=share + 1 / energy)
    assert mean[1:3].abs().max() < 1e-3
    assert len(events) / 40 > 5
    assert events.weight.tolist() == [1.0] * 40


@needs_chromo
def test_models_leave_no_files_where_the_user_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = Chromo("UrQMD34", "proton", "proton", 20.0)  # keeps tables in its folder
    source(2, seeded(1), torch.float64)
    source.close()
    assert list(tmp_path.iterdir()) == []


@needs_chromo
def test_two_beams_meet_in_their_center_of_mass():
    source = Chromo("Pythia6", "proton", "proton", 200.0, "center_of_mass", final_only=False)
    events = source(10, seeded(1), torch.float64)
    source.close()
    assert set(events.status.tolist()) == {1, 2, 4}
    beams = events.momentum[events.status == 4]
    assert len(beams) == 20
    expected = torch.tensor([100.0, 0.0, 0.0, 99.9956], dtype=torch.float64)
    torch.testing.assert_close(beams[::2], expected.expand(10, 4), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(
        events.final.total, 2 * expected[:1] * torch.eye(4, dtype=torch.float64)[:1].expand(10, 4),
        rtol=1e-9, atol=1e-9,
    )  # fmt: skip


@needs_chromo
def test_the_seed_alone_decides(sibyll):
    first = sibyll(30, seeded(1), torch.float64)
    sibyll(7, seeded(2), torch.float64)
    again = sibyll(30, seeded(1), torch.float64)
    torch.testing.assert_close(first.momentum, again.momentum, rtol=0, atol=0)
    two = Chromo("Sibyll23d", "proton", {"N": 0.5, "O": 0.5}, 1_000.0, stretch=20, n_workers=2)
    other = two(30, seeded(1), torch.float64)
    two.close()
    torch.testing.assert_close(first.momentum, other.momentum, rtol=0, atol=0)
    assert first.event.tolist() == other.event.tolist()


@needs_chromo
def test_elements_of_a_mixture_come_in_random_order():
    source = Chromo("Sibyll21", "proton", "air", 100.0, final_only=False)
    events = source(200, seeded(3), torch.float64)
    source.close()
    nuclei = events.pdg[(events.status == 4) & (events.pdg > 1_000_000_000)]
    oxygen = (nuclei == 1_000_080_160).double()
    assert set(nuclei.tolist()) == {1_000_070_140, 1_000_080_160}
    assert 0.1 < oxygen.mean().item() < 0.4  # 0.227 +- 0.03
    assert abs(oxygen[:100].mean() - oxygen[100:].mean()).item() < 0.25


@needs_chromo
def test_a_killed_process_is_an_error_and_another_one_starts(sibyll, draw_after_a_kill):
    assert draw_after_a_kill(sibyll).n_events == 2


@needs_chromo
@pytest.mark.parametrize(
    ("model", "target", "match"),
    [
        ("Sibyll99", "proton", "no model 'Sibyll99', but .*Sibyll23d"),
        ("Sibyll23d", (208, 82), "refuses the collision.*not among allowed"),
        ("Sibyll23d", "unobtainium", "refuses the collision"),
    ],
)
def test_what_chromo_refuses_is_named(model, target, match):
    with pytest.raises(ConfigError, match=match):
        Chromo(model, "proton", target, 100.0)(1, seeded(1), torch.float64)


def test_an_interpreter_without_chromo_is_named(interpreter_without):
    bare = interpreter_without("chromo")
    with pytest.raises(MissingExtraError, match=r"detopt\[chromo\]"):
        Chromo("Sibyll23d", "proton", "proton", 100.0, python=bare)(1, seeded(1), torch.float64)


def test_misuse_is_refused():
    for energy in (0.0, -1.0, float("nan")):
        with pytest.raises(DomainError, match="`energy` must be > 0"):
            Chromo("Sibyll23d", "proton", "proton", energy)
    for mixture in ({}, {"N": 0.8, "O": 0.0}):
        with pytest.raises(DomainError, match="Shares of a mixture must be > 0"):
            Chromo("Sibyll23d", "proton", mixture, 100.0)
    with pytest.raises(DomainError, match=r"`frame` must be `fixed_target` or .*got `lab`"):
        Chromo("Sibyll23d", "proton", "proton", 100.0, "lab")
