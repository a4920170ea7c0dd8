"""The layer's station: a job for the contributions is asked for once."""

import json
from dataclasses import replace

import numpy as np
import pytest
from dash import no_update

from aevis_dash.callbacks.layer.contents import contents, contribution_to
from aevis_dash.callbacks.layer.treemap import (
    asked_for,
    contributions_of,
    fields,
    sources_of,
    traced_winners,
    with_winner,
)
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import Step
from aevis_dash.core.receptive import field_on_image
from aevis_dash.domain import AreaOfInterest, Role, Way
from aevis_dash.workbench import open_workbench


class Quadratic:
    way = Way("quadratic")


VIEW = View(example="a", layer="relu", steps=(Step("layer1.0.relu", 3, (0, 0, 2, 2, 1), "relu", note="x"),), at=0)


def asked(view=VIEW, traced=Quadratic, before=None, solved=None, cancelled=False):
    return json.loads(json.dumps(asked_for(view, traced, before, solved, cancelled)))


def test_a_job_is_asked_for_once():
    first = asked()
    assert (first["waiting"], first["anew"]) == (True, True)
    for changed in (VIEW.but(map=5), VIEW.but(pair="src-tar"), VIEW.but(cause="source"), VIEW.but(maps=(1,))):
        again = asked(changed, before=first)
        assert (again["waiting"], again["anew"]) == (True, False)
    other = asked(VIEW.but(how="exact"), before=first)
    assert (other["anew"], other["what"]["how"]) == (True, "exact")
    firing = asked(VIEW.but(against="zero"), before=first)
    assert (firing["anew"], firing["what"]["against"]) == (True, "zero")


def test_what_was_cancelled_is_not_asked_for_again_until_chosen_anew():
    cancelled = asked(before=asked(), cancelled=True)
    assert (cancelled["waiting"], cancelled["anew"], cancelled["cancelled"]) == (False, False, True)
    later = asked(VIEW.but(map=5), before=cancelled)
    assert (later["waiting"], later["anew"]) == (False, False)
    quadratic = asked(VIEW.but(how="quadratic"), before=later)
    assert (quadratic["what"], quadratic["waiting"]) == (None, False)
    assert asked(before=quadratic)["anew"]


def test_a_job_that_ended_is_not_waited_for_even_where_nothing_was_kept():
    first = asked()
    ended = asked(before=first, solved=first["what"])
    assert (ended["waiting"], ended["anew"]) == (False, False)


@pytest.mark.parametrize("traced", [None, type("Solved", (), {"way": Way()})])
def test_nothing_is_asked_for_where_it_is_there(traced):
    assert asked(traced=traced) == {"what": None, "cancelled": False, "waiting": False, "anew": False}


def test_notes_and_places_in_the_tree_are_no_part_of_what_is_asked():
    moved = VIEW.but(
        steps=(Step("", None, None, "layer1.0.relu"), Step("layer1.0.relu", 3, (0, 0, 2, 2, 1), "relu", parent=0)), at=1
    )
    assert contributions_of(moved) == contributions_of(VIEW)


def test_the_strongest_contributor_is_shown_where_no_map_is():
    traced = VIEW.but(layer=VIEW.traced.source, map=None)
    change = with_winner(traced, traced, [7, 3])
    assert change["fields"]["map"] == 7
    assert with_winner(traced, traced.but(map=2), [7, 3]) is no_update, "a map is shown"
    assert with_winner(traced, traced, []) is no_update, "nothing contributes"
    assert with_winner(traced, traced.but(at=-1), [7]) is no_update, "the visitor has left the trail"
    assert with_winner(traced, traced.but(layer="fc"), [7]) is no_update, "the visitor is at another layer"


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def view(bench):
    return View(example=bench.workspace.settings.opens_on, layer="layer2.0.relu", map=3)


def test_the_page_gets_the_receptive_field_of_every_neuron(bench, view):
    layer = bench.layers.find(view.layer)
    told = fields(bench, layer.name)
    assert told["size"] == list(bench.workspace.settings.preprocessing.input_size)
    assert all(isinstance(end, int) for span in told["rows"] + told["columns"] for end in span)
    for row, column in ((0, 0), (3, 7), (layer.height - 1, layer.width - 1)):
        neuron = AreaOfInterest(layer.index, row, column, row + 1, column + 1)
        field = field_on_image(bench.classifier.network.traced, neuron)
        assert told["rows"][row] == [field.top, field.bottom]
        assert told["columns"][column] == [field.left, field.right]


def test_a_chosen_source_stays_until_another_layer_has_others(bench, view):
    found = sources_of(bench, view.layer, None)
    names = found["sources"]
    assert found["source"] == names[0]
    assert sources_of(bench, view.layer, names) == {"sources": no_update, "source": no_update}
    other = bench.layers.layers[bench.layers.find(view.layer).index + 1].name
    assert sources_of(bench, other, names)["source"] == view.layer


def test_rows_and_columns_of_a_wide_image_are_told_apart(bench, view, monkeypatch):
    rows, across = np.array([[0, 4]]), np.array([[0, 3], [2, 6]])
    monkeypatch.setattr(bench.maps, "receptive_fields", lambda layer: (rows, across))
    told = fields(bench, view.layer)
    assert (told["rows"], told["columns"]) == ([[0, 4]], [[0, 3], [2, 6]])


def test_the_winners_are_told_with_the_class_and_are_never_nobody(bench, view):
    """Five names however small their parts, and why a part can be more than all."""
    name = "layer3.2.relu"
    found, layer = stored_triplet(bench, view), bench.layers.find(name)
    early = view.but(map=None, how="quadratic", against="zero").after(Step("", None, source=name))
    traced = contribution_to(bench, found, early.traced, early.way)

    def told(at, contribution):
        shown = contents(bench, found, at, layer, contribution)
        sentence, *named = traced_winners(bench, found, at, contribution, shown, False)
        return "".join(words for span in sentence.children for words in span.children), named

    for role in Role:
        sentence, named = told(early.but(cause=role.value), traced)
        assert f"the prediction {bench.class_names[found.path(role).label]!r} on the {role} image" in sentence
        assert len(named) == min(5, int((traced.strength(tuple(Role).index(role)) > 0).sum()))
    small = replace(traced, values=np.full_like(traced.values, 1e-3), share=np.abs(traced.share) + 1e-3)
    assert len(told(early, small)[1]) == 5
    strong = replace(traced, share=traced.share * 9 / traced.share.max())
    assert "more than 100 % where other maps work against it" in told(early, strong)[0]
    alone, nobody = told(early, replace(traced, values=traced.values * 0))
    assert nobody == []
    assert alone.startswith("No map of layer3.2.relu speaks for the prediction 'monkey'")
    silent = replace(traced, values=traced.values * 0, change=traced.change * 0)
    alone, nobody = told(early, silent)
    assert nobody == []
    assert alone.strip().endswith("image does not make the prediction 'monkey' fire at all.")


def test_what_makes_the_difference_is_told_with_the_other_image(bench, view):
    name = "layer3.2.relu"
    found, layer = stored_triplet(bench, view), bench.layers.find(name)
    early = view.but(map=None, how="quadratic").after(Step("", None, source=name))
    traced = contribution_to(bench, found, early.traced, early.way)
    assert traced.foil == "source"

    def told(cause, contribution):
        at = early.but(cause=cause)
        shown = contents(bench, found, at, layer, contribution)
        sentence, *named = traced_winners(bench, found, at, contribution, shown, False)
        return "".join(words for span in sentence.children for words in span.children), named

    src, adv = (bench.class_names[found.path(role).label] for role in (Role.SOURCE, Role.ADVERSARIAL))
    for role, own, rival, other in (
        ("source", src, adv, "adversarial"),
        ("adversarial", adv, src, "source"),
        ("target", adv, src, "source"),
    ):
        sentence, named = told(role, traced)
        assert sentence.startswith(
            f"Of the maps of {name} these contribute most to how the margin of {own!r} over {rival!r} on "
        )
        assert f" on the {role} image differs from the {other} image" in sentence
        assert named
    nothing = told("adversarial", replace(traced, values=traced.values * 0))[0]
    assert nothing.startswith(f"No map of {name} makes the margin of {adv!r} over {src!r} on the adversarial image")
    same = told("source", replace(traced, change=traced.change * 0))[0]
    assert same.startswith(f"With the maps of {name} as on the adversarial image, the margin of {src!r} over {adv!r}")
    assert same.strip().endswith("stays as it is.")
    mean = contribution_to(bench, found, early.traced, Way("quadratic", "mean"))
    assert (
        f"the prediction {adv!r} on the adversarial image differs from the mean over images of third"
        in told("adversarial", mean)[0]
    )
