"""Verify many signatures, few in this process and many on every core.

A result from a worker has an empty ``raw``: the caller has the bytes.
"""

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context

from manifests.documents.report_reader import SignedReport, verify_report
from manifests.trust.keys import PublicKey
from manifests.words.errors import WaybillError

# Starting workers takes about as long as checking this many reports.
MANY = 1500


CheckJob = tuple[bytes, PublicKey, str]
CheckResult = SignedReport | WaybillError


def check(jobs: list[CheckJob]) -> list[CheckResult]:
    """Return each report verified, or the reason why not, in the order of ``jobs``."""
    return [_check(raw, key, name) for raw, key, name in jobs]


def _check(raw: bytes, key: PublicKey, name: str) -> CheckResult:
    try:
        return verify_report(raw, key, name)
    except WaybillError as error:
        return error.with_traceback(None)


def _check_apart(jobs: list[CheckJob]) -> list[CheckResult]:
    """As ``check``, in a worker; the bytes are not sent back."""
    results = check(jobs)
    return [one if isinstance(one, WaybillError) else replace(one, raw=b"") for one in results]


class SignatureChecker:
    """Takes jobs, each a report with its key and name, and gives their results later."""

    def __init__(self, executor: Executor | None, workers: int) -> None:
        self._executor = executor
        self._workers = workers

    def submit(self, jobs: list[CheckJob]) -> "list[Future[list[CheckResult]]]":
        """Start the jobs; ``collect`` waits for their results."""
        if self._executor is None:
            future: Future[list[CheckResult]] = Future()
            future.set_result(check(jobs))
            return [future]
        share = -(-len(jobs) // self._workers) or 1
        return [self._executor.submit(_check_apart, jobs[at : at + share]) for at in range(0, len(jobs), share)]


def collect(parts: "list[Future[list[CheckResult]]]") -> list[CheckResult]:
    return [result for part in parts for result in part.result()]


@contextmanager
def open_checker(count: int) -> Iterator[SignatureChecker]:
    """Open a checker for about ``count`` reports; its workers end with the block."""
    workers = len(os.sched_getaffinity(0))
    if count < MANY or workers < 2:
        yield SignatureChecker(None, 1)
        return
    # Not forked: a copy of this process would hold the database open, and its locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        yield SignatureChecker(executor, workers)
