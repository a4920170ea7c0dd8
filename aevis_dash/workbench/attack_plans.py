"""How the images of one call are attacked: which attacks are tried in turn, and how IDs and people are told of them."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from aevis_dash.config import (
    BLUR,
    BRIGHTNESS,
    CONTRAST,
    FGSM,
    JPEG,
    MI_FGSM,
    NOISE,
    PATCH,
    PGD,
    AttackParameters,
)
from aevis_dash.core.attacked import Attacked
from aevis_dash.core.foreign_attack import ForeignAttack
from aevis_dash.domain import shorten, so_many

NAMES = {
    MI_FGSM: "MI-FGSM",
    FGSM: "FGSM",
    PGD: "PGD",
    NOISE: "Gaussian noise",
    BLUR: "Gaussian blur",
    JPEG: "JPEG",
    CONTRAST: "contrast",
    BRIGHTNESS: "brightness",
    PATCH: "patch",
}
"""The names of the attacks for people."""
_ALWAYS: Mapping[str, float] = {"epsilon": 8.0, "steps": 1, "momentum": 0.0}
"""The parameters that every attack's ID has always depended on, with the values of those that an attack does not use.
The others count where they differ from their defaults, so that attacks that were made before there were others keep
their IDs."""


@dataclass(frozen=True)
class AttackPlan:
    """How the images of one call are attacked.

    Attributes:
        parameters: of the attack.
        epsilons: the ascending epsilons of which the smallest is looked for; () for the one of the parameters.
        foreign: the attack itself where it is not built in; None for one that is.
    """

    parameters: AttackParameters
    epsilons: tuple[float, ...] = ()
    foreign: ForeignAttack | None = None

    @property
    def series(self) -> tuple[AttackParameters, ...]:
        """The attacks that are tried in turn."""
        if not self.epsilons:
            return (self.parameters,)
        return tuple(replace(self.parameters, epsilon=epsilon) for epsilon in self.epsilons)

    @property
    def made_of(self) -> dict[str, Any]:
        """What the results depend on beside the image, for the store's key."""
        p = self.parameters
        if self.foreign is not None:
            floats = {"floats": True} if p.floats else {}
            return {"foreign": dict(self.foreign.made_of), "seed": p.seed, **floats}
        used = set(p.uses)
        below_1 = "epsilon" in used and min(self.epsilons or (p.epsilon,)) < 1
        draws = p.attack in (PGD, NOISE, PATCH) or below_1
        used -= (set() if draws else {"seed"}) | (set() if p.stops else {"margin"})
        plain = {field.name: field.default for field in fields(p)}
        told = {
            name: value if name in used else _ALWAYS[name]
            for name, value in asdict(p).items()
            if name in _ALWAYS or (name in used and value != plain[name])
        }
        return {"parameters": told} | ({"epsilons": list(self.epsilons)} if self.epsilons else {})

    @property
    def short(self) -> str:
        """A word for IDs, such as "mifgsm8x10", or "pgd0.5to8x10m1" for the smallest epsilon with a margin of 1."""
        p, kept = self.parameters, self.epsilons
        if self.foreign is not None:
            return re.sub(r"[^\w-]+", "_", self.foreign.slug).lower()[:30]
        if "severity" in p.uses:
            return f"{p.attack}{p.severity}"
        strength = f"{kept[0]:g}to{kept[-1]:g}" if kept else f"{p.epsilon:g}"
        strength = (f"{p.patch_size}" if p.patch_size else "") if p.attack == PATCH else strength
        norm = "l2-" if p.in_l2 else ""
        steps = f"x{p.steps}" if "steps" in p.uses else ""
        return f"{p.attack.replace('-', '')}{norm}{strength}{steps}" + (f"m{p.margin:g}" if p.stops else "")

    def words(self, used: AttackParameters, found: Attacked | None = None) -> str:
        """The attack in words for people; with its result also whether it stopped, and whether it reached the margin.

        Args:
            used: the parameters by which the image was attacked last.
            found: the attacked image; None before the attack.
        """
        if self.foreign is not None:
            args = ", ".join(f"{name}={_short(value)}" for name, value in self.foreign.made_of["args"].items())
            return self.foreign.name + (f" ({args})" if args else "")
        said, takes = f"{NAMES[used.attack]} {_strength(used)}", used.uses
        if "steps" in takes:
            unit = "" if used.in_l2 else " grey levels"
            said += f", {so_many(used.steps, 'step')}" + (f" of {used.step:g}{unit}" if used.step else "")
        if "restarts" in takes and used.restarts > 1:
            said += f", best of {used.restarts} starts"
        if not used.stops:
            return said
        if found is not None and not found.reaches(used.margin):
            by_any = f" by any of {len(self.epsilons)} epsilons" if self.epsilons else ""
            return f"{said}, margin {used.margin:g} not reached{by_any}"
        said += f", {'smallest with ' if self.epsilons else ''}margin {used.margin:g}"
        early = found is not None and "steps" in takes and found.steps < used.steps
        return said + (", stopped early" if early else "")


def _strength(used: AttackParameters) -> str:
    """How strong an attack is in words: "8/255" in l_inf, and "L2 0.5" in L2, whose epsilon is of pixels from 0 to 1;
    the severity of a corruption; the square of a patch."""
    if "severity" in used.uses:
        return f"of severity {used.severity}"
    if used.attack == PATCH:
        side = f"of {used.patch_size} x {used.patch_size} pixels" if used.patch_size else "of a quarter of the side"
        return f"{side}, {used.patch_top} rows down, {used.patch_left} columns right"
    if used.in_l2:
        return f"L2 {used.epsilon:g}"
    bound = max(used.epsilon, 1.0)
    return f"{bound:g}/255" + (f" (epsilon {used.epsilon:g} before rounding)" if used.epsilon < bound else "")


def _short(value: Any) -> str:
    return shorten(f"{value:g}" if isinstance(value, float) else str(value))
