"""The options of the verbs that run over a whole workspace. It is loaded without torch, so that help does not wait."""

import argparse
from pathlib import Path

from aevis_dash.cli import numbers


def benchmark(verb: argparse.ArgumentParser) -> None:
    """The options of `aevis benchmark`."""
    verb.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="costs (default), contributions: costs of an explanation, learned: memory that learned features take; "
        "datapaths or truth: the methods judged; masks: what random masks say beside hard sets; solver: how fast Eq. 5 "
        "is solved; tracing: contributions beside exact effects; edges: what a few edges carry; hops: trails beside "
        "their controls; outlook: detection and repair tried; names: how far the names of maps hold; page: how fast "
        "the page answers in a browser",
    )
    verb.add_argument("workspace", nargs="?", type=Path, help="default: the drawn world that ships with the project")
    _study(verb)
    verb.add_argument(
        "--repeats", type=numbers.count(1000), default=12, metavar="N", help="how many of them for stability too"
    )
    verb.add_argument("--figure", type=Path, metavar="HTML", help="draw the methods side by side into this file")
    verb.add_argument(
        "--clicks", type=numbers.count(10_000), default=60, metavar="N", help="page: of each kind (default: 60)"
    )
    verb.add_argument(
        "--minutes",
        type=numbers.minutes,
        default=0,
        metavar="M",
        help="page: how long to click on while memory is looked at",
    )
    verb.add_argument(
        "--images",
        type=numbers.count(100_000),
        default=0,
        metavar="N",
        help="page: also compare the clicks with those in the drawn world enlarged to N normal images, such as 10000",
    )


def evaluate(verb: argparse.ArgumentParser) -> None:
    """The options of `aevis evaluate`."""
    verb.add_argument("workspace", type=Path)
    _study(verb)
    verb.add_argument(
        "--targets", type=numbers.count(1000), default=5, metavar="N", help="at most for an example, and as many nulls"
    )
    verb.add_argument(
        "--r", type=numbers.count(1000), default=8, metavar="N", help="Eq. 10: steps of growth (default: %(default)s)"
    )
    verb.add_argument("--granularity", default="block", help="layer, block or stage (default: %(default)s)")
    verb.add_argument("--norm", default="l2", help="l2 as printed, width or cosine (default: %(default)s)")


def diverge(verb: argparse.ArgumentParser) -> None:
    """The options of `aevis diverge`."""
    verb.add_argument("workspace", type=Path)
    _study(verb, methods=False, examples=None)
    verb.add_argument("--method", metavar="NAME", help="on the critical maps by that extraction (default: on all maps)")
    verb.add_argument(
        "--band",
        choices=("class", "noise"),
        default="class",
        help="other clean images of src's class, or noise of the attack's size (default: %(default)s)",
    )
    verb.add_argument(
        "--by",
        choices=("attack", "perturbation", "source", "adversarial"),
        default="attack",
        help="what the counts are split by (default: %(default)s)",
    )


def beside(verb: argparse.ArgumentParser) -> None:
    """The options of `aevis beside`."""
    verb.add_argument("first", type=Path, metavar="FIRST", help="the workspace whose misclassified pairs are taken")
    verb.add_argument("second", type=Path, metavar="SECOND", help="the workspace of the other model")
    verb.add_argument("--example", nargs="+", metavar="ID", help="only these examples of the first workspace")
    verb.add_argument(
        "--examples",
        type=numbers.count(1_000_000),
        default=20,
        metavar="N",
        help="so many of the shared pairs, at random (default: %(default)s)",
    )
    verb.add_argument("--seed", type=numbers.seed, default=0, help="of every draw (default: %(default)s)")
    verb.add_argument("--weakest", action="store_true", help="of each source only the smallest attack that succeeds")
    verb.add_argument("--method", metavar="NAME", help="extraction method for both (default: the first workspace's)")
    verb.add_argument("--share", type=float, metavar="S", help="size of the hard set for both (default: likewise)")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write every pair's numbers at every layer into a table")
    verb.add_argument("--figure", type=Path, metavar="HTML", help="draw the layer profiles into this file")


def _study(verb: argparse.ArgumentParser, methods: bool = True, examples: int | None = 60) -> None:
    """The options that all runs over a whole workspace have in common."""
    if methods:
        verb.add_argument("--methods", nargs="+", metavar="NAME", help="extraction methods (default: all)")
    usual = "all" if examples is None else examples
    verb.add_argument(
        "--examples", type=numbers.count(1_000_000), default=examples, metavar="N", help=f"at random (default: {usual})"
    )
    verb.add_argument("--seed", type=numbers.seed, default=0, help="of every draw (default: %(default)s)")
    verb.add_argument("--weakest", action="store_true", help="of each source only the smallest that succeeds")
    verb.add_argument("--processes", type=numbers.count(1024), metavar="N", help="default: one for each core")
    verb.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, such as tcp://host:8786")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write what was measured into this table")
