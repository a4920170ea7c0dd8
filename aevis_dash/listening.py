"""The production server (waitress): it listens, answers, and stops without cutting off answers that are being made."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.wasyncore import dispatcher, loop

LARGEST_REQUEST = 8 * 1024 * 1024
"""The number of bytes of a request's body at most. The page's own requests have a few kB, and some 100 kB where a lasso
takes thousands of maps."""
CONNECTIONS, IDLE_SECONDS = 1000, 20
"""The number of connections at once, where each open browser takes six, and the seconds after which an idle one is
closed."""
ENDING = 8.0
"""The seconds that answers which are being made get to end, once the server is told to stop. Docker kills what has not
ended after ten."""


class Listener:
    """A server that listens from now on, and answers while its method `run` runs.

    By default waitress takes 100 connections and keeps idle ones for two minutes, so that 17 browsers would lock all
    others out. It also takes bodies of 1 GiB. So these limits are set here.

    Args:
        application: the application that answers, a WSGI function.
        host: the address to listen on.
        port: the port to listen on; 0 for any that is free.
    """

    def __init__(self, application: Callable[..., Any], host: str, port: int):
        self._map: dict[int, Any] = {}
        self._server: Any = create_server(
            application,
            map=self._map,
            host=host,
            port=port,
            threads=8,
            ident=None,
            connection_limit=_affordable(CONNECTIONS),
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=IDLE_SECONDS // 4,
            asyncore_use_poll=True,
            max_request_body_size=LARGEST_REQUEST,
            clear_untrusted_proxy_headers=False,  # only the log reads any, and only of proxies that it trusts
        )
        self._sockets: list[Any] = [one for one in self._map.values() if isinstance(one, BaseWSGIServer)]
        self._stops = 0

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return int(self._sockets[0].effective_port)

    def run(self, stopping: Callable[[], None] = lambda: None) -> None:
        """Answer until `stop` or `close` is called.

        After `stop`, new connections are refused, `stopping` is called, and the answers that are being made get ENDING
        seconds to end.
        """
        while self._map and not self._stops:
            loop(1.0, use_poll=True, map=self._map, count=1)
        if not self._map:
            return
        for one in self._sockets:
            dispatcher.close(one)  # not the trigger, by which threads say that there is something to send
        stopping()
        self._let_answers_end()

    def stop(self) -> None:
        """Let `run` return soon, or at once where it was told before. It may be called by a signal's handler."""
        self._stops += 1
        for one in self._sockets:
            one.pull_trigger()

    def close(self) -> None:
        """Stop listening at once, and let `run` return when the last connection has gone."""
        self._server.close()

    def _let_answers_end(self) -> None:
        end = time.monotonic() + ENDING
        while (busy := self._close_idle()) and self._stops == 1 and time.monotonic() < end:
            loop(0.1, use_poll=True, map=self._map, count=1)
        if busy:
            logging.getLogger(__name__).warning(
                "The server stopped before %d of its answers were sent, as they took longer than %g seconds or it was "
                "told to stop twice.",
                busy,
                ENDING,
            )
        else:
            self._server.task_dispatcher.shutdown()

    def _close_idle(self) -> int:
        """Close the connections on which nothing is answered, and count the others."""
        busy = 0
        for channel in [one for one in self._map.values() if isinstance(one, HTTPChannel)]:
            if channel.requests or channel.total_outbufs_len:
                busy += 1
            else:
                channel.handle_close()
        return busy


def listening(application: Callable[..., Any], host: str, port: int) -> Listener:
    """A server that listens on that address and port; see `Listener`."""
    return Listener(application, host, port)


def _affordable(connections: int) -> int:
    """The number of connections that the system lets this process open beside its other files, `connections` at
    most."""
    if os.name != "posix":
        return connections
    import resource as limits  # there is none elsewhere

    others = 256
    soft, hard = limits.getrlimit(limits.RLIMIT_NOFILE)
    wanted = connections + others
    if soft != limits.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == limits.RLIM_INFINITY else min(wanted, hard)
        limits.setrlimit(limits.RLIMIT_NOFILE, (soft, hard))
    return connections if soft == limits.RLIM_INFINITY else max(32, min(connections, soft - others))
