"""Adversarials of other tools, as arrays and as folders, become examples whose pixels and predictions are right."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aevis_dash.callbacks import pictures
from aevis_dash.cli import main
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.image_batch import ArrayReading, as_batch
from aevis_dash.domain import AevisError
from aevis_dash.float_images import float_bytes
from aevis_dash.images import write_image
from aevis_dash.make_workspace import WORLD_WEIGHTS
from aevis_dash.web import create_app
from aevis_dash.workbench import open_workbench
from aevis_dash.workbench.imports import Origin
from aevis_dash.workspace import Workspace


@pytest.fixture
def run(capsys):
    """Runs a command with --json; gives its status and its document."""

    def command(*argv):
        capsys.readouterr()
        status = main([*map(str, argv), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return command


@pytest.fixture
def given(world):
    """Sources and adversarials of the drawn world, 8-bit (5, 64, 64, 3), whose attacks succeeded, with their names."""
    bench = open_workbench(world)
    chosen = [each.example for each in bench.judging.judged_examples() if each.misclassified][:5]
    sources, adversarials = [e.source for e in chosen], [e.adversarial for e in chosen]
    return sources, bench.workspace.read(sources), bench.workspace.read(adversarials)


def others(images):
    """Images that the workspace does not have, as one number of each differs by one."""
    changed = images.copy()
    changed[:, 0, 0, 0] ^= 1
    return changed


def everything(root):
    """Every file of a workspace but its results, with its bytes."""
    return {
        p: p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and "cache" not in p.relative_to(root).parts and p.suffix != ".lock"
    }


def logits(root, pixels):
    """What the workspace's network, run by plain torch, gives for pixels (B, H, W, 3) from 0 to 1."""
    bench = open_workbench(root)
    model, how = bench.base.loaded.model, bench.workspace.settings.preprocessing
    x = torch.from_numpy(np.asarray(pixels, np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return model((x - torch.tensor(how.mean).view(1, 3, 1, 1)) / torch.tensor(how.std).view(1, 3, 1, 1)).numpy()


def pixels_of(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("kind", ["uint8", "float, channels first"])
def test_adversarials_of_workspace_images(world, given, tmp_path, run, kind):
    names, _, adversarials = given
    array = adversarials if kind == "uint8" else np.moveaxis(adversarials / np.float32(255), -1, 1)
    np.savez(tmp_path / "other.npz", x_adv=array)
    (tmp_path / "of.txt").write_text("".join(f"{name}\n" for name in names))
    before = Workspace(world).examples()
    argv = ("import", world, "--adversarials", tmp_path / "other.npz", "--of", tmp_path / "of.txt")
    status, document = run(*argv, "--attack", "AutoAttack 8/255")
    assert status == 0
    shape = "N x H x W x 3, uint8, 0 to 255" if kind == "uint8" else "N x 3 x H x W, float32, 0 to 1"
    assert document["adversarials"] == f"x_adv of other.npz: 5 images, read as {shape}"
    assert (document["imported"], document["successful"], document["lost_in_8_bits"]) == (5, 5, 0)
    workspace = Workspace(world)
    made = workspace.examples()[len(before) :]
    assert [e.source for e in made] == names
    assert all(e.adversarial == f"adversarial/{e.id}.png" for e in made)
    assert {(e.attack, e.epsilon) for e in made} == {("AutoAttack 8/255", 8.0)}
    assert {e.lost_in_8_bits for e in made} == {None if kind == "uint8" else False}
    assert [e.true_label for e in made] == [{i.file: i.label for i in workspace.images}[name] for name in names]
    for example, image in zip(made, adversarials, strict=True):
        assert np.array_equal(pixels_of(world / example.adversarial), image)
    wanted = logits(world, adversarials / 255).argmax(1)
    assert [e["adversarial"] for e in document["examples"]] == [workspace.class_names[i] for i in wanted]
    once = everything(world)
    assert run(*argv, "--attack", "AutoAttack 8/255")[1]["imported"] == 5
    assert everything(world) == once


def test_what_the_user_insisted_on_stays_when_it_is_imported_again(world, given):
    names, _, adversarials = given
    bench, batch = open_workbench(world), as_batch(adversarials, "a.npy", ArrayReading())
    made = bench.imports.of_workspace(batch, names, Origin("mine"))
    with (world / "examples.csv").open() as file:
        text = file.read()
    row = next(line for line in text.splitlines() if line.startswith(made.examples[0].id))
    (world / "examples.csv").write_text(text.replace(row, row.replace(",no,", ",yes,")))
    again = open_workbench(world).imports.of_workspace(batch, names, Origin("mine", 8.0))
    assert [(e.allow_large, e.epsilon) for e in again.examples[:2]] == [(True, 8.0), (False, 8.0)]


def test_an_attack_that_rounding_would_undo_is_kept_as_floats(world, given, tmp_path, run):
    """Between source and adversarial lie numbers that are taken for another class, and whose 8 bits are not."""
    names, sources, adversarials = given
    bench = open_workbench(world)
    own = logits(world, sources / 255).argmax(1)
    found = None
    for i in range(len(names)):
        low, high = 0.0, 1.0  # of the way from the source; the border lies between them
        for _ in range(14):
            middle = (low + high) / 2
            between = ((1 - middle) * sources[i] + middle * adversarials[i].astype(np.float32)) / 255
            label = logits(world, between[None])[0].argmax()
            low, high = (middle, high) if label == own[i] else (low, middle)
        at = (((1 - high) * sources[i] + high * adversarials[i]) / 255).astype(np.float32)
        rounded = np.rint(at * 255)
        if (
            logits(world, rounded[None] / 255)[0].argmax() == own[i]
            and bench.classifier.predict_pixels(at[None])[0] != own[i]
        ):
            found = (i, at)
            break
    assert found is not None
    i, at = found
    np.save(tmp_path / "weak.npy", np.stack([at, adversarials[i].astype(np.float32) / 255]))
    (tmp_path / "of.csv").write_text(f"number,file\n1,{names[i]}\n2,{names[i]}\n")
    status, document = run("import", world, "--adversarials", tmp_path / "weak.npy", "--of", tmp_path / "of.csv")
    assert status == 0
    counted = [document[name] for name in ("lost_in_8_bits", "kept_as_floats", "relabelled_by_rounding", "imported")]
    assert counted == [0, 1, 1, 2]
    assert any("1 of 2 attacks succeed on the array's numbers and would be lost" in w for w in document["warnings"])
    assert [each["outcome"] for each in document["examples"]] == ["misclassified"] * 2
    made = Workspace(world).examples()[-2:]
    assert [e.lost_in_8_bits for e in made] == [False, False]
    assert [e.adversarial.rpartition(".")[2] for e in made] == ["npy", "png"]
    kept, source = Workspace(world).read([made[0].adversarial, names[i]])
    np.testing.assert_allclose(kept / 255, at, atol=1e-6)
    np.testing.assert_array_equal(source, sources[i])
    largest = np.abs(at.astype(float) * 255 - sources[i]).max()
    assert largest <= document["examples"][0]["linf"] <= largest + 0.011
    assert open_workbench(world).judging.predict([made[0].adversarial])[0].label != own[i]
    again = run("import", world, "--adversarials", tmp_path / "weak.npy", "--of", tmp_path / "of.csv")[1]
    assert [e["example"] for e in again["examples"]] == [e["example"] for e in document["examples"]]


def test_an_attack_that_is_lost_even_as_floats_is_counted_and_marked(world, given, tmp_path, run, monkeypatch):
    """The classifier is made to say another class of the numbers as they are given, and of nothing else."""
    names, sources, _ = given
    np.save(tmp_path / "weak.npy", (sources[:2] / 255).astype(np.float32))
    (tmp_path / "of.csv").write_text(f"file\n{names[0]}\n{names[1]}\n")
    monkeypatch.setattr(Classifier, "predict_pixels", lambda self, pixels: np.full(len(pixels), -1))
    status, document = run("import", world, "--adversarials", tmp_path / "weak.npy", "--of", tmp_path / "of.csv")
    assert status == 0
    assert (document["lost_in_8_bits"], document["kept_as_floats"]) == (2, 0)
    assert any("2 of 2 attacks succeed on the array's numbers and are lost" in w for w in document["warnings"])
    made = Workspace(world).examples()[-2:]
    assert [(e.lost_in_8_bits, e.adversarial[-4:]) for e in made] == [(True, ".png")] * 2


def test_what_is_kept_as_floats_is_explained_shown_and_measured(world, given, tmp_path, run):
    """Parts of grey levels stay for the network, and are rounded where they are looked at."""
    names, sources, adversarials = given
    between = adversarials[0].astype(float) + np.where(adversarials[0] < 255, 0.3, 0)
    (world / "adversarial" / "part.float.npy").write_bytes(float_bytes(between / 255))
    with (world / "examples.csv").open("a") as file:
        file.write("part" + "".join(f",{v}" for v in (names[0], "adversarial/part.float.npy")) + "\n")
    bench = open_workbench(world)
    example = bench.workspace.example("part")
    np.testing.assert_allclose(bench.workspace.read([example.adversarial])[0], between, atol=1e-4)
    with torch.no_grad():
        wanted = torch.from_numpy(logits(world, between[None] / 255)).softmax(1)[0]
    found = bench.judging.predict([example.adversarial])[0].probabilities
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert bench.judging.perturbation(example).linf == pytest.approx(np.abs(between - sources[0]).max(), abs=1e-6)
    assert run("verify", world, "--example", "part", "--random", 2, "--layer", bench.layers.layers[-1].name)[0] == 0
    assert run("trail", world, "--example", "part", "--figure", tmp_path / "t.html")[0] == 0
    assert run("diverge", world, "--examples", 3)[0] == 0
    client = create_app(bench).server.test_client()
    rounded, chosen = np.rint(between), bench.layers.feature_map(bench.layers.layers[0].name, 0)
    amplified = np.clip(np.rint(128 + 10 * (between - sources[0])), 0, 255)
    for address, picture in [
        (pictures.image(bench, example.adversarial), rounded),
        (pictures.thumbnail(bench, example.adversarial), rounded),
        (pictures.difference(bench, example), amplified),
        (pictures.lit(bench, example.adversarial, chosen, 1.0), None),
        (pictures.seen_by(bench, names[0], 0, 1, 2), None),
    ]:
        answer = client.get("/" + address)
        assert answer.status_code == 200
        if picture is not None:
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.data))), picture)
    assert bench.attacks.kept_under_noise(example, 5) >= 0


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((64, 64, 3), np.uint8), "holds uint8 .* and not float32 pixels from 0 to 1, 64 x 64 x 3"),
        (np.zeros((3, 64, 64), np.float32), r"holds float32 \(3, 64, 64\)"),
        (np.full((64, 64, 3), 1.5, np.float32), "holds values outside of 0 to 1"),
        (np.full((64, 64, 3), np.nan, np.float32), "holds values outside of 0 to 1, or NaN"),
        (np.array([{}], dtype=object), "cannot be read"),
    ],
)
def test_floats_that_are_no_image_are_refused(world, given, array, words):
    np.save(world / "adversarial" / "bad.float.npy", array)
    with pytest.raises(AevisError, match=rf"The image .*bad\.float\.npy {words}"):
        Workspace(world).read(["adversarial/bad.float.npy"])


def test_sources_of_their_own_become_normal_images(world, given, tmp_path, run):
    sources, adversarials = others(given[1]), given[2]
    torch.save(
        {"clean_inputs": torch.from_numpy(sources), "adv_inputs": torch.from_numpy(adversarials)}, tmp_path / "b.pt"
    )
    labels = logits(world, sources / 255).argmax(1)
    np.save(tmp_path / "y.npy", labels)
    before = Workspace(world).images
    argv = ("import", world, "--adversarials", tmp_path / "b.pt", "--labels", tmp_path / "y.npy")
    status, document = run(*argv)
    assert status == 0
    assert document["sources"] == "clean_inputs of b.pt: 5 images, read as N x H x W x 3, uint8, 0 to 255"
    assert document["labels_from"] == "y.npy"
    assert (document["imported"], document["sources_added"], document["successful"]) == (5, 5, 5)
    workspace = Workspace(world)
    assert workspace.images[: len(before)] == before
    new = workspace.images[len(before) :]
    assert [e.label for e in new] == labels.tolist()
    for entry, image in zip(new, sources, strict=True):
        assert np.array_equal(pixels_of(workspace.path(entry.file)), image)
    assert [e.source for e in workspace.examples()[-5:]] == [e.file for e in new]
    once = everything(world)
    assert run(*argv)[1]["sources_added"] == 0
    assert everything(world) == once


def test_sources_may_lie_in_another_file(world, given, tmp_path, run):
    sources, adversarials = others(given[1]), given[2]
    np.save(tmp_path / "adv.npy", np.moveaxis(adversarials, -1, 1).astype(np.float32))
    np.savez(tmp_path / "clean.npz", images=sources / 255, labels=np.arange(5))
    status, document = run("import", world, "--adversarials", tmp_path / "adv.npy", "--sources", tmp_path / "clean.npz")
    assert status == 0
    assert document["labels_from"] == "labels of clean.npz"
    assert [e.label for e in Workspace(world).images[-5:]] == [0, 1, 2, 3, 4]
    assert np.array_equal(Workspace(world).read(e.adversarial for e in Workspace(world).examples()[-5:]), adversarials)


@pytest.mark.parametrize("form", ["arrays", "folder"])
def test_a_source_that_is_there_already_is_no_second_image(world, given, tmp_path, run, form):
    """Nor is one that is given twice, with two attacks; else its own copy would be its nearest neighbour."""
    names, sources, adversarials = given
    given_sources = np.concatenate([sources[:2], others(sources[2:3])[[0, 0]]])
    attacked = np.concatenate([adversarials[:3], 255 - adversarials[2:3]])
    labels = [next(e.label for e in Workspace(world).images if e.file == name) for name in names]
    labels = [*labels[:3], labels[2]]
    before = Workspace(world).images
    if form == "arrays":
        np.savez(tmp_path / "b.npz", x=given_sources, x_adv=attacked, y=labels)
        argv = ["import", world, "--adversarials", tmp_path / "b.npz"]
    else:
        for i, (source, adversarial) in enumerate(zip(given_sources, attacked, strict=True)):
            write_image(tmp_path / "clean" / f"{i}.png", source)
            write_image(tmp_path / "made" / f"{i}.png", adversarial)
        (tmp_path / "y.csv").write_text("file,label\n" + "".join(f"{i},{y}\n" for i, y in enumerate(labels)))
        argv = ["import", world, "--adversarials", tmp_path / "made", "--sources", tmp_path / "clean"]
        argv += ["--labels", tmp_path / "y.csv"]
    status, document = run(*argv)
    assert status == 0, document
    assert (document["imported"], document["sources_added"]) == (4, 1)
    after = Workspace(world)
    assert after.images[:-1] == before
    new = after.images[-1].file
    assert [example.source for example in after.examples()[-4:]] == [*names[:2], new, new]
    assert np.array_equal(after.read([new])[0], given_sources[2])
    once = everything(world)
    assert run(*argv)[1]["sources_added"] == 0
    assert everything(world) == once


def test_a_source_that_is_there_under_another_label_is_refused(world, given, tmp_path, run):
    names, sources, adversarials = given
    label = next(e.label for e in Workspace(world).images if e.file == names[0])
    np.savez(tmp_path / "b.npz", x=sources[:1], x_adv=adversarials[:1], y=[(label + 1) % 4])
    before = everything(world)
    status, document = run("import", world, "--adversarials", tmp_path / "b.npz")
    assert status == 2
    assert f"is the image {names[0]!r}, which has another label or none" in document["error"]
    assert everything(world) == before


def test_sources_in_another_order_are_warned_of(world, given, tmp_path, run):
    _, sources, adversarials = given
    np.savez(tmp_path / "b.npz", x=sources, x_adv=np.roll(adversarials, 1, axis=0))
    status, document = run("import", world, "--adversarials", tmp_path / "b.npz")
    assert (status, document["successful"]) == (0, 0)
    assert any("None of the 5 imported images is its source" in warning for warning in document["warnings"])
    np.savez(tmp_path / "b.npz", x=sources, x_adv=adversarials)
    status, document = run("import", world, "--adversarials", tmp_path / "b.npz")
    assert not any("None of the" in warning for warning in document["warnings"])


def test_a_folder_is_paired_by_stem(world, given, tmp_path, run):
    names, adversarials = zip(*sorted(zip(given[0], given[2], strict=True), key=lambda pair: pair[0]), strict=True)
    for attack in ("fgsm", "pgd"):
        for name, image in zip(names, adversarials, strict=True):
            write_image(tmp_path / "made" / attack / name, image if attack == "pgd" else 255 - image)
    write_image(tmp_path / "made" / "nobody.png", adversarials[0])
    Image.fromarray(adversarials[0]).save(tmp_path / "made" / names[0].replace("png", "jpg"), quality=100)
    status, document = run("import", world, "--adversarials", tmp_path / "made", "--epsilon", 8)
    assert status == 0
    assert document["imported"] == 11
    assert document["files_without_source"] == {"count": 1, "such_as": ["nobody.png"]}
    made = Workspace(world).examples()[-11:]
    jpeg, inverted, kept = made[0], made[1:6], made[6:]
    assert (jpeg.source, jpeg.adversarial.rpartition(".")[2]) == (names[0], "jpg")
    assert [e.source for e in kept] == [e.source for e in inverted] == list(names)
    assert {(e.attack, e.epsilon, e.lost_in_8_bits) for e in made} == {("imported from made", 8.0, None)}
    assert np.array_equal(Workspace(world).read(e.adversarial for e in kept), adversarials)
    assert [e["outcome"] for e in document["examples"][6:]] == ["misclassified"] * 5
    assert {e["outcome"] for e in document["examples"][1:6]} == {"not an attack on its source"}


@pytest.mark.parametrize("by", ["a table", "folders"])
def test_a_folder_of_new_sources_is_added(world, given, tmp_path, run, by):
    """Only the sources of which there is an adversarial, as the files that they are, also where they are larger."""
    sources, adversarials = others(given[1]), given[2]
    names = Workspace(world).class_names
    labels = logits(world, sources / 255).argmax(1)
    for i, (source, adversarial) in enumerate(zip(sources, adversarials, strict=True)):
        at = Path(names[labels[i]]) / f"{i}.png" if by == "folders" else Path(f"{i}.png")
        write_image(tmp_path / "clean" / at, source)
        if i != 3:
            write_image(tmp_path / "made" / "pgd" / f"{i}.png", adversarial)
    write_image(tmp_path / "made" / "nobody.png", adversarials[0])
    (tmp_path / "y.csv").write_text("file,label\n" + "".join(f"{i},{label}\n" for i, label in enumerate(labels)))
    count = len(Workspace(world).images)
    argv = ["import", world, "--adversarials", tmp_path / "made", "--sources", tmp_path / "clean", "--epsilon", 8]
    argv += ["--labels", tmp_path / "y.csv"] if by == "a table" else []
    status, document = run(*argv)
    assert status == 0, document
    assert (document["imported"], document["sources_added"], document["successful"]) == (4, 4, 4)
    assert document["files_without_source"] == {"count": 1, "such_as": ["nobody.png"]}
    after = Workspace(world)
    new, made = after.images[count:], after.examples()[-4:]
    kept = [0, 1, 2, 4]
    assert [entry.label for entry in new] == labels[kept].tolist()
    assert [re.fullmatch(r"clean/(\d)-[0-9a-f]{6}\.png", entry.file)[1] for entry in new] == list("0124")
    assert [example.source for example in made] == [entry.file for entry in new]
    assert [example.true_label for example in made] == labels[kept].tolist()
    assert np.array_equal(after.read(entry.file for entry in new), sources[kept])
    assert np.array_equal(after.read(example.adversarial for example in made), adversarials[kept])
    once = everything(world)
    assert run(*argv)[1]["sources_added"] == 0
    assert everything(world) == once


def test_new_sources_that_cannot_be_read_are_refused_and_nothing_is_written(world, given, tmp_path, run):
    write_image(tmp_path / "made" / "a.png", given[2][0])
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.png").write_bytes(b"no image")
    before = everything(world)
    argv = ["import", world, "--adversarials", tmp_path / "made", "--sources"]
    for sources, words in (
        ("clean", "cannot be read"),
        ("made", "holds the sources themselves"),
        ("y.npy", "--sources is about arrays, .* New sources are another folder"),
    ):
        status, document = run(*argv, tmp_path / sources)
        assert status == 2
        assert re.search(words, document["error"]), document["error"]
    assert everything(world) == before


def test_a_table_of_file_and_source_is_enough(world, given, tmp_path, run):
    names, _, adversarials = given
    for i, image in enumerate(adversarials):
        write_image(tmp_path / "made" / f"{i}.png", image)
    rows = [f"made/{i}.png,{name}" for i, name in enumerate(names)]
    (tmp_path / "pairs.csv").write_text("\n".join(["file,source", *rows]))
    status, document = run("import", world, "--adversarials", tmp_path / "pairs.csv", "--attack", "CW", "--epsilon", 8)
    assert status == 0, document
    assert document["imported"] == document["successful"] == 5
    made = Workspace(world).examples()[-5:]
    assert [e.source for e in made] == names
    assert np.array_equal(Workspace(world).read(e.adversarial for e in made), adversarials)
    assert {(e.attack, e.epsilon, e.target_label) for e in made} == {("CW", 8.0, None)}
    assert all(f"{name.removesuffix('.png')}-pairs-" in e.id for e, name in zip(made, names, strict=True))

    full = [f"{name.removesuffix('.png')};made/{i}.png;PGD;{i + 1};cat" for i, name in enumerate(names)]
    (tmp_path / "more.csv").write_text("\n".join(["Source;Adversarial;Attack;Epsilon;target label", *full]))
    assert run("import", world, "--adversarials", tmp_path / "more.csv", "--epsilon", 8)[0] == 0
    told = Workspace(world).examples()[-5:]
    assert [(e.attack, e.epsilon, e.target_label) for e in told] == [("PGD", i + 1.0, 2) for i in range(5)]


def test_refusals_of_tables_write_nothing(world, given, tmp_path, run):
    write_image(tmp_path / "a.png", given[2][0])
    name = given[0][0]
    before = everything(world)
    for text, words, *options in [
        (f"file,src\na.png,{name}", "has no column 'source'. It needs: source"),
        (f"picture,source\na.png,{name}", "has none of the columns adversarial, file, filename"),
        (f"file,source\na.png,{name}\na.png,elephant", "line 3: 'elephant' is no image of images.csv"),
        (f"file,source\nb.png,{name}", r"There is no image .*b\.png"),
        (f"file,source\n{world / 'images' / name},{name}", "line 2: .* is the source itself"),
        (f"file,source,epsilon\na.png,{name},much", "the epsilon 'much' is no number of grey levels"),
        (f"file,source,target_label\na.png,{name},cow", "'cow' is neither a class name"),
        ("file,source\n", "has no row"),
        (f"file,source\na.png,{name}", "--layout is about arrays, .* is a table, which names the", "--layout", "NCHW"),
    ]:
        (tmp_path / "t.csv").write_text(text)
        status, document = run("import", world, "--adversarials", tmp_path / "t.csv", *options)
        assert status == 2
        assert re.search(words, document["error"]), document["error"]
    assert everything(world) == before


def test_refusals_are_short_and_write_nothing(world, given, tmp_path, run):
    names, sources, adversarials = given
    np.savez(tmp_path / "good.npz", x_adv=adversarials)
    np.savez(tmp_path / "four.npz", x=sources[:4], x_adv=adversarials)
    np.savez(tmp_path / "small.npz", x=sources[:, :32, :32], x_adv=adversarials[:, :32, :32])
    np.savez(tmp_path / "small_sources.npz", x=sources[:, :32, :32], x_adv=adversarials)
    np.savez(tmp_path / "nan.npz", x=sources, x_adv=np.where(sources > 200, np.nan, sources / 255))
    np.savez(tmp_path / "normal.npz", x=sources, x_adv=adversarials / 64 - 2)
    np.savez(tmp_path / "labels.npz", x=sources, x_adv=adversarials, y=np.arange(4))
    np.savez(tmp_path / "class.npz", x=sources, x_adv=adversarials, y=np.arange(5) + 6)
    np.savez(tmp_path / "same.npz", x=sources, x_adv=sources)
    (tmp_path / "own").symlink_to(world / "images")
    (tmp_path / "of.txt").write_text("\n".join(names))
    (tmp_path / "short.txt").write_text("\n".join(names[:3]))
    (tmp_path / "wrong.txt").write_text("\n".join([*names[:4], "elephant.png"]))
    (tmp_path / "folder").mkdir()
    write_image(tmp_path / "folder" / "nobody.png", adversarials[0])
    (tmp_path / "broken").mkdir()
    write_image(tmp_path / "broken" / names[0], adversarials[0])
    (tmp_path / "broken" / names[1]).write_bytes(b"no image")
    before = everything(world)
    for words, name, *options in [
        ("Say what the adversarials were made of: --of LIST", "good.npz"),
        ("x of four.npz has 4 images|has 5 images, and there are 4 sources", "four.npz"),
        ("has 5 images, and there are 3 sources", "good.npz", "--of", "short.txt"),
        ("line 5: 'elephant.png' is no image of images.csv", "good.npz", "--of", "wrong.txt"),
        ("cannot be read", "good.npz", "--of", "missing.txt"),
        ("32 x 32 pixels, and the model's input has 64 x 64", "small.npz"),
        ("x of small_sources.npz has images of 32 x 32", "small_sources.npz"),
        ("holds NaN or infinite values", "nan.npz"),
        ("may be normalised", "normal.npz"),
        ("has 4 labels, and there are 5 images", "labels.npz"),
        ("holds 10, and the classes count from 0 to 9", "class.npz"),
        ("Leave out --labels, or --of", "good.npz", "--of", "of.txt", "--labels", "labels.npz"),
        (
            "cannot be both the adversarials and their sources",
            "good.npz",
            "--sources",
            "good.npz",
            "--sources-key",
            "x_adv",
        ),
        ("good.npz holds no sources", "good.npz", "--sources", "good.npz"),
        ("has no array 'z'", "good.npz", "--of", "of.txt", "--key", "z"),
        ("There is no file", "missing.npz", "--of", "of.txt"),
        ("x_adv of same.npz and x of same.npz are the same images", "same.npz"),
        ("holds the sources themselves", "own"),
        ("No file in .*folder has the name of an image", "folder"),
        ("cannot be read .*not an image", "broken"),
        ("--of is about arrays", "folder", "--of", "of.txt"),
    ]:
        paths = [tmp_path / o if o.endswith(("npz", "txt")) else o for o in options]
        status, document = run("import", world, "--adversarials", tmp_path / name, *paths)
        assert status == 2, name
        assert len(document["error"]) < 450
        assert re.search(words, document["error"]), document["error"]
        assert everything(world) == before, name


def test_a_table_of_examples_that_cannot_be_read_is_refused_before_sources_are_written(world, given, tmp_path, run):
    _, sources, adversarials = given
    np.savez(tmp_path / "b.npz", x=sources, x_adv=adversarials)
    (world / "examples.csv").write_text("id,source\n")
    before = everything(world)
    assert run("import", world, "--adversarials", tmp_path / "b.npz")[0] == 2
    assert everything(world) == before


# A new workspace from a batch


@pytest.fixture
def init(world, tmp_path, run):
    """Makes a workspace `new` of the drawn world's network and the images of a file."""

    def command(name, *argv):
        model = ["--model", "aevis_dash.world.network:drawn_world_resnet", "--weights", world / WORLD_WEIGHTS]
        how = Workspace(world).settings.preprocessing
        numbers = [f"--mean={','.join(map(str, how.mean))}", f"--std={','.join(map(str, how.std))}"]
        classes = ["--classes", world / "classes.txt", "--input-size", 64]
        return run("init", tmp_path / "new", *model, *numbers, *classes, "--images", tmp_path / name, *argv)

    return command


def test_a_workspace_is_made_of_a_batch(world, given, init, tmp_path):
    _, sources, adversarials = given
    labels = logits(world, sources / 255).argmax(1)
    np.savez(tmp_path / "batch.npz", x=np.moveaxis(sources, -1, 1) / np.float32(255), x_adv=adversarials, y=labels)
    status, document = init("batch.npz")
    assert status == 0
    assert document["images_read_as"] == "x of batch.npz: 5 images, read as N x 3 x H x W, float32, 0 to 1"
    assert document["labels_from"] == "y of batch.npz"
    assert (document["images"], document["labelled"], document["taken_as_they_are"]) == (5, 5, 5)
    (tmp_path / "new").rename(tmp_path / "moved")
    workspace = Workspace(tmp_path / "moved")
    assert [e.label for e in workspace.images] == labels.tolist()
    assert [e.file for e in workspace.images] == [f"{i:05d}.png" for i in range(5)]
    for entry, image in zip(workspace.images, sources, strict=True):
        assert np.array_equal(pixels_of(tmp_path / "moved" / "images" / entry.file), image)
    judged = open_workbench(tmp_path / "moved").judging.predict([e.file for e in workspace.images])
    assert [p.label for p in judged] == labels.tolist()


def test_images_of_a_batch_may_have_another_size_and_a_table_of_labels(world, given, init, tmp_path):
    large = np.repeat(np.repeat(given[1], 2, axis=1), 2, axis=2)
    np.save(tmp_path / "large.npy", large)
    (tmp_path / "y.csv").write_text("label\npanda\n1\n\n3\n4\n")
    status, _ = init("large.npy", "--labels", tmp_path / "y.csv")
    assert status == 2
    (tmp_path / "y.csv").write_text("label,n\npanda,0\n1,1\n,2\n3,3\n4,4\n")
    status, document = init("large.npy", "--labels", tmp_path / "y.csv", "--fit", "squeeze")
    assert (status, document["labelled"], document["taken_as_they_are"]) == (0, 4, 0)
    workspace = Workspace(tmp_path / "new")
    assert [e.label for e in workspace.images] == [workspace.class_names.index("panda"), 1, None, 3, 4]
    assert pixels_of(tmp_path / "new" / "images" / "00002.png").shape == (128, 128, 3)
    assert workspace.read(["00002.png"]).shape == (1, 64, 64, 3)


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (np.zeros((2, 3, 64, 3)), [], "--layout NHWC or --layout NCHW"),
        (np.linspace(-2, 2, 2 * 64 * 64 * 3).reshape(2, 64, 64, 3), [], "normalised"),
        (np.full((2, 64, 64, 3), np.nan), [], "NaN"),
        (np.array([{}], dtype=object), [], "Python objects"),
        (np.full((2, 64, 64, 3), 100), ["--key", "x_adv"], "has no array 'x_adv'"),
        (np.full((2, 9, 4096, 3), 100), ["--resize-size", 4096], "too many"),
    ],
)
def test_a_batch_that_cannot_be_read_makes_no_workspace(init, tmp_path, array, options, words):
    np.savez(tmp_path / "bad.npz", x=array)
    status, document = init("bad.npz", *options)
    assert status == 2
    assert words in document["error"]
    assert not (tmp_path / "new").exists()


def test_a_batch_replaces_no_image_and_goes_on_from_its_own(given, init, tmp_path):
    np.save(tmp_path / "b.npy", given[1])
    write_image(tmp_path / "new" / "images" / "00003.png", 255 - given[1][3])
    before = everything(tmp_path / "new")
    status, document = init("b.npy")
    assert status == 2
    assert "00003.png is there already" in document["error"]
    assert everything(tmp_path / "new") == before
    write_image(tmp_path / "new" / "images" / "00003.png", given[1][3])
    assert init("b.npy")[0] == 0
    whole = everything(tmp_path / "new")
    np.save(tmp_path / "b.npy", 255 - given[1])
    assert "already holds a workspace" in init("b.npy")[1]["error"]
    assert everything(tmp_path / "new") == whole


def test_options_of_arrays_are_refused_for_a_folder(world, init, tmp_path):
    (tmp_path / "folder").symlink_to(world / "images")
    assert "are about a file of arrays" in init("folder", "--layout", "NCHW")[1]["error"]
