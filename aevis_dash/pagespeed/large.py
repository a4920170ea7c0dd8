"""The page on a workspace with many more images, where a click must not take much longer."""

import shutil
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aevis_dash import ids
from aevis_dash.config import Progress, part_of
from aevis_dash.domain import AevisError
from aevis_dash.images import write_image
from aevis_dash.labels import ImageEntry
from aevis_dash.pagespeed.chromium import memory, serve
from aevis_dash.pagespeed.places import critical_layers, groups_around
from aevis_dash.pagespeed.timing import Line, from_clicks, growth
from aevis_dash.pagespeed.visitor import LAYERS, MAPS, Visitor
from aevis_dash.tables import write_table
from aevis_dash.workbench import Workbench, open_workbench
from aevis_dash.workspace import Workspace
from aevis_dash.world.draw import CLASSES, draw_set
from aevis_dash.world.network import drawn_world_resnet

SLOWER, MEMORY = 20.0, 1536.0
"""The percent by which the median of the times may be longer with many images, and the MiB that the server may hold."""
PLACES = 12
"""The number of layers that are clicked at most."""
BLOCKS = 4
"""The number of turns that each workspace takes. Taking turns, a machine that slows down meanwhile slows both."""
_SEED = 2021
"""The seed of the drawings that are added. It is not that of the drawn world's own drawings."""
_KINDS = {"layer": "layer clicked in the river", "map": "map clicked in the treemap", "slider": "slider moved"}


def enlarged(bench: Workbench, count: int, progress: Progress) -> Path:
    """The folder of a workspace beside the drawn world's, with its examples and settings and with more images.

    It is made once. Drawings are added until there are `count` normal images. The datapaths of the example that the
    page opens on, and the learned features, are computed for it too.

    Raises:
        AevisError: where the workspace is not a drawn world, as no images can be drawn for any other, or where no
            example of it is misclassified.
    """
    small = bench.workspace
    if small.settings.model.source != f"{drawn_world_resnet.__module__}:{drawn_world_resnet.__name__}":
        raise AevisError(
            f"{small.root} is no drawn world, so no images can be drawn for it. Leave --images out, or the workspace."
        )
    root = small.root.with_name(f"{small.root.name}-{count}")
    if not (root / "workspace.toml").exists():
        _copy(small, root, count, part_of(progress, 0, 0.3))
    large = open_workbench(root)
    large.judging.references(part_of(progress, 0.3, 0.3))
    large.naming.learn(part_of(progress, 0.6, 0.3))
    opening = large.opening(large.judging.judged_examples())
    if opening is None:
        raise AevisError(f"{root} has no misclassified example, so there is nothing to click on. Attack some images.")
    large.datapaths.extract(opening.example.id, progress=part_of(progress, 0.9, 0.1))
    return root


def _copy(small: Workspace, root: Path, count: int, progress: Progress) -> None:
    """Copy the images and tables, and add drawings. workspace.toml comes last, so that interrupted copying is begun
    again."""
    nothing = shutil.ignore_patterns("cache", "workspace.toml", ".*")
    shutil.copytree(small.root, root, ignore=nothing, dirs_exist_ok=True)
    entries = list(small.images)
    missing = max(count - len(entries), 0)
    for i, drawing in enumerate(draw_set(missing, _SEED)):
        progress(i / missing, f"drawing image {i + 1} of {missing}")
        name = f"{CLASSES[drawing.label]}-more-{i:05d}.png"
        if not (root / "images" / name).exists():
            write_image(root / "images" / name, drawing.image)
        entries.append(ImageEntry(name, drawing.label))
    write_table(root / "images.csv", ("file", "label"), (vars(entry) for entry in entries))
    shutil.copy(small.root / "workspace.toml", root / "workspace.toml")


@dataclass
class _Visit:
    """A workspace while it is visited: what is clicked, the times in ms, and the server's process."""

    visitor: Visitor
    example: str
    layers: list[int]
    opened: list[str]
    server: int
    times: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))

    def go(self, clicks: int) -> None:
        """Open the page, click once of each kind without timing, then `clicks` times of each kind."""
        self.visitor.load(self.example, cold=False, opened=self.opened)
        for i in range(clicks + 1):
            found = {
                "layer": self.visitor.click_bar(ids.RIVER, LAYERS, self.layers),
                "map": self.visitor.click_bar(ids.TREEMAP, MAPS),
                "slider": self.visitor.move_slider(),
            }
            for kind, ms in found.items() if i else ():
                self.times[kind].append(ms)


def beside(
    driver: Any, few: Workbench, many: Path, example: str, clicks: int, seed: int, progress: Progress
) -> list[Line]:
    """Time clicks on two workspaces in turns, and measure the memory of the larger one's server at the end.

    Args:
        driver: the browser, as selenium's driver.
        few: the workbench of the smaller workspace.
        many: the folder of the larger one.
        example: the ID of the example that the smaller one is opened on.
        clicks: the number of clicks of each kind.
        seed: of what is clicked.
        progress: is told the share of the work that is done.
    """
    large = open_workbench(many)
    with ExitStack() as servers:
        visits = []
        for bench in (few, large):
            address, process = servers.enter_context(serve(bench.workspace.root))
            opening = bench.opening(bench.judging.judged_examples())
            name = example if bench is few or opening is None else opening.example.id
            layers = critical_layers(bench, name)[:PLACES]
            visits.append(_Visit(Visitor(driver, address, seed), name, layers, groups_around(bench, layers), process))
        for block in range(BLOCKS):
            for i, visit in enumerate(visits):
                progress((2 * block + i) / (2 * BLOCKS), f"clicking among {_count((few, large)[i])} images")
                visit.go(max(clicks // BLOCKS, 1))
        held = memory(visits[1].server)
    return _lines(visits[0], visits[1], _count(few), _count(large), held)


def _lines(few: _Visit, many: _Visit, count: int, larger: int, held: float) -> list[Line]:
    lines = []
    for kind, what in _KINDS.items():
        both = [
            from_clicks(f"{what}, {number:,} images", visit.times[kind], None)
            for visit, number in ((few, count), (many, larger))
        ]
        longer = f"{what}: longer with {larger:,} images than with {count:,}"
        lines += [*both, growth(longer, both[0].median, both[1].median, SLOWER, len(both[1].values), "ms")]
    return [*lines, Line(f"server memory, {larger:,} images", "MiB", (held,), MEMORY)]


def _count(bench: Workbench) -> int:
    return len(bench.workspace.images)
