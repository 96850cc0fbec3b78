"""A trained model, opened from its run folder with its data and its preprocessing."""

import contextlib
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from imclass.config.check import check_config
from imclass.config.run_names import user_path
from imclass.config.schema import Config, DeviceConfig
from imclass.config.stored import as_of_today
from imclass.config.yaml_file import parse_yaml
from imclass.data.dataset import Data, Split
from imclass.data.datasets import WITHOUT_ROOT, prepare_data
from imclass.data.folder.pictures import require_classes, split_of_class_folders
from imclass.data.loader import EvalLoader, TrainLoader, build_eval_loader, build_train_loader
from imclass.errors import UserError
from imclass.machine.device import Device, resolve_device
from imclass.models import build_trained_model
from imclass.runs.checkpoint import (
    DamagedCheckpoint,
    Header,
    State,
    load_best,
    load_checkpoint,
    read_model_weights,
    require,
    weights_of,
)
from imclass.runs.record_schema import COMPUTED, problem_of, problem_of_about
from imclass.runs.weights import load_weights

TRAINED_ON = "some of these may have been among its training images"
CHANGED = f"the run's folder of images has changed since: {TRAINED_ON}"


@dataclass(frozen=True, slots=True)
class Trained:
    """A model in evaluation mode on its device, and how its images are preprocessed."""

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
        """Return a split in batches as the run's validation had them."""
        return build_eval_loader(split, self, self.config, self.device)

    def train_loader(self, split: Split) -> TrainLoader:
        """Return a split in batches as the run's training had them."""
        return build_train_loader(split, self, self.config, self.device)

    def split(
        self, name: str, root: str | None = None, renamed: Mapping[str, str] = MappingProxyType({})
    ) -> tuple[Split, bool]:
        """Return train, val or test, and whether these are the images of the run's own split.

        root: where the run's data are now, or other images in class folders: the part of that name, or all
        of them if there are no parts. renamed: {folder: class} where they differ. Raises UserError when there
        are none, or of other classes.
        """
        data = None if renamed else self.data_in(root)
        if data is None:
            assert root is not None
            dataset = self.config.dataset
            folders = split_of_class_folders(root, name, self.classes, dataset, self.shape, renamed)
            if folders is not None:
                return folders, False
            if self.config.dataset.name in WITHOUT_ROOT:
                raise UserError(f"--data {root}: has no folders of the model's classes")
            data = self._data(root)
        own = self._is_own(data)
        if root is not None and not own and not self.is_own_root(root):
            raise UserError(
                f"--data {root}: neither class folders of the model's classes nor the data of the run"
            )
        require_classes(self.classes, data.classes, self.config.dataset.root or "the data")
        if not own:
            print(
                "imclass: warning: these images are not those that the run was trained on; unless the data "
                f"come in parts, {TRAINED_ON}",
                file=sys.stderr,
            )
        return {"train": data.train, "val": data.val, "test": data.test}[name], own

    def data_in(self, root: str | None) -> Data | None:
        """Return the run's own data, read from the same folder, or from a copy; None if `root` holds others.

        root: None for where they were.
        """
        if root is None or self.is_own_root(root):
            return self._data(root)
        if self.config.dataset.name != "image_folder":
            return None
        with contextlib.suppress(UserError):
            data = self._data(root)
            return data if self._is_own(data) else None
        return None

    def training_images(self) -> set[int] | None:
        """Return what `image_hash` has for each image that the run was trained on.

        Empty for data sets other than image folders, and for folders that are gone. None for a folder that
        has changed since: which of its images were trained on is unknown.
        """
        root = self.config.dataset.root
        if self.config.dataset.name != "image_folder" or root is None or not user_path(root).exists():
            return set()
        with contextlib.suppress(UserError):  # such as a new picture that is damaged
            data = self._data()
            images = chain.from_iterable(data.train.chunks())
            return {*map(image_hash, images)} if self._is_own(data) else None
        return None

    def _is_own(self, data: Data) -> bool:
        return bool(data.fingerprint == self.header["data_fingerprint"])

    def is_own_root(self, root: str) -> bool:
        """Return whether `root` is where the run's data were."""
        own = self.config.dataset.root
        return own is not None and user_path(root).resolve() == user_path(own).resolve()

    def _data(self, root: str | None = None) -> Data:
        """Return the run's data, read from `root` if given."""
        own = dataclasses.replace(self.config.dataset, mean=self.mean, std=self.std)
        if root is not None:
            return prepare_data(dataclasses.replace(own, root=root, download=False), self.config.seed)
        try:
            return prepare_data(own, self.config.seed)
        except UserError as error:
            raise UserError(f"{error} (if the run's data have moved, add --data DIR)") from error


def image_hash(image: Tensor) -> int:
    """Return a hash of an image's pixels, uint8 (C, H, W); it differs between processes."""
    return hash(image.numpy().tobytes())


def open_trained(path: Path, weights: str = "best") -> Trained:
    """Build the model of a run and load its weights.

    weights: best, last, or a file that `read_model_weights` reads; the model is then that of any undamaged
    checkpoint of the run. On the run's hardware it computes as the run did, elsewhere as `auto` chooses.
    Raises UserError for a folder without checkpoints, a damaged file, and weights that do not fit.
    """
    own = [path / "checkpoints" / f"{name}.pt" for name in ("best", "last", "previous")]
    chosen = {"best": own[:1], "last": own[1:2]}.get(weights, own)
    present = [file for file in chosen if file.exists()]
    if not present:
        others = [name for name, file in zip(("best", "last"), own, strict=False) if file.exists()]
        raise UserError(
            f"{chosen[0]}: no such file; --weights {' or '.join([*others, 'FILE'])} chooses other weights"
        )
    try:
        source, header, state = _first_undamaged(present)
        require(problem_of(header, COMPUTED) or problem_of_about(state), source)
        about = state["about"]
        if weights in ("best", "last"):
            tensors = weights_of(state)
        else:
            source, tensors = Path(weights), read_model_weights(weights)
    except DamagedCheckpoint as error:
        raise UserError(f"{error}; --weights best, last or FILE chooses other weights") from error
    settings = as_of_today(parse_yaml(about["config"], f"{present[0]}: config"))
    config = check_config(settings, to_train=False)
    channels, height, width = about["shape"]
    device = _device(config.device, header)
    model = build_trained_model(
        config.model, in_channels=channels, classes=len(about["classes"]), size=height
    )
    load_weights(model, tensors, source=str(source))
    model = model.to(device.device).to(memory_format=device.memory_format).eval()
    device.compile_if_wanted(model)
    classes, shape = tuple(about["classes"]), (channels, height, width)
    return Trained(path, config, model, device, classes, shape, about["mean"], about["std"], header)


def _first_undamaged(files: Sequence[Path]) -> tuple[Path, Header, State]:
    """Return the first undamaged checkpoint, its header and contents. Raises DamagedCheckpoint."""
    for file in files[:-1]:
        with contextlib.suppress(DamagedCheckpoint):
            return file, *_load(file)
    return files[-1], *_load(files[-1])


def _load(file: Path) -> tuple[Header, State]:
    return load_best(file) if file.stem == "best" else load_checkpoint(file)


def _device(config: DeviceConfig, header: Mapping[str, Any]) -> Device:
    """Return the device as the run used it, or what `auto` chooses on other hardware."""
    anywhere = DeviceConfig(
        type=config.type, channels_last=config.channels_last, allocator=config.allocator, compile=False
    )
    try:
        device = resolve_device(anywhere, steps=1)
    except UserError:  # not here
        return resolve_device(dataclasses.replace(anywhere, type="auto"), steps=1)
    if device.hardware != header["hardware"]:
        return device
    names = ("precision", "compile", "micro_batch", "threads")
    same = {name: header[name] for name in names if header[name] is not None}
    return resolve_device(dataclasses.replace(anywhere, **same), steps=1)
