"""The verb `score`: the examples with their predictions, margins and scores, and what the scores tell apart."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from aevis_dash.cli import answers
from aevis_dash.cli.opening import on_workspace
from aevis_dash.cli.output import Answer, decimals, table
from aevis_dash.config import SCORES_BY, Progress
from aevis_dash.domain import AevisError, JudgedExample
from aevis_dash.workbench import Workbench


@on_workspace
def score(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """List the examples with their predictions, margins and adversarial scores, and the AUROC of both kinds."""
    by = args.score_by or bench.judging.score_by
    chosen = _choose(bench, bench.judging.judged_examples(progress), args.example)
    chosen = bench.judging.scored_by(chosen, by)
    auroc = bench.judging.separation(chosen, by).auroc
    listed = [answers.score_facts(bench, judged) for judged in chosen]
    text = table(
        ["example", "source", "adversarial", "misclassified", "score", "margin", "L∞", "L2", "pixels", "note"],
        [answers.score_row(row) for row in listed],
    )
    why = answers.no_auroc(auroc, chosen)
    kept = _kept_under_noise(bench, chosen, args.noise, progress) if args.noise else {}
    for row in listed:
        row["kept_under_noise"] = kept.get(row["example"])
    by_epsilon = _by_epsilon(bench, chosen, kept)
    document = {"examples": listed, "score_by": by, "auroc": auroc, "no_auroc": why, "by_epsilon": by_epsilon}
    said = f"{decimals(auroc)} ({why})" if why else decimals(auroc)
    text += f"\n\nAUROC of the score by {by}, misclassified against their sources: {said}"
    return Answer(document, text if why else f"{text}\n\n{_epsilons_text(by_epsilon, by)}")


def _choose(bench: Workbench, judged: list[JudgedExample], ids: Sequence[str] | None) -> list[JudgedExample]:
    if not judged:
        raise AevisError(f"{bench.workspace.root} has no example yet. Make some with `aevis attack`.")
    known = {j.example.id: j for j in judged}
    return [known[bench.workspace.example(i).id] for i in dict.fromkeys(ids)] if ids else judged


def _kept_under_noise(
    bench: Workbench, judged: Sequence[JudgedExample], draws: int, progress: Progress
) -> dict[str, float]:
    """The share of noisy copies of each misclassified adversarial that keep its label, by the example's ID."""
    fooled = [each.example for each in judged if each.misclassified]
    kept = {}
    for i, example in enumerate(fooled):
        progress(i / len(fooled), f"noise on {example.id}")
        kept[example.id] = bench.attacks.kept_under_noise(example, draws)
    return kept


def _by_epsilon(bench: Workbench, judged: Sequence[JudgedExample], kept: Mapping[str, float]) -> list[dict[str, Any]]:
    """How well each kind of score tells misclassified adversarials from their sources, for each declared epsilon and
    for all of them together, with 95 % bootstrap intervals; and how many of them keep their label under noise."""
    fooled = [each for each in judged if each.misclassified]
    declared = sorted({each.example.epsilon for each in fooled if each.example.epsilon is not None})
    groups: list[tuple[str, list[JudgedExample]]] = [
        (f"{epsilon:g}", [each for each in fooled if each.example.epsilon == epsilon]) for epsilon in declared
    ]
    unknown = [each for each in fooled if each.example.epsilon is None]
    groups += [("unknown", unknown)] if unknown else []
    groups += [("all", fooled)] if len(groups) != 1 else []
    return [
        {
            "epsilon": name,
            "misclassified": len(members),
            **{by: asdict(bench.judging.separation(members, by)) for by in SCORES_BY},
            "margin": float(np.median([each.margin.value for each in members])) if members else None,
            "kept_under_noise": [kept[each.example.id] for each in members] if kept else None,
        }
        for name, members in groups
    ]


def _epsilons_text(found: Sequence[dict[str, Any]], score_by: str) -> str:
    with_noise = any(each["kept_under_noise"] for each in found)
    rows = [
        [
            each["epsilon"],
            each["misclassified"],
            decimals(each["margin"], 2),
            *(_interval(each[by]) for by in SCORES_BY),
            decimals(each[score_by]["among"]),
            *([_stability(each["kept_under_noise"])] if with_noise else []),
        ]
        for each in found
    ]
    head = ["epsilon", "misclassified", "median margin", *(f"AUROC by {by}" for by in SCORES_BY), "among sources"]
    return table([*head, *(["kept under noise"] if with_noise else [])], rows)


def _stability(kept: Sequence[float]) -> str:
    """The mean share of noisy copies that keep the label, and of how many adversarials all copies keep it."""
    return f"{np.mean(kept):.1%} of copies, all of {sum(share == 1 for share in kept)}"


def _interval(found: dict[str, Any]) -> str:
    return f"{decimals(found['auroc'])} [{decimals(found['low'])}, {decimals(found['high'])}], n = {found['n']}"
