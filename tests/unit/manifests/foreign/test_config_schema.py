"""The schema of a configuration: what is in the subset, what a configuration is told, and how much work that may be."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from manifests.foreign.config_check import MAX_APPLIED, config_errors
from manifests.foreign.config_schema import check_config_schema, read_config_schema
from manifests.words.errors import MalformedError
from tests.vectors.of_schemas import SCHEMAS, doubled


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def errors(schema: object, config: object) -> list[str]:
    read = read_config_schema(dump(schema), "schema")
    found = config_errors(read, json.loads(dump(config), parse_float=Decimal), "config")
    return [f"{error.json_path}: {error.message}" for error in found]


EVERY_KEYWORD = (
    *Draft202012Validator.VALIDATORS,
    *("$defs", "$comment", "title", "examples", "deprecated", "else", "then", "maxContains", "minContains"),
)
WRONG_VALUES: tuple[object, ...] = (
    *(5, -1, 0, 1.5, 10**15, "x", "", None, True, [], {}, [5], [[]], [{}], ["a"], ["a", "a"], ["string"], "string"),
    *({"a": 5}, {"a": []}, {"a": {}}, {"a": None}, {"a": ["b"]}, {"a": "b"}),
)


@pytest.mark.parametrize("keyword", EVERY_KEYWORD)
def test_what_is_accepted_can_be_applied(keyword: str) -> None:
    """Any value of any keyword, at the top and below: refused when it is read, or applied without an exception."""
    configs: tuple[object, ...] = ({"a": [1, "x", {"a": None}], "b": 1.5}, {}, {"a": {"b": "x"}})
    for value in WRONG_VALUES:
        for schema in ({keyword: value}, {"properties": {"a": {keyword: value}}}, {"items": {keyword: value}}):
            try:
                read = read_config_schema(dump(schema), "schema")
            except MalformedError:
                continue
            Draft202012Validator.check_schema(read)
            for config in configs:
                config_errors(read, json.loads(dump(config), parse_float=Decimal), "config")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
        {"properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"pattern": "^[a-z]+$"}}},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},
    ],
)
def test_config_schema(schema: object) -> None:
    check_config_schema(dump(schema), "x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"true", "a schema is a JSON object"),
        (b'{"type":"object","type":"array"}', "appears twice"),
        (dump({"$schema": "http://json-schema.org/draft-07/schema#"}), "expected https://json-schema.org/draft/2020"),
        (dump({"type": "thing"}), "type is not a type, or a list of types"),
        (dump({"properties": {"a": {"minimum": "1"}}}), "minimum is not a number"),
        (dump({"properties": {"a": {"$ref": "https://example.com/x"}}}), "refers to 'https://example.com/x', outside"),
        (dump({"allOf": [{"$dynamicRef": "other.json#a"}]}), r"uses \$dynamicRef"),
        (dump({"properties": {"a": {"pattern": "("}}}), "not in RE2's syntax"),
        (dump({"patternProperties": {"(": {}}}), "not in RE2's syntax"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested deeper than"),
    ],
)
def test_what_is_no_config_schema(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        check_config_schema(data, "x")


def test_the_bound_on_subschemas_counts_each_reference_each_time() -> None:
    read_config_schema(dump(doubled(11)), "x")
    with pytest.raises(MalformedError, match="more than 10000 subschemas") as caught:
        read_config_schema(dump(doubled(13)), "x")
    assert caught.value.finding == "schema-too-large"


def test_a_check_ends_within_its_bound() -> None:
    levels = json.loads(dump(doubled(11)["$defs"]).replace(b"anyOf", b"allOf"))
    read = read_config_schema(dump({"items": {"$ref": "#/$defs/d0"}, "$defs": levels}), "x")
    started = time.process_time()
    with pytest.raises(MalformedError, match=f"more than {MAX_APPLIED} steps") as caught:
        config_errors(read, ["a"] * 3000, "config")
    assert caught.value.finding == "schema-too-large"
    # A bound, not a speed: without one this takes longer than a day.
    assert time.process_time() - started < 120


def test_patterns_that_backtrack_elsewhere_take_no_time_here() -> None:
    assert errors({"pattern": "^(([a-z.])+.)+[A-Z]([a-z])+$"}, "a" * 4000)[0].startswith("$: ")
    assert errors({"patternProperties": {"^(a+)+$": {"type": "integer"}}}, {"a" * 4000 + "b": "x"}) == []


@pytest.mark.parametrize(
    ("schema", "config", "expected"),
    [
        ({"multipleOf": 0.1}, 0.3, []),
        ({"multipleOf": 0.01}, 4.355, ["$: 4.355 is not a multiple of 0.01"]),
        ({"multipleOf": 2}, True, []),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], []),
        ({"uniqueItems": True}, [{"a": [1, 2]}, {"a": [1.0, 2]}], ["$: an item appears twice in the list"]),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 2}, ["not allowed: 'b'"]),
        ({"patternProperties": {"^x": {}}, "additionalProperties": False}, {"x1": 1}, []),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"x1": "a"}, ["$.x1: 'a' is not of type 'integer'"]),
        ({"additionalProperties": {"type": "integer"}}, {"b": "x"}, ["$.b: 'x' is not of type 'integer'"]),
    ],
)
def test_keywords_of_ours(schema: object, config: object, expected: list[str]) -> None:
    found = errors(schema, config)
    assert len(found) == len(expected)
    assert all(text in line for text, line in zip(expected, found, strict=True))


KEYWORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null"]),
        "pattern": st.sampled_from(["^a", "b$", "[0-9]+"]),
        "uniqueItems": st.booleans(),
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "additionalProperties": st.booleans(),
    },
)
SCHEMA = st.recursive(
    KEYWORDS,
    lambda below: st.builds(
        lambda own, more: {**own, **more},
        KEYWORDS,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(st.sampled_from("ab"), below, max_size=2),
                "patternProperties": st.dictionaries(st.sampled_from(["^a", "c"]), below, max_size=2),
                "items": below,
                "anyOf": st.lists(below, min_size=1, max_size=2),
                "not": below,
            },
        ),
    ),
    max_leaves=6,
)
CONFIG = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.sampled_from(["", "a", "ab", "b", "12"])),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(st.sampled_from("abc"), below, max_size=3)),
    max_leaves=6,
)


@given(schema=SCHEMA, config=CONFIG)
@settings(max_examples=300, deadline=None)
def test_the_verdict_is_that_of_the_library(schema: dict[str, object], config: object) -> None:
    """Our keywords change how long a check takes and what it prints, never whether it holds."""
    decimals = json.loads(dump(schema), parse_float=Decimal)
    valid = Draft202012Validator(decimals).is_valid(json.loads(dump(config)))
    assert (errors(schema, config) == []) is valid


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_of_the_vectors_is_read_in_no_time(name: str) -> None:
    value = SCHEMAS[name]
    started = time.process_time()
    try:
        read_config_schema(value if isinstance(value, bytes) else dump(value), "x")
    except MalformedError as error:
        assert len(str(error)) < 400
    assert time.process_time() - started < 5
