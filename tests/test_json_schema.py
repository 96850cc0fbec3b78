"""imclass schema: what an editor accepts in the YAML files is what the checks accept."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from imclass.commands.schema import schema_text
from imclass.config.groups import config_dir
from imclass.config.json_schema import KINDS, schema_of
from imclass.config.schema import SETTINGS, SWEEP_SETTINGS
from imclass.config.yaml_file import read_yaml

# hydra/ holds settings of Hydra's own
FILES = sorted(f.relative_to(config_dir()) for f in config_dir().rglob("*.yaml") if f.parts[-3] != "hydra")


def problems(kind: str, content: object) -> list[str]:
    return [error.message for error in Draft7Validator(schema_of(kind)).iter_errors(content)]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_every_shipped_file_names_its_schema_and_is_valid(file: Path) -> None:
    lines = (config_dir() / file).read_text().splitlines()
    named = [line.partition("$schema=")[2] for line in lines if line.startswith("# yaml-language-server: ")]
    kind = file.parts[0] if len(file.parts) > 1 else "train"
    assert named == [f"{'../' * (len(file.parts) - 1)}.schema/{kind}.json"]
    assert problems(kind, read_yaml(config_dir() / file) or {}) == []


@pytest.mark.parametrize("kind", KINDS)
def test_the_schemas_that_editors_read_are_those_of_today(kind: str) -> None:
    Draft7Validator.check_schema(schema_of(kind))
    file = config_dir() / f".schema/{kind}.json"
    assert file.read_text() == schema_text(kind), "write them anew: imclass schema --write configs/.schema"


def test_every_setting_is_there_with_its_meaning() -> None:
    whole = schema_of("experiment")
    for key, setting in SETTINGS.items():
        at = whole
        for part in key.split("."):
            at = at["properties"][part]
        assert at["description"].startswith(setting.meaning)
    assert {f"sweep.{name}" for name in schema_of("sweep")["properties"]} == {
        *SWEEP_SETTINGS,
        "sweep.defaults",
    }


ACCEPTED = {
    "train.epochs": [3, 0.5, None, "${train.steps}"],
    "train.eval_every": ["1ep", "500st", " 2 ep "],
    "train.max_time": ["90s", "10min", "2h", None],
    "scheduler.warmup": [0, "0", "15%", "2ep"],
    "device.threads": [1, "auto"],
    "device.channels_last": [True, "auto"],
    "dataset.val_split": [0.1, 500, "test", ["data_batch_5"]],
    "dataset.mean": [[0.5], None],
    "dataset.synthetic.shape": [[3, 32, 32]],
    "augment.crop_scale": [[0.25, 1]],
    "name": ["mine", 7, None],
}
REFUSED = {
    "train.epochs": [0, "three", True, []],
    "train.eval_every": ["1", "10min", 3],
    "train.label_smoothing": [1, -0.1],
    "scheduler.warmup": [3, "10min"],
    "device.threads": [0, "many"],
    "device.precision": ["fp8"],
    "dataset.mean": [[2], []],
    "dataset.synthetic.shape": [[3, 32]],
    "name": [".hidden", "a b"],
    "seed": [-1, 1.5],
    "train.epoch": [3],
}


@pytest.mark.parametrize(("values", "sound"), [(ACCEPTED, True), (REFUSED, False)], ids=["sound", "faulty"])
def test_editors_agree_with_the_checks(values: dict[str, list], sound: bool) -> None:
    for key, candidates in values.items():
        for value in candidates:
            nested: object = value
            for part in reversed(key.split(".")):
                nested = {part: nested}
            assert (problems("experiment", nested) == []) is sound, (key, value)
            if key in SETTINGS and not str(value).startswith("$"):
                assert (SETTINGS[key].check(value)[1] == "") is sound, (key, value)


def test_the_command_prints_one_and_writes_all(imclass, tmp_path: Path) -> None:
    assert json.loads(imclass("schema").out) == schema_of("experiment")
    assert json.loads(imclass("schema", "model").out)["title"] == "imclass: model"
    outcome = imclass("schema", "--write", "mine/schema")
    assert outcome.code == 0
    assert {file.stem for file in (tmp_path / "mine/schema").iterdir()} == set(KINDS)
    code, _, err = imclass("schema", "modle")
    assert (code, err.count("\n")) == (2, 1)
    assert "modle" in err and "model" in err
