"""The use of a handler: what people approve, and its typed parameters. No parameter can hold a sentence or a path."""

import re
from collections.abc import Collection, Mapping
from typing import Annotated

from msgspec import Meta

from manifests.documents.contract import Values
from manifests.documents.release import Handler
from manifests.words.canonical import Document, encode, parse
from manifests.words.digest import Digest, Name, Word, digest_of, is_digest
from manifests.words.errors import MalformedError
from manifests.words.version import parse_version

HANDLER_USE_TYPE = "application/vnd.waybill.handler-use.v1+json"
MAX_HANDLER_USE = 64 << 10

# What a parameter of type `component` names, of a handler that does not say more.
PART = "a part of the running release"
# An integer, a word of an enumeration, a truth value, a version, a digest or a name: no space, no slash, no quote.
ParameterText = Annotated[str, Meta(pattern=r"\A(-?[0-9]{1,16}|[A-Za-z0-9][A-Za-z0-9._:+-]{0,127})\Z")]
Parameters = Annotated[dict[Word, ParameterText], Meta(max_length=64)]
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_PARAMETER = re.compile(r"\{([A-Za-z0-9][A-Za-z0-9._-]{0,63})\}")


class HandlerUse(Document, frozen=True, kw_only=True, tag_field="type", tag=HANDLER_USE_TYPE):
    """What a plan to run a handler names as its ``subject``.

    Attributes:
        consignment: Digest of the consignment with the request; None for a use that the site's own people asked for.
        request: Name of the request in it; without a consignment the item's id.
        definition: Digest of the handler's definition; see ``handler_digest``.
    """

    consignment: Digest | None = None
    request: Word
    handler: Name
    definition: Digest
    parameters: Parameters = {}

    @property
    def digest(self) -> str:
        return digest_of(encode(self))

    @property
    def words(self) -> str:
        """The handler with its parameters, as a person types them."""
        return " ".join((self.handler, *(f"{name}={value}" for name, value in sorted(self.parameters.items()))))


def parse_handler_use(data: bytes, what: str = "use of a handler") -> HandlerUse:
    """Read the use of a handler. Raises MalformedError."""
    return parse(data, HandlerUse, what, max_bytes=MAX_HANDLER_USE)


def parameter_problem(
    handler: Handler, parameters: Mapping[str, str], components: Collection[str], part: str = PART
) -> str | None:
    """Return why the parameters are not those of the handler, in words; None if each is of its type.

    Args:
        components: Names that a parameter of type ``component`` may have.
        part: What they name, in words.
    """
    if unknown := sorted(set(parameters) - set(handler.parameters)):
        return f"{handler.name} has no parameter {', '.join(unknown)}"
    if missing := sorted(set(handler.parameters) - set(parameters)):
        return f"{handler.name} needs the parameter {', '.join(missing)}"
    for name, values in handler.parameters.items():
        if not is_value(values, parameters[name], components):
            return f"parameter {name} is {parameters[name]}, expected {value_words(values, components, part)}"
    return None


def is_value(values: Values, text: str, components: Collection[str]) -> bool:
    """Whether ``text`` is one of the values, in their only spelling."""
    if values.enum is not None:
        return text in values.enum
    bounds = values.integer or values.duration
    if bounds is not None:
        return _INTEGER.fullmatch(text) is not None and bounds[0] <= int(text) <= bounds[1]
    match values.type:
        case "bool":
            return text in ("true", "false")
        case "digest":
            return is_digest(text)
        case "version":
            return _is_version(text)
        case "component":
            return text in components
        case None:
            return False


def value_words(values: Values, components: Collection[str] | None = None, part: str = PART) -> str:
    """Return in words what a parameter may be; without ``components`` where they are not known."""
    if values.enum is not None:
        return f"one of {', '.join(values.enum)}"
    if values.integer is not None:
        return f"a whole number from {values.integer[0]} to {values.integer[1]}"
    if values.duration is not None:
        return f"seconds from {values.duration[0]} to {values.duration[1]}"
    if values.type == "component":
        return part if components is None else f"{part}: {', '.join(sorted(components)) or 'there is none'}"
    return {"bool": "true or false", "digest": "sha256: and 64 hex digits"}.get(values.type or "", "a version")


def arguments(handler: Handler, parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words to run: those of the definition, each ``{x}`` replaced by its parameter as a word of its own."""
    words = []
    for word in handler.run:
        match = _PARAMETER.fullmatch(word)
        words.append(parameters[match[1]] if match else word)
    return tuple(words)


def _is_version(text: str) -> bool:
    try:
        parse_version(text)
    except MalformedError:
        return False
    return True
