"""An HTTP service on one loopback port: a table of routes, limits on requests, and their times."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from inkstone.metrics import RequestTimes
from inkstone.spans import Spans

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True)
class Request:
    """Attributes: words: groups that the route's pattern matched in the path; body: bytes as sent."""

    words: tuple[str, ...]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    media_type: str = JSON


@dataclass(frozen=True)
class Route:
    """Attributes: path: pattern for the whole path; timed: label of its request times, or empty."""

    method: str
    path: str
    answer: Callable[[Request], Answer]
    timed: str = ""


def answer_json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value, sort_keys=True).encode() + b"\n")


def problem(status: int, text: str) -> Answer:
    return answer_json(status, {"problem": text})


class Server(ThreadingTCPServer):
    """A server that listens on 127.0.0.1 from its creation on; ``serve_forever`` handles requests.

    The class of ``http.server`` asks DNS for its name, which takes seconds at a site without a network.

    Attributes:
        max_body: Limit of a request body in bytes; None for no limit.
    """

    allow_reuse_address = True  # the previous version has just closed this port
    daemon_threads = True

    def __init__(
        self, port: int, routes: Sequence[Route], times: RequestTimes, spans: Spans, max_body: int | None
    ) -> None:
        self.routes = tuple((one, re.compile(one.path)) for one in routes)
        self.times = times
        self.spans = spans
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
        started, began = time.perf_counter(), time.time_ns()
        body = self._body()
        path = self.path.partition("?")[0]
        fitting = [(route, match) for route, one in self.server.routes if (match := one.fullmatch(path))]
        route, match = next((pair for pair in fitting if pair[0].method == self.command), (None, None))
        if isinstance(body, Answer):
            self._send(body)
        elif route is None:
            self._send(problem(405, "method not allowed") if fitting else problem(404, "not found"))
        else:
            answer = route.answer(Request(match.groups(), body))
            if route.timed:
                seconds = time.perf_counter() - started
                self.server.times.observe(route.timed, seconds)
                self.server.spans.add(route.timed, began, began + int(seconds * 1e9), failed=answer.status >= 500)
            self._send(answer)

    def _body(self) -> bytes | Answer:
        announced = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not re.fullmatch("[0-9]{1,18}", announced):
            return problem(411, "Content-Length is missing")
        length = int(announced)
        most = self.server.max_body
        if most is not None and length > most:
            # A client that is still sending would not read the response, so a part of the body is read first.
            for _ in range(min(length // most, 16)):
                self.rfile.read(most)
            return problem(413, f"body has {length} bytes, the limit is {most}")
        body = self.rfile.read(length)
        return body if len(body) == length else problem(400, f"Content-Length is {length}, received {len(body)} bytes")

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.media_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "inkstone"
