"""A small service on one loopback port: a table of routes, bounded requests, a clock on each."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from inkstone.metrics import RequestTimes

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """Attributes: words: what the route's pattern captured from the path; body: as sent."""

    words: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    media_type: str = JSON


@dataclass(frozen=True)
class Route:
    """Attributes: path: a pattern for the whole path; timed: the label of its request times, or empty."""

    method: str
    path: str
    answer: Callable[[Request], Answer]
    timed: str = ""


def answer_json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value, sort_keys=True).encode() + b"\n")


def problem(status: int, text: str) -> Answer:
    return answer_json(status, {"problem": text})


class Server(ThreadingTCPServer):
    """Listens on 127.0.0.1 as soon as it exists; ``serve_forever`` answers.

    Not ``http.server``'s own class: that asks DNS for its name, and a site without a network waits seconds for it.

    Attributes:
        max_body: Longest body in bytes that is read; None reads what the client announces.
    """

    allow_reuse_address = True  # the version before has just left this port
    daemon_threads = True

    def __init__(self, port: int, routes: Sequence[Route], times: RequestTimes, max_body: int | None) -> None:
        self.routes = tuple((one, re.compile(one.path)) for one in routes)
        self.times = times
        self.max_body = max_body
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 10

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        started = time.perf_counter()
        body = self._body()
        path = self.path.partition("?")[0]
        fitting = [(route, match) for route, one in self.server.routes if (match := one.fullmatch(path))]
        route, match = next((pair for pair in fitting if pair[0].method == self.command), (None, None))
        if isinstance(body, Answer):
            self._send(body)
        elif route is None:
            self._send(problem(405, "no such method here") if fitting else problem(404, "nothing here"))
        else:
            self._send(route.answer(Request(match.groups(), body)))
            if route.timed:
                self.server.times.observe(route.timed, time.perf_counter() - started)

    def _body(self) -> bytes | Answer:
        announced = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,18}", announced):
            return problem(411, "a body needs its length in bytes")
        length = int(announced)
        most = self.server.max_body
        if most is not None and length > most:
            # Read a little of it away: a client that is still sending would not see the answer.
            for _ in range(min(length // most, 16)):
                self.rfile.read(most)
            return problem(413, f"{length} bytes, at most {most} are read")
        body = self.rfile.read(length)
        return body if len(body) == length else problem(400, f"{length} bytes announced, {len(body)} came")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "inkstone"
