"""A softmax, log-softmax or sigmoid at a model's end is undone: predictions are the model's own, layers the same."""

import hand_wired
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aevis_dash.core import selftest
from aevis_dash.core.heads import Head

IMAGES = hand_wired.images(7, 5)


class Ended(nn.Module):
    """A net that gives `end` of its logits."""

    def __init__(self, end):
        super().__init__()
        self.net, self.end = hand_wired.random_net(1), end

    def forward(self, x):
        return self.end(self.net(x))


def by_hand(z):
    e = (z - z.amax(1, keepdim=True)).exp()
    return e / e.sum(1, keepdim=True)


def both(end):
    """A classifier of a net with that end, and one of the net alone."""
    model = Ended(end).eval()
    ended = hand_wired.classifier(model)
    selftest.examine(model, ended)
    return ended, hand_wired.classifier(model.net), model


def logits(classifier):
    with torch.no_grad():
        return classifier.network.logits(classifier.inputs(IMAGES))


CUT = {
    "module": (nn.Softmax(1), Head.SOFTMAX),
    "module, last": (nn.Softmax(-1), Head.SOFTMAX),
    "function": (lambda z: F.softmax(z, dim=1), Head.SOFTMAX),
    "torch": (lambda z: torch.softmax(z, -1), Head.SOFTMAX),
    "method": (lambda z: z.softmax(dim=1), Head.SOFTMAX),
    "of a map": (lambda z: z[:, :, None, None].softmax(1).flatten(1), Head.SOFTMAX),
    "behind dropout": (nn.Sequential(nn.Softmax(1), nn.Dropout(), nn.Identity()), Head.SOFTMAX),
    "log module": (nn.LogSoftmax(1), Head.LOG_SOFTMAX),
    "log function": (lambda z: F.log_softmax(z, 1), Head.LOG_SOFTMAX),
    "log method": (lambda z: z.log_softmax(-1), Head.LOG_SOFTMAX),
    "log of it": (lambda z: torch.log(z.softmax(1)), Head.LOG_SOFTMAX),
    "log of it, method": (lambda z: F.softmax(z, 1).log(), Head.LOG_SOFTMAX),
}


@pytest.mark.parametrize("way", CUT)
def test_the_logits_before_a_softmax_are_explained(way):
    end, head = CUT[way]
    ended, plain, model = both(end)
    assert (ended.head, ended.warnings) == (head, ())
    torch.testing.assert_close(logits(ended), logits(plain))
    assert [x.name.split(".")[-1] for x in ended.layers.layers] == [x.name for x in plain.layers.layers]
    with torch.no_grad():
        said = model(plain.inputs(IMAGES))
    said = said if head is Head.SOFTMAX else said.exp()
    np.testing.assert_allclose([p.probabilities for p in ended.predict(IMAGES)], said, atol=1e-6)


def test_a_softmax_of_a_softmax_is_doubtful_and_one_of_a_log_softmax_is_not():
    twice, _, model = both(lambda z: z.softmax(1).softmax(1))
    assert twice.head is Head.SOFTMAX
    assert len(twice.warnings) == 1
    assert "as if there were two softmaxes" in twice.warnings[0]
    with torch.no_grad():
        said = model(twice.inputs(IMAGES))
    np.testing.assert_allclose([p.probabilities for p in twice.predict(IMAGES)], said, atol=1e-6)
    assert both(lambda z: z.log_softmax(1).softmax(1))[0].warnings == ()


@pytest.mark.parametrize("scale", [1, 100])
def test_probabilities_made_by_hand_are_not_made_flat(scale):
    """exp / sum has no logits that could be found; its logarithm predicts the same and has the same margins."""
    ended, plain, _ = both(lambda z: scale * by_hand(z))
    assert ended.head is Head.PROBABILITIES
    assert "give probabilities" in ended.warnings[0].replace("gives", "give")
    margins = [found - found[:, :1] for found in (logits(ended), logits(plain))]
    torch.testing.assert_close(*margins, atol=1e-3, rtol=1e-4)
    wanted = [p.probabilities for p in plain.predict(IMAGES)]
    np.testing.assert_allclose([p.probabilities for p in ended.predict(IMAGES)], wanted, atol=1e-5)


def test_a_mean_of_two_softmaxes_is_what_it_says():
    ended, plain, model = both(lambda z: (z.softmax(1) + (z / 2).softmax(1)) / 2)
    assert ended.head is Head.PROBABILITIES
    with torch.no_grad():
        said = model(plain.inputs(IMAGES))
    np.testing.assert_allclose([p.probabilities for p in ended.predict(IMAGES)], said, atol=1e-5)


def test_a_log_softmax_made_by_hand_predicts_the_same_and_says_what_suffers():
    ended, plain, _ = both(lambda z: z - z.exp().sum(1, keepdim=True).log())
    assert ended.head is Head.LOG_PROBABILITIES
    assert "one logit alone" in ended.warnings[0]
    wanted = [p.probabilities for p in plain.predict(IMAGES)]
    np.testing.assert_allclose([p.probabilities for p in ended.predict(IMAGES)], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("end", "head"),
    [
        (nn.Sigmoid(), Head.SIGMOID),
        (torch.sigmoid, Head.SIGMOID),
        (lambda z: z.sigmoid(), Head.SIGMOID),
        (F.logsigmoid, Head.LOG_SIGMOID),
        (nn.Hardsigmoid(), Head.HARD_SIGMOID),
    ],
)
def test_sigmoids_are_explained_from_their_logits_and_doubtful(end, head):
    ended, plain, _ = both(end)
    assert ended.head is head
    torch.testing.assert_close(logits(ended), logits(plain))
    (said,) = ended.warnings
    assert f"ends in a {head}, which judges every class apart" in said


def test_numbers_between_0_and_1_are_doubtful():
    ended, _, _ = both(lambda z: 1 / (1 + torch.exp(-z)))
    assert ended.head is Head.SHARES
    assert "hard sets come out too small" in ended.warnings[0]


@pytest.mark.parametrize(
    "end", [lambda z: z, lambda z: z - z.mean(1, keepdim=True), torch.tanh, torch.relu, nn.Softsign()]
)
def test_what_is_no_probability_is_left_alone(end):
    ended, _, model = both(end)
    assert (ended.head, ended.warnings) == (Head.LOGITS, ())
    with torch.no_grad():
        torch.testing.assert_close(logits(ended), model(ended.inputs(IMAGES)))


def test_a_softmax_inside_is_left_alone():
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = hand_wired.random_net(1)

        def forward(self, x):
            return self.net(x * x.mean((2, 3), keepdim=True).softmax(1))

    model = Attending().eval()
    ended = hand_wired.classifier(model)
    with torch.no_grad():
        torch.testing.assert_close(logits(ended), model(ended.inputs(IMAGES)))
