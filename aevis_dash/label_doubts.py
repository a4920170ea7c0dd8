"""What a model's answers on labelled images make doubtful: labels, classes, weights or preprocessing.

The labels of some tables count from 1, or leave out the first class. So where hardly any label agrees with the model,
labels moved by one are compared too.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SUSPECT, ENOUGH = 0.2, 10
"""The accuracy below which a model and the labels of its images hardly belong together, and the number of labels from
which that is judged."""
RARE, SURE, KAPPA = 0.05, 0.001, 0.3
"""Limits of what may be chance. An agreement that chance gives with a probability above RARE may be chance. Moved
labels are believed where chance gives their agreement with a probability below SURE, and where the agreement is at
least KAPPA of the way from chance to all (Cohen's kappa)."""
OTHER_COUNT = "from -1, or leaves out the first class"
_MEND = ", or with --count-from 1"


def agreement(labelled: Sequence[tuple[int, int]]) -> dict[str, float]:
    """The share of labels that agree with the predictions, and where it is hardly any, the shares for moved labels.

    Args:
        labelled: pairs of a label and the predicted class.

    Returns:
        "accuracy", and where it is suspect "accuracy_one_lower" and "accuracy_one_higher", the accuracies of labels
        moved by -1 and by 1.
    """
    found = {"accuracy": right(labelled)}
    if len(labelled) >= ENOUGH and found["accuracy"] < SUSPECT:
        found |= {"accuracy_one_lower": right(labelled, -1), "accuracy_one_higher": right(labelled, 1)}
    return found


def right(labelled: Sequence[tuple[int, int]], shift: int = 0) -> float:
    """The share of pairs (label, predicted class) that agree when the label is moved by `shift`; NaN for no pairs."""
    hits = sum(label + shift == predicted for label, predicted in labelled)
    return round(hits / len(labelled), 4) if labelled else float("nan")


def is_guessing(facts: Mapping[str, Any]) -> bool:
    """Whether guessing among the classes would be right as often with a probability above RARE.

    Args:
        facts: "labelled", the number of labelled images; "classes", the number of classes; and "accuracy".
    """
    count, classes = facts["labelled"], facts["classes"]
    return count >= ENOUGH and classes >= 2 and by_chance(facts["accuracy"], count, 1 / classes) > RARE


def is_below_guessing(facts: Mapping[str, Any]) -> bool:
    """Whether guessing among the classes would be right so seldom with a probability below SURE. The facts are those of
    `is_guessing`."""
    count, classes = facts["labelled"], facts["classes"]
    if count < ENOUGH or classes < 2:
        return False
    return 1 - by_chance((round(facts["accuracy"] * count) + 1) / count, count, 1 / classes) < SURE


def by_chance(share: float, count: int, chance: float) -> float:
    """The probability that at least a share of some tries succeed: the upper tail of the binomial distribution.

    Args:
        share: the share of the tries.
        count: the number of tries.
        chance: the probability that one try succeeds.
    """
    least = round(share * count)
    if chance in (0.0, 1.0) or least == 0:
        return float(least == 0 or chance == 1.0)
    ways = (math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(least, count + 1))
    odds = (k * math.log(chance) + (count - k) * math.log1p(-chance) for k in range(least, count + 1))
    return min(1.0, sum(math.exp(way + odd) for way, odd in zip(ways, odds, strict=True)))


def tells(labelled: Sequence[tuple[int, int]], shift: int) -> bool:
    """Whether labels moved by `shift` agree with the predictions far more often than by chance.

    Chance is what the frequencies of each class among labels and predictions give. So a model that always says the same
    class is no sign of wrong labels.
    """
    count = len(labelled)
    said, meant = Counter(p for _, p in labelled), Counter(label + shift for label, _ in labelled)
    chance = sum(meant[c] * said[c] for c in said) / count**2
    share = right(labelled, shift)
    return share > chance and (share - chance) / (1 - chance) >= KAPPA and by_chance(share, count, chance) < SURE


def doubts(facts: Mapping[str, Any], labelled: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """A sentence on where an accuracy near 0 or near chance comes from; nothing where the accuracy is not doubtful.

    Args:
        facts: what `agreement` gives, with "labelled", the number of labelled images, and "classes", that of the
            classes.
        labelled: pairs of a label and the predicted class.
    """
    words = f"The model agrees with {facts['accuracy']:.0%} of the {facts['labelled']} labels"
    if is_below_guessing(facts):
        words += f", which is less often than guessing among {facts['classes']} classes would"
    elif is_guessing(facts):
        words += f", as guessing among {facts['classes']} classes may, too"
    elif "accuracy_one_lower" not in facts:
        return ()
    if "accuracy_one_lower" not in facts:
        return (
            f"{words}. Check that its weights are trained and are those of these classes, and the preprocessing"
            " (mean, std and the order of the colours).",
        )
    lower, higher = facts["accuracy_one_lower"], facts["accuracy_one_higher"]
    way, count, shift = ("lower", "from 1", -1) if lower > higher else ("higher", OTHER_COUNT, 1)
    if max(lower, higher) < 3 * facts["accuracy"] or not tells(labelled, shift):
        return (
            f"{words}, with {lower:.0%} of them moved one lower and {higher:.0%} one higher. Check that classes.txt "
            "has the model's order, that the weights are trained, that the labels mean these classes, and the "
            "preprocessing (mean, std and the order of the colours).",
        )
    return (
        f"{words}, and with {max(lower, higher):.0%} of them moved one {way}: the table that they come from counts "
        f"{count}. Make the workspace anew with labels that count from 0{_MEND if shift < 0 else ''}.",
    )
