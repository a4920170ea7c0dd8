"""The view: what is written to the address is read back, and what is no view is refused in a sentence."""

import json

import pytest

from aevis_dash.callbacks.view import Step, View, check, from_data, from_search
from aevis_dash.domain import AevisError
from aevis_dash.workbench import open_workbench

FULL = View(
    example="panda-00-mifgsm8x10",
    target="monkey 1.png",
    distance="gates",
    gap="equal",
    layer="layer1.0.relu",
    map=3,
    area=(0, 1, 4, 5),
    pair="src-tar",
    cause="source",
    steps=(Step("layer2.0.relu", 5, (1, 1, 2, 3), "layer1.0.relu"), Step("layer1.0.relu", 0, None, "relu")),
)


@pytest.mark.parametrize("view", [View(), FULL, View(example="a", map=0)])
def test_an_address_and_a_store_give_the_view_back(view):
    assert from_search(view.to_search()) == view
    assert from_data(json.loads(json.dumps(view.to_data()))) == view


def test_only_the_last_step_to_the_shown_layer_is_traced():
    assert FULL.traced is None, "the last step leads to relu, which is not shown"
    assert FULL.but(layer="relu").traced == FULL.steps[-1]


@pytest.mark.parametrize("search", ["?map=panda", "?area=1,2,3", "?steps=only:two", "?area=a,b,c,d"])
def test_what_is_no_view_is_refused(search):
    with pytest.raises(AevisError, match="link cannot be read"):
        from_search(search)


@pytest.mark.parametrize("change", [{"distance": "x"}, {"gap": "x"}, {"pair": "tar-tar"}, {"cause": "me"}])
def test_unknown_choices_in_a_link_are_refused(change, drawn_world):
    with pytest.raises(AevisError, match="The link names no"):
        check(View(**change), open_workbench(drawn_world))
