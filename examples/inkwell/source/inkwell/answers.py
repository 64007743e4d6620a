"""Responses that are too long for the route table."""

from inkstone.metrics import RequestTimes, gauge
from inkstone.serve import METRICS, Answer, Request, answer_json, problem
from inkstone.settings import Settings

from inkwell.health import examine
from inkwell.queue import Queue
from inkwell.version import VERSION


def healthy_as(request: Request, settings: Settings, queue: Queue) -> Answer:
    """Return the health of the named version; 404 from any other, such as an old process that still runs."""
    if request.words[0] != VERSION:
        return problem(404, f"this is version {VERSION}")
    return answer_json(*examine(settings, queue))


def newest(queue: Queue) -> Answer:
    return answer_json(200, [job.as_dict() for job in queue.newest(100)])


def metrics(queue: Queue, times: RequestTimes) -> Answer:
    lines = gauge("inkwell_build_info", "Always 1.", {f'version="{VERSION}"': 1})
    lines += gauge("inkwell_jobs", "Jobs by state.", {f'state="{s}"': n for s, n in queue.counts().items()})
    return Answer(200, "\n".join(lines + times.lines() + [""]).encode(), METRICS)
