"""torchvision's ResNet-18, which all of the peers train."""

import torchvision
from torch import nn

STEMS = "cifar", "imagenet"


def resnet18(classes: int, stem: str) -> nn.Module:
    """Return the network with new weights; stem: cifar for small images (arXiv:1512.03385, section 4.2)."""
    model = torchvision.models.resnet18(num_classes=classes)
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    return model
