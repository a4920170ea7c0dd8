"""Modules that torch.fx cannot trace, kept whole."""

import sys
from types import SimpleNamespace

import loading_nets
import pytest
import torch
from loading_nets import Branched, Choosy
from torch import nn

from aevis_dash.core import selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.domain import AevisError, Preprocessing

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def made(factor=0.5):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return Branched(factor).eval()


def classifier(model, leaves=("Choosy",), **options):
    return Classifier(model, Preprocessing((8, 8)), ("a", "b", "c"), leaves, **options)


def test_the_refusal_names_the_line_and_the_module_to_keep_whole():
    with pytest.raises(AevisError) as caught:
        trace_model(made(), (8, 8))
    text = str(caught.value)
    assert "torch.fx cannot trace Branched at " in text
    assert "loading_nets.py, line " in text
    assert "(if x.sum() > 1e9:)" in text
    assert text.endswith("Or keep the module whole in which it stands, which then has no maps: --leaf parts.0.")


@pytest.mark.parametrize("leaf", ["parts.0", "parts", "Choosy", "0"])
def test_a_module_is_kept_whole_by_its_name_the_end_of_it_or_its_class(leaf):
    model = made()
    found = classifier(model, (leaf,))
    assert [layer.name for layer in found.layers.layers] == ["act", "last"]
    assert found.layers.edges == ((0, 1),)
    with torch.no_grad():
        torch.testing.assert_close(found.network.logits(X), model(X))
    selftest.examine(model, found)
    assert found.ungated == ("Sequential (parts)" if leaf == "parts" else "Choosy (parts.0)")


def test_what_a_kept_module_writes_over_stays_as_it_was():
    model = made()
    found = classifier(model)
    with torch.no_grad():
        wanted = torch.relu(model.conv(X))
        _, recorded = found.network.record(X, [0])
    torch.testing.assert_close(recorded[0], wanted)


def test_a_leaf_that_is_no_module_is_refused_with_the_nearest():
    with pytest.raises(AevisError, match=r"no module 'Chosy' to keep whole\. Did you mean Choosy\? --leaf takes"):
        trace_model(made(), (8, 8), ["Chosy"])


def test_numbers_inside_a_kept_module_are_part_of_the_fingerprint():
    prints = [classifier(made(factor)).fingerprint for factor in (0.5, 0.25, 0.5)]
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize(
    ("classes", "kept"), [([Choosy], ("parts.0",)), ([nn.Sequential], ("parts",)), ([Choosy, nn.ReLU], ("parts.0",))]
)
def test_what_timm_says_cannot_be_traced_is_kept_whole_where_tracing_fails(monkeypatch, classes, kept):
    features = SimpleNamespace(get_notrace_modules=lambda: classes, get_notrace_functions=list)
    monkeypatch.setitem(sys.modules, "timm.models._features_fx", features)
    model = made()
    found = classifier(model, ())
    assert found.network.traced.kept == kept
    assert [layer.name for layer in found.layers.layers] == ["act", "last"]
    with torch.no_grad():
        torch.testing.assert_close(found.network.logits(X), model(X))


def test_what_timm_says_cannot_be_traced_is_traced_where_it_can_be(monkeypatch):
    """As most of its batch norms with an activation, whose maps would be lost."""
    features = SimpleNamespace(get_notrace_modules=lambda: [nn.Sequential], get_notrace_functions=list)
    monkeypatch.setitem(sys.modules, "timm.models._features_fx", features)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    found = classifier(model.eval(), ())
    assert found.network.traced.kept == ()
    assert [layer.name for layer in found.layers.layers] == ["0.1", "1"]


def test_a_function_that_timm_says_cannot_be_traced_is_called_as_it_is(monkeypatch):
    features = SimpleNamespace(get_notrace_modules=list, get_notrace_functions=lambda: [loading_nets.doubled_if_dark])
    monkeypatch.setitem(sys.modules, "timm.models._features_fx", features)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = loading_nets.Calling().eval()
    found = classifier(model, ())
    assert found.network.traced.kept == ()
    with torch.no_grad():
        torch.testing.assert_close(found.network.logits(X), model(X))


def test_timm_with_nothing_for_it_changes_no_refusal(monkeypatch):
    features = SimpleNamespace(get_notrace_modules=lambda: [nn.ReLU], get_notrace_functions=list)
    monkeypatch.setitem(sys.modules, "timm.models._features_fx", features)
    with pytest.raises(AevisError, match=r"\(if x\.sum\(\) > 1e9:\).*--leaf parts\.0\.$"):
        trace_model(made(), (8, 8))
