"""A run that was interrupted, at whatever point, ends with the files that an undisturbed one has, byte for byte."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from aevis_dash import learning
from aevis_dash.core import adversarial_score, datapath
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.loading import standard_preprocessing
from aevis_dash.domain import Datapath, ModelSpec
from aevis_dash.images import read_image
from aevis_dash.store import Store
from aevis_dash.workbench import Workbench, open_workbench


def kept(root: Path, kind: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / "cache" / kind).glob("*.npz")}


def interrupted_after(monkeypatch, count: int, kind: str, work: Callable[[], object]) -> None:
    """Do some work until that many results of a kind were stored, then interrupt it."""
    put, done = Store.put, []

    def putting(self, key, value):
        answer = put(self, key, value)
        done.extend([key] * key.startswith(kind))
        if len(done) == count:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", putting)
        with pytest.raises(KeyboardInterrupt):
            work()


def test_judgements_are_the_same_whatever_was_judged_beside_them(world, monkeypatch):
    """In one run, in runs of other images, and interrupted: with 16 images at once nearly all of them differed."""
    names = [entry.file for entry in open_workbench(world).workspace.images][:20]

    def judged(*runs: list[str], stop: int = 0) -> dict[str, bytes]:
        shutil.rmtree(world / "cache")
        if stop:
            interrupted_after(monkeypatch, stop, "judgement", lambda: open_workbench(world).judging.judge(runs[0]))
        for run in runs:
            open_workbench(world).judging.judge(run)
        return kept(world, "judgement")

    undisturbed = judged(names)
    assert len(undisturbed) == len(names)
    assert judged(names[:1], names[10:13], names[::-1]) == undisturbed
    for stop in range(1, len(names), 6):
        assert judged(names, stop=stop) == undisturbed


def test_a_judgement_is_what_the_classifier_says_of_the_image(world):
    bench = open_workbench(world)
    images = bench.workspace.read([entry.file for entry in bench.workspace.images[:6]])
    heads = adversarial_score.head_features(bench.classifier, images)
    judged = adversarial_score.judge(bench.classifier, images)
    for (chances, head), prediction, wanted in zip(judged, bench.classifier.predict(images), heads, strict=True):
        np.testing.assert_allclose(chances, prediction.probabilities, atol=1e-5)
        np.testing.assert_allclose(head, wanted, atol=1e-4)


def test_an_interrupted_extraction_ends_as_an_undisturbed_one(world, monkeypatch):
    """Stopped after every datapath. The images solved together are the same, too: on deeper nets that changes bits."""
    wanted = dataclasses.replace(open_workbench(world).workspace.settings.extraction, batch=2)
    example = open_workbench(world).workspace.settings.opens_on
    extract, together = datapath.extract, set()

    def watched(classifier, images, *others):
        together.add(images.tobytes())
        return extract(classifier, images, *others)

    monkeypatch.setattr(datapath, "extract", watched)

    def extracted(stop: int) -> list[Datapath]:
        shutil.rmtree(world / "cache" / "datapath", ignore_errors=True)
        if stop:
            work = lambda: open_workbench(world).datapaths.extract(example, wanted=wanted)  # noqa: E731
            interrupted_after(monkeypatch, stop, "datapath", work)
        paths = open_workbench(world).datapaths.extract(example, wanted=wanted).paths
        return [dataclasses.replace(path, seconds=0.0) for path in paths]

    undisturbed = extracted(stop=0)
    solved = set(together)
    for stop in range(1, len(undisturbed) + 1):
        for path, whole in zip(extracted(stop), undisturbed, strict=True):
            for field in dataclasses.fields(Datapath):
                one, other = getattr(path, field.name), getattr(whole, field.name)
                assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), f"{field.name} after {stop}"
    assert together == solved


def test_interrupted_learning_ends_as_an_undisturbed_one(world, monkeypatch):
    """Stopped after every batch, between checkpoints too."""
    monkeypatch.setattr(learning, "CHECKPOINT", 24)

    def learned(stop: int) -> dict[str, bytes]:
        for kind in ("learned", "parts"):
            shutil.rmtree(world / "cache" / kind, ignore_errors=True)
        batches = []

        def interrupt(share, what):
            batches.append(what)
            if len(batches) == stop:
                raise KeyboardInterrupt

        if stop:
            with pytest.raises(KeyboardInterrupt):
                open_workbench(world).learning.learn(interrupt)
        open_workbench(world).learning.learn()
        return kept(world, "learned") | kept(world, "parts")

    undisturbed = learned(stop=0)
    assert len(undisturbed) == 2
    for stop in (2, 5, 8, 10):
        assert learned(stop) == undisturbed


def test_a_set_has_one_datapath_in_whatever_order_it_is_named(world, monkeypatch):
    bench, seen = open_workbench(world), []
    monkeypatch.setattr(datapath, "extract_set", lambda _, images, *others: seen.append(images.tobytes()) or PATH)
    names = [e.source for e in bench.workspace.examples()][:3]
    for order in (names, names[::-1]):
        bench.store.drop(
            bench.base.key("datapath", images=sorted(map(bench.workspace.image_hash, names)), parameters={})
        )
        monkeypatch.setattr(bench.base, "store", Store(world / f"other{len(seen)}"))
        bench.datapaths.extract_set(order)
    assert len(seen) == 2
    assert seen[0] == seen[1]


PATH = Datapath(
    **{f.name: np.zeros(1) if f.type in (np.ndarray, "np.ndarray") else 0 for f in dataclasses.fields(Datapath)}
)


def test_an_interrupted_attack_ends_as_an_undisturbed_one(world, tmp_path):
    """Stopped now and then, and begun with other images: the same images, but for those others, and the same table."""
    entries = open_workbench(world).workspace.images[:20]
    parameters = dataclasses.replace(open_workbench(world).workspace.settings.attack, epsilon=6.0, steps=3)

    def attacked(name: str, *, stop: float = 2.0, first: int = 0) -> dict[str, bytes]:
        root = Path(shutil.copytree(world, tmp_path / name))

        def interrupt(share, _what):
            if share >= stop:
                raise KeyboardInterrupt

        interrupted = False
        try:
            open_workbench(root).attacks.attack(
                entries[first : first + 3] if first else entries, None, parameters, interrupt
            )
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted == (stop < 1)
        Workbench(open_workbench(root).workspace).attacks.attack(entries, None, parameters)
        made = [*sorted((root / "adversarial").glob("*mifgsm6x3*")), root / "examples.csv"]
        rows = made[-1].read_text().splitlines()
        return {path.name: path.read_bytes() for path in made[:-1]} | {"rows": "\n".join(sorted(rows)).encode()}

    undisturbed = attacked("undisturbed")
    assert len(undisturbed) == 21
    for stop in (0.05, 0.5, 0.82):
        assert attacked(f"stopped at {stop}", stop=stop) == undisturbed
    others_first = attacked("others first", first=7)
    own = {entry.file.removesuffix(".png") for entry in entries[7:10]}
    assert others_first.keys() == undisturbed.keys()
    other_bytes = {name for name, made in undisturbed.items() if others_first[name] != made}
    assert {name.partition("-mifgsm")[0] for name in other_bytes} <= own


@pytest.mark.real
def test_on_a_deep_net_a_judgement_does_not_depend_on_the_other_images(shared_data):
    model = torchvision.models.resnet18()
    model.load_state_dict(load_file(next((shared_data / "weights").glob("resnet18*.safetensors"))))
    published = standard_preprocessing(ModelSpec("torchvision:resnet18", ""))
    assert published is not None
    chosen = published[0]
    classifier = Classifier(model.eval(), chosen, [str(i) for i in range(1000)])
    files = sorted((shared_data / "nips17-dev" / "images").glob("*.png"))[:6]
    images = np.stack([read_image(file, chosen) for file in files])
    judged = list(adversarial_score.judge(classifier, images))
    for i in range(len(images)):
        (one,) = adversarial_score.judge(classifier, images[i : i + 1])
        for mine, other in zip(one, judged[i], strict=True):
            assert mine.tobytes() == other.tobytes()
    with torch.no_grad():
        wanted = model(classifier.inputs(images)).softmax(1).numpy()
    np.testing.assert_allclose(np.stack([chances for chances, _ in judged]), wanted, atol=1e-5)
