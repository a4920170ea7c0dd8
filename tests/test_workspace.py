"""The workspace: what it holds comes back, and every bad input is refused in a sentence that names the place."""

import contextlib
import csv
import dataclasses
import io
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from aevis_dash.config import (
    AttackParameters,
    ContributionParameters,
    ExtractionParameters,
    FeatureParameters,
    ScoreParameters,
)
from aevis_dash.domain import AevisError, Example, ModelSpec, Preprocessing
from aevis_dash.images import png_bytes, read_image, smaller, write_image
from aevis_dash.labels import ImageEntry
from aevis_dash.settings import WorkspaceSettings, check_preprocessing, doubted_scale, parameters_from, write_settings
from aevis_dash.workspace import Workspace, create

NAMES = ("cat", "dog", "grey fox")
SETTINGS = WorkspaceSettings(
    ModelSpec("somewhere:make", "net.pt"),
    Preprocessing((16, 24), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), (-1.0, 1.0)),
    opens_on="cat-mifgsm",
    attack=AttackParameters(epsilon=2.5, steps=3, attack="pgd", stop=True),
    extraction=ExtractionParameters(candidates=4, sparsity=0.7),
    score=ScoreParameters("direction"),
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


def png(width, height, depth=8, pixels=b""):
    """A PNG in RGB; without pixels it only says its size."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    ihdr = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_what_is_written_comes_back(workspace):
    again = Workspace(workspace.root)
    assert again.settings == SETTINGS
    assert again.class_names == NAMES
    assert again.images == (ImageEntry("cat.png", 0), ImageEntry("dog.png", None))
    assert again.examples() == ()
    np.testing.assert_array_equal(again.read(["dog.png", "cat.png"]), [picture(1), picture(0)])


def test_settings_from_before_there_were_margins_and_scores_are_read(workspace):
    file = workspace.root / "workspace.toml"
    later = "attack|step|stop|margin|norm|restarts|attack_args|severity|patch_.*|by"
    before = re.sub(rf"(?m)^(({later}) = .*|\[score\])\n", "", file.read_text())
    assert before != file.read_text()
    file.write_text(before)
    assert Workspace(workspace.root).settings == dataclasses.replace(
        SETTINGS, attack=AttackParameters(epsilon=2.5, steps=3), score=ScoreParameters()
    )


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


def test_the_table_of_images_is_read_again_when_it_changes(workspace):
    assert workspace.images is workspace.images
    with (workspace.root / "images.csv").open("a") as file:
        file.write("new.png,1\n")
    assert workspace.images[-1] == ImageEntry("new.png", 1)


def test_a_table_of_examples_keeps_what_others_wrote(workspace):
    workspace.keep_adversarials([(example("b"), picture(5)), (example("a"), picture(6))])
    table = workspace.root / "examples.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"note,{head}", f'"mine, ""b""",{rows[0]}', f"theirs,{rows[1]}"]) + "\n")
    before = list(csv.reader(table.read_text().splitlines()))
    workspace.keep_adversarials([(example("c"), picture(7)), (example("b", attack="again"), picture(8))])
    after = list(csv.reader(table.read_text().splitlines()))
    assert [row[:2] for row in after] == [["note", "id"], ['mine, "b"', "b"], ["theirs", "a"], ["", "c"]]
    assert (after[0], after[2]) == (before[0], before[2])
    assert workspace.example("b").attack == "again"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("cat-mifgsm,a,b,,,", r"line 3: the id 'cat-mifgsm' already stands in line 2\. Give each"),
        (",a,b,,,", r"examples\.csv, line 3: the id is empty"),
        ("x,a,b,,,,,,,surplus", r"examples\.csv, line 3 has more values than columns"),
    ],
)
def test_a_table_that_cannot_be_rewritten_whole_is_left_alone(workspace, line, words):
    workspace.keep_adversarials([(example(), picture(5))])
    table = workspace.root / "examples.csv"
    table.write_text(f"{table.read_text()}{line}\n")
    before = table.read_bytes()
    with pytest.raises(AevisError, match=words):
        workspace.examples()
    with pytest.raises(AevisError, match=words):
        workspace.keep_adversarials([(example("new"), picture(6))])
    assert table.read_bytes() == before
    assert not (workspace.root / "adversarial" / "new.png").exists()


@pytest.mark.parametrize("file", ["images.csv", "examples.csv", "classes.txt", "workspace.toml"])
def test_a_byte_order_mark_is_no_part_of_a_text(workspace, file):
    workspace.keep_adversarials([(example(), picture(5))])
    before = read_all(workspace.root)
    path = workspace.root / file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_all(workspace.root) == before
    assert Workspace(workspace.root).class_names == NAMES


def test_a_failed_write_of_an_adversarial_keeps_the_table(workspace):
    workspace.keep_adversarials([(example(), picture(5))])
    before = (workspace.root / "examples.csv").read_bytes()
    with pytest.raises(TypeError, match="8-bit numbers, not float64"):
        workspace.keep_adversarials([(example("new"), np.zeros((2, 2, 7)))])
    assert (workspace.root / "examples.csv").read_bytes() == before
    assert [path.name for path in (workspace.root / "adversarial").iterdir()] == ["cat-mifgsm.png"]


WRITER = """
import sys, numpy as np
from pathlib import Path
from aevis_dash.domain import Example
from aevis_dash.workspace import Workspace
workspace, who = Workspace(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(25):
    made = Example(f"{who}-{i}", "cat.png", f"adversarial/{who}-{i}.png", 0, "", 1)
    workspace.keep_adversarials([(made, np.zeros((16, 24, 3), np.uint8))])
"""


def test_two_processes_that_keep_adversarials_at_once_lose_no_row(workspace):
    argv = [sys.executable, "-c", WRITER, str(workspace.root)]
    writers = [subprocess.Popen([*argv, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for who in "ab"]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=120)
        assert writer.returncode == 0
    assert {e.id for e in workspace.examples()} == {f"{who}-{i}" for who in "ab" for i in range(25)}


def test_a_writer_that_never_ends_is_said(workspace, monkeypatch):
    monkeypatch.setattr("aevis_dash.tables.PATIENCE", 0.1)
    with FileLock(workspace.root / ".examples.csv.lock"), pytest.raises(AevisError, match="Another command has been"):
        workspace.keep_adversarials([(example(), picture(5))])
    workspace.keep_adversarials([(example(), picture(5))])
    assert [e.id for e in workspace.examples()] == [example().id]


def test_a_changed_image_has_another_hash(workspace):
    before = workspace.image_hash("cat.png")
    assert before == Workspace(workspace.root).image_hash("cat.png") != workspace.image_hash("dog.png")
    write_image(workspace.root / "images" / "cat.png", picture(9, 17))
    assert workspace.image_hash("cat.png") != before
    with pytest.raises(AevisError, match=r"There is no image .*gone\.png\. Put it back"):
        workspace.image_hash("gone.png")


def test_where_moved_images_are_looked_for_is_said(workspace):
    workspace.keep_adversarials([(example(), picture(5))])
    (workspace.root / "images").rename(workspace.root / "moved")
    setting = r"If the images were moved, say where they are: folder in the table \[images\] of .*toml is 'images'\.$"
    for ask in (
        lambda: workspace.read(["cat.png"]),
        lambda: workspace.image_hash("cat.png"),
        lambda: workspace.at_input_size(["cat.png"]),
        workspace.image_list,
        workspace.example_digests,
    ):
        with pytest.raises(AevisError, match=rf"There is no image .*/images/cat\.png\. .* {setting}"):
            ask()
    (workspace.root / "workspace.toml").write_text(
        (workspace.root / "workspace.toml").read_text().replace('folder = "images"', 'folder = "moved"')
    )
    assert Workspace(workspace.root).read(["cat.png"]).shape == (1, 16, 24, 3)
    (workspace.root / "moved" / "cat.png").unlink()
    (workspace.root / "moved" / "cat.png").mkdir()
    with pytest.raises(AevisError, match=r"cannot be read \(Is a directory\)\. .* \[images\] of .* is 'moved'"):
        Workspace(workspace.root).read(["cat.png"])
    (workspace.root / "adversarial" / "cat-mifgsm.png").unlink()
    with pytest.raises(AevisError, match=r"mifgsm\.png\. Put it back, or drop its row from the table\.$"):
        Workspace(workspace.root).read([example().adversarial])


def test_weights_inside_the_workspace_are_found_from_anywhere(workspace):
    assert workspace.model.weights == "net.pt"
    (workspace.root / "net.pt").write_bytes(b"")
    assert workspace.model.weights == str(workspace.root / "net.pt")


def test_an_unknown_example_is_refused(workspace):
    workspace.keep_adversarials([(example(), picture(5))])
    assert workspace.example("cat-mifgsm") == example()
    with pytest.raises(AevisError, match=r"no example 'x' in .*examples\.csv"):
        workspace.example("x")


# The scale of mean and std

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PLAIN_MEAN, PLAIN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    ("mean", "std", "value_range", "words"),
    [
        (MEAN, STD, (0, 1), r"mean = \[123.675, .*0 to 1.*value_range = \[0, 255\].*mean = \[0.485, .*std = \[0.229, "),
        (
            MEAN,
            (1, 1, 1),
            (0, 1),
            r".*value-range=0,255.*divide mean and std by 255: mean = \[0.485, .*std = \[0.0039, ",
        ),
        (PLAIN_MEAN, STD, (0, 1), r"std = \[58.395, .*0 to 255, divide it by 255: std = \[0.229, "),
        ((-0.1, 0.5, 0.5), PLAIN_STD, (0, 1), r"mean = \[-0.1, .*Mend it, or value_range"),
        ((0.5, 0.5, 1.5), PLAIN_STD, (-1, 1), r"mean = .* from -1 to 1, .*Mend it, or value_range"),
        (MEAN, (300, 1, 1), (255, 0), r"std = \[300, .* from 0 to 255, "),
    ],
)
def test_a_mean_that_no_image_of_these_values_has_is_refused_with_what_was_meant(mean, std, value_range, words):
    chosen = Preprocessing((8, 8), mean, std, value_range)
    with pytest.raises(AevisError, match=f"here: {words}"):
        check_preprocessing(chosen, "here")


@pytest.mark.parametrize(
    ("mean", "std", "value_range"),
    [
        (MEAN, STD, (0, 255)),
        (MEAN, (1, 1, 1), (0, 255)),
        (MEAN, STD, (255, 0)),
        ((0, 0, 0), (1, 1, 1), (-1, 1)),
        ((-0.5, 0, 1), (2, 2, 2), (-1, 1)),
        ((0, 0, 0), (1 / 255, 1 / 255, 1 / 255), (0, 1)),
        ((5, 5, 5), (1, 1, 1), (0, 10)),
    ],
)
def test_any_scale_that_fits_the_values_is_taken_without_a_word(mean, std, value_range):
    chosen = Preprocessing((8, 8), mean, std, value_range)
    check_preprocessing(chosen, "here")
    assert doubted_scale(chosen) == ""


def test_fractions_beside_grey_levels_are_warned_of(workspace):
    assert "multiply both by 255" in doubted_scale(Preprocessing((8, 8), PLAIN_MEAN, PLAIN_STD, (0, 255)))
    chosen = dataclasses.replace(SETTINGS.preprocessing, value_range=(0, 255))
    write_settings(workspace.root, dataclasses.replace(SETTINGS, preprocessing=chosen))
    assert any("multiply both by 255" in sentence for sentence in Workspace(workspace.root).warnings)


# Texts and tables


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("workspace.toml", "[model]", "[model", r"workspace\.toml cannot be read: .*line"),
        ("workspace.toml", "[preprocessing]", "[other]", r"there is no table 'other'"),
        ("workspace.toml", "[images]\nfolder", "[page2]\nfolder", r"there is no table 'page2'\. Did you mean 'page'\?"),
        ("workspace.toml", '[images]\nfolder = "images"\n', "", r"has no table \[images\]"),
        ("workspace.toml", "steps = 3", "steps = 3.5", r"\[attack\]: 3\.5 is not a whole number"),
        ("workspace.toml", "steps = 3", 'steps = "3"', r"\[attack\]: '3' is not of type int"),
        (
            "workspace.toml",
            "steps = 3",
            "stepps = 3",
            r"\[attack\]: .* 'stepps'\. Did you mean 'steps'\? Known are: eps",
        ),
        ("workspace.toml", "steps = 3", "steps = true", r"\[attack\]: True is not of type int"),
        ("workspace.toml", '[page]\nopens_on = "cat-mifgsm"', "", r"\[page\]: 3 is no table"),
        ("workspace.toml", "[extraction]", "[extractoin]", r"no table 'extractoin'\. Did you mean 'extraction'\?"),
        ("workspace.toml", "[extraction]", "[Attack]", r"there is no table 'Attack'\. Did you mean 'attack'\?"),
        ("workspace.toml", "[extraction]", "[zzz]", r"there is no table 'zzz'\. Known are: model, preprocessing"),
        ("workspace.toml", "[model]", "colour = 1\n[model]", r"there is no table 'colour'\."),
        ("workspace.toml", "opens_on", "open_on", r"\[page\]: .* 'open_on'\. Did you mean 'opens_on'\?"),
        ("workspace.toml", "folder", "foldr", r"\[images\]: .* 'foldr'\. Did you mean 'folder'\?"),
        ("workspace.toml", 'folder = "images"', "folder = 3", r"\[images\]: 3 is not of type str"),
        ("workspace.toml", '"cat-mifgsm"', "[1]", r"\[page\]: \[1\] is not of type str"),
        ("workspace.toml", "[model]", "x = " + "[" * 3000 + "]" * 3000 + "\n[model]", r"is nested too deeply"),
        ("workspace.toml", "[attack]", "[contribution.old]", r"\[attack\]: 3 is no table"),
        ("workspace.toml", 'source = "somewhere:make"\n', "", r"\[model\]: the parameter 'source' is missing"),
        ("workspace.toml", "steps = 3", "steps = [3]", r"\[attack\]: \[3\] is not of type int"),
        ("workspace.toml", "steps = 3", "steps = inf", r"\[attack\]: inf is not a finite number"),
        ("workspace.toml", "    16,", "    inf,", r"\[preprocessing\]: inf is not a finite number"),
        ("workspace.toml", "    16,", "    0,", r"\[preprocessing\]: input_size and resize_size need lengths from 1"),
        ("workspace.toml", "    0.2,\n", "", r"\[preprocessing\]: mean has 2 numbers and std 3"),
        (
            "workspace.toml",
            "input_size",
            "input_sise",
            r"\[preprocessing\]: .*'input_sise'\. Did you mean 'input_size'\?",
        ),
        ("classes.txt", "cat\ndog\ngrey fox\n", "\n \n", r"classes\.txt holds no class name"),
        ("classes.txt", "dog", "", r"classes\.txt: class 1 has no name"),
        ("classes.txt", "dog", "d\x1b[31mog", r"classes\.txt: the name of class 1 holds a control character"),
        ("classes.txt", "dog", "d\0og", r"classes\.txt cannot be read \(line 2 holds a NUL"),
        ("images.csv", "cat.png,0", "cat\0.png,0", r"images\.csv cannot be read \(line 2 holds a NUL"),
        ("images.csv", "cat.png,0", "cat\x1b[2J.png,0", r"images\.csv, line 2 holds a control character"),
        ("images.csv", "cat.png,0", '"cat.png,0', r"images\.csv cannot be read \(unexpected end of data"),
        ("images.csv", "file,label", "file,label,file", r"images\.csv has two columns 'file'"),
        ("images.csv", "file,label", "files,label", r"images\.csv has no column 'file'\. It needs: file, label"),
        ("images.csv", "cat.png,0", "cat.png,zebra", r"images\.csv, line 2: the label 'zebra' is neither"),
        ("images.csv", "cat.png,0", "cat.png,3", r"images\.csv, line 2: the label '3' .* 0 to 2"),
        ("images.csv", "cat.png,0", "cat.png,-1", r"images\.csv, line 2: the label '-1'"),
        ("images.csv", "cat.png,0", "cat.png,²", r"images\.csv, line 2: the label '²' is neither"),
        ("images.csv", "cat.png,0", "cat.png," + "9" * 5000, r"images\.csv, line 2: the label '9{60}…' is neither"),
        ("examples.csv", ",2,", ",²,", r"examples\.csv, line 2: the label '²'"),
        ("examples.csv", "adversarial,", "image,", r"examples\.csv has no column 'adversarial'"),
        (
            "examples.csv",
            "target_label",
            "Target label",
            r"examples\.csv has a column 'Target label'\. Call it target_la",
        ),
        ("examples.csv", ",2,", ",cow,", r"examples\.csv, line 2: the label 'cow'"),
    ],
)
def test_a_broken_text_is_refused_by_name(workspace, file, old, new, words):
    workspace.keep_adversarials([(example(), picture(5))])
    path = workspace.root / file
    assert old in path.read_text()
    first = {"[contribution.old]": "attack = 3\n", "": "page = 3\n" if "[page]" in old else ""}.get(new, "")
    path.write_text(first + path.read_text().replace(old, new))
    with pytest.raises(AevisError, match=words):
        read_all(workspace.root)


@pytest.mark.parametrize("file", ["workspace.toml", "classes.txt", "images.csv", "examples.csv"])
def test_a_text_that_is_no_text_is_refused_by_name(workspace, file):
    (workspace.root / file).write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(AevisError, match=file):
        read_all(workspace.root)


@pytest.mark.parametrize("file", ["workspace.toml", "classes.txt", "images.csv"])
def test_a_text_that_is_no_utf_8_is_refused_by_its_line(workspace, file):
    path = workspace.root / file
    text = path.read_bytes()
    path.write_bytes(text.replace(b"\n", b"\n#\xff\n", 1))
    with pytest.raises(
        AevisError, match=rf"{file} cannot be read.*line 2 holds bytes that are no UTF-8.*UTF-8"
    ) as said:
        _ = Workspace(workspace.root).images
    assert "that line" not in str(said.value)


@pytest.mark.parametrize("file", ["classes.txt", "images.csv"])
def test_a_missing_text_is_told_without_a_number_of_the_system(workspace, file):
    (workspace.root / file).unlink()
    with pytest.raises(AevisError, match=rf"{file} cannot be read \(there is no such file\)"):
        _ = Workspace(workspace.root).images


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


@pytest.mark.parametrize(
    ("kind", "name", "value", "words"),
    [
        (ExtractionParameters, "batch", 0, "batch = 0 is too small. It must be at least 1"),
        (ExtractionParameters, "candidates", 0, "at least 1"),
        (ExtractionParameters, "candidates", -1, "at least 1"),
        (ExtractionParameters, "iterations", 0, "at least 1"),
        (ExtractionParameters, "seed", -1, "at least 0"),
        (ExtractionParameters, "learning_rate", float("nan"), "nan is not a finite number. Mend .*'learning_rate'"),
        (ExtractionParameters, "sparsity", 10**400, "Mend the value of 'sparsity'"),
        (ContributionParameters, "iterations", 0, "at least 1"),
        (FeatureParameters, "patches", -1, "at least 1"),
        (ExtractionParameters, "share", 7, "share = 7 is too large. It must be at most 1"),
        (ExtractionParameters, "hold", 1.5, "at most 1"),
        (AttackParameters, "steps", 0, "at least 1"),
        (AttackParameters, "epsilon", -8.0, "at least 0.01"),
        (
            AttackParameters,
            "attack",
            "deepfool",
            "there is no attack 'deepfool'. Choose one of: mi-fgsm, fgsm, pgd, noise, .*patch, or FILE.py:function, ",
        ),
        (AttackParameters, "norm", "l1", "there is no norm 'l1'. Choose one of: linf, l2"),
        (AttackParameters, "restarts", 0, "at least 1"),
        (AttackParameters, "severity", 6, "at most 5"),
        (AttackParameters, "stop", 1, "1 is not of type bool. Mend the value of 'stop'"),
        (AttackParameters, "steps", True, "True is not of type int"),
        (ScoreParameters, "by", "length", "there is no by 'length'. Choose one of: features, direction"),
    ],
)
def test_a_number_out_of_range_is_refused(kind, name, value, words):
    with pytest.raises(AevisError, match=f"^here: .*{words}"):
        parameters_from(kind, {name: value}, "here")


def test_nothing_is_a_legal_weight():
    nothing = {"sparsity": 0, "coherence": 0, "null_targets": 0}
    assert parameters_from(ExtractionParameters, nothing, "here").null_targets == 0
    assert parameters_from(AttackParameters, {"momentum": 0}, "here").momentum == 0


# Images


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("truncated", "truncated or not an image. Save or copy it again"),
        ("text", "truncated or not an image"),
        ("empty", "truncated or not an image"),
        ("cmyk", "is CMYK, .*Convert it to RGB"),
        ("16-bit", "more than 8 bits a channel .*Convert it to 8-bit RGB"),
        ("16-bit colour", "more than 8 bits a channel .*Convert it to 8-bit RGB"),
        ("lab tiff", "colour space LAB. Convert it to RGB"),
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
        read_image(path, Preprocessing((16, 16)))
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
        "16-bit colour": png(32, 32, 16, bytes((1 + 32 * 6) * 32)),
        "lab tiff": saved(Image.new("LAB", (32, 32)), "TIFF"),
        "animated gif": animated("GIF"),
        "animated png": animated("PNG"),
        "1x1": png_bytes(picture(0, 1, 1)),
        "huge": png(20_000, 20_000),
        "large": png(8000, 7000),
    }
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("error", [IndexError("list index out of range"), TypeError(), struct.error("unpack")])
def test_whatever_pillow_raises_is_a_refusal(tmp_path, monkeypatch, error):
    def load(*_):
        raise error

    write_image(tmp_path / "a.png", picture())
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(AevisError, match=r"a\.png cannot be read \(.+\); it is truncated"):
        read_image(tmp_path / "a.png", Preprocessing((16, 24)))


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_a_damaged_image_is_read_or_refused(tmp_path, kind):
    whole, were_read = saved(Image.fromarray(picture(0, 32, 32)), kind), 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        broken = bytearray(whole)
        for place in random.integers(0, len(whole) if seed % 2 else 60, 3):
            broken[-place if kind == "TIFF" else place] = random.integers(256)
        (tmp_path / "a").write_bytes(broken)
        with contextlib.suppress(AevisError):
            assert read_image(tmp_path / "a", Preprocessing((16, 16))).shape == (16, 16, 3)
            were_read += 1
    assert 0 < were_read < 150


def test_a_phones_picture_is_read_without_its_previews(tmp_path):
    (tmp_path / "a.jpg").write_bytes(animated("MPO"))
    Image.fromarray(picture(0, 32, 32)).save(tmp_path / "still.jpg")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.jpg", Preprocessing((32, 32))),
        read_image(tmp_path / "still.jpg", Preprocessing((32, 32))),
    )


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
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", Preprocessing((16, 24))), np.stack([grey] * 3, 2))
    Image.fromarray(picture()).convert("RGBA").save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png", Preprocessing((16, 24))), picture())
    turned = Image.fromarray(np.rot90(picture()))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", Preprocessing((16, 24))), picture())


def test_size_is_height_then_width_and_the_whole_picture(tmp_path):
    left_white = np.zeros((10, 40, 3), np.uint8)
    left_white[:, :20] = 255
    write_image(tmp_path / "a.png", left_white)
    found = read_image(tmp_path / "a.png", Preprocessing((20, 8)))
    assert found.shape == (20, 8, 3)
    assert found[:, :3].min() == 255
    assert found[:, 5:].max() == 0


def test_settings_are_replaced_whole(workspace, monkeypatch):
    before = (workspace.root / "workspace.toml").read_bytes()
    monkeypatch.setattr("aevis_dash.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_settings(workspace.root, dataclasses.replace(SETTINGS, opens_on="x"))
    assert (workspace.root / "workspace.toml").read_bytes() == before
    assert not list(workspace.root.glob(".part-*"))


def test_a_smaller_picture_keeps_its_form_and_a_small_one_stays():
    wide = picture(0, 60, 200)
    assert smaller(wide, 128).shape == (38, 128, 3)
    assert smaller(wide, 200) is wide
    assert smaller(None, 128) is None


NUMBERS = [
    (kind, parameter)
    for kind in (AttackParameters, ExtractionParameters, ContributionParameters, FeatureParameters)
    for parameter in dataclasses.fields(kind)
    if not isinstance(parameter.default, str)
]


@pytest.mark.parametrize(
    ("kind", "parameter"), NUMBERS, ids=[f"{kind.__name__}.{number.name}" for kind, number in NUMBERS]
)
def test_every_number_has_bounds_on_both_sides(kind, parameter):
    """10**9 rounds, patches or samples would run for days, or fill the memory."""
    for value in (10**9 if parameter.name != "seed" else 2**32, 10**400, -1):
        with pytest.raises(AevisError, match=f"[Tt]he value of '{parameter.name}'|too large|too small"):
            parameters_from(kind, {parameter.name: value}, "here")
    assert parameters_from(kind, {parameter.name: parameter.default}, "here") == kind()
