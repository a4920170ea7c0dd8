"""The verbs that make workspaces: `init`, of a model and images, and `world`, the drawn one."""

import argparse
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

from aevis_dash import make_workspace, new_like
from aevis_dash.cli.opening import with_warnings
from aevis_dash.cli.output import Answer, facts_text, pairs
from aevis_dash.config import Progress
from aevis_dash.core.datasets import DatasetImages, dataset_name, read_dataset
from aevis_dash.core.image_batch import ArrayReading
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing
from aevis_dash.labels import Portion
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.workbench import Workbench
from aevis_dash.workspace import Workspace


def init(args: argparse.Namespace, progress: Progress) -> Answer:
    """Make a workspace of a model and normal images."""
    model = ModelSpec(args.model, args.weights, args.weights_key, shlex.join(args.model_args), " ".join(args.leaf))
    if args.like is not None:
        return _init_like(args, model, progress)
    if args.images is None:
        raise AevisError("Say where the normal images are: --images FOLDER, or --like WORKSPACE for those of another.")
    preprocessing, whose = choose_preprocessing(model, _given_preprocessing(args))
    portion = Portion(args.first, args.per_class)
    made = make_workspace.init_workspace(
        root=args.workspace,
        model=model,
        images=_images(args, portion),
        labels=args.labels,
        classes=args.classes,
        preprocessing=preprocessing,
        skip_unreadable=args.skip_unreadable,
        progress=progress,
        reading=ArrayReading(args.key, args.layout, args.array_range),
        portion=portion,
        count_from=args.count_from,
    )
    workspace = made.workspace
    facts = {
        "workspace": str(workspace.root),
        "model": workspace.settings.model.source,
        **({"loading": "; ".join(made.notes)} if made.notes else {}),
        "classes": len(workspace.class_names),
        "preprocessing": preprocessing.in_words,
        "preprocessing_is": whose,
        "images": len(workspace.images),
        **({"images_read_as": made.read_as} if made.read_as else {}),
        "taken_as_they_are": workspace.at_input_size([entry.file for entry in workspace.images]),
        "labelled": sum(entry.label is not None for entry in workspace.images),
        "labels_from": made.labelled.read_from,
        **made.labelled.unmatched,
    }
    text = "\n".join([facts_text(facts), *(f"left out: {sentence}" for sentence in made.left_out)])

    def answer(bench: Workbench) -> Answer:
        doubts = make_workspace.first_doubts(bench, progress)
        after = f"{'Once that is mended' if doubts else 'Next'}: aevis attack {workspace.root} --target nearest"
        return Answer({**facts, "left_out": made.left_out}, "\n\n".join((text, *doubts, after)), doubts)

    return with_warnings(Workbench(workspace), answer)


def _init_like(args: argparse.Namespace, model: ModelSpec, progress: Progress) -> Answer:
    """Make a workspace of another model on the images and pairs of a workspace."""
    foreign = (
        *("images", "root", "split", "first", "per_class", "labels", "count_from"),
        *("key", "layout", "array_range", "skip_unreadable"),
    )
    given = {name: getattr(args, name) for name in foreign}
    wrong = next((name for name, value in given.items() if value is not None and value is not False), None)
    if wrong is not None:
        raise AevisError(
            f"Leave out --{wrong.replace('_', '-')}: with --like the images and labels are those of {args.like}."
        )
    made = new_like.init_like(
        args.workspace, Workspace(args.like), model, args.classes, _given_preprocessing(args), progress=progress
    )
    workspace = made.workspace
    facts = {
        "workspace": str(workspace.root),
        "like": str(args.like),
        "model": workspace.settings.model.source,
        **({"loading": "; ".join(made.notes)} if made.notes else {}),
        "classes": len(workspace.class_names),
        "classes_are": made.classes_are,
        "classes_at_another_place": made.moved,
        "preprocessing": workspace.settings.preprocessing.in_words,
        "preprocessing_is": made.preprocessing_is,
        "images": len(workspace.images),
        "labelled": sum(entry.label is not None for entry in workspace.images),
        "examples": len(workspace.examples()),
    }

    def answer(bench: Workbench) -> Answer:
        doubts = make_workspace.first_doubts(bench, progress)
        after = f"{'Once that is mended' if doubts else 'Next'}: aevis beside {args.like} {workspace.root}"
        return Answer(facts, "\n\n".join((facts_text(facts), *doubts, after)), doubts)

    return with_warnings(Workbench(workspace), answer)


def world(args: argparse.Namespace, progress: Progress) -> Answer:
    """Make the drawn world's workspace, with the shipped network or one trained anew."""
    facts: dict[str, Any] = {"workspace": str(args.workspace)}
    if args.train:
        facts |= make_workspace.train_world(args.workspace, args.seed, args.drawings, args.epochs, progress)
    workspace = make_workspace.make_world(args.workspace, progress)
    facts |= {"images": len(workspace.images), "examples": len(workspace.examples())}
    text = f"{pairs(facts)}\n\nNext: aevis serve {workspace.root}"
    return with_warnings(Workbench(workspace), lambda _: Answer(facts, text))


def _images(args: argparse.Namespace, portion: Portion) -> Path | DatasetImages:
    """The images that the options name: a folder, a file of arrays, or a data set of torchvision, which is read."""
    name = dataset_name(args.images)
    if name is None:
        if args.root is not None or args.split is not None:
            option = "--root" if args.root is not None else "--split"
            raise AevisError(
                f"{option} is about a data set of torchvision, and {args.images} is none. Leave it out, or say "
                "--images torchvision:NAME."
            )
        return args.images
    if args.root is None:
        raise AevisError(
            f"Say with --root FOLDER where the files of {args.images} lie, as torchvision lays them out. Nothing is "
            "downloaded."
        )
    return read_dataset(name, args.root, args.split, portion)


def _given_preprocessing(args: argparse.Namespace) -> dict[str, Any]:
    """The fields of the preprocessing that the options give."""
    names = [field.name for field in fields(Preprocessing)] + ["channels"]
    given = {name: getattr(args, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}
