"""The verbs of the command line. Each takes its options and a progress, and answers for machines and for people."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aevis_dash import make_workspace
from aevis_dash.cli import (
    answers,
    attack_options,
    beside,
    edges,
    importing,
    making,
    names,
    scores,
    serving,
    storing,
    studies,
    trails,
    users,
    verifications,
)
from aevis_dash.cli.layer_maps import maps_of_layer
from aevis_dash.cli.opening import earlier_layer, on_workspace
from aevis_dash.cli.output import Answer, check_writable, facts_text, pairs, table
from aevis_dash.config import ExtractionParameters, Progress, part_of
from aevis_dash.core import halving, loading
from aevis_dash.core.datapath import check_methods
from aevis_dash.domain import (
    PREDICTION,
    WHOLE_PREDICTION,
    AevisError,
    AreaOfInterest,
    Example,
    FeatureMap,
    Intervention,
    Layer,
    Role,
    Way,
    so_many,
)
from aevis_dash.float_images import SUFFIX
from aevis_dash.images import write_image
from aevis_dash.labels import ImageEntry, read_targets
from aevis_dash.workbench import Triplet, Workbench


def check_device() -> None:
    """Raise AevisError where torch cannot use the device on which the model is to run."""
    loading.device()


def memory_refusal(error: Exception) -> AevisError | None:
    """The refusal to show where an error says that the memory is too small; None for another error."""
    return halving.too_small(None, error) if halving.is_out_of_memory(error) else None


@on_workspace
def check(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Read everything a workspace refers to and run its model."""
    found = make_workspace.check_workspace(bench, progress)
    return Answer(found.facts, facts_text(found.facts), found.doubts)


@on_workspace
def attack(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Attack normal images and say what became of each."""
    target, entries = _target(bench, args), _entries(bench, args.image, args.class_name)
    entries, left_out = _with_target(entries, target)
    if not entries:
        raise AevisError(
            f"No chosen image is named in {args.targets}, with another class to end in than its own. Choose others."
            if args.targets
            else f"Every chosen image is of the class {args.target!r} already. Choose another --target."
        )
    planned, epsilons = attack_options.attacks_of(bench.workspace.settings.attack, args)
    made: list[Example] = []
    for i, wanted in enumerate(planned):
        inner = part_of(progress, i / len(planned), 1 / len(planned))
        made += bench.attacks.attack(entries, target, wanted, inner, epsilons)
    margin = planned[0].margin if planned[0].stop else None
    outcomes = [answers.attack_facts(bench, judged, margin) for judged in bench.judging.judged_examples(among=made)]
    fooled = sum(outcome["success"] for outcome in outcomes)
    lost = sum(bool(example.lost_in_8_bits) for example in made)
    floats = sum(example.adversarial.endswith(SUFFIX) for example in made)
    document = {
        "attacked": len(made),
        **({"without_target": left_out} if args.targets else {}),
        "successful": fooled,
        "lost_in_8_bits": lost,
        "kept_as_floats": floats,
        "margin": margin,
        "examples": outcomes,
    }
    text = table(
        ["example", "source", "adversarial", "success", "L∞", "margin", "why not"],
        [answers.attack_row(outcome) for outcome in outcomes],
    )
    with_margin = "" if margin is None else f" with a margin of at least {margin:g}"
    may = not any(wanted.floats for wanted in planned)
    kept = "; --floats keeps such images as floats" if may else ""
    of_rounding = f" Rounding to 8 bits undid {lost} that had succeeded{kept}." if lost else ""
    of_rounding += f" It would have undone {floats}, which are kept as floats; their pictures are rounded." * bool(
        floats
    )
    of_table = f" {so_many(left_out, 'image')} without a target of another class." if left_out and args.targets else ""
    return Answer(document, f"{text}\n\n{fooled} of {len(made)} attacks succeeded{with_margin}.{of_rounding}{of_table}")


@on_workspace
def extract(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Find the datapaths of examples, and last the learned features of every map."""
    ids = args.example or [j.example.id for j in bench.judging.judged_examples(progress) if j.misclassified]
    if not ids:
        raise AevisError(f"No example in {args.workspace} is misclassified. Make some with `aevis attack`.")
    _insist(bench, args, args.example)
    wanted = _extraction_parameters(bench, args)
    layer = None if args.layer is None else bench.layers.find(args.layer)
    if args.set:
        return _extract_set(bench, args, ids, wanted, progress)
    for example in args.example or ():
        bench.datapaths.plan(
            bench.workspace.example(example), wanted, args.target
        )  # refused before anything is computed
    found: list[dict[str, Any]] = []
    for i, example in enumerate(ids):
        inner = _progress_of_item(progress, i, len(ids) + 1, f"{example}: ")
        found.append(_extract_one(bench, example, args.target, wanted, layer, inner, must=bool(args.example)))
    if not args.no_features:
        bench.learning.features(_progress_of_item(progress, len(ids), len(ids) + 1))
    if all("refused" in each for each in found):
        raise AevisError(f"None of the {len(found)} examples can be explained. The first: {found[0]['refused']}")
    return Answer({"examples": found}, "\n\n".join(answers.extraction_text(each) for each in found))


def _extract_set(
    bench: Workbench, args: argparse.Namespace, ids: Sequence[str], wanted: ExtractionParameters, progress: Progress
) -> Answer:
    """One datapath for the adversarial images of several examples."""
    if args.target is not None:
        raise AevisError("--set explains the adversarial images alone, without a target. Leave out --set or --target.")
    if args.layer is not None:
        raise AevisError("--layer lists the maps of one example. Leave out --set or --layer.")
    examples = [bench.workspace.example(i) for i in dict.fromkeys(ids)]
    path = bench.datapaths.extract_set([e.adversarial for e in examples], wanted, _progress_of_item(progress, 0, 2))
    if not args.no_features:
        bench.learning.features(_progress_of_item(progress, 1, 2))
    document = answers.set_extraction(bench, examples, path, wanted)
    return Answer(document, answers.set_extraction_text(document))


@on_workspace
def learn(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Complete the learned features of every map, and make a picture for a map where the options name one."""
    chosen = _map_to_draw(bench, args)
    begun = time.perf_counter()
    index = bench.naming.learn(progress)
    document = answers.learned_facts(bench, index, round(time.perf_counter() - begun, 1))
    if chosen is not None:
        made = bench.learning.visualise(chosen, progress)
        write_image(args.figure, made.image)
        document |= {"figure": str(args.figure), "activation": made.activation}
    return Answer(document, pairs(document))


def _map_to_draw(bench: Workbench, args: argparse.Namespace) -> FeatureMap | None:
    """The map that a picture is wanted for; None where no option says so."""
    given = (args.layer, args.map, args.figure)
    if given == (None, None, None):
        return None
    if None in given:
        raise AevisError("A picture needs a --layer, a --map and a --figure to write it to. Give all three, or none.")
    check_writable(args.figure)
    return bench.layers.feature_map(args.layer, args.map)


@on_workspace
def contribute(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Find which earlier feature maps make a map, or the prediction, fire. The example is extracted first where
    needed."""
    _insist(bench, args, [args.example])
    target = _effect(bench, args)
    earlier, way = earlier_layer(bench, target.layer, args.earlier), Way(args.how, args.foil)
    bench.contributions.check(target, earlier.index, way)
    area = _area(bench, target, args)
    wanted = _extraction_parameters(bench, args)
    triplet = bench.datapaths.extract(args.example, args.target, _progress_of_item(progress, 0, 2), wanted, nulls=False)
    on = None
    if area is None:
        on, area = _most_active(bench, triplet, target, args)
    result = bench.contributions.contribute(
        triplet, target, area, earlier.index, way, _progress_of_item(progress, 1, 2)
    )
    document = answers.contribution(bench, triplet, result, wanted, on)
    return Answer(document, answers.contribution_text(document))


@on_workspace
def verify(bench: Workbench, args: argparse.Namespace, progress: Progress) -> Answer:
    """Replace feature maps of one run by those of another, and see whether the prediction turns, beside chance."""
    if args.map and len(set(args.layer or ())) != 1:
        raise AevisError("--map names maps of one layer. Say which, with one --layer.")
    names = dict.fromkeys(args.layer or ())
    layers = [bench.layers.find(name).index for name in names] or bench.flips.depths()
    _insist(bench, args, [args.example])
    found = []
    maps = None if args.map is None else tuple(args.map)
    for i, layer in enumerate(layers):
        progress(i / len(layers), f"replacing maps of {bench.layers.layers[layer].name}")
        found.append(bench.flips.verify(args.example, Intervention(layer, maps, args.replace, args.random, args.seed)))
    document = verifications.verification(bench, args.example, args.replace, found)
    return Answer(document, verifications.verification_text(document))


_HERE = (check, attack, extract, learn, contribute, verify)
VERBS: Mapping[str, Callable[[argparse.Namespace, Progress], Answer]] = MappingProxyType(
    {
        "import": importing.import_adversarials,
        "store": storing.store,
        "sweep": storing.sweep_store,
        **{
            verb.__name__: verb
            for verb in (
                *_HERE,
                serving.serve,
                serving.worker,
                making.init,
                making.world,
                scores.score,
                trails.trail,
                edges.edges,
                names.names,
                studies.diverge,
                beside.beside,
                studies.evaluate,
                studies.benchmark,
                users.user,
            )
        },
    }
)


# From options to values


def _insist(bench: Workbench, args: argparse.Namespace, example_ids: Sequence[str] | None) -> None:
    """Note in the table that the user insists on the examples, where the options say so."""
    if args.allow_large and not example_ids:
        raise AevisError("--allow-large needs to know what is meant. Name the examples with --example.")
    if args.allow_large and example_ids:
        bench.judging.allow_large(example_ids)


def _entries(bench: Workbench, files: Sequence[str] | None, class_name: str | None) -> list[ImageEntry]:
    entries = list(bench.workspace.images)
    known = {entry.file: entry for entry in entries}
    unknown = [file for file in files or () if file not in known]
    if unknown:
        raise AevisError(
            f"There is no image {unknown[0]!r} in {bench.workspace.root / 'images.csv'}. Images are named as there, "
            f"such as {next(iter(known), '(none)')!r}."
        )
    chosen = [known[file] for file in dict.fromkeys(files)] if files else entries
    if class_name is None:
        return chosen
    label = _class(bench, class_name, "--class")
    of_class = [entry for entry in chosen if entry.label == label]
    if not of_class:
        raise AevisError(f"No chosen image has the label {class_name!r} in images.csv. Choose another --class.")
    return of_class


def _target(bench: Workbench, args: argparse.Namespace) -> int | str | Mapping[str, int] | None:
    """The class that the attacks aim at, or that of each image by its file."""
    if args.targets is None:
        if args.count_from is not None:
            raise AevisError("--count-from says how the table of --targets counts. Give both, or leave it out.")
        return args.target if args.target in (None, "nearest") else _class(bench, args.target, "--target")
    if args.target is not None:
        raise AevisError("--target and --targets both say where the attacks are to end. Leave out one of them.")
    images = [entry.file for entry in bench.workspace.images]
    folder = Path(bench.workspace.settings.images).name
    return read_targets(args.targets, images, folder, bench.workspace.classes, args.count_from)


def _with_target(
    entries: Sequence[ImageEntry], target: int | str | Mapping[str, int] | None
) -> tuple[list[ImageEntry], int]:
    """The images that have another class to end in than their own, and the number of the others."""
    aims = target if isinstance(target, Mapping) else {entry.file: target for entry in entries}
    kept = [e for e in entries if e.file in aims and (e.label is None or e.label != aims[e.file])]
    return kept, len(entries) - len(kept)


def _class(bench: Workbench, text: str, option: str) -> int:
    label = bench.workspace.classes.label(text, option)
    if label is None:
        names = bench.workspace.root / "classes.txt"
        raise AevisError(f"{option} is empty. Give the name of a class or its index, as in {names}.")
    return label


def _extraction_parameters(bench: Workbench, args: argparse.Namespace) -> ExtractionParameters:
    """The workspace's extraction parameters, with those that options give instead."""
    wanted = attack_options.parameters_with(args, bench.workspace.settings.extraction, ["method", "share"])
    check_methods([wanted.method])
    return wanted


def _effect(bench: Workbench, args: argparse.Namespace) -> FeatureMap:
    """The feature map that the options name, or the prediction where they name none.

    Options that contradict one another are refused before anything is computed.
    """
    if args.most_active is not None and args.area is not None:
        raise AevisError("--area and --most-active both choose the neurons. Leave one out.")
    if args.most_active is None and args.on is not None:
        raise AevisError("--on says on whose image the neurons of --most-active fire most. Give both, or neither.")
    if args.map is not None and args.layer is not None:
        return bench.layers.feature_map(args.layer, args.map)
    if args.map is not None or args.layer is not None:
        raise AevisError("A feature map has a --layer and a --map. Give both, or neither for the prediction itself.")
    if args.area is not None or args.most_active is not None:
        raise AevisError("--area and --most-active choose neurons of a feature map. Say which: --layer and --map.")
    return PREDICTION


def _area(bench: Workbench, target: FeatureMap, args: argparse.Namespace) -> AreaOfInterest | None:
    """The area that the options name; None for the neurons that fire most, because their image is not known yet."""
    if target == PREDICTION:
        return WHOLE_PREDICTION
    if args.most_active is not None:
        return None
    layer = bench.layers.layers[target.layer]
    top, left, bottom, right = args.area or (0, 0, layer.height, layer.width)
    area = AreaOfInterest(layer.index, top, left, bottom, right)
    bench.contributions.check_area(area)
    return area


def _most_active(
    bench: Workbench, triplet: Triplet, target: FeatureMap, args: argparse.Namespace
) -> tuple[Role, AreaOfInterest]:
    """The neurons of a map that fire most, and the role on whose image: the options' role, else the map's own."""
    on = next((role for role in Role if role.short == args.on), None) or bench.maps.role_of(triplet, target)
    most = bench.maps.most_active(triplet.image(on), target, args.most_active)
    if most is None:
        name = bench.layers.layers[target.layer].name
        raise AevisError(f"Map {target.channel} of {name!r} does not fire on {on.short} at all. Choose another.")
    return on, most


def _extract_one(
    bench: Workbench,
    example: str,
    target: str | None,
    wanted: ExtractionParameters,
    layer: Layer | None,
    progress: Progress,
    must: bool,
) -> dict[str, Any]:
    """One example's datapaths as a document, and the maps of a layer that the options name.

    Where it need not be extracted (`must`), the document may say why not.
    """
    try:
        found = bench.datapaths.extract(example, target, progress, wanted)
        turning = bench.flips.turning(example)
        of_layer = {} if layer is None else {"maps": maps_of_layer(bench, found, layer, turning)}
        return answers.extraction(bench, found, wanted) | of_layer
    except AevisError as error:
        if must:
            raise
        return {"example": example, "refused": str(error)}


def _progress_of_item(progress: Progress, done: int, count: int, prefix: str = "") -> Progress:
    return lambda share, what: progress((done + share) / count, prefix + what)
