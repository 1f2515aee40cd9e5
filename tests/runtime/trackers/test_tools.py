"""The four tools, offline: what they wrote is read back after a study that was interrupted."""

import json
import logging
import sqlite3
import struct
import zipfile
from importlib.util import find_spec

import pytest

from detopt import Study
from detopt.runtime import load_result
from detopt.runtime import result as result_module
from detopt.runtime.trackers import session

PACKAGES = {"comet": "comet_ml", "mlflow": "mlflow", "tensorboard": "tensorboard", "wandb": "wandb"}
ROUNDS, STOP = 4, 2
SECRET = "ThisIsNoKeyButLooksLikeOne"
BLOCK, WHOLE, LAST = 32_768, 1, 4
VARIABLES = ["WANDB_API_KEY", "WANDB_MODE", "COMET_API_KEY", "COMET_OFFLINE_DIRECTORY"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of the tools


def needs(tool):
    reason = f"pip install {PACKAGES[tool]}"
    return pytest.mark.skipif(find_spec(PACKAGES[tool]) is None, reason=reason)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a study with all four trackers, and its rounds; it was interrupted and resumed."""
    place = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        for name in [*VARIABLES, "MLFLOW_TRACKING_URI"]:
            patch.delenv(name, raising=False)
        patch.setenv("HOME", str(place))  # no logins of the user
        patch.setenv("MY_SECRET_TOKEN", SECRET)
        patch.setattr(result_module, "N_RESAMPLES", 40)
        for limit in ("FLUSH", "SHORT"):
            patch.setattr(session, limit, 150.0)  # a busy machine is no failure of a tracker
        messages = []
        patch.setattr(
            logging.getLogger("detopt.trackers"), "warning", lambda *a: messages.append(a)
        )
        settings = {"rounds": ROUNDS, "events": 60, "evaluation_events": 60}
        folder = place / "runs" / "one"
        study = Study("hump", folder=folder, trackers=list(PACKAGES), **settings)
        study._loop.run = stopping(study._loop.run)
        with pytest.raises(KeyboardInterrupt):
            study.run(progress=False)
        Study.resume(folder).run(progress=False)
    assert [one for one in messages if find_spec(PACKAGES[one[1]])] == []
    return folder, study_rounds(folder)


def stopping(run):
    """Stop after some rounds."""

    def stop(stage, done, total, record):
        if done == STOP:
            raise KeyboardInterrupt

    return lambda listener, **options: run(stop, **options)


def study_rounds(folder):
    return Study.resume(folder).history


def key_of(folder, tool):
    memory = json.loads((folder / "trackers" / f"{tool}.json").read_text())
    assert memory["last"] == ROUNDS
    return memory["key"]


@needs("tensorboard")
def test_tensorboard_has_curves_figure_and_settings(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, rounds = run
    events = EventAccumulator(str(folder / "trackers" / "tensorboard"))
    events.Reload()
    found = events.Scalars("objective")
    assert [one.step for one in found] == list(range(ROUNDS))
    assert [one.value for one in found] == pytest.approx([r.value for r in rounds], rel=1e-6)
    verdict = load_result(folder)["objective"]["final"]["value"]
    assert events.Scalars("result/final")[0].value == pytest.approx(verdict, rel=1e-6)
    (image,) = events.Images("curves.png")
    assert image.width > 100
    (text,) = events.Tensors("study/text_summary")
    assert b"| method | adam |" in text.tensor_proto.string_val[0]
    assert [t.tensor_proto.string_val[0] for t in events.Tensors("status/text_summary")] == [
        b"interrupted",
        b"finished",
    ]


@needs("mlflow")
def test_mlflow_has_metrics_parameters_and_artifacts(run):
    folder, rounds = run
    with sqlite3.connect(folder.parent / "mlflow.db") as database:
        query = "SELECT step, value FROM metrics WHERE key = 'objective' ORDER BY step"
        assert database.execute(query).fetchall() == [(r.number, r.value) for r in rounds]
        ((run_id, status, name),) = database.execute("SELECT run_uuid, status, name FROM runs")
        params = dict(database.execute("SELECT key, value FROM params"))
        tags = dict(database.execute("SELECT key, value FROM tags"))
    assert (status, name) == ("FINISHED", "one")
    assert (params["method"], params["rounds"]) == ("adam", str(ROUNDS))
    assert tags["detopt.key"] == key_of(folder, "mlflow")
    kept = {path.name for path in (folder.parent / "mlflow-files" / run_id / "artifacts").iterdir()}
    assert kept == {"study.yaml", "result.json", "report.html", "curves.png"}


def wandb_records(path):
    """Pieces in a log of LevelDB's format: blocks, in which records have a head of 7 bytes."""
    data, at, record = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at < len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (WHOLE, LAST):
            yield record
            record = b""


@needs("wandb")
def test_wandb_has_an_offline_run(run):
    from wandb.proto.wandb_internal_pb2 import Record

    folder, rounds = run
    key, found, files, settings = key_of(folder, "wandb"), {}, set(), {}
    logs = sorted((folder / "trackers" / "wandb").glob(f"wandb/offline-run-*/run-{key}.wandb"))
    assert len(logs) == 2
    for data in (one for log in logs for one in wandb_records(log)):
        record = Record()
        record.ParseFromString(data)
        row = {one.key or one.nested_key[0]: one.value_json for one in record.history.item}
        if "objective" in row:
            found[json.loads(row["_step"])] = json.loads(row["objective"])
        files |= {one.path for one in record.files.files}
        settings |= {one.key: one.value_json for one in record.run.config.update}
    assert found == {r.number: r.value for r in rounds}
    assert {"study.yaml", "result.json", "report.html"} <= files
    assert json.loads(settings["method"]) == "adam"


@needs("comet")
def test_comet_has_archives(run):
    folder, rounds = run
    key, found, names = key_of(folder, "comet"), {}, set()
    archives = list((folder / "trackers" / "comet").glob("*.zip"))
    assert len(archives) == 2
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("experiment.json"))
            assert about["offline_id"] == key
            for line in archive.read("messages.json").decode().splitlines():
                payload = json.loads(line)["payload"]
                metric = payload.get("metric") or {}
                if metric.get("metricName") == "objective":
                    found[metric["step"]] = metric["metricValue"]
                more = payload.get("additional_params") or {}
                names |= {more.get("fileName"), more.get("figName")}
    assert found == {r.number: r.value for r in rounds}
    assert {"study.yaml", "result.json", "report.html", "curves.png"} <= names


def test_no_secret_is_written(run):
    """Tools like to note the variables of the environment."""
    folder, _ = run
    files = [path for path in folder.parent.rglob("*") if path.is_file()]
    assert len(files) > len(PACKAGES)
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
