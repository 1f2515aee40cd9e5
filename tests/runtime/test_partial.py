"""Tasks of one study: parts of a parent's design, freed apart and merged by rule."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from detopt.errors import CheckpointError, ConfigError, DesignError, NotFoundError
from detopt.runtime import RunStore, Study, StudyConfig, load_study
from detopt.runtime import result as result_module
from detopt.runtime.digests import design_digest
from detopt.runtime.executors.shared import n_shared
from detopt.runtime.family import family
from detopt.runtime.finished import fetch_finished, read_finished
from detopt.runtime.identity import fingerprint, problem_digest
from detopt.runtime.merging import merge_tasks
from detopt.runtime.storage import BlobStore, Database, Lineage, Store

SHORT = {"rounds": 3, "events": 30, "evaluation_events": 60}
TASKS = {  # of the parent `base`
    "a": {"free": ["gap"], "seed": 1},
    "b": {"free": ["shifts"], "seed": 2},
    "both": {"seed": 3},
}


def start(folder, source, parent=None, urls=None, **settings):
    """A study in a folder, from the final design of the run in another folder."""
    if parent is not None:
        settings["parent"] = read_finished(parent).origin.model_dump()
    return Study.create(StudyConfig.make(source, **{**SHORT, **settings}), folder, **(urls or {}))


@pytest.fixture(scope="module")
def world(tmp_path_factory, case_text):
    """A parent, its tasks and a merge of two of them, in folders beside each other; not changed."""
    folder = tmp_path_factory.mktemp("world")
    source = folder / "vector.py"
    source.write_text(case_text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_module, "N_RESAMPLES", 40)
        start(folder / "base", str(source)).run()
        for name, settings in TASKS.items():
            start(folder / name, str(source), folder / "base", **settings).run()
        parts = [read_finished(folder / name) for name in ("a", "b")]
        Study.create(merge_tasks(parts), folder / "ab").run()
    return folder


@pytest.fixture
def runs(world):
    """The finished runs, by name."""
    return {name: read_finished(world / name) for name in ("base", "a", "b", "both", "ab")}


@pytest.fixture
def tasks(runs):
    """Two tasks that freed different parameters."""
    return [runs["a"], runs["b"]]


@pytest.fixture
def rivals(runs):
    """Two tasks that both freed the gap."""
    return [runs["a"], runs["both"]]


@pytest.fixture
def run(case, tmp_path, world):
    """Runs a study of the use case, from the parent of the others unless it says otherwise."""

    def run(name, parent="base", **settings):
        above = None if parent is None else world / parent
        start(tmp_path / name, case, above, **settings).run()
        return read_finished(tmp_path / name)

    return run


def stop(*_):
    raise KeyboardInterrupt


# --- a task


def test_a_task_starts_at_the_final_design_of_its_parent(runs):
    base, task = runs["base"], runs["a"]
    assert task.result["design"]["start"] == base.numbers
    assert task.config.parent.digest == base.digest
    assert task.free == ("gap",)


def test_what_a_task_does_not_free_stays_as_in_the_parent(runs):
    first, second = runs["base"].numbers, runs["a"].numbers
    assert second["shift"] == first["shift"]
    assert second["gap"] != first["gap"]


@pytest.mark.parametrize(
    ("settings", "free"),
    [
        ({"free": ["gap"]}, ["gap"]),
        ({"free": ["shifts"]}, ["shift"]),
        ({"free": ["s*"]}, ["shift"]),
        ({"free": ["[gs]*"], "freeze": ["gap"]}, ["shift"]),
        ({"freeze": ["ga?"]}, ["shift"]),
        ({"free": ["*"]}, ["gap", "shift"]),
    ],
)
def test_names_groups_and_patterns_are_freed(make, settings, free):
    assert [p.name for p in make(**settings).problem.space.free] == free


@pytest.mark.parametrize("key", ["free", "freeze"])
@pytest.mark.parametrize("name", ["gapp", "x*", ""])
def test_a_pattern_that_fits_nothing_is_refused(make, tmp_path, key, name):
    with pytest.raises(NotFoundError, match=r"There are: gap, shift, shifts"):
        make(**{key: [name]})
    assert not (tmp_path / "run").exists()


def test_a_parent_that_has_not_finished_is_refused(make, tmp_path):
    make("unfinished")
    with pytest.raises(CheckpointError, match="has no result yet"):
        read_finished(tmp_path / "unfinished")


def test_a_parent_whose_design_was_changed_is_refused(runs):
    data = runs["a"].config.model_dump()
    data["parent"]["design"]["gap"] += 1e-9
    with pytest.raises(ConfigError, match="another digest"):
        StudyConfig.make(data.pop("use_case"), **data)


def test_a_task_is_resumed_to_the_same_bits(runs, case, tmp_path, world):
    study = start(tmp_path / "stopped", case, world / "base", **TASKS["b"])
    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    Study.resume(tmp_path / "stopped").run()
    assert read_finished(tmp_path / "stopped").digest == runs["b"].digest


def test_the_parent_decides_about_the_fingerprint(case):
    plain = StudyConfig.make(case)
    design = {"gap": 0.25, "shift": [0.0, 0.5]}
    origins = [
        {"run": name, "digest": design_digest(design), "problem": "p", "design": design}
        for name in ("one", "other")
    ]
    one, other = (StudyConfig.make(case, parent=origin) for origin in origins)
    assert fingerprint(plain) != fingerprint(one) == fingerprint(other)


# --- digests


def test_the_digest_of_a_design_sees_every_bit():
    design = {"gap": 0.1 + 0.2, "shift": [1.0, 2.0]}
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in design.items()}
    assert design_digest(design) == design_digest(dict(reversed(tensors.items())))
    assert design_digest(design) != design_digest({**design, "gap": 0.3})
    assert design_digest(design) != design_digest({**design, "shift": [[1.0, 2.0]]})


def test_the_digest_of_a_problem_does_not_depend_on_how_it_is_written(case):
    plain = problem_digest(case, {})
    assert problem_digest(case, {"gap": 0.3}) == problem_digest(case, {"gap": "30 cm"}) == plain
    assert problem_digest(case, {"gap": 0.4}) != plain
    assert problem_digest("hump", {}) != plain


def test_the_digest_of_a_problem_sees_its_files(case, tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("0.6 0.5 -0.5")
    first = problem_digest(case, {"target": str(target)})
    copy = tmp_path / "copy.txt"
    copy.write_text(target.read_text())
    assert problem_digest(case, {"target": str(copy)}) == first
    copy.write_text("0.5 0.5 -0.5")
    assert problem_digest(case, {"target": str(copy)}) != first


# --- a merge


def test_a_merge_takes_each_parameter_from_who_freed_it(runs):
    a, b, ab = runs["a"], runs["b"], runs["ab"]
    assert ab.numbers == {"gap": a.numbers["gap"], "shift": b.numbers["shift"]}
    assert ab.result["design"]["start"] == runs["base"].numbers
    assert ab.config.start["gap"].item() == a.numbers["gap"]


def test_what_nobody_freed_comes_from_the_parent(runs, run):
    config = merge_tasks([runs["a"], run("c", free=["gap"], seed=4)], ["a"])
    assert config.start["gap"].item() == runs["a"].numbers["gap"]
    assert config.start["shift"].tolist() == runs["base"].numbers["shift"]
    assert config.free == ["gap"]


def test_the_order_of_the_runs_changes_no_number(tasks, runs, tmp_path):
    data = Study.create(merge_tasks(tasks[::-1]), tmp_path / "ba").run().data
    assert data["objective"] == runs["ab"].result["objective"]
    assert data["seed"] == runs["ab"].result["seed"]


def test_a_merge_is_judged_beside_its_parent_and_parts(runs):
    data = runs["ab"].result
    assert data["baselines"].keys() == {"part a", "part b", "human"}
    values = {name: one["objective"]["value"] for name, one in data["baselines"].items()}
    values["start"] = data["objective"]["start"]["value"]
    assert data["differences"].keys() == values.keys()
    for name, one in data["differences"].items():
        found = data["objective"]["final"]["value"] - values[name]
        assert one["value"] == pytest.approx(found, abs=1e-12)
        assert one["low"] < one["high"]


def test_differences_are_sharper_than_intervals_apart(tasks, tmp_path):
    """The same events meet both designs, so that most of their noise cancels."""
    data = Study.create(merge_tasks(tasks, evaluation_events=500), tmp_path / "ab").run().data
    final, part = data["objective"]["final"], data["baselines"]["part b"]["objective"]
    apart = sum((x["high"] - x["low"]) ** 2 for x in (final, part)) ** 0.5
    found = data["differences"]["part b"]
    assert found["high"] - found["low"] < 0.7 * apart


def test_a_merge_is_judged_with_events_that_no_task_saw(tasks):
    config = merge_tasks(tasks)
    assert config.seed not in {task.config.seed for task in tasks}
    assert merge_tasks(tasks, seed=config.seed + 1).seed == config.seed + 1
    with pytest.raises(ConfigError, match="seed 2 is that of b"):
        merge_tasks(tasks, seed=2)


def test_a_merge_that_was_stopped_is_resumed(tasks, runs, tmp_path):
    study = Study.create(merge_tasks(tasks), tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        study.run(stop)
    data = Study.resume(tmp_path / "stopped").run().data
    assert data["objective"] == runs["ab"].result["objective"]


def test_a_merge_can_be_a_parent(runs, run):
    child = run("child", "ab")
    assert child.result["design"]["start"] == runs["ab"].numbers


def test_the_study_of_a_merge_is_enough_to_judge_it_again(world, runs, tmp_path):
    config = load_study(world / "ab" / "study.yaml")
    data = Study.create(config, tmp_path / "again").run().data
    assert data["objective"] == runs["ab"].result["objective"]


# --- what is refused


def test_the_same_parameter_twice_is_refused_with_names(rivals):
    with pytest.raises(ConfigError, match=r"`gap` by a and both.*--prefer a:gap"):
        merge_tasks(rivals)


@pytest.mark.parametrize(
    ("prefer", "source"), [(["a"], 0), (["both"], 1), (["a:gap"], 0), (["both:g*"], 1)]
)
def test_a_rule_says_whose_value_counts(rivals, prefer, source):
    config = merge_tasks(rivals, prefer)
    assert config.start["gap"].item() == rivals[source].numbers["gap"]
    assert config.start["shift"].tolist() == rivals[1].numbers["shift"]


@pytest.mark.parametrize(
    ("prefer", "error", "reason"),
    [
        (["c"], NotFoundError, "No run `c` to prefer. There are: a, both"),
        (["a:gapp"], NotFoundError, "No parameter or group `gapp`"),
        (["a:shift"], ConfigError, "of no use: a freed none of these"),
        (["a", "both:gap"], ConfigError, "`gap` is to be taken from a and from both"),
    ],
)
def test_a_rule_without_use_is_refused(rivals, prefer, error, reason):
    with pytest.raises(error, match=reason):
        merge_tasks(rivals, prefer)


def test_runs_without_a_parent_are_refused(runs):
    with pytest.raises(ConfigError, match="base: no parent"):
        merge_tasks([runs["base"], runs["a"]])


def test_runs_of_different_parents_are_refused(runs, run):
    child = run("child", "a", free=["shifts"])
    with pytest.raises(ConfigError, match=r"different designs: a from base .*child from a"):
        merge_tasks([runs["a"], child])


def test_runs_of_different_problems_are_refused(runs, run):
    other = run("other", free=["shifts"], options={"chunk": 30})
    with pytest.raises(ConfigError, match="different problems: `chunk` is 25 in a, 30 in other"):
        merge_tasks([runs["a"], other])


def test_a_single_run_and_equal_names_are_refused(tasks):
    with pytest.raises(ConfigError, match="two runs or more"):
        merge_tasks(tasks[:1])
    with pytest.raises(ConfigError, match="different names, got a, a"):
        merge_tasks([tasks[0], tasks[0]])


def test_parts_that_break_a_limit_together_are_refused(case, tmp_path):
    """From 0.4, towards 0.7 with the gap alone, 0.8 with the shift alone, and 1.1 with both."""
    path = Path(case)
    limit = 'limits=[Limit("price", lambda d: d["gap"] + d["shift"][0], 0.95)]'
    text = path.read_text().replace("DesignSpace(parameters)", f"DesignSpace(parameters, {limit})")
    path.write_text(text.replace("import Continuous,", "import Continuous, Limit,"))
    start(tmp_path / "base", case, rounds=1).run()
    options = {"rounds": 12, "method_options": {"learning_rate": 0.6}}
    for name, free in (("a", "gap"), ("b", "shifts")):
        start(tmp_path / name, case, tmp_path / "base", free=[free], **options).run()
    with pytest.raises(DesignError, match=r"cannot be built together.*price.*--parent"):
        merge_tasks([read_finished(tmp_path / name) for name in ("a", "b")])


# --- relatives


FAMILY = [(0, "base"), (1, "a"), (1, "b"), (1, "both"), (1, "ab")]


def members(folder):
    return [(depth, member.name) for depth, member in family(folder).members()]


@pytest.mark.parametrize("name", ["base", "a", "ab"])
def test_the_family_is_found_in_the_folders_beside(world, name):
    assert members(world / name) == FAMILY


def test_a_family_tells_what_each_one_did(world, runs):
    data = family(world / "a").as_dict()
    assert [child["change"] for child in data["children"]] == [
        "frees gap",
        "frees shifts",
        "frees what the use case frees",
        "merges gap from a; shift from b",
    ]
    assert data["children"][3]["parts"][1] == {
        "run": "b",
        "design": runs["b"].digest,
        "taken": ["shift"],
    }
    assert data["design"] == data["children"][0]["parent"]["design"] == runs["base"].digest
    assert data["objective"] == runs["base"].result["objective"]["final"]
    assert all(child["created"] > data["created"] for child in data["children"])
    assert json.dumps(data)


def test_a_parent_that_is_not_there_is_named(world, tmp_path):
    shutil.copytree(world / "a", tmp_path / "a")
    found = list(family(tmp_path / "a").members())
    assert [(m.name, m.status) for _, m in found] == [("base", "missing"), ("a", "finished")]


def test_a_neighbour_that_is_damaged_does_no_harm(world, tmp_path):
    for name in ("base", "a", "b"):
        shutil.copytree(world / name, tmp_path / name)
    (tmp_path / "b" / "study.sqlite").write_bytes(b"nothing")
    assert members(tmp_path / "a") == FAMILY[:2]


def test_generations_stand_below_each_other(world, run, tmp_path):
    run("child", "ab", free=["gap"])
    for name in ("base", "ab"):
        shutil.copytree(world / name, tmp_path / name)
    assert members(tmp_path / "child") == [(0, "base"), (1, "ab"), (2, "child")]


# --- a shared store


@pytest.fixture
def shared(tmp_path):
    """URLs of a store that several runs share."""
    return {
        "database": f"sqlite:///{tmp_path / 'shared.sqlite'}",
        "blobs": str(tmp_path / "blobs"),
    }


@pytest.fixture
def opened(shared):
    """The shared store."""
    with contextlib.closing(Store(Database(shared["database"]), BlobStore(shared["blobs"]))) as s:
        yield s


def test_a_family_meets_in_a_shared_store(case, shared, opened, tmp_path):
    """Each run has its folder on a machine of its own."""

    def run(name, **settings):
        folder = tmp_path / f"machine of {name}" / name
        Study.create(StudyConfig.make(case, **SHORT, **settings), folder, **shared).run()
        return folder

    run("base")
    for name, free in (("a", "gap"), ("b", "shifts")):
        with fetch_finished(opened, "base") as base:
            origin = base.origin.model_dump()
        run(name, free=[free], parent=origin, seed=3)
    with fetch_finished(opened, "a") as a, fetch_finished(opened, "b") as b:
        config = merge_tasks([a, b])
        folder = tmp_path / "another" / "ab"
        Study.create(config, folder, **shared)
    Study.resume(folder).run()
    found = [(depth, member.name) for depth, member in family(folder).members()]
    assert found == [(0, "base"), (1, "a"), (1, "b"), (1, "ab")]
    assert Lineage(opened.database).runs(a.config.parent.digest, "parent") == ["a", "b", "ab"]


def test_a_run_of_a_store_without_a_result_is_refused(case, shared, opened, tmp_path):
    Study.create(StudyConfig.make(case), tmp_path / "open", **shared)
    with (
        pytest.raises(CheckpointError, match=r"open in sqlite.* has no result yet"),
        fetch_finished(opened, "open"),
    ):
        pass
    with (
        pytest.raises(CheckpointError, match="no run `nobody`"),
        fetch_finished(opened, "nobody"),
    ):
        pass


@pytest.mark.parametrize(
    "urls",
    [
        {"database": "postgresql+psycopg://me:hunter2@host/name", "blobs": "here"},
        {"database": "postgresql+psycopg://me@host/name?password=hunter2", "blobs": "here"},
        {"database": "sqlite:///x.sqlite", "blobs": "ftp://me:hunter2@host/files"},
        {"database": "sqlite:///x.sqlite", "blobs": "s3://bucket/x?secret=hunter2"},
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(case, tmp_path, urls):
    with pytest.raises(ConfigError) as caught:
        Study.create(StudyConfig.make(case), tmp_path / "run", **urls)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_place_of_a_run_is_in_no_artifact(case, shared, tmp_path):
    study = Study.create(StudyConfig.make(case, **SHORT), tmp_path / "run", **shared)
    study.run()
    with contextlib.closing(RunStore(tmp_path / "run")) as run:
        texts = [run.store.blobs.get(digest) for digest in run.store.artifacts(run.id).values()]
    assert texts
    assert not any(b"shared.sqlite" in text for text in texts)


def test_what_another_run_has_evaluated_is_not_done_again(case, shared, tmp_path):
    """Somebody else starts the same study in the same store."""
    one, two = (
        Study.create(StudyConfig.make(case, **SHORT, workers=n), tmp_path / str(n), **shared)
        for n in (1, 2)
    )
    first, second = one.run().data, two.run().data
    for key in ("objective", "theta", "differences", "sensitivities"):
        assert first[key] == second[key]
    assert first["cpu_s"] > second["cpu_s"] == 0.0
    alone = StudyConfig.make(case, **SHORT, share=False)
    third = Study.create(alone, tmp_path / "3", **shared)
    assert third.run().data["objective"] == first["objective"]
    assert third.store.fingerprint == two.store.fingerprint
    with contextlib.closing(RunStore(tmp_path / "2")) as run:
        n_rounds, n_chunks, n_sensitivities = 3, 3 * 3, 7
        assert n_shared(run.store, run.id) == n_rounds + n_chunks + n_sensitivities


def test_a_name_that_is_taken_in_the_store_is_refused(case, shared, tmp_path):
    Study.create(StudyConfig.make(case), tmp_path / "here" / "run", **shared)
    with pytest.raises(CheckpointError, match="already holds a run `run`"):
        Study.create(StudyConfig.make(case, seed=1), tmp_path / "there" / "run", **shared)
    assert not (tmp_path / "there" / "run").exists()
