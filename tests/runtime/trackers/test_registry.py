"""Trackers by name, their options, and those of plug-ins."""

import json
import textwrap

import pytest

from detopt.cli import main
from detopt.errors import ConfigError, NotFoundError
from detopt.runtime import StudyConfig, load_study
from detopt.runtime.trackers import Tracker, load_tracker, tracker_names

PLUGIN = """
import json
from typing import ClassVar

from pydantic import BaseModel
from detopt.runtime.trackers import Tracker


class Options(BaseModel):
    word: str = "none"


class Lines(Tracker):
    Options: ClassVar = Options

    def start(self, run):
        run.folder.mkdir(parents=True, exist_ok=True)
        self.file = (run.folder / "lines.jsonl").open("a")
        self._write("start", self.options.word, sorted(run.config))

    def _write(self, *what):
        print("whatever a tool prints")
        self.file.write(json.dumps(what) + chr(10))
        self.file.flush()

    def log(self, metrics, step):
        self._write("log", step, metrics)

    def attach(self, path, name):
        self._write("attach", name, path.is_file())

    def finish(self, status):
        self._write("finish", status)


nothing = 3
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """An installed package with the trackers `lines` and `nothing`."""
    site = tmp_path / "site"
    facts = site / "lines_tracker-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "lines_tracker.py").write_text(textwrap.dedent(PLUGIN))
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: lines-tracker\nVersion: 1.0\n")
    points = "[detopt.trackers]\nlines = lines_tracker:Lines\nnothing = lines_tracker:nothing\n"
    (facts / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))


@pytest.mark.parametrize("name", ["comet", "mlflow", "tensorboard", "wandb"])
def test_the_package_has_trackers(name):
    assert name in tracker_names()
    assert isinstance(load_tracker(name), Tracker)
    with pytest.raises(ConfigError, match=f"tracker_options.{name}.*api_key.*Known"):
        load_tracker(name, {"api_key": "x"})


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"trackers": ["tensorbaord"]}, NotFoundError, "There are: comet, mlflow, tensorboard"),
        ({"trackers": ["wandb"], "tracker_options": {"wandb": {"mode": 3}}}, ConfigError, "mode"),
        ({"tracker_options": {"wnadb": {}}}, NotFoundError, "wnadb"),
        (
            {"tracker_options": {"mlflow": {"uri": "https://me:word@host"}}},
            ConfigError,
            "MLFLOW_TRACKING_PASSWORD",
        ),
    ],
)
def test_unknown_trackers_and_options_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        StudyConfig.make("hump", **settings)


def test_a_plugin_is_found_and_checked(plugin):
    assert {"lines", "nothing"} <= set(tracker_names())
    assert load_tracker("lines", {"word": "x"}).options.word == "x"
    with pytest.raises(ConfigError, match="subclass of `Tracker`"):
        load_tracker("nothing")


@pytest.mark.slow
def test_a_plugin_follows_a_study_from_the_command_line(plugin, case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["run", case, "--rounds", "2", "--track", "lines", "--out", "run", "--json"]
    assert main(command) == 0
    assert load_study(tmp_path / "run" / "study.yaml").trackers == ["lines"]
    text = (tmp_path / "run" / "trackers" / "lines" / "lines.jsonl").read_text()
    seen = [json.loads(line) for line in text.splitlines()]
    assert [one[:2] for one in seen] == [
        ["start", "none"],
        *(["log", step] for step in (0, 1, 2)),
        *(["attach", n] for n in ("study.yaml", "result.json", "report.html", "curves.png")),
        ["finish", "finished"],
    ]
    assert {"method", "seed", "method_options.learning_rate"} <= set(seen[0][2])
    assert not any("executor" in name for name in seen[0][2])
    assert {"objective", "gradient_norm", "design/gap", "design/shift.0"} <= set(seen[1][2])
    assert all(one[2] for one in seen if one[0] == "attach")
