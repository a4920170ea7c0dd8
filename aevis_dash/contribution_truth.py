"""How right contributions are about what an attack changed, judged by trying every map.

The truth is the exact effect: each map of an earlier layer alone is exchanged for src's in adv's run, in the receptive
field of an area that the attack raised, and the area's change is measured. Every way of finding contributions is
compared with that. So are the slopes that shares are made of, taken at other places (attribution patching), and two
orders that know of no gradient: how much a map's activations differ, and chance.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch

from aevis_dash.config import Progress, silent
from aevis_dash.core.contribution import contribute
from aevis_dash.core.contribution_problem import ContributionProblem, FoilRun
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.intervention import STEPS
from aevis_dash.core.measures import rank_correlation
from aevis_dash.core.modelled import descend
from aevis_dash.core.optimize import Descent, solve
from aevis_dash.domain import AreaOfInterest, Contribution, Example, FeatureMap, Way
from aevis_dash.workbench import Workbench

LINES = ("first right", "rank correlation", "correlation", "carried by the first", "seconds", "passes", "loss")
TRUTH, DIFFERENCE, CHANCE = "exact, source", "largest difference", "chance"
"""The exact effects themselves, and the orders that know of no gradient."""
WAYS = tuple(Way(method, foil) for foil in ("source", "zero") for method in ("solved", "quadratic"))
"""The ways of finding contributions that are compared."""
PATCHING = MappingProxyType(
    {
        "attribution patching": ((1.0, 1.0),),
        "integrated attribution patching": tuple(((i + 0.5) / STEPS, 1 / STEPS) for i in range(STEPS)),
    }
)
"""Orders by slopes alone. Of each the gates of all maps at which slopes are taken, and the weight of each: adv itself,
or the middles of equal steps from src's activations to adv's, as the control of a flip-back has them."""
LONG, LENGTH, NEARLY_NOTHING = 200, 0.1, 1e-6
"""Of the long runs that the solver is held against: the most steps, the length of Adam's steps, and the share of the
loss that the models have to promise or a run by them ends."""
_SRC, _ADV = 0, 1
_REACH = 1
"""The neurons on each side of the one that the attack raised most that belong to its area too."""


@dataclass(frozen=True)
class TracedArea:
    """What is traced of an example.

    Attributes:
        effect: the map that the attack raised most in the last layer of a stage.
        area: the neuron of it that was raised most, and its neighbours.
        layer: the index of the last layer of the stage before.
        images: src and adv, 8 bit, (2, H, W, C).
    """

    effect: FeatureMap
    area: AreaOfInterest
    layer: int
    images: np.ndarray


def compare_ways(
    bench: Workbench, examples: Sequence[Example], seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Estimate]]:
    """Compare the ways of finding contributions with the exact effect of exchanging each map.

    One question is asked of each example, about a stage that is drawn at random. Examples of which the exchange changes
    nothing are left out.

    Args:
        bench: the workbench of the workspace.
        examples: the examples, which must be misclassified.
        seed: the seed of the draw of stages, of chance and of the intervals.
        progress: is told the share of the work that is done.

    Returns:
        By the name of the way ("solved, source" and so on), of PATCHING, DIFFERENCE, CHANCE or TRUTH, the LINES with
        their 95 % bootstrap intervals over examples: how often the first map is the one of largest exact effect;
        Spearman's and Pearson's correlation of the shares with the exact effects over all maps; the exact part of the
        change that goes with the first map; the seconds that were taken, for src and adv together; the passes of the
        part between the two layers, for each of the two; and, where Eq. 7 and 8 were solved, the loss over the least
        loss that is known, that of `least_loss` or the solver's own.
    """
    random = np.random.default_rng(seed)
    found: dict[str, list[list[float]]] = {}
    for i, example in enumerate(examples):
        progress(i / len(examples), f"tracing example {i + 1} of {len(examples)}")
        asked = ask(bench, example, random)
        exact, seconds = _trace(bench, asked, Way("exact", "source"))
        if not exact.change[_ADV]:
            continue
        truth = exact.share[_ADV]
        rows = {TRUTH: [*judge(truth, truth, truth), seconds, exact.passes, np.nan]}
        for way in WAYS:
            traced, seconds = _trace(bench, asked, way)
            least = min(least_loss(bench, asked, way.foil), traced.loss) if way.method == "solved" else np.nan
            told = [seconds, traced.passes, traced.loss / least if least else 1.0]
            rows[f"{way.method}, {way.foil}"] = [*judge(traced.strength(_ADV), traced.share[_ADV], truth), *told]
        for name, places in PATCHING.items():
            shares, seconds, passes = patch(bench, asked, places)
            rows[name] = [*judge(shares, shares, truth), seconds, passes, np.nan]
        for name, values in ((DIFFERENCE, _difference(bench, asked)), (CHANCE, random.permutation(len(truth)))):
            rows[name] = [*judge(values, values, truth), 0.0, 0.0, np.nan]
        for name, row in rows.items():
            found.setdefault(name, []).append(row)
    return {
        name: {line: bootstrap(np.array(rows)[:, j], seed) for j, line in enumerate(LINES)}
        for name, rows in found.items()
    }


def ask(bench: Workbench, example: Example, random: np.random.Generator) -> TracedArea:
    """Choose what is traced of an example: an area that the attack raised in the last layer of a random later stage."""
    images, depths = bench.workspace.read([example.source, example.adversarial]), bench.flips.depths()
    place = int(random.integers(1, len(depths)))
    later, earlier = depths[place], depths[place - 1]
    src, adv = _activations(bench, images, later)
    raised = (adv - src).reshape(len(src), -1)
    channel = int(raised.max(1).argmax())
    extent = bench.layers.layers[later]
    row, column = divmod(int(raised[channel].argmax()), extent.width)
    top, left = max(row - _REACH, 0), max(column - _REACH, 0)
    bottom, right = min(row + _REACH + 1, extent.height), min(column + _REACH + 1, extent.width)
    return TracedArea(FeatureMap(later, channel), AreaOfInterest(later, top, left, bottom, right), earlier, images)


def judge(strength: np.ndarray, share: np.ndarray, truth: np.ndarray) -> list[float]:
    """Compare what a way says of n maps with their exact effects.

    Args:
        strength: by what the maps are named, the largest first, (n,).
        share: what the way says of each map, (n,); negative for maps that work against the area.
        truth: the exact effects, (n,).

    Returns:
        Whether the first map is right (1 or 0), Spearman's and Pearson's correlation of share and truth, and the exact
        effect of the first map.
    """
    first = int(np.argmax(strength))
    flat = share.std() == 0 or truth.std() == 0
    linear = float("nan") if flat else float(np.corrcoef(share, truth)[0, 1])
    return [float(truth[first] == truth.max()), rank_correlation(share, truth), linear, float(truth[first])]


def patch(
    bench: Workbench, asked: TracedArea, places: Sequence[tuple[float, float]]
) -> tuple[np.ndarray, float, float]:
    """Estimate by slopes what each map, exchanged for src's in adv's run, does to an area.

    Args:
        bench: the workbench of the workspace.
        asked: the area.
        places: as one of PATCHING.

    Returns:
        The estimates as parts of what exchanging all maps changes, (n,); the seconds and the passes that were taken.
    """
    begun = time.perf_counter()
    problem = _problem(bench, asked, "source")
    shares = problem.shares_at(places)[_ADV].cpu().numpy()
    return shares, time.perf_counter() - begun, problem.passes


def least_loss(bench: Workbench, asked: TracedArea, foil: str) -> float:
    """Give the least loss of Eq. 7 and 8, per image, that four long runs come to.

    Two start where the solver starts, at either of its starts, and descend as it does. The other two descend from there
    by projected steps of Adam.

    Args:
        bench: the workbench of the workspace.
        asked: the area.
        foil: "source" or "zero".
    """
    problem, parameters = _problem(bench, asked, foil), bench.workspace.settings.contribution
    ends = []
    for start in (problem.start(), torch.ones_like(problem.share)):
        by_models = descend(problem.parts, start, LONG, parameters.learning_rate, together=True, settled=NEARLY_NOTHING)
        by_adam = solve(lambda z: _of_all(problem, z), start, Descent(LONG, LENGTH))
        with torch.no_grad():
            ends += [float(by_models.loss.mean()), float(_of_all(problem, by_adam)[0].mean())]
    return min(ends)


def _of_all(problem: ContributionProblem, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss per image, the same for each row, and whether the rows are accepted."""
    far, rest, accepted = problem.parts(z)
    return (far + rest).mean().expand(len(z)), accepted


def _problem(bench: Workbench, asked: TracedArea, foil: str) -> ContributionProblem:
    parameters = bench.workspace.settings.contribution
    other = _source_run(bench, asked) if foil == "source" else None
    return ContributionProblem(bench.classifier, asked.images, asked.effect, asked.area, asked.layer, parameters, other)


def _trace(bench: Workbench, asked: TracedArea, way: Way) -> tuple[Contribution, float]:
    begun = time.perf_counter()
    foil = _source_run(bench, asked) if way.foil == "source" else None
    parameters = bench.workspace.settings.contribution
    found = contribute(
        bench.classifier, asked.images, asked.effect, asked.area, asked.layer, parameters, silent, way.method, foil
    )
    return found, time.perf_counter() - begun


def _source_run(bench: Workbench, asked: TracedArea) -> FoilRun:
    """Each image of the pair as the other's foil."""
    with torch.no_grad():
        inputs = bench.classifier.inputs(asked.images)
        activation = bench.classifier.network.activation(inputs, asked.layer)
    return FoilRun("source", activation.flip(0), torch.zeros(2, dtype=torch.long, device=inputs.device))


def _difference(bench: Workbench, asked: TracedArea) -> np.ndarray:
    """The l2 norm over positions of adv's activations less src's at the earlier layer, (n,)."""
    src, adv = _activations(bench, asked.images, asked.layer)
    return np.linalg.norm((adv - src).reshape(len(src), -1), axis=1)


def _activations(bench: Workbench, images: np.ndarray, layer: int) -> np.ndarray:
    with torch.no_grad():
        return bench.classifier.network.activation(bench.classifier.inputs(images), layer).cpu().numpy()
