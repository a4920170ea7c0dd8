"""Models whose forward wants more than a batch of images are told what to hand over instead."""

import pytest
import torch
from torch import nn

from aevis_dash.core.inputs import channels_first
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)

    def logits(self, x):
        return self.fc(self.relu(self.conv(x)).mean((2, 3)))


class NeedsLabels(Net):
    def forward(self, x, y):
        return self.logits(x) + y


class NeedsByName(Net):
    def forward(self, x, *, y, z=1):
        return self.logits(x) + y + z


class TakesDict(Net):
    def forward(self, batch):
        return self.logits(batch["image"])


class MeasuresDict(Net):
    """Tracing itself fails here, as there is no shape to answer with."""

    def forward(self, batch):
        if batch["image"].shape[1] != 3:
            raise ValueError
        return self.logits(batch["image"])


class TakesObject(Net):
    def forward(self, batch):
        return self.logits(batch.pixel_values)


class AsksObject(Net):
    def forward(self, batch):
        return self.logits(batch.get("image"))


class TakesMore(Net):
    """It takes more, but needs images alone."""

    def forward(self, x, mask=None, *others, **options):
        return self.logits(x.float())


@pytest.mark.parametrize(
    ("model", "said", "remedy"),
    [
        (NeedsLabels, "NeedsLabels.forward(x, y) needs y, but", "return self.net(x, y=...)."),
        (NeedsByName, "NeedsByName.forward(x, *, y, z=1) needs y, but", "return self.net(x, y=...)."),
        (TakesDict, "takes batch['image'] of what it is given", "return self.net({'image': x})."),
        (MeasuresDict, "takes batch['image'] of what it is given", "return self.net({'image': x})."),
        (TakesObject, "takes batch.pixel_values of what it is given", "return self.net(...)."),
        (AsksObject, "takes batch.get() of what it is given", "return self.net(...)."),
    ],
)
def test_a_forward_that_wants_more_than_images_is_told_what_to_hand_over(model, said, remedy):
    with pytest.raises(AevisError) as refusal:
        trace_model(model().eval(), (8, 8))
    assert said in str(refusal.value)
    assert str(refusal.value).endswith(remedy)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_lie_in_memory_as_the_model_expects_them(channels):
    """Else a convolution answers with channels last, and x.view(x.size(0), -1) fails. One channel is a case of its own,
    as its strides fit both orders."""
    images = torch.rand(2, 6, 6, channels)
    found = channels_first(images)
    assert torch.equal(found, images.permute(0, 3, 1, 2))
    assert found.stride() == torch.zeros(2, channels, 6, 6).stride()
    nn.Conv2d(channels, 4, 3)(found).view(2, -1)


class Halves(Net):
    def forward(self, x):
        return self.logits(x.half())


def test_other_types_of_numbers_are_told_from_other_sizes():
    with pytest.raises(AevisError, match=r"changes the type of the numbers: let it compute in torch.float32"):
        trace_model(Halves().eval(), (8, 8))


def test_a_forward_that_may_take_more_is_called_with_images_alone():
    torch.manual_seed(0)
    model, images = TakesMore().eval(), torch.rand(2, 3, 8, 8)
    assert torch.equal(trace_model(model, (8, 8)).module(images), model(images))
