"""Intake: checks a client's job and adds it to the queue."""

import json
import re

from inkstone.serve import Answer, answer_json, problem
from inkstone.settings import Settings

from inkwell.queue import Queue


def take(settings: Settings, queue: Queue, body: bytes) -> Answer:
    """Add a waiting job for ``{"document": NAME, "digest": HEX}``."""
    try:
        fields = json.loads(body)
    except ValueError:
        return problem(400, "the body is not JSON")
    if not isinstance(fields, dict) or set(fields) != {"document", "digest"}:
        return problem(400, "expected an object with document and digest")
    document, digest = fields["document"], fields["digest"]
    if not isinstance(document, str) or not 0 < len(document) <= 200 or not document.isprintable():
        return problem(400, "document must be a printable name of at most 200 characters")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        return problem(400, "digest must be 64 lower-case hex digits")
    if queue.counts()["waiting"] >= settings.most_waiting:
        return problem(503, f"{settings.most_waiting} jobs already wait")
    return answer_json(201, queue.add(document, digest).as_dict())
