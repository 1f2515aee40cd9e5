"""Studies in parts: free, parent, merge, relatives, and what is shared by digest."""

import json
import shutil

import pytest

from detopt import reports
from detopt.cli import main
from detopt.cli.family import differences, tree
from detopt.reports.html import write_report
from detopt.runtime import result as result_module

CASE = '''
"""Two numbers to be found in noise."""

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from detopt.design import Continuous, DesignSpace, Interval
from detopt.pipeline import FunctionProblem

RECOMMENDED = {"rounds": 4, "events": 40, "evaluation_events": 80}


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    target: Path | None = Field(None, description="File with the number to be found")
    width: float = Field(0.1, gt=0)


def build(config):
    target = 0.7 if config.target is None else float(config.target.read_text())

    def loss(design, n_events, rng):
        noise = config.width * torch.randn(n_events, generator=rng)
        return (design["gap"] - target).square() + (design["tilt"] - 0.2).square() + noise

    gap = Continuous("gap", 0.3, Interval(0.0, 1.0), unit="m", group="geometry")
    return FunctionProblem(DesignSpace([gap, Continuous("tilt", 0.5, Interval(0.0, 1.0))]), loss)
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A parent, two tasks and their merge below `runs/`; copy the folder before changing it."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "two.py").write_text(CASE.lstrip())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(result_module, "N_RESAMPLES", 40)
        patch.setattr(reports, "write_report", lambda folder: folder / "report.html")
        for command in (
            "run two.py --out runs/base",
            "run --parent base --free geometry --seed 1 --out runs/a",
            "run two.py --parent base --free t* --seed 2 --out runs/b",
            "merge a b --out runs/ab",
        ):
            assert main(command.split()) == 0
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Reports take longer than these studies."""
    monkeypatch.setattr(reports, "write_report", lambda folder: folder / "report.html")


@pytest.fixture
def team(made, here):
    """The runs, in the working folder."""
    shutil.copytree(made, here, dirs_exist_ok=True)
    return here


def artifacts(answer):
    return {one["name"]: one["digest"] for one in answer.document["artifacts"]}


def design(folder, which="final"):
    return json.loads((folder / "result.json").read_text())["design"][which]


def test_a_study_is_split_and_merged(team):
    runs = team / "runs"
    assert design(runs / "a", "start") == design(runs / "b", "start") == design(runs / "base")
    assert design(runs / "a")["tilt"] == design(runs / "base")["tilt"]
    expected = {"gap": design(runs / "a")["gap"], "tilt": design(runs / "b")["tilt"]}
    assert design(runs / "ab") == expected


def test_a_merge_says_what_is_better(detopt, team):
    (team / "runs" / "ab").rename(team / "runs" / "old")
    answer = detopt("merge", "a", "b", "--out", "runs/again", "--evaluation-events", 400)
    assert answer.code == 0
    assert [line.split()[:2] for line in answer.out.splitlines()[2:6]] == [
        ["parent", answer.out.splitlines()[2].split()[1]],
        ["part", "a"],
        ["part", "b"],
        ["merged", answer.out.splitlines()[5].split()[1]],
    ]
    assert "merged - the parent: -" in answer.err
    assert "better" in answer.err
    document = json.loads((team / "runs" / "again" / "result.json").read_text())
    assert document["evaluation_events"] == 400


def test_the_report_of_a_merge_names_its_relatives(team):
    page = write_report(team / "runs" / "ab").read_text()
    for text in ("Where it comes from", "merges gap from a; tilt from b", "Merged minus part a"):
        assert text in page


def test_the_report_of_a_run_alone_names_none(done):
    assert "Where it comes from" not in write_report(done).read_text()


def test_what_two_runs_freed_needs_a_rule(detopt, team):
    assert detopt("run", "--parent", "base", "--seed", 3, "--out", "runs/both").code == 0
    answer = detopt("merge", "a", "both", "--out", "runs/merged")
    assert answer.code == 2
    assert "`gap` by a and both" in answer.err
    assert not (team / "runs" / "merged").exists()
    answer = detopt("merge", "a", "both", "--prefer", "a:gap", "--out", "runs/merged")
    assert answer.code == 0
    assert design(team / "runs" / "merged")["gap"] == design(team / "runs" / "a")["gap"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("run --parent base --free gapp", "No parameter or group `gapp`. There are: gap, tilt"),
        ("run --parent base --free x*", "No parameter or group `x*`. There are: gap, tilt"),
        ("run --parent nobody", "No run `nobody`. There are: a, ab, b, base"),
        ("run", "Name a use case"),
        ("run hump --parent base", "does not fit its space"),
        ("merge a", "two runs or more"),
        ("merge a a", "different names"),
        ("merge a base", "base: no parent"),
        ("merge a b --seed 2", "seed 2 is that of b"),
        ("merge a b --prefer c", "No run `c` to prefer"),
        ("merge a b --prefer a", "of no use"),
        ("run two.py --database sqlite:///x.sqlite", "--database and --blobs go together"),
        ("run two.py --blobs here", "--database and --blobs go together"),
        ("run two.py --database nonsense --blobs here", "database must be a URL"),
        ("run two.py --database postgresql://host:port/a --blobs here", "database must be a URL"),
        ("run two.py -o target=sha256:abcdef", "needs --database and --blobs"),
        ("store get 123456789 base --out x", "keeps nothing with the digest"),
        ("store get 12 base --out x", "needs 6 letters"),
        ("store get 123456789 base --out two.py", "exists already"),
        ("store put nothing base", "Cannot read nothing"),
    ],
)
def test_what_cannot_be_done_is_said(detopt, team, command, reason):
    before = {path for path in team.rglob("*") if path.is_file()}
    answer = detopt(*command.split())
    assert answer.code == 2
    assert reason in answer.err
    assert {path for path in team.rglob("*") if path.is_file()} == before


# --- relatives and artifacts


def test_show_prints_the_tree(detopt, team):
    lines = detopt("show", "ab").out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("base, objective"))
    assert [line.split(",")[0] for line in lines[first:]] == ["base", "├── a", "├── b", "└── ab"]
    assert "frees geometry" in lines[first + 1]
    assert "merges gap from a; tilt from b" in lines[-1]
    assert lines[-1].endswith("<- this run")
    assert "lineage" not in detopt("show", team / "runs" / "ab", "--json").err


def test_show_gives_the_tree_as_data(detopt, team):
    data = detopt("show", "a", "--json").document
    tasks = data["lineage"]["children"]
    assert [child["run"] for child in tasks] == ["a", "b", "ab"]
    assert tasks[0]["parent"] == {"run": "base", "design": data["lineage"]["design"]}
    assert data["config"]["parent"]["digest"] == data["lineage"]["design"]
    assert tasks[2]["parts"][0]["taken"] == ["gap"]
    assert team


def test_a_run_alone_has_no_tree(detopt, done):
    assert "lineage" not in detopt("show", done).out


def test_artifacts_are_fetched_by_their_digests(detopt, team):
    found = artifacts(detopt("show", "a", "--json"))
    assert found.keys() == {"study.yaml", "inputs/two.py", "result.json", "optimizer state"}
    assert detopt("store", "get", found["result.json"][:10], "a", "--out", "copy.json").code == 0
    assert (team / "copy.json").read_bytes() == (team / "runs/a/result.json").read_bytes()
    listed = detopt("store", "list", "a", "--json").document
    assert {one["name"]: one["digest"] for one in listed} == found
    assert found["optimizer state"] in detopt("store", "list", "a").out


def test_a_file_is_kept_once_under_a_name(detopt, team):
    (team / "net.bin").write_bytes(b"weights")
    digest = detopt("store", "put", "net.bin", "a", "--name", "net", "--json").document["digest"]
    assert detopt("store", "put", "net.bin", "a", "--name", "net").code == 0
    (team / "net.bin").write_bytes(b"others")
    answer = detopt("store", "put", "net.bin", "a", "--name", "net")
    assert answer.code == 2
    assert "keeps other bytes as `net`" in answer.err
    assert detopt("store", "get", digest, "a", "--out", "back.bin").code == 0
    assert (team / "back.bin").read_bytes() == b"weights"


# --- a store that several people share


@pytest.fixture
def place(here):
    """Where the rows and files of all of them are."""
    return ["--database", f"sqlite:///{here / 'team.sqlite'}", "--blobs", str(here / "blobs")]


def test_people_without_a_common_disk_split_a_study(detopt, team, place, tmp_path, monkeypatch):
    """Each works in a folder of their own, and knows the others' runs by name alone."""
    database, blobs = place[1], place[3]

    def work(who, *command):
        folder = tmp_path / who
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        answer = detopt(*command)
        assert answer.code == 0, answer.err
        return answer

    work("ada", "run", team / "two.py", "--out", "base", *place)
    for who, free, seed in (("ben", "gap", 1), ("eve", "tilt", 2)):
        command = ("run", "--parent", "base", "--free", free, "--seed", seed, "--out", who)
        work(who, *command, *place)
    work("ada", "merge", "ben", "eve", "--out", "both", *place)
    data = work("ada", "show", "both", "--json").document
    assert [child["run"] for child in data["lineage"]["children"]] == ["ben", "eve", "both"]
    assert data["shared"] == 0  # fresh events: nothing of the parts' verdicts is used again
    tasks = work("ben", "store", "list", database, "--blobs", blobs, "--json").document
    assert {one["run"] for one in tasks} == {"base", "ben", "eve", "both"}


def test_an_input_comes_from_another_run_by_its_digest(detopt, team, place):
    (team / "target.txt").write_text("0.4")
    first = ("run", "two.py", "-o", "target=target.txt", "--out", "runs/first", *place)
    assert detopt(*first).code == 0
    digest = artifacts(detopt("show", "first", "--json"))["inputs/target.txt"]
    second = ("run", "two.py", "-o", f"target=sha256:{digest}", "--out", "runs/second", *place)
    assert detopt(*second).code == 0
    assert next((team / "runs/second/inputs").glob("*target.txt")).read_text() == "0.4"
    assert design(team / "runs/first") == design(team / "runs/second")
    assert detopt("show", "second", "--json").document["shared"] > 0


@pytest.mark.parametrize(
    ("database", "blobs"),
    [
        ("postgresql+psycopg://me:hunter2@nowhere.invalid/x", "here"),
        ("postgresql+psycopg://me@nowhere.invalid/x?password=hunter2", "here"),
        ("sqlite:///x.sqlite", "s3://me:hunter2@bucket/x"),
        ("sqlite:///x.sqlite", "memory://x?token=hunter2"),
    ],
)
def test_no_secret_of_a_url_is_printed_or_written(detopt, here, database, blobs):
    answer = detopt("run", "hump", "--database", database, "--blobs", blobs)
    assert answer.code == 2
    assert "hunter2" not in answer.out + answer.err
    assert "Leave it out" in answer.err
    assert list(here.iterdir()) == []


# --- words


def test_differences_are_put_into_words():
    found = {
        "start": {"value": -1.0, "low": -2.0, "high": -0.5},
        "part a": {"value": 1.0, "low": 0.5, "high": 2.0},
        "part b": {"value": 0.0, "low": -1.0, "high": 1.0},
        "part c": {"value": None, "low": None, "high": None},
    }
    assert [line.rpartition(", ")[2] for line in differences(found)] == [
        "better",
        "worse",
        "no difference is shown",
        "a simulation failed",
    ]


def test_generations_are_set_off():
    def run(name, *children):
        words = {"change": "", "objective": None, "design": None, "status": "finished"}
        return {"run": name, "created": None, "machines": [], "children": children, **words}

    found = tree(run("a", run("b", run("c")), run("d", run("e"))), "e")
    assert found == ["a", "├── b", "│   └── c", "└── d", "    └── e <- this run"]
