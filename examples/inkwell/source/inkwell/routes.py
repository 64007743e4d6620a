"""Route table of the service."""

from inkstone.metrics import RequestTimes
from inkstone.serve import TEXT, Answer, Route, answer_json
from inkstone.settings import Settings

from inkwell.answers import healthy_as, metrics, newest
from inkwell.health import examine
from inkwell.intake import take
from inkwell.queue import Queue

TIMED = ("intake", "list")


def routes(settings: Settings, queue: Queue, times: RequestTimes) -> tuple[Route, ...]:
    return (
        Route("GET", "/", lambda _: Answer(200, settings.greeting.encode() + b"\n", TEXT)),
        Route("GET", "/healthz", lambda _: answer_json(*examine(settings, queue))),
        Route("GET", "/healthz/([a-z0-9.+-]+)", lambda request: healthy_as(request, settings, queue)),
        Route("GET", "/metrics", lambda _: metrics(queue, times)),
        Route("POST", "/jobs", lambda request: take(settings, queue, request.body), timed="intake"),
        Route("GET", "/jobs", lambda _: newest(queue), timed="list"),
    )
