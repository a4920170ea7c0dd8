"""The paper's outlook, tried: do datapaths detect adversarials, and do the maps of a flip-back repair the network?

*Detection.* An image is far from the gates of its predicted class if its own differ from their mean. They are those of
the ranking `gradient` (one pass an image), and not of a solved datapath. That distance is set beside the adversarial
score (K-density), by how well each tells adversarials from their sources.

*Repair.* The maps that give one adversarial its label back are replaced for good by their mean over clean images. What
that does to *other* adversarials, and to clean images, is set beside as many random maps, and beside a defence that
knows nothing of maps: the mean of 3 x 3 pixels. A defence that is not attacked itself proves nothing, so the blurred
network is attacked anew, as a whole (an adaptive attack; Athalye et al., ICML 2018), and so is the plain one. These
attacks are untargeted, with the epsilon of each example.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aevis_dash.config import BY_GRADIENT, SCORES_BY, AttackParameters, ExtractionParameters, Progress, silent
from aevis_dash.core import adversarial_score, attack, loading
from aevis_dash.core.classifier import Classifier
from aevis_dash.core.evaluation import Estimate, bootstrap
from aevis_dash.core.flipback import stand_in
from aevis_dash.core.problem import Problem, label_logit
from aevis_dash.core.ranking import first_order, strengths
from aevis_dash.domain import LARGE, Example, Intervention, JudgedExample
from aevis_dash.workbench import Workbench

PATHS = "distance of the gates of `gradient`"
"""The detector that measures how far an image's gates are from those of clean images of its class."""
ALIKE, OTHERS, CLEAN = 8, 20, 32
"""The number of clean images whose gates are averaged for a class; that of other adversarials that a repair is tried
on; and that of clean images whose mean takes the place of a map."""
FLIPPED, RANDOM = "maps of a flip-back", "as many random maps"
BLUR, AGAIN, PLAIN = "3 x 3 mean of the pixels", "3 x 3 mean, attacked again", "no defence, attacked again"
REPAIRED = ("recovered", "clean kept")
"""The share of adversarials that are predicted as their sources again, and of clean images whose prediction stays."""


def detect(
    bench: Workbench, judged: Sequence[JudgedExample], seed: int = 0, progress: Progress = silent
) -> dict[str, adversarial_score.Separation]:
    """Tell how well each detector separates adversarials from their sources.

    Args:
        bench: the workbench of the workspace.
        judged: misclassified examples.
        seed: of the intervals.
        progress: is told the share of the work that is done.

    Returns:
        The AUROC with its interval: of the adversarial scores by each of SCORES_BY, and of PATHS.
    """
    found = {f"K-density of the {by}": bench.judging.separation(judged, by) for by in SCORES_BY}
    sources = list(dict.fromkeys(each.example.source for each in judged))
    names = [*sources, *(each.example.adversarial for each in judged)]
    own = [*sources, *(each.example.source for each in judged)]
    values = []
    for i, (name, source) in enumerate(zip(names, own, strict=True)):
        progress(i / len(names), "measuring datapaths")
        values.append(path_distance(bench, name, source))
    of = [sources.index(each.example.source) for each in judged]
    found[PATHS] = adversarial_score.separation(values[: len(sources)], values[len(sources) :], of, seed)
    return found


def path_distance(bench: Workbench, image: str, source: str) -> float:
    """Give how far an image's gates are from the mean gates of clean images of its predicted class.

    The gates are those of gradient x activation, one pass an image. The distance is ||z - mean||_2 / sqrt(n).

    Args:
        bench: the workbench of the workspace.
        image: the file name of the image.
        source: the file name of the image's own source, which is not among the clean ones.

    Returns:
        The distance; NaN where no other clean image has its predicted class.
    """
    label = bench.judging.predict([image])[0].label
    alike = [name for name in bench.judging.clean().surest_of_class(label) if name not in (image, source)][:ALIKE]
    if not alike:
        return float("nan")
    own, *others = gates_of(bench, [image, *alike])
    return float(np.sqrt(np.mean(np.square(own - np.mean(others, axis=0)))))


def gates_of(bench: Workbench, images: Sequence[str]) -> np.ndarray:
    """Give the gates of images by gradient x activation of the predicted label's logit, (m, n)."""
    problem = Problem(bench.classifier, bench.workspace.read(images), [], ExtractionParameters())
    return strengths(first_order(problem, label_logit)).cpu().numpy().astype(np.float64)


Defence = Callable[[np.ndarray], np.ndarray]
"""A defended network: it gives the classes (m,) that it predicts of 8-bit images (m, H, W, C)."""


def repair(
    bench: Workbench, examples: Sequence[Example], seed: int = 0, progress: Progress = silent
) -> dict[str, dict[str, Estimate]]:
    """Tell what closing the maps of one adversarial's flip-back does to other adversarials, beside a blur.

    Args:
        bench: the workbench of the workspace.
        examples: misclassified examples.
        seed: of the other images, the random maps and the intervals.
        progress: is told the share of the work that is done.

    Returns:
        By the name of the defence the shares REPAIRED, with 95 % bootstrap intervals over examples; NaN where there is
        no other example to try it on.
    """
    random = np.random.default_rng(seed)
    ends = {"first depth": bench.flips.depths()[0], "last depth": bench.flips.depths()[-1]}
    found: dict[str, list[list[float]]] = {f"{name}, {depth}": [] for depth in ends for name in (FLIPPED, RANDOM)}
    means = {layer: _mean(bench, layer, random) for layer in ends.values()}
    for i, example in enumerate(examples):
        progress(i / (len(examples) + 1), f"repairing by example {i + 1} of {len(examples)}")
        others = [other for other in examples if other.source != example.source]
        tried = [others[k] for k in random.permutation(len(others))[:OTHERS]]
        for depth, layer in ends.items():
            maps = bench.flips.verify(example.id, Intervention(layer)).maps
            drawn = random.permutation(bench.layers.layers[layer].channels)[: len(maps)]
            for name, chosen in ((FLIPPED, maps), (RANDOM, drawn)) if len(maps) and tried else ():
                defence = masked(bench.classifier, layer, chosen, means[layer])
                found[f"{name}, {depth}"].append(shares(bench, defence, tried))
    progress(len(examples) / (len(examples) + 1), "attacking the blurred network")
    blurred = blurred_classifier(bench)
    defence: Defence = lambda images: np.array([p.label for p in blurred.predict(images)])  # noqa: E731
    found[BLUR] = [shares(bench, defence, [example]) for example in examples]
    found[AGAIN] = [_attacked_again(bench, blurred, example) for example in examples]
    found[PLAIN] = [_attacked_again(bench, bench.classifier, example) for example in examples]
    tables = {name: np.array(rows, float).reshape(-1, len(REPAIRED)) for name, rows in found.items()}
    return {
        name: {line: bootstrap(rows[:, j], seed) for j, line in enumerate(REPAIRED)} for name, rows in tables.items()
    }


def shares(bench: Workbench, defence: Defence, examples: Sequence[Example]) -> list[float]:
    """Give the shares REPAIRED of a defence: on the examples' adversarials, and on their sources."""
    told = []
    for names in ([e.adversarial for e in examples], [e.source for e in examples]):
        wanted = np.array([p.label for p in bench.judging.predict([e.source for e in examples])])
        told.append(float((defence(bench.workspace.read(names)) == wanted).mean()))
    return told


def masked(classifier: Classifier, layer: int, maps: np.ndarray, mean: Tensor) -> Defence:
    """Make the network in which some maps of a layer always are as in the mean.

    Args:
        classifier: the classifier.
        layer: the index of the layer.
        maps: the k channels, (k,).
        mean: the mean activations of the layer, (1, n_l, ...).
    """
    part = classifier.network.part(layer, None)
    chosen = torch.zeros(mean.shape[1], dtype=torch.bool, device=mean.device)
    chosen[[int(channel) for channel in maps]] = True

    def predict(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            state = part.prepare(classifier.inputs(images))
            value = torch.where(chosen.reshape(1, -1, *[1] * (mean.dim() - 2)), mean, state.start)
            return part.run(state, value).argmax(1).cpu().numpy()

    return predict


def blurred_classifier(bench: Workbench) -> Classifier:
    """Make the workspace's classifier behind a mean of 3 x 3 pixels; at the border the nearest pixels are repeated."""
    model = loading.load_model(bench.workspace.model).model.to(loading.device())
    whole = nn.Sequential(_Blur(), model).eval()
    return Classifier(whole, bench.workspace.settings.preprocessing, bench.class_names, bench.workspace.model.leaves)


class _Blur(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _mean(bench: Workbench, layer: int, random: np.random.Generator) -> Tensor:
    """The mean activations (1, n_l, ...) of a layer over clean images."""
    files = bench.judging.clean().files
    names = [str(files[k]) for k in random.permutation(len(files))[:CLEAN]]
    return stand_in(bench.classifier, bench.workspace.read(names), layer, "mean")


def _attacked_again(bench: Workbench, classifier: Classifier, example: Example) -> list[float]:
    """The shares REPAIRED where the example's source is attacked anew, as a classifier sees it, with the example's own
    epsilon. A source that the classifier gets wrong without an attack is not counted as recovered or not (NaN)."""
    source = bench.workspace.read([example.source])
    wanted = bench.judging.predict([example.source])[0].label
    own = bench.workspace.settings.attack
    parameters = own if own.attack in BY_GRADIENT and not own.in_l2 else AttackParameters()
    if example.epsilon and example.epsilon <= LARGE:  # more is no bound of single pixels, as of an attack in L2
        parameters = replace(parameters, epsilon=example.epsilon)
    attacked = attack.perturb(classifier, source, parameters)[0].image[None]
    again, kept = (p.label == wanted for p in classifier.predict(np.concatenate([attacked, source])))
    return [float(again) if kept else float("nan"), float(kept)]
