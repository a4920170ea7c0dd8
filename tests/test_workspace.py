"""The workspace: what it holds comes back, and every bad input is refused in a sentence that names the place."""

import csv
import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from aevis_dash.config import AttackParameters, ExtractionParameters
from aevis_dash.domain import AevisError, Example, ModelSpec, Preprocessing
from aevis_dash.workspace import (
    ImageEntry,
    Workspace,
    WorkspaceSettings,
    create,
    find_images,
    parameters_from,
    png_bytes,
    read_image,
    write_image,
    write_settings,
)

NAMES = ("cat", "dog", "grey fox")
SETTINGS = WorkspaceSettings(
    ModelSpec("somewhere:make", "net.pt"),
    Preprocessing((16, 24), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (-1.0, 1.0)),
    opens_on="cat-mifgsm",
    attack=AttackParameters(epsilon=2.5, steps=3),
    extraction=ExtractionParameters(candidates=4, sparsity=0.7),
)


def picture(seed=0, height=16, width=24):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def workspace(tmp_path):
    for i, name in enumerate(("cat.png", "dog.png")):
        write_image(tmp_path / "images" / name, picture(i))
    return create(tmp_path, SETTINGS, NAMES, [ImageEntry("cat.png", 0), ImageEntry("dog.png", None)])


def example(name="cat-mifgsm", **changes):
    made = Example(name, "cat.png", f"adversarial/{name}.png", 0, 'MI-FGSM, "8"/255', 2)
    return dataclasses.replace(made, **changes)


def png_head(width, height):
    """A PNG that says a size and has no pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_what_is_written_comes_back(workspace):
    again = Workspace(workspace.root)
    assert again.settings == SETTINGS
    assert again.class_names == NAMES
    assert again.images == (ImageEntry("cat.png", 0), ImageEntry("dog.png", None))
    assert again.examples() == ()
    np.testing.assert_array_equal(again.read(["dog.png", "cat.png"]), [picture(1), picture(0)])


def test_an_existing_workspace_is_not_overwritten(workspace):
    before = {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()}
    with pytest.raises(AevisError, match=r"already holds a workspace\. Choose another folder"):
        create(workspace.root, dataclasses.replace(SETTINGS, opens_on=""), ("a",), [])
    assert {path: path.read_bytes() for path in workspace.root.rglob("*") if path.is_file()} == before


def test_adversarials_are_added_and_replaced_by_id(workspace):
    first, second = example(), example("other", target_label=None, true_label=None)
    workspace.keep_adversarials([(first, picture(5)), (second, picture(6))])
    workspace.keep_adversarials([(dataclasses.replace(first, attack="again"), picture(7))])
    assert workspace.examples() == (dataclasses.replace(first, attack="again"), second)
    np.testing.assert_array_equal(workspace.read([first.adversarial, second.adversarial]), [picture(7), picture(6)])


def test_a_failed_write_of_an_adversarial_keeps_the_table(workspace):
    workspace.keep_adversarials([(example(), picture(5))])
    before = (workspace.root / "examples.csv").read_bytes()
    with pytest.raises(TypeError):
        workspace.keep_adversarials([(example("new"), np.zeros((2, 2, 7)))])
    assert (workspace.root / "examples.csv").read_bytes() == before
    assert [path.name for path in (workspace.root / "adversarial").iterdir()] == ["cat-mifgsm.png"]


def test_a_changed_image_has_another_hash(workspace):
    before = workspace.image_hash("cat.png")
    assert before == Workspace(workspace.root).image_hash("cat.png") != workspace.image_hash("dog.png")
    write_image(workspace.root / "images" / "cat.png", picture(9, 17))
    assert workspace.image_hash("cat.png") != before
    with pytest.raises(AevisError, match=r"gone\.png cannot be read .*Put it back"):
        workspace.image_hash("gone.png")


def test_weights_inside_the_workspace_are_found_from_anywhere(workspace):
    assert workspace.model.weights == "net.pt"
    (workspace.root / "net.pt").write_bytes(b"")
    assert workspace.model.weights == str(workspace.root / "net.pt")


def test_an_unknown_example_is_refused(workspace):
    workspace.keep_adversarials([(example(), picture(5))])
    assert workspace.example("cat-mifgsm") == example()
    with pytest.raises(AevisError, match=r"no example 'x' in .*examples\.csv"):
        workspace.example("x")


# Texts and tables


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("workspace.toml", "[model]", "[model", r"workspace\.toml cannot be read: .*line"),
        ("workspace.toml", "[preprocessing]", "[other]", r"has no table \[preprocessing\]"),
        ("workspace.toml", "steps = 3", "steps = 3.5", r"\[attack\]: 3\.5 is not a whole number"),
        ("workspace.toml", "steps = 3", 'steps = "3"', r"\[attack\]: '3' is not of type int"),
        ("workspace.toml", "steps = 3", "stepps = 3", r"\[attack\]: there is no parameter 'stepps'\. Known are: eps"),
        ("workspace.toml", "steps = 3", "steps = true", r"\[attack\]: True is not of type int"),
        ("workspace.toml", "    0.2,\n", "", r"\[preprocessing\]: mean needs 3 numbers"),
        ("workspace.toml", "input_size", "input_sise", r"\[preprocessing\]: .*input_sise"),
        ("classes.txt", "cat\ndog\ngrey fox\n", "\n \n", r"classes\.txt holds no class name"),
        ("images.csv", "file,label", "files,label", r"images\.csv has no column 'file'\. It needs: file, label"),
        ("images.csv", "cat.png,0", "cat.png,zebra", r"images\.csv, line 2: the label 'zebra' is neither"),
        ("images.csv", "cat.png,0", "cat.png,3", r"images\.csv, line 2: the label '3' .* 0 to 2"),
        ("images.csv", "cat.png,0", "cat.png,-1", r"images\.csv, line 2: the label '-1'"),
        ("examples.csv", "target_label", "target", r"examples\.csv has no column 'target_label'"),
        ("examples.csv", ",2\n", ",cow\n", r"examples\.csv, line 2: the label 'cow'"),
    ],
)
def test_a_broken_text_is_refused_by_name(workspace, file, old, new, words):
    workspace.keep_adversarials([(example(), picture(5))])
    path = workspace.root / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(AevisError, match=words):
        read_all(workspace.root)


@pytest.mark.parametrize("file", ["workspace.toml", "classes.txt", "images.csv", "examples.csv"])
def test_a_text_that_is_no_text_is_refused_by_name(workspace, file):
    (workspace.root / file).write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(AevisError, match=file):
        read_all(workspace.root)


@pytest.mark.parametrize("file", ["workspace.toml", "classes.txt", "images.csv"])
def test_a_missing_text_is_refused_by_name(workspace, file):
    (workspace.root / file).unlink()
    with pytest.raises(AevisError, match=file):
        read_all(workspace.root)


def test_no_workspace_says_how_to_make_one(tmp_path):
    with pytest.raises(AevisError, match=r"holds no workspace\.toml\. Make a workspace there with `aevis init"):
        Workspace(tmp_path / "nowhere")


def read_all(root):
    workspace = Workspace(root)
    return workspace.images, workspace.examples()


def test_whole_numbers_are_taken_for_numbers_with_decimals():
    assert parameters_from(AttackParameters, {"epsilon": 4}, "here") == AttackParameters(epsilon=4.0)
    assert type(parameters_from(AttackParameters, {"epsilon": 4}, "here").epsilon) is float


# Images


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "truncated or not an image. Save or copy it again"),
        ("text", "truncated or not an image"),
        ("empty", "truncated or not an image"),
        ("cmyk", "is CMYK, .*Convert it to RGB"),
        ("16-bit", "more than 8 bits a channel .*Convert it to 8-bit RGB"),
        ("animated gif", r"is animated \(2 frames\)\. Save the frame you mean"),
        ("animated png", r"is animated \(2 frames\)"),
        ("1x1", "has 1 x 1 pixels"),
        ("huge", "50 million pixels.* Scale it down"),
        ("large", "8000 x 7000 pixels.* Scale it down"),
        ("missing", "There is no image .*Put it back"),
        ("folder", "cannot be read"),
    ],
)
def test_an_unusable_image_is_refused_by_name(tmp_path, kind, words):
    path = bad_image(tmp_path, kind)
    with pytest.raises(AevisError, match=words) as error:
        read_image(path, (16, 16))
    assert str(path) in str(error.value)


def bad_image(folder, kind):
    path = folder / ("picture.jpg" if kind == "cmyk" else "picture.gif" if "gif" in kind else "picture.png")
    whole = png_bytes(picture(0, 64, 64))
    contents = {
        "truncated": whole[: len(whole) // 2],
        "text": b"this is no picture",
        "empty": b"",
        "cmyk": saved(Image.new("CMYK", (32, 32)), "JPEG"),
        "16-bit": saved(Image.fromarray(np.zeros((32, 32), np.uint16)), "PNG"),
        "animated gif": animated("GIF"),
        "animated png": animated("PNG"),
        "1x1": png_bytes(picture(0, 1, 1)),
        "huge": png_head(20_000, 20_000),
        "large": png_head(8000, 7000),
    }
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind):
    frames = [Image.fromarray(picture(i, 32, 32)) for i in range(2)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def test_grey_and_transparent_and_turned_images_are_read_upright(tmp_path):
    grey = picture()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", (16, 24)), np.stack([grey] * 3, 2))
    Image.fromarray(picture()).convert("RGBA").save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png", (16, 24)), picture())
    turned = Image.fromarray(np.rot90(picture()))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", (16, 24)), picture())


def test_size_is_height_then_width_and_the_whole_picture(tmp_path):
    left_white = np.zeros((10, 40, 3), np.uint8)
    left_white[:, :20] = 255
    write_image(tmp_path / "a.png", left_white)
    found = read_image(tmp_path / "a.png", (20, 8))
    assert found.shape == (20, 8, 3)
    assert found[:, :3].min() == 255
    assert found[:, 5:].max() == 0


# Finding images


@pytest.fixture
def folder(tmp_path):
    for name in ("cat/one.png", "dog/two.png", "three.JPG", "cat/.note.txt"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "photos"


def labels_file(folder, rows, head=("image_id", "label")):
    path = folder.parent / "labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def test_labels_come_from_sub_folders(folder):
    assert find_images(folder, None, NAMES) == (
        ImageEntry("cat/one.png", 0),
        ImageEntry("dog/two.png", 1),
        ImageEntry("three.JPG", None),
    )


@pytest.mark.parametrize("name", ["cat/one.png", "one.png", "one"])
def test_labels_come_from_a_table_by_path_name_or_stem(folder, name):
    table = labels_file(folder, [(name, "grey fox"), ("three", "1"), ("not there", "0")])
    assert find_images(folder, table, NAMES) == (ImageEntry("cat/one.png", 2), ImageEntry("three.JPG", 1))


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        ([("one", "cow")], ("image_id", "label"), r"labels\.csv, line 2: the label 'cow' is neither a class name nor"),
        ([("one", "0"), ("two", "7")], ("image_id", "label"), r"labels\.csv, line 3: the label '7' .* 0 to 2"),
        ([("one", "0")], ("picture", "label"), r"labels\.csv has none of the columns file, .*it has label, picture"),
        ([("one", "0")], ("file", "kind"), r"labels\.csv has none of the columns label"),
        (
            [("four", "0")],
            ("file", "label"),
            r"No image in .*photos has a row in .*labels\.csv.*'cat/one\.png'.*'four'",
        ),
        ([], ("file", "label"), r"labels\.csv is empty"),
    ],
)
def test_labels_that_do_not_match_are_refused(folder, rows, head, words):
    with pytest.raises(AevisError, match=words):
        find_images(folder, labels_file(folder, rows, head), NAMES)


def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, words in (("empty", "holds no image"), ("file", "There is no folder"), ("nowhere", "There is no folder")):
        with pytest.raises(AevisError, match=words) as error:
            find_images(tmp_path / name, None, NAMES)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(AevisError, match=r"gone\.csv cannot be read"):
        find_images(folder, tmp_path / "gone.csv", NAMES)


def test_settings_are_replaced_whole(workspace, monkeypatch):
    before = (workspace.root / "workspace.toml").read_bytes()
    monkeypatch.setattr("aevis_dash.store.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_settings(workspace.root, dataclasses.replace(SETTINGS, opens_on="x"))
    assert (workspace.root / "workspace.toml").read_bytes() == before
    assert not list(workspace.root.glob(".part-*"))
