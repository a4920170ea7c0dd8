"""Modules that torch.fx cannot trace, kept whole."""

import sys
from types import SimpleNamespace

import pytest
import torch
from loading_nets import Branched, Choosy

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


def test_what_timm_says_cannot_be_traced_is_kept_whole(monkeypatch):
    features = SimpleNamespace(get_notrace_modules=lambda: [Choosy], get_notrace_functions=list)
    monkeypatch.setitem(sys.modules, "timm.models._features_fx", features)
    assert classifier(made(), ()).network.traced.kept == ("parts.0",)
