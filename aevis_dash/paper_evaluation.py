"""The paper's evaluation over a whole workspace (Sec. 6.1, Table 1), for any extraction methods, each beside its null.

A *task* extracts one example's datapaths by one method and compares them. The datapaths are stored, so an interrupted
run can go on, other values of r, norms and granularities cost next to nothing, and the page shows the example from the
same datapaths.

The null does not exclude one thing: targets are explained as adv's class, and nulls as their own. So part of any excess
over the null is that two explanations of one class are alike, whatever the pictures show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aevis_dash import tasks
from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core import evaluation
from aevis_dash.core.datapath import check_methods
from aevis_dash.core.evaluation import ComparedRivers, Evaluation
from aevis_dash.domain import AevisError
from aevis_dash.sample import Sample, choose
from aevis_dash.workbench import Workbench


@dataclass(frozen=True)
class Question:
    """How Eq. 9 and 10 are asked.

    Attributes:
        r: the number of last steps, from level to level, at which diff must grow.
        granularity: what a level is, one of `core.evaluation.GRANULARITIES`.
        norm: how gates are compared at a level, one of `core.evaluation.NORMS`.
    """

    r: int = 8
    granularity: str = "block"
    norm: str = "l2"


@dataclass(frozen=True)
class Survey:
    """The evaluation of several methods.

    Attributes:
        question: how Eq. 9 and 10 were asked.
        examples: the IDs of the examples that were evaluated by all methods.
        methods: the evaluation of each method over these examples, by the method's name.
        refused: why each of the other examples was left out, by its ID.
    """

    question: Question
    examples: tuple[str, ...]
    methods: Mapping[str, Evaluation]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Item:
    """The question of one task.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters.
        question: how Eq. 9 and 10 are asked.
    """

    example: str
    wanted: ExtractionParameters
    question: Question


def survey(
    bench: Workbench,
    methods: Sequence[str],
    targets: int,
    sample: Sample,
    question: Question | None = None,
    progress: Progress = silent,
) -> Survey:
    """Evaluate extraction methods on a sample of misclassified examples.

    Args:
        bench: the workbench of the workspace.
        methods: the names of extraction methods.
        targets: the number of targets of each example at most, and of its nulls.
        sample: which examples are taken, and where the tasks run.
        question: how Eq. 9 and 10 are asked; None for the defaults of `Question`.
        progress: is told the share of the work that is done.

    Raises:
        AevisError: for an unknown method, norm or granularity, where r does not fit the network, and where no example
            has a target.
    """
    asked = question or Question()
    grouping = _check(bench, methods, asked)
    examples = [e.id for e in choose(bench, sample)]
    base = replace(bench.workspace.settings.extraction, candidates=targets, null_targets=targets, seed=sample.seed)
    items = [Item(e, replace(base, method=m), asked) for m in methods for e in examples]
    found = dict(tasks.run(examine, bench.workspace.root, items, sample.processes, sample.scheduler, progress))
    refused = {items[i].example: r.message for i, r in found.items() if isinstance(r, tasks.Refused)}
    known = tuple(e for e in examples if e not in refused)
    if not known:
        raise AevisError(f"None of {len(examples)} examples can be evaluated. {next(iter(refused.values()))}")
    done = {m: _summarise(_of(m, items, found, known), grouping, asked, sample.seed) for m in methods}
    return Survey(asked, known, done, refused)


def examine(bench: Workbench, item: Item) -> ComparedRivers:
    """The task for one example and one method: its datapaths, from the store where they are, compared by Eq. 9 and 10.

    Raises:
        AevisError: as `Datapaths.extract`.
    """
    found = bench.datapaths.extract(item.example, wanted=item.wanted)
    shared = min(len(found.candidates), len(found.nulls)) if found.nulls else 0
    trial = evaluation.ComparedGates(
        found.adversarial.gates,
        found.source.gates,
        np.stack([path.gates for path in found.candidates[: shared or None]]),
        np.stack([path.gates for path in found.nulls[:shared]]) if shared else np.zeros((0, bench.layers.n_maps)),
    )
    asked = item.question
    grouping = evaluation.levels(bench.layers, asked.granularity)
    return evaluation.outcome(bench.layers, grouping, trial, asked.r, asked.norm)


def lines(found: Evaluation) -> dict[str, evaluation.Estimate]:
    """The estimates of one method by name, such as "top-1 score": score, null and excess of every top-K and of the
    drift."""
    compared = {f"top-{k}": value for k, value in found.top_k.items()} | {"drift": found.drift}
    return {
        f"{name} {part}": getattr(value, part)
        for name, value in compared.items()
        for part in ("score", "null", "excess")
    }


def rows(found: Survey, layer_names: Sequence[str]) -> list[dict[str, Any]]:
    """One row for every method, adversarial and target or null, with what was found, to be explored afterwards.

    The column `starts` names the first layer of the level from which diff of Eq. 9 grows without a break to the end; it
    is "" where diff does not grow at the last step.
    """
    return [
        {
            "method": method,
            "example": example,
            "against": against,
            "rank": rank,
            "similarity": float(rivers.similarity[i]),
            "pattern": bool(rivers.pattern[i]),
            "starts": _start(evaluated, int(rivers.growth_start[i]), layer_names),
            "drift": float(rivers.drift[i]),
        }
        for method, evaluated in found.methods.items()
        for example, outcome in zip(found.examples, evaluated.outcomes, strict=True)
        for against, rivers in (("target", outcome.targets), ("null", outcome.nulls))
        for rank, i in enumerate(np.argsort(-rivers.similarity, kind="stable"), start=1)
    ]


def _start(evaluated: Evaluation, level: int, layer_names: Sequence[str]) -> str:
    return "" if level == len(evaluated.levels) - 1 else layer_names[evaluated.levels[level][0]]


def _check(bench: Workbench, methods: Sequence[str], asked: Question) -> evaluation.Levels:
    check_methods(methods)
    grouping = evaluation.levels(bench.layers, asked.granularity)
    if asked.norm not in evaluation.NORMS:
        raise AevisError(f"There is no norm {asked.norm!r}. Choose one of: {', '.join(evaluation.NORMS)}.")
    evaluation.pattern(np.zeros(len(grouping)), asked.r)
    return grouping


def _of(
    method: str, items: Sequence[Item], found: Mapping[int, ComparedRivers | tasks.Refused], known: Sequence[str]
) -> list[ComparedRivers]:
    """The outcomes of one method in the order of the examples, without examples that were refused by any method."""
    mine = [found[i] for i, item in enumerate(items) if item.wanted.method == method and item.example in known]
    return [outcome for outcome in mine if isinstance(outcome, ComparedRivers)]


def _summarise(
    outcomes: Sequence[ComparedRivers], grouping: evaluation.Levels, asked: Question, seed: int
) -> Evaluation:
    return evaluation.summarise(outcomes, grouping, asked.r, asked.norm, seed=seed)
