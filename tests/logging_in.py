"""Logging in to a page without a browser, for the tests of access."""

import re

from aevis_dash.users import ANALYST, READER, Users

PASSWORDS = {"ada": "analyst of the lab", "ben": "reader of the lab"}
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')


def two_users(folder) -> Users:
    """An analyst called ada and a reader called ben, in a file of that folder."""
    users = Users(folder / "users.json")
    users.add("ada", ANALYST, PASSWORDS["ada"])
    users.add("ben", READER, PASSWORDS["ben"])
    return users


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page to log in."""
    return dict(HIDDEN.findall(page))


def log_in(client, name: str, password: str | None = None, at: str = "/login", **headers: str):
    """Log in as a browser does; the answer."""
    fields = hidden(client.get(at, headers=headers).text)
    told = fields | {"name": name, "password": PASSWORDS[name] if password is None else password}
    return client.post(at, data=told, headers=headers)
