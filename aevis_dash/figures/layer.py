"""The layer view: the sets of critical feature maps as a treemap (Sec. 5.3, Fig. 7)."""

from typing import Any

from aevis_dash.domain import Region
from aevis_dash.figures.cells import Encoding, box, cells_drawing, small_text, together
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.theme import CHARACTER, Theme, fade
from aevis_dash.geometry.cells import STRIP, has_label
from aevis_dash.geometry.treemap import Treemap

NOTHING = "No feature map to show here: none of this layer is critical for any of these predictions, or none is kept."


def treemap_figure(treemap: Treemap, encoding: Encoding, theme: Theme) -> Drawing:
    """A layer's critical maps as nested rectangles, as plotly.js reads them (see `cells_drawing`)."""
    regions = [region for region, _ in treemap.regions]
    rests = [(region, rest) for region, rest in zip(regions, treemap.rests, strict=True) if rest is not None]
    drawing = cells_drawing(treemap.cells, regions, encoding, theme, treemap.width, treemap.height, rests)
    if not treemap.cells:
        return empty(drawing, theme)
    shapes = [*_backgrounds(treemap, theme), *_set_frames(treemap, theme), *drawing["layout"]["shapes"]]
    return drawing | {"layout": drawing["layout"] | {"shapes": shapes, "annotations": _labels(treemap, theme)}}


def empty(drawing: Drawing, theme: Theme) -> Drawing:
    """The drawing, with a sentence where there are no cells."""
    place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
    note = {"text": NOTHING.replace(": ", ":<br>"), "showarrow": False, "font": {"color": theme.faint}, **place}
    return {"data": [], "layout": drawing["layout"] | {"dragmode": False, "annotations": [note]}}


def _backgrounds(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    return [
        box(rect, 1.5, fillcolor=fade(theme.paths(region.paths), 0.2), line={"width": 0}, layer="below")
        for region, rect in treemap.regions
    ]


def _set_frames(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    return [
        box(rect, 1.0, line={"color": theme.path(path), "width": 2}, layer="below")
        for path, rect in treemap.sets.items()
    ]


def _labels(treemap: Treemap, theme: Theme) -> list[dict[str, Any]]:
    labels = []
    for (region, rect), smaller in zip(treemap.regions, treemap.smaller, strict=True):
        if has_label(rect) and (text := _label(region, smaller, rect.width - 8)):
            labels.append(small_text(text, rect.x + 4, rect.y + 2 + STRIP / 2, theme.paths(region.paths)))
    return labels


def _label(region: Region, smaller: int, room: float) -> str:
    """The longest of the region's labels that fits in `room` pixels; "" where none does."""
    names, count = together(region.paths), len(region.channels) - smaller
    alone = " only" if len(region.paths) == 1 else ""
    more = f" +{smaller} smaller" if smaller else ""
    short = f" +{smaller}" if smaller else ""
    choices = (f"{names}{alone} · {count}{more}", f"{names} · {count}{more}", f"{names} · {count}{short}")
    choices += (f"{names.replace(' ', '')} · {count}{short}", names if not smaller else "", f"{count}{short}")
    return next((text for text in choices if text and len(text) * CHARACTER <= room), "")
