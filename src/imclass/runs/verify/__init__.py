"""Is everything in a run folder whole, and does it agree? Nothing is written, locked or created."""

from pathlib import Path

from imclass.config.check import check_config
from imclass.config.stored import read_settings
from imclass.runs.records import Record, read_provenance, read_summary
from imclass.runs.verify.files import check_files
from imclass.runs.verify.logs import check_logs
from imclass.runs.verify.verdict import Verdict
from imclass.runs.verify.weights import check_weights


def verify_run(path: Path) -> Verdict:
    """Look at everything that the run folder `path` holds, and at everything that it should hold."""
    verdict = Verdict(path)
    settings: Record = verdict.attempt(lambda: read_settings(path), {})
    if settings:
        verdict.attempt(lambda: check_config(settings, to_train=False), None, file="config.yaml")
    verdict.summary = verdict.attempt(lambda: read_summary(path), {})
    _provenance: Record = verdict.attempt(lambda: read_provenance(path), {})
    check_files(verdict, settings)
    logged = check_weights(verdict, settings)
    check_logs(verdict, logged)
    return verdict
