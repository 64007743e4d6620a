"""Differences between two configs; secrets are hidden."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from content.differences.compare_values import Difference
from manifests.foreign.config_schema import Json

HIDDEN = "(not shown)"
JsonPath = tuple[str | int, ...]

# A value under such a name should be a reference to a secret. If it is the secret itself, it must not be printed.
_SECRET_NAME = re.compile(r"(pass(word|phrase|wd)?|secret|token|credentials?|private.?key|api.?key)$", re.IGNORECASE)


@dataclass(frozen=True)
class Leaf:
    """One value of a JSON document, and the text that may be shown of it."""

    value: Json
    shown: str


def config_differences(
    old: bytes | None, new: bytes | None, schemas: tuple[bytes | None, bytes | None], part: str = "config"
) -> Iterator[Difference]:
    """Yield the differences by path. A secret is never shown; a reference to a secret is."""
    was = leaves(json.loads(old), hidden_by(schemas[0])) if old else {}
    now = leaves(json.loads(new), hidden_by(schemas[1])) if new else {}
    for path in sorted(was.keys() | now.keys()):
        before, after = was.get(path), now.get(path)
        if before is None or after is None:
            yield Difference(part, path, before.shown if before else None, after.shown if after else None)
        # Compared as JSON: unlike in Python, `true` and 1 differ.
        elif json.dumps(before.value, sort_keys=True) != json.dumps(after.value, sort_keys=True):
            # A value that one of the two schemas hides is hidden on both sides.
            secret = HIDDEN in (before.shown, after.shown) and "{secret:" not in before.shown + after.shown
            shown = (HIDDEN, f"{HIDDEN}, another value") if secret else (before.shown, after.shown)
            yield Difference(part, path, *shown)


def leaves(value: Json, hidden: Callable[[JsonPath], bool] = lambda _: False, at: JsonPath = ()) -> dict[str, Leaf]:
    """Return every value of a JSON document by its path; a list of plain values is one value."""
    if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
        return {show_path(at): Leaf(value, f"{{secret: {value['secret']}}}")}
    if hidden(at):
        return {show_path(at): Leaf(value, HIDDEN)}
    below: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        below = list(value.items())
    elif isinstance(value, list) and any(isinstance(child, dict | list) for child in value):
        below = list(enumerate(value))
    if below:
        values: dict[str, Leaf] = {}
        for key, child in below:
            values |= leaves(child, hidden, (*at, key))
        return values
    named = next((part for part in reversed(at) if isinstance(part, str)), "")
    secret = not isinstance(value, bool | None) and bool(value) and bool(_SECRET_NAME.search(named))
    plain = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return {show_path(at): Leaf(value, HIDDEN if secret else plain)}


def show_path(at: JsonPath) -> str:
    """Return a path such as ``a.b[0]``; an ambiguous name is quoted, so that two paths never look the same."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_$-]+", part) else json.dumps(part, ensure_ascii=False)
            text += f".{name}" if text else name
    return text or "(all of it)"


def hidden_by(schema: bytes | None) -> Callable[[JsonPath], bool]:
    """Return a test for paths whose value the schema hides: ``writeOnly``, or ``format: password``."""
    if schema is None:
        return lambda _: False
    top: Json = json.loads(schema)

    def node(at: JsonPath) -> Json:
        now = _resolved(top, top)
        for part in at:
            if not isinstance(now, dict):
                return None
            properties = now.get("properties")
            if isinstance(part, int):
                now = now.get("items")
            elif isinstance(properties, dict) and part in properties:
                now = properties[part]
            else:
                now = now.get("additionalProperties")
            now = _resolved(top, now)
        return now

    def hidden(at: JsonPath) -> bool:
        schema_node = node(at)
        return isinstance(schema_node, dict) and (
            schema_node.get("writeOnly") is True or schema_node.get("format") == "password"
        )

    return hidden


def _resolved(top: Json, node: Json) -> Json:
    """Return the node, or the one in the same file to which it refers (check_config_schema allows no other)."""
    for _ in range(32):
        target = node.get("$ref") if isinstance(node, dict) else None
        if not isinstance(target, str):
            return node
        node = top
        for part in target.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            node = node.get(key) if isinstance(node, dict) else None
    return None
