"""How fast the solver of Eq. 5 comes to its end: the loss and the hard set after so many passes, beside long runs.

Two solvers descend from the same start, that of the method `needed`, on the adversarials of a workspace: the one by
convex models (`core.modelled`), and the one along the gradient (`core.optimize.settle`) that solved Eq. 5 before. The
run that everything is held against is the longer one of each, of up to LONG steps.
"""

from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from aevis_dash.config import Progress, silent
from aevis_dash.core import measures
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.hard_sets import smallest_complete
from aevis_dash.core.modelled import Parts, descend
from aevis_dash.core.optimize import settle
from aevis_dash.core.problem import Problem
from aevis_dash.core.ranking import break_ties
from aevis_dash.core.relaxation import eq5, foil_ranking, mean_gate, start_of
from aevis_dash.domain import LEFT
from aevis_dash.image_pair import ImagePair
from aevis_dash.sample import Sample, choose, do_each
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench

MARKS = (10, 20, 30, 60, 120)
"""The numbers of passes after which the solvers are looked at."""
LONG = 600
"""The most steps of a long run."""
NEAR = 0.01
"""The share of a loss by which one counts as near to it."""
SOLVERS = ("by models", "along the gradient")
"""The solvers that are compared; the first one is that of the methods."""
VERSION = 1


@dataclass(frozen=True)
class Descents:
    """How the two SOLVERS descended on one adversarial.

    Attributes:
        loss: the loss after each of MARKS over the least loss of the two long runs, (2, m).
        jaccard: the Jaccard index of the hard set after each of MARKS with that of the solver's own long run, (2, m).
        warned: whether the first solver says after each of MARKS that it was ended too early, 1 or 0, (m,).
        near: the passes after which the loss is within NEAR of that of the long run along the gradient, (2,); LONG
            where it never is.
        passes: the passes after which the solver ends by itself, (2,).
        ends: the loss of each solver's long run over the lesser of the two, (2,).
        same: the Jaccard index of the hard sets of the two long runs.
    """

    loss: np.ndarray
    jaccard: np.ndarray
    warned: np.ndarray
    near: np.ndarray
    passes: np.ndarray
    ends: np.ndarray
    same: float


def compare_descents(
    bench: Workbench, sample: Sample, progress: Progress = silent
) -> tuple[tuple[str, ...], dict[str, dict[str, Estimate]]]:
    """Let both solvers descend on a sample of misclassified examples.

    Args:
        bench: the workbench of the workspace.
        sample: which examples are taken, and where the tasks run.
        progress: is told the share of the work that is done.

    Returns:
        The IDs of the examples; and for each of SOLVERS its lines with 95 % bootstrap intervals over examples, medians
        but for "warned", which is a mean.
    """
    examples = tuple(example.id for example in choose(bench, sample))
    found = do_each(bench, descents, examples, sample, progress)
    return examples, {name: summary(found, i, sample.seed) for i, name in enumerate(SOLVERS)}


def summary(found: list[Descents], solver: int, seed: int = 0) -> dict[str, Estimate]:
    """The lines of one solver over the examples, as `compare_descents` gives them."""

    def median(values: list[float]) -> Estimate:
        return bootstrap(values, seed, statistic="median")

    lines = {}
    for i, mark in enumerate(MARKS):
        lines[f"loss {mark}"] = median([each.loss[solver, i] for each in found])
    for i, mark in enumerate(MARKS):
        lines[f"jaccard {mark}"] = median([each.jaccard[solver, i] for each in found])
    for i, mark in enumerate(MARKS):
        told = [each.warned[i] for each in found] if solver == 0 else []
        lines[f"warned {mark}"] = bootstrap(told, seed)
    for name in ("near", "passes", "ends"):
        lines[name] = median([getattr(each, name)[solver] for each in found])
    return lines | {"same": median([each.same for each in found])}


@one_sight()
def descents(bench: Workbench, example_id: str) -> Descents:
    """The task for one example; from the store where it is stored."""
    example, wanted = bench.workspace.example(example_id), replace(bench.workspace.settings.extraction, method="needed")
    images = [bench.workspace.image_hash(name) for name in (example.adversarial, example.source)]
    asked = {name: getattr(wanted, name) for name in ("sparsity", "coherence", "learning_rate", "hold", "samples")}
    model = bench.classifier.fingerprint
    key = key_of("descents", VERSION, model=model, example=example_id, images=images, asked=asked)
    return bench.store.remember(key, Descents, lambda: descents_of(ImagePair(bench, example_id).problem(wanted)))


def descents_of(problem: Problem, marks: tuple[int, ...] = MARKS, long: int = LONG) -> Descents:
    """Let both solvers descend on a problem of one row.

    Args:
        problem: the problem.
        marks: the numbers of passes after which the solvers are looked at, rising.
        long: the most steps of a long run.
    """
    wanted, order = problem.parameters, foil_ranking(problem, silent)
    parts, start = eq5(problem, mean_gate, Problem.coherence), start_of(problem, order)
    radius = wanted.learning_rate
    trails = Trail(parts), Trail(parts)
    descend(trails[0].parts, start, long, radius)
    settle(trails[1].objective, start, long, radius)
    left = [float(descend(parts, start, mark - 1, radius).promised) for mark in marks]
    least = min(trail.losses[-1] for trail in trails)

    def hard_set(gates: Tensor) -> np.ndarray:
        return smallest_complete(problem, break_ties(gates, order), wanted.hold)[0].cpu().numpy()

    last = [hard_set(trail.gates[-1]) for trail in trails]
    at = [[trail.at(mark) for mark in marks] for trail in trails]
    return Descents(
        loss=np.array([[trail.losses[i] / least for i in of] for trail, of in zip(trails, at, strict=True)]),
        jaccard=np.array(
            [
                [measures.jaccard(hard_set(trail.gates[i]), end) for i in of]
                for trail, of, end in zip(trails, at, last, strict=True)
            ]
        ),
        warned=np.array([float(value > LEFT) for value in left]),
        near=np.array([trail.passes_to(trails[1].losses[-1] * (1 + NEAR), long) for trail in trails]),
        passes=np.array([float(len(trail.losses)) for trail in trails]),
        ends=np.array([trail.losses[-1] / least for trail in trails]),
        same=measures.jaccard(*last),
    )


class Trail:
    """The runs of a loss, in either solver's form, and the best acceptable gates after each of them.

    Attributes:
        losses: the least loss of acceptable gates after each run.
        gates: these gates after each run, (1, n) each.
    """

    def __init__(self, parts: Parts):
        self._parts = parts
        self.losses: list[float] = []
        self.gates: list[Tensor] = []

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the loss in the form that `modelled.descend` asks for, and remember it."""
        far, rest, accepted = self._parts(z)
        loss = float((far + rest).detach()[0])
        better = bool(accepted[0]) and (not self.losses or loss < self.losses[-1])
        self.losses.append(loss if better or not self.losses else self.losses[-1])
        self.gates.append(z.detach().clone() if better or not self.gates else self.gates[-1])
        return far, rest, accepted

    def objective(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Run the loss in the form that `optimize.settle` asks for, and remember it."""
        far, rest, accepted = self.parts(z)
        return far + rest, accepted

    def at(self, passes: int) -> int:
        """The index of the last run of the first `passes`."""
        return min(passes, len(self.losses)) - 1

    def passes_to(self, loss: float, never: int) -> float:
        """The number of runs after which the loss is at most this one."""
        return float(next((i + 1 for i, value in enumerate(self.losses) if value <= loss), never))
