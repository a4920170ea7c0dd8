"""What goes wrong with disks, processes and clocks: answers stay right, and nothing has to be repaired afterwards.

The faults of single files stand in test_store.py and test_files.py, a read-only disk in test_read_only.py, and a server
that is told to stop in test_listening.py.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
import pytest

from aevis_dash.callbacks.view.state import View
from aevis_dash.cli import main
from aevis_dash.domain import Role
from aevis_dash.pagespeed.chromium import serve
from aevis_dash.store import QUOTA_VARIABLE
from aevis_dash.stored import entries
from aevis_dash.workbench import open_workbench

YEAR = 365 * 86_400.0


def answers(root):
    """What a workspace's analysis says, as a new process would find it: of all examples, and of the first one."""
    bench = open_workbench(root)
    story = bench.workspace.settings.opens_on
    example = bench.workspace.example(story)
    judged = bench.judging.judged_examples()
    found = bench.datapaths.extract(story)
    index = bench.learning.learn()
    said = {f"score {one.example.id}": np.array([one.misclassified, one.score], float) for one in judged}
    said |= {f"gates {role.short}": found.path(role).gates for role in Role}
    said |= {f"probabilities {name}": bench.judging.judge([name])[0].probabilities for name in images_of(example)}
    said |= {f"maxima {name}": bench.maps.maxima(name) for name in images_of(example)}
    said |= {f"maps {name}": bench.maps.activation_maps(name, 2) for name in images_of(example)}
    said["turning"] = bench.flips.turning(story).effects
    said["learned"] = index.activation.value
    return said


def images_of(example):
    return (example.source, example.adversarial)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=name)  # batches differ


@pytest.fixture(scope="module")
def whole(drawn_world, tmp_path_factory):
    """A drawn world of which all that `answers` asks for is stored, and its answers; for reading only."""
    root = Path(shutil.copytree(drawn_world, tmp_path_factory.mktemp("whole") / "world"))
    return root, answers(root)


@pytest.fixture
def copied(whole, tmp_path):
    return Path(shutil.copytree(whole[0], tmp_path / "world", copy_function=shutil.copy2))


def flipped(content, share):
    place = min(int(share * len(content)), len(content) - 1)
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


DAMAGES = {
    "empty": lambda content, _other: b"",
    "cut in the middle": lambda content, _other: content[: len(content) // 2],
    "last byte missing": lambda content, _other: content[:-1],
    "a block of zeros": lambda content, _other: content[:40] + bytes(min(512, len(content) - 40)) + content[552:],
    "no archive": lambda content, _other: b"something else entirely\n" * 20,
    "another result of its kind": lambda content, other: other,
    **{
        f"a bit at {share:.0%}": lambda content, _other, share=share: flipped(content, share)
        for share in (0, 0.1, 0.3, 0.5, 0.9, 1)
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_damaged_the_answers_stay_right(whole, copied, damage):
    """A result of each kind is damaged, all at once. `digests`, which knows files by their state, is one of them."""
    kinds = {}
    for entry in entries(copied / "cache"):
        kinds.setdefault(entry.kind, []).append(entry.path)
    assert {"judgement", "references", "digests", "datapath", "turning", "maps", "maxima", "learned", "pair"} <= set(
        kinds
    )
    for paths in kinds.values():
        content, other = paths[0].read_bytes(), paths[-1].read_bytes()
        for path in paths[: max(1, len(paths) // 2)]:
            path.write_bytes(DAMAGES[damage](path.read_bytes(), other if len(paths) > 1 else content))
    assert_same(answers(copied), whole[1])
    assert_same(answers(copied), whole[1])


def test_a_foreign_store_gives_no_answer(whole, copied, tmp_path):
    """The cache of a workspace with another model is put in this one's place."""
    other = Path(shutil.copytree(whole[0], tmp_path / "other"))
    text = (other / "classes.txt").read_text().splitlines()
    (other / "classes.txt").write_text("\n".join(f"other {name}" for name in text) + "\n")
    shutil.rmtree(other / "cache")
    theirs = answers(other)
    shutil.rmtree(copied / "cache")
    shutil.copytree(other / "cache", copied / "cache")
    files = {entry.path for entry in entries(copied / "cache")}
    assert_same(answers(copied), whole[1])
    assert files <= {entry.path for entry in entries(copied / "cache")}, (
        "no result of the other model was taken for one"
    )
    assert theirs.keys() == whole[1].keys()


@pytest.mark.parametrize("leap", [-20 * YEAR, -3600.0, 3600.0, 20 * YEAR])
def test_a_clock_that_leaps_changes_no_answer(whole, copied, monkeypatch, leap):
    """First the files lie in the past or the future of the clock; then the clock leaps back while answers are made."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + leap)
    assert_same(answers(copied), whole[1])
    leaps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: real() + (leap if next(leaps) % 2 else -leap))
    assert_same(answers(copied), whole[1])
    monkeypatch.undo()
    for path in copied.rglob("*"):
        if path.is_file():
            os.utime(path, (real() + leap,) * 2)
    assert_same(answers(copied), whole[1])


@pytest.fixture
def small_disk(whole, disk):
    """A workspace without its datapaths and learned features on a disk that has room for some of them only."""
    root = Path(shutil.copytree(whole[0], disk / "world"))
    for kind in ("datapath", "learned", "maps", "maxima", "turning"):
        shutil.rmtree(root / "cache" / kind, ignore_errors=True)
    return root


def test_on_a_full_disk_what_is_finished_is_kept_and_the_rest_follows(small_disk, whole, capsys):
    """The disk is filled up but for some pages. The command says so. With each page more it gets further."""
    root = small_disk
    story = open_workbench(root).workspace.settings.opens_on
    argv = ["extract", str(root), "--example", story]
    filler, refused = root.parent / "filler", 0
    for left in (0, 8, 24, 48):
        filler.unlink(missing_ok=True)
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        filler.write_bytes(bytes(max(0, free - left * 1024)))
        tables = ("digests", "references")  # they are updated in place
        lasting = (entry.path for entry in entries(root / "cache") if entry.kind not in tables)
        before = {path: path.read_bytes() for path in lasting}
        status = main(argv)
        said = capsys.readouterr().err
        if status:
            refused += 1
            assert status == 2
            assert "because its disk is full (No space left on device). Free some space and try again" in said
        assert {path: path.read_bytes() for path in before} == before, "what is stored stays as it is"
        assert list(root.rglob(".part-*")) == [], "no half of a file"
    assert refused >= 2
    filler.unlink()
    assert main(argv) == 0
    assert_same(answers(root), whole[1])


def test_two_processes_on_one_store_and_one_that_makes_room_give_the_same(whole, copied):
    """Both compute all that is missing at the same time, while the store is held to half of what they need."""
    for kind in ("datapath", "learned", "maps", "maxima", "turning", "judgement", "references", "pair"):
        shutil.rmtree(copied / "cache" / kind, ignore_errors=True)
    needed = sum(entry.size for entry in entries(whole[0] / "cache"))
    program = (
        "import sys; sys.path[:0] = sys.argv[2:]; import numpy as np; from pathlib import Path; "
        "from aevis_dash import stored; stored.SPARED = stored.LOOK = 0.0; import test_faults; "
        "found = test_faults.answers(Path(sys.argv[1])); "
        "np.savez(sys.stdout.buffer, **{n.replace('/', '|'): v for n, v in found.items()})"
    )
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    environment = os.environ | {QUOTA_VARIABLE: str(needed // 2), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", program, str(copied), *path]
    running = [subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    try:
        given = [process.communicate(timeout=280)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    for content in given:
        with np.load(io.BytesIO(content)) as found:
            assert_same({name.replace("|", "/"): found[name] for name in found.files}, whole[1])
    assert sum(entry.size for entry in entries(copied / "cache")) < needed
    assert_same(answers(copied), whole[1])


# Servers


def ask(address, method, path, body=None):
    host = address.removeprefix("http://")
    with closing(HTTPConnection(host, timeout=60)) as asking:
        asking.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = asking.getresponse()
        return answer.status, answer.read()


def body_for(address, part, inputs, state=()):
    """The body of the callback one of whose outputs holds `part`."""
    outputs = [one["output"] for one in json.loads(ask(address, "GET", "/_dash-dependencies")[1])]
    output = next(one for one in outputs if part in one)
    places = [dict(zip(("id", "property"), one.split("."), strict=True)) for one in output.strip(".").split("...")]
    given = [{"id": name, "property": "data", "value": value} for name, value in inputs]
    known = [{"id": name, "property": "data", "value": value} for name, value in state]
    changed = [f"{inputs[0][0]}.data"]
    return {"output": output, "outputs": places, "inputs": given, "state": known, "changedPropIds": changed}


def begin_extraction(address, example, page="a-page"):
    wanted = {"example": example, "target": None, "method": None, "share": None, "part": "first"}
    body = body_for(address, "extraction-done.data", [("extraction-wanted", wanted)], [("page-load", page)])
    status, told = ask(address, "POST", "/_dash-update-component", body)
    assert status == 200
    return body, json.loads(told)


def result_of(address, body, told, seconds=120):
    """What the page is told of a job, once it has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        path = f"/_dash-update-component?cacheKey={told['cacheKey']}&job={told['job']}"
        _, found = ask(address, "POST", path, body)
        answer = json.loads(found) if found else {}
        if "response" in answer:
            return answer["response"]
        time.sleep(0.1)
    raise AssertionError("the job has not ended")


def picture_of(address, root, example):
    """How a server draws the network for an example."""
    view = View(example=example).to_data() | {"theme": "light"}
    body = body_for(address, "river.figure", [("network-view", view)])
    dependency = next(
        one for one in json.loads(ask(address, "GET", "/_dash-dependencies")[1]) if one["output"] == body["output"]
    )
    given = {"network-view": view, "view": view}
    body["inputs"] = [one | {"value": given.get(one["id"])} for one in dependency["inputs"]]
    body["state"] = [one | {"value": given.get(one["id"])} for one in dependency["state"]]
    body["changedPropIds"] = ["network-view.data"]
    status, told = ask(address, "POST", "/_dash-update-component", body)
    assert status == 200, told
    return json.loads(told)["response"]["river"]["figure"]


@pytest.fixture
def unextracted(world):
    bench = open_workbench(world)
    fooled = [each.example.id for each in bench.judging.judged_examples() if each.misclassified]
    return next(name for name in fooled if bench.datapaths.triplet(name) is None)


def expected_gates(world, tmp_path, example):
    """The gates of an example as a process computes them whom nothing disturbs."""
    alone = Path(shutil.copytree(world, tmp_path / "alone"))
    return open_workbench(alone).datapaths.extract(example, nulls=False).path(Role.ADVERSARIAL).gates


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_server_that_is_killed_leaves_a_store_that_needs_no_repair(world, unextracted, tmp_path):
    expected = expected_gates(world, tmp_path, unextracted)
    folder = world / "cache" / "datapath"
    with serve(world) as (address, server):
        before = set(folder.iterdir())
        begin_extraction(address, unextracted)
        until(lambda: set(folder.glob("*.npz")) > before)
        family = psutil.Process(server).children(recursive=True)
        os.kill(server, signal.SIGKILL)
        _, left = psutil.wait_procs(family, timeout=60)
    assert left == [], "the jobs and the fork server end too"
    with serve(world) as (address, _):
        assert ask(address, "GET", "/ready")[0] == 200
        body, told = begin_extraction(address, unextracted)
        assert "extraction-message" not in str(result_of(address, body, told).get("error", ""))
    found = open_workbench(world).datapaths.triplet(unextracted)
    np.testing.assert_array_equal(found.path(Role.ADVERSARIAL).gates, expected)
    assert list(world.rglob(".part-*")) == [], "what the killed ones were writing is swept"


def test_a_job_that_is_killed_is_told_of_and_the_next_try_gives_the_right_result(world, unextracted, tmp_path):
    expected = expected_gates(world, tmp_path, unextracted)
    folder = world / "cache" / "datapath"
    with serve(world) as (address, server):
        before, idle = set(folder.iterdir()), {one.pid for one in psutil.Process(server).children(recursive=True)}
        body, told = begin_extraction(address, unextracted)
        until(lambda: set(folder.glob("*.npz")) > before)
        for one in psutil.Process(server).children(recursive=True):
            if one.pid not in idle:
                one.kill()
        assert "ended without a result (killed, or out of memory)" in json.dumps(result_of(address, body, told))
        body, told = begin_extraction(address, unextracted)
        assert "ended without" not in json.dumps(result_of(address, body, told))
    found = open_workbench(world).datapaths.triplet(unextracted)
    np.testing.assert_array_equal(found.path(Role.ADVERSARIAL).gates, expected)


def test_two_servers_on_one_store_answer_the_same_and_compute_once(world, unextracted, tmp_path):
    expected = expected_gates(world, tmp_path, unextracted)
    folder = world / "cache" / "datapath"
    with serve(world) as (first, _), serve(world) as (second, _):
        asked = [(address, *begin_extraction(address, unextracted)) for address in (first, second)]
        for address, body, told in asked:
            assert "ended without" not in json.dumps(result_of(address, body, told))
        times = {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
        pictures = [picture_of(address, world, unextracted) for address in (first, second)]
        assert pictures[0] == pictures[1]
        assert times == {path: path.stat().st_mtime_ns for path in folder.glob("*.npz")}, "nothing is computed twice"
    found = open_workbench(world).datapaths.triplet(unextracted)
    np.testing.assert_array_equal(found.path(Role.ADVERSARIAL).gates, expected)
