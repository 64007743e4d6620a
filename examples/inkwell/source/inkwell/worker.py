"""The signer: signs the oldest jobs first. A process (``python3 -m inkwell.worker``) or a thread."""

import sys
import threading

from inkstone.settings import Settings

from inkwell.key import read_key, sign
from inkwell.main import run
from inkwell.queue import Queue

BATCH = 100


def sign_waiting(queue: Queue, key: bytes) -> int:
    """Sign up to a batch of jobs; return their number."""
    jobs = queue.waiting(BATCH)
    for job in jobs:
        queue.sign(job, sign(key, job.digest))
    return len(jobs)


def work(settings: Settings, queue: Queue, stopped: threading.Event) -> None:
    """Sign until stopped; poll an empty queue five times a second."""
    key = read_key(settings.data)
    while not stopped.is_set():
        if sign_waiting(queue, key) == 0:
            stopped.wait(0.2)


if __name__ == "__main__":
    sys.exit(run("inkwell.worker", work))
