"""The training loop."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from imclass.config.plan import Plan
from imclass.data.loader import TrainLoader
from imclass.errors import Diverged, Interrupted, UserError
from imclass.evaluation.metrics import Meter, Result
from imclass.machine.signals import StopFlag
from imclass.runs.checkpoint import Checkpointer, State
from imclass.runs.logger import RunLogger
from imclass.runs.weights import load_weights
from imclass.training.divergence import DivergenceWatch, all_finite, diverged
from imclass.training.gradients import backward_within_memory, settle_gradients
from imclass.training.learner import Learner
from imclass.training.progress import Progress, Stopwatch


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
        header: Mapping[str, Any],  # of every checkpoint: how its numbers were computed
        about: Mapping[str, Any],  # in every checkpoint: what is needed to use it without the run
        stop: StopFlag,
    ):
        self.learner, self.loader, self.evaluate, self.plan = learner, loader, evaluate, plan
        self.logger, self.checkpointer, self.header, self.about = logger, checkpointer, header, about
        self.stop = stop
        device, self.processes = learner.device, learner.device.processes
        self.scaler = device.grad_scaler()
        self.meter = Meter(device.device, self.processes)
        self.watch = DivergenceWatch(device.device, self.processes)
        self.grad_norm: Tensor = torch.zeros((), device=device.device)
        self.progress = Progress(micro_batch=device.micro_batch or loader.batch_size)
        self.stopwatch = Stopwatch()

    @property
    def epoch(self) -> float:
        return self.progress.step / self.loader.steps_per_epoch

    @property
    def done(self) -> bool:
        return self.progress.step >= self.plan.steps or bool(self.progress.stopped)

    def fit(self) -> None:
        """Train to the end of the plan, or until a budget, patience, a signal or a NaN ends it.

        Raises Interrupted after saving, and Diverged with the last finite checkpoint kept.
        """
        self.learner.model.train()
        settle_gradients(self.learner, lambda: self._gradients(*self.loader.batch(self.progress.step)))
        self.stopwatch.start()
        if self.progress.evaluating:  # the evaluation that was interrupted
            self.end_step()
        while not self.done:
            self.run_epoch()

    def run_epoch(self) -> None:
        """Train to the end of the running epoch, or of the training."""
        size = self.loader.steps_per_epoch
        epoch, done = divmod(self.progress.step, size)
        self.logger.console.start_epoch(f"epoch {epoch + 1}", min(size, self.plan.steps - epoch * size), done)
        try:
            while not self.done and self.progress.step < (epoch + 1) * size:
                self.train_step()
                self.after_step()
        finally:
            self.logger.console.end_epoch()

    def train_step(self) -> None:
        """Take one optimizer step on the batch of this step."""
        step, learner = self.progress.step, self.learner
        images, targets = self.loader.batch(step)
        learner.schedule.apply(learner.optimizer, step)
        loss, logits = self._gradients(images, targets)
        self.meter.update(loss * (learner.batch_size / self.processes.size), logits, targets)
        self.scaler.unscale_(learner.optimizer)
        self.grad_norm = nn.utils.clip_grad_norm_(learner.model.parameters(), self.plan.max_norm)
        self.scaler.step(learner.optimizer)
        self.scaler.update()
        learner.ema.update()
        self.watch.observe(step, loss)
        self.progress.step += 1

    def after_step(self) -> None:
        """Log, evaluate and save where it is due; look at the clock and at signals."""
        step, plan, progress = self.progress.step, self.plan, self.progress
        if not self.done and self._passed(plan.max_seconds, self.stopwatch.total):
            progress.stopped = "train.max_time was reached"
        progress.evaluating = self.done or step % plan.eval_every == 0
        if self.logger.console.advance():
            self._show_progress()
        if progress.evaluating or step % plan.log_every == 0:
            self._log_training()
        self.end_step()

    def end_step(self) -> None:
        """Evaluate and save where it is due. Raises Interrupted, after saving, when asked to stop."""
        step, due = self.progress.step, self.progress.evaluating
        try:
            if due:
                self._validate()
        except Interrupted as error:
            self.save()
            raise Interrupted(f"{str(error).split(';')[0]} in the evaluation at step {step}") from error
        asked = self.stop.asked()  # looked at once: a signal that comes later waits for the next step
        late = self._passed(self.plan.save_seconds, self.stopwatch.since_save)
        if due or asked or late or self.plan.save_is_due(step):
            self.save()
        if asked:
            raise Interrupted(f"stopped by {asked} at step {step}")

    def save(self) -> None:
        """Write the checkpoint from which this exact state is reached again; never one that is not finite."""
        self._raise_if_diverged()
        self.stopwatch.book("train")
        self.checkpointer.save_last(self.state_dict(), {**self.header, "step": self.progress.step})
        self.stopwatch.saved()

    def state_dict(self) -> State:
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        progress, logger = dataclasses.asdict(self.progress), self.logger.state_dict()
        return {**parts, "progress": progress, "logger": logger, "about": dict(self.about)}

    def load_state_dict(self, state: State) -> None:
        """Go back to where `state_dict` was taken; the logger is built at its position already."""
        parts = self._parts()
        if missing := sorted(parts.keys() - state.keys()):
            raise UserError(
                f"{self.checkpointer.last}: has no {', '.join(missing)}; was it written by imclass?"
            )
        load_weights(self.learner.model, state["model"], source=str(self.checkpointer.last))
        for name in parts.keys() - {"model"}:
            if state[name]:  # empty: the component had nothing to remember
                parts[name].load_state_dict(state[name])
        self.progress = Progress(**state["progress"])
        if self.learner.device.micro_batch is not None:
            self.progress.micro_batch = self.learner.device.micro_batch

    def _parts(self) -> dict[str, Any]:
        learner = self.learner
        return {
            "model": learner.model,
            "optimizer": learner.optimizer,
            "schedule": learner.schedule,
            "ema": learner.ema,
            "scaler": self.scaler,
            "meter": self.meter,
            "stopwatch": self.stopwatch,
        }

    def _passed(self, limit: float | None, seconds: float) -> bool:
        """Tell whether the limit is reached on any of the processes: their clocks differ."""
        return limit is not None and bool(self.processes.all_reduce_max(seconds >= limit)[0])

    def _gradients(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Leave the batch's gradients in the model; return its loss and logits."""
        tell = self.logger.console.line
        return backward_within_memory(self.learner, self.progress, self.scaler, images, targets, tell)

    def _show_progress(self) -> None:
        """Show the figures of this process's images: the others do not know that they are wanted."""
        result = self.meter.compute_own()
        name = f"epoch {self.epoch:.2f}, step {self.progress.step} of {self.plan.steps}"
        rate = self.processes.size * result.images / self.stopwatch.since_log
        self.logger.console.progress(name, result.figures, rate)

    def _log_training(self) -> None:
        """Write the means since the last point, and start new ones."""
        result = self.meter.compute()
        extra = {
            "lr": self.learner.optimizer.param_groups[0]["lr"],
            "images_per_second": result.images / self.stopwatch.since_log,
            "grad_norm": float(self.grad_norm),
        }
        self.stopwatch.logged()
        self.logger.train(self.progress.step, self.epoch, result.figures, result.images, **extra)
        self.meter.reset()
        self._raise_if_diverged()

    def _raise_if_diverged(self) -> None:
        """Raise Diverged when a loss or a weight is not finite, naming what is needed to replay it."""
        step = self.watch.first_step
        if step is None:
            tensors = self.learner.ema.module.state_dict().values()
            if all_finite(t for t in (*self.learner.model.parameters(), *tensors) if t.is_floating_point()):
                return
            step = self.progress.step - 1
        rate = self.learner.optimizer.param_groups[0]["initial_lr"] * self.learner.schedule.factor(step)
        raise diverged(step, self.loader.steps_per_epoch, rate, self.checkpointer.last.parent)

    def _validate(self) -> None:
        """Evaluate on the validation split, and keep the model if it is the best so far."""
        self.stopwatch.book("train")
        result = self.evaluate(self.learner.ema.module)
        self.stopwatch.book("evaluate")
        self._raise_if_diverged()
        if not result.is_finite:
            raise Diverged(
                f"the validation loss is not finite at step {self.progress.step}; nothing was saved"
            )
        row = self.logger.evaluated("val", self.progress.step, self.epoch, result.figures, result.images)
        improved = self.progress.record(result, self.epoch, self.plan.metric)
        self.progress.evaluating = False
        self.learner.schedule.observe(improved)
        if improved:
            state = {"model": self.learner.ema.module.state_dict(), "about": dict(self.about)}
            self.checkpointer.save_best(state, {**self.header, **self.progress.best})
        if self.plan.patience is not None and self.progress.waited >= self.plan.patience and not self.done:
            self.progress.stopped = f"no better model in {self.plan.patience} evaluations"
        trained = "" if row["train_loss"] is None else f"training loss {row['train_loss']:.4f}  "
        mark = ", the best so far" if improved else ""
        self.logger.console.status(
            f"epoch {self.epoch:6.2f}  step {self.progress.step:6d}  {trained}validation {result}{mark}"
        )
