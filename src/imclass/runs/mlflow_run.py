"""MLflow."""

import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from imclass.config.setting import show
from imclass.config.urls import without_password
from imclass.runs.locks import locked
from imclass.runs.records import Record
from imclass.runs.trackers import Ids, Tracker
from imclass.runs.wandb_run import figures_of

_STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}
_LONGEST = 500  # characters of a parameter; older servers take no more


class MlflowRun(Tracker):
    """A run in $MLFLOW_EXPERIMENT_NAME, or in the experiment imclass.

    Without MLFLOW_TRACKING_URI, it is recorded in `mlflow.db` beside the run folder, to be looked at with
    `mlflow ui --backend-store-uri sqlite:///outputs/mlflow.db`.
    """

    def __init__(self, folder: Path, ids: Ids, settings: Mapping[str, Any]):
        for name, value in (("DISABLE_TELEMETRY", "true"), ("HTTP_REQUEST_MAX_RETRIES", "1")):
            os.environ.setdefault(f"MLFLOW_{name}", value)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")  # seconds; training waits for it
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.ERROR)  # after its import, which sets another level
        outputs = folder.absolute().parent
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{outputs}/mlflow.db"
        with locked(outputs / ".mlflow.lock", required=False):  # several runs may create the tables at once
            self._client, self.where = MlflowClient(uri), without_password(uri)
            known = self._known(ids["mlflow"])
            self._id = known or self._create(folder, uri)
        if known is None:
            ids["mlflow"] = self._id
        self._client.update_run(self._id, status="RUNNING", name=folder.name)
        run = self._client.get_run(self._id)
        self._sent = {
            (key, metric.step)
            for key in run.data.metrics
            for metric in self._client.get_metric_history(self._id, key)
        }
        self._parameters({k: v for k, v in settings.items() if k not in run.data.params})

    def points(self, records: Iterable[Record]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        new = [
            Metric(key, float(value), now, record["step"])
            for record in records
            for key, value in figures_of(record).items()
            if (key, record["step"]) not in self._sent
        ]
        for part in _parts(new, 500):
            self._client.log_batch(self._id, metrics=part)
            self._sent |= {(metric.key, metric.step) for metric in part}

    def plots(self, files: Iterable[Path], step: int) -> None:
        for file in files:
            self._client.log_artifact(self._id, str(file), "plots")

    def figures(self, figures: Mapping[str, float], step: int) -> None:
        for key, value in figures.items():
            if (key, step) not in self._sent:
                self._client.log_metric(self._id, key, value, step=step)

    def close(self, status: str) -> None:
        self._client.set_terminated(self._id, status=_STATUS.get(status, "FAILED"))

    def _known(self, number: str | None) -> str | None:
        """Return the id of the run that an earlier session has begun, unless it was deleted since."""
        from mlflow.exceptions import MlflowException

        try:
            return number and self._client.get_run(number).info.run_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _create(self, folder: Path, uri: str) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "imclass")
        artifacts = (folder.absolute().parent / "mlartifacts").as_uri() if uri.startswith("sqlite") else None
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name, artifacts)
        return str(self._client.create_run(experiment, run_name=folder.name).info.run_id)

    def _parameters(self, settings: Mapping[str, Any]) -> None:
        """Send the settings; those that MLflow has cannot be changed there."""
        from mlflow.entities import Param

        parameters = [Param(key, show(value)[:_LONGEST]) for key, value in settings.items()]
        for part in _parts(parameters, 100):
            self._client.log_batch(self._id, params=part)


def _parts(entries: list[Any], most: int) -> list[list[Any]]:
    """Return what one request takes, for each."""
    return [entries[start : start + most] for start in range(0, len(entries), most)]
