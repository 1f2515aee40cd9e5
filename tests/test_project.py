"""What lies beside the package: studies, citation, links."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import detopt
from detopt.runtime import load_study
from detopt.usecases.muon_scanner.volumes import ladle, load_volumes

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("studies/*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_furnace_of_the_demo_is_the_ladle():
    stored, made = load_volumes(ROOT / "studies" / "furnace.npz"), ladle()
    assert stored.materials == made.materials
    assert stored.grid.shape == made.grid.shape
    torch.testing.assert_close(stored.voxels, made.voxels)
    torch.testing.assert_close(stored.target, made.target)
    for axis in range(3):
        torch.testing.assert_close(stored.grid.edges(axis), made.grid.edges(axis))


def test_the_study_of_the_demo_is_complete():
    study = load_study(ROOT / "studies" / "ladle.yaml")
    assert study.use_case == "muon_scanner"
    assert Path(study.options["volume"]) == ROOT / "studies" / "furnace.npz"


def test_the_citation_names_the_released_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == detopt.__version__
    assert citation["authors"] == [{"name": "The detopt developers"}]
    assert {"cff-version", "message", "title", "license"} <= citation.keys()


def test_the_change_log_has_the_released_version():
    assert f"## {detopt.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target
