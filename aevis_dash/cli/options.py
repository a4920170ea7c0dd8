"""The verbs of the command line and their options. It is loaded without torch, so that help does not wait."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

from aevis_dash.cli import numbers
from aevis_dash.cli.array_options import count_from, import_adversarials
from aevis_dash.cli.making_options import init, world
from aevis_dash.cli.serve_options import serve, user, worker
from aevis_dash.cli.study_options import benchmark, beside, diverge, evaluate
from aevis_dash.config import EPSILONS, SCORES_BY, AttackParameters, ExtractionParameters, ScoreParameters
from aevis_dash.domain import Role


def _check(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("workspace", type=Path)


def _attack(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--image", nargs="+", metavar="FILE", help="as in images.csv (default: all)")
    verb.add_argument("--class", dest="class_name", metavar="NAME", help="only the images of that class")
    verb.add_argument(
        "--target", help="a class to end in, by name or index, or 'nearest': the likeliest wrong one that has images"
    )
    verb.add_argument(
        "--targets",
        type=Path,
        metavar="FILE",
        help="a table that gives each image's class to end in (file, and target, target_label or target_class); images "
        "that it does not name are not attacked",
    )
    count_from(verb)
    verb.add_argument(
        "--smallest",
        action="store_true",
        help="of each image keep only the attack of the smallest epsilon that succeeds with the margin",
    )
    verb.add_argument(
        "--epsilons",
        type=numbers.epsilons,
        metavar="A,B,...",
        help=f"those that --smallest tries, in linf {','.join(f'{each:g}' for each in EPSILONS)} unless said",
    )
    known = {each.name: each for each in fields(AttackParameters)}
    verb.add_argument(
        "--epsilon",
        type=float,
        nargs="+",
        metavar="N",
        help=f"{known['epsilon'].metadata['help']}; several make an example each {_usual(known['epsilon'].default)}",
    )
    verb.add_argument("--attack-args", nargs="+", metavar="NAME=VALUE", help=known["attack_args"].metadata["help"])
    _parameters(verb, AttackParameters, by_hand=("epsilon", "attack_args"))


def _score(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", nargs="+", metavar="ID", help="default: all")
    verb.add_argument(
        "--score-by",
        choices=SCORES_BY,
        help="take the score of the head's input, its features, or of their direction (default: the workspace's; "
        f"{ScoreParameters().by} in a new one)",
    )
    verb.add_argument(
        "--noise",
        type=numbers.count(10_000),
        metavar="N",
        help="tell too how many of N copies of each misclassified adversarial, in noise of one grey level, keep its "
        "label",
    )


def _extract(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", nargs="+", metavar="ID", help="default: all that are misclassified")
    _allow_large(verb)
    _target_image(verb)
    _method(verb)
    verb.add_argument(
        "--set",
        action="store_true",
        help="one datapath for the adversarial images of all examples together, which must be of one predicted class",
    )
    verb.add_argument(
        "--layer", metavar="NAME", help="list the maps of this layer too: who needs each, and what it turns back"
    )
    verb.add_argument("--no-features", action="store_true", help="without the learned features of every map")


def _learn(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--layer", metavar="NAME", help="make a picture for a map of this layer too")
    verb.add_argument("--map", type=int, metavar="N", help="which map of it")
    verb.add_argument("--figure", type=Path, metavar="PNG", help="write the picture that fires it into this file")


_FOIL = (
    "what a map is without its contribution: source (the other image of the pair: what makes the difference), zero "
    "(silence, as in the paper: what it fires on), mean (over clean images of third classes), or a normal image's file "
    "(default: %(default)s)"
)
_HOW = (
    "solved (Eq. 7, 8), quadratic (its first-order expansion, at once) or exact (every map alone, slow; "
    "default: %(default)s)"
)


def _way(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--how", default="solved", metavar="WAY", help=_HOW)
    verb.add_argument("--foil", default="source", metavar="FOIL", help=_FOIL)


def _contribute(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", required=True, metavar="ID")
    _allow_large(verb)
    verb.add_argument("--layer", metavar="NAME", help="the layer of the feature map to explain")
    verb.add_argument(
        "--map", type=int, metavar="N", help="the feature map to explain (default: no map, the prediction itself)"
    )
    verb.add_argument(
        "--area", type=numbers.many(4, int), metavar="TOP,LEFT,BOTTOM,RIGHT", help="neurons of it (default: all)"
    )
    verb.add_argument(
        "--most-active", type=numbers.count(1_000_000), metavar="K", help="only its K neurons that fire most"
    )
    verb.add_argument(
        "--on",
        choices=[role.short for role in Role],
        help="on whose image they fire most (default: the one whose datapath needs the map to fire)",
    )
    _way(verb)
    verb.add_argument(
        "--from", dest="earlier", metavar="LAYER", help="whose maps contribute (default: the nearest that feeds it)"
    )
    _target_image(verb)
    _method(verb)


def _verify(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", required=True, metavar="ID")
    _allow_large(verb)
    verb.add_argument(
        "--layer", nargs="+", metavar="NAME", help="where maps are replaced (default: every stage's last)"
    )
    verb.add_argument(
        "--map", nargs="+", type=int, metavar="N", help="which, in this order (default: a small set that does it)"
    )
    verb.add_argument(
        "--replace",
        default="source",
        metavar="WHAT",
        help="by what: source (into the adversarial's run), adversarial (into the source's), or zero, mean, resample "
        "in the adversarial's (default: %(default)s)",
    )
    verb.add_argument(
        "--random",
        type=numbers.count(100_000),
        default=200,
        metavar="N",
        help="random sets beside (default: %(default)s)",
    )
    verb.add_argument("--seed", type=numbers.seed, default=0, help="of every draw (default: %(default)s)")


def _trail(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", metavar="ID", help="default: the one that the workspace opens on")
    _allow_large(verb)
    _way(verb)
    verb.add_argument(
        "--beam",
        type=numbers.count(100),
        default=2,
        metavar="N",
        help="maps followed at each depth (default: %(default)s)",
    )
    _target_image(verb)
    verb.add_argument("--figure", type=Path, metavar="HTML", help="draw the longest line and the depths into this file")
    verb.add_argument(
        "--no-images", action="store_true", help="leave images and patches out of it, where they may not travel"
    )


def _edges(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", metavar="ID", help="default: the one that the page opens on")
    _allow_large(verb)
    verb.add_argument("--layer", metavar="NAME", help="where the edges end (default: the last layer)")
    verb.add_argument(
        "--from", dest="earlier", metavar="LAYER", help="where they begin (default: the nearest that feeds it)"
    )
    verb.add_argument(
        "--count", type=numbers.count(10_000), default=20, metavar="N", help="how many (default: %(default)s)"
    )


def _names(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--for", dest="for_class", metavar="CLASS", help="maps that speak for this class")
    verb.add_argument("--against", metavar="CLASS", help="maps that speak against this class")
    verb.add_argument("--images-of", metavar="CLASS", help="maps that fire most on images of this class")
    verb.add_argument("--part", metavar="NAME", help="maps that detect this part, where parts are known")
    verb.add_argument("--layer", metavar="NAME", help="only the maps of this layer")
    verb.add_argument("--example", metavar="ID", help="beside this example: its own images name no map")


def _sweep(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument(
        "--older-than", type=numbers.age, metavar="TIME", help="remove results unused for so long: 12h, 30d, 8w"
    )
    verb.add_argument(
        "--to", type=numbers.storage, metavar="SIZE", help="remove those unused for longest until all take SIZE: 10G"
    )
    verb.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")


def _allow_large(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--allow-large",
        action="store_true",
        help="explain the example although its images are not a source and a small perturbation of it; kept in "
        "examples.csv",
    )


def _target_image(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--target", metavar="FILE", help="the target image (default: the most similar candidate)")


def _method(verb: argparse.ArgumentParser) -> None:
    """The options that say how datapaths are extracted. Without them the workspace's own parameters hold."""
    kind = {f.name: f for f in fields(ExtractionParameters)}
    own = "(default: the workspace's; {} in a new one)"
    text = f"extraction method {own.format(kind['method'].default)}; for a list give a wrong name"
    verb.add_argument("--method", metavar="NAME", help=text)
    text = f"{kind['share'].metadata['help']}, 1 for all {own.format(kind['share'].default)}"
    verb.add_argument("--share", type=float, metavar="S", help=text)


def _usual(default: object) -> str:
    return f"(default: the workspace's; {default} in a new one)"


def _parameters(verb: argparse.ArgumentParser, kind: type, by_hand: Sequence[str] = ()) -> None:
    """One option for each parameter of a method but those `by_hand`. Without it the workspace's own parameter holds."""
    for parameter in fields(kind):
        if parameter.name in by_hand:
            continue
        is_switch = isinstance(parameter.default, bool)
        usual = ("yes" if parameter.default else "no") if is_switch else parameter.default
        text = f"{parameter.metadata['help']} {_usual(usual)}"
        name = "--" + parameter.name.replace("_", "-")
        if is_switch:
            verb.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
        else:
            choices, metavar = parameter.metadata.get("choices"), "NAME" if "choices" in parameter.metadata else "N"
            choices = None if "also" in parameter.metadata else choices
            verb.add_argument(name, type=type(parameter.default), choices=choices, metavar=metavar, help=text)


_Options = Callable[[argparse.ArgumentParser], None]

GRAMMAR: dict[str, tuple[str, _Options]] = {
    "serve": ("serve the dashboard", serve),
    "user": ("say who may see a dashboard that is served to others", user),
    "worker": ("compute the jobs of servers that share a broker", worker),
    "init": ("make a workspace of a model and normal images", init),
    "import": ("make examples of adversarial images of other tools, from arrays or a folder", import_adversarials),
    "check": ("read everything a workspace refers to and run its model", _check),
    "attack": (
        "make adversarial images by gradients, patches, corruptions, or other code",
        _attack,
    ),
    "score": ("list the examples with their predictions and adversarial scores", _score),
    "extract": ("find the datapaths of examples", _extract),
    "learn": ("find the reference patches that every feature map fires most on, and names for the maps", _learn),
    "names": ("find maps by what they are named after, such as those that speak for a class", _names),
    "contribute": ("find which earlier feature maps make a feature map fire", _contribute),
    "verify": ("put maps of one run into another and see whether the prediction turns, beside chance", _verify),
    "trail": ("tell the way back from a wrong prediction, each hop and every depth tested by patching", _trail),
    "edges": ("find through which maps of a later layer those of an earlier one turn the prediction back", _edges),
    "world": ("make the drawn world's workspace", world),
    "diverge": ("find where the adversarials of a workspace leave their sources", diverge),
    "beside": ("set two models beside one another on the pairs that their workspaces share", beside),
    "evaluate": (
        "score the methods by the paper's Eq. 9 and 10 over a workspace, beside the null",
        evaluate,
    ),
    "store": ("say what takes how much of a workspace's store of results", _check),
    "sweep": ("remove results that are outdated, or unused for longest, and what killed processes left", _sweep),
    "benchmark": ("measure what the analysis costs, or how good each extraction method is", benchmark),
}
