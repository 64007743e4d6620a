"""Verify many signatures, few in this process and many on every core.

A result from a worker has an empty ``raw``: the caller has the bytes.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

from manifests.documents.signed_report import SignedReport, verify_report
from manifests.trust.keys import PublicKey
from manifests.words.errors import WaybillError

# Starting workers takes about as long as checking this many reports.
MANY = 1500

CheckJob = tuple[bytes, PublicKey, str]
CheckResult = SignedReport | WaybillError
# Starts jobs, each a report with its key and name; ``collect`` waits for their results.
Checker = Callable[[list[CheckJob]], list[Future[list[CheckResult]]]]


def check(jobs: list[CheckJob]) -> list[CheckResult]:
    """Return each report verified, or the reason why not, in the order of ``jobs``."""
    results: list[CheckResult] = []
    for raw, key, name in jobs:
        try:
            results.append(verify_report(raw, key, name))
        except WaybillError as error:
            results.append(error.with_traceback(None))
    return results


def _check_apart(jobs: list[CheckJob]) -> list[CheckResult]:
    """As ``check``, in a worker; the bytes are not sent back."""
    return [one if isinstance(one, WaybillError) else replace(one, raw=b"") for one in check(jobs)]


def _check_here(jobs: list[CheckJob]) -> list[Future[list[CheckResult]]]:
    future: Future[list[CheckResult]] = Future()
    future.set_result(check(jobs))
    return [future]


def collect(parts: list[Future[list[CheckResult]]]) -> list[CheckResult]:
    return [result for part in parts for result in part.result()]


@contextmanager
def open_checker(count: int) -> Iterator[Checker]:
    """Open a checker for about ``count`` reports; its workers end with the block."""
    workers = len(os.sched_getaffinity(0))
    if count < MANY or workers < 2:
        yield _check_here
        return
    # Not forked: a copy of this process would hold the database open, and its locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:

        def submit(jobs: list[CheckJob]) -> list[Future[list[CheckResult]]]:
            share = -(-len(jobs) // workers) or 1
            return [executor.submit(_check_apart, jobs[at : at + share]) for at in range(0, len(jobs), share)]

        yield submit
