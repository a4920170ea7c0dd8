"""A method that is broken on purpose does not pass for a method: what is asked of every one of them sees it.

Three breaks: gradients of the wrong sign, gates that are not projected onto their box, and gates hung on modules in
place of call sites (torchvision's ResNets, and the nets here, call one ReLU module again and again).
"""

import hand_wired
import numpy as np
import pytest
import reference
import torch

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import relaxation
from aevis_dash.core.datapath import METHODS, extract
from aevis_dash.core.execution import Network

BY_GRADIENT = [name for name in METHODS if name not in ("activation", "random")]
PROJECTED = [name for name in BY_GRADIENT if name not in ("elimination", "quadratic")]
"""The order of elimination and the exact quadratic solution lie in the box as they are made."""
NO_ROUTE = ("straight-through", "activation", "random")
ROUTE = (1, 2, 3)


def flaws(method):
    """What is wrong with a method, in words, as it is found: nothing where it is sound."""
    left_out = 0
    for seed in (0, 1, 5):
        model, images = hand_wired.random_net(seed, (8, 8, 8)), hand_wired.images(seed, 2)
        for image, path in zip(images, paths(model, images, method), strict=True):
            yield from _of_one(model, image, path, method)
            left_out += int((~path.core).sum()) * (path.gates.min() < path.gates.max())
    if not left_out and method != "random":
        yield "no map is ever left out"
    wanted = hand_wired.flat(*enumerate(ROUTE), widths=(4, 4, 4))
    (path,) = paths(hand_wired.route(*ROUTE), hand_wired.images(1, 1), method)
    if method not in NO_ROUTE and path.core.tolist() != wanted.tolist():
        yield "the only route is not the datapath"


def paths(model, images, method):
    return extract(hand_wired.classifier(model), images, [], ExtractionParameters(method=method, iterations=30))


def _of_one(model, image, path, method):
    if not 0 <= path.gates.min() <= path.gates.max() <= 1:
        yield "gates leave their box"
    hard = reference.softmax(hand_wired.logits_twin(model, image, path.critical))[path.label]
    if abs(hard - path.p_hard) > 1e-3:
        yield "the hard set does not do what is said of it"
    tells = path.gates.min() < path.gates.max()
    if tells and method not in NO_ROUTE and reference.spearman(path.gates, _slopes(model, image, path.label)) < -0.1:
        yield "what works for the label is thought to work against it"


def _slopes(model, image, label):
    """(n,) the slope of the label's logit by every gate, by the plain run."""
    return reference.slopes(
        lambda z: float(hand_wired.plain_logits(model, image, torch.tensor(z)[None])[0, label]), np.ones(24)
    )


def wrong_sign(monkeypatch):
    real = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: tuple(-g for g in real(*a, **k)))


def _is_end(value, given, end):
    """Whether numbers are cut off at an end of the gates' box."""
    return value.is_floating_point() and not isinstance(given, torch.Tensor) and given == end


def no_projection(monkeypatch):
    monkeypatch.setattr(relaxation, "STEPS", 35)  # long enough for a gate to reach the end of its box
    monkeypatch.setattr(torch.Tensor, "clamp_", lambda self, *_: self)
    whole, above, below = torch.Tensor.clamp, torch.Tensor.clamp_min, torch.Tensor.clamp_max
    bounded = lambda self, low, high: whole(self, low, high) if isinstance(low, torch.Tensor) else self  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "clamp", bounded)  # the length of a step is still bounded
    monkeypatch.setattr(
        torch.Tensor, "clamp_min", lambda self, least: self if _is_end(self, least, 0) else above(self, least)
    )
    monkeypatch.setattr(
        torch.Tensor, "clamp_max", lambda self, most: self if _is_end(self, most, 1) else below(self, most)
    )


def module_hooks(monkeypatch):
    """Every call of a module is multiplied by the gates that were meant for its last call."""
    real = Network.gates_by_node

    def by_module(self, gates):
        last = {node.target: gate for node, gate in real(self, gates).items()}
        return {node: last[node.target] for node in real(self, gates)}

    monkeypatch.setattr(Network, "gates_by_node", by_module)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_sound(method):
    assert list(flaws(method)) == []


@pytest.mark.parametrize(
    ("broken", "method"),
    [
        *((wrong_sign, name) for name in BY_GRADIENT),
        *((no_projection, name) for name in PROJECTED),
        *((module_hooks, name) for name in METHODS),
    ],
)
def test_a_broken_variant_of_a_method_is_found_out(broken, method, monkeypatch):
    broken(monkeypatch)
    assert any(flaws(method))
