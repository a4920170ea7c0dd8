"""The network of the drawn world: training, storing, and the weights that ship with the project."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from aevis_dash.world import train as training
from aevis_dash.world.draw import CLASSES, draw_set
from aevis_dash.world.network import MEAN, STD, drawn_world_resnet
from aevis_dash.world.train import accuracy, load, save, train

WEIGHTS = Path(__file__).parents[2] / "models" / "drawn-world.safetensors"


def logits(model: nn.Module, count: int = 20, seed: int = 901) -> torch.Tensor:
    """Logits computed from the drawings by hand, apart from the code under test."""
    pixels = np.stack([drawing.image for drawing in draw_set(count, seed)]).transpose(0, 3, 1, 2) / 255
    mean, std = np.reshape(MEAN, (3, 1, 1)), np.reshape(STD, (3, 1, 1))
    with torch.no_grad():
        return model(torch.from_numpy(((pixels - mean) / std).astype(np.float32)))


@pytest.fixture(scope="module")
def shipped() -> nn.Module:
    return load(WEIGHTS)


def test_training_learns_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before, threads, told = torch.get_rng_state(), torch.get_num_threads(), []
    model = train(seed=3, drawings=640, epochs=2, progress=lambda share, text: told.append((share, text)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert not model.training
    assert accuracy(model, 200, seed=3) > 0.25
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(text for _, text in told)


def test_the_seed_alone_settles_the_trained_network():
    torch.manual_seed(1)
    first = logits(train(seed=4, drawings=64, epochs=1))
    torch.manual_seed(2)
    assert torch.equal(first, logits(train(seed=4, drawings=64, epochs=1)))
    assert not torch.equal(first, logits(train(seed=5, drawings=64, epochs=1)))


@pytest.mark.parametrize("wrong", [{"drawings": 63}, {"epochs": 0}, {"seed": -1}])
def test_training_refuses_what_it_cannot_do(wrong: dict[str, int]):
    with pytest.raises(ValueError, match="drawings >= 64, epochs >= 1 and seed >= 0"):
        train(**{"seed": 0, "drawings": 64, "epochs": 1} | wrong)


def test_fresh_drawings_are_never_training_drawings(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def recorded(count: int, seed: int):
        asked.append(seed)
        return draw_set(count, seed)

    monkeypatch.setattr(training, "draw_set", recorded)
    for seed in range(2):
        train(seed=seed, drawings=64, epochs=1)
    trained, model = set(asked), drawn_world_resnet()
    asked.clear()
    for seed in range(8):
        accuracy(model, 10, seed)
    assert len(trained) == 2
    assert len(set(asked)) == 8
    assert trained.isdisjoint(asked)


def test_accuracy_counts_right_answers_and_keeps_the_mode():
    class AlwaysCat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert not self.training
            return torch.eye(len(CLASSES))[[CLASSES.index("cat")]].expand(len(x), -1)

    model = AlwaysCat().train()
    assert accuracy(model, 100, seed=0) == 0.1
    assert model.training


def test_saved_weights_load_as_the_same_network(tmp_path: Path, shipped: nn.Module):
    place = tmp_path / "weights.safetensors"
    save(shipped, place, seed=7, accuracy=0.5)
    again = load(place)
    assert not again.training
    assert all(value.dtype != torch.float16 for value in again.state_dict().values())
    assert torch.equal(logits(again), logits(shipped))
    assert json.loads(place.with_suffix(".json").read_text("utf-8")) == {"seed": 7, "accuracy": 0.5}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["weights.json", "weights.safetensors"]
    assert stat.S_IMODE(place.stat().st_mode) == 0o644


def test_storing_an_untrained_network_changes_its_answers_little(tmp_path: Path):
    model = drawn_world_resnet().eval()
    save(model, tmp_path / "weights.safetensors")
    torch.testing.assert_close(logits(load(tmp_path / "weights.safetensors")), logits(model), atol=0.01, rtol=0.01)


def test_a_failed_save_keeps_the_old_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: nn.Module
):
    place = tmp_path / "weights.safetensors"
    place.write_bytes(b"old")

    def broken(_handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("aevis_dash.files.os.fsync", broken)
    with pytest.raises(OSError, match="disk full"):
        save(shipped, place)
    assert [entry.name for entry in tmp_path.iterdir()] == [place.name]
    assert place.read_bytes() == b"old"


def test_loading_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    load(WEIGHTS)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_nothing_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "absent.safetensors")


def test_the_trace_has_25_relu_call_sites_on_halving_maps(shipped: nn.Module):
    graph = fx.symbolic_trace(shipped)
    sites = [
        node for node in graph.graph.nodes
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.ReLU)
    ]  # fmt: skip
    assert len(sites) == 25
    sides = []
    for name in ("relu", "layer1", "layer2", "layer3", "layer4"):
        getattr(shipped, name).register_forward_hook(lambda _m, _i, out: sides.append(tuple(out.shape[1:])))
    logits(shipped, 1)
    assert sides == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4)]


def test_the_classes_asked_for_are_the_logits_given():
    assert logits(drawn_world_resnet(3).eval(), 2).shape == (2, 3)


def test_shipped_weights_know_the_drawn_world(shipped: nn.Module):
    assert not shipped.training
    assert accuracy(shipped, 300, seed=123) >= 0.99
    hits = logits(shipped, 100).argmax(dim=1) == torch.arange(100) % len(CLASSES)
    assert hits.float().mean() >= 0.98


def test_shipped_weights_are_small_and_say_what_trained_them():
    assert WEIGHTS.stat().st_size < 5_000_000
    facts = json.loads(WEIGHTS.with_suffix(".json").read_text("utf-8"))
    assert {"seed", "drawings", "epochs", "fresh_accuracy", "fresh_drawings"} <= facts.keys()
    assert facts["fresh_accuracy"] >= 0.995
    assert 0.5 < facts["mi_fgsm"]["success_rate"] <= 1
