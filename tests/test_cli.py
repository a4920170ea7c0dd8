"""The command line: one JSON document each, one line for what the user can mend, and nothing lost."""

import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import test_workspace as bad
import torch
from PIL import Image

from aevis_dash import assistant, make_workspace
from aevis_dash.callbacks.trail import flips
from aevis_dash.cli import main, make_parser, output, trails
from aevis_dash.cli.answers import extraction_text
from aevis_dash.cli.layer_maps import LEAST_SHARE
from aevis_dash.cli.verifications import verification, verification_text
from aevis_dash.config import AttackParameters, resource
from aevis_dash.core import datapath
from aevis_dash.core.attacked import Attacked
from aevis_dash.domain import FeatureMap, Role, Verdict, Verification
from aevis_dash.images import write_image
from aevis_dash.learning import Learning
from aevis_dash.workbench import Workbench, open_workbench
from aevis_dash.workbench.flips import DONORS
from aevis_dash.workbench.judging import Judging
from aevis_dash.workspace import Workspace
from aevis_dash.world.network import MEAN, STD, drawn_world_resnet

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = resource("models") / make_workspace.WORLD_WEIGHTS
DRAWN = "aevis_dash.world.network:drawn_world_resnet"


@pytest.fixture
def aevis(capsys):
    """Runs a command; gives its status, what it printed and what it complained of."""

    def run(*argv):
        capsys.readouterr()
        status = main([str(a) for a in argv])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def document(aevis):
    """Runs a command with --json that must succeed without a warning; gives its document."""

    def run(*argv):
        status, out, err = aevis(*argv, "--json")
        assert (status, err) == (0, "")
        assert out.count("\n") == 1
        found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert found["warnings"] == []
        return found

    return run


@pytest.fixture
def refused(aevis):
    """Runs a command that must be refused, in one line; gives that line. With --json it says the same."""

    def run(*argv):
        status, out, err = aevis(*argv)
        assert status == 2
        assert out == ""
        assert err.startswith("aevis: ")
        assert err.count("\n") == 1
        assert err.rstrip()[-1] in ".)"
        status, out, again = aevis(*argv, "--json")
        assert status == 2
        assert json.loads(out) == {"error": err.removeprefix("aevis: ").rstrip("\n")}
        assert again == err
        return err

    return run


def opening(root):
    return Workspace(root).settings.opens_on


def everything(root):
    """Every file of a workspace but its results, with its bytes."""
    return {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and "cache" not in p.relative_to(root).parts}


# The grammar


def test_alone_it_helps(aevis):
    status, out, _ = aevis()
    assert status == 0
    verbs = "serve init import check attack score extract contribute verify trail world diverge beside evaluate"
    for verb in [*verbs.split(), "benchmark"]:
        assert f"\n    {verb}" in out


@pytest.mark.parametrize(
    "argv",
    [
        ["sing"],
        ["check"],
        ["init", "x", "--images", "i"],
        ["beside", "x"],
        ["beside", "x", "y", "--examples", "0"],
        ["serve", "--port", "0"],
        ["serve", "--port", "http"],
        ["serve", "--prefix", "/a?b/"],
        ["serve", "--job-hours", "0"],
        ["serve", "--job-hours", "nan"],
        ["serve", "--least-disk", "-1"],
        ["serve", "--least-disk", "nan"],
        ["serve", "--log", "xml"],
        ["serve", "--trust-proxy", "proxy.example"],
        ["serve", "--prefix", "/a/../b/"],
        ["attack", "x", "--epsilon", "big"],
        ["init", "x", "--model", "m", "--images", "i", "--input-size", "3x4x5"],
        ["init", "x", "--model", "m", "--images", "i", "--mean", "1,,2"],
        ["contribute", "x", "--example", "e", "--layer", "l", "--map", "1", "--area", "0,0,1.5,2"],
        ["score", "x", "--exampel", "e"],
        ["diverge", "x", "--seed", "-1"],
        ["diverge", "x", "--seed", "99999999999999999999"],
        ["verify", "x", "--example", "e", "--seed", "1.5"],
        ["verify", "x", "--example", "e", "--seed", "²"],
        ["verify", "x", "--example", "e", "--random", "9" * 5000],
        ["serve", "--port", "²"],
        ["serve", "--port", "9" * 5000],
        ["trail", "x", "--beam", "²"],
        ["init", "x", "--model", "m", "--images", "i", "--input-size", "²"],
        ["init", "x", "--model", "m", "--images", "i", "--input-size", "9" * 5000],
    ],
)
def test_what_is_no_command_ends_with_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert "usage: aevis" in capsys.readouterr().err


def test_the_attacks_options_are_its_parameters(capsys):
    args = make_parser().parse_args(["attack", "x", "--epsilon", "4", "--steps", "3", "--momentum", "0.5"])
    assert (args.epsilon, args.steps, args.momentum) == ([4.0], 3, 0.5)
    assert main(["attack", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "number of steps, at most where the attack stops (default: the workspace's; 10 in a new one)" in said
    assert "the first step whose stored image succeeds with the margin (default: the workspace's; no in a new" in said


def test_help_does_not_wait_for_torch():
    code = "import sys; from aevis_dash.cli import main; main([]); sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("aevis-dash ")


# The verbs


def test_check(aevis, document, drawn_world):
    found = document("check", drawn_world)
    assert (found["images"], found["layers"], found["accuracy"]) == (60, 25, 1.0)
    assert found["without_a_gate"] == "none"
    _, out, _ = aevis("check", drawn_world)
    assert f"feature maps            {found['feature_maps']}\n" in out


def test_score_says_what_the_workbench_says(aevis, document, drawn_world):
    bench = open_workbench(drawn_world)
    judged = bench.judging.judged_examples()
    found = document("score", drawn_world)
    assert [e["example"] for e in found["examples"]] == [j.example.id for j in judged]
    assert [e["misclassified"] for e in found["examples"]] == [j.misclassified for j in judged]
    np.testing.assert_allclose([e["score"] for e in found["examples"]], [j.score for j in judged])
    np.testing.assert_allclose([e["margin"] for e in found["examples"]], [j.margin.value for j in judged])
    assert {e["margin_is"] for e in found["examples"]} <= {"exact", "at least"}
    assert found["auroc"] == pytest.approx(bench.judging.auroc(judged))
    chosen = judged[3]
    status, out, _ = aevis("score", drawn_world, "--example", chosen.example.id)
    assert status == 0
    row = out.splitlines()[2].split()
    names = [bench.class_names[p.label] for p in (chosen.source, chosen.adversarial)]
    assert row[:5] == [chosen.example.id, *names, "yes" if chosen.misclassified else "no", f"{chosen.score:.3f}"]
    assert row[5] == str(chosen.margin)
    seen = chosen.perturbation
    assert row[6:9] == [f"{seen.linf}/255", f"{seen.l2:.2f}", f"{seen.changed:.0%}"]
    assert [e["outcome"] for e in found["examples"]] == [str(j.outcome) for j in judged]
    assert {e["linf"] for e in found["examples"]} <= {7, 8}
    failed = next(j for j in judged if not j.misclassified)
    _, out, _ = aevis("score", drawn_world, "--example", failed.example.id)
    assert out.splitlines()[2].endswith(f"  attack failed: still {bench.class_names[failed.source.label]}")


def test_score_says_both_aurocs_for_every_epsilon(aevis, document, world):
    document("attack", world, "--epsilon", "2", "--image", *(e.file for e in Workspace(world).images[:20]))
    bench = open_workbench(world)
    fooled = [e for e in bench.judging.judged_examples() if e.misclassified]
    found = document("score", world)
    assert found["score_by"] == bench.judging.score_by
    assert [(each["epsilon"], each["misclassified"]) for each in found["by_epsilon"]] == [
        ("2", sum(e.example.epsilon == 2 for e in fooled)),
        ("8", sum(e.example.epsilon == 8 for e in fooled)),
        ("all", len(fooled)),
    ]
    for each in found["by_epsilon"]:
        members = [e for e in fooled if each["epsilon"] in ("all", f"{e.example.epsilon:g}")]
        for by in ("features", "direction"):
            assert each[by] == asdict(bench.judging.separation(members, by))
    other = document("score", world, "--score-by", "direction")
    judged = bench.judging.scored_by(bench.judging.judged_examples(), "direction")
    np.testing.assert_allclose([e["score"] for e in other["examples"]], [e.score for e in judged])
    assert other["auroc"] == found["by_epsilon"][-1]["direction"]["auroc"]
    assert other["by_epsilon"] == found["by_epsilon"]
    _, out, _ = aevis("score", world, "--score-by", "direction")
    assert "AUROC of the score by direction, misclassified against their sources: " in out
    last = found["by_epsilon"][-1]
    for each in (last["features"], last["direction"]):
        assert f"{each['auroc']:.3f} [{each['low']:.3f}, {each['high']:.3f}], n = {each['n']}" in out.splitlines()[-1]


def test_score_says_how_many_noisy_copies_keep_the_label(aevis, document, drawn_world):
    bench = open_workbench(drawn_world)
    judged = bench.judging.judged_examples()[:6]
    ids = [e.example.id for e in judged]
    found = document("score", drawn_world, "--example", *ids, "--noise", "5")
    for each, own in zip(found["examples"], judged, strict=True):
        wanted = bench.attacks.kept_under_noise(own.example, 5) if own.misclassified else None
        assert each["kept_under_noise"] == wanted
    shares = [each["kept_under_noise"] for each in found["examples"] if each["misclassified"]]
    assert found["by_epsilon"][0]["kept_under_noise"] == shares
    _, out, _ = aevis("score", drawn_world, "--example", *ids, "--noise", "5")
    assert f"{np.mean(shares):.1%} of copies, all of {shares.count(1.0)}" in out.splitlines()[-1]
    assert document("score", drawn_world)["examples"][0]["kept_under_noise"] is None


def test_score_says_why_there_is_no_score_and_no_auroc(aevis, world):
    """Without other images of the class that an adversarial is taken for there is nothing to compare it with."""
    bench = open_workbench(world)
    chosen = next(j for j in bench.judging.judged_examples() if j.misclassified)
    failed = next(j for j in bench.judging.judged_examples() if not j.misclassified)
    name = bench.class_names[chosen.adversarial.label]
    table, taken = world / "images.csv", {j.label for j in (chosen.adversarial,)}
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *(row for row in rows if int(row.rsplit(",", 1)[1]) not in taken)]))
    why = f"no score: no other clean image is predicted as {name}"
    _, out, _ = aevis("score", world, "--example", chosen.example.id)
    assert out.splitlines()[2].endswith(why)
    assert "their sources: - (no misclassified adversarial has a score, because no other clean image" in out
    found = json.loads(aevis("score", world, "--example", chosen.example.id, failed.example.id, "--json")[1])
    assert found["examples"][0]["no_score"] == why
    assert found["examples"][0]["score"] is None
    _, out, _ = aevis("score", world, "--example", failed.example.id)
    assert out.rstrip().endswith("- (none of these examples is misclassified)")
    found = json.loads(aevis("score", world, "--json")[1])
    assert (found["no_auroc"], found["auroc"] is None) == ("", False)


def test_score_says_that_no_source_can_be_scored(aevis, world):
    bench = open_workbench(world)
    chosen = next(j for j in bench.judging.judged_examples() if j.misclassified)
    table = world / "images.csv"
    head, *rows = table.read_text().splitlines()
    others = [
        r for r in rows if r.split(",")[0] == chosen.example.source or r.rsplit(",", 1)[1] != str(chosen.source.label)
    ]
    table.write_text("\n".join([head, *others]))
    found = json.loads(aevis("score", world, "--example", chosen.example.id, "--json")[1])
    assert found["no_auroc"] == "no source has a score, because no other clean image is predicted as its class"
    assert found["examples"][0]["no_score"] == ""


@pytest.mark.parametrize("trained", [True, False])
def test_init_says_first_that_a_model_only_guesses(aevis, init, drawn_world, tmp_path, trained):
    photos = tmp_path / "drawn"
    for entry in Workspace(drawn_world).images:
        (photos / entry.file.split("-")[0]).mkdir(parents=True, exist_ok=True)
        shutil.copy(drawn_world / "images" / entry.file, photos / entry.file.split("-")[0] / entry.file)
    names = tmp_path / "all.txt"
    names.write_text("\n".join(Workspace(drawn_world).class_names))
    argv = [*init, "--images", photos, "--classes", names]
    if not trained:
        argv += ["--model", "test_cli:untrained", "--weights", ""]
    mean, std = (",".join(map(str, each)) for each in (MEAN, STD))
    status, out, err = aevis(*argv, "--mean", mean, "--std", std)
    assert status == 0
    assert out.splitlines()[-1].startswith("Next: aevis attack" if trained else "Once that is mended: aevis attack")
    said = "as guessing among 10 classes may, too"
    assert ((said in out), (said in err)) == (not trained, not trained)


def untrained():
    torch.manual_seed(0)
    return drawn_world_resnet()


def test_warnings_are_said_before_the_work_and_stand_in_the_document(aevis, drawn_world, monkeypatch):
    """On stderr whatever becomes of the command; those that the work gave rise to are said after it."""
    said = ["The labels look shifted."]
    monkeypatch.setattr(Workbench, "warnings", property(lambda _: tuple(said)))
    status, out, err = aevis("score", drawn_world, "--json")
    assert (status, json.loads(out)["warnings"], err) == (0, said, f"aevis: warning: {said[0]}\n")
    status, out, err = aevis("score", drawn_world, "--example", "nobody")
    assert (status, out) == (2, "")
    assert [line.partition(": ")[2][:8] for line in err.splitlines()] == ["warning:", "There is"]

    judge = Judging.judged_examples
    monkeypatch.setattr(Judging, "judged_examples", lambda *args: said.append("Two\nlines.") or judge(*args))
    status, out, err = aevis("score", drawn_world, "--json")
    assert json.loads(out)["warnings"] == said
    assert err == "".join(f"aevis: warning: {' '.join(sentence.split())}\n" for sentence in said)


def test_attack_takes_the_workspaces_parameters_and_the_options(document, world):
    entry = Workspace(world).images[0].file
    first = document("attack", world, "--image", entry, "--epsilon", 2, "--target", "cat")
    assert first["attacked"] == 1
    (made,) = first["examples"]
    assert made["example"].startswith(f"{Path(entry).stem}-mifgsm2x10-to-2-")
    bench = open_workbench(world)
    made = bench.workspace.examples()[-1]
    change = np.ptp(bench.workspace.read([made.adversarial, entry]).astype(int), axis=0)
    assert change.max() == 2
    (label,) = bench.judging.predict([made.adversarial])
    assert first["examples"][0]["success"] == (label.label == 2)
    assert first["examples"][0]["adversarial"] == bench.class_names[label.label]


def test_attack_makes_an_example_for_each_of_several_epsilons(document, aevis, world):
    files = [e.file for e in Workspace(world).images[:3]]
    found = document("attack", world, "--image", *files, "--attack", "fgsm", "--epsilon", 1, 4, 1, 2)
    assert found["attacked"] == 9
    assert [each["epsilon"] for each in found["examples"]] == [1] * 3 + [4] * 3 + [2] * 3
    assert all(each["linf"] <= each["epsilon"] for each in found["examples"])
    _, out, _ = aevis("attack", world, "--image", *files, "--attack", "fgsm", "--epsilon", 1, 4, 2)
    assert out.endswith(f"{found['successful']} of 9 attacks succeeded.\n")
    argv = ("attack", world, "--image", *files, "--attack", "pgd", "--norm", "l2", "--target", "nearest")
    in_l2 = document(*argv, "--smallest", "--epsilons", "0.25,4")
    assert {each["attack"].partition(",")[0] for each in in_l2["examples"]} <= {"PGD L2 0.25", "PGD L2 4"}
    assert {each["epsilon"] for each in in_l2["examples"]} <= {255 / 4, 255}


SHIFT = """
import torch
def attack(model, x, y, eps=0.02, target=None):
    x.requires_grad_()
    aim = y if target is None else target
    loss = torch.nn.functional.cross_entropy(model(x), aim, reduction="sum") * (1 if target is None else -1)
    return (x + eps * torch.autograd.grad(loss, x)[0].sign()).clamp(0, 1)
"""


def test_attack_by_corruptions_and_patches(document, refused, world):
    files = [e.file for e in Workspace(world).images[:20]]
    argv = ("attack", world, "--image", *files, "--attack")
    noisy, weak = (document(*argv, "noise", "--severity", severity) for severity in (5, 1))
    assert weak["attacked"] == 20, "the others are kept too"
    assert noisy["successful"] > 0
    assert weak["successful"] < 20
    assert {each["attack"] for each in noisy["examples"]} == {"Gaussian noise of severity 5"}
    assert noisy["examples"][0]["example"].startswith(f"{Path(files[0]).stem}-noise5-")
    assert "not an attack on its source" not in {each["outcome"] for each in noisy["examples"]}
    patched = document(*argv, "patch", "--patch-size", 24, "--patch-top", 20, "--patch-left", 20, "--target", "cat")
    words = "patch of 24 x 24 pixels, 20 rows down, 20 columns right, 10 steps, towards cat"
    assert {each["attack"] for each in patched["examples"]} == {words}
    assert patched["successful"] > 0
    bench = open_workbench(world)
    for each in patched["examples"]:
        example = bench.workspace.example(each["example"])
        source, adversarial = bench.workspace.read([example.source, example.adversarial])
        source[20:44, 20:44] = adversarial[20:44, 20:44]
        np.testing.assert_array_equal(source, adversarial)
    assert bench.judging.warnings() == ()
    before = everything(world)
    for more, said in [
        (["blur", "--target", "cat"], "Gaussian blur aims at no class. Leave out --target"),
        (["jpeg", "--epsilon", "8"], "--epsilon means nothing to jpeg, which takes --severity."),
        (["contrast", "--smallest"], "--smallest means nothing to contrast, which takes no --epsilon"),
        (["mi-fgsm", "--severity", "2"], "--severity means nothing to mi-fgsm"),
        (["noise", "--severity", "6"], "severity = 6 is too large"),
        (["patch", "--patch-size", "65"], "does not fit into an image of 64 rows"),
    ]:
        assert said in refused(*argv, *more)
    assert everything(world) == before


def test_attack_by_a_function_of_ones_own(document, refused, world, tmp_path):
    files, mine = [e.file for e in Workspace(world).images[:20]], tmp_path / "mine.py"
    mine.write_text(SHIFT)
    argv = ("attack", world, "--image", *files, "--attack", f"{mine}:attack")
    plain = document(*argv, "--attack-args", "eps=8/255")
    assert plain["attacked"] == 20
    assert plain["successful"] > 0
    assert plain["margin"] is None
    assert {each["attack"] for each in plain["examples"]} == {"mine.py:attack (eps=0.0313725)"}
    assert {each["linf"] for each in plain["examples"]} == {8}
    assert {each["epsilon"] for each in plain["examples"]} == {None}, "it is not known what the function may do"
    assert all(
        f"{Path(file).stem}-attack-" in each["example"] for file, each in zip(files, plain["examples"], strict=True)
    )
    built_in = document("attack", world, "--image", *files, "--attack", "fgsm", "--epsilon", 8)
    assert [e["adversarial"] for e in plain["examples"]] == [e["adversarial"] for e in built_in["examples"]]
    aimed = document(*argv, "--target", "cat")
    assert {each["attack"] for each in aimed["examples"]} == {"mine.py:attack, towards cat"}

    def ids(found):
        return {each["example"] for each in found["examples"]}

    assert ids(document(*argv, "--attack-args", '{"eps": 0.03137254901960784}')) == ids(plain)
    mine.write_text(f"# edited\n{SHIFT}")
    assert not ids(document(*argv, "--attack-args", "eps=8/255")) & ids(plain), "an edited attack is another one"
    before = everything(world)
    for more, words in [
        (["--epsilon", "8"], "--epsilon means nothing to"),
        (["--smallest"], "--smallest means nothing to"),
        (["--margin", "1"], "--margin means nothing to"),
        (["--attack-args", "delta=1"], "mine.py:attack cannot be called as attack(model, x, y, delta=...)"),
    ]:
        assert words in refused(*argv, *more)
    mine.write_text("def attack(model, x, y):\n    return x.gone\n")
    assert f"It happened in {mine}, line 2: 'return x.gone'" in refused(*argv)
    assert "cannot be aimed: it is attack(model, x, y)" in refused(*argv, "--target", "cat")
    assert "--attack-args means nothing to mi-fgsm" in refused("attack", world, "--attack-args", "eps=1")
    assert everything(world) == before


def test_a_workspaces_own_attack_may_be_a_function(document, world):
    (world / "mine.py").write_text(SHIFT)
    toml = (world / "workspace.toml").read_text()
    own = 'attack = "mine.py:attack"\nattack_args = "eps=4/255"\nstop = true\n'
    lines = [line for line in toml.splitlines() if not re.match("(attack|attack_args|stop) =", line)]
    (world / "workspace.toml").write_text("\n".join(lines).replace("[attack]\n", f"[attack]\n{own}") + "\n")
    entry = Workspace(world).images[0].file
    (made,) = document("attack", world, "--image", entry)["examples"]
    assert (made["attack"], made["linf"]) == ("mine.py:attack (eps=0.0156863)", 4)
    (made,) = document("attack", world, "--image", entry, "--attack", "fgsm", "--epsilon", 2)["examples"]
    assert made["attack"].startswith("FGSM 2/255, margin 1")


def test_an_attack_that_rounding_undid_is_counted(document, aevis, world, monkeypatch):
    files = [e.file for e in Workspace(world).images[:3]]
    monkeypatch.setattr(Attacked, "lost", property(lambda self: True))
    argv = ("attack", world, "--image", *files, "--epsilon", "1.5")
    assert document(*argv)["lost_in_8_bits"] == 3
    assert aevis(*argv)[1].endswith(
        "attacks succeeded. Rounding to 8 bits undid 3 that had succeeded; --floats keeps such images as floats.\n"
    )


BORDER = """
import torch

def attack(model, x, y):
    x = x.requires_grad_()
    torch.nn.functional.cross_entropy(model(x), y, reduction="sum").backward()
    far = (x.detach() + 16 / 255 * x.grad.sign()).clamp(0, 1)
    low, high = torch.zeros(len(x), 1, 1, 1), torch.ones(len(x), 1, 1, 1)
    for _ in range(12):
        middle = (low + high) / 2
        fools = (model(x.detach() + middle * (far - x.detach())).argmax(1) != y)[:, None, None, None]
        low, high = torch.where(fools, low, middle), torch.where(fools, middle, high)
    return x.detach() + high * (far - x.detach())
"""


def test_attacks_that_rounding_undid_are_kept_as_floats(document, aevis, world):
    """The attack ends just beyond the border between two classes, where rounding turns some images back."""
    (world / "border.py").write_text(BORDER)
    files = [e.file for e in Workspace(world).images[:12]]
    argv = ("attack", world, "--image", *files, "--attack", world / "border.py:attack")
    rounded = document(*argv)
    assert rounded["lost_in_8_bits"] > 0 == rounded["kept_as_floats"]
    kept = document(*argv, "--floats")
    assert (kept["kept_as_floats"], kept["lost_in_8_bits"]) == (rounded["lost_in_8_bits"], 0)
    assert kept["successful"] == rounded["successful"] + rounded["lost_in_8_bits"]
    bench = open_workbench(world)
    lost = {e.source for e in bench.workspace.examples() if e.lost_in_8_bits}
    made = [bench.workspace.example(each["example"]) for each in kept["examples"]]
    assert {e.source for e in made if e.adversarial.endswith(".float.npy")} == lost
    model, how = bench.base.loaded.model, bench.workspace.settings.preprocessing
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (how.mean, how.std))
    for example in made:
        if example.source not in lost:
            continue
        pixels = torch.from_numpy(np.load(world / example.adversarial)).movedim(-1, 0)
        with torch.no_grad():
            own = model(((pixels - mean) / std)[None]).argmax(1)
        assert bench.judging.predict([example.adversarial])[0].label == own != example.true_label
    text = aevis(*argv, "--floats")[1]
    assert f"undone {len(lost)}, which are kept as floats; their pictures are rounded." in text
    once = everything(world)
    assert document(*argv, "--floats") == kept
    assert everything(world) == once


def test_floats_mean_nothing_to_a_corruption(refused, world):
    assert "--floats means nothing to noise" in refused("attack", world, "--attack", "noise", "--floats")


def test_attack_with_a_margin_stops_and_tells_the_margin(aevis, document, world):
    files = [e.file for e in Workspace(world).images[:16]]
    found = document("attack", world, "--image", *files, "--epsilon", "4", "--margin", "2")
    assert found["margin"] == 2
    judged = {j.example.id: j for j in open_workbench(world).judging.judged_examples()}
    for each in found["examples"]:
        own = judged[each["example"]]
        assert each["margin"] == pytest.approx(own.margin.value)
        assert each["success"] == (own.misclassified and own.margin.value >= 2 - 1e-4)
        assert each["attack"].startswith("MI-FGSM 4/255, 10 steps, margin 2")
        assert ("not reached" in each["attack"]) != each["success"]
        assert bool(each["reason"]) != each["success"]
    assert found["successful"] == sum(each["success"] for each in found["examples"])
    assert any("stopped early" in each["attack"] for each in found["examples"])
    _, out, _ = aevis("attack", world, "--image", *files, "--epsilon", "4", "--margin", "2")
    assert out.endswith(f"{found['successful']} of 16 attacks succeeded with a margin of at least 2.\n")


def test_attack_finds_the_smallest_epsilon_and_attacks_by_pgd(document, world):
    files = [e.file for e in Workspace(world).images[:8]]
    argv = ("attack", world, "--image", *files, "--smallest", "--attack", "pgd")
    found = document(*argv, "--epsilons", "4,0.5,2")
    assert found["margin"] == AttackParameters().margin
    assert {each["epsilon"] for each in found["examples"]} <= {1, 2, 4}
    assert all("-pgd0.5to4x10m1-" in each["example"] for each in found["examples"])
    assert all(each["linf"] <= each["epsilon"] for each in found["examples"])
    assert any("smallest with margin 1" in each["attack"] for each in found["examples"])
    again = document(*argv, "--epsilons", "0.5,2,4", "--seed", "1")
    assert not {each["example"] for each in again["examples"]} & {each["example"] for each in found["examples"]}


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--smallest", "--epsilon", "2"], "--smallest tries several epsilons"),
        (["--epsilons", "1,2"], "--epsilons are those that --smallest tries"),
        (["--margin", "1", "--no-stop"], "--no-stop takes all steps"),
        (["--smallest", "--no-stop"], "--no-stop takes all steps"),
        (["--attack", "pgd", "--momentum", "1"], "--momentum means nothing to pgd, which takes --epsilon, --steps,"),
        (["--attack", "fgsm", "--steps", "3"], "takes --epsilon, --stop, --margin, --seed, --floats. Leave it out."),
        (["--restarts", "3"], "--restarts means nothing to mi-fgsm"),
        (["--norm", "l2", "--epsilon", "1"], "--norm means nothing to mi-fgsm"),
        (["--attack", "pgd", "--norm", "l2"], "Say --epsilon, such as --epsilon 0.5."),
        (["--attack", "pgd", "--norm", "l2", "--smallest"], "Say --epsilons, such as --epsilons 0.5,1,2."),
        (["--epsilon", "4", "0.004"], "epsilon = 0.004 is too small. It must be at least 0.01"),
        (["--epsilon", "0.004"], "epsilon = 0.004 is too small. It must be at least 0.01"),
        (["--margin", "-1"], "margin = -1.0 is too small"),
    ],
)
def test_attacks_that_contradict_themselves_are_refused(refused, drawn_world, argv, words):
    assert words in refused("attack", drawn_world, *argv)


@pytest.mark.parametrize("text", ["", "a", "0.004", "1,256", "nan", "1,,2"])
def test_what_are_no_epsilons_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["attack", "x", "--smallest", "--epsilons", text])
    assert "no epsilons; give numbers from 0.01 to 255" in capsys.readouterr().err


def test_attack_by_class_leaves_out_images_of_the_target(document, refused, world):
    found = document("attack", world, "--class", "panda", "--target", "1", "--steps", "2")
    assert found["attacked"] == 6
    assert {e["source"] for e in found["examples"]} == {"panda"}
    assert "of the class 'panda' already" in refused("attack", world, "--class", "0", "--target", "panda")


def test_extract_reports_each_datapath(aevis, document, drawn_world):
    example = opening(drawn_world)
    triplet = open_workbench(drawn_world).datapaths.triplet(example)
    assert triplet is not None
    (found,) = document("extract", drawn_world, "--example", example, "--no-features")["examples"]
    assert [d["part"] for d in found["datapaths"]] == ["adversarial", "source", "candidate", "candidate", "null"]
    assert [d["size"] for d in found["datapaths"]] == [p.size for p in triplet.paths]
    assert [d["image"] for d in found["datapaths"]][2:4] == list(triplet.plan.candidates)
    assert [d["keeps_label"] for d in found["datapaths"]] == [p.keeps_hard for p in triplet.paths]
    np.testing.assert_allclose([d["p_hard"] for d in found["datapaths"]], [p.p_hard for p in triplet.paths])
    assert found["target"] == triplet.plan.candidates[triplet.target]
    assert found["passes"] == pytest.approx(sum(p.passes for p in triplet.paths))
    assert (found["method"], found["asked_share"]) == ("elimination", 0)
    assert [d["core"] for d in found["datapaths"]] == [p.core.sum() for p in triplet.paths]
    assert [(d["label"], d["rival"]) for d in found["datapaths"]][:3] == [
        ("monkey", "panda"),
        ("panda", "monkey"),
        ("monkey", "panda"),
    ]
    status, out, _ = aevis("extract", drawn_world, "--example", example, "--no-features")
    assert status == 0
    marked = [line for line in out.splitlines() if line.startswith("target ")]
    assert len(marked) == 1
    assert found["target"] in marked[0]


def test_extract_lists_the_maps_of_a_layer_with_who_needs_them_and_what_they_turn_back(aevis, document, drawn_world):
    example, bench = opening(drawn_world), open_workbench(drawn_world)
    asked = ("extract", drawn_world, "--example", example, "--no-features", "--layer", "layer4.1.relu_1")
    triplet, layer = bench.datapaths.triplet(example), bench.layers.find("layer4.1.relu_1")
    maps = document(*asked)["examples"][0]["maps"]
    assert len({each["map"] for each in maps}) == len(maps)
    shares = bench.layers.part(bench.flips.turning(example).shares, layer.index)
    assert [each["turns_back"] for each in maps] == pytest.approx([float(shares[each["map"]]) for each in maps])
    assert [each["turns_back"] for each in maps] == sorted((float(shares[each["map"]]) for each in maps), reverse=True)
    turning = {c for c in range(layer.channels) if shares[c] >= LEAST_SHARE}
    assert {each["map"] for each in maps if not each["critical"]} <= turning <= {each["map"] for each in maps}
    for role in Role:
        critical, gates = (
            bench.layers.part(values, layer.index) for values in (triplet.path(role).critical, triplet.path(role).gates)
        )
        assert {each["map"] for each in maps if role.short in each["critical"]} == set(np.flatnonzero(critical))
        assert [each["gates"][role.short] for each in maps] == pytest.approx(
            [float(gates[each["map"]]) for each in maps]
        )
    _, out, _ = aevis(*asked)
    first = next(line.split() for line in out.splitlines() if line.split()[:1] == [str(maps[0]["map"])])
    assert f"{maps[0]['turns_back']:+.1%}" in first


def test_extract_takes_the_misclassified_and_says_why_one_cannot_be(document, world):
    few = [j.example for j in open_workbench(world).judging.judged_examples() if not j.misclassified][:1]
    few += [e for e in Workspace(world).examples() if e.id == opening(world)]
    lonely = next(e for e in Workspace(world).examples() if e.source.startswith("bicycle"))
    table = world / "examples.csv"
    kept = [line for line in table.read_text().splitlines() if line.split(",")[0] in {e.id for e in [*few, lonely]}]
    table.write_text("\n".join([table.read_text().splitlines()[0], *kept]) + "\n")
    label = open_workbench(world).judging.predict([lonely.adversarial])[0].label
    name = Workspace(world).class_names[label]
    images = world / "images.csv"
    images.write_text("".join(x for x in images.read_text().splitlines(True) if not x.startswith(name)))
    found = document("extract", world)["examples"]
    assert {e["example"] for e in found} == {few[1].id, lonely.id}
    said = next(e["refused"] for e in found if e["example"] == lonely.id)
    assert f"No clean image of the workspace is predicted as {name!r}" in said
    assert open_workbench(world).learning.stored_features() is not None


def test_learn_completes_the_index_and_makes_a_picture(document, aevis, world, tmp_path):
    bench, figure = open_workbench(world), tmp_path / "map.png"
    layer = bench.layers.layers[20]
    found = document("learn", world, "--layer", layer.name, "--map", 7, "--figure", figure)
    assert bench.learning.complete
    index = bench.learning.index()
    assert (found["images"], found["feature_maps"]) == (60, bench.layers.n_maps)
    assert found["firing_maps"] == (index.activation.image[:, 0] >= 0).sum()
    assert 0.1 < found["same_first_image_by_relevance"] < 0.9
    assert found["named_after_parts"] == sum(map(bool, bench.learning.part_names()))
    made = bench.learning.stored_visualisation(FeatureMap(20, 7))
    assert found["activation"] == pytest.approx(made.activation)
    np.testing.assert_array_equal(np.asarray(Image.open(figure)), made.image)
    status, _, said = aevis("learn", world, "--layer", layer.name)
    assert status == 2
    assert "A picture needs a --layer, a --map and a --figure" in said


def test_contribute_ranks_what_the_workbench_finds(aevis, document, drawn_world):
    example, bench = opening(drawn_world), open_workbench(drawn_world)
    layer, earlier = bench.layers.layers[20], bench.layers.layers[19]
    argv = ["contribute", drawn_world, "--example", example, "--layer", layer.name, "--map", 7]
    found = document(*argv)
    assert (found["from"], found["area"]) == (earlier.name, [0, 0, layer.height, layer.width])
    assert [r["role"] for r in found["roles"]] == ["source", "adversarial", "target"]
    for row in found["roles"]:
        values = [m["contribution"] for m in row["maps"]]
        assert len(values) == 10
        assert values == sorted(values, reverse=True)
    part = document(*argv, "--area", "1,0,3,2", "--from", bench.layers.layers[17].name)
    assert (part["from"], part["area"]) == (bench.layers.layers[17].name, [1, 0, 3, 2])
    status, out, _ = aevis(*argv)
    assert status == 0
    tops = [row["maps"][0]["map"] for row in found["roles"]]
    assert [w for w in out.splitlines()[3].split() if w.isdigit()][1:] == [str(m) for m in tops]


def test_the_most_active_neurons_are_those_on_the_named_image(aevis, document, drawn_world):
    bench = open_workbench(drawn_world)
    layer, triplet = bench.layers.find("layer3.2.relu"), bench.datapaths.triplet(opening(drawn_world))
    argv = ["contribute", drawn_world, "--example", opening(drawn_world), "--how", "quadratic", "--layer", layer.name]
    strongest = {r: bench.maps.activation_maps(triplet.image(r), layer.index).reshape(layer.channels, -1) for r in Role}
    chosen = next(c for c in range(layer.channels) if len({int(np.argmax(v[c])) for v in strongest.values()}) == 3)
    for role in Role:
        found = document(*argv, "--map", chosen, "--most-active", 1, "--on", role.short)
        row, column = divmod(int(np.argmax(strongest[role][chosen])), layer.width)
        assert (found["area"], found["most_active_on"]) == ([row, column, row + 1, column + 1], role)
    own = document(*argv, "--map", chosen, "--most-active", 1)
    assert own["most_active_on"] == bench.maps.role_of(triplet, FeatureMap(layer.index, chosen))
    _, out, _ = aevis(*argv, "--map", chosen, "--most-active", 1, "--on", "src")
    assert "the most active ones on the source image" in out


def test_contributions_to_single_neurons_and_to_the_prediction(aevis, document, drawn_world):
    bench = open_workbench(drawn_world)
    layer, argv = bench.layers.layers[20], ["contribute", drawn_world, "--example", opening(drawn_world)]
    for how in ("solved", "quadratic", "exact"):
        most = document(*argv, "--layer", layer.name, "--map", 7, "--most-active", 2, "--how", how)
        assert (most["how"], most["neurons"]) == (how, 2)
        whole = document(*argv, "--how", how, "--from", bench.layers.layers[23].name)
        assert (whole["layer"], whole["map"], whole["from"]) == (None, None, bench.layers.layers[23].name)
        source, adversarial, _ = whole["roles"]
        assert source["effect"] > 0 < adversarial["effect"]
    assert document(*argv)["from"] == bench.layers.layers[-1].name, "the nearest that feeds the prediction"
    _, out, _ = aevis(*argv, "--how", "exact")
    assert f"the prediction, from {bench.layers.layers[-1].name}, exact, against the other image of the pair:" in out
    assert "unexplained" not in out


def test_verify_says_at_every_depth_what_turns_the_prediction(aevis, document, filling_world):
    example, bench = opening(filling_world), open_workbench(filling_world)
    argv = ["verify", filling_world, "--example", example, "--random", 20]
    found = document(*argv)["layers"]
    assert [each["layer"] for each in found] == [bench.layers.layers[i].name for i in bench.flips.depths()]
    for each in found:
        assert each["labels"][0] == each["before"] == "monkey"
        assert each["labels"][-1] == each["wanted"] == "panda"
        assert len(each["margins"]) == len(each["maps"]) + 1
        assert each["margins"][0] < 0 < each["margins"][-1]
        assert each["random"]["sets"] == 20
    status, out, _ = aevis(*argv)
    assert status == 0
    rows = [line.split() for line in out.splitlines()[3:8]]
    assert [(row[0], row[1]) for row in rows] == [(each["layer"], str(len(each["maps"]))) for each in found]
    twice = document(*argv, "--layer", "layer4.2.relu_1", "layer4.2.relu_1")["layers"]
    assert [each["layer"] for each in twice] == ["layer4.2.relu_1"]
    one = document(*argv, "--layer", "layer4.2.relu_1", "--map", "1", "0", "--replace", "zero")["layers"]
    assert [(each["maps"], each["wanted"]) for each in one] == [([1, 0], None)]
    _, out, _ = aevis(*argv, "--layer", "layer4.2.relu_1", "--map", "1", "0")
    assert "Maps 1 0 do not turn it." in out
    few = [*(x if x != 20 else 5 for x in argv), "--layer", "layer4.2.relu_1"]
    for how, verdict in (("source", Verdict.OTHERS), ("mean", Verdict.TOO_FEW)):
        _, out, _ = aevis(*few, "--replace", how)
        (told,) = document(*few, "--replace", how)["layers"]
        assert told["verdict"] == verdict
        assert ("0% of 5 random sets as large do, too few to tell." in out) == (verdict is Verdict.TOO_FEW)


def test_trail_tells_what_the_assistant_found_and_flips_every_depth(
    aevis, document, refused, filling_world, tmp_path, monkeypatch
):
    bench, figure = open_workbench(filling_world), tmp_path / "new" / "trail.html"
    found = document("trail", filling_world, "--how", "quadratic", "--figure", figure)
    example = opening(filling_world)
    assert found["example"] == example
    hops = assistant.propose(bench, bench.datapaths.extract(example))
    assert [(h["layer"], h["map"]) for h in found["hops"]] == [(bench.layers.layers[h.layer].name, h.map) for h in hops]
    told = [h for h in found["hops"] if h["told"]]
    assert [h["map"] for h in told] == [h.map for h in assistant.best_line(hops)]
    assert (told[0]["effect"], told[1]["effect"]["map"]) == (None, told[0]["map"])
    assert found["depths"] == document("verify", filling_world, "--example", example)["layers"]
    depths = bench.flips.depths()
    assert len(found["edges"]) == len(depths) - 1
    for each, (earlier, later) in zip(found["edges"], reversed(list(pairwise(depths))), strict=True):
        edges = bench.flips.edges(example, earlier, later)
        assert (each["from"], each["layer"]) == tuple(bench.layers.layers[i].name for i in (earlier, later))
        assert each["kept"] == pytest.approx(float(edges.kept(edges.carried)))
    text = figure.read_text()
    assert "Plotly.newPlot" in text
    with monkeypatch.context() as without:
        without.delattr(Learning, "features")  # nothing is learned for a figure without images
        status, out, _ = aevis("trail", filling_world, "--how", "quadratic", "--figure", figure, "--no-images")
    assert status == 0
    assert text.count('"type":"image"') > figure.read_text().count('"type":"image"')
    assert figure.read_text().count('"type":"heatmap"') == text.count('"type":"heatmap"')
    assert len([x for x in told if x["margin"] <= x["margin_before"]]) == 0
    first = next(h for h in found["hops"] if h["layer"] == bench.layers.layers[0].name)
    assert first["randoms"] == bench.layers.layers[0].channels - 1, "every other map, each once, where they are few"
    assert [h["alike"] for h in found["hops"]] == [pytest.approx(h.alike.tolist()) for h in hops]
    assert [h["alike_beaten"] for h in found["hops"]] == [sum(gain < h.gain for gain in h.alike) for h in hops]
    assert f"more than {told[0]['beaten']} of the {told[0]['randoms']} other maps that were drawn; " in out
    again = f"moves the margin less for {told[0]['alike_beaten']} of {DONORS} images"
    assert again in out.splitlines()[1]
    assert f"and than {told[0]['alike_beaten']} of {DONORS} chosen from other images" in text
    assert f"1. {told[0]['layer']} map {told[0]['map']}" in out
    assert "Flip-back at every depth" in out
    last, kept = found["edges"][0], found["edges"][0]["kept"]
    (line,) = [line for line in out.splitlines() if line.startswith(f"{last['from']} ") and last["layer"] in line]
    assert f" {kept:.0%} " in line
    assert f"map {last['edges'][0]['from']} to map {last['edges'][0]['to']}, " in line
    beam = document("trail", filling_world, "--how", "quadratic", "--beam", 1)["hops"]
    assert len({h["layer"] for h in beam}) == len(beam), "one map at each depth"
    assert "There are no 'magic' contributions" in refused("trail", filling_world, "--how", "magic")
    assert "no example 'nobody'" in refused("trail", filling_world, "--example", "nobody")
    assert "is a folder" in refused("trail", filling_world, "--figure", tmp_path)


@pytest.mark.parametrize("name", ["workspace.toml", "images.csv", "notes.txt"])
def test_a_figure_takes_the_place_of_no_file_that_is_no_figure(refused, world, name):
    (world / "notes.txt").write_text("precious")
    before = (world / name).read_bytes()
    assert "is none of this program's pictures or tables" in refused("trail", world, "--figure", world / name)
    assert (world / name).read_bytes() == before


def test_a_trail_needs_an_example_where_the_workspace_opens_on_none(refused, world):
    settings = world / "workspace.toml"
    settings.write_text("".join(x for x in settings.read_text().splitlines(True) if not x.startswith("opens_on")))
    assert "Say which example: --example ID" in refused("trail", world)


def test_the_method_and_the_size_are_chosen_by_name(aevis, document, world):
    example, argv = opening(world), ["--method", "gradient", "--share", "0.05"]
    (found,) = document("extract", world, "--example", example, "--no-features", *argv)["examples"]
    assert (found["method"], found["asked_share"]) == ("gradient", 0.05)
    assert {d["method"] for d in found["datapaths"]} == {"gradient"}
    widths = [layer.channels for layer in open_workbench(world).layers.layers]
    assert {d["size"] for d in found["datapaths"]} == {sum(int(np.ceil(0.05 * width)) for width in widths)}
    _, out, _ = aevis("extract", world, "--example", example, "--no-features", *argv)
    assert "by gradient, 0.05 of each layer, " in out
    paths = world / "cache" / "datapath"
    stored = set(paths.iterdir())
    traced = ["contribute", world, "--example", example, "--layer", "layer3.1.relu_1", "--map", 7]
    of_method = document(*traced, *argv)
    assert (of_method["method"], of_method["asked_share"]) == ("gradient", 0.05)
    assert set(paths.iterdir()) == stored, "the stored datapaths are those"
    assert document(*traced)["method"] == "elimination"


def test_one_datapath_for_a_set_of_examples(aevis, document, refused, world):
    by_class: dict[str, list[str]] = {}
    for row in document("score", world)["examples"]:
        if row["misclassified"]:
            by_class.setdefault(row["adversarial"], []).append(row["example"])
    name, ids = max(by_class.items(), key=lambda item: len(item[1]))
    ids = ids[:3]
    argv = ["extract", world, "--set", "--no-features", "--share", "0.5", "--method", "gradient"]
    found = document(*argv, "--example", *ids)
    assert (found["examples"], found["images"]) == (ids, 3)
    assert (found["method"], found["asked_share"]) == ("gradient", 0.5)
    path = found["datapath"]
    assert (path["label"], path["rival"]) == (name, None)
    assert path["keeps_label"] == (found["kept"] == 3)
    bench = open_workbench(world)
    again = bench.datapaths.extract_set(
        [bench.workspace.example(i).adversarial for i in ids],
        replace(bench.workspace.settings.extraction, method="gradient", share=0.5),
    )
    assert (again.size, int(again.core.sum()), again.kept) == (path["size"], path["core"], found["kept"])
    _, out, _ = aevis(*argv, "--example", *ids)
    assert f"{found['kept']} of 3 keep the label {name!r}: hard set {path['size']} maps " in out
    assert f"core {path['core']}\n" in out
    assert "Choose images of one predicted class" in refused(*argv)
    assert "Leave out --set or --target" in refused(*argv, "--example", *ids, "--target", "panda-00.png")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--method", "guess"], "no method 'guess'. Choose one of: needed, elimination, constrained, "),
        (["--share", "-0.1"], "share = -0.1 is too small. It must be at least 0."),
        (["--share", "1.5"], "share = 1.5 is too large. It must be at most 1"),
        (["--share", "nan"], "nan is not a finite number"),
    ],
)
def test_methods_and_sizes_that_do_not_exist_are_refused(refused, drawn_world, option, words):
    assert words in refused("extract", drawn_world, *option)
    argv = ["contribute", drawn_world, "--example", opening(drawn_world), "--layer", "layer3.1.relu_1", "--map", 7]
    assert words in refused(*argv, *option)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--epsilon", "-1"], "epsilon = -1.0 is too small. It must be at least 0.01."),
        (["--epsilon", "inf"], "inf is not a finite number"),
        (["--steps", "0"], "steps = 0 is too small. It must be at least 1."),
        (["--momentum", "-2"], "momentum = -2.0 is too small"),
    ],
)
def test_an_attack_out_of_range_is_refused(refused, drawn_world, option, words):
    assert words in refused("attack", drawn_world, *option)


def test_world_makes_and_finishes(document, tmp_path, monkeypatch):
    for name, value in {
        "WORLD_IMAGES": 10,
        "WORLD_ATTACKED": 2,
        "WORLD_EPSILONS": (8.0,),
        "FRESH_DRAWINGS": 20,
    }.items():
        monkeypatch.setattr(make_workspace, name, value)
    found = document("world", tmp_path / "w", "--train", "--drawings", 64, "--epochs", 1)
    assert (found["images"], found["examples"], found["drawings"]) == (10, 2, 64)
    assert {"fresh_accuracy", "seconds"} <= found.keys()
    assert (tmp_path / "w" / "drawn-world.safetensors").read_bytes() != WEIGHTS.read_bytes()
    assert document("world", tmp_path / "v")["images"] == 10
    assert (tmp_path / "v" / "drawn-world.safetensors").read_bytes() == WEIGHTS.read_bytes()


def test_serve_hands_over_its_options(monkeypatch, aevis, document, tmp_path):
    import aevis_dash.serving
    from aevis_dash.callbacks.request_log import RequestLog

    served = []

    def serve(root, host, port, names, prefix, **further):
        print("serving")
        served.append((root, host, port, names, prefix, further))
        return ("doubtful",)

    monkeypatch.delenv("AEVIS_BROKER_URL", raising=False)
    monkeypatch.setattr(aevis_dash.serving, "serve", serve)
    assert aevis("serve")[:2] == (0, "serving\n")
    named = ("--allow-host", "lab.example", "--allow-host", "lab", "--prefix", "a/b", "--job-hours", 9)
    named += (
        "--beside",
        tmp_path / "other",
        "--least-disk",
        2.5,
        "--log",
        "json",
        "--log-addresses",
        "--trust-proxy",
        "10.0.0.7",
        "--quota",
        "2G",
    )
    status, out, err = aevis("serve", tmp_path, "--port", 9000, *named, "--json")
    answered = {"served": "http://127.0.0.1:9000/a/b", "warnings": ["doubtful"]}
    assert (status, json.loads(out), err) == (0, answered, "serving\n")
    given = (tmp_path, "127.0.0.1", 9000, ["lab.example", "lab"], "/a/b/")
    assert [each[:5] for each in served] == [(None, "127.0.0.1", 8050, [], "/"), given]
    plain = {"who": None, "insecure": False, "metrics": None, "broker": ""}
    assert [each[5] for each in served] == [
        {"hours": 4.0, "beside": None, "least_disk": 2**30, "log": RequestLog(), "form": "text", "quota": None} | plain,
        {
            "hours": 9.0,
            "beside": tmp_path / "other",
            "least_disk": 5 * 2**29,
            "log": RequestLog(("10.0.0.7",), True),
            "form": "json",
            "quota": 2 * 2**30,
        }
        | plain,
    ]


# Bad input, each in one line that names the place


@pytest.fixture
def init(tmp_path):
    """The options of an init that would work, to be spoilt; the last of the same name holds."""
    photos = tmp_path / "photos"
    for i, name in enumerate(("panda", "cat")):
        write_image(photos / name / f"{i}.png", bad.picture(i, 64, 64))
    classes = tmp_path / "names.txt"
    classes.write_text("\n".join("panda monkey cat cannon racket bicycle fish umbrella clock tree".split()))
    argv = ["init", tmp_path / "ws", "--model", DRAWN, "--weights", WEIGHTS, "--images", photos, "--classes", classes]
    return [*argv, "--input-size", "64", "--mean", ".5,.5,.5", "--std", ".25,.25,.25"]


def test_init_makes_what_check_accepts(document, init, tmp_path):
    made = document(*init, "--value-range=0,1")
    assert (made["images"], made["labelled"], made["left_out"]) == (2, 2, [])
    settings = Workspace(tmp_path / "ws").settings.preprocessing
    assert (settings.input_size, settings.mean, settings.std) == ((64, 64), (0.5,) * 3, (0.25,) * 3)
    assert document("check", tmp_path / "ws")["images"] == 2


def test_init_warns_where_height_and_width_of_the_input_were_exchanged(aevis, document, init, tmp_path):
    for i, name in enumerate(("panda", "cat")):
        write_image(tmp_path / "photos" / name / f"{i}.png", bad.picture(i, 64, 96))
    write_image(tmp_path / "photos" / "cat" / "square.png", bad.picture(3, 64, 64))
    status, _, said = aevis(*init, "--input-size", "96x64")
    assert (status, said) == (
        0,
        "aevis: warning: 2 of 3 images are 64 pixels high and 96 wide, and the model's input is 96 high and 64 wide. "
        "The size is said as height x width: if it was turned round, make the workspace anew with --input-size "
        "64x96.\n",
    )
    assert document(*init[:1], tmp_path / "mended", *init[2:], "--input-size", "64x96")["taken_as_they_are"] == 2


def test_init_says_how_images_are_fitted_and_writes_it_down(aevis, document, init, tmp_path):
    write_image(tmp_path / "photos" / "cat" / "large.png", bad.picture(3, 90, 120))
    made = document(*init)
    assert made["preprocessing"].endswith(
        "scaled until they just cover 64 x 64 (bilinear), of which the centre of 64 x 64 is kept"
    )
    assert made["preprocessing_is"] == "assumed; say --fit squeeze, crop or pad as the model was trained"
    assert (made["images"], made["taken_as_they_are"]) == (3, 2)
    assert 'fit = "crop"' in (tmp_path / "ws" / "workspace.toml").read_text()
    assert document("check", tmp_path / "ws")["preprocessing"] == made["preprocessing"]
    other = [*init[:1], tmp_path / "other", *init[2:]]
    status, out, _ = aevis(*other, "--fit", "squeeze", "--resize-size", "72x80", "--interpolation", "bicubic")
    assert status == 0
    assert "others are squeezed to 80 x 72 (bicubic), of which the centre of 64 x 64 is kept" in out
    settings = Workspace(tmp_path / "other").settings.preprocessing
    assert (settings.fit, settings.resize_size, settings.interpolation) == ("squeeze", (72, 80), "bicubic")


class Trap:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_init_refuses_weights_that_do_not_fit(refused, init, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"fc.weight": torch.zeros(2)}, path)
    assert f"The weights in {path} do not fit {DRAWN}" in refused(*init, "--weights", path)
    assert not (tmp_path / "ws").exists()


def test_init_does_not_run_a_pickle(refused, init, tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"fc.weight": Trap(tmp_path / "ran")}, path)
    assert f"{path} is not a file of plain tensors, so it is not opened" in refused(*init, "--weights", path)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "ws").exists()


def test_init_refuses_class_names_and_labels_that_do_not_match(refused, init, tmp_path):
    two = tmp_path / "two.txt"
    two.write_text("panda\ncat\n")
    assert "10 outputs but there are 2 class names" in refused(*init, "--classes", two)
    one_less = tmp_path / "nine.txt"  # without the cat, whose image would be refused for its label otherwise
    one_less.write_text("\n".join("panda monkey cannon racket bicycle fish umbrella clock tree".split()))
    assert "10 outputs but there are 9 class names" in refused(*init, "--classes", one_less)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n0.png,zebra\n")
    assert f"{labels}, line 2: the label 'zebra'" in refused(*init, "--labels", labels)
    assert not (tmp_path / "ws").exists()


def test_init_refuses_folders_that_cannot_be_used(refused, init, tmp_path):
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} holds no image" in refused(*init, "--images", tmp_path / "empty")
    assert "There is no folder" in refused(*init, "--images", tmp_path / "nowhere")
    assert "There is no folder" in refused(*init, "--images", tmp_path / "names.txt")
    blocked = ["init", tmp_path / "names.txt" / "ws", *init[2:]]
    assert "names.txt" in refused(*blocked)


@pytest.mark.parametrize("kind", ["truncated", "cmyk", "16-bit", "animated gif", "1x1", "huge"])
def test_init_refuses_an_unusable_image_or_leaves_it_out(refused, document, init, tmp_path, kind):
    path = bad.bad_image(tmp_path / "photos" / "cat", kind)
    said = refused(*init)
    assert str(path) in said
    assert "--skip-unreadable" in said
    assert not (tmp_path / "ws").exists()
    made = document(*init, "--skip-unreadable")
    assert made["images"] == 2
    assert len(made["left_out"]) == 1


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("hand_wired:Branching", "hand_wired.py, line "),
        ("hand_wired:nothing", "has no function 'nothing'"),
        ("test_cli:nan_net", "gives NaN or infinite logits"),
        ("test_cli:dropping", "Dropping changes from call to call in evaluation: the same image gives other outputs"),
    ],
)
def test_init_refuses_a_model_that_cannot_be_explained(refused, init, tmp_path, factory, words):
    argv = [a for a in init if a not in ("--weights", WEIGHTS)]
    argv[argv.index("--model") + 1] = factory
    names = tmp_path / "three.txt"
    names.write_text("a\nb\nc\n")
    assert words in refused(*argv, "--classes", names)
    assert not (tmp_path / "ws").exists()


def nan_net():
    """A net of three classes whose logits are NaN."""
    import hand_wired

    net = hand_wired.random_net(0)
    with torch.no_grad():
        net.head.bias[0] = float("nan")
    return net


def dropping():
    """A net that leaves its functional dropout on when it predicts."""
    import hand_wired

    class Dropping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = hand_wired.random_net(0)

        def forward(self, x):
            return self.net(torch.nn.functional.dropout(x, 0.2))

    return Dropping().eval()


def judging_apart():
    """A net that gives each class a probability of its own."""
    import hand_wired

    return torch.nn.Sequential(hand_wired.random_net(0), torch.nn.Sigmoid()).eval()


def test_a_doubtful_model_is_made_a_workspace_of_and_every_verb_says_what_is_doubtful(aevis, init, tmp_path):
    argv = [a for a in init if a not in ("--weights", WEIGHTS)]
    argv[argv.index("--model") + 1] = "test_cli:judging_apart"
    names = tmp_path / "three.txt"
    names.write_text("panda\ncat\nclock\n")
    status, out, err = aevis(*argv, "--classes", names, "--json")
    (said,) = json.loads(out)["warnings"]
    assert status == 0
    assert said.startswith("The model ends in a sigmoid, which judges every class apart.")
    assert err == f"aevis: warning: {said}\n"
    status, out, err = aevis("check", tmp_path / "ws", "--json")
    assert (status, json.loads(out)["warnings"], err) == (0, [said], f"aevis: warning: {said}\n")


def test_an_existing_workspace_is_kept(refused, init, world):
    before = everything(world)
    assert "already holds a workspace" in refused("init", world, *init[2:])
    assert everything(world) == before


def test_a_failed_attack_is_refused_by_name(refused, world):
    failed = [j.example for j in open_workbench(world).judging.judged_examples() if not j.misclassified]
    before = everything(world)
    assert f"The attack on {failed[0].source} failed" in refused("extract", world, "--example", failed[0].id)
    assert everything(world) == before


def test_only_failed_attacks_are_refused(refused, world):
    failed = [j.example.id for j in open_workbench(world).judging.judged_examples() if not j.misclassified]
    table = world / "examples.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(x for x in lines if x.split(",")[0] in [*failed, "id"]) + "\n")
    assert "No example in" in refused("extract", world)
    table.unlink()
    assert "has no example yet. Make some with `aevis attack`" in refused("score", world)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--layer", "layer9", "--map", "1"], "no layer 'layer9' in this network. Choose one of: relu, "),
        (["--layer", "layer1.0.relu", "--map", "16"], "feature maps 0 to 15; there is no map 16"),
        (["--layer", "layer1.0.relu", "--map", "-1"], "there is no map -1"),
        (["--layer", "layer1.0.relu", "--map", "1", "--area", "0,0,99,2"], "outside layer 'layer1.0.relu'"),
        (["--layer", "layer1.0.relu", "--map", "1", "--from", "layer2"], "no layer 'layer2'"),
        (["--layer", "layer1.0.relu", "--map", "1", "--from", "layer2.0.relu"], "does not feed layer 'layer1.0.relu'"),
        (["--layer", "relu", "--map", "1"], "No layer feeds 'relu', it is the first"),
        (["--layer", "relu"], "Give both, or neither for the prediction"),
        (["--area", "0,0,1,1"], "choose neurons of a feature map"),
        (["--layer", "layer1.0.relu", "--map", "1", "--area", "0,0,1,1", "--most-active", "2"], "Leave one out"),
        (["--layer", "layer1.0.relu", "--map", "1", "--on", "src"], "Give both, or neither"),
        (["--how", "magic"], "There are no 'magic' contributions. Choose one of: solved, quadratic, exact."),
    ],
)
def test_a_place_that_does_not_exist_is_refused(refused, drawn_world, argv, words):
    assert words in refused("contribute", drawn_world, "--example", opening(drawn_world), *argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--map", "1"], "--map names maps of one layer"),
        (["--layer", "relu", "layer1.0.relu", "--map", "1"], "--map names maps of one layer"),
        (["--layer", "relu", "--map", "16"], "there is no map 16"),
        (["--layer", "layer9"], "no layer 'layer9'"),
        (["--replace", "magic"], "no replacement 'magic'. Choose one of: source, adversarial, zero, mean, resample"),
        (["--layer", "layer4.2.relu_1", "--map", *map(str, range(128))], "no evidence. Choose fewer"),
    ],
)
def test_what_cannot_be_verified_is_refused(refused, drawn_world, argv, words):
    assert words in refused("verify", drawn_world, "--example", opening(drawn_world), *argv)


_MAP = ("--layer", "layer1.0.relu", "--map", "1")


@pytest.mark.parametrize(
    ("verb", "argv", "words"),
    [
        ("extract", ["--target", "nope.png"], "'nope.png' is no candidate target"),
        ("extract", ["OTHER", "nope"], "no example 'nope'"),
        ("extract", ["--layer", "nope"], "nope"),
        ("extract", ["--layer", "relu", "--set"], "Leave out --set or --layer"),
        ("contribute", ["--target", "nope.png"], "'nope.png' is no candidate target"),
        ("contribute", ["--how", "magic"], "no 'magic' contributions"),
        ("contribute", [*_MAP, "--from", "layer2.0.relu"], "does not feed"),
        ("contribute", [*_MAP, "--area", "0,0,99,2"], "outside layer"),
        ("contribute", [*_MAP, "--area", "0,0,1,1", "--most-active", "2"], "Leave one out"),
        ("trail", ["--target", "nope.png"], "'nope.png' is no candidate target"),
        ("trail", ["--how", "magic"], "no 'magic' contributions"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_extracted(monkeypatch, refused, world, verb, argv, words):
    """The story's datapaths are not stored here, and an extraction would fail the test."""
    shutil.rmtree(world / "cache" / "datapath")
    monkeypatch.setattr(datapath, "extract", lambda *_, **__: pytest.fail("extracted before the refusal"))
    fooled = [j.example.id for j in open_workbench(world).judging.judged_examples() if j.misclassified]
    argv = [fooled[1] if word == "OTHER" else word for word in argv]
    assert words in refused(verb, world, "--example", opening(world), *argv)


def test_names_that_do_not_exist_are_refused(refused, world):
    before = everything(world)
    assert "no example 'x' in" in refused("score", world, "--example", "x")
    assert "no example 'x' in" in refused("extract", world, "--example", "x")
    assert "'x.png' is no candidate" in refused("extract", world, "--example", opening(world), "--target", "x.png")
    assert "no image 'x.png' in" in refused("attack", world, "--image", "x.png")
    for option, text in (("--class", "cow"), ("--target", "10"), ("--target", "²"), ("--target", "9" * 5000)):
        said = refused("attack", world, option, text)
        assert f"{option}: the label '{text[:60]}" in said
        assert "is neither a class name nor an index from 0 to 9" in said
    assert "--target is empty" in refused("attack", world, "--target", "")
    for option, value, words in [
        ("--epsilon", "0", "epsilon = 0.0 is too small. It must be at least 0.01"),
        ("--epsilon", "0.005", "epsilon = 0.005 is too small. It must be at least 0.01"),
        ("--epsilon", "1e308", "epsilon = 1e+308 is too large. It must be at most 255"),
        ("--epsilon", "nan", "nan is not a finite number"),
        ("--steps", "1001", "steps = 1001 is too large. It must be at most 1000"),
        ("--momentum", "1e308", "momentum = 1e+308 is too large. It must be at most 2"),
    ]:
        assert words in refused("attack", world, "--target", "3", option, value)
    assert "holds no workspace.toml" in refused("check", world / "images")
    assert everything(world) == before


def test_a_workspace_that_broke_is_refused_by_every_verb(refused, world):
    (world / "drawn-world.safetensors").write_bytes(b"noise" * 5)
    before = everything(world)
    for verb in (["check"], ["score"], ["attack", "--steps", "1"], ["extract"], ["benchmark"]):
        assert "drawn-world.safetensors is a text, which begins 'noise" in refused(verb[0], world, *verb[1:])
    assert everything(world) == before


def test_a_lost_image_is_refused_by_name(refused, world):
    gone = Workspace(world).examples()[4].adversarial
    (world / gone).unlink()
    assert gone in refused("score", world)


# Interrupts, pipes, progress


def test_an_interrupt_says_how_to_go_on(monkeypatch, aevis, drawn_world):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(make_workspace, "check_workspace", interrupted)
    words = "Interrupted; what was finished is kept. The same command goes on from there."
    assert aevis("check", drawn_world) == (130, "", words + "\n")
    status, out, _ = aevis("check", drawn_world, "--json")
    assert (status, json.loads(out)) == (130, {"error": words})


def test_a_reader_that_goes_away_is_no_error(drawn_world):
    code = "import sys; from aevis_dash.cli import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, "score", str(drawn_world)]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(argv, cwd=ROOT, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


INTERRUPTING = """
import sys
class Interrupting:
    def find_spec(self, name, *_):
        if name == {module!r}:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
sys.argv = ["aevis", "check", "nowhere"]
from aevis_dash.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["aevis_dash.cli", "numpy", "aevis_dash.cli.verbs", "torch"])
def test_an_interrupt_while_it_loads_is_one_line(module):
    code = INTERRUPTING.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.startswith("Interrupted")
    assert done.stderr.count("\n") == 1


def entered(*argv, **streams):
    words = [sys.executable, "-m", "aevis_dash", *map(str, argv)]
    return subprocess.run(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False, **streams)


WITHOUT_TORCH = """
import sys, types
from aevis_dash.cli.output import Answer
from aevis_dash.domain import AevisError
def check(args, _progress):
    if not args.workspace.joinpath("workspace.toml").exists():
        raise AevisError(f"{args.workspace} holds no workspace.toml.")
    return Answer({"good": True}, "good")
sys.modules["aevis_dash.cli.verbs"] = types.SimpleNamespace(VERBS={"check": check})
from aevis_dash.__main__ import main
sys.exit(main())
"""
"""The command with a verb `check` that needs no torch, which takes seconds to load: what is tried is not the verb, but
what becomes of its answer where a stream is full or closed."""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_an_answer_that_finds_no_room_is_told_in_one_line(drawn_world, option):
    argv = [sys.executable, "-c", WITHOUT_TORCH, "check", str(drawn_world), "--quiet", *option]
    with open("/dev/full", "w") as full:
        done = subprocess.run(argv, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "The answer cannot be written to standard output (No space left on device)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("argv", [[], ["--help"], ["--version"], ["score", "--help"]])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_help_that_finds_no_room_is_told_in_one_line(argv, unbuffered):
    """argparse itself keeps silent, and Python's own flush at exit complains in lines of its own."""
    with open("/dev/full", "w") as full:
        done = entered(*argv, stdout=full, env=os.environ | {"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 2
    assert "The answer cannot be written to standard output (No space left on device)" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("full", [">/dev/full", "2>/dev/full"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_refusal_that_finds_no_room_is_still_a_refusal(full, unbuffered, tmp_path):
    argv = shlex.join([sys.executable, "-c", WITHOUT_TORCH, "check", str(tmp_path), "--json"])
    command = f"exec {argv} {full}"
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("\n") == 1
    assert "holds no workspace.toml" in done.stdout + done.stderr


@pytest.mark.parametrize(("closed", "status"), [("2>&-", 2), (">&-", 2), (">&- 2>&-", 2)])
def test_a_refusal_with_a_closed_stream_is_still_a_refusal(closed, status, tmp_path):
    """What is said to stderr does not land in stdout instead."""
    command = f"exec {shlex.join([sys.executable, '-c', WITHOUT_TORCH, 'check', str(tmp_path)])} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_code_that_ends_the_program_is_told_in_one_line(monkeypatch, aevis, drawn_world):
    def leaves(*_args, **_options):
        raise SystemExit(3)

    monkeypatch.setattr("aevis_dash.workbench.judging.Judging.judge", leaves)
    status, _, err = aevis("check", drawn_world)
    assert status == 2
    assert "aevis: Code that the workspace's model brings along ended the program (SystemExit: 3)." in err


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_an_error_of_the_system_is_told_in_words(monkeypatch, aevis, drawn_world, code):
    def fails(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(make_workspace, "check_workspace", fails)
    status, _, said = aevis("check", drawn_world)
    assert status == 2
    assert f"cannot be read or written ({os.strerror(code)})" in said


@pytest.mark.parametrize(
    ("verb", "option", "value"),
    [
        ("verify", "--random", "1000000000000"),
        ("trail", "--beam", "1000000000"),
        ("contribute", "--most-active", "10000000000"),
        ("benchmark", "--repeats", "1000000000"),
        ("benchmark", "--clicks", "1000000000"),
        ("benchmark", "--minutes", "1e308"),
        ("benchmark", "--minutes", "nan"),
        ("benchmark", "--examples", "1000000000"),
        ("benchmark", "--processes", "1000000000"),
        ("evaluate", "--targets", "1000000000"),
        ("evaluate", "--r", "1000000000"),
        ("world", "--drawings", "1000000000"),
        ("world", "--drawings", "-1"),
        ("world", "--epochs", "1000000000"),
        ("init", "--input-size", "1000000000"),
        ("verify", "--random", "9" * 5000),
    ],
)
def test_a_number_beyond_all_use_is_refused_and_not_begun(verb, option, value, capsys):
    with pytest.raises(SystemExit) as end:
        main([verb, option, value])
    assert end.value.code == 2
    assert "give " in capsys.readouterr().err.replace("\n", " ")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns, whatever the one is like that the tests run in."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal()


_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_progress_on_a_terminal_is_a_bar_that_goes_away(terminal, monkeypatch):
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=count().__next__))
    line = output.ProgressLine(terminal)
    line(0.1, "first [b]")
    line(0.5, "second")
    drawn = terminal.getvalue()
    for what, share in (("first \\[b\\]", 10), ("second", 50)):
        assert re.search(rf"━+ +{share}% \S+ {what}", _CODES.sub("", drawn)), what
    line.close()
    end = terminal.getvalue()[len(drawn) :]
    assert end.endswith("\x1b[2K")
    assert "\x1b[?25h" in end, "the cursor is shown again"


@pytest.mark.parametrize(("variable", "value", "plain"), [("NO_COLOR", "1", False), ("TERM", "dumb", True)])
def test_a_terminal_is_given_no_more_than_it_wants(terminal, monkeypatch, variable, value, plain):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=count().__next__))
    line = output.ProgressLine(terminal, seconds_between_lines=0)
    line(0.5, "half")
    line.close()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.getvalue()), "no colour"
    assert (terminal.getvalue() == " 50 %  half\n") == plain
    assert (output.table(["name"], [["a"]]) == "name\n----\na") == plain


def test_progress_elsewhere_is_a_plain_line_now_and_then():
    log = io.StringIO()
    line = output.ProgressLine(log, seconds_between_lines=0)
    line(0.5, "half")
    line.close()
    patient = output.ProgressLine(log)
    for share in range(100):
        patient(share / 100, "often")
    assert log.getvalue() == " 50 %  half\n"


@pytest.mark.parametrize(("option", "said"), [("--json", False), ("--quiet", False), (None, True)])
def test_progress_is_silent_where_asked(monkeypatch, aevis, drawn_world, option, said):
    monkeypatch.setattr(output.ProgressLine.__init__, "__defaults__", (0,))
    monkeypatch.setattr(
        make_workspace,
        "check_workspace",
        lambda bench, progress: progress(0.5, "half") or make_workspace.Checked({"done": 1}, ()),
    )
    status, out, err = aevis("check", drawn_world, *([option] if option else []))
    assert status == 0
    assert ("half" in err) == said
    assert "half" not in out


def test_nan_and_infinity_become_null():
    told = {"a": float("nan"), "b": [np.float32("inf"), np.array([1.5, np.nan])], "c": (True, None, np.int64(3))}
    assert json.loads(output.as_json(told)) == {"a": None, "b": [None, [1.5, None]], "c": [True, None, 3]}


def test_tables_are_aligned():
    assert output.table(["name", "n"], [["a", 5], ["longer", 10.5], ["x", float("nan")]]).splitlines() == [
        "name       n",
        "------  ----",
        "a          5",
        "longer  10.5",
        "x          -",
    ]
    assert output.table(["name"], []) == "name\n----"


def test_tables_on_a_terminal_wrap_long_cells_and_lose_nothing(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", terminal)
    rows = [["[red]x[/red].png", 5, "word " * 30], ["y.png", 10.5, "-"]]
    drawn = output.table(["name", "n", "why"], rows)
    lines = [line.rstrip() for line in _CODES.sub("", drawn).splitlines()]
    assert "\x1b[1m" in drawn, "the heads are bold"
    assert max(map(len, lines)) <= 100
    assert lines[2].startswith("[red]x[/red].png      5   word word")
    assert lines[-1].startswith("y.png              10.5   -")
    assert sum(line.count("word") for line in lines) == 30
    monkeypatch.setenv("COLUMNS", "20")
    for name in ("[red]x[/red].png", "10.5"):
        assert name in _CODES.sub("", output.table(["name", "n", "why"], rows)), "no word is cut"


# app.py


def test_python_app_py_is_serve(monkeypatch):
    import app

    seen = []
    monkeypatch.setattr("aevis_dash.cli.main", lambda argv: seen.append(argv) or 0)
    monkeypatch.setattr(sys, "argv", ["app.py", "--port", "9000"])
    assert app.main() == 0
    assert seen == [["serve", "--port", "9000"]]


def test_app_py_says_what_is_missing_in_one_line(monkeypatch):
    import app

    def missing(_argv):
        raise ModuleNotFoundError("No module named 'dash'", name="dash")

    monkeypatch.setattr("aevis_dash.cli.main", missing)
    with pytest.raises(SystemExit, match=r"^The package 'dash' is missing here\. Say `make run`"):
        app.main()
    monkeypatch.setattr(app, "OLDEST", (9, 0))
    with pytest.raises(SystemExit, match=r"^AEVis Dash needs Python 3\.11 or newer; this is 3\."):
        app.main()


# The whole way on real photographs


@pytest.mark.real
def test_a_real_network_from_init_to_contribution(document, photographed, tmp_path):
    made, attacked, scored, extracted = (
        json.loads((photographed / f"{verb}.json").read_text()) for verb in ("init", "attack", "score", "extract")
    )
    assert (made["images"], made["labelled"], made["classes"]) == (4, 4, 1000)
    assert attacked["successful"] >= 1
    assert extracted["examples"][0]["example"] in [e["example"] for e in scored["examples"] if e["misclassified"]]
    datapaths = extracted["examples"][0]["datapaths"]
    assert all(0 < d["share"] < 1 and d["passes"] <= 25 for d in datapaths)
    assert datapaths[0]["label"] != datapaths[1]["label"]
    assert datapaths[2]["label"] == datapaths[0]["label"]
    root = shutil.copytree(photographed / "workspace", tmp_path / "ws")
    place = ["--layer", "layer3.1.relu_1", "--map", "5", "--area", "4,4,9,9"]
    traced = document("contribute", root, "--example", extracted["examples"][0]["example"], *place)
    assert (traced["from"], traced["area"]) == ("layer3.1.relu", [4, 4, 9, 9])
    assert [r["role"] for r in traced["roles"]] == ["source", "adversarial", "target"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {},
            "Maps 1 2 turn it, and no control does it: at most 5% of random sets do (2% of 200 random sets as",
        ),
        ({"disjoint": np.array([7])}, "Maps 1 2 turn it, and no control does; but so do 7 other maps without them."),
        ({"controls_turned": [1, 0, 0]}, "Maps 1 2 turn it, but so do as many of largest difference."),
        (
            {"controls_turned": [1, 0, 0], "controls_same": [1, 0, 0]},
            "to. As many of largest difference are these same",
        ),
        (
            {"controls_turned": [1, 1, 1], "controls_same": [1, 1, 1]},
            "large), and no set of the others was found",
        ),
        (
            {"disjoint": np.array([7, 9, 9])},
            "and no control does; but so do 3 other sets, with no map in common, without them.",
        ),
        ({"disjoint": np.array([7, 9, 9, 12])}, "but so do at least 4 other sets, with no map in common, without them"),
        ({"disjoint": np.array([1])}, "and no control does; but so does 1 other map without them."),
        (
            {"maps": np.array([1]), "disjoint": np.array([7])},
            "Map 1 turns it, and no control does; but so do 7 other",
        ),
        (
            {"maps": np.array([1]), "controls_turned": [1, 0, 0], "controls_same": [0, 0, 0]},
            "Map 1 turns it, but so does the one of largest difference.",
        ),
        (
            {"maps": np.array([1]), "controls_same": [1, 0, 0]},
            "The one of largest difference is this same map, and so",
        ),
        ({"maps": np.array([1]), "turned": False}, "Map 1 does not turn it."),
        (
            {"controls_turned": [0, 0, 1]},
            "Maps 1 2 turn it, but so do as many first by integrated attribution patching.",
        ),
        ({"chance_turned": 0.3}, "Maps 1 2 turn it, but so do 30% of 200 random sets as large."),
        ({"chance": np.zeros(19)}, "Maps 1 2 turn it, but 2% of 19 random sets as large do, too few to tell."),
        (
            {"maps": np.array([1]), "chance": np.zeros(15)},
            "no control does it: at most 5% of random sets do (2% of 15 random",
        ),
        ({"turned": False}, "Maps 1 2 do not turn it."),
        ({"turned": False, "maps": np.zeros(0, int)}, "but that of all that differ, which proves nothing."),
    ],
)
def test_a_flip_back_names_the_control_that_it_fails(drawn_world, changed, said):
    """One finding, and the verdict of every place that tells of it: the page, the command line, the trail's figure."""
    facts = {"maps": np.array([1, 2]), "turned": True, "chance": np.zeros(200), "chance_turned": 0.02}
    facts |= {"disjoint": np.zeros(0, int), "alone": np.array([0.25, 0.5])}
    facts |= {"controls_turned": [0, 0, 0], "controls_same": [0, 0, 0], "margins": np.array([-1.0, 0.5, 1.0])}
    facts |= {"layer": 0, "replacement": "source", "before": 1, "wanted": 0, "labels": np.array([1, 0, 0]), "width": 64}
    facts |= {"controls": np.zeros(3), "needed": np.array([9, 5, -1]), "whole": 2.0, "whole_turned": True, "runs": 1}
    facts |= changed
    facts |= {name: np.array(facts[name], bool) for name in ("controls_turned", "controls_same")}
    bench, found = open_workbench(drawn_world), Verification(**facts)
    document = verification(bench, "panda", "source", [found])
    text = verification_text(document)
    assert said in text.splitlines()[-1]
    assert document["layers"][0]["verdict"] == found.verdict == trails.depth_of(bench, found).verdict
    line, sentences = flips.verdict(found), flips.in_words(found, ("panda", "monkey"))
    unrefuted = found.verdict in (Verdict.SAME, Verdict.ALONE)
    assert ("no control does it" in text) == ("no control does it" in line) == unrefuted
    assert ("stays open" in text) == ("stays open" in " ".join(sentences)) == (found.verdict is Verdict.SAME)
    assert ("may be the cause" in " ".join(sentences)) == (found.verdict is Verdict.ALONE)
    assert ("so do" in text) == ("so do" in line) == ("Not proven" in " ".join(sentences))
    row = next(line.split() for line in text.splitlines() if line.startswith(bench.layers.layers[0].name + " "))
    assert row[row.index("9") :][:3] == ["9", "5", "-"]
    assert row[-2:] == (["2.00", "0.75"] if len(found.maps) else ["-", "-"])


@pytest.mark.parametrize("count", [0, 2])
def test_a_solver_that_ended_far_from_a_solution_says_so(count):
    told = {"p_full": 0.9, "p_soft": 0.9, "p_hard": 0.9, "passes": 1.0, "seconds": 1.0, "share": 0.1, "size": 3}
    told |= {"part": "source", "image": "a.png", "label": "panda", "rival": None, "core": 1, "keeps_label": True}
    found = {"example": "a", "target": "b.png", "method": "constrained", "asked_share": 0.0, "unsolved": count}
    text = extraction_text(found | {"passes": 1.0, "seconds": 1.0, "datapaths": [told] * 3})
    said = (
        "The solver was ended while it could still lower the loss for 2 of 3 datapaths, so this is no solution of Eq. 5"
    )
    assert (said in text) == (count == 2)
