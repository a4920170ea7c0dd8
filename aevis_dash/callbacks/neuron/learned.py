"""The learned features of the shown map, how far the index of them is, and the picture made for the map."""

from typing import Any

from dash import Dash, Input, Output, State, no_update

from aevis_dash import ids
from aevis_dash.callbacks import pictures, visitors
from aevis_dash.callbacks.view.state import View
from aevis_dash.core.names import NameKind
from aevis_dash.domain import AevisError, FeatureMap
from aevis_dash.layouts.learned import Crop, crops, picture
from aevis_dash.workbench import Workbench

FEATURES = {
    "patches": Output(ids.LEARNED, "children"),
    "part": Output(ids.LEARNED_NOTE, "children"),
    "picture": Output(ids.PICTURE, "children"),
    "no_picture": Output(ids.VISUALISE, "disabled"),
}
_NO_PICTURE = ""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callback that follows the index of learned features."""

    @app.callback(
        Input(ids.LEARN_TICK, "n_intervals"),
        State(ids.SEEN_SO_FAR, "data"),
        State(ids.PAGE, "data"),
        output={
            "text": Output(ids.LEARN_TEXT, "children"),
            "ended": Output(ids.LEARN_TICK, "disabled"),
            "seen": Output(ids.SEEN_SO_FAR, "data"),
            "wanted": Output(ids.LEARN, "data"),
        },
    )
    def look(ticks, before, page):
        """Say how far the index and the names are. The first look of a page starts the job that completes them, where
        they are not complete and the visitor may start jobs."""
        try:
            seen, complete = _seen(bench), bench.naming.complete
            known = [seen, complete or bench.learning.complete, complete]
        except AevisError as error:
            return {"text": str(error), "ended": True, "seen": no_update, "wanted": no_update}
        return {
            "text": in_words(seen, bench.learning.total, complete),
            "ended": complete,
            "seen": no_update if known == before else known,
            "wanted": no_update if ticks or complete or not visitors.may_change() else page,
        }


def shown_features(bench: Workbench, view: View) -> dict[str, Any]:
    """The values of FEATURES for a view: the map's patches, its part, and the picture made for it."""
    chosen, places = _chosen(bench, view), bench.workspace.settings.features.patches
    if chosen is None:
        none = picture(None, "")
        return {"patches": crops([], places), "part": "", "picture": none, "no_picture": True}
    return {
        "patches": crops(best_crops(bench, chosen, view.best, view.example), places),
        "part": "; ".join(filter(None, [_detected(bench, chosen), *_named(bench, chosen, view.example)])),
        **_picture(bench, chosen, view.example),
    }


def _picture(bench: Workbench, chosen: FeatureMap, example: str | None) -> dict[str, Any]:
    made = bench.learning.stored_visualisation(chosen)
    if made is None:
        return {"picture": picture(None, _NO_PICTURE), "no_picture": False}
    best = _best_value(bench, chosen, example)
    beside = "" if best is None else f"; the best patch fires it by {best:.3g}"
    words = f"fires it by {made.activation:.3g}{beside}"
    return {"picture": picture(pictures.picture(bench, chosen), words), "no_picture": True}


def best_crops(bench: Workbench, chosen: FeatureMap, by: str, example: str | None) -> list[Crop]:
    """The best known patches of a map, best first, without those of the example's own pictures."""
    learned, images = bench.learning.stored_features(by), bench.workspace.images
    if learned is None:
        return []
    place, found = bench.layers.place(chosen), []
    for rank in bench.learning.ranks(learned, chosen, example):
        image, row, col = (int(values[place, rank]) for values in (learned.image, learned.row, learned.col))
        words = f"row {row}, column {col} · {by} {learned.value[place, rank]:.3g}"
        name = images[image].file
        found.append(Crop(pictures.patch_inside(bench, name, chosen.layer, row, col), name, words))
    return found


def in_words(seen: int, total: int, complete: bool) -> str:
    """A sentence on how far the index of learned features is."""
    if not seen:
        return f"looking at the first of {total:,} images …"
    if seen < total:
        return f"learned from {seen:,} of {total:,} images …"
    return f"learned from {total:,} images" if complete else f"learned from {total:,} images; naming maps …"


def _chosen(bench: Workbench, view: View) -> FeatureMap | None:
    if view.layer is None or view.map is None:
        return None
    return bench.layers.feature_map(view.layer, view.map)


def _seen(bench: Workbench) -> int:
    index = bench.learning.index()
    return 0 if index is None else index.seen


def _detected(bench: Workbench, chosen: FeatureMap) -> str:
    names = bench.learning.part_names()
    if names is None:
        return ""
    name = names[bench.layers.place(chosen)]
    return f"detects: {name}" if name else "detects no known part"


def _named(bench: Workbench, chosen: FeatureMap, example: str | None) -> list[str]:
    """The names of a map after classes and images, in words."""
    names = bench.naming.of_layer(chosen.layer, example).names[chosen.channel]
    return [str(name) for name in names if name.kind is not NameKind.PART]


def _best_value(bench: Workbench, chosen: FeatureMap, example: str | None) -> float | None:
    learned = bench.learning.stored_features()
    ranks = [] if learned is None else bench.learning.ranks(learned, chosen, example)
    return float(learned.value[bench.layers.place(chosen), ranks[0]]) if learned is not None and ranks else None
