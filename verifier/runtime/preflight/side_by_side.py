"""Several questions at once, with one end for all: a host that does not answer holds nobody up."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def side_by_side(jobs: Mapping[K, Callable[[], T]], seconds: float) -> dict[K, T]:
    """Return what each job returned, in the order of ``jobs``; one that is not done after ``seconds`` is left out.

    A job that raises is a bug of ours, and its error is raised here.
    """
    done: dict[K, T] = {}
    raised: list[BaseException] = []

    def work(key: K, job: Callable[[], T]) -> None:
        try:
            done[key] = job()
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            raised.append(error)

    threads = [threading.Thread(target=work, args=item, daemon=True, name="preflight") for item in jobs.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if raised:
        raise raised[0]
    # A late thread may still write into `done`.
    ended = dict(done)
    return {key: ended[key] for key in jobs if key in ended}
