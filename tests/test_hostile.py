"""A sample of the hostile requests of `benchmarks/hostile.py`."""

from aevis_dash.users import ANALYST, READER
from benchmarks import hostile
from benchmarks.hostile import EVERYBODY, NOBODY, attacked, table


def test_hostile_requests_break_nothing_and_are_shown_nothing(world):
    found = attacked(world, every=11)
    assert found.keys() == {EVERYBODY, NOBODY, READER, ANALYST}
    assert {who: came.wrong for who, came in found.items()} == {who: [] for who in found}
    assert all(came.sent > 100 for came in found.values())
    assert all(sum(came.statuses.values()) == came.sent for came in found.values())
    refused = {status for _, status in found[NOBODY].statuses}
    assert {400, 401} <= refused
    assert refused <= {0, 200, 303, 400, 401, 403, 404, 405, 413, 415, 431, 501, 503}
    assert f"{NOBODY}: {found[NOBODY].sent:,} requests, 0 wrong answers" in table(found)


def test_what_is_wrong_is_seen(world, monkeypatch):
    """The page to log in stands for one that is shown to nobody by mistake."""
    monkeypatch.setattr(hostile, "OPEN", ("/health", "/ready", "/logout"))
    found = attacked(world, every=11)
    assert any("shown to nobody" in wrong for wrong in found[NOBODY].wrong)
    assert found[READER].wrong == []
