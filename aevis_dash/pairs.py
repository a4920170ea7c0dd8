"""A pair of images, source and adversarial: how far apart they are, and whether one can be an attack on the other."""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np

from aevis_dash.domain import LARGE, Example, JudgedExample, Outcome, Perturbation

VERSION = 2
"""The version of what is measured of a pair. It is raised when other numbers come out for the same images."""
STRONGEST = 0.2
"""The share of the source's pixels that count as its edges, which are those where the grey level changes most."""
NEAR = 2
"""The number of pixels by which the source is moved to see how much its edges resemble themselves out of place."""


def measure(source: np.ndarray, adversarial: np.ndarray) -> Perturbation:
    """Measure how an adversarial differs from its source, two images (H, W, C) of grey levels as the model sees
    them."""
    change = adversarial.astype(float) - source
    largest = round(float(np.abs(change).max()), 4)  # float32 pixels are not more exact
    changed = float((change != 0).any(-1).mean())
    moved = [np.roll(source, way, axis) for way in (-NEAR, NEAR) for axis in (0, 1)]
    return Perturbation(
        linf=int(largest) if largest.is_integer() else math.ceil(round(100 * largest, 2)) / 100,
        l2=float(np.sqrt(np.square(change / 255).sum())),
        changed=changed,
        edges=edges_kept(source, adversarial),
        edges_moved=float(np.mean([edges_kept(source, other) for other in moved])),
        swapped=has_swapped_channels(source, adversarial),
    )


def has_swapped_channels(source: np.ndarray, adversarial: np.ndarray) -> bool:
    """Whether two 8-bit images (H, W, C) are a pair only when the colour channels of one are put into another order.

    That happens where a file was saved as B, G, R instead of R, G, B. Of more than three channels only the reversed
    order is tried.
    """

    def is_small(order: Sequence[int]) -> bool:
        return int(np.abs(adversarial[..., list(order)].astype(int) - source).max()) <= LARGE

    count = source.shape[-1]
    first, *others = permutations(range(count)) if count <= 3 else (range(count), range(count)[::-1])
    return not is_small(first) and any(is_small(order) for order in others)


def edges_kept(source: np.ndarray, other: np.ndarray) -> float:
    """How far the edges of an image stand in another image: 1 where all do, about 0 by chance.

    It is the mean cosine between the two images' grey gradients at the STRONGEST places of the source. It depends on
    directions only, so brightness and contrast do not count. Every place counts alike, so a patch counts by its area.
    For a source without any edge it is the share of its pixels that are equal.

    Args:
        source: 8-bit image (H, W, C), whose edges are looked for.
        other: 8-bit image of the same shape.
    """
    (along, down), (other_along, other_down) = _gradients(source), _gradients(other)
    steep, other_steep = np.hypot(along, down), np.hypot(other_along, other_down)
    chosen = steep >= max(np.quantile(steep, 1 - STRONGEST), 1) if steep.size else np.zeros(steep.shape, bool)
    if not chosen.any():
        return float((source == other).all(-1).mean())
    product = (along * other_along + down * other_down)[chosen]
    return float((product / np.maximum(steep[chosen] * other_steep[chosen], 1e-6)).mean())


def _gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The change of the grey level along rows and along columns, over two pixels of the image smoothed over 2 x 2
    pixels.

    Without the smoothing the single pixels of a perturbation would drown the edges.
    """
    grey = image.mean(-1, dtype=np.float32)
    soft = (grey[:-1, :-1] + grey[1:, :-1] + grey[:-1, 1:] + grey[1:, 1:]) / 4
    return soft[1:-1, 2:] - soft[1:-1, :-2], soft[2:, 1:-1] - soft[:-2, 1:-1]


# In words


def size_in_words(found: Perturbation) -> str:
    """How large a perturbation is, in words: its largest change, and the share of the pixels that it changed."""
    return f"L∞ {found.linf:g}/255 · {found.changed:.0%} of pixels"


def reason(judged: JudgedExample, class_names: Sequence[str]) -> str:
    """Why an example is not misclassified, or not as its attack wanted, in words; "" where the attack succeeded."""
    example = judged.example
    source, adversarial = (class_names[p.label] for p in (judged.source, judged.adversarial))
    aim, true = (class_names[n] if n is not None else "" for n in (example.target_label, example.true_label))
    unknown = ": the attack failed, or was lost in 8 bits" if example.lost_in_8_bits is None else ""
    said = {
        Outcome.NO_PAIR: f"{Outcome.NO_PAIR}: "
        + (
            "its colour channels are in another order"
            if judged.perturbation.swapped
            else f"{max(judged.perturbation.edges, 0):.0%} of its edges are kept"
        ),
        Outcome.SOURCE_WRONG: f"source already wrong: labelled {true}, predicted as {source}",
        Outcome.EQUAL: "equal to its source, as the model sees both in 8 bits",
        Outcome.LOST: "lost in 8 bits: it was misclassified before its image was rounded",
        Outcome.LOSSY: f"still {source}; its file is lossy, which can undo an attack",
        Outcome.TARGET_MISSED: f"target missed: still {source} instead of {aim}{unknown}",
        Outcome.OFF_TARGET: f"target missed: {adversarial} instead of {aim}",
        Outcome.UNCHANGED: f"still {source}{unknown}" if unknown else f"attack failed: still {source}",
    }
    return said.get(judged.outcome, "")


def excess(example: Example, found: Perturbation) -> str:
    """A warning that a pair differs by more than its attack declares."""
    differs = f"The adversarial of {example.id} differs from its source by up to {found.linf:g} grey levels of 255"
    if example.epsilon is None:
        return (
            f"{differs}, and examples.csv declares no epsilon. If its attack may change as much, as a patch may, write "
            "that into the column epsilon; else check what made it, and how the images are read."
        )
    return (
        f"{differs}, more than the {example.epsilon:g} that its attack declares in examples.csv. Check what made it, "
        "and how the images are read."
    )


def refusal(example: Example, found: Perturbation, remedy: str = "") -> str:
    """The error message for a pair that cannot be an attack: what was measured, what would mend it, and how to
    insist."""
    return (
        f"{example.adversarial} is not {example.source} plus a small perturbation: pixels differ by up to "
        f"{found.linf:g} grey levels of 255, {found.changed:.0%} of them are changed, and {max(found.edges, 0):.0%} of "
        f"the source's edges stand in it. {remedy or 'Put the right files into examples.csv.'} If it is meant all the "
        "same, say --allow-large, or write yes into the column allow_large of examples.csv."
    )
