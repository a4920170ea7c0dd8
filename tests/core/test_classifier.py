"""What the classifier refuses, its fingerprint, and its preprocessing."""

import hand_wired
import numpy as np
import pytest
import torch
from torch import nn

from aevis_dash.core import loading
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import AevisError, Preprocessing

PLAIN = Preprocessing((8, 8))


@pytest.mark.parametrize("at", ["", "relu", "convs.1"])
def test_training_mode_is_refused_wherever_it_is(at):
    model = hand_wired.random_net(0)
    model.get_submodule(at).training = True
    with pytest.raises(AevisError, match=r"training mode.*eval\(\)"):
        Classifier(model, PLAIN, hand_wired.CLASSES)


@pytest.mark.parametrize("names", [(), ("a", "b"), ("a", "b", "c", "d")])
def test_another_number_of_class_names_is_refused(names):
    with pytest.raises(AevisError, match=f"3 outputs but there are {len(names)} class names"):
        Classifier(hand_wired.random_net(0), PLAIN, names)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_refused(value):
    model = hand_wired.random_net(0)
    with torch.no_grad():
        model.head.weight[0, 0] = value
    with pytest.raises(AevisError, match="NaN or infinite"):
        Classifier(model, PLAIN, hand_wired.CLASSES)


@pytest.mark.parametrize("name", ["cuda:99", "panda"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(monkeypatch, name):
    monkeypatch.setenv("AEVIS_DEVICE", name)
    with pytest.raises(AevisError, match=f"The device '{name}' cannot be used .*Here torch can use cpu"):
        loading.device()
    for same in ("", "cpu"):
        monkeypatch.setenv("AEVIS_DEVICE", same)
        assert (loading.device_name(), loading.device()) == ("cpu", torch.device("cpu"))


class Strided(nn.Module):
    def __init__(self, stride=1, slope=0.1):
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 4, 3, stride), nn.LeakyReLU(slope), nn.Linear(4, 3)
        self.register_buffer("shift", torch.zeros(4), persistent=False)

    def forward(self, x):
        return self.head(self.act(self.conv(x)).mean((2, 3)) + self.shift)


def strided(names=hand_wired.CLASSES, preprocessing=PLAIN, weight=0.0, shift=0.0, **options):
    torch.manual_seed(0)
    model = Strided(**options).eval()
    with torch.no_grad():
        model.conv.weight[0, 0, 0, 0] += weight
        model.shift[0] += shift
    return Classifier(model, preprocessing, names).fingerprint


def test_two_loads_have_one_fingerprint():
    assert strided() == strided()
    assert strided(names=list(hand_wired.CLASSES)) == strided()


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 1e-6},
        {"shift": 1.0},
        {"stride": 2},
        {"slope": 0.2},
        {"names": ("zero", "two", "one")},
        {"preprocessing": Preprocessing((8, 9))},
        {"preprocessing": Preprocessing((8, 8), mean=(0.5, 0.0, 0.0))},
        {"preprocessing": Preprocessing((8, 8), std=(0.5, 1.0, 1.0))},
        {"preprocessing": Preprocessing((8, 8), value_range=(0.0, 255.0))},
    ],
    ids=str,
)
def test_every_change_of_the_prediction_changes_the_fingerprint(change):
    assert strided(**change) != strided()


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_pixels_are_scaled_then_normalised(value_range):
    mean, std = (0.1, 0.2, 0.3), (0.5, 2.0, 4.0)
    c = hand_wired.classifier(hand_wired.random_net(0), mean=mean, std=std, value_range=value_range)
    images = hand_wired.images(1)
    found, (low, high) = c.inputs(images), value_range
    for i, row, col, colour in np.ndindex(images.shape):
        scaled = low + images[i, row, col, colour] / 255 * (high - low)
        assert found[i, colour, row, col] == pytest.approx((scaled - mean[colour]) / std[colour], abs=1e-4)


def test_floats_that_are_whole_grey_levels_are_the_same_pixels_and_others_are_kept():
    c = hand_wired.classifier(hand_wired.random_net(0))
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert torch.equal(c.pixels(levels), c.pixels(levels.astype(np.float64)))
    given = np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)
    np.testing.assert_array_equal(c.pixels(given.astype(np.float64) * 255).movedim(1, -1), given)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_predictions_are_the_models_softmax_in_order(batch):
    model = hand_wired.random_net(2)
    images = hand_wired.images(3, 5)
    c = hand_wired.classifier(model, mean=(0.4, 0.4, 0.4))
    with torch.no_grad():
        wanted = model(torch.from_numpy(images / 255.0 - 0.4).permute(0, 3, 1, 2).float()).softmax(1)
    found = c.predict(images, batch)
    np.testing.assert_allclose([p.probabilities for p in found], wanted, atol=1e-6)
    assert [p.label for p in found] == wanted.argmax(1).tolist()
    assert len(c.predict(images[:0])) == 0


class _Pair(torch.nn.Module):
    def forward(self, x):
        y = torch.relu(x).mean((2, 3))
        return y, y


def test_models_that_take_or_give_something_else_are_refused_in_a_sentence():
    grey = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(3))
    grey(torch.zeros(1, 1, 8, 8))
    with pytest.raises(AevisError, match="cannot take an RGB image of 8 x 8"):
        Classifier(grey.eval(), Preprocessing((8, 8)), "abc")
    with pytest.raises(AevisError, match=r"gives several values \(0, 1\), and it is unclear"):
        Classifier(_Pair().eval(), Preprocessing((8, 8)), "abc")


def test_weights_without_numbers_are_refused():
    with torch.device("meta"):
        model = Strided().eval()
    with pytest.raises(AevisError, match=r"weights hold no numbers \(first '.*'\): they are on the device 'meta'"):
        Classifier(model, PLAIN, hand_wired.CLASSES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_quantized_model_is_refused_in_a_sentence():
    model = torch.ao.quantization.quantize_dynamic(Strided(), {nn.Linear}).eval()
    with pytest.raises(AevisError, match=r"no tensor, as quantized modules have\. Hand over the model as it was"):
        Classifier(model, PLAIN, hand_wired.CLASSES)
