"""Read the schema of a product's configuration: a stated subset of JSON Schema 2020-12 (docs/format.md, section 12).

The vendor writes the schema, the site applies it. A schema is a program, so it is held to limits that a reader can
check without running it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from manifests.foreign.schema_keywords import wrong_keyword
from manifests.foreign.schema_patterns import compile_pattern
from manifests.words.canonical import check_depth
from manifests.words.errors import MalformedError

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_SCHEMA = 1 << 20
MAX_SCHEMA_DEPTH = 32
# Subschemas with every reference followed, each time that it is named.
MAX_SUBSCHEMAS = 10_000
SMALLEST, LARGEST = Decimal("1e-9"), Decimal(2**53 - 1)
_ONE = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_ONE_LATE = ("unevaluatedItems", "unevaluatedProperties")
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("dependentSchemas", "patternProperties", "properties")
_REFUSED = ("$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef", "contentSchema")

Json = str | int | float | Decimal | bool | None | list["Json"] | dict[str, "Json"]
Schema = Mapping[str, Json]


def check_config_schema(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is a schema of the subset."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    schema = read_config_schema(data, what)
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise MalformedError(f"not a JSON Schema 2020-12: {error.message}", where=f"{what} {error.json_path}") from None


def schema_problems(data: bytes, what: str) -> Sequence[MalformedError]:
    """Return everything that is wrong in a schema. What cannot be walked through further ends the list."""
    problems: list[MalformedError] = []
    try:
        _walk(_parse_schema(data, what), what, problems.append)
        if not problems:
            check_config_schema(data, what)
    except MalformedError as error:
        problems.append(error)
    return problems


def _refuse(error: MalformedError) -> None:
    raise error


def read_config_schema(data: bytes, what: str) -> dict[str, Json]:
    """Return the schema, with decimals as `Decimal`, after the checks of F-12.3; the meta-schema is not among them.

    Raises:
        MalformedError: Not JSON, or outside of the subset; the finding is ``schema-…`` or ``malformed``.
    """
    schema = _parse_schema(data, what)
    _walk(schema, what, _refuse)
    return schema


def _parse_schema(data: bytes, what: str) -> dict[str, Json]:
    if len(data) > MAX_SCHEMA:
        raise MalformedError(f"{len(data)} bytes, a schema has at most {MAX_SCHEMA}", where=what)
    check_depth(data, what)
    try:
        schema = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_float=Decimal)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise MalformedError(f"not JSON: {error}", where=what) from None
    if not isinstance(schema, dict):
        raise MalformedError("a schema is a JSON object", where=what)
    dialect = schema.get("$schema", DIALECT)
    if dialect not in (DIALECT, DIALECT + "#"):
        raise MalformedError(f"$schema is {dialect!r}, expected {DIALECT}", where=what)
    return schema


def _walk(schema: dict[str, Json], what: str, report: Callable[[MalformedError], None]) -> None:
    """Report what is wrong in each subschema; raise where the walk cannot go on."""
    _check_numbers(schema, what, report)
    limits = _Limits(schema, what, report)  # F-12.3
    limits.count(schema, "$", ())
    for name, definition in _definitions(schema):
        limits.count(definition, name, ())


class _Limits:
    """The walk through every subschema as it is applied: references are followed.

    Attributes:
        sizes: Subschemas that one subschema applies, itself included, by its identity.
    """

    def __init__(self, schema: dict[str, Json], what: str, report: Callable[[MalformedError], None]) -> None:
        self.root = schema
        self.what = what
        self.report = report
        self.sizes: dict[int, int] = {}

    def count(self, schema: Json, path: str, above: tuple[int, ...]) -> int:
        """Return how many subschemas ``schema`` applies. Raises MalformedError."""
        if isinstance(schema, bool):
            return 1
        if not isinstance(schema, dict):  # F-12.3
            raise self.error("a subschema is an object, true or false", path, "malformed")
        if id(schema) in above:
            raise self.error("a reference leads back to itself", path, "schema-cycle", "write the levels out")
        if len(above) >= MAX_SCHEMA_DEPTH:
            raise self.error(f"subschemas are nested deeper than {MAX_SCHEMA_DEPTH} levels", path, "schema-too-large")
        if id(schema) in self.sizes:
            return self.sizes[id(schema)]
        self.check_keywords(schema, path, top=not above and path == "$")
        size = 1
        for below, place in self.applied(schema, path):
            size += self.count(below, place, (*above, id(schema)))
            if size > MAX_SUBSCHEMAS:
                raise self.error(
                    f"with its references followed, the schema has more than {MAX_SUBSCHEMAS} subschemas",
                    path,
                    "schema-too-large",
                )
        self.sizes[id(schema)] = size
        return size

    def check_keywords(self, schema: Schema, path: str, *, top: bool) -> None:
        for keyword in (*_REFUSED, *(() if top else ("$id",))):
            if keyword in schema:
                finding = "schema-remote-ref" if keyword.endswith("Ref") else "schema-keyword"
                self.report(self.error(f"uses {keyword}, which is not allowed in a config schema", path, finding))
        wrong = wrong_keyword(schema)
        if wrong is not None:  # F-12.3
            self.report(self.error(f"{wrong[0]} is not {wrong[1]}", f"{path}.{wrong[0]}", "malformed"))
        patterns = schema.get("patternProperties")
        expressions = [*patterns] if isinstance(patterns, dict) else []
        if expressions and any(keyword in schema for keyword in _ONE_LATE):
            self.report(self.error("uses patternProperties beside an unevaluated keyword", path, "schema-keyword"))
        if isinstance(expression := schema.get("pattern"), str):
            expressions.append(expression)
        for expression in expressions:
            try:
                compile_pattern(expression, f"{self.what} {path}")
            except MalformedError as error:
                self.report(error)

    def applied(self, schema: Schema, path: str) -> Iterator[tuple[Json, str]]:
        """Each subschema that ``schema`` applies, with its path."""
        for keyword in (*_ONE, *_ONE_LATE):
            if keyword in schema:
                yield schema[keyword], f"{path}.{keyword}"
        for keyword in _MANY:
            if isinstance(below := schema.get(keyword), list):
                yield from ((item, f"{path}.{keyword}[{i}]") for i, item in enumerate(below))
        for keyword in _NAMED:
            if isinstance(below := schema.get(keyword), dict):
                yield from ((item, f"{path}.{keyword}.{name}") for name, item in below.items())
        if isinstance(target := schema.get("$ref"), str):
            yield self.resolve(target, path), f"{path}.$ref"

    def resolve(self, target: str, path: str) -> Json:
        # At the site there is nothing to fetch from, and what was fetched at build could differ from what was reviewed.
        if target != "#" and not target.startswith("#/"):
            remedy = "copy what it needs under $defs"
            problem = f"refers to {target!r}, outside of the file"
            self.report(self.error(problem, f"{path}.$ref", "schema-remote-ref", remedy))
            return True
        node: Json = self.root
        for part in target.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            elif isinstance(node, dict) and key in node:
                node = node[key]
            else:
                problem = f"refers to {target!r}, which the file does not have"
                self.report(self.error(problem, f"{path}.$ref", "malformed"))
                return True
        return node

    def error(self, problem: str, path: str, finding: str, remedy: str = "") -> MalformedError:
        return MalformedError(problem, where=f"{self.what} {path[:120]}", finding=finding, remedy=remedy)


def _definitions(schema: Json, path: str = "$") -> Iterator[tuple[str, Json]]:
    """Every subschema under a ``$defs``, whether something refers to it or not."""
    if isinstance(schema, dict):
        for key, below in schema.items():
            if key in ("$defs", "definitions") and isinstance(below, dict):
                yield from ((f"{path}.{key}.{name}", definition) for name, definition in below.items())
            yield from _definitions(below, f"{path}.{key}")
    elif isinstance(schema, list):
        for i, below in enumerate(schema):
            yield from _definitions(below, f"{path}[{i}]")


def _check_numbers(value: Json, what: str, report: Callable[[MalformedError], None], path: str = "$") -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            _check_numbers(below, what, report, f"{path}.{key}")
    elif isinstance(value, list):
        for i, below in enumerate(value):
            _check_numbers(below, what, report, f"{path}[{i}]")
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if not number.is_finite() or (number and not SMALLEST <= abs(number) <= LARGEST):
            problem = f"the number {str(value)[:40]} is not 0 and not between {SMALLEST} and {LARGEST}"
            report(MalformedError(problem, where=f"{what} {path}", finding="schema-number"))


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for key, value in pairs:
        if key in fields:
            raise ValueError(f"the key {key!r} appears twice in one object")
        fields[key] = value
    return fields
