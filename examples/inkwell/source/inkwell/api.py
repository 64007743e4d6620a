"""The HTTP service. A process (``python3 -m inkwell.api``) or a thread beside the signer."""

import sys
import threading

from inkstone.metrics import RequestTimes
from inkstone.serve import Server
from inkstone.settings import Settings
from inkstone.spans import Spans

from inkwell.key import read_key
from inkwell.limits import MAX_BODY
from inkwell.main import run
from inkwell.queue import Queue
from inkwell.routes import TIMED, routes


def answer(settings: Settings, queue: Queue, stopped: threading.Event) -> None:
    """Listen until stopped. Raises OSError when the port is in use."""
    read_key(settings.data)
    times = RequestTimes("inkwell_request_seconds", TIMED)
    spans = Spans(settings.data / "traces")
    with Server(settings.port, routes(settings, queue, times), times, spans, MAX_BODY) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
        print(f"inkwell listens on 127.0.0.1:{settings.port}", file=sys.stderr, flush=True)
        stopped.wait()
        server.shutdown()


if __name__ == "__main__":
    sys.exit(run("inkwell.api", answer))
