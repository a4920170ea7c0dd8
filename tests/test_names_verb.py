"""The names of maps on the command line: found by class or part, and told beside the numbers of maps."""

import json
import shutil

import pytest

from aevis_dash.cli import main
from aevis_dash.core.names import NameKind
from aevis_dash.workbench import open_workbench

LAST = "layer4.2.relu_1"


@pytest.fixture(scope="module")
def root(drawn_world, tmp_path_factory):
    """A workspace whose last block is named."""
    made = shutil.copytree(drawn_world, tmp_path_factory.mktemp("told") / "world")
    open_workbench(made).naming.learn()
    return made


@pytest.fixture
def document(root, capsys):
    """Runs a command on the workspace with --json; gives its document."""

    def run(verb, *argv):
        assert main([verb, str(root), *argv, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def names_in(facts):
    return [(NameKind(n["kind"]), n["name"]) for n in facts["names"]]


def test_maps_that_speak_for_a_class_are_found_the_surest_first(root, document, capsys):
    bench, found = open_workbench(root), document("names", "--for", "panda")["maps"]
    wanted = {
        (layer.name, channel)
        for layer in bench.layers.layers
        for channel, own in enumerate(bench.naming.of_layer(layer.index).names)
        if any((name.kind, name.name) == (NameKind.FOR, "panda") for name in own)
    }
    assert {(each["layer"], each["map"]) for each in found} == wanted
    assert len(wanted) > 5
    scores = [next(n["score"] for n in each["names"] if n["kind"] == "for") for each in found]
    assert scores == sorted(scores, reverse=True)
    assert main(["names", str(root), "--for", "panda"]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[2].split()[:2] == [found[0]["layer"], str(found[0]["map"])]
    assert "looked at from layer4.2.relu to the end (2 of 25 layers)" in text


def test_all_that_is_asked_for_must_hold(document):
    both = document("names", "--for", "panda", "--part", "face")["maps"]
    for each in both:
        assert {(NameKind.FOR, "panda"), (NameKind.PART, "face")} <= set(names_in(each))
    alone = document("names", "--part", "face")["maps"]
    assert 0 < len(both) < len(alone)
    assert {each["layer"] for each in document("names", "--part", "face", "--layer", LAST)["maps"]} == {LAST}
    for option, kind in (("--against", NameKind.AGAINST), ("--images-of", NameKind.IMAGES)):
        assert all((kind, "cat") in names_in(each) for each in document("names", option, "cat")["maps"])


def test_without_a_question_the_names_of_each_layer_are_counted(root, document, capsys):
    bench, counts = open_workbench(root), document("names")["layers"]
    assert [each["layer"] for each in counts] == [layer.name for layer in bench.layers.layers]
    for each, layer in ((counts[0], 0), (counts[-1], 24)):
        own = bench.naming.of_layer(layer).names
        assert each["named"] == sum(map(bool, own))
        assert each["part"] == sum(any(n.kind is NameKind.PART for n in of) for of in own)
    assert [each["classes_looked_at"] for each in counts] == [False] * 23 + [True] * 2
    assert main(["names", str(root)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("relu ", LAST))]
    assert rows[0][3:5] == ["-", "-"], "classes were not looked at"
    assert rows[1][3] == str(counts[-1]["for"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--for", "dragon"], "dragon"),
        (["--part", "wing of a dragon"], "There is no part 'wing of a dragon'. Choose one of: "),
        (["--layer", "nope"], "nope"),
        (["--example", "nobody"], "nobody"),
        (["--against", " "], "--against is empty"),
    ],
)
def test_what_is_not_there_is_refused(root, argv, words, capsys):
    assert main(["names", str(root), *argv]) == 2
    assert words in capsys.readouterr().err


def test_before_learning_it_says_what_to_do(world, capsys):
    assert main(["names", str(world), "--for", "panda"]) == 2
    assert f"Give `aevis learn {world}`" in capsys.readouterr().err


def test_names_stand_beside_the_numbers_of_maps(root, document, capsys):
    bench = open_workbench(root)
    example = bench.workspace.settings.opens_on

    def said(layer, channel):
        return bench.naming.of_layer(bench.layers.find(layer).index, example).said(channel)

    listed = document("extract", "--example", example, "--layer", LAST, "--no-features")["examples"][0]["maps"]
    assert [each["name"] for each in listed] == [said(LAST, each["map"]) for each in listed]
    assert any(each["names"] for each in listed)
    traced = document("contribute", "--example", example, "--how", "quadratic")
    for role in traced["roles"]:
        assert [each["name"] for each in role["maps"]] == [said(LAST, each["map"]) for each in role["maps"]]
    assert main(["contribute", str(root), "--example", example, "--how", "quadratic"]) == 0
    first = traced["roles"][0]["maps"][0]
    assert f"map {first['map']} of {LAST} {first['name']}\n" in capsys.readouterr().out
    hops = document("trail", "--how", "quadratic")["hops"]
    assert [each["name"] for each in hops] == [said(each["layer"], each["map"]) for each in hops]
    assert main(["trail", str(root), "--how", "quadratic"]) == 0
    told = next(each for each in hops if each["told"])
    brief = bench.naming.of_layer(bench.layers.find(told["layer"]).index, example).brief(told["map"])
    assert f"{told['layer']} map {told['map']}, which {brief}: " in capsys.readouterr().out


def test_where_no_names_are_stored_the_numbers_stand_alone(world, capsys):
    example = open_workbench(world).workspace.settings.opens_on
    said = ["extract", str(world), "--example", example, "--layer", "layer1.1.relu", "--no-features", "--json"]
    assert main(said) == 0
    maps = json.loads(capsys.readouterr().out)["examples"][0]["maps"]
    assert {(each["name"], len(each["names"])) for each in maps} == {(None, 0)}


def test_learn_says_how_many_maps_have_a_name(root, document):
    told, bench = document("learn"), open_workbench(root)
    every = [own for i in range(25) for own in bench.naming.of_layer(i).names]
    assert told["named"] == sum(map(bool, every))
    assert told["layers_looked_at_for_classes"] == 2
