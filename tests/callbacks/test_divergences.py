"""The whole set's view: it is drawn anew when the examples change, not whenever the gallery is."""

import pytest

from aevis_dash import divergences, ids
from aevis_dash.callbacks.examples.gallery import classes
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench


@pytest.fixture
def bench(world):
    return open_workbench(world)


@pytest.fixture
def app(bench):
    return create_app(bench)


def callback_of(app, name):
    """The outputs of the callback that sets a component, as one text, and how it was declared."""
    return next((outputs, declared) for outputs, declared in app.callback_map.items() if f".{name}." in f".{outputs}")


def answer(app, name, **values):
    """What the callback that sets a component answers, by component, when the page holds these values; what it does
    not change is not among it."""
    output, declared = callback_of(app, name)
    given = {
        part: [each | {"value": values.get(each["id"])} for each in declared[part]] for part in ("inputs", "state")
    }
    outputs = [{"id": each.component_id, "property": each.component_property} for each in declared["output"]]
    said = app.server.test_client().post(
        "/_dash-update-component", json=given | {"output": output, "outputs": outputs, "changedPropIds": []}
    )
    return said.json["response"]


def digest(app, known=None, between=(-9, 9)):
    """What the gallery, asked for with that slider, says of the examples; None where they are those it knows."""
    said = answer(app, ids.COUNT, **{ids.RANGE: list(between), ids.EXAMPLES: known})
    return said.get(ids.EXAMPLES, {}).get("data")


def without_an_example(world):
    table = world / "examples.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))


def without_a_label(world):
    """A change of the table of images that changes no score."""
    table = world / "images.csv"
    table.write_text(table.read_text().rstrip().rpartition(",")[0] + ",\n")


def test_neither_the_slider_nor_a_filter_draws_the_whole_set(app):
    for name in (ids.DIVERGENCES_ASKED, ids.PICKED_TEXT):
        heard = {each["id"] for each in callback_of(app, name)[1]["inputs"]}
        assert {ids.EXAMPLES, ids.COMPARED, ids.PICKED} <= heard
        assert not heard & {ids.COUNT, ids.CARDS, ids.RANGE, ids.ONLY_MISCLASSIFIED, ids.CLASS_FROM, ids.CLASS_TO}


@pytest.mark.parametrize("change", [without_an_example, without_a_label])
def test_what_the_whole_set_listens_to_changes_with_the_tables_only(app, world, change):
    before = digest(app)
    assert before
    assert digest(app, before) is None
    assert digest(app, before, between=(0, 1)) is None
    change(world)
    after = digest(app, before)
    assert after
    assert digest(app, after) is None


def test_an_image_that_is_judged_otherwise_is_a_change(app, world, bench):
    before, example = digest(app), bench.judging.judged_examples()[0].example
    bench.workspace.path(example.adversarial).write_bytes(bench.workspace.path(example.source).read_bytes())
    assert digest(app, before)


def test_examples_that_changed_since_they_were_compared_are_told_until_they_are_compared_again(app, world, bench):
    picked = {"band": "class", "layer": divergences.NEVER, "by": "source", "group": ""}
    said = lambda: answer(app, ids.PICKED_TEXT, **{ids.PICKED: picked})[ids.PICKED_TEXT]["children"]  # noqa: E731
    asked = {"band": "class", "by": "source", "picked": None, "theme": "light"}
    drawn = lambda: answer(app, ids.DIVERGENCES, **{ids.DIVERGENCES_ASKED: asked})  # noqa: E731
    divergences.listing(bench)
    assert said() == "never leave"
    assert "pairs" in drawn()[ids.DIVERGENCES_NOTE]["children"]
    without_an_example(world)
    assert said() == "the examples changed: compare all pairs again"
    assert drawn()[ids.COMPARE]["style"] == {}, "the button is there again"
    divergences.listing(bench)
    assert said() == "never leave"


def test_the_classes_to_choose_from_are_those_of_the_examples(bench):
    found, judged = classes(bench), bench.judging.judged_examples()
    assert {number for number, _ in found.sources} == {e.source.label for e in judged}
    assert {number for number, _ in found.taken_for} == {e.adversarial.label for e in judged}
    assert all(name == bench.class_names[number] for number, name in (*found.sources, *found.taken_for))
    assert [name for _, name in found.sources] == sorted(name for _, name in found.sources)
