"""What a model's answers on labelled images make doubtful: labels, classes, weights or preprocessing."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SUSPECT, ENOUGH = 0.2, 10
"""Accuracy on its own images below which a model and its labels hardly belong together, and from how many labels on."""
RARE, SURE, KAPPA = 0.05, 0.001, 0.3
"""An agreement that chance gives more often than RARE may be chance. Moved labels are believed where chance gives their
agreement less often than SURE, and where it is at least KAPPA of the way from chance to all (Cohen's kappa)."""
OTHER_COUNT = "from -1, or leaves out the first class"


def agreement(labelled: Sequence[tuple[int, int]]) -> dict[str, float]:
    """How often (label, predicted class) agree, and where that is hardly ever, how often moved labels would."""
    found = {"accuracy": right(labelled)}
    if len(labelled) >= ENOUGH and found["accuracy"] < SUSPECT:
        found |= {"accuracy_one_lower": right(labelled, -1), "accuracy_one_higher": right(labelled, 1)}
    return found


def right(labelled: Sequence[tuple[int, int]], shift: int = 0) -> float:
    """The share of (label, predicted class) that agree where the label is moved; NaN where there are none."""
    hits = sum(label + shift == predicted for label, predicted in labelled)
    return round(hits / len(labelled), 4) if labelled else float("nan")


def is_guessing(facts: Mapping[str, Any]) -> bool:
    """Whether guessing among the classes would be right as often one time in twenty, or more often."""
    count, classes = facts["labelled"], facts["classes"]
    return count >= ENOUGH and classes >= 2 and by_chance(facts["accuracy"], count, 1 / classes) > RARE


def by_chance(share: float, count: int, chance: float) -> float:
    """How probable it is that at least that share of `count` tries succeed, each with the probability `chance`: the
    upper tail of the binomial distribution."""
    least = round(share * count)
    if chance in (0.0, 1.0) or least == 0:
        return float(least == 0 or chance == 1.0)
    ways = (math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(least, count + 1))
    odds = (k * math.log(chance) + (count - k) * math.log1p(-chance) for k in range(least, count + 1))
    return min(1.0, sum(math.exp(way + odd) for way, odd in zip(ways, odds, strict=True)))


def tells(labelled: Sequence[tuple[int, int]], shift: int) -> bool:
    """Whether moved labels agree with the predictions far more often than by chance, given how often each class is
    labelled and predicted: what a model that always says the same class does is no sign of wrong labels."""
    count = len(labelled)
    said, meant = Counter(p for _, p in labelled), Counter(label + shift for label, _ in labelled)
    chance = sum(meant[c] * said[c] for c in said) / count**2
    share = right(labelled, shift)
    return share > chance and (share - chance) / (1 - chance) >= KAPPA and by_chance(share, count, chance) < SURE


def doubts(facts: Mapping[str, Any], labelled: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """What an accuracy near 0 or near chance comes from, where moved labels tell it; `labelled` are pairs of a label
    and the predicted class."""
    words = f"The model agrees with {facts['accuracy']:.0%} of the {facts['labelled']} labels"
    if is_guessing(facts):
        words += f", as guessing among {facts['classes']} classes may, too"
    elif "accuracy_one_lower" not in facts:
        return ()
    if "accuracy_one_lower" not in facts:
        return (f"{words}. Check that its weights are trained and are those of these classes, and the preprocessing.",)
    lower, higher = facts["accuracy_one_lower"], facts["accuracy_one_higher"]
    way, count, shift = ("lower", "from 1", -1) if lower > higher else ("higher", OTHER_COUNT, 1)
    if max(lower, higher) < 3 * facts["accuracy"] or not tells(labelled, shift):
        return (
            f"{words}, with {lower:.0%} of them moved one lower and {higher:.0%} one higher. Check that classes.txt "
            "has the model's order, that the weights are trained, that the labels mean these classes, and the "
            "preprocessing.",
        )
    return (
        f"{words}, and with {max(lower, higher):.0%} of them moved one {way}: the table that they come from counts "
        f"{count}. Make the workspace anew with labels that count from 0.",
    )
