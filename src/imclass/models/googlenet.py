"""GoogLeNet (Szegedy et al. 2014, arXiv:1409.4842) from torchvision, with batch norm, no auxiliary heads."""

from torch import nn
from torchvision.models import GoogLeNet

from imclass.config.schema import ModelConfig
from imclass.models.pretrained import torchvision_model, uses_imagenet_input
from imclass.models.stem import Builder, adapt_stem


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
    return adapt_stem(model, config, in_channels, size, conv="conv1.conv", pools=["maxpool1", "maxpool2"])


MODELS: dict[str, Builder] = {"googlenet": _googlenet}
