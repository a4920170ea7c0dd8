"""The time left: what a job worked and gained so far says of the rest, without the time for which it was held up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aevis_dash.callbacks.progress import LEAST_SECONDS, LEAST_SHARE, Remaining, in_words


def told(steps):
    """The estimate after each of some steps (seconds since the one before, share, whether it is held up from then)."""
    now = [0.0]
    remaining = Remaining(lambda: now[0])
    estimates = []
    for seconds, share, held in steps:
        now[0] += seconds
        estimates.append(remaining.seconds(share, held))
    return estimates


def test_a_job_takes_as_long_for_the_rest_as_it_took_for_the_same_share():
    assert told([(9, 0.0, False), (10, 0.25, False), (10, 0.5, False), (20, 1.0, False)]) == [None, 30.0, 20.0, 0.0]


def test_what_was_stored_already_took_no_time():
    """Three of four parts were there: the fourth is half done after 5 s."""
    assert told([(1, 0.75, False), (5, 0.875, False)]) == [None, pytest.approx(5.0)]


def test_the_time_for_which_a_job_is_held_up_is_not_counted():
    steps = [(0, 0.0, False), (10, 0.2, False), (0, 0.2, True), (500, 0.2, True), (500, 0.2, False), (10, 0.4, False)]
    assert told(steps) == [None, 40.0, None, None, 40.0, pytest.approx(30.0)]
    assert told([(0, 0.0, True), (700, 0.0, False), (10, 0.5, False)]) == [None, None, 10.0]


def test_nothing_is_said_before_enough_is_done():
    short, little = LEAST_SECONDS / 2, LEAST_SHARE / 2
    assert told([(0, 0.0, False), (short, 0.5, False)]) == [None, None]
    assert told([(0, 0.0, False), (100, little, False)]) == [None, None]
    assert told([(0, 0.5, False), (100, 0.5 + little / 2, False)]) == [None, None]


def test_another_part_of_the_work_is_measured_anew():
    steps = [(0, 0.0, False), (10, 0.5, False), (2, 0.0, False), (10, 0.1, False)]
    assert told(steps) == [None, 10.0, None, pytest.approx(90.0)]


STEP = st.tuples(st.integers(0, 50), st.integers(0, 20), st.booleans())


@given(st.lists(STEP, min_size=1, max_size=8))
def test_the_estimate_is_the_formula(steps):
    """w (1 - s) / (s - s_0), summed up here step by step."""
    shares, share = [], 0.0
    for seconds, gain, held in steps:
        share = min(1.0, share + gain / 100)
        shares.append((float(seconds), share, held))
    worked, first, expected = 0.0, None, []
    for i, (seconds, now, held) in enumerate(shares):
        if i and not shares[i - 1][2] and first is not None:
            worked += seconds
        if held:
            expected.append(None)
            continue
        first = now if first is None else first
        enough = worked >= LEAST_SECONDS and now > first and now - first >= LEAST_SHARE * (1 - first)
        expected.append(worked * (1 - now) / (now - first) if enough else None)
    for estimate, wanted in zip(told(shares), expected, strict=True):
        assert estimate == (None if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (0.0, "a few seconds left"),
        (7.4, "a few seconds left"),
        (7.6, "about 10 s left"),
        (42.0, "about 40 s left"),
        (57.4, "about 55 s left"),
        (57.6, "about 1 min left"),
        (100.0, "about 2 min left"),
        (3569.0, "about 59 min left"),
        (3571.0, "about 1.0 h left"),
        (9000.0, "about 2.5 h left"),
    ],
)
def test_it_is_told_as_roughly_as_it_is_known(seconds, words):
    assert in_words(seconds) == words
