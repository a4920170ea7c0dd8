"""Finding images and their labels: what can be read is read, what can be read in two ways is refused."""

import csv
import os
import unicodedata

import pytest

from aevis_dash.classes import Classes, imagenet
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing
from aevis_dash.labels import ImageEntry, find_images, unmatched_now
from aevis_dash.settings import WorkspaceSettings
from aevis_dash.workspace import create

NAMES = Classes(("cat", "dog", "grey fox"))


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path / "photos", "cat/one.png", "dog/two.png", "three.JPG", "cat/.note.txt")
    return tmp_path / "photos"


def labels_file(folder, rows, head=("image_id", "label")):
    path = folder.parent / "labels.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def labels(folder, rows=None, classes=NAMES):
    table = None if rows is None else labels_file(folder, rows)
    return {entry.file: entry.label for entry in find_images(folder, table, classes).images}


# From folders


@pytest.mark.parametrize(("written", "read"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_that_another_system_writes_as_characters_of_their_own_are_the_same(tmp_path, written, read):
    """macOS takes them apart in the names of files and folders, and tables and lists of classes mostly do not."""
    in_files, in_texts = (lambda text, form=form: unicodedata.normalize(form, text) for form in (written, read))
    classes = Classes((in_texts("Äpfel"), in_texts("Öl")))
    touch(tmp_path / "folders", in_files("Äpfel/1.png"), in_files("öl/2.png"))
    assert labels(tmp_path / "folders", classes=classes) == {in_files("Äpfel/1.png"): 0, in_files("öl/2.png"): 1}
    touch(tmp_path / "flat", in_files("größe.png"), in_files("café.png"))
    rows = [(in_texts("größe.png"), in_files("Öl")), (in_texts("café"), in_files("Äpfel"))]
    assert labels(tmp_path / "flat", rows, classes) == {in_files("größe.png"): 1, in_files("café.png"): 0}


def test_labels_come_from_sub_folders(folder):
    found = find_images(folder, None, NAMES)
    assert found.images == (ImageEntry("cat/one.png", 0), ImageEntry("dog/two.png", 1), ImageEntry("three.JPG", None))
    assert found.read_from == "the folders' names"
    assert (found.folders_of_no_class, found.other_files) == ((), ()), "three.JPG lies in none, and .note.txt is hidden"


def test_folders_are_named_by_synset_index_underscores_or_in_other_case(tmp_path):
    names, classes = ("n02510455", "Great_White_Shark", "cardigan", "Cardigan", "other"), Classes(imagenet()[1])
    touch(tmp_path, *(f"val/{name}/x.JPEG" for name in names))
    found = find_images(tmp_path, None, classes)
    assert {entry.file.split("/")[1]: entry.label for entry in found.images} == {
        "n02510455": 388,
        "Great_White_Shark": 2,
        "cardigan": 474,
        "Cardigan": 264,
        "other": None,
    }
    assert found.unmatched["folders_of_no_class"] == {"count": 1, "such_as": ["val/other"]}


def test_the_folder_of_a_class_may_hold_folders(tmp_path):
    touch(tmp_path, "train/cat/images/1.png", "train/dog/2/1.png")
    assert labels(tmp_path) == {"train/cat/images/1.png": 0, "train/dog/2/1.png": 1}


def test_folders_of_indices_count_only_where_all_are(tmp_path):
    touch(tmp_path, "1/x.png", "02/x.png")
    assert labels(tmp_path) == {"1/x.png": 1, "02/x.png": 2}
    assert find_images(tmp_path, None, NAMES).read_from == "the folders' names, as class indices from 0"
    touch(tmp_path, "3/x.png")
    found = find_images(tmp_path, None, NAMES)
    assert {entry.label for entry in found.images} == {None}
    assert found.folders_of_no_class == ("02", "1", "3")
    assert found.read_from.startswith("nothing")


def test_folders_of_two_classes_are_refused(tmp_path):
    touch(tmp_path, "dog/cat/1.png")
    with pytest.raises(AevisError, match="folders named after two classes, 'cat' and 'dog'"):
        find_images(tmp_path, None, NAMES)
    touch(tmp_path / "other", "crane/1.png")
    with pytest.raises(AevisError, match=r"folder's name 'crane' in .* is the name of 2 classes, 0, 2"):
        find_images(tmp_path / "other", None, Classes(("crane", "dog", "crane")))


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    touch(tmp_path, "store/a/1.png", "store/a/deep/2.png", "photos/dog/3.png")
    (tmp_path / "photos" / "cat").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "photos" / "dog" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "all").symlink_to("/")
    (tmp_path / "store" / "a" / "round").symlink_to(tmp_path / "store" / "a" / "deep")
    (tmp_path / "photos" / "lost.png").symlink_to(tmp_path / "nothing")
    found = find_images(tmp_path / "photos", None, NAMES)
    assert {e.file: e.label for e in found.images} == {
        "cat/1.png": 0,
        "cat/deep/2.png": 0,
        "cat/round/2.png": 0,
        "dog/3.png": 1,
    }
    assert found.other_files == ("lost.png",)


def test_images_at_the_top_of_class_folders_and_rows_without_a_label_are_named(folder):
    named = {"count": 1, "such_as": ["three.JPG"]}
    assert find_images(folder, None, NAMES).unmatched["images_without_label"] == named
    found = find_images(folder, labels_file(folder, [("one", 0), ("three", " "), ("two", 1)]), NAMES)
    assert ImageEntry("three.JPG", None) in found.images
    assert found.unmatched["images_without_label"] == named
    assert unmatched_now(folder, found.images).unmatched["images_without_label"] == named


def test_a_row_that_was_taken_out_with_a_hash_has_no_part(folder):
    found = find_images(folder, labels_file(folder, [("one", 0), ("#two", "whatever"), ("# by me", "in May")]), NAMES)
    assert found.unmatched["rows_without_image"]["count"] == 0
    assert found.images_without_row == ("dog/two.png", "three.JPG")
    touch(folder, "#two.png")
    assert ImageEntry("#two.png", 1) in find_images(folder, labels_file(folder, [("#two", 1)]), NAMES).images


# Which files


def test_hidden_files_and_folders_are_passed_over(folder):
    touch(folder, ".ipynb_checkpoints/a.png", "cat/._one.png", "@eaDir/one.png", "__MACOSX/cat/one.png", "Thumbs.db")
    touch(folder, "dog/.four.png", ".five.JPG", ".DS_Store")
    found = find_images(folder, None, NAMES)
    assert [entry.file for entry in found.images] == ["cat/one.png", "dog/two.png", "three.JPG"]
    assert found.other_files == ()
    assert found.unmatched["hidden_images"] == {"count": 2, "such_as": [".five.JPG", "dog/.four.png"]}
    assert unmatched_now(folder, found.images).hidden_images == found.hidden_images


def test_every_format_that_pillow_reads_is_an_image_and_the_rest_is_counted(folder):
    touch(folder, "a.JFIF", "b.tga", "c.ppm", "d.jp2", "e.heic", "f.npy", "g.h5", "h.eps", "i.txt", "j")
    os.mkfifo(folder / "k.png")
    found = find_images(folder, None, NAMES)
    assert {"a.JFIF", "b.tga", "c.ppm", "d.jp2"} < {entry.file for entry in found.images}
    assert found.other_files == ("e.heic", "f.npy", "g.h5", "h.eps", "i.txt", "j", "k.png")
    assert found.unmatched["other_files"] == {"count": 7, "such_as": ["e.heic", "f.npy", "g.h5"]}


def test_a_file_that_a_table_names_and_nothing_reads_is_named_first(folder):
    touch(folder, "a.txt", "z.heic")
    table = labels_file(folder, [("one", 0), ("gone", 1), ("z", 2)])
    found = find_images(folder, table, NAMES)
    assert found.other_files == ("z.heic", "a.txt")
    assert found.rows_without_image == ("z", "gone")
    assert found.images_without_row == ("dog/two.png", "three.JPG")


def test_the_workspaces_own_texts_are_no_unread_images(folder):
    touch(folder, "names.txt", "labels.csv")
    (folder / "labels.csv").write_text("file,label\none,0\n")
    assert find_images(folder, folder / "labels.csv", NAMES, [folder / "names.txt"]).other_files == ()


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"x\n.png", b"x\r.png", b"\x1b[2Jx.png", b"b\xff/x.png", b"\xc2\x9b.png"]
)
def test_a_name_that_no_table_can_hold_is_refused(tmp_path, name):
    folder = tmp_path / "photos"
    path = os.path.join(os.fsencode(folder), name)
    os.makedirs(os.path.dirname(path))
    open(path, "wb").close()
    with pytest.raises(AevisError, match=r"a control character, or bytes that are no UTF-8\. Rename it") as refusal:
        find_images(folder, None, NAMES)
    assert str(refusal.value).isprintable()
    entry = ImageEntry(os.fsdecode(name), 0)
    settings = WorkspaceSettings(ModelSpec("somewhere:make", ""), Preprocessing((16, 24)))
    with pytest.raises(AevisError, match="Rename it"):
        create(tmp_path / "new", settings, NAMES.names, [entry])
    assert not (tmp_path / "new").exists()


def test_a_folder_named_as_the_workspaces_own_is_refused(folder, tmp_path):
    (folder / "adversarial").mkdir()
    (folder / "dog" / "two.png").rename(folder / "adversarial" / "two.png")
    with pytest.raises(AevisError, match=r"photos/adversarial has the name .*Rename that folder"):
        find_images(folder, None, NAMES)


def test_a_folder_that_cannot_be_used_is_refused_by_name(tmp_path, folder):
    touch(tmp_path, "empty/a.heic", "file")
    for name, words in (
        ("empty", r"holds no image that can be read.*Its 1 file is of other kinds, such as 'a\.heic'"),
        ("file", "There is no folder"),
        ("nowhere", "There is no folder"),
    ):
        with pytest.raises(AevisError, match=words) as error:
            find_images(tmp_path / name, None, NAMES)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(AevisError, match=r"gone\.csv cannot be read"):
        find_images(folder, tmp_path / "gone.csv", NAMES)


# From a table


@pytest.mark.parametrize(
    "name",
    [
        "cat/one.png",
        "one.png",
        "one",
        "cat/one",
        "./cat/one.png",
        "cat\\one.png",
        " cat/one.png",
        "photos/cat/one.png",
        "/data/photos/cat/one.png",
        "CAT/One.PNG",
        "One",
    ],
)
def test_labels_come_from_a_table_by_path_name_or_stem(folder, name):
    rows = [(name, "grey fox"), ("three", "1"), ("not there", "0"), ("other/one.png", "0")]
    found = find_images(folder, labels_file(folder, rows), NAMES)
    assert found.images == (ImageEntry("cat/one.png", 2), ImageEntry("three.JPG", 1))
    assert found.read_from == "labels.csv: image_id, label"
    assert found.unmatched == {
        "images_without_row": {"count": 1, "such_as": ["dog/two.png"]},
        "rows_without_image": {"count": 2, "such_as": ["not there", "other/one.png"]},
        "images_without_label": {"count": 0, "such_as": []},
        "folders_of_no_class": {"count": 0, "such_as": []},
        "other_files": {"count": 0, "such_as": []},
        "hidden_images": {"count": 0, "such_as": []},
    }


@pytest.mark.parametrize(
    "head", [("ImageId", "TrueLabel"), ("File Name", "Class"), ("image", "synset"), ("ID", "wnid")]
)
def test_columns_are_known_by_their_common_names(folder, head):
    assert find_images(folder, labels_file(folder, [("one", "1.0")], head), NAMES).images[0].label == 1


def test_a_second_column_of_labels_that_says_otherwise_is_told(folder):
    """Where it says the same, or holds something else such as kinds of classes, there is nothing to say."""
    rows = [("one", "cat", "0", "pet"), ("two", "dog", "cat", "pet"), ("three", "grey fox", "1", "wild")]
    found = find_images(folder, labels_file(folder, rows, ("image", "label", "class", "synset")), NAMES)
    assert [entry.label for entry in found.images] == [0, 1, 2]
    assert found.read_from == "labels.csv: image, label; the column 'class' names another class in 2 rows"


def test_a_name_in_several_folders_is_refused_unless_its_path_stands_there(tmp_path):
    folder = tmp_path / "photos"
    touch(folder, "cat/001.png", "dog/001.png")
    for name in ("001.png", "001"):
        with pytest.raises(AevisError, match=r"line 2: '001.*' may be 'cat/001\.png' or 'dog/001\.png'\. Name"):
            labels(folder, [(name, 0)])
    assert labels(folder, [("cat/001.png", 0), ("dog/001", 1)]) == {"cat/001.png": 0, "dog/001.png": 1}
    touch(folder, "001.png")
    assert labels(folder, [("001.png", 2)]) == {"001.png": 2}, "its own path; the others have no row"


def test_a_file_listed_twice_is_refused_where_its_labels_differ(folder):
    assert labels(folder, [("one", 0), ("cat/one.png", "cat")]) == {"cat/one.png": 0}
    for other in ("dog", ""):
        with pytest.raises(AevisError, match=r"line 3: the image 'cat/one\.png' has another label in line 2"):
            labels(folder, [("one", 0), ("cat/one.png", other)])


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


def test_a_table_of_no_bytes_is_refused(folder):
    (folder.parent / "labels.csv").write_bytes(b"")
    with pytest.raises(AevisError, match=r"labels\.csv is empty"):
        find_images(folder, folder.parent / "labels.csv", NAMES)
