"""The measurement: the page is loaded and clicked, its figures are weighed, and memory is watched during long
clicking."""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from aevis_dash import ids
from aevis_dash.config import Progress, part_of, silent
from aevis_dash.domain import AevisError
from aevis_dash.pagespeed.chromium import check_browser, memory, open_browser, serve
from aevis_dash.pagespeed.large import beside, enlarged
from aevis_dash.pagespeed.places import critical_layers, groups_around
from aevis_dash.pagespeed.timing import Line, from_clicks, growth
from aevis_dash.pagespeed.visitor import GRAPHS, GROUPS, LAYERS, MAPS, Visitor
from aevis_dash.workbench import Workbench

CLICK, GROUP, LOAD, THUMBNAILS = 200.0, 500.0, 2000.0, 300.0
"""Limits in ms that 95 % of the times must keep: for clicks on maps and cells, for clicks on groups, for loads with an
empty cache, and for thumbnails."""
FIGURE, GROWTH = 400.0, 20.0
"""The limit of a figure's JSON in kB, and the percent by which memory may grow."""
PICTURES, LOADS, SHEETS, PLACES, WARM = 60, 5, 5, 12, 30
"""The numbers of thumbnails on a sheet, of loads, of sheets, of layers that are visited, and of rounds of three clicks
before memory is looked at."""


@dataclass(frozen=True)
class _Tour:
    """What is clicked: examples whose results are stored, and the layers that were already visited."""

    examples: tuple[str, ...]
    layers: tuple[Any, ...]


def page_speed(
    bench: Workbench, clicks: int, minutes: float, images: int = 0, seed: int = 0, progress: Progress = silent
) -> Any:
    """Serve the workspace, visit it with Chromium, and time clicks of each kind. Then watch memory while clicking on.

    Args:
        bench: the workbench of the workspace.
        clicks: the number of clicks of each kind.
        minutes: how long memory is watched; 0 for not at all.
        images: the number of images of an enlarged workspace on which the same clicks are timed too (`large.enlarged`);
            0 for none.
        seed: of what is clicked.
        progress: is told the share of the work that is done.

    Returns:
        The circumstances, among them "busy_before", how many processes wanted a core in the minute before; and "lines",
        the documents of `timing.Line`, also of what could not be measured.

    Raises:
        AevisError: where no example's datapaths, or no learned features, are stored, and where the browser or the
            server does not start.
    """
    check_browser()
    busy = psutil.getloadavg()[0]
    examples = stored_examples(bench)
    many = enlarged(bench, images, part_of(progress, 0, 0.2)) if images else None
    progress = part_of(progress, 0.2, 0.6) if images else progress
    with serve(bench.workspace.root) as (address, server), open_browser() as driver:
        visitor = Visitor(driver, address, seed)
        lines = [*_loads(visitor, examples[0], part_of(progress, 0, 0.1))]
        tour, first = _first_visits(bench, visitor, examples, part_of(progress, 0.1, 0.2))
        lines += [*_clicks(visitor, tour, clicks, part_of(progress, 0.3, 0.6)), *first, *_figures(visitor)]
        lines += [_groups(visitor, clicks), _thumbnails(visitor)]
        lines += _memory(visitor, tour, server, minutes, progress)
        version = driver.capabilities.get("browserVersion", "")
        if many is not None:
            lines += beside(driver, bench, many, examples[0], clicks, seed, part_of(progress, 0.8, 0.2))
    return _circumstances(bench, version, busy) | {"lines": [line.document() for line in lines]}


def stored_examples(bench: Workbench) -> tuple[str, ...]:
    """The IDs of the misclassified examples whose datapaths are stored, first the one that the page opens on.

    Raises:
        AevisError: where there are none, or the learned features are missing.
    """
    judged = bench.judging.judged_examples()
    opening = bench.opening(judged)
    names = [opening.example.id] if opening is not None else []
    names += [e.example.id for e in judged if e.misclassified and e.example.id not in names]
    found = tuple(name for name in names if _is_explained(bench, name))
    if not found or bench.learning.stored_features() is None:
        what = "learned features" if found else "example's datapaths"
        raise AevisError(
            f"{bench.workspace.root} has no {what} stored, and speed is measured on what is. "
            f"Say `aevis extract {bench.workspace.root}` first, with --example for a few."
        )
    return found


def _is_explained(bench: Workbench, example: str) -> bool:
    try:
        found = bench.datapaths.triplet(example)
    except AevisError:  # it has no target
        return False
    return found is not None and not found.pending


def _circumstances(bench: Workbench, browser: str, busy: float) -> dict[str, Any]:
    return {
        "workspace": str(bench.workspace.root),
        "model": bench.workspace.settings.model.source,
        "layers": len(bench.layers),
        "feature_maps": bench.layers.n_maps,
        "browser": f"Chromium {browser}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "busy_before": round(busy, 1),
    }


def _loads(visitor: Visitor, example: str, progress: Progress) -> list[Line]:
    begun = visitor.load(example, cold=True)
    cold, warm = [], []
    for i in range(LOADS):
        progress(i / LOADS, "loading the page")
        cold.append(visitor.load(example, cold=True))
        warm.append(visitor.load(example, cold=False))
    said = "from the start of the navigation to the last change painted"
    return [
        from_clicks("first load, server and browser just started", [begun], None, f"{said}; their start included"),
        from_clicks("first load, empty browser cache", cold, LOAD, f"{said}, pictures included"),
        from_clicks("load again", warm, None, said),
    ]


def _first_visits(
    bench: Workbench, visitor: Visitor, examples: tuple[str, ...], progress: Progress
) -> tuple[_Tour, list[Line]]:
    """Visit layers for the first time, when their activation maps are computed; figures are weighed on the way."""
    visitor.weigh(True)
    critical = critical_layers(bench, examples[0])
    drawn = visitor.draw.sample(critical, len(critical))
    wanted = tuple(dict.fromkeys([*critical[:1], *drawn]))[:PLACES]  # the first one has the largest maps
    visitor.load(examples[0], cold=False, opened=groups_around(bench, wanted))
    found = visitor.bars(ids.RIVER, LAYERS)
    layers = tuple(layer for layer in wanted if layer in found)
    times = []
    for i, layer in enumerate(layers):
        progress(i / len(layers), "visiting layers for the first time")
        times.append(visitor.click_bar(ids.RIVER, LAYERS, [layer]))
        visitor.click_bar(ids.TREEMAP, MAPS)
        visitor.click_cell()
    visitor.weigh(False)
    note = "activation maps are computed and stored" if layers else _missing(ids.RIVER, LAYERS)
    return _Tour(examples, layers), [from_clicks("layer, first visit", times, None, note)]


def _round(visitor: Visitor, tour: _Tour) -> dict[str, float | None]:
    return {
        "layer": visitor.click_bar(ids.RIVER, LAYERS, tour.layers),
        "map": visitor.click_bar(ids.TREEMAP, MAPS),
        "cell": visitor.click_cell(),
    }


def _clicks(visitor: Visitor, tour: _Tour, clicks: int, progress: Progress) -> list[Line]:
    times: dict[str, list[float | None]] = defaultdict(list)
    for i in range(clicks):
        progress(i / clicks, "clicking layers, maps and cells")
        for kind, ms in _round(visitor, tour).items():
            times[kind].append(ms)
    for i in range(min(clicks, 10) if len(tour.examples) > 1 else 0):
        times["example"].append(visitor.click_card(tour.examples[(i + 1) % len(tour.examples)]))
    named = {"layer": "layer clicked in the river", "map": "map clicked in the treemap"}
    named |= {"cell": "cell clicked in an activation map", "example": "example clicked in the gallery"}
    limits = {"map": CLICK, "cell": CLICK}
    return [from_clicks(named[kind], found, limits.get(kind)) for kind, found in times.items()]


def _figures(visitor: Visitor) -> list[Line]:
    names = [*dict.fromkeys([*GRAPHS, *visitor.sizes])]
    return [
        Line(f"figure of {name}", "kB", (visitor.sizes[name] / 1000,), FIGURE, "the largest JSON sent")
        if name in visitor.sizes
        else Line(f"figure of {name}", "kB", (), FIGURE, "was not sent while figures were weighed")
        for name in names
    ]


def _groups(visitor: Visitor, clicks: int) -> Line:
    what = "group expanded or closed in the river"
    if not visitor.bars(ids.RIVER, GROUPS):
        return Line(what, "ms", (), GROUP, _missing(ids.RIVER, GROUPS))
    return from_clicks(what, [visitor.click_bar(ids.RIVER, GROUPS) for _ in range(clicks)], GROUP)


def _missing(graph: str, trace: str) -> str:
    return f"the {graph} has no {trace} to click"


def _thumbnails(visitor: Visitor) -> Line:
    found = [visitor.thumbnails(PICTURES, str(i)) for i in range(SHEETS)]
    times = tuple(sheet["ms"] for sheet in found if sheet)
    different = next((int(sheet["different"]) for sheet in found if sheet), 0)
    note = f"none from the browser's cache; of {different} pictures, some repeatedly" if times else "no pictures"
    return Line(f"{PICTURES} thumbnails", "ms", times, THUMBNAILS, note)


def _memory(visitor: Visitor, tour: _Tour, server: int, minutes: float, progress: Progress) -> list[Line]:
    """Warm up, then measure what server, browser and its JavaScript hold before and after minutes of clicking."""
    names = ("server memory", "browser memory", "JavaScript heap")
    if minutes <= 0:
        return [Line(name, "%", (), GROWTH, "say --minutes 30") for name in names]
    for _ in range(WARM):
        _round(visitor, tour)
    samples, clicks, begun = [_memory_held(visitor, server)], 0, time.monotonic()
    while (spent := time.monotonic() - begun) < 60 * minutes:
        progress(0.9 + spent / (600 * minutes), f"clicking for {minutes:g} minutes: {clicks} clicks")
        clicks += len(_round(visitor, tour))
        if spent > 60 * len(samples):
            clicks += _another_example(visitor, tour.examples, len(samples))
            samples.append(_memory_held(visitor, server))
    samples.append(_memory_held(visitor, server))
    before, after = samples[0], samples[-1]
    what = f"growth of {{}} in {minutes:g} minutes, {clicks} clicks"
    return [
        growth(what.format(name), a, b, GROWTH, len(samples)) for name, a, b in zip(names, before, after, strict=True)
    ]


def _another_example(visitor: Visitor, examples: Sequence[str], number: int) -> int:
    visitor.click_card(examples[number % len(examples)])
    return 1


def _memory_held(visitor: Visitor, server: int) -> tuple[float, float, float]:
    heap = visitor.heap()
    return memory(server), memory(visitor.driver.service.process.pid, itself=False), heap
