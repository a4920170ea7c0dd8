"""Runs over a workspace: nothing is lost, nothing is done twice, and no process is left, whatever dies on the way."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import tasks_in_tests as given
import torch
from tasks_in_tests import Kept, Work

from aevis_dash import tasks
from aevis_dash.domain import AevisError
from aevis_dash.store import Store
from aevis_dash.tasks import Refused, run
from aevis_dash.workbench import open_workbench

HERE = Path(__file__).parent


@pytest.fixture
def untouched(world):
    """A workspace in which nothing was computed yet."""
    shutil.rmtree(world / "cache")
    return world


@pytest.fixture(scope="module")
def cluster():
    """A dask cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=":0"
    ) as local:
        yield local


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def works(log, count=12, deaths=1):
    """That many items, the second of which kills its process."""
    return [Work(f"item {i}", log, deaths * (i == 1)) for i in range(count)]


def done(items):
    return {i: item.name.upper() for i, item in enumerate(items)}


def assert_nothing_lost_or_done_twice(root, items, log):
    store, said = Store(root / "cache"), given.written(log)
    assert [store.get(given.key(item), Kept) for item in items] == [Kept(item.name.upper()) for item in items]
    assert len(list((root / "cache" / "kept").iterdir())) == len(items), "no part of a file is left"
    assert max(said[f"done {item.name}"] for item in items) == 1
    twice = [item.name for item in items if said[f"begun {item.name}"] > 1]
    assert "item 1" in twice
    assert len(twice) <= 2, "only what was in the works when the process died is begun again"


# One machine


def test_a_pool_gives_what_one_process_gives(untouched, tmp_path):
    twin = shutil.copytree(untouched, tmp_path / "twin")
    names = [entry.file for entry in open_workbench(untouched).workspace.images[:9]]
    alone = dict(run(given.predict, twin, names, processes=1))
    pooled = dict(run(given.predict, untouched, names, processes=2))
    assert list(alone) == sorted(pooled) == list(range(9))
    np.testing.assert_allclose([pooled[i] for i in range(9)], list(alone.values()), atol=1e-6)
    kept = [sorted(p.name for p in (root / "cache" / "judgement").iterdir()) for root in (untouched, twin)]
    assert kept[0] == kept[1]
    assert len(kept[0]) == 9


def test_one_process_or_one_item_needs_no_pool(drawn_world):
    found = [*run(given.bench_of, drawn_world, range(3), processes=1), *run(given.bench_of, drawn_world, [0], 4)]
    assert {pid for _, (pid, _) in found} == {os.getpid()}
    assert len({bench for _, (_, bench) in found[:3]}) == 1
    assert list(run(given.bench_of, drawn_world, [])) == []


def test_processes_share_the_cores_and_open_the_workbench_once(drawn_world, monkeypatch):
    monkeypatch.setattr(tasks, "cores", lambda: 5)
    found = [result for _, result in run(given.threads, drawn_world, range(6), processes=2)]
    assert len({pid for pid, _ in found}) == 2
    assert {count for _, count in found} == {2}
    opened = {result for _, result in run(given.bench_of, drawn_world, range(20), processes=2)}
    assert len(opened) == len({pid for pid, _ in opened})
    assert os.getpid() not in {pid for pid, _ in opened}


def test_a_process_for_each_core_but_one_for_a_gpu(monkeypatch):
    monkeypatch.setattr(tasks, "cores", lambda: 6)
    assert [tasks.process_count(n, items) for n, items in [(None, 9), (None, 4), (2, 9), (8, 9)]] == [6, 4, 2, 8]
    monkeypatch.setattr(tasks, "device", lambda: torch.device("cuda"))
    assert [tasks.process_count(n, 9) for n in (None, 3)] == [1, 3]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_an_affinity_is_respected():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert tasks.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert tasks.cores() == len(allowed)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_refusal_stops_nothing_and_progress_is_told(drawn_world, processes):
    told = []
    found = dict(run(given.odd, drawn_world, [1, 2, 3, 4], processes, progress=lambda *said: told.append(said)))
    assert found == {0: 1, 1: Refused("2 is even. Take an odd one."), 2: 3, 3: Refused("4 is even. Take an odd one.")}
    assert told == [(k / 4, f"{k} of 4 done") for k in (1, 2, 3, 4)]


@pytest.mark.parametrize("processes", [1, 2])
def test_another_exception_ends_the_run_and_names_its_item(drawn_world, processes):
    with pytest.raises(ValueError, match="thirteen") as failed:
        list(run(given.odd, drawn_world, [13, *range(100)], processes))
    assert failed.value.__notes__ == ["This happened at the item 13."]
    assert no_workers()


def test_a_folder_that_is_no_workspace_is_refused(tmp_path):
    found = [result for _, result in run(given.odd, tmp_path / "nowhere", [1, 2], processes=1)]
    assert [type(result) for result in found] == [Refused, Refused]
    assert all("nowhere" in result.message for result in found)


def test_a_killed_worker_loses_nothing(untouched, log):
    items = works(log)
    found = list(run(given.work, untouched, items, processes=2))
    assert len(found) == len(items)
    assert dict(found) == done(items)
    assert_nothing_lost_or_done_twice(untouched, items, log)
    before = given.written(log)
    assert dict(run(given.work, untouched, items, processes=2)) == done(items)
    assert given.written(log) == before, "a second run computes nothing"


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from aevis_dash.store import write_atomically
write_atomically(Path(sys.argv[1]), lambda file: os.kill(os.getpid(), signal.SIGKILL))
"""


@pytest.fixture
def litter(world):
    """What is left of a file by a process that was killed while it wrote to the workspace's store."""
    folder = world / "cache" / "kept"
    subprocess.run([sys.executable, "-c", KILLED_WRITER, folder / "file"], cwd=HERE.parent, check=False)
    (part,) = folder.iterdir()
    return part


@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_that_is_over_leaves_nothing_half_written(world, litter, processes):
    assert len(list(run(given.odd, world, [1, 2], processes))) == 2
    assert not litter.exists()


def test_a_run_that_fails_or_is_left_leaves_nothing_half_written(world, litter):
    half = litter.read_bytes()
    with pytest.raises(ValueError, match="thirteen"):
        list(run(given.odd, world, [13], processes=1))
    assert not litter.exists()
    litter.write_bytes(half)
    for _ in run(given.odd, world, [1, 2], processes=1):
        break
    assert not litter.exists()


def test_an_item_that_kills_every_worker_is_refused_in_words(untouched, log):
    items = works(log, 3, deaths=9)
    with pytest.raises(AevisError, match=r"ended from outside 2 times.*of 3 items.*fewer than 2 processes"):
        list(run(given.work, untouched, items, processes=2))
    assert no_workers()


def test_leaving_the_loop_ends_what_is_running(drawn_world, log):
    began = time.monotonic()
    for _ in run(given.linger, drawn_world, [Work("quick", log), *[Work("slow", log)] * 9], processes=2):
        assert not no_workers()
        break
    assert time.monotonic() - began < 30
    assert no_workers()


def test_no_process_is_no_choice(drawn_world):
    with pytest.raises(AevisError, match="at least one process, not 0"):
        run(given.odd, drawn_world, [1], processes=0)


def no_workers() -> bool:
    """Whether no pool's worker is a grandchild of this process; its fork server stays."""
    servers = [p for p in psutil.Process().children() if "multiprocessing.forkserver" in " ".join(p.cmdline())]
    return not [child for server in servers for child in server.children()]


SCRIPT = """
import signal, sys, time
from pathlib import Path
import tasks_in_tests as given
from aevis_dash.tasks import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore interrupts
root, *logs = map(Path, sys.argv[1:])
for log in logs:
    items = [given.Work(log.name, log), *[given.Work("slow", log)] * 4]
    try:
        for found in run(given.linger, root, items, processes=2):
            given.write_down(log, "given")
            time.sleep(60)
    except KeyboardInterrupt:
        given.write_down(log, "interrupted")
"""


def test_an_ended_run_leaves_no_process(drawn_world, tmp_path):
    """Interrupted while it waits, interrupted in the caller's loop, and killed. A terminal interrupts all processes."""
    waiting, looping, killed = logs = [tmp_path / name for name in ("slow", "quick", "killed")]
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, drawn_world, *logs],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for log, lines in [(waiting, 2), (looping, 4)]:
                soon(lambda log=log, lines=lines: given.written(log).total() == lines or process.poll(), 60)
                os.killpg(process.pid, signal.SIGINT)
                soon(lambda log=log: given.written(log)["interrupted"], 30)
                assert not any(psutil.pid_exists(int(pid)) for pid in given.written(log) if pid.isdigit())
            soon(lambda: given.written(killed).total() == 2, 60)
            family = psutil.Process(process.pid).children(recursive=True)
            assert {str(p.pid) for p in family} > set(given.written(killed))
        finally:
            process.kill()
        errors = process.communicate(timeout=20)[1]
        assert "KeyboardInterrupt" not in errors, "nobody but the one asked speaks of the interrupt"
    soon(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family), 10)


def soon(condition, seconds):
    """Wait until it is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


# A cluster


def test_a_cluster_gives_what_one_process_gives(cluster, drawn_world):
    told = []
    names = [entry.file for entry in open_workbench(drawn_world).workspace.images[:5]]
    alone = dict(run(given.predict, drawn_world, names, processes=1))
    remote = dict(
        run(
            given.predict,
            drawn_world,
            names,
            scheduler=cluster.scheduler_address,
            progress=lambda *said: told.append(said),
        )
    )
    assert remote == alone
    assert told[-1] == (1.0, "5 of 5 done")


def test_a_killed_worker_of_a_cluster_loses_nothing(cluster, untouched, log):
    items = works(log)
    found = list(run(given.work, untouched, items, scheduler=cluster.scheduler_address))
    assert len(found) == len(items)
    assert dict(found) == done(items)
    assert_nothing_lost_or_done_twice(untouched, items, log)


def test_a_run_on_a_cluster_leaves_nothing_half_written_here(cluster, world, litter):
    assert dict(run(given.odd, world, [1], scheduler=cluster.scheduler_address)) == {0: 1}
    assert not litter.exists()


def test_a_cluster_refuses_and_fails_as_one_machine_does(cluster, drawn_world, tmp_path):
    found = dict(run(given.odd, drawn_world, [1, 2], scheduler=cluster.scheduler_address))
    assert found == {0: 1, 1: Refused("2 is even. Take an odd one.")}
    ((_, nowhere),) = run(given.odd, tmp_path / "nowhere", [1], scheduler=cluster.scheduler_address)
    assert "nowhere" in nowhere.message
    with pytest.raises(ValueError, match="thirteen") as failed:
        list(run(given.odd, drawn_world, [13, 1], scheduler=cluster.scheduler_address))
    assert "This happened at the item 13." in failed.value.__notes__


def test_leaving_the_loop_cancels_what_waits_on_a_cluster(cluster, drawn_world):
    for _ in run(given.threads, drawn_world, range(99), scheduler=cluster.scheduler_address):
        assert len(cluster.scheduler.tasks) > 50
        break
    soon(lambda: not cluster.scheduler.tasks, 10)


def test_an_item_that_kills_its_workers_on_a_cluster_is_refused_in_words(cluster, untouched, log, monkeypatch):
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    item = Work("deadly", log, deaths=9)
    with pytest.raises(AevisError, match=r"'deadly'.* lost its worker 1 times.*Give the workers more memory"):
        list(run(given.work, untouched, [item], scheduler=cluster.scheduler_address))


def test_a_cluster_that_nobody_answers_for_is_refused_in_words(drawn_world, monkeypatch):
    monkeypatch.setattr(tasks, "SECONDS_TO_CONNECT", 0.5)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, and nobody else can
        for address in (f"tcp://127.0.0.1:{taken.getsockname()[1]}", "nonsense://x"):
            with pytest.raises(AevisError, match=rf"No dask scheduler answers at '{address}'"):
                list(run(given.odd, drawn_world, [1], scheduler=address))


def test_what_a_cluster_needs_is_said(drawn_world, monkeypatch):
    with pytest.raises(AevisError, match="on a cluster its workers say"):
        run(given.odd, drawn_world, [1], processes=2, scheduler="tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(AevisError, match=r"pip install aevis-dash\[cluster\]"):
        list(run(given.odd, drawn_world, [1], scheduler="tcp://127.0.0.1:1"))
