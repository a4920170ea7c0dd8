"""The pairs of source and adversarial that two workspaces share, by what their images hold and not by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aevis_dash.classes import same_classes
from aevis_dash.config import ExtractionParameters
from aevis_dash.domain import AevisError, JudgedExample
from aevis_dash.pair_profile import PairAsked
from aevis_dash.sample import Sample, choose
from aevis_dash.sight import one_sight
from aevis_dash.workbench import Workbench


@dataclass(frozen=True)
class SharedPair:
    """A pair of images that both workspaces have: the example of it in each, as its model judges it."""

    first: JudgedExample
    second: JudgedExample

    @property
    def resists(self) -> bool:
        """Whether the second model predicts the adversarial as it predicts the source."""
        return self.second.source.label == self.second.adversarial.label


@one_sight()
def shared_pairs(first: Workbench, second: Workbench) -> dict[str, SharedPair]:
    """The pairs that fool the first model and that both workspaces have, by the ID in the first one.

    Raises:
        AevisError: where the two models have other classes, the workspaces share no such pair, or both are one.
    """
    if first.workspace.root.resolve() == second.workspace.root.resolve() and _same_model(first, second):
        raise AevisError(f"{_whose(first)} is named twice. Name the workspaces of two models.")
    same_classes(first.class_names, second.class_names, (_whose(first), _whose(second)))
    digests = [bench.workspace.example_digests() for bench in (first, second)]
    there: dict[tuple[str, str], JudgedExample] = {}
    for judged in second.judging.judged_examples():
        there.setdefault(_content(judged, digests[1]), judged)
    fooled = [judged for judged in first.judging.judged_examples() if judged.misclassified]
    found = {
        judged.example.id: SharedPair(judged, there[content])
        for judged in fooled
        if (content := _content(judged, digests[0])) in there
    }
    if not found:
        why = f"share none of the {len(fooled)} pairs that fool the first" if fooled else "have no pair to compare"
        raise AevisError(
            f"{_whose(first)} and {_whose(second)} {why}: a source and an adversarial of the same bytes. Make the "
            f"second with `aevis init {second.workspace.root} --like {first.workspace.root} --model ...`, or attack "
            "the first with `aevis attack`."
        )
    return found


def chosen_pairs(
    first: Workbench, second: Workbench, sample: Sample, examples: Sequence[str] | None = None
) -> list[SharedPair]:
    """The pairs of a sample, or those of some examples of the first workspace.

    Raises:
        AevisError: as `shared_pairs`, and for an example that does not fool the first model or that the second
            workspace does not have.
    """
    shared = shared_pairs(first, second)
    if examples is None:
        drawn = choose(first, Sample(None, sample.seed, sample.weakest))
        return [shared[example.id] for example in drawn if example.id in shared][: sample.count]
    for example in examples:
        first.judging.explainable(first.workspace.example(example))
        if example not in shared:
            raise AevisError(
                f"{example!r} is no pair of both workspaces that fools the first model, such as {next(iter(shared))!r} "
                "is. Choose another --example."
            )
    return [shared[example] for example in dict.fromkeys(examples)]


def asked_first(pair: SharedPair, wanted: ExtractionParameters) -> PairAsked:
    """What the first model is asked about a pair, with its representative target."""
    return PairAsked(pair.first.example.id, wanted)


def asked_second(
    first: Workbench, second: Workbench, pair: SharedPair, wanted: ExtractionParameters, target: str
) -> PairAsked:
    """What the second model is asked about a pair: with the first one's target, and with the class that the first one
    takes the adversarial for where it resists.

    Args:
        first: the workbench of the first model.
        second: that of the second one.
        pair: the pair.
        wanted: the extraction parameters.
        target: the file name of the target in the first workspace.
    """
    places = same_classes(first.class_names, second.class_names, (_whose(first), _whose(second)))
    known = second.workspace.image_list()
    there = known.places_of_content.get(first.workspace.image_hash(target), [])
    towards = places[pair.first.adversarial.label]
    return PairAsked(pair.second.example.id, wanted, towards, known.files[there[0]] if there else None)


def _same_model(first: Workbench, second: Workbench) -> bool:
    return first.classifier.fingerprint == second.classifier.fingerprint


def _whose(bench: Workbench) -> str:
    return str(bench.workspace.root)


def _content(judged: JudgedExample, digests: Mapping[str, str]) -> tuple[str, str]:
    return digests[judged.example.source], digests[judged.example.adversarial]
