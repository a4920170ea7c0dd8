"""Networks that take grey images, or images of more channels than three, go the whole way from file to page."""

import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import shrink
from PIL import Image
from torch import nn

from aevis_dash.callbacks import pictures
from aevis_dash.cli import main
from aevis_dash.config import CORRUPTIONS, NOISE, AttackParameters, VisualisationParameters
from aevis_dash.core.corruptions import corrupted
from aevis_dash.core.visualisation import visualise
from aevis_dash.domain import AevisError, FeatureMap, ModelSpec, Preprocessing
from aevis_dash.images import as_colours, read_image, write_image
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.pairs import has_swapped_channels
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

CODE = '''
from torch import nn

def make(channels, classes=3):
    """A network of plain layers."""
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, classes),
    )
'''
SIZE, NAMES = 32, ("rows", "columns", "spots")
MEAN, STD = 0.4, 0.25


def drawn(label, channels, seed):
    """An image of rows, columns or spots, in other brightness in each channel, uint8 (SIZE, SIZE, channels)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] + rng.integers(0, 6, (2, 1, 1))
    shape = (y // 3 % 2, x // 3 % 2, (y // 3 % 2) * (x // 3 % 2))[label]
    bright = rng.uniform(0.4, 0.8, channels)
    pixels = 0.15 + shape[..., None] * bright + rng.normal(0, 0.05, (SIZE, SIZE, channels))
    return (pixels.clip(0, 1) * 255).astype(np.uint8)


def normalised(images):
    return (torch.from_numpy(np.asarray(images)).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def trained(channels):
    """The network of CODE after a short training, in eval mode."""
    scope = {}
    exec(CODE, scope)
    labels = np.arange(90) % 3
    x = normalised([drawn(label, channels, 100 + i) for i, label in enumerate(labels)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = scope["make"](channels)
        solver = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(80):
            solver.zero_grad()
            nn.functional.cross_entropy(model(x), torch.from_numpy(labels)).backward()
            solver.step()
    return model.eval()


def patched(model, pair, maps):
    """The class of the adversarial when these maps of the last ReLU are the source's, by plain torch."""
    with torch.no_grad():
        source, adversarial = model[:5](pair)
        adversarial[maps] = source[maps]
        return int(model[5:](adversarial[None]).argmax())


@pytest.fixture(scope="module")
def models():
    return {channels: trained(channels) for channels in (1, 5)}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def aevis(capsys):
    def run(*argv, status=0):
        capsys.readouterr()
        assert main([*map(str, argv), "--json"]) == status
        return json.loads(capsys.readouterr().out)

    return run


def init(channels, *more):
    numbers = [",".join([str(value)] * channels) for value in (MEAN, STD)]
    made = ["--model", "net.py:make", "--model-args", f"channels={channels}", "--classes", "names.txt"]
    how = ["--input-size", SIZE, "--mean", numbers[0], "--std", numbers[1]]
    return ["init", "lab", *made, "--weights", "w.pt", *how, *more]


@pytest.mark.parametrize(("channels", "suffix"), [(1, ".png"), (5, ".npy")])
def test_a_network_of_other_channels_goes_the_whole_way(place, aevis, models, channels, suffix):
    """Each prediction is compared with what plain torch makes of the arrays that were written."""
    torch.save(models[channels].state_dict(), "w.pt")
    written = {}
    for i in range(12):
        name = f"{NAMES[i % 3]}/{i:02d}{suffix}"
        written[name] = drawn(i % 3, channels, i)
        write_image(place / "photos" / name, written[name])
    made = aevis(*init(channels, "--images", "photos"))
    assert (made["images"], made["taken_as_they_are"]) == (12, 12)
    shrink(Workspace(place / "lab"))
    assert aevis("check", "lab")["accuracy"] == 1.0
    assert aevis("attack", "lab", "--epsilon", 40, "--steps", 10)["examples"]
    scored = aevis("score", "lab")["examples"]
    fooled = [each for each in scored if each["misclassified"]]
    assert len(fooled) >= 3

    bench = open_workbench(place / "lab")
    names = list(written)
    attacked = [bench.workspace.example(each["example"]).adversarial for each in scored]
    assert all((place / "lab" / name).suffix == suffix for name in attacked)
    stored = bench.workspace.read([*names, *attacked])
    assert stored.shape == (12 + len(attacked), SIZE, SIZE, channels)
    assert np.array_equal(stored[:12], list(written.values()))
    with torch.no_grad():
        wanted = models[channels](normalised(stored)).softmax(1).numpy()
    found = [p.probabilities for p in bench.judging.predict([*names, *attacked])]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    sources = bench.workspace.read([bench.workspace.example(each["example"]).source for each in scored])
    assert 0 < np.abs(stored[12:].astype(int) - sources).max() <= 40

    chosen = fooled[0]["example"]
    extracted = aevis("extract", "lab", "--example", chosen)
    at = ["--example", chosen, "--layer", bench.layers.layers[-1].name]
    contributed = aevis("contribute", "lab", *at, "--map", 0)
    verified = aevis("verify", "lab", *at)
    told = aevis("trail", "lab", "--example", chosen, "--figure", "trail.html")
    assert [each["example"] for each in extracted["examples"]] == [chosen]
    assert contributed["roles"][0]["role"] == "source"
    (layer,) = verified["layers"]
    example = bench.workspace.example(chosen)
    pair = normalised(bench.workspace.read([example.source, example.adversarial]))
    assert patched(models[channels], pair, layer["maps"]) == NAMES.index(layer["wanted"])
    assert NAMES[int(models[channels](pair)[1].argmax())] == layer["before"]
    assert told["hops"]
    colours = np.repeat(stored[0], 3, axis=2) if channels == 1 else stored[0][..., :3]
    assert np.array_equal(as_colours(stored[0]), colours)
    assert (place / "trail.html").read_text().count(f'"shape":"{SIZE}, {SIZE}, 3"') == 3
    picture = visualise(bench.classifier, FeatureMap(1, 0), VisualisationParameters(steps=3)).image
    assert picture.shape == (SIZE, SIZE, channels)
    assert aevis("learn", "lab")
    assert {pair["example"] for pair in aevis("diverge", "lab")["pairs"]} == {each["example"] for each in fooled}

    client = create_app(bench).server.test_client()
    assert client.get("/").status_code == 200
    shown = [pictures.image(bench, names[0]), pictures.thumbnail(bench, attacked[0])]
    shown += [pictures.difference(bench, bench.workspace.example(chosen)), pictures.seen_by(bench, names[0], 0, 3, 3)]
    for address in (*shown, pictures.lit(bench, names[0], FeatureMap(1, 0), 1.0)):
        answer = client.get(f"/{address}")
        assert answer.status_code == 200, address
        assert Image.open(io.BytesIO(answer.data)).mode == ("L" if channels == 1 else "RGB")
    whole = np.asarray(Image.open(io.BytesIO(client.get(f"/{shown[0]}").data)))
    assert np.array_equal(whole, stored[0][..., 0] if channels == 1 else stored[0][..., :3])


@pytest.mark.parametrize("channels", [1, 5])
def test_a_batch_of_other_channels_is_imported(place, aevis, models, channels):
    """Grey batches may lack the axis of channels; which values the stored images have is compared one by one."""
    torch.save(models[channels].state_dict(), "w.pt")
    images = np.stack([drawn(i % 3, channels, i) for i in range(6)])
    given = images[..., 0] if channels == 1 else np.moveaxis(images, -1, 1)
    np.savez(place / "x.npz", x=given, y=np.arange(6) % 3)
    made = aevis(*init(channels, "--images", "x.npz"))
    assert made["images_read_as"].endswith(("N x H x W, uint8, 0 to 255", "N x 5 x H x W, uint8, 0 to 255"))
    changed = np.clip(images.astype(int) + np.random.default_rng(0).integers(-9, 10, images.shape), 0, 255)
    np.save(place / "adv.npy", (changed[..., 0] if channels == 1 else changed).astype(np.float32) / 255)
    np.savetxt(place / "of.txt", [f"{i:05d}" for i in range(6)], fmt="%s")
    aevis("import", "lab", "--adversarials", "adv.npy", "--of", "of.txt", "--attack", "noise", "--epsilon", 9)
    bench = open_workbench(place / "lab")
    assert np.array_equal(bench.workspace.read([e.file for e in bench.workspace.images]), images)
    assert np.array_equal(bench.workspace.read([e.adversarial for e in bench.workspace.examples()]), changed)


WANTED = Preprocessing((16, 16), (0.0,) * 5, (1.0,) * 5, fit="crop", resize_size=(20, 20))


def test_each_channel_is_fitted_as_a_grey_picture_is(tmp_path):
    bands = np.random.default_rng(0).integers(0, 256, (30, 40, 5), dtype=np.uint8)
    np.save(tmp_path / "a.npy", bands)
    np.save(tmp_path / "b.npy", np.moveaxis(bands, -1, 0))
    found = read_image(tmp_path / "a.npy", WANTED)
    assert found.shape == (16, 16, 5)
    assert np.array_equal(found, read_image(tmp_path / "b.npy", WANTED))
    grey = replace(WANTED, mean=(0.0,), std=(1.0,))
    for band in range(5):
        Image.fromarray(bands[..., band]).save(tmp_path / "one.png")
        assert np.array_equal(found[..., band], read_image(tmp_path / "one.png", grey)[..., 0])


def test_borders_of_every_channel_have_its_own_value(tmp_path):
    np.save(tmp_path / "a.npy", np.full((8, 16, 2), 255, np.uint8))
    padded = Preprocessing((16, 16), (0.2, 0.6), (1.0, 1.0), fit="pad")
    found = read_image(tmp_path / "a.npy", padded)
    assert found[0, 0].tolist() == [51, 153]
    assert found[8, 8].tolist() == [255, 255]


def test_a_coloured_picture_is_read_as_grey_levels_for_one_channel(tmp_path):
    colours = np.zeros((16, 16, 3), np.uint8) + np.array([250, 10, 100], np.uint8)
    write_image(tmp_path / "a.png", colours)
    found = read_image(tmp_path / "a.png", Preprocessing((16, 16), (0.0,), (1.0,)))
    assert found.shape == (16, 16, 1)
    assert np.unique(found).tolist() == [round(0.299 * 250 + 0.587 * 10 + 0.114 * 100)]


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("a.png", None, r"is no image for this model\. The model's input has 5 channels"),
        ("a.npy", np.zeros((16, 16, 3), np.uint8), r"the shape \(16, 16, 3\) and the type uint8"),
        ("a.npy", np.zeros((16, 16, 5), np.float32), "the type float32"),
        ("a.npy", np.zeros((16, 16), np.uint8), r"shape \(16, 16\)"),
        ("a.npy", np.zeros((5, 16, 5), np.uint8), "the first axis or the last"),
        ("a.npy", np.zeros((4, 4, 5), np.uint8), "under 8 on a side"),
        ("a.npy", np.array([{}], object), "Object arrays cannot be loaded"),
    ],
)
def test_what_is_no_image_of_five_channels_is_refused(tmp_path, name, array, words):
    if array is None:
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    else:
        np.save(tmp_path / name, array, allow_pickle=True)
    with pytest.raises(AevisError, match=words):
        read_image(tmp_path / name, WANTED)


def test_a_damaged_array_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((16, 16, 5), np.uint8))
    whole = (tmp_path / "a.npy").read_bytes()
    for data in (b"", whole[:40], whole[:-100], b"no array"):
        (tmp_path / "a.npy").write_bytes(data)
        with pytest.raises(AevisError, match="cannot be read"):
            read_image(tmp_path / "a.npy", WANTED)


def test_a_network_of_another_number_of_channels_is_refused_with_the_option_to_give(place, aevis, models):
    torch.save(models[1].state_dict(), "w.pt")
    write_image(place / "photos" / "rows" / "a.png", drawn(0, 3, 0))
    made = ["init", "lab", "--model", "net.py:make", "--model-args", "channels=1", "--classes", "names.txt"]
    made += ["--weights", "w.pt", "--input-size", SIZE, "--images", "photos"]
    refused = aevis(*made, status=2)["error"]
    assert "takes 1: say --channels 1, or give --mean and --std with 1 number each" in refused
    assert not (place / "lab").exists()
    found = aevis(*made, "--channels", 1)
    assert "images of 1 channel" in found["preprocessing_is"]
    kept = Workspace(place / "lab").settings.preprocessing
    assert (kept.mean, kept.std, kept.channels) == ((0.0,), (1.0,), 1)
    assert "mean has 2 numbers and std 1" in aevis(*made, "--mean", "0,0", "--std", "1", status=2)["error"]


def test_a_librarys_model_of_other_channels_needs_its_own_mean_and_std():
    pytest.importorskip("timm")
    model = ModelSpec("timm:resnet10t", model_args="in_chans=1")
    with pytest.raises(AevisError, match="Give --mean and --std with 1 number each"):
        choose_preprocessing(model, {"channels": 1})
    found, _ = choose_preprocessing(model, {"mean": (0.4,), "std": (0.2,)})
    assert (found.mean, found.std, found.channels) == ((0.4,), (0.2,), 1)
    same, _ = choose_preprocessing(model, {"channels": 3})
    assert same == choose_preprocessing(model, {})[0]


def test_swapped_channels_are_recognised_among_many():
    """Of five channels the reversed order is tried; a shift by one is not, and one channel has no order."""
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 5), dtype=np.uint8)
    assert has_swapped_channels(image, image[..., ::-1])
    assert not has_swapped_channels(image, np.roll(image, 1, axis=2))
    assert not has_swapped_channels(image, image)
    assert not has_swapped_channels(image[..., :1], image[..., 1:2])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_corruption_takes_any_number_of_channels(kind):
    """Five equal channels are corrupted as one is, but for the noise, which is drawn for each value."""
    grey = drawn(2, 1, 3)
    parameters = AttackParameters(attack=kind, severity=2)
    one, five = (corrupted(image, parameters) for image in (grey, np.repeat(grey, 5, axis=2)))
    assert one.shape == grey.shape
    assert not np.array_equal(one, grey / 255)
    if kind == NOISE:
        assert five.std(axis=2).min() > 0
    else:
        np.testing.assert_allclose(five, np.repeat(one, 5, axis=2), atol=1e-12)
