"""Work that runs in another process, one of which computes at a time: extraction, contributions, learning and others.

A job's process is forked from a fork server that has torch and the model loaded and has never started a thread:
forking a process that has run torch with several threads would hang the child.
"""

import atexit
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from aevis_dash import assistant, divergences, questions
from aevis_dash.assistant import Hop
from aevis_dash.config import ExtractionParameters, Progress, part_of
from aevis_dash.core.execution import use_threads
from aevis_dash.core.loading import device_name
from aevis_dash.domain import (
    AevisError,
    AreaOfInterest,
    Contribution,
    EdgeSet,
    FeatureMap,
    Intervention,
    Verification,
    Visualisation,
    Way,
)
from aevis_dash.files import is_writable, part_prefix, sweep
from aevis_dash.pairs_of_two import chosen_pairs
from aevis_dash.same_maps import known_kinship
from aevis_dash.sample import Sample
from aevis_dash.store import SPARE_VARIABLE
from aevis_dash.two_models import ComparedPair, compare_pair
from aevis_dash.workbench import Triplet, Workbench, open_workbench

WORKSPACE_VARIABLE, SERVER_VARIABLE = "AEVIS_JOB_WORKSPACE", "AEVIS_JOB_SERVER"
"""The environment variables that tell jobs the workspace's folder and the server's process number. The server sets them
before the first job."""
SECOND_VARIABLE = "AEVIS_JOB_SECOND"
"""The environment variable that tells jobs the folder of the workspace whose model is shown beside; empty for none."""
LOCKS_VARIABLE, THREADS_VARIABLE = "AEVIS_JOB_LOCKS", "AEVIS_JOB_THREADS"
"""The environment variables that tell the jobs of a worker the folder of the worker's own locks, and with how many
threads they compute. Neither is set for the jobs of a server."""

PAUSE = 0.15
"""Seconds between two short turns of learning. It is longer than the intervals at which a waiting job tries to get its
turn."""
LOOK = 0.05
"""Seconds between two looks at whether a job still has to pause."""
WAITS, PAUSES = "waits for another job to end", "pauses, so that other jobs go first"
"""What a job says while it has not got its turn, and while it is asked to pause."""
_obeyed: list[Path] = []
"""The file that this process obeys; none in a process that is no job's."""


def start(
    root: Path, preload: str, second: Path | None = None, locks: Path | None = None, threads: int | None = None
) -> None:
    """Start the fork server, whose processes will run the jobs. It is called once, before the first job.

    Where the system has no fork server, jobs start from scratch and take a few seconds longer.

    Args:
        root: the folder of the workspace that the jobs work on.
        preload: the name of the module that the fork server imports once, such as "aevis_dash.preload".
        second: the folder of the workspace whose model is shown beside; None for none.
        locks: a folder of this process's own, where its jobs wait for one another alone; None where they wait for all
            jobs on the workspace.
        threads: the number of threads with which a job computes; None for one for each core.
    """
    os.environ[WORKSPACE_VARIABLE] = str(root)
    os.environ[LOCKS_VARIABLE] = "" if locks is None else str(locks)
    os.environ[THREADS_VARIABLE] = "" if threads is None else str(threads)
    os.environ[SECOND_VARIABLE] = "" if second is None else str(second)
    os.environ[SERVER_VARIABLE] = str(os.getpid())
    share_spare_cache(root, *([] if second is None else [second]))
    multiprocess: Any = importlib.import_module("multiprocess")  # dill's twin of multiprocessing, as Dash uses it
    if "forkserver" not in multiprocess.get_all_start_methods():
        multiprocess.set_start_method("spawn", force=True)
        return
    multiprocess.set_start_method("forkserver", force=True)
    multiprocess.set_forkserver_preload([preload])
    importlib.import_module("multiprocess.forkserver").ensure_running()


def share_spare_cache(*roots: Path) -> None:
    """Give the server and its jobs a temporary folder for results, where those of a workspace cannot be written.

    The folder is removed when the server ends. A folder that a killed server left is removed when the next one starts.
    """
    temporary = Path(tempfile.gettempdir())
    sweep(temporary.glob(f"{part_prefix()}*"))
    if not all(is_writable(root / "cache") for root in roots):
        folder = tempfile.mkdtemp(prefix=f"{part_prefix()}{os.getpid()}-", dir=temporary)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[SPARE_VARIABLE] = folder


def end() -> None:
    """Kill the jobs and the fork server. Otherwise an exiting server would wait for its jobs, and they for it."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


def warm() -> None:
    """Load the workspace's model, and what is stored of its images, without starting a thread.

    The fork server calls this once, so that every job begins with the model loaded. An error is not raised here,
    because the job that needs the model or the image raises it again. On a GPU nothing is loaded, because a process
    that was forked from one that has begun to use a GPU cannot use it.
    """
    use_threads(1)
    server_process()
    if device_name() != "cpu":
        return
    try:
        _ = workbench().classifier
    except AevisError:
        workbench.cache_clear()
        return
    with suppress(AevisError):  # the job that needs a missing image tells of it
        workbench().judging.recall()


@lru_cache(maxsize=1)
def workbench() -> Workbench:
    """The workbench of the server's workspace; opened once in each process."""
    return open_workbench(Path(os.environ[WORKSPACE_VARIABLE]))


@lru_cache(maxsize=1)
def second_workbench() -> Workbench:
    """The workbench of the workspace whose model is shown beside; opened once in each process.

    Raises:
        AevisError: where the page is served without one.
    """
    folder = os.environ.get(SECOND_VARIABLE)
    if not folder:
        raise AevisError("The page is served without a second model. Serve it with `aevis serve A --beside B`.")
    return open_workbench(Path(folder))


@lru_cache(maxsize=1)
def server_process() -> psutil.Process:
    """The process of the server that started this job."""
    return psutil.Process(int(os.environ[SERVER_VARIABLE]))


def obey(pauses: Path) -> None:
    """Let the job of this process pause whenever the file `pauses` is there. The queue makes and removes it."""
    _obeyed[:] = [pauses]


def has_to_pause() -> bool:
    """Whether the job of this process is asked to pause."""
    return any(file.exists() for file in _obeyed)


class _Teller:
    """Tells a job's progress. A job whose server is gone, however it ended, ends here; a job that has its turn and is
    asked to pause gives the turn back here, and waits until it may go on."""

    def __init__(self, progress: Progress):
        self._progress, self._share = progress, 0.0
        self.turn: FileLock | None = None
        self.question: FileLock | None = None

    def __call__(self, share: float, what: str) -> None:
        self._share = share
        self.say(what)
        if self.turn is not None and has_to_pause():
            self.turn.release()
            if self.question is not None:  # who goes first may ask the same
                self.question.release()
            self.take(self.turn)
            self.say(what)

    def say(self, what: str) -> None:
        """Tell what the job does, as far as it is."""
        if not server_process().is_running():
            sys.exit("the server is gone, so nobody waits for this job")
        self._progress(self._share, what)

    def take(self, turn: FileLock) -> None:
        """Wait until the job need not pause and no other job runs, and take the turn."""
        while True:
            while has_to_pause():
                self.say(PAUSES)
                again = time.monotonic() + 0.5
                while has_to_pause() and time.monotonic() < again:
                    time.sleep(LOOK)
            try:
                turn.acquire(timeout=0.5)
            except Timeout:
                self.say(WAITS)
                continue
            if not has_to_pause():
                return
            turn.release()


def extract(
    example: str, target: str | None, wanted: ExtractionParameters, progress: Progress, nulls: bool = True
) -> Triplet:
    """Extract an example's datapaths, and its turning effects first. The arguments are those of `Datapaths.extract`.

    Without `nulls` a visitor waits for the result, and it is found in one turn. Otherwise each batch has a turn of its
    own, so that a visitor's jobs come in between.
    """
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "extract", example, target, wanted, nulls):
        with _turn(bench, progress):
            bench.flips.turning(example)
        if nulls:
            return bench.datapaths.extract(example, target, progress, wanted, turn=lambda: _short_turn(bench, progress))
        with _turn(bench, progress):
            return bench.datapaths.extract(example, target, progress, wanted, nulls=False)


def learn(progress: Progress) -> None:
    """Complete the learned features, one batch in each turn, so that a visitor's jobs can run in between.

    Where another process is learning already, nothing is done.
    """
    bench, progress = workbench(), _Teller(progress)
    try:
        with FileLock(_locks(bench) / "learn.lock", timeout=0):
            bench.naming.learn(progress, lambda: _short_turn(bench, progress))
    except Timeout:
        progress(0.0, "another job is at it")


def visualise(chosen: FeatureMap, progress: Progress) -> Visualisation:
    """Make a picture that fires a map; waits for its turn."""
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "visualise", chosen), _turn(bench, progress):
        return bench.learning.visualise(chosen, progress)


def contribute(
    example: str,
    target: str | None,
    wanted: ExtractionParameters,
    effect: FeatureMap,
    area: AreaOfInterest,
    layer: int,
    way: Way,
    progress: Progress,
) -> Contribution:
    """Trace an area of a map, or the prediction, back to the maps of an earlier layer; waits for its turn.

    The example's datapaths are extracted first where they are not stored.

    Args:
        example: the ID of the example.
        target: the file name of the candidate target; None for the representative one.
        wanted: the extraction parameters.
        effect: the map that is explained, or PREDICTION.
        area: the neurons of the effect that are explained.
        layer: the index of the earlier layer.
        way: how contributions are found.
        progress: is told the share of the work that is done.
    """
    bench, progress = workbench(), _Teller(progress)
    with (
        _alone(bench, progress, "contribute", example, target, wanted, effect, area, layer, way),
        _turn(bench, progress),
    ):
        triplet = bench.datapaths.extract(example, target, wanted=wanted, nulls=False)
        return bench.contributions.contribute(triplet, effect, area, layer, way, progress)


def verify(example: str, asked: Intervention, progress: Progress) -> Verification:
    """Replace maps of a layer, or search for maps that turn the prediction, beside controls; waits for its turn."""
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "verify", example, asked), _turn(bench, progress):
        progress(0.1, f"replacing maps of {bench.layers.layers[asked.layer].name}")
        return bench.flips.verify(example, asked)


def connect(example: str, earlier: int, later: int, progress: Progress) -> EdgeSet:
    """Find the strongest connections between the maps of two layers, beside controls; waits for its turn."""
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "connect", example, earlier, later), _turn(bench, progress):
        return bench.flips.edges(example, earlier, later, progress=progress)


def propose(
    example: str, target: str | None, wanted: ExtractionParameters, way: Way, progress: Progress
) -> tuple[Hop, ...]:
    """Search for a way back from the prediction, each of whose hops is tested by patching; waits for its turn.

    Args:
        example: the ID of the example.
        target: the file name of the candidate target; None for the representative one.
        wanted: the extraction parameters.
        way: how contributions are found.
        progress: is told the share of the work that is done.
    """
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "propose", example, target, wanted, way), _turn(bench, progress):
        found = bench.datapaths.extract(example, target, wanted=wanted, nulls=False)
        return assistant.propose(bench, found, way, progress=progress)


def compare_pairs(progress: Progress) -> None:
    """Compare every misclassified adversarial with its source, for the view of all examples; waits for its turn."""
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "compare_pairs"), _turn(bench, progress):
        divergences.listing(bench, progress)


def compare_models(example: str, wanted: ExtractionParameters, progress: Progress) -> ComparedPair:
    """Compare two models on a pair, and test first which of their maps are the same; waits for its turn.

    Raises:
        AevisError: where the second workspace does not have the pair, or a model cannot make a profile of it.
    """
    bench, progress = workbench(), _Teller(progress)
    with _alone(bench, progress, "compare_models", example, wanted), _turn(bench, progress):
        second = second_workbench()
        pair = chosen_pairs(bench, second, Sample(1), [example])[0]
        known_kinship(bench, second, part_of(progress, 0, 0.1))
        found = compare_pair(bench, second, pair, wanted, part_of(progress, 0.1, 0.9))
    if found.refused:
        raise AevisError(found.refused)
    return found


def _locks(bench: Workbench) -> Path:
    """The folder of the locks: beside the results, wherever these can be written."""
    folder = Path(os.environ.get(SPARE_VARIABLE) or bench.workspace.cache)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _alone(bench: Workbench, progress: _Teller, *question: Any) -> Iterator[None]:
    """Wait until no other worker computes the answer to the same question, which is then read from the store.

    The jobs of a server need not wait here, because one of them computes at a time. A job that pauses lets others ask
    its question.
    """
    if not os.environ.get(LOCKS_VARIABLE):
        yield
        return
    with questions.alone(_locks(bench), question, lambda: progress.say(WAITS)) as progress.question:
        yield
        progress.question = None


@contextmanager
def _short_turn(bench: Workbench, progress: _Teller) -> Iterator[None]:
    """A turn after which a job that waits has the time to take its own."""
    with _turn(bench, progress):
        yield
    time.sleep(PAUSE)


@contextmanager
def _turn(bench: Workbench, progress: _Teller) -> Iterator[None]:
    """Wait until no other job of the server or the worker runs, then use all cores, or those that are its share.

    The system frees the lock when the process ends, however it ends. Within a turn, the job pauses when it is asked to:
    whenever it tells its progress.
    """
    lock = FileLock(Path(os.environ.get(LOCKS_VARIABLE) or _locks(bench)) / "job.lock")
    progress.take(lock)
    try:
        progress.turn = lock
        use_threads(int(os.environ.get(THREADS_VARIABLE) or os.cpu_count() or 1))
        yield
    finally:
        progress.turn = None
        lock.release()
