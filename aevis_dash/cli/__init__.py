"""The command line: one verb a use case; the same workbench as the page's.

Here are the verbs' options and what becomes of their answers and errors; what they do is in `verbs`, which is
loaded only when a verb runs, so that help and refusals do not wait for torch.
"""

import argparse
import contextlib
import importlib.metadata
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from aevis_dash.cli.output import Answer, ProgressLine, as_json
from aevis_dash.config import AttackParameters, ExtractionParameters, Progress, silent
from aevis_dash.domain import FITS, INTERPOLATIONS, AevisError, Role, whole_number

MOST_SIDE, MOST_MINUTES = 4096, 24 * 60
"""Of an input in pixels, and of a run that measures."""
REFUSED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
INTERRUPTION = "Interrupted; what was finished is kept. The same command goes on from there."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, 2 for what the user can mend, 130 after Ctrl-C."""
    _open_closed_streams()
    try:
        return _run(argv)
    except BrokenPipeError:
        _silence(sys.stdout)
        return PIPE_CLOSED


def make_parser() -> argparse.ArgumentParser:
    """The whole grammar: every verb and its options."""
    parser = argparse.ArgumentParser(prog="aevis", description="Why does a CNN misclassify an adversarial example?")
    parser.add_argument("--version", action="version", version=f"aevis-dash {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, (text, options) in _GRAMMAR.items():
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        options(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        verb.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def _run(argv: Sequence[str] | None) -> int:
    args = None
    try:
        args = _asked(argv)
        if args is not None:
            _show(args, _answer(args))
        return 0
    except AevisError as error:
        return _complain(args, f"aevis: {_one_line(error)}", _one_line(error), REFUSED)
    except KeyboardInterrupt:
        return _complain(args, INTERRUPTION, INTERRUPTION, INTERRUPTED)


def _asked(argv: Sequence[str] | None) -> argparse.Namespace | None:
    """The command's words; None where they ask for help or the version, which is written here: argparse itself keeps
    silent where it finds no room for that."""
    parser, said = make_parser(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            args = parser.parse_args(argv)
            if args.verb is not None:
                return args
            parser.print_help()
    except SystemExit as end:
        if end.code:
            raise
    _write(said.getvalue().removesuffix("\n"))
    return None


def _answer(args: argparse.Namespace) -> Answer:
    from aevis_dash.cli import verbs

    _find_modules_here()
    line = None if args.json or args.quiet else ProgressLine(sys.stderr)
    progress: Progress = line or silent
    try:
        return verbs.VERBS[args.verb](args, progress)
    except SystemExit as error:
        raise AevisError(
            f"Code that the workspace's model brings along ended the program (SystemExit: {error}). Mend it: a model "
            "returns its outputs, or raises an error that says what is wrong."
        ) from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        where = "Something that this needs" if error.filename is None else error.filename
        raise AevisError(
            f"{where} cannot be read or written ({error.strerror}). Check the path, its permissions and the free space."
        ) from error
    finally:
        if line:
            line.close()


def _show(args: argparse.Namespace, answer: Answer) -> None:
    text = as_json(answer.document) if args.json else answer.text
    if text:
        _write(text)


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise AevisError(
            f"The answer cannot be written to standard output ({error.strerror}). Free some space there; what was "
            "computed is kept."
        ) from error


def _complain(args: argparse.Namespace | None, text: str, error: str, status: int) -> int:
    _say(text, sys.stderr)
    if args is not None and args.json:
        _say(as_json({"error": error}), sys.stdout)
    return status


def _say(text: str, stream: TextIO) -> None:
    """Where a refusal finds no room, its exit status says it alone."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        _silence(stream)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _find_modules_here() -> None:
    """`--model module:factory` finds modules of the current folder, as `python -m` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def _open_closed_streams() -> None:
    """Where a standard stream was closed (`2>&-`) nothing is said; no file that is opened later takes its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _silence(stream: TextIO) -> None:
    """Nobody reads any more; Python's own flush at exit must not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _version() -> str:
    try:
        return importlib.metadata.version("aevis-dash")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


# Options


def _serve(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("workspace", nargs="?", type=Path, help="default: the drawn world that ships with the project")
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    verb.add_argument("--port", type=_port, default=8050, help="default: %(default)s")
    verb.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which browsers ask for the page, such as that of a proxy; may be repeated",
    )
    verb.add_argument(
        "--prefix",
        type=_prefix,
        default="/",
        metavar="/PATH/",
        help="where a proxy shows the page (default: %(default)s)",
    )
    verb.add_argument(
        "--job-hours", type=_hours, default=4.0, metavar="H", help="how long a job may run (default: %(default)g)"
    )


def _init(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("workspace", type=Path, metavar="DIR", help="where to make it")
    verb.add_argument("--model", required=True, help="torchvision:NAME, timm:NAME or module:factory")
    verb.add_argument("--weights", default="", help="a file of tensors, or a name that the model's library knows")
    verb.add_argument("--images", required=True, type=Path, metavar="FOLDER", help="the normal images")
    verb.add_argument("--labels", type=Path, metavar="CSV", help="a table of file and class; default: sub-folder names")
    verb.add_argument(
        "--classes", type=Path, metavar="FILE", help="class names, one a line, or JSON; default: the library's"
    )
    verb.add_argument("--input-size", type=_size, metavar="N|HxW", help="the model's input in pixels")
    verb.add_argument("--mean", type=_numbers(3), metavar="A,B,C", help="subtracted from each channel")
    verb.add_argument("--std", type=_numbers(3), metavar="A,B,C", help="what each channel is divided by")
    verb.add_argument("--value-range", type=_numbers(2), metavar="LO,HI", help="of the pixels; say --value-range=-1,1")
    verb.add_argument(
        "--fit",
        choices=FITS,
        help="how an image of another size becomes as large as the input: squeezed whole, its centre cropped, or "
        "padded (default: as the model's library does; crop for a model of your own)",
    )
    verb.add_argument(
        "--resize-size", type=_size, metavar="N|HxW", help="to what images are scaled before that (default: the input)"
    )
    verb.add_argument(
        "--interpolation",
        choices=INTERPOLATIONS,
        help="how they are scaled (default: as the model's library does, else bilinear)",
    )
    verb.add_argument("--skip-unreadable", action="store_true", help="leave out bad images instead of stopping")


def _check(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("workspace", type=Path)


def _attack(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--image", nargs="+", metavar="FILE", help="as in images.csv (default: all)")
    verb.add_argument("--class", dest="class_name", metavar="NAME", help="only the images of that class")
    verb.add_argument(
        "--target", help="a class to end in, by name or index, or 'nearest': the likeliest wrong one that has images"
    )
    _parameters(verb, AttackParameters)


def _score(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", nargs="+", metavar="ID", help="default: all")


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
    verb.add_argument("--no-features", action="store_true", help="without the learned features of every map")


def _learn(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--layer", metavar="NAME", help="make a picture for a map of this layer too")
    verb.add_argument("--map", type=int, metavar="N", help="which map of it")
    verb.add_argument("--figure", type=Path, metavar="PNG", help="write the picture that fires it into this file")


_HOW = (
    "solved (Eq. 7, 8), quadratic (its first-order expansion, at once) or exact (every map closed alone, slow; "
    "default: %(default)s)"
)


def _contribute(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", required=True, metavar="ID")
    _allow_large(verb)
    verb.add_argument("--layer", metavar="NAME", help="the layer of the feature map to explain")
    verb.add_argument(
        "--map", type=int, metavar="N", help="the feature map to explain (default: no map, the prediction itself)"
    )
    verb.add_argument(
        "--area", type=_numbers(4, int), metavar="TOP,LEFT,BOTTOM,RIGHT", help="neurons of it (default: all)"
    )
    verb.add_argument("--most-active", type=_count(1_000_000), metavar="K", help="only its K neurons that fire most")
    verb.add_argument(
        "--on",
        choices=[role.short for role in Role],
        help="on whose image they fire most (default: the one whose datapath needs the map to fire)",
    )
    verb.add_argument(
        "--how",
        default="solved",
        metavar="WAY",
        help=_HOW,
    )
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
        "--random", type=_count(100_000), default=200, metavar="N", help="random sets beside (default: %(default)s)"
    )
    verb.add_argument("--seed", type=_seed, default=0, help="of every draw (default: %(default)s)")


def _trail(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    verb.add_argument("--example", metavar="ID", help="default: the one that the workspace opens on")
    _allow_large(verb)
    verb.add_argument("--how", default="solved", metavar="WAY", help=_HOW)
    verb.add_argument(
        "--beam", type=_count(100), default=2, metavar="N", help="maps followed at each depth (default: %(default)s)"
    )
    _target_image(verb)
    verb.add_argument("--figure", type=Path, metavar="HTML", help="draw the longest line and the depths into this file")
    verb.add_argument(
        "--no-images", action="store_true", help="leave images and patches out of it, where they may not travel"
    )


def _world(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("workspace", type=Path, metavar="DIR", help="where to make it")
    verb.add_argument("--train", action="store_true", help="train the network anew instead of taking the shipped one")
    verb.add_argument("--seed", type=_seed, default=0, help="of the training (default: %(default)s)")
    verb.add_argument("--drawings", type=_count(100_000), default=8000, help="to train on (default: %(default)s)")
    verb.add_argument("--epochs", type=_count(1000), default=3, help="default: %(default)s")


def _benchmark(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "what",
        nargs="?",
        metavar="WHAT",
        help="costs (default), contributions: costs of an explanation, learned: memory that learned features take; "
        "datapaths or truth: the methods judged; page: how fast the page answers in a browser",
    )
    verb.add_argument("workspace", nargs="?", type=Path, help="default: the drawn world that ships with the project")
    _study(verb)
    verb.add_argument(
        "--repeats", type=_count(1000), default=12, metavar="N", help="how many of them for stability too"
    )
    verb.add_argument("--figure", type=Path, metavar="HTML", help="draw the methods side by side into this file")
    verb.add_argument("--clicks", type=_count(10_000), default=60, metavar="N", help="page: of each kind (default: 60)")
    verb.add_argument(
        "--minutes", type=_minutes, default=0, metavar="M", help="page: how long to click on while memory is looked at"
    )


def _evaluate(verb: argparse.ArgumentParser) -> None:
    _check(verb)
    _study(verb)
    verb.add_argument(
        "--targets", type=_count(1000), default=5, metavar="N", help="at most for an example, and as many nulls"
    )
    verb.add_argument(
        "--r", type=_count(1000), default=8, metavar="N", help="Eq. 10: steps of growth (default: %(default)s)"
    )
    verb.add_argument("--granularity", default="block", help="layer, block or stage (default: %(default)s)")
    verb.add_argument("--norm", default="l2", help="l2 as printed, width or cosine (default: %(default)s)")


def _diverge(verb: argparse.ArgumentParser) -> None:
    _check(verb)
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


def _study(verb: argparse.ArgumentParser, methods: bool = True, examples: int | None = 60) -> None:
    """What all runs over a whole workspace have in common."""
    if methods:
        verb.add_argument("--methods", nargs="+", metavar="NAME", help="extraction methods (default: all)")
    usual = "all" if examples is None else examples
    verb.add_argument(
        "--examples", type=_count(1_000_000), default=examples, metavar="N", help=f"at random (default: {usual})"
    )
    verb.add_argument("--seed", type=_seed, default=0, help="of every draw (default: %(default)s)")
    verb.add_argument("--weakest", action="store_true", help="of each source only the smallest that succeeds")
    verb.add_argument("--processes", type=_count(1024), metavar="N", help="default: one for each core")
    verb.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, such as tcp://host:8786")
    verb.add_argument("--csv", type=Path, metavar="FILE", help="write what was measured into this table")


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
    """How datapaths are extracted; the workspace's own holds where nothing is said."""
    kind = {f.name: f for f in fields(ExtractionParameters)}
    own = "(default: the workspace's; {} in a new one)"
    text = f"extraction method {own.format(kind['method'].default)}; for a list give a wrong name"
    verb.add_argument("--method", metavar="NAME", help=text)
    text = f"{kind['share'].metadata['help']}, 1 for all {own.format(kind['share'].default)}"
    verb.add_argument("--share", type=float, metavar="S", help=text)


def _parameters(verb: argparse.ArgumentParser, kind: type) -> None:
    """An option for each parameter of a method; the workspace's own holds where none is given."""
    for parameter in fields(kind):
        text = f"{parameter.metadata['help']} (default: the workspace's; {parameter.default} in a new one)"
        name = "--" + parameter.name.replace("_", "-")
        verb.add_argument(name, type=type(parameter.default), metavar="N", help=text)


_Options = Callable[[argparse.ArgumentParser], None]
_GRAMMAR: dict[str, tuple[str, _Options]] = {
    "serve": ("serve the dashboard", _serve),
    "init": ("make a workspace of a model and a folder of images", _init),
    "check": ("read everything a workspace refers to and run its model", _check),
    "attack": ("make adversarial images with MI-FGSM", _attack),
    "score": ("list the examples with their predictions and adversarial scores", _score),
    "extract": ("find the datapaths of examples", _extract),
    "learn": ("find the reference patches that every feature map fires most on, and the parts it detects", _learn),
    "contribute": ("find which earlier feature maps make a feature map fire", _contribute),
    "verify": ("put maps of one run into another and see whether the prediction turns, beside chance", _verify),
    "trail": ("tell the way back from a wrong prediction, each hop and every depth tested by patching", _trail),
    "world": ("make the drawn world's workspace", _world),
    "diverge": ("find where the adversarials of a workspace leave their sources", _diverge),
    "evaluate": ("score the methods by the paper's Eq. 9 and 10 over a workspace, beside the null", _evaluate),
    "benchmark": ("measure what the analysis costs, or how good each extraction method is", _benchmark),
}


def _seed(text: str) -> int:
    return _between(text, 0, 2**32 - 1, f"{text!r} is no seed; give 0 to {2**32 - 1}")


def _prefix(text: str) -> str:
    """A path of plain names as it stands in an address, between slashes."""
    path = f"/{text.strip('/')}/".replace("//", "/")
    if not re.fullmatch(r"/([A-Za-z0-9_~-][A-Za-z0-9._~-]*/)*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is no path of letters, digits, and -._~, such as /aevis/")
    return path


def _hours(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; give hours, more than 0 and at most 10000")
    return found


def _port(text: str) -> int:
    return _between(text, 1, 65535, f"{text!r} is no port; give a number from 1 to 65535")


def _count(most: int, least: int = 1) -> Callable[[str], int]:
    return lambda text: _between(text, least, most, f"{text!r} is no count that can be; give {least} to {most}")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= MOST_MINUTES:  # NaN is not either
        raise argparse.ArgumentTypeError(f"{text!r} is no time that can be; give 0 to {MOST_MINUTES} minutes")
    return minutes


def _size(text: str) -> tuple[int, int]:
    parts, words = (
        text.lower().split("x"),
        f"{text!r} is no size; give N or HEIGHTxWIDTH, such as 224 or 224x192, up to {MOST_SIDE}",
    )
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(words)
    sides = [_between(part, 1, MOST_SIDE, words) for part in parts]
    return sides[0], sides[-1]


def _between(text: str, least: int, most: int, otherwise: str) -> int:
    """The whole number that the text writes; refused in the words `otherwise` where it is none or out of range."""
    number = whole_number(text)
    if number is None or not least <= number <= most:
        raise argparse.ArgumentTypeError(otherwise)
    return number


def _numbers(count: int, kind: Callable[[str], Any] = float) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text!r} are not {count} numbers with commas between them")
        return values

    return parse
