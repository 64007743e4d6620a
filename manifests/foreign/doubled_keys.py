"""Refuse JSON of other programs in which an object has one key twice: each reader would take another value."""

import json

from manifests.words.errors import MalformedError


class _DoubledKeyError(ValueError):
    """Carries the key."""


def refuse_doubled_keys(text: bytes, what: str) -> None:
    """Raise MalformedError for an object with one key twice. Depth and encoding were checked; other faults are not.

    No value is kept, so a long document takes little memory.
    """
    try:
        json.loads(text.decode(), object_pairs_hook=_check)
    except _DoubledKeyError as error:
        raise MalformedError(
            f"the key {str(error)[:100]!r} appears twice in one object",
            where=what,
            remedy="remove one of the two values, or make the file again",
            finding="json-doubled-key",
        ) from None
    except ValueError:
        return  # what is no JSON is reported by the reader of the document


def _check(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    keys: set[str] = set()
    for key, _ in pairs:
        if key in keys:
            raise _DoubledKeyError(key)
        keys.add(key)
