"""A linear probe: features of a frozen backbone are computed once, then the last layer is trained on them.

It is the same training as on images: the backbone makes the same features of an image every time. They are
computed when the first batch is asked for, and again after a resume.
"""

from functools import cached_property

import torch
from torch import Tensor, nn

from imclass.config.schema import AugmentConfig, Config
from imclass.data.loader import EvalLoader, Images, TrainLoader
from imclass.evaluation.evaluate import logits_of
from imclass.machine.device import copy_to
from imclass.machine.signals import STOP
from imclass.models.from_timm import is_timm
from imclass.models.head import find_head
from imclass.training.step import Learner

BATCH = 128  # images in a forward pass of the backbone


def probed_part(config: Config, model: nn.Module, shape: tuple[int, int, int]) -> str:
    """Return the name of the last layer, where it can be trained on kept features; else "", the whole model.

    It can where all before it is frozen, images are not augmented, and its outputs are the logits.
    model: on the CPU. shape: of an image.
    """
    if config.model.freeze != "backbone" or config.augment != AugmentConfig() or config.train.resolutions:
        return ""
    if config.model.dropout and is_timm(model):  # which drops before the last layer, not inside it
        return ""
    name, was_training = find_head(model), model.training
    head, model = model.get_submodule(name), model.eval()
    kept: list[Tensor] = []
    with torch.no_grad(), head.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0])):
        logits = model(torch.rand(2, *shape))
        makes_logits = kept[0].ndim == 2 and torch.equal(head(kept[0]), logits)
    model.train(was_training)
    return name if makes_logits else ""


def lines_on_probe(config: Config, part: str) -> list[str]:
    """Return the header's line on features that are computed once, or could be. part: see `probed_part`."""
    if part:
        return [f"         {part} learns from features that are computed once"]
    if config.model.freeze == "backbone" and config.augment != AugmentConfig():
        return ["         with augment=none, its features are computed once: that takes seconds"]
    return []


class Features:
    """What the backbone makes of images, in their place: computed when the first are asked for, and kept."""

    def __init__(self, images: Images, learner: Learner):
        self._images, self._learner = images, learner

    def inputs(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, features) in the backbone's precision and int64 labels (n,), on the device."""
        features, labels = self._kept
        at = copy_to(indices, features.device)
        return features[at], labels[at]

    @cached_property
    def _kept(self) -> tuple[Tensor, Tensor]:
        """Features (N, features) and labels (N,) of all images, on the device; every rank computes all."""
        model, part, kept = self._learner.model, self._learner.part, list[Tensor]()
        all_labels: list[Tensor] = []
        was_training, model = model.training, model.eval()
        with model.get_submodule(part).register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0])):
            for indices in torch.arange(len(self._images)).split(BATCH):
                STOP.raise_if_set()
                images, labels = self._images.inputs(indices)
                all_labels.append(labels)
                logits_of(model, images, self._images.device)
        model.train(was_training)
        return torch.cat(kept), torch.cat(all_labels)


def on_features(learner: Learner, train: TrainLoader, val: EvalLoader) -> tuple[TrainLoader, EvalLoader]:
    """Return the loaders of a probe: `train` and `val` with features in place of images.

    The train loader still shows its images as samples.
    """
    of_train, of_val = Features(train.images, learner), Features(val.images, learner)
    size, balance = train.batch_size, train.balance
    on_train = TrainLoader(
        train.images, size, train.augment, train.seed, balance=balance, inputs=of_train.inputs
    )
    return on_train, EvalLoader(val.images, val.batch_size, of_val.inputs)
