"""Batches of images from arrays: what they are read as, and what is refused because it can be read in two ways."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from aevis_dash.classes import Classes
from aevis_dash.core.array_files import ADVERSARIALS, SOURCES
from aevis_dash.core.array_labels import labels_of_batch
from aevis_dash.core.image_batch import ArrayReading, as_batch, read_batch
from aevis_dash.domain import AevisError

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 10, 12, 3), dtype=np.uint8)
IMAGES[:, 0, 0] = (0, 128, 255)
PLAIN = ArrayReading()
CLASSES = Classes(("cat", "dog", "grey fox"))


def written(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("array", "layout", "span", "words"),
    [
        (IMAGES, "NHWC", (0, 255), "read as N x H x W x 3, uint8, 0 to 255"),
        (IMAGES.astype(np.float32) / 255, "NHWC", (0, 1), "read as N x H x W x 3, float32, 0 to 1"),
        (IMAGES.astype(np.float64), "NHWC", (0, 255), "read as N x H x W x 3, float64, 0 to 255"),
        (np.moveaxis(IMAGES, -1, 1) / 255, "NCHW", (0, 1), "read as N x 3 x H x W, float64, 0 to 1"),
        (np.moveaxis(IMAGES, -1, 1).astype(np.int64), "NCHW", (0, 255), "read as N x 3 x H x W, int64, 0 to 255"),
    ],
)
def test_layout_and_range_are_recognised_and_said(array, layout, span, words):
    batch = as_batch(array, "x", PLAIN)
    assert batch.words == f"x: 4 images, {words}"
    assert batch.span == span
    assert (len(batch), batch.size) == (4, (10, 12))
    assert np.array_equal(batch.images(0, 4), IMAGES)
    assert np.array_equal(batch.images(1, 3), IMAGES[1:3])
    assert np.allclose(batch.pixels(0, 4), IMAGES / 255, atol=1e-6)
    assert batch.is_rounded == (array.dtype.kind in "iu")
    assert as_batch(array, "x", ArrayReading(layout=layout)).words == batch.words


def test_numbers_between_grey_levels_are_stored_as_the_nearer_and_kept_as_given():
    array = np.full((1, 8, 8, 3), 200.0)
    array[0, 0, :4, 0] = (0.4, 0.6, 99.51, 254.7)
    for scale in (1, 255):
        batch = as_batch(array / scale, "x", PLAIN)
        assert batch.images(0, 1)[0, 0, :4, 0].tolist() == [0, 1, 100, 255]
        assert np.allclose(batch.pixels(0, 1), array / 255, atol=1e-7)
    over = as_batch(np.array([-5e-5, 1 + 5e-5] * 96).reshape(1, 8, 8, 3), "x", PLAIN)
    assert (over.pixels(0, 1).min(), over.pixels(0, 1).max()) == (0, 1)


def test_grey_images_get_three_equal_channels():
    grey = IMAGES[..., :1]
    assert np.array_equal(as_batch(grey, "x", PLAIN).images(0, 4), np.repeat(grey, 3, axis=3))
    assert np.array_equal(as_batch(np.moveaxis(grey, -1, 1), "x", PLAIN).images(0, 4), np.repeat(grey, 3, axis=3))


def test_a_range_that_is_said_is_taken():
    batch = as_batch(IMAGES / 127.5 - 1, "x", ArrayReading(span=(-1, 1)))
    assert np.array_equal(batch.images(0, 4), IMAGES)
    two = np.zeros((1, 10, 12, 3), np.uint8)
    two[0, 0] = 1
    assert as_batch(two, "x", ArrayReading(span=(0, 1))).images(0, 1).max() == 255
    assert as_batch(two, "x", ArrayReading(span=(0, 255))).images(0, 1).max() == 1


UNIT = IMAGES.astype(np.float32) / 255


@pytest.mark.parametrize(
    ("array", "reading", "words"),
    [
        (UNIT[:, :3], PLAIN, r"4 x 3 x 12 x 3, where the second axis or the last.*--layout NHWC or --layout NCHW"),
        (UNIT[0], PLAIN, "10 x 12 x 3, which looks like a single image"),
        (UNIT[0, 0], PLAIN, r"12 x 3\. A batch of images has four axes"),
        (UNIT[..., :2], PLAIN, "has four axes.*with 1 or 3 channels"),
        (UNIT, ArrayReading(layout="NCHW"), "which is no NCHW of 1 or 3 channels"),
        (UNIT[:0], PLAIN, "holds no image"),
        (UNIT[:, :4], PLAIN, "4 x 12 pixels; under 8 on a side"),
        (UNIT * 4 - 2, PLAIN, r"from -2 to 2 \(float32\), so they may be normalised.*x \* std \+ mean"),
        (UNIT * 1.03, PLAIN, r"neither 0 to 1 nor 0 to 255.*--array-range"),
        (UNIT * 0, PLAIN, "neither 0 to 1 nor 0 to 255"),
        (UNIT / 255, PLAIN, "neither 0 to 1 nor 0 to 255"),
        (UNIT * 300, PLAIN, "neither 0 to 1 nor 0 to 255"),
        ((UNIT > 0.5).astype(np.uint8), PLAIN, "not surely grey levels of 255.*--array-range 0,1"),
        (IMAGES.astype(np.int32) - 1, PLAIN, "not surely grey levels"),
        (IMAGES.astype(np.uint16) * 257, PLAIN, "not surely grey levels"),
        (UNIT, ArrayReading(span=(0, 0.5)), r"outside of the range 0 to 0\.5"),
        (UNIT, ArrayReading(span=(1, 0)), "is no range"),
        (UNIT, ArrayReading(span=(float("-inf"), float("inf"))), "is no range"),
        (UNIT, ArrayReading(span=(float("nan"), 1)), "is no range"),
        (np.concatenate([UNIT[:1], UNIT[1:] * 255]), PLAIN, "mixes two ranges: the largest value of image 0"),
        (np.where(np.arange(4)[:, None, None, None] == 2, np.nan, UNIT), PLAIN, "NaN.*1 of its 4 images, .*image 2"),
        (np.where(UNIT > 0.9, np.inf, UNIT), PLAIN, "NaN or infinite values in 4 of its 4"),
        (UNIT.astype(np.complex64), PLAIN, "complex64, which are no pixels"),
        (UNIT > 0.5, PLAIN, "bool, which are no pixels"),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused(array, reading, words):
    with pytest.raises(AevisError, match=words) as error:
        as_batch(array, "x_adv of b.npz", reading)
    assert str(error.value).startswith(("x_adv of b.npz", "The images of x_adv of b.npz", "--array-range"))


@pytest.mark.parametrize("suffix", ["npy", "npz", "pt", "legacy.pt", "safetensors"])
def test_files_of_every_kind_are_read(tmp_path, suffix):
    path, tensor = tmp_path / f"b.{suffix}", torch.from_numpy(np.moveaxis(UNIT, -1, 1).copy())
    if suffix == "npy":
        np.save(path, UNIT)
    elif suffix == "npz":
        np.savez_compressed(path, x_adv=UNIT, eps=np.array(8))
    elif suffix == "safetensors":
        save_file({"x_adv": tensor}, path)
    else:
        torch.save({"x_adv": tensor, "eps": 8}, path, _use_new_zipfile_serialization=suffix == "pt")
    batch = read_batch(path, ADVERSARIALS, PLAIN)
    assert np.array_equal(batch.images(0, 4), IMAGES)
    assert batch.name == (path.name if suffix == "npy" else f"x_adv of {path.name}")


def test_an_archive_of_numpy_is_known_by_what_it_holds(tmp_path):
    written(tmp_path / "b.npz", x=UNIT.astype(">f8")).rename(tmp_path / "b.npy")
    assert read_batch(tmp_path / "b.npy", SOURCES, PLAIN).words.endswith("read as N x H x W x 3, float64, 0 to 1")


def test_a_tensor_alone_and_half_precision_are_read(tmp_path):
    torch.save(torch.from_numpy(UNIT).requires_grad_(), tmp_path / "a.pt")
    assert np.array_equal(read_batch(tmp_path / "a.pt", SOURCES, PLAIN).images(0, 4), IMAGES)
    torch.save(torch.from_numpy(IMAGES).to(torch.bfloat16), tmp_path / "b.pt")
    assert read_batch(tmp_path / "b.pt", SOURCES, PLAIN).words.endswith("float32, 0 to 255")
    torch.save((torch.from_numpy(UNIT), torch.tensor([0, 1, 2, 0])), tmp_path / "c.pt")
    assert read_batch(tmp_path / "c.pt", SOURCES, PLAIN).name == "0 of c.pt"
    assert labels_of_batch(tmp_path / "c.pt", tmp_path / "c.pt", 4, CLASSES)[0] == [0, 1, 2, 0]


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 3), (1, 8, 8), (8, 8)])
def test_a_list_of_images_is_a_batch(tmp_path, shape):
    images = torch.randint(0, 256, (5, *shape), dtype=torch.uint8)
    for saved in (list(images), tuple(images), {"x": list(images), "y": torch.arange(5)}):
        torch.save(saved, tmp_path / "list.pt")
        torch.save({"x": images} if isinstance(saved, dict) else images, tmp_path / "whole.pt")
        found, expected = (read_batch(tmp_path / f"{name}.pt", SOURCES, PLAIN) for name in ("list", "whole"))
        assert np.array_equal(found.images(0, 5), expected.images(0, 5))


def test_a_list_of_other_things_is_no_batch(tmp_path):
    """Two equal batches of grey images are the images and their adversarials, and images with labels are to be saved
    apart."""
    torch.save([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)], tmp_path / "two.pt")
    with pytest.raises(AevisError, match=r"several arrays that may be the sources: 0 .*, 1 .*Name one with"):
        read_batch(tmp_path / "two.pt", SOURCES, PLAIN)
    torch.save([(torch.zeros(3, 8, 8), torch.tensor(i)) for i in range(5)], tmp_path / "pairs.pt")
    with pytest.raises(AevisError, match=r"Where each is one image, save them as one array: torch.stack\(images\)"):
        read_batch(tmp_path / "pairs.pt", SOURCES, PLAIN)


def test_the_names_of_arrays_say_what_they_are(tmp_path):
    path = written(tmp_path / "b.npz", x=UNIT, x_adv=1 - UNIT, y=np.array([0, 1, 2, 1]), preds=np.zeros(4))
    assert read_batch(path, ADVERSARIALS, PLAIN).name == "x_adv of b.npz"
    assert read_batch(path, SOURCES, PLAIN).name == "x of b.npz"
    assert read_batch(path, ADVERSARIALS, ArrayReading("x")).name == "x of b.npz"
    assert labels_of_batch(path, None, 4, CLASSES) == ([0, 1, 2, 1], "y of b.npz")
    path = written(tmp_path / "c.npz", first=UNIT, second=UNIT)
    for what, key in ((ADVERSARIALS, "--key"), (SOURCES, "--sources-key")):
        with pytest.raises(AevisError, match=rf"several arrays.*first \(4 x 10 x 12 x 3\), second .*{key}"):
            read_batch(path, what, PLAIN)
    with pytest.raises(AevisError, match=r"has no array 'third'\. It holds first"):
        read_batch(path, SOURCES, ArrayReading("third"))
    with pytest.raises(AevisError, match="holds no adversarials"):
        read_batch(written(tmp_path / "d.npz", clean=UNIT), ADVERSARIALS, PLAIN)
    with pytest.raises(AevisError, match="holds no sources"):
        read_batch(written(tmp_path / "e.npz", x_adv=UNIT), SOURCES, PLAIN)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("it ran",))


def test_python_objects_are_never_loaded(tmp_path):
    bad = np.array([Bomb()], dtype=object)
    np.save(tmp_path / "a.npy", bad, allow_pickle=True)
    np.savez(tmp_path / "b.npz", x_adv=bad)
    torch.save({"x_adv": Bomb()}, tmp_path / "c.pt")
    (tmp_path / "d.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "b.npz", "c.pt"):
        with pytest.raises(AevisError, match=r"holds Python objects, which may run code.*numpy\.savez"):
            read_batch(tmp_path / name, ADVERSARIALS, PLAIN)
    with pytest.raises(AevisError, match="is no file of arrays"):
        read_batch(tmp_path / "d.npy", ADVERSARIALS, PLAIN)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", UNIT)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    written(tmp_path / "b.npz", x=UNIT)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:900])
    (tmp_path / "web.npz").write_bytes(b"<!doctype html>")
    (tmp_path / "empty.pt").write_bytes(b"")
    np.savez(tmp_path / "none.npz")
    for name in ("cut.npy", "cut.npz", "web.npz", "empty.pt", "none.npz", "missing.npy"):
        with pytest.raises(AevisError) as error:
            read_batch(tmp_path / name, SOURCES, PLAIN)
        assert name in str(error.value)
        assert len(str(error.value)) < 500


def test_labels_come_from_arrays_one_hot_rows_and_tables(tmp_path):
    images = tmp_path / "x.npy"
    np.save(images, UNIT)
    found, whose = labels_of_batch(images, None, 4, CLASSES)
    assert found == [None] * 4
    assert whose.startswith("nothing")
    for array in (
        np.array([0, 2, 1, 0]),
        np.array([0.0, 2, 1, 0]),
        np.eye(3)[[0, 2, 1, 0]],
        np.array([[0], [2], [1], [0]]),
    ):
        np.save(tmp_path / "y.npy", array)
        assert labels_of_batch(images, tmp_path / "y.npy", 4, CLASSES)[0] == [0, 2, 1, 0]
    np.save(tmp_path / "y.npy", np.array(["cat", "grey fox", "dog", "cat"]))
    assert labels_of_batch(images, tmp_path / "y.npy", 4, CLASSES)[0] == [0, 2, 1, 0]
    (tmp_path / "y.csv").write_text("file,label\na,cat\nb,grey fox\nc,1\nd,cat\n")
    assert labels_of_batch(images, tmp_path / "y.csv", 4, CLASSES) == (
        [0, 2, 1, 0],
        "y.csv: label, in the order of the images",
    )


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array([0, 1, 2]), "has 3 labels, and there are 4 images"),
        (np.array([0, 1, 2, 3]), "holds 3, and the classes count from 0 to 2"),
        (np.array([0, 1, 2, -1]), "holds -1"),
        (np.array([0, 1, 2, 0.5]), "no indices of classes"),
        (np.array([0, 1, 2, np.nan]), "no indices of classes"),
        (np.full((4, 3), 0.3), "not a single 1 in each row"),
        (np.eye(4), "tells 4 classes, and the model has 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, array, words):
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(AevisError, match=words):
        labels_of_batch(tmp_path / "x.npy", tmp_path / "y.npy", 4, CLASSES)
