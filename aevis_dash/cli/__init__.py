"""The command line: one verb for each use case, on the same workbench as the page.

This module parses the command, runs the verb, and turns its answer and its errors into output and an exit status. The
options are in `options`. What a verb does is in `verbs`, which is loaded only when a verb runs, so that help and
refusals do not wait for torch.
"""

import argparse
import contextlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from aevis_dash.cli import numbers
from aevis_dash.cli.options import GRAMMAR
from aevis_dash.cli.output import Answer, ProgressLine, as_json
from aevis_dash.config import DEVICE_VARIABLE, MEMORY_VARIABLE, Progress, silent
from aevis_dash.domain import AevisError

REFUSED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
INTERRUPTION = "Interrupted; what was finished is kept. The same command goes on from there."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words of the command; None for those of this process.

    Returns:
        The exit status: 0, REFUSED (2) for what the user can mend, INTERRUPTED (130) after Ctrl-C, PIPE_CLOSED (141)
        where nobody reads the output any more.
    """
    _open_closed_streams()
    try:
        return _run(argv)
    except BrokenPipeError:
        _silence(sys.stdout)
        return PIPE_CLOSED


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, with every verb and its options."""
    parser = argparse.ArgumentParser(prog="aevis", description="Why does a CNN misclassify an adversarial example?")
    parser.add_argument("--version", action="version", version=f"aevis-dash {_version()}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, (text, options) in GRAMMAR.items():
        verb = verbs.add_parser(name, help=text, description=text, allow_abbrev=False)
        options(verb)
        verb.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
        verb.add_argument("--quiet", action="store_true", help="no progress")
        verb.add_argument(
            "--device",
            metavar="NAME",
            help="where the model runs, as torch calls it: cpu, cuda, cuda:1, mps (default: AEVIS_DEVICE in the "
            "environment, else cpu)",
        )
        verb.add_argument(
            "--max-memory",
            type=numbers.gibibytes,
            metavar="GIB",
            help="the memory that one process takes at most, on the GPU or else of the machine (default: "
            "AEVIS_MAX_MEMORY in the environment, else no limit)",
        )
    return parser


def _run(argv: Sequence[str] | None) -> int:
    args = None
    try:
        args = _parse(argv)
        if args is not None:
            _show(args, _answer(args))
        return 0
    except AevisError as error:
        return _complain(args, f"aevis: {_one_line(error)}", _one_line(error), REFUSED)
    except KeyboardInterrupt:
        return _complain(args, INTERRUPTION, INTERRUPTION, INTERRUPTED)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace | None:
    """The words of the command; None where they ask for help or the version.

    Help and version are written here, because argparse keeps silent where the output has no room for them.
    """
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
    given = {DEVICE_VARIABLE: args.device, MEMORY_VARIABLE: args.max_memory}
    before = {name: os.environ.get(name) for name in given}
    try:
        for name, value in given.items():
            if value is not None:
                os.environ[name] = str(value)  # which the processes that the verb starts read too
        if args.device is not None or args.max_memory is not None:
            verbs.check_device()
        return verbs.VERBS[args.verb](args, progress)
    except SystemExit as error:
        raise AevisError(
            f"Code that the workspace's model brings along ended the program (SystemExit: {error}). Mend it: a model "
            "returns its outputs, or raises an error that says what is wrong."
        ) from error
    except (RuntimeError, MemoryError) as error:
        refusal = verbs.memory_refusal(error)
        if refusal is None:
            raise
        raise refusal from error
    except OSError as error:
        if isinstance(error, BrokenPipeError) or error.errno is None:
            raise
        where = "Something that this needs" if error.filename is None else error.filename
        raise AevisError(
            f"{where} cannot be read or written ({error.strerror}). Check the path, its permissions and the free space."
        ) from error
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
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
    """Write a line. Where the stream has no room for it, the exit status has to tell it alone."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        _silence(stream)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _find_modules_here() -> None:
    """Let `--model module:factory` find modules of the current folder, as `python -m` does."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)


def _open_closed_streams() -> None:
    """Replace a standard stream that was closed (`2>&-`) by one that says nothing, so that no opened file takes its
    place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _silence(stream: TextIO) -> None:
    """Send what is left for the stream nowhere. Nobody reads it, and Python's flush at exit must not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _version() -> str:
    try:
        return importlib.metadata.version("aevis-dash")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


# Options
