"""The training loop."""

import dataclasses
import math
import signal
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from imclass.config.plan import Plan
from imclass.data.loader import TrainLoader
from imclass.errors import Diverged, Interrupted
from imclass.evaluation.metrics import Meter, Result
from imclass.machine.core_watch import CoreWatch
from imclass.machine.signals import STOP
from imclass.runs.checkpoint import State
from imclass.runs.checkpointer import Checkpointer
from imclass.runs.logger import RunLogger
from imclass.training.divergence import CollapseWatch, DivergenceWatch, all_finite, diverged
from imclass.training.progress import Progress, Stopwatch
from imclass.training.step import Learner


class Trainer:
    """Fits a model: steps, evaluations, checkpoints. Built by `build.py`, run by `train.py`."""

    def __init__(
        self,
        learner: Learner,
        loader: TrainLoader,
        evaluate: Callable[[nn.Module], Result],
        plan: Plan,
        *,
        logger: RunLogger,
        checkpointer: Checkpointer,
    ):
        self.learner, self.loader, self.evaluate, self.plan = learner, loader, evaluate, plan
        self.logger, self.checkpointer = logger, checkpointer
        self.processes, device = learner.device.processes, learner.device.device
        self.meter = Meter(device, self.processes)
        self.watch = DivergenceWatch(device, self.processes)
        self.collapse = CollapseWatch(learner.guessing, loader.steps_per_epoch * loader.batch_size)
        self.grad_norm: Tensor | float | None = None  # of the last step, where it was measured
        self.progress = Progress()
        self.stopwatch = Stopwatch()
        self.cores = CoreWatch(learner.device)

    @property
    def epoch(self) -> float:
        return self.progress.step / self.loader.steps_per_epoch

    @property
    def done(self) -> bool:
        return self.progress.step >= self.plan.steps or bool(self.progress.stopped)

    @property
    def evaluation_due(self) -> bool:
        """True from the step that an evaluation follows until that evaluation has ended."""
        step = self.progress.step
        return self.progress.evaluated < step and (self.done or step % self.plan.eval_every == 0)

    def fit(self) -> None:
        """Train to the end of the plan, or until a time limit, patience, a signal or a NaN ends it.

        Raises Interrupted after saving, and Diverged with the last finite checkpoint kept.
        """
        self.learner.model.train()
        step = self.progress.step
        self.learner.settle_buckets(*self.loader.batch(step, self.plan.side(step)), step)
        self.stopwatch.start()
        while not self.done or self.evaluation_due:
            if self.evaluation_due:  # also one that was interrupted
                self.validate()
            else:
                self.train_step()
                self.log_if_due()
            self.save_if_due()  # raises Interrupted after saving

    def train_step(self) -> None:
        """Take one optimizer step on the batch of this step."""
        step, learner = self.progress.step, self.learner
        images, targets = self.loader.batch(step, self.plan.side(step))
        learner.schedule.apply(learner.optimizer, step)
        loss, logits = learner.backward(images, targets, step)
        self.grad_norm = learner.step(self.plan.max_norm, measured=self.plan.logs(step + 1))
        self.meter.update(loss * (learner.batch_size / self.processes.size), logits, targets)
        self.watch.observe(step, loss)
        self.progress.step += 1

    def log_if_due(self) -> None:
        """Refresh the progress bar, and log the training where it is due."""
        step, console = self.progress.step, self.logger.console
        if console.advance(step, self.loader.steps_per_epoch, self.plan.steps):
            result = self.meter.compute_own()  # other ranks do not know that figures are wanted
            rate = self.processes.size * result.images / self.stopwatch.since_log
            name = f"epoch {self.epoch:.2f}, step {step} of {self.plan.steps}"
            console.progress(name, result.figures, rate)
        if step % self.plan.log_every == 0:
            self.log_training()

    def log_training(self) -> None:
        """Log the means since the last point, if there were steps since, and start new ones."""
        result = self.meter.compute()
        if not result.images:
            return
        lr, rate = self.learner.optimizer.param_groups[0]["lr"], result.images / self.stopwatch.since_log
        extra = {"lr": lr, "images_per_second": rate, **self._norm()}
        self.stopwatch.logged()
        self.logger.train(self.progress.step, self.epoch, result.figures, result.images, **extra)
        self.meter.reset()
        self.cores.check(self.logger.console.warn)
        self._raise_if_diverged(self.watch.first_step)
        if warning := self.collapse.observe(result.loss, result.images):
            best = self.progress.best
            kept = f"; the best model so far, of epoch {best['epoch']:.4g}, is kept" if best else ""
            self.logger.console.warn(warning + kept)

    def validate(self) -> None:
        """Evaluate on the validation split, and keep the model if it is the best so far.

        A signal ends the evaluation, which stays due.
        """
        self.log_training()
        self._require_finite_weights()
        self.stopwatch.book("train")
        try:
            result = self.evaluate(self.learner.ema.module)
        except Interrupted:  # `save_if_due` saves, then raises it
            return
        finally:
            self.stopwatch.book("evaluate")
        step, progress = self.progress.step, self.progress
        if not result.is_finite:
            raise Diverged(f"the validation loss is not finite at step {step}; nothing was saved")
        train_loss = self.logger.evaluated("val", step, self.epoch, result.figures, result.images)
        improved = progress.record(result.figures, self.epoch, self.plan.metric)
        self.learner.schedule.observe(improved)
        if improved:
            self.checkpointer.keep_best(self.learner.ema.module.state_dict(), progress.best)
        if self.plan.patience is not None and progress.waited >= self.plan.patience and not self.done:
            progress.stopped = f"no better model in {self.plan.patience} evaluations"
        trained = "" if train_loss is None else f"train loss {train_loss:.4f}  "
        found = result.text(self.plan.metric) + (", best" if improved else "")
        text = f"epoch {self.epoch:.2f}  step {step}  {trained}val {found}"
        number = math.ceil(step / self.plan.eval_every)
        self.logger.console.status(text, number, self.plan.evaluations, is_last=self.done)

    def save_if_due(self) -> None:
        """Save where the plan asks for it, at the end, and when any rank was asked to stop.

        Signals and clocks differ between ranks: one collective a step agrees on them; only rank 0 knows what
        a save takes. Raises Interrupted.
        """
        plan, watch = self.plan, self.stopwatch
        step, evaluated = self.progress.step, self.progress.evaluated == self.progress.step
        over = int(plan.max_seconds is not None and watch.total >= plan.max_seconds)
        due = int(self.processes.is_first and watch.save_is_due(plan, step, evaluated=evaluated))
        asked, over, due = self.processes.all_reduce_max(STOP.number, over, due)
        if over and not self.done:
            self.progress.stopped = "train.max_time was reached"
        is_last_save = bool(asked) or (self.done and not self.evaluation_due)
        if is_last_save or (due and not self.evaluation_due):
            self.save(final=is_last_save)
        if asked:
            where = ", before its evaluation" if self.evaluation_due else ""
            raise Interrupted(f"stopped by {signal.Signals(asked).name} at step {step}{where}")

    def save(self, *, final: bool = False) -> None:
        """Write the checkpoint from which this exact state is reached again; never one that is not finite.

        final: whether the run ends here, so that a failed write cannot be tried again. Raises StorageError.
        """
        if self.progress.evaluated < self.progress.step:  # else `validate` has looked at these weights
            self._require_finite_weights()
        self.stopwatch.book("train")
        with self.stopwatch.saving():
            self.checkpointer.save_last(self.state_dict(), {"step": self.progress.step}, final=final)

    def summary(self) -> dict[str, Any]:
        """Return where the training stands, as the parts of summary.json that it knows."""
        progress, watch = self.progress, self.stopwatch
        images = progress.step * self.loader.batch_size
        return {
            "step": progress.step,
            "epoch": round(self.epoch, 6),
            "best": progress.best or None,
            "val": progress.val or None,
            "seconds": {"train": watch.train, "evaluate": watch.evaluate},
            "images_per_second": images / watch.train if watch.train else None,
            "parameters": sum(p.numel() for p in self.learner.model.parameters()),
            "stopped": progress.stopped or None,
        }

    def state_dict(self) -> State:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        micro_batch = {"micro_batch": self.learner.micro_batch}
        progress = {**micro_batch, **self._norm(), **dataclasses.asdict(self.progress)}
        return {**parts, "progress": progress, "logger": self.logger.state_dict()}

    def load_state_dict(self, state: State, *, lengthened: bool = False) -> None:
        """Go back to where `state_dict` was taken; the logger is built at its position already.

        state: checked by `saved_state.py`. lengthened: train on where that training had ended.
        """
        for name, part in self._parts().items():
            if state[name]:  # empty: the component had nothing to remember
                part.load_state_dict(state[name])
        progress = dict(state["progress"])
        micro_batch = progress.pop("micro_batch")
        self.grad_norm = progress.pop("grad_norm", None)  # a log point may be due
        self.learner.micro_batch = self.learner.device.micro_batch or micro_batch
        self.progress = Progress.of(progress)
        if lengthened:
            self.progress.stopped = ""
        for point in self.logger.metrics.records:
            if point["split"] == "train" and point["loss"] is not None:
                self.collapse.observe(point["loss"], point["images"])

    def _norm(self) -> dict[str, float]:
        return {} if self.grad_norm is None else {"grad_norm": float(self.grad_norm)}

    def _parts(self) -> dict[str, Any]:
        learner = self.learner
        return {
            "model": learner.model,
            "optimizer": learner.optimizer,
            "schedule": learner.schedule,
            "ema": learner.ema,
            "scaler": learner.scaler,
            "meter": self.meter,
            "stopwatch": self.stopwatch,
        }

    def _require_finite_weights(self) -> None:
        """Raise Diverged when a loss or a weight is not finite; the step is the first with such a loss."""
        step = self.watch.first_step
        if step is None:
            average = self.learner.ema.module.state_dict().values()
            tensors = (t for t in (*self.learner.model.parameters(), *average) if t.is_floating_point())
            step = None if all_finite(tensors) else self.progress.step - 1
        self._raise_if_diverged(step)

    def _raise_if_diverged(self, step: int | None) -> None:
        """Raise Diverged with what is needed to replay `step`, unless it is None."""
        if step is not None:
            rate = self.learner.optimizer.param_groups[0]["initial_lr"] * self.learner.schedule.factor(step)
            raise diverged(step, self.loader.steps_per_epoch, rate, self.checkpointer.last_saved_step)
