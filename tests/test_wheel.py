"""The wheel: what is in it, and whether the program runs from it alone, in an environment of its own.

The last test installs everything anew and takes minutes, so it is run apart: `AEVIS_WHEEL=1 pytest
tests/test_wheel.py`.
"""

import json
import os
import socket
import subprocess
import sys
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = {
    "aevis_dash": ROOT / "aevis_dash",
    "aevis_dash/assets": ROOT / "assets",
    "aevis_dash/models": ROOT / "models",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built of this checkout by the backend that pyproject.toml names."""
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_package_with_its_files_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        f"{place}/{path.relative_to(folder).as_posix()}": path
        for place, folder in SHIPPED.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"aevis_dash/imagenet.txt", "aevis_dash/assets/page.js", "aevis_dash/models/drawn-world.safetensors"} < {
        *held
    }
    assert {*held} == {*wanted}
    assert [name for name, path in wanted.items() if held[name] != path.read_bytes()] == []


def test_the_wheel_has_the_command_and_asks_for_what_it_imports(wheel):
    with zipfile.ZipFile(wheel) as archive:
        about = {
            name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "-info/" in name
        }
    assert "aevis = aevis_dash.__main__:main" in about["entry_points.txt"]
    needed = {line.split(": ")[1] for line in about["METADATA"].splitlines() if line.startswith("Requires-Dist: ")}
    assert {"torch>=2.5", "torchvision>=0.20", "waitress>=3"} <= needed


@pytest.mark.timeout(1800)
@pytest.mark.skipif(not os.environ.get("AEVIS_WHEEL"), reason="installs everything anew; say AEVIS_WHEEL=1 for it")
def test_the_program_runs_from_the_wheel_alone(wheel, tmp_path):
    """In a new environment without this checkout: `aevis --version`, the drawn world, and the page."""
    venv.create(tmp_path / "env", with_pip=True)
    program, home = tmp_path / "env" / "bin", tmp_path / "home"
    home.mkdir()
    alone = {"PATH": os.environ["PATH"], "HOME": str(home), "AEVIS_CACHE": str(tmp_path / "cache")}
    alone |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "OMP_")) or "proxy" in name}
    subprocess.run([program / "python", "-m", "pip", "install", "-q", wheel], cwd=home, env=alone, check=True)

    def aevis(*argv):
        done = subprocess.run([program / "aevis", *map(str, argv)], cwd=home, env=alone, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert aevis("--version").strip() == f"aevis-dash {wheel.name.split('-')[1]}"
    where = [program / "python", "-c", "import aevis_dash; print(aevis_dash.__file__)"]
    found = subprocess.run(where, cwd=home, env=alone, check=True, capture_output=True, text=True).stdout
    assert found.startswith(str(tmp_path / "env"))
    assert json.loads(aevis("world", tmp_path / "drawn", "--json"))["images"] == 240
    assert json.loads(aevis("check", tmp_path / "drawn", "--json"))["accuracy"] > 0.9
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = subprocess.Popen(
        [program / "aevis", "serve", tmp_path / "drawn", "--port", port],
        cwd=home,
        env=alone,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = f"http://127.0.0.1:{port}"
        assert url in server.stdout.readline()
        page = urllib.request.urlopen(f"{url}/", timeout=30).read().decode()
        scripts = [part.split('"')[0] for part in page.split('src="')[1:]]
        assert any("page.js" in script for script in scripts)
        for script in scripts:
            assert urllib.request.urlopen(f"{url}{script}", timeout=30).status == 200
        layout = urllib.request.urlopen(f"{url}/_dash-layout", timeout=30)
        assert "own-extraction" in layout.read().decode()
    finally:
        server.terminate()
        server.wait(20)
        server.stdout.close()
