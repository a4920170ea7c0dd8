"""One adversarial and its source, as the bench of extraction methods looks at them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from aevis_dash.config import ExtractionParameters
from aevis_dash.core import datapath, intervention
from aevis_dash.core.problem import Foil
from aevis_dash.domain import Datapath
from aevis_dash.workbench import Workbench

_RANDOM_ORDERS = 3


@dataclass(frozen=True)
class Yardstick:
    """What every method's datapaths of an example are held against.

    layers   (c,) the layers sampled; channels, effects (c, k): the true change of logit_adv - logit_src that patching
             one of src's maps into adv makes, with its sign turned, so that what adv's prediction rests on is positive
    depths   (d,) the last layer of every stage; random (d,) the shares that random orders flip at (their median), and
             controls (c, d) those that each order of CONTROLS flips at
    single   the share that the last stage flips at with its maps by the true effect of each alone, tried one by one:
             what an order could reach that knew every single map's effect
    """

    layers: np.ndarray
    channels: np.ndarray
    effects: np.ndarray
    depths: np.ndarray
    random: np.ndarray
    controls: np.ndarray
    single: float


def sampled_layers(count: int, wanted: int) -> np.ndarray:
    """`wanted` layers of `count`, evenly spread, the last one included."""
    return np.unique(np.linspace(count - 1, count // (2 * wanted), wanted).round().astype(int))


class ImagePair:
    """The two images of an example and the extractions that the bench makes of them."""

    def __init__(self, bench: Workbench, example_id: str):
        self._bench = bench
        self._example = bench.workspace.example(example_id)
        source, adversarial = bench.judging.predict([self._example.source, self._example.adversarial])
        self._labels = np.array([source.label]), np.array([adversarial.label])
        self.adv_image, self.src_image = (
            bench.workspace.read([name]) for name in (self._example.adversarial, self._example.source)
        )
        self._foils = [Foil(source.label, self.src_image[0]), Foil(adversarial.label, self.adv_image[0])]
        self._seed = [0, *example_id.encode()]
        self._found: dict[Hashable, Datapath] = {}

    def adversarial(
        self, wanted: ExtractionParameters, image: np.ndarray | None = None, given: Sequence[np.ndarray] = ()
    ) -> Datapath:
        return self._path(self.adv_image if image is None else image, wanted, given, self._foils[0])

    def source(self, wanted: ExtractionParameters, given: Sequence[np.ndarray] = ()) -> Datapath:
        return self._path(self.src_image, wanted, given, self._foils[1])

    def chain(self, wanted: ExtractionParameters) -> tuple[Datapath, Datapath]:
        """adv, then src given adv; both at once where the method is "joint"."""
        if wanted.method == "joint":
            both = np.concatenate([self.adv_image, self.src_image])
            adv, src = datapath.extract(self._bench.classifier, both, [], wanted, foils=self._foils)
            return adv, src
        adv = self.adversarial(wanted)
        return adv, self.source(wanted, [adv.gates])

    def noisy(self) -> np.ndarray:
        """The adversarial image with every pixel moved by -1, 0 or 1 grey levels."""
        noise = np.random.default_rng(self._seed).integers(-1, 2, self.adv_image.shape)
        return np.clip(self.adv_image.astype(int) + noise, 0, 255).astype(np.uint8)

    def others(self, count: int) -> list[str]:
        """The file names of normal images predicted as neither of the two classes."""
        entries = self._bench.workspace.images
        order = np.random.default_rng(self._seed).permutation(len(entries))
        names = [entries[i].file for i in order[: 4 * count]]
        taken = {int(label[0]) for label in self._labels}
        return [n for n, p in zip(names, self._bench.judging.predict(names), strict=True) if p.label not in taken][
            :count
        ]

    def alive(self, layer: int, count: int) -> np.ndarray:
        """`count` maps of a layer that fire on one of the two images, at random; with repetition where fewer do."""
        part = self._bench.layers.part
        firing = [part(self._bench.maps.maxima(n), layer) for n in (self._example.adversarial, self._example.source)]
        candidates = np.flatnonzero(np.maximum(*firing) > 0)
        random = np.random.default_rng(self._seed)
        if len(candidates) < count:
            candidates = np.arange(len(firing[0])) if len(candidates) == 0 else candidates
            return random.choice(candidates, count)
        return random.permutation(candidates)[:count]

    def effects(self, layer: int, channels: np.ndarray) -> np.ndarray:
        """(k,) what patching each of src's maps into adv does to logit_adv - logit_src."""
        src, adv = self._labels
        return intervention.single_map_effects(
            self._bench.classifier, self.adv_image, self.src_image, layer, channels[None], adv, src
        ).values[0]

    def strengths(self, layer: int) -> np.ndarray:
        """(c, n_l) by what each of CONTROLS orders the maps, for src's activations put into adv's run."""
        exchange = intervention.Exchange(self._bench.classifier, self.adv_image, self.src_image, layer)
        (src,), (adv,) = self._labels
        return intervention.control_strengths(exchange, lambda logits: logits[:, src] - logits[:, adv])[:, 0]

    def controls(self, layer: int) -> tuple[float, np.ndarray]:
        """Shares of the layer that random orders (their median) and the orders of CONTROLS (c,) flip at."""
        width = self._bench.layers.layers[layer].channels
        random = [intervention.random_order(1, width, seed) for seed in range(_RANDOM_ORDERS)]
        ordered = intervention.best_first(self.strengths(layer))[:, None]
        shares = self._flip(layer, np.concatenate([np.stack(random), ordered]))
        return float(np.median(shares[:_RANDOM_ORDERS])), shares[_RANDOM_ORDERS:]

    def by_true_effects(self, layer: int) -> float:
        """The share of the layer that flips adv back with its maps by what patching each alone does."""
        effects = self.effects(layer, np.arange(self._bench.layers.layers[layer].channels))
        return float(self._flip(layer, np.argsort(effects, kind="stable")[None, None])[0])

    def flips(self, rod: Yardstick, order: np.ndarray) -> np.ndarray:
        """(d,) the share of each depth's maps that flips adv back, best first by `order` (n,)."""
        parts = [self._bench.layers.part(order, int(layer)) for layer in rod.depths]
        orders = [np.argsort(-part, kind="stable")[None, None] for part in parts]
        return np.array([self._flip(int(layer), o)[0] for layer, o in zip(rod.depths, orders, strict=True)])

    def _flip(self, layer: int, orders: np.ndarray) -> np.ndarray:
        """(o,) shares of the layer; 1 also where the whole layer does not flip it."""
        found = intervention.flip_sizes(
            self._bench.classifier, self.adv_image, self.src_image, layer, orders, self._labels[0]
        )
        return np.minimum(found.values[:, 0] / orders.shape[2], 1.0)

    def _path(
        self, image: np.ndarray, wanted: ExtractionParameters, given: Sequence[np.ndarray], foil: Foil
    ) -> Datapath:
        """Extracted once: another seed, or other given datapaths, are no other question to methods that have none."""
        parameters = datapath.used_parameters(wanted)
        held = list(given) if "coherence" in parameters else []
        question = (image.tobytes(), tuple(z.tobytes() for z in held), foil.label, tuple(parameters.items()))
        if question not in self._found:
            found = datapath.extract(self._bench.classifier, image, held, wanted, foils=[foil])
            self._found[question] = next(found)
        return self._found[question]
