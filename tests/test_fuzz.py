"""Malformed and mismatched workspaces, weights, tables, images and pairs: hundreds of cases, each spoiled in one way.

Each ends in a right answer, compared with a plain torch run of the same model on the same images, or in a refusal of
a sentence or two; never in a traceback, in a wait of more than 10 s, in a lost file, or in a wrong answer.
The ordinary suite tries a sample of every kind; `AEVIS_FUZZ=all pytest tests/test_fuzz.py` tries all of them, and
`AEVIS_FUZZ=all AEVIS_FUZZ_SEED=7` others.
"""

import contextlib
import importlib
import io
import json
import os
import re
import resource
import shutil
import signal
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fuzz_cases
import fuzz_models
import numpy as np
import psutil
import pytest
import torch
import torchvision.transforms.functional as TF
from fuzz_cases import INIT, VERBS, Case, Place
from PIL import Image, ImageOps
from safetensors.torch import load_file

from aevis_dash.cli import main
from aevis_dash.workbench import open_workbench

CLASSES = ("bars", "rows", "slant", "rings")
PATIENCE, LONGEST = 10, 1200
"""Seconds that a command may take, and characters that a refusal may have."""
MEMORY = 3 * 2**30
"""Bytes that a command may take beside what is taken already."""
SEED, SAMPLE = int(os.environ.get("AEVIS_FUZZ_SEED", "0")), 60
CASES = fuzz_cases.all_cases(SEED) if os.environ.get("AEVIS_FUZZ") == "all" else fuzz_cases.sample(SAMPLE, SEED)


# A good workspace


def drawn(label: int, rng: np.random.Generator) -> np.ndarray:
    """(32, 32, 3) stripes of one of four kinds, in a colour of their own and with noise."""
    y, x = np.mgrid[:32, :32] / 32
    waves = (np.sin(20 * x), np.sin(20 * y), np.sin(14 * (x + y)), np.sin(90 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)))
    colour = rng.uniform(-1, 1, 3)
    image = 128 + 60 * waves[label][..., None] * (1 + 0.3 * colour) + 15 * colour + rng.normal(0, 12, (32, 32, 3))
    return image.clip(0, 255).astype(np.uint8)


def trained() -> dict[str, torch.Tensor]:
    """The weights of a network that has learned the four kinds, but is not too sure."""
    torch.manual_seed(0)
    rng, network = np.random.default_rng(0), fuzz_models.Net()
    images, labels = np.stack([drawn(i % 4, rng) for i in range(96)]), torch.arange(96) % 4
    inputs = (torch.from_numpy(images).movedim(-1, 1) / 255 - 0.5) / 0.25
    adam = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(45):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(network(inputs), labels).backward()
        adam.step()
    return network.state_dict()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The workspace that every case spoils a copy of: attacked, extracted, its paths relative."""
    home, rng = tmp_path_factory.mktemp("fuzz"), np.random.default_rng(1)
    place = Place(home, "", Path(), Path(), ())
    torch.save(trained(), place.weights)
    (home / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    rows = ["file,label"]
    for i in range(12):
        file = place.photos / CLASSES[i % 4] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn(i % 4, rng)).save(file)
        rows.append(f"{CLASSES[i % 4]}/{i}.png,{i % 4}")
    (home / "labels.csv").write_text("\n".join(rows) + "\n")
    init = [place.root if part == "{home}/new" else part.format(home=home) for part in INIT]
    assert main([str(part) for part in init]) == 0
    settings = place.root / "workspace.toml"
    settings.write_text(settings.read_text().replace(f"{home}/", "../").replace(str(home), ".."))
    assert main(["attack", str(place.root), "--epsilon", "16"]) == 0
    bench = open_workbench(place.root)
    fooled = [judged.example for judged in bench.judging.judged_examples() if judged.misclassified]
    chosen = next(e for e in fooled if e.source != bench.workspace.images[0].file)
    others = tuple(e.id for e in bench.workspace.examples() if e.id != chosen.id)
    place = replace(place, fooled=chosen.id, source=place.photos / chosen.source, others=others)
    place = replace(place, adversarial=place.root / chosen.adversarial)
    for verb in ("extract", "learn", "contribute", "verify"):
        assert main(told(place, VERBS[verb])) == 0
    return place


def copied(good: Place, home: Path) -> Place:
    """A copy to spoil."""
    shutil.copytree(good.home, home, dirs_exist_ok=True)
    move = {name: home / getattr(good, name).relative_to(good.home) for name in ("source", "adversarial")}
    return replace(good, home=home, **move)


def told(place: Place, argv: Any) -> list[str]:
    """A command for that workspace."""
    where = {"root": place.root, "home": place.home, "id": place.fooled}
    return [part.format(**where, source=place.source.relative_to(place.photos)) for part in argv]


# Running a command


@dataclass(frozen=True)
class Said:
    """What a command ended with, and what it printed."""

    status: int
    out: str
    err: str


class Waited(BaseException):
    """A command took longer than PATIENCE."""


def run(argv: list[str]) -> Said:
    """The command in this process; raises what escapes from it, and Waited."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    patience = PATIENCE * slowness()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), at_most(patience), in_little_memory():
        try:
            status = main([*argv, "--json", "--quiet"])
        except SystemExit as end:
            status = int(end.code or 0)
    return Said(status, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def in_little_memory() -> Iterator[None]:
    """What reads without an end raises MemoryError before the machine is full."""
    least, most = resource.getrlimit(resource.RLIMIT_DATA)
    now = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_DATA, (now + MEMORY, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (least, most))


def slowness() -> float:
    """How often this process waits for a core, roughly: on a busy machine seconds are longer."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises Waited after so long; the timer of the test itself goes on afterwards."""

    def end(*_: object) -> None:
        raise Waited

    handler = signal.signal(signal.SIGALRM, end)
    left = signal.setitimer(signal.ITIMER_REAL, seconds)[0]
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)
        signal.signal(signal.SIGALRM, handler)


def check_refusal(said: Said) -> None:
    """Nothing but a sentence or two on stderr, and the same in the document."""
    if said.status == 2 and "usage: aevis" in said.err:
        assert said.out == ""
        return
    assert said.status == 2, f"ended with {said.status}: {said.err[-500:]}"
    *warned, line = said.err.splitlines()
    assert all(each.startswith("aevis: warning: ") for each in warned), said.err
    assert line.startswith("aevis: ")
    assert line[-1] in ".)", line
    assert len(line) <= LONGEST, f"{len(line)} characters: {line[:300]}"
    assert "Traceback" not in said.err
    assert json.loads(said.out) == {"error": line.removeprefix("aevis: ")}


# A plain run of the same model


def plain_model(settings: Mapping[str, Any], root: Path) -> torch.nn.Module:
    """The model of a workspace, loaded with torch alone."""
    module, _, name = settings["model"]["source"].partition(":")
    model = getattr(importlib.import_module(module), name)()
    path = root / settings["model"].get("weights", "")
    if path.is_file():
        state = load_file(path) if path.read_bytes()[8:9] == b"{" else torch.load(path, weights_only=True)
        for key in ("state_dict", "model", "state_dict"):
            state = state.get(key, state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return model.float().eval()


def plain_picture(path: Path, wanted: Mapping[str, Any]) -> Image.Image:
    """An image as torchvision's own transforms hand it to a network."""
    height, width = wanted["input_size"]
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    if image.size == (width, height):
        return image
    way = TF.InterpolationMode(wanted.get("interpolation", "bilinear"))
    scaled = wanted.get("resize_size", [height, width])
    if wanted.get("fit", "squeeze") == "squeeze":
        return TF.center_crop(TF.resize(image, scaled, way), [height, width])
    if wanted["fit"] == "pad" or scaled[0] != scaled[1]:
        share = (max if wanted["fit"] == "crop" else min)(scaled[0] / image.height, scaled[1] / image.width)
        scaled = [max(round(image.height * share), 1), max(round(image.width * share), 1)]
        image = TF.resize(image, scaled, way)
        around = [max(height - scaled[0], 0) // 2, max(width - scaled[1], 0) // 2]
        if any(around):
            fill = tuple(round(255 * m) for m in wanted["mean"])
            image = ImageOps.expand(
                image, (around[1], around[0], width - scaled[1] - around[1], height - scaled[0] - around[0]), fill
            )
        return TF.center_crop(image, [height, width])
    return TF.center_crop(TF.resize(image, scaled[:1], way), [height, width])


def plain_probabilities(
    model: torch.nn.Module, image: Image.Image, wanted: Mapping[str, Any], shares: bool
) -> np.ndarray:
    """What the model says of one picture alone: its own probabilities or `shares` of 1, or its outputs' softmax."""
    low, high = wanted.get("value_range", (0, 1))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255 * (high - low) + low
    mean, std = (torch.tensor(wanted[name], dtype=torch.float32).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        found = model((pixels - mean) / std)
    found = found["logits"] if isinstance(found, dict) else found[0] if isinstance(found, tuple | list) else found
    given = found[0].double().numpy()
    if (given >= 0).all() and (shares or abs(given.sum() - 1) < 1e-3):
        return given / given.sum()
    shifted = np.exp(given - given.max())
    return shifted / shifted.sum()


def check_answer(place: Place, argv: list[str], said: Said) -> None:
    """Every prediction behind the answer is that of the plain run, and the tables were read as they stand."""
    document = json.loads(said.out)
    sigmoids = any("judges every class apart" in warning for warning in document["warnings"])
    shares = any("model gives probabilities" in warning for warning in document["warnings"])
    root = Path(document["workspace"]) if argv[0] == "init" else place.root
    settings = tomllib.loads((root / "workspace.toml").read_text(encoding="utf-8-sig"))
    wanted, model, bench = settings["preprocessing"], plain_model(settings, root), open_workbench(root)
    wanted = {"mean": [0, 0, 0], "std": [1, 1, 1], **wanted}
    folder, images = root / settings["images"].get("folder", "images"), bench.workspace.images
    paths = {entry.file: folder / entry.file for entry in images}
    if argv[0] not in ("init", "learn"):
        for example in bench.workspace.examples():
            if argv[0] != "check" and example.id not in said.out:
                continue
            paths |= {example.source: bench.workspace.path(example.source)}
            paths |= {example.adversarial: root / example.adversarial}
    said_of, labels = {}, {}
    for (name, path), judged in zip(paths.items(), bench.judging.judge(list(paths)), strict=True):
        said_of[name] = plain_probabilities(model, plain_picture(path, wanted), wanted, shares)
        highest = np.sort(said_of[name])[-2:]
        tied = highest[1] - highest[0] < 1e-6
        assert tied or judged.prediction.label == said_of[name].argmax(), f"{name}: another class than plain torch"
        if not sigmoids:
            np.testing.assert_allclose(judged.probabilities, said_of[name], atol=2e-4, err_msg=name)
        labels[name] = judged.prediction.label
    check_documents(argv[0], document, bench, labels, said_of, paths, wanted, sigmoids)


def check_documents(verb, document, bench, labels, said_of, paths, wanted, sigmoids) -> None:
    """What the verb's own document says of predictions and pairs."""
    names, by_id = bench.class_names, {e.id: e for e in bench.workspace.examples()}
    if verb == "check":
        right = [labels[e.file] == e.label for e in bench.workspace.images if e.label is not None]
        assert document["accuracy"] == (pytest.approx(np.mean(right), abs=1e-4) if right else None)
    for each in document.get("examples", ()) if verb in ("score", "attack") else ():
        example = by_id[each["example"]]
        assert each["source"] == names[labels[example.source]]
        assert each["adversarial"] == names[labels[example.adversarial]]
        if "linf" in each:
            pair = [
                np.asarray(plain_picture(paths[n], wanted)).astype(int) for n in (example.source, example.adversarial)
            ]
            assert each["linf"] == np.abs(pair[0] - pair[1]).max()
        if each.get("success"):
            assert labels[example.source] != labels[example.adversarial]
    for each in document.get("examples", ()) if verb == "extract" else ():
        for path in () if isinstance(each, str) else each.get("datapaths", ()):
            assert path["label"] == names[labels[path["image"]]]
            assert sigmoids or path["p_full"] == pytest.approx(said_of[path["image"]].max(), abs=2e-4)
    for layer in document.get("layers", ()) if verb == "verify" else ():
        example = by_id[document["example"]]
        ends = {names[labels[example.source]], names[labels[example.adversarial]]}
        assert {layer["before"], layer["wanted"]} - {None} <= ends


def timeless(said: Said) -> str:
    """A document without what may differ between two runs: seconds, and what it says of the store."""
    document = json.loads(said.out)
    return re.sub(
        r'"seconds": [\d.e-]+', '"seconds": 0', json.dumps({k: v for k, v in document.items() if k != "warnings"})
    )


def nameless(told: Any) -> Any:
    """A document without the names of maps, which are shown where they are stored."""
    if isinstance(told, dict):
        return {key: nameless(value) for key, value in told.items() if key not in ("name", "names")}
    return [nameless(each) for each in told] if isinstance(told, list) else told


def agrees(said: Said, undisturbed: Said) -> bool:
    """Whether two answers are the same; or all but the names of maps, where the first one has none."""
    told, meant = timeless(said), timeless(undisturbed)
    if '"names": [{' in told:
        return told == meant
    return nameless(json.loads(told)) == nameless(json.loads(meant))


# What must not be lost


def kept(place: Place) -> dict[Path, bytes]:
    """The user's files with their bytes: photographs, adversarials, weights and texts."""
    folders = (place.photos, place.root / "adversarial", place.home / "elsewhere")
    files = [path for folder in folders for path in folder.rglob("*")]
    files += [path for folder in (place.root, place.home) for path in folder.iterdir()]
    return {path: path.read_bytes() for path in files if path.is_file() and not path.name.startswith(".examples")}


def check_kept(place: Place, before: Mapping[Path, bytes], argv: list[str]) -> None:
    """No file is gone or changed; an attack may add rows to the table of examples, and loses none."""
    after, table = kept(place), place.root / "examples.csv"
    writes = argv[0] == "attack" or "--allow-large" in argv
    changed = [path for path, data in before.items() if after.get(path) != data and not (writes and path == table)]
    assert not changed, f"lost or changed: {changed}"
    if writes and table in before and before[table] != after[table]:
        was, now = before_text(before[table]), after[table].decode()
        gone = [name for name in (place.fooled, *place.others) if name in was and name not in now]
        assert not gone, f"rows lost: {gone}"


def before_text(data: bytes) -> str:
    """The text of a table in whichever encoding it was."""
    return "\n".join(data.decode(name, "ignore") for name in ("utf-8", "utf-16", "utf-16-be"))


def check_rows(case: Case, root: Path) -> None:
    """The table of images was read as it was meant: no label is another, and no row is passed over."""
    images = open_workbench(root).workspace.images
    meant = {f"{i}.png": i % 4 for i in range(12)}
    if not case.name.startswith(("label", "flipped", "true", "target")):
        others = {e.file: e.label for e in images if e.label not in (None, meant[e.file.rpartition("/")[2]])}
        assert not others
    if case.kind == "images.csv" and images and not case.name.startswith(("cut", "file empty")):
        assert len(images) == len(meant)


def test_the_good_workspace_is_answered_and_each_document_says_what_is_checked(good, tmp_path):
    place, told_of = copied(good, tmp_path), {}
    for verb, argv in VERBS.items():
        said = run(told(place, argv))
        assert said.status == 0, said.err
        check_answer(place, told(place, argv), said)
        told_of[verb] = json.loads(said.out)
    assert told_of["check"]["accuracy"] > 0.5
    assert all({"source", "adversarial", "linf"} <= each.keys() for each in told_of["score"]["examples"])
    assert any(each["success"] for each in told_of["attack"]["examples"])
    (extracted,) = told_of["extract"]["examples"]
    assert len(extracted["datapaths"]) > 2
    assert any(layer["wanted"] is not None for layer in told_of["verify"]["layers"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_answers_right_or_refuses(good, tmp_path, case):
    place = copied(good, tmp_path)
    argv = told(place, case.argv)
    undisturbed = run(argv) if case.kind == "store" else None
    with warnings.catch_warnings(action="ignore"):
        case.spoil(place)
    before = kept(place)
    said = run(argv)
    check_kept(place, before, argv)
    if said.status != 0:
        check_refusal(said)
        assert case.must != "answer", said.err
    else:
        assert case.must != "refuse", said.out[:500]
        check_answer(place, argv, said)
        assert undisturbed is None or agrees(said, undisturbed)
        if case.rows:
            check_rows(case, place.home / "new" if argv[0] == "init" else place.root)
