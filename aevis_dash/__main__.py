"""The command `aevis`, also `python -m aevis_dash`: it hears the interrupt key before anything is loaded."""

import sys

_INTERRUPTED = 130


def main() -> int:
    """Run the command line; Ctrl-C ends it with 130 and one line, also while it loads or cleans up."""
    try:
        from aevis_dash.cli import main as command

        return command()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("Interrupted.\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
