"""Study files: what is checked, and that they start the same study again."""

from pathlib import Path

import pytest
import yaml

from detopt.errors import ConfigError, NotFoundError
from detopt.runtime import StudyConfig, load_study, save_study


def test_missing_settings_are_those_that_the_use_case_recommends(case):
    config = StudyConfig.make(case)
    assert (config.rounds, config.events, config.evaluation_events) == (6, 60, 90)
    assert config.method_options == {"learning_rate": 0.2, "max_norm": 4.0}
    assert (config.method, config.seed, config.workers) == ("adam", 0, 1)


def test_given_settings_win(case):
    config = StudyConfig.make(case, rounds=3, seed=7, method_options={"learning_rate": 0.5})
    assert (config.rounds, config.seed) == (3, 7)
    assert config.method_options == {"learning_rate": 0.5, "max_norm": 4.0}


def test_none_means_not_given(case):
    assert StudyConfig.make(case, rounds=None, method=None) == StudyConfig.make(case)


def test_recommended_options_of_another_method_are_left_out(case):
    assert StudyConfig.make(case, method="lbfgsb").method_options == {}


def test_recommended_method_keeps_its_options(case, tmp_path):
    other = tmp_path / "other.py"
    text = Path(case).read_text().replace('"rounds": 6,', '"method": "cma",')
    other.write_text(text.replace('{"learning_rate": 0.2, "max_norm": 4.0}', '{"step": 0.2}'))
    config = StudyConfig.make(str(other))
    assert (config.method, config.method_options) == ("cma", {"step": 0.2})
    assert StudyConfig.make(str(other), method="adam").method_options == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"roundz": 3}, "No setting `roundz` of a study. There are: use_case"),
        ({"rounds": 0}, "`rounds`: .*greater than or equal to 1, got 0"),
        ({"rounds": 2.5}, "`rounds`: .*integer"),
        ({"events": -1}, "`events`: .*got -1"),
        ({"workers": 0}, "`workers`"),
        ({"seed": -1}, "`seed`"),
        ({"evaluation_events": 1}, "`evaluation_events`"),
        ({"method": "adamm"}, r"No method `adamm`\. There are: adam"),
        ({"method_options": 5}, "`method_options`"),
        ({"options": {"gapp": 1.0}}, "`gapp` is no option of .* Did you mean `gap`"),
        ({"options": {"gap": "30 GeV"}}, "`gap`: '30 GeV' has the wrong dimension"),
        ({"options": {"gap": 3.0}}, "`gap`: .*less than 1"),
    ],
)
def test_unusable_setting_is_refused(case, settings, message):
    with pytest.raises(ConfigError, match=message):
        StudyConfig.make(case, **settings)


def test_unknown_use_case_is_refused():
    with pytest.raises(NotFoundError, match="No use case `muon_scaner`"):
        StudyConfig.make("muon_scaner")


def test_config_cannot_be_changed(case):
    with pytest.raises(ValueError, match="frozen"):
        StudyConfig.make(case).rounds = 5


# --- files


def write(path, **data):
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"rounds": 3, "events": 7, "seed": 5, "freeze": ["gap"], "workers": 2},
        {"method": "cma", "method_options": {"population": 6}, "options": {"gap": "20 cm"}},
    ],
)
def test_saved_study_is_loaded_again(case, tmp_path, settings):
    config = StudyConfig.make(case, **settings)
    folder = tmp_path / "run"
    folder.mkdir()
    loaded = load_study(save_study(config, folder), complete=True)
    same = {"use_case": config.use_case}
    assert loaded.model_copy(update=same) == config


def test_saved_study_says_everything(case, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    config = StudyConfig(use_case=case, events=None)  # not what the use case recommends
    assert load_study(save_study(config, folder), complete=True).events is None


def test_folder_of_a_run_holds_copies_of_all_inputs(case, tmp_path):
    (tmp_path / "target.txt").write_text("1 2 3")
    config = StudyConfig.make(case, options={"target": str(tmp_path / "target.txt")})
    folder = tmp_path / "run"
    folder.mkdir()
    data = yaml.safe_load(save_study(config, folder).read_text())
    assert data["use_case"] == "inputs/vector.py"
    assert data["options"]["target"] == "inputs/target.txt"
    moved = folder.rename(tmp_path / "moved")
    (tmp_path / "target.txt").unlink()
    loaded = load_study(moved / "study.yaml", complete=True)
    assert loaded.options["target"] == str(moved / "inputs" / "target.txt")
    assert loaded.use_case == str(moved / "inputs" / "vector.py")


def test_two_inputs_of_one_name_are_refused(case, tmp_path):
    (tmp_path / "vector.py").write_text("1 2 3")
    config = StudyConfig.make(case, options={"target": str(tmp_path / "vector.py")})
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"Two input files are called vector\.py"):
        save_study(config, folder)


def test_paths_are_relative_to_the_file(case, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    (tmp_path / "target.txt").write_text("1 2 3")
    path = write(tmp_path / "s.yaml", use_case="case/vector.py", options={"target": "target.txt"})
    config = load_study(path)
    assert config.options["target"] == str(tmp_path / "target.txt")
    assert config.use_case == case
    assert config.rounds == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("use_case: [", "is no YAML"),
        ("- 1", "must be a mapping with the key `use_case`"),
        ("rounds: 3", "must be a mapping with the key `use_case`"),
        ("", "must be a mapping with the key `use_case`"),
        ("use_case: hump\noptions: 3", "`options` in .* must be a mapping, got 3"),
        ("use_case: hump\nroundz: 3", r"s\.yaml: No setting `roundz`"),
        ("use_case: hump\nrounds: many", r"s\.yaml: `rounds`: .* got 'many'"),
        ("use_case: hump\n1: 2", "No setting `1`"),
    ],
)
def test_file_that_is_no_study_is_refused(tmp_path, text, message):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_study(path)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"Cannot read the study .* No such file"):
        load_study(tmp_path / "none.yaml")


def test_binary_file_is_refused(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="is no YAML"):
        load_study(path)
