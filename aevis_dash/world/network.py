"""The small ResNet that classifies the drawn world."""

from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

MEAN: Final[tuple[float, float, float]] = (0.5, 0.5, 0.5)
"""Subtracted from each channel of a picture in [0, 1] before it enters the network."""
STD: Final[tuple[float, float, float]] = (0.25, 0.25, 0.25)
"""What each channel is then divided by."""

_WIDTHS: Final = (16, 32, 64, 128)
_BLOCKS: Final = 3


class DrawnWorldResNet(nn.Module):
    """Four stages of three basic blocks after a 3x3 stem; 64x64 images reach 32, 16, 8 and 4 pixels."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(_WIDTHS[0], _WIDTHS[0], stride=1)
        self.layer2 = _stage(_WIDTHS[0], _WIDTHS[1], stride=2)
        self.layer3 = _stage(_WIDTHS[1], _WIDTHS[2], stride=2)
        self.layer4 = _stage(_WIDTHS[2], _WIDTHS[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(_WIDTHS[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of normalised images (n, 3, height, width)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def drawn_world_resnet(classes: int = 10) -> nn.Module:
    """An untrained network for images normalised by MEAN and STD; about 1.1 million parameters."""
    return DrawnWorldResNet(classes)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, _shortcut(inputs, outputs, stride))
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(_BLOCKS - 1)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if inputs == outputs and stride == 1:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
