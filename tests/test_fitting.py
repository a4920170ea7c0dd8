"""Images become as large as the model's input exactly as torchvision's and timm's own transforms make them."""

import csv
import math
import sys
from types import SimpleNamespace

import hand_wired
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import nn
from torchvision.transforms import functional

from aevis_dash import make_workspace
from aevis_dash.core import loading
from aevis_dash.core.classifier import Classifier
from aevis_dash.domain import FITS, INTERPOLATIONS, AevisError, ModelSpec, Preprocessing
from aevis_dash.images import image_size, read_image, read_mask, write_image
from aevis_dash.labels import ImageEntry
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.settings import WorkspaceSettings, read_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import create

SHAPES = {"square": (333, 333), "3:2": (431, 287), "16:9": (641, 361), "portrait": (300, 451)}


def drawn(width, height, seed=0):
    """A picture with fine and coarse structure."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height), 3)
    return Image.fromarray((0.7 * np.asarray(coarse) + rng.integers(0, 76, (height, width, 3))).astype(np.uint8))


def inputs(preprocessing, pictures):
    """The model's input as a Classifier of any model makes it."""
    small = Classifier(hand_wired.random_net(0).eval(), Preprocessing((8, 8)), hand_wired.CLASSES)
    small.preprocessing = preprocessing
    return small.inputs(np.stack(pictures))


# torchvision


def presets():
    """One published weights entry for each distinct preset of torchvision's classifiers."""
    found = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for entry in torchvision.models.get_model_weights(name):
            found.setdefault(str(entry.transforms()), (name, entry.name))
    return sorted(found.values())


@pytest.mark.parametrize(("name", "weights"), presets())
def test_every_preset_of_torchvision_gives_its_inputs_to_the_pixel(tmp_path, name, weights):
    preprocessing, _ = loading.standard_preprocessing(ModelSpec(f"torchvision:{name}", weights))
    preset = torchvision.models.get_model_weights(name)[weights].transforms()
    for i, size in enumerate([*SHAPES.values(), (1000, 90)]):
        drawn(*size, seed=i).save(tmp_path / "a.png")
        found = inputs(preprocessing, [read_image(tmp_path / "a.png", preprocessing)])
        torch.testing.assert_close(found[0], preset(Image.open(tmp_path / "a.png")), rtol=0, atol=1e-5)


@pytest.mark.real
def test_photographs_of_four_shapes_have_torchvisions_logits(shared_data, tmp_path):
    with (shared_data / "nips17-dev" / "images.csv").open() as file:
        names = [next(iter(row.values())) for row in csv.DictReader(file)][:8]
    (tmp_path / "photos").mkdir()
    for i, name in enumerate(names):
        photo = next((shared_data / "nips17-dev" / "images").glob(f"{name.removesuffix('.png')}.*"))
        whole = Image.open(photo).convert("RGB")
        width, height = list(SHAPES.values())[i % 4]
        shape = ImageOps.fit(whole, (width, height), Image.Resampling.BICUBIC)
        shape.save(tmp_path / "photos" / f"{i:02d}.{('png', 'jpg')[i // 4]}")
    weights = shared_data / "weights" / "resnet18-imagenet.safetensors"
    spec = ModelSpec("torchvision:resnet18", str(weights))
    workspace = make_workspace.init_workspace(tmp_path / "ws", spec, tmp_path / "photos").workspace
    bench, files = open_workbench(workspace.root), [entry.file for entry in workspace.images]
    model = torchvision.models.resnet18()
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(weights).items()})
    preset = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.transforms()
    with torch.no_grad():
        wanted = model.eval()(torch.stack([preset(Image.open(tmp_path / "photos" / f)) for f in files]))
        found = bench.classifier.network.logits(bench.classifier.inputs(bench.workspace.read(files)))
    assert len(files) == 8
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
    assert [p.label for p in bench.judging.predict(files)] == wanted.argmax(1).tolist()


def test_the_preset_is_that_of_the_named_weights(tmp_path):
    def resize(weights):
        preprocessing, words = loading.standard_preprocessing(ModelSpec("torchvision:resnet50", weights))
        return preprocessing.resize_size[0], words

    assert resize("IMAGENET1K_V1") == (256, "as torchvision publishes it with ResNet50_Weights.IMAGENET1K_V1")
    assert resize("ResNet50_Weights.IMAGENET1K_V2")[0] == 232
    assert resize("DEFAULT")[0] == 232
    size, words = resize(str(tmp_path / "mine.pt"))
    assert size == 232
    assert "IMAGENET1K_V2, assumed because the weights are a file; IMAGENET1K_V1 would have another" in words
    size, words = resize(str(tmp_path / "resnet50-0676ba61.pth"))
    assert size == 256
    assert "assumed" not in words
    with pytest.raises(AevisError, match=r"no weights 'V9' for resnet50 .*It has: IMAGENET1K_V1, IMAGENET1K_V2"):
        resize("V9")


@pytest.mark.parametrize("name", ["fcn_resnet50", "r3d_18", "raft_large", "resnet19"])
def test_what_classifies_no_images_is_refused(name):
    with pytest.raises(AevisError, match=f"no classification model '{name}'"):
        loading.standard_preprocessing(ModelSpec(f"torchvision:{name}", "DEFAULT"))


def test_weights_in_a_file_are_given_the_pixels_that_torchvisions_own_model_gives_them(tmp_path):
    """GoogLeNet's weights want another range of pixels, into which torchvision's model brings them itself."""
    own = torchvision.models.googlenet(init_weights=False, transform_input=True).eval()
    torch.save(own.state_dict(), tmp_path / "googlenet.pt")
    loaded = loading.load_model(ModelSpec("torchvision:googlenet", str(tmp_path / "googlenet.pt"))).model
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), own(x))


# timm


def timm_transforms(config):
    """What `timm.data.create_transform(**config)` does to an image (timm 1.0), up to the 8-bit pixels."""
    size = config["input_size"][1:]
    scale = tuple(math.floor(x / config["crop_pct"]) for x in size)
    mode = torchvision.transforms.InterpolationMode(config["interpolation"])

    def keep_ratio(image, longest):
        ratios = image.height / scale[0], image.width / scale[1]
        ratio = max(ratios) if longest else min(ratios)
        return functional.resize(image, [round(image.height / ratio), round(image.width / ratio)], mode)

    def run(image):
        if config["crop_mode"] == "squash":
            scaled = functional.resize(image, list(scale), mode)
        elif config["crop_mode"] == "border":
            scaled = keep_ratio(image, longest=True)
            over = [max(want - have, 0) for want, have in zip(size, (scaled.height, scaled.width), strict=True)]
            around = [over[1] // 2, over[0] // 2, (over[1] + 1) // 2, (over[0] + 1) // 2]
            scaled = functional.pad(scaled, around, fill=tuple(round(255 * v) for v in config["mean"]))
        elif scale[0] == scale[1]:
            scaled = functional.resize(image, [scale[0]], mode)
        else:
            scaled = keep_ratio(image, longest=False)
        return functional.center_crop(scaled, list(size))

    return run


CONFIG = {
    "input_size": (3, 64, 64),
    "mean": (0.48, 0.46, 0.41),
    "std": (0.27, 0.26, 0.28),
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "crop_mode": "center",
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"interpolation": "bilinear", "crop_pct": 1.0},
        {"crop_mode": "squash", "crop_pct": 0.95},
        {"crop_pct": 1.15},
        {"crop_mode": "border"},
        {"crop_mode": "border", "crop_pct": 1.0},
        {"input_size": (3, 60, 77)},
        {"input_size": (3, 60, 77), "crop_mode": "border", "interpolation": "lanczos"},
    ],
    ids=str,
)
def test_timms_data_config_gives_its_pixels(tmp_path, monkeypatch, changes):
    config = CONFIG | changes
    stand_in = SimpleNamespace(
        create_model=lambda name, pretrained: SimpleNamespace(pretrained_cfg=config),
        data=SimpleNamespace(resolve_data_config=lambda args, model: model.pretrained_cfg),
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    preprocessing, words = loading.standard_preprocessing(ModelSpec("timm:resnet50.a1_in1k", "DEFAULT"))
    assert words == "as timm publishes it for resnet50.a1_in1k"
    assert (preprocessing.mean, preprocessing.std) == (config["mean"], config["std"])
    for i, size in enumerate(SHAPES.values()):
        picture = drawn(*size, seed=i)
        picture.save(tmp_path / "a.png")
        np.testing.assert_array_equal(
            read_image(tmp_path / "a.png", preprocessing), np.asarray(timm_transforms(config)(picture))
        )


def test_an_interpolation_of_timms_that_is_not_known_is_refused(monkeypatch):
    stand_in = SimpleNamespace(
        create_model=lambda name, pretrained: None,
        data=SimpleNamespace(resolve_data_config=lambda args, model: CONFIG | {"interpolation": "random"}),
    )
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    with pytest.raises(AevisError, match="scales the images of this model by 'random'"):
        loading.standard_preprocessing(ModelSpec("timm:some", "DEFAULT"))


@pytest.mark.parametrize(("name", "weights"), [("resnet50", "a1_in1k"), ("resnet50.a1_in1k", "IMAGENET1K_V2")])
def test_weights_that_timm_would_not_take_are_refused_and_not_replaced_by_others(monkeypatch, name, weights):
    made = []
    stand_in = SimpleNamespace(create_model=lambda name, pretrained: made.append((name, pretrained)) or nn.ReLU())
    monkeypatch.setitem(sys.modules, "timm", stand_in)
    with pytest.raises(AevisError, match=rf"{weights!r} of {name} names none.*timm:resnet50\.TAG"):
        loading.load_model(ModelSpec(f"timm:{name}", weights))
    assert made == []
    loading.load_model(ModelSpec(f"timm:{name}", "DEFAULT"))
    assert made == [(name, True)]


# Every way of fitting


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_an_image_of_the_input_size_passes_unchanged(tmp_path, fit, interpolation):
    """Adversarial images are stored as the model sees them: one more scaling would take the attack away."""
    wanted = Preprocessing((40, 56), fit=fit, resize_size=(64, 80), interpolation=interpolation)
    adversarial = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    settings = WorkspaceSettings(ModelSpec("somewhere:make"), wanted)
    write_image(tmp_path / "images" / "whole.png", np.asarray(drawn(200, 150)))
    write_image(tmp_path / "images" / "cut.png", adversarial)
    write_image(tmp_path / "adversarial" / "a.png", adversarial)
    files = [ImageEntry("whole.png", None), ImageEntry("cut.png", None)]
    workspace = create(tmp_path, settings, ["cat"], files)
    np.testing.assert_array_equal(workspace.read(["adversarial/a.png", "cut.png"]), [adversarial] * 2)
    assert workspace.at_input_size([entry.file for entry in files]) == 1
    assert workspace.at_input_size([entry.file for entry in files], turned=True) == 0
    assert workspace.read(["whole.png"]).shape == (1, 40, 56, 3)


def test_pad_adds_borders_of_the_colour_that_the_model_sees_as_0(tmp_path):
    wanted = Preprocessing((40, 40), (0.25, 0.5, -1.5), value_range=(-1.0, 1.0), fit="pad")
    Image.new("RGB", (80, 40), (10, 20, 30)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", wanted)
    assert (found[:10] == (159, 191, 0)).all()
    assert (found[30:] == (159, 191, 0)).all()
    assert (found[10:30] == (10, 20, 30)).all()


def turned(image, orientation=6):
    """The same picture as a phone held sideways stores it."""
    stored = image.transpose(Image.Transpose.ROTATE_90)
    exif = stored.getexif()
    exif[0x0112] = orientation
    return stored, exif


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("sideways", [False, True])
@pytest.mark.parametrize("mask_size", ["image", "input"])
def test_a_mask_of_parts_lies_where_its_image_does(tmp_path, fit, sideways, mask_size):
    wanted = Preprocessing((48, 48), fit=fit, resize_size=(56, 56))
    picture, numbers = np.zeros((120, 200, 3), np.uint8), np.zeros((120, 200), np.uint8)
    picture[30:70, 60:120], numbers[30:70, 60:120] = 255, 2
    image, mask = Image.fromarray(picture), Image.fromarray(numbers)
    stored, exif = turned(image) if sideways else (image, None)
    (tmp_path / "images").mkdir()
    (tmp_path / "parts").mkdir()
    stored.save(tmp_path / "images" / "a.png", **({"exif": exif} if exif else {}))
    (tmp_path / "parts" / "names.txt").write_text("1 ear\n2 nose\n")
    workspace = create(
        tmp_path, WorkspaceSettings(ModelSpec("somewhere:make"), wanted), ["cat"], [ImageEntry("a.png", 0)]
    )
    seen = workspace.read(["a.png"])[0, ..., 0]
    if mask_size == "input":
        mask = Image.fromarray(np.where(seen > 127, 2, 0).astype(np.uint8))
    mask.save(tmp_path / "parts" / "a.png")
    found = workspace.part_numbers("a.png")
    assert set(np.unique(found)) == {0, 2}
    assert {0, 255} <= set(np.unique(seen))
    assert (found == 2)[seen == 255].all()
    assert not (found == 2)[seen == 0].any()
    assert image_size(tmp_path / "images" / "a.png") == (200, 120)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("L", (50, 30)), r"mask .*m\.png has 50 x 30 pixels, and its image 200 x 120\. Save it as large"),
        (Image.new("RGB", (200, 120), (1, 2, 3)), r"mask .*m\.png has colours"),
        (Image.new("I;16", (200, 120)), r"more than 8 bits a channel"),
        (Image.new("L", (8, 8)), r"has 8 x 8 pixels, and its image"),
    ],
)
def test_a_mask_that_cannot_be_the_images_is_refused(tmp_path, mask, words):
    drawn(200, 120).save(tmp_path / "a.png")
    mask.save(tmp_path / "m.png")
    with pytest.raises(AevisError, match=words):
        read_mask(tmp_path / "m.png", tmp_path / "a.png", Preprocessing((48, 48)))


def test_numbers_of_a_grey_mask_saved_in_colour_are_kept(tmp_path):
    drawn(48, 48).save(tmp_path / "a.png")
    Image.new("RGB", (48, 48), (7, 7, 7)).save(tmp_path / "m.png")
    assert (read_mask(tmp_path / "m.png", tmp_path / "a.png", Preprocessing((48, 48))) == 7).all()


def test_a_thin_image_that_would_become_huge_is_refused(tmp_path):
    Image.new("RGB", (8, 40_000)).save(tmp_path / "a.png")
    wanted = Preprocessing((224, 224), fit="crop", resize_size=(256, 256))
    with pytest.raises(AevisError, match=r"a\.png has 8 x 40000 pixels; scaled .* it would have 256 x 1280000"):
        read_image(tmp_path / "a.png", wanted)
    assert read_image(tmp_path / "a.png", Preprocessing((224, 224), fit="pad")).shape == (224, 224, 3)


# What a workspace says


def test_what_is_given_goes_over_what_the_library_publishes():
    spec = ModelSpec("torchvision:resnet50", "IMAGENET1K_V2")

    def chosen(**given):
        found, _ = choose_preprocessing(spec, given)
        return found.input_size, found.fit, found.scaled_to, found.interpolation

    assert chosen() == ((224, 224), "crop", (232, 232), "bilinear")
    assert chosen(input_size=(112, 112)) == ((112, 112), "crop", (116, 116), "bilinear")
    assert chosen(fit="squeeze") == ((224, 224), "squeeze", (224, 224), "bilinear")
    assert chosen(fit="pad", interpolation="bicubic") == ((224, 224), "pad", (224, 224), "bicubic")
    assert chosen(resize_size=(256, 256)) == ((224, 224), "crop", (256, 256), "bilinear")
    with pytest.raises(AevisError, match="lengths from 1 to 4096"):
        chosen(input_size=(10**6, 10**6))


def test_a_model_of_ones_own_is_cropped_and_that_is_said():
    found, words = choose_preprocessing(ModelSpec("somewhere:make"), {"input_size": (64, 64)})
    assert (found.fit, found.scaled_to) == ("crop", (64, 64))
    plain = "mean 0 and std 1, because --mean and --std were not given"
    assert words == f"assumed; say --fit squeeze, crop or pad as the model was trained; {plain}"
    assert (found.mean, found.std) == ((0.0,) * 3, (1.0,) * 3)
    given = {"input_size": (64, 64), "fit": "pad", "mean": (0.5,) * 3}
    found, words = choose_preprocessing(ModelSpec("somewhere:make"), given)
    assert (found.fit, words) == ("pad", "as given; std 1, because --std was not given")
    assert choose_preprocessing(ModelSpec("somewhere:make"), given | {"std": (0.2,) * 3})[1] == "as given"


OLD = """
[model]
source = "somewhere:make"
[preprocessing]
input_size = [16, 24]
mean = [0.1, 0.2, 0.3]
[images]
"""


def test_a_workspace_written_before_still_squeezes(tmp_path):
    (tmp_path / "workspace.toml").write_text(OLD)
    found = read_settings(tmp_path).preprocessing
    assert (found.fit, found.scaled_to, found.interpolation) == ("squeeze", (16, 24), "bilinear")
    drawn(100, 50).save(tmp_path / "a.png")
    squeezed = drawn(100, 50).resize((24, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", found), np.asarray(squeezed))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('fit = "stretch"', "there is no fit 'stretch'. Choose one of: squeeze, crop, pad"),
        ('interpolation = "cubic"', "there is no interpolation 'cubic'"),
        ("resize_size = 256", "resize_size needs 2 numbers, not 256"),
        ("resize_size = [16.5, 30]", "16.5 is not a whole number"),
        ("resize_size = [99999, 30]", "lengths from 1 to 4096"),
        ("fit = 3", "3 is not of type str"),
        ("value_range = [1, 1]", "value_range needs two different numbers"),
        ("std = [1, 0, 1]", "std needs numbers above 0"),
    ],
)
def test_a_preprocessing_that_cannot_be_is_refused(tmp_path, line, words):
    (tmp_path / "workspace.toml").write_text(OLD.replace("[images]", f"{line}\n[images]"))
    with pytest.raises(AevisError, match=r"workspace\.toml, \[preprocessing\]: ") as refused:
        read_settings(tmp_path)
    assert words in str(refused.value)


def test_other_ways_of_fitting_are_other_classifiers_and_the_first_is_the_same_as_ever():
    def fingerprint(**fitting):
        return hand_wired.classifier(hand_wired.random_net(0), **fitting).fingerprint

    size = hand_wired.SIZE
    straight = {fingerprint(), fingerprint(fit="squeeze", resize_size=(size, size))}
    others = {
        fingerprint(fit="crop"),
        fingerprint(fit="pad"),
        fingerprint(interpolation="bicubic"),
        fingerprint(resize_size=(size, size + 1)),
        fingerprint(fit="crop", resize_size=(size + 1, size)),
    }
    assert len(straight) == 1
    assert len(others - straight) == 5


def test_it_is_said_in_words():
    crop = Preprocessing((224, 224), fit="crop", resize_size=(256, 256), interpolation="bicubic")
    assert crop.in_words == (
        "images of 224 x 224 pixels are taken as they are; others are scaled until they just cover 256 x 256 "
        "(bicubic), of which the centre of 224 x 224 is kept"
    )
    assert Preprocessing((16, 24)).in_words == (
        "images of 24 x 16 pixels are taken as they are; others are squeezed to 24 x 16 (bilinear)"
    )
    assert Preprocessing((16, 24), fit="crop", resize_size=(12, 20)).in_words.endswith("on 24 x 16 with black borders")
    assert Preprocessing((16, 24), fit="pad").in_words.endswith("(bilinear), centred on 24 x 16 with borders")
