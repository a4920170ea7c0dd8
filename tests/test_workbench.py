"""The use cases: nothing is computed twice, nothing finished is lost, and the images compared are the right ones."""

import contextlib
import dataclasses
import shutil
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest
import torch
from conftest import shrink
from PIL import Image

from aevis_dash.config import AttackParameters, ExtractionParameters
from aevis_dash.core import attack, datapath, loading, selftest
from aevis_dash.core.execution import Network
from aevis_dash.core.selftest import SelfTest
from aevis_dash.domain import (
    REPLACEMENTS,
    AevisError,
    AreaOfInterest,
    Example,
    FeatureMap,
    Intervention,
    Role,
    Way,
    further,
    in_order,
    role_of,
    short_of,
)
from aevis_dash.images import write_image
from aevis_dash.labels import ImageEntry
from aevis_dash.settings import write_settings
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench, open_workbench
from aevis_dash.workbench.triplet import candidates_of


@pytest.fixture
def bench(world):
    return open_workbench(world)


@pytest.fixture
def fooled(bench):
    """The id of a misclassified example whose adversarial class has clean images."""
    return bench.workspace.settings.opens_on


@pytest.fixture
def runs(monkeypatch):
    """How many times a network ran, in whole or in part."""
    counted = []
    for name in ("logits", "record", "with_value", "activation", "part"):
        original = getattr(Network, name)

        def counting(self, *args, _original=original, _name=name, **options):
            counted.append(_name)
            return _original(self, *args, **options)

        monkeypatch.setattr(Network, name, counting)
    return counted


def classifier_ready(bench):
    return bench.classifier


# Nothing twice


def test_the_second_time_nothing_is_computed(world, fooled, runs):
    shutil.rmtree(world / "cache")

    def everything():
        bench = open_workbench(world)
        classifier_ready(bench)
        runs.clear()
        judged = bench.judging.judged_examples()
        triplet = bench.datapaths.extract(fooled)
        river = bench.datapaths.distances(triplet, "activations")
        area = AreaOfInterest(20, 0, 0, 2, 2)
        traced = bench.contributions.contribute(triplet, FeatureMap(20, 1), area, 19, Way())
        maps = bench.maps.activation_maps(triplet.image(Role.SOURCE), 3)
        return [j.score for j in judged], triplet.source.gates, river.d2, traced.values, maps, bench.learning.features()

    first = everything()
    assert {"logits", "record", "part"} <= set(runs)
    second = everything()
    assert runs == []
    for a, b in zip(first[:-1], second[:-1], strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first[-1].image, second[-1].image)


def test_a_model_is_tested_once_and_its_doubts_stay(world, monkeypatch):
    tests, doubts = [], SelfTest(("It draws numbers.",))
    monkeypatch.setattr(selftest, "examine", lambda model, classifier: tests.append(classifier) or doubts)
    shutil.rmtree(world / "cache")
    assert open_workbench(world).warnings == doubts.warnings
    again = open_workbench(world)
    assert again.warnings == doubts.warnings
    assert [found.fingerprint for found in tests] == [again.classifier.fingerprint], "the second time it was read"


def test_a_model_that_is_random_is_refused_whatever_is_asked(world, monkeypatch):
    load = loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda spec: noisy(load(spec)))
    name = open_workbench(world).workspace.images[0].file
    for ask in (
        lambda b: b.judging.predict([name]),
        lambda b: b.layers,
        lambda b: b.warnings,
        lambda b: b.judging.judged_examples(),
    ):
        bench = open_workbench(world)
        for _ in range(2):
            with pytest.raises(AevisError, match=r"from call to call in evaluation.* first at .*\(randn_like\)"):
                ask(bench)


def noisy(loaded):
    return replace(loaded, model=torch.nn.Sequential(Noise(), loaded.model).eval())


class Noise(torch.nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


def test_a_deleted_result_is_computed_again_alone(bench, fooled, runs):
    shutil.rmtree(bench.workspace.cache / "datapath")
    before = bench.datapaths.extract(fooled)
    path, *others = sorted((bench.workspace.cache / "datapath").iterdir())
    times = [other.stat().st_mtime_ns for other in others]
    path.unlink()
    assert bench.datapaths.triplet(fooled) is None
    runs.clear()
    again = bench.datapaths.extract(fooled)
    assert runs
    assert path.exists()
    assert [other.stat().st_mtime_ns for other in others] == times
    for old, new in zip(before.paths, again.paths, strict=True):
        np.testing.assert_allclose(old.gates, new.gates, atol=1e-4)


def test_a_changed_image_is_judged_anew(bench, runs):
    name = bench.workspace.images[0].file
    (before,) = bench.judging.predict([name])
    runs.clear()
    write_image(bench.workspace.path(name), np.full((64, 65, 3), 200, np.uint8))
    (after,) = bench.judging.predict([name])
    assert runs
    assert not np.allclose(before.probabilities, after.probabilities)


def test_other_parameters_are_another_extraction(world, bench, fooled):
    bench.datapaths.extract(fooled)
    settings = bench.workspace.settings
    for change in ({"samples": 5}, {"method": "gradient"}, {"share": 0.05}):
        other = dataclasses.replace(settings.extraction, **change)
        assert bench.datapaths.triplet(fooled, wanted=other) is None
        bench.workspace.settings = dataclasses.replace(settings, extraction=other)
        assert bench.datapaths.triplet(fooled) is None
        assert bench.datapaths.triplet(fooled, wanted=settings.extraction) is not None
    bench.workspace.settings = dataclasses.replace(
        settings, extraction=dataclasses.replace(settings.extraction, batch=2, null_targets=0, sparsity=9.0)
    )
    assert bench.datapaths.triplet(fooled) is not None, "neither how it is computed nor what other methods use matters"


# Nothing lost


def test_what_was_finished_before_an_interrupt_is_not_done_again(bench, fooled, solved):
    settings = open_workbench(bench.workspace.root).workspace.settings
    one_at_a_time = dataclasses.replace(settings.extraction, batch=1)
    bench.workspace.settings = dataclasses.replace(settings, extraction=one_at_a_time)
    shutil.rmtree(bench.workspace.cache / "datapath")
    total = len(bench.datapaths.plan(bench.workspace.example(fooled)).candidates) + 3

    found = []

    def interrupt(_share, what):
        found.extend([what] * what.endswith(": datapath found"))
        if len(found) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.datapaths.extract(fooled, progress=interrupt)
    kept = {path: path.stat().st_mtime_ns for path in (bench.workspace.cache / "datapath").iterdir()}
    assert (len(kept), total) == (3, 5)
    solved.clear()
    triplet = bench.datapaths.extract(fooled)
    assert sum(images for images, _, _ in solved) == total - len(kept)
    assert len(triplet.paths) == total
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_every_batch_of_datapaths_is_solved_in_a_turn_and_what_is_stored_in_none(bench, fooled, solved):
    settings = bench.workspace.settings
    few = dataclasses.replace(settings.extraction, batch=2, null_targets=4, seed=settings.extraction.seed + 1)
    turns = []

    @contextlib.contextmanager
    def turn():
        begun = len(solved)
        yield
        turns.append(sum(images for images, _, _ in solved[begun:]))

    bench.datapaths.extract(fooled, wanted=few, nulls=False)
    bench.datapaths.extract(fooled, wanted=few, turn=turn)
    assert turns == [2, 2], "other jobs come in between two batches of null targets"
    bench.datapaths.extract(fooled, wanted=few, turn=turn)
    assert len(turns) == 2


def test_an_interrupted_attack_keeps_what_was_attacked(bench):
    entries = bench.workspace.images[:40]
    parameters = dataclasses.replace(bench.workspace.settings.attack, steps=3)
    before = len(bench.workspace.examples())

    def interrupt(share, _what):
        if share > 0.9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.attacks.attack(entries, parameters=parameters, progress=interrupt)
    kept = bench.workspace.examples()[before:]
    assert [e.source for e in kept] == [e.file for e in entries[:32]]
    bench.workspace.read([e.adversarial for e in kept])
    made = bench.attacks.attack(entries, parameters=parameters)
    assert [e.source for e in made] == [e.file for e in entries]
    assert len(bench.workspace.examples()) == before + len(entries)


def test_an_attack_that_was_made_is_not_made_again(bench, runs):
    entries = bench.workspace.images
    classifier_ready(bench)
    runs.clear()
    made = bench.attacks.attack(entries)
    assert runs == []
    assert list(made) == list(bench.workspace.examples())


# Attacks


def test_the_nearest_class_is_the_likeliest_wrong_one_with_images(bench):
    entry = bench.workspace.images[0]
    (prediction,) = bench.judging.predict([entry.file])
    (made,) = bench.attacks.attack([entry], "nearest")
    assert made.target_label == prediction.runner_up
    gone = bench.class_names[prediction.runner_up]
    kept = tuple(e for e in bench.workspace.images if not e.file.startswith(gone))
    _keep_images(bench, kept)
    (other,) = bench.attacks.attack([entry], "nearest")
    assert other.target_label == int(np.argsort(prediction.probabilities)[-3])
    assert f"towards {bench.class_names[other.target_label]}" in other.attack


def test_attacks_of_one_image_are_told_apart(bench):
    entry, chosen = bench.workspace.images[0], bench.workspace.settings.attack
    weak, fast = dataclasses.replace(chosen, epsilon=1.5), dataclasses.replace(chosen, steps=2)
    made = [bench.attacks.attack([entry], target, p)[0] for target in (None, 3, 4) for p in (chosen, weak, fast)]
    assert len({e.id for e in made}) == len({e.adversarial for e in made}) == len({e.attack for e in made}) == 9
    clean = bench.workspace.read([entry.file])[0].astype(int)
    assert np.abs(bench.workspace.read([made[1].adversarial])[0] - clean).max() == 1
    assert 5 <= np.abs(bench.workspace.read([made[0].adversarial])[0] - clean).max() <= 8


def test_the_ids_of_plain_attacks_are_those_that_they_have_always_had(bench):
    """Examples of workspaces that were made before an attack could stop are found again."""
    entry, made = bench.workspace.images[0], bench.workspace.examples()[0]
    parts = {"image": bench.workspace.image_hash(entry.file), "file": entry.file}
    key = key_of(
        "attack",
        4,
        model=bench.classifier.fingerprint,
        **parts,
        parameters={"epsilon": 8.0, "steps": 10, "momentum": 1.0},
    )
    assert made.id == f"{PurePosixPath(entry.file).stem}-mifgsm8x10-{key.removeprefix('attack-')[:6]}"
    assert made.attack == "MI-FGSM 8/255, 10 steps"
    unused = dataclasses.replace(bench.workspace.settings.attack, margin=7.0, seed=3)
    assert bench.attacks.attack([entry], parameters=unused) == [made], "what it does not use makes no other attack"


def test_every_parameter_that_an_attack_uses_makes_another_example(bench):
    entry, chosen = bench.workspace.images[0], AttackParameters(epsilon=2, steps=2, stop=True)
    changes = [{}, {"margin": 2.0}, {"stop": False}, {"attack": "pgd"}, {"attack": "pgd", "seed": 1}, {"step": 0.5}]
    made = [bench.attacks.attack([entry], parameters=replace(chosen, **change))[0] for change in changes]
    made += [bench.attacks.attack([entry], parameters=chosen, epsilons=series)[0] for series in ((1, 2), (0.5, 1, 2))]
    assert len({e.id for e in made}) == len({e.adversarial for e in made}) == len(made)
    assert len({e.attack for e in made[:6]}) >= 5, "a seed is no word"
    assert "pgd2x2m1-" in made[3].id
    assert "mifgsm0.5to2x2m1-" in made[7].id


def test_fgsm_pgd_in_l2_and_restarts_are_named_and_told_apart(bench):
    entry = bench.workspace.images[0]
    plain = AttackParameters(epsilon=2, attack="fgsm")
    l2 = AttackParameters(epsilon=0.5, steps=2, attack="pgd", norm="l2")
    wanted = [plain, l2, replace(l2, restarts=3), replace(l2, step=0.1), replace(l2, norm="linf"), replace(l2, seed=1)]
    made = [bench.attacks.attack([entry], parameters=p)[0] for p in wanted]
    assert len({e.id for e in made}) == len(made)
    assert [e.attack for e in made] == [
        "FGSM 2/255",
        "PGD L2 0.5, 2 steps",
        "PGD L2 0.5, 2 steps, best of 3 starts",
        "PGD L2 0.5, 2 steps of 0.1",
        "PGD 1/255 (epsilon 0.5 before rounding), 2 steps",
        "PGD L2 0.5, 2 steps",
    ]
    assert [e.epsilon for e in made] == [2, 127.5, 127.5, 127.5, 1, 127.5], "one pixel may change by all"
    stem = PurePosixPath(entry.file).stem
    assert [e.id.removeprefix(f"{stem}-").rpartition("-")[0] for e in made[:2]] == ["fgsm2", "pgdl2-0.5x2"]
    source, *images = bench.workspace.read([entry.file, *(e.adversarial for e in made)]).astype(int)
    for image in (images[1], images[2], images[3], images[5]):
        assert 0.4 < np.sqrt((((image - source) / 255) ** 2).sum()) <= 0.5
    unused = replace(plain, steps=3, step=1.0, momentum=0.0, seed=4, norm="l2", restarts=9, margin=3.0)
    assert bench.attacks.attack([entry], parameters=unused) == [made[0]], "what it does not use makes no other attack"
    aimed = [bench.attacks.attack([entry], 3, p)[0] for p in wanted[:2]]
    assert [e.attack for e in aimed] == [f"{e.attack}, towards {bench.class_names[3]}" for e in made[:2]]


def test_corruptions_and_patches_are_named_and_told_apart(bench):
    entry = bench.workspace.images[0]
    noise, own = AttackParameters(attack="noise"), AttackParameters(attack="patch", steps=2)
    wanted = [noise, replace(noise, severity=1), replace(noise, seed=1), replace(noise, attack="jpeg"), own]
    wanted += [replace(own, patch_top=3), replace(own, patch_size=10), replace(own, seed=1), replace(own, restarts=2)]
    made = [bench.attacks.attack([entry], parameters=p)[0] for p in wanted]
    assert len({e.id for e in made}) == len({e.adversarial for e in made}) == len(made)
    assert [e.attack for e in made[:7]] == [
        "Gaussian noise of severity 3",
        "Gaussian noise of severity 1",
        "Gaussian noise of severity 3",
        "JPEG of severity 3",
        "patch of a quarter of the side, 0 rows down, 0 columns right, 2 steps",
        "patch of a quarter of the side, 3 rows down, 0 columns right, 2 steps",
        "patch of 10 x 10 pixels, 0 rows down, 0 columns right, 2 steps",
    ]
    assert {(e.epsilon, e.allow_large) for e in made} == {(255, True)}
    stem = PurePosixPath(entry.file).stem
    names = [made[i].id.removeprefix(f"{stem}-").rpartition("-")[0] for i in (0, 3, 4, 6)]
    assert names == ["noise3", "jpeg3", "patchx2", "patch10x2"]
    with pytest.raises(AevisError, match="JPEG aims at no class"):
        bench.attacks.attack([entry], 3, wanted[3])


def test_the_smallest_epsilon_at_which_the_stored_image_has_the_margin_is_kept(bench, runs):
    entries, series = bench.workspace.images[:16], (0.5, 1.0, 2.0, 4.0)
    p = replace(bench.workspace.settings.attack, stop=True, margin=0.5)
    before = len(bench.workspace.examples())
    made = bench.attacks.attack(entries, parameters=p, epsilons=series)
    assert len(bench.workspace.examples()) == before + len(entries), "only one result of each image is kept"
    judged = bench.judging.judged_examples(among=made)
    clean = bench.workspace.read([e.file for e in entries])
    left = list(range(len(entries)))
    for epsilon in series:
        found = attack.perturb(bench.classifier, clean[left], replace(p, epsilon=epsilon))
        reached = [place for place, each in zip(left, found, strict=True) if each.reaches(0.5)]
        assert [i for i, e in enumerate(made) if f"{max(epsilon, 1):g}/255" in e.attack and i in reached] == reached
        for place in reached:
            example, seen = made[place], judged[place]
            assert example.epsilon == max(epsilon, 1)
            assert ("(epsilon 0.5 before rounding)" in example.attack) == (epsilon < 1)
            assert "smallest with margin 0.5" in example.attack
            assert seen.misclassified
            assert seen.margin.value >= 0.5 - 1e-4
            assert seen.perturbation.linf <= max(epsilon, 1)
            (result,) = [each for at, each in zip(left, found, strict=True) if at == place]
            assert ("stopped early" in example.attack) == (result.steps < p.steps)
        left = [place for place in left if place not in reached]
    assert 0 < len(left) < len(entries)
    for place in left:
        assert "MI-FGSM 4/255, 10 steps, margin 0.5 not reached by any of 4 epsilons" in made[place].attack
        assert judged[place].margin.value < 0.5 + 1e-4
    runs.clear()
    assert bench.attacks.attack(entries, parameters=p, epsilons=reversed(series)) == made
    assert runs == []


def test_the_smallest_epsilon_is_that_of_an_attack_that_stops(bench):
    with pytest.raises(AevisError, match="smallest epsilon is that of an attack that stops"):
        bench.attacks.attack(bench.workspace.images[:1], epsilons=(1.0, 2.0))


def test_images_of_one_name_in_two_folders_are_two_examples(bench):
    root = bench.workspace.root / "images"
    entries = []
    for i, folder in enumerate("ab"):
        write_image(root / folder / "x.png", np.full((64, 64, 3), 90 + 60 * i, np.uint8))
        entries.append(dataclasses.replace(bench.workspace.images[0], file=f"{folder}/x.png", label=None))
    made = bench.attacks.attack(entries)
    assert made[0].adversarial != made[1].adversarial


# Which images are compared


def test_a_score_is_never_taken_against_the_images_own_source(bench):
    judged = [j for j in bench.judging.judged_examples() if j.misclassified]
    assert judged
    chosen = judged[0]
    turned = chosen.adversarial.label
    alone = dataclasses.replace(chosen.example, source=_one_of(bench, turned))
    others = tuple(e for e in bench.workspace.images if e.label != turned or e.file == alone.source)
    _keep_images(bench, others)
    bench.workspace.examples = lambda: (alone,)
    assert np.isnan(bench.judging.judged_examples()[0].score)
    assert np.isnan(bench.judging.source_scores([alone])[0])


def test_a_score_is_taken_against_rightly_classified_images_only(bench):
    wrong = "fish-05.png"
    write_image(bench.workspace.root / "images" / wrong, bench.workspace.read([_of(bench, "monkey")])[0])
    chosen = tuple(e for e in bench.workspace.examples() if e.source != wrong)
    bench.workspace.examples = lambda: chosen
    with_wrong = [j.score for j in bench.judging.judged_examples()]
    _keep_images(bench, tuple(e for e in bench.workspace.images if e.file != wrong))
    np.testing.assert_array_equal(with_wrong, [j.score for j in bench.judging.judged_examples()])


def _one_of(bench, label):
    return next(e.file for e in bench.workspace.images if e.label == label)


def test_candidates_are_clean_images_of_the_adversarial_class_surest_first(bench, fooled):
    shrink(bench.workspace, candidates=50, null_targets=50)
    bench = open_workbench(bench.workspace.root)
    wrong = "fish-05.png"
    write_image(bench.workspace.root / "images" / wrong, bench.workspace.read([_of(bench, "monkey")])[0])
    example = bench.workspace.example(fooled)
    plan = bench.datapaths.plan(example)
    judged = dict(zip(plan.candidates, bench.judging.predict(plan.candidates), strict=True))
    labels = {e.file: e.label for e in bench.workspace.images}
    assert plan.adversarial_label == bench.judging.predict([example.adversarial])[0].label
    assert {p.label for p in judged.values()} == {plan.adversarial_label}
    assert all(labels[file] == plan.adversarial_label for file in plan.candidates)
    confidences = [p.confidence for p in judged.values()]
    assert confidences == sorted(confidences, reverse=True)
    source = bench.judging.predict([example.source])[0].label
    nulls = {labels[file] for file in plan.nulls}
    assert nulls == set(range(10)) - {source, plan.adversarial_label}
    assert wrong not in (*plan.candidates, *plan.nulls)
    assert len(set(plan.nulls)) == len(plan.nulls)


def _of(bench, name):
    return next(e.file for e in bench.workspace.images if e.file.startswith(name))


def test_the_source_is_never_its_own_candidate(bench):
    """An example whose source is taken for the class of its adversarial's candidates."""
    panda, monkey = _of(bench, "panda"), _of(bench, "monkey")
    swapped = Example("swapped", panda, f"../images/{monkey}", None, "by hand", allow_large=True)
    plan = bench.datapaths.plan(dataclasses.replace(swapped, adversarial=monkey))
    clean, label = bench.judging.clean(), plan.adversarial_label
    assert monkey in candidates_of(clean, swapped, label)
    assert monkey not in candidates_of(clean, dataclasses.replace(swapped, source=monkey), label)


def test_nulls_depend_on_the_seed_and_the_example_only(bench, fooled):
    shrink(bench.workspace, null_targets=5)
    first, again = (open_workbench(bench.workspace.root) for _ in range(2))
    examples = [e for e in bench.workspace.examples() if e.id == fooled]
    assert first.datapaths.plan(examples[0]).nulls == again.datapaths.plan(examples[0]).nulls
    settings = again.workspace.settings
    other = dataclasses.replace(settings.extraction, seed=1)
    again.workspace.settings = dataclasses.replace(settings, extraction=other)
    assert first.datapaths.plan(examples[0]).nulls != again.datapaths.plan(examples[0]).nulls
    renamed = dataclasses.replace(examples[0], id="another")
    assert first.datapaths.plan(examples[0]).nulls != first.datapaths.plan(renamed).nulls


def test_compared_datapaths_have_keys_and_no_more_than_eight(bench, fooled):
    triplet = bench.datapaths.extract(fooled)
    names = [triplet.plan.example.source, *triplet.plan.candidates, *triplet.plan.nulls]
    assert triplet.members() == {role: triplet.image(role) for role in Role}
    every = triplet.members(names)
    targets, nulls = len(triplet.plan.candidates), len(triplet.plan.nulls)
    keys = [*(further(i) for i in range(2, targets + 1)), *(further(targets + i, other=i) for i in range(1, nulls + 1))]
    assert list(every) == ["source", "adversarial", "target", *keys]
    assert [short_of(key) for key in triplet.members(triplet.plan.nulls[:1])] == ["adv", "other"]
    assert sorted(every.values()) == sorted({triplet.image(Role.ADVERSARIAL), *names})
    assert every["target"] == triplet.image(Role.TARGET)
    assert list(triplet.members(names[:1])) == ["source", "adversarial"]
    assert triplet.path_of(every["target 2"]).label == bench.judging.predict([every["target 2"]])[0].label
    named = ["source", further(2), further(3, other=1), further(4, other=2)]
    assert named[2:] == ["target 3 other", "target 4 other 2"]
    assert in_order(reversed(named)) == tuple(named)
    assert [(role_of(key), short_of(key)) for key in named] == [
        (Role.SOURCE, "src"),
        (Role.TARGET, "tar 2"),
        (Role.TARGET, "other"),
        (Role.TARGET, "other 2"),
    ]
    with pytest.raises(AevisError, match=r"'panda\.png' has no datapath beside"):
        triplet.members(["panda.png"])
    many = replace(triplet, plan=replace(triplet.plan, candidates=tuple("abcdefgh")))
    with pytest.raises(AevisError, match="9 datapaths are too many"):
        many.members("abcdefgh")


def test_the_triplet_holds_the_given_paths_and_the_chosen_target(bench, fooled):
    triplet = bench.datapaths.extract(fooled)
    plan = triplet.plan
    assert triplet.path(Role.ADVERSARIAL).label == plan.adversarial_label
    assert triplet.path(Role.TARGET).label == plan.adversarial_label
    assert triplet.path(Role.SOURCE).label == bench.judging.predict([plan.example.source])[0].label
    assert triplet.target == int(np.argmax(triplet.similarity))
    other = plan.candidates[1 - triplet.target]
    chosen = bench.datapaths.extract(fooled, other)
    assert chosen.image(Role.TARGET) == other
    assert chosen.path(Role.TARGET) is chosen.candidates[1 - triplet.target]
    with pytest.raises(
        AevisError, match=r"'nope\.png' is no candidate target of .*Choose one of: " + plan.candidates[0]
    ):
        bench.datapaths.extract(fooled, "nope.png")


# Methods


@pytest.fixture
def solved(monkeypatch):
    """How many images each call of the extraction was given, how many datapaths to hold near, and the foils."""
    calls = []
    original = datapath.extract

    def counting(classifier, images, given, parameters, progress, foils):
        calls.append((len(images), len(given), [foil.label for foil in foils]))
        return original(classifier, images, given, parameters, progress, foils)

    monkeypatch.setattr(datapath, "extract", counting)
    return calls


def test_adv_and_targets_are_explained_against_src_and_src_against_adv(bench, fooled, solved):
    quick = dataclasses.replace(bench.workspace.settings.extraction, method="gradient", share=0.05)
    triplet = bench.datapaths.extract(fooled, wanted=quick)
    plan = triplet.plan
    adv, src = plan.adversarial_label, plan.source_label
    assert solved == [(1, 0, [src]), (1, 1, [adv]), (2, 2, [src] * 2), (1, 2, [src])]
    assert [path.rival for path in triplet.paths] == [src, adv, src, src, src]
    assert [path.label for path in triplet.paths[:3]] == [adv, src, adv]
    assert {path.method for path in triplet.paths} == {"gradient"}
    solved.clear()
    bench.datapaths.extract(fooled, wanted=quick)
    assert solved == []


def test_the_nulls_come_after_the_others_and_alone(bench, fooled, solved):
    """What a river without its band needs is there first; both parts together are what one extraction gives."""
    quick = dataclasses.replace(bench.workspace.settings.extraction, method="gradient", share=0.05)
    first = bench.datapaths.extract(fooled, wanted=quick, nulls=False)
    assert (len(first.candidates), len(first.nulls), first.pending) == (2, 0, 1)
    stored = bench.datapaths.triplet(fooled, wanted=quick)
    assert (len(stored.paths), stored.pending) == (4, 1)
    assert [call[0] for call in solved] == [1, 1, 2]
    shape = bench.datapaths.distances(stored, "activations").null_share.shape
    assert shape == (0, len(bench.layers))
    whole = bench.datapaths.extract(fooled, wanted=quick)
    assert [call[0] for call in solved] == [1, 1, 2, 1]
    assert (whole.pending, len(whole.nulls)) == (0, 1)
    assert bench.datapaths.triplet(fooled, wanted=quick).pending == 0
    assert bench.datapaths.extract(fooled, wanted=quick, nulls=False).pending == 0, "what is stored is told"


def test_joint_solves_all_together_the_nulls_like_the_candidates(bench, fooled, solved):
    joint = dataclasses.replace(bench.workspace.settings.extraction, method="joint", iterations=3, batch=1)
    before = bench.datapaths.extract(fooled, wanted=joint)
    assert [call[:2] for call in solved] == [(5, 0)]
    plan = before.plan
    keys = bench.datapaths.path_keys(plan, joint)
    next(path for path in (bench.workspace.cache / "datapath").iterdir() if keys[2].endswith(path.stem)).unlink()
    assert bench.datapaths.triplet(fooled, wanted=joint) is None
    solved.clear()
    again = bench.datapaths.extract(fooled, wanted=joint)
    assert [call[:2] for call in solved] == [(5, 0)], "one that is lost is solved with the others again"
    for old, new in zip(before.paths, again.paths, strict=True):
        np.testing.assert_allclose(old.gates, new.gates, atol=1e-4)
    for fewer in ({"candidates": plan.candidates[:1]}, {"nulls": ()}):
        other = bench.datapaths.path_keys(dataclasses.replace(plan, **fewer), joint)
        assert other[0] != keys[0], "solved together, the datapaths depend on one another"


def test_a_set_of_images_has_one_datapath_and_it_is_kept(bench, runs):
    images = [e.file for e in bench.workspace.images if e.label == 0][:3]
    quick = dataclasses.replace(bench.workspace.settings.extraction, method="gradient", share=0.5)
    found = bench.datapaths.extract_set(images, quick)
    assert (found.label, found.rival, found.images, found.method) == (0, -1, 3, "gradient")
    assert 0 <= found.kept <= 3
    assert found.keeps_hard == (found.kept == 3)
    assert 0 < found.core.sum() < len(found.core)
    runs.clear()
    again = bench.datapaths.extract_set(images, quick)
    assert runs == []
    np.testing.assert_array_equal(again.critical, found.critical)
    assert bench.datapaths.extract_set(images, dataclasses.replace(quick, share=0.05)).size < found.size
    with pytest.raises(
        AevisError, match=r"these are predicted as monkey, panda\. Choose images of one predicted class"
    ):
        bench.datapaths.extract_set([_of(bench, "panda"), _of(bench, "monkey")], quick)


def test_an_unknown_method_is_refused(bench, fooled):
    wrong = dataclasses.replace(bench.workspace.settings.extraction, method="guess")
    with pytest.raises(AevisError, match=r"no method 'guess'\. Choose one of: needed, elimination, "):
        bench.datapaths.extract(fooled, wanted=wrong)


# Refusals


def test_a_failed_attack_is_refused_in_words(bench):
    entry = bench.workspace.images[0]
    failed = Example("failed", entry.file, "adversarial/failed.png", entry.label, "none")
    bench.workspace.keep_adversarials([(failed, bench.workspace.read([entry.file])[0])])
    with pytest.raises(AevisError, match=r"attack on panda-00\.png failed: both .*'panda'.*Choose another example"):
        bench.datapaths.extract("failed")
    assert not next(j for j in bench.judging.judged_examples() if j.example.id == "failed").misclassified


def test_a_class_without_clean_images_is_refused_in_words(bench, fooled):
    label = bench.datapaths.plan(bench.workspace.example(fooled)).adversarial_label
    _keep_images(bench, tuple(e for e in bench.workspace.images if e.label != label))
    with pytest.raises(AevisError, match=r"No clean image .*'monkey'.*Add images of 'monkey', or attack with"):
        bench.datapaths.extract(fooled)


def test_an_area_outside_its_layer_is_refused(bench, fooled):
    last = bench.layers.layers[-1]
    assert (last.height, last.width) == (4, 4)
    triplet = bench.datapaths.extract(fooled)
    for corners in [(0, 0, 5, 4), (-1, 0, 2, 2), (2, 2, 2, 3), (3, 0, 1, 2), (0, 0, 4, 5)]:
        with pytest.raises(AevisError, match=rf"outside layer '{last.name}', which has 4 rows and 4 columns"):
            bench.contributions.contribute(
                triplet, FeatureMap(last.index, 0), AreaOfInterest(last.index, *corners), last.index - 1, Way()
            )


def test_a_prediction_is_turned_in_both_directions_and_by_ablation(bench, fooled):
    """Against patching by hand; the second time nothing is computed."""
    layer, example = len(bench.layers) - 1, bench.workspace.example(fooled)
    src, adv = (bench.judging.predict([name])[0] for name in (example.source, example.adversarial))
    images = bench.classifier.inputs(bench.workspace.read([example.source, example.adversarial]))
    own = bench.classifier.network.activation(images, layer).detach().numpy()
    head = {"source": own[0], "adversarial": own[1], "zero": np.zeros_like(own[0])}
    for replacement in ("source", "adversarial", "zero", "mean", "resample"):
        found = bench.flips.verify(fooled, Intervention(layer, None, replacement, 10))
        assert found.turned
        before, wanted = (src, adv) if replacement == "adversarial" else (adv, src)
        assert found.before == before.label
        assert found.wanted == (wanted.label if replacement in ("source", "adversarial") else -1)
        if (donor := head.get(replacement)) is None:
            continue
        receiver = own[0 if replacement == "adversarial" else 1].copy()
        receiver[found.maps] = donor[found.maps]
        tail = bench.classifier.network.part(layer, None)
        state = tail.prepare(bench.classifier.inputs(bench.workspace.read([example.adversarial])))
        with torch.no_grad():
            logits = tail.run(state, torch.from_numpy(receiver)[None])[0].numpy()
        assert logits.argmax() == found.labels[-1] != before.label
    assert bench.flips.verify(fooled, Intervention(layer, (3, 1), randoms=10)).maps.tolist() == [3, 1]
    different = {r: bench.flips.verify(fooled, Intervention(layer, (3, 1), r, 10)).margins[-1] for r in REPLACEMENTS}
    assert len({round(float(v), 4) for v in different.values()}) == 5


def test_what_stands_in_for_a_map_is_part_of_the_question(bench, fooled):
    """Other normal images, another mean: an answer that hung on the old ones is not given again."""
    first = bench.flips.verify(fooled, Intervention(24, (3, 1), "mean", 2))
    _keep_images(bench, bench.workspace.images[::2])
    again = bench.flips.verify(fooled, Intervention(24, (3, 1), "mean", 2))
    assert first.margins[0] == pytest.approx(again.margins[0])
    assert first.margins[-1] != pytest.approx(again.margins[-1])
    taken = {p.label for p in bench.judging.predict([bench.workspace.example(fooled).source])}
    _keep_images(bench, tuple(e for e in bench.workspace.images if e.label in taken))
    for replacement in ("mean", "resample"):
        with pytest.raises(AevisError, match=f"no normal image of a third class to take the {replacement} of"):
            bench.flips.verify(fooled, Intervention(24, (3, 1), replacement))


def test_what_was_verified_is_not_verified_again(bench, fooled, runs):
    first = bench.flips.verify(fooled, Intervention(24, randoms=5))
    classifier_ready(bench)
    runs.clear()
    again = bench.flips.verify(fooled, Intervention(24, randoms=5))
    assert runs == []
    np.testing.assert_array_equal(first.margins, again.margins)
    bench.flips.verify(fooled, Intervention(24, randoms=6))
    assert runs


def test_an_unknown_distance_is_refused(bench, fooled):
    with pytest.raises(AevisError, match=r"no distance 'x'\. Choose one of: "):
        bench.datapaths.distances(bench.datapaths.extract(fooled), "x")
    with pytest.raises(AevisError, match=r"no distance 'x'\. Choose one of: "):
        bench.datapaths.distances_between(bench.datapaths.extract(fooled), (), "x")


def test_by_default_a_datapath_is_what_the_prediction_needs(bench, fooled):
    """Eq. 5 is solved, the hard sets keep their labels, and each map's turning effect stands beside its gate."""
    few = ExtractionParameters(candidates=1, null_targets=0)
    triplet = bench.datapaths.extract(fooled, wanted=few)
    assert {path.method for path in triplet.paths} == {"needed"}
    assert all(path.keeps_hard and not path.unsolved for path in triplet.paths)
    assert all(path.loss < 0.5 * few.sparsity for path in triplet.paths), "half the maps alone would cost that"
    assert bench.flips.turning(fooled).effects.shape == triplet.adversarial.gates.shape


@pytest.mark.parametrize("name", ["activations", "gates", "gates-raw"])
def test_distances_of_the_triplet_are_those_between_its_three(bench, fooled, name):
    triplet, levels = bench.datapaths.extract(fooled), ((0, 1, 2), (5,))
    three, pairs = (
        bench.datapaths.distances(triplet, name, levels),
        bench.datapaths.distances_between(triplet, (), name, levels),
    )
    assert len(pairs) == 3
    np.testing.assert_array_equal(pairs["source", "target"], three.d1)
    np.testing.assert_array_equal(pairs["source", "adversarial"], three.d2)
    np.testing.assert_array_equal(pairs["adversarial", "target"], three.d3)


def test_distances_between_go_through_the_images_that_are_compared(bench, fooled):
    triplet = bench.datapaths.extract(fooled)
    null = triplet.plan.nulls[0]
    pairs = bench.datapaths.distances_between(triplet, [triplet.plan.example.source, null], "gates-raw")
    assert set(pairs) == {
        ("source", "adversarial"),
        ("source", further(2, other=1)),
        ("adversarial", further(2, other=1)),
    }
    apart = np.square(triplet.nulls[0].gates - triplet.source.gates, dtype=np.float64)
    squared = [part.sum() for part in bench.layers.parts(apart)]
    np.testing.assert_allclose(pairs["source", further(2, other=1)], np.sqrt(squared))


def test_a_patch_is_cut_from_the_reference_that_fires_most(bench):
    learned = bench.learning.features()
    chosen = FeatureMap(2, 5)
    flat = bench.layers.offsets[2] + 5
    names = [e.file for e in bench.workspace.images]
    strongest = np.argmax([bench.maps.maxima(name)[flat] for name in names])
    assert learned.image[flat, 0] == strongest
    patch = bench.maps.crop(learned, chosen, 0)
    row, col = int(learned.row[flat, 0]), int(learned.col[flat, 0])
    field = bench.maps.receptive_field(AreaOfInterest(2, row, col, row + 1, col + 1))
    image = bench.workspace.read([names[strongest]])[0]
    np.testing.assert_array_equal(patch, image[field.top : field.bottom, field.left : field.right])
    maps = bench.maps.activation_maps(names[strongest], 2)
    assert maps[5, row, col] == maps[5].max()


def test_attacks_of_other_images_parameters_and_names_never_share_an_id(world):
    """Two images that differ in suffix only, and two momenta, give four examples."""
    bench = open_workbench(world)
    first = bench.workspace.images[0]
    twin = ImageEntry(str(PurePosixPath(first.file).with_suffix(".bmp")), first.label)
    Image.open(bench.workspace.path(first.file)).save(bench.workspace.path(twin.file))
    weak = AttackParameters(epsilon=1, steps=1)
    made = bench.attacks.attack([first, twin], parameters=weak)
    made += bench.attacks.attack([first, twin], parameters=replace(weak, momentum=0.0))
    assert len({e.id for e in made}) == len({e.adversarial for e in made}) == 4
    assert bench.attacks.attack([first], parameters=weak) == made[:1], "the same again is the same"


def _keep_images(bench: Workbench, entries) -> None:
    """Write the workspace's table of normal images anew."""
    lines = [f"{e.file},{'' if e.label is None else e.label}\n" for e in entries]
    (bench.workspace.root / "images.csv").write_text("file,label\n" + "".join(lines))


def test_contributions_found_by_other_settings_are_others(world):
    bench = open_workbench(world)
    triplet = bench.datapaths.extract(bench.workspace.settings.opens_on)
    layer = bench.layers.layers[20]
    cause = (FeatureMap(20, 1), AreaOfInterest(20, 0, 0, layer.height, layer.width), 19)
    for method in ("solved", "quadratic", "exact"):
        bench.contributions.contribute(triplet, *cause, Way(method))
        assert bench.contributions.find_stored(triplet, *cause, Way(method)).method == method
    settings = bench.workspace.settings
    other = dataclasses.replace(settings.contribution, sparsity=2 * settings.contribution.sparsity)
    write_settings(world, dataclasses.replace(settings, contribution=other))
    again = open_workbench(world)
    kept = [m for m in ("solved", "quadratic", "exact") if again.contributions.find_stored(triplet, *cause, Way(m))]
    assert kept == ["exact"], "which depends on no parameter"
