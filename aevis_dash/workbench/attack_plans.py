"""How the images of one call are attacked: which attacks are tried in turn, and how IDs and people are told of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from aevis_dash.config import ATTACKS_USE, FGSM, MI_FGSM, PGD, AttackParameters
from aevis_dash.core.attacked import Attacked
from aevis_dash.domain import so_many

NAMES = {MI_FGSM: "MI-FGSM", FGSM: "FGSM", PGD: "PGD"}
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
    """

    parameters: AttackParameters
    epsilons: tuple[float, ...] = ()

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
        used = set(ATTACKS_USE[p.attack])
        draws = p.attack == PGD or min(self.epsilons or (p.epsilon,)) < 1
        used -= (set() if draws else {"seed"}) | (set() if p.stop else {"margin"})
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
        strength = f"{kept[0]:g}to{kept[-1]:g}" if kept else f"{p.epsilon:g}"
        norm = "l2-" if p.in_l2 else ""
        steps = f"x{p.steps}" if "steps" in ATTACKS_USE[p.attack] else ""
        return f"{p.attack.replace('-', '')}{norm}{strength}{steps}" + (f"m{p.margin:g}" if p.stop else "")

    def words(self, used: AttackParameters, found: Attacked | None = None) -> str:
        """The attack in words for people; with its result also whether it stopped, and whether it reached the margin.

        Args:
            used: the parameters by which the image was attacked last.
            found: the attacked image; None before the attack.
        """
        said = f"{NAMES[used.attack]} {_strength(used)}"
        takes = ATTACKS_USE[used.attack]
        if "steps" in takes:
            unit = "" if used.in_l2 else " grey levels"
            said += f", {so_many(used.steps, 'step')}" + (f" of {used.step:g}{unit}" if used.step else "")
        if "restarts" in takes and used.restarts > 1:
            said += f", best of {used.restarts} starts"
        if not used.stop:
            return said
        if found is not None and not found.reaches(used.margin):
            by_any = f" by any of {len(self.epsilons)} epsilons" if self.epsilons else ""
            return f"{said}, margin {used.margin:g} not reached{by_any}"
        said += f", {'smallest with ' if self.epsilons else ''}margin {used.margin:g}"
        early = found is not None and "steps" in takes and found.steps < used.steps
        return said + (", stopped early" if early else "")


def _strength(used: AttackParameters) -> str:
    """The bound of an attack in words: "8/255" in l_inf, and "L2 0.5" in L2, whose epsilon is of pixels from 0 to 1."""
    if used.in_l2:
        return f"L2 {used.epsilon:g}"
    return f"{used.bound:g}/255" + (f" (epsilon {used.epsilon:g} before rounding)" if used.epsilon < used.bound else "")
