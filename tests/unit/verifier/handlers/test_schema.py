"""No parameter of a handler can hold a shell command, a path, a URL or a template: the schemas themselves say so."""

import re
from typing import Any

import msgspec
import pytest

from manifests.documents.consignment import Request
from manifests.documents.contract import Values
from manifests.documents.handler_use import HandlerUse, arguments, is_value, parameter_problem
from manifests.documents.release import Handler
from tests.handling import handler
from verifier.site.journal.events import HandlerAsked

# What a shell, a file system, a URL or a template engine acts on.
ACTED_ON = " \t\n\r\0/\\$`\"'|&;<>(){}[]*?!#~=%@^,"
TEXTS = (
    "rm -rf /",
    "/etc/passwd",
    "../x",
    "http://a",
    "$(id)",
    "`id`",
    "{{x}}",
    "${x}",
    "a;b",
    "a|b",
    "a b",
    "-rf",
    "--help",
)


def types_in(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    """Every type that is reachable from ``kind``, by its description."""
    key = repr(kind)
    if key in found:
        return found
    found[key] = kind
    match kind:
        case msgspec.inspect.StructType(fields=fields):
            for field in fields:
                types_in(field.type, found)
        case msgspec.inspect.DictType(key_type=one, value_type=two):
            types_in(one, found)
            types_in(two, found)
        case msgspec.inspect.VarTupleType(item_type=item):
            types_in(item, found)
        case msgspec.inspect.UnionType(types=types):
            for one in types:
                types_in(one, found)
        case msgspec.inspect.Metadata(type=inner):
            types_in(inner, found)
    return found


def field_type(document: type[msgspec.Struct], name: str) -> Any:
    info = msgspec.inspect.type_info(document)
    assert isinstance(info, msgspec.inspect.StructType)
    return next(field.type for field in info.fields if field.name == name)


@pytest.mark.parametrize("document", [Request, HandlerUse, HandlerAsked])
def test_a_parameter_is_text_of_one_narrow_alphabet(document: type[msgspec.Struct]) -> None:
    reached = types_in(field_type(document, "parameters"), {}).values()
    strings = [kind for kind in reached if isinstance(kind, msgspec.inspect.StrType)]
    assert len(strings) == 2
    allowed = (msgspec.inspect.DictType, msgspec.inspect.StrType, msgspec.inspect.Metadata)
    assert all(isinstance(kind, allowed) for kind in reached)
    for string in strings:
        assert string.pattern is not None
        pattern = re.compile(string.pattern)
        assert pattern.search("ok")
        for character in ACTED_ON:
            assert not any(pattern.search(text) for text in (character, f"a{character}", f"a{character}b"))
        # Nothing follows an argument that begins with a minus but a number.
        assert not any(pattern.search(text) for text in TEXTS)


def test_the_types_of_a_parameter_are_these_and_no_text() -> None:
    kinds = {field for field in Values.__struct_fields__ if field != "unit"}
    assert kinds == {"enum", "integer", "duration", "type"}
    literals = [kind for kind in types_in(field_type(Values, "type"), {}).values() if hasattr(kind, "values")]
    assert {value for kind in literals for value in kind.values} == {"bool", "version", "digest", "component"}
    reached = types_in(field_type(Handler, "parameters"), {}).values()
    assert {type(kind).__name__ for kind in reached} <= {
        "DictType",
        "StrType",
        "Metadata",
        "StructType",
        "UnionType",
        "NoneType",
        "VarTupleType",
        "IntType",
        "LiteralType",
    }


EVERY = {
    "enum": Values(enum=("one", "two")),
    "integer": Values(integer=(-5, 5)),
    "duration": Values(duration=(0, 60)),
    "bool": Values(type="bool"),
    "version": Values(type="version"),
    "digest": Values(type="digest"),
    "component": Values(type="component"),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("text", [*TEXTS, "", "01", "+1", "1.0", "-0", "1e3", "true ", "True", "6e", "١"])
def test_what_no_type_takes(name: str, text: str) -> None:
    assert not is_value(EVERY[name], text, {"app"})
    assert parameter_problem(handler("x", "{v}", parameters={"v": EVERY[name]}), {"v": text}, {"app"}) is not None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("enum", "two"),
        ("integer", "-5"),
        ("integer", "0"),
        ("duration", "60"),
        ("bool", "false"),
        ("version", "1.2.3-rc.1"),
        ("digest", "sha256:" + "0" * 64),
        ("component", "app"),
    ],
)
def test_what_a_type_takes_is_one_word_of_the_command(name: str, text: str) -> None:
    used = handler("x", "fixed", "{v}", "{", "{v}x", parameters={"v": EVERY[name]})
    assert parameter_problem(used, {"v": text}, {"app"}) is None
    assert arguments(used, {"v": text}) == ("tool", "fixed", text, "{", "{v}x")
    # The document takes it too.
    asked = msgspec.convert({"request": "a", "handler": "x", "parameters": {"v": text}}, Request)
    assert asked.parameters == {"v": text}
