"""Making workspaces: of a user's model and images, and of the drawn world that ships with the project."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aevis_dash import label_doubts
from aevis_dash.classes import Classes, read_class_names
from aevis_dash.config import AttackParameters, Progress, embedded_workspace, part_of, resource, silent
from aevis_dash.core import loading, selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.datapath import check_methods
from aevis_dash.core.datasets import DatasetImages
from aevis_dash.core.image_batch import ArrayReading
from aevis_dash.core.loading import Model
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing
from aevis_dash.files import write_atomically
from aevis_dash.images import write_image
from aevis_dash.labels import ImageEntry, Labelled, Portion, unmatched_now
from aevis_dash.new_images import find_new_images
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.settings import (
    WorkspaceSettings,
    refuse_workspace,
    with_absolute_paths,
    with_paths_from,
    write_settings,
)
from aevis_dash.tables import write_text
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.opening import medium
from aevis_dash.workspace import Workspace, create
from aevis_dash.world import train
from aevis_dash.world.draw import CLASSES, PARTS, Drawing, draw_set
from aevis_dash.world.network import MEAN, STD

WORLD_WEIGHTS = "drawn-world.safetensors"
WORLD_IMAGES, WORLD_ATTACKED = 240, 160
WORLD_EPSILONS = (3.0, 5.0, 8.0)
LOOKED = 100
"""The number of labelled images, spread over the table, that the model of a new workspace is tried on."""
_WORLD_SEED = 2020
FRESH_DRAWINGS = 2000


@dataclass(frozen=True)
class Founded:
    """A new workspace.

    Attributes:
        workspace: the workspace.
        labelled: where its labels come from, and what did not match.
        left_out: for each image that was left out because it cannot be read, a sentence that says why.
        notes: what was done to load the model and is no matter of course, and where class names come from.
        read_as: how the array or the data set of the images was read, in words; empty where they come from a folder.
    """

    workspace: Workspace
    labelled: Labelled
    left_out: list[str]
    notes: tuple[str, ...] = ()
    read_as: str = ""


def init_workspace(
    root: Path,
    model: ModelSpec,
    images: Path | np.ndarray | DatasetImages,
    labels: Path | Sequence[int | str | None] | None = None,
    classes: Path | Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    skip_unreadable: bool = False,
    progress: Progress = silent,
    reading: ArrayReading | None = None,
    given: Model | None = None,
    portion: Portion | None = None,
    count_from: int | None = None,
) -> Founded:
    """Make a workspace of a model and normal images. Nothing is written unless the model and the images are good.

    Args:
        root: the folder of the new workspace.
        model: where the model and its weights come from.
        images: the folder of the normal images; or a file of arrays, an array, or a data set, whose images are written
            into the workspace.
        labels: a table of labels, or an array; None for the names of folders, or the labels beside the array. With an
            array of images it is their classes, by name or index.
        classes: the class names, or a file of them; None for those that the model's library publishes, or else those of
            the data set.
        preprocessing: how an image becomes the model's input; None for what the library publishes.
        skip_unreadable: whether images that cannot be read are left out; otherwise the first one is an error.
        progress: is told the share of the images that are read.
        reading: how the array is read where it does not tell.
        given: the model itself, where it is in memory.
        portion: how many of the images are taken; None for all.
        count_from: the number of the first class in a table or an array of labels; None as for `labels.find_images`.

    Raises:
        AevisError: for a model, an image or a label that cannot be used, and where a workspace or one of its files is
            there already.
    """
    spec = with_absolute_paths(model)
    names = read_class_names(classes) if isinstance(classes, Path) else tuple(classes or _standard_names(spec, images))
    chosen = preprocessing or choose_preprocessing(spec, {})[0]
    loaded = loading.load_model(spec) if given is None else loading.given_model(spec, given)
    names, numbered = loading.names_or_numbers(names, None if classes else loaded.classes)
    if isinstance(images, DatasetImages) and not classes and len(names) == len(images.class_names):
        names, numbered = _names_of_dataset(names, numbered, images)
    beside = [classes] if isinstance(classes, Path) else []
    classifier = Classifier(loaded.model, chosen, names, spec.leaves)  # a wrong number of names is told first
    found = find_new_images(images, labels, Classes(names), beside, reading, chosen.channels, count_from)
    selftest.examine(loaded.model, classifier)
    if given is None:
        loading.refuse_random(spec, loaded.model)
    for taken in (root / "images.csv", root / "classes.txt"):
        if taken.exists() and not (root / "workspace.toml").exists():
            raise AevisError(f"{taken} is there already, and the workspace would replace it. Choose another folder.")
    good, refused = found.readable(chosen, skip_unreadable, progress, portion or Portion())
    refuse_workspace(root)
    found.write(root, good, progress)
    settings = WorkspaceSettings(with_paths_from(root, spec), chosen, found.folder)
    made = create(root, settings, names, good)
    return Founded(made, found.labelled, refused, (*loaded.notes, *numbered), found.read_as)


@dataclass(frozen=True)
class Checked:
    """The result of checking a workspace.

    Attributes:
        facts: what was found, by name.
        doubts: sentences about what is doubtful.
    """

    facts: dict[str, Any]
    doubts: tuple[str, ...]


def make_embedded_world(progress: Progress = silent) -> Path:
    """The folder of the drawn world's workspace that is served where no workspace is named; made there if it is
    missing.

    Raises:
        AevisError: where it cannot be written.
    """
    root = embedded_workspace()
    try:
        make_world(root, progress)
    except OSError as error:
        raise AevisError(
            f"The drawn world cannot be made in {root} ({error.strerror}). Name a folder that can be written with "
            "AEVIS_CACHE in the environment, or give a workspace of yours."
        ) from error
    return root


def check_workspace(bench: Workbench, progress: Progress = silent) -> Checked:
    """Read everything that a workspace refers to, and run the model on all its images.

    Raises:
        AevisError: at the first thing that is wrong.
    """
    workspace = bench.workspace
    refuse_settings(bench)
    names = [entry.file for entry in workspace.images]
    examples = workspace.examples()
    judged = bench.judging.judge([*names, *(e.adversarial for e in examples)], progress)
    predicted = [int(np.argmax(j.probabilities)) for j in judged[: len(names)]]
    labelled = [(e.label, p) for e, p in zip(workspace.images, predicted, strict=True) if e.label is not None]
    fooled = sum(example.misclassified for example in bench.judging.judged_examples())
    channels = workspace.settings.preprocessing.channels
    facts = {
        "workspace": str(workspace.root),
        "model": workspace.settings.model.source,
        **({"loading": "; ".join(bench.base.loaded.notes)} if bench.base.loaded.notes else {}),
        **({"explained_output": output} if (output := bench.classifier.network.traced.output) else {}),
        "fingerprint": bench.classifier.fingerprint,
        "layers": len(bench.layers),
        "feature_maps": bench.layers.n_maps,
        "without_a_gate": bench.classifier.ungated or "none",
        "classes": len(bench.class_names),
        "preprocessing": workspace.settings.preprocessing.in_words,
        "images": len(names),
        "labelled": len(labelled),
        "accuracy": label_doubts.right(labelled),
        "examples": len(examples),
        "misclassified_examples": fooled,
        "images_with_parts": _with_parts(workspace),
        **unmatched_now(workspace.root / workspace.settings.images, workspace.images, channels).unmatched,
    }
    facts |= label_doubts.agreement(labelled)
    return Checked(facts, (*label_doubts.doubts(facts, labelled), *_opening_doubt(bench)))


def refuse_settings(bench: Workbench) -> None:
    """Check the settings that only extraction and the page read: the method, and the example that the page opens on.

    Raises:
        AevisError: where there is no such method or example.
    """
    settings, path = bench.workspace.settings, bench.workspace.root / "workspace.toml"
    try:
        check_methods([settings.extraction.method])
    except AevisError as error:
        raise AevisError(f"{path}, [extraction], method: {error}") from error
    if settings.opens_on:
        try:
            bench.workspace.example(settings.opens_on)
        except AevisError as error:
            raise AevisError(f"{path}, [page], opens_on: {error} Empty it for an example of medium score.") from error


def _opening_doubt(bench: Workbench) -> tuple[str, ...]:
    """A sentence where the example that the page opens on cannot be explained, as the page is then not served."""
    wanted = bench.workspace.settings.opens_on
    try:
        if wanted:
            bench.datapaths.plan(bench.workspace.example(wanted))
    except AevisError as error:
        return (
            f"The page is not served, because it cannot open on {wanted}, which opens_on in workspace.toml names. "
            f"{error}",
        )
    return ()


def _with_parts(workspace: Workspace) -> int:
    """The number of images that have a mask of their parts. Raises AevisError for a mask that cannot be read."""
    named = [entry.file for entry in workspace.images if workspace.has_parts(entry.file)] if workspace.parts else []
    for name in named:
        workspace.part_numbers(name)
    return len(named)


def first_doubts(bench: Workbench, progress: Progress = silent) -> tuple[str, ...]:
    """Sentences about what makes a new workspace doubtful: the sizes of its images, and the model's answers on some
    labelled images, where at least `label_doubts.ENOUGH` have labels."""
    return (*_doubts_of_size(bench.workspace), *_doubts_of_labels(bench, progress))


def _doubts_of_size(workspace: Workspace) -> tuple[str, ...]:
    height, width = workspace.settings.preprocessing.input_size
    names = [entry.file for entry in workspace.images]
    turned = workspace.at_input_size(names, turned=True) if height != width else 0
    if 2 * turned <= len(names):
        return ()
    return (
        f"{turned} of {len(names)} images are {width} pixels high and {height} wide, and the model's input is {height} "
        f"high and {width} wide. The size is said as height x width: if it was turned round, make the workspace anew "
        f"with --input-size {width}x{height}.",
    )


def _doubts_of_labels(bench: Workbench, progress: Progress) -> tuple[str, ...]:
    labelled = [entry for entry in bench.workspace.images if entry.label is not None]
    chosen = labelled if len(labelled) <= LOOKED else [labelled[i * len(labelled) // LOOKED] for i in range(LOOKED)]
    if len(chosen) < label_doubts.ENOUGH:
        return ()
    predicted = [
        p.label for p in (j.prediction for j in bench.judging.judge([entry.file for entry in chosen], progress))
    ]
    pairs = [(e.label, p) for e, p in zip(chosen, predicted, strict=True) if e.label is not None]
    return label_doubts.doubts(
        label_doubts.agreement(pairs) | {"labelled": len(pairs), "classes": len(bench.class_names)}, pairs
    )


def train_world(
    root: Path, seed: int, drawings: int, epochs: int, progress: Progress = silent
) -> dict[str, int | float]:
    """Train the network of the drawn world anew into a folder where `make_world` then finds it.

    Where an earlier run of the same training has ended there, its result is kept.

    Args:
        root: the folder.
        seed: of the training.
        drawings: the number of drawings to train on.
        epochs: the number of times that all of them are seen.
        progress: is told the share of the work that is done.

    Returns:
        The numbers above, with "fresh_accuracy" on "fresh_drawings" new drawings, and the "seconds" it took.

    Raises:
        AevisError: where a workspace of another network lies there, or for numbers that allow no training.
    """
    weights = root / WORLD_WEIGHTS
    chosen = {"seed": seed, "drawings": drawings, "epochs": epochs}
    if weights.exists() and (known := _facts(weights)) and chosen.items() <= known.items():
        return known
    if (root / "workspace.toml").exists():
        raise AevisError(f"{root} holds a workspace whose adversarial images belong to its network. Take a new folder.")
    begun = time.perf_counter()
    try:
        model = train.train(seed, drawings, epochs, progress)
    except ValueError as error:
        raise AevisError(f"No training with these numbers: {error}. Mend --seed, --drawings or --epochs.") from error
    seconds = time.perf_counter() - begun
    facts = chosen | {
        "fresh_accuracy": train.accuracy(model, FRESH_DRAWINGS, seed),
        "fresh_drawings": FRESH_DRAWINGS,
        "seconds": round(seconds, 1),
    }
    root.mkdir(parents=True, exist_ok=True)
    train.save(model, weights, **facts)
    return facts


def make_world(root: Path, progress: Progress = silent) -> Workspace:
    """Make the drawn world's workspace: drawings with masks of their parts, a network, and weak and strong attacks.

    The network is the one that was trained into `root` (`train_world`), or else the shipped one. A run that was
    interrupted is continued, and a finished workspace is left as it is.
    """
    if not (root / "workspace.toml").exists():
        entries = _draw_images(root, part_of(progress, 0.0, 0.4))
        if not _facts(root / WORLD_WEIGHTS):
            weights = (resource("models") / WORLD_WEIGHTS).read_bytes()
            write_atomically(root / WORLD_WEIGHTS, lambda file: file.write(weights))
        settings = WorkspaceSettings(
            model=ModelSpec("aevis_dash.world.network:drawn_world_resnet", WORLD_WEIGHTS),
            preprocessing=Preprocessing((64, 64), MEAN, STD),
            attack=AttackParameters(epsilon=8),
        )
        create(root, settings, CLASSES, entries)
    bench = Workbench(Workspace(root))
    if bench.workspace.settings.opens_on:
        return bench.workspace
    attacked = bench.workspace.images[:WORLD_ATTACKED]
    for i, epsilon in enumerate(WORLD_EPSILONS):
        parameters = replace(bench.workspace.settings.attack, epsilon=epsilon)
        bench.attacks.attack(attacked, parameters=parameters, progress=part_of(progress, 0.4 + 0.2 * i, 0.2))
    _choose_opening(bench)
    return Workspace(root)


def _choose_opening(bench: Workbench) -> None:
    """Let the page open on the paper's story: a panda of medium score that became a monkey."""
    story = (CLASSES.index("panda"), CLASSES.index("monkey"))
    pandas = [e for e in bench.judging.judged_examples() if (e.source.label, e.adversarial.label) == story]
    chosen = medium(pandas)
    if chosen is not None:
        settings = replace(bench.workspace.settings, opens_on=chosen.example.id)
        write_settings(bench.workspace.root, settings)


def _facts(weights: Path) -> dict[str, int | float]:
    """What the training wrote beside its weights. There is nothing beside the shipped weights."""
    try:
        return json.loads(weights.with_suffix(".json").read_text(encoding="utf-8")) if weights.exists() else {}
    except (OSError, ValueError, RecursionError):
        return {}


def _draw_images(root: Path, progress: Progress) -> list[ImageEntry]:
    entries = []
    for i, drawing in enumerate(draw_set(WORLD_IMAGES, _WORLD_SEED)):
        progress(i / WORLD_IMAGES, f"drawing image {i + 1} of {WORLD_IMAGES}")
        name = f"{CLASSES[drawing.label]}-{i // len(CLASSES):02d}.png"
        write_image(root / "images" / name, drawing.image)
        write_image(root / "parts" / name, _part_map(drawing))
        entries.append(ImageEntry(name, drawing.label))
    write_text(root / "parts" / "names.txt", "".join(f"{i} {part}\n" for i, part in enumerate(PARTS, 1)))
    return entries


def _part_map(drawing: Drawing) -> np.ndarray:
    """(64, 64) uint8: the number of the part at each pixel, counted from 1 as in PARTS; 0 where there is none."""
    numbers = np.zeros(drawing.image.shape[:2], np.uint8)
    for part, visible in drawing.parts.items():
        numbers[visible] = PARTS.index(part) + 1
    return numbers


def _standard_names(spec: ModelSpec, images: object) -> tuple[str, ...]:
    """The class names that the model's library publishes; where it publishes none, those of the data set."""
    names = loading.standard_class_names(spec.source)
    if names is None and isinstance(images, DatasetImages):
        names = images.class_names
    if names is None:
        raise AevisError(f"The class names of {spec.source} are not known. Give --classes FILE, one name a line.")
    return names


def _names_of_dataset(
    names: tuple[str, ...], numbered: tuple[str, ...], images: DatasetImages
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of as many classes as the data set has, and a sentence where these are the data set's own."""
    if not numbered and names != images.class_names:
        return names, numbered
    called = "named" if images.named else "called by their numbers"
    return images.class_names, (
        f"the classes are {called} as in {images.name} and in its order; --classes FILE says otherwise",
    )
