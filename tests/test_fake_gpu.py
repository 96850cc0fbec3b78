"""A step, an evaluation and a save of each model, with fake tensors on a GPU: none is left on another device.

No copy to the GPU waits, either. Fake tensors have shapes, types and devices, but no values, and need no GPU.
Unlike those on the meta device of test_no_synchronisation.py, they follow CUDA: fused optimizers, copies to
the CPU. Autograd alone asks the driver for a device ("hasPrimaryContext expects a valid device index"), so
gradients are made up.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_no_synchronisation import MODELS, OPTIMIZERS, config_of, fp32_on, train, trainer_of
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import imclass.models
from imclass.data.loader import EvalLoader, Images
from imclass.evaluation.evaluate import evaluate
from imclass.evaluation.metrics import Meter, Result
from imclass.machine.device import Device
from imclass.runs.checkpointer import Checkpointer
from imclass.training.build import build_data
from imclass.training.class_weights import class_weights, times_drawn
from imclass.training.losses import FocalLoss
from imclass.training.start import build_network

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
CUDA = fp32_on("cuda:0")
OTHERS = "densenet121", *sorted(imclass.models.MODELS.keys() - {*MODELS})  # of seconds each
COUNTERS = "step", "n_averaged"  # torch keeps them on the CPU, where it reads them at each step


class Copies(TorchDispatchMode):
    """Notes each copy to the GPU that would wait for it: blocking, or from memory that is not pinned."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: list[Tensor] = []
        self.waiting: list[str] = []

    def pin(self, tensor: Tensor) -> Tensor:
        """Stand for `Tensor.pin_memory`, which needs a driver."""
        self.pinned.append(tensor.clone())
        return self.pinned[-1]

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.name()
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if name == "aten::copy_" else args[0]
            blocking = not (args[2:] or [(kwargs or {}).get("non_blocking", False)])[0]
            waits = blocking or not any(source is one for one in self.pinned)
            if (source.device.type, result.device.type, waits) == ("cpu", "cuda", True):
                self.waiting.append(f"{name} of {source}")
        return result


def devices(tree: Any) -> set[str]:
    """Return the devices of all tensors in a tree of dicts and lists."""
    if isinstance(tree, Tensor):
        return {tree.device.type}
    if isinstance(tree, dict):
        tree = [part for name, part in tree.items() if name not in COUNTERS]
    parts = tree if isinstance(tree, list | tuple) else ()
    return {device for part in parts for device in devices(part)}


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The checkpoints that would be written, by their names. What needs values or a driver is replaced."""
    files: dict[str, Any] = {}
    write = lambda path, state, *_: files.__setitem__(path.name, state)  # noqa: E731
    monkeypatch.setattr("imclass.runs.checkpointer.write_checkpoint", write)
    monkeypatch.setattr(Meter, "compute", lambda meter: Result(1.0, 0.5, len(meter.sums)))
    monkeypatch.setattr(Device, "fits", lambda device, size: True)
    plain = torch.optim.SGD  # its fused kernel has no fake one
    sgd = lambda *args, fused=False, **more: plain(*args, **more)  # noqa: E731
    monkeypatch.setattr(torch.optim, "SGD", sgd)
    to = nn.Module.to  # fake weights can be moved once
    monkeypatch.setattr(nn.Module, "to", lambda m, *a, **k: m if "memory_format" in k else to(m, *a, **k))
    return files


def step_evaluate_and_save(folder: Path, monkeypatch: pytest.MonkeyPatch, **choices: Any) -> list[str]:
    """Return the copies in two steps and an evaluation that would wait for the GPU."""
    copies = Copies()
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: copies.pin(tensor))
    config = config_of(augment="photo", class_weights="auto", **choices)
    data = build_data(config)
    network, weights = build_network(config, data, resumed=True), class_weights(config, data)
    drawn = times_drawn(config, data)
    monkeypatch.setattr("imclass.training.build.build_network", lambda *_, **__: network)
    monkeypatch.setattr("imclass.training.build.class_weights", lambda *_: weights)
    monkeypatch.setattr("imclass.training.build.times_drawn", lambda *_: drawn)
    with FakeTensorMode(allow_non_fake_inputs=True):
        trainer = trainer_of(config, data, CUDA)
        trained = trainer.learner.model

        def backward(loss: Tensor) -> None:
            for parameter in trained.parameters():
                parameter.grad = torch.zeros_like(parameter)

        monkeypatch.setattr(Tensor, "backward", backward)
        val = EvalLoader(Images(data.val, CUDA, data.shape[1:], data.mean, data.std), batch_size=12)
        with copies:
            train(trainer)
            evaluate(trainer.learner.ema.module, val, CUDA)
        checkpointer = Checkpointer(folder)
        checkpointer.keep_best(trainer.learner.ema.module.state_dict(), {})
        trainer.logger, trainer.grad_norm = SimpleNamespace(state_dict=dict), None
        checkpointer.save_last(trainer.state_dict(), {"step": 2})
    return copies.waiting


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        *((model, "sgd") for model in MODELS if model not in OTHERS),
        *(("lenet", optimizer) for optimizer in OPTIMIZERS),
        *(pytest.param(model, "sgd", marks=pytest.mark.soak) for model in OTHERS),
    ],
)
def test_nothing_is_left_on_the_cpu(
    saved: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, optimizer: str
) -> None:
    side = 64 if model in OTHERS else 32  # pixels: some need them
    assert step_evaluate_and_save(tmp_path, monkeypatch, model=model, optimizer=optimizer, side=side) == []
    assert devices(saved["best.pt"]) == {"cpu"}
    last = saved["last.pt"]
    assert {name for name, part in last.items() if devices(part)} == {"model", "optimizer", "ema", "meter"}
    assert devices(last) == {"cuda"}


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("resident", [True, False])
def test_no_copy_of_a_batch_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resident: bool) -> None:
    monkeypatch.setattr(Device, "fits", lambda device, size: resident)
    lower = ["16:25%", "24:50%"]
    assert step_evaluate_and_save(tmp_path, monkeypatch, resolutions=lower) == []


@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("copy", [Tensor.to, lambda tensor, device: tensor.pin_memory().to(device)])
def test_a_copy_that_waits_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy: Callable[[Tensor, torch.device], Tensor]
) -> None:
    monkeypatch.setattr("imclass.data.loader.copy_to", copy)
    assert any("aten::_to_copy of" in copy for copy in step_evaluate_and_save(tmp_path, monkeypatch))


@pytest.mark.usefixtures("saved")
def test_a_loss_that_is_not_moved_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FocalLoss, "to", lambda loss, *_: loss)
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        step_evaluate_and_save(tmp_path, monkeypatch)
