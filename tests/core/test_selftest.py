"""What the self-test refuses, what it lets pass, and that it leaves no trace."""

import random

import hand_wired
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aevis_dash.core import selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError, Preprocessing


class Net(nn.Module):
    """Two convolutions, with whatever is asked for between them."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.quiet = nn.BatchNorm2d(4, track_running_stats=False), nn.Dropout()
        self.running, self.own = nn.BatchNorm2d(4), nn.InstanceNorm2d(4)
        self.group, self.rrelu = nn.GroupNorm(2, 4), nn.RReLU()
        self.head, self.between, self.calls = nn.Linear(4, 3), between, 0

    def forward(self, x):
        x = self.between(self, torch.relu(self.first(x)))
        return self.head(torch.relu(self.second(x)).mean((2, 3)))


def examined(between):
    model = Net(between).eval()
    return selftest.examine(model, Classifier(model, Preprocessing((16, 16)), hand_wired.CLASSES))


def counted(net, x):
    net.calls += 1
    return x * net.calls


generator = np.random.default_rng(0)
private = torch.Generator().manual_seed(0)


def noisy(_net, x):
    """Noise that torch's own generator knows nothing of, and too small to be told from rounding in a batch."""
    return x + 3e-4 * torch.rand(x.shape, generator=private)


@pytest.mark.parametrize(
    ("between", "where"),
    [
        (lambda n, x: F.dropout(x, 0.5), "dropout"),
        (lambda n, x: F.dropout2d(x, 0.5, training=True), "dropout2d"),
        (lambda n, x: F.feature_alpha_dropout(x, 0.3, training=True), "feature_alpha_dropout"),
        (lambda n, x: F.rrelu(x - 0.2, training=True), "rrelu"),
        (lambda n, x: x + 1e-4 * torch.randn_like(x), "randn_like"),
        (lambda n, x: x * torch.rand(x.shape), "rand"),
        (lambda n, x: x * random.random(), ""),
        (lambda n, x: x + torch.from_numpy(np.random.rand(4, 1, 1)).float(), ""),  # noqa: NPY002
        (lambda n, x: x * float(generator.random()), ""),
        (counted, ""),
        (noisy, "rand"),
    ],
)
def test_what_changes_from_call_to_call_is_refused_and_named(between, where):
    with pytest.raises(AevisError, match="changes from call to call in evaluation") as said:
        examined(between)
    assert (f"first at {where}" in str(said.value)) if where else ("first at" not in str(said.value))
    assert not where or f"({where})" in str(said.value)
    assert "no state" in str(said.value)
    assert "counter" in str(said.value)


@pytest.mark.parametrize(
    ("between", "where"),
    [
        (lambda n, x: n.norm(x), "norm (BatchNorm2d)"),
        (lambda n, x: F.batch_norm(x, None, None, training=True), "batch_norm (batch_norm)"),
        (lambda n, x: x - x.mean(0, keepdim=True), "mean (mean)"),
        (lambda n, x: x / x.amax(), "amax (amax)"),
        (lambda n, x: x.flip(0) + x, "flip (flip)"),
        (lambda n, x: x.softmax(0), "softmax (softmax)"),
        (lambda n, x: torch.cat([x[:4], 2 * x[4:]]), "cat (cat)"),
        (lambda n, x: torch.cat([x[:31], 2 * x[31:]]), "cat (cat)"),
    ],
)
def test_what_depends_on_the_other_images_is_refused_and_named(between, where):
    with pytest.raises(AevisError, match="when others are in the batch") as said:
        examined(between)
    assert f"first at {where}" in str(said.value)
    assert str(said.value).index("works across the images, dimension 0") < str(said.value).index("batch norm")


def test_a_squeeze_of_a_batch_of_one_is_told_the_general_cause():
    class Squeezed(Net):
        def forward(self, x):
            return super().forward(x).squeeze()

    model = Squeezed(lambda n, x: x).eval()
    classifier = Classifier(model, Preprocessing((16, 16)), hand_wired.CLASSES)
    with pytest.raises(AevisError, match="works across the images, dimension 0: let a softmax, flip, squeeze"):
        selftest.examine(model, classifier)


def test_a_large_input_is_tried_in_a_smaller_batch():
    sizes = {side: selftest.images_at_once(torch.zeros(1, 3, side, side)) for side in (16, 224, 299, 512, 4096)}
    assert sizes == {16: 32, 224: 32, 299: 32, 512: 10, 4096: 8}


def test_a_forward_that_ends_the_program_is_refused():
    def leaves(net, x):
        net.calls += 1
        if net.calls > 2:
            raise SystemExit(3)
        return x

    with pytest.raises(AevisError, match=r"cannot be run on 3 images: it ends the program \(SystemExit: 3\)"):
        examined(leaves)


def test_a_graph_that_is_not_the_model_is_refused(monkeypatch):
    """A branch on Python's state: the graph has the one way, the model goes the other from then on."""
    model = Net(lambda n, x: x if n.calls == 0 else 2 * x).eval()
    classifier = Classifier(model, Preprocessing((16, 16)), hand_wired.CLASSES)
    model.calls = 1
    with pytest.raises(AevisError, match="other outputs than its traced graph"):
        selftest.examine(model, classifier)


def test_a_model_for_one_image_only_is_refused():
    with pytest.raises(AevisError, match="takes one image, but not 4 at once"):
        examined(lambda n, x: x.reshape(1, 4, 16, 16))


@pytest.mark.parametrize(
    "between",
    [
        lambda n, x: x,
        lambda n, x: n.quiet(x),
        lambda n, x: F.dropout(x, 0.5, n.training),
        lambda n, x: n.running(x),
        lambda n, x: n.own(x),
        lambda n, x: n.group(x),
        lambda n, x: n.rrelu(x),
        lambda n, x: x.mul_(2),
        lambda n, x: x - x.mean((1, 2, 3), keepdim=True),
    ],
)
def test_what_is_steady_passes_without_a_word(between):
    assert examined(between).warnings == ()


def test_a_net_that_writes_in_place_everywhere_passes():
    model = hand_wired.Inplace().eval()
    assert selftest.examine(model, hand_wired.classifier(model)).warnings == ()


class Sign(torch.autograd.Function):
    """The sign, with the slope of the identity, as networks of binary activations are trained with."""

    @staticmethod
    def forward(_context, x):
        return x.sign() + x.relu()

    @staticmethod
    def backward(_context, slope):
        return slope


def with_a_backward_of_its_own(_net, x):
    return Sign.apply(x - 0.1)


def without_gradient(_net, x):
    with torch.no_grad():
        y = torch.tanh(x)
    return x + y


@pytest.mark.parametrize("between", [with_a_backward_of_its_own, without_gradient])
def test_a_gradient_that_is_not_the_graphs_is_doubtful(between):
    """Attacks and explanations follow the graph's gradient, and the author's may be another one."""
    (doubt,) = examined(between).warnings
    assert doubt.startswith("Net has another gradient by its own code than by the graph that was traced of it")


class Kept(nn.Module):
    """A module of the author's that is kept whole, so that its own backward counts."""

    def forward(self, x):
        return Sign.apply(x - 0.1)


def test_a_backward_of_its_own_counts_where_the_module_is_kept_whole():
    model = Net(lambda net, x: net.whole(x)).eval()
    model.whole = Kept()
    classifier = Classifier(model.eval(), Preprocessing((16, 16)), hand_wired.CLASSES, leaves=("whole",))
    assert selftest.examine(model, classifier).warnings == ()


def test_draws_that_change_nothing_are_doubtful():
    (said,) = examined(lambda n, x: x if random.random() < 2 else -x).warnings
    assert "draws random numbers" in said
    (said,) = examined(lambda n, x: torch.where(torch.rand(()) < 2, x, -x)).warnings
    assert "draws random numbers" in said


@pytest.mark.parametrize("draw", [random.random, np.random.rand, torch.rand])
def test_the_test_itself_takes_its_draws_back(draw):
    number = draw if draw is not torch.rand else lambda: float(torch.rand(()))
    model = Net(lambda n, x: x if number() < 2 else -x).eval()
    classifier = Classifier(model, Preprocessing((16, 16)), hand_wired.CLASSES)
    states = lambda: (random.getstate(), repr(np.random.get_state()), torch.get_rng_state().tolist())  # noqa: E731, NPY002
    before = states()
    assert selftest.examine(model, classifier).warnings != ()
    assert states() == before
