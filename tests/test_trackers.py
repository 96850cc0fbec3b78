"""Weights & Biases and MLflow, offline: a run that was killed has every point once in both."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from test_cli import run_python

from imclass.commands.selftest.points import At
from imclass.commands.selftest.trainings import finish, overrides
from imclass.config.trackers import _is_installed
from imclass.runs.same_run import differences
from imclass.runs.trackers import Ids, Tracked, Tracker

WITHOUT_ACCOUNT = (
    "WANDB_API_KEY",
    "WANDB_MODE",
    "WANDB_PROJECT",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
)
CLOCK = "images_per_second"  # differs where steps are taken again


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    for name in WITHOUT_ACCOUNT:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "outputs"


def expected(run: Path) -> Counter[tuple[str, int, float]]:
    """Return (name, step, value) of each point in metrics.jsonl."""
    points: Counter[tuple[str, int, float]] = Counter()
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        position = ("step", "epoch", "split", "images", CLOCK)
        points.update(
            (f"{record['split']}/{k}", record["step"], v) for k, v in record.items() if k not in position
        )
    return points


def wandb_records(file: Path) -> list[Any]:
    """Return the records of an offline session: a LevelDB log of protobuf messages, after 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, parts, found = file.read_bytes(), 7, b"", []
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # what is left of a block
            position += 32768 - position % 32768
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(Record.FromString(parts))
            parts = b""
    return found


def wandb_points(run: Path) -> tuple[Counter[tuple[str, int, float]], Any]:
    """Return the points of the offline sessions of a run, and its id."""
    points: Counter[tuple[str, int, float]] = Counter()
    (file,) = run.glob("wandb/offline-run-*/*.wandb")
    found = wandb_records(file)
    for record in found:
        items = {(i.nested_key or [i.key])[0]: json.loads(i.value_json) for i in record.history.item}
        for key, value in items.items():
            if _is_point(key):
                points[key, items["_step"], value] += 1
    (number,) = {record.run.run_id for record in found if record.run.run_id}
    return points, number


def mlflow_run(outputs: Path) -> tuple[Counter[tuple[str, int, float]], Any]:
    """Return the points of the only run in mlflow.db, and the run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = [e for e in client.search_experiments() if e.name == "imclass"]
    (run,) = client.search_runs([experiment.experiment_id])
    metrics = [m for key in run.data.metrics for m in client.get_metric_history(run.info.run_id, key)]
    return Counter((m.key, m.step, m.value) for m in metrics if _is_point(m.key)), run


def _is_point(key: str) -> bool:
    return key.partition("/")[0] in ("train", "val", "test") and not key.endswith(CLOCK)


def test_wandb_has_every_point_once_after_a_kill(here: Path) -> None:
    pytest.importorskip("wandb", reason="needs wandb: pip install 'imclass[wandb]'")
    more = ("logger.wandb=true",)
    finish(overrides("run", *more), At("in a step", 15), code=-signal.SIGKILL)
    first = json.loads((here / "run/trackers.json").read_text())["wandb"]
    finish(overrides("run", *more))
    points, number = wandb_points(here / "run")
    assert points == expected(here / "run")
    assert number == first
    assert "wandb    offline; to upload: wandb sync " in (here / "run/train.log").read_text()
    finish(overrides("whole"))
    assert differences(here / "run", here / "whole") == []


@pytest.mark.filterwarnings("ignore")  # of MLflow, about itself
def test_mlflow_has_every_point_once_after_a_kill(here: Path) -> None:
    pytest.importorskip("mlflow", reason="needs mlflow: pip install 'imclass[mlflow]'")
    more = ("logger.mlflow=true",)
    finish(overrides("run", *more), At("in a step", 15), code=-signal.SIGKILL)
    finish(overrides("run", *more))
    points, run = mlflow_run(here)
    assert points == expected(here / "run")
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    summary = json.loads((here / "run/summary.json").read_text())
    assert run.data.metrics["test.accuracy"] == summary["test"]["accuracy"]
    assert run.data.params["train.batch_size"] == "8"


class Flaky(Tracker):
    """A service that answers from the second time on."""

    where = "here"

    def __init__(self) -> None:
        self.calls, self.sent = 0, list[Any]()

    def points(self, records: Any) -> None:
        self.calls += 1
        if self.calls < 2:
            raise ConnectionError("no route\nto host")
        self.sent += records

    def plots(self, files: Any, step: int) -> None:
        raise ValueError("too large")

    def figures(self, figures: Any, step: int) -> None:
        self.sent.append(figures)

    def close(self, status: str) -> None:
        self.sent.append(status)


def test_a_service_that_fails_is_one_warning_and_gets_all_later() -> None:
    service, warnings = Flaky(), list[str]()
    points = [{"step": step, "split": "val"} for step in range(4)]
    tracked = Tracked("flaky", lambda: service, points[:2], warnings.append)
    tracked.add(points[2])
    tracked.add(points[3])
    tracked.result({"a": 1.0}, [], 4)
    tracked.close("finished")
    assert service.sent == [*points, {"a": 1.0}, "finished"]
    assert warnings == ["flaky: no route; training continues; it is sent again later"]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_package_names_the_extra(imclass, tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in ("train", "check"):
        outcome = imclass(command, f"logger.{name}=true")
        message = f"imclass: logger.{name}=true: needs {name}: pip install 'imclass[{name}]'\n"
        assert (outcome.code, outcome.err) == (2, message)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_imported_unless_asked() -> None:
    code = "import sys, imclass.runs.trackers; print({'wandb', 'mlflow', 'torch'} & sys.modules.keys())"
    assert run_python(code) == "set()"


def test_ids_that_are_damaged_count_as_none(tmp_path: Path) -> None:
    Ids(tmp_path)["wandb"] = "abc"
    assert Ids(tmp_path)["wandb"] == "abc"
    for text in ("", "[1]", '{"wandb": "../x"}', '{"wandb": 3.5}'):
        (tmp_path / "trackers.json").write_text(text)
        assert Ids(tmp_path)["wandb"] is None


def test_a_warning_names_no_password() -> None:
    warnings: list[str] = []

    def refuse() -> Tracker:
        raise ConnectionError("no answer from https://me:s3cret@host/api and https://TOKEN@host/api")

    Tracked("mlflow", refuse, [], warnings.append)
    (warning,) = warnings
    assert warning.startswith("mlflow: no answer from https://host/api and https://host/api; training")


def test_a_folder_of_its_name_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb_runs").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not _is_installed("wandb_runs")
    assert _is_installed("json")


def test_a_service_that_does_not_answer_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = [0.0], list[float]()
    monkeypatch.setattr("imclass.runs.trackers.time.monotonic", lambda: clock[0])

    def refuse() -> Tracker:
        asked.append(clock[0])
        raise TimeoutError("no answer")

    tracked = Tracked("mlflow", refuse, [], lambda warning: None)
    for second in range(1, 100):
        clock[0] = second
        tracked.add({"step": second, "split": "val"})
    assert asked == [0, 21, 62]
