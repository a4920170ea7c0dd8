"""The examples of a workspace that a study looks at, and its task for each of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from aevis_dash import tasks
from aevis_dash.config import Progress
from aevis_dash.domain import AevisError, Example, JudgedExample
from aevis_dash.workbench import Workbench

I = TypeVar("I")  # noqa: E741
R = TypeVar("R")


@dataclass(frozen=True)
class Sample:
    """Which examples a run over a workspace takes, and where it runs.

    Attributes:
        count: the number of misclassified examples, which are drawn at random; None for all.
        seed: of the draw.
        weakest: whether only the example of smallest perturbation is taken of each source.
        processes: the number of processes on this machine; see `tasks.run`.
        scheduler: the address of a dask scheduler; see `tasks.run`.
    """

    count: int | None
    seed: int = 0
    weakest: bool = False
    processes: int | None = None
    scheduler: str | None = None


def choose(bench: Workbench, sample: Sample) -> list[Example]:
    """The examples of a sample, in random order.

    Raises:
        AevisError: where the workspace has no misclassified example.
    """
    fooled = [j for j in bench.judging.judged_examples() if j.misclassified]
    if sample.weakest:
        fooled = _weakest(fooled)
    if not fooled:
        raise AevisError(f"No example in {bench.workspace.root} is misclassified. Make some with `aevis attack`.")
    order = np.random.default_rng(sample.seed).permutation(len(fooled))[: sample.count]
    return [fooled[i].example for i in order]


def do_each(
    bench: Workbench, task: Callable[[Workbench, I], R], items: Sequence[I], sample: Sample, progress: Progress
) -> list[R]:
    """Do a study's task for every item where the sample says, and give the results in the order of the items.

    Raises:
        AevisError: as `tasks.run`, and where a task raised it.
    """
    root, workers, address = bench.workspace.root, sample.processes, sample.scheduler
    return tasks.in_order(tasks.run(task, root, items, workers, address, progress))


def _weakest(fooled: Sequence[JudgedExample]) -> list[JudgedExample]:
    smallest: dict[str, tuple[float, JudgedExample]] = {}
    for judged in fooled:
        size = judged.perturbation.linf
        if judged.example.source not in smallest or size < smallest[judged.example.source][0]:
            smallest[judged.example.source] = (size, judged)
    return [judged for _, judged in smallest.values()]
