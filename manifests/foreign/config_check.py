"""Check a configuration by its schema, within a bound on the work that the schema can cause."""

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from typing import Protocol

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from manifests.foreign.config_schema import Json
from manifests.foreign.schema_patterns import compile_pattern
from manifests.words.errors import MalformedError

# Keywords that one check may apply: at the worst the size of the schema times that of the configuration.
MAX_APPLIED = 200_000
MAX_ERRORS = 20
_DECIMAL = re.compile(r"Decimal\('([0-9.Ee+-]+)'\)")
_Keyword = Callable[..., Iterator[ValidationError] | None]
_Schema = Mapping[str, Mapping[str, Json]]


class _Validator(Protocol):
    """What a keyword of jsonschema gets: it judges a part of the instance by a part of the schema."""

    def descend(self, instance: object, schema: Json, path: str) -> Iterator[ValidationError]: ...


def config_errors(schema: Mapping[str, Json], config: Json, what: str) -> list[ValidationError]:
    """Return what is wrong with a configuration, by path; at most `MAX_ERRORS` errors.

    Args:
        schema: From `read_config_schema`.
        config: JSON values, decimals as `Decimal`, so that 0.1 is exact.

    Raises:
        MalformedError: The check applies more than `MAX_APPLIED` keywords, or the schema cannot be applied.
    """
    applied = 0

    def bounded(keyword: _Keyword) -> _Keyword:
        def apply(*arguments: object) -> Iterator[ValidationError] | None:
            nonlocal applied
            applied += 1
            if applied > MAX_APPLIED:
                problem = f"the check of the configuration needs more than {MAX_APPLIED} steps"
                remedy = "ask the vendor for a release with a simpler schema"
                raise MalformedError(problem, where=what, remedy=remedy, finding="schema-too-large")
            return keyword(*arguments)

        return apply

    keywords = {name: bounded(keyword) for name, keyword in {**Draft202012Validator.VALIDATORS, **_LINEAR}.items()}
    # An empty registry: no schema is fetched.
    checker = extend(Draft202012Validator, keywords)(  # type: ignore[no-untyped-call]  # jsonschema's stubs
        schema, registry=Registry(), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    try:
        errors = list(islice(checker.iter_errors(config), MAX_ERRORS))
    except (Unresolvable, RecursionError, ArithmeticError) as error:
        problem = f"the schema cannot be applied: {' '.join(str(error).split())[:200]}"
        remedy = "ask the vendor for a corrected release; nothing was changed"
        raise MalformedError(problem, where=what, remedy=remedy) from None
    for failure in errors:
        failure.message = _DECIMAL.sub(r"\1", failure.message)
    return sorted(errors, key=lambda error: error.json_path)


def _pattern(_: object, wanted: str, instance: object, __: object) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(wanted, "pattern").search(instance):
        yield ValidationError(f"{instance!r} does not match {wanted!r}")


def _pattern_properties(
    validator: _Validator, wanted: Mapping[str, Json], instance: object, __: object
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for expression, below in wanted.items():
        pattern = compile_pattern(expression, "patternProperties")
        for name in filter(pattern.search, instance):
            yield from validator.descend(instance[name], below, path=name)


def _additional_properties(
    validator: _Validator, wanted: Json, instance: object, schema: _Schema
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    patterns = [compile_pattern(text, "patternProperties") for text in schema.get("patternProperties", {})]
    named = schema.get("properties", {})
    extra = [name for name in instance if name not in named and not any(one.search(name) for one in patterns)]
    if isinstance(wanted, dict):
        for name in extra:
            yield from validator.descend(instance[name], wanted, path=name)
    elif not wanted and extra:
        names = ", ".join(repr(name) for name in sorted(extra)[:10])
        yield ValidationError(f"additional properties are not allowed: {names}")


def _unique_items(_: object, wanted: bool, instance: object, __: object) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list) and len({_comparable(item) for item in instance}) < len(instance):
        yield ValidationError("an item appears twice in the list")


def _multiple_of(_: object, wanted: int | Decimal, instance: object, __: object) -> Iterator[ValidationError]:
    if isinstance(instance, int | Decimal) and not isinstance(instance, bool) and instance % wanted:
        yield ValidationError(f"{instance} is not a multiple of {wanted}")


# In place of keywords of jsonschema that search by `re`, compare every pair of items, or print a Decimal.
_LINEAR: dict[str, _Keyword] = {
    "additionalProperties": _additional_properties,
    "multipleOf": _multiple_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique_items,
}


def _comparable(value: object) -> object:
    """A hashable value, equal exactly where JSON Schema calls two instances equal (1 and 1.0; not 1 and true)."""
    if isinstance(value, dict):
        return "object", frozenset((key, _comparable(below)) for key, below in value.items())
    if isinstance(value, list):
        return "array", tuple(_comparable(below) for below in value)
    return isinstance(value, bool), value
