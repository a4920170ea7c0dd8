"""The files of docs/deploy: that their commands exist, and that they agree with one another and with the guide."""

import argparse
import ipaddress
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from aevis_dash.cli import make_parser
from aevis_dash.listening import ENDING

DEPLOY = Path(__file__).resolve().parents[1] / "docs" / "deploy"
GUIDE = DEPLOY.parent / "operations.md"
UNITS = ("aevis.service", "aevis-worker@.service")
IN_CONTAINERS = ("web", "worker")


def unit(name: str) -> dict[str, str]:
    """The settings of a unit of systemd."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"\w+=", line))


def compose() -> dict[str, Any]:
    """What compose.yaml says, with a value for each variable that has no default."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"\$\{(\w+)(?::([?-])([^}]*))?\}", _value, text))


def _value(variable: re.Match) -> str:
    name, kind, default = variable.groups()
    return default if kind == "-" else {"AEVIS_NAME": "lab.example.org"}.get(name, f"/srv/{name.lower()}")


def parsed(argv: list[str]) -> argparse.Namespace:
    """A command of `aevis` as it is understood; the test fails where it is none."""
    try:
        return make_parser().parse_args(argv)
    except SystemExit:
        pytest.fail(f"`aevis {shlex.join(argv)}` is no command")


def seconds(said: str) -> float:
    return float(said.removesuffix("s"))


def test_the_services_commands_write_where_their_units_let_them():
    for name, verb in zip(UNITS, ("serve", "worker"), strict=True):
        said = unit(name)
        program, *argv = shlex.split(said["ExecStart"])
        assert program == "/opt/aevis/bin/aevis"
        assert program.removesuffix("/bin/aevis") in GUIDE.read_text(encoding="utf-8")
        command = parsed(argv)
        assert command.verb == verb
        written = [Path(argv[1]), *([Path(command.users).parent] if verb == "serve" else [])]
        assert [Path(folder) for folder in said["ReadWritePaths"].split()] == written
        assert said["ProtectSystem"] == "strict"


def test_the_containers_commands_exist_and_trust_caddy_alone():
    services = compose()["services"]
    web, worker = (parsed([str(word) for word in services[name]["command"]]) for name in IN_CONTAINERS)
    assert (web.verb, worker.verb) == ("serve", "worker")
    [network] = compose()["networks"]["inside"]["ipam"]["config"]
    caddy = services["caddy"]["networks"]["inside"]["ipv4_address"]
    assert web.trust_proxy == [caddy]
    assert ipaddress.ip_address(caddy) in ipaddress.ip_network(network["subnet"])
    assert web.metrics_from == [network["subnet"]]
    assert web.allow_host == ["lab.example.org", services["caddy"]["environment"]["AEVIS_WEB"].split(":")[0]]
    mounted = [each.split(":")[1] for each in services["web"]["volumes"]]
    assert mounted == [str(web.workspace), os.path.dirname(web.users)]


def test_the_containers_settings_are_those_of_the_services():
    """The web server has the same options in both ways but for the folders, the names and the network."""
    bare = r"--(?:quota|log|metrics)(?:[= ][\w]+)?(?![\w-])"
    service = re.findall(bare, unit("aevis.service")["ExecStart"])
    container = [word for word in compose()["services"]["web"]["command"] if re.fullmatch(bare, word)]
    assert [each.replace(" ", "=") for each in service] == container
    assert len(container) == 3


def test_whoever_stops_a_process_waits_longer_than_its_answers_may_take():
    """Beside the time that answers get, the process needs up to seven seconds to end on a busy machine."""
    waits = [unit(name)["TimeoutStopSec"] for name in UNITS]
    waits += [compose()["services"][name]["stop_grace_period"] for name in IN_CONTAINERS]
    assert len(waits) == 4
    assert min(seconds(each) for each in waits) >= ENDING + 10


def test_images_are_named_in_full():
    """Podman takes `redis:7` for no image; Docker understands both."""
    images = [each["image"] for each in compose()["services"].values() if "build" not in each]
    images += re.findall(r"^FROM (\S+)", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(images) == 3
    assert [each for each in images if not each.startswith("docker.io/library/")] == []


def test_the_containers_user_has_the_number_that_the_guide_says():
    text = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    [number] = re.findall(r"useradd --uid (\d+)", text)
    assert f"chown -R {number} " in GUIDE.read_text(encoding="utf-8")
    assert re.findall(r"^USER (\w+)", text, re.MULTILINE) == ["aevis"]


def test_what_the_guide_copies_and_names_is_there():
    text = GUIDE.read_text(encoding="utf-8")
    copied = re.findall(r"^ *cp (docs/deploy/\S+) ", text, re.MULTILINE)
    assert sorted(Path(each).name for each in copied) == ["Caddyfile", "aevis-worker@.service", "aevis.service"]
    assert set(re.findall(r"\]\(deploy/([^)]+)\)", text)) == {
        each.name for each in DEPLOY.iterdir() if each.name[0] != "."
    }
    assert "User=aevis" in (DEPLOY / "aevis.service").read_text(encoding="utf-8")
    assert "useradd --system --home-dir /var/lib/aevis --create-home aevis" in text
