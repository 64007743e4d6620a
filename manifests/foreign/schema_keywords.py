"""The types that JSON Schema 2020-12 gives to its keywords: a program that applies a schema relies on them."""

from collections.abc import Callable, Mapping
from decimal import Decimal

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_type(value: object) -> bool:
    if isinstance(value, list):
        return _is_names(value) and bool(value) and {*value} <= {*TYPES}
    return isinstance(value, str) and value in TYPES


def _is_names_by_name(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_names, value.values()))


def _is_schemas(value: object) -> bool:
    return isinstance(value, list) and bool(value)


_Kind = tuple[str, Callable[[object], bool], tuple[str, ...]]
# What a keyword is, in words, how it is known, and the keywords. What a subschema is, the walk through them checks.
_KINDS: tuple[_Kind, ...] = (
    ("a string", _is_text, ("$comment", "$id", "$ref", "$schema", "description", "format", "pattern", "title")),
    ("a string", _is_text, ("contentEncoding", "contentMediaType")),
    ("a boolean", lambda value: isinstance(value, bool), ("deprecated", "readOnly", "uniqueItems", "writeOnly")),
    ("a number", _is_number, ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")),
    ("a number above 0", lambda value: isinstance(value, int | Decimal) and _is_number(value) and value > 0,
     ("multipleOf",)),
    ("an integer from 0 on", _is_count, ("maxContains", "maxItems", "maxLength", "maxProperties")),
    ("an integer from 0 on", _is_count, ("minContains", "minItems", "minLength", "minProperties")),
    ("a list", lambda value: isinstance(value, list), ("enum", "examples")),
    ("a list of strings, each once", _is_names, ("required",)),
    ("a type, or a list of types, each once", _is_type, ("type",)),
    ("a list of schemas, at least one", _is_schemas, ("allOf", "anyOf", "oneOf", "prefixItems")),
    ("an object", lambda value: isinstance(value, dict), ("$defs", "definitions", "dependentSchemas")),
    ("an object", lambda value: isinstance(value, dict), ("patternProperties", "properties")),
    ("an object of lists of strings, each once", _is_names_by_name, ("dependentRequired",)),
)  # fmt: skip
_KIND_OF = {keyword: (words, known) for words, known, keywords in _KINDS for keyword in keywords}


def wrong_keyword(schema: Mapping[str, object]) -> tuple[str, str] | None:
    """Return the first keyword of another type than the standard's, and what it should be; None when all are right."""
    for keyword, value in schema.items():
        words, known = _KIND_OF.get(keyword, ("", None))
        if known is not None and not known(value):
            return keyword, words
    return None
