"""Attacks of the user's own code: what they are called with, what they may give, and what they may leave behind."""

import random
import sys
import textwrap
from pathlib import Path

import hand_wired
import numpy as np
import pytest
import torch
from torch import nn

from aevis_dash.config import FGSM, AttackParameters
from aevis_dash.core.attack import perturb
from aevis_dash.core.foreign_attack import PixelModel, run_foreign
from aevis_dash.core.own_attacks import attack_arguments, foreign_attack
from aevis_dash.domain import AevisError

SIGN = """
import torch
def attack(model, x, y, eps=8 / 255, target=None):
    x = x.requires_grad_()
    labels = y if target is None else target
    loss = torch.nn.functional.cross_entropy(model(x), labels, reduction="sum")
    sign = torch.autograd.grad(loss, x)[0].sign()
    return (x + (1 if target is None else -1) * eps * sign).clamp(0, 1)
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Writes a Python file in the current folder, whose attack is found by its name."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    def write(text, name="mine.py"):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return f"{name}:attack"

    return write


@pytest.fixture
def classifier():
    return hand_wired.classifier(hand_wired.random_net(1), mean=(0.4, 0.5, 0.6), std=(0.5, 0.5, 0.5))


IMAGES = hand_wired.images(2, 4)


def run(classifier, source, arguments="", targets=None, folder=None, seed=0):
    aim = None if targets is None else np.array(targets)
    found = foreign_attack(source, arguments, targets is not None, folder)
    return run_foreign(classifier, found, IMAGES, aim, seed)


def of_body(code, body, signature="model, x, y"):
    lines = textwrap.indent(textwrap.dedent(body).strip(), "    ")
    return code(f"import torch\nimport numpy as np\ndef attack({signature}):\n{lines}\n")


@pytest.mark.parametrize("targets", [None, [0, 1, 2, 0]])
def test_an_attack_of_ones_own_that_is_fgsm_gives_what_fgsm_gives(code, classifier, targets):
    found = run(classifier, code(SIGN), "eps=8/255", targets)
    aim = None if targets is None else np.array(targets)
    built_in = perturb(classifier, IMAGES, AttackParameters(8.0, attack=FGSM), aim)
    for own, wanted in zip(found, built_in, strict=True):
        np.testing.assert_array_equal(own.image, wanted.image)
        assert (own.success, own.unrounded) == (wanted.success, wanted.unrounded)
        assert own.margin == pytest.approx(wanted.margin, abs=1e-5)


def test_the_model_takes_pixels_and_the_labels_are_its_own_predictions(code, classifier):
    labels = [p.label for p in classifier.predict(IMAGES)]
    model, x = PixelModel(classifier), classifier.pixels(IMAGES)
    torch.testing.assert_close(model(x), classifier.network.logits(classifier.normalise(x)))
    source = of_body(
        code,
        f"""
        assert not model.training and x.dtype == torch.float32 and x.shape == (4, 3, 8, 8)
        assert x.is_contiguous() and 0 <= x.min() and x.max() <= 1
        assert y.tolist() == {labels} == model(x).argmax(1).tolist()
        assert not any(p.requires_grad for p in model.parameters()) and torch.is_grad_enabled()
        x.add_(0.4).clamp_(0, 1)
        return x
        """,
    )
    for result, image in zip(run(classifier, source), IMAGES, strict=True):
        np.testing.assert_array_equal(result.image, np.clip(image + 102.0, 0, 255))


def test_a_module_and_a_file_of_another_folder_are_found(code, classifier, tmp_path, monkeypatch):
    code(SIGN, "lonely_attacks.py")
    code(SIGN, "beside.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = run(classifier, "lonely_attacks:attack")
    monkeypatch.chdir("/")
    beside = run(classifier, "beside.py:attack", folder=tmp_path)
    for a, b in zip(module, beside, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    assert foreign_attack("beside.py:attack", "", False, tmp_path).name == "beside.py:attack"
    assert foreign_attack("lonely_attacks:attack", "", False, tmp_path).name == "lonely_attacks:attack"


def test_what_it_depends_on_is_the_files_text_the_function_and_the_arguments(code, tmp_path):
    def made_of(text, arguments="", name="attack"):
        code(text)
        return foreign_attack(f"mine.py:{name}", arguments, False, tmp_path).made_of

    two = SIGN + "\nother = attack\n"
    first = made_of(SIGN)
    assert first == made_of(SIGN)
    assert first != made_of(SIGN + "# edited\n")
    assert first != made_of(SIGN, "eps=0.1")
    assert made_of(two) != made_of(two, name="other")


def test_an_attack_that_draws_gives_the_same_again_and_disturbs_no_one(code, classifier):
    source = of_body(
        code,
        """
        import random
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        print("a word")
        noise = torch.rand_like(x) + float(np.random.rand()) + random.random()
        return (x + 0.1 * (noise - 1.5)).clamp(0, 1)
        """,
    )
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    wanted = (torch.rand(1), np.random.rand(), random.random())  # noqa: NPY002
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    first = run(classifier, source)
    assert (torch.rand(1), np.random.rand(), random.random()) == wanted  # noqa: NPY002
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    again, other = (run(classifier, source, seed=seed) for seed in (0, 1))  # all generators have gone on since
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        assert (a.image != c.image).any()


def test_what_it_prints_is_not_on_standard_output(code, classifier, capsys):
    run(classifier, of_body(code, "print('a word')\nreturn x"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "a word\n")


def test_the_models_weights_and_their_gradients_stay_as_they_are(code, classifier):
    before = {k: v.clone() for k, v in classifier.network.traced.module.state_dict().items()}
    source = of_body(
        code,
        """
        model.requires_grad_(True)
        model(x.requires_grad_()).sum().backward()
        return (x + x.grad.sign() / 255).clamp(0, 1)
        """,
    )
    results = run(classifier, source)
    assert any((r.image != i).any() for r, i in zip(results, IMAGES, strict=True)), "gradients left on are taken off"
    module = classifier.network.traced.module
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_an_attack_that_changes_the_folder_changes_it_for_nobody_else(code, classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(classifier, of_body(code, "import os\nos.chdir('/')\nreturn x"))
    assert Path.cwd() == tmp_path.resolve()


def test_rounding_that_undoes_an_attack_is_told(code):
    model = hand_wired.route(0, 0, 0)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.weight[0, 0] = 1.0
        model.head.bias.copy_(torch.tensor([0.0, 100.3 / 255, -9.0]))
    c, image = hand_wired.classifier(model), np.full((1, 8, 8, 3), 100, np.uint8)
    found = foreign_attack(of_body(code, "return x + 0.4 / 255"), "", False, None)
    (result,) = run_foreign(c, found, image, None, 0)
    assert (result.success, result.unrounded, result.lost) == (False, True, True)
    np.testing.assert_array_equal(result.image, image[0])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return None", "gave a NoneType, not a torch.Tensor. Let it return the attacked pixels as a float tensor"),
        ("return x.numpy()", "gave a ndarray, not a torch.Tensor"),
        ("return (x * 255).to(torch.uint8)", "gave numbers of type torch.uint8"),
        ("return x.to('meta')", "gave a tensor on the device 'meta', which holds no numbers. Let it return"),
        ("return x.to_sparse()", "gave a tensor of the layout torch.sparse_coo. Let it return"),
        ("return x[:1]", r"gave a tensor of shape \(1, 3, 8, 8\) for images of shape \(4, 3, 8, 8\)"),
        ("return x.movedim(1, 3)", r"gave a tensor of shape \(4, 8, 8, 3\)"),
        ("x[1:3, 0, 0, 0] = float('nan')\nreturn x", "gave NaN or infinite pixels in 2 of 4 images"),
        ("return x - 0.5", r"gave pixels from -0\.\d+ to 0\.\d+, and no image has those. End it with x_adv.clamp"),
        ("return x * 255", r"gave pixels from \d+ to 2\d+, and no image has those"),
        ("model.train()\nreturn x", "leaves the model in training mode"),
        ("model.network.head.train()\nreturn x", "leaves the model in training mode .first 'head'"),
        (
            "with torch.no_grad():\n    model.network.head.bias += 1\nreturn x",
            "changed the model's 'head.bias', so it attacked another model",
        ),
        (
            "numbers = [1, 2]\nreturn x + numbers[5]",
            r"failed with IndexError: list index out of range\. It happened in .*mine\.py, line 5: "
            r"'return x \+ numbers\[5\]'\. Mend it there",
        ),
        ("return torch.zeros(2, 3) @ torch.zeros(2, 3)", r"failed with RuntimeError: .*mine\.py, line 4"),
        ("raise SystemExit(3)", r"failed with SystemExit: it ends the program .*mine\.py, line 4"),
        ("raise ValueError('one\\ntwo')", r"failed with ValueError: one\. It happened"),
    ],
)
def test_what_an_attack_may_not_do_is_refused(code, classifier, body, words):
    with pytest.raises(AevisError, match=f"The attack mine.py:attack {words}"):
        run(classifier, of_body(code, body))


def test_batch_norm_that_counts_images_is_a_changed_model(code):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    c = hand_wired.classifier(nn.Sequential(net, nn.Linear(4, 3)))
    source = of_body(code, "model.train()\nmodel(x)\nmodel.eval()\nreturn x")
    with pytest.raises(AevisError, match=r"changed the model's '0\.1\.running_mean'.* training mode meanwhile"):
        run(c, source)


@pytest.mark.parametrize("value", [-5e-5, 1 + 5e-5])
def test_rounding_errors_at_the_edge_are_clipped(code, classifier, value):
    results = run(classifier, of_body(code, f"return torch.full_like(x, {value})"))
    assert {int(r.image[0, 0, 0]) for r in results} == {0 if value < 0 else 255}


@pytest.mark.parametrize(
    ("text", "source", "arguments", "targeted", "words"),
    [
        ("", "gone.py:attack", "", False, r"The file .*gone\.py of --attack cannot be read"),
        ("x = 1", "mine.py:attack", "", False, "has no function 'attack' to make the attack with"),
        ("attack = 3", "mine.py:attack", "", False, "is a int, which cannot be called"),
        ("def attack(:", "mine.py:attack", "", False, r"mine\.py of --attack cannot be run \(SyntaxError.*line 1"),
        ("import gone_module", "mine.py:attack", "", False, "cannot be run .ModuleNotFoundError"),
        ("", "gone_module:attack", "", False, "module 'gone_module' of --attack cannot be.*FILE.py:function"),
        ("", "os:attack", "", False, "is a part of Python itself, which makes no attacks"),
        (
            "def attack(model, x): ...",
            "mine.py:attack",
            "",
            False,
            r"as attack\(model, x, y\) .*It is attack\(model, x\)",
        ),
        ("def attack(model, x, y): ...", "mine.py:attack", "eps=1", False, r"attack\(model, x, y, eps=\.\.\.\)"),
        ("def attack(model, x, y, z): ...", "mine.py:attack", "", False, "missing a required argument: 'z'"),
        ("def attack(model, x, y): ...", "mine.py:attack", "", True, "cannot be aimed: .*has no argument `target`"),
        ("def attack(model, x, target): ...", "mine.py:attack", "", True, "multiple values for argument 'target'"),
        (SIGN, "mine.py:attack", "y=3", False, "names 'y', which the attack is given anyway"),
        (SIGN, "mine.py:attack", "eps", False, "--attack-args: 'eps' is no argument"),
        (SIGN, "mine.py:attack", "eps=1 eps=2", False, "--attack-args names 'eps' twice"),
        (SIGN, "mine.py:attack", "{1}", False, "--attack-args '.1.' is no JSON"),
    ],
)
def test_what_is_no_attack_is_refused_before_anything_is_run(code, tmp_path, text, source, arguments, targeted, words):
    code(text)
    with pytest.raises(AevisError, match=words):
        foreign_attack(source, arguments, targeted, tmp_path)


def test_any_keywords_take_the_target(code, classifier):
    source = of_body(code, "assert kw['target'].tolist() == [0, 1, 2, 0]\nreturn x", "model, x, y, **kw")
    found = run(classifier, source, targets=[0, 1, 2, 0])
    predicted = [p.label for p in classifier.predict(IMAGES)]
    assert [r.success for r in found] == [a == b for a, b in zip(predicted, [0, 1, 2, 0], strict=True)]


def test_arguments_are_numbers_texts_and_fractions():
    read = attack_arguments("eps=8/255 norm=L2 steps=10 a=1/0 b=x/2 c=1.5/3 d=[1,2]")
    assert read == {"eps": 8 / 255, "norm": "L2", "steps": 10, "a": "1/0", "b": "x/2", "c": 0.5, "d": [1, 2]}
