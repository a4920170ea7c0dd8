"""What random masks say beside hard sets that keep an adversarial's label, of the adversarial and of other images.

A *mask* is a set of maps that stay open while all others are closed, as a hard set is. On each adversarial the hard set
of each method, at its smallest complete size, stands beside random masks with as many maps in each layer. All of them
are run on the adversarial and on other images, which are normal images that the network takes neither for adv's class
nor for src's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aevis_dash.config import ExtractionParameters, Progress, silent
from aevis_dash.core import datapath
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.masked import firing, labels_of
from aevis_dash.core.random_sets import set_of_sizes
from aevis_dash.domain import AevisError
from aevis_dash.image_pair import ImagePair
from aevis_dash.sample import Sample, choose, do_each
from aevis_dash.sight import one_sight
from aevis_dash.store import key_of
from aevis_dash.workbench import Workbench

OTHERS = 24
"""The most other images that the masks are run on."""
DRAWS = 20
"""The number of random masks of each kind beside a hard set."""
AMONG = ("maps that fire", "all maps")
"""The maps among which random masks are drawn: those that fire on adv, or all of the layer."""
MASKS = ("hard set", *(f"random, {name}" for name in AMONG))
WHOLE = "(whole network)"
LINES = ("keeps", "others", "constant", "one label", "labels", "agree")
VERSION = 1


@dataclass(frozen=True)
class MaskTrial:
    """One example and the methods whose hard sets are tried on it.

    Attributes:
        example: the ID of the example.
        wanted: the extraction parameters of each method.
        seed: of the draw of the other images.
    """

    example: str
    wanted: tuple[ExtractionParameters, ...]
    seed: int


@dataclass(frozen=True)
class Said:
    """What k masks of the same sizes say.

    Attributes:
        sizes: the number of maps that are open in each layer, (L,).
        labels: the label that each mask says, first of adv and then of each of the m other images, int (k, 1 + m).
    """

    sizes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Answers:
    """What all masks of one example say.

    Attributes:
        whole: the labels that the whole network says of adv and of the m other images, int (1 + m,).
        said: for each method what each of MASKS says.
    """

    whole: np.ndarray
    said: tuple[tuple[Said, ...], ...]


def compare_masks(
    bench: Workbench, methods: Sequence[str], sample: Sample, progress: Progress = silent
) -> tuple[tuple[str, ...], dict[str, dict[str, Estimate]]]:
    """Set hard sets beside random masks on a sample of misclassified examples.

    Args:
        bench: the workbench of the workspace.
        methods: the names of extraction methods.
        sample: which examples are taken, and where the tasks run; its seed is that of the other images too.
        progress: is told the share of the work that is done.

    Returns:
        The IDs of the examples; and for WHOLE, and each of MASKS of each method (such as "needed, hard set"), the lines
        of `lines_of` with 95 % bootstrap intervals over examples, and "size", the share of the network's maps that are
        open.

    Raises:
        AevisError: for an unknown method, where no example is misclassified, and where there are no other images.
    """
    datapath.check_methods(methods)
    examples = tuple(example.id for example in choose(bench, sample))
    own = bench.workspace.settings.extraction
    wanted = tuple(replace(own, method=name, share=0.0) for name in methods)
    trials = [MaskTrial(example, wanted, sample.seed) for example in examples]
    found = do_each(bench, answers, trials, sample, progress)
    rows = {WHOLE: [lines_of(each.whole[None], each.whole) | {"size": 1.0} for each in found]}
    for i, name in enumerate(methods):
        for j, mask in enumerate(MASKS):
            rows[f"{name}, {mask}"] = [
                lines_of(each.said[i][j].labels, each.whole)
                | {"size": float(each.said[i][j].sizes.sum() / bench.layers.n_maps)}
                for each in found
            ]
    return examples, {
        name: {line: bootstrap([row[line] for row in of], sample.seed) for line in (*LINES, "size")}
        for name, of in rows.items()
    }


def lines_of(labels: np.ndarray, whole: np.ndarray) -> dict[str, float]:
    """Tell what masks make of one adversarial and of other images, each a mean over the masks.

    Args:
        labels: the label that each of k masks says of adv and of m other images, (k, 1 + m).
        whole: the labels that the whole network says of them, (1 + m,).

    Returns:
        "keeps": the share of masks that say adv's label of adv. Of the other images, "others": the share that adv's
        label is said of; "constant": the share that gets the label which the mask says most often, whatever label that
        is; "one label": the share of masks that say one label of all of them; "labels": the number of different labels;
        and "agree": the share that gets the whole network's label.
    """
    of_others = labels[:, 1:]
    counts = [np.unique(row, return_counts=True)[1] for row in of_others]
    different = np.array([len(each) for each in counts])
    return {
        "keeps": float((labels[:, 0] == whole[0]).mean()),
        "others": float((of_others == whole[0]).mean()),
        "constant": float(np.mean([each.max() / each.sum() for each in counts])),
        "one label": float((different == 1).mean()),
        "labels": float(different.mean()),
        "agree": float((of_others == whole[1:]).mean()),
    }


@one_sight()
def answers(bench: Workbench, trial: MaskTrial) -> Answers:
    """The task for one example; what is stored is not run again."""
    pair, example = ImagePair(bench, trial.example), bench.workspace.example(trial.example)
    names = [example.adversarial, *other_images(bench, trial.example, trial.seed)]
    whole = np.array([said.label for said in bench.judging.predict(names)])
    asked = {
        "model": bench.classifier.fingerprint,
        "example": trial.example,
        "images": [bench.workspace.image_hash(name) for name in (*names, example.source)],
    }
    images = bench.workspace.read(names)

    def kept(wanted: ExtractionParameters) -> Said:
        def run() -> Said:
            return _said(bench, images, pair.adversarial(wanted).critical[None])

        key = key_of("masks", VERSION, wanted=datapath.used_parameters(wanted), **asked)
        return bench.store.remember(key, Said, run)

    def by_chance(sizes: np.ndarray, among: str) -> Said:
        def run() -> Said:
            every = np.ones(bench.layers.n_maps, bool)
            fires = firing(bench.classifier, images[:1]) if among == AMONG[0] else every
            return _said(bench, images, random_masks(bench, fires, sizes, [AMONG.index(among), *pair.seed]))

        key = key_of("masks", VERSION, sizes=sizes.tolist(), among=among, draws=DRAWS, **asked)
        return bench.store.remember(key, Said, run)

    hard = [kept(wanted) for wanted in trial.wanted]
    return Answers(whole, tuple((found, *(by_chance(found.sizes, among) for among in AMONG)) for found in hard))


def other_images(bench: Workbench, example_id: str, seed: int) -> list[str]:
    """The file names of the other images of an example: the first OTHERS, in an order that the seed draws once for the
    workspace, of those that the network takes neither for adv's class nor for src's.

    Raises:
        AevisError: there are none.
    """
    example, entries = bench.workspace.example(example_id), bench.workspace.images
    taken = {said.label for said in bench.judging.predict([example.adversarial, example.source])}
    names = [entries[i].file for i in np.random.default_rng(seed).permutation(len(entries))]
    found: list[str] = []
    for at in range(0, len(names), OTHERS):
        some = names[at : at + OTHERS]
        found += [n for n, said in zip(some, bench.judging.predict(some), strict=True) if said.label not in taken]
        if len(found) >= OTHERS:
            break
    if not found:
        raise AevisError(
            f"Every normal image is taken for one of the two classes of {example_id}, so there is no other image to "
            "try masks on. Add images of other classes."
        )
    return found[:OTHERS]


def random_masks(bench: Workbench, first: np.ndarray, sizes: np.ndarray, seed: Sequence[int]) -> np.ndarray:
    """Draw DRAWS masks.

    Args:
        bench: the workbench, whose model the maps are of.
        first: the maps that are drawn before all others, bool (n,).
        sizes: the number of maps of each layer, (L,).
        seed: of the draw.

    Returns:
        The masks, bool (DRAWS, n). They may hold maps of the hard set.
    """
    random = np.random.default_rng(seed)
    layer_of = np.repeat(np.arange(len(sizes)), [layer.channels for layer in bench.layers.layers])
    return np.stack([set_of_sizes(random, first, layer_of, sizes) for _ in range(DRAWS)])


def _said(bench: Workbench, images: np.ndarray, masks: np.ndarray) -> Said:
    sizes = np.array([part.sum() for part in bench.layers.parts(masks[0])])
    return Said(sizes, labels_of(bench.classifier, images, masks))
