"""A pair of images: what is measured, what can be an attack, and that what cannot is refused until the user insists."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest
import reference
from PIL import Image

from aevis_dash import divergences, pairs
from aevis_dash.cli import main
from aevis_dash.core import datapath
from aevis_dash.domain import (
    AevisError,
    Example,
    Intervention,
    JudgedExample,
    MarginKind,
    Outcome,
    Perturbation,
    Prediction,
)
from aevis_dash.example_table import declared_epsilon
from aevis_dash.images import write_image
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench


@pytest.fixture
def bench(world):
    return open_workbench(world)


def test_a_perturbation_is_measured_pixel_by_pixel():
    source = np.full((8, 8, 3), 100, np.uint8)
    adversarial = source.copy()
    adversarial[0, 0, 0], adversarial[0, 1], adversarial[7, 7, 2] = 97, 104, 255
    found = pairs.measure(source, adversarial)
    assert found.linf == 155
    assert found.changed == 3 / 64
    assert found.l2 == pytest.approx(np.sqrt(3**2 + 3 * 4**2 + 155**2) / 255)
    assert pairs.measure(adversarial, source).linf == 155, "nothing wraps around"


def test_edges_are_kept_by_direction_and_lost_out_of_place():
    source = np.zeros((32, 32, 3), np.uint8)
    source[8:24, 8:24] = 200
    assert pairs.edges_kept(source, source) == pytest.approx(1)
    assert pairs.edges_kept(source, (source // 4 + 60).astype(np.uint8)) == pytest.approx(1, abs=0.02)
    assert pairs.edges_kept(source, 255 - source) == pytest.approx(-1)
    assert abs(pairs.edges_kept(source, np.roll(source, 8, 1))) < 0.3
    half = source.copy()
    half[:, 16:] = 0
    assert 0.3 < pairs.edges_kept(source, half) < 0.7
    flat = np.full((32, 32, 3), 9, np.uint8)
    assert (pairs.edges_kept(flat, flat), pairs.edges_kept(flat, source)) == (1, 0)


def attacks(image, rng):
    """What is an attack, or a corruption in place, of an image."""
    exact, shape = image.astype(float), image.shape
    for epsilon in (3, 8, 16, 32):
        yield f"{epsilon}/255", exact + rng.choice([-epsilon, epsilon], shape)
    patch = exact.copy()
    side = int(np.sqrt(0.05 * shape[0] * shape[1]))
    row, column = rng.integers(0, shape[0] - side), rng.integers(0, shape[1] - side)
    patch[row : row + side, column : column + side] = rng.integers(0, 256, (side, side, 3))
    yield "a patch", patch
    spots = exact.copy()
    salted = rng.random(shape[:2]) < 0.02
    spots[salted] = rng.choice([0, 255], (salted.sum(), 1))
    yield "salt and pepper", spots
    yield "brightness", exact + 60
    yield "contrast", 128 + 0.5 * (exact - 128)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    yield "JPEG", np.asarray(Image.open(file).convert("RGB"))


def no_attacks(image, other):
    """What is no perturbation of an image."""
    height, width, _ = image.shape
    picture = Image.fromarray(image)

    def part(left, top, right, bottom):
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, (left, top, right, bottom)))

    yield "another picture", other
    yield "flipped", image[:, ::-1]
    yield "upside down", image[::-1]
    yield "transposed", image.transpose(1, 0, 2)
    yield "moved", np.roll(image, (3, 0), (0, 1))
    yield "moved far", np.roll(image, (6, -6), (0, 1))
    yield "centre crop", part(0.15 * width, 0.15 * height, 0.85 * width, 0.85 * height)
    yield "another shape", part(0.15 * width, 0, 0.85 * width, height)


def judged(made):
    return {name: pairs.measure(image, np.clip(np.rint(changed), 0, 255).astype(np.uint8)).is_attack
            for image, many in made for name, changed in many}  # fmt: skip


def test_attacks_on_drawings_are_told_from_what_is_none(bench):
    rng = np.random.default_rng(0)
    images = bench.workspace.read([e.file for e in bench.workspace.images])
    right = [judged([(image, attacks(image, rng))]) for image in images]
    wrong = [judged([(image, no_attacks(image, images[i - 1]))]) for i, image in enumerate(images)]
    assert all(all(found.values()) for found in right), right
    missed = sum(any(found.values()) for found in wrong)
    assert missed <= 3, [name for found in wrong for name, is_attack in found.items() if is_attack]
    for example in bench.workspace.examples():
        found = bench.judging.perturbation(example)
        assert found.is_attack
        assert found.linf <= 8
        assert found.edges > 0.85


@pytest.mark.real
def test_attacks_on_photographs_are_told_from_what_is_none(shared_data):
    rng, folder = np.random.default_rng(0), shared_data / "nips17-dev" / "images"
    files = sorted(folder.iterdir())[::24]
    images = [np.asarray(Image.open(f).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)) for f in files]
    right = [judged([(image, attacks(image, rng))]) for image in images]
    wrong = [judged([(image, no_attacks(image, images[i - 1]))]) for i, image in enumerate(images)]
    assert len(images) > 8
    assert all(all(found.values()) for found in right), right
    assert not any(any(found.values()) for found in wrong), wrong


# The workspace's pairs


def put(bench, name, image, source=None, **changes):
    """An example whose adversarial is that image; its source the panda of the opening example, or as named."""
    source = source or bench.workspace.example(bench.workspace.settings.opens_on).source
    example = Example(name, source, f"adversarial/{name}.png", None, "by hand", **changes)
    bench.workspace.keep_adversarials([(example, image)])
    return bench.workspace.example(name)


def wrong_file(bench):
    """No pair: beside the opening example's source, the picture of another one."""
    other = next(e.file for e in bench.workspace.images if e.file.startswith("monkey"))
    return put(bench, "wrong", bench.workspace.read([other])[0]).id


def aevis(capsys, *argv):
    capsys.readouterr()
    status = main([str(a) for a in (*argv, "--json")])
    return status, json.loads(capsys.readouterr().out)


def test_no_pair_is_explained_anywhere_until_the_user_insists(bench, capsys, monkeypatch):
    name, root = wrong_file(bench), bench.workspace.root
    words = rf"{name}\.png is not panda-04\.png plus a small perturbation: pixels differ by up to \d+ grey levels"
    for refused in (
        lambda: bench.datapaths.plan(bench.workspace.example(name)),
        lambda: bench.datapaths.extract(name),
        lambda: bench.datapaths.triplet(name),
        lambda: bench.flips.verify(name, Intervention(0)),
        lambda: bench.flips.single_effects(name, 0, [0]),
    ):
        with pytest.raises(AevisError, match=words):
            refused()
    found = {j.example.id: j for j in bench.judging.judged_examples()}
    assert (found[name].outcome, found[name].misclassified) == (Outcome.NO_PAIR, False)
    assert name not in [e.id for e in choose(bench, Sample(None, 0))]
    assert name not in [e.id for e in divergences.misclassified(bench)]
    assert any(name in sentence and "Left out" in sentence for sentence in bench.warnings)
    monkeypatch.setattr(datapath, "extract", lambda *_, **__: pytest.fail("explained"))
    for verb in ("extract", "contribute", "trail", "verify"):
        status, answer = aevis(capsys, verb, root, "--example", name)
        assert status == 2
        assert "--allow-large" in answer["error"]
    status, answer = aevis(capsys, "extract", root, "--allow-large")
    assert "Name the examples with --example" in answer["error"]


def test_an_adversarial_whose_colours_stand_in_another_order_is_no_pair(bench):
    """As where OpenCV wrote red, green, blue for blue, green, red: the edges stand where they stood."""
    example = bench.workspace.examples()[0]
    (adversarial,) = bench.workspace.read([example.adversarial])
    (source,) = bench.workspace.read([example.source])
    assert not pairs.measure(source, adversarial).swapped
    write_image(bench.workspace.root / example.adversarial, np.ascontiguousarray(adversarial[..., ::-1]))
    bench = open_workbench(bench.workspace.root)
    found = bench.judging.perturbation(bench.workspace.example(example.id))
    assert found.swapped
    assert found.edges > 0.9, "which alone would let it pass"
    with pytest.raises(AevisError, match=r"is not .* The colour channels of the two are in another order"):
        bench.datapaths.plan(bench.workspace.example(example.id))
    (judged,) = [j for j in bench.judging.judged_examples() if j.example.id == example.id]
    assert judged.outcome is Outcome.NO_PAIR
    assert "its colour channels are in another order" in pairs.reason(judged, bench.class_names)


def test_a_large_change_that_no_epsilon_declares_is_warned_of(bench):
    example = bench.workspace.examples()[0]
    (source,) = bench.workspace.read([example.source])
    dark = dataclasses.replace(example, id="dark", adversarial="adversarial/dark.png", epsilon=None, attack="dimmed")
    bench.workspace.keep_adversarials([(dark, (source // 2).astype(np.uint8))])
    bench = open_workbench(bench.workspace.root)
    bench.judging.judged_examples()
    (said,) = [words for words in bench.warnings if "dark" in words]
    assert "examples.csv declares no epsilon" in said


def test_what_the_user_insists_on_is_kept_in_the_table(bench, capsys):
    name, root = wrong_file(bench), bench.workspace.root
    table = root / "examples.csv"
    head, *lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},note", *(f"{line},mine" for line in lines)]) + "\n")
    status, answer = aevis(capsys, "verify", root, "--example", name, "--layer", "layer4.2.relu_1", "--allow-large")
    assert status == 0
    assert answer["layers"]
    rows = {row["id"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert {row["id"] for row in rows.values() if row["allow_large"] == "yes"} == {name}
    assert {row["note"] for row in rows.values()} == {"mine"}
    again = open_workbench(root)
    assert again.workspace.example(name).allow_large
    assert next(j for j in again.judging.judged_examples() if j.example.id == name).misclassified
    assert again.datapaths.plan(again.workspace.example(name)).candidates
    before = table.read_bytes()
    assert aevis(capsys, "verify", root, "--example", again.workspace.settings.opens_on, "--allow-large",
                 "--layer", "layer4.2.relu_1")[0] == 0  # fmt: skip
    assert table.read_bytes() == before, "an attack needs no such word"


def test_a_pair_is_measured_once_for_its_files(bench, monkeypatch):
    example = bench.workspace.example(bench.workspace.settings.opens_on)
    first = bench.judging.perturbation(example)
    monkeypatch.setattr(pairs, "measure", lambda *_: pytest.fail("measured again"))
    assert open_workbench(bench.workspace.root).judging.perturbation(example) == first
    write_image(bench.workspace.path(example.adversarial), bench.workspace.read([example.source])[0])
    monkeypatch.undo()
    assert bench.judging.perturbation(example).linf == 0


# What became of an attack


def test_it_is_said_why_an_example_is_not_misclassified(bench):
    opening = bench.workspace.example(bench.workspace.settings.opens_on)
    source, adversarial = bench.workspace.read([opening.source, opening.adversarial])
    label = {name: i for i, name in enumerate(bench.class_names)}
    noisy = source ^ 1
    put(bench, "plain", adversarial)
    put(bench, "aimed", adversarial, target_label=label["monkey"])
    put(bench, "off", adversarial, target_label=label["cat"])
    put(bench, "equal", source)
    put(bench, "lost", noisy, lost_in_8_bits=True)
    put(bench, "failed", noisy, lost_in_8_bits=False)
    put(bench, "unknown", noisy)
    put(bench, "missed", noisy, target_label=label["monkey"], lost_in_8_bits=False)
    wrong = dataclasses.replace(put(bench, "wrong", adversarial), true_label=label["cat"])
    bench.workspace.keep_adversarials([(wrong, adversarial)])
    lossy = dataclasses.replace(put(bench, "lossy", noisy), adversarial="adversarial/lossy.JPG")
    bench.workspace.keep_adversarials([(lossy, noisy)])
    found = {j.example.id: j for j in bench.judging.judged_examples()}
    said = {
        "plain": (Outcome.MISCLASSIFIED, ""),
        "aimed": (Outcome.MISCLASSIFIED, ""),
        "off": (Outcome.OFF_TARGET, "target missed: monkey instead of cat"),
        "equal": (Outcome.EQUAL, "equal to its source, as the model sees both in 8 bits"),
        "lost": (Outcome.LOST, "lost in 8 bits: it was misclassified before its image was rounded"),
        "failed": (Outcome.UNCHANGED, "attack failed: still panda"),
        "unknown": (Outcome.UNCHANGED, "still panda: the attack failed, or was lost in 8 bits"),
        "missed": (Outcome.TARGET_MISSED, "target missed: still panda instead of monkey"),
        "wrong": (Outcome.SOURCE_WRONG, "source already wrong: labelled cat, predicted as panda"),
        "lossy": (Outcome.LOSSY, "still panda; its file is lossy, which can undo an attack"),
    }
    for name, (outcome, words) in said.items():
        assert (found[name].outcome, pairs.reason(found[name], bench.class_names)) == (outcome, words)
        assert found[name].misclassified == (name in ("plain", "aimed", "off"))


def test_the_label_of_images_csv_holds_where_a_table_of_examples_has_none(bench):
    """A table needs no more than the ids and the files."""
    opening = bench.workspace.example(bench.workspace.settings.opens_on)
    (bench.workspace.root / "examples.csv").write_text(
        f"id,source,adversarial\nmine,{opening.source},{opening.adversarial}\n"
    )
    (found,) = bench.judging.judged_examples()
    assert (found.example.true_label, found.outcome) == (0, Outcome.MISCLASSIFIED)
    assert bench.workspace.examples() == (Example("mine", opening.source, opening.adversarial, None, ""),)
    images = bench.workspace.root / "images.csv"
    images.write_text(images.read_text().replace(f"{opening.source},0", f"{opening.source},2"))
    (found,) = open_workbench(bench.workspace.root).judging.judged_examples()
    assert found.outcome is Outcome.SOURCE_WRONG


# The declared epsilon


@pytest.mark.parametrize(
    ("value", "attack", "epsilon"),
    [
        ("", "MI-FGSM 8/255, 10 steps", 8),
        ("", "MI-FGSM 2.5/255, 10 steps, towards cat", 2.5),
        ("4", "MI-FGSM 8/255", 4),
        ("0.5", "", 0.5),
        ("", "PGD 8/255, step 2/255", None),
        ("", "PGD 8/255, clipped to 8/255", 8),
        ("", "L2 128/255", None),
        ("", "PGD l_2, 128/255", None),
        ("", "AutoAttack Linf 4/255", 4),
        ("", "PGD 0.031", None),
        ("", "12/2550 of 8/255.5", None),
        ("", "", None),
    ],
)
def test_an_epsilon_is_read_where_it_cannot_be_mistaken(value, attack, epsilon):
    assert declared_epsilon(value, attack, "here") == epsilon


@pytest.mark.parametrize("value", ["8/255", "nan", "inf", "-1", "256", "eight", "1e308"])
def test_an_epsilon_that_is_none_is_refused(value):
    with pytest.raises(AevisError, match=r"here: the epsilon .* is no number of grey levels from 0 to 255"):
        declared_epsilon(value, "", "here")


def test_a_pair_that_exceeds_its_epsilon_is_warned_of_everywhere(bench, capsys):
    opening = bench.workspace.example(bench.workspace.settings.opens_on)
    assert opening.epsilon == 8
    (image,) = bench.workspace.read([opening.adversarial])
    put(bench, "honest", image, epsilon=7.0)
    put(bench, "larger", image, epsilon=3.0)
    assert bench.judging.perturbation(opening).linf == 8
    bench.datapaths.plan(bench.workspace.example("honest"))
    assert not any("honest" in sentence for sentence in bench.warnings), "a grey level is rounding"
    bench.datapaths.plan(bench.workspace.example("larger"))
    words = "larger differs from its source by up to 8 grey levels of 255, more than the 3 that its attack declares"
    assert any(words in sentence for sentence in bench.warnings)
    status, answer = aevis(capsys, "score", bench.workspace.root)
    assert status == 0
    rows = {row["example"]: row for row in answer["examples"]}
    assert [name for name, row in rows.items() if row["exceeds_epsilon"]] == ["larger"]
    assert (rows["larger"]["linf"], rows["larger"]["epsilon"]) == (8, 3)
    assert any(words in sentence for sentence in answer["warnings"])


def test_a_word_that_is_neither_yes_nor_no_is_refused(bench):
    put(bench, "mine", bench.workspace.read([bench.workspace.images[0].file])[0])
    table = bench.workspace.root / "examples.csv"
    table.write_text(table.read_text().replace("by hand,,,no", "by hand,,,perhaps"))
    with pytest.raises(AevisError, match=r"allow_large is 'perhaps'\. Write yes or no, or empty it"):
        bench.workspace.examples()


# Margins


@pytest.mark.parametrize("seed", range(5))
def test_the_margin_is_the_difference_of_two_logits(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=6) * rng.choice([0.1, 3, 20])
    odds = np.exp(logits - logits.max())
    probabilities = (odds / odds.sum()).astype(np.float32)
    for right in range(6):
        found = Prediction(probabilities).margin(right)
        assert found.kind is MarginKind.EXACT
        assert found.value == pytest.approx(reference.attack_margin(logits, right), abs=1e-5)
        assert str(found) == f"{found.value:.2f}"
        assert (found.value > 0) == (int(np.argmax(logits)) != right)


@pytest.mark.parametrize(("gap", "kind"), [(80.0, "exact"), (95.0, "at least"), (200.0, "at least"), (1e4, "at least")])
def test_a_probability_that_32_bits_do_not_hold_gives_a_bound(gap, kind):
    """Below 1.2e-38 digits are lost, and below 1e-45 there is only 0."""
    logits = np.array([gap, 0.0, -3.0])
    odds = np.exp(logits - gap)
    probabilities = (odds / odds.sum()).astype(np.float32)
    found = Prediction(probabilities).margin(1)
    assert found.kind == kind
    assert found.value == pytest.approx(min(gap, 87.34), abs=0.01)
    assert str(found) == (f"{found.value:.2f}" if kind == "exact" else f">{found.value:.2f}")
    assert found.reaches(80)
    other = Prediction(probabilities).margin(0)
    assert other.kind == ("exact" if kind == "exact" else "at most")
    assert other.value == pytest.approx(-found.value)
    assert not other.reaches(-1000) or kind == "exact"
    assert not found.reaches(88)


def test_an_examples_margin_is_that_of_its_adversarial_over_the_sources_class():
    source, adversarial = (Prediction(np.array(p, np.float32)) for p in ([0.7, 0.2, 0.1], [0.1, 0.3, 0.6]))
    example = Example("a", "a.png", "b.png", 0, "")
    judged = JudgedExample(example, source, adversarial, Perturbation(1, 0.1, 0.5, 1.0, 0.5), 0.0)
    assert judged.margin.value == pytest.approx(np.log(6))
    still = dataclasses.replace(judged, adversarial=source)
    assert still.margin.value == pytest.approx(np.log(2 / 7)), "negative where the attack failed"
    assert judged.attack_margin == judged.margin
    to_last, to_middle = (
        dataclasses.replace(judged, example=dataclasses.replace(example, target_label=aim)) for aim in (2, 1)
    )
    assert to_last.attack_margin.value == pytest.approx(np.log(2)), "over the largest other class, the source's or not"
    assert to_middle.attack_margin.value == pytest.approx(-np.log(2))
    far = Prediction(np.array([1.0, 0.0, 0.0], np.float32)).margin(1)
    assert (far.kind, far.reversed.kind) == ("at least", "at most")
    assert far.reversed.reversed == far
