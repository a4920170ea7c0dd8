"""A piece of work that pages wait for: what it is, who waits for it, and how it stands to other work."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aevis_dash.callbacks.ending import Running

QUICK, NEEDED, LONG, NULLS, LEFT, LEARNING = range(6)
"""The ranks of jobs. QUICK are those that take seconds: contributions, a flip-back, a picture. NEEDED is the extraction
of the datapaths without which the page shows nothing. LONG are the search for a trail, the comparison of all pairs, and
contributions by the exact method. NULLS are the datapaths of null targets. LEFT is an extraction that was left."""

Start = Callable[[], Running]
Pause = Callable[[bool], None]


def never_pause(_pauses: bool) -> None:
    """The `pause` of a job that cannot pause: nothing happens."""


@dataclass
class Waiting:
    """A page that waits for a job.

    Attributes:
        page: its name.
        asked: when it last asked, in seconds.
        why: why it waits no more; "" while it waits.
        user: the name of its user; "" where none is known.
    """

    page: str
    asked: float
    why: str = ""
    user: str = ""


@dataclass(frozen=True)
class Manners:
    """How a job stands to others.

    Attributes:
        rank: which jobs it goes before, one of QUICK, NEEDED, LONG, NULLS and LEARNING; the lowest goes first.
        example: the ID of the example whose extraction it is; "" for all other work, which is never left.
    """

    rank: int = QUICK
    example: str = ""

    @property
    def shared(self) -> bool:
        """Whether the job runs beside the queue."""
        return self.rank in (NULLS, LEARNING)


PLAIN = Manners()
"""The manners of a job of which nothing is said."""


@dataclass
class Job:
    """A piece of work. It waits (`begun` is None), runs, and ends; then its process is gone.

    Attributes:
        work: the name of the work, which is the same for all pages.
        key: the ticket of the page that asked first, under which the result lies.
        start: starts the work, and gives its process.
        pause: tells the work to pause, or with False to go on.
        manners: how it stands to other jobs.
        pages: the pages that wait for it, by their tickets.
        begun: when it was started, in seconds, later by the time for which it was paused; None while it waits.
        left: since when nobody waits for it, in seconds; None where somebody does.
        kept: whether nobody waits for it because its pages went on to something else, and nobody cancelled it.
        paused: since when it is asked to pause, in seconds; None where it is not.
        process: its process, or what stands for it where another machine computes; None before it is started.
        over: whether it has ended.
    """

    work: str
    key: str
    start: Start
    pause: Pause
    manners: Manners
    pages: dict[str, Waiting] = field(default_factory=dict)
    begun: float | None = None
    left: float | None = None
    kept: bool = False
    paused: float | None = None
    process: Running | None = None
    over: bool = False

    def watched_by(self, page: str | None = None) -> bool:
        """Whether that page waits for the job; for None, whether any page does."""
        return any(not one.why and page in (None, one.page) for one in self.pages.values())
