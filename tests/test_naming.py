"""The names of a workspace's maps: found once, without the images under study, and told from the store alone."""

import shutil

import numpy as np
import pytest
from PIL import Image

from aevis_dash import naming
from aevis_dash.core.closing import Closer
from aevis_dash.core.names import FIRED, THRESHOLDS, NameKind
from aevis_dash.domain import AevisError, FeatureMap
from aevis_dash.naming import NO_NAME
from aevis_dash.workbench import open_workbench

CLASSES = (NameKind.FOR, NameKind.AGAINST, NameKind.IMAGES)


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def named(drawn_world, tmp_path_factory):
    """A workspace whose last block is named; for reading only."""
    root = shutil.copytree(drawn_world, tmp_path_factory.mktemp("named") / "world")
    open_workbench(root).naming.learn()
    return root


def names_of(bench, layer, example=None):
    """The names after classes and images, by map: kind, name, and the score to three decimals (sums round otherwise
    where other maps are closed in the same run)."""
    every = bench.naming.of_layer(layer, example).names
    return [[(n.kind, n.name, round(n.score, 3)) for n in own if n.kind in CLASSES] for own in every]


def test_before_anything_is_learned_nothing_is_said(world):
    bench = open_workbench(world)
    assert not bench.naming.complete
    found = bench.naming.of_layer(24)
    assert found.classes_known is None
    assert set(map(found.said, range(128))) == {""}
    assert bench.naming.layers_looked_at == 0
    bench.learning.learn()
    found = bench.naming.of_layer(24)
    assert (found.classes_known, bench.naming.complete) == (None, False), "the learned features alone are no names"
    assert {name.kind for own in found.names for name in own} == {NameKind.IMAGES, NameKind.PART}


def test_a_name_is_the_class_whose_logit_falls_most_where_the_map_is_closed(named):
    """From the definition: each map closed by a gate of the whole network, on the five images that fire it most."""
    bench = open_workbench(named)
    index, guess = bench.learning.index(), bench.naming.guesses(24, NameKind.FOR)
    against = bench.naming.guesses(24, NameKind.AGAINST)
    network = bench.classifier.network
    for channel in (0, 17, 90, 127):
        place = bench.layers.place(FeatureMap(24, channel))
        pixels = bench.classifier.inputs(bench.learning.read(index.activation.image[place, :FIRED].tolist()))
        gates = pixels.new_ones(1, bench.layers.n_maps)
        gates[0, place] = 0
        both = [each.detach().numpy() for each in (network.logits(pixels), network.logits(pixels, gates))]
        effects = np.subtract(*(each - each.mean(1, keepdims=True) for each in both))
        for sign, found in ((1, guess), (-1, against)):
            sums, most = np.zeros(10), 0.0
            for row in sign * effects:
                best = np.argsort(-row)[:5]
                sums[best] += np.maximum(row[best], 0)
                most += row.max()
            assert found.label[channel] == sums.argmax()
            assert found.score[channel] == pytest.approx(sums.max() / most, rel=1e-3)


def test_names_are_told_as_they_are_stored_and_never_computed(named, monkeypatch):
    monkeypatch.setattr(Closer, "__init__", lambda *_: 1 / 0)
    bench = open_workbench(named)
    found, guess = bench.naming.of_layer(23), bench.naming.guesses(23, NameKind.FOR)
    clear = guess.clear(THRESHOLDS[NameKind.FOR])
    assert 5 < clear.sum() < 128
    for channel in range(128):
        said = [name for name in found.names[channel] if name.kind is NameKind.FOR]
        assert bool(said) == clear[channel]
        if said:
            assert said[0].name == bench.class_names[guess.label[channel]]
            assert found.said(channel).startswith(f"speaks for {said[0].name} ({guess.score[channel]:.2f})")
            assert found.brief(channel) == f"speaks for {said[0].name} ({guess.score[channel]:.2f})"
    parts = bench.learning.part_names()
    start = bench.layers.offsets[23]
    for channel, own in enumerate(found.names):
        part = [f"{name.name} {name.score:.2f}" for name in own if name.kind is NameKind.PART]
        assert part == ([parts[start + channel]] if parts[start + channel] else [])


def test_the_images_under_study_name_nothing(named, tmp_path):
    """With another picture in the place of an example's source, the names beside that example are the same."""
    bench = open_workbench(named)
    example = next(e for e in bench.workspace.examples() if e.id == bench.workspace.settings.opens_on)
    root = shutil.copytree(named, tmp_path / "world")
    Image.new("RGB", (64, 64), "red").save(root / "images" / example.source)
    other = open_workbench(root)
    assert not other.naming.complete, "another image makes other names"
    other.naming.learn()
    for layer in (23, 24):
        assert names_of(other, layer, example.id) == names_of(bench, layer, example.id)
    assert any(names_of(bench, layer) != names_of(bench, layer, example.id) for layer in (23, 24)), "it would count"
    index, place = bench.learning.index(), bench.workspace.image_list().places[example.source]
    fires = (index.activation.image[bench.layers.offsets[23] :, : naming.LOOKED_AT] == place).any()
    assert fires, "the source is among the images that fire some map most"


def test_an_interrupted_run_goes_on_with_the_block_that_is_missing(named, world, monkeypatch):
    shutil.copytree(named / "cache", world / "cache", dirs_exist_ok=True)
    monkeypatch.setattr(naming, "FEW", 0.05)
    closed, effects = [], Closer.effects

    def watched(self, image, maps):
        closed.append({chosen.layer for chosen in maps})
        return effects(self, image, maps)

    monkeypatch.setattr(Closer, "effects", watched)
    bench = open_workbench(world)
    assert (bench.naming.layers_looked_at, bench.naming.complete) == (2, False)

    seen = []

    def told(_share, what):
        seen.append(what)
        if "layer4.0" in what and seen.count(what) == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        bench.naming.learn(told)
    assert bench.naming.layers_looked_at == 4
    assert set().union(*closed) == {19, 20, 21, 22}, "nothing twice"
    assert open_workbench(world).naming.of_layer(22).classes_known
    assert open_workbench(world).naming.of_layer(20).classes_known is None


def test_it_ends_where_hardly_any_map_has_a_clear_class(named, world, monkeypatch):
    """The tests' own FEW ends it after the last block, of two layers; the maps before have no class, and that is
    said."""
    bench = open_workbench(named)
    assert bench.naming.complete
    assert bench.naming.layers_looked_at == 2
    early = bench.naming.of_layer(4)
    assert early.classes_known is False
    kinds = {name.kind for own in early.names for name in own}
    assert kinds <= {NameKind.IMAGES, NameKind.PART}
    assert bench.naming.guesses(4, NameKind.FOR) is None
    every = [bench.naming.of_layer(i) for i in range(23)]
    blank = [found.said(channel) for found in every for channel, own in enumerate(found.names) if not own]
    assert set(blank) == {NO_NAME}


def test_images_without_a_label_count_by_their_prediction(named, world):
    table = world / "images.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(row.split(",")[0] + "," for row in rows[1:])]) + "\n")
    bench = open_workbench(world)
    bench.naming.learn()
    predicted = [p.label for p in bench.classifier.predict(bench.learning.read(range(60)))]
    again, labelled = open_workbench(world), open_workbench(named)
    same = np.array(predicted) == labelled.learning.labels
    assert same.mean() > 0.5
    assert (again.learning.labels == -1).all()
    found, of_labels = (b.naming.guesses(24, NameKind.IMAGES).label for b in (again, labelled))
    assert (found >= 0).any()
    assert (found == of_labels).mean() > 0.8


def test_where_all_images_are_of_one_class_it_names_no_map(world):
    table = world / "images.csv"
    rows = table.read_text().splitlines()
    table.write_text("\n".join([rows[0], *(row for row in rows[1:] if row.startswith("panda"))]) + "\n")
    bench = open_workbench(world)
    bench.naming.learn()
    kinds = {name.kind for i in range(25) for own in bench.naming.of_layer(i).names for name in own}
    assert NameKind.IMAGES not in kinds
    assert NameKind.FOR in kinds


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_images_name_no_map_after_classes(world, count):
    table = world / "images.csv"
    table.write_text("".join(table.read_text().splitlines(True)[: 1 + count]))
    bench = open_workbench(world)
    bench.naming.learn()
    assert bench.naming.complete
    assert not any(names_of(bench, layer)[channel] for layer in (3, 24) for channel in range(16))


def test_an_unknown_example_is_refused(named):
    with pytest.raises(AevisError, match="nobody"):
        open_workbench(named).naming.of_layer(24, "nobody")
