"""How much of an attack a few edges between two layers carry, over the examples of a workspace.

On every example the strongest edges into the last layer of a randomly drawn stage are carried alone (see `core.edges`):
edges from the nearest layer that feeds it, and edges from the last layer of the stage before.
"""

from collections.abc import Sequence

import numpy as np

from aevis_dash.config import Progress, silent
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.domain import AevisError, EdgeSet, Example
from aevis_dash.workbench import Workbench

COUNT = 20
"""The number of edges that are carried."""
LINES = ("all edges move", "kept", "kept by difference", "kept at random")
FROM = ("the nearest layer", "the stage before")
"""Where the edges begin."""


def compare_edges(
    bench: Workbench, examples: Sequence[Example], seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Estimate]]:
    """Carry the strongest edges alone on every example, beside edges by difference and random ones.

    Args:
        bench: the workbench of the workspace.
        examples: the examples, which must be misclassified.
        seed: of the draw of stages and of the intervals.
        progress: is told the share of the work that is done.

    Returns:
        By each of FROM the LINES, with their 95 % bootstrap intervals over examples. "all edges move" is the part of
        the margin's change from adv to src that all edges between the two layers carry. The others are parts of what
        all edges carry, of COUNT edges: the strongest ones, those by the size of the differences, and random ones.

    Raises:
        AevisError: the network has one stage only.
    """
    random, depths = np.random.default_rng(seed), bench.flips.depths()
    if len(depths) < 2:
        raise AevisError("This network has one stage only, so no edges lead from one stage to the next.")
    found: dict[str, list[list[float]]] = {name: [] for name in FROM}
    for i, example in enumerate(examples):
        progress(i / len(examples), f"edges of example {i + 1} of {len(examples)}")
        place = int(random.integers(1, len(depths)))
        change = bench.flips.turning(example.id).change
        earlier = bench.contributions.sources(depths[place])[0], depths[place - 1]
        for name, layer in zip(FROM, earlier, strict=True):
            told = judge(bench.flips.edges(example.id, layer, depths[place], COUNT), change)
            found[name] += [told] if np.isfinite(told).all() else []
    return {
        name: {line: bootstrap(np.array(rows).reshape(-1, len(LINES))[:, j], seed) for j, line in enumerate(LINES)}
        for name, rows in found.items()
    }


def judge(found: EdgeSet, change: float) -> list[float]:
    """Give the LINES of one set of edges; NaN where there are no edges, no others, or all of them move nothing.

    Args:
        found: the edges and what they carry.
        change: the margin on src less that on adv, in logits.
    """
    if not len(found.begin) or not len(found.chance):
        return [float("nan")] * len(LINES)
    kept = (found.carried, found.by_difference, float(np.median(found.chance)))
    return [(found.all_carried - found.before) / change, *(float(found.kept(margin)) for margin in kept)]
