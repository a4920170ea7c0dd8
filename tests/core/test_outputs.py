"""Models that give more than the logits: which entry is explained, and that it is the model's own."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import hand_wired
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.selftest import examine
from aevis_dash.domain import AevisError, Preprocessing

PLAIN = Preprocessing((16, 16), (0.0,) * 3, (1.0,) * 3)
Pair = namedtuple("Pair", "features logits")


@dataclass
class Output:
    """A plain record, of which some fields stay empty."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden: tuple[torch.Tensor, ...] | None = None


class Named(OrderedDict):
    """A dict whose entries are attributes too, as transformers gives it."""

    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]


class Giving(nn.Module):
    """A network with a second head; how it gives what it has found is the matter of the function `give`."""

    def __init__(self, give):
        super().__init__()
        self.conv, self.relu, self.more = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Sequential(nn.Linear(6, 5), nn.ReLU())
        self.head, self.other, self.give = nn.Linear(6, 3), nn.Linear(5, 3), give

    def logits(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))

    def forward(self, pixels, labels=None, return_dict=None):
        return_dict = return_dict if return_dict is not None else True
        if not return_dict:
            raise ValueError("not asked for")
        maps = self.relu(self.conv(pixels))
        pooled = maps.mean((2, 3))
        logits, loss = self.head(pooled), None
        if labels is not None:
            loss = F.cross_entropy(logits, labels)
        return self.give(logits, self.other(self.more(pooled)), maps, loss)


KINDS = {
    "dict": (lambda logits, other, maps, loss: {"aux": other, "logits": logits, "loss": loss}, "logits"),
    "dict of another name": (lambda logits, other, maps, loss: {"aux": other, "out": logits}, "out"),
    "dict with maps": (lambda logits, other, maps, loss: {"maps": maps, "scores": logits}, "scores"),
    "tuple": (lambda logits, other, maps, loss: (maps, logits), "1"),
    "list": (lambda logits, other, maps, loss: [logits, maps], "0"),
    "named tuple": (lambda logits, other, maps, loss: Pair(maps, logits), "logits"),
    "record": (lambda logits, other, maps, loss: Output(loss, logits, (maps, maps * 2)), "logits"),
    "dict with attributes": (lambda logits, other, maps, loss: Named(logits=logits, hidden=(maps,)), "logits"),
    "object": (lambda logits, other, maps, loss: SimpleNamespace(hidden=maps, logits=logits), "logits"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_logits_are_found_and_are_the_models_own(kind):
    give, name = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Giving(give).eval()
    found = Classifier(model, PLAIN, hand_wired.CLASSES)
    assert found.network.traced.output == name
    assert [layer.name for layer in found.layers.layers] == ["relu"], "what only the other head is made of is no layer"
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(found.network.logits(x), model.logits(x))
    assert examine(model, found).warnings == ()


def test_a_model_whose_graph_gives_another_entry_than_the_model_is_refused():
    model = Giving(KINDS["dict"][0]).eval()
    found = Classifier(model, PLAIN, hand_wired.CLASSES)
    model.give = lambda logits, other, maps, loss: {"aux": logits, "logits": other}
    with pytest.raises(AevisError, match="gives other outputs than its traced graph"):
        examine(model, found)


@pytest.mark.parametrize(
    "give",
    [
        lambda logits, other, maps, loss: (logits, other),
        lambda logits, other, maps, loss: {"first": logits, "second": other},
        lambda logits, other, maps, loss: {"maps": maps},
    ],
)
def test_what_may_be_either_of_two_entries_is_refused(give):
    with pytest.raises(
        AevisError, match=r"gives several values \(.*\), and it is unclear which of them are the logits"
    ):
        Classifier(Giving(give).eval(), PLAIN, hand_wired.CLASSES)


def test_an_answer_in_place_of_logits_is_refused():
    with pytest.raises(AevisError):
        Classifier(Giving(lambda *_: "cat").eval(), PLAIN, hand_wired.CLASSES)
