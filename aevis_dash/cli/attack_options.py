"""From the options of `aevis attack` to the attacks that are made, and from options to parameters in general."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import TypeVar

from aevis_dash.config import EPSILONS, AttackParameters, ExtractionParameters
from aevis_dash.domain import AevisError
from aevis_dash.settings import parameters_from

P = TypeVar("P", AttackParameters, ExtractionParameters)


def attacks_of(own: AttackParameters, args: argparse.Namespace) -> tuple[list[AttackParameters], tuple[float, ...]]:
    """The attacks that the options ask for, one for each epsilon of `--epsilon`, and the epsilons of which the smallest
    is looked for, () for none.

    A margin, or the smallest epsilon, asks for a stop.

    Args:
        own: the workspace's own attack, which holds where the options say nothing else.
        args: the options.

    Raises:
        AevisError: for options that contradict one another or mean nothing to the attack, and for values that do not
            fit.
    """
    given = argparse.Namespace(**vars(args))
    if args.attack is not None and args.attack != own.attack:
        own = replace(own, attack_args="")  # what the workspace says is for another function
    if args.attack_args is not None:
        given.attack_args = shlex.join(args.attack_args)
    asks_for_stop = args.smallest or args.margin is not None
    if asks_for_stop and args.stop is False:
        raise AevisError("--no-stop takes all steps, whatever the margin. Leave it out, or --margin and --smallest.")
    if asks_for_stop:
        given.stop = True
    several, given.epsilon = args.epsilon or [None], None
    names = [field.name for field in fields(AttackParameters)]
    wanted = parameters_with(given, own, names)
    _refuse_what_means_nothing(wanted, args, names)
    epsilons = _epsilons(wanted, own, args)
    attacks = []
    for epsilon in dict.fromkeys(several):
        given.epsilon = epsilon
        attacks.append(parameters_with(given, own, names))
    return attacks, epsilons


def parameters_with(args: argparse.Namespace, own: P, names: Sequence[str]) -> P:
    """The workspace's own parameters with those that options of these names give. Refuses values that do not fit."""
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return parameters_from(type(own), {**asdict(own), **given}, "The options")


def _refuse_what_means_nothing(wanted: AttackParameters, args: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse the first option that is given and on which the attack does not depend."""
    used = wanted.uses
    if args.smallest and "epsilon" not in used:
        raise AevisError(f"--smallest means nothing to {wanted.attack}, which takes no --epsilon. Leave it out.")
    for name in names:
        if getattr(args, name) is not None and name not in used:
            takes = ", ".join(_option(each) for each in names if each in used - {"attack"})
            raise AevisError(f"{_option(name)} means nothing to {wanted.attack}, which takes {takes}. Leave it out.")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _epsilons(wanted: AttackParameters, own: AttackParameters, args: argparse.Namespace) -> tuple[float, ...]:
    """The epsilons of which the smallest is looked for; () where the options do not ask for that."""
    if args.epsilons and not args.smallest:
        raise AevisError(
            "--epsilons are those that --smallest tries. Say --smallest too, or --epsilon 1 2 4 for an example of each."
        )
    if args.smallest and args.epsilon is not None:
        raise AevisError("--smallest tries several epsilons. Name them by --epsilons, or leave out --epsilon.")
    if wanted.in_l2 and not args.epsilons and (args.smallest or (args.epsilon is None and not own.in_l2)):
        which = "--epsilons" if args.smallest else "--epsilon"
        raise AevisError(
            f"With --norm l2 epsilon is the L2 norm of the whole change, for pixels from 0 to 1, and there is no usual "
            f"one. Say {which}, such as {which} {'0.5,1,2' if args.smallest else '0.5'}."
        )
    return (args.epsilons or EPSILONS) if args.smallest else ()
