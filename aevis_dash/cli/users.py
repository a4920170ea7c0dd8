"""`aevis user`: who may see a dashboard that is served to others, and what `aevis serve` is told of them."""

import argparse
import getpass
import os
import sys
from pathlib import Path

from aevis_dash.broker import url_of
from aevis_dash.callbacks.visitors import Access, Provider
from aevis_dash.cli.output import Answer, table
from aevis_dash.config import Progress
from aevis_dash.domain import AevisError
from aevis_dash.users import READER, Users

SECRET_VARIABLE = "AEVIS_OIDC_SECRET"
"""The environment variable that holds the secret which an OpenID Connect provider gave."""


def user(args: argparse.Namespace, _progress: Progress) -> Answer:
    """Add a user, list or remove users, or change a role or a password."""
    users = Users(args.users)
    if args.action == "list":
        return _list(users, args)
    if args.name is None:
        raise AevisError(f"Say which user: aevis user {args.action} NAME")
    if args.role is not None and args.action not in ("add", "role"):
        raise AevisError(f"--role says nothing to aevis user {args.action}. Leave it out.")
    if (args.password_stdin or args.no_password) and args.action not in ("add", "password"):
        raise AevisError(f"No password is asked for by aevis user {args.action}. Leave the option out.")
    if args.action == "add":
        role = args.role or READER
        users.add(args.name, role, None if args.no_password else _password(args))
        return _told(args, f"{args.name} may log in as {role}.", role)
    if args.action == "remove":
        users.remove(args.name)
        return _told(args, f"{args.name} is removed; the user's sessions end.")
    if args.action == "role":
        if args.role is None:
            raise AevisError(f"Say which role: aevis user role {args.name} --role reader, or --role analyst")
        users.set_role(args.name, args.role)
        return _told(args, f"{args.name} is {args.role} now, and has to log in again.", args.role)
    if args.no_password:
        raise AevisError("A user keeps a password once there is one. Remove the user, and add them --no-password.")
    users.set_password(args.name, _password(args))
    return _told(args, f"{args.name} has a new password, and has to log in again.")


def access_of(args: argparse.Namespace) -> Access | None:
    """How visitors of `aevis serve` show who they are, by its options; None for a server without users.

    Raises:
        AevisError: the options do not fit together, or the provider's secret cannot be read.
    """
    named = args.users is not None or args.user_header or args.oidc
    if args.insecure and named:
        raise AevisError("--insecure is for a server without users. Leave it out, or the options that name users.")
    if args.default_role != "none" and not (args.user_header or args.oidc):
        raise AevisError("--default-role is for visitors whom --user-header or --oidc names. Leave it out.")
    if args.oidc_client and not args.oidc:
        raise AevisError("--oidc-client says nothing without a provider. Name it: --oidc ISSUER")
    if not named:
        return None
    return Access(
        None if args.users is None else Users(args.users),
        args.user_header or "",
        _provider(args) if args.oidc else None,
        args.default_role,
        args.session_hours,
        tuple(args.trust_proxy),
        broker=url_of(args.broker),
    )


def _provider(args: argparse.Namespace) -> Provider:
    if not args.oidc_client:
        raise AevisError("Say by which name the provider knows this server: --oidc-client ID")
    return Provider(args.oidc, args.oidc_client, _secret(args.oidc_secret), args.oidc_claim)


def _secret(path: Path | None) -> str:
    if path is None:
        secret = os.environ.get(SECRET_VARIABLE, "")
    else:
        try:
            secret = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise AevisError(f"The provider's secret cannot be read from {path} ({error}).") from error
    if not secret.strip():
        raise AevisError(
            f"The provider's secret is missing. Put it into a file and name it (--oidc-secret FILE), or into "
            f"{SECRET_VARIABLE} in the environment."
        )
    return secret.strip()


def _list(users: Users, args: argparse.Namespace) -> Answer:
    known = users.all()
    rows = [(name, one.role, "yes" if one.password else "no", one.since) for name, one in known.items()]
    document = {
        "file": str(args.users),
        "users": [{"name": name, "role": role, "password": has == "yes", "since": at} for name, role, has, at in rows],
    }
    return Answer(document, table(("user", "role", "password", "since"), rows) if rows else "There is no user.")


def _told(args: argparse.Namespace, text: str, role: str | None = None) -> Answer:
    return Answer({"file": str(args.users), "user": args.name, "done": args.action, "role": role}, text)


def _password(args: argparse.Namespace) -> str:
    """The password: the first line of standard input, or what is typed twice on the terminal."""
    if args.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise AevisError("There is no terminal to ask for the password. Pipe it in, and say --password-stdin.")
    try:
        first, second = (getpass.getpass(words) for words in (f"Password of {args.name}: ", "Again: "))
    except EOFError as error:
        raise AevisError("No password was typed, so nothing is changed.") from error
    if first != second:
        raise AevisError("The two passwords differ, so nothing is changed. Try again.")
    return first
