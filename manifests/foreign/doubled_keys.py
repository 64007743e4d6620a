"""Refuse JSON of other programs in which an object has one key twice: each reader would take another value."""

import json

from manifests.words.errors import MalformedError

MAX_DOUBLED = 50


class _EnoughError(ValueError):
    """So many keys are doubled that no more are looked for."""


def refuse_doubled_keys(text: bytes, what: str) -> None:
    """Raise MalformedError for an object with one key twice. Depth and encoding were checked; other faults are not.

    No value is kept, so a long document takes little memory.
    """
    for problem in doubled_keys(text, what, 1):
        raise problem


def doubled_keys(text: bytes, what: str, at_most: int = MAX_DOUBLED) -> tuple[MalformedError, ...]:
    """Return the error for each key that an object has twice; inner objects come first."""
    keys_twice: list[str] = []

    def check(pairs: list[tuple[str, object]]) -> None:
        if len(dict(pairs)) == len(pairs):
            return
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                keys_twice.append(key)
            keys.add(key)
            if len(keys_twice) >= at_most:
                raise _EnoughError

    try:
        json.loads(text.decode(), object_pairs_hook=check)
    except _EnoughError:
        pass
    except ValueError:
        # What is no JSON is reported by the reader of the document.
        return ()
    return tuple(_doubled(key, what) for key in keys_twice)


def _doubled(key: str, what: str) -> MalformedError:
    return MalformedError(
        f"the key {key[:100]!r} appears twice in one object",
        where=what,
        remedy="remove one of the two values, or make the file again",
        finding="json-doubled-key",
    )
