"""Detection and repair, tried: against plain runs of the model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from aevis_dash import outlook
from aevis_dash.cli import main
from aevis_dash.core import attack
from aevis_dash.core.flipback import stand_in
from aevis_dash.core.loading import load_model
from aevis_dash.outlook import AGAIN, BLUR, FLIPPED, PATHS, PLAIN, RANDOM, REPAIRED
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def examples(bench):
    return choose(bench, Sample(4))


def test_a_datapath_is_far_from_its_class_by_its_distance_from_their_mean(bench, examples):
    image, source = examples[0].adversarial, examples[0].source
    label = bench.judging.predict([image])[0].label
    alike = [name for name in bench.judging.clean().surest_of_class(label) if name != source][: outlook.ALIKE]
    assert len(alike) > 2
    gates = []
    for name in [image, *alike]:
        x = bench.classifier.inputs(bench.workspace.read([name]))
        z = torch.ones(1, bench.layers.n_maps, requires_grad=True)
        (slope,) = torch.autograd.grad(bench.classifier.network.logits(x, z)[0].max(), z)
        gates.append((slope[0] / slope.max()).clamp(0, 1).numpy())
    wanted = np.sqrt(np.mean((gates[0] - np.mean(gates[1:], axis=0)) ** 2))
    assert outlook.path_distance(bench, image, source) == pytest.approx(wanted, abs=2e-3)


def test_an_images_own_source_is_never_among_the_clean_images(bench, examples, monkeypatch):
    seen = []
    monkeypatch.setattr(outlook, "gates_of", lambda _, images: seen.extend(images) or np.zeros((len(images), 3)))
    source = examples[0].source
    assert outlook.path_distance(bench, source, source) == 0
    assert seen[0] == source
    assert source not in seen[1:]


def test_masked_maps_are_as_in_the_mean_whatever_the_image(bench, examples):
    layer, maps = 3, np.array([0, 5, 9])
    images = bench.workspace.read([examples[0].adversarial, examples[1].source])
    mean = stand_in(bench.classifier, bench.workspace.read([examples[2].source, examples[3].source]), layer, "mean")

    def put(place, value):
        if place == layer:
            value = value.clone()
            value[:, maps] = mean[:, maps]
        return value

    with torch.no_grad():
        wanted = bench.classifier.network.run_watched(bench.classifier.inputs(images), put).argmax(1)
    assert outlook.masked(bench.classifier, layer, maps, mean)(images).tolist() == wanted.tolist()


def test_the_blur_is_the_mean_of_nine_pixels(bench, examples):
    image = bench.workspace.read([examples[0].adversarial])
    padded = np.pad(image[0].astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = image.shape[1:3]
    blurred = np.mean([padded[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)
    x = bench.classifier.normalise(torch.from_numpy(blurred.transpose(2, 0, 1) / 255).float()[None])
    with torch.no_grad():
        wanted = load_model(bench.workspace.model).model(x).softmax(1)[0].numpy()
    found = outlook.blurred_classifier(bench).predict(image)[0]
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-4)


def test_every_defence_is_judged_on_other_examples_beside_its_control(bench, examples, monkeypatch):
    asked, real = [], outlook.shares
    monkeypatch.setattr(outlook, "shares", lambda *given: asked.append(given) or real(*given))
    found = outlook.repair(bench, examples)
    names = [f"{name}, {depth} depth" for name in (FLIPPED, RANDOM) for depth in ("first", "last")]
    assert set(found) == {*names, BLUR, AGAIN, PLAIN}
    assert all(list(of) == list(REPAIRED) for of in found.values())
    of_first = [e for _, _, tried in asked[:2] for e in tried]
    assert of_first
    assert all(e.source != examples[0].source for e in of_first)
    for name, defended in ((AGAIN, outlook.blurred_classifier(bench)), (PLAIN, bench.classifier)):
        recovered, kept = [], []
        for example in examples:
            source = bench.workspace.read([example.source])
            parameters = replace(bench.workspace.settings.attack, epsilon=example.epsilon)
            again = attack.perturb(defended, source, parameters)[0].image[None]
            own = bench.judging.predict([example.source])[0].label
            right = [defended.predict(image)[0].label == own for image in (again, source)]
            recovered += right[:1] if right[1] else []
            kept.append(right[1])
        assert found[name]["recovered"].mean == pytest.approx(np.mean(recovered))
        assert found[name]["clean kept"].mean == pytest.approx(np.mean(kept))
    assert found[AGAIN]["recovered"].mean < found[BLUR]["recovered"].mean, "a defence is to be attacked itself"


def test_the_study_is_printed_with_all_detectors_and_defences(filling_world, capsys):
    assert main(["benchmark", "outlook", str(filling_world), "--examples", "3", "--json", "--quiet"]) == 0
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert {"K-density of the features", "K-density of the direction", PATHS, BLUR, AGAIN} <= {
        line["method"] for line in lines
    }
    assert {line["line"] for line in lines} == {"AUROC", *REPAIRED}
    assert main(["benchmark", "outlook", str(filling_world), "--processes", "2"]) == 2
    assert "runs in one process" in capsys.readouterr().err
