"""Which examples of a workspace a study looks at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.domain import AevisError, Example, JudgedExample
from aevis_dash.workbench import Workbench


@dataclass(frozen=True)
class Sample:
    """Which examples a run over a workspace takes, and where it runs (see `tasks.run`).

    `count` misclassified ones at random by the seed, None for all; with `weakest` of each source only the smallest
    perturbation.
    """

    count: int | None
    seed: int = 0
    weakest: bool = False
    processes: int | None = None
    scheduler: str | None = None


def choose(bench: Workbench, sample: Sample) -> list[Example]:
    """The examples of a sample. Raises AevisError where the workspace has none that is misclassified."""
    fooled = [j for j in bench.judging.judged_examples() if j.misclassified]
    if sample.weakest:
        fooled = _weakest(fooled)
    if not fooled:
        raise AevisError(f"No example in {bench.workspace.root} is misclassified. Make some with `aevis attack`.")
    order = np.random.default_rng(sample.seed).permutation(len(fooled))[: sample.count]
    return [fooled[i].example for i in order]


def _weakest(fooled: Sequence[JudgedExample]) -> list[JudgedExample]:
    smallest: dict[str, tuple[int, JudgedExample]] = {}
    for judged in fooled:
        size = judged.perturbation.linf
        if judged.example.source not in smallest or size < smallest[judged.example.source][0]:
            smallest[judged.example.source] = (size, judged)
    return [judged for _, judged in smallest.values()]
