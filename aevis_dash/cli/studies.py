"""The verbs that run over a whole workspace: the benches and the paper's evaluation, as tables for people."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aevis_dash import divergences, edge_study, make_workspace, method_comparison, method_lines, recurrence
from aevis_dash.benchmark import benchmark as measure
from aevis_dash.benchmark import benchmark_contributions, benchmark_learned
from aevis_dash.cli import name_studies
from aevis_dash.cli.hops import hops
from aevis_dash.cli.mask_study import masks
from aevis_dash.cli.opening import on_workspace, with_warnings
from aevis_dash.cli.output import Answer, check_writable, decimals, pairs, table
from aevis_dash.cli.recurring import confusions_document, confusions_text, recurring_document, recurring_text
from aevis_dash.cli.reports import Lines, document_of, interval, sample_of, write_csv, write_files
from aevis_dash.cli.solver_study import solver
from aevis_dash.config import Progress, part_of
from aevis_dash.contribution_truth import LINES, compare_ways
from aevis_dash.core.datapath import METHODS
from aevis_dash.core.evaluation import Estimate
from aevis_dash.core.necessity import WAYS
from aevis_dash.core.turning import POINTS
from aevis_dash.domain import CONTROLS, AevisError
from aevis_dash.edge_study import compare_edges
from aevis_dash.groundtruth import ground_truth
from aevis_dash.outlook import REPAIRED, detect, repair
from aevis_dash.pagespeed import page_speed
from aevis_dash.paper_evaluation import Question, lines, rows, survey
from aevis_dash.sample import choose
from aevis_dash.workbench import Workbench, open_workbench


def benchmark(args: argparse.Namespace, progress: Progress) -> Answer:
    """The verb `benchmark`: runs one of BENCHES, `costs` where none is named, on a workspace or on the drawn world."""
    what, workspace = _what(args)
    _check_files(args)
    root = workspace or make_workspace.make_embedded_world(progress)
    return with_warnings(open_workbench(root), lambda bench: BENCHES[what](bench, args, progress))


def costs(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench of what the analysis costs."""
    return _costs(measure(bench, progress), args)


def contributions(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench of what the explanation of an effect costs."""
    return _costs(benchmark_contributions(bench, progress), args)


def page(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench of how fast the page answers in a browser."""
    found = page_speed(bench, args.clicks, args.minutes, args.images, args.seed, progress)
    if args.csv:
        write_csv(args.csv, found["lines"])
    facts = {name: value for name, value in found.items() if name != "lines"}
    listed = [_speed(line) for line in found["lines"]]
    return Answer(found, f"{pairs(facts)}\n\n{table(_SPEED, listed)}")


_SPEED = ("what", "n", "median", "95 %", "most", "limit", "unit", "verdict", "note")


def _speed(line: Mapping[str, Any]) -> list[Any]:
    """One line of `pagespeed` as cells."""
    numbers = [decimals(line[name], 0) for name in ("median", "p95", "most")]
    limit = "-" if line["limit"] is None else decimals(line["limit"], 0)
    return [line["what"], line["n"], *numbers, limit, line["unit"], line["verdict"], line["note"]]


def learned_features(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench of what the index of learned features costs."""
    return _costs(benchmark_learned(bench, progress), args)


def _costs(measured: Mapping[str, Any], args: argparse.Namespace) -> Answer:
    if args.csv:
        write_csv(args.csv, measured["costs"])
    facts = {name: value for name, value in measured.items() if name not in ("costs", "memory")}
    facts |= {f"MiB of {what}": decimals(peak, 0) for what, peak in measured.get("memory", {}).items()}
    listed = [[c["what"], decimals(c["seconds"], 4), decimals(c["passes"], 1), c["detail"]] for c in measured["costs"]]
    return Answer(measured, f"{pairs(facts)}\n\n{table(['cost', 'seconds', 'passes', 'of'], listed)}")


def datapaths(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench of the extraction methods, each beside all others and the controls."""
    found = method_comparison.compare(bench, _methods(args), args.repeats, sample_of(args), progress)
    lines = {**found.methods, "(controls)": found.controls}
    document = document_of(bench, found.examples, lines)
    write_files(args, document, found.methods, method_lines.FIGURE_LINES)
    text = [
        f"{bench.workspace.settings.model.source}, {bench.layers.n_maps} maps, {len(found.examples)} examples, "
        f"{min(args.repeats, len(found.examples))} of them repeated; medians, and means of what is a yes or no",
        *(_side_by_side(found.methods, columns) for columns in (_SIZES, _TRUST, _NEEDED)),
        _intervals(found.methods),
        _depths(found),
        "Causal agreement of orders that see src but have no datapath: largest difference "
        f"{decimals(found.controls['causal difference'].mean, 2)}, gradient x difference (attribution patching) "
        f"{decimals(found.controls['causal patching'].mean, 2)}, integrated attribution patching "
        f"{decimals(found.controls['causal integrated'].mean, 2)}, turning effects (all layers in "
        f"{POINTS} passes) {decimals(found.controls['causal turning'].mean, 2)}.",
        "Hard sets that say their label of other images too are no evidence of cause; see `others`.",
    ]
    return Answer(document, "\n\n".join(text))


@on_workspace
def evaluate(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The verb `evaluate`: the paper's Eq. 9 and 10 over a workspace, beside the null."""
    _check_files(args)
    question = Question(args.r, args.granularity, args.norm)
    found = survey(bench, _methods(args), args.targets, sample_of(args), question, progress)
    by_method = {method: lines(evaluated) for method, evaluated in found.methods.items()}
    each = rows(found, [layer.name for layer in bench.layers.layers])
    document = document_of(bench, found.examples, by_method)
    document |= {"question": asdict(found.question), "refused": dict(found.refused), "outcomes": each}
    if args.csv:
        write_csv(args.csv, each)
    head = ["method", *next(iter(by_method.values()))]
    listed = [[method, *(interval(e) for e in of_method.values())] for method, of_method in by_method.items()]
    asked = f"r = {question.r}, levels are {question.granularity}s, {question.norm}"
    text = [
        f"{len(found.examples)} of {_count_misclassified(bench)} adversarials, up to {args.targets} targets; {asked}",
        table(head, listed),
    ]
    hits = [of[f"top-{k} {part}"].mean for of in by_method.values() for k in (1, 3, 5) for part in ("score", "null")]
    if not any(hit > 0 for hit in hits):
        text.append("The strict pattern of Eq. 10 never occurs, nor in the null: a smaller --r asks less.")
    if found.refused:
        text.append(f"{len(found.refused)} were left out. The first: {next(iter(found.refused.values()))}")
    return Answer(document, "\n\n".join(text))


@on_workspace
def diverge(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The verb `diverge`: where the adversarials of a workspace leave their sources, which class is taken for which,
    and which maps recur: as culprits, and as gained or lost ones where datapaths are stored."""
    _check_files(args)
    found = divergences.divergences(bench, sample_of(args), args.method, progress)
    listed = divergences.rows(bench, found)
    counted = divergences.by_layer(bench, listed, args.band, args.by)
    recurring = [{"map": name, "pairs": count} for name, count in divergences.culprits(listed, args.band)]
    confused = confusions_document(divergences.class_pairs(bench, found.examples), bench.class_names)
    own = bench.workspace.settings.extraction
    wanted = method_comparison.method_of(bench, args.method) if args.method else own
    changed = recurrence.recurring(bench, found.examples, wanted)
    if args.csv:
        write_csv(args.csv, listed)
    heads = ["layer", *counted[0]["pairs"], "(innocent)"]
    missing = divergences.without_band(listed, args.band)
    words = [
        f"{len(listed)} of {_count_misclassified(bench)} pairs; how many leave the band of {args.band} for good at "
        f"each layer, by {args.by}" + (f"; {missing} have no other image of the class" if missing else ""),
        table(heads, [[r["layer"], *r["pairs"].values(), decimals(r["innocent"], 1)] for r in counted]),
        "(innocent): where as many of the band's own images leave the band of the others.",
        "The maps that differ most beyond the band where pairs leave it:",
        table(["map", "pairs"], [list(row.values()) for row in recurring[:_CULPRITS]]),
        confusions_text(confused),
        recurring_text(changed, wanted.method),
    ]
    document = {"pairs": listed, "by_layer": counted, "culprits": recurring, "confusions": confused}
    return Answer(document | {"recurring": recurring_document(changed)}, "\n\n".join(words))


def truth(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The bench on the drawn world's ground truth: do the maps named as cause detect the part that alone was attacked?

    Raises:
        AevisError: for options that this bench does not have, and as `groundtruth.ground_truth`.
    """
    if args.weakest or args.processes or args.scheduler:
        raise AevisError(
            "This bench makes its own attacks, one after the other. Leave out --weakest, --processes and --scheduler."
        )
    wanted = bench.workspace.settings.extraction
    found = ground_truth(bench.classifier, _methods(args), args.examples, args.seed, wanted, progress)
    document = document_of(bench, [], found)
    drawn = {line: line for line in TRUTH if all(line in of_method for of_method in found.values())}
    write_files(args, document, found, drawn)
    listed = [[m, *(interval(of[line]) if line in of else "-" for line in TRUTH)] for m, of in found.items()]
    return Answer(document, f"{args.examples} attacks on one part each\n\n{table(['method', *TRUTH], listed)}")


def tracing(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """The ways of finding contributions, beside the exact effect of exchanging every map.

    Raises:
        AevisError: for options that this bench does not have, and where no example is misclassified.
    """
    _refuse_foreign_options(args)
    chosen = choose(bench, sample_of(args))
    found = compare_ways(bench, chosen, args.seed, progress)
    document = document_of(bench, [example.id for example in chosen], found)
    write_files(args, document, found, {line: line for line in LINES[:3]})
    listed = [[name, *(interval(of[line]) for line in LINES)] for name, of in found.items()]
    return Answer(document, f"{len(chosen)} examples, one area each\n\n{table(['way', *LINES], listed)}")


def edges(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """How much of an attack a few edges between two layers carry.

    Raises:
        AevisError: for options that this bench does not have, and where no example is misclassified.
    """
    _refuse_foreign_options(args)
    chosen = choose(bench, sample_of(args))
    found = compare_edges(bench, chosen, args.seed, progress)
    document = document_of(bench, [example.id for example in chosen], found)
    write_files(args, document, found, {line: line for line in edge_study.LINES})
    listed = [[name, *(interval(of[line]) for line in edge_study.LINES)] for name, of in found.items()]
    text = f"{len(chosen)} examples, {edge_study.COUNT} edges of each\n\n"
    return Answer(document, text + table(["edges from", *edge_study.LINES], listed))


def outlook(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Whether datapaths detect adversarials, and whether the maps of a flip-back repair the network.

    Raises:
        AevisError: for options that this bench does not have, and where no example is misclassified.
    """
    _refuse_foreign_options(args)
    chosen = choose(bench, sample_of(args))
    ids = {example.id for example in chosen}
    judged = [each for each in bench.judging.judged_examples() if each.example.id in ids]
    detected = detect(bench, judged, args.seed, part_of(progress, 0, 0.3))
    repaired = repair(bench, chosen, args.seed, part_of(progress, 0.3, 0.7))
    detectors = {name: {"AUROC": Estimate(of.auroc, of.low, of.high, of.n)} for name, of in detected.items()}
    document = document_of(bench, [example.id for example in chosen], detectors | repaired)
    write_files(args, document, repaired, {line: line for line in REPAIRED})
    tables = [
        table(["detector", "AUROC"], [[name, interval(of["AUROC"])] for name, of in detectors.items()]),
        table(["defence", *REPAIRED], [[n, *(interval(of[line]) for line in REPAIRED)] for n, of in repaired.items()]),
    ]
    return Answer(document, "\n\n".join([f"{len(chosen)} examples", *tables]))


def names(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """How far the names of feature maps hold on images that did not name them."""
    answer, listed = name_studies.names(bench, args, progress)
    if args.csv:
        write_csv(args.csv, listed)
    return answer


def _refuse_foreign_options(args: argparse.Namespace) -> None:
    """Refuse the options of other benches, for benches that run in one process and compare no extraction methods."""
    if args.processes or args.scheduler:
        raise AevisError("This bench runs in one process. Leave out --processes and --scheduler.")
    if args.methods:
        raise AevisError("This bench compares no extraction methods. Leave out --methods.")


BENCHES: Mapping[str, Callable[[Workbench, argparse.Namespace, Progress], Answer]] = MappingProxyType(
    {
        "costs": costs,
        "contributions": contributions,
        "learned": learned_features,
        "datapaths": datapaths,
        "masks": masks,
        "solver": solver,
        "truth": truth,
        "tracing": tracing,
        "edges": edges,
        "hops": hops,
        "outlook": outlook,
        "names": names,
        "page": page,
    }
)

_CULPRITS = 10
_CLAIMS = ("core %", "hard set %", "noise", "causal", "flip %", "flip / control", "/ integrated")
TRUTH = ("precision", "base rate", "excess", "recall", "specific", "carried", "diverging off")
_SIZES = {
    "core %": ("core", 100, 2),
    "hard set %": ("size", 100, 2),
    "kept": ("keeps", 100, 0),
    "others": ("others", 100, 0),
    "core: others": ("core_others", 100, 0),
    **{f"kept {s:.1%}".replace(".0%", "%"): (f"kept {s:.1%}", 100, 0) for s in method_lines.SHARES},
    **{f"KL {s:.1%}".replace(".0%", "%"): (f"kl {s:.1%}", 1, 2) for s in method_lines.SHARES},
    "dead %": ("dead", 100, 2),
}
_TRUST = {
    "noise": ("noise", 1, 2),
    "rank, noise": ("noise_rank", 1, 3),
    "seeds": ("seeds", 1, 2),
    "order": ("order", 1, 2),
    "halved": ("halved", 1, 2),
    "doubled": ("doubled", 1, 2),
    "causal": ("causal", 1, 2),
    "flip %": ("flip last stage", 100, 1),
    "flip / control": ("flip / better control", 1, 2),
    "/ integrated": ("flip / integrated", 1, 2),
    "passes": ("passes", 1, 1),
    "seconds": ("seconds", 1, 2),
    "MiB": ("memory", 1, 0),
}


_NEEDED = {
    f"{way}, {head}": (f"{line} {way}", 100, 1)
    for way in WAYS
    for head, line in {
        "lost %": "lost",
        "(random)": "lost_null",
        "label lost %": "turned",
        "label (random)": "turned_null",
        "one map %": "single",
        "one map (random)": "single_null",
    }.items()
}


def _check_files(args: argparse.Namespace) -> None:
    """Check that the files that the options name can be written, before anything is computed for them."""
    for path in (args.csv, getattr(args, "figure", None)):
        check_writable(path)


def _count_misclassified(bench: Workbench) -> int:
    return sum(judged.misclassified for judged in bench.judging.judged_examples())


def _what(args: argparse.Namespace) -> tuple[str, Path | None]:
    """The bench and the workspace that the options name; either may be left out."""
    if args.what in BENCHES or args.what is None:
        return args.what or "costs", args.workspace
    if args.workspace is not None:
        raise AevisError(f"There is no benchmark {args.what!r}. Choose one of: {', '.join(BENCHES)}.")
    return "costs", Path(args.what)


def _methods(args: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(args.methods)) if args.methods else list(METHODS)


def _side_by_side(methods: Lines, columns: Mapping[str, tuple[str, float, int]]) -> str:
    listed = [
        [method, *(decimals(found[line].mean * scale, digits) for line, scale, digits in columns.values())]
        for method, found in methods.items()
    ]
    return table(["method", *columns], listed)


def _intervals(methods: Lines) -> str:
    """A table of the most important lines with their intervals. The intervals of all lines are in the files."""
    columns = {name: line for name, line in (_SIZES | _TRUST).items() if name in _CLAIMS}
    listed = [
        [
            method,
            *(
                f"{decimals(found[line].low * scale, digits)} to {decimals(found[line].high * scale, digits)}"
                for line, scale, digits in columns.values()
            ),
        ]
        for method, found in methods.items()
    ]
    return table(["95 % interval of", *columns], listed)


def _depths(found: method_comparison.MethodComparison) -> str:
    """A table of the share of each stage's last layer that flips the label back, in percent."""
    count = sum(name.startswith("flip random") for name in found.controls)
    listed = [[m, *(decimals(100 * of[f"flips {i}"].mean, 1) for i in range(count))] for m, of in found.methods.items()]
    listed += [
        [f"({name})", *(decimals(100 * found.controls[f"flip {name} {i}"].mean, 1) for i in range(count))]
        for name in ("random", *CONTROLS, "turning")
    ]
    listed.append(["(true effects)", *["-"] * (count - 1), decimals(100 * found.controls["flip single"].mean, 1)])
    return table(["flip-back at stage, %", *(str(i + 1) for i in range(count))], listed)
