"""The problem that every extraction method is given: images, the gated network, and runs of it that can be asked for.

A *row* is one datapath to find. It belongs to one image, or to a set of images of one prediction that are explained by
one datapath together (the 2018 system's "11 of 11"). A *foil* is what a prediction is explained against.

Notation: B images, R rows, n feature maps, K classes. A *pass* is a forward and a backward run of one image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.optimize import root_mean_square
from aevis_dash.domain import AevisError

FORWARD = 1 / 3
"""The cost of a forward run alone, in passes."""
NO_RIVAL = -1
"""The label of a foil that stands for all other classes together."""


@dataclass(frozen=True)
class Foil:
    """The class and the picture that a prediction is explained against, as what the image might have been.

    Attributes:
        label: the index of the class that the image might have been; NO_RIVAL for all others together.
        image: the picture that the image might have been, such as adv's source, uint8 (H, W, C); None for none.
    """

    label: int = NO_RIVAL
    image: np.ndarray | None = None


@dataclass(frozen=True)
class Found:
    """The answer of an extraction method.

    Attributes:
        gates: the gates, (R, n), from 0 to 1; higher is more critical.
        soft: the gates that the method's soft prediction is made with, (R, n); None where these are `gates`.
        core: a small set that keeps the label, bool (R, n); None where the method looks for none of its own.
        supports: the maps that speak for the label by firing, bool (R, n); None for all maps. Hard sets take all others
            last.
        loss: the loss of Eq. 5 where a solver ended, (R,); None for methods that solve nothing so.
        left: the share of that loss by which one more step is still expected to lower it, (R,); None for these methods.
    """

    gates: Tensor
    soft: Tensor | None = None
    core: Tensor | None = None
    supports: Tensor | None = None
    loss: Tensor | None = None
    left: Tensor | None = None

    @property
    def hard_order(self) -> Tensor:
        """The order in which hard sets take the maps, (R, n), highest first."""
        return self.gates if self.supports is None else supported_first(self.gates, self.supports)


def supported_first(gates: Tensor, supports: Tensor) -> Tensor:
    """Make of gates (R, n) an order whose maps outside `supports`, bool (R, n), come after all others: (R, n)."""
    return torch.where(supports, gates, gates - 2)


@dataclass(frozen=True)
class Contrast:
    """Images beside their foils.

    Attributes:
        foils: the foil of each image as the model's input, (B, C, H, W); the image itself where it has none.
        differences: the activations of the image minus those of the foil, (B, n_l, ...), by the layer's index; the
            whole activations of the image where it has no foil.
        fires: the maps that are not 0 at some position of some image of the row, bool (R, n).
    """

    foils: Tensor
    differences: dict[int, Tensor]
    fires: Tensor


class Problem:
    """The images of some rows, their full predictions, and runs with gates.

    Args:
        classifier: the classifier that predicts them.
        images: 8-bit images, (B, H, W, C).
        given: the gates of datapaths already found, near which a row may be held (Eq. 4), (n,) each.
        parameters: the parameters of the extraction.
        foils: what each image is explained against; None for nothing. A row has the rival class of its first image.
        groups: the row of each image, (B,); None for a row each.

    Attributes:
        network: the classifier's network.
        x: the images as the model's input, (B, C, H, W).
        rows: the row of each image, (B,).
        count: the number of images of each row, (R,).
        passes: the passes spent so far on each image.
        full: the probabilities of the whole network, (B, K).
        labels: the predicted class of each row, (R,).
        rivals: the class that each row is explained against, (R,); NO_RIVAL for all others together.

    Raises:
        AevisError: the images of one row are predicted as different classes.
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
        """The number of rows R and of feature maps n."""
        return len(self.labels), self.network.layers.n_maps

    def logits(self, gates: Tensor | None, x: Tensor | None = None) -> Tensor:
        """Run the network with gates.

        Args:
            gates: each row's gates, (R, n), which all its images get; None for the whole network.
            x: model inputs in place of the images, (B, C, H, W); None for the images.

        Returns:
            Logits, (B, K).
        """
        self.passes += 1 if torch.is_grad_enabled() else FORWARD
        return self.network.logits(self.x if x is None else x, None if gates is None else gates[self.rows])

    def probabilities(self, gates: Tensor | None) -> Tensor:
        """Give the probabilities (B, K) with each row's gates (R, n) on its images, without gradients; None opens all
        gates.
        """
        with torch.no_grad():
            return self.logits(gates).softmax(1)

    def gradient(self, gates: Tensor, output: "Output", x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Give the gradient of an output by the gates; it takes one pass.

        Args:
            gates: the gates where the gradient is taken, (R, n).
            output: what is differentiated, one number for each image.
            x: model inputs in place of the images, (B, C, H, W); None for the images.

        Returns:
            The gradient (R, n), the mean over a row's images; and whether each row's label holds with these gates, bool
            (R,).
        """
        z = gates.detach().clone().requires_grad_()
        with torch.enable_grad():
            logits = self.logits(z, x)
            gradient = torch.autograd.grad(self.mean(output(self, logits)).sum(), z)[0]
        return gradient, self.keeps(logits)

    def contrast(self) -> Contrast:
        """Set the images beside their foils; it takes two forward runs."""
        has = torch.tensor([foil.image is not None for foil in self.foils], device=self.x.device)
        pictures = [
            np.zeros((*self.x.shape[2:], self.x.shape[1]), np.uint8) if f.image is None else f.image for f in self.foils
        ]
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
        """Give the first-order effects of the maps on an output, in two ways; it takes one pass.

        Args:
            x: model inputs where the gradient is taken, (B, C, H, W).
            contrast: the images beside their foils.
            output: what is explained, one number for each image.

        Returns:
            Two effects of each map k with activation a_k, (R, n) each, means over a row's images. The first is <a_k, d
            output / d a_k>, of having the map at all. The second is <image's a_k - foil's a_k, d output / d a_k>, of
            having it as it is on the image rather than on its foil.
        """
        gates, steps = (self.whole().requires_grad_() for _ in range(2))
        self.passes += 1
        with torch.enable_grad():
            logits = self.network.run_steered(x, gates[self.rows], steps[self.rows], contrast.differences)
            found = torch.autograd.grad(self.mean(output(self, logits)).sum(), [gates, steps])
        return found[0], found[1]

    def integrated_effects(
        self, contrast: Contrast, output: "Output", samples: int, progress: Progress = silent
    ) -> tuple[Tensor, Tensor]:
        """Average both kinds of `effects` over images between the foils and the images; it takes one pass a sample.

        Args:
            contrast: the images beside their foils.
            output: what is explained, one number for each image.
            samples: S, the number of points on each straight line from a foil to its image, at (k + 1/2) / S of the
                way. Where no image has a foil, one point does, because all points are the image.
            progress: is told how far the work is.

        Returns:
            The two effects of `effects`, (R, n) each, means over the points.
        """
        samples = samples if any(foil.image is not None for foil in self.foils) else 1
        having, differing = torch.zeros_like(self.whole()), torch.zeros_like(self.whole())
        for k in range(samples):
            progress(k / samples, "ranking the feature maps")
            between = contrast.foils + (k + 0.5) / samples * (self.x - contrast.foils)
            first, second = self.effects(between, contrast, output)
            having, differing = having + first, differing + second
        return having / samples, differing / samples

    def whole(self) -> Tensor:
        """Give gates (R, n) that are all 1."""
        return self.x.new_ones(self.shape)

    def mean(self, values: Tensor) -> Tensor:
        """Average values of images (B,) to values of rows (R,)."""
        return torch.zeros_like(self.count, dtype=values.dtype).index_add(0, self.rows, values) / self.count

    def keeps(self, logits: Tensor) -> Tensor:
        """Tell from logits (B, K) whether every image of a row is predicted as the row's label: bool (R,)."""
        return self.count_kept(logits) == self.count

    def count_kept(self, logits: Tensor) -> Tensor:
        """Count from logits (B, K) how many images of a row are predicted as the row's label: (R,)."""
        right = logits.argmax(1) == self.labels[self.rows]
        return torch.zeros_like(self.count).index_add(0, self.rows, right.to(self.count.dtype))

    def holds(self, critical: Tensor, hold: float) -> Tensor:
        """Tell whether the hard set alone keeps the label, and a part of its probability, on every image of a row.

        Args:
            critical: the hard sets, bool (R, n).
            hold: the share of its probability that the label has to keep, from 0 to 1.

        Returns:
            Whether it does, bool (R,).
        """
        p = self.probabilities(critical.to(self.x.dtype))
        label = self.labels[self.rows][:, None]
        enough = (p.gather(1, label) >= hold * self.full.gather(1, label))[:, 0]
        missing = torch.zeros_like(self.count).index_add(0, self.rows, (~enough).to(self.count.dtype))
        return self.keeps(p) & (missing == 0)

    def coherence(self, z: Tensor) -> Tensor:
        """Give the last term of Eq. 5 for gates z (R, n): the sum over the given datapaths of ||z_j - z||_2 / sqrt(n),
        (R,).
        """
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
"""The number that a ranking explains, one for each image (B,), as a function of a problem and logits (B, K)."""


def label_logit(problem: Problem, logits: Tensor) -> Tensor:
    """Give for each image the logit of its row's label, from logits (B, K): (B,)."""
    return logits.gather(1, problem.labels[problem.rows][:, None])[:, 0]


def odds(problem: Problem, logits: Tensor) -> Tensor:
    """Give for each image log p / (1 - p) of its row's label, from logits (B, K): (B,).

    This is the label's logit against all others together.
    """
    others = logits.scatter(1, problem.labels[problem.rows][:, None], -torch.inf)
    return label_logit(problem, logits) - others.logsumexp(1)


def margin(problem: Problem, logits: Tensor) -> Tensor:
    """Give for each image the logit of its row's label minus that of the rival class, from logits (B, K): (B,).

    Where there is no rival these are the odds.
    """
    rival = problem.rivals[problem.rows]
    against = label_logit(problem, logits) - logits.gather(1, rival.clamp_min(0)[:, None])[:, 0]
    return torch.where(rival == NO_RIVAL, odds(problem, logits), against)


def contrast(problem: Problem, logits: Tensor) -> Tensor:
    """Give for each image the mean of `odds` and `margin`, from logits (B, K): (B,).

    It asks both what makes an image this class at all, and what makes it this one of the two.
    """
    return (odds(problem, logits) + margin(problem, logits)) / 2
