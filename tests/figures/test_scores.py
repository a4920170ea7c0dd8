"""Shared bins that count every finite score once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aevis_dash.figures.scores import bounds, score_figure
from aevis_dash.figures.theme import LIGHT

SCORES = arrays(float, st.integers(0, 30), elements=st.floats(-50, 50) | st.sampled_from([np.nan, np.inf, -np.inf]))


@settings(deadline=None, max_examples=40)
@given(SCORES, SCORES)
def test_bins_are_shared_and_hold_every_finite_score_once(source, adversarial):
    first, second = score_figure(source, adversarial, (0, 1), LIGHT).data
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.width, second.width)
    assert sum(first.y) == np.isfinite(source).sum()
    assert sum(second.y) == np.isfinite(adversarial).sum()


def test_the_axis_spans_the_finite_scores_and_the_range_is_shaded():
    source, adversarial = np.array([1.0, np.nan]), np.array([4.0, 9.0, np.inf])
    figure = score_figure(source, adversarial, (2.0, 5.0), LIGHT)
    assert tuple(figure.layout.xaxis.range) == bounds(source, adversarial)[:2] == (1, 9)
    (shade,) = figure.layout.shapes
    assert (shade.x0, shade.x1) == (2, 5)
    assert figure.layout.barmode == "overlay"


def test_labels_stand_at_the_side_of_their_scores():
    sides = {a.text: a.x for a in score_figure(np.array([9.0, 8]), np.array([1.0]), (0, 1), LIGHT).layout.annotations}
    assert sides == {"1 adversarial": 0, "2 source": 1}


def test_no_scores_is_said_in_a_sentence():
    figure = score_figure(np.array([]), np.array([np.nan]), (0, 1), LIGHT)
    assert [a.text for a in figure.layout.annotations] == ["No image has a score yet."]
    assert bounds(np.array([]), np.array([np.nan])) == (0, 1, 0.01)


CLOSE = st.tuples(st.floats(-50, 50), st.floats(0, 1e-3)).map(lambda pair: np.array([pair[0], pair[0] + pair[1]]))


def drawn_to(value, low, high, step):
    """The value that the page's slider (Radix) takes where its handle is drawn to `value`."""
    decimals = len(np.format_float_positional(step).partition(".")[2])
    return min(max(round(round((value - low) / step) * step + low, decimals), low), high)


@settings(deadline=None, max_examples=200)
@given(SCORES | CLOSE)
def test_a_slider_drawn_to_its_ends_holds_every_score(scores):
    low, high, step = bounds(scores)
    assert step >= 1e-6, "the slider reads no other way of writing a number than one with up to six decimals"
    assert 99 < (high - low) / step < 1003
    finite = scores[np.isfinite(scores)]
    assert ((drawn_to(low, low, high, step) <= finite) & (finite <= drawn_to(high, low, high, step))).all()


def test_scores_that_are_all_but_equal_have_a_slider_around_them():
    assert bounds(np.array([2.0]), np.array([2.0])) == (1.5, 2.5, 0.01)
    low, high, step = bounds(np.array([2.0, 2.0 + 3e-7]))
    assert (low, high, step) == (1.5, 2.51, 0.01)
