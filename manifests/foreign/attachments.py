"""Check documents that a release carries: notes, OpenVEX advisories, the schema of the product's configuration."""

import json
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from manifests.words.canonical import check_depth, decode
from manifests.words.errors import MalformedError

MAX_NOTES = 1 << 20


def check_notes(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is text that a terminal can show line by line."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}", where=what) from None
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        for char in line:
            if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160:
                raise MalformedError(f"holds the control character U+{ord(char):04X}", where=f"{what}:{number}")


MAX_OPENVEX = 4 << 20
CONTEXT = "https://openvex.dev/ns"

_Named = Annotated[str, Meta(min_length=1)]


class Vulnerability(Struct, frozen=True):
    name: _Named


class VexStatement(Struct, frozen=True):
    """One statement; the early specification wrote the vulnerability as plain text."""

    vulnerability: Vulnerability | str
    status: Literal["not_affected", "affected", "fixed", "under_investigation"]
    justification: str = ""
    impact_statement: str = ""
    action_statement: str = ""


class OpenVex(Struct, frozen=True):
    context: _Named = field(name="@context")
    id: _Named = field(name="@id")
    author: _Named
    timestamp: _Named
    version: int | str
    statements: Annotated[list[VexStatement], Meta(min_length=1)]


def check_openvex(data: bytes, what: str) -> OpenVex:
    """Read an OpenVEX document. Raises MalformedError also when a statement lacks what its status requires."""
    if len(data) > MAX_OPENVEX:
        raise MalformedError(f"{len(data)} bytes, an OpenVEX document has at most {MAX_OPENVEX}", where=what)
    document = decode(data, OpenVex, what)
    if not document.context.startswith(CONTEXT):
        raise MalformedError(f"@context is {document.context!r}, expected {CONTEXT}...", where=what)
    for i, statement in enumerate(document.statements):
        # Section "Status Labels": what a reader needs with each of them.
        if statement.status == "not_affected" and not (statement.justification or statement.impact_statement):
            problem = "not_affected needs a justification or an impact_statement"
            raise MalformedError(problem, where=f"{what} $.statements[{i}]")
        if statement.status == "affected" and not statement.action_statement:
            raise MalformedError("affected needs an action_statement", where=f"{what} $.statements[{i}]")
    return document


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
    for path, key, target in _members(schema, "$"):
        if key in _REFERENCES and isinstance(target, str) and not target.startswith("#"):
            problem = f"refers to {target!r}, outside of the file"
            remedy = "copy what it needs under $defs"
            raise MalformedError(problem, where=f"{what} {path}", remedy=remedy, finding="schema-remote-ref")
    for path, pattern in _patterns(schema):
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


def _members(value: Json, path: str) -> Iterator[tuple[str, str, Json]]:
    """Every (path, key, value) inside of ``value``."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield f"{path}.{key}", key, below
            yield from _members(below, f"{path}.{key}")
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from _members(below, f"{path}[{i}]")


def _patterns(value: Json) -> Iterator[tuple[str, str]]:
    """Every regular expression, which check_schema does not look into."""
    for path, key, below in _members(value, "$"):
        if key == "pattern" and isinstance(below, str):
            yield path, below
        if key == "patternProperties" and isinstance(below, dict):
            yield from ((path, pattern) for pattern in below)
