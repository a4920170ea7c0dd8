"""The options of `aevis serve` and `aevis worker`."""

import argparse
from pathlib import Path

from aevis_dash import logs
from aevis_dash.cli import numbers
from aevis_dash.users import DEFAULT_FILE, LONGEST_NAME, ROLES, SHORTEST_PASSWORD

USER_ACTIONS = ("add", "list", "remove", "role", "password")
"""What `aevis user` does to the file of users."""


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
        "--quota",
        type=numbers.storage,
        metavar="SIZE",
        help="how much the stored results may take, such as 20G: those unused for longest go first (default: the "
        "workspace's [store] quota, else as much as there is)",
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
        help="the numeric address of a proxy whose X-Request-Id, X-Forwarded-For, X-Forwarded-Proto and "
        "X-Forwarded-Host are believed, and the header of --user-header; may be repeated",
    )
    verb.add_argument("--metrics", action="store_true", help="tell numbers for Prometheus at /metrics, to this machine")
    verb.add_argument(
        "--metrics-from",
        action="append",
        type=numbers.network,
        default=[],
        metavar="ADDRESS",
        help="with --metrics: tell them to this numeric address or network too, such as 10.0.0.0/8; may be repeated",
    )
    _access(verb)
    verb.add_argument(
        "--beside", type=Path, metavar="WORKSPACE", help="show this workspace's model beside on the same pairs"
    )


def user(verb: argparse.ArgumentParser) -> None:
    """Add the options of `aevis user`."""
    verb.add_argument("action", choices=USER_ACTIONS, help="what to do to the file of users")
    verb.add_argument("name", nargs="?", help=f"the user; 1 to {LONGEST_NAME} characters")
    verb.add_argument(
        "--role", choices=ROLES, help="a reader sees, an analyst also starts jobs (default of add: reader)"
    )
    verb.add_argument(
        "--users", type=Path, default=DEFAULT_FILE, metavar="FILE", help="the file of users (default: %(default)s)"
    )
    how = verb.add_mutually_exclusive_group()
    how.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read the password, of {SHORTEST_PASSWORD} characters or more, from the first line of standard input",
    )
    how.add_argument(
        "--no-password",
        action="store_true",
        help="add a user whom a proxy (aevis serve --user-header) or a provider (--oidc) lets in",
    )


def _access(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--users", type=Path, metavar="FILE", help="let only the users in this file in; see aevis user")
    verb.add_argument(
        "--insecure", action="store_true", help="listen beyond this machine without users, for everybody who comes"
    )
    verb.add_argument(
        "--session-hours",
        type=numbers.hours,
        default=12.0,
        metavar="H",
        help="how long a login lasts (default: %(default)g)",
    )
    verb.add_argument(
        "--user-header",
        type=numbers.header,
        metavar="NAME",
        help="the header, such as X-Remote-User, in which a proxy of --trust-proxy names the visitor",
    )
    verb.add_argument("--oidc", default="", metavar="ISSUER", help="the address of an OpenID Connect provider")
    verb.add_argument(
        "--oidc-client", default="", metavar="ID", help="the name by which that provider knows the server"
    )
    verb.add_argument(
        "--oidc-secret",
        type=Path,
        metavar="FILE",
        help="the file with the secret that the provider gave (default: AEVIS_OIDC_SECRET in the environment)",
    )
    verb.add_argument(
        "--oidc-claim",
        default="preferred_username",
        metavar="NAME",
        help="the claim with the visitor's name (default: %(default)s)",
    )
    verb.add_argument(
        "--default-role",
        choices=(*ROLES, "none"),
        default="none",
        help="the role of those whom the proxy or the provider names and who are not in --users (default: %(default)s, "
        "so they are refused)",
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
