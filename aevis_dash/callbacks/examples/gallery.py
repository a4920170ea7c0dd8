"""The gallery of examples, which follows the slider of scores and the filters."""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from dash import Dash, Input, Output, State, ctx, no_update

from aevis_dash import ids, pairs
from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.examples.divergences import narrow
from aevis_dash.config import DIRECTION, FEATURES
from aevis_dash.domain import JudgedExample, so_many
from aevis_dash.figures.scores import bounds, score_figure
from aevis_dash.figures.theme import theme
from aevis_dash.layouts.examples import ORDERS, Card, ClassChoices, ScoreRange
from aevis_dash.layouts.sentences import Sentence
from aevis_dash.workbench import Workbench

SHOWN = 40
"""The number of cards in the gallery at most."""
OVERSHOOT, APART = 0.7, 0.99
"""Limits of what the scores are said to mean: the rank correlation with the norm of the head's input from which the
score measures that norm, and the AUROC from which adversarials and sources hardly overlap."""
FEW = 8
"""The number of misclassified examples from which the gallery begins with a part of them; with fewer it begins with
all."""


def register(app: Dash, bench: Workbench) -> None:
    """Add the callbacks of the left column."""

    @app.callback(
        output={
            "cards": Output(ids.CARDS, "data"),
            "count": Output(ids.COUNT, "children"),
            "scores": Output(ids.SCORES, "figure"),
            "digest": Output(ids.EXAMPLES, "data"),
        },
        inputs={
            "between": Input(ids.RANGE, "value"),
            "margins": Input(ids.MARGINS, "value"),
            "filters": {
                "only_misclassified": Input(ids.ONLY_MISCLASSIFIED, "value"),
                "class_from": Input(ids.CLASS_FROM, "value"),
                "class_to": Input(ids.CLASS_TO, "value"),
            },
            "order": Input(ids.ORDER, "value"),
            "picked": Input(ids.PICKED, "data"),
            "_compared": Input(ids.COMPARED, "data"),
            "colours": Input(ids.THEME, "data"),
            "arrived": Input(ids.ARRIVED, "data"),
        },
        state={"known": State(ids.EXAMPLES, "data"), "view": State(ids.VIEW, "data")},
    )
    def show_examples(between, margins, filters, order, picked, _compared, colours, arrived, known, view):
        """Draw the gallery. The example that a link opens is among the cards, whatever the slider and the filters
        say."""
        judged, among = bench.judging.judged_examples(), narrow(bench, picked)
        first = next((option for option in ORDERS if option["value"] == order), ORDERS[0])
        chosen = [
            e
            for e in judged
            if (among is not None or (in_range(e, between) and has_margin(e, margins)))
            and (among is None or e.example.id in among)
            and (e.misclassified or not filters["only_misclassified"])
            and filters["class_from"] in (None, e.source.label)
            and filters["class_to"] in (None, e.adversarial.label)
        ]
        chosen = in_order_of(chosen, first["value"], sum(between) / 2)
        figure = score_figure(*scores(bench, judged), tuple(between), theme(colours == "dark"))
        here = (arrived if ctx.triggered_id == ids.ARRIVED else view) or arrived or {}
        cards = [_card(bench, e) for e in with_shown(chosen[:SHOWN], judged, here.get("example"))]
        count = _count(len(chosen), len(judged), among is not None, first["label"])
        count += "; first the shown one, which is not among them" if len(cards) > len(chosen[:SHOWN]) else ""
        digest = bench.judging.examples_digest()
        return {
            "cards": [asdict(card) for card in cards],
            "count": count,
            "scores": figure,
            "digest": no_update if digest == known else digest,
        }

    @app.callback(
        Output(ids.READY_CARDS, "data"),
        Input(ids.CARDS, "data"),
        Input(ids.READY, "data"),
        Input(ids.NULLS_READY, "data"),
        prevent_initial_call=True,
    )
    def mark_ready(cards, _ready, _nulls):
        """Say which of the cards are of examples whose datapaths are stored. It is asked apart from the cards, which
        need not wait for it."""
        examples = [bench.workspace.example(card["id"]) for card in cards or ()]
        return [example.id for example in examples if bench.datapaths.is_ready(example)]


def in_order_of(examples: list[JudgedExample], order: str, middle: float) -> list[JudgedExample]:
    """The examples in the order in which they are listed. Those without a score come last in orders by scores.

    Args:
        examples: the examples.
        order: one of ORDERS of `layouts/examples.py`.
        middle: the middle of the range of scores, from which "medium" counts.
    """
    keys: dict[str, Callable[[JudgedExample], float]] = {
        "medium": lambda e: abs(e.score - middle),
        "low": lambda e: e.score,
        "high": lambda e: -e.score,
        "close": lambda e: e.margin.value,
        "far": lambda e: -e.margin.value,
    }
    return sorted(examples, key=lambda e: key if np.isfinite(key := keys[order](e)) else np.inf)


def with_shown(cards: list[JudgedExample], judged: list[JudgedExample], example: str | None) -> list[JudgedExample]:
    """The examples of the cards. The shown example leads them where it is not among them."""
    missing = example not in {e.example.id for e in cards}
    return [*(e for e in judged if missing and e.example.id == example), *cards]


def score_range(bench: Workbench) -> ScoreRange:
    """The ends and the step of the slider, and the range that it begins with.

    That is the middle half of the misclassified examples' scores, or all of them where there are few.
    """
    judged = bench.judging.judged_examples()
    low, high, step = bounds(*scores(bench, judged))
    fooled = [e.score for e in judged if e.misclassified and np.isfinite(e.score)]
    start = tuple(float(v) for v in np.quantile(fooled, (0.25, 0.75))) if len(fooled) >= FEW else (low, high)
    auroc = bench.judging.auroc(judged)
    by = bench.judging.score_by
    told = len(fooled) >= FEW and np.isfinite(auroc)  # of fewer examples an AUROC tells nothing
    note = so_many(len(judged), "example") + (f", score by {by}: AUROC {auroc:.2f}" if told else "")
    meaning = score_meaning(len(fooled), auroc, bench.judging.score_follows_size(judged), by)
    margins = bounds(np.array([e.margin.value for e in judged]))
    return ScoreRange(low, high, step, (start[0], start[1]), note, meaning, margins)


def known_range(bench: Workbench) -> Callable[[], ScoreRange]:
    """A function that gives the `score_range` of now, and computes it only where examples or scores have changed."""
    known: list[tuple[str, ScoreRange]] = []

    def find() -> ScoreRange:
        digest = bench.judging.examples_digest()
        if not known or known[0][0] != digest:
            known[:] = [(digest, score_range(bench))]
        return known[0][1]

    return find


def score_meaning(count: int, auroc: float, follows: float, by: str = FEATURES) -> Sentence:
    """What the adversarial scores mean on this set of examples, in a sentence.

    Args:
        count: the number of misclassified adversarials.
        auroc: how well their scores tell them from their sources.
        follows: the rank correlation of their scores with the norm of the head's input.
        by: what the score is taken of, one of SCORES_BY.
    """
    of = "the direction of the head's features" if by == DIRECTION else "the head's features"
    if count < FEW or not np.isfinite(auroc) or not np.isfinite(follows):
        return Sentence(
            "There are too few examples here to say what the adversarial score tells.", f"The score is taken of {of}."
        )
    facts = (
        f"{count} misclassified adversarials: AUROC {auroc:.2f} against their sources, rank correlation {follows:.2f} "
        f"of the score with the size of the head's features. The score is taken of {of}."
    )
    if follows >= OVERSHOOT:
        told = "At this attack strength the adversarial score mostly measures how far the attack overshoots."
    elif follows <= -OVERSHOOT:
        told = (
            "The adversarial score mostly measures how small the features are: an image with a high score barely "
            "reaches the class that it is taken for."
        )
    elif auroc >= APART:
        told = "The adversarial score sets nearly all adversarials apart from their sources, so none is ambiguous."
    else:
        told = "Images with a low adversarial score are ambiguous, those with a high one odd; medium ones tell most."
    return Sentence(told, facts)


def classes(bench: Workbench) -> ClassChoices:
    """The classes to choose examples by: only those that an example has, as a list of a thousand would be slow."""
    judged, names = bench.judging.judged_examples(), bench.class_names
    found = ({e.source.label for e in judged}, {e.adversarial.label for e in judged})
    sources, taken_for = (sorted(((n, names[n]) for n in labels), key=lambda pair: pair[1]) for labels in found)
    return ClassChoices(sources, taken_for)


def scores(bench: Workbench, judged: list[JudgedExample]) -> tuple[np.ndarray, np.ndarray]:
    """The adversarial scores of the normal sources, (N,), and of the adversarial images, (M,)."""
    source = bench.judging.source_scores([e.example for e in judged])
    return np.array(source, float), np.array([e.score for e in judged], float)


def in_range(example: JudgedExample, between: list[float]) -> bool:
    """Whether an example's score lies in the range. An example without a score always does."""
    return not np.isfinite(example.score) or between[0] <= example.score <= between[1]


def has_margin(example: JudgedExample, between: list[float] | None) -> bool:
    """Whether an example's margin, or the bound that is known of it, lies in the range; None for all margins."""
    return between is None or between[0] <= example.margin.value <= between[1]


def _card(bench: Workbench, judged: JudgedExample) -> Card:
    example, names = judged.example, bench.class_names
    source, adversarial = names[judged.source.label], names[judged.adversarial.label]
    why = pairs.reason(judged, names)
    excess = f"more than the {example.epsilon:g}/255 declared" if judged.exceeds and example.epsilon is not None else ""
    return Card(
        id=example.id,
        source=pictures.thumbnail(bench, example.source),
        adversarial=pictures.thumbnail(bench, example.adversarial),
        difference=pictures.difference(bench, example),
        labels=(source, adversarial),
        lines=(
            f"{source} {judged.source.confidence:.0%}",
            f"→ {adversarial} {judged.adversarial.confidence:.0%}",
            f"{_score(judged.score)} · margin {judged.margin}",
            pairs.size_in_words(judged.perturbation),
        ),
        warnings=tuple(sentence for sentence in (why, excess) if sentence),
        fooled=judged.misclassified,
    )


def _score(score: float) -> str:
    return f"score {score:.2f}" if np.isfinite(score) else "no score (no clean image of that class)"


def _count(chosen: int, all_: int, picked: bool, first: str) -> str:
    if all_ == 0:
        return "No examples yet: make some with `aevis attack WORKSPACE`, then reload."
    if chosen == 0 and picked:
        return f"None of {all_} examples: widen the filters, or show all again."
    if chosen == 0:
        return f"None of {all_} examples: widen the slider or the filters."
    more = f", the first {SHOWN} by {first} shown" if chosen > SHOWN else ""
    return f"{chosen} of {all_} examples{more}"
