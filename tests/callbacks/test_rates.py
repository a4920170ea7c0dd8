"""How often something may be done: counted in memory, or in Redis."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from aevis_dash.callbacks import rates
from aevis_dash.callbacks.rates import MOST_KEPT, Rates
from aevis_dash.domain import AevisError


@pytest.fixture
def clock(monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(rates, "time", SimpleNamespace(time=lambda: now[0]))
    return now


def test_so_many_within_a_window_and_then_again_in_the_next(clock):
    counted = Rates("")
    assert [counted.allows("a", 2, 60) for _ in range(4)] == [True, True, False, False]
    assert counted.allows("b", 2, 60), "another one is counted alone"
    clock[0] += 60
    assert counted.allows("a", 2, 60)


def test_counts_in_memory_are_bounded(clock):
    counted = Rates("")
    counted.allows("first", 1, 60)
    for i in range(MOST_KEPT):
        counted.allows(f"name {i}", 1, 60)
    assert counted.allows("first", 1, 60), "it was forgotten"
    assert not counted.allows(f"name {MOST_KEPT - 1}", 1, 60)


class FakeRedis:
    """Stands for a Redis that counts, and for one that is away."""

    def __init__(self):
        self.counts, self.expires, self.away = {}, {}, False

    def pipeline(self):
        done = []

        def execute():
            if self.away:
                raise ConnectionError("refused")
            return [one() for one in done]

        def count(key):
            self.counts[key] = self.counts.get(key, 0) + 1
            return self.counts[key]

        return SimpleNamespace(
            incr=lambda key: done.append(lambda: count(key)),
            expire=lambda key, seconds: done.append(lambda: self.expires.update({key: seconds})),
            execute=execute,
        )


def test_where_a_broker_is_named_all_processes_count_together(clock, monkeypatch):
    shared, asked = FakeRedis(), []

    class Redis:
        @staticmethod
        def from_url(address, **_):
            asked.append(address)
            return shared

    module = ModuleType("redis")
    module.Redis = Redis
    monkeypatch.setitem(sys.modules, "redis", module)
    first, second = Rates("redis://127.0.0.1:6379/1"), Rates("redis://127.0.0.1:6379/1")
    assert [one.allows("a", 2, 60) for one in (first, second, first, second)] == [True, True, False, False]
    assert asked == ["redis://127.0.0.1:6379/1"] * 2
    assert set(shared.expires.values()) == {60}
    shared.away = True
    assert [first.allows("a", 2, 60) for _ in range(3)] == [True, True, False], "it counts alone meanwhile"


def test_a_redis_that_nothing_can_ask_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(AevisError, match=r"needs the packages celery and redis: pip install"):
        Rates("redis://127.0.0.1:6379/1")
