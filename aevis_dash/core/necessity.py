"""What is lost without a hard set: whether a prediction needs the maps that are enough for it.

A hard set is found by what it keeps with all other maps closed, so it is *sufficient*. Whether the prediction needs its
maps is another question, because other maps may do the same work. It is asked the other way round here: the maps of the
set are taken out of adv's run, and all others stay open. They are taken out in two ways. A map is *closed*, which makes
it 0 everywhere, as a gate of 0 does; or it takes src's values, as in a flip-back. What is lost is told as a part of the
margin's change from adv to src, with the margin M = logit[label] - logit[rival] (adv's class and src's class):

    lost = (M(adv) - M(adv without the maps)) / (M(adv) - M(src)),

so 1 says that the margin has become that of src. A network without a few percent of its maps is often wrong whichever
maps these are. So beside every number stands its *null*, the same of random maps: as many in each layer, drawn among
those that fire on at least one of the two images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from aevis_dash.core.classifier import Classifier
from aevis_dash.core.random_sets import set_of_sizes
from aevis_dash.domain import Datapath

WAYS = ("closed", "source")
"""The ways in which maps are taken out: closed, or with src's values."""
FIRST = 10
"""The number of maps of the hard set, best first, that are also taken out one at a time."""
DRAWS = 20
"""The number of random sets that stand beside the hard set."""
_ROWS = 16


@dataclass(frozen=True)
class Necessity:
    """What is lost without a hard set, by the two ways of taking maps out: closed, and with src's values.

    Attributes:
        lost: what is lost of the margin without the whole set, (2,).
        lost_null: the median of the same over random sets, (2,).
        turned: whether the label is lost without the whole set, 1 or 0, (2,).
        turned_null: the share of random sets without which the label is lost, (2,).
        single: the mean of what is lost of the margin without one map, over the first maps of the set, (2,).
        single_null: the mean of the same over random maps of the same layers, (2,).
    """

    lost: np.ndarray
    lost_null: np.ndarray
    turned: np.ndarray
    turned_null: np.ndarray
    single: np.ndarray
    single_null: np.ndarray


def necessity(
    classifier: Classifier, adversarial: np.ndarray, source: np.ndarray, path: Datapath, seed: Sequence[int] = (0,)
) -> Necessity:
    """Measure what is lost of adv's prediction without its hard set; it takes some 80 forward runs.

    Args:
        classifier: the classifier that predicts the two images as different classes.
        adversarial: the 8-bit adversarial image, (1, H, W, C).
        source: the 8-bit source image, (1, H, W, C).
        path: the datapath of adv, explained against src's class.
        seed: of the random maps.
    """
    runs = RunsWithout(classifier, adversarial, source, path)
    random = np.random.default_rng([*seed])
    layer_of = np.repeat(np.arange(len(runs.widths)), runs.widths)
    size = np.bincount(layer_of[path.critical], minlength=len(runs.widths))
    drawn = np.stack([set_of_sizes(random, runs.fires, layer_of, size) for _ in range(DRAWS)])
    inside = np.flatnonzero(path.critical)
    first = inside[np.argsort(-path.hard_order[inside], kind="stable")][:FIRST]
    one_each = [
        set_of_sizes(random, runs.fires, layer_of, np.bincount([layer_of[k]], minlength=len(size))) for k in first
    ]
    every = np.concatenate([path.critical[None], drawn, np.eye(len(layer_of), dtype=bool)[first], np.stack(one_each)])
    cuts = np.cumsum([1, DRAWS, len(first)])
    lost, turned = (np.split(values, cuts, axis=1) for values in runs.without(every))
    return Necessity(
        lost=lost[0][:, 0],
        lost_null=np.median(lost[1], axis=1),
        turned=turned[0][:, 0],
        turned_null=turned[1].mean(1),
        single=lost[2].mean(1),
        single_null=lost[3].mean(1),
    )


class RunsWithout:
    """Runs of adv without some of its maps.

    Attributes:
        widths: the number of maps of each layer.
        fires: the maps that are not 0 everywhere on both images, bool (n,).
    """

    def __init__(self, classifier: Classifier, adversarial: np.ndarray, source: np.ndarray, path: Datapath):
        self._network, self._path = classifier.network, path
        self.widths = [layer.channels for layer in classifier.layers.layers]
        self._x = classifier.inputs(adversarial)
        both = torch.cat([self._x, classifier.inputs(source)])
        with torch.no_grad():
            logits, maps = self._network.record(both, range(len(self.widths)))
        self._source = {i: value[1:] for i, value in maps.items()}
        peaks = [maps[i].reshape(2, width, -1).abs().amax((0, 2)) for i, width in enumerate(self.widths)]
        self.fires = (torch.cat(peaks) > 0).cpu().numpy()
        self._before, self._there = (float(value) for value in self._margins(logits))

    def without(self, sets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take sets of maps, bool (m, n), out of adv in both ways.

        Returns:
            What is lost of the margin, and whether the label is lost, 1 or 0, (2, m) each.
        """
        lost, turned = np.zeros((2, len(sets))), np.zeros((2, len(sets)))
        for way in range(2):
            for at in range(0, len(sets), _ROWS):
                logits = self._run(sets[at : at + _ROWS], closed=way == 0)
                change = (self._before - self._margins(logits)) / (self._before - self._there)
                lost[way, at : at + _ROWS] = change.cpu().numpy()
                turned[way, at : at + _ROWS] = (logits.argmax(1) != self._path.label).cpu().numpy()
        return lost, turned

    def _run(self, sets: np.ndarray, closed: bool) -> Tensor:
        parts = torch.tensor(sets, device=self._x.device).split(self.widths, dim=1)

        def take_out(layer: int, value: Tensor) -> Tensor:
            chosen = parts[layer].reshape(*parts[layer].shape, *[1] * (value.dim() - 2))
            return torch.where(chosen, value.new_zeros(()) if closed else self._source[layer], value)

        with torch.no_grad():
            return self._network.run_watched(self._x.expand(len(sets), -1, -1, -1), take_out)

    def _margins(self, logits: Tensor) -> Tensor:
        return logits[:, self._path.label] - logits[:, self._path.rival]
