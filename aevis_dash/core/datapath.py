"""Datapath extraction: the critical feature maps of a prediction (Sec. 4 of the paper), by any of the methods.

METHODS names the methods, each a function of a Problem. `extract` runs one of them on images and adds what all methods
share: the hard set, the core, and what these make of the label.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ExtractionParameters, Progress, part_of, silent
from aevis_dash.core import approximation, ranking, relaxation
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.elimination import elimination
from aevis_dash.core.halving import is_out_of_memory, smaller, too_small
from aevis_dash.core.hard_sets import of_share, smallest_complete, smallest_core
from aevis_dash.core.problem import Foil, Found, Problem
from aevis_dash.domain import AevisError, Datapath

Method = Callable[[Problem, Progress], Found]
"""An extraction method: it takes the problem, tells its progress, and gives the gates that it found."""
METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "needed": relaxation.needed,
        "elimination": elimination,
        "constrained": relaxation.constrained,
        "joint": relaxation.joint,
        "unconstrained": relaxation.unconstrained,
        "size-squared": relaxation.size_squared,
        "soft": relaxation.soft,
        "straight-through": relaxation.straight_through,
        "dgr": relaxation.dgr,
        "quadratic": approximation.quadratic,
        "quadratic-several": approximation.quadratic_several,
        "gradient": ranking.gradient,
        "integrated": ranking.integrated,
        "activation": ranking.activation,
        "random": ranking.random,
    }
)
"""Every extraction method by name, all with one interface."""

ABLATIONS: Mapping[str, Method] = MappingProxyType(
    {
        "needed-from-ones": relaxation.needed_from_ones,
        "needed-untied": relaxation.needed_untied,
        "needed-ranking": relaxation.ranking_alone,
    }
)
"""Parts of `needed`, which the bench of methods can name to tell what each of them gives. The page does not offer
them."""

_SOLVER = frozenset({"sparsity", "iterations", "learning_rate", "hold"})
USES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "needed": _SOLVER | {"coherence", "samples"},
        "needed-from-ones": _SOLVER | {"coherence", "samples"},
        "needed-untied": _SOLVER | {"coherence", "samples"},
        "needed-ranking": frozenset({"coherence", "samples"}),
        "elimination": frozenset({"coherence", "samples", "rounds"}),
        "constrained": _SOLVER | {"coherence"},
        "joint": _SOLVER | {"coherence"},
        "unconstrained": _SOLVER,
        "size-squared": _SOLVER | {"coherence"},
        "straight-through": frozenset({"seed"}),
        "quadratic": frozenset({"sparsity"}),
        "quadratic-several": frozenset({"sparsity"}),
        "random": frozenset({"seed"}),
    }
)
"""The parameters on which a method's gates depend; the gates of a method that is not named depend on none."""


HARD_SET, FIXED = 16, 40
"""The passes that finding the hard set takes at most, and those that a datapath takes by a method whose number of steps
is no parameter."""


def most_passes(wanted: ExtractionParameters) -> int:
    """Give the number of passes, each a run with its gradient, that a datapath takes at most: one for each point,
    round and step of its method, and those of finding its hard set."""
    named = USES.get(wanted.method, frozenset())
    steps = sum(getattr(wanted, name) for name in ("samples", "rounds", "iterations") if name in named)
    return HARD_SET + steps if steps else FIXED


def used_parameters(wanted: ExtractionParameters) -> dict[str, float | int | str]:
    """Give the parameters that a datapath depends on: those of its method, and those of the size of its hard set.

    Args:
        wanted: the method, and a value for every parameter.

    Returns:
        The values by the parameters' names, which are sorted.

    Raises:
        AevisError: there is no such method.
    """
    check_methods([wanted.method])
    names = {"method", "share", *([] if wanted.share > 0 else ["hold"]), *USES.get(wanted.method, ())}
    return {name: getattr(wanted, name) for name in sorted(names)}


def check_methods(names: Sequence[str]) -> None:
    """Raise AevisError where one of the names is that of no method."""
    unknown = [name for name in names if name not in METHODS and name not in ABLATIONS]
    if unknown:
        raise AevisError(f"There is no method {unknown[0]!r}. Choose one of: {', '.join(METHODS)}.")


def extract(
    classifier: Classifier,
    images: np.ndarray,
    given: Sequence[np.ndarray],
    parameters: ExtractionParameters,
    progress: Progress = silent,
    foils: Sequence[Foil] | None = None,
) -> Iterator[Datapath]:
    """Extract one datapath for each image, held near datapaths that were found before (Eq. 4 and 5).

    The datapaths come in the order of the images and `parameters.batch` at a time, so that finished ones can be kept
    when the rest is interrupted. On a GPU as many images are taken at a time as fit, and elsewhere fewer where a batch
    does not fit. The method "joint" alone takes all images at once and holds their datapaths near one another too.

    Args:
        images: 8-bit images, (B, H, W, C).
        given: the gates of the datapaths found before, (n,) each.
        parameters: the method and its parameters.
        progress: is told how far the work is.
        foils: what each image's prediction is explained against, where the method asks for it; None for nothing.

    Yields:
        The datapath of each image.

    Raises:
        AevisError: there is no such method, or the memory is too small for one image.
    """
    step = at_once(classifier, parameters, len(images))
    against = [Foil()] * len(images) if foils is None else list(foils)
    done = 0
    while done < len(images):
        at = slice(done, done + step)
        inner = part_of(progress, done / len(images), len(images[at]) / len(images))
        try:
            found = _solve(Problem(classifier, images[at], given, parameters, against[at]), inner)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if parameters.method == "joint" or step == 1:
                raise too_small(step, error) from error
            found = []
        if not found:  # after the except block, whose error holds what the failed run had in memory
            step = smaller(min(step, len(images) - done))
        yield from found
        done += len(found)


def at_once(classifier: Classifier, parameters: ExtractionParameters, count: int) -> int:
    """Give how many of `count` images are solved together: a batch, or all where the method or the device wants
    that.
    """
    whole = parameters.method == "joint" or classifier.device.type != "cpu"
    return max(1, count if whole else parameters.batch)


def extract_set(
    classifier: Classifier,
    images: np.ndarray,
    given: Sequence[np.ndarray],
    parameters: ExtractionParameters,
    progress: Progress = silent,
    foils: Sequence[Foil] | None = None,
) -> Datapath:
    """Extract one datapath for a set of images that have one predicted class, as in the 2018 system ("11 of 11").

    All images are in memory at once. The answer tells on how many of its `images` the hard set alone keeps the label
    (`kept`).

    Args:
        images: 8-bit images, (B, H, W, C).
        given: the gates of datapaths found before, near which this one is held, (n,) each.
        parameters: the method and its parameters.
        progress: is told how far the work is.
        foils: what each image's prediction is explained against; None for nothing.

    Raises:
        AevisError: the images are predicted as different classes, there is none, or there is no such method.
    """
    if not len(images):
        raise AevisError("There is no image to find a datapath of. Choose at least one.")
    return _solve(Problem(classifier, images, given, parameters, foils, [0] * len(images)), progress)[0]


def _solve(problem: Problem, progress: Progress) -> list[Datapath]:
    wanted = problem.parameters
    check_methods([wanted.method])
    begun = time.perf_counter()
    found = {**METHODS, **ABLATIONS}[wanted.method](problem, progress)
    core = smallest_core(problem, found.hard_order) if found.core is None else found.core
    critical = _critical(problem, found.hard_order)
    paths = datapaths(problem, found, critical, core, begun)
    progress(1.0, "datapath found")
    return paths


def _critical(problem: Problem, order: Tensor) -> Tensor:
    wanted = problem.parameters
    if wanted.share > 0:
        return of_share(problem, order, wanted.share)
    return smallest_complete(problem, order, wanted.hold)


def datapaths(problem: Problem, found: Found, critical: Tensor, core: Tensor, begun: float) -> list[Datapath]:
    """Make the datapaths of one problem of R rows, with what the soft gates and the hard set alone make of the label.

    Args:
        problem: the problem that was solved.
        found: what the method found, with gates (R, n).
        critical: the hard set of each row, bool (R, n).
        core: the core of each row, bool (R, n).
        begun: when the work began, in seconds as `time.perf_counter` counts them.

    Returns:
        A datapath for each row.
    """
    soft, hard = (
        problem.probabilities(z.to(found.gates.dtype))
        for z in (found.gates if found.soft is None else found.soft, critical)
    )
    supports = torch.ones_like(critical) if found.supports is None else found.supports
    seconds = (time.perf_counter() - begun) / len(critical)
    label = problem.labels[problem.rows][:, None]
    chances = torch.stack([problem.mean(p.gather(1, label)[:, 0]) for p in (problem.full, soft, hard)], dim=1)
    loss, left = (
        torch.full_like(chances[:, 0], torch.nan) if value is None else value for value in (found.loss, found.left)
    )
    keeps_soft, kept = problem.keeps(soft), problem.count_kept(hard)
    return [
        Datapath(
            gates=found.gates[row].cpu().numpy().astype(np.float32),
            supports=supports[row].cpu().numpy(),
            critical=critical[row].cpu().numpy(),
            core=core[row].cpu().numpy(),
            label=int(problem.labels[row]),
            rival=int(problem.rivals[row]),
            p_full=float(chances[row, 0]),
            p_soft=float(chances[row, 1]),
            p_hard=float(chances[row, 2]),
            keeps_soft=bool(keeps_soft[row]),
            images=int(problem.count[row]),
            kept=int(kept[row]),
            method=problem.parameters.method,
            passes=problem.passes * int(problem.count[row]),
            seconds=seconds,
            loss=float(loss[row]),
            left=float(left[row]),
        )
        for row in range(len(critical))
    ]


def distance(first: Datapath, second: Datapath) -> float:
    """Give the distance of two datapaths, ||z_1 - z_2||_2 / sqrt(n); the similarity of Sec. 6.2.1 is its inverse."""
    return float(np.sqrt(np.mean(np.square(first.gates - second.gates, dtype=np.float64))))


def representative(adversarial: Datapath, candidates: Sequence[Datapath]) -> int:
    """Give the index of the candidate whose datapath is most similar to the adversarial's (Sec. 6.2.1)."""
    return int(np.argmin([distance(adversarial, candidate) for candidate in candidates]))
