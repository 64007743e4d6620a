"""Limits of a handler of the verifier: its time and memory while it only reads, and the length of its output."""

import resource
import signal as signals
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from manifests.documents.release import Handler
from manifests.words.canonical import encode
from verifier.handlers.output import HandlerOutput

# The kernel counts the whole stack of a thread, and by default that is 8 MiB (pthread_create(3)).
STACK_BYTES = 1 << 20
TOO_LONG = "output-too-long"
NO_MEMORY = "out-of-memory"


class TimeUpError(BaseException):
    """The time of a handler is up. Not an Exception: no handler may take it for a failure of its own."""


@contextmanager
def limited(handler: Handler) -> Iterator[None]:
    """Limit time and memory of the block, for a handler that only reads: that can be stopped at any point.

    Everything else has time limits of its own, and is not cut off in the middle.

    Raises:
        TimeUpError: The time is up.
        MemoryError: The block allocated more than the handler may have.
    """
    if handler.risk != "read-only":
        yield
        return
    with _time_limit(handler.limits.seconds), _memory_limit(handler.limits.memory_bytes):
        yield


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise TimeUpError

    before = signals.signal(signals.SIGALRM, end)
    signals.setitimer(signals.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signals.setitimer(signals.ITIMER_REAL, 0)
        signals.signal(signals.SIGALRM, before)


@contextmanager
def _memory_limit(more_bytes: int) -> Iterator[None]:
    """Let this process have so much more memory of its own than it has now; programs that it starts inherit that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + more_bytes
    for other in (soft, hard):
        limit = limit if other == resource.RLIM_INFINITY else min(limit, other)
    stack = threading.stack_size(STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        threading.stack_size(stack)


def _data_bytes() -> int:
    """Return the memory of this process that RLIMIT_DATA counts (proc_pid_statm(5), data)."""
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def bounded_output(handler: Handler, output: HandlerOutput) -> HandlerOutput:
    """Return the output within the handler's limit: lines for people are cut, values too long are a failure. Pure."""
    most = handler.limits.output_bytes
    left = most - len(encode({"rows": [dict(row) for row in output.rows], "values": dict(output.values)}))
    if left < 0:
        return HandlerOutput(lines=(f"it stated more than {most} bytes",), reason=TOO_LONG)
    kept: list[str] = []
    for line in output.lines:
        left -= len(line.encode(errors="replace")) + 1
        if left < 0:
            break
        kept.append(line)
    more = len(output.lines) - len(kept)
    return replace(output, lines=(*kept, f"{more} more lines are left out")) if more else output
