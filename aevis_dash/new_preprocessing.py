"""The preprocessing of a new workspace: what the user says, over what the model's library publishes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from aevis_dash.core import loading
from aevis_dash.domain import AevisError, ModelSpec, Preprocessing, so_many
from aevis_dash.settings import check_preprocessing, filled_channels


def _taken(missing: Sequence[str]) -> str:
    """What is taken for mean and std, or the one of them that is missing, and how to give them."""
    taken, were = {"mean": "mean 0", "std": "std 1"}, "was" if len(missing) == 1 else "were"
    values, options = (" and ".join(each) for each in (map(taken.__getitem__, missing), [f"--{n}" for n in missing]))
    return f"{values}, because {options} {were} not given"


def choose_preprocessing(model: ModelSpec, given: Mapping[str, Any]) -> tuple[Preprocessing, str]:
    """The preprocessing of a new workspace: what is given, over what the model's library publishes.

    A model of one's own is cropped where nothing is said, because most classifiers are trained and tested so, and
    squeezing changes every shape. With another input size than the library's, its share of the image is kept. With
    another fit, images are scaled straight to the input size.

    Args:
        model: where the model comes from.
        given: fields of Preprocessing by name, and `channels`, the number of channels where neither mean nor std is
            given.

    Returns:
        The preprocessing, and where it comes from, in words.

    Raises:
        AevisError: where the input size is not known, or the preprocessing cannot be done.
    """
    published, given = loading.standard_preprocessing(model), dict(given)
    channels = given.pop("channels", None)
    missing = [name for name in ("mean", "std") if name not in given]
    if published is None:
        given |= filled_channels(given, channels)
    elif channels not in (None, published[0].channels) and not {"mean", "std"} <= set(given):
        raise AevisError(
            f"{model.source} is published for images of {published[0].channels} channels, so nothing is known of its "
            f"mean and std for {channels}. Give --mean and --std with {so_many(channels, 'number')} each."
        )
    if published is None:
        if "input_size" not in given:
            raise AevisError(
                f"Nothing is known of the input of {model.source}. Give --input-size, and --mean and --std."
            )
        chosen = Preprocessing(**{"fit": "crop", **given})
        words = "as given" if "fit" in given else "assumed; say --fit squeeze, crop or pad as the model was trained"
        words += f"; {_taken(missing)}" if missing else ""
        words += f"; images of {so_many(chosen.channels, 'channel')}" if chosen.channels != 3 else ""
    else:
        known, words = published
        if given:
            words += f"; as given: {', '.join(given)}"
        if given.get("fit", known.fit) != known.fit:
            given.setdefault("resize_size", None)
        elif "input_size" in given:
            sides = zip(known.scaled_to, given["input_size"], known.input_size, strict=True)
            given.setdefault("resize_size", tuple(scaled * new // old for scaled, new, old in sides))
        chosen = replace(known, **given)
    check_preprocessing(chosen, "The preprocessing asked for")
    return chosen, words
