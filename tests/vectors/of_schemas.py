"""Vectors: the schema of a configuration, inside and outside of the subset that a site applies."""

import json
from collections.abc import Callable

from manifests.documents.release import Config
from manifests.words.digest import Blob, digest_of
from tests.vectors.surgery import Case
from tests.vendor import RELEASE, SECOND, Vendor

DEEP = 40


def doubled(levels: int) -> dict[str, object]:
    """A schema that applies 2^levels subschemas, by two references to the next level in each one."""
    steps = {f"d{i}": {"anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**steps, f"d{levels}": {"type": "string"}}}


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


SCHEMAS: dict[str, object] = {
    "right": {"type": "object", "properties": {"port": {"$ref": "#/$defs/port"}}, "$defs": {"port": {"minimum": 1}}},
    "pattern": {"pattern": "^[a-z]+$"},
    "fraction": {"multipleOf": 0.25},
    "id-at-the-top": {"$id": "https://small.example/schema"},
    "data-that-looks-like-a-schema": {"const": {"$ref": "elsewhere.json", "pattern": "("}},
    "nested-levels": nested(15),
    "no-json": b"{",
    "no-object": [],
    "key-twice": b'{"type":"object","type":"array"}',
    "other-dialect": {"$schema": "http://json-schema.org/draft-07/schema#"},
    "fraction-too-fine": {"properties": {"port": {"multipleOf": 1e-320}}},
    "number-too-large": {"maximum": 2**53},
    "number-without-end": b'{"const":1e999}',
    "remote": {"$ref": "https://small.example/schema"},
    "reference-to-nothing": {"$ref": "#/$defs/a"},
    "reference-to-itself": {"properties": {"a": {"$ref": "#"}}},
    "references-in-a-circle": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "circle-that-nothing-uses": {"$defs": {"a": {"$ref": "#/$defs/a"}}},
    "id-below": {"properties": {"a": {"$id": "https://small.example/a"}}},
    "anchor": {"$anchor": "a"},
    "dynamic-reference": {"$dynamicRef": "#a"},
    "unevaluated-beside-patterns": {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
    "doubled-references": doubled(13),
    "nested-too-deep": nested(DEEP),
    "pattern-that-looks-ahead": {"pattern": "^(?=a)b"},
    "pattern-with-a-back-reference": {"pattern": r"(a)\1"},
    "pattern-open": {"patternProperties": {"(": {}}},
    "pattern-too-long": {"pattern": "a" * 1001},
    "keyword-that-is-a-number": {"properties": 5},
    "keyword-that-is-null": {"required": None},
    "subschema-that-is-a-list": {"properties": {"a": []}},
    "subschema-that-is-a-number": {"if": 5},
    "type-of-no-name": {"type": "nothing"},
    "reference-that-is-a-number": {"$ref": 5},
    "list-of-schemas-that-is-empty": {"anyOf": []},
    "multiple-of-nothing": {"multipleOf": 0},
    "pattern-too-large": {"pattern": "((a{100}){100}){100}"},
}


def of_schema(schema: object) -> Callable[[], Case]:
    data = schema if isinstance(schema, bytes) else json.dumps(schema, sort_keys=True).encode()
    config = Config(schema=Blob(digest=digest_of(data), size=len(data)), version=1)
    vendor = Vendor(signers=(RELEASE, SECOND), extra={"schema": data}, change={"config": config})
    return lambda: Case(vendor.bundle(), vendor.pin())


TOPICS: dict[str, tuple[str, dict[str, Callable[[], Case]]]] = {
    "config-schema": (
        "The schema of a configuration is a program of the vendor: its cost can be seen without running it (F-12.3).",
        {name: of_schema(schema) for name, schema in SCHEMAS.items()},
    ),
}
