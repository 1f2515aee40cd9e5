"""What importing the package costs, and that imports point one way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import detopt

ROOT = Path(__file__).parent.parent
HEAVY = {"matplotlib", "pandas", "pint", "rich", "scipy", "sqlalchemy", "torch", "typer", "yaml"}
MODULES = "import json, sys, {}; print(json.dumps(sorted(sys.modules)))"


def loaded_by(module):
    """Top-level modules that importing `module` in a fresh interpreter loads."""
    found = subprocess.run(
        [sys.executable, "-c", MODULES.format(module)], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(found.stdout)}


def test_importing_the_package_loads_nothing_heavy():
    assert not HEAVY & loaded_by("detopt")


def test_importing_the_command_loads_nothing_heavy():
    assert not HEAVY & loaded_by("detopt.cli")


@pytest.mark.parametrize(
    "module", ["detopt.pipeline", "detopt.usecases.muon_scanner", "detopt.runtime"]
)
def test_no_worker_imports_a_drawing_library(module):
    assert not {"matplotlib", "pandas", "rich", "typer"} & loaded_by(module)


@pytest.mark.parametrize("name", detopt.__all__)
def test_every_public_name_is_there(name):
    assert getattr(detopt, name).__name__ == name
    assert name in dir(detopt)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        _ = detopt.nothing


def test_imports_point_one_way():
    finished = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert finished.returncode == 0, finished.stdout
