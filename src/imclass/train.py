"""Train a model: the whole program.

imclass train [group=choice ...] [key=value ...], or python -m imclass.train [the same]
"""

import sys

from imclass.config import Config


def train(config: Config) -> None:
    """Train, pick the best model on validation data, read the test set once; one run folder comes out.

    Raises UserError, Diverged, Interrupted, StorageError.
    """
    from imclass.build import build_job
    from imclass.finish import begin, conclude, record_failure, repeat_last_block
    from imclass.rundir import open_run
    from imclass.signals import catch_signals

    run = open_run(config)
    if run.finished:
        repeat_last_block(run)
        return
    job = build_job(run)
    with catch_signals(job.trainer.stop), record_failure(job):
        begin(job)
        job.trainer.fit()
        conclude(job)


if __name__ == "__main__":
    from imclass.compose import run_hydra
    from imclass.errors import exit_code_of

    argv = sys.argv[1:]
    sys.exit(exit_code_of(lambda: run_hydra(train, "train", argv), debug="debug=true" in argv))
