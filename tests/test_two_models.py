"""Two models side by side on the same pairs: the same numbers for the same network, and what differs where they do."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_new_like import Grey, in_memory
from two_worlds import network, second_world, tuned, with_classes_moved

from aevis_dash import pair_profile
from aevis_dash.cli import main
from aevis_dash.cli.beside import rows_of_layers
from aevis_dash.core.evaluation import bootstrap
from aevis_dash.domain import AevisError, Intervention, Role
from aevis_dash.figures.beside import profiles_figure
from aevis_dash.figures.theme import LIGHT
from aevis_dash.pair_profile import PairAsked, joining
from aevis_dash.pairs_of_two import asked_second, chosen_pairs, shared_pairs
from aevis_dash.same_maps import known_kinship, stored_kinship
from aevis_dash.sample import Sample
from aevis_dash.sight import one_sight
from aevis_dash.two_models import CURVES, common_maps, compare, compare_pair, model_names, stored_pair
from aevis_dash.two_words import kinship_words, outcome_words, pairs_words
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.triplet import foil_of
from aevis_dash.world import train

FEW = Sample(3, seed=0)


@pytest.fixture(scope="module")
def first(drawn_world, tmp_path_factory):
    root = tmp_path_factory.mktemp("two") / "standard"
    return open_workbench(shutil.copytree(drawn_world, root))


@pytest.fixture(scope="module")
def wanted(first):
    return first.workspace.settings.extraction


@pytest.fixture(scope="module")
def moved(first):
    """The same network with its classes in another order."""
    model, names = with_classes_moved(network(first.workspace), first.class_names)
    return second_world(first.workspace.root.parent / "moved", first.workspace.root, model, names)


@pytest.fixture(scope="module")
def robust(first):
    """The network fine-tuned on its adversarials; some of them no longer fool it."""
    root = first.workspace.root
    return second_world(root.parent / "robust", root, tuned(root))


@pytest.fixture(scope="module")
def found(first, robust, wanted):
    shared = shared_pairs(first, robust)
    resisted = [name for name, pair in shared.items() if pair.resists][:2]
    fooled = [name for name, pair in shared.items() if not pair.resists][:2]
    assert len(resisted) == len(fooled) == 2
    return compare(first, robust, FEW, wanted, [*resisted, *fooled])


def test_the_same_network_has_the_same_numbers_whatever_the_order_of_its_classes(first, moved, wanted):
    found = compare(first, moved, FEW, wanted)
    assert found.alike
    assert len(found.pairs) == 3
    assert found.shared == found.fooled == sum(j.misclassified for j in first.judging.judged_examples())
    for pair in found.pairs:
        assert pair.first.target == pair.second.target
        np.testing.assert_array_equal(pair.first.adversarial, pair.second.adversarial)
        np.testing.assert_allclose(pair.first.d2, pair.second.d2, atol=1e-5)
        np.testing.assert_array_equal(pair.first.turned, pair.second.turned)
        assert (pair.first.leaves, pair.first.joins) == (pair.second.leaves, pair.second.joins)
        needed, other, both, chance = common_maps(found, pair, "adversarial")
        assert needed == other == both
        assert both > chance
    for line in found.lines:
        assert line.difference.mean == pytest.approx(0, abs=1e-3)
    assert found.kin.passed == tuple(layer.name for layer in first.layers.layers)
    assert kinship_words(found)[0] == "Map k of standard is map k of moved in all 25 layers of the same name and width."


def test_lines_are_medians_over_the_pairs_that_have_them(found):
    lines = {line.name: line for line in found.lines}
    depth = lines["depth at which adv joins tar"]
    sides = np.array([[pair.first.joins / 25, pair.second.joins / 25] for pair in found.pairs])
    assert depth.first == bootstrap(sides[:, 0], 0, statistic="median")
    assert depth.second.mean == np.median(sides[:, 1])
    assert depth.difference.mean == np.median(sides[:, 1] - sides[:, 0])
    turned = lines["maps that turn it back, % of a layer"]
    assert (turned.first.n, turned.second.n, turned.difference.n) == (4, 2, 2)
    assert turned.first.mean == pytest.approx(100 * np.median([pair.first.turned.mean() for pair in found.pairs]))


def test_a_profile_is_that_of_the_datapaths(first, wanted, found):
    for pair in found.pairs:
        triplet = first.datapaths.triplet(pair.pair.first.example.id)
        assert pair.first.target == triplet.image(Role.TARGET)
        apart = first.datapaths.distances(triplet, "activations")
        np.testing.assert_array_equal(pair.first.d2, apart.d2)
        assert joining(apart.share) == pair.first.joins
        layer = 7
        maps = first.layers.part(triplet.adversarial.critical, layer)
        assert CURVES["adversarial"](first.layers, pair.first)[1][layer] == maps.sum() / len(maps)
        core = first.layers.part(triplet.adversarial.core, layer)
        assert CURVES["core"](first.layers, pair.first)[1][layer] == core.sum() / len(core)


def test_joining_is_for_good():
    def slow(way):
        for first in range(len(way)):
            if way[first] > 0.5 and all(np.isnan(v) or v > 0.5 for v in way[first:]):
                return first
        return len(way)

    random = np.random.default_rng(0)
    for _ in range(300):
        way = random.choice([0.2, 0.5, 0.7, np.nan], 6)
        assert joining(way) == slow(way.tolist())


def test_the_shares_that_turn_it_back_are_the_fewest_of_their_order(first, found):
    """The maps of that share turn the prediction, and one map fewer does not."""
    pair = next(pair for pair in found.pairs if (pair.first.turned < 1).all())
    example = pair.pair.first.example.id
    effects = first.flips.turning(example).effects
    for layer, share in zip(pair.first.depths.tolist(), pair.first.turned.tolist(), strict=True):
        own = first.layers.part(effects, layer)
        order = np.argsort(-own, kind="stable")
        count = round(share * len(own))
        for k, turns in ((count, True), (count - 1, False)):
            if 0 < k < len(own):
                asked = Intervention(layer, tuple(order[:k].tolist()), randoms=0)
                assert first.flips.verify(example, asked).turned is turns
    assert (pair.first.random >= pair.first.turned - 1e-9).mean() > 0.5, "random maps take more"


def test_a_model_that_resists_is_compared_towards_the_class_that_the_first_was_led_to(first, robust, found, wanted):
    for pair in found.pairs:
        label = pair.pair.first.adversarial.label
        asked = asked_second(first, robust, pair.pair, wanted, pair.first.target)
        triplet = pair_profile.stored_triplet(robust, asked)
        assert pair.second.resists is pair.pair.resists
        if pair.pair.resists:
            plan = triplet.plan
            assert plan.adversarial_label == label, "the classes stand in the same order here"
            assert {robust.judging.predict([name])[0].label for name in plan.candidates} == {label}
            assert triplet.adversarial.label == triplet.source.label == pair.pair.second.source.label
            assert triplet.adversarial.rival == triplet.source.rival == label
            assert len(pair.second.turned) == 0
            assert outcome_words(robust, pair.pair.second).endswith("(not fooled)")
            with pytest.raises(AevisError, match="nothing to explain"):
                robust.datapaths.plan(pair.pair.second.example)
        else:
            assert len(pair.second.turned) == len(robust.flips.depths())
    assert "robust resists 2 of the 4." in pairs_words(found)


def test_targets_of_a_model_that_resists_are_found_by_name(first, wanted):
    """Its classes stand in another order, and its explanations are against the first target."""
    root = first.workspace.root
    model, names = with_classes_moved(tuned(root), first.class_names)
    second = second_world(root.parent / "tuned-and-moved", root, model, names)
    pair = next(pair for pair in shared_pairs(first, second).values() if pair.resists)
    found = compare_pair(first, second, pair, wanted)
    asked = asked_second(first, second, pair, wanted, found.first.target)
    plan = pair_profile.stored_triplet(second, asked).plan
    assert names[plan.adversarial_label] == first.class_names[pair.first.adversarial.label]
    assert names[plan.source_label] == first.class_names[pair.first.source.label]
    against = (plan.adversarial_label, plan.candidates[0])
    assert [foil_of(plan, place) for place in (0, 1)] == [against, against]
    assert foil_of(plan, 2) == (plan.source_label, plan.example.source)
    told = outcome_words(first, pair.first)
    assert told == f"{names[plan.source_label]} -> {names[plan.adversarial_label]}"


@one_sight()
def test_two_workspaces_seen_at_once_keep_their_own_images(first, tmp_path):
    """Within one sight, as an answer of the page is."""
    root = shutil.copytree(first.workspace.root, tmp_path / "fewer")
    lines = (root / "images.csv").read_text().splitlines()
    (root / "images.csv").write_text("".join(f"{line}\n" for line in lines[:20]))
    shutil.rmtree(root / "parts")
    fewer = open_workbench(root)
    assert len(first.workspace.image_list().entries) == 60
    assert len(fewer.workspace.image_list().entries) == 19
    assert len(fewer.judging.references().listed.entries) == 19
    assert first.workspace.parts_digest()
    assert fewer.workspace.parts_digest() == ""
    assert first.workspace.image_list().digests[:19] == fewer.workspace.image_list().digests


def test_models_of_folders_of_one_name_are_told_apart(first, tmp_path):
    root = shutil.copytree(first.workspace.root, tmp_path / "standard")
    assert model_names(first, open_workbench(root)) == ("standard (first)", "standard (second)")


def test_fine_tuning_keeps_the_numbers_of_maps_and_another_seed_does_not(first, robust, found):
    assert len(found.kin.passed) == 25
    assert found.kin.images == 60
    other = second_world(first.workspace.root.parent / "other", first.workspace.root, train.train(4, 640, 2))
    kin = known_kinship(first, other)
    assert kin.passed == ()
    own = sum(int(test.own.sum()) for test in kin.tests.values())
    assert own < 60, "one in each layer by chance"
    np.testing.assert_array_equal(stored_kinship(first, other).own, kin.own)


def test_pairs_are_matched_by_what_they_hold(first, robust, tmp_path):
    """Renamed examples are found; an adversarial of other bytes is none."""
    root = shutil.copytree(robust.workspace.root, tmp_path / "renamed")
    table = root / "examples.csv"
    text = table.read_text()
    table.write_text("\n".join(line if i == 0 else f"x{line}" for i, line in enumerate(text.splitlines())) + "\n")
    renamed = open_workbench(root)
    shared = shared_pairs(first, renamed)
    assert list(shared) == list(shared_pairs(first, robust))
    assert all(pair.second.example.id == f"x{name}" for name, pair in shared.items())
    lost = next(iter(shared))
    path = root / shared[lost].second.example.adversarial
    shutil.copy(root / list(shared.values())[1].second.example.adversarial, path)
    assert lost not in shared_pairs(first, open_workbench(root))


def test_pairs_are_drawn_or_named(first, robust):
    drawn = chosen_pairs(first, robust, Sample(5, seed=3))
    assert len(drawn) == 5
    assert drawn == chosen_pairs(first, robust, Sample(5, seed=3))
    name = drawn[0].first.example.id
    assert [p.first.example.id for p in chosen_pairs(first, robust, FEW, [name, name])] == [name]
    with pytest.raises(AevisError, match="no example 'nobody'"):
        chosen_pairs(first, robust, FEW, ["nobody"])


def test_what_shares_nothing_is_refused(first, tmp_path):
    emptied = shutil.copytree(first.workspace.root, tmp_path / "emptied")
    (emptied / "examples.csv").unlink()
    with pytest.raises(AevisError, match=r"share none of the .* pairs.*aevis init .* --like"):
        shared_pairs(first, open_workbench(emptied))
    with pytest.raises(AevisError, match="have no pair to compare"):
        shared_pairs(open_workbench(emptied), first)


def test_a_pair_that_cannot_be_compared_says_why(first, robust, wanted, tmp_path):
    """Where the second workspace has no image of the class that the first model was led to."""
    pair = next(pair for pair in shared_pairs(first, robust).values() if pair.resists)
    label = pair.first.adversarial.label
    root = shutil.copytree(robust.workspace.root, tmp_path / "fewer")
    lines = (root / "images.csv").read_text().splitlines()
    (root / "images.csv").write_text("".join(f"{line}\n" for line in lines if not line.endswith(f",{label}")))
    fewer = open_workbench(root)
    again = shared_pairs(first, fewer)[pair.first.example.id]
    found = compare_pair(first, fewer, again, replace(wanted, method="random"))
    assert found.first is not None
    assert found.second is None
    assert "No clean image of the workspace is predicted as" in found.refused
    assert stored_pair(first, fewer, again, replace(wanted, method="random")) is None


def test_profiles_are_stored_in_each_models_own_store(first, robust, found, wanted, monkeypatch):
    monkeypatch.setattr(pair_profile.datapath, "extract", None)
    monkeypatch.setattr(pair_profile.divergences, "diverge", None)
    for pair in found.pairs:
        again = compare_pair(first, robust, pair.pair, wanted)
        np.testing.assert_array_equal(again.second.d3, pair.second.d3)
        known = stored_pair(first, robust, pair.pair, wanted)
        np.testing.assert_array_equal(known.first.way, pair.first.way)
    asked = PairAsked(found.pairs[0].pair.first.example.id, wanted)
    assert pair_profile.stored_profile(first, asked) is not None
    assert (robust.workspace.cache / "profile").is_dir()


def test_another_architecture_is_compared_by_depth(first, wanted, tmp_path):
    torch.manual_seed(1)
    model = Grey(3).eval()
    in_memory(tmp_path / "small", first.workspace.root, model)
    small = open_workbench(tmp_path / "small", model)
    shared = shared_pairs(first, small)
    found = compare(first, small, FEW, wanted, list(shared)[:2])
    assert not found.alike
    figure = profiles_figure(found, LIGHT)
    assert figure.layout.xaxis.title.text == "depth"
    assert kinship_words(found)[0].endswith("maps have no common numbers.") or found.kin.layers == ("relu",)


def test_the_figure_draws_medians_and_the_shown_pair(found):
    figure = profiles_figure(found, LIGHT, found.pairs[0])
    apart = [trace for trace in figure.data if trace.name.startswith("apart standard")]
    median, own = apart
    np.testing.assert_allclose(median.y, np.median([pair.first.d2 for pair in found.pairs], axis=0), atol=1e-5)
    np.testing.assert_allclose(own.y, found.pairs[0].first.d2, atol=1e-5)
    assert list(own.customdata)[3] == found.graphs[0].layers[3].name
    resisted = [trace for trace in figure.data if trace.name == "turned robust this pair"]
    assert len(resisted[0].x) == 0
    assert list(figure.layout.xaxis.ticktext)[:2] == ["layer1", "layer2"]


def test_the_command_prints_and_writes_it(first, robust, found, tmp_path, capsys):
    roots = [str(bench.workspace.root) for bench in (first, robust)]
    ids = [pair.pair.first.example.id for pair in found.pairs]
    table, picture = tmp_path / "layers.csv", tmp_path / "layers.html"
    command = ["beside", *roots, "--example", *ids, "--quiet"]
    assert main([*command, "--csv", str(table), "--figure", str(picture)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 of ")
    assert "Map k of standard is map k of robust in all 25 layers" in said
    assert "(not fooled)" in said
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(rows_of_layers(found)) == 4 * 2 * 25
    assert float(rows[30]["apart"]) == pytest.approx(found.pairs[0].second.d2[5])
    assert "plotly" in picture.read_text()[:100_000].lower()
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [pair["example"] for pair in document["pairs"]] == ids
    assert document["pairs"][0]["resists"] is True
    assert document["pairs"][0]["models"][1]["turned"] == []
    names = document["pairs"][0]["same_maps_of_source"]
    assert names["both"] <= min(names["first"], names["second"])
    assert document["same_layers"] is True
    assert document["kinship"]["layers"][0]["same_maps"] is True
    assert document["profiles"][1]["way"]["median"] == pytest.approx(list(found.medians("way", 1)[1]))
    assert isinstance(document["warnings"], list)


def test_the_command_refuses_one_workspace_twice(first, capsys):
    root = str(first.workspace.root)
    assert main(["beside", root, root, "--quiet"]) == 2
    assert "is named twice" in capsys.readouterr().err
    assert main(["beside", root, root + "x"]) == 2
    assert "holds no workspace.toml" in capsys.readouterr().err
