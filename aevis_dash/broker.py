"""What a server and its workers agree on before they exchange jobs by way of a broker: its address, what is served, and
what they say of a job.

Celery carries one message for each job to a free worker. The message holds the ID of the job's run alone. What the run
is about lies in Redis as JSON (`ledger.py`), beside its progress and, for a while, its answer. The results themselves
are not there: workers keep them in the workspace's store, which the server reads.

The packages celery and redis are imported only where there is a broker.
"""

import importlib
import importlib.metadata
import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from aevis_dash.domain import AevisError
from aevis_dash.files import is_writable, write_atomically
from aevis_dash.workbench import Workbench

VARIABLE = "AEVIS_BROKER_URL"
"""The environment variable that holds the broker's address where no option does."""
LEASE = 6
"""The seconds after which a worker that did not renew its lease of a run is taken to be gone."""
ANSWERS_LAST, RUNS_LAST = 3600, 24 * 3600
"""The seconds for which the broker keeps the answer of a run, and a run that nobody speaks of."""
RANKS = (0, 1, 2, 3, 5)
"""The ranks of jobs (`callbacks/work.py`) that have a queue of their own at the broker."""
WAITS, RUNS = "waits", "runs"
"""The states of a run."""
TASK = "aevis.job"
"""The name of the one Celery task, which is given the ID of a run."""
SECONDS = 3.0
"""The seconds after which a broker that does not answer is taken to be away."""
_ID = "broker-id"


class BrokerAway(Exception):
    """Raised where the broker does not answer. What was asked of it can be asked again later."""


@dataclass(frozen=True)
class Serves:
    """What a server serves, or a worker works on. Jobs go only to workers that agree in all of it.

    Attributes:
        workspace: the name that the workspace's folder of results carries in itself.
        settings: a digest of the workspace's settings.
        model: the fingerprint of the model.
        beside: the fingerprint of the model that is shown beside; "" for none.
        version: the version of the package, with a digest of its code.
    """

    workspace: str
    settings: str
    model: str
    beside: str
    version: str

    @property
    def name(self) -> str:
        """A digest of all of it."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def unlike(self, other: "Serves") -> str:
        """In what another one differs, in words; "" where it does not."""
        words = {
            "workspace": "the workspace",
            "settings": "the workspace's settings",
            "model": "the model",
            "beside": "the model that is shown beside",
            "version": f"the version of AEVis Dash ({other.version}, here {self.version})",
        }
        return " and ".join(said for name, said in words.items() if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True)
class Asked:
    """What a run is about.

    Attributes:
        work: the name of the work, which is the same for all pages and servers.
        job: the name of the job's function.
        given: what the function is given, without the page: IDs and parameters.
        rank: how the work stands to other work (`callbacks/work.py`).
        example: the ID of the example whose extraction it is; "" for all other work.
        subject: what it is about, for the list of jobs.
        exact: the same more exactly.
        user: the name of the user who asked first; "" where none is known.
    """

    work: str
    job: str
    given: list[Any]
    rank: int
    example: str = ""
    subject: str = ""
    exact: str = ""
    user: str = ""


@dataclass
class Run:
    """A run as it stands at the broker.

    Attributes:
        id: its ID.
        asked: what it is about.
        state: WAITS or RUNS.
        held: whether a worker holds a lease of it.
        progress: its percent, what is being done, and the time left in words.
    """

    id: str
    asked: Asked
    state: str
    held: bool
    progress: tuple[float, str, str]


@dataclass
class Snapshot:
    """What the broker knew at one moment.

    Attributes:
        runs: the runs that wait or run, in the order in which they have their turns.
        outcomes: by the IDs of those that were asked about and have ended, `{"answer": ...}` or `{"ended": why}`.
        lengths: by rank, the number of messages that wait.
        workers: what each worker works on, by its name.
    """

    runs: list[Run] = field(default_factory=list)
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    workers: dict[str, Serves] = field(default_factory=dict)


def served(bench: Workbench, second: Workbench | None = None) -> Serves:
    """What a server or a worker with these workbenches serves.

    Raises:
        AevisError: where the workspace's results cannot be stored, by which servers and workers exchange them.
    """
    return Serves(
        _name_of(bench.workspace.cache),
        sha256(repr(bench.workspace.settings).encode()).hexdigest()[:16],
        bench.classifier.fingerprint,
        "" if second is None else second.classifier.fingerprint,
        code_version(),
    )


@lru_cache(maxsize=1)
def code_version() -> str:
    """The package's version with a digest of its code: two copies of one version that differ are two versions."""
    digest, folder = sha256(), Path(__file__).parent
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode() + file.read_bytes())
    try:
        version = importlib.metadata.version("aevis-dash")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return f"{version}+{digest.hexdigest()[:8]}"


def _name_of(cache: Path) -> str:
    """The name that lies in a folder of results, so that two machines know that they see the same one."""
    if not is_writable(cache):
        raise AevisError(
            f"Nothing can be written to {cache}, by which the server and its workers exchange results. Make it "
            "writable, or leave out the broker."
        )
    file = cache / _ID
    with FileLock(cache / f"{_ID}.lock"):
        if not file.exists():
            write_atomically(file, lambda stream: stream.write(uuid.uuid4().hex.encode()))
        return file.read_text().strip()


def url_of(option: str | None) -> str:
    """The broker's address: of the option, else of $AEVIS_BROKER_URL; "" for none.

    Raises:
        AevisError: for an address that is none of a Redis server.
    """
    url = option or os.environ.get(VARIABLE, "")
    if url and urlsplit(url).scheme not in ("redis", "rediss"):
        raise AevisError(f"{shown(url)} is no address of a Redis server. Give one such as redis://localhost:6379/0.")
    return url


def shown(url: str) -> str:
    """A broker's address as it may be shown: without the password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme and host else "The broker's address"


def package(name: str) -> ModuleType:
    """A module of the packages that only a broker needs. Raises AevisError where they are not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise AevisError(
            'A broker needs the packages celery and redis: pip install "aevis-dash[celery]". Without AEVIS_BROKER_URL '
            "and --broker the server computes its jobs itself and needs neither."
        ) from error


def celery_app(url: str, queue: str = "celery") -> Any:
    """A Celery application that sends to that broker, and whose worker takes from that queue.

    Messages are JSON, and a message counts as done only when its job is.
    """
    app = package("celery").Celery("aevis", broker=url, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_ignore_result=True,  # answers lie beside the runs, where they expire (`Ledger.end`)
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_default_queue=queue,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": RUNS_LAST,
            "socket_connect_timeout": SECONDS,
            "socket_keepalive": True,
        },
    )
    return app
