"""The users of a server: their file, the command that keeps it, and how `aevis serve` is told of them."""

import json
import os
import stat
import sys
from io import StringIO
from pathlib import Path

import pytest

from aevis_dash.callbacks.visitors import Access, Provider
from aevis_dash.cli import main, make_parser
from aevis_dash.cli import users as verb
from aevis_dash.domain import AevisError
from aevis_dash.users import ANALYST, READER, Account, Users, stamp

PASSWORD = "correct horse"


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "lab" / "users.json"


@pytest.fixture
def run(file, monkeypatch, capsys):
    """Run `aevis user` with a password on standard input; the status, what was said, and what was complained of."""

    def ran(*argv: str, password: str = PASSWORD) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", StringIO(f"{password}\n"))
        status = main(["user", *argv, "--users", str(file)])
        out, err = capsys.readouterr()
        return status, out, err

    return ran


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_user_is_let_in_by_the_password_alone(file):
    users = Users(file)
    users.add("ada", ANALYST, PASSWORD)
    assert users.let_in("ada", PASSWORD) == users.all()["ada"]
    assert users.all()["ada"].role == ANALYST
    for name, password in (("ada", "wrong horse"), ("ada", ""), ("Ada", PASSWORD), ("eve", PASSWORD), ("", "")):
        assert users.let_in(name, password) is None


def test_the_file_holds_hashes_and_is_its_owners_alone(file):
    Users(file).add("ada", READER, PASSWORD)
    text = file.read_text()
    assert PASSWORD not in text
    assert json.loads(text)["users"]["ada"]["password"].startswith("$argon2id$")
    assert Users(file).secret() == Users(file).secret()
    assert len(Users(file).secret()) == 64
    assert mode(file) == mode(file.with_name("users.json.secret")) == 0o600
    assert {path.name for path in file.parent.iterdir()} == {"users.json", "users.json.secret", "users.json.lock"}


def test_two_users_of_one_password_have_two_hashes(file):
    users = Users(file)
    for name in ("ada", "ben"):
        users.add(name, READER, PASSWORD)
    first, second = (account.password for account in users.all().values())
    assert first != second


@pytest.mark.parametrize("which", ["users.json", "users.json.secret"])
def test_a_file_that_others_may_read_is_refused(file, which):
    Users(file).add("ada", READER, PASSWORD)
    Users(file).secret()
    file.with_name(which).chmod(0o640)
    with pytest.raises(AevisError, match="chmod 600"):
        (Users(file).all if which == "users.json" else Users(file).secret)()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"users": []}',
        '{"users": {"ada": {}}}',
        '{"users": {"ada": {"role": "king"}}}',
        '{"users": {"ada": {"role": "reader", "password": 3}}}',
        '{"users": {"ada": {"role": "reader", "more": ""}}}',
        '{"users": {" ada": {"role": "reader"}}}',
    ],
)
def test_a_damaged_file_is_told_and_lets_nobody_in(file, text):
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text(text)
    with pytest.raises(AevisError):
        Users(file).let_in("ada", "")


def test_a_damaged_hash_lets_nobody_in(file):
    file.parent.mkdir()
    file.touch(0o600)
    file.write_text('{"users": {"ada": {"role": "reader", "password": "plain text"}}}')
    assert Users(file).let_in("ada", "plain text") is None


def test_a_change_of_the_file_counts_at_once(file):
    served, command = Users(file), Users(file)
    command.add("ada", READER, PASSWORD)
    assert served.all().keys() == {"ada"}
    command.set_role("ada", ANALYST)
    assert served.all()["ada"].role == ANALYST
    command.remove("ada")
    assert served.all() == {}


def test_the_stamp_of_a_session_changes_with_all_that_ends_it(file):
    users, stamps = Users(file), []
    note = lambda: stamps.append(stamp(b"secret", "ada", users.all()["ada"]))  # noqa: E731
    users.add("ada", READER, PASSWORD)
    note()
    assert stamp(b"secret", "ada", users.all()["ada"]) == stamps[0]
    users.set_role("ada", ANALYST)
    note()
    users.set_password("ada", PASSWORD)
    note()
    users.remove("ada")
    users.add("ada", ANALYST, PASSWORD)
    note()
    stamps += [stamp(b"other", "ada", users.all()["ada"]), stamp(b"secret", "eve", users.all()["ada"])]
    assert len(set(stamps)) == len(stamps) == 6


def test_the_command_adds_lists_changes_and_removes(run, file):
    assert run("add", "ada", "--role", "analyst", "--password-stdin")[:2] == (0, "ada may log in as analyst.\n")
    assert run("add", "ben", "--password-stdin", password="another one")[:2] == (0, "ben may log in as reader.\n")
    assert run("add", "proxied", "--no-password")[0] == 0
    status, out, _ = run("list", "--json")
    told = [(one["name"], one["role"], one["password"]) for one in json.loads(out)["users"]]
    assert (status, told) == (0, [("ada", ANALYST, True), ("ben", READER, True), ("proxied", READER, False)])
    assert run("role", "ben", "--role", "analyst")[0] == 0
    assert run("password", "ada", "--password-stdin", password="a new password")[0] == 0
    assert run("remove", "proxied")[0] == 0
    users = Users(file)
    assert {name: one.role for name, one in users.all().items()} == {"ada": ANALYST, "ben": ANALYST}
    assert users.let_in("ada", "a new password")
    assert users.let_in("ada", PASSWORD) is None
    assert users.let_in("ben", "another one")


@pytest.mark.parametrize(
    ("argv", "password", "words"),
    [
        (("add",), PASSWORD, "aevis user add NAME"),
        (("add", "ada", "--password-stdin"), "short", "8 to 1024 characters"),
        (("add", "ada", "--password-stdin"), "x" * 1025, "8 to 1024 characters"),
        (("add", " ada", "--password-stdin"), PASSWORD, "no name of a user"),
        (("add", "a" * 65, "--password-stdin"), PASSWORD, "no name of a user"),
        (("add", "a\nb", "--password-stdin"), PASSWORD, "no name of a user"),
        (("add", "there", "--password-stdin"), PASSWORD, "There is a user 'there' already"),
        (("remove", "eve"), PASSWORD, "There is no user 'eve'. The users are: there."),
        (("role", "there"), PASSWORD, "--role reader"),
        (("role", "eve", "--role", "reader"), PASSWORD, "There is no user 'eve'"),
        (("password", "eve", "--password-stdin"), PASSWORD, "There is no user 'eve'"),
        (("password", "there", "--no-password"), PASSWORD, "Remove the user"),
        (("remove", "there", "--role", "reader"), PASSWORD, "--role says nothing"),
        (("remove", "there", "--no-password"), PASSWORD, "No password is asked for"),
        (("add", "ada"), PASSWORD, "no terminal"),
    ],
)
def test_what_the_command_cannot_do_is_told_and_changes_nothing(run, file, argv, password, words):
    Users(file).add("there", READER, PASSWORD)
    before = file.read_bytes()
    status, out, err = run(*argv, password=password)
    assert (status, out) == (2, "")
    assert words in err
    assert file.read_bytes() == before


def test_a_list_of_no_file_says_how_to_make_it(run):
    status, _, err = run("list")
    assert status == 2
    assert "Make it: aevis user add NAME" in err


@pytest.mark.parametrize(
    ("typed", "words"), [(("secret 12", "secret 12"), ""), (("secret 12", "secret 13"), "differ"), ((), "was typed")]
)
def test_a_password_is_asked_for_twice_on_a_terminal(file, monkeypatch, capsys, typed, words):
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    given = iter(typed)

    def getpass(_words: str) -> str:
        try:
            return next(given)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(verb.getpass, "getpass", getpass)
    assert main(["user", "add", "ada", "--users", str(file)]) == (2 if words else 0)
    assert words in capsys.readouterr().err
    assert file.exists() == (not words)


def access_of(*argv: str) -> Access | None:
    return verb.access_of(make_parser().parse_args(["serve", *argv]))


def test_serve_takes_users_a_header_or_a_provider(file, tmp_path, monkeypatch):
    assert access_of() is None
    assert access_of("--insecure", "--host", "0.0.0.0") is None
    by_password = access_of("--users", str(file), "--session-hours", "3")
    assert (by_password.users.path, by_password.hours, by_password.way) == (file, 3.0, "password")
    broker = ("--broker", "redis://127.0.0.1:6379/0")
    assert (by_password.broker, access_of("--users", str(file), *broker).broker) == ("", broker[1])
    by_header = access_of("--user-header", "X-Remote-User", "--trust-proxy", "10.0.0.7", "--default-role", "reader")
    assert by_header == Access(None, "X-Remote-User", None, READER, 12.0, ("10.0.0.7",))
    provider = ("--oidc", "https://login.example", "--oidc-client", "aevis", "--default-role", "analyst")
    monkeypatch.setenv(verb.SECRET_VARIABLE, "from the environment")
    claim = ("--oidc-claim", "email")
    assert access_of(*provider, *claim).provider == Provider(
        "https://login.example", "aevis", "from the environment", "email"
    )
    secret = tmp_path / "secret"
    secret.write_text("from the file\n")
    assert access_of(*provider, "--oidc-secret", str(secret)).provider.secret == "from the file"
    monkeypatch.delenv(verb.SECRET_VARIABLE)
    with pytest.raises(AevisError, match="AEVIS_OIDC_SECRET"):
        access_of(*provider)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("--users", "u.json", "--insecure"), "--insecure is for a server without users"),
        (("--default-role", "reader"), "--default-role is for visitors"),
        (("--users", "u.json", "--default-role", "reader"), "--default-role is for visitors"),
        (("--oidc-client", "aevis"), "--oidc ISSUER"),
        (("--oidc", "https://login.example"), "--oidc-client ID"),
        (("--oidc", "https://login.example", "--oidc-client", "a", "--oidc-secret", "no/such"), "cannot be read"),
    ],
)
def test_options_of_serve_that_do_not_fit_are_told(argv, words):
    with pytest.raises(AevisError, match=words):
        access_of(*argv)


@pytest.mark.parametrize("name", ["", "Host", "cookie", "X Remote", "X_Remote_User", "X-Remote:", "Ü"])
def test_a_header_that_no_proxy_could_set_is_refused(name, capsys):
    with pytest.raises(SystemExit):
        access_of("--user-header", name)
    assert "such as X-Remote-User" in capsys.readouterr().err


def test_a_server_into_which_nobody_could_come_is_refused(file):
    users = Users(file)
    for access, words in (
        (Access(users), "cannot be read"),
        (Access(header="X-Remote-User", proxies=("10.0.0.7",)), "--default-role reader"),
        (Access(header="X-Remote-User", default_role=READER), "--trust-proxy ADDRESS"),
        (Access(header="X", provider=Provider("i", "c", "s"), proxies=("::1",)), "not by both"),
    ):
        with pytest.raises(AevisError, match=words):
            access.check()
    users.add("ada", READER, PASSWORD)
    Access(users).check()
    users.remove("ada")
    with pytest.raises(AevisError, match="Nobody could log in"):
        Access(users).check()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(AevisError, match="Check its folder"):
        Users(tmp_path / "users.json").add("ada", READER, PASSWORD)


def test_an_account_of_nobody_is_none():
    access = Access(header="X-Remote-User", default_role=READER, proxies=("::1",))
    assert access.account("ada") == Account(READER)
    assert Access(header="X-Remote-User", proxies=("::1",)).account("ada") is None
