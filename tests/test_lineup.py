"""What would line up two images that are no pair is found by trying, and said in the refusal."""

import numpy as np
import pytest
from PIL import Image

from aevis_dash import lineup
from aevis_dash.domain import AevisError, Example
from aevis_dash.workbench import open_workbench


@pytest.fixture
def bench(world):
    return open_workbench(world)


def centre(image, share):
    height, width, _ = image.shape
    down, right = height * (1 - share) / 2, width * (1 - share) / 2
    box = (right, down, width - right, height - down)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box))


WRONG = {
    "mirrored": (lambda image, _: image[:, ::-1], "The adversarial is mirrored: turn it back"),
    "turned": (lambda image, _: np.rot90(image), "turned by 90 degrees to the left: turn it back"),
    "cut": (lambda image, _: centre(image, 0.75), "fits the centre, about 75% of each side, of the source"),
    "moved": (lambda image, _: np.roll(image, (5, -3), (0, 1)), "moved by 5 rows and -3 columns: move it back"),
    "another": (lambda _, other: other, "The adversarial fits monkey-01.png: make that its source"),
    "noise": (lambda image, _: np.random.default_rng(0).permuted(image), "Put the right files into examples.csv"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_would_mend_a_pair_is_said(bench, kind):
    """The adversarial of the opening example, displaced in one way; what is said undoes just that."""
    change, words = WRONG[kind]
    opening = bench.workspace.example(bench.workspace.settings.opens_on)
    adversarial, other = bench.workspace.read([opening.adversarial, "monkey-01.png"])
    wrong = Example(kind, opening.source, f"adversarial/{kind}.png", None, "by hand")
    bench.workspace.keep_adversarials([(wrong, change(adversarial, other))])
    with pytest.raises(AevisError) as refused:
        bench.datapaths.extract(kind)
    assert words in str(refused.value)
    assert str(refused.value).count("turn it back") == ("turn it back" in words)


def test_a_source_that_is_the_centre_of_the_adversarial_is_told(bench):
    """A large photograph beside the adversarial that shows more of it, each in a file of another size."""
    root, noise = bench.workspace.root, np.random.default_rng(0)
    (picture,) = bench.workspace.read(["monkey-01.png"])
    large = np.asarray(Image.fromarray(picture).resize((160, 160), Image.Resampling.BICUBIC))
    Image.fromarray(large[20:-20, 20:-20]).save(root / "images" / "part.png")
    Image.fromarray(np.clip(large + noise.choice([-4.0, 4.0], large.shape), 0, 255).astype(np.uint8)).save(
        root / "adversarial" / "whole.png"
    )
    found = lineup.remedy(bench.workspace, Example("large", "part.png", "adversarial/whole.png", None, ""))
    assert found.text.startswith("The source fits the centre, about 75% of each side, of the adversarial")


def test_the_share_in_place_is_a_sentence_of_its_own(bench):
    wrong = Example("wrong", "panda-01.png", "adversarial/wrong.png", None, "by hand")
    bench.workspace.keep_adversarials([(wrong, bench.workspace.read(["monkey-01.png"])[0])])
    with pytest.raises(
        AevisError, match=r"make that its source\. Then 100% of the source's edges are in place\. If it"
    ):
        bench.datapaths.plan(wrong)


def test_it_is_said_where_not_every_image_was_tried_as_the_source(bench, monkeypatch):
    opening = bench.workspace.example(bench.workspace.settings.opens_on)
    wrong = Example("noise", opening.source, "adversarial/noise.png", None, "by hand")
    noise = np.random.default_rng(0).permuted(bench.workspace.read([opening.adversarial])[0])
    bench.workspace.keep_adversarials([(wrong, noise)])
    monkeypatch.setattr(lineup, "SOURCES", 60)
    assert lineup.remedy(bench.workspace, wrong).text == "", "all of them were tried"
    monkeypatch.setattr(lineup, "SOURCES", 20)
    assert "only the first 20 of the 60 images in images.csv were tried" in lineup.remedy(bench.workspace, wrong).text


def test_it_is_tried_once_for_the_same_files(bench, monkeypatch):
    wrong = Example("wrong", "panda-01.png", "adversarial/wrong.png", None, "by hand")
    bench.workspace.keep_adversarials([(wrong, bench.workspace.read(["monkey-01.png"])[0])])
    said, tried, remedy = [], [], lineup.remedy
    monkeypatch.setattr(lineup, "remedy", lambda *given: tried.append(given) or remedy(*given))
    for _ in range(2):
        with pytest.raises(AevisError, match=r"fits monkey-01\.png") as refused:
            bench.datapaths.plan(wrong)
        said.append(str(refused.value))
    assert len(tried) == 1
    assert said[0] == said[1]
