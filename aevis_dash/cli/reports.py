"""What the benches over a workspace have in common: the sample that the options name, the files, and intervals."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aevis_dash.cli.output import decimals
from aevis_dash.core.evaluation import Estimate
from aevis_dash.files import write_atomically
from aevis_dash.sample import Sample
from aevis_dash.tables import write_text
from aevis_dash.workbench import Workbench

Lines = Mapping[str, Mapping[str, Estimate]]


def sample_of(args: argparse.Namespace) -> Sample:
    """Which examples the options ask for, and where the tasks run."""
    return Sample(args.examples, args.seed, args.weakest, args.processes, args.scheduler)


def document_of(bench: Workbench, examples: Sequence[str], found: Lines) -> dict[str, Any]:
    """The lines of a bench as one document, for --json and for the table."""
    listed = [
        {"method": method, "line": line, **asdict(estimate)}
        for method, of_method in found.items()
        for line, estimate in of_method.items()
    ]
    model = bench.workspace.settings.model.source
    return {"workspace": str(bench.workspace.root), "model": model, "examples": list(examples), "lines": listed}


def write_files(args: argparse.Namespace, document: Mapping[str, Any], found: Lines, drawn: Mapping[str, str]) -> None:
    """Write the files that were asked for. Plotly is loaded for a figure only, and not for every verb."""
    if args.csv:
        write_csv(args.csv, document["lines"])
    if args.figure:
        from aevis_dash.figures.bench import bench_figure

        text = bench_figure(found, drawn).to_html(include_plotlyjs=True)
        write_atomically(args.figure, lambda file: file.write(text.encode()))


def write_csv(path: Path, listed: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a CSV file."""
    import pandas as pd  # loading it takes half a second, and few commands write a table

    write_text(path, pd.DataFrame(listed).to_csv(index=False, lineterminator="\n", na_rep="nan"))


def interval(estimate: Estimate) -> str:
    """An estimate with its interval, such as "0.5 [0.3, 0.7]"."""
    return f"{decimals(estimate.mean)} [{decimals(estimate.low)}, {decimals(estimate.high)}]"
