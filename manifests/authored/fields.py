"""The field types and checks that several handwritten files share."""

from collections.abc import Iterator
from typing import Annotated

from msgspec import Meta

from manifests.authored.handwritten import Handwritten
from manifests.words.errors import MalformedError

PathText = Annotated[str, Meta(min_length=1, max_length=1024, pattern="\\A[^\x00-\x1f\x7f-\x9f]+\\Z")]


def parse_problems(parse: object, text: str, file: Handwritten, path: str) -> Iterator[MalformedError]:
    """The error that ``parse(text, where)`` raises, if it does."""
    assert callable(parse)
    try:
        parse(text, file.at(path))
    except MalformedError as error:
        yield error


unit_problems = parse_problems
