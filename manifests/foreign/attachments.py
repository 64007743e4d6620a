"""Check documents that a release carries: notes and OpenVEX advisories."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from manifests.foreign.doubled_keys import doubled_keys, refuse_doubled_keys
from manifests.foreign.json_faults import MAX_FAULTS, document_faults
from manifests.words.canonical import decode
from manifests.words.errors import MalformedError

MAX_NOTES = 1 << 20


def check_notes(data: bytes, what: str) -> None:
    """Raise MalformedError unless ``data`` is text that a terminal can show line by line."""
    for problem in notes_problems(data, what):
        raise problem


def notes_problems(data: bytes, what: str) -> Iterator[MalformedError]:
    """Yield the first character of each line that a terminal must not get."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        yield MalformedError(f"not UTF-8 at byte {error.start}", where=what)
        return
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        for char in line:
            if (ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160:
                yield MalformedError(f"holds the control character U+{ord(char):04X}", where=f"{what}:{number}")
                break


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
    refuse_doubled_keys(data, what)
    for problem in _statement_problems(document, what):
        raise problem
    return document


def openvex_problems(data: bytes, what: str) -> tuple[MalformedError, ...]:
    """Return the faults of an OpenVEX document, at most `MAX_FAULTS`; of its meaning only where its shape is right."""
    try:
        check_openvex(data, what)
        return ()
    except MalformedError as error:
        first = error
    if len(data) > MAX_OPENVEX:
        return (first,)
    problems = [
        MalformedError(fault.problem, where=f"{what} {fault.place}") for fault in document_faults(data, OpenVex)
    ]
    if not problems:
        try:
            problems += _statement_problems(decode(data, OpenVex, what), what)
        except MalformedError:
            return (first,)
    return tuple([*problems, *doubled_keys(data, what)][:MAX_FAULTS])


def _statement_problems(document: OpenVex, what: str) -> Iterator[MalformedError]:
    if not document.context.startswith(CONTEXT):
        yield MalformedError(f"@context is {document.context!r}, expected {CONTEXT}...", where=what)
    for i, statement in enumerate(document.statements):
        # Section "Status Labels": what a reader needs with each of them.
        if statement.status == "not_affected" and not (statement.justification or statement.impact_statement):
            problem = "not_affected needs a justification or an impact_statement"
            yield MalformedError(problem, where=f"{what} $.statements[{i}]")
        if statement.status == "affected" and not statement.action_statement:
            yield MalformedError("affected needs an action_statement", where=f"{what} $.statements[{i}]")
