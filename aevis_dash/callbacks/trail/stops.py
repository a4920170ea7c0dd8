"""The way from the prediction to the shown map, in pictures, with what was found and tested at each stop."""

from aevis_dash.callbacks import pictures
from aevis_dash.callbacks.trail.words import crumbs, here, traced_words
from aevis_dash.callbacks.view.datapaths import stored_triplet
from aevis_dash.callbacks.view.state import View
from aevis_dash.callbacks.view.steps import Step, intervention_of, path_to
from aevis_dash.domain import FeatureMap, Role, Verification
from aevis_dash.layouts.trail import TrailStop, Turn
from aevis_dash.workbench import Triplet, Workbench


def stops(bench: Workbench, view: View) -> list[TrailStop]:
    """The stops of the way, those of `crumbs` and then where the user is now.

    Where no step led here, they are those of the longest way through the tree, such as a suggested trail's.
    """
    found = stored_triplet(bench, view)
    if view.at < 0 and any(not step.is_flip for step in view.steps):
        return _longest(bench, view, found)
    on_the_way = [_stop(bench, view, found, number, words) for number, words in crumbs(view)]
    if not here(view):
        return on_the_way
    if view.traced is None:  # the user has gone elsewhere, where no step leads
        return [*on_the_way, TrailStop(None, here(view), linked=False)]
    seen, turn = _seen(bench, found, view.layer, view.map), _turn(bench, view, view.layer or "", view.map)
    return [*on_the_way, TrailStop(None, here(view), "", seen, turn)]


def _longest(bench: Workbench, view: View, found: Triplet | None) -> list[TrailStop]:
    """The stops of the longest way through the tree, and the map that was flipped back at its end."""
    traces = [number for number, step in enumerate(view.steps) if not step.is_flip]
    last = max(traces, key=lambda number: (len(path_to(view.steps, number)), -number))
    way = [_stop(bench, view, found, number, words) for number, words in crumbs(view.but(at=last))]
    flipped = (n for n, step in enumerate(view.steps) if step.is_flip and step.parent == last and step.map is not None)
    end = next(flipped, None)
    if end is None:
        return way
    step = view.steps[end]
    seen, turn = _seen(bench, found, step.layer, step.map), _turn(bench, view, step.layer, step.map)
    return [*way, TrailStop(None, f"{step.layer} map {step.map}", "", seen, turn)]


def _stop(bench: Workbench, view: View, found: Triplet | None, number: int, words: str) -> TrailStop:
    step = view.steps[number]
    seen = _seen(bench, found, step.layer, step.map)
    return TrailStop(number, words, traced_words(bench, view, step), seen, _turn(bench, view, step.layer, step.map))


def _seen(
    bench: Workbench, found: Triplet | None, layer: str | None, channel: int | None
) -> tuple[tuple[str, str], ...]:
    """The best patch of a map, and the triplet's images, lit where the map fires; none for the prediction."""
    if found is None or not layer or channel is None:
        return ()
    chosen = bench.layers.feature_map(layer, channel)
    crop = pictures.first_crop(bench, chosen, found.plan.example.id)
    first = ((crop, f"what fires map {channel} most"),) if crop else ()
    return (*first, *_lit(bench, found, chosen))


def _lit(bench: Workbench, found: Triplet, chosen: FeatureMap) -> tuple[tuple[str, str], ...]:
    if not bench.layers.layers[chosen.layer].on_image:
        return tuple((pictures.thumbnail(bench, found.image(role)), role.short) for role in Role)
    place = bench.layers.place(chosen)
    highest = {role: float(bench.maps.maxima(found.image(role))[place]) for role in Role}
    most = max(highest.values())
    return tuple(
        (
            pictures.lit(bench, found.image(role), chosen, most),
            f"{role.short}, lit where map {chosen.channel} fires: up to {highest[role]:.3g}",
        )
        for role in Role
    )


def _turn(bench: Workbench, view: View, layer: str, channel: int | None) -> Turn | None:
    """What putting the map alone from src into adv does, where that was tested."""
    if not view.example or not layer or channel is None:
        return None
    asked = Step(layer, channel, maps=(channel,), replacement="source")
    found = bench.flips.find_stored(view.example, intervention_of(bench.layers, asked))
    return None if found is None or not len(found.maps) or found.margins[0] >= 0 else turn_of(found)


def turn_of(found: Verification) -> Turn:
    """How far one replaced map turns the margin, in parts of the way to a margin of 0, at which the label turns."""
    start = float(found.margins[0])
    best = float(found.chance.max()) if len(found.chance) else start
    part, chance = ((float(margin) - start) / -start for margin in (found.margins[-1], best))
    beside = f"; the best of {len(found.chance)} other maps goes {chance:.0%}" if len(found.chance) else ""
    words = f"Flip-back: put alone from src into adv it goes {part:.0%} of the way to turning the label{beside}."
    return Turn(part, chance, words)
