"""The normal images as one table: read and judged once, and never a stale one."""

import dataclasses
import os
import shutil
import time

import numpy as np
import pytest
import reference

from aevis_dash import reading, watching
from aevis_dash.config import ScoreParameters
from aevis_dash.core import adversarial_score
from aevis_dash.domain import AevisError
from aevis_dash.images import write_image
from aevis_dash.reading import Digests
from aevis_dash.settings import write_settings
from aevis_dash.workbench import open_workbench
from aevis_dash.workspace import Workspace


@pytest.fixture
def many(world, monkeypatch):
    """A world whose images count as many, in folders that have been at rest for a minute."""
    monkeypatch.setattr(watching, "FEW", 10)
    monkeypatch.setattr(reading, "SETTLED", -1e9)
    past = time.time() - 60
    for folder in ("images", "adversarial", "parts", "."):
        os.utime(world / folder, (past, past))
        for path in (world / folder).iterdir():
            os.utime(path, (past, past))
    return world


@pytest.fixture
def judged_images(monkeypatch):
    """How many images the network judged."""
    counted = []
    judge = adversarial_score.judge

    def counting(classifier, images):
        counted.append(len(images))
        return judge(classifier, images)

    monkeypatch.setattr(adversarial_score, "judge", counting)
    return counted


@pytest.fixture
def looked(monkeypatch):
    """The files that were looked at."""
    seen, of = [], Digests.of

    def noting(self, path):
        seen.append(path.name)
        return of(self, path)

    monkeypatch.setattr(Digests, "of", noting)
    return seen


def test_the_table_says_what_judging_each_image_says(world):
    table = world / "images.csv"
    header, first, *rows = table.read_text().splitlines(True)
    name, label = first.rsplit(",", 1)
    table.write_text("".join([header, f"{name},{int(label) + 1}\n", *rows]))
    bench = open_workbench(world)
    references, files = bench.judging.references(), [entry.file for entry in bench.workspace.images]
    judged = bench.judging.judge(files)
    np.testing.assert_array_equal(references.judgements.predicted, [j.prediction.label for j in judged])
    np.testing.assert_array_equal(references.judgements.confidence, [j.prediction.confidence for j in judged])
    np.testing.assert_array_equal(references.judgements.features, np.stack([j.features for j in judged]))
    right = [e.label in (None, j.prediction.label) for e, j in zip(bench.workspace.images, judged, strict=True)]
    assert list(bench.judging.clean().files) == [file for file, good in zip(files, right, strict=True) if good]
    assert not all(right)
    assert any(right)


def test_a_score_is_that_of_the_formula_over_the_other_clean_images_of_the_class(drawn_world):
    """-log of the mean of exp(-d^2 / sigma^2), sigma the median distance within a class."""
    bench = open_workbench(drawn_world)
    entries = bench.workspace.images
    judged = dict(zip([e.file for e in entries], bench.judging.judge([e.file for e in entries]), strict=True))
    clean = [e.file for e in entries if e.label in (None, judged[e.file].prediction.label)]
    by_class = {}
    for file in clean:
        by_class.setdefault(judged[file].prediction.label, []).append(judged[file].features.astype(float))
    within = [
        np.linalg.norm(a - b) for members in by_class.values() for i, a in enumerate(members) for b in members[:i]
    ]
    sigma = np.median(within)
    for found in bench.judging.judged_examples()[:12]:
        (own,) = bench.judging.judge([found.example.adversarial])
        alike = [f for f in clean if judged[f].prediction.label == own.prediction.label and f != found.example.source]
        density = [np.exp(-(np.linalg.norm(judged[f].features - own.features) ** 2) / sigma**2) for f in alike]
        assert found.score == pytest.approx(-np.log(np.mean(density)), rel=1e-6)


def test_a_score_of_the_direction_is_that_of_unit_vectors_with_their_own_sigma(world):
    settings = Workspace(world).settings
    by_features = open_workbench(world).judging.judged_examples()
    write_settings(world, dataclasses.replace(settings, score=ScoreParameters("direction")))
    bench = open_workbench(world)
    judged = bench.judging.judged_examples()
    files = [e.file for e in bench.workspace.images]
    entries = dict(zip(files, bench.judging.judge(files), strict=True))
    unit = {file: j.features.astype(float) / np.linalg.norm(j.features.astype(float)) for file, j in entries.items()}
    clean = [e.file for e in bench.workspace.images if e.label in (None, entries[e.file].prediction.label)]
    label = {file: entries[file].prediction.label for file in clean}
    pairs = [(a, b) for i, a in enumerate(clean) for b in clean[:i] if label[a] == label[b]]
    sigma = np.median([np.linalg.norm(unit[a] - unit[b]) for a, b in pairs])
    for found in judged[:12]:
        (own,) = bench.judging.judge([found.example.adversarial])
        h = own.features.astype(float) / np.linalg.norm(own.features.astype(float))
        alike = [f for f in clean if label[f] == own.prediction.label and f != found.example.source]
        density = np.mean([np.exp(-(np.linalg.norm(unit[f] - h) ** 2) / sigma**2) for f in alike])
        assert found.score == pytest.approx(-np.log(density), rel=1e-6)
    other = bench.judging.scored_by(judged, "features")
    assert [e.score for e in other] == [e.score for e in by_features], "both are at hand whatever the workspace says"
    assert [e.score for e in bench.judging.scored_by(other, "direction")] == [e.score for e in judged]
    examples = [e.example for e in judged]
    assert bench.judging.source_scores(examples, "features") == open_workbench_scores(world, settings, examples)


def open_workbench_scores(world, settings, examples):
    """The scores of the sources in the workspace with other settings."""
    write_settings(world, settings)
    return open_workbench(world).judging.source_scores(examples)


@pytest.mark.parametrize("by", ["features", "direction"])
def test_the_auroc_of_a_score_is_that_of_the_examples_beside_their_sources(drawn_world, by):
    bench = open_workbench(drawn_world)
    fooled = [e for e in bench.judging.scored_by(bench.judging.judged_examples(), by) if e.misclassified]
    found = bench.judging.separation(fooled, by)
    sources = bench.judging.source_scores([e.example for e in fooled], by)
    assert found.auroc == pytest.approx(reference.auroc(sources, [e.score for e in fooled]))
    assert found.low <= found.auroc <= found.high
    assert found.n == len(fooled)


def test_neither_clicks_nor_a_restart_look_at_every_image_again(many, judged_images, looked):
    bench = open_workbench(many)
    before, fooled = bench.judging.judged_examples(), bench.workspace.settings.opens_on
    bench.judging.source_scores([j.example for j in before])
    bench.datapaths.plan(bench.workspace.example(fooled))
    looked.clear()
    judged_images.clear()
    assert bench.judging.judged_examples() == before
    bench.judging.source_scores([j.example for j in before])
    bench.datapaths.plan(bench.workspace.example(fooled))
    assert len(looked) < 10, f"a click looked at {looked}"

    again = open_workbench(many)
    read, reading = [], Digests.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digests, "read", lambda self, path: read.append(path.name) or reading(self, path))
        references = again.judging.references()
    assert not [name for name in read if name.endswith(".png")]
    assert judged_images == []
    np.testing.assert_array_equal(references.judgements.predicted, bench.judging.references().judgements.predicted)


@pytest.mark.parametrize("change", ["image", "row", "added"])
def test_only_what_changed_is_judged_and_all_follows(many, judged_images, change):
    bench, other = open_workbench(many), open_workbench(many)
    before = bench.judging.references()
    judged_images.clear()
    table, first = many / "images.csv", bench.workspace.images[0].file
    if change == "image":
        write_image(many / "images" / first, np.full((64, 64, 3), 200, np.uint8))
    elif change == "row":
        table.write_text("".join(line for line in table.read_text().splitlines(True) if not line.startswith(first)))
    else:
        write_image(many / "images" / "new.png", np.full((64, 64, 3), 200, np.uint8))
        table.write_text(table.read_text() + "new.png,0\n")
    after = bench.judging.references()
    assert judged_images == ([] if change == "row" else [1])
    files = [entry.file for entry in bench.workspace.images]
    assert len(after.judgements.predicted) == len(files)
    np.testing.assert_array_equal(after.judgements.features, np.stack([j.features for j in other.judging.judge(files)]))
    assert before.listed is not after.listed


def test_scores_and_examples_follow_a_changed_adversarial_and_a_changed_table(many):
    bench = open_workbench(many)
    before = {j.example.id: j for j in bench.judging.judged_examples()}
    example = next(j.example for j in before.values() if j.misclassified)
    shutil.copy(many / "images" / example.source, many / "adversarial" / "copy.png")
    os.replace(many / "adversarial" / "copy.png", many / example.adversarial)
    after = {j.example.id: j for j in bench.judging.judged_examples()}
    assert before[example.id].misclassified
    assert not after[example.id].misclassified
    assert after[example.id].score == pytest.approx(bench.judging.source_scores([example])[0])

    table = many / "images.csv"
    rows = table.read_text().splitlines(True)
    table.write_text("".join(row for i, row in enumerate(rows) if i % 2 == 0 or i == 0))
    fewer = bench.judging.judged_examples()
    assert [j.score for j in fewer] != [j.score for j in after.values()]


def test_an_image_that_was_rewritten_unnoticed_is_refused_once_and_then_judged_anew(many):
    """In place, so that its folder's time stays: the list still has its old digest."""
    bench = open_workbench(many)
    example = bench.workspace.example(bench.workspace.settings.opens_on)
    plan = bench.datapaths.plan(example)
    changed = many / "images" / plan.candidates[0]
    changed.write_bytes((many / "images" / plan.nulls[0]).read_bytes())
    with pytest.raises(AevisError, match="was changed while it was worked with"):
        bench.datapaths.extract(example.id)
    assert plan.candidates[0] not in bench.datapaths.plan(example).candidates


def test_a_fork_server_takes_over_only_what_is_complete(many, judged_images):
    bench = open_workbench(many)
    bench.judging.recall()
    assert judged_images == [], "judging is left to the job"
    bench.judging.references()
    judged_images.clear()
    other = open_workbench(many)
    other.judging.recall()
    write_image(many / "images" / bench.workspace.images[0].file, np.full((64, 64, 3), 200, np.uint8))
    third = open_workbench(many)
    third.judging.recall()
    assert judged_images == []


@pytest.mark.parametrize("rows", ["moved", "cut"])
def test_a_table_that_changes_while_images_are_classified_gives_nobody_anothers_label(world, rows):
    """The labels of sources are looked up in the list of images that the whole answer is about."""
    examples = world / "examples.csv"
    lines = [line.split(",") for line in examples.read_text().splitlines()]
    place = lines[0].index("true_label")
    examples.write_text(
        "\n".join(",".join([*line[:place], line[place] * (i == 0), *line[place + 1 :]]) for i, line in enumerate(lines))
        + "\n"
    )
    wanted = [(j.example.id, j.example.true_label, j.outcome) for j in open_workbench(world).judging.judged_examples()]
    assert len({label for _, label, _ in wanted}) > 1
    shutil.rmtree(world / "cache")
    table, bench = world / "images.csv", open_workbench(world)
    head, *listed = table.read_text().splitlines()

    def change(_share, _what):
        kept = [*listed[1:], listed[0]] if rows == "moved" else listed[:5]
        table.write_text("\n".join([head, *kept]) + "\n")

    found = [(j.example.id, j.example.true_label, j.outcome) for j in bench.judging.judged_examples(change)]
    assert found == wanted
