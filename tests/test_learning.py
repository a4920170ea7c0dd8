"""The index of learned features: it grows, goes on where it stopped, changes with what it is made of, names parts."""

import shutil
from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

from aevis_dash import learning
from aevis_dash.core.learned import Learner
from aevis_dash.domain import AevisError, FeatureMap
from aevis_dash.groundtruth import detectors
from aevis_dash.learning import CHECKPOINT
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace
from aevis_dash.world.draw import PARTS, draw_set


class Interrupted(Exception):
    pass


def after(images):
    """A progress that interrupts once so many images were seen."""

    def told(_share, what):
        if what.startswith(f"learned from {images} of"):
            raise Interrupted

    return told


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every 16 images."""
    monkeypatch.setattr(learning, "CHECKPOINT", 16)


@pytest.fixture(scope="module")
def learned(drawn_world, tmp_path_factory):
    """A workspace whose index is complete; for reading only."""
    root = shutil.copytree(drawn_world, tmp_path_factory.mktemp("learned") / "world")
    open_workbench(root).learning.learn()
    return root


def equal(one, other):
    arrays = [[*astuple(each.activation), *astuple(each.relevance)] for each in (one, other)]
    return all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))


def files(bench, kind):
    return sorted(path.name for path in (bench.workspace.cache / kind).glob("*.npz"))


def test_it_is_usable_while_it_grows_and_goes_on_where_it_stopped(world, learned, often, monkeypatch):
    bench = open_workbench(world)
    assert bench.learning.index() is None
    assert bench.learning.part_names() is None
    with pytest.raises(Interrupted):
        bench.learning.learn(after(40))
    part = bench.learning.index()
    assert part.seen == 32, "the last checkpoint"
    assert not bench.learning.complete
    assert (part.activation.image >= 0).any()
    again, seen, see = open_workbench(world), [], Learner.see
    monkeypatch.setattr(Learner, "see", lambda self, images, places: seen.extend(places) or see(self, images, places))
    whole = again.learning.learn()
    assert len(seen) == 60 - 32, "nothing twice"
    assert equal(whole, open_workbench(learned).learning.index())
    assert again.learning.complete
    assert len(files(again, "learned")) == 1, "checkpoints make place for the next"


def test_the_index_is_that_of_all_images_whatever_the_order(learned):
    bench = open_workbench(learned)
    found, names = bench.learning.features(), [entry.file for entry in bench.workspace.images]
    maxima = np.array([bench.maps.maxima(name) for name in names])
    np.testing.assert_allclose(found.value[:, 0], maxima.max(0), rtol=1e-5)
    fires = maxima.max(0) > 0
    np.testing.assert_array_equal(found.image[fires, 0], maxima.argmax(0)[fires])


def test_a_part_of_the_images_is_of_many_classes(world, often):
    """The table lists them class by class; the first few of it would be of one or two."""
    bench = open_workbench(world)
    rows = (world / "images.csv").read_text().splitlines(True)
    (world / "images.csv").write_text("".join([rows[0], *sorted(rows[1:])]))
    with pytest.raises(Interrupted):
        bench.learning.learn(after(16))
    index = bench.learning.index()
    labels = {bench.workspace.images[i].label for i in np.unique(index.activation.image) if i >= 0}
    assert len(labels) >= 6


@pytest.mark.parametrize("change", ["image", "order", "row", "patches"])
def test_what_it_is_made_of_changes_it(learned, tmp_path, change):
    root = shutil.copytree(learned, tmp_path / "world")
    bench, table = open_workbench(root), root / "images.csv"
    assert bench.learning.complete
    rows = table.read_text().splitlines(True)
    if change == "image":
        Image.new("RGB", (64, 64), "red").save(bench.workspace.path(bench.workspace.images[5].file))
    elif change == "order":
        table.write_text("".join([rows[0], *rows[:0:-1]]))
    elif change == "row":
        table.write_text("".join(rows[:-1]))
    else:
        toml = root / "workspace.toml"
        toml.write_text(toml.read_text().replace("patches = 9", "patches = 4"))
    changed = open_workbench(root)
    assert changed.learning.index() is None
    assert not changed.learning.complete
    if change in ("image", "order"):
        names = [e.file for e in changed.workspace.images]
        found = changed.learning.features()
        strongest = names[found.image[700, 0]]
        assert changed.maps.maxima(strongest)[700] == pytest.approx(
            max(changed.maps.maxima(name)[700] for name in names), rel=1e-5
        )


@pytest.mark.parametrize("rows", ["reversed", "cut"])
def test_what_is_learned_is_of_the_images_that_the_table_had_at_the_start(world, learned, often, rows):
    """The table is changed while images are looked at, and changed back: the index is none of other images."""
    bench, table = open_workbench(world), world / "images.csv"
    before = table.read_text()
    head, *listed = before.splitlines()
    changed = "\n".join([head, *(listed[::-1] if rows == "reversed" else listed[:5])]) + "\n"

    def change(_share, what):
        if what.startswith("learned from 16 of"):
            table.write_text(changed)

    try:
        bench.learning.learn(change)
    except AevisError as error:
        assert "changed" in str(error)  # noqa: PT017 - it may refuse, and must not keep what is wrong
    table.write_text(before)
    found, clean = open_workbench(world).learning.learn(), open_workbench(learned).learning.index()
    np.testing.assert_array_equal(found.activation.image, clean.activation.image)
    np.testing.assert_allclose(found.activation.value, clean.activation.value, rtol=1e-4)


def test_every_batch_waits_for_its_turn(world, often):
    turns = []

    class Turn:
        def __enter__(self):
            turns.append("taken")

        def __exit__(self, *_):
            turns.append("given back")

    open_workbench(world).learning.learn(turn=Turn)
    assert turns == ["taken", "given back"] * (8 + 1), "60 images in batches of 8 at most, and 8 to find parts"


def test_maps_are_named_after_the_part_they_detect(learned):
    """The names agree with those that the ground truth's own code gives on other drawings."""
    bench = open_workbench(learned)
    names = bench.learning.part_names()
    assert len(names) == bench.layers.n_maps
    named = [name.rsplit(" ", 1) for name in names if name]
    assert {part for part, _ in named} <= set(PARTS)
    assert len({part for part, _ in named}) > 8
    assert min(float(value) for _, value in named) >= 0.04
    twin = detectors(bench.classifier, list(draw_set(30, 77)))
    sure = np.flatnonzero(twin.max(1) > 0.3)
    same = [names[i].rsplit(" ", 1)[0] == PARTS[twin[i].argmax()] for i in sure]
    assert len(sure) > 20
    assert np.mean(same) > 0.7


def test_names_follow_the_masks(learned, tmp_path, monkeypatch):
    """Masks that lie elsewhere in the images name nothing well."""
    root = shutil.copytree(learned, tmp_path / "world")
    before = [float(name.split()[-1]) if name else 0.0 for name in open_workbench(root).learning.part_names()]
    for entry in Workspace(root).images:
        mask = root / "parts" / entry.file
        moved = np.roll(np.asarray(Image.open(mask)), (32, 32), (0, 1))
        Image.fromarray(moved).save(mask)
    monkeypatch.setattr(learning, "DISSECTED", 60)
    bench = open_workbench(root)
    assert bench.learning.part_names() is None
    bench.learning.learn()
    after_all = [float(name.split()[-1]) if name else 0.0 for name in bench.learning.part_names()]
    sure = [sum(value > 0.3 for value in values) for values in (before, after_all)]
    assert sure[0] > 20
    assert sure[1] < 0.3 * sure[0]


def test_a_workspace_without_parts_names_none(world):
    shutil.rmtree(world / "parts")
    bench = open_workbench(world)
    bench.learning.learn()
    assert bench.learning.complete
    assert bench.learning.part_names() is None


@pytest.mark.parametrize(
    ("text", "words"),
    [("1 ear\n3 eye\n", "must number its parts from 1"), ("1\n", "must number"), (b"\xff", "cannot be")],
)
def test_bad_names_of_parts_are_refused(world, text, words):
    names = world / "parts" / "names.txt"
    names.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AevisError, match=words):
        open_workbench(world).learning.learn()


def test_bad_masks_are_refused(world):
    workspace = Workspace(world)
    name = workspace.images[0].file
    Image.new("L", (64, 64), 99).save(world / "parts" / name)
    with pytest.raises(AevisError, match=r"holds the number 99, and parts/names\.txt names 34 parts"):
        workspace.part_numbers(name)
    (world / "parts" / name).write_bytes(b"no picture")
    with pytest.raises(AevisError, match=r"The mask .* cannot be read"):
        workspace.part_numbers(name)


def test_a_picture_is_made_once(world, monkeypatch):
    bench, chosen = open_workbench(world), FeatureMap(3, 2)
    assert bench.learning.stored_visualisation(chosen) is None
    made = bench.learning.visualise(chosen)
    monkeypatch.setattr(learning, "visualise", lambda *_: 1 / 0)
    np.testing.assert_array_equal(bench.learning.visualise(chosen).image, made.image)
    assert bench.learning.stored_visualisation(chosen).activation == made.activation
    assert bench.learning.stored_visualisation(FeatureMap(3, 3)) is None


def test_pictures_fire_maps_more_than_the_best_patch(learned):
    """At several depths of a network that was trained; maps that are silent on every image are left out."""
    bench = open_workbench(learned)
    best = bench.learning.features().value[:, 0]
    for layer in (12, 23):
        channel = int(np.argmax(bench.layers.part(best, layer)))
        found = bench.learning.visualise(FeatureMap(layer, channel))
        assert found.activation > bench.layers.part(best, layer)[channel]


def test_checkpoints_are_multiples():
    assert learning.checkpoints(200) == [200, 192, 128, 64]
    assert learning.checkpoints(CHECKPOINT) == [CHECKPOINT]
