"""The drawn world: the same seeds give the same drawings, and what is said about their parts is true."""

import itertools

import numpy as np
import pytest

from aevis_dash.world.draw import CLASSES, PARTS, SIZE, Drawing, draw, draw_set
from aevis_dash.world.shapes import SUPERSAMPLING, Pen, Pose

LABELS = range(len(CLASSES))
PANDA = CLASSES.index("panda")


def brightness(drawing: Drawing, part: str) -> float:
    return float(drawing.image[drawing.parts[part]].mean())


def same(first: Drawing, second: Drawing) -> bool:
    return (
        first.label == second.label
        and np.array_equal(first.image, second.image)
        and first.parts.keys() == second.parts.keys()
        and all(np.array_equal(first.parts[name], second.parts[name]) for name in first.parts)
    )


@pytest.fixture(scope="module")
def many() -> list[Drawing]:
    return list(draw_set(200, seed=11))


def test_classes_are_in_the_agreed_order():
    names = "panda monkey cat cannon racket bicycle fish umbrella clock tree"
    assert tuple(names.split()) == CLASSES


@pytest.mark.parametrize("label", LABELS)
def test_a_drawing_follows_from_its_label_and_seed_alone(label: int):
    first = draw(label, 5)
    np.random.default_rng().uniform()
    draw((label + 1) % len(CLASSES), 5)
    assert same(first, draw(label, 5))


def test_another_seed_or_label_gives_another_drawing():
    images = [draw(label, seed).image for label in (0, 1) for seed in (0, 1, 2**32)]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(images, 2))


def test_images_and_masks_have_the_stated_shape_and_type(many: list[Drawing]):
    for drawing in many:
        assert drawing.image.shape == (SIZE, SIZE, 3)
        assert drawing.image.dtype == np.uint8
        assert all(mask.shape == (SIZE, SIZE) and mask.dtype == bool for mask in drawing.parts.values())


@pytest.mark.parametrize("label", [-1, len(CLASSES)])
def test_a_label_out_of_range_is_refused_with_the_range(label: int):
    with pytest.raises(ValueError, match=r"0\.\.9"):
        draw(label, 0)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or above, got -1"):
        draw(0, -1)


def test_a_set_holds_each_class_equally_often(many: list[Drawing]):
    assert np.bincount([drawing.label for drawing in many]).tolist() == [20] * len(CLASSES)


def test_a_shorter_set_begins_a_longer_one(many: list[Drawing]):
    short = list(draw_set(23, seed=11))
    assert len(short) == 23
    assert all(same(a, b) for a, b in zip(short, many, strict=False))


def test_no_drawing_occurs_twice_within_a_set_or_across_sets(many: list[Drawing]):
    others = [*draw_set(40, seed=10), *draw_set(40, seed=12), *(draw(i % 10, i) for i in range(40))]
    images = [drawing.image.tobytes() for drawing in (*many, *others)]
    assert len(set(images)) == len(images)


def test_parts_are_disjoint_and_none_is_empty(many: list[Drawing]):
    for drawing in many:
        masks = np.stack(list(drawing.parts.values()))
        assert masks.any(axis=(1, 2)).all()
        assert masks.sum(axis=0).max() == 1


def test_every_class_has_parts_and_every_part_name_occurs(many: list[Drawing]):
    assert all(len(drawing.parts) >= 2 for drawing in many)
    assert set().union(*(drawing.parts for drawing in many)) == set(PARTS)
    assert len(set(PARTS)) == len(PARTS)


@pytest.mark.parametrize(
    ("part", "owners"),
    [
        ("wheel", {"cannon", "bicycle"}),
        ("ear", {"panda", "monkey", "cat"}),
        ("face", {"panda", "monkey", "cat", "clock"}),
        ("handle", {"racket", "umbrella", "bicycle", "clock"}),
    ],
)
def test_shared_parts_occur_in_just_the_classes_that_share_them(many: list[Drawing], part: str, owners: set[str]):
    assert {CLASSES[drawing.label] for drawing in many if part in drawing.parts} == owners


def test_the_object_fills_a_fair_share_of_the_picture(many: list[Drawing]):
    shares = [np.any(list(drawing.parts.values()), axis=0).mean() for drawing in many]
    assert min(shares) > 0.04
    assert max(shares) < 0.75


@pytest.mark.parametrize("seed", range(20))
def test_masks_lie_where_the_colours_are(seed: int):
    panda = draw(PANDA, seed)
    assert brightness(panda, "eye patch") < 0.6 * brightness(panda, "face")
    assert brightness(panda, "ear") < 0.6 * brightness(panda, "face")
    clock = draw(CLASSES.index("clock"), seed)
    assert brightness(clock, "mark") < 0.9 * brightness(clock, "face")


def test_a_hidden_pixel_belongs_to_the_part_on_top_and_a_hidden_part_is_left_out():
    pen = Pen(Pose(np.eye(2) * SIZE * SUPERSAMPLING / 2, np.full(2, SIZE * SUPERSAMPLING / 2)))
    pen.blob("nose", (0, 0, 1), 0, 0, 0.2)
    pen.polygon("face", (1, 0, 0), [(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    pen.polygon("eye", (0, 1, 0), [(0, 0), (0.9, 0), (0.9, 0.25), (0, 0.25)])
    parts = pen.parts()
    assert parts.keys() == {"face", "eye"}
    centre = SIZE // 2
    assert parts["eye"][centre + 3, centre + 3]
    assert not parts["face"][centre + 3, centre + 3]
    assert parts["face"][centre - 3, centre - 3]
    assert parts["eye"].sum() == pytest.approx(0.9 * 0.25 * centre**2, rel=0.15)
    assert (parts["face"] | parts["eye"]).sum() == pytest.approx((1 + 0.4 * 0.25) * centre**2, rel=0.1)
    colour, coverage = pen.picture()
    assert colour[centre + 3, centre + 3].tolist() == [0, 1, 0]
    assert colour[centre - 3, centre - 3].tolist() == [1, 0, 0]
    assert (coverage[centre, centre], coverage[0, 0]) == (1, 0)


def test_poses_vary_in_place_and_in_size():
    pandas = [draw(PANDA, seed).parts["face"] for seed in range(30)]
    centres = np.array([np.argwhere(mask).mean(axis=0) for mask in pandas])
    areas = np.array([mask.sum() for mask in pandas])
    assert (centres.std(axis=0) > 2).all()
    assert areas.max() > 1.5 * areas.min()
