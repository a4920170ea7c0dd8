"""The view: what is written to the address is read back, and what is no view is refused in a sentence; it names
which datapaths are shown, everywhere alike."""

import json
import re
from pathlib import Path

import pytest
from dash import no_update

from aevis_dash.callbacks import background
from aevis_dash.callbacks.layer.treemap import contributions_of
from aevis_dash.callbacks.view import opening as openings
from aevis_dash.callbacks.view import state as views
from aevis_dash.callbacks.view.address import check, checked_view, from_search, remainder
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.opening import comparable
from aevis_dash.callbacks.view.state import (
    View,
    changes,
    datapaths_of,
    from_data,
    methods,
    shares,
    wanted_of,
    without_own,
)
from aevis_dash.callbacks.view.steps import Step
from aevis_dash.config import ExtractionParameters
from aevis_dash.domain import AevisError
from aevis_dash.workbench import open_workbench

FULL = View(
    example="panda-00-mifgsm8x10",
    target="monkey 1.png",
    method="gradient",
    share=0.005,
    compared=("panda 0.png", "monkey ~1.png"),
    plot="dots",
    distance="gates",
    gap="equal",
    folds=("layer1", "layer2.0"),
    pinned=("relu",),
    layer="layer1.0.relu",
    map=3,
    area=(0, 1, 4, 5),
    pair="src-tar",
    cause="source",
    how="exact",
    sort="channel",
    keep="shared",
    cells="all",
    faces="off",
    look="over",
    best="relevance",
    on="target",
    maps=(3, 1),
    replacement="zero",
    steps=(
        Step("layer2.0.relu", 5, (1, 1, 3, 4, 0, 2, 5), "layer1.0.relu", note="ear ~ or: not?"),
        Step("layer1.0.relu", 0, None, "relu", parent=0, on="source"),
        Step("", None, None, "layer3.0.relu"),
        Step("layer3.0.relu", None, maps=(7, 2), replacement="mean", parent=2),
    ),
    at=1,
    margins=(-0.5, 3.25),
    scores=(-1.5, 6.0),
)


ADDRESS = (
    "?example=panda-00-mifgsm8x10&target=monkey%201.png&method=gradient&share=0.005&layer=layer1.0.relu&map=3"
    "&area=0,1,4,5&maps=3,1&steps=-1:layer2.0.relu:5:1,1,3,4,25:layer1.0.relu:::ear%2520%257E%2520or%253A%2520not%253F~"
    "0:layer1.0.relu:0::relu::::source~-1::::layer3.0.relu:::~2:layer3.0.relu::::7,2:mean:"
    "&compared=panda%25200.png~monkey%2520%257E1.png&folds=layer1~layer2.0&pinned=relu&plot=dots&distance=gates&gap=equal"
    "&pair=src-tar&cause=source&how=exact&sort=channel&keep=shared&cells=all&faces=off&look=over&best=relevance&replacement=zero&on=target&at=1"
    "&margins=-0.5,3.25&scores=-1.5,6"
)
"""A link that someone has kept: it must be read for as long as there are links."""


@pytest.mark.parametrize("view", [View(), FULL, View(example="a", map=0), View(share=0.0)])
def test_a_store_gives_the_view_back(view):
    assert from_data(json.loads(json.dumps(view.to_data()))) == view


def test_the_scripts_know_the_fields_by_their_names():
    types = Path(__file__).parents[2].joinpath("types.d.ts").read_text(encoding="utf-8")
    for name, kind in (("View", View), ("Step", Step)):
        (body,) = re.findall(rf"interface {name} {{\n(.*?)\n}}", types, re.DOTALL)
        assert re.findall(r"^  (\w+): ", body, re.MULTILINE) == list(kind.__dataclass_fields__)


def test_an_answer_names_what_it_changes_and_what_goes_with_it():
    before = View(example="a", layer="relu", map=3, maps=(1,), sort="channel")
    assert changes(before, before) is no_update
    named = lambda after: changes(before, after)["fields"]  # noqa: E731
    assert named(before.but(sort="fill")) == {"sort": "fill"}
    assert named(before.but(maps=(1, 2))) == {"maps": (1, 2)}
    assert named(before.but(area=(0, 0, 1, 1), on="source")) == {"area": (0, 0, 1, 1), "on": "source"}
    assert named(before.but(map=4)) == {"map": 4, "on": ""}, "an image that was chosen for another map is none for this"
    assert named(before.but(layer="fc", map=3)) == {"layer": "fc", "map": 3, "area": None, "on": "", "maps": (1,)}
    another = named(before.at_example("b"))
    assert (another["steps"], another["at"]) == ((), -1), "what was unset when it was asked is unset after"
    assert not {"sort", "pair"} & set(another)
    found = changes(before, before.but(sort="fill"))
    assert (found["of"], found["was"]) == ("a", {"sort": "channel", "layer": "relu"})
    step = Step("relu", 3, source="fc")
    assert set(named(before.but(steps=(step,)))) == {"steps", "at"}, "a step's number is one of these steps"


def test_a_link_is_read():
    assert from_search(ADDRESS) == FULL
    assert from_search("") == from_search("?") == View()
    assert from_search("?share=0") == View(share=0.0)
    before = from_search("?steps=-1:layer1.0.relu:0::relu:::")
    assert before.steps == (Step("layer1.0.relu", 0, None, "relu", on="adversarial"),), "a link from before"


def test_only_the_step_that_led_to_the_shown_layer_is_traced():
    assert FULL.traced is None, "the step leads to relu, which is not shown"
    assert FULL.but(layer="relu").traced == FULL.steps[1]
    assert FULL.but(layer="relu", at=-1).traced is None
    assert FULL.path == [0, 1]


def test_what_belongs_to_what_was_changed_is_cleared_unless_it_is_said():
    here = FULL.edit(layer="relu")
    assert here == FULL.but(layer="relu", map=None, area=None, on="", maps=())
    assert FULL.edit(layer="relu", map=7, area=(0, 0, 1, 1), on="source") == here.but(
        map=7, area=(0, 0, 1, 1), on="source"
    )
    assert FULL.edit(map=7) == FULL.but(map=7, on=""), "an image that was chosen for another map"
    assert FULL.edit(sort="fill") == FULL.but(sort="fill")
    assert FULL.edit(steps=FULL.steps[:2]) == FULL.but(steps=FULL.steps[:2])


def test_another_example_keeps_how_things_are_shown_and_nothing_of_the_one_before():
    there = FULL.at_example("cat-01")
    own = ("example", "target", "compared", "layer", "map", "area", "on", "maps", "steps", "at")
    plain = View(example="cat-01")
    assert [getattr(there, name) for name in own] == [getattr(plain, name) for name in own]
    assert there == FULL.but(**{name: getattr(plain, name) for name in own})
    assert FULL.but(sort="contribution").at_example("cat-01").sort == "fill", "there are no contributions yet"


LEAKED = ("int()", "float", "unpack", "literal", "base 16", "range")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?map=panda", "its `map` says 'panda', where a whole number is expected"),
        ("?map=1.0", "its `map` says '1.0', where a whole number"),
        ("?at=x", "its `at` says 'x', where a whole number"),
        ("?share=few", "its `share` says 'few', where a number from 0 to 1"),
        ("?maps=a", "its `maps` says 'a', where a whole number"),
        ("?maps=1,,2", "its `maps` says '', where a whole number"),
        ("?area=a,b,c,d", "its `area` says 'a', where a whole number"),
        ("?area=1,2", "its `area` says '1,2', where an area of four whole numbers"),
        ("?area=1,2,3,4,x", "its `area` says '1,2,3,4,x', where an area of four"),
        ("?area=1,2,3,4,-5", "its `area` says '1,2,3,4,-5', where an area of four"),
        ("?area=1,2,3,4,5,6", "its `area` says '1,2,3,4,5,6', where an area of four"),
        ("?margins=1,b", "its `margins` says '1,b', where two numbers with a comma"),
        ("?scores=,3", "its `scores` says ',3', where two numbers with a comma"),
        ("?steps=only:two", "its `steps` says 'only:two', where a step of eight or nine parts"),
        ("?steps=-1:::::::~", "its `steps` says '', where a step of eight or nine parts"),
        ("?steps=x:relu:1:::::", "its `steps` says 'x', where a whole number"),
    ],
)
def test_what_is_no_view_is_refused_by_the_name_of_the_part(search, said):
    with pytest.raises(AevisError, match="link cannot be read") as refusal:
        from_search(search)
    assert said in str(refusal.value)
    assert not any(words in str(refusal.value) for words in LEAKED)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("", []),
        (ADDRESS, []),
        ("?example=e&utm=x&b", ["The link says `utm`, `b`, which this page does not know; the rest is shown."]),
        ("?gap=equal&b=1", ["The link says `b`, which this page does not know; the rest is shown."]),
        ("?a=1&b=1&c=1&d=1&e=1", ["The link says `a`, `b`, `c` and 2 more, which this page does not know."]),
        ("?map=1&map=2&example=e", ["The link says `map` more than once; only the first counts."]),
        ("?map=&example=e", ["The link says nothing for `map`; the rest is shown."]),
        ("?map=", ["The link says nothing for `map`."]),
        ("?gap=equal", []),
    ],
)
def test_what_is_left_out_of_a_link_is_told(search, said):
    assert remainder(search) == said
    views = [View(), View(example="e"), View(example="e", map=1), View(gap="equal"), FULL]
    assert from_search(search) in views


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("?map=1", ["The link names no example, and `map` belongs to an example: it is left out."]),
        (
            "?layer=relu&map=1&gap=equal&example=",
            [
                "The link says nothing for `example`; the rest is shown.",
                "The link names no example, and `layer`, `map` belong to an example: they are left out; "
                "the rest is shown.",
            ],
        ),
        (
            "?compared=a&dark=1",
            [
                "The link says `dark`, which this page does not know.",
                "The link names no example, and `compared` belongs to an example: it is left out.",
            ],
        ),
    ],
)
def test_what_belongs_to_an_example_that_a_link_does_not_name_is_told(search, said):
    assert remainder(search) == said


def test_nothing_is_the_rest_of_a_link_that_is_refused():
    assert remainder("?layer=x&a=1", refused=True) == ["The link says `a`, which this page does not know."]


def test_compared_images_that_the_example_does_not_have_are_told_and_left_out(world, monkeypatch):
    bench = open_workbench(world)
    example = bench.workspace.settings.opens_on
    triplet = stored_triplet(bench, View(example=example))
    assert triplet is not None
    own = (triplet.plan.candidates[0], triplet.plan.nulls[0])
    view = View(example=example, compared=own)
    assert comparable(bench, view) == (view, [])
    known = {triplet.plan.example.source, *triplet.plan.candidates, *triplet.plan.nulls}
    strangers = (next(image.file for image in bench.workspace.images if image.file not in known), "nowhere.png")
    left, (said,) = comparable(bench, view.but(compared=(*own, *strangers)))
    assert left == view
    assert f"compares with {strangers[0]!r}, 'nowhere.png', which this example has no datapath of" in said
    monkeypatch.setattr(openings, "DATAPATHS", 2)
    left, (said,) = comparable(bench, view)
    assert left.compared == ()
    assert said == "The link compares 3 datapaths, and 2 are the most; the triplet's are shown."


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"gap": "<b>"}, "no gap '<b>'. It is one of: measured, equal"),
        ({"compared": ["nowhere.png"]}, "'nowhere.png', which is no image here"),
        ({"layer": "attic"}, "no layer 'attic'"),
        ({"example": "nobody"}, "no example 'nobody'"),
    ],
)
def test_a_forged_state_is_checked_as_a_link_is(forged, said, drawn_world):
    bench = open_workbench(drawn_world)
    with pytest.raises(AevisError, match=re.escape(said)):
        check(from_data(forged), bench)
    with pytest.raises(AevisError, match=re.escape(said)):
        checked_view(forged, bench)


def test_every_callback_checks_the_state_that_it_is_given():
    """`from_data` alone takes what no page shows."""
    folder = Path(views.__file__).parents[1]
    reads = {file.name: file.read_text(encoding="utf-8") for file in folder.rglob("*.py")}
    known = {"state.py", "address.py", "background.py"}
    assert {name for name, text in reads.items() if re.search(r"\bfrom_data\(", text)} == known
    jobs = reads["background.py"]
    assert jobs.count(" from_data(") == jobs.count("check(view, jobs.workbench())") == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [("share", 0.3), ("on", "x"), *((name, "x") for name in views.CHOSEN)],
)
def test_unknown_choices_in_a_link_are_refused(name, value, drawn_world):
    with pytest.raises(AevisError, match="The page or the link names no"):
        check(View(**{name: value}), open_workbench(drawn_world))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": (Step("relu", 1, None, "relu", parent=0),)}, "follows no step 0"),
        ({"steps": (Step("relu", None, maps=(1,), replacement="love"),)}, "no replacement 'love'"),
        ({"steps": (Step("relu", 99, None, "relu"),)}, "there is no map 99"),
        ({"steps": (Step("", None, None, "relu", on="adv"),)}, "on no image 'adv'"),
        ({"steps": (Step("", None, None, "attic"),)}, "no layer 'attic'"),
        ({"steps": (Step("layer1.0.relu", 3, None, "layer4.2.relu"),)}, "leads nowhere near"),
        ({"steps": (Step("", None, None, "relu"),) * 201}, "no list of at most 200"),
        ({"pinned": ("attic",)}, "no layer 'attic'"),
        ({"at": 0}, "no step 0, it has 0"),
        ({"layer": "relu", "maps": (99,)}, "there is no map 99"),
        ({"map": 9999}, "of no layer"),
        ({"maps": (1,)}, "of no layer"),
        ({"area": (0, 0, 1, 1)}, "of no layer"),
        ({"layer": "relu", "map": 1, "area": (0, 0, 2, 2, 3, 9)}, "no places of a rectangle"),
    ],
)
def test_a_trail_in_a_link_names_what_there_is(change, words, drawn_world):
    with pytest.raises(AevisError, match=words):
        check(from_data(View(**change).to_data()), open_workbench(drawn_world))


CIRCLE = {"layer": "relu", "map": 1, "source": "relu", "parent": 0}


@pytest.mark.parametrize(
    "forged",
    [
        *("panda", ["panda"], {"steps": [CIRCLE]}, {"steps": [CIRCLE | {"parent": 1}, CIRCLE]}),
        *({"steps": CIRCLE}, {"steps": [7]}, {"steps": [CIRCLE | {"parent": "-1"}]}, {"steps": [{"parent": -1}]}),
        *({"steps": [CIRCLE | {"parent": -1}] * 201}, {"steps": [CIRCLE | {"parent": -1, "note": "x" * 10**6}]}),
        *({"at": 5}, {"at": -2}, {"at": True}, {"at": 0.0}, {"at": None}, {"map": "1"}, {"map": 10**400}),
        *({"area": [0, 0, 1]}, {"area": [0, 0, 1, None]}, {"area": [0] * 10**5}, {"area": "0011"}),
        *({"area": [3, 3, 0, 0]}, {"area": [0, 0, 20000, 20000]}, {"area": [-1, 0, 1, 1]}, {"area": [0, 0, 0, 0]}),
        *({"maps": ["1"]}, {"maps": [1] * 10**5}, {"maps": {"1": 2}}, {"pinned": "relu"}, {"pinned": [3]}),
        *({"share": 5}, {"share": "0.1"}, {"share": -0.1}, {"share": True}, {"share": float("nan")}),
        *({"margins": [1]}, {"margins": [2, 1]}, {"margins": ["1", "2"]}, {"margins": [True, 2]}, {"margins": 3}),
        *({"margins": [float("nan"), 1]}, {"margins": [0, float("inf")]}, {"margins": [0, 1, 2]}),
        *({"scores": [1]}, {"scores": [2, 1]}, {"scores": "12"}, {"scores": [float("nan"), 1]}),
        *({"example": ["x"]}, {"layer": 3}, {"sort": None}, {"how": "x" * 2000}, {"folds": ["a"] * 2000}),
    ],
)
def test_a_forged_state_of_the_page_is_refused_in_a_sentence(forged):
    """A step whose parent is itself looped a thread of the server for ever."""
    with pytest.raises(AevisError, match=r"trail|In what the page or the link says"):
        from_data(forged)


def test_a_vast_area_in_a_link_is_refused_at_once():
    """250,000 hexadecimal digits took half a minute."""
    for search in (f"?layer=relu&area=0,0,9,9,{'f' * 250_000}", f"?steps=-1:relu:1:0,0,9,9,{'f' * 250_000}:relu:::"):
        with pytest.raises(AevisError, match="more than 65536 neurons"):
            from_search(search)


def test_a_layer_that_a_link_pins_twice_is_pinned_once():
    assert from_search("?pinned=relu~relu~layer1.0.relu").pinned == ("relu", "layer1.0.relu")


def test_a_trail_grows_no_longer_than_its_link_may_be():
    """The link of the longest trail is read back, and a step more is refused before it is taken."""
    steps = tuple(Step("relu", 1, (0, 0, 1, 1), "relu", note=f"{i}") for i in range(200))
    assert from_data(View(steps=steps).to_data()).steps == steps
    other = Step("relu", 2, None, "relu")
    with pytest.raises(AevisError, match="at most 200 steps"):
        View(layer="relu", steps=steps).after(other)
    assert len(View(layer="relu", steps=steps[:199]).after(other).steps) == 200


@pytest.mark.parametrize("forged", [View(method="guess"), View(share=0.3), View(share=1.0)])
def test_a_job_for_what_the_page_does_not_offer_is_refused(forged, drawn_world):
    with pytest.raises(AevisError, match="offers no"):
        wanted_of(forged, open_workbench(drawn_world).workspace.settings.extraction)


def test_an_unknown_method_or_size_is_refused_with_the_choices(drawn_world):
    bench = open_workbench(drawn_world)
    with pytest.raises(AevisError, match=r"no method 'guess'\. It is one of: elimination, needed, .*, random\.$"):
        check(View(method="guess"), bench)
    for share in (0.3, -1.0, float("nan")):
        with pytest.raises(AevisError, match=r"no share .*It is one of: 0, 0\.005, 0\.01, 0\.02, 0\.05, 0\.1, 0\.2\.$"):
            check(View(share=share), bench)
    check(View(method="gradient", share=0.0), bench)


def test_the_workspaces_own_method_and_size_are_no_part_of_the_address():
    own = ExtractionParameters(method="gradient", share=0.03)
    assert without_own(View(method="gradient", share=0.03), own) == View()
    assert without_own(View(method="random", share=0.0), own) == View(method="random", share=0.0)
    assert (methods(own)[0], len(set(methods(own)))) == ("gradient", len(methods(own)))
    assert shares(own) == (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)


def test_a_view_asks_for_the_workspaces_parameters_but_for_what_it_names():
    own = ExtractionParameters(method="gradient", share=0.05, hold=0.7)
    assert wanted_of(View(), own) == own
    assert wanted_of(View(method="random"), own) == ExtractionParameters(method="random", share=0.05, hold=0.7)
    assert wanted_of(View(share=0.0), own) == ExtractionParameters(method="gradient", share=0.0, hold=0.7)


def test_each_method_and_size_has_its_own_datapaths(world):
    bench = open_workbench(world)
    view = View(example=bench.workspace.settings.opens_on)
    other = view.but(method="gradient", share=0.05)
    own = stored_triplet(bench, view)
    assert own is not None
    assert own.adversarial.method == "elimination"
    assert stored_triplet(bench, other) is None
    bench.datapaths.extract(other.example, wanted=wanted_of(other, bench.workspace.settings.extraction))
    found = stored_triplet(bench, other)
    assert found is not None
    assert found.adversarial.method == "gradient"
    assert stored_triplet(bench, view.but(method="gradient")) is None


def test_jobs_are_asked_for_the_datapaths_that_the_view_names(monkeypatch, drawn_world):
    """What the page wants is the job's identity, so visitors of two methods never share one."""
    bench, asked = open_workbench(drawn_world), []
    monkeypatch.setattr(background.jobs, "workbench", lambda: bench)
    monkeypatch.setattr(background.jobs, "extract", lambda *told, **_: asked.append(told[:3]))
    monkeypatch.setattr(background.jobs, "contribute", lambda *told: asked.append(told[:3]))
    monkeypatch.setattr(background.jobs, "propose", lambda *told: asked.append(told[:3]))
    own = bench.workspace.settings.extraction
    plain = View(example=bench.workspace.settings.opens_on, layer="layer3.0.relu", map=1)
    for view in (plain, plain.but(method="gradient"), plain.but(method="gradient", share=0.05)):
        data = json.loads(json.dumps(datapaths_of(view) | {"part": "first"}))
        answer = background.extract_job(lambda _: None, data, "page")
        assert (answer["open"], answer["result"]["ready"]) == (False, data)
        traced = contributions_of(view.after(Step("layer3.0.relu", 1, None, "relu")))
        assert background.solve_job(lambda _: None, json.loads(json.dumps(traced)), "page")["open"] is False
        background.suggest_job(lambda _: None, 1, view.to_data(), "page")
        assert asked[-3:] == [(view.example, None, wanted_of(view, own))] * 3
    assert len({json.dumps(datapaths_of(v)) for v in (plain, plain.but(method="gradient"), plain.but(share=0.1))}) == 3
