"""Start and stop of the program: settings, queue, and one thread for each part."""

import os
import signal
import sys
import threading
from collections.abc import Callable

from inkstone.settings import Settings, SettingsError, read_settings

from inkwell.queue import Queue, QueueError

Part = Callable[[Settings, Queue, threading.Event], None]


def run(program: str, *parts: Part) -> int:
    """Run every part until SIGTERM, SIGINT or a failure of one part; return the exit code."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        settings = read_settings(program, sys.argv[1:], os.environ)
        queue = Queue(settings.data / "queue.sqlite3")
    except (SettingsError, QueueError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    failures: list[BaseException] = []

    def attempt(part: Part) -> None:
        try:
            part(settings, queue, stopped)
        except Exception as error:  # noqa: BLE001 - after any error the supervisor must see this process end
            failures.append(error)
            stopped.set()

    threads = [threading.Thread(target=attempt, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failures:
        print(f"{program}: {type(error).__name__}: {error}", file=sys.stderr)
    return 1 if failures else 0
