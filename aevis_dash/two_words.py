"""Two models side by side, in sentences; the page and the command line say the same."""

from aevis_dash.domain import JudgedExample, LayerGraph, so_many
from aevis_dash.pair_profile import PairProfile
from aevis_dash.two_models import ComparedPair, TwoModels, common_maps
from aevis_dash.workbench import Workbench


def outcome_words(bench: Workbench, judged: JudgedExample) -> str:
    """What a model makes of the two images of a pair: "panda -> monkey", or "panda (not fooled)"."""
    source, adversarial = (bench.class_names[said.label] for said in (judged.source, judged.adversarial))
    return f"{source} (not fooled)" if source == adversarial else f"{source} -> {adversarial}"


def pairs_words(found: TwoModels) -> str:
    """How many pairs were compared, and how many of them fool the second model."""
    one, other = found.models
    resisted = sum(pair.pair.resists for pair in found.pairs)
    said = (
        f"{len(found.pairs)} of {so_many(found.shared, 'pair')} that fool {one} and that both workspaces have "
        f"({found.fooled} fool {one} in all). {other} resists {resisted} of the {len(found.pairs)}."
    )
    return f"{said} {caution(other)}" if resisted else said


def caution(other: str) -> str:
    """A sentence on what it says, and what not, that a model is not fooled by adversarials of another one."""
    return (
        f"Attacks that were made for one model often do not fool another, so this alone does not say that {other} is "
        "robust: attack it too."
    )


def kinship_words(found: TwoModels) -> list[str]:
    """Sentences on whether map k of a layer is the same map in both models, as the test found it."""
    one, other = found.models
    kin = found.kin
    if not kin.layers:
        return [f"{one} and {other} have no layer of the same name and number of maps, so maps have no common numbers."]
    passed, count = len(kin.passed), len(kin.layers)
    own, changing = (sum(int(getattr(test, name).sum()) for test in kin.tests.values()) for name in ("own", "changing"))
    tested = (
        f"On {so_many(kin.images, 'normal image')}, {own} of the {changing} maps that change in both models correlate "
        "most with the map of their own number; chance gives one in each layer."
    )
    of = so_many(count, "layer") + " of the same name and width"
    if passed == count:
        return [f"Map k of {one} is map k of {other} in all {of}.", tested]
    if not passed:
        return [f"Map k of {one} is not map k of {other} in any of {of}, so maps are not compared by number.", tested]
    without = [name for name in kin.layers if name not in kin.passed]
    named = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "")
    return [f"Map k of {one} is map k of {other} in {passed} of {of}. It is not in {named}.", tested]


def common_words(found: TwoModels, pair: ComparedPair) -> list[str]:
    """Sentences on how many maps both models need for a pair, of those that are the same in both; none where no layer
    passed the test."""
    if not found.kin.passed or pair.first is None or pair.second is None:
        return []
    one, other = found.models
    said = []
    for role, short in (("adversarial", "adv"), ("source", "src")):
        first, second, both, chance = common_maps(found, pair, role)
        said.append(
            f"Of the maps that are the same, {short} needs {first} in {one} and {second} in {other}; {both} of them in "
            f"both, where chance gives {chance:.0f}."
        )
        if role == "adversarial" and pair.pair.resists:
            said.append("These explain two predictions of adv, as the models do not agree on it.")
    return said


def course_words(name: str, graph: LayerGraph, profile: PairProfile) -> str:
    """A sentence on where adv leaves src and joins tar in one model."""
    count = len(graph)
    left = {
        -1: "there is no other clean image of src's class to tell where adv leaves src by",
        count: "adv is nowhere for good farther from src than other images of its class",
    }
    leaves = left.get(profile.leaves) or (
        f"from {_at(graph, profile.leaves)} on, adv is farther from src than half of the other images of its class"
    )
    joins = "does not join tar" if profile.joins == count else f"joins tar at {_at(graph, profile.joins)}"
    return f"{name}: {leaves}; it {joins}."


def _at(graph: LayerGraph, layer: int) -> str:
    return f"{graph.layers[layer].name} (depth {layer / len(graph):.2f})"
