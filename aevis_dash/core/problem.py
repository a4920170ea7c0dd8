"""What every extraction method is given: images, the gated network, and the questions that may be asked of it.

A *row* is one datapath to find. It belongs to one image, or to a set of images of one prediction that are
explained by one datapath together (the 2018 system's "11 of 11"). B images, R rows, n feature maps, K classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ExtractionParameters
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.optimize import root_mean_square
from aevis_dash.domain import AevisError

FORWARD = 1 / 3
"""What a forward run alone costs, in passes (forward + backward of one image)."""
NO_RIVAL = -1


@dataclass(frozen=True)
class Foil:
    """What an image's prediction is explained against: why this class rather than that, this picture rather than that.

    label   the class it might have been, NO_RIVAL for all others together
    image   (H, W, 3) the picture that it might have been, such as adv's source; None for none
    """

    label: int = NO_RIVAL
    image: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """What a method finds: `gates` (R, n) in [0, 1], higher is more critical.

    `soft` are the gates that its soft prediction is made with, None for `gates`. `core` (R, n) bool is a small set
    that keeps the label, None where the method looks for none of its own. `supports` (R, n) bool are the maps that
    speak for the label by firing, None for all maps; hard sets take all others last. `loss` and `slack` (R,) are those
    of a solved method's end (`optimize.settle`), None of all others.
    """

    gates: Tensor
    soft: Tensor | None = None
    core: Tensor | None = None
    supports: Tensor | None = None
    loss: Tensor | None = None
    slack: Tensor | None = None

    @property
    def hard_order(self) -> Tensor:
        """(R, n) the order in which hard sets take the maps, highest first."""
        return self.gates if self.supports is None else supported_first(self.gates, self.supports)


def supported_first(gates: Tensor, supports: Tensor) -> Tensor:
    """Gates (R, n) as an order whose maps outside `supports` (R, n) come after all others."""
    return torch.where(supports, gates, gates - 2)


@dataclass(frozen=True)
class Contrast:
    """Images and their foils: `foils` (B, 3, H, W), the image itself where it has none, and the `differences` of
    the activations (B, n_l, ...) by layer, image minus foil; the whole activation where there is no foil. `fires`
    (R, n) bool: the maps that are not 0 everywhere on every image of the row."""

    foils: Tensor
    differences: dict[int, Tensor]
    fires: Tensor


class Problem:
    """The images of some rows, their full predictions, and runs with gates; counts the passes an image costs.

    foils    (B,) what each image is explained against, None for nothing; a row's label has its first image's rival
    groups   (B,) the row of each image, None for a row each
    given    gates (n,) of datapaths already found, that a row may be held near (Eq. 4)
    Raises AevisError where the images of one row are predicted as different classes.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: np.ndarray,
        given: Sequence[np.ndarray],
        parameters: ExtractionParameters,
        foils: Sequence[Foil] | None = None,
        groups: Sequence[int] | None = None,
    ):
        self.classifier, self.network, self.parameters = classifier, classifier.network, parameters
        self.x = classifier.inputs(images)
        self.rows = self._indices(range(len(images)) if groups is None else groups)
        self.count = torch.bincount(self.rows)
        self.given = [torch.tensor(z, dtype=self.x.dtype, device=self.x.device)[None] for z in given]
        self.passes = 0.0
        self.full = self.probabilities(None)
        self.labels = self._common_labels()
        self.foils = [Foil()] * len(images) if foils is None else list(foils)
        self.rivals = self._indices([self.foils[i].label for i in self._first_images()])

    @property
    def shape(self) -> tuple[int, int]:
        """(R, n)"""
        return len(self.labels), self.network.layers.n_maps

    def logits(self, gates: Tensor | None, x: Tensor | None = None) -> Tensor:
        """(B, K) with each row's gates (R, n) on its images; None for the whole network. `x` in place of the images."""
        self.passes += 1 if torch.is_grad_enabled() else FORWARD
        return self.network.logits(self.x if x is None else x, None if gates is None else gates[self.rows])

    def probabilities(self, gates: Tensor | None) -> Tensor:
        """(B, K), without gradients."""
        with torch.no_grad():
            return self.logits(gates).softmax(1)

    def gradient(self, gates: Tensor, output: "Output", x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """d output / d gates (R, n), the mean over a row's images, and whether each row's label holds (R,); 1 pass."""
        z = gates.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(z, x)
            gradient = torch.autograd.grad(self.mean(output(self, logits)).sum(), z)[0]
        return gradient, self.keeps(logits)

    def contrast(self) -> Contrast:
        """The images beside their foils; 2 forward runs."""
        has = torch.tensor([foil.image is not None for foil in self.foils], device=self.x.device)
        pictures = [np.zeros((*self.x.shape[2:], 3), np.uint8) if f.image is None else f.image for f in self.foils]
        here = has.reshape(-1, 1, 1, 1)
        foils = torch.where(here, self.classifier.inputs(np.stack(pictures)), self.x)
        layers = range(len(self.network.layers))
        self.passes += 2 * FORWARD
        with torch.no_grad():
            own, other = (self.network.record(x, layers)[1] for x in (self.x, foils))
            keep = {i: has.reshape(-1, *[1] * (own[i].dim() - 1)) for i in layers}
            differences = {i: own[i] - torch.where(keep[i], other[i], torch.zeros_like(own[i])) for i in layers}
        strength = torch.cat([own[i].flatten(2).abs().amax(2) if own[i].dim() > 2 else own[i].abs() for i in layers], 1)
        return Contrast(foils, differences, torch.zeros_like(self.whole()).index_add(0, self.rows, strength) > 0)

    def effects(self, x: Tensor, contrast: Contrast, output: "Output") -> tuple[Tensor, Tensor]:
        """First-order effects on the output at images x (B, 3, H, W), means over a row's images, (R, n) each; 1 pass.

        <a_k, d output / d a_k>, of having the map at all, and <a_k - foil's a_k, d output / d a_k>, of having it as it
        is on the image rather than on its foil.
        """
        gates, steps = (self.whole().requires_grad_() for _ in range(2))
        self.passes += 1
        with torch.enable_grad():
            logits = self.network.run_steered(x, gates[self.rows], steps[self.rows], contrast.differences)
            found = torch.autograd.grad(self.mean(output(self, logits)).sum(), [gates, steps])
        return found[0], found[1]

    def whole(self) -> Tensor:
        """(R, n) all gates at 1."""
        return self.x.new_ones(self.shape)

    def mean(self, values: Tensor) -> Tensor:
        """Values of images (B,) as means of rows (R,)."""
        return torch.zeros_like(self.count, dtype=values.dtype).index_add(0, self.rows, values) / self.count

    def keeps(self, logits: Tensor) -> Tensor:
        """(R,) whether every image of the row is predicted as the row's label."""
        return self.count_kept(logits) == self.count

    def count_kept(self, logits: Tensor) -> Tensor:
        """(R,) how many images of the row are predicted as the row's label."""
        right = logits.argmax(1) == self.labels[self.rows]
        return torch.zeros_like(self.count).index_add(0, self.rows, right.to(self.count.dtype))

    def holds(self, critical: Tensor, hold: float) -> Tensor:
        """(R,) whether the hard set (R, n) alone keeps the label, and `hold` of its probability, on every image."""
        p = self.probabilities(critical.to(self.x.dtype))
        label = self.labels[self.rows][:, None]
        enough = (p.gather(1, label) >= hold * self.full.gather(1, label))[:, 0]
        missing = torch.zeros_like(self.count).index_add(0, self.rows, (~enough).to(self.count.dtype))
        return self.keeps(p) & (missing == 0)

    def coherence(self, z: Tensor) -> Tensor:
        """(R,) the last term of Eq. 5: the sum over the given datapaths of ||z_j - z||_2 / sqrt(n)."""
        return sum((root_mean_square(other - z) for other in self.given), z.new_zeros(len(z)))

    def _indices(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=self.x.device)

    def _first_images(self) -> list[int]:
        rows = self.rows.tolist()
        return [rows.index(row) for row in range(len(self.count))]

    def _common_labels(self) -> Tensor:
        labels = self.full.argmax(1)
        first = labels[self._first_images()]
        if bool((first[self.rows] != labels).any()):
            names = sorted({self.classifier.class_names[int(label)] for label in labels})
            raise AevisError(
                f"One datapath for several images explains one prediction, but these are predicted as "
                f"{', '.join(names)}. Choose images of one predicted class."
            )
        return first


Output = Callable[[Problem, Tensor], Tensor]
"""A number for each image (B,) of the logits (B, K): what a ranking explains."""


def label_logit(problem: Problem, logits: Tensor) -> Tensor:
    """(R,) the logit of each row's label, of logits (R, K)."""
    return logits.gather(1, problem.labels[problem.rows][:, None])[:, 0]


def odds(problem: Problem, logits: Tensor) -> Tensor:
    """(R,) log p / (1 - p) of each row's label, of logits (R, K): its logit against all others together."""
    others = logits.scatter(1, problem.labels[problem.rows][:, None], -torch.inf)
    return label_logit(problem, logits) - others.logsumexp(1)


def margin(problem: Problem, logits: Tensor) -> Tensor:
    """(R,) the logit of each row's label minus its rival's, of logits (R, K); the odds where there is no rival."""
    rival = problem.rivals[problem.rows]
    against = label_logit(problem, logits) - logits.gather(1, rival.clamp_min(0)[:, None])[:, 0]
    return torch.where(rival == NO_RIVAL, odds(problem, logits), against)


def contrast(problem: Problem, logits: Tensor) -> Tensor:
    """(R,) the mean of `odds` and `margin`, of logits (R, K).

    It asks both what makes an image this class at all, and what makes it this one of the two.
    """
    return (odds(problem, logits) + margin(problem, logits)) / 2
