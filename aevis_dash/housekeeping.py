"""What the store of a workspace holds, and removing what is not needed: leftovers of killed processes, results of other
models and earlier versions, and those unused for longest.

Results alone are removed, all of which can be computed again. What visitors keep, such as addresses with trails and
notes, lies elsewhere; so do the tables and images.
"""

import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from aevis_dash import (
    descent_study,
    divergences,
    hop_study,
    learning,
    lineup,
    mask_study,
    method_comparison,
    naming,
    pair_profile,
    pairs,
    same_maps,
)
from aevis_dash.config import Progress, silent
from aevis_dash.core import selftest
from aevis_dash.domain import AevisError
from aevis_dash.files import abandoned, part_prefix
from aevis_dash.stored import SPARED, About, Entry, about_of, entries, remove, superfluous
from aevis_dash.workbench import Workbench
from aevis_dash.workbench.base import VERSIONS
from aevis_dash.workbench.judging import DIGESTS_VERSION

CURRENT: Mapping[str, int] = {
    **{kind: version for kind, version in VERSIONS.items() if kind != "attack"},  # it is part of an example's id
    **method_comparison.VERSIONS,
    "descents": descent_study.VERSION,
    "digests": DIGESTS_VERSION,
    "divergence": divergences.VERSION,
    "hops": hop_study.VERSION,
    "kinship": same_maps.VERSION,
    "learned": learning.VERSION,
    "lineup": lineup.VERSION,
    "listing": divergences.LISTING_VERSION,
    "masks": mask_study.VERSION,
    "naming": naming.VERSION,
    "pair": pairs.VERSION,
    "parts": learning.VERSION,
    "picture": learning.VERSION,
    "profile": pair_profile.VERSION,
    "selftest": selftest.VERSION,
}
"""The version of each kind of stored results. Those of another version are not found any more."""
ELSEWHERE = 7 * 86_400.0
"""The seconds after which an unfinished file of another machine counts as left: nobody writes one for so long."""
NORMAL, WHOLE = "normal images", "the whole workspace"
"""What results are of that belong to no single example."""


@dataclass
class Share:
    """The part of the store that belongs together.

    Attributes:
        files: the number of its results.
        size: the bytes that they take.
        oldest: when the one unused for longest was last used, in seconds since 1970.
    """

    files: int = 0
    size: int = 0
    oldest: float = float("inf")

    def add(self, entry: Entry) -> None:
        """Count a result."""
        self.files, self.size, self.oldest = self.files + 1, self.size + entry.size, min(self.oldest, entry.used)


@dataclass
class Holdings:
    """What a store holds.

    Attributes:
        whole: all results.
        by_kind: the results of each kind.
        by_example: the results of each example by its ID, and those of NORMAL and of WHOLE.
        outdated: those of another model or an earlier version; None where the model is not known.
        unknown: those that do not tell what they are of; they were stored before results did, or are damaged.
        leftovers: the unfinished files that killed processes left.
        free: the bytes that are free on the disk.
    """

    whole: Share = field(default_factory=Share)
    by_kind: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    by_example: dict[str, Share] = field(default_factory=lambda: defaultdict(Share))
    outdated: Share | None = None
    unknown: Share = field(default_factory=Share)
    leftovers: Share = field(default_factory=Share)
    free: int = 0


@dataclass(frozen=True)
class Swept:
    """What was removed, or would be: files and bytes for each reason, in the order in which they were removed.

    Attributes:
        leftovers: unfinished files of killed processes.
        outdated: results of other models and earlier versions.
        old: results unused for longer than was asked for.
        unused: results unused for longest, beyond the size that was asked for.
        left: the results that stay.
    """

    leftovers: tuple[int, int]
    outdated: tuple[int, int]
    old: tuple[int, int]
    unused: tuple[int, int]
    left: tuple[int, int]


def model_of(bench: Workbench) -> tuple[str | None, str]:
    """The fingerprint of the workspace's model; None, with the reason, where the model cannot be loaded."""
    try:
        return bench.classifier.fingerprint, ""
    except AevisError as error:
        return None, f"Results of other models are not told apart, as the model cannot be loaded: {error}"


def holdings(bench: Workbench, model: str | None, progress: Progress = silent) -> Holdings:
    """What the store of a workspace holds.

    Args:
        bench: the workbench of the workspace.
        model: the fingerprint of its model; None where it is not known.
        progress: is told the share of the work that is done.
    """
    found, told = entries(bench.workspace.cache), Holdings()
    owners = _owners(bench)
    told.outdated = None if model is None else Share()
    for i, entry in enumerate(found):
        progress(i / len(found), f"looking at result {i + 1} of {len(found)}")
        about = about_of(entry.path)
        told.whole.add(entry)
        told.by_kind[entry.kind].add(entry)
        if about is None:
            told.unknown.add(entry)
            continue
        for owner in _owners_of(about, owners):
            told.by_example[owner].add(entry)
        if told.outdated is not None and _is_outdated(entry, about, model):
            told.outdated.add(entry)
    for part in leftovers(bench.workspace.cache):
        told.leftovers.add(part)
    told.free = shutil.disk_usage(bench.workspace.root).free
    return told


def sweep(
    bench: Workbench,
    model: str | None,
    older: float | None = None,
    most: int | None = None,
    dry: bool = False,
    progress: Progress = silent,
) -> Swept:
    """Remove leftovers, then results of other models and earlier versions, then results that were unused for long.

    A result that was used within the last minutes (`stored.SPARED`) stays: a server or a job may be at work with it.

    Args:
        bench: the workbench of the workspace.
        model: the fingerprint of its model; None to leave results of other models.
        older: the seconds for which a result has to be unused to be removed; None for no such bound.
        most: the bytes that all results may take; None for no such bound.
        dry: whether nothing is removed, and only told.
        progress: is told the share of the work that is done.
    """
    now, folder = time.time(), bench.workspace.cache
    take: Callable[[list[Entry]], tuple[int, int]] = _counted if dry else remove
    parts = take(leftovers(folder))
    found, outdated = entries(folder, now), []
    for i, entry in enumerate(found):
        progress(i / len(found), f"looking at result {i + 1} of {len(found)}")
        about = about_of(entry.path) if now - entry.used >= SPARED else None
        if about is not None and _is_outdated(entry, about, model):
            outdated.append(entry)
    rest = _without(found, outdated)
    old = [] if older is None else [entry for entry in rest if now - entry.used >= max(older, SPARED)]
    rest = _without(rest, old)
    unused = [] if most is None else superfluous(rest, most, now)
    rest = _without(rest, unused)
    return Swept(parts, take(outdated), take(old), take(unused), _counted(rest))


def leftovers(folder: Path) -> list[Entry]:
    """The unfinished files in a store that killed processes left, and old ones of other machines, whose processes
    cannot be asked."""
    here, now, found = part_prefix(), time.time(), []
    for part in folder.glob("*/.part-*"):
        try:
            state = part.lstat()
        except OSError:  # it is finished
            continue
        ours = part.name.startswith(here)
        if abandoned(part) if ours else now - state.st_mtime > ELSEWHERE:
            found.append(Entry(part, part.parent.name, state.st_size, min(state.st_mtime, now)))
    return found


def _owners(bench: Workbench) -> dict[str, str]:
    """The example that an adversarial image belongs to, by the digest of the image; the first where several share
    it."""
    found: dict[str, str] = {}
    for example in bench.workspace.examples():
        try:
            found.setdefault(bench.workspace.image_hash(example.adversarial), example.id)
        except AevisError:  # `aevis check` tells of an image that cannot be read
            continue
    return found


def _owners_of(about: About, owners: Mapping[str, str]) -> list[str]:
    of_examples = sorted({owners[image] for image in about.images if image in owners})
    return of_examples or [NORMAL if about.images else WHOLE]


def _is_outdated(entry: Entry, about: About, model: str | None) -> bool:
    """Whether a result is never found any more. Kinds that are not known here may be those of a later version."""
    earlier = entry.kind in CURRENT and about.version != CURRENT[entry.kind]
    return earlier or (model is not None and about.model not in ("", model))


def _counted(found: Iterable[Entry]) -> tuple[int, int]:
    sizes = [entry.size for entry in found]
    return len(sizes), sum(sizes)


def _without(found: list[Entry], gone: list[Entry]) -> list[Entry]:
    names = {entry.path for entry in gone}
    return [entry for entry in found if entry.path not in names]
