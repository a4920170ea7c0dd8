"""The parameter sets of every method: the one source of defaults, of the command line's help and of the docs.

Each parameter is a field of a frozen dataclass; its metadata hold its help text and its bounds. The module also tells
how work reports its progress, and where the project's own folders lie.
"""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Progress = Callable[[float, str], None]
"""A function that is told the share of some work that is done, from 0 to 1, and what is being done now.

It may raise an exception to cancel the work."""

Turn = Callable[[], AbstractContextManager[object]]
"""Makes the context in which a batch of a long job is computed. The job waits there until no other job runs."""


def silent(_share: float, _what: str) -> None:
    """Take a report of progress and tell nobody."""


def part_of(progress: Progress, first: float, size: float) -> Progress:
    """Make the progress of a part of some work from the progress of the whole.

    Args:
        progress: what is told the progress of the whole work.
        first: the share of the whole at which the part begins, from 0 to 1.
        size: the share of the whole that the part makes up, from 0 to 1.
    """
    return lambda share, what: progress(first + share * size, what)


def counted(unit: str, first: int, last: int, of: int) -> str:
    """Which part of some work is being done, such as "datapath 3 of 12" or "datapaths 3 to 12 of 12".

    Args:
        unit: what the work consists of.
        first: the number of the first one that is worked at, from 1.
        last: the number of the last one that is worked at together with it.
        of: how many there are in all.
    """
    return f"{unit} {first} of {of}" if first == last else f"{unit}s {first} to {last} of {of}"


def _parameter(default: float | int, help_text: str, at_least: float = 0, *, at_most: float) -> Any:
    """Make a field for a number; its bounds are far beyond what is of use, so that a slip ends in a refusal, not in a
    long run.
    """
    return field(default=default, metadata={"help": help_text, "at_least": at_least, "at_most": at_most})


MI_FGSM, FGSM, PGD = BY_GRADIENT = ("mi-fgsm", "fgsm", "pgd")
"""The attacks by gradients in a ball around the source."""
NOISE, BLUR, JPEG, CONTRAST, BRIGHTNESS = CORRUPTIONS = ("noise", "blur", "jpeg", "contrast", "brightness")
"""The corruptions, which look for no mistake of the model (Hendrycks and Dietterich, ICLR 2019)."""
PATCH = "patch"
"""The attack that may change a square of the image at will."""
ATTACKS = (*BY_GRADIENT, *CORRUPTIONS, PATCH)
"""The attacks that are built in."""
AUTOATTACK = "autoattack"
"""The one library of attacks whose name alone names an attack."""
LINF, L2 = NORMS = ("linf", "l2")
"""The norms in which an attack may be bounded."""
EPSILONS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
"""The epsilons, in grey levels of 255, of which the smallest that succeeds is looked for."""
_STOPPING = frozenset({"attack", "epsilon", "stop", "margin", "seed", "floats"})
ATTACKS_USE: Mapping[str, frozenset[str]] = {
    MI_FGSM: _STOPPING | {"steps", "step", "momentum"},
    FGSM: _STOPPING,
    PGD: _STOPPING | {"steps", "step", "norm", "restarts"},
    **dict.fromkeys(CORRUPTIONS, frozenset({"attack", "severity"})),
    NOISE: frozenset({"attack", "severity", "seed"}),
    PATCH: _STOPPING - {"epsilon"} | {"steps", "step", "restarts", "patch_size", "patch_top", "patch_left"},
}
"""The parameters that each attack depends on that is built in."""
FOREIGN_USE = frozenset({"attack", "attack_args", "seed", "floats"})
"""The parameters that an attack depends on that is not built in."""


def is_foreign(attack: str) -> bool:
    """Whether a text names an attack that is not built in: a library's, as "LIBRARY:NAME" or "autoattack", or a
    function of the user's, as "FILE.py:function".
    """
    place, colon, name = attack.rpartition(":")
    return bool(place and colon and name) or attack == AUTOATTACK


@dataclass(frozen=True)
class AttackParameters:
    """The parameters of an attack. Lengths are in grey levels of 255, or where the norm is L2 in L2 norms of the change
    of pixels from 0 to 1, of the whole image at the size of the model's input.

    The attack is MI-FGSM (Dong et al., CVPR 2018), FGSM (Goodfellow et al., ICLR 2015), which is a single step of
    length epsilon, PGD (Madry et al., ICLR 2018), which has a random start and no momentum, a patch, which is PGD
    without a bound inside of a square, a corruption, or one that is not built in (`is_foreign`). `uses` says which
    parameters it depends on. `core.rounding.quantise` says what an 8-bit image carries of an epsilon below 1.
    With more than 1000 steps a step of a small epsilon would come near the rounding error of 32-bit numbers. Dong et
    al. try mu from 0 to 2.
    """

    epsilon: float = _parameter(
        8.0,
        "largest change of a pixel, in grey levels of 255; below 1 that share of the values at most is stored one "
        "level off; by --norm l2 the L2 norm of the change of all pixels, counted from 0 to 1",
        at_least=0.01,
        at_most=255,
    )
    steps: int = _parameter(10, "number of steps, at most where the attack stops", at_least=1, at_most=1000)
    momentum: float = _parameter(1.0, "mi-fgsm: decay factor mu of the accumulated gradient", at_most=2)
    attack: str = field(
        default=MI_FGSM,
        metadata={
            "help": "mi-fgsm; fgsm: a single step of length epsilon; pgd: from a random start, without momentum; a "
            "function of yours, as FILE.py:function or module:function; or of a library, as torchattacks:NAME, "
            "art:NAME, foolbox:NAME or autoattack",
            "choices": ATTACKS,
            "also": (is_foreign, "FILE.py:function, module:function, LIBRARY:NAME or autoattack"),
        },
    )
    step: float = _parameter(
        0.0, "length of a step, in the unit of epsilon; 0: epsilon / steps, by pgd 2.5 times that", at_most=255
    )
    stop: bool = field(
        default=False,
        metadata={"help": "end for each image at the first step whose stored image succeeds with the margin"},
    )
    margin: float = _parameter(
        1.0,
        "how far the wrong class has to be ahead of the right one for a stop, in logits; 0: the first success",
        at_most=1000,
    )
    seed: int = _parameter(
        0,
        "of pgd's random start, of which values move with an epsilon below 1, and of what other attacks draw",
        at_most=2**32 - 1,
    )
    norm: str = field(
        default=LINF, metadata={"help": "pgd: which norm of the change epsilon bounds, linf or l2", "choices": NORMS}
    )
    restarts: int = _parameter(
        1,
        "pgd: runs from random starts, of which the one of largest margin is kept of each image",
        at_least=1,
        at_most=1000,
    )

    attack_args: str = field(
        default="",
        metadata={
            "help": "what your function is called with beside images and labels, as NAME=VALUE; 8/255 is a number"
        },
    )

    floats: bool = field(
        default=False,
        metadata={"help": "keep an image as floats where rounding to 8 bits would undo its attack"},
    )

    severity: int = _parameter(
        3, "noise, blur, jpeg, contrast, brightness: how strong, from 1 to 5", at_least=1, at_most=5
    )
    patch_size: int = _parameter(0, "patch: side of the square in pixels; 0: a quarter of the image's", at_most=4096)
    patch_top: int = _parameter(0, "patch: rows of pixels above the square", at_most=4096)
    patch_left: int = _parameter(0, "patch: columns of pixels to the left of the square", at_most=4096)

    @property
    def uses(self) -> frozenset[str]:
        """The parameters that the attack depends on."""
        return ATTACKS_USE.get(self.attack, FOREIGN_USE)

    @property
    def stops(self) -> bool:
        """Whether the attack ends at the first step whose stored image succeeds with the margin."""
        return self.stop and "stop" in self.uses

    @property
    def in_l2(self) -> bool:
        """Whether the attack is bounded in L2, so that its lengths are L2 norms; only PGD can be."""
        return self.norm == L2 and "norm" in self.uses

    @property
    def bound(self) -> float | None:
        """The largest change of a pixel that the stored image may have, in grey levels of 255; in l_inf at least 1. An
        L2 norm of epsilon lets a single pixel change by as much. None where nothing is known of the attack.
        """
        if is_foreign(self.attack):
            return None
        if "epsilon" not in self.uses:
            return 255.0
        return min(255 * self.epsilon, 255.0) if self.in_l2 else max(self.epsilon, 1.0)


FEATURES, DIRECTION = SCORES_BY = ("features", "direction")
"""What the adversarial score can be taken of: the head's input h(x), or its direction h(x) / ||h(x)||."""


@dataclass(frozen=True)
class ScoreParameters:
    """The parameter of the adversarial score."""

    by: str = field(
        default=FEATURES,
        metadata={
            "help": "what the score is taken of: features (the head's input), or their direction (its length left out)",
            "choices": SCORES_BY,
        },
    )


@dataclass(frozen=True)
class ExtractionParameters:
    """The parameters of datapath extraction (Sec. 4 of the paper); the user's main choice is `share`.

    Most of the others belong to some methods only; `core.datapath.USES` says which. The size term of Eq. 5 is divided
    by n, the number of maps, and its distances by sqrt(n), so that lambda and gamma mean the same in any network.
    """

    method: str = field(default="needed", metadata={"help": "extraction method"})
    share: float = _parameter(0.0, "share of each layer's maps in the hard set; 0: as few as keep the label", at_most=1)
    hold: float = _parameter(
        0.9,
        "with share 0: the hard set is the smallest one that keeps this share of the label's probability; the solver "
        "of Eq. 5 starts from such a set",
        at_most=1,
    )
    coherence: float = _parameter(0.2, "gamma: how much the datapaths already found count", at_most=1000)
    samples: int = _parameter(
        8, "needed, elimination: points that the ranking averages, one pass each", at_least=1, at_most=1000
    )
    rounds: int = _parameter(10, "elimination: rounds, one pass each", at_most=1000)
    sparsity: float = _parameter(
        3.0, "lambda of Eq. 5: weight of the mean gate; higher gives smaller datapaths", at_most=1000
    )
    iterations: int = _parameter(60, "solver steps of Eq. 5 at most, one pass each", at_least=1, at_most=10_000)
    learning_rate: float = _parameter(
        0.15, "by how much the solver's first step may change a gate; joint: by how much any may", at_most=10
    )
    candidates: int = _parameter(
        10, "candidate targets: clean images of the class that adv is taken for", at_least=1, at_most=1000
    )
    null_targets: int = _parameter(
        20, "images of random other classes for the null band; under 20 mark no stretch", at_most=1000
    )
    seed: int = _parameter(0, "seed for choosing null images, and for methods that draw at random", at_most=2**32 - 1)
    batch: int = _parameter(7, "images in memory at once", at_least=1, at_most=1024)


@dataclass(frozen=True)
class ContributionParameters:
    """The parameters of Eq. 7 and 8, which are normalised as Eq. 5 is and by the squared size of the effect,
    ||f(x)||^2.
    """

    sparsity: float = _parameter(0.5, "lambda: weight of the mean gate; higher names fewer causes", at_most=1000)
    coherence: float = _parameter(
        0.02, "gamma: weight of the distance between the compared images' gates", at_most=1000
    )
    iterations: int = _parameter(
        40, "solver steps at most, from each of two starts, one pass of the part each", at_least=1, at_most=10_000
    )
    learning_rate: float = _parameter(1.0, "by how much the solver's first step may change a gate", at_most=10)


@dataclass(frozen=True)
class FeatureParameters:
    """The parameters of learned features, the reference patches that fire a map most."""

    patches: int = _parameter(9, "patches shown of each map", at_least=1, at_most=100)


@dataclass(frozen=True)
class VisualisationParameters:
    """The parameters of feature visualisation by optimisation (Olah, Mordvintsev, Schubert, Distill 2017)."""

    steps: int = _parameter(128, "gradient steps, one pass as far as the map's layer each", at_least=1, at_most=10_000)
    learning_rate: float = _parameter(0.1, "step length of Adam, on the picture's Fourier coefficients", at_most=10)
    decay: float = _parameter(0.05, "weight decay: what speaks neither way fades to grey", at_most=1)
    jitter: int = _parameter(4, "pixels by which the picture is moved at random in each step, either way", at_most=100)
    seed: int = _parameter(0, "of the noise it starts from and of the moves", at_most=2**32 - 1)


DEVICE_VARIABLE = "AEVIS_DEVICE"
"""The environment variable that names the device on which models run."""
MEMORY_VARIABLE = "AEVIS_MAX_MEMORY"
"""The environment variable that says how many GiB of memory one process takes at most."""

PACKAGE = Path(__file__).resolve().parent
"""The folder of the package."""


def resource(name: str) -> Path:
    """Find a folder that ships with the project (`assets` or `models`), in an installed wheel or in a checkout."""
    installed = PACKAGE / name
    return installed if installed.is_dir() else PACKAGE.parent / name


def embedded_workspace() -> Path:
    """Find the folder of the drawn world's workspace.

    It lies in the folder that $AEVIS_CACHE names, else in the checkout's cache/, else in the user's cache folder.
    """
    chosen = os.environ.get("AEVIS_CACHE")
    checkout = PACKAGE.parent / "cache"
    base = Path(chosen) if chosen else checkout if checkout.is_dir() else Path.home() / ".cache" / "aevis-dash"
    return base / "drawn-world"


_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_LEAST_STORE, _MOST_STORE = 2**20, 2**50


def bytes_of(text: str) -> int | None:
    """The number of bytes that a size says, such as "20G" or "512M", where a K is 1024 bytes; None for any other text,
    and for less than 1M or more than 1024T."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGT])(?:i?B)?", text.strip(), re.ASCII | re.IGNORECASE)
    size = 0 if found is None else int(float(found[1]) * _UNITS[found[2].upper()])
    return size if _LEAST_STORE <= size <= _MOST_STORE else None


@dataclass(frozen=True)
class StoreParameters:
    """The parameters of the store of results.

    Attributes:
        quota: the size that stored results take at most, such as "20G"; "none" for as much as there is.
    """

    quota: str = field(
        default="none",
        metadata={
            "help": "the size that stored results take at most, such as 20G; those unused for longest go first",
            "choices": ("none",),
            "also": (lambda text: bytes_of(text) is not None, "a size of 1M or more, such as 512M or 20G"),
        },
    )

    @property
    def most(self) -> int | None:
        """The quota in bytes; None for none."""
        return bytes_of(self.quota)
