"""`python app.py` serves the embedded workspace, as `aevis serve` does."""

import sys

OLDEST = (3, 11)


def main():
    """Serve; what is missing is said in one line."""
    if sys.version_info < OLDEST:
        sys.exit(f"AEVis Dash needs Python 3.11 or newer; this is {sys.version.split()[0]}. Take a newer one.")
    try:
        from aevis_dash.cli import main as aevis

        return aevis(["serve", *sys.argv[1:]])
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        sys.exit(f"The package {error.name!r} is missing here. Say `make run`, or: python -m pip install -e .")


if __name__ == "__main__":
    sys.exit(main())
