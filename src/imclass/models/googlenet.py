"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842) from torchvision, with batch norm, no auxiliary heads."""

from functools import partial

from torch import nn
from torchvision.models import GoogLeNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model, uses_imagenet_input
from imclass.models.stem import Builder, adapt_conv, resolve_stem


def _googlenet(config: ModelConfig, in_channels: int, classes: int, size: int) -> nn.Module:
    """(N, in_channels, size, size) -> (N, classes).

    imagenet stem: conv 7x7 stride 2 and two max pools, features at size/32.
    cifar stem: conv 3x3 stride 1, features at size/4.
    Initial weights are PyTorch's default: torchvision's truncated normal takes many times longer
    to draw, and batch norm undoes its scale.
    """
    model = torchvision_model("googlenet", config, classes, aux_logits=False, init_weights=False)
    assert isinstance(model, GoogLeNet)
    model.transform_input = uses_imagenet_input(config, in_channels)
    adapt = partial(adapt_conv, model.conv1.conv, in_channels, keep_weights=config.pretrained)
    if resolve_stem(config, size) == "cifar":
        model.conv1.conv = adapt(kernel_size=3, stride=1, padding=1)
        model.maxpool1 = nn.Identity()
        model.maxpool2 = nn.Identity()
    else:
        model.conv1.conv = adapt()
    return model


MODELS: dict[str, Builder] = {"googlenet": _googlenet}
