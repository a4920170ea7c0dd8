"""The whole set at once: every pair compared once, counted by layer, with the maps that recur."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from aevis_dash import divergences as whole
from aevis_dash.cli import main
from aevis_dash.config import ExtractionParameters
from aevis_dash.core import divergence
from aevis_dash.core.divergence import leaves
from aevis_dash.domain import AevisError
from aevis_dash.image_pair import ImagePair
from aevis_dash.sample import Sample
from aevis_dash.workbench import open_workbench

HERE = Sample(6, processes=1)


@pytest.fixture(scope="module")
def bench(filling_world):
    return open_workbench(filling_world)


@pytest.fixture(scope="module")
def found(bench):
    return whole.divergences(bench, HERE)


def test_every_pair_is_compared_with_its_source(bench, found):
    example, each = found.examples[0], found.found[0]
    src, adv = (bench.maps.maxima(name) for name in (example.source, example.adversarial))
    for layer in (0, 12, 24):
        a, b = (bench.layers.part(v, layer).astype(float) for v in (src, adv))
        assert each.adversarial[layer] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-6)
    assert each.noise.shape == (whole.NOISES, 25)
    label = bench.judging.predict([example.source])[0].label
    entries = [e for e in bench.workspace.images if e.file != example.source]
    said = bench.judging.predict([e.file for e in entries])
    alike = [e for e, p in zip(entries, said, strict=True) if p.label == label and e.label in (None, label)]
    assert len(each.others) == min(len(alike), whole.OTHERS)
    assert each.point("class").layer == leaves(each.adversarial, np.median(each.others, axis=0))


def test_the_attack_moves_the_signal_farther_than_noise_of_its_size(found):
    last = [(each.adversarial[-1], each.noise[:, -1].max()) for each in found.found]
    assert all(adv > noise for adv, noise in last)


def test_the_counts_are_those_of_the_rows(bench, found):
    listed = whole.rows(bench, found)
    assert [row["example"] for row in listed] == [e.id for e in found.examples]
    assert all(row["perturbation"] == 8 for row in listed)
    for band in ("class", "noise"):
        counted = whole.by_layer(bench, listed, band, "source")
        assert [row["layer"] for row in counted] == [*(layer.name for layer in bench.layers.layers), "never"]
        assert sum(sum(row["pairs"].values()) for row in counted) == len(listed) - whole.without_band(listed, band)
        with_innocents = [row[f"innocent_{band}"].split() for row in listed if row[f"innocent_{band}"]]
        assert sum(row["innocent"] for row in counted) == pytest.approx(len(with_innocents))
        wanted = sum(names.count("never") / len(names) for names in with_innocents)
        assert counted[-1]["innocent"] == pytest.approx(wanted)
        named = [name for row in listed for name in row[f"culprits_{band}"].split()]
        assert len(named) > len(listed)
        recurring = whole.culprits(listed, band)
        assert [count for _, count in recurring] == sorted((named.count(n) for n in set(named)), reverse=True)
        assert dict(recurring) == {name: named.count(name) for name in named}
        for row in listed:
            assert all(name.split(":")[0] == row[f"leaves_{band}"] for name in row[f"culprits_{band}"].split())


def test_a_map_is_named_by_its_layer_and_channel(bench):
    for flat in (0, 15, 16, bench.layers.n_maps - 1):
        name, channel = whole.map_name(bench, flat).split(":")
        assert bench.layers.offsets[bench.layers.find(name).index] + int(channel) == flat


def test_the_full_way_looks_at_the_critical_maps(bench, found):
    full = whole.divergences(bench, Sample(2, processes=1), "gradient")
    assert [e.id for e in full.examples] == [e.id for e in found.examples[:2]]
    pair = ImagePair(bench, full.examples[0].id)
    adv, src = pair.chain(whole.method_comparison.method_of(bench, "gradient"))
    kept = adv.critical | src.critical
    for each, plain in zip(full.found, found.found[:2], strict=True):
        assert not np.allclose(each.adversarial, plain.adversarial)
    named = full.found[0].point("class").culprits
    assert named.size
    assert kept[named].all()
    with pytest.raises(AevisError, match="no method 'magic'"):
        whole.divergences(bench, HERE, "magic")


def test_nothing_is_compared_twice(bench, found, monkeypatch):
    monkeypatch.setattr(divergence, "diverge", None)
    again = whole.divergences(bench, HERE)
    np.testing.assert_array_equal(again.found[3].adversarial, found.found[3].adversarial)
    other = whole.Pair(found.examples[0].id, ExtractionParameters(method="gradient", hold=0.4))
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        whole.diverge(bench, other)


def test_the_listing_holds_every_misclassified_example_and_is_kept(bench, monkeypatch):
    fooled = [j.example for j in bench.judging.judged_examples() if j.misclassified]
    said = []
    listed = whole.listing(bench, lambda share, what: said.append((share, what)))
    assert [row["example"] for row in listed.rows] == [e.id for e in fooled]
    sampled = whole.rows(bench, whole.divergences(bench, Sample(len(fooled), processes=1)))
    assert sorted(listed.rows, key=str) == sorted(sampled, key=str)
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    assert whole.stored_listing(bench) == listed
    entries = bench.workspace.images
    other = dataclasses.replace(entries[0], label=(entries[0].label + 1) % 10)
    with monkeypatch.context() as patch:
        patch.setattr(type(bench.workspace), "images", (other, *entries[1:]))
        assert whole.stored_listing(bench) is None, "another label, another band"
    fewer = bench.judging.judged_examples()[1:]
    monkeypatch.setattr(bench.judging, "judged_examples", lambda: fewer)
    assert whole.stored_listing(bench) is None, "of other examples it says nothing"


def test_pairs_without_another_image_of_the_class_are_told_and_counted_nowhere(bench, found):
    listed = [dict(row) for row in whole.rows(bench, found)]
    for row in listed[:2]:
        row |= {"leaves_class": "", "culprits_class": "", "innocent_class": ""}
    assert whole.without_band(listed, "class") == 2
    counted = whole.by_layer(bench, listed, "class", "source")
    assert sum(sum(row["pairs"].values()) for row in counted) == len(listed) - 2
    lonely = [{**row, "innocent_noise": row["innocent_noise"] if i < 3 else ""} for i, row in enumerate(listed)]
    expected = sum(row["innocent"] for row in whole.by_layer(bench, lonely, "noise", "source"))
    assert expected == pytest.approx(len(listed)), "as many as there are bars, whatever could be compared"


def test_a_group_may_have_any_name(bench, found):
    listed = [{**row, "source": "layer"} for row in whole.rows(bench, found)]
    counted = whole.by_layer(bench, listed, "noise", "source")
    assert [row["layer"] for row in counted][-1] == "never"
    assert sum(row["pairs"]["layer"] for row in counted) == len(listed)


def test_examples_are_found_by_layer_group_and_culprit(bench, found):
    listed = whole.rows(bench, found)
    first = listed[0]
    for band in whole.divergence.BANDS:
        layer, named = first[f"leaves_{band}"], first[f"culprits_{band}"].split()
        assert whole.those(listed, band) == [row["example"] for row in listed]
        at = whole.those(listed, band, layer)
        assert at == [row["example"] for row in listed if row[f"leaves_{band}"] == layer]
        both = whole.those(listed, band, layer, "source", first["source"])
        alike = {row["example"] for row in listed if row["source"] == first["source"]}
        assert both == [example for example in at if example in alike]
        assert first["example"] in whole.those(listed, band, culprit=named[0])
        assert whole.those(listed, band, culprit=named[0] + "0") == []
    assert whole.those(listed, "noise", by="perturbation", group="8") == [row["example"] for row in listed]
    assert whole.those(listed, "noise", by="perturbation", group="3") == []


def test_the_verb_prints_the_distribution(filling_world, bench, found, tmp_path, capsys):
    into = tmp_path / "pairs.csv"
    said = [str(filling_world), "--examples", "6", "--processes", "1", "--by", "source"]
    assert main(["diverge", *said, "--csv", str(into)]) == 0
    text = capsys.readouterr().out
    listed = whole.rows(bench, found)
    head = next(line for line in text.splitlines() if line.startswith("layer "))
    assert head.split()[1:] == [*sorted({row["source"] for row in listed}), "(innocent)"]
    fooled = sum(j.misclassified for j in bench.judging.judged_examples())
    assert f"6 of {fooled} pairs" in text
    with into.open() as file:
        assert [row["leaves_class"] for row in csv.DictReader(file)] == [row["leaves_class"] for row in listed]
    assert main(["diverge", *said, "--band", "noise", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["by_layer"] == whole.by_layer(bench, listed, "noise", "source")
