"""The bench of extraction methods: what it says of a method is what one finds by hand, and nothing is done twice."""

import dataclasses

import numpy as np
import pytest
import torch

from aevis_dash import method_comparison, method_lines
from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath, measures
from aevis_dash.core.evaluation import Estimate
from aevis_dash.core.necessity import WAYS, necessity
from aevis_dash.core.problem import Foil
from aevis_dash.domain import CONTROLS, AevisError
from aevis_dash.image_pair import ImagePair, Yardstick, sampled_layers
from aevis_dash.method_comparison import Trial, causal_controls, compare, measure, yardstick
from aevis_dash.method_lines import NEEDED, SHARES, Measures
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import open_workbench

GRADIENT = ExtractionParameters(method="gradient")


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def example(bench):
    return bench.workspace.example(bench.workspace.settings.opens_on)


@pytest.fixture(scope="module")
def measured(bench, example):
    return measure(bench, Trial(example.id, GRADIENT, True))


def probabilities(bench, names, chosen_maps):
    x = bench.classifier.inputs(bench.workspace.read(names))
    with torch.no_grad():
        return bench.classifier.network.logits(x, torch.from_numpy(chosen_maps)[None].float()).softmax(1).numpy()


def adversarial_path(bench, example, wanted=GRADIENT, noise=None):
    images = bench.workspace.read([example.adversarial, example.source])
    label = bench.judging.predict([example.source])[0].label
    image = images[:1] if noise is None else noise
    return next(datapath.extract(bench.classifier, image, [], wanted, foils=[Foil(label, images[1])]))


def test_sizes_and_what_is_kept_are_those_of_the_datapath(bench, example, measured):
    path = adversarial_path(bench, example)
    assert measured.size == pytest.approx(path.size / bench.layers.n_maps)
    assert measured.core == pytest.approx(path.core.sum() / bench.layers.n_maps)
    assert measured.keeps == path.keeps_hard
    assert measured.passes == pytest.approx(path.passes)
    full = bench.judging.predict([example.adversarial])[0].probabilities
    for share, kept, kl in zip(SHARES, measured.kept, measured.kl, strict=True):
        best = np.zeros(bench.layers.n_maps, bool)
        for layer in bench.layers.layers:
            start = bench.layers.offsets[layer.index]
            order = sorted(range(layer.channels), key=lambda c, start=start: -path.gates[start + c])
            best[[start + c for c in order[: max(1, -(-round(share * 1000) * layer.channels // 1000))]]] = True
        p = probabilities(bench, [example.adversarial], best)[0]
        assert kept == (p.argmax() == path.label)
        assert kl == pytest.approx(float((full * np.log(full / p)).sum()), abs=1e-3)


def test_what_a_hard_set_says_of_other_images_is_asked_of_other_classes(bench, example, measured):
    path = adversarial_path(bench, example)
    pair = ImagePair(bench, example.id)
    others = bench.workspace.read(pair.others(4))
    said = bench.classifier.predict(others)
    taken = {p.label for p in bench.judging.predict([example.source, example.adversarial])}
    assert not {p.label for p in said} & taken
    x = bench.classifier.inputs(others)
    with torch.no_grad():
        logits = bench.classifier.network.logits(x, torch.from_numpy(path.critical)[None].float())
    assert measured.others == pytest.approx(float((logits.argmax(1) == path.label).float().mean()))


def test_the_dead_are_counted(bench, example, measured):
    path = adversarial_path(bench, example)
    silent = bench.maps.maxima(example.adversarial) == 0
    assert measured.dead == pytest.approx((path.critical & silent).sum() / path.size)
    assert silent.any()
    every = measure(bench, Trial(example.id, ExtractionParameters(method="gradient", share=1.0), False))
    assert every.dead == pytest.approx(silent.mean())


def test_what_is_lost_without_the_hard_set_is_measured_beside_random_sets(bench, example, measured):
    pair = ImagePair(bench, example.id)
    path = adversarial_path(bench, example)
    found = necessity(bench.classifier, pair.adv_image, pair.src_image, path, pair.seed)
    for name in NEEDED:
        np.testing.assert_array_equal(getattr(measured, name), getattr(found, name))
        assert getattr(measured, name).shape == (len(WAYS),)
    kept = torch.from_numpy(1 - path.critical.astype(np.float32))[None]
    x = [bench.classifier.inputs(image) for image in (pair.adv_image, pair.src_image)]
    with torch.no_grad():
        runs = [
            *(bench.classifier.network.logits(each)[0] for each in x),
            bench.classifier.network.logits(x[0], kept)[0],
        ]
    adv, src, closed = (float(logits[path.label] - logits[path.rival]) for logits in runs)
    assert measured.lost[0] == pytest.approx((adv - closed) / (adv - src), abs=1e-4)
    assert measured.turned[0] == (int(runs[2].argmax()) != path.label)


def test_the_yardstick_is_positive_where_the_adversarial_prediction_rests_on_a_map(bench, example):
    rod = yardstick(bench, example.id)
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    labels = [bench.judging.predict([name])[0].label for name in (example.adversarial, example.source)]
    network, x, y = bench.classifier.network, bench.classifier.inputs(adv), bench.classifier.inputs(src)
    layer, channel, effect = int(rod.layers[0]), int(rod.channels[0, 3]), rod.effects[0, 3]
    tail = network.part(layer, None)
    state, donor = tail.prepare(x), network.activation(y, layer)
    patched = state.start.clone()
    patched[:, channel] = donor[:, channel]
    before, after = (tail.run(state, value)[0].detach() for value in (state.start, patched))
    margin = [float(logits[labels[0]] - logits[labels[1]]) for logits in (before, after)]
    assert effect == pytest.approx(margin[0] - margin[1], abs=1e-4)
    assert rod.effects.shape == rod.channels.shape == (4, 32)
    assert rod.layers[-1] == len(bench.layers) - 1
    fires = np.maximum(bench.maps.maxima(example.adversarial), bench.maps.maxima(example.source))
    for at, channels in zip(rod.layers, rod.channels, strict=True):
        assert (bench.layers.part(fires, int(at))[channels] > 0).all()
        firing = int((bench.layers.part(fires, int(at)) > 0).sum())
        assert len(set(channels.tolist())) == 32 or firing < 32


def test_the_difference_flips_with_fewer_maps_than_chance_and_gates_by_their_sum(bench, example, measured):
    rod = yardstick(bench, example.id)
    assert (rod.controls[0] <= rod.random).all()
    assert rod.controls.shape == (3, len(rod.depths))
    assert rod.controls[1:, -1].max() <= rod.controls[0, -1], "attribution knows which way a map speaks"
    assert [bench.layers.layers[i].name for i in rod.depths][-1] == bench.layers.layers[-1].name
    pair = ImagePair(bench, example.id)
    adv, src = pair.chain(GRADIENT)
    assert measured.flips == pytest.approx(pair.flips(rod, adv.gates + src.gates))
    worst = pair.flips(rod, -(adv.gates + src.gates))
    assert worst.mean() > measured.flips.mean()


def test_integrated_attribution_patching_flips_as_adding_its_maps_one_by_one(bench, example):
    """Against a plain torch run: the gradient at eight points between the runs, times the difference."""
    rod, layer = yardstick(bench, example.id), int(yardstick(bench, example.id).depths[1])
    adv, src = (bench.classifier.inputs(bench.workspace.read([n])) for n in (example.adversarial, example.source))
    up, down = (bench.judging.predict([name])[0].label for name in (example.source, example.adversarial))
    network = bench.classifier.network
    tail = network.part(layer, None)
    state, donor = tail.prepare(adv), network.activation(src, layer).detach()
    effects = 0
    for k in range(8):
        value = (state.start + (k + 0.5) / 8 * (donor - state.start)).detach().requires_grad_()
        logits = tail.run(state, value)[0]
        (slope,) = torch.autograd.grad(logits[up] - logits[down], value)
        effects = effects + (slope * (donor - state.start)).sum((2, 3))[0].detach().numpy()
    order = np.argsort(-effects, kind="stable").tolist()

    def turned(count):
        value = state.start.clone()
        value[:, order[:count]] = donor[:, order[:count]]
        with torch.no_grad():
            return int(tail.run(state, value)[0].argmax()) == up

    size = round(rod.controls[CONTROLS.index("integrated"), 1] * len(order))
    assert turned(size)
    assert not turned(size - 1)


def test_the_order_of_all_true_effects_flips_with_few_maps(bench, example):
    """Against adding the maps one by one, each map's own effect found by patching it alone."""
    rod, layer = yardstick(bench, example.id), len(bench.layers) - 1
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    labels = [bench.judging.predict([name])[0].label for name in (example.adversarial, example.source)]
    network, width = bench.classifier.network, bench.layers.layers[layer].channels
    tail = network.part(layer, None)
    state = tail.prepare(bench.classifier.inputs(adv))
    donor = network.activation(bench.classifier.inputs(src), layer)

    def patched(channels):
        value = state.start.clone()
        value[:, channels] = donor[:, channels]
        with torch.no_grad():
            return tail.run(state, value)[0].numpy()

    margins = [patched([c])[labels[0]] - patched([c])[labels[1]] for c in range(width)]
    order = np.argsort(margins, kind="stable").tolist()
    size = round(rod.single * width)
    assert patched(order[:size]).argmax() == labels[1] != patched(order[: size - 1]).argmax()
    assert rod.single < rod.random[-1]


def test_orders_that_see_the_source_are_controls_of_the_causal_agreement(bench, example):
    """Against the same questions asked by hand; attribution patching answers them almost exactly."""
    rod, found = yardstick(bench, example.id), causal_controls(bench, example.id)
    adv, src = (bench.workspace.read([name]) for name in (example.adversarial, example.source))
    labels = [bench.judging.predict([name])[0].label for name in (example.adversarial, example.source)]
    network = bench.classifier.network
    for i, layer in enumerate(rod.layers):
        donor, own = (network.activation(bench.classifier.inputs(image), int(layer)).detach() for image in (src, adv))
        apart = (donor - own).flatten(2).norm(dim=2)[0].numpy()[rod.channels[i]]
        assert found.agreement[0, i] == pytest.approx(measures.rank_correlation(apart, rod.effects[i]))
        tail = network.part(int(layer), None)
        state, value = tail.prepare(bench.classifier.inputs(adv)), own.clone().requires_grad_()
        logits = tail.run(state, value)[0]
        (slope,) = torch.autograd.grad(logits[labels[1]] - logits[labels[0]], value)
        first_order = (slope * (donor - own)).flatten(2).sum(2)[0].numpy()[rod.channels[i]]
        wanted = measures.rank_correlation(first_order, rod.effects[i])
        assert found.agreement[1, i] == pytest.approx(wanted, abs=1e-3)
        effects = bench.layers.part(bench.flips.turning(example.id).effects, int(layer))[rod.channels[i]]
        wanted = measures.rank_correlation(effects, rod.effects[i])
        assert found.turning[i] == pytest.approx(wanted)
    assert np.nanmean(found.turning) > 0.8
    assert (found.turning_flips <= rod.random).all()
    assert found.turning_flips[-1] <= rod.controls[-1, -1] + 0.05, "no worse than integrated at each layer"
    assert np.nanmean(found.agreement[1]) > 0.8
    assert np.nanmean(found.agreement[2]) > 0.8


def test_no_extraction_is_done_twice(bench, example, monkeypatch):
    """Neither for another seed where nothing is drawn, nor for given datapaths where none is held near."""
    asked, real = [], datapath.extract
    monkeypatch.setattr(datapath, "extract", lambda *a, **k: asked.append(a) or real(*a, **k))
    for method, times in (("gradient", 3), ("random", 4), ("quadratic", 5), ("constrained", 7)):
        measure(bench, Trial(example.id, ExtractionParameters(method=method, iterations=2, hold=0.8), True))
        assert len(asked) == times, method
        asked.clear()


def test_stability_is_the_jaccard_of_hard_sets_found_again(bench, example, measured):
    pair = ImagePair(bench, example.id)
    noisy = pair.noisy()
    step = noisy.astype(int) - bench.workspace.read([example.adversarial]).astype(int)
    assert set(np.unique(step)) == {-1, 0, 1}
    one, two = adversarial_path(bench, example), adversarial_path(bench, example, noise=noisy)
    assert measured.noise == pytest.approx((one.critical & two.critical).sum() / (one.critical | two.critical).sum())
    assert (measured.seeds, measured.order, measured.halved, measured.doubled) == (1, 1, 1, 1), "it draws nothing"
    assert 0.9 < measured.noise_rank <= 1
    random = measure(bench, Trial(example.id, ExtractionParameters(method="random", share=0.2), True))
    assert random.noise == 1
    assert random.seeds < 0.5
    paper = measure(bench, Trial(example.id, ExtractionParameters(method="constrained", iterations=6), True))
    assert min(paper.order, paper.halved, paper.doubled) < 1
    alone = measure(bench, Trial(example.id, GRADIENT, False))
    assert np.isnan([alone.noise, alone.seeds, alone.order, alone.halved, alone.doubled, alone.noise_rank]).all()


def test_the_default_agrees_with_true_interventions_where_a_random_order_does_not(bench):
    """Those of gradient and random are the ones that every method is held against the same examples by; of the default
    the causal agreement alone is looked at, so it is not measured again and again."""
    ids = list(enumerate(e.id for e in choose(bench, Sample(3))))
    causal = {
        name: np.mean(
            [measure(bench, Trial(i, ExtractionParameters(method=name), again and k < 1)).causal for k, i in ids]
        )
        for name, again in (("elimination", False), ("gradient", True), ("random", True))
    }
    assert causal["elimination"] > 0.5
    assert causal["elimination"] > causal["gradient"] + 0.15
    assert abs(causal["random"]) < 0.2


def test_other_images_are_another_measurement_and_none_are_no_error(world):
    """What a hard set says of other images hangs on which there are; of none it says nothing."""
    bench = open_workbench(world)
    example = bench.workspace.example(bench.workspace.settings.opens_on)
    trial = Trial(example.id, GRADIENT, False)
    first = measure(bench, trial)
    taken = {p.label for p in bench.judging.predict([example.source, example.adversarial])}
    table = world / "images.csv"
    lines = table.read_text().splitlines()
    kept = [e.file for e in bench.workspace.images if e.label in taken]
    table.write_text("\n".join([lines[0], *(line for line in lines if line.split(",")[0] in kept)]) + "\n")
    again = measure(bench, trial)
    assert not np.isnan(first.others)
    assert np.isnan(again.others)
    assert first.core == again.core


def test_nothing_is_measured_twice(bench, example, measured, monkeypatch):
    def again(*_args, **_kwargs):
        raise AssertionError("measured again")

    monkeypatch.setattr(ImagePair, "chain", again)
    monkeypatch.setattr(ImagePair, "controls", again)
    same = measure(bench, Trial(example.id, dataclasses.replace(GRADIENT, batch=3, candidates=9), True))
    for f in dataclasses.fields(Measures):
        np.testing.assert_equal(getattr(same, f.name), getattr(measured, f.name))
    yardstick(bench, example.id)
    with pytest.raises(AssertionError, match="measured again"):
        measure(bench, Trial(example.id, dataclasses.replace(GRADIENT, hold=0.5), True))


def made(core, flip):
    numbers = dict.fromkeys((f.name for f in dataclasses.fields(Measures)), 1.0)
    arrays = {
        "kept": np.ones(6),
        "kl": np.zeros(6),
        "causal": np.array([0.1, np.nan, 0.3]),
        "flips": np.array([1, flip]),
        **{name: np.array([core, flip]) for name in NEEDED},
    }
    return Measures(**(numbers | arrays | {"core": core, "keeps": core < 0.5}))


def test_the_summary_takes_medians_of_sizes_and_means_of_yes_and_no():
    results = [made(core, flip) for core, flip in ((0.1, 0.2), (0.2, 0.3), (0.9, 0.4))]
    rods = []
    for r, d, i, single in ((0.5, 0.4, 0.2, 0.1), (0.6, 0.9, 0.1, 0.3), (0.4, 0.8, 0.2, 0.2)):
        controls, nothing = np.array([[1, d], [1, 1], [1, i]]), np.zeros((3, 2))
        rods.append(Yardstick(np.arange(3), nothing, nothing, np.arange(2), np.array([1, r]), controls, single))
    lines = method_lines.summary(results, rods)
    assert lines["core"].mean == pytest.approx(0.2)
    assert lines["keeps"].mean == pytest.approx(2 / 3)
    assert lines["causal"].mean == pytest.approx(0.2), "layers that say nothing are left out"
    assert lines["flip last stage"].mean == pytest.approx(0.3)
    assert lines["flip / better control"].mean == pytest.approx(0.5), "the median of 0.2/0.4, 0.3/0.6, 0.4/0.4"
    assert lines["kept 0.5%"].mean == lines["kept 20.0%"].mean == 1
    assert lines["lost closed"].mean == pytest.approx(0.2)
    assert lines["single_null source"].mean == pytest.approx(0.3)
    assert lines["turned closed"].mean == pytest.approx(0.4), "a mean of yes and no"
    assert lines["flip / integrated"].mean == pytest.approx(2), "the median of 0.2/0.2, 0.3/0.1, 0.4/0.2"
    assert all(e.low <= e.mean <= e.high and e.n == 3 for e in lines.values())
    assert [method_lines.controls(rods)[f"flip {n} 1"].mean for n in ("random", *CONTROLS)] == pytest.approx(
        [0.5, 0.8, 1, 0.2]
    )
    assert method_lines.controls(rods)["flip single"].mean == pytest.approx(0.2)


def test_every_method_is_held_against_the_same_examples(bench, monkeypatch):
    """A fresh process for the memory of one method alone: it costs seconds."""
    methods, real = ("gradient", "random"), method_comparison.peak_memory
    of_gradient = Estimate(-5.0, -6.0, -4.0, 1)
    monkeypatch.setattr(
        method_comparison, "peak_memory", lambda *asked: real(*asked) if asked[2].method == "random" else of_gradient
    )
    found = compare(bench, methods, 1, Sample(3, processes=1))
    assert list(found.methods) == list(methods)
    assert found.examples == tuple(e.id for e in choose(bench, Sample(3)))
    for name in methods:
        each = [
            measure(bench, Trial(e, ExtractionParameters(method=name), k < 1)) for k, e in enumerate(found.examples)
        ]
        assert found.methods[name]["core"].mean == pytest.approx(np.median([m.core for m in each]))
        assert found.methods[name]["noise"].n == 1
        assert found.methods[name]["seeds"].n == (name == "random"), "the other draws nothing"
        assert found.methods[name]["order"].n == found.methods[name]["halved"].n == 0
        assert found.methods[name]["causal"].n == 3
    assert found.methods["gradient"]["memory"] == of_gradient
    assert 0 < found.methods["random"]["memory"].mean < 2000
    with pytest.raises(AevisError, match="no method 'magic'"):
        compare(bench, ["magic"], 1, Sample(3))


def test_an_interrupted_run_keeps_whole_examples(bench, monkeypatch):
    """The second example is interrupted at its second method; a table of the first one then costs nothing."""
    methods = ("gradient", "activation")
    seen, real = [], ImagePair.chain

    def chain(self, wanted):
        seen.append(wanted.method)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(self, wanted)

    monkeypatch.setattr(ImagePair, "chain", chain)
    monkeypatch.setattr(method_comparison, "peak_memory", lambda *_asked: Estimate(1.0, 1.0, 1.0, 1))
    ask = lambda count: compare(bench, methods, 0, Sample(count, seed=7, processes=1))  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        ask(3)
    assert seen == ["gradient", "activation", "gradient", "activation"]
    found = ask(1)
    assert len(seen) == 4
    assert [found.methods[name]["core"].n for name in methods] == [1, 1]
    ask(2)
    assert seen[4:] == ["activation"], "the first method of the second example was kept"


def test_the_weakest_attack_of_every_source_is_chosen(bench, monkeypatch):
    judged = [j for j in bench.judging.judged_examples() if j.misclassified][:2]
    smaller = dataclasses.replace(judged[0].perturbation, linf=2)
    named = dataclasses.replace(judged[0].example, id="weaker")
    twin = dataclasses.replace(judged[0], example=named, perturbation=smaller)
    assert judged[0].perturbation.linf > 2
    monkeypatch.setattr(bench.judging, "judged_examples", lambda: [judged[0], twin, judged[1]])
    assert {e.id for e in choose(bench, Sample(5, weakest=True))} == {"weaker", judged[1].example.id}
    assert len(choose(bench, Sample(5))) == 3
    assert len(choose(bench, Sample(1))) == 1
    monkeypatch.setattr(bench.judging, "judged_examples", list)
    with pytest.raises(AevisError, match="Make some with `aevis attack`"):
        choose(bench, Sample(5))


def test_the_perturbation_is_the_largest_change_of_a_pixel(bench, example):
    assert bench.judging.perturbation(example).linf == 8


@pytest.mark.parametrize(("count", "wanted"), [(25, 4), (17, 4), (100, 4), (3, 4), (1, 4)])
def test_layers_are_sampled_along_the_network(count, wanted):
    layers = sampled_layers(count, wanted)
    assert layers[-1] == count - 1
    assert len(layers) == min(wanted, count)
    assert (layers >= 0).all()
    assert (layers < count).all()
