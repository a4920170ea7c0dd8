"""AEVis Dash from Python, such as in a notebook: `import aevis_dash` gives these functions.

A workbench answers every question of the page and the command line by its parts, such as `bench.attacks.attack`,
`bench.datapaths.extract`, `bench.contributions.contribute` and `bench.flips.verify`. The figures are those of the page,
as Plotly figures, which notebooks show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from aevis_dash import make_workspace, new_like
from aevis_dash.callbacks.layer.contents import contents, contribution_to, drawing, strongest
from aevis_dash.callbacks.network.river import picture_of
from aevis_dash.callbacks.neuron.activations import firing_of, firings
from aevis_dash.callbacks.view.address import check, from_search
from aevis_dash.callbacks.view.opening import comparable, settle
from aevis_dash.callbacks.view.state import View, from_data, wanted_of, without_own
from aevis_dash.classes import in_order
from aevis_dash.core.array_files import array_of
from aevis_dash.core.image_batch import ArrayReading
from aevis_dash.core.loading import Model
from aevis_dash.domain import IN_MEMORY, AevisError, ModelSpec, Preprocessing
from aevis_dash.figures.beside import profiles_figure
from aevis_dash.figures.neuron import Room, activation_figure
from aevis_dash.figures.theme import LIGHT
from aevis_dash.new_preprocessing import choose_preprocessing
from aevis_dash.sample import Sample
from aevis_dash.two_models import TwoModels, compare
from aevis_dash.workbench import Triplet, Workbench, open_workbench

WIDTH, HEIGHT, ROW = 900, 420, 300
"""The pixels of the width of all figures, of the height of a layer's, and of that of a map's."""


def open_workspace(folder: str | Path, model: Model | None = None) -> Workbench:
    """Open a workspace.

    Args:
        folder: the folder of the workspace.
        model: the model, where the workspace was made of one in memory; it is put into eval mode. None to load the one
            that the workspace names.

    Returns:
        Its workbench.

    Raises:
        AevisError: the workspace or its model cannot be read, or a model in memory is needed and not given.
    """
    root = Path(folder)
    bench = open_workbench(root, model)
    if model is not None and not bench.workspace.settings.model.in_memory:
        raise AevisError(
            f"{root} names its model, {bench.workspace.settings.model.source}. Open it without a model, or make "
            "another workspace of the model in memory."
        )
    _ = bench.classifier
    return bench


def init_workspace(
    folder: str | Path,
    model: Model | str,
    images: np.ndarray | str | Path,
    labels: Sequence[int | str | None] | str | Path | None = None,
    *,
    classes: Sequence[str] | str | Path | None = None,
    weights: str = "",
    leaf: Sequence[str] = (),
    layout: str | None = None,
    span: tuple[float, float] | None = None,
    **preprocessing: Any,
) -> Workbench:
    """Make a workspace of a model and normal images, as `aevis init` does.

    Args:
        folder: the folder of the new workspace. Results are kept in it; results of another model are never taken for
            those of this one.
        model: the model itself, or where it comes from, such as "torchvision:resnet50".
        images: a batch of images, (N, H, W, C) or (N, C, H, W), from 0 to 1 or from 0 to 255; or a folder of images, or
            a file of arrays.
        labels: the class of each image of a batch, by name or index, None where it is unknown; or a file of labels.
        classes: the class names in the order of the model's outputs, or a file of them; None for those that the model's
            library publishes.
        weights: a file of weights, or a name that the model's library knows, for a model that is named.
        leaf: the modules that are kept whole when the model is traced.
        layout: "NHWC" or "NCHW" for a batch, where both can be.
        span: the values of black and of white in a batch; None to tell them from the values.
        preprocessing: how an image becomes the model's input, as `input_size`, `mean`, `std`, `value_range`, `fit`,
            `resize_size` and `interpolation`. For a model in memory and a batch `input_size` may be left out: it is
            that of the batch.

    Returns:
        The workbench of the new workspace.

    Raises:
        AevisError: the model, an image or a label cannot be used, or there is a workspace already.
    """
    given, root = _fields(preprocessing), Path(folder)
    spec, in_memory = _model_of(model, weights, leaf)
    if not isinstance(images, str | Path):
        images = array_of(images)
    if labels is not None and not isinstance(labels, str | Path):
        labels = np.asarray(labels).tolist() if hasattr(labels, "__array__") else list(labels)
    if in_memory is not None and isinstance(images, np.ndarray) and images.ndim == 4:
        given.setdefault("input_size", images.shape[1:3] if images.shape[3] <= images.shape[1] else images.shape[2:])
    chosen, _ = choose_preprocessing(spec, given)
    make_workspace.init_workspace(
        root,
        spec,
        images if isinstance(images, np.ndarray) else Path(images),
        Path(labels) if isinstance(labels, str) else labels,
        _names(classes),
        chosen,
        reading=ArrayReading(layout=layout, span=span),
        given=in_memory,
    )
    return open_workspace(root, in_memory)


def init_like(
    folder: str | Path,
    like: Workbench,
    model: Model | str,
    *,
    classes: Sequence[str] | str | Path | None = None,
    weights: str = "",
    leaf: Sequence[str] = (),
    **preprocessing: Any,
) -> Workbench:
    """Make a workspace of another model on the images, labels and pairs of a workspace, as `aevis init --like` does.

    Args:
        folder: the folder of the new workspace.
        like: the workbench of the workspace whose images and pairs are taken.
        model: as of `init_workspace`.
        classes: as of `init_workspace`; None for those that the model's library publishes, or else those of `like`.
        weights: as of `init_workspace`.
        leaf: as of `init_workspace`.
        preprocessing: `input_size`, `mean`, `std` and `value_range`, where they are not those of `like` or of the
            model's library. Images are always fitted to the input as in `like`.

    Returns:
        The workbench of the new workspace.

    Raises:
        AevisError: the model cannot be used or has other classes, or there is a workspace already.
    """
    spec, in_memory = _model_of(model, weights, leaf)
    if not isinstance(like, Workbench):
        raise AevisError(
            f"like is a {type(like).__name__}, and no workbench. Open it: aevis_dash.open_workspace(FOLDER)"
        )
    given = _fields(preprocessing)
    new_like.init_like(Path(folder), like.workspace, spec, _names(classes), given, in_memory)
    return open_workspace(folder, in_memory)


def beside(
    first: Workbench, second: Workbench, examples: Sequence[str] | None = None, count: int = 20, seed: int = 0
) -> TwoModels:
    """Set two models beside one another on the pairs that their workspaces share, as `aevis beside` does.

    Args:
        first: the workbench of the first model, whose misclassified pairs are taken.
        second: that of the second model.
        examples: the IDs of the first workspace's examples; None for `count` shared pairs at random.
        count: the number of pairs that are drawn.
        seed: of the draw, and of the intervals.

    Returns:
        The comparison: `lines` has medians with intervals, `medians` the layer profiles, `pairs` each pair's numbers,
        and `kin` the test of which maps are the same. `profiles` draws it.

    Raises:
        AevisError: the models have other classes, or the workspaces share no such pair.
    """
    return compare(first, second, Sample(count, seed), first.workspace.settings.extraction, examples)


def profiles(found: TwoModels, example: str | None = None) -> go.Figure:
    """The layer profiles of two models that `beside` has compared: medians over the pairs.

    Args:
        found: the comparison.
        example: the ID of one of its pairs in the first workspace, whose own profiles are drawn too; None for none.

    Raises:
        AevisError: the comparison has no such pair.
    """
    shown = next((pair for pair in found.pairs if pair.pair.first.example.id == example), None)
    if example is not None and shown is None:
        raise AevisError(f"{example!r} is none of the pairs that were compared. Name it to aevis_dash.beside.")
    return profiles_figure(found, LIGHT, shown)


def river(bench: Workbench, example: str | None = None, link: str = "", **view: Any) -> go.Figure:
    """The river of an example: where adv's datapath leaves src's and joins tar's. Its datapaths are extracted where
    they are not stored.

    Args:
        bench: the workbench of the workspace.
        example: the ID of the example; None for the one of the link, or the one that the page opens with.
        link: the address of a page, whose view is taken.
        view: further fields of the view, as the page's address has them, such as `method="elimination"`.

    Raises:
        AevisError: there is no such example, or its datapaths cannot be extracted.
    """
    shown, found = _shown(bench, example, link, view)
    return picture_of(bench, found, shown, LIGHT, coming=False).figure


def layer(bench: Workbench, example: str | None = None, link: str = "", **view: Any) -> go.Figure:
    """The treemap of a layer: its critical maps as sets of the datapaths.

    Args:
        bench: the workbench of the workspace.
        example: as of `river`.
        link: as of `river`.
        view: as of `river`; `layer` names the layer. Without it, it is the one where src and adv part most.

    Raises:
        AevisError: as of `river`, and where there is no such layer.
    """
    shown, found = _shown(bench, example, link, view)
    assert shown.layer is not None  # settled
    traced = contribution_to(bench, found, shown.traced, shown.way)
    inside = contents(bench, found, shown, bench.layers.find(shown.layer), traced)
    size = (WIDTH, HEIGHT)
    figure = drawing(bench, inside, shown.but(faces="off"), LIGHT, size, shown.map, strongest(inside.contribution))
    return go.Figure(figure).update_layout(width=WIDTH, height=HEIGHT)


def activations(bench: Workbench, example: str | None = None, link: str = "", **view: Any) -> go.Figure:
    """Where a feature map fires on src, adv and tar.

    Args:
        bench: the workbench of the workspace.
        example: as of `river`.
        link: as of `river`.
        view: as of `layer`; `map` is the number of the map, and `look` "maps" or "difference".

    Raises:
        AevisError: as of `layer`, and where the layer has no such map.
    """
    shown, _ = _shown(bench, example, link, view)
    firing = firing_of(bench, shown)
    if firing is None:
        raise AevisError(f"No map of {shown.layer} is chosen. Say map=NUMBER.")
    look = "difference" if shown.look == "difference" else "maps"  # images have addresses that only the page serves
    return go.Figure(activation_figure(firings(bench, firing), look, firing.area, LIGHT, Room(WIDTH, ROW)))


def _names(classes: Any) -> Path | tuple[str, ...] | None:
    """The class names, or the file that holds them."""
    if classes is None or isinstance(classes, str | Path):
        return None if classes is None else Path(classes)
    return in_order(classes)


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing that was given, with tuples where arrays or single numbers were given.

    Raises:
        AevisError: there is no such field, or it holds no numbers.
    """
    known = [field.name for field in fields(Preprocessing)]
    if unknown := [name for name in given if name not in known]:
        raise AevisError(f"There is no {unknown[0]!r} in a preprocessing. It has: {', '.join(known)}.")
    found = dict(given)
    for name in ("input_size", "resize_size", "mean", "std", "value_range"):
        value = found.get(name)
        if value is None:
            continue
        try:
            numbers = np.asarray(value, float).reshape(-1).tolist()
        except (TypeError, ValueError) as error:
            raise AevisError(f"{name} is {value!r}, and no numbers. Give a tuple of numbers.") from error
        if name in ("input_size", "resize_size"):
            numbers = [int(number) for number in numbers] * (2 if len(numbers) == 1 else 1)
        found[name] = tuple(numbers)
    return found


def _model_of(model: Model | str, weights: str, leaf: Sequence[str]) -> tuple[ModelSpec, Model | None]:
    """Where a model comes from, and the model itself where it is in memory."""
    if model is None:
        raise AevisError("There is no model. Hand over a torch.nn.Module, or name one, such as torchvision:resnet50.")
    source, in_memory = (model, None) if isinstance(model, str) else (IN_MEMORY + type(model).__name__, model)
    return ModelSpec(source, weights, leaf=" ".join(leaf)), in_memory


def _shown(bench: Workbench, example: str | None, link: str, fields: Mapping[str, Any]) -> tuple[View, Triplet]:
    """The view as the page would show it, and its datapaths."""
    view = from_search("?" + link.partition("?")[2]) if link else View()
    if unknown := [name for name in fields if name not in View.__dataclass_fields__]:
        raise AevisError(f"There is no {unknown[0]!r} in a view. It has: {', '.join(View.__dataclass_fields__)}.")
    view = from_data({**view.to_data(), **fields})
    if example is not None:
        view = view.but(example=example)
    if view.example is None:
        opened = bench.opening(bench.judging.judged_examples())
        if opened is None:
            raise AevisError("No example is misclassified. Attack images first: bench.attacks.attack(...).")
        view = view.but(example=opened.example.id)
    view, _ = comparable(bench, view)
    check(view, bench)
    own = bench.workspace.settings.extraction
    view = without_own(view, own)
    assert view.example is not None
    found = bench.datapaths.extract(view.example, view.target, wanted=wanted_of(view, own))
    return settle(bench, view), found
