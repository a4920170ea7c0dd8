"""The vocabulary: frozen values over numpy arrays. No torch, no Dash, no input or output.

Notation of the docstrings: L layers, n_l feature maps in layer l, n = sum of n_l, K classes.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

LONGEST_WORD = 400
"""Characters of one word in a refusal; paths are shorter nearly always."""


class AevisError(Exception):
    """Something the user can mend; the message says what is wrong, where, and what to do.

    A name or value in it that nobody would read to its end is cut off.
    """

    def __str__(self) -> str:
        return re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: shorten(word[0], LONGEST_WORD), super().__str__())


def whole_number(text: str) -> int | None:
    """The number that a text of ASCII digits writes; None for any other text, and for more than 18 digits.

    `str.isdigit` is no test of what `int` can read: it takes "²", and `int` refuses texts of thousands of digits.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def so_many(count: int, noun: str) -> str:
    """A number of things in words, the plural of which ends in s: "1 map", "2 maps"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def others_drawn(count: int) -> str:
    """The other maps, of all that a layer has, beside which a single one was tried."""
    return "the one other map that was drawn" if count == 1 else f"the {count} other maps that were drawn"


def shorten(text: str, most: int = 60) -> str:
    """A text for a message: its first characters, where it is longer than `most`."""
    return text if len(text) <= most else text[:most] + "…"


def reason_of(error: BaseException) -> str:
    """Why the user's own code failed: its error's first line without a full stop, for the middle of a sentence."""
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit: {error})"
    said = str(error).strip().splitlines()
    return said[0].rstrip(". ") if said else type(error).__name__


class Role(StrEnum):
    """The part an image plays in a triplet."""

    SOURCE = "source"
    ADVERSARIAL = "adversarial"
    TARGET = "target"

    @property
    def short(self) -> str:
        """The paper's abbreviation: src, adv or tar."""
        return {"source": "src", "adversarial": "adv", "target": "tar"}[self.value]


ROLES = (Role.SOURCE, Role.ADVERSARIAL, Role.TARGET)
DATAPATHS = 8
"""Datapaths compared at most."""


def further(number: int, other: int = 0) -> str:
    """The key of a further target, "target 2" and on, beside the keys of the triplet, which are the roles; of the
    `other`-th image of a random other class "target 3 other", "target 4 other 2" and on."""
    return f"{Role.TARGET} {number}" + (" other" + f" {other}" * (other > 1) if other else "")


def role_of(path: str) -> Role:
    """The role of a compared datapath by its key: a role itself, or a further target; an image of a random other class
    stands where a target does."""
    return Role(path.split(" ")[0])


def in_order(paths: Iterable[str]) -> tuple[str, ...]:
    """The keys of compared datapaths as they are named: source, adversarial, target, further ones by number."""
    return tuple(sorted(paths, key=lambda path: (ROLES.index(role_of(path)), len(path), path)))


def short_of(path: str) -> str:
    """How a compared datapath is called: "src", "adv", "tar", "tar 2", "other", "other 2"."""
    if " other" in path:
        return path[path.index("other") :]
    return " ".join([role_of(path).short, *path.split(" ")[1:]])


FITS = ("squeeze", "crop", "pad")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input.

    An image of `input_size` (height, width) is taken as it is. Any other is scaled in relation to `resize_size`
    (height, width; `input_size` where it is None): exactly to it ("squeeze"), until it just covers it ("crop"), or
    until it just fits into it ("pad"). Then its centre of `input_size` is kept, with borders where it is smaller: of
    the colour that the model sees as 0 by "pad", else black, as torchvision and timm have them. At last pixels in
    [0, 1] are scaled to `value_range`, then (x - mean) / std per channel.
    """

    input_size: tuple[int, int]
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    value_range: tuple[float, float] = (0.0, 1.0)
    fit: str = "squeeze"
    resize_size: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    @property
    def scaled_to(self) -> tuple[int, int]:
        """The (height, width) that an image is scaled in relation to."""
        return self.resize_size or self.input_size

    @property
    def border(self) -> tuple[int, ...]:
        """The 8-bit colour of borders; by "pad" what the model sees as 0, or the nearest that there is."""
        if self.fit != "pad":
            return (0, 0, 0)
        low, high = self.value_range
        return tuple(min(max(round(255 * (mean - low) / (high - low)), 0), 255) for mean in self.mean)

    @property
    def in_words(self) -> str:
        """What happens to an image, in a sentence for people."""
        size, scaled = _in_words(self.input_size), _in_words(self.scaled_to)
        step = {"squeeze": "squeezed to", "crop": "scaled until they just cover", "pad": "scaled until they fit into"}
        then = f", of which the centre of {size} is kept" if self.fit == "crop" or scaled != size else ""
        if self.fit == "pad" or any(short < side for short, side in zip(self.scaled_to, self.input_size, strict=True)):
            then = f", centred on {size} with {'' if self.fit == 'pad' else 'black '}borders"
        return (
            f"images of {size} pixels are taken as they are; others are {step[self.fit]} {scaled} "
            f"({self.interpolation}){then}"
        )


def _in_words(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width} x {height}"


@dataclass(frozen=True)
class ModelSpec:
    """Where a model comes from: `torchvision:NAME`, `timm:NAME` or `module:factory`, and its weights.

    `weights` is a file, a name the model's library knows ("IMAGENET1K_V2"), or empty for those of the factory.
    """

    source: str
    weights: str = ""


@dataclass(frozen=True)
class Layer:
    """One call site whose output carries a gate per channel.

    `name` is the call site's qualified name ("layer1.0.relu_1"), `group` the names of the modules
    around it, outermost first ("layer1", "layer1.0"). `height` and `width` are in neurons; a layer
    without positions (after a linear layer) is 1 x 1.
    """

    index: int
    name: str
    group: tuple[str, ...]
    channels: int
    height: int
    width: int


@dataclass(frozen=True, order=True)
class FeatureMap:
    """One channel of one layer's output."""

    layer: int
    channel: int


@dataclass(frozen=True)
class LayerGraph:
    """The layers in execution order and the edges between neighbours (skip connections included)."""

    layers: tuple[Layer, ...]
    edges: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each layer starts in a flat vector of n maps; L + 1 numbers, the last is n."""
        return tuple(int(i) for i in np.cumsum([0, *(layer.channels for layer in self.layers)]))

    @property
    def n_maps(self) -> int:
        """n, the number of feature maps of the network."""
        return self.offsets[-1]

    def place(self, chosen: FeatureMap) -> int:
        """Where a map stands in a flat vector of n maps."""
        return self.offsets[chosen.layer] + chosen.channel

    def part(self, flat: np.ndarray, layer: int) -> np.ndarray:
        """The entries of one layer in a flat array (..., n): (..., n_l)."""
        return flat[..., self.offsets[layer] : self.offsets[layer + 1]]

    def parts(self, flat: np.ndarray) -> Iterator[np.ndarray]:
        """The entries of every layer in turn."""
        return (self.part(flat, layer.index) for layer in self.layers)

    def find(self, name: str) -> Layer:
        """The layer of that name; raises AevisError naming the nearest ones that exist."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise AevisError(f"There is no layer {name!r} in this network. {self._hint(name)}")

    def _hint(self, name: str) -> str:
        stem = name.split(".")[0]
        near = [layer.name for layer in self.layers if layer.name.startswith(stem)]
        names = near or [layer.name for layer in self.layers]
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f"Choose one of: {', '.join(names[:4])}{more}."

    def feature_map(self, layer_name: str, channel: int) -> FeatureMap:
        """That map; raises AevisError when the layer or the channel does not exist."""
        layer = self.find(layer_name)
        if not 0 <= channel < layer.channels:
            raise AevisError(
                f"Layer {layer_name!r} has the feature maps 0 to {layer.channels - 1}; there is no map {channel}."
            )
        return FeatureMap(layer.index, channel)


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image: `probabilities` (K,), softmax."""

    probabilities: np.ndarray

    @cached_property
    def label(self) -> int:
        return int(np.argmax(self.probabilities))

    @property
    def confidence(self) -> float:
        return float(np.max(self.probabilities))

    @property
    def runner_up(self) -> int:
        return int(np.argsort(self.probabilities)[-2])


@dataclass(frozen=True)
class Example:
    """A normal source image and the adversarial image made of it, as listed in the workspace.

    `source` and `adversarial` are file names relative to the workspace; `true_label` is the class index
    given with the source image (None where unknown); `attack` says what made the image, for people.

    epsilon          the largest change of a pixel that the attack declares, in grey levels of 255; None where unknown
    allow_large      the user insists that the adversarial belongs to the source, however little they resemble
    lost_in_8_bits   whether the attack had succeeded before its image was rounded to 8 bits, and no longer did
                     afterwards; None where unknown
    """

    id: str
    source: str
    adversarial: str
    true_label: int | None
    attack: str
    target_label: int | None = None
    epsilon: float | None = None
    allow_large: bool = False
    lost_in_8_bits: bool | None = None


LARGE = 32
"""Grey levels of 255: a pair that differs by no more in any pixel is an attack, whatever it shows. Bounded attacks of
the literature use 1 to 16, and 32 at the most."""
EDGES = 0.55
"""The least share of its edges that a source keeps in a larger attack. Tried on 320 photographs and drawings: nearly
all keep more under noise of standard deviation 40, a patch on 5 % of the area, salt and pepper on 2 % of the pixels,
JPEG, other brightness and other contrast; nearly all keep less in another picture, a flip, a move of 2 pixels or more,
a centre crop of 95 % or less of a photograph, and between borders."""
ROUNDING = 1
"""Grey levels by which a change may exceed its epsilon: two tools round one image to 8 bits in different ways."""


@dataclass(frozen=True)
class Perturbation:
    """What tells an adversarial from its source, both in 8 bits at the model's input size.

    linf         the largest change of a pixel's channel, in grey levels of 255
    l2           the Euclidean length of the change, of pixels in [0, 1]
    changed      the share of the pixels that differ in any channel
    edges        how far the source's edges stand in the adversarial (`pairs.edges_kept`), 1 all of them, 0 by chance
    edges_moved  how far they stand in the source itself, moved by some pixels: much where it is smooth
    swapped      whether the change is small once the adversarial's colour channels are put into another order
    """

    linf: int
    l2: float
    changed: float
    edges: float
    edges_moved: float
    swapped: bool = False

    @property
    def is_attack(self) -> bool:
        """Whether the adversarial can be the source and an attack on it: small everywhere, or the edges in place."""
        return self.linf <= LARGE or (self.edges >= max(EDGES, self.edges_moved) and not self.swapped)

    def exceeds(self, epsilon: float | None) -> bool:
        """Whether it is larger than an attack of that epsilon, in grey levels, can have made it; than LARGE where no
        epsilon is declared."""
        return self.linf > (LARGE if epsilon is None else epsilon + ROUNDING)


class Outcome(StrEnum):
    """What became of an attack, and why where the example is not misclassified."""

    MISCLASSIFIED = "misclassified"
    OFF_TARGET = "misclassified, off target"
    NO_PAIR = "not an attack on its source"
    SOURCE_WRONG = "source already wrong"
    EQUAL = "equal to its source"
    LOST = "lost in 8 bits"
    LOSSY = "lossy file"
    TARGET_MISSED = "target missed"
    UNCHANGED = "label unchanged"


LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".webp", ".avif", ".gif")
"""Files that do not keep every pixel (WebP and JPEG 2000 can, and seldom do)."""


@dataclass(frozen=True)
class JudgedExample:
    """An example with what the classifier says of both images, what tells them apart, and its adversarial score.

    `score` is NaN where the class that the adversarial is taken for has no reference image.
    """

    example: Example
    source: Prediction
    adversarial: Prediction
    perturbation: Perturbation
    score: float

    @property
    def outcome(self) -> Outcome:
        """What became of the attack; of several reasons why it failed, the one that says most."""
        example, aim = self.example, self.example.target_label
        if not (example.allow_large or self.perturbation.is_attack):
            return Outcome.NO_PAIR
        if example.true_label not in (None, self.source.label):
            return Outcome.SOURCE_WRONG
        if self.adversarial.label != self.source.label:
            return Outcome.MISCLASSIFIED if aim in (None, self.adversarial.label) else Outcome.OFF_TARGET
        if self.perturbation.linf == 0:
            return Outcome.EQUAL
        if example.lost_in_8_bits:
            return Outcome.LOST
        if example.adversarial.lower().endswith(LOSSY_SUFFIXES):
            return Outcome.LOSSY
        return Outcome.UNCHANGED if aim is None else Outcome.TARGET_MISSED

    @property
    def misclassified(self) -> bool:
        """The source is classified as its label says, and the adversarial, which can be an attack, as another class."""
        return self.outcome in (Outcome.MISCLASSIFIED, Outcome.OFF_TARGET)

    @property
    def exceeds(self) -> bool:
        """Whether the change is larger than the attack declares."""
        return self.perturbation.exceeds(self.example.epsilon)


FAR = 0.3
"""Slack above which a solver ended far from a stationary point. In the drawn world and on ResNet-18 the loss of gates
below it was at most 1.25 times what 150 steps reach; that of gates above 0.7 two to five times."""


def unsolved_note(what: str, equation: str) -> str:
    """What is said of a result whose solver ended there."""
    return (
        f"The solver ended far from a stationary point for {what}, so this is no solution of {equation}: raise "
        "iterations in workspace.toml, or delete iterations and learning_rate there for today's defaults."
    )


@dataclass(frozen=True)
class Datapath:
    """The critical feature maps of one image's prediction, or of a set of images of one prediction.

    gates        (n,) in [0, 1], how critical each map is: the solution z of Eq. 5, or the method's own order
    supports     (n,) bool, the maps that speak for the label by firing; others count by firing less than on a foil
    critical     (n,) bool, the hard set: the maps of largest gate in each layer, those that support the label first, at
                 gate 1, all others at 0
    core         (n,) bool, the fewest maps found that keep the label, compared across layers
    label        the class whose prediction the path explains; `rival` the class against which, -1 for all others
    p_full, p_soft, p_hard   probability of `label` on the whole network, with the gates, with the hard set alone
    keeps_soft   whether `label` is still the top class with the gates
    images, kept how many images the path explains, and on how many the hard set alone keeps `label`
    passes       forward + backward passes spent (a forward alone counts a third); seconds, wall clock
    loss, slack  by a solved method what is left of Eq. 5, and how far the gates are from a stationary point: norm of
                 the projected gradient relative to the gates (`core.optimize.slack_of`), 0 at one; NaN by all others
    """

    gates: np.ndarray
    supports: np.ndarray
    critical: np.ndarray
    core: np.ndarray
    label: int
    rival: int
    p_full: float
    p_soft: float
    p_hard: float
    keeps_soft: bool
    images: int
    kept: int
    method: str
    passes: float
    seconds: float
    loss: float = float("nan")
    slack: float = float("nan")

    @property
    def unsolved(self) -> bool:
        """Whether the solver ended far from a stationary point, so that its gates are no solution of Eq. 5."""
        return self.slack > FAR

    @property
    def keeps_hard(self) -> bool:
        """Whether the hard set alone keeps the label, on every image."""
        return self.kept == self.images

    @property
    def hard_order(self) -> np.ndarray:
        """(n,) the order in which hard sets take the maps, highest first: gates, those without support after all."""
        return np.where(self.supports, self.gates, self.gates - 2)

    @property
    def size(self) -> int:
        """Number of maps in the hard set."""
        return int(self.critical.sum())


@dataclass(frozen=True)
class DatapathDistance:
    """Distances between three datapaths at every layer, (L,) each; NaN where undefined.

    d1 between source and target, d2 between adversarial and source, d3 between adversarial and target.
    `null_share` (m, L): d2 / (d2 + d3) with the target replaced by m images of random other classes.
    """

    name: str
    d1: np.ndarray
    d2: np.ndarray
    d3: np.ndarray
    null_share: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """(L,) the adversarial's way from source (0) to target (1), d2 / (d2 + d3); 0.5 where both are 0."""
        return share(self.d2, self.d3)

    @property
    def pairs(self) -> dict[tuple[str, str], np.ndarray]:
        """The distances by the keys of the two datapaths."""
        return {
            (Role.SOURCE, Role.ADVERSARIAL): self.d2,
            (Role.SOURCE, Role.TARGET): self.d1,
            (Role.ADVERSARIAL, Role.TARGET): self.d3,
        }


def share(d2: np.ndarray, d3: np.ndarray) -> np.ndarray:
    """d2 / (d2 + d3), the middle (0.5) where both distances are zero, NaN where one is undefined."""
    total = np.asarray(d2 + d3, float)
    return np.divide(d2, total, out=np.where(np.isnan(total), np.nan, 0.5), where=total > 0)


class Pattern(StrEnum):
    """What the adversarial's datapath does along a stretch of layers."""

    DIVERGING = "diverging"
    TRANSITION = "transition"
    MERGING = "merging"


@dataclass(frozen=True)
class Stretch:
    """Layers first..last (both included) that show one pattern."""

    pattern: Pattern
    first: int
    last: int


PREDICTION = FeatureMap(-1, -1)
"""The final prediction in the place of a feature map: the predicted label's logit over the mean of all logits."""


@dataclass(frozen=True)
class AreaOfInterest:
    """Neurons of one layer: those of a rectangle, rows top..bottom-1, columns left..right-1, or some of them.

    `picked` holds the places of the chosen ones in the rectangle, counted row by row, ascending; () for all of it.
    """

    layer: int
    top: int
    left: int
    bottom: int
    right: int
    picked: tuple[int, ...] = ()

    @property
    def neurons(self) -> int:
        """How many neurons are chosen."""
        return len(self.picked) or (self.bottom - self.top) * (self.right - self.left)

    @property
    def chosen(self) -> np.ndarray:
        """(bottom - top, right - left) bool, the chosen neurons of the rectangle."""
        shape = (self.bottom - self.top, self.right - self.left)
        if not self.picked:
            return np.ones(shape, bool)
        return np.isin(np.arange(shape[0] * shape[1]), self.picked).reshape(shape)


def area_of_neurons(layer: int, chosen: np.ndarray) -> AreaOfInterest | None:
    """The area of the chosen neurons (H, W) bool of a layer in its smallest rectangle; None where none is chosen."""
    rows, columns = np.flatnonzero(chosen.any(1)), np.flatnonzero(chosen.any(0))
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    inside = chosen[top:bottom, left:right].ravel()
    picked = () if inside.all() else tuple(np.flatnonzero(inside).tolist())
    return AreaOfInterest(layer, top, left, bottom, right, picked)


WHOLE_PREDICTION = AreaOfInterest(PREDICTION.layer, 0, 0, 1, 1)
"""All there is of the final prediction."""


CONTRIBUTIONS = ("solved", "quadratic", "exact")


@dataclass(frozen=True)
class Contribution:
    """How much each map of an earlier layer contributes to the selected neurons (Eq. 7, 8).

    method       "solved" by descent; "quadratic", Eq. 7 on its first-order expansion; "exact", every map alone
    values       (m, n_prev) gates in [0, 1], one row for each compared image, in the order the images were given
    share        (m, n_prev) what each map alone has of the effect f: <f, df/dz_k> / ||f||^2 at z = 1, to first order;
                 by "exact" <f, f - f without map k> / ||f||^2, with all gates 1
    residual     (m,) what is left unexplained, ||f(x) - f(x; z)||^2 / ||f(x)||^2; NaN by "exact"
    effect       (m,) ||f(x)||: a row with effect 0 has nothing to explain, its values are all 0
    loss, slack  by "solved" what is left of Eq. 7 and 8 together, per image, and (m,) how far the gates are from a
                 stationary point, as in `Datapath`; NaN by the others
    """

    target: FeatureMap
    area: AreaOfInterest
    layer: int
    method: str
    values: np.ndarray
    share: np.ndarray
    residual: np.ndarray
    effect: np.ndarray
    passes: float
    seconds: float
    loss: float
    slack: np.ndarray

    @property
    def unsolved(self) -> bool:
        """Whether the solver ended far from a stationary point on any image, so that this solves no Eq. 7 and 8."""
        return bool((self.slack > FAR).any())

    def strength(self, row: int) -> np.ndarray:
        """(n_prev,) gate times share, 0 where the map works against the effect: gates alone leave many equal firsts."""
        return self.values[row] * np.maximum(self.share[row], 0)

    def ranking(self, row: int) -> np.ndarray:
        """Channels of the earlier layer, largest strength first."""
        return np.argsort(-self.strength(row), kind="stable")


REPLACEMENTS = ("source", "adversarial", "zero", "mean", "resample")
RARE = 0.05
"""The share of the random sets that may turn the label beside maps that are more than chance."""
LEAST = 20
"""Random sets that tell several maps from chance."""


CONTROLS = ("difference", "patching", "integrated")
"""The orders of a layer's maps that stand beside a flip-back as controls. They see both runs, and no datapath: the
largest difference between the runs, attribution patching (gradient x difference), and integrated attribution patching
(the same, averaged along the straight line from one run to the other)."""


class Verdict(StrEnum):
    """What replacing maps of a layer proves of them: the first of these that holds."""

    NO_SET = "no set turns it"
    WHOLE_LAYER = "only the whole layer turns it"
    NOT_TURNED = "they do not turn it"
    CONTROL = "a control does it too"
    OTHERS = "other maps do it too"
    TOO_FEW = "too few controls"
    ALONE = "no control does it"


@dataclass(frozen=True)
class Intervention:
    """Maps of one layer of a run are replaced, to see whether the prediction turns.

    `maps` are channels in the order they are replaced, None for a small set that turns it, which is searched.
    `replacement`: "source" puts the source's activations into the adversarial's run and wants the source's class back;
    "adversarial" the other way round; "zero", "mean" (over normal images) and "resample" (one normal image of a third
    class) take the maps' place in the adversarial's run, and want its class gone. `randoms` random sets of as many maps
    stand beside, drawn by the seed.
    """

    layer: int
    maps: tuple[int, ...] | None = None
    replacement: str = "source"
    randoms: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Verification:
    """What replacing maps of one layer in a run did to its prediction, beside chance (flip-back).

    replacement  what took the maps' place: "source", "adversarial", "zero", "mean", "resample"
    before, wanted   the receiver's class, and the one that it should become, -1 for any other
    maps         (k,) channels in the order in which they were replaced, all positions at once; none where a search
                 found no set, or only the whole of a layer through which everything passes
    margins      (k + 1,) logit[wanted] - logit[before] with none, one, ... all of them replaced
    labels       (k + 1,) the class predicted then
    turned       whether the label is turned with all of them replaced
    chance       (r,) margins of random sets of as many maps that differ; `chance_turned` the share that turn the label
    controls     (c,) margins of as many maps, best first by each order of CONTROLS; `controls_turned` (c,) bool,
                 whether these turn it; `controls_same` (c,) bool, whether they are the maps themselves
    needed       (c,) how many maps, best first by each order of CONTROLS, turn the label; -1 where all do not
    whole        the margin with the whole layer replaced; `whole_turned` whether that turns it
    others       size of a set of the layer's other maps that turns it too; -1 where none was found, or the maps do not
    width        maps of the layer
    runs         forward runs spent, one with its gradient counted as three
    """

    layer: int
    replacement: str
    before: int
    wanted: int
    maps: np.ndarray
    margins: np.ndarray
    labels: np.ndarray
    turned: bool
    chance: np.ndarray
    chance_turned: float
    controls: np.ndarray
    controls_turned: np.ndarray
    controls_same: np.ndarray
    needed: np.ndarray
    whole: float
    whole_turned: bool
    others: int
    width: int
    runs: int

    @property
    def percentile(self) -> float:
        """Share of the random sets whose margin is below that of the maps."""
        return float((self.chance < self.margins[-1]).mean()) if len(self.chance) else float("nan")

    @property
    def rivals(self) -> tuple[str, ...]:
        """What turns the label as well as the maps do, so that these are not proven to be its cause: "random" where
        more than RARE of the random sets do, the orders of CONTROLS that do with maps other than these (no maps are a
        control of themselves), and "others", a set of the layer's other maps. None where the maps do not turn it."""
        if not self.turned:
            return ()
        random = ["random"] if self.chance_turned > RARE else []
        rivals = zip(CONTROLS, self.controls_turned & ~self.controls_same, strict=True)
        return (*random, *(name for name, does in rivals if does), *(["others"] if self.others >= 0 else []))

    @property
    def too_few(self) -> bool:
        """Whether the random sets cannot tell the maps from chance: fewer than LEAST; beside a single map, none."""
        return len(self.chance) < (LEAST if len(self.maps) > 1 else 1)

    @property
    def verdict(self) -> Verdict:
        """The one verdict, which all views of a flip-back give."""
        if not len(self.maps):
            return Verdict.WHOLE_LAYER if self.whole_turned else Verdict.NO_SET
        if not self.turned:
            return Verdict.NOT_TURNED
        if self.rivals:
            return Verdict.OTHERS if self.rivals == ("others",) else Verdict.CONTROL
        return Verdict.TOO_FEW if self.too_few else Verdict.ALONE


@dataclass(frozen=True)
class LearnedFeatures:
    """The reference image patches that are the best of each map by one measure, k for each of the n maps, best first.

    image    (n, k) index into the reference images, -1 where the measure is above 0 on fewer than k of them
    row, col (n, k) the neuron where the measure is largest on that image
    value    (n, k) the measure there: the neuron's activation, or its relevance
    """

    image: np.ndarray
    row: np.ndarray
    col: np.ndarray
    value: np.ndarray

    def neuron(self, place: int, rank: int) -> tuple[int, int, int] | None:
        """The image, row and column of the patch of that rank of the map at `place` among the n; None where there is
        none."""
        image, row, col = (int(values[place, rank]) for values in (self.image, self.row, self.col))
        return (image, row, col) if image >= 0 else None


@dataclass(frozen=True)
class LearnedIndex:
    """The learned features of all maps, from the reference images seen so far; `seen` is how many these are.

    activation   by the largest activation of the map on the image
    relevance    by the largest product of activation and gradient, of the logit of the class predicted for the image
    """

    activation: LearnedFeatures
    relevance: LearnedFeatures
    seen: int

    def best(self, by: str) -> LearnedFeatures:
        """Those by "activation" or by "relevance"."""
        return {"activation": self.activation, "relevance": self.relevance}[by]


@dataclass(frozen=True)
class Visualisation:
    """A picture made to fire one map: `image` (H, W, 3) 8-bit, and the map's largest `activation` on it."""

    image: np.ndarray
    activation: float


@dataclass(frozen=True)
class Region:
    """The feature maps of a layer that belong to exactly these compared datapaths, by their keys; without any, maps
    outside of all of them that are shown for another reason."""

    paths: frozenset[str]
    channels: tuple[int, ...]
