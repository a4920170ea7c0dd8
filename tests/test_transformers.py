"""Vision transformers: tokens are laid on the grid of patches below the special ones, from the network to the page."""

import json
import sys

import numpy as np
import pytest
import torch
import torchvision
from conftest import shrink
from test_channels import NAMES, drawn, normalised
from torch import nn

from aevis_dash.callbacks import pictures
from aevis_dash.cli import main
from aevis_dash.config import ContributionParameters
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.contribution import contribute
from aevis_dash.core.features import activation_maps
from aevis_dash.core.layer_graph import trace_model
from aevis_dash.core.learned import peaks
from aevis_dash.domain import AreaOfInterest, FeatureMap, Layer, Preprocessing
from aevis_dash.images import write_image
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace

SIZE, PATCH, GRID = 32, 8, 4
CODE = f"""
from torchvision.models import VisionTransformer

def make():
    return VisionTransformer(image_size={SIZE}, patch_size={PATCH}, num_layers=2, num_heads=2, hidden_dim=24,
                             mlp_dim=40, num_classes=3)
"""
GELU = "encoder.layers.encoder_layer_1.mlp.1"


def trained():
    """A small vision transformer that tells rows, columns and spots apart, in eval mode."""
    scope = {}
    exec(CODE, scope)
    labels = np.arange(90) % 3
    x = normalised([drawn(label, 3, 100 + i) for i, label in enumerate(labels)])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = scope["make"]()
        nn.init.normal_(model.heads.head.weight, std=0.1)
        solver = torch.optim.Adam(model.parameters(), lr=0.003)
        for _ in range(60):
            solver.zero_grad()
            nn.functional.cross_entropy(model(x), torch.from_numpy(labels)).backward()
            solver.step()
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def classifier(model):
    return Classifier(model, Preprocessing((SIZE, SIZE), (0.4,) * 3, (0.25,) * 3), NAMES)


@pytest.fixture(scope="module")
def images():
    return np.stack([drawn(i % 3, 3, i) for i in range(4)])


def tokens_of(model, images):
    """What the GELU of the second block gives, by plain torch: (B, tokens, channels)."""
    seen = []
    hook = model.encoder.layers[1].mlp[1].register_forward_hook(lambda _module, _given, value: seen.append(value))
    with torch.no_grad():
        model(normalised(images))
    hook.remove()
    return seen[0]


def test_the_patches_lie_in_their_grid_below_the_class_token(model, classifier, images):
    layer = classifier.layers.find(GELU)
    assert (layer.channels, layer.height, layer.width, layer.special) == (40, GRID + 1, GRID, 1)
    assert layer.neurons == GRID * GRID + 1
    maps = activation_maps(classifier, images, layer.index)
    wanted = tokens_of(model, images).transpose(1, 2).numpy()
    np.testing.assert_allclose(maps[:, :, 1:].reshape(4, 40, -1), wanted[:, :, 1:], atol=2e-3)
    np.testing.assert_allclose(maps[:, :, 0, 0], wanted[:, :, 0], atol=2e-3)
    assert np.isnan(maps[:, :, 0, 1:]).all()


def test_a_patch_of_the_image_moves_its_own_cell_of_the_first_sum_most():
    """Without attention a token is made of its patch alone, so its place in the grid can be seen from outside."""
    model = trained()
    for block in model.encoder.layers:
        nn.init.zeros_(block.self_attention.out_proj.weight)
    classifier = Classifier(model, Preprocessing((SIZE, SIZE), (0.4,) * 3, (0.25,) * 3), NAMES)
    image = drawn(0, 3, 0)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        other = image.copy()
        patch = np.s_[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
        other[patch] = 255 - other[patch]
        for layer in classifier.layers.layers[:-1]:
            one, two = activation_maps(classifier, np.stack([image, other]), layer.index).astype(float)
            moved = np.nan_to_num(np.abs(one - two)).max(0) > 1e-3
            assert np.argwhere(moved).tolist() == [[row + 1, column]], layer.name


def test_the_best_neurons_of_a_map_are_told_by_their_places_in_the_grid(model, classifier, images):
    layer = classifier.layers.find(GELU)
    (value, place), _ = peaks(classifier, images)
    start = classifier.layers.offsets[layer.index]
    tokens = tokens_of(model, images)
    best, where = tokens.max(1)
    torch.testing.assert_close(value[:, start : start + 40], best)
    wanted = torch.where(where == 0, 0, where - 1 + GRID)
    assert torch.equal(place[:, start : start + 40], wanted)
    assert (where == 0).any()
    assert (where > 0).any()


def test_an_area_means_the_tokens_at_its_places(classifier):
    layer = classifier.layers.find(GELU)
    class_token = AreaOfInterest(layer.index, 0, 0, 1, 1).inside(layer)
    assert np.flatnonzero(class_token).tolist() == [0]
    whole = AreaOfInterest(layer.index, 0, 0, GRID + 1, GRID).inside(layer)
    assert whole.all()
    box = AreaOfInterest(layer.index, 2, 1, 4, 3).inside(layer)
    assert np.flatnonzero(box).tolist() == [1 + 4 + 1, 1 + 4 + 2, 1 + 8 + 1, 1 + 8 + 2]
    picked = AreaOfInterest(layer.index, 0, 0, 2, 4, (0, 6)).inside(layer)
    assert np.flatnonzero(picked).tolist() == [0, 3]
    assert not AreaOfInterest(layer.index, 0, 1, 1, 4).inside(layer).any()


@pytest.mark.parametrize("special", [0, 1, 3])
def test_values_come_to_the_grid_and_back(special):
    layer = Layer(0, "x", (), 5, 3 + (special > 0), 4, special)
    assert layer.neurons == 12 + special
    values = np.arange(5 * layer.neurons, dtype=float).reshape(5, -1)
    grid = layer.on_grid(values)
    assert grid.shape == (5, layer.height, 4)
    assert np.array_equal(grid.reshape(5, -1)[:, layer.places], values)
    assert np.isnan(grid).sum() == 5 * (4 - special if special else 0)
    assert np.array_equal(grid[:, layer.first_row :].reshape(5, -1), values[:, special:])


FAMILIES = {
    "deit_tiny_distilled_patch16_224": {(15, 14, 2, True)},
    "levit_128s": {
        (112, 112, 0, True),
        (56, 56, 0, True),
        (28, 28, 0, True),
        (14, 14, 0, True),
        (7, 7, 0, True),
        (4, 4, 0, True),
    },
    "swin_tiny_patch4_window7_224": {(n, n, 0, True) for n in (56, 28, 14, 7)},
    "pit_ti_224": {(28, 27, 1, True), (15, 14, 1, True), (8, 7, 1, True)},
    "mixer_s32_224": {(1, 512, 0, False), (7, 7, 0, True)},
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_grids_of_known_families(name):
    """By hand: the image of 224 pixels over the patch's side, halved by each stage; special tokens of DeiT and PiT."""
    timm = pytest.importorskip("timm")
    layers = trace_model(timm.create_model(name, pretrained=False).eval(), (224, 224)).layers.layers
    found = {(layer.height, layer.width, layer.special, layer.on_image) for layer in layers}
    assert found - {(1, 1, 0, True)} == FAMILIES[name]
    side = {layer.height - layer.first_row for layer in layers if layer.on_image}
    assert all(layer.channels not in side for layer in layers), "no rows were taken for channels"


def test_windows_are_no_places_of_the_image():
    """MaxViT computes attention in 8 x 8 windows of 7 x 7 places; a grid of 64 x 49 does not lie on the image."""
    layers = trace_model(torchvision.models.maxvit_t(weights=None).eval(), (224, 224)).layers.layers
    windows = [layer for layer in layers if layer.name.startswith("blocks.0.layers.0.layers.window_attention")]
    assert {(layer.height, layer.width, layer.on_image) for layer in windows} == {(64, 49, False)}
    assert {layer.channels for layer in windows} == {64, 256}


def test_a_transformer_goes_the_whole_way(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    torch.save(model.state_dict(), "w.pt")
    for i in range(12):
        write_image(tmp_path / "photos" / NAMES[i % 3] / f"{i:02d}.png", drawn(i % 3, 3, i))

    def aevis(*argv):
        capsys.readouterr()
        assert main([*map(str, argv), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    made = ["--model", "net.py:make", "--weights", "w.pt", "--classes", "names.txt", "--images", "photos"]
    aevis("init", "lab", *made, "--input-size", SIZE, "--mean", "0.4,0.4,0.4", "--std", "0.25,0.25,0.25")
    shrink(Workspace(tmp_path / "lab"))
    assert aevis("check", "lab")["accuracy"] == 1.0
    aevis("attack", "lab", "--epsilon", 40, "--steps", 10)
    chosen = next(each["example"] for each in aevis("score", "lab")["examples"] if each["misclassified"])
    aevis("extract", "lab", "--example", chosen)
    at = ["--example", chosen, "--layer", GELU]
    whole = aevis("contribute", "lab", *at, "--map", 3)
    one = aevis("contribute", "lab", *at, "--map", 3, "--area", "0,0,1,1")
    assert (whole["neurons"], one["neurons"]) == (20, 1)
    bench = open_workbench(tmp_path / "lab")
    example = bench.workspace.example(chosen)
    pair = bench.workspace.read([example.adversarial, example.source])
    adv, src = tokens_of(model, pair)[:, :, 3]
    told = next(role for role in one["roles"] if role["role"] == "adversarial")
    assert told["effect"] == pytest.approx(abs(float(adv[0])), rel=1e-4), "the class token alone"
    assert told["change"] == pytest.approx(abs(float(adv[0] - src[0])), rel=1e-4)
    assert aevis("verify", "lab", *at)["layers"]
    assert aevis("trail", "lab", "--example", chosen, "--figure", "trail.html")["hops"]
    assert (tmp_path / "trail.html").read_text().count(f'"shape":"{SIZE}, {SIZE}, 3"') >= 3
    client = create_app(bench).server.test_client()
    address = pictures.lit(bench, example.source, FeatureMap(bench.layers.find(GELU).index, 3), 1.0)
    assert client.get(f"/{address}").status_code == 200


class Tokens(nn.Module):
    """Patches as tokens without a special one, and two layers on them."""

    def __init__(self):
        super().__init__()
        self.patches, self.one, self.two = nn.Conv2d(3, 5, PATCH, PATCH), nn.Linear(5, 6), nn.Linear(6, 7)
        self.head = nn.Linear(7, 3)

    def forward(self, x):
        """Give the logits."""
        x = nn.functional.gelu(self.one(self.patches(x).flatten(2).transpose(1, 2)))
        return self.head(nn.functional.gelu(self.two(x)).mean(1))


def test_an_area_on_a_grid_of_tokens_is_traced(images):
    """The effect is that of the chosen tokens, by plain torch, and the maps of the layer before explain it."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Tokens().eval()
    found = Classifier(model, Preprocessing((SIZE, SIZE), (0.4,) * 3, (0.25,) * 3), NAMES)
    assert [(layer.height, layer.width, layer.special) for layer in found.layers.layers] == [(GRID, GRID, 0)] * 2
    told = contribute(
        found,
        images[:2],
        FeatureMap(1, 2),
        AreaOfInterest(1, 1, 0, 3, 2),
        0,
        ContributionParameters(),
        method="quadratic",
    )
    with torch.no_grad():
        first = nn.functional.gelu(model.one(model.patches(normalised(images[:2])).flatten(2).transpose(1, 2)))
        values = nn.functional.gelu(model.two(first))[:, [4, 5, 8, 9], 2]
    np.testing.assert_allclose(told.effect, values.norm(dim=1).numpy(), rtol=1e-4)
