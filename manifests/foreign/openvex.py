"""Check advisories: OpenVEX documents (specification v0.2.0), read leniently and never re-encoded."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from manifests.words.canonical import decode
from manifests.words.errors import MalformedError

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
    """Read an OpenVEX document.

    Raises:
        MalformedError: Not one, or a statement lacks what its status demands.
    """
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
