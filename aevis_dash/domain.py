"""The vocabulary: frozen values over numpy arrays that every other part of the package exchanges.

This module uses no torch and no Dash, and it reads and writes no files.

Notation of the docstrings: L is the number of layers, n_l the number of feature maps of layer l, n the sum of all n_l,
and K the number of classes. A gate is a number from 0 to 1 that multiplies one feature map.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

LONGEST_WORD = 400
"""The most characters that one word of an error message may have; nearly all paths are shorter."""


class AevisError(Exception):
    """An error that the user can mend; its message says what is wrong, where, and what to do.

    A word of LONGEST_WORD or more characters in the message is cut off, since nobody would read it to its end.
    """

    def __str__(self) -> str:
        return re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: shorten(word[0], LONGEST_WORD), super().__str__())


def whole_number(text: str) -> int | None:
    """Read a text of ASCII digits as a number.

    `str.isdigit` is no test of what `int` can read: it accepts "²", and `int` refuses texts of thousands of digits.

    Returns:
        The number, or None for any other text and for more than 18 digits.
    """
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def so_many(count: int, noun: str) -> str:
    """Say a number of things in words, such as "1 map" or "2 maps"; the plural of `noun` must end in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def others_drawn(count: int) -> str:
    """Say in words beside how many randomly drawn other maps of its layer a single map was tried."""
    return "the one other map that was drawn" if count == 1 else f"the {count} other maps that were drawn"


def shorten(text: str, most: int = 60) -> str:
    """Shorten a text for a message: a text longer than `most` characters is cut there and ends in "…"."""
    return text if len(text) <= most else text[:most] + "…"


def reason_of(error: BaseException) -> str:
    """Say why the user's own code failed, in words that fit into the middle of a sentence.

    Returns:
        The first line of the error's message without its full stop, or the name of the error's class where the message
        is empty. A SystemExit is said to end the program.
    """
    if isinstance(error, SystemExit):
        return f"it ends the program (SystemExit: {error})"
    said = str(error).strip().splitlines()
    return said[0].rstrip(". ") if said else type(error).__name__


class Role(StrEnum):
    """The part that an image plays in a triplet of source, adversarial and target image."""

    SOURCE = "source"
    ADVERSARIAL = "adversarial"
    TARGET = "target"

    @property
    def short(self) -> str:
        """The paper's abbreviation: src, adv or tar."""
        return {"source": "src", "adversarial": "adv", "target": "tar"}[self.value]


ROLES = (Role.SOURCE, Role.ADVERSARIAL, Role.TARGET)
DATAPATHS = 8
"""The most datapaths that are compared at once."""


def further(number: int, other: int = 0) -> str:
    """Make the key of a datapath that is compared besides the triplet; the keys of the triplet are the roles.

    Args:
        number: the number that the datapath has among those that stand where the target does, from 2.
        other: 0 for a target image; 1, 2 and so on for the first, second and so on image of a random other class.

    Returns:
        The key: "target 2" for a further target, "target 3 other" or "target 4 other 2" for an image of a random other
        class.
    """
    return f"{Role.TARGET} {number}" + (" other" + f" {other}" * (other > 1) if other else "")


def role_of(path: str) -> Role:
    """Tell the role of a compared datapath from its key, which is a role or was made by `further`.

    A further target has the role of a target, and so has an image of a random other class.
    """
    return Role(path.split(" ")[0])


def in_order(paths: Iterable[str]) -> tuple[str, ...]:
    """Sort the keys of compared datapaths: source, adversarial, target, then the further ones by number."""
    return tuple(sorted(paths, key=lambda path: (ROLES.index(role_of(path)), len(path), path)))


def short_of(path: str) -> str:
    """Shorten the key of a compared datapath for people: "src", "adv", "tar", "tar 2", "other", "other 2"."""
    if " other" in path:
        return path[path.index("other") :]
    return " ".join([role_of(path).short, *path.split(" ")[1:]])


MOST_CHANNELS = 64
"""The most channels of an image."""
FITS = ("squeeze", "crop", "pad")
"""The ways in which an image of another size is made to fit the model's input; `Preprocessing` explains them."""
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
"""The names of the filters by which an image can be scaled, as Pillow knows them."""


@dataclass(frozen=True)
class Preprocessing:
    """The way in which an image becomes the model's input.

    An image that has the input size already is taken as it is. Any other image is scaled as `fit` says, and its centre
    of the input size is kept. Where the scaled image is smaller than that, it gets borders: by "pad" in the colour that
    the model sees as 0, otherwise black, as torchvision and timm make them. Finally the pixels, which are from 0 to 1,
    are scaled to `value_range`, and every channel becomes (x - mean) / std.

    Attributes:
        input_size: the (height, width) of the model's input, in pixels.
        mean: the number that is subtracted from each channel, in units of `value_range`: of red, green and blue, of the
            grey levels alone, or of all channels of an image that has more.
        std: the number by which each channel is divided after that.
        value_range: the lowest and the highest value of a pixel before mean and std are applied.
        fit: one of FITS. "squeeze" scales an image to exactly `resize_size`; "crop" scales it until it just covers
            `resize_size`, "pad" until it just fits into `resize_size`, both keeping its proportions.
        resize_size: the (height, width) in pixels that images are scaled in relation to; None stands for `input_size`.
        interpolation: one of INTERPOLATIONS, the filter by which images are scaled.
    """

    input_size: tuple[int, int]
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    value_range: tuple[float, float] = (0.0, 1.0)
    fit: str = "squeeze"
    resize_size: tuple[int, int] | None = None
    interpolation: str = "bilinear"

    @property
    def channels(self) -> int:
        """The number of channels of the model's input: 3 of colours, 1 of grey levels, or any other."""
        return len(self.mean)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The (channels, height, width) of the model's input."""
        return (self.channels, *self.input_size)

    @property
    def scaled_to(self) -> tuple[int, int]:
        """The (height, width) in pixels that an image is scaled in relation to."""
        return self.resize_size or self.input_size

    @property
    def border(self) -> tuple[int, ...]:
        """The 8-bit value of each channel on borders; by "pad" it is the nearest to what the model sees as 0."""
        if self.fit != "pad":
            return (0,) * self.channels
        low, high = self.value_range
        return tuple(min(max(round(255 * (mean - low) / (high - low)), 0), 255) for mean in self.mean)

    @property
    def in_words(self) -> str:
        """A description for people, in one sentence, of what happens to an image."""
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


IN_MEMORY = "memory:"
"""How the source of a model begins that no file or library gives."""


@dataclass(frozen=True)
class ModelSpec:
    """The source of a model and of its weights.

    Attributes:
        source: `torchvision:NAME`, `timm:NAME`, `module:factory` or `FILE.py:factory`, where the factory is a function
            or a class that makes the model, or the model itself; or `memory:CLASS`, a model that Python code hands over
            each time it opens the workspace.
        weights: a weights file, or a name that the model's library knows ("IMAGENET1K_V2"); empty for the weights that
            the factory itself loads.
        weights_key: which of the file's sets of weights is taken, such as "model_ema"; empty for the first that fits.
        model_args: the arguments that the model is made with, as "width=3 act=relu" or as JSON.
        leaf: the modules that are kept whole when the model is traced, with blanks between them.
    """

    source: str
    weights: str = ""
    weights_key: str = ""
    model_args: str = ""
    leaf: str = ""

    @property
    def in_memory(self) -> bool:
        """Whether the model is handed over by Python code and cannot be loaded."""
        return self.source.startswith(IN_MEMORY)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The modules that are kept whole when the model is traced."""
        return tuple(self.leaf.split())

    @property
    def file(self) -> str:
        """The Python file that the source names; "" where it names a library or a module."""
        file, _, name = self.source.rpartition(":")
        return file if name and file.endswith(".py") else ""


@dataclass(frozen=True)
class Layer:
    """One layer: a call site in the model's graph whose output carries one gate for each channel.

    Attributes:
        index: the layer's place in the order of execution, from 0.
        name: the qualified name of the call site, such as "layer1.0.relu_1".
        group: the names of the modules around the call site, the outermost first, such as ("layer1", "layer1.0").
        channels: n_l, the number of the layer's feature maps.
        height: the rows of neurons of each map; 1 for a layer without positions, such as one after a linear layer.
        width: the columns of neurons of each map; 1 for a layer without positions.
        special: the number of a transformer's tokens that stand for no place of the image, such as the class token.
            They are the first neurons of the first row, whose other places are empty; the patches begin in the second
            row. 0 where every neuron stands for a place.
        on_image: whether the rows and columns lie on the image as its own pixels do. They do not where positions are
            windows of an image and places in them, for example, or where a graph does not tell how tokens lie.
    """

    index: int
    name: str
    group: tuple[str, ...]
    channels: int
    height: int
    width: int
    special: int = 0
    on_image: bool = True

    @property
    def neurons(self) -> int:
        """The number N of neurons of each map, without the empty places of the first row."""
        return self.height * self.width - (self.width - self.special if self.special else 0)

    @property
    def places(self) -> np.ndarray:
        """The place of each neuron in the grid, counted row by row from 0, int (N,)."""
        neurons = np.arange(self.neurons)
        return neurons + (self.width - self.special) * (neurons >= self.special) if self.special else neurons

    def on_grid(self, values: np.ndarray) -> np.ndarray:
        """Values of all neurons of some maps, (m, ...) with N values each, on the grid: (m, H, W), NaN at empty
        places."""
        flat = values.reshape(len(values), -1)
        if not self.special:
            return flat.reshape(-1, self.height, self.width)
        grid = np.full((len(flat), self.height * self.width), np.nan, values.dtype)
        grid[:, self.places] = flat
        return grid.reshape(-1, self.height, self.width)

    @property
    def neurons_in_words(self) -> str:
        """The neurons of each map in words, such as "7 x 7 neurons"."""
        if not self.special:
            return f"{self.height} x {self.width} neurons"
        above = "the class token" if self.special == 1 else f"{self.special} special tokens"
        return f"{self.height - 1} x {self.width} patches, and {above} above them"

    @property
    def first_row(self) -> int:
        """The first row whose neurons stand for places of the image."""
        return 1 if self.special else 0


@dataclass(frozen=True, order=True)
class FeatureMap:
    """One feature map, named by the index of its layer and by its channel there."""

    layer: int
    channel: int


@dataclass(frozen=True)
class LayerGraph:
    """The layers of a network in execution order, and which layers feed which.

    Attributes:
        layers: all L layers; a layer's index is its place here.
        edges: pairs (earlier, later) of layer indices between which no other layer lies. Skip connections are included.
    """

    layers: tuple[Layer, ...]
    edges: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.layers)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """The place where each layer starts in a flat vector of all n maps: L + 1 numbers, of which the last is n."""
        return tuple(int(i) for i in np.cumsum([0, *(layer.channels for layer in self.layers)]))

    @property
    def n_maps(self) -> int:
        """The number n of feature maps of the whole network."""
        return self.offsets[-1]

    def place(self, chosen: FeatureMap) -> int:
        """Give the place of a map in a flat vector of all n maps, from 0."""
        return self.offsets[chosen.layer] + chosen.channel

    def part(self, flat: np.ndarray, layer: int) -> np.ndarray:
        """Cut the entries of one layer out of an array with one entry for each map.

        Args:
            flat: an array (..., n).
            layer: the index of the layer.

        Returns:
            A view of the array, (..., n_l).
        """
        return flat[..., self.offsets[layer] : self.offsets[layer + 1]]

    def parts(self, flat: np.ndarray) -> Iterator[np.ndarray]:
        """Cut an array (..., n) into the entries of every layer in turn, each (..., n_l)."""
        return (self.part(flat, layer.index) for layer in self.layers)

    def find(self, name: str) -> Layer:
        """Find the layer of a name.

        Raises:
            AevisError: there is no layer of that name; the message names some that exist.
        """
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
        """Find a feature map by the name of its layer and by its channel, counted from 0.

        Raises:
            AevisError: there is no such layer, or the layer has no such channel.
        """
        layer = self.find(layer_name)
        if not 0 <= channel < layer.channels:
            raise AevisError(
                f"Layer {layer_name!r} has the feature maps 0 to {layer.channels - 1}; there is no map {channel}."
            )
        return FeatureMap(layer.index, channel)


class MarginKind(StrEnum):
    """How well a margin is known."""

    EXACT = "exact"
    AT_LEAST = "at least"
    AT_MOST = "at most"


@dataclass(frozen=True)
class Margin:
    """The difference of two logits, as far as the probabilities tell it.

    Attributes:
        value: the difference, in logits.
        kind: whether it is that difference, or only a bound of it, because the smaller probability is too small for
            its number of bits.
    """

    value: float
    kind: MarginKind = MarginKind.EXACT

    def reaches(self, least: float) -> bool:
        """Tell whether the margin is certainly at least so large, up to the rounding of 32-bit probabilities."""
        return self.kind is not MarginKind.AT_MOST and self.value >= least - _MARGIN_ROUNDING

    @property
    def reversed(self) -> "Margin":
        """The margin seen from the other side."""
        kinds = {MarginKind.AT_LEAST: MarginKind.AT_MOST, MarginKind.AT_MOST: MarginKind.AT_LEAST}
        return Margin(-self.value, kinds.get(self.kind, self.kind))

    def __str__(self) -> str:
        sign = {MarginKind.EXACT: "", MarginKind.AT_LEAST: ">", MarginKind.AT_MOST: "<"}[self.kind]
        return f"{sign}{self.value:.2f}"


_MARGIN_ROUNDING = 1e-4
"""The logits by which a margin of 32-bit probabilities may be off, and one of another batch."""


@dataclass(frozen=True)
class Prediction:
    """The classifier's answer for one image.

    Attributes:
        probabilities: the softmax over the classes, (K,).
    """

    probabilities: np.ndarray

    @cached_property
    def label(self) -> int:
        """The index of the class of highest probability."""
        return int(np.argmax(self.probabilities))

    @property
    def confidence(self) -> float:
        """The probability of the predicted class."""
        return float(np.max(self.probabilities))

    @property
    def runner_up(self) -> int:
        """The index of the class of second highest probability."""
        return int(np.argsort(self.probabilities)[-2])

    def margin(self, right: int) -> Margin:
        """Tell how far the likeliest other class is ahead of the right one: max over i != y of o_i - o_y, in logits.

        The difference of two logits is the logarithm of the ratio of their probabilities, log p_i - log p_y, as the
        softmax divides both by the same sum. A probability below the smallest normal number of its type has lost
        digits, or is 0; then the margin is only known to be beyond the one of that smallest number.

        Args:
            right: the index y of the right class.

        Returns:
            The margin, above 0 where another class is predicted.
        """
        tiny = float(np.finfo(self.probabilities.dtype).tiny)
        own = float(self.probabilities[right])
        other = float(np.delete(self.probabilities, right).max(initial=0.0))
        kind = MarginKind.AT_LEAST if own < tiny else MarginKind.AT_MOST if other < tiny else MarginKind.EXACT
        return Margin(float(np.log(max(other, tiny)) - np.log(max(own, tiny))), kind)


@dataclass(frozen=True)
class Example:
    """A normal source image and the adversarial image made of it, as the workspace lists them.

    Attributes:
        id: the name by which the example is known everywhere.
        source: the file of the source image, relative to the workspace.
        adversarial: the file of the adversarial image, relative to the workspace.
        true_label: the index of the class that the source image shows; None where it is unknown.
        attack: a text for people that says how the adversarial image was made.
        target_label: the index of the class that the attack aimed at; None where it aimed at no class in particular.
        epsilon: the largest change of a pixel that the attack declares, in grey levels of 255; None where it is
            unknown.
        allow_large: whether the user insists that the adversarial belongs to the source, however little they resemble.
        lost_in_8_bits: whether the attack succeeded before its image was rounded to 8 bits and no longer did so
            afterwards; None where that is unknown.
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
"""The largest change of a pixel, in grey levels of 255, up to which a pair counts as an attack whatever it shows.

Bounded attacks of the literature use 1 to 16, and 32 at the most."""
EDGES = 0.55
"""The least share of its edges that a source keeps in an attack that changes some pixel by more than LARGE.

It was tried on 320 photographs and drawings. Nearly all keep more under noise of standard deviation 40, a patch on 5 %
of the area, salt and pepper on 2 % of the pixels, JPEG, other brightness and other contrast. Nearly all keep less in
another picture, a flip, a move of 2 pixels or more, a centre crop of 95 % or less of a photograph, and between borders.
"""
ROUNDING = 1
"""The grey levels by which a change may exceed its epsilon, because two tools round one image to 8 bits differently."""


@dataclass(frozen=True)
class Perturbation:
    """The difference between an adversarial image and its source, both as 8-bit images of the model's input size.

    Attributes:
        linf: the largest change of a pixel's channel, in grey levels of 255; no whole number where the adversarial is
            kept as floats, rounded up to hundredths.
        l2: the Euclidean length of the change, with pixels from 0 to 1.
        changed: the share of the pixels that differ in any channel, from 0 to 1.
        edges: how well the source's edges stand in the adversarial (`pairs.edges_kept`): 1 where all do, about 0 where
            only chance puts some there.
        edges_moved: how well they stand in the source itself after it was moved by some pixels; that is much where the
            source is smooth.
        swapped: whether the change is small once the adversarial's colour channels are put into another order.
    """

    linf: float
    l2: float
    changed: float
    edges: float
    edges_moved: float
    swapped: bool = False

    @property
    def is_attack(self) -> bool:
        """Whether the adversarial can be an attack on the source: no pixel changes by more than LARGE, or the edges are
        in place.
        """
        return self.linf <= LARGE or (self.edges >= max(EDGES, self.edges_moved) and not self.swapped)

    def exceeds(self, epsilon: float | None) -> bool:
        """Tell whether the change is larger than an attack of a given strength can have made it.

        Args:
            epsilon: the largest change that the attack declares, in grey levels of 255; LARGE counts where it is None.
        """
        return self.linf > (LARGE if epsilon is None else epsilon + ROUNDING)


class Outcome(StrEnum):
    """The outcome of an attack, with the reason where the example is not misclassified."""

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
"""The endings of image files that do not keep every pixel (WebP and JPEG 2000 can, and seldom do)."""


@dataclass(frozen=True)
class JudgedExample:
    """An example together with what the classifier says of its two images.

    Attributes:
        example: the example as the workspace lists it.
        source: the prediction for the source image.
        adversarial: the prediction for the adversarial image.
        perturbation: how the two images differ.
        score: the adversarial score of the adversarial image, higher for more obvious attacks; NaN where the class that
            it is taken for has no reference image.
    """

    example: Example
    source: Prediction
    adversarial: Prediction
    perturbation: Perturbation
    score: float

    @property
    def outcome(self) -> Outcome:
        """The outcome of the attack; where several reasons explain a failure, the most telling one is given."""
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
        """Whether the source is classified as its label says and the adversarial, which can be an attack, as another
        class.
        """
        return self.outcome in (Outcome.MISCLASSIFIED, Outcome.OFF_TARGET)

    @cached_property
    def margin(self) -> Margin:
        """How far the adversarial is on the wrong side: its largest logit of another class than the source's, less the
        logit of the source's class. Where it is misclassified that is the predicted class's logit less the source's.
        """
        return self.adversarial.margin(self.source.label)

    @property
    def attack_margin(self) -> Margin:
        """The margin that the attack aims at: `margin`, or where it has a target class by how much the target's logit
        is ahead of the largest other one.
        """
        aim = self.example.target_label
        return self.margin if aim is None else self.adversarial.margin(aim).reversed

    @property
    def exceeds(self) -> bool:
        """Whether the change is larger than the attack declares."""
        return self.perturbation.exceeds(self.example.epsilon)


LEFT = 1e-3
"""The share of its loss by which one more step may still be expected to lower it, for a solver of Eq. 5, 7 and 8 that
counts as having come to its end. docs/results.md says what that means for the loss and for the hard sets."""


def unsolved_note(what: str, equation: str) -> str:
    """Make the sentences that warn of a result whose solver was ended too early.

    Args:
        what: the result, for the middle of a sentence, such as "3 of 3 datapaths".
        equation: the equation that the result does not solve, such as "Eq. 5".
    """
    return (
        f"The solver was ended while it could still lower the loss for {what}, so this is no solution of {equation}: "
        "raise iterations in workspace.toml, or delete iterations and learning_rate there for today's defaults."
    )


@dataclass(frozen=True)
class Datapath:
    """The critical feature maps of the prediction of one image, or of a set of images that have one prediction.

    Attributes:
        gates: how critical each map is, (n,), from 0 to 1: the solution z of Eq. 5, or the order that the method gives.
        supports: the maps that speak for the label by firing, bool (n,). The other maps count by firing less than on
            the foil, which is what the prediction is explained against.
        critical: the hard set, bool (n,): the maps of largest gate in each layer, those that support the label first.
            Only these maps are at gate 1; all others are at 0.
        core: the fewest maps found that keep the label, compared across layers, bool (n,).
        label: the index of the class whose prediction the datapath explains.
        rival: the index of the class against which it is explained; -1 for all other classes.
        p_full: the probability of `label` on the whole network.
        p_soft: the probability of `label` with the gates.
        p_hard: the probability of `label` with the hard set alone.
        keeps_soft: whether `label` is still the top class with the gates, on every image.
        images: how many images the datapath explains.
        kept: on how many of these images the hard set alone keeps `label`.
        method: the name of the extraction method, one of `core.datapath.METHODS`.
        passes: the number of forward + backward passes spent; a forward pass alone counts a third.
        seconds: the wall-clock time spent, in seconds.
        loss: what a solver left of the loss of Eq. 5; NaN for all other methods.
        left: the share of that loss by which one more step of the solver was still expected to lower it
            (`core.modelled`; by "joint" the mean of its last ten steps); NaN for all other methods.
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
    left: float = float("nan")

    @property
    def unsolved(self) -> bool:
        """Whether the solver was ended while it could still lower the loss, so that its gates do not solve Eq. 5."""
        return self.left > LEFT

    @property
    def keeps_hard(self) -> bool:
        """Whether the hard set alone keeps the label on every image."""
        return self.kept == self.images

    @property
    def hard_order(self) -> np.ndarray:
        """The order in which hard sets take the maps, (n,), highest first: by gate, with maps that do not support the
        label last.
        """
        return np.where(self.supports, self.gates, self.gates - 2)

    @property
    def size(self) -> int:
        """The number of maps in the hard set."""
        return int(self.critical.sum())


@dataclass(frozen=True)
class DatapathDistance:
    """Distances between the datapaths of a triplet at every layer, or at G levels of layers that are measured as one.

    Arrays of shape (L,) are (G,) in the latter case. A distance is NaN where it is undefined.

    Attributes:
        name: which distance it is, one of `core.distance.DISTANCES`.
        d1: the distance between source and target, (L,).
        d2: the distance between adversarial and source, (L,).
        d3: the distance between adversarial and target, (L,).
        null_share: d2 / (d2 + d3) with the target replaced by each of m images of random other classes, (m, L).
    """

    name: str
    d1: np.ndarray
    d2: np.ndarray
    d3: np.ndarray
    null_share: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """The adversarial's place from source (0) to target (1), (L,): d2 / (d2 + d3), and 0.5 where both are 0."""
        return share(self.d2, self.d3)

    @property
    def pairs(self) -> dict[tuple[str, str], np.ndarray]:
        """The three distances, each (L,), by the keys of the two datapaths."""
        return {
            (Role.SOURCE, Role.ADVERSARIAL): self.d2,
            (Role.SOURCE, Role.TARGET): self.d1,
            (Role.ADVERSARIAL, Role.TARGET): self.d3,
        }


def share(d2: np.ndarray, d3: np.ndarray) -> np.ndarray:
    """Give the share d2 / (d2 + d3) of two arrays of distances that have one shape.

    Returns:
        The shares, from 0 to 1, in the arrays' shape (...). They are 0.5 where both distances are zero, and NaN where
        one is undefined.
    """
    total = np.asarray(d2 + d3, float)
    return np.divide(d2, total, out=np.where(np.isnan(total), np.nan, 0.5), where=total > 0)


class Pattern(StrEnum):
    """The behaviour of the adversarial's datapath along a stretch of layers (Sec. 5.2 of the paper)."""

    DIVERGING = "diverging"
    TRANSITION = "transition"
    MERGING = "merging"


@dataclass(frozen=True)
class Stretch:
    """The layers from `first` to `last`, both included and given by their indices, that show one pattern.

    Attributes:
        pattern: the pattern.
        first: the index of the first layer.
        last: the index of the last layer.
        after: of a transition, the first layer that lies on the other side, smoothed and by itself; -1 for other
            patterns.
        to_target: of a transition, whether that is the target's side.
    """

    pattern: Pattern
    first: int
    last: int
    after: int = -1
    to_target: bool = False


PREDICTION = FeatureMap(-1, -1)
"""The final prediction in the place of a feature map: the predicted label's logit minus the mean of all logits."""


@dataclass(frozen=True)
class AreaOfInterest:
    """Some neurons of one layer: all those of a rectangle, or only those picked from it.

    Attributes:
        layer: the index of the layer; -1 for the pixels of the image, or where the final prediction is meant.
        top: the first row of the rectangle.
        left: its first column.
        bottom: one past its last row.
        right: one past its last column.
        picked: the places of the picked neurons in the rectangle, counted row by row from 0 and in ascending order; ()
            for all of the rectangle.
    """

    layer: int
    top: int
    left: int
    bottom: int
    right: int
    picked: tuple[int, ...] = ()

    def inside(self, layer: Layer) -> np.ndarray:
        """The chosen neurons among all N of a map of the area's layer, bool (N,); empty places are no neurons."""
        grid = np.zeros((layer.height, layer.width), bool)
        grid[self.top : self.bottom, self.left : self.right] = self.chosen
        return grid.ravel()[layer.places]

    @property
    def neurons(self) -> int:
        """The number of chosen neurons."""
        return len(self.picked) or (self.bottom - self.top) * (self.right - self.left)

    @property
    def chosen(self) -> np.ndarray:
        """The chosen neurons of the rectangle, bool (bottom - top, right - left)."""
        shape = (self.bottom - self.top, self.right - self.left)
        if not self.picked:
            return np.ones(shape, bool)
        return np.isin(np.arange(shape[0] * shape[1]), self.picked).reshape(shape)


def area_of_neurons(layer: int, chosen: np.ndarray) -> AreaOfInterest | None:
    """Make the area of interest of some chosen neurons, in the smallest rectangle around them.

    Args:
        layer: the index of the neurons' layer.
        chosen: which neurons of the layer are chosen, bool (H, W).

    Returns:
        The area, or None where no neuron is chosen.
    """
    rows, columns = np.flatnonzero(chosen.any(1)), np.flatnonzero(chosen.any(0))
    if not len(rows):
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    inside = chosen[top:bottom, left:right].ravel()
    picked = () if inside.all() else tuple(np.flatnonzero(inside).tolist())
    return AreaOfInterest(layer, top, left, bottom, right, picked)


WHOLE_PREDICTION = AreaOfInterest(PREDICTION.layer, 0, 0, 1, 1)
"""The area that stands for the final prediction, which has no positions to choose from."""


CONTRIBUTIONS = ("solved", "quadratic", "exact")
"""The names of the ways to find contributions; `Contribution` explains them."""
FOILS = ("source", "zero", "mean")
"""What maps are moved towards when their contributions are found: "source" is the other image of the pair (src for adv
and tar, adv for src), "zero" silence as in the paper, "mean" the mean over clean images of third classes. The file name
of a normal image names that image."""


@dataclass(frozen=True)
class Way:
    """How contributions are found.

    Attributes:
        method: one of CONTRIBUTIONS.
        foil: one of FOILS, or the file name of a normal image.
    """

    method: str = "solved"
    foil: str = "source"


@dataclass(frozen=True)
class Contribution:
    """The contributions of the maps of an earlier layer to selected neurons of a later map (Eq. 7 and 8 of the paper).

    The *effect* is f(x), the activations of the selected neurons on an image x; f(x; z) is the effect where the gates z
    multiply the earlier layer's maps. There are m compared images and n_prev maps in the earlier layer.

    Attributes:
        target: the later map whose neurons are explained, or PREDICTION.
        area: the selected neurons of the target.
        layer: the index of the earlier layer.
        method: one of CONTRIBUTIONS. "solved" descends on Eq. 7 and 8, "quadratic" solves Eq. 7 on its first-order
            expansion, "exact" closes every map alone.
        values: the gates, (m, n_prev), from 0 to 1, one row for each image in the order in which the images were given.
        share: the part of the effect that each map alone has, (m, n_prev): <d, df/dz_k> / ||d||^2 at z = 1, or
            with a foil on average over `core.contribution_problem.PLACES`. It holds to first order; d is what is
            explained (see `change`). By "exact" it is <d, f - f without map k> / ||d||^2, with all other gates at 1.
        residual: what is left unexplained, ||f(x) - f(x; z)||^2 / ||d||^2, (m,); NaN by "exact".
        effect: the size ||f(x)|| of the effect, (m,).
        change: the size of what is explained, (m,): of the effect itself by the foil "zero", and of its difference
            f(x) - f(x; 0) by any other. Where it is 0 there is nothing to explain, and the row's values are 0.
        passes: the number of forward + backward passes through the part of the network between the two layers that were
            spent on each image, on average; a forward pass alone counts a third.
        seconds: the wall-clock time spent, in seconds.
        loss: what "solved" left of the loss of Eq. 7 and 8, per image; NaN by the other methods.
        left: the share of that loss by which one more step of the solver was still expected to lower it
            (`core.modelled`); NaN by the other methods.
        foil: what maps were moved towards, one of FOILS or the file name of a normal image.
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
    change: np.ndarray
    left: float = float("nan")
    foil: str = "zero"

    @property
    def way(self) -> Way:
        """How these contributions were found."""
        return Way(self.method, self.foil)

    @property
    def is_of_difference(self) -> bool:
        """Whether they explain how the effect differs with the foil's maps, and not the effect itself."""
        return self.foil != "zero"

    @property
    def unsolved(self) -> bool:
        """Whether the solver was ended while it could still lower the loss, so that this does not solve Eq. 7 and 8."""
        return self.left > LEFT

    def strength(self, row: int) -> np.ndarray:
        """Give the strength of each map's contribution on one image: its gate times its share.

        Gates alone would leave many equal firsts.

        Args:
            row: the place of the image among the compared ones.

        Returns:
            The strengths, (n_prev,); 0 where a map works against the effect.
        """
        return self.values[row] * np.maximum(self.share[row], 0)

    def ranking(self, row: int) -> np.ndarray:
        """Give the channels of the earlier layer (n_prev,) for the image at `row`, the largest strength first."""
        return np.argsort(-self.strength(row), kind="stable")


REPLACEMENTS = ("source", "adversarial", "zero", "mean", "resample")
"""The names of what can take the place of a layer's maps in a flip-back; `Intervention` explains them."""
RARE = 0.05
"""The largest share of the random sets that may turn the label while the replaced maps still count as more than
chance."""
LEAST = 20
"""The number of random sets that it takes to tell several maps from chance."""
DISJOINT = 4
"""The number of further sets that turn the label, without a map in common, that are looked for at most."""


CONTROLS = ("difference", "patching", "integrated")
"""The orders of a layer's maps that stand beside a flip-back as controls.

They see the two runs and know of no datapath: the largest difference between the runs, attribution patching (gradient x
difference), and integrated attribution patching (the same, averaged along the straight line from one run to the other).
"""


class Verdict(StrEnum):
    """The verdict on maps of a layer that were replaced; where several of these hold, the first one is given."""

    NO_SET = "no set turns it"
    WHOLE_LAYER = "only the whole layer turns it"
    NOT_TURNED = "they do not turn it"
    CONTROL = "a control does it too"
    OTHERS = "other maps do it too"
    TOO_FEW = "too few controls"
    SAME = "no control does it, but those by patching are the same maps"
    ALONE = "no control does it"


@dataclass(frozen=True)
class Intervention:
    """A question to ask by flip-back: replace some maps of one layer in a run, and see whether the prediction turns.

    Attributes:
        layer: the index of the layer.
        maps: the channels to replace, in the order in which they are replaced; None to search for a small set that
            turns the prediction.
        replacement: one of REPLACEMENTS. "source" puts the source's activations into the adversarial's run and wants
            the source's class back; "adversarial" does it the other way round. "zero", "mean" (over normal images) and
            "resample" (one normal image of a third class) take the maps' place in the adversarial's run, and want its
            class gone.
        randoms: how many random sets of as many maps are tried beside them.
        seed: the seed by which the random sets are drawn.
    """

    layer: int
    maps: tuple[int, ...] | None = None
    replacement: str = "source"
    randoms: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Turning:
    """How much each feature map turns a wrong prediction back (*turning effects*, see `core.turning`).

    The *margin* is logit[src's class] - logit[adv's class].

    Attributes:
        effects: by how much each map alone, put from src's run into adv's, is estimated to raise the margin, in logits,
            (n,). It is negative for a map that speaks for adv's class when it is as on src.
        change: the margin on src less that on adv, in logits.
    """

    effects: np.ndarray
    change: float

    @property
    def shares(self) -> np.ndarray:
        """The effects as parts of the change of the margin, (n,); 0 where the margin does not change."""
        return self.effects / self.change if self.change else np.zeros_like(self.effects)


@dataclass(frozen=True)
class EdgeSet:
    """The strongest edges between the maps of two layers, and what they carry (see `core.edges`).

    The *margin* is logit[src's class] - logit[adv's class] on adv.

    Attributes:
        begin: the channel of the earlier layer where each of e edges begins, (e,), the strongest edge first.
        end: the channel of the later layer where it ends, (e,).
        effects: by how much each is estimated to raise the margin, in logits, (e,); all above 0.
        before: the margin where no edge carries src's activations.
        carried: the margin where these edges alone do.
        all_carried: the margin where all edges between the two layers do.
        chance: the margins where as many random edges into the same maps do, (c,); none where there are no other edges.
        by_difference: the margin where as many edges into the same maps do that were chosen without gradients between
            the layers: those of largest |a_k(src) - a_k(adv)| times the later map's turning effect.
    """

    begin: np.ndarray
    end: np.ndarray
    effects: np.ndarray
    before: float
    carried: float
    all_carried: float
    chance: np.ndarray
    by_difference: float

    def kept(self, margin: float | np.ndarray) -> float | np.ndarray:
        """Give the part of what all edges move that margins stand for, one or (c,); NaN where all move nothing."""
        whole = self.all_carried - self.before
        return (margin - self.before) / whole if whole else np.full_like(margin, np.nan, float)


@dataclass(frozen=True)
class Verification:
    """The effect of replacing maps of one layer on the prediction of a run, the receiver's, beside chance (flip-back).

    A *margin* is logit[wanted] - logit[before]. Where any class but `before` is wanted, the largest other logit takes
    the place of logit[wanted].

    Attributes:
        layer: the index of the layer.
        replacement: what took the maps' place, one of REPLACEMENTS.
        before: the index of the receiver's class before anything is replaced.
        wanted: the index of the class that it should become; -1 for any other.
        maps: the k replaced channels in the order of replacement, (k,), each at all its positions. There is none where
            a search found no set, or found only the whole of a layer through which everything passes.
        margins: the margin with none, one, two and so on of the maps replaced, (k + 1,).
        labels: the class predicted each time, (k + 1,).
        turned: whether the label is turned with all of the maps replaced.
        chance: the margins of r random sets of as many maps, taken from those that differ between the two runs, (r,).
        chance_turned: the share of these random sets that turn the label.
        controls: the margin with as many maps replaced, the best by each order of CONTROLS, (c,).
        controls_turned: whether these maps turn the label, bool (c,).
        controls_same: whether these maps are the replaced maps themselves, bool (c,).
        needed: how many maps, the best first by each order of CONTROLS, it takes to turn the label, (c,); -1 where not
            even the whole layer turns it.
        whole: the margin with the whole layer replaced.
        whole_turned: whether replacing the whole layer turns the label.
        disjoint: the sizes of further sets of the layer's maps that turn the label too, (d,), found one after another:
            none shares a map with the replaced maps or with another of these sets. There is none where the maps
            themselves do not turn the label, and at most DISJOINT are looked for.
        alone: by how much each of the maps alone changes the margin, (k,).
        width: the number of maps of the layer.
        runs: the forward runs spent; one with its gradient counts as three.
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
    disjoint: np.ndarray
    alone: np.ndarray
    width: int
    runs: int

    @property
    def others(self) -> int:
        """The size of the first set of the layer's other maps that turns the label too; -1 where none was found."""
        return int(self.disjoint[0]) if len(self.disjoint) else -1

    @property
    def joint(self) -> float:
        """By how much all of the maps together change the margin.

        Where it is more than the sum of `alone`, single maps are made up for by the rest of the network (self-repair);
        where it is less, the maps do in part the same.
        """
        return float(self.margins[-1] - self.margins[0])

    @property
    def percentile(self) -> float:
        """The share of the random sets whose margin is below that of the maps; NaN where there are no random sets."""
        return float((self.chance < self.margins[-1]).mean()) if len(self.chance) else float("nan")

    @property
    def rivals(self) -> tuple[str, ...]:
        """The controls that turn the label as well as the maps do, so that the maps are not proven to be its cause.

        It holds "random" where more than RARE of the random sets turn the label; each order of CONTROLS that turns it
        with other maps, since no maps are a control of themselves; and "others" where a set of the layer's other maps
        turns it. It is empty where the maps do not turn the label.
        """
        if not self.turned:
            return ()
        random = ["random"] if self.chance_turned > RARE else []
        rivals = zip(CONTROLS, self.controls_turned & ~self.controls_same, strict=True)
        return (*random, *(name for name, does in rivals if does), *(["others"] if self.others >= 0 else []))

    @property
    def too_few(self) -> bool:
        """Whether there are too few random sets to tell the maps from chance: fewer than LEAST, or none beside a single
        map.
        """
        return len(self.chance) < (LEAST if len(self.maps) > 1 else 1)

    @property
    def verdict(self) -> Verdict:
        """The verdict that every view of a flip-back gives."""
        if not len(self.maps):
            return Verdict.WHOLE_LAYER if self.whole_turned else Verdict.NO_SET
        if not self.turned:
            return Verdict.NOT_TURNED
        if self.rivals:
            return Verdict.OTHERS if self.rivals == ("others",) else Verdict.CONTROL
        if self.too_few:
            return Verdict.TOO_FEW
        both = self.controls_same[[CONTROLS.index(name) for name in ("patching", "integrated")]]
        return Verdict.SAME if len(self.maps) > 1 and both.all() else Verdict.ALONE


@dataclass(frozen=True)
class LearnedFeatures:
    """The k best patches of the reference images for each of the n maps by one measure, the best first.

    The measure is the activation of a neuron or its relevance, as `LearnedIndex` says.

    Attributes:
        image: the index of each patch's reference image, (n, k); -1 where fewer images have a measure above 0.
        row: the row of the neuron where the measure is largest on that image, (n, k).
        col: the column of that neuron, (n, k).
        value: the measure there, (n, k).
    """

    image: np.ndarray
    row: np.ndarray
    col: np.ndarray
    value: np.ndarray

    def neuron(self, place: int, rank: int) -> tuple[int, int, int] | None:
        """Find the neuron that one patch belongs to.

        Args:
            place: the map's place among all n maps.
            rank: the rank of the patch, 0 for the best.

        Returns:
            The index of the reference image, the row and the column; None where there is no patch of that rank.
        """
        image, row, col = (int(values[place, rank]) for values in (self.image, self.row, self.col))
        return (image, row, col) if image >= 0 else None


@dataclass(frozen=True)
class LearnedIndex:
    """The learned features of all maps, found from the reference images seen so far.

    Attributes:
        activation: the patches that fire each map most, by its largest activation on an image.
        relevance: the patches of largest product of activation and gradient, where the gradient is that of the logit of
            the class predicted for the image.
        seen: how many reference images were seen.
    """

    activation: LearnedFeatures
    relevance: LearnedFeatures
    seen: int

    def best(self, by: str) -> LearnedFeatures:
        """Give the features by the measure "activation" or "relevance"."""
        return {"activation": self.activation, "relevance": self.relevance}[by]


@dataclass(frozen=True)
class Visualisation:
    """A picture that was made to fire one map.

    Attributes:
        image: the picture, uint8 (H, W, C).
        activation: the map's largest activation on it.
    """

    image: np.ndarray
    activation: float


@dataclass(frozen=True)
class Region:
    """The feature maps of a layer that belong to exactly the same of the compared datapaths.

    Attributes:
        paths: the keys of these datapaths; empty for maps outside of all datapaths that are shown for another reason.
        channels: the channels of the maps.
    """

    paths: frozenset[str]
    channels: tuple[int, ...]
