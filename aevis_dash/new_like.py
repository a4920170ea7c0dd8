"""A workspace of another model on the images, labels and pairs of a workspace that is there already.

The two can then be set beside one another (`two_models`). An attack changes single pixels of an image as the first
model gets it, so the new model has to get the same pixels: its images are fitted to its input as the first one's are.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aevis_dash.classes import read_class_names, same_classes
from aevis_dash.config import Progress, silent
from aevis_dash.core import loading, selftest
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.loading import Loaded, Model
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing
from aevis_dash.float_images import SUFFIX
from aevis_dash.images import image_bytes
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.settings import check_preprocessing, refuse_workspace, with_absolute_paths, with_paths_from
from aevis_dash.workspace import Workspace, create

FITTING = ("fit", "resize_size", "interpolation")
"""The fields of the preprocessing that say how an image is fitted to the input; those of the first model hold."""
_KEPT = 64
"""The number of adversarial images that are read and written at once."""


@dataclass(frozen=True)
class FoundedLike:
    """A new workspace on the images and pairs of another one.

    Attributes:
        workspace: the new workspace.
        preprocessing_is: where its preprocessing comes from, in words.
        classes_are: where its class names come from, in words.
        moved: how many classes have another place among the model's outputs than in the first workspace.
        notes: what was done to load the model and is no matter of course.
    """

    workspace: Workspace
    preprocessing_is: str
    classes_are: str
    moved: int
    notes: tuple[str, ...]


def init_like(
    root: Path,
    like: Workspace,
    model: ModelSpec,
    classes: Path | Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    given: Model | None = None,
    progress: Progress = silent,
) -> FoundedLike:
    """Make a workspace of another model on the normal images, labels, pairs and parameters of a workspace.

    The normal images stay where they are. The adversarial ones are copied with what is known of their attacks, so that
    attacks on the new model may come beside them. Nothing is written unless the model is good.

    Args:
        root: the folder of the new workspace.
        like: the workspace whose images and pairs are taken.
        model: where the model and its weights come from.
        classes: the class names in the order of the model's outputs, or a file of them; None for those that the
            model's library publishes, or else those of `like`.
        preprocessing: fields of Preprocessing by name, and `channels`, as `choose_preprocessing` takes them.
        given: the model itself, where it is in memory.
        progress: is told the share of the adversarial images that are copied.

    Raises:
        AevisError: for a model that cannot be used or has other classes, where it would get other pixels than those
            that were attacked, and where a workspace or one of its files is there already.
    """
    spec = with_absolute_paths(model)
    chosen, words = _preprocessing(spec, like, dict(preprocessing or {}))
    loaded = loading.load_model(spec) if given is None else loading.given_model(spec, given)
    names, whose = _class_names(spec, loaded, like, classes)
    places = same_classes(like.class_names, names, (str(like.root), spec.source))
    selftest.examine(loaded.model, Classifier(loaded.model, chosen, names, spec.leaves))
    if given is None:
        loading.refuse_random(spec, loaded.model)
    refuse_workspace(root)
    for taken in (root / "images.csv", root / "classes.txt", root / "examples.csv"):
        if taken.exists():
            raise AevisError(f"{taken} is there already, and the workspace would replace it. Choose another folder.")
    settings = replace(
        like.settings,
        model=with_paths_from(root, spec),
        preprocessing=chosen,
        images=str((like.root / like.settings.images).resolve()),
        opens_on="",  # that example need not fool the new model
    )
    at = lambda label: None if label is None else places[label]  # noqa: E731
    made = create(root, settings, names, [replace(entry, label=at(entry.label)) for entry in like.images])
    examples = like.examples()
    for first in range(0, len(examples), _KEPT):
        progress(first / len(examples), f"copying adversarial image {first + 1} of {len(examples)}")
        chunk = examples[first : first + _KEPT]
        moved = [replace(e, true_label=at(e.true_label), target_label=at(e.target_label)) for e in chunk]
        images = [image_bytes(like.path(e.adversarial)) for e in chunk]
        made.keep_adversarials(list(zip(moved, images, strict=True)))
    if like.parts:
        shutil.copytree(like.root / "parts", root / "parts", dirs_exist_ok=True)
    return FoundedLike(made, words, whose, sum(i != place for i, place in enumerate(places)), loaded.notes)


def _preprocessing(spec: ModelSpec, like: Workspace, given: dict[str, Any]) -> tuple[Preprocessing, str]:
    """The preprocessing of the new model, which gets the pixels that were attacked; and where it comes from."""
    wrong = next((name for name in FITTING if name in given), None)
    if wrong is not None:
        raise AevisError(
            f"Leave out --{wrong.replace('_', '-')}: the new model has to get the pixels that were attacked, so images "
            f"are fitted to its input as in {like.root}."
        )
    own = like.settings.preprocessing
    if loading.standard_preprocessing(spec) is None:
        given.pop("channels", None)
        chosen, words = replace(own, **given), f"that of {like.root}"
        words += f"; as given: {', '.join(given)}" if given else ""
    else:
        chosen, words = choose_preprocessing(spec, given)
        chosen = replace(chosen, **{name: getattr(own, name) for name in FITTING})
        words += f"; images are fitted to the input as in {like.root}"
    check_preprocessing(chosen, "The preprocessing asked for")
    if chosen.channels != own.channels:
        raise AevisError(
            f"{spec.source} takes images of {chosen.channels} channels, and those of {like.root} have {own.channels}. "
            "Take a model of as many."
        )
    if chosen.input_size != own.input_size:
        _refuse_other_pixels(like, chosen)
        chosen = replace(chosen, resize_size=None)
    return chosen, words


def _refuse_other_pixels(like: Workspace, chosen: Preprocessing) -> None:
    """Refuse an input of another size unless every image has the first model's input size, so that sources and
    adversarials are scaled alike."""
    names = [*(entry.file for entry in like.images), *(example.adversarial for example in like.examples())]
    floats = any(name.lower().endswith(SUFFIX) for name in names)
    if not floats and like.at_input_size(names) == len(names):
        return
    (height, width), (high, wide) = like.settings.preprocessing.input_size, chosen.input_size
    raise AevisError(
        f"The new model takes images of {wide} x {high} pixels, and those of {like.root} were attacked at {width} x "
        f"{height}. Scaled anew they would be no pairs any more. Most models also take the other size: say "
        f"--input-size {height}x{width}."
    )


def _class_names(
    spec: ModelSpec, loaded: Loaded, like: Workspace, classes: Path | Sequence[str] | None
) -> tuple[tuple[str, ...], str]:
    """The class names of the new model, and where they come from."""
    if isinstance(classes, Path):
        return read_class_names(classes), f"as {classes} names them"
    if classes is not None:
        return tuple(classes), "as given"
    published = loading.standard_class_names(spec.source)
    if published is not None and not loading.names_or_numbers(published, loaded.classes)[1]:
        return published, "as the model's library publishes them"
    return like.class_names, f"taken to be those of {like.root}, in its order"
