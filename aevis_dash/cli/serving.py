"""The verbs that go on until they are told to stop: the page's server, and workers that compute its jobs."""

import argparse
import contextlib
import sys

from aevis_dash.broker import url_of
from aevis_dash.cli import users
from aevis_dash.cli.output import Answer
from aevis_dash.config import Progress
from aevis_dash.domain import AevisError


def serve(args: argparse.Namespace, _progress: Progress) -> Answer:
    """Serve the page until interrupted. With --json what the server says goes to stderr."""
    from aevis_dash.callbacks.metrics import Metrics
    from aevis_dash.callbacks.request_log import RequestLog
    from aevis_dash.serving import serve as serve_page

    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        warnings = serve_page(
            args.workspace,
            args.host,
            args.port,
            args.allow_host,
            args.prefix,
            hours=args.job_hours,
            beside=args.beside,
            least_disk=round(args.least_disk * 2**30),
            log=RequestLog(tuple(args.trust_proxy), args.log_addresses),
            form=args.log,
            quota=args.quota,
            metrics=Metrics(args.metrics_from) if args.metrics else None,
            who=users.access_of(args),
            insecure=args.insecure,
            broker=url_of(args.broker),
        )
    return Answer({"served": f"http://{args.host}:{args.port}{args.prefix.rstrip('/')}", "warnings": warnings}, "")


def worker(args: argparse.Namespace, _progress: Progress) -> Answer:
    """Compute the jobs of servers until interrupted. With --json what the worker says goes to stderr."""
    url = url_of(args.broker)
    if not url:
        raise AevisError(
            "A worker needs the broker by which servers hand it their jobs. Name it by --broker redis://HOST:6379/0, "
            "or in the environment variable AEVIS_BROKER_URL."
        )
    from aevis_dash.worker import work

    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():
        work(args.workspace, url, args.beside, args.job_hours, args.threads, args.log)
    return Answer({"workspace": str(args.workspace)}, "")
