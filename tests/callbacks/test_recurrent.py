"""All examples at once: the matrix of classes and the lists of maps, and what a click on a map lists."""

import pytest

from aevis_dash import divergences, ids, recurrence
from aevis_dash.callbacks.examples import recurrent
from aevis_dash.callbacks.examples.divergences import narrow, recurring_culprits
from aevis_dash.callbacks.view.state import View
from aevis_dash.domain import AevisError
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    bench = open_workbench(filling_world)
    for example in divergences.misclassified(bench)[:3]:
        bench.datapaths.extract(example.id)
    return bench


@pytest.fixture(scope="module")
def found(bench):
    return recurrence.recurring(bench, divergences.misclassified(bench), bench.workspace.settings.extraction)


def answer(bench, output, store, value):
    """What the callback that sets a component answers to a store's value."""
    app = create_app(bench)
    name, declared = next((n, d) for n, d in app.callback_map.items() if f".{output}." in f".{n}")
    body = {
        "output": name,
        "outputs": [{"id": o.component_id, "property": o.component_property} for o in declared["output"]],
        "inputs": [{"id": store, "property": "data", "value": value}],
        "changedPropIds": [f"{store}.data"],
    }
    said = app.server.test_client().post("/_dash-update-component", json=body)
    return said.json.get("response", {}) if said.status_code == 200 else {}


def test_the_matrix_counts_every_misclassified_example(bench):
    asked = {"band": "class", "by": "source", "picked": None, "theme": "light"}
    said = answer(bench, ids.CONFUSIONS, ids.DIVERGENCES_ASKED, asked)
    cells = next(t for t in said[ids.CONFUSIONS]["figure"]["data"] if t["name"] == "confusions")
    labels = divergences.class_pairs(bench, divergences.misclassified(bench))
    counted = {
        tuple(pair): count
        for pairs, counts in zip(cells["customdata"], cells["z"], strict=True)
        for pair, count in zip(pairs, counts, strict=True)
        if count
    }
    assert counted == {pair: labels.count(pair) for pair in labels}
    judged = [j for j in bench.judging.judged_examples() if j.misclassified]
    assert labels == [(j.source.label, j.adversarial.label) for j in judged], "what the lists of classes filter by"
    assert said[ids.CONFUSIONS_NOTE]["children"].startswith(f"{len(labels)} misclassified examples. Click a cell")


def test_what_stands_together_is_said():
    found = divergences.confusions([(n, n + 1) for n in range(40)] + [(50, 1)], most=25)
    said = recurrent.confusions_note(found)
    assert said.startswith(
        "41 misclassified examples. 17 rarer source classes and 16 rarer classes taken for stand together as others."
    )


def test_the_lists_are_those_of_the_stored_datapaths(bench, found):
    view = View(example=found.examples[0])
    data = {"example": view.example, "method": None, "share": None}
    said = answer(bench, ids.RECURRENT, ids.RECURRENT_VIEW, data)
    assert f"{found.stored} of {found.asked} misclassified examples" in said[ids.RECURRENT_NOTE]["children"]
    gained, lost = said[ids.RECURRENT]["children"]
    for drawn, side in ((gained, found.gained), (lost, found.lost)):
        head, verdict, table = drawn["props"]["children"]
        assert head["props"]["children"] == side.side
        assert verdict["props"]["children"].startswith(recurrence.verdict(side, len(found.examples)))
        rows = table["props"]["children"][1]["props"]["children"]
        assert len(rows) == len(side.maps)
        for row, one in zip(rows, side.maps, strict=True):
            show, those, chance, others, _classes = (cell["props"]["children"] for cell in row["props"]["children"])
            place = {"data-layer": one.layer, "data-map": str(one.map), "data-side": side.side}
            assert place.items() <= show["props"].items()
            assert place.items() <= those["props"].items()
            assert those["props"]["children"] == str(len(one.examples))
            assert (chance, others) == (f"{one.chance:.1f}", f"{one.others:.1f}")
            here = view.example in one.examples
            assert show["props"]["children"].endswith(" •") == here
            assert ("not " in show["props"]["title"]) != here
            assert (row["props"].get("className") == "beyond") == one.beyond


def test_only_maps_of_the_shown_example_are_marked(bench, found):
    """Of an example whose datapaths are not stored none is."""
    marks = lambda example: str(recurrent.recurrent_lists(found, View(example=example))).count(" •")  # noqa: E731
    listed = (*found.gained.maps, *found.lost.maps)
    for example in found.examples:
        assert marks(example) == sum(example in one.examples for one in listed)
    other = next(e.id for e in divergences.misclassified(bench) if e.id not in found.examples)
    assert marks(other) == 0 < sum(map(marks, found.examples))


def test_a_closed_dialog_asks_for_nothing(bench):
    assert answer(bench, ids.RECURRENT, ids.RECURRENT_VIEW, None) == {}


def test_of_one_example_nothing_recurs_and_that_is_said(bench, found):
    wanted = bench.workspace.settings.extraction
    one = recurrence.recurring(bench, [bench.workspace.example(found.examples[0])], wanted)
    assert recurrent.recurrent_lists(one, View()) == []
    assert "Maps recur from two examples on" in recurrent.recurrent_note(one, wanted)
    assert "Maps recur from two" not in recurrent.recurrent_note(found, wanted)


def test_a_map_lists_the_examples_in_which_it_recurs(bench, found):
    for side in (found.gained, found.lost):
        one = side.maps[0]
        picked = {"side": side.side, "layer": one.layer, "map": one.map, "method": None, "share": None}
        assert narrow(bench, picked) == set(one.examples)
        assert recurrent.picked_words(picked) == f"map {one.map} of {one.layer} is {side.side}"
        assert narrow(bench, picked | {"method": "gradient"}) is None, "of another method none are stored"


WRONG = [
    ({"side": "kept"}, "never 'kept'"),
    ({"layer": "layer9"}, "no layer 'layer9'"),
    ({"map": 4096}, "no map 4096"),
    ({"map": "3"}, "map"),
    ({"method": "magic"}, "no method 'magic'"),
    ({"share": 7}, "share"),
    ({"layer": None}, "layer"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_what_no_page_sends_is_refused(bench, found, wrong, words):
    one = found.gained.maps[0]
    picked = {"side": "gained", "layer": one.layer, "map": one.map, "method": None, "share": None}
    with pytest.raises(AevisError, match=words):
        narrow(bench, picked | wrong)


def test_a_culprit_of_one_pair_does_not_recur():
    listed = [{"culprits_class": "a:1 a:2"}, {"culprits_class": "a:2"}]
    assert [(c.name, c.pairs) for c in recurring_culprits(listed, "class")] == [("a:2", 2)]
