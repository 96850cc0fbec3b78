"""A trained model, opened from its run folder: nothing about model, data or preprocessing is typed again."""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from imclass.checkpoint import DamagedCheckpoint, State, read_checkpoint, read_header, read_model_weights
from imclass.checks import check_config
from imclass.config import Config, DeviceConfig
from imclass.data.base import Split
from imclass.data.loader import EvalLoader, Images
from imclass.data.pictures import split_of_class_folders
from imclass.data.prepared import Data, prepare_data
from imclass.device import Device, resolve_device
from imclass.errors import UserError
from imclass.models import build_model
from imclass.models.weights import load_weights


@dataclass(frozen=True, slots=True)
class Trained:
    """A model in evaluation mode on its device, and how its images are prepared."""

    path: Path
    config: Config
    model: nn.Module
    device: Device
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # channels, height, width of the images as the network sees them
    mean: list[float]  # per channel, on a scale of 0 to 1
    std: list[float]
    header: Mapping[str, Any]  # of the checkpoint: how its numbers were computed

    def loader(self, split: Split) -> EvalLoader:
        """Return the batches that validation made of such a split."""
        images = Images(split, self.device, self.shape[1], self.mean, self.std)
        return EvalLoader(images, self.device.micro_batch or self.config.train.batch_size)

    def data(self, root: str | None = None) -> Data:
        """Return the data that the run was trained on, found below `root` or where data sets usually lie.

        A warning on stderr says when the images are others.
        """
        dataset = self.config.dataset
        dataset = dataclasses.replace(dataset, mean=self.mean, std=self.std, root=root or dataset.root)
        data = prepare_data(dataset, self.config.seed)
        if data.dataset.fingerprint != self.header["data_fingerprint"]:
            print("imclass: warning: these images are not those that the run was trained on", file=sys.stderr)
        return data

    def split(self, name: str, root: str | None = None) -> Split:
        """Return train, val or test: of the run's own data, or of the class folders below `root`.

        Raises UserError when there are no such data, or they have other classes than the model.
        """
        if root is not None:
            if not Path(root).expanduser().is_dir():
                raise UserError(f"--data {root}: no such folder")
            folders = split_of_class_folders(root, name, self.classes, self.config.dataset, self.shape)
            if folders is not None:
                return folders
        splits = self.data(root).splits
        return {"train": splits.train, "val": splits.val, "test": splits.test}[name]


def find_run(text: str) -> Path:
    """Return the run folder that `text` names: a path, or a name below `outputs/`. Raises UserError."""
    for path in (Path(text), Path("outputs") / text):
        if (path / "config.yaml").is_file():
            return path
    raise UserError(f"{text}: no run folder here or in outputs/; expected a folder with a config.yaml")


def open_trained(path: Path, weights: str = "best") -> Trained:
    """Build the model of a run and load its weights.

    weights: best, last, or a file that `read_model_weights` reads. It runs on the kind of device, and in the
    precision, that it was trained in, if this machine has it; else on what `auto` chooses.
    Raises UserError for a folder without checkpoints, a damaged file, and weights that do not fit.
    """
    state, header = _checkpoint(path, weights)
    about = state["about"]
    settings: Any = OmegaConf.to_container(OmegaConf.create(about["config"]))  # as data: nothing is resolved
    config = check_config(settings, to_train=False)
    channels, height, width = about["shape"]
    device = _device(config.device, header)
    tensors = read_model_weights(weights) if weights not in ("best", "last") else _evaluated(state)
    plain = dataclasses.replace(config.model, pretrained=False)
    model = build_model(plain, in_channels=channels, classes=len(about["classes"]), size=height)
    load_weights(model, tensors, source=str(path) if weights in ("best", "last") else weights)
    model = model.to(device.device).to(memory_format=device.memory_format).eval()
    classes, shape = tuple(about["classes"]), (channels, height, width)
    return Trained(path, config, model, device, classes, shape, about["mean"], about["std"], header)


def _checkpoint(path: Path, weights: str) -> tuple[State, dict[str, Any]]:
    file = path / "checkpoints" / ("last.pt" if weights == "last" else "best.pt")
    if not file.exists():
        raise UserError(f"{file}: no such file; was the run trained to its first evaluation?")
    try:
        return read_checkpoint(file), read_header(file)
    except DamagedCheckpoint as error:
        raise UserError(f"{error}; --weights last uses the other checkpoint") from error


def _evaluated(state: State) -> dict[str, Tensor]:
    """Return the weights that evaluations used: the average of them where the run kept one."""
    average = state.get("ema") or {}
    prefix = "module."
    kept = {name[len(prefix) :]: tensor for name, tensor in average.items() if name.startswith(prefix)}
    return kept or state["model"]


def _device(config: DeviceConfig, header: Mapping[str, Any]) -> Device:
    """Return the device of the run as it computed there, or what `auto` chooses on another machine."""
    kind = config.type.split(":")[0]
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, True)
    anywhere = DeviceConfig(
        type=config.type if here else "auto", channels_last=config.channels_last, compile=False
    )
    device = resolve_device(anywhere, steps=1, threads=header["threads"])
    if device.hardware != header["hardware"]:
        return device
    names = ("precision", "compile", "micro_batch")
    same = {name: header[name] for name in names if header[name] is not None}
    return resolve_device(dataclasses.replace(anywhere, **same), steps=1, threads=header["threads"])
