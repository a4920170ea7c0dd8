"""Which examples are worth opening first: those whose adversarial score is near the median."""

from collections.abc import Sequence

import numpy as np

from aevis_dash.domain import JudgedExample


def medium(examples: Sequence[JudgedExample]) -> JudgedExample | None:
    """The misclassified example whose adversarial score is the median of theirs; None where none is misclassified."""
    return next(iter(by_nearness_to_medium(examples)), None)


def by_nearness_to_medium(examples: Sequence[JudgedExample]) -> list[JudgedExample]:
    """The misclassified examples, in the order of how near the rank of their score is to the median; the median first.

    Examples without a score are left out, unless no misclassified example has a score.
    """
    scored = sorted((e for e in examples if e.misclassified and np.isfinite(e.score)), key=lambda e: e.score)
    fooled = scored or [e for e in examples if e.misclassified]
    ranks = sorted(range(len(fooled)), key=lambda rank: abs(rank - len(fooled) // 2))
    return [fooled[rank] for rank in ranks]
