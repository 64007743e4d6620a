"""Return one job by its number."""

from inkstone.serve import Answer, Request, answer_json, problem
from inkwell.queue import Queue


def fetch(request: Request, queue: Queue) -> Answer:
    job = queue.find(int(request.words[0]))
    return answer_json(200, job.as_dict()) if job else problem(404, "no such job")
