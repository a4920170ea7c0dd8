"""The runs of jobs as they stand at the broker: who asked, which worker has them, how far they are, how they ended.

A worker that has a run holds a *lease* for it, which it renews every second. A run whose lease has run out is handed to
another worker, and so is one of which Redis lost the message.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from aevis_dash.broker import (
    ANSWERS_LAST,
    LEASE,
    RANKS,
    RUNS_LAST,
    SECONDS,
    TASK,
    Asked,
    BrokerAway,
    Run,
    Serves,
    Snapshot,
    celery_app,
    package,
    shown,
)
from aevis_dash.domain import AevisError


def connect(url: str) -> Any:
    """A client of the Redis server at that address.

    Raises:
        AevisError: where the packages are missing, or nothing answers at the address, or what answers refuses.
    """
    redis = package("redis")
    retry = package("redis.retry").Retry(package("redis.backoff").NoBackoff(), 0)
    try:
        client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=SECONDS, socket_connect_timeout=SECONDS, retry=retry
        )
        client.ping()
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise AevisError(
            f"The Redis server at {shown(url)} refuses to serve: {str(error).partition('. ')[0].rstrip('.')}. Write "
            "its password into the address (redis://:PASSWORD@HOST:6379/0), or change its settings."
        ) from error
    except (redis.RedisError, OSError, ValueError) as error:
        raise AevisError(
            f"No Redis server answers at {shown(url)} ({error}). Start one, such as by `redis-server`, or mend the "
            "address."
        ) from error
    return client


class Ledger:
    """The runs of one workspace with one model in one version, as they stand at the broker.

    Every method raises BrokerAway where the broker does not answer.

    Args:
        url: the broker's address.
        serves: what the server serves or the worker works on.

    Raises:
        AevisError: where the packages are missing, or nothing answers at the address.
    """

    def __init__(self, url: str, serves: Serves):
        self.url, self.serves, self._prefix = url, serves, f"aevis:{serves.name}:"
        self._redis, self._celery = connect(url), celery_app(url)
        self._wrong = (package("redis").RedisError, OSError, package("kombu.exceptions").OperationalError)
        self._scripts = {name: self._redis.register_script(text) for name, text in _SCRIPTS.items()}

    def queue(self, rank: int) -> str:
        """The name of the queue of a rank."""
        return f"aevis.{self.serves.name}.{rank}"

    def ask(self, run: str, asked: Asked, server: str) -> str:
        """Hand a run to the workers, unless a run of the same work waits or runs.

        Args:
            run: a new ID, or one that the broker has lost.
            asked: what the run is about.
            server: the name of the server that wants it.

        Returns:
            The ID of the run that does the work: `run`, or the other one. "" where `run` has ended before, so that it
            needs a new ID.
        """
        found = self._call("ask", run, asked.work, asked.rank, json.dumps(asdict(asked)), server, RUNS_LAST)
        if found == run:
            self.send(run, asked.rank)
        return found

    def send(self, run: str, rank: int) -> None:
        """Send the message that lets a free worker take the run. Sending it twice does no harm."""
        with self._answering():
            self._celery.send_task(TASK, args=[run], queue=self.queue(rank), retry=False)

    def want(self, server: str, runs: Mapping[str, str]) -> Snapshot:
        """Tell the broker that a server still wants its runs, and ask how all runs stand.

        Args:
            server: the server's name.
            runs: what workers are told of each of the server's runs. It has to differ from the last time.
        """
        with self._answering():
            pipe = self._redis.pipeline(transaction=False)
            for run, told in runs.items():
                pipe.get(f"{self._prefix}outcome:{run}")
                pipe.hset(f"{self._prefix}wanted:{run}", server, told)
                pipe.expire(f"{self._prefix}wanted:{run}", ANSWERS_LAST)
            for rank in RANKS:
                pipe.llen(self.queue(rank))
            pipe.zrange(f"{self._prefix}order", 0, -1)
            *answers, order = pipe.execute()
            found = Snapshot(workers=self._there("worker"))
            outcomes = dict(zip(runs, answers[: 3 * len(runs) : 3], strict=True))
            found.outcomes = {run: json.loads(text) for run, text in outcomes.items() if text}
            found.lengths = dict(zip(RANKS, answers[3 * len(runs) :], strict=True))
            for run in order:
                pipe.hmget(f"{self._prefix}run:{run}", "asked", "state", "progress")
                pipe.exists(f"{self._prefix}lease:{run}")
            stored = pipe.execute()
        for run, (asked, state, progress), held in zip(order, stored[::2], stored[1::2], strict=True):
            if asked is not None:
                told = tuple(json.loads(progress)) if progress else (0.0, "", "")
                found.runs.append(Run(run, Asked(**json.loads(asked)), state, bool(held), told))
        return found

    def revive(self, run: str, rank: int) -> None:
        """Hand a run to another worker whose own has lost its lease."""
        if self._call("revive", run):
            self.send(run, rank)

    def leave(self, run: str, server: str) -> None:
        """Let a server want a run no more. A run that no server wants is cancelled."""
        self._call("leave", run, server, ANSWERS_LAST)

    def claim(self, run: str, worker: str) -> tuple[Asked, int] | None:
        """Take a run, as a worker. None where there is nothing to do: it has ended, or another worker has it.

        Returns:
            What the run is about, and how often it was taken by now.
        """
        found = self._call("claim", run, worker, LEASE)
        return (Asked(**json.loads(found[0])), int(found[1])) if found else None

    def beat(self, run: str, worker: str, progress: Sequence[Any]) -> list[str] | None:
        """Renew a worker's lease of a run, and tell how far it is.

        Returns:
            What the servers that want the run tell; None where the run is not this worker's any more: it was cancelled,
            or another worker has it. An empty list where the broker does not know the run.
        """
        status, *told = self._call("beat", run, worker, LEASE, json.dumps(list(progress)), RUNS_LAST)
        return None if status == "gone" else told

    def give_back(self, run: str, worker: str, rank: int, died: bool) -> None:
        """Hand a worker's run to another worker.

        Args:
            run: the ID of the run.
            worker: the name of the worker that has it.
            rank: its rank.
            died: whether its process died, which then counts as one of the times that it was taken.
        """
        if self._call("give_back", run, worker, int(died)):
            self.send(run, rank)

    def end(self, run: str, outcome: Mapping[str, Any]) -> None:
        """Say what a run ended with, `{"answer": ...}` or `{"ended": why}`."""
        self._call("end", run, json.dumps(outcome), ANSWERS_LAST)

    def appear(self, role: str, name: str) -> None:
        """Say that a "server" or a "worker" of that name is there, for LEASE seconds."""
        with self._answering():
            self._redis.hset(f"aevis:{role}s", name, json.dumps(asdict(self.serves)))
            self._redis.set(f"aevis:{role}:{name}", "", ex=LEASE)

    def disappear(self, role: str, name: str) -> None:
        """Say that a "server" or a "worker" is not there any more."""
        with self._answering():
            self._redis.delete(f"aevis:{role}:{name}")
            self._redis.hdel(f"aevis:{role}s", name)

    def there(self, role: str) -> dict[str, Serves]:
        """What the servers or workers that are there serve or work on, by their names."""
        with self._answering():
            return self._there(role)

    def _there(self, role: str) -> dict[str, Serves]:
        known = self._redis.hgetall(f"aevis:{role}s")
        pipe = self._redis.pipeline(transaction=False)
        for name in known:
            pipe.exists(f"aevis:{role}:{name}")
        alive = dict(zip(known, pipe.execute(), strict=True))
        if gone := [name for name, there in alive.items() if not there]:
            self._redis.hdel(f"aevis:{role}s", *gone)
        return {name: Serves(**json.loads(text)) for name, text in known.items() if alive[name]}

    def _call(self, script: str, *given: Any) -> Any:
        with self._answering():
            return self._scripts[script](args=[self._prefix, *given])

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except self._wrong as error:
            raise BrokerAway(str(error)) from error


_SCRIPTS = {
    "ask": """
        local p, run, work, rank, asked, server, last = unpack(ARGV)
        if redis.call('EXISTS', p .. 'gone:' .. run) == 1 then return '' end
        local known = redis.call('GET', p .. 'work:' .. work)
        if known and redis.call('EXISTS', p .. 'run:' .. known) == 1 then
            redis.call('HSET', p .. 'wanted:' .. known, server, '')
            return known
        end
        redis.call('SET', p .. 'work:' .. work, run, 'EX', last)
        redis.call('HSET', p .. 'run:' .. run, 'asked', asked, 'work', work, 'state', 'waits', 'taken', 0)
        redis.call('HSET', p .. 'wanted:' .. run, server, '')
        for _, name in ipairs({'run:', 'wanted:'}) do redis.call('EXPIRE', p .. name .. run, last) end
        redis.call('ZADD', p .. 'order', rank * 1e9 + redis.call('INCR', p .. 'number'), run)
        return run""",
    "revive": """
        local p, run = unpack(ARGV)
        if redis.call('HGET', p .. 'run:' .. run, 'state') ~= 'runs' then return 0 end
        if redis.call('EXISTS', p .. 'lease:' .. run) == 1 then return 0 end
        redis.call('HSET', p .. 'run:' .. run, 'state', 'waits')
        return 1""",
    "claim": """
        local p, run, worker, lease = unpack(ARGV)
        if redis.call('EXISTS', p .. 'run:' .. run) == 0 then return {} end
        if redis.call('EXISTS', p .. 'lease:' .. run) == 1 then return {} end
        redis.call('SET', p .. 'lease:' .. run, worker, 'EX', lease)
        redis.call('HSET', p .. 'run:' .. run, 'state', 'runs')
        local taken = redis.call('HINCRBY', p .. 'run:' .. run, 'taken', 1)
        return {redis.call('HGET', p .. 'run:' .. run, 'asked'), taken}""",
    "beat": """
        local p, run, worker, lease, progress, last = unpack(ARGV)
        if redis.call('EXISTS', p .. 'gone:' .. run) == 1 then return {'gone'} end
        if redis.call('EXISTS', p .. 'run:' .. run) == 0 then return {'unknown'} end
        local holder = redis.call('GET', p .. 'lease:' .. run)
        if holder and holder ~= worker then return {'gone'} end
        redis.call('SET', p .. 'lease:' .. run, worker, 'EX', lease)
        redis.call('HSET', p .. 'run:' .. run, 'state', 'runs', 'progress', progress)
        redis.call('EXPIRE', p .. 'run:' .. run, last)
        local told = redis.call('HVALS', p .. 'wanted:' .. run)
        table.insert(told, 1, 'held')
        return told""",
    "give_back": """
        local p, run, worker, died = unpack(ARGV)
        if redis.call('GET', p .. 'lease:' .. run) ~= worker then return 0 end
        if died == '0' then redis.call('HINCRBY', p .. 'run:' .. run, 'taken', -1) end
        redis.call('DEL', p .. 'lease:' .. run)
        redis.call('HSET', p .. 'run:' .. run, 'state', 'waits')
        return 1""",
    "leave": """
        local p, run, server, last = unpack(ARGV)
        redis.call('HDEL', p .. 'wanted:' .. run, server)
        if redis.call('HLEN', p .. 'wanted:' .. run) > 0 then return 0 end
        local work = redis.call('HGET', p .. 'run:' .. run, 'work')
        if not work then return 0 end
        if redis.call('GET', p .. 'work:' .. work) == run then redis.call('DEL', p .. 'work:' .. work) end
        redis.call('SET', p .. 'gone:' .. run, '', 'EX', last)
        redis.call('DEL', p .. 'run:' .. run)
        redis.call('ZREM', p .. 'order', run)
        return 1""",
    "end": """
        local p, run, outcome, last = unpack(ARGV)
        local work = redis.call('HGET', p .. 'run:' .. run, 'work')
        if work and redis.call('GET', p .. 'work:' .. work) == run then redis.call('DEL', p .. 'work:' .. work) end
        redis.call('SET', p .. 'outcome:' .. run, outcome, 'EX', last)
        redis.call('SET', p .. 'gone:' .. run, '', 'EX', last)
        redis.call('DEL', p .. 'run:' .. run, p .. 'lease:' .. run, p .. 'wanted:' .. run)
        redis.call('ZREM', p .. 'order', run)
        return 1""",
}
"""What has to happen at once at the broker, in its language Lua."""
