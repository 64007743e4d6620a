"""Check the schema of a product's configuration: JSON Schema 2020-12, complete in one file."""

import json
import re
from collections.abc import Iterator

from manifests.words.canonical import check_depth
from manifests.words.errors import MalformedError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA = 1 << 20
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]


def check_config_schema(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is a JSON Schema 2020-12 that refers to nothing outside of itself."""
    if len(data) > MAX_SCHEMA:
        raise MalformedError(f"{len(data)} bytes, a schema has at most {MAX_SCHEMA}", where=what)
    check_depth(data, what)
    try:
        schema = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError) as error:
        raise MalformedError(f"not JSON: {error}", where=what) from None
    if not isinstance(schema, dict):
        raise MalformedError("a schema is a JSON object", where=what)
    dialect = schema.get("$schema", DIALECT)
    if dialect not in (DIALECT, DIALECT + "#"):
        raise MalformedError(f"$schema is {dialect!r}, expected {DIALECT}", where=what)
    # At the site there is nothing to fetch from, and what was fetched at build could differ from what was reviewed.
    for path, target in _references(schema, "$"):
        if not target.startswith("#"):
            problem = f"refers to {target!r}, outside of the file"
            remedy = "copy what it needs under $defs"
            raise MalformedError(problem, where=f"{what} {path}", remedy=remedy, finding="schema-remote-ref")
    for path, pattern in _patterns(schema, "$"):
        try:
            re.compile(pattern)
        except re.error as error:
            raise MalformedError(f"not a regular expression: {error}", where=f"{what} {path}") from None
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise MalformedError(f"not a JSON Schema 2020-12: {error.message}", where=f"{what} {error.json_path}") from None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {key!r} appears twice in one object")
        fields[key] = value
    return fields


def _references(value: Json, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, below in value.items():
            if key in _REFERENCES and isinstance(below, str):
                yield f"{path}.{key}", below
            yield from _references(below, f"{path}.{key}")
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from _references(below, f"{path}[{i}]")


def _patterns(value: Json, path: str) -> Iterator[tuple[str, str]]:
    """Every regular expression, which check_schema does not look into."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key == "pattern" and isinstance(below, str):
                yield f"{path}.{key}", below
            if key == "patternProperties" and isinstance(below, dict):
                yield from ((f"{path}.{key}", pattern) for pattern in below)
            yield from _patterns(below, f"{path}.{key}")
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from _patterns(below, f"{path}[{i}]")
