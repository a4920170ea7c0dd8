"""Making workspaces: of the drawn world, of a user's model; nothing half-made stays behind."""

import errno
import functools
import math
import os
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from aevis_dash import label_doubts, make_workspace, serving
from aevis_dash.config import resource
from aevis_dash.core import loading
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing
from aevis_dash.images import write_image
from aevis_dash.make_workspace import init_workspace, make_world, train_world
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace
from aevis_dash.world.draw import CLASSES, PARTS

SHIPPED = resource("models") / make_workspace.WORLD_WEIGHTS
DRAWN = "aevis_dash.world.network:drawn_world_resnet"
INPUT = Preprocessing((64, 64), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(make_workspace, "WORLD_IMAGES", 20)
    monkeypatch.setattr(make_workspace, "WORLD_ATTACKED", 4)
    monkeypatch.setattr(make_workspace, "WORLD_EPSILONS", (3.0, 8.0))
    monkeypatch.setattr(make_workspace, "FRESH_DRAWINGS", 50)


# The drawn world


def test_the_world_is_drawings_with_their_parts_and_attacks(drawn_world):
    workspace = Workspace(drawn_world)
    assert workspace.class_names == CLASSES
    assert [e.label for e in workspace.images] == [i % 10 for i in range(60)]
    assert all(CLASSES[e.label] == e.file.split("-")[0] for e in workspace.images if e.label is not None)
    assert [e.source for e in workspace.examples()] == [e.file for e in workspace.images]
    names = dict(line.split(" ", 1) for line in (drawn_world / "parts" / "names.txt").read_text().splitlines())
    assert tuple(names.values()) == PARTS
    seen = {}
    for entry in workspace.images[:10]:
        numbers = np.asarray(Image.open(drawn_world / "parts" / entry.file))
        assert numbers.shape == (64, 64)
        seen[entry.file] = {names[str(n)] for n in np.unique(numbers) if n}
    assert "eye patch" in seen["panda-00.png"]
    assert "wheel" in seen["bicycle-00.png"]


def test_the_world_opens_on_a_panda_that_became_a_monkey(drawn_world):
    bench = open_workbench(drawn_world)
    opening = bench.opening(bench.judging.judged_examples())
    assert opening is not None
    assert opening.example.id == bench.workspace.settings.opens_on
    turned = [CLASSES[p.label] for p in (opening.source, opening.adversarial)]
    assert turned == ["panda", "monkey"]
    assert opening.misclassified


def test_an_interrupted_world_goes_on_and_a_finished_one_stays(small, tmp_path):
    def interrupt(share, _what):
        if share > 0.65:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path, interrupt)
    assert len(Workspace(tmp_path).examples()) == 4
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "images").iterdir()}
    make_world(tmp_path)
    assert len(Workspace(tmp_path).examples()) == 8
    texts = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_file()}
    make_world(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.is_file()} == texts
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_training_gives_the_world_its_own_network(small, tmp_path, monkeypatch):
    facts = train_world(tmp_path, seed=3, drawings=64, epochs=1)
    assert facts.items() >= {"seed": 3, "drawings": 64, "epochs": 1, "fresh_drawings": 50}.items()
    assert 0 <= facts["fresh_accuracy"] <= 1
    written = (tmp_path / make_workspace.WORLD_WEIGHTS).read_bytes()
    make_world(tmp_path)
    assert (tmp_path / make_workspace.WORLD_WEIGHTS).read_bytes() == written != SHIPPED.read_bytes()
    monkeypatch.setattr("aevis_dash.world.train.train", lambda *_: pytest.fail("trained twice"))
    assert train_world(tmp_path, seed=3, drawings=64, epochs=1) == facts
    with pytest.raises(AevisError, match=r"belong to its network\. Take a new folder"):
        train_world(tmp_path, seed=4, drawings=64, epochs=1)
    assert (tmp_path / make_workspace.WORLD_WEIGHTS).read_bytes() == written


def test_a_world_of_the_shipped_network_is_not_trained_over(drawn_world):
    with pytest.raises(AevisError, match="belong to its network"):
        train_world(drawn_world, seed=0, drawings=64, epochs=1)


def test_training_that_cannot_be_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(AevisError, match=r"drawings >= 64.*Mend --seed, --drawings or --epochs"):
        train_world(tmp_path / "new", seed=0, drawings=3, epochs=1)
    assert not (tmp_path / "new").exists()


# A user's model


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for i, name in enumerate(CLASSES[:4]):
        colour = np.random.default_rng(i).integers(0, 256, (70, 64, 3), dtype=np.uint8)
        write_image(folder / name / f"{i}.png", colour)
    return folder


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join(CLASSES))
    return path


def init(tmp_path, photos, classes, model=DRAWN, weights=str(SHIPPED), **options):
    return init_workspace(tmp_path / "ws", ModelSpec(model, weights), photos, None, classes, INPUT, **options)


@pytest.mark.parametrize("name", ["images.csv", "classes.txt"])
def test_a_users_own_tables_are_not_replaced(tmp_path, photos, classes, name):
    """As where `init .` is said in the folder of a data set, whose table of labels has such a name."""
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / name).write_text("precious")
    with pytest.raises(AevisError, match=rf"{name} is there already, and the workspace would replace it"):
        init(tmp_path, photos, classes)
    assert [(path.name, path.read_text()) for path in (tmp_path / "ws").iterdir()] == [(name, "precious")]


def test_a_workspace_of_a_model_and_a_folder(tmp_path, photos, classes, monkeypatch):
    monkeypatch.chdir(SHIPPED.parent)
    made = init(tmp_path, photos, classes, weights=SHIPPED.name)
    assert made.left_out == []
    assert made.labelled.read_from == "the folders' names"
    assert [(e.file, e.label) for e in made.workspace.images] == [(f"{CLASSES[i]}/{i}.png", i) for i in (3, 2, 1, 0)]
    monkeypatch.chdir(tmp_path)
    facts = make_workspace.check_workspace(open_workbench(tmp_path / "ws")).facts
    assert (facts["layers"], facts["images"], facts["labelled"], facts["examples"]) == (25, 4, 4, 0)


def nan_weights(path):
    state = {k: v.float() for k, v in load_file(SHIPPED).items()}
    state["fc.weight"][0, 0] = float("nan")
    save_file(state, path)


class Ran:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def evil(path):
    torch.save({"conv1.weight": Ran(path.with_suffix(".ran"))}, path)


def plain_evil(path):
    path.write_bytes(pickle.dumps(Ran(path.with_suffix(".ran"))))


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("other.safetensors", lambda p: save_file(nn.Linear(2, 2).state_dict(), p), "do not fit .*Give the weights of"),
        (
            "narrow.pt",
            lambda p: torch.save(narrowed(), p),
            r"do not fit .*: fc.weight is \(3, 128\) in the file and \(10, 128\) in the model\. The names are",
        ),
        ("nan.safetensors", nan_weights, "NaN or infinite logits"),
        ("evil.pt", evil, "not a file of plain tensors, so it is not opened"),
        ("plain.pkl.pth", plain_evil, "not a file of plain tensors, so it is not opened"),
        ("list.pt", lambda p: torch.save([1, 2], p), "does not hold a state dict"),
        ("noise.safetensors", lambda p: p.write_bytes(b"noise" * 9), "is a text, which begins 'noisenoise"),
        ("gone.pt", lambda p: None, "There is no weights file .*gone.pt"),
        ("empty.pt", lambda p: p.touch(), "empty.pt is empty"),
        ("empty.safetensors", lambda p: p.touch(), "empty.safetensors is empty"),
        ("noise.pt", lambda p: p.write_bytes(b"\xffnoise" * 9), "not a file of plain tensors"),
        ("cut.pt", lambda p: (torch.save(narrowed(), p), os.truncate(p, 100)), "not a file of plain tensors"),
        ("folder.pt", lambda p: p.mkdir(), "folder.pt is a folder or a device"),
        ("pipe.pt", os.mkfifo, "pipe.pt is a folder or a device"),
        ("numbers.pt", lambda p: torch.save({0: torch.zeros(1)}, p), "does not hold a state dict"),
        (
            "nested.pt",
            lambda p: torch.save({"state_dict": {"a": narrowed()}}, p),
            r"do not fit .*: fc.weight is \(3, 128\)",
        ),
        ("deep.pt", lambda p: torch.save({"state_dict": {3: torch.zeros(1)}}, p), "does not hold a state dict"),
        ("whole.pt", lambda p: torch.save(recast(torch.int8), p), "holds torch.int8 in place of torch.float32"),
        (
            "complex.pt",
            lambda p: torch.save(recast(torch.cfloat), p),
            "holds torch.complex64 in place of torch.float32",
        ),
    ],
)
def test_weights_that_cannot_be_are_refused_and_nothing_is_made(tmp_path, photos, classes, name, write, words):
    path = tmp_path / name
    write(path)
    with pytest.raises(AevisError, match=words):
        init(tmp_path, photos, classes, weights=str(path))
    assert not (tmp_path / "ws").exists()
    assert not list(tmp_path.glob("*.ran"))


def recast(kind):
    return {name: value.to(kind) for name, value in load_file(SHIPPED).items()}


def test_weights_that_cannot_be_read_now_are_not_called_damaged(tmp_path, photos, classes, monkeypatch):
    path = tmp_path / "good.pt"
    torch.save(load_file(SHIPPED), path)

    def fails(*_args, **_options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))

    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(AevisError, match=r"good.pt cannot be read \(Too many open files\)"):
        init(tmp_path, photos, classes, weights=str(path))


def narrowed():
    state = load_file(SHIPPED)
    return {k: v[:3] if k == "fc.weight" else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("model", "weights", "words"),
    [
        ("resnet18", "", "names no model. Write torchvision:NAME"),
        ("torchvision:resnet19", "x.pt", "no classification model 'resnet19'"),
        ("torchvision:resnet18", "", "without weights is a random network. Give --weights"),
        ("torchvision:resnet18", "IMAGENET9", "no weights 'IMAGENET9'"),
        ("hand_wired:nothing", "", "has no function 'nothing'"),
        ("no_such_module:make", "", "cannot be imported; run from the folder it lies in"),
        ("hand_wired:classifier", "", r"hand_wired:classifier cannot be called without arguments"),
        ("builtins:dict", "", "a part of Python itself"),
        ("os:abort", "", "os:abort is a part of Python itself, which makes no models"),
        ("os.path:abspath", "", "a part of Python itself"),
        ("numpy:zeros", "", "no function written in Python, so it is not called"),
        ("numpy:matrix", "", "is a class, but not one of torch.nn.Module"),
        ("test_make_workspace:writes", "", "says that it returns int, which is no model"),
        ("test_make_workspace:leaves", "", r"test_make_workspace:leaves\(\) failed with SystemExit: 3"),
        ("test_make_workspace:number", "", "gave a int, not a torch.nn.Module"),
        ("hand_wired:Branching", "V1", "no weights file V1"),
        ("hand_wired:Branching", "", r"Branching.*hand_wired\.py.*if x\.sum\(\) > 0"),
    ],
)
def test_a_model_that_cannot_be_is_refused_and_nothing_is_made(tmp_path, photos, classes, model, weights, words):
    with pytest.raises(AevisError, match=f"(?s){words}"):
        init(tmp_path, photos, classes, model, weights)
    assert not (tmp_path / "ws").exists()


def writes() -> int:
    pytest.fail("it was called")


def leaves():
    raise SystemExit(3)


def number():
    return 3


class Stubborn(torch.nn.Linear):
    def __init__(self):
        super().__init__(2, 2)

    def train(self, mode=True):
        return super().train(True)


class Silent(Stubborn):
    def train(self, mode=True):
        torch.nn.Linear.train(self, mode)


def test_a_model_that_eval_does_not_reach_is_refused_by_its_cause():
    with pytest.raises(AevisError, match=r"stays in training mode though eval\(\) is called .* a train\(\) of its own"):
        loading.load_model(ModelSpec("test_make_workspace:Stubborn", ""))
    assert not loading.load_model(ModelSpec("test_make_workspace:Silent", "")).model.training, (
        "its train() gives nothing back"
    )


def test_a_class_and_a_partial_function_make_models():
    for name in ("Small", "partly", "promised"):
        assert type(loading.load_model(ModelSpec(f"test_make_workspace:{name}", "")).model).__name__ == "Small"


class Small(torch.nn.Linear):
    def __init__(self, width: int = 2):
        super().__init__(width, width)


partly = functools.partial(Small, width=3)


def promised() -> "torch.nn.Linear":
    return Small()


def test_class_names_that_do_not_match_are_refused(tmp_path, photos, classes):
    classes.write_text("one\ntwo\n")
    with pytest.raises(AevisError, match="10 outputs but there are 2 class names"):
        init(tmp_path, photos, classes)
    assert not (tmp_path / "ws").exists()
    with pytest.raises(AevisError, match=r"class names of .*are not known\. Give --classes"):
        init_workspace(tmp_path / "ws", ModelSpec(DRAWN, str(SHIPPED)), photos, preprocessing=INPUT)


def test_an_unknown_input_is_asked_for(tmp_path, photos, classes):
    with pytest.raises(AevisError, match="Give --input-size"):
        init_workspace(tmp_path / "ws", ModelSpec(DRAWN, str(SHIPPED)), photos, classes=classes)


def test_a_bad_image_stops_or_is_left_out_as_asked(tmp_path, photos, classes):
    (photos / "panda" / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(AevisError, match=r"cut\.png cannot be read.*--skip-unreadable"):
        init(tmp_path, photos, classes)
    assert not (tmp_path / "ws").exists()
    made = init(tmp_path, photos, classes, skip_unreadable=True)
    assert len(made.workspace.images) == 4
    assert len(made.left_out) == 1
    assert "cut.png" in made.left_out[0]


def test_nothing_but_bad_images_is_refused(tmp_path, photos, classes):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(AevisError, match=r"None of the 4 images .* can be used"):
        init(tmp_path, photos, classes, skip_unreadable=True)
    assert not (tmp_path / "ws").exists()


def test_check_finds_what_broke_since(world):
    name = Workspace(world).images[7].file
    (world / "images" / name).unlink()
    with pytest.raises(AevisError, match=name):
        make_workspace.check_workspace(open_workbench(world))


def test_check_counts(drawn_world):
    facts = make_workspace.check_workspace(open_workbench(drawn_world)).facts
    assert (facts["images"], facts["labelled"], facts["examples"], facts["classes"]) == (60, 60, 60, 10)
    assert facts["accuracy"] == 1
    assert 30 < facts["misclassified_examples"] < 60


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (1, r"100% of them moved one lower: the table that they come from counts from 1\."),
        (-1, r"100% of them moved one higher: the table that they come from counts from -1"),
        (5, "with 0% of them moved one lower and 0% one higher. Check that classes.txt has the model's order"),
    ],
)
def test_labels_that_are_moved_are_told_by_check(world, shift, words):
    table = world / "images.csv"
    head, *rows = table.read_text().splitlines()
    labels = [(name, int(label) + shift) for name, label in (row.rsplit(",", 1) for row in rows)]
    kept = [f"{name},{label}" for name, label in labels if 0 <= label < 10 and (shift < 5 or label > 5)]
    table.write_text("\n".join([head, *kept]))
    found = make_workspace.check_workspace(open_workbench(world))
    assert found.facts["accuracy"] == 0
    assert re.search(words, found.doubts[0])
    assert all("cannot open on" in doubt for doubt in found.doubts[1:]), "no image of a class is clean any more"


def test_labels_that_fit_are_not_doubted(drawn_world):
    assert make_workspace.check_workspace(open_workbench(drawn_world)).doubts == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: replace(s, extraction=replace(s.extraction, method="magic")),
            r"\[extraction\], method: There is no",
        ),
        (
            lambda s: replace(s, opens_on="nothing"),
            r"workspace.toml, \[page\], opens_on: There is no example 'nothing'",
        ),
    ],
)
def test_check_and_serve_refuse_what_only_later_verbs_read(world, change, words):
    write_settings(world, change(Workspace(world).settings))
    for opened in (make_workspace.check_workspace, serving.prepare_opening):
        with pytest.raises(AevisError, match=words):
            opened(open_workbench(world))


def test_check_warns_of_an_opening_that_serve_refuses(world):
    workspace = Workspace(world)
    chosen = workspace.example(workspace.settings.opens_on)
    same = replace(chosen, id="same", adversarial="adversarial/same.png")
    workspace.keep_adversarials([(same, workspace.read([chosen.source])[0])])
    write_settings(world, replace(workspace.settings, opens_on="same"))
    with pytest.raises(AevisError) as refused:
        serving.prepare_opening(open_workbench(world))
    (doubt,) = make_workspace.check_workspace(open_workbench(world)).doubts
    assert "cannot open on same, which opens_on" in doubt
    assert str(refused.value) in doubt


@pytest.mark.parametrize("spoil", ["names", "mask"])
def test_check_reads_the_parts_that_are_known(world, spoil):
    assert make_workspace.check_workspace(open_workbench(world)).facts["images_with_parts"] == 60
    if spoil == "names":
        (world / "parts" / "names.txt").write_text("2 ear\n")
    else:
        (world / "parts" / Workspace(world).images[3].file).write_bytes(b"noise")
    with pytest.raises(AevisError, match=r"must number its parts from 1|The mask .* cannot be read"):
        make_workspace.check_workspace(open_workbench(world))


@pytest.mark.parametrize(
    ("accuracy", "labelled", "classes", "guesses"),
    [
        (0.5, 100, 2, True),
        (0.9, 100, 2, False),
        (0.9, 10, 2, False),
        (0.8, 10, 2, True),
        (0.7, 10, 3, False),
        (0.15, 100, 10, True),
        (0.3, 100, 10, False),
        (0.0, 100, 1000, True),
        (0.03, 100, 1000, False),
        (0.5, 9, 2, False),
        (1.0, 100, 1, False),
    ],
)
def test_a_model_that_only_guesses_is_doubted(accuracy, labelled, classes, guesses):
    facts = {"accuracy": accuracy, "labelled": labelled, "classes": classes}
    assert any("as guessing among" in doubt for doubt in label_doubts.doubts(facts, [])) == guesses


def test_a_model_that_is_right_less_often_than_by_guessing_is_not_said_to_guess():
    """One of 40 labels of four classes has a probability of 0.0001 by guessing."""
    (said,) = label_doubts.doubts({"accuracy": 0.025, "labelled": 40, "classes": 4}, [])
    assert ", which is less often than guessing among 4 classes would." in said
    assert "as guessing" not in said
    (said,) = label_doubts.doubts({"accuracy": 0.15, "labelled": 40, "classes": 4}, [])
    assert ", as guessing among 4 classes may, too." in said


def test_chance_is_that_of_the_binomial_distribution():
    """Written out: the ways to be right at least so often, times their probability."""
    for count, least, chance in ((10, 9, 0.5), (24, 8, 0.25), (100, 4, 0.001), (3, 0, 0.2)):
        wanted = sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(least, count + 1))
        assert label_doubts.by_chance(least / count, count, chance) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("labels", "predicted", "blamed"),
    [
        ([0, 1] * 8, [2] * 16, False),
        ([0, 1, 2] * 8, [1, 1, 0] * 8, False),
        ([0, 1] * 8, [1, 2] * 8, True),
        ([1, 2, 3] * 8, [0, 1, 2] * 8, True),
    ],
)
def test_labels_are_not_blamed_for_a_model_that_always_says_the_same(labels, predicted, blamed):
    pairs = list(zip(labels, predicted, strict=True))
    facts = label_doubts.agreement(pairs) | {"labelled": len(pairs), "classes": 4}
    (said,) = label_doubts.doubts(facts, pairs)
    assert ("the table that they come from counts" in said) == blamed


def test_check_counts_what_the_table_leaves_out(world):
    table = world / "images.csv"
    rows = table.read_text().splitlines()
    gone = [row.rsplit(",", 1)[0] for row in rows[-4:]]
    table.write_text("\n".join(rows[:-4]))
    (world / "images" / "notes.heic").write_text("")
    facts = make_workspace.check_workspace(open_workbench(world)).facts
    assert facts["images_without_row"] == {"count": 4, "such_as": sorted(gone)[:3]}
    assert facts["other_files"] == {"count": 1, "such_as": ["notes.heic"]}
