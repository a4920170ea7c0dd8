"""One adversarial and its source, as the bench of extraction methods looks at them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath, intervention
from aevis_dash.core.problem import Foil, Problem
from aevis_dash.domain import Datapath
from aevis_dash.workbench import Workbench

_RANDOM_ORDERS = 3


@dataclass(frozen=True)
class Yardstick:
    """What the datapaths of all methods are held against on one example.

    Attributes:
        layers: the indices of the c sampled layers, (c,).
        channels: the k sampled maps of each of these layers, (c, k).
        effects: by how much logit_adv - logit_src falls when one of these maps alone is put from src into adv, (c, k).
            It is positive where adv's prediction rests on the map.
        depths: the indices of the last layers of the d stages, (d,).
        random: at each depth the share of the layer's maps that must be patched to flip the label back, in random order
            (the median of three orders), (d,).
        controls: the same in each of the orders of CONTROLS, (orders, d).
        single: the same at the last depth, in the order of the true effect of each map alone. It is what an order could
            reach that knew every single map's effect.
    """

    layers: np.ndarray
    channels: np.ndarray
    effects: np.ndarray
    depths: np.ndarray
    random: np.ndarray
    controls: np.ndarray
    single: float


def sampled_layers(count: int, wanted: int) -> np.ndarray:
    """The indices of up to `wanted` layers of `count`, evenly spread, the last one included: int (c,)."""
    return np.unique(np.linspace(count - 1, count // (2 * wanted), wanted).round().astype(int))


class ImagePair:
    """The two images of an example, what is extracted from them for the bench, and what patching between them does.

    Args:
        bench: the workbench of the workspace.
        example_id: the ID of the example.

    Attributes:
        adv_image: the adversarial, 8-bit (1, H, W, C).
        src_image: its source, 8-bit (1, H, W, C).
        seed: of every draw for this example.
    """

    def __init__(self, bench: Workbench, example_id: str):
        self._bench = bench
        self._example = bench.workspace.example(example_id)
        source, adversarial = bench.judging.predict([self._example.source, self._example.adversarial])
        self._labels = np.array([source.label]), np.array([adversarial.label])
        self.adv_image, self.src_image = (
            bench.workspace.read([name]) for name in (self._example.adversarial, self._example.source)
        )
        self._foils = [Foil(source.label, self.src_image[0]), Foil(adversarial.label, self.adv_image[0])]
        self.seed = [0, *example_id.encode()]
        self._found: dict[Hashable, Datapath] = {}

    def adversarial(
        self, wanted: ExtractionParameters, image: np.ndarray | None = None, given: Sequence[np.ndarray] = ()
    ) -> Datapath:
        """The datapath of the adversarial against its source.

        Args:
            wanted: the extraction parameters.
            image: an 8-bit image (1, H, W, C) in place of the adversarial; None for the adversarial itself.
            given: the gates (n,) of datapaths that this one is held near, where the method does that.
        """
        return self._path(self.adv_image if image is None else image, wanted, given, self._foils[0])

    def problem(self, wanted: ExtractionParameters) -> Problem:
        """What a method is given to find the datapath of the adversarial against its source."""
        return Problem(self._bench.classifier, self.adv_image, [], wanted, self._foils[:1])

    def source(self, wanted: ExtractionParameters, given: Sequence[np.ndarray] = ()) -> Datapath:
        """The datapath of the source against its adversarial; the arguments are those of `adversarial`."""
        return self._path(self.src_image, wanted, given, self._foils[1])

    def chain(self, wanted: ExtractionParameters) -> tuple[Datapath, Datapath]:
        """The datapaths of adv, and of src given adv; both are solved at once where the method is "joint"."""
        if wanted.method == "joint":
            both = np.concatenate([self.adv_image, self.src_image])
            adv, src = datapath.extract(self._bench.classifier, both, [], wanted, foils=self._foils)
            return adv, src
        adv = self.adversarial(wanted)
        return adv, self.source(wanted, [adv.gates])

    def noisy(self) -> np.ndarray:
        """The adversarial image, uint8 (1, H, W, C), with every number changed by -1, 0 or 1 grey levels at random."""
        noise = np.random.default_rng(self.seed).integers(-1, 2, self.adv_image.shape)
        return np.clip(self.adv_image.astype(int) + noise, 0, 255).astype(np.uint8)

    def others(self, count: int) -> list[str]:
        """The file names of up to `count` normal images that are predicted as neither of the two images' classes."""
        entries = self._bench.workspace.images
        order = np.random.default_rng(self.seed).permutation(len(entries))
        names = [entries[i].file for i in order[: 4 * count]]
        taken = {int(label[0]) for label in self._labels}
        return [n for n, p in zip(names, self._bench.judging.predict(names), strict=True) if p.label not in taken][
            :count
        ]

    def alive(self, layer: int, count: int) -> np.ndarray:
        """`count` channels of a layer that fire on at least one of the two images, drawn at random: int (count,).

        Where fewer channels fire, they are drawn with repetition.
        """
        part = self._bench.layers.part
        firing = [part(self._bench.maps.maxima(n), layer) for n in (self._example.adversarial, self._example.source)]
        candidates = np.flatnonzero(np.maximum(*firing) > 0)
        random = np.random.default_rng(self.seed)
        if len(candidates) < count:
            candidates = np.arange(len(firing[0])) if len(candidates) == 0 else candidates
            return random.choice(candidates, count)
        return random.permutation(candidates)[:count]

    def effects(self, layer: int, channels: np.ndarray) -> np.ndarray:
        """By how much logit_adv - logit_src changes when each of these maps alone is put from src into adv.

        Args:
            layer: the index of the layer.
            channels: the k channels, (k,).

        Returns:
            The changes (k,).
        """
        src, adv = self._labels
        return intervention.single_map_effects(
            self._bench.classifier, self.adv_image, self.src_image, layer, channels[None], adv, src
        ).values[0]

    def strengths(self, layer: int) -> np.ndarray:
        """The strengths by which the orders of CONTROLS sort the n_l maps of a layer, for src's maps put into adv: (c,
        n_l)."""
        exchange = intervention.Exchange(self._bench.classifier, self.adv_image, self.src_image, layer)
        (src,), (adv,) = self._labels
        return intervention.control_strengths(exchange, lambda logits: logits[:, src] - logits[:, adv])[:, 0]

    def turning(self) -> np.ndarray:
        """The turning effect of every map of the network, (n,); see `core.turning`."""
        return self._bench.flips.turning(self._example.id).effects

    def controls(self, layer: int) -> tuple[float, np.ndarray]:
        """The shares of a layer's maps that must be patched to flip the label back, by orders that know no datapath.

        Returns:
            The median of random orders, and the share of each of the orders of CONTROLS, (c,).
        """
        width = self._bench.layers.layers[layer].channels
        random = [intervention.random_order(1, width, seed) for seed in range(_RANDOM_ORDERS)]
        ordered = intervention.best_first(self.strengths(layer))[:, None]
        shares = self._flip(layer, np.concatenate([np.stack(random), ordered]))
        return float(np.median(shares[:_RANDOM_ORDERS])), shares[_RANDOM_ORDERS:]

    def by_true_effects(self, layer: int) -> float:
        """The share of a layer's maps that must be patched to flip adv back, in the order of the true effect of each
        map alone."""
        effects = self.effects(layer, np.arange(self._bench.layers.layers[layer].channels))
        return float(self._flip(layer, np.argsort(effects, kind="stable")[None, None])[0])

    def flips(self, rod: Yardstick, order: np.ndarray) -> np.ndarray:
        """The share of the maps at each depth that must be patched to flip adv back.

        Args:
            rod: whose `depths` name the layers.
            order: a number for each of the n maps, (n,); the largest are patched first.

        Returns:
            The shares (d,); 1 also where the whole layer does not flip the label.
        """
        parts = [self._bench.layers.part(order, int(layer)) for layer in rod.depths]
        orders = [np.argsort(-part, kind="stable")[None, None] for part in parts]
        return np.array([self._flip(int(layer), o)[0] for layer, o in zip(rod.depths, orders, strict=True)])

    def _flip(self, layer: int, orders: np.ndarray) -> np.ndarray:
        """The shares (o,) of a layer's maps that each order takes; 1 also where the whole layer does not flip the
        label."""
        found = intervention.flip_sizes(
            self._bench.classifier, self.adv_image, self.src_image, layer, orders, self._labels[0]
        )
        return np.minimum(found.values[:, 0] / orders.shape[2], 1.0)

    def _path(
        self, image: np.ndarray, wanted: ExtractionParameters, given: Sequence[np.ndarray], foil: Foil
    ) -> Datapath:
        """Extract a datapath, or give the one that was extracted for the same question before.

        Another seed, or other given datapaths, make another question only for methods that use them.
        """
        parameters = datapath.used_parameters(wanted)
        held = list(given) if "coherence" in parameters else []
        question = (image.tobytes(), tuple(z.tobytes() for z in held), foil.label, tuple(parameters.items()))
        if question not in self._found:
            found = datapath.extract(self._bench.classifier, image, held, wanted, foils=[foil])
            self._found[question] = next(found)
        return self._found[question]
