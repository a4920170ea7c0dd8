"""What the cells and the table of a layer show: which critical maps, in which order, with which values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.layer.links import links_of
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import BECAME, LOST, View
from aevis_dash.callbacks.view.steps import Step, cause_of
from aevis_dash.core.names import NameKind
from aevis_dash.domain import Contribution, FeatureMap, Layer, Region, Role, Way
from aevis_dash.figures.cells import FACE, Encoding, number_width
from aevis_dash.figures.drawing import Drawing
from aevis_dash.figures.layer import treemap_figure
from aevis_dash.figures.matrix import matrix_figure
from aevis_dash.figures.theme import Theme
from aevis_dash.geometry.cells import Cell, Few
from aevis_dash.geometry.matrix import laid_out
from aevis_dash.geometry.sets import regions
from aevis_dash.geometry.treemap import Treemap
from aevis_dash.naming import LayerNames
from aevis_dash.sight import one_sight
from aevis_dash.workbench import Triplet, Workbench

TOP = 50
"""The number of maps that the choice "top" keeps."""
_NAMED = 5
"""The number of strongest contributors that are named."""
_ROLE_OF = {role.short: role for role in Role}


_FIRST = {
    LOST: (frozenset({Role.SOURCE}),),
    BECAME: (frozenset({Role.ADVERSARIAL}), frozenset({Role.ADVERSARIAL, Role.TARGET})),
}
"""The maps that are read first for each question, by the datapaths that they are critical to."""


@dataclass(frozen=True)
class Contents:
    """The maps of one layer, as a view shows them.

    Attributes:
        layer: the layer.
        members: the image of every compared datapath, by its key.
        critical: which maps are critical to any of these datapaths, bool (n_l,).
        difference: the activation on the first image of the view's pair minus that on the second, (n_l,).
        contribution: the contributions on the image of the view's cause, (n_l,); None where the layer carries none.
        turning: the part of the margin's change that each map turns back, (n_l,); None where that is not stored.
        regions: the exclusive regions of the maps that the view keeps. Where it keeps all maps or the top ones, the
            strongest contributors that are in no datapath form a region too.
        order: a key for each map, (n_l,); the largest comes first.
    """

    layer: Layer
    members: Mapping[str, str]
    critical: np.ndarray
    difference: np.ndarray
    contribution: np.ndarray | None
    turning: np.ndarray | None
    regions: tuple[Region, ...]
    order: np.ndarray


def contents(bench: Workbench, found: Triplet, view: View, layer: Layer, traced: Contribution | None) -> Contents:
    """The layer's maps as the view sorts and keeps them.

    Raises:
        AevisError: for compared images without a datapath.
    """
    members = found.members(view.compared)
    paths = {key: bench.layers.part(found.path_of(image).critical, layer.index) for key, image in members.items()}
    difference = bench.maps.difference(found, layer.index, *pair_of(view))
    values = None if traced is None else traced.strength(tuple(Role).index(Role(view.cause)))
    turning = turning_of(bench, found, layer)
    rank = ranking(view.sort, difference, values, turning)
    union = np.logical_or.reduce(list(paths.values()))
    shown = kept_maps(view.keep, paths, np.abs(difference) if view.sort == "channel" else rank)
    inside = regions({key: critical & shown for key, critical in paths.items()})
    outside = tuple(sorted(c for c in strongest(values) if not union[c])) if view.keep in ("all", "top") else ()
    inside += (Region(frozenset(), outside),) if outside else ()
    return Contents(layer, members, union, difference, values, turning, inside, rank)


def turning_of(bench: Workbench, found: Triplet, layer: Layer) -> np.ndarray | None:
    """The part of the margin's change that each map of the layer turns back, (n_l,); None where it is not stored."""
    turning = bench.flips.stored_turning(found.plan.example.id)
    return None if turning is None else bench.layers.part(turning.shares, layer.index)


def pair_of(view: View) -> tuple[Role, Role]:
    """The two roles whose activations the view compares."""
    first, second = (_ROLE_OF[name] for name in view.pair.split("-"))
    return first, second


def ranking(
    sort: str, difference: np.ndarray, contribution: np.ndarray | None = None, turning: np.ndarray | None = None
) -> np.ndarray:
    """(n_l,) the key by which cells are sorted, largest first.

    It is the contribution or the turning effect where that is wanted and there, what puts the channels in ascending
    order, or else |difference|.
    """
    if sort == "channel":
        return -np.arange(len(difference), dtype=float)
    wanted = {"contribution": contribution, "turning": turning}.get(sort)
    return np.abs(difference) if wanted is None else wanted


def kept_maps(keep: str, paths: Mapping[str, np.ndarray], rank: np.ndarray) -> np.ndarray:
    """(n_l,) bool, which maps are shown, where they are critical.

    Args:
        keep: "all"; "src", "adv" or "tar" for the maps of that datapath alone; "shared" for those of at least two
            datapaths; "top" for the TOP critical maps of largest `rank`.
        paths: the critical maps of each datapath, bool (n_l,), by its key.
        rank: the key by which cells are sorted, (n_l,).
    """
    count = np.sum(list(paths.values()), axis=0)
    if keep in _ROLE_OF:
        return (count == 1) & paths.get(_ROLE_OF[keep], np.zeros(len(rank), bool))
    if keep == "shared":
        return count > 1
    if keep == "top":
        order = np.argsort(-np.where(count > 0, np.nan_to_num(rank), -np.inf), kind="stable")
        return np.isin(np.arange(len(rank)), order[:TOP])
    return np.ones(len(rank), bool)


def contribution_to(bench: Workbench, found: Triplet, step: Step | None, way: Way) -> Contribution | None:
    """The contributions of a step, where they are stored; else those to first order, which take one pass.

    None where there is no step.
    """
    if step is None:
        return None
    cause = cause_of(bench.layers, step)
    return bench.contributions.find_stored(found, *cause, way) or bench.contributions.contribute(
        found, *cause, replace(way, method="quadratic")
    )


def drawing(
    bench: Workbench,
    shown: Contents,
    view: View,
    theme: Theme,
    size: tuple[float, float],
    selected: int | None,
    marked: Sequence[int] = (),
    picked: Sequence[int] = (),
) -> Drawing:
    """The treemap or the matrix of a layer's contents in `size` pixels.

    The figure's `meta` names the `hidden` maps: those that would have a cell if they were selected, marked or picked.
    """
    always = tuple(channel for channel in (selected, *marked, *picked) if channel is not None)
    few = Few(width=max(Few.width, number_width(shown.layer.channels)), always=always) if view.cells == "few" else None
    layout = laid_out(shown.regions, *size, shown.order, _FIRST[view.question], few)
    faces = faces_of(bench, shown.layer, layout.cells, view.example) if view.faces == "on" else {}
    first, second = pair_of(view)
    names = names_of(bench, shown.layer, view.example)
    encoding = Encoding(
        shown.difference,
        shown.contribution,
        shown.turning,
        selected,
        marked,
        picked,
        f"{first.short} - {second.short}",
        parts_of(names),
        faces,
        said_of(names),
        links_of(bench, view.example, shown.layer),
    )
    if isinstance(layout, Treemap):
        figure = treemap_figure(layout, encoding, theme)
    else:
        figure = matrix_figure(layout, encoding, theme)
    drawn = {cell.channel for cell in layout.cells}
    few_drawn = isinstance(layout, Treemap) and any(layout.rests)
    hidden = [c for region in shown.regions for c in region.channels if c not in drawn] if few_drawn else []
    return figure | {"layout": figure["layout"] | {"meta": {"hidden": hidden}}}


def strongest(values: np.ndarray | None) -> list[int]:
    """The channels of the contributors that are named: the largest ones, fewer where not so many contribute at all."""
    if values is None:
        return []
    ranked = np.argsort(-values, kind="stable")[:_NAMED]
    return [int(c) for c in ranked if values[c] > 0]


def more_than_all(values: np.ndarray) -> str:
    """A sentence that explains parts of an effect of more than 100 %; "" where there are none."""
    return ", more than 100 % where other maps work against it" if (values > 1).any() else ""


@one_sight()
def faces_of(bench: Workbench, layer: Layer, cells: Sequence[Cell], example: str | None) -> dict[int, str]:
    """The address of the first learned feature of every map whose cell has room for it, by channel.

    The files that these depend on are looked at once for all of them.
    """
    large = [cell.channel for cell in cells if min(cell.rect.width, cell.rect.height) >= FACE]
    faces = {channel: pictures.first_crop(bench, FeatureMap(layer.index, channel), example) for channel in large}
    return {channel: address for channel, address in faces.items() if address}


def names_of(bench: Workbench, layer: Layer, example: str | None) -> LayerNames:
    """The names of a layer's maps beside an example, as far as they are stored."""
    return bench.naming.of_layer(layer.index, example)


def said_of(names: LayerNames) -> dict[int, str]:
    """What is said of each map of a layer, by channel; nothing of maps whose names are not known yet."""
    said = {channel: names.said(channel) for channel in range(len(names.names))}
    return {channel: words for channel, words in said.items() if words}


def parts_of(names: LayerNames) -> dict[int, str]:
    """The part that each map of a layer detects, with the overlap, by channel, where parts are known."""
    return {
        channel: f"{name.name} {name.score:.2f}"
        for channel, own in enumerate(names.names)
        for name in own
        if name.kind is NameKind.PART
    }


def winners_of(bench: Workbench, view: View) -> list[int]:
    """The channels of the strongest contributors that the view shows."""
    found = stored_triplet(bench, view)
    traced = contribution_to(bench, found, view.traced, view.way) if found is not None else None
    return strongest(traced.strength(tuple(Role).index(Role(view.cause)))) if traced is not None else []
