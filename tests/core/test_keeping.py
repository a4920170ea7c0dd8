"""Models that keep what they compute of an image: those that never read it again are as good as any."""

import pytest
import torch
from torch import nn

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError, Preprocessing


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)
        self.last, self.many = None, {}

    def features(self, x):
        return self.relu(self.conv(x))

    def logits(self, y):
        return self.fc(y.mean((2, 3)))


class KeepsForLooks(Net):
    """An activation map for Grad-CAM, and a number for a log."""

    def forward(self, x):
        self.last = self.features(x)
        self.logged = [self.last.mean().item()]
        return self.logits(self.last)


class KeepsByShape(Net):
    """It is made of the image's width alone, at the first call."""

    def forward(self, x):
        if self.last is None:
            self.last = torch.linspace(0, 1, x.shape[-1] - 2)
        return self.logits(self.features(x) * self.last)


class ReadsItAgain(Net):
    def forward(self, x):
        if self.last is None:
            self.last = x.mean((0, 2, 3), keepdim=True)
        return self.logits(self.features(x - self.last))


class KeepsInADict(Net):
    def forward(self, x):
        self.many["last"] = self.features(x)
        return self.logits(self.many["last"])


class AddsUp(Net):
    """Each image changes the answers to the next ones."""

    def forward(self, x):
        self.many["seen"] = self.many.get("seen", 0) + x.mean((0, 2, 3), keepdim=True)
        return self.logits(self.features(x - self.many["seen"]))


class Whole(nn.Sequential):
    """A container, whose hooks are traced."""


@pytest.mark.parametrize("kind", [KeepsForLooks, KeepsByShape, KeepsInADict])
def test_what_is_kept_and_not_of_another_image_does_no_harm(kind):
    torch.manual_seed(0)
    model, images = kind().eval(), torch.rand(2, 3, 8, 8)
    traced = trace_model(model, (8, 8))
    assert (model.last, model.many) == (None, {}), "what tracing left is taken out"
    assert torch.allclose(traced.module(images), model(images), atol=1e-6)


@pytest.mark.parametrize("kind", [ReadsItAgain, AddsUp])
def test_what_is_read_again_is_refused(kind):
    with pytest.raises(AevisError, match=f"{kind.__name__}.* keeps what the forward computes of an image"):
        trace_model(kind().eval(), (8, 8))


class Sparse(Net):
    """Weights that are mostly zero, kept so."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.eye(2).to_sparse())

    def forward(self, x):
        return torch.sparse.mm(self.mix, self.logits(self.features(x)).T).T


def test_sparse_weights_count_in_the_fingerprint():
    prints = []
    for scale in (1, 1, 2):
        torch.manual_seed(0)
        model = Sparse().eval()
        model.mix = nn.Parameter(torch.eye(2).mul(scale).to_sparse())
        prints.append(Classifier(model, Preprocessing((8, 8)), ("a", "b")).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_hook_that_stores_arrays_is_no_part_of_the_graph():
    torch.manual_seed(0)
    stored = []
    net = Net()
    part = Whole(net.conv, net.relu)
    part.register_forward_hook(lambda _module, _given, found: stored.append(found.cpu().numpy()))
    model = nn.Sequential(part, nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    found = trace_model(model, (8, 8)).module(images)
    with torch.no_grad():
        assert torch.allclose(found, model(images), atol=1e-6)
    assert torch.autograd.grad(found.sum(), images)[0].any()
