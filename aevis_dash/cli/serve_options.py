"""The options of `aevis serve` and `aevis worker`."""

import argparse
from pathlib import Path

from aevis_dash import logs
from aevis_dash.cli import numbers


def serve(verb: argparse.ArgumentParser) -> None:
    """Add the options of `aevis serve`."""
    verb.add_argument("workspace", nargs="?", type=Path, help="default: the drawn world that ships with the project")
    verb.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    verb.add_argument("--port", type=numbers.port, default=8050, help="default: %(default)s")
    verb.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name under which browsers ask for the page, such as that of a proxy; may be repeated",
    )
    verb.add_argument(
        "--prefix",
        type=numbers.prefix,
        default="/",
        metavar="/PATH/",
        help="where a proxy shows the page (default: %(default)s)",
    )
    _jobs(verb)
    verb.add_argument(
        "--least-disk",
        type=numbers.gibibytes,
        default=1.0,
        metavar="GIB",
        help="how much free disk the server needs to call itself ready, at /ready (default: %(default)g)",
    )
    verb.add_argument(
        "--log",
        choices=logs.FORMS,
        default=logs.TEXT,
        help="the log on standard error: text holds failures and warnings, json a line for each request and job too "
        "(default: %(default)s)",
    )
    verb.add_argument("--log-addresses", action="store_true", help="with --log json: log visitors' addresses")
    verb.add_argument(
        "--trust-proxy",
        action="append",
        type=numbers.address,
        default=[],
        metavar="ADDRESS",
        help="the numeric address of a proxy whose X-Request-Id and X-Forwarded-For are believed; may be repeated",
    )
    verb.add_argument(
        "--beside", type=Path, metavar="WORKSPACE", help="show this workspace's model beside on the same pairs"
    )


def worker(verb: argparse.ArgumentParser) -> None:
    """Add the options of `aevis worker`."""
    verb.add_argument("workspace", type=Path)
    _jobs(verb)
    verb.add_argument(
        "--threads",
        type=numbers.count(1024),
        metavar="N",
        help="with how many threads a job computes (default: one for each core)",
    )
    verb.add_argument(
        "--log",
        choices=logs.FORMS,
        default=logs.TEXT,
        help="the log on standard error: text holds failures and warnings, json a line for each job too "
        "(default: %(default)s)",
    )
    verb.add_argument(
        "--beside", type=Path, metavar="WORKSPACE", help="the workspace whose model the servers show beside"
    )


def _jobs(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--broker",
        metavar="URL",
        help="the Redis server by which servers hand jobs to workers, such as redis://localhost:6379/0 (default: "
        "AEVIS_BROKER_URL in the environment, else none: the server computes its jobs itself)",
    )
    verb.add_argument(
        "--job-hours",
        type=numbers.hours,
        default=4.0,
        metavar="H",
        help="how long a job may run; where there is a broker, the workers' options count (default: %(default)g)",
    )
