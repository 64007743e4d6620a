"""Verify many signatures, few in this process and many on every core.

A result that comes from a worker has an empty ``raw``: the caller has the bytes.
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

# Starting workers takes about as long as checking so many reports.
MANY = 1500


CheckJob = tuple[bytes, PublicKey, str]
Checked = SignedReport | WaybillError


def check(jobs: list[CheckJob]) -> list[Checked]:
    """Each report verified, or the reason why not, in the order of ``jobs``."""
    return [_check(raw, key, name) for raw, key, name in jobs]


def _check(raw: bytes, key: PublicKey, name: str) -> Checked:
    try:
        return verify_report(raw, key, name)
    except WaybillError as error:
        return error.with_traceback(None)


def _check_apart(jobs: list[CheckJob]) -> list[Checked]:
    """As ``check``, in a worker; the bytes stay where they came from."""
    return [one if isinstance(one, WaybillError) else replace(one, raw=b"") for one in check(jobs)]


class Checker:
    """Takes jobs and gives their results later."""

    def __init__(self, executor: Executor | None, workers: int) -> None:
        self._executor = executor
        self._workers = workers

    def submit(self, jobs: list[CheckJob]) -> "list[Future[list[Checked]]]":
        """Begin; ``collect`` waits for the end."""
        if self._executor is None:
            done: Future[list[Checked]] = Future()
            done.set_result(check(jobs))
            return [done]
        share = -(-len(jobs) // self._workers) or 1
        return [self._executor.submit(_check_apart, jobs[at : at + share]) for at in range(0, len(jobs), share)]


def collect(parts: "list[Future[list[Checked]]]") -> list[Checked]:
    return [one for part in parts for one in part.result()]


@contextmanager
def checker(count: int) -> Iterator[Checker]:
    """A checker that fits ``count`` reports; its workers end with the block."""
    workers = len(os.sched_getaffinity(0))
    if count < MANY or workers < 2:
        yield Checker(None, 1)
        return
    # Not forked: a copy of this process would hold the database open, and its locks.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        yield Checker(executor, workers)
